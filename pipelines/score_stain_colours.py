"""Ask whether colour separates hematoxylin and eosin from other stains, on pictures of both.

    python -m pipelines.score_stain_colours --slides DIR --glas DIR --monuseg DIR --oral DIR --faults DIR [--tiles 100]

Each real H&E picture is measured in the variants of `pipelines.score_refusals`, and unmixed by its own stains and mixed
again in six other pairs, in three pairs of amounts. At 2 um/px, over what is denser than the glass by 0.06, the recipe
takes the fractions that are brown and blue, as `wsigraph.graph.tissue.quality` does, and the median ratios of blue and
of red to green density. Pictures beside neutral glass count; else the tint of the light is in every colour. Prints a
Markdown table: the most of H&E, the least and the median of each other stain, and how many are refused.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.score_refusals import VARIANTS, list_slides, list_tiles, mixed_again, vary
from wsigraph.graph.tissue.density import density_above_glass, glass_colour
from wsigraph.graph.tissue.normalise import picture_stain
from wsigraph.graph.tissue.quality import judge_stain, other_colours
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.records.slide_records import STAINS

MPP = 2.0
STRENGTHS = ((0.8, 1.6), (1.0, 0.8), (1.0, 0.3))
"""Amounts of the two stains times those of hematoxylin and eosin; the other way round for a trichrome."""
_LEAST_DENSITY, _LEAST_PIXELS, _MOST_TINT = 60, 50, 16


def shrink(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.uint8]:
    """Return a picture averaged over whole pixels to about `MPP`."""
    step = max(1, round(MPP / mpp))
    height, width = (side // step * step for side in rgb.shape[:2])
    blocks = rgb[:height, :width].reshape(height // step, step, width // step, step, 3)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), np.uint8)


def measure(rgb: NDArray[np.uint8]) -> tuple[float, float, float, float, bool] | None:
    """Return brown and blue fractions, median blue and red over green, and if it is refused; None without glass."""
    glass = glass_colour(rgb)
    density = density_above_glass(rgb, glass)
    tissue = density.mean(axis=0) > _LEAST_DENSITY
    if glass.min() == 255 or glass.max() - glass.min() > _MOST_TINT or tissue.sum() < _LEAST_PIXELS:
        return None
    green = np.maximum(density[1][tissue], 1)
    red, blue = density[0][tissue] / green, density[2][tissue] / green
    brown, cold = other_colours(density, tissue)
    return brown, cold, float(np.median(blue)), float(np.median(red)), bool(judge_stain(density, tissue, glass))


def pictures(options: argparse.Namespace) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield what a picture is stained with, and its pixels."""
    for _, name, pixels, mpp in chain(list_slides(options), list_tiles(options)):
        small, coarse = shrink(pixels, mpp), max(mpp, MPP)
        for variant in VARIANTS:
            yield f"H&E, {variant}", vary(small, coarse, variant)
        if name.startswith("ink"):
            continue  # its marker would be mixed again too
        own = picture_stain(small)
        for stain in (name for name in STAINS if name != "h&e"):
            vectors = estimate_stain(empty_histogram(), name=stain).vectors
            for strength in STRENGTHS:
                amounts = strength[::-1] if stain == "trichrome" else strength
                yield f"{stain}, {amounts[0]:g} and {amounts[1]:g}", mixed_again(small, own, vectors, amounts)


def table(rows: dict[str, list[tuple[float, float, float, float, bool]]]) -> str:
    """Return the table as Markdown."""
    head = "| stain | pictures | brown | blue | blue / green | red / green | refused |\n|---|---|---|---|---|---|---|"
    lines = [head]
    for stain, measured in rows.items():
        values = np.array(measured, float)
        middle, most, least = np.median(values, axis=0), values.max(axis=0), values.min(axis=0)
        cells: list[Any] = [
            f"at most {most[k]:.2f}" if stain.startswith("H&E") else f"{least[k]:.2f}, {middle[k]:.2f}"
            for k in range(4)
        ]
        lines.append(f"| {stain} | {len(values)} | {' | '.join(cells)} | {int(values[:, 4].sum())} |")
    return "\n".join(lines)


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slides", type=Path, required=True, help="folder of the slides of score_refusals")
    for name in ("glas", "monuseg", "oral", "faults"):
        parser.add_argument(f"--{name}", type=Path, default=None)
    parser.add_argument("--tiles", type=int, default=100, help="how many oral tiles, evenly over all")
    parser.add_argument("--every", type=int, default=1, help="take every N-th GlaS and MoNuSeg picture")
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float, float, bool]]] = defaultdict(list)
    for stain, pixels in pictures(options):
        measured = measure(pixels)
        if measured is not None:
            rows[stain].append(measured)
    print(table(rows))


if __name__ == "__main__":
    main()
