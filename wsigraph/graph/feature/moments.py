"""The schema of additive moments: what each column of a moment table counts.

A moment X is an integer with ``X(A + B) = X(A) + X(B)`` for disjoint regions A and B, so the moments of a merged region
are the sum of its parts' moments, whatever the parts are. Every interpretable feature is a function of moments
(``interpret``), so the features of merged regions are exact and nothing depends on how a slide was tiled. Coordinates
count working pixels; optical density counts units of 1/1024. ``count`` fills the table, int64 (N, M).

``skimage.measure.regionprops`` and cv2's moments return float features that cannot be merged, such as means and
eccentricities.

Order and names form the schema; a model records the digest of the schema that it was trained on.
"""

from __future__ import annotations

import hashlib

OD_UNIT = 1024
"""Integer units of one optical density."""
N_BINS = 16
"""Bins of a histogram moment."""
N_GREY = 8
"""Grey levels of the co-occurrence counts."""
ECCENTRICITY_UNIT = 1024
"""Integer units of eccentricity 1."""

_GREY_PAIRS = [(low, high) for low in range(N_GREY) for high in range(low, N_GREY)]

MOMENT_NAMES: tuple[str, ...] = (
    "n",
    "sum_x",
    "sum_y",
    "sum_xx",
    "sum_xy",
    "sum_yy",
    "od_r",
    "od_g",
    "od_b",
    "od_rr",
    "od_rg",
    "od_rb",
    "od_gg",
    "od_gb",
    "od_bb",
    *(f"hematoxylin_bin_{level}" for level in range(N_BINS)),
    *(f"eosin_bin_{level}" for level in range(N_BINS)),
    *(f"lightness_bin_{level}" for level in range(N_BINS)),
    *(f"cooccurrence_{low}_{high}" for low, high in _GREY_PAIRS),
    "nuclei",
    "nucleus_area",
    "nucleus_area_sq",
    "nucleus_eccentricity",
    "nucleus_eccentricity_sq",
    "nucleus_stain",
    "nucleus_stain_sq",
    "outside_straight",
    "outside_diagonal",
    "edge_straight",
    "edge_diagonal",
)
"""Names of the M columns.

- ``n``: area in pixels; ``sum_*``: sums and products of pixel coordinates.
- ``od_*``: sums and products of raw optical density, 1/1024.
- ``*_bin_*``: 16-bin histograms of hematoxylin and eosin concentration (bin width: maximum concentration / 12, the last
  bin open) and of lightness (mean of R, G, B divided by 16).
- ``cooccurrence_*``: symmetric co-occurrence of hematoxylin levels; a pair belongs to its anchor pixel's region.
- ``nucle*``: nuclei whose centroid is in the region: number, and sums and sums of squares of area in pixels, of
  eccentricity in 1/1024 and of mean hematoxylin in 1/1024 OD.
- ``outside_*``, ``edge_*``: pixel pairs across the boundary with non-tissue and with the edge of the slide.
"""

COLUMN: dict[str, int] = {name: column for column, name in enumerate(MOMENT_NAMES)}
"""Column index of each moment."""


def schema_id(names: tuple[str, ...] = MOMENT_NAMES) -> str:
    """Return the digest of a moment schema, 16 hexadecimal characters."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
