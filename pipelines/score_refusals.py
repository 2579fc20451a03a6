"""Count which slides are refused as no H&E section: real H&E, altered H&E, and what is none.

    python -m pipelines.score_refusals --slides DIR --glas DIR --monuseg DIR --oral DIR --faults DIR [--tiles 100]

Every real section is scored as it is, with stain (optical density) x 0.4 and x 1.6, yellowed, exposed x 0.75 and
blurred by 3 um; none may be refused. Fluorescence, dark field, inverted pictures, blank glass, marker strokes, a grid
and a gradient are drawn (`pipelines.drawn_refusals`); all should be. Slides are given the pixel sizes of `SLIDES`.
Prints a Markdown table and, below it, each error by name.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipelines.drawn_refusals import draw_negatives
from wsigraph import find_tissue, read
from wsigraph.config import TissueConfig
from wsigraph.errors import NotHE, NoTissue
from wsigraph.geometry import Box
from wsigraph.graph.tissue.normalise import picture_stain
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.records import StainBasis
from wsigraph.records.slide_records import STAINS

Picture = NDArray[np.uint8]
SLIDES = {
    "CMU-1-Small-Region.svs": None,
    "kidney_glomeruli.svs": 0.25,
    "pyramid_wrong_mpp.tiff": 0.5,
    "ink.jpeg": 2.0,
    "oral_scc_whole.tiff": None,
    "cmu_dicom": None,
}
"""Real H&E slides and the pixel size to give with those that state none, um/px."""
FAULTY = {
    "fat_lost.png": 10.0,
    "pen_red_as_tissue.png": 10.0,
    "blur_on_necrosis.tiff": None,
    "fold_wedge.tiff": None,
    "fold_on_crypts.tiff": None,
    "t_pale0.2.tif": None,
    "t_yellow_bg.tif": None,
    "k_blood.tif": None,
}
"""Real H&E with other faults."""
NONE = {"fluorescence_staged_IV.ndpi": None, "pen_only_has_tissue.png": 10.0}
"""What is no H&E section."""
GLAS_MPP, MONUSEG_MPP = 0.62, 0.25
ORAL_MPP = {"100x": 1.0, "400x": 0.25}
"""Pixel sizes of the sets, um/px; those of the oral tiles are taken from the magnification in their names."""
TILE_PX, MAX_PX = 2e6, 6e6
"""Least and most pixels of a slide; smaller pictures are tiles."""
STRENGTHS = ((0.8, 1.6), (1.0, 0.6))
"""Amounts of the two stains of a section in another stain, times those of hematoxylin and eosin."""
BLUR_UM = 3.0
MIN_AREA_UM2 = 1000.0
"""Least piece of tissue: a tile at 40x is smaller than what is debris on a slide."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A picture to judge."""

    group: str
    name: str
    pixels: Picture
    mpp: float
    variant: str
    is_he: bool
    needs_vary: bool = True


def density(rgb: Picture, factor: float) -> Picture:
    """Return a picture with its optical density multiplied."""
    return _bytes(256.0 * ((rgb + 1.0) / 256.0) ** factor - 1.0)


VARIANTS = ("as it is", "stain x 0.4", "stain x 1.6", "yellowed", "exposure x 0.75", "blurred")
"""What is done to real sections."""


def vary(rgb: Picture, mpp: float, variant: str) -> Picture:
    """Return a picture in one of the `VARIANTS`."""
    if variant == "blurred":
        return _bytes(ndimage.gaussian_filter(rgb.astype(np.float32), (BLUR_UM / mpp, BLUR_UM / mpp, 0)))
    if variant == "yellowed":
        return _bytes(rgb * np.array([1.0, 0.95, 0.85]))
    if variant == "exposure x 0.75":
        return _bytes(rgb * 0.75)
    return density(rgb, float(variant.rpartition(" ")[2])) if variant.startswith("stain") else rgb


def judge(case: Case) -> str:
    """Return "passes", "refused" (as no H&E section) or "no tissue"."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        pixels = vary(case.pixels, case.mpp, case.variant) if case.needs_vary else case.pixels
        Image.fromarray(pixels).save(path, compress_level=1)
        with read(path, mpp=case.mpp) as slide:
            try:
                find_tissue(slide, TissueConfig(min_area_um2=MIN_AREA_UM2))
            except NotHE:
                return "refused"
            except NoTissue:
                return "no tissue"
    return "passes"


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield every picture in every variant."""
    yield from _varied(list_slides(options))
    others: list[tuple[str, Picture, float]] = list(
        draw_negatives(read_pixels(options.slides / next(iter(SLIDES)), None)[0])
    )
    if options.faults:
        others += [(name, *read_pixels(options.faults / name, mpp)) for name, mpp in NONE.items()]
    for name, pixels, mpp in others:
        yield Case(group="no H&E", name=name, pixels=pixels, mpp=mpp, variant="as it is", is_he=False)
    yield from _other_stains(options)
    yield from _varied(list_tiles(options))


def _varied(sections: Iterator[tuple[str, str, Picture, float]]) -> Iterator[Case]:
    """Yield real sections in every variant."""
    for group, name, pixels, mpp in sections:
        for variant in VARIANTS:
            yield Case(group=group, name=name, pixels=pixels, mpp=mpp, variant=variant, is_he=True)


