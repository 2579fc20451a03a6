"""The schema of additive moments: what each column of a moment table counts.

A moment is an integer that adds up: the moments of a merged region are the sum of its parts' moments, whatever the
parts were and whoever counted them. Every interpretable feature is a function of moments (``interpret``), so features
of merged regions are exact and nothing depends on how a slide was tiled. Lengths count working pixels; optical
density counts in units of 1/1024.

Order and names are the schema; a model states the digest of the schema it was trained on.
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
"""Columns: area; sums and products of pixel coordinates; sums and products of raw optical density; 16-bin histograms
of hematoxylin and eosin concentration (bin width: maximum concentration / 12, last bin open) and of lightness (8-bit
mean of R, G, B over 16); symmetric co-occurrence of hematoxylin levels, each pair owned by its anchor pixel's region;
nuclei whose centroid lies in the region (area in px, eccentricity in 1/1024, mean hematoxylin in 1/1024 OD); pixel
pairs across the boundary with non-tissue (`outside`) and with the slide's edge (`edge`)."""

COLUMN: dict[str, int] = {name: column for column, name in enumerate(MOMENT_NAMES)}
"""Column of each moment."""


def schema_id(names: tuple[str, ...] = MOMENT_NAMES) -> str:
    """Return the digest of a moment schema, 16 hexadecimal characters."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
