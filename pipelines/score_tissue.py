"""Score tissue and artefacts on composed slides, beside four thresholds.

    python -m pipelines.score_tissue --data DIR [--tiles 6] [--seed 0] [--overlays DIR]

DIR holds real H&E tiles (JPEG or PNG; 1 um/px is assumed). Each becomes the tissue of slides on made glass
(`pipelines.composed_sections`): plain, paler, with fat, marker, folds and areas out of focus. Prints two Markdown
tables: Dice, recall and precision of the tissue for each method, and recall and precision of each artefact here.

The other methods are written anew from their published rules and run at 8 um/px: Otsu on grey; Otsu on HSV saturation;
CLAM's defaults (saturation over 8 after a median of 7, closing by 4), CLAM with Otsu (its option ``--use_otsu``), and
TRIDENT's ``--segmenter otsu`` (two passes of Otsu on grey, after CellViT), here on the whole slide at once. Its other
segmenters are networks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_holes, remove_small_objects

from pipelines.composed_sections import (
    MARKERS,
    MPP,
    Section,
    compose,
    read_tile,
    with_defocus,
    with_fat,
    with_fold,
    with_marker,
)
from wsigraph import find_tissue, read
from wsigraph.config import SlideConfig
from wsigraph.errors import NoTissue
from wsigraph.graph.tissue.artefact import ARTEFACT_BLUR, ARTEFACT_FOLD, ARTEFACT_INK

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
GRID = 4.0
COARSE = 8.0
FOLDS_UM = (50.0, 80.0, 120.0, 180.0, 250.0, 400.0)
DEFOCUS_UM = (4.0, 6.0)
CODES = {"marker": ARTEFACT_INK, "fold": ARTEFACT_FOLD, "defocus": ARTEFACT_BLUR}


def slides(tile: NDArray[np.float64], seed: int) -> Iterator[tuple[str, Section, np.random.Generator]]:
    """Yield name, slide and generator of each composition of one tile."""
    rng = np.random.default_rng(seed)
    plain = compose(tile, rng)
    yield "plain", plain, rng
    for factor in (0.4, 0.2, 0.1):
        yield f"density x {factor:g}", compose(tile, rng, factor=factor), rng
    yield "fat", with_fat(plain, rng), rng
    colours = list(MARKERS)
    for is_dry in (False, True):
        colour = colours[(seed + 2 * is_dry) % len(colours)] if seed % 2 else "red"
        yield f"marker, {'dry' if is_dry else 'wet'} {colour}", with_marker(plain, colour, rng, is_dry=is_dry), rng
    yield "fold", with_fold(plain, FOLDS_UM[seed % len(FOLDS_UM)]), rng
    sigma = DEFOCUS_UM[seed % len(DEFOCUS_UM)]
    yield f"defocus, {sigma:g} um", with_defocus(plain, sigma), rng


def otsu_grey(rgb: Picture) -> Mask:
    """Return what is darker than Otsu's threshold on the mean of the channels."""
    grey = rgb.mean(axis=2)
    return np.asarray(grey < threshold_otsu(grey))


def otsu_saturation(rgb: Picture) -> Mask:
    """Return what is above Otsu's threshold on HSV saturation."""
    saturation = _saturation(rgb)
    return np.asarray(saturation > threshold_otsu(saturation))


def clam(rgb: Picture) -> Mask:
    """Return CLAM's tissue with its defaults: saturation over 8, median of 7, closing by 4."""
    return np.asarray(ndimage.binary_closing(ndimage.median_filter(_saturation(rgb), 7) > 8, np.ones((4, 4), bool)))


def clam_otsu(rgb: Picture) -> Mask:
    """Return CLAM's tissue with Otsu's threshold in place of 8."""
    smooth = ndimage.median_filter(_saturation(rgb), 7)
    return np.asarray(ndimage.binary_closing(smooth > threshold_otsu(smooth), np.ones((4, 4), bool)))


def trident_otsu(rgb: Picture) -> Mask:
    """Return TRIDENT's tissue by Otsu: grey and black become white, then two passes without specks and holes."""
    value, saturation = rgb.max(axis=2), _saturation(rgb)
    grey = rgb @ np.array([0.2125, 0.7154, 0.0721])
    grey[((saturation <= 10) & (value >= 70)) | (value <= 85)] = 255.0
    first = remove_small_objects(grey < threshold_otsu(grey), max_size=60)
    grey[~first] = 255.0
    return np.asarray(remove_small_holes(grey < threshold_otsu(grey), max_size=5000))


OTHERS: dict[str, Callable[[Picture], Mask]] = {
    "Otsu, grey": otsu_grey,
    "Otsu, saturation": otsu_saturation,
    "CLAM": clam,
    "CLAM, Otsu": clam_otsu,
    "TRIDENT, Otsu": trident_otsu,
}


def _saturation(rgb: Picture) -> NDArray[np.uint8]:
    """Return HSV saturation in 0 to 255."""
    highest, lowest = rgb.max(axis=2).astype(np.float64), rgb.min(axis=2)
    return np.asarray(np.round(255 * (highest - lowest) / np.maximum(highest, 1)), np.uint8)


