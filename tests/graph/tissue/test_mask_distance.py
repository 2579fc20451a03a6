"""Near and far: exact against scipy's distance transform."""

import numpy as np
import pytest
from scipy import ndimage

from wsigraph.graph.tissue.mask_distance import isotropic_dilation


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 13, 60])
def test_it_is_the_exact_distance(radius):
    mask = np.random.default_rng(radius).random((37, 53)) > 0.985
    np.testing.assert_array_equal(isotropic_dilation(mask, radius), ndimage.distance_transform_edt(~mask) <= radius)


def test_nothing_is_near_nothing():
    assert not isotropic_dilation(np.zeros((5, 7), bool), 9).any()
    assert isotropic_dilation(np.ones((5, 7), bool), 0).all()
