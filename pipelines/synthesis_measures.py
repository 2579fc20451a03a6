"""What is counted in pictures: whether an edit changes its region alone, and whether borders of canvases show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.synthesis_features import Images


def score_edit(keep: Sequence[NDArray[np.bool_]], plain: Images, other: Images, jittered: Images) -> dict[str, float]:
    """Return the share of edits whose region changes more than by a redraw, and whose rest changes less."""
    inside, outside, null = [], [], []
    for stays, a, b, c in zip(keep, plain, other, jittered, strict=True):
        if not stays.any():
            continue
        moved = np.abs(a.astype(np.float64) - b).mean(axis=-1)
        noise = np.abs(a.astype(np.float64) - c).mean(axis=-1)
        unit = max(noise.mean(), 1e-9)
        inside.append(moved[~stays].mean() / unit)
        outside.append(moved[stays].mean() / unit)
        null.append(noise[~stays].mean() / unit)
    limit, middle = np.percentile(null, 95), np.median(null)
    hits = np.array(inside) > limit
    calm = np.array(outside) < middle
    return {
        "n": len(inside),
        "inside_changes": float(hits.mean()),
        "outside_stays": float(calm.mean()),
        "both": float((hits & calm).mean()),
    }


def step_at_borders(image: NDArray[np.uint8], rows: Sequence[int], columns: Sequence[int], *, side: int) -> float:
    """Return the mean step between neighbouring pixels across the borders of canvases, over that elsewhere."""
    at_borders, elsewhere = [], []
    for axis, starts in enumerate((rows, columns)):
        step = np.abs(np.diff(image.astype(np.float64), axis=axis)).mean(axis=(2, 1 - axis))
        ends = {start + each for start in starts for each in (-1, side - 1)}
        border = [each for each in sorted(ends) if 0 <= each < len(step)]
        at_borders.append(step[border])
        elsewhere.append(np.delete(step, border))
    return float(np.concatenate(at_borders).mean() / np.concatenate(elsewhere).mean())
