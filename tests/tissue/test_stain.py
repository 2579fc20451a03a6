"""Stain estimation: recovers known vectors, counts are additive, falls back when it must."""

import numpy as np
import pytest

from wsigraph.tissue.stain import REFERENCE_VECTORS, count_colours, empty_histogram, estimate_stain


def painted(vectors, seed=0, shape=(300, 300)):
    """Return pixels stained by two stains of known colour."""
    rng = np.random.default_rng(seed)
    amount = np.stack([rng.gamma(1.2, 0.35, shape), rng.gamma(1.5, 0.25, shape)], axis=-1)
    pure = rng.random((*shape, 1))
    amount[..., :1] *= pure > 0.4
    amount[..., 1:] *= (pure < 0.3) | (pure > 0.5)
    return np.clip(256 * 10 ** -(amount @ vectors) - 1, 0, 255).round().astype(np.uint8)


def histogram_of(rgb):
    histogram = empty_histogram()
    bins, pixels = count_colours(rgb, np.ones(rgb.shape[:2], bool))
    histogram[bins] += pixels
    return histogram


def degrees(first, second):
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=-1), -1, 1)))


@pytest.mark.parametrize("tilt", [0.0, 0.12])
def test_known_vectors_are_found(tilt):
    truth = REFERENCE_VECTORS + tilt * np.array([[-0.4, 0.2, 0.6], [0.9, -0.3, 0.8]])
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    stain = estimate_stain(histogram_of(painted(truth)))
    assert stain.source == "macenko"
    assert degrees(stain.vectors, truth).max() < 6
    np.testing.assert_allclose(np.linalg.norm(stain.vectors, axis=1), 1, atol=1e-5)


def test_windows_add_up_in_any_order():
    rgb = painted(REFERENCE_VECTORS)
    whole = histogram_of(rgb)
    parts = sum(histogram_of(part) for part in (rgb[200:], rgb[:50], rgb[50:200]))
    np.testing.assert_array_equal(whole, parts)


def test_the_mask_decides_what_counts():
    rgb = painted(REFERENCE_VECTORS, shape=(20, 20))
    mask = np.zeros((20, 20), bool)
    mask[3, 4] = True
    bins, pixels = count_colours(rgb, mask)
    assert pixels.tolist() == [1]
    r, g, b = (int(value) >> 1 for value in rgb[3, 4])
    assert bins.tolist() == [r << 14 | g << 7 | b]


@pytest.mark.parametrize("colour", [(128, 128, 128), (250, 250, 250), (40, 160, 40)])
def test_unusable_colours_fall_back_to_the_reference(colour):
    rng = np.random.default_rng(1)
    rgb = np.clip(np.array(colour) + rng.normal(0, 1, (100, 100, 3)), 0, 255).astype(np.uint8)
    stain = estimate_stain(histogram_of(rgb))
    assert stain.source == "reference"
    unit = REFERENCE_VECTORS / np.linalg.norm(REFERENCE_VECTORS, axis=1, keepdims=True)
    np.testing.assert_allclose(stain.vectors, unit, atol=1e-6)


def test_no_pixels_give_the_reference():
    stain = estimate_stain(empty_histogram())
    assert stain.source == "reference"
    assert (stain.max_concentration > 0).all()
