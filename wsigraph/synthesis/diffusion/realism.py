"""How far sets of pictures lie apart, and whether some are copies.

The kernel distance is the unbiased estimate of the squared maximum mean discrepancy with a cubic kernel over features
of a network: zero on average for two sets of one kind at any size, which the Frechet distance is not. Copies are looked
for by nearest neighbours in features and in pixels, mirrored and turned.

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
"""Of 255: a picture with less is glass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """Whether samples lie nearer to training than new pictures do.

    Attributes
    ----------
    close_fraction : float
        Share of samples nearer than the 1st percentile of new pictures; 0.01 where nothing is copied.
    median_ratio : float
        Median distance of samples over that of new pictures; below 1 they lie nearer.
    caught : bool
        Whether more than 2 % are that near, or the ratio is below 0.95.
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
        Random subsets of half of the smaller set, which give the standard error.
    rng : numpy.random.Generator
        Draws the subsets.

    Returns
    -------
    distance : float
        Unbiased over all pictures; can be below 0.
    error : float
        Spread over subsets, scaled to the full number of pictures.
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


def look_for_copies(samples: NDArray[np.float64], training: NDArray[np.float64], new: NDArray[np.float64]) -> Copying:
    """Return whether samples are nearer to training than new pictures are.

    Parameters
    ----------
    samples, training, new : float64 (n, d), (t, d), (m, d)
        Features or pixels, a row a picture; training with its mirrored and turned versions. As many samples as new
        pictures, or the smallest distances are not of one kind.

    Returns
    -------
    Copying
        In Euclidean distance.
    """
    ours, theirs = _nearest(samples, training), _nearest(new, training)
    close = float((ours < np.percentile(theirs, _CLOSE_PERCENTILE)).mean())
    ratio = float(np.median(ours) / np.median(theirs))
    return Copying(close_fraction=close, median_ratio=ratio, caught=close > 0.02 or ratio < 0.95)


def turned(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return every picture in its eight mirrored and turned versions."""
    return [np.rot90(way, turn) for image in images for way in (image, image[:, ::-1]) for turn in range(4)]


def pixel_rows(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return pictures as rows to compare, float64 (n, 3072).

    Shrunk to 32 px, each channel less its mean over the picture, and at one contrast: otherwise a dull picture lies
    near all others and passes for a copy.
    """
    from PIL import Image

    side = (_SMALL_PX, _SMALL_PX)
    small = [np.asarray(Image.fromarray(each).resize(side, Image.Resampling.BOX), np.float64) for each in images]
    rows = np.stack([each - each.mean(axis=(0, 1)) for each in small]).reshape(len(images), -1)
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