def _halved(values: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Return means over squares of pixels."""
    height, width = (side // times * times for side in values.shape[:2])
    blocks = values[:height, :width].reshape(height // times, times, width // times, times, -1)
    return np.asarray(blocks.mean(axis=(1, 3)).squeeze())


def _score(predicted: Mask, truth: Mask) -> tuple[float, float, float]:
    """Return Dice, recall and precision."""
    common = float((predicted & truth).sum())
    total = float(predicted.sum() + truth.sum())
    return 2 * common / max(total, 1), common / max(truth.sum(), 1), common / max(predicted.sum(), 1)


def score(section: Section, rgb: Picture, name: str, overlays: Path | None) -> dict[str, tuple[float, float, float]]:
    """Return the scores of every method on one slide, and of the artefact that was painted."""
    step = round(GRID / MPP)
    truth, painted = (_halved(mask.astype(float), step) >= 0.5 for mask in (section.tissue, section.painted))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.png"
        Image.fromarray(rgb).save(path, compress_level=1)
        with read(path, mpp=MPP) as slide:
            try:
                tissue_map = find_tissue(slide, suitability=SlideConfig(allow_non_he=True))
            except NoTissue:
                return {"wsigraph": (0.0, 0.0, 0.0)}
    codes = tissue_map.artefact[: truth.shape[0], : truth.shape[1]]
    # what is left out as out of focus is tissue all the same
    predicted = (tissue_map.tissue[: truth.shape[0], : truth.shape[1]] > 0) | (codes == ARTEFACT_BLUR)
    scores = {"wsigraph": _score(predicted, truth)}
    coarse = _halved(rgb.astype(float), round(COARSE / MPP)).round().astype(np.uint8)
    coarse_truth = _halved(section.tissue.astype(float), round(COARSE / MPP)) >= 0.5
    for method, rule in OTHERS.items():
        scores[method] = _score(rule(coarse), coarse_truth)
    kind = name.partition(",")[0]
    if kind in CODES:
        marked = codes == CODES[kind]
        if kind == "marker":
            scores["as tissue"] = (0.0, float(predicted[painted].mean()), 0.0)
            marked &= ~truth
        scores[f"artefact {name if kind == 'marker' else kind}"] = _score(marked, painted)
    if overlays is not None:
        _draw(_halved(rgb.astype(float), step), predicted, codes, overlays / f"{name}.png")
    return scores


def _draw(rgb: NDArray[np.float64], predicted: Mask, codes: NDArray[np.uint8], path: Path) -> None:
    """Write a slide with the outline of what was predicted and its artefacts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = rgb.round().astype(np.uint8)
    picture[predicted & ~ndimage.binary_erosion(predicted, iterations=2)] = (0, 160, 0)
    for code, colour in ((ARTEFACT_INK, (0, 0, 255)), (ARTEFACT_BLUR, (255, 200, 0)), (ARTEFACT_FOLD, (255, 0, 0))):
        picture[codes == code] = (picture[codes == code] / 2 + np.array(colour) / 2).astype(np.uint8)
    Image.fromarray(picture).save(path)


def tables(rows: dict[str, dict[str, list[tuple[float, float, float]]]]) -> str:
    """Return both tables as Markdown: means over tiles."""
    methods = ["wsigraph", *OTHERS]
    lines = [f"| slides | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    artefacts = ["", "| artefact | slides | recall | precision | called tissue |", "|---|---|---|---|---|"]
    for name, scores in rows.items():
        cells = [" / ".join(f"{value:.2f}" for value in np.mean(scores[method], axis=0)) for method in methods]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        for label in (label for label in scores if label.startswith("artefact ")):
            _, recall, precision = np.mean(scores[label], axis=0)
            tissue = f"{np.mean(scores['as tissue'], axis=0)[1]:.3f}" if "as tissue" in scores else "-"
            title = label.removeprefix("artefact ")
            artefacts.append(f"| {title} | {len(scores[label])} | {recall:.2f} | {precision:.2f} | {tissue} |")
    return "\n".join([*lines, *artefacts])


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real H&E tiles")
    parser.add_argument("--tiles", type=int, default=6, help="how many tiles, evenly over all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first tile; the rules were chosen on 0 to 5")
    parser.add_argument("--overlays", type=Path, default=None, help="folder for a picture of each slide")
    options = parser.parse_args()
    paths = sorted(path for path in options.data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, options.tiles).round().astype(int)]
    rows: dict[str, dict[str, list[tuple[float, float, float]]]] = defaultdict(lambda: defaultdict(list))
    for seed, path in enumerate(chosen, start=options.seed):
        for name, section, rng in slides(read_tile(path), seed):
            folder = None if options.overlays is None else options.overlays / path.stem
            label = "defocus" if name.startswith("defocus") else name
            for method, values in score(section, section.encode(rng), name, folder).items():
                rows[label][method].append(values)
    print(tables(rows))


if __name__ == "__main__":
    main()
