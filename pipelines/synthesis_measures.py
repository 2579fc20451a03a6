"""Measures of pictures: whether an edit changes only its region, and whether borders of canvases are visible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.synthesis_features import Images


def score_edit(keep: Sequence[NDArray[np.bool_]], plain: Images, other: Images, jittered: Images) -> dict[str, float]:
    """Return the fraction of edits whose region changes more than by jittered centres, and whose rest changes less."""
    inside, outside, null = [], [], []
    for unedited, before, after, jitter in zip(keep, plain, other, jittered, strict=True):
        if not unedited.any():
            continue
        change = np.abs(before.astype(np.float64) - after).mean(axis=-1)
        noise = np.abs(before.astype(np.float64) - jitter).mean(axis=-1)
        unit = max(noise.mean(), 1e-9)
        inside.append(change[~unedited].mean() / unit)
        outside.append(change[unedited].mean() / unit)
        null.append(noise[~unedited].mean() / unit)
    limit, middle = np.percentile(null, 95), np.median(null)
    inside_changes = np.array(inside) > limit
    outside_stays = np.array(outside) < middle
    return {
        "n": len(inside),
        "inside_changes": float(inside_changes.mean()),
        "outside_stays": float(outside_stays.mean()),
        "both": float((inside_changes & outside_stays).mean()),
    }


def step_at_borders(image: NDArray[np.uint8], rows: Sequence[int], columns: Sequence[int], *, side: int) -> float:
    """Return the mean step between neighbouring pixels across the borders of canvases, over that elsewhere."""
    at_borders, elsewhere = [], []
    for axis, starts in enumerate((rows, columns)):
        step = np.abs(np.diff(image.astype(np.float64), axis=axis)).mean(axis=(2, 1 - axis))
        ends = {start + offset for start in starts for offset in (-1, side - 1)}
        border = [index for index in sorted(ends) if 0 <= index < len(step)]
        at_borders.append(step[border])
        elsewhere.append(np.delete(step, border))
    return float(np.concatenate(at_borders).mean() / np.concatenate(elsewhere).mean())
