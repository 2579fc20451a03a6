"""Score tissue and artefacts on single real slides with known faults, beside four thresholds.

    python -m pipelines.score_faults --faults DIR [--overlays DIR] [--only NAME ...]

DIR holds the slides of `SLIDES`. The tissue of two of them is outlined by hand (``NAME_truth.png``); for a pale and a
yellow one, which were made from a slide, the change is undone and the result is the truth. Red marker is what lies
more than 50 um outside the outline, absorbs green, and hardly any red. Prints what is found and missed: tissue, marker
called tissue, folds, and what is left out of stained tissue as ink or blur.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipelines.score_refusals import density
from pipelines.score_tissue import OTHERS
from wsigraph import find_tissue, read
from wsigraph.config import SlideConfig
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box, px_to_mm2
from wsigraph.graph.tissue.artefact import ARTEFACT_BLUR, ARTEFACT_FOLD, ARTEFACT_INK
from wsigraph.records import TissueMap

SLIDES: dict[str, float | None] = {
    "fat_lost.png": 10.0,
    "pen_red_as_tissue.png": 10.0,
    "pen_only_has_tissue.png": 10.0,
    "blur_on_necrosis.tiff": None,
    "fold_on_crypts.tiff": None,
    "fold_wedge.tiff": None,
    "t_pale0.2.tif": None,
    "t_yellow_bg.tif": None,
    "t_ihc_faint_h_brown_spot.tif": None,
    "k_trichrome_blue_red.tif": None,
    "k_blood.tif": None,
}
"""Slides and the pixel size to give with those that state none, um/px."""
GRID = 4.0
_YELLOW = (223, 213, 181)
Mask = NDArray[np.bool_]


def find(path: Path, mpp: float | None, stain: str = "h&e") -> tuple[TissueMap | None, NDArray[np.uint8]]:
    """Return the map of a slide, None where it has no tissue, and its low-power pixels."""
    with read(path, mpp=mpp) as slide:
        rgb = slide.read(Box.whole(slide.size(GRID)), GRID)
        try:
            settings = SlideConfig(allow_non_he=True, stain=stain)
            return find_tissue(slide, suitability=settings), rgb
        except NoTissue:
            return None, rgb


def undone(path: Path, rgb: NDArray[np.uint8]) -> Mask | None:
    """Return the tissue of a made slide before it was made pale or yellow, on the low-power grid."""
    if "pale" in path.name:
        pixels = density(rgb, 5.0)
    elif "yellow" in path.name:
        pixels = np.clip(rgb * (255.0 / np.array(_YELLOW)), 0, 255).astype(np.uint8)
    else:
        return None
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(pixels).save(Path(folder) / "undone.png")
        before, _ = find(Path(folder) / "undone.png", GRID)
    return None if before is None else before.tissue > 0


def truth_of(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the outlines of a slide on the low-power grid; None where there are none."""
    outlines = path.with_name(f"{path.stem}_truth.png")
    if not outlines.is_file():
        return None
    return np.asarray(Image.open(outlines).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def red_marker(rgb: NDArray[np.uint8], tissue: Mask) -> Mask:
    """Return the red marker beside outlined tissue."""
    absorbed = -np.log10((rgb + 1.0) / 256.0)
    red, green, _ = np.moveaxis(absorbed - np.median(absorbed[~tissue], axis=0), 2, 0)
    beside = ~ndimage.binary_dilation(tissue, iterations=round(50.0 / GRID))
    return np.asarray(beside & (green > 0.06) & (red < 0.25 * green))


def agreement(predicted: Mask, truth: Mask) -> str:
    """Return Dice, recall, precision and the IoU of what is neither, as text."""
    common = float((predicted & truth).sum())
    dice = 2 * common / max(float(predicted.sum() + truth.sum()), 1)
    outside = float((~predicted & ~truth).sum()) / max(float((~predicted | ~truth).sum()), 1)
    recall, precision = common / max(truth.sum(), 1), common / max(predicted.sum(), 1)
    return f"{dice:.3f} / {recall:.3f} / {precision:.3f}, glass IoU {outside:.3f}"


def rows_of(path: Path, mpp: float | None, overlays: Path | None) -> list[tuple[str, str]]:
    """Return what was measured on one slide."""
    tissue_map, rgb = find(path, mpp)
    if tissue_map is None:
        return [("tissue", "none")]
    shape = tissue_map.tissue.shape
    codes, tissue = tissue_map.artefact, tissue_map.tissue > 0
    if overlays is not None:
        _draw(rgb, tissue, codes, overlays / f"{path.stem}.png")
    truth, before = truth_of(path, shape), undone(path, rgb)
    rows = [("tissue", f"{px_to_mm2(int(tissue.sum()), GRID):.3g} mm2")]
    for name, code in (("ink", ARTEFACT_INK), ("blur", ARTEFACT_BLUR), ("fold", ARTEFACT_FOLD)):
        part = codes == code
        rows.append(
            (name, f"{px_to_mm2(int(part.sum()), GRID):.3f} mm2, {part.sum() / max((tissue | part).sum(), 1):.3f}")
        )
    known = truth > 0 if truth is not None else before
    if known is not None:
        # ink over tissue is not judged
        judged = ~((codes == ARTEFACT_INK) & known)
        rows.append(("tissue Dice / recall / precision", agreement(tissue & judged, known & judged)))
        for method, rule in OTHERS.items():
            coarse = rgb[: shape[0] // 2 * 2, : shape[1] // 2 * 2].reshape(shape[0] // 2, 2, shape[1] // 2, 2, 3)
            small = np.repeat(np.repeat(rule(coarse.mean(axis=(1, 3)).round().astype(np.uint8)), 2, 0), 2, 1)
            rows.append((f"  {method}", agreement(small, known[: small.shape[0], : small.shape[1]])))
    if truth is not None and "pen_red" in path.name:
        marker = red_marker(rgb, truth > 0)
        rows.append(("marker found", f"{(codes[marker] == ARTEFACT_INK).mean():.3f}"))
        rows.append(("marker called tissue", f"{tissue[marker].mean():.3f}"))
    rows += [("warning", text) for text in tissue_map.warnings]
    return rows


def _draw(rgb: NDArray[np.uint8], tissue: Mask, codes: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = rgb.copy()
    inner = tissue.copy()
    inner[1:-1, 1:-1] &= tissue[2:, 1:-1] & tissue[:-2, 1:-1] & tissue[1:-1, 2:] & tissue[1:-1, :-2]
    picture[tissue & ~inner] = (0, 160, 0)
    for code, colour in ((ARTEFACT_INK, (0, 0, 255)), (ARTEFACT_BLUR, (255, 200, 0)), (ARTEFACT_FOLD, (255, 0, 0))):
        where = codes == code
        picture[where] = (picture[where] // 2 + np.array(colour) // 2).astype(np.uint8)
    Image.fromarray(picture).save(path)


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=Path, required=True, help="folder of the slides of SLIDES")
    parser.add_argument("--overlays", type=Path, default=None, help="folder for a picture of each slide")
    parser.add_argument("--only", nargs="*", default=None, help="names of slides, without suffix")
    options = parser.parse_args()
    print("| slide | what | measured |\n|---|---|---|")
    for name, mpp in SLIDES.items():
        if options.only is None or Path(name).stem in options.only:
            for what, measured in rows_of(options.faults / name, mpp, options.overlays):
                print(f"| {name} | {what} | {measured} |", flush=True)


if __name__ == "__main__":
    main()
