"""Lab against scikit-image, smoothing against scipy."""

import numpy as np
from scipy import ndimage
from skimage.color import rgb2lab

from wsigraph.graph.superpixel.lab import rgb_to_lab, smooth


def test_lab_is_within_one_level_of_the_exact_conversion():
    values = np.arange(0, 256, 5, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(-1, len(values), 3)
    exact = rgb2lab(rgb)
    expected = np.stack([exact[..., 0] * 2.55, exact[..., 1] + 128, exact[..., 2] + 128])
    difference = np.abs(rgb_to_lab(rgb) - np.clip(expected, 0, 255))
    # half a level of rounding plus the 12-bit linear table, which is coarse only in near black
    assert difference.mean() < 0.3
    assert np.quantile(difference, 0.999) <= 1.0


def test_smoothing_is_the_binomial_kernel_rounded_half_up():
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (3, 21, 17), dtype=np.uint8)
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    expected = [(ndimage.correlate(plane.astype(int), kernel, mode="nearest") + 8) >> 4 for plane in planes]
    np.testing.assert_array_equal(smooth(planes), np.stack(expected))


def test_smoothing_survives_single_rows_and_columns():
    for shape in ((3, 1, 1), (3, 1, 9), (3, 9, 1)):
        np.testing.assert_array_equal(smooth(np.full(shape, 77, np.uint8)), np.full(shape, 77))
