"""The kernel distance between sets of pictures, and detection of copies of training pictures.

The kernel distance is the unbiased estimate of the squared maximum mean discrepancy with a cubic kernel over features
of a network. For two sets from one distribution it is zero on average at any sample size, unlike the Frechet distance.
Copies are detected by nearest neighbours in features and in pixels, over all rotations and reflections.

References
----------
Binkowski et al., "Demystifying MMD GANs", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SMALL_PX = 32
_CLOSE_PERCENTILE = 1.0
_LEAST_CONTRAST = 1.0
"""Standard deviation, of 255, below which a picture is glass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyDetection:
    """Whether samples are nearer to the training pictures than new pictures are.

    Attributes
    ----------
    close_fraction : float
        Fraction of samples nearer than the 1st percentile of new pictures; about 0.01 where nothing is copied.
    median_ratio : float
        Median distance of the samples over that of new pictures; below 1 the samples are nearer.
    caught : bool
        Copies detected: more than 2 % of the samples are that near, or the ratio is below 0.95.
    """

    close_fraction: float
    median_ratio: float
    caught: bool


def kernel_distance(
    one: NDArray[np.float64], other: NDArray[np.float64], *, n_subsets: int = 100, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the kernel distance of two sets of features.

    Parameters
    ----------
    one, other : float64 (n, d), (m, d)
        Features, a row a picture; at least four rows each.
    n_subsets : int
        Number of random subsets, each half of the smaller set, for the standard error.
    rng : numpy.random.Generator
        Draws the subsets.

    Returns
    -------
    distance : float
        Unbiased over all pictures; can be below 0.
    error : float
        Standard error: standard deviation over subsets, scaled to the full number of pictures.
    """
    own, across, others = _kernel(one, one), _kernel(one, other), _kernel(other, other)
    size = max(2, min(len(one), len(other)) // 2)
    draws = []
    for _ in range(n_subsets):
        a = rng.choice(len(one), size, replace=False)
        b = rng.choice(len(other), size, replace=False)
        draws.append(_unbiased(own[np.ix_(a, a)], across[np.ix_(a, b)], others[np.ix_(b, b)]))
    error = float(np.std(draws) * np.sqrt(size / min(len(one), len(other))))
    return _unbiased(own, across, others), error


def detect_copies(
    samples: NDArray[np.float64], training: NDArray[np.float64], new: NDArray[np.float64]
) -> CopyDetection:
    """Return whether samples are nearer to the training pictures than new pictures are.

    Parameters
    ----------
    samples, training, new : float64 (n, d), (t, d), (m, d)
        Features or pixels, one row a picture; `training` with its rotations and reflections. Give as many samples as
        new pictures: the smallest of more distances is smaller.

    Returns
    -------
    CopyDetection
        By Euclidean distance.
    """
    sample_distance, new_distance = _nearest(samples, training), _nearest(new, training)
    close = float((sample_distance < np.percentile(new_distance, _CLOSE_PERCENTILE)).mean())
    ratio = float(np.median(sample_distance) / np.median(new_distance))
    return CopyDetection(close_fraction=close, median_ratio=ratio, caught=close > 0.02 or ratio < 0.95)


def rotations_and_reflections(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return all eight rotations and reflections of every picture."""
    return [np.rot90(variant, turn) for image in images for variant in (image, image[:, ::-1]) for turn in range(4)]


def pixel_rows(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return pictures as rows to compare, float64 (n, 3072).

    Pictures are shrunk to 32 px, their mean colour is subtracted, and their contrast is set to 1. Otherwise a picture
    of low contrast would be near all others and look like a copy.
    """
    from PIL import Image

    side = (_SMALL_PX, _SMALL_PX)
    small = [np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BOX), np.float64) for image in images]
    rows = np.stack([pixels - pixels.mean(axis=(0, 1)) for pixels in small]).reshape(len(images), -1)
    contrast = np.sqrt((rows**2).mean(axis=1, keepdims=True))
    return np.asarray(rows / np.maximum(contrast, _LEAST_CONTRAST))


def _kernel(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((one @ other.T / one.shape[1] + 1.0) ** 3)


def _unbiased(own: NDArray[np.float64], across: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    n, m = across.shape
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (others.sum() - np.trace(others)) / (m * (m - 1))
    return float(within - 2.0 * across.mean())


def _nearest(rows: NDArray[np.float64], training: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of every row to the nearest of the training set, without a matrix of differences."""
    squares = (rows**2).sum(axis=1)[:, None] + (training**2).sum(axis=1)[None] - 2.0 * rows @ training.T
    return np.asarray(np.sqrt(np.clip(squares.min(axis=1), 0.0, None)))