def _other_stains(options: argparse.Namespace) -> Iterator[Case]:
    """Yield real sections unmixed by their own stains and mixed again by those of other sections."""
    paths = [(options.slides / name, mpp) for name, mpp in SLIDES.items() if name != "ink.jpeg"]
    glas = sorted((options.glas / "images").glob("*.png")) if options.glas else []
    paths += [(path, GLAS_MPP) for path in glas[:: max(len(glas) // 3, 1)]]
    for path, mpp in paths:
        pixels, working = read_pixels(path, mpp)
        own = picture_stain(pixels)
        for stain in (name for name in STAINS if name != "h&e"):
            vectors = estimate_stain(empty_histogram(), name=stain).vectors
            for strength in STRENGTHS:
                amounts = strength if stain != "trichrome" else strength[::-1]
                yield Case(
                    group="another stain",
                    name=path.stem,
                    pixels=mixed_again(pixels, own, vectors, amounts),
                    mpp=working,
                    variant=f"{stain}, {amounts[0]:g} and {amounts[1]:g}",
                    is_he=False,
                    needs_vary=False,
                )


def mixed_again(
    rgb: Picture, stain: StainBasis, vectors: NDArray[np.float64], strength: tuple[float, float]
) -> Picture:
    """Return pixels with each stain's amount kept times `strength` and its colour changed."""
    amount = np.maximum(-np.log10((rgb + 1.0) / 256.0) @ np.linalg.pinv(stain.vectors), 0.0) * np.array(strength)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return _bytes(256.0 * 10.0 ** -(amount @ unit) - 1.0)


def list_tiles(options: argparse.Namespace) -> Iterator[tuple[str, str, Picture, float]]:
    """Yield group, name, pixels and pixel size of real H&E tiles."""
    for path in sorted((options.glas / "images").glob("*.png"))[:: options.every] if options.glas else ():
        yield "GlaS", path.stem, *read_pixels(path, GLAS_MPP)
    pictures = set(options.monuseg.glob("*.png")) - set(options.monuseg.glob("*_nuclei.png")) if options.monuseg else ()
    for path in sorted(pictures)[:: options.every]:
        yield "MoNuSeg", path.stem, *read_pixels(path, MONUSEG_MPP)
    tiles = sorted(options.oral.glob("*/*.jpg")) if options.oral else []
    for index in np.linspace(0, len(tiles) - 1, min(options.tiles, len(tiles))).round().astype(int):
        path = tiles[index]
        yield "oral tiles", path.stem, *read_pixels(path, ORAL_MPP[path.stem.split("_")[1]])


def list_slides(options: argparse.Namespace) -> Iterator[tuple[str, str, Picture, float]]:
    """Yield group, name, pixels and pixel size of real H&E slides."""
    for name, mpp in SLIDES.items():
        yield "slides", name, *read_pixels(options.slides / name, mpp)
    for name, mpp in FAULTY.items() if options.faults else ():
        yield "slides with other faults", name, *read_pixels(options.faults / name, mpp)


def read_pixels(path: Path, mpp: float | None) -> tuple[Picture, float]:
    """Return a tile's pixels as they are, a slide's at 1 um/px or as much coarser as makes it at most `MAX_PX`."""
    with read(path, mpp=mpp) as slide:
        finest, area = slide.info.mpp, slide.info.levels[0].size.area
        working = finest if area < TILE_PX else max(1.0, finest, finest * float(np.sqrt(area / MAX_PX)))
        return slide.read(Box.whole(slide.size(working)), working), working


def _bytes(values: NDArray[Any]) -> Picture:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def table(rows: list[tuple[str, str, bool, str, str]]) -> str:
    """Return the confusion table, and below it what went wrong, as Markdown."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for group, variant, _, _, outcome in rows:
        counts[group, variant][outcome] += 1
    lines = ["| pictures | as | passes | refused as no H&E | no tissue found |", "|---|---|---|---|---|"]
    for (group, variant), count in counts.items():
        lines.append(f"| {group} | {variant} | {count['passes']} | {count['refused']} | {count['no tissue']} |")
    wrong = [
        f"- {name}, {variant}: {outcome}" for _, variant, is_he, name, outcome in rows if (outcome == "passes") != is_he
    ]
    return "\n".join([*lines, "", f"{len(wrong)} of {len(rows)} wrong.", *wrong])


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slides", type=Path, required=True, help="folder of the slides of SLIDES")
    for name in ("glas", "monuseg", "oral", "faults"):
        parser.add_argument(f"--{name}", type=Path, default=None)
    parser.add_argument("--tiles", type=int, default=100, help="how many oral tiles, evenly over all")
    parser.add_argument("--every", type=int, default=1, help="take every N-th GlaS and MoNuSeg picture")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after this time")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows: list[tuple[str, str, bool, str, str]] = []
    stop = time.monotonic() + 60 * options.minutes
    with ProcessPoolExecutor(options.workers) as pool:
        waiting = cases(options)
        # whole slides are large: only a few are held at once
        while (batch := list(islice(waiting, 4 * options.workers))) and time.monotonic() < stop:
            for case, outcome in zip(batch, pool.map(judge, batch), strict=True):
                print(f"{case.group}\t{case.name}\t{case.variant}\t{outcome}", file=sys.stderr, flush=True)
                rows.append((case.group, case.variant, case.is_he, case.name, outcome))
    print(table(rows))


if __name__ == "__main__":
    main()
