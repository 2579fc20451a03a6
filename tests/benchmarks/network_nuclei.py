"""The nucleus network compared with outlines drawn by pathologists, as they are and with the picture spoiled.

Each tile is opened as a slide of 0.25 um/px, its tissue is found, and the nuclei are those of `find_nuclei`. They are
matched as in ``nuclei``. Spoiled pictures show what holds up: hematoxylin and eosin times 0.6 and 1.5, a Gaussian blur
of 0.5 um, JPEG of quality 50. Nothing here is used to choose weights or thresholds.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

import wsigraph
from tests.benchmarks.nuclei import MPP, Matches, dice, match, outlines_of
from tests.benchmarks.table import Table
from tests.benchmarks.truth import SHARED
from wsigraph.config import load
from wsigraph.errors import NoTissue
from wsigraph.graph.feature.detect import NucleusDetector
from wsigraph.graph.feature.network_detector import NetworkDetector
from wsigraph.graph.feature.nucleus_table import find_nuclei
from wsigraph.graph.tissue.mask import find_tissue

Pixels = NDArray[np.uint8]


def stained(rgb: Pixels, gain: float) -> Pixels:
    """Return a picture with its optical density multiplied."""
    light = np.maximum(rgb.astype(np.float64), 1) / 255
    return np.clip(np.round(255 * light**gain), 0, 255).astype(np.uint8)


def blurred(rgb: Pixels) -> Pixels:
    """Return a picture blurred by a Gaussian of 0.5 um."""
    return np.asarray(ndimage.gaussian_filter(rgb, (0.5 / MPP, 0.5 / MPP, 0)))


def compressed(rgb: Pixels) -> Pixels:
    """Return a picture after JPEG of quality 50."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer))


VARIANTS: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda rgb: rgb,
    "stain x 0.6": lambda rgb: stained(rgb, 0.6),
    "stain x 0.8": lambda rgb: stained(rgb, 0.8),
    "stain x 1.5": lambda rgb: stained(rgb, 1.5),
    "blur 0.5 um": blurred,
    "JPEG 50": compressed,
}


def benchmark(folder: Path = SHARED / "monuseg_train", detector: NucleusDetector | None = None) -> list[Table]:
    """Return two tables, without rows if there are no outlines: by tile, and by what was done to the picture.

    Parameters
    ----------
    folder : Path
        ``NAME.png`` at 0.25 um/px beside ``NAME_nuclei.png``, above 0 inside the outlines.
    detector : NucleusDetector, optional
        The shipped network if left out. Another is scored on the pictures as they are alone.

    Returns
    -------
    list of Table
        The tables.
    """
    used = detector or NetworkDetector()
    tiles = Table(
        f"Nuclei of the detector {used.name} against outlines, matched one to one",
        ("tile", "recall", "precision", "F1", "pixel Dice", "pairs", "detected", "outlined"),
    )
    spoiled = Table(
        f"Nuclei of the detector {used.name} where the picture is spoiled", ("picture", "recall", "precision", "F1")
    )
    paths = sorted(folder.glob("*_nuclei.png"))
    if not paths:
        tiles.notes.append("the outlined tiles (monuseg_train) are not available and were left out")
        return [tiles, spoiled]
    seconds, mm2 = 0.0, 0.0
    for name, change in VARIANTS.items():
        if detector is not None and name != "as it is":
            continue
        total, overlaps = Matches(0, 0, 0, 0, 0), []
        for path in paths:
            truth = np.asarray(Image.open(path).convert("L")) > 0
            rgb = np.asarray(Image.open(path.with_name(path.name.replace("_nuclei", ""))).convert("RGB"))
            found, overlap, spent = _one(change(rgb), truth, used)
            total, overlaps = total + found, [*overlaps, overlap]
            if change is VARIANTS["as it is"]:
                seconds, mm2 = seconds + spent, mm2 + truth.size * MPP**2 / 1e6
                tiles.rows.append(_row(path.name.removesuffix("_nuclei.png")[:12], found, overlap))
        if change is VARIANTS["as it is"]:
            tiles.rows.append(_row("all", total, float(np.mean(overlaps))))
        spoiled.rows.append((name, total.recall, total.precision, f1(total)))
    tiles.notes.append("outlines that touch count as one; thresholds were fixed without these tiles")
    tiles.notes.append(f"{seconds / mm2:.2f} CPU s a mm2 with a window half empty, without tissue detection")
    return [tiles, spoiled]


def f1(found: Matches) -> float:
    """Return the harmonic mean of recall and precision."""
    return 2 * found.recall * found.precision / max(found.recall + found.precision, 1e-9)


def _row(name: str, found: Matches, overlap: float) -> tuple[object, ...]:
    return name, found.recall, found.precision, f1(found), overlap, found.pairs, found.detections, found.outlines


def _one(rgb: Pixels, truth: NDArray[np.bool_], detector: NucleusDetector) -> tuple[Matches, float, float]:
    """Return how the nuclei of a tile pair off, the overlap of their pixels, and the CPU seconds of the detector."""
    config = load(overrides=["tissue.min_area_um2=1000"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tile.png"
        Image.fromarray(rgb).save(file)
        with wsigraph.read(file, mpp=MPP) as slide:
            try:
                tissue = find_tissue(slide, config.tissue, working_mpp=config.superpixel.mpp)
            except NoTissue:
                return match(outlines_of(truth), np.zeros((0, 2), np.int64), large_px=1), 0.0, 0.0
            start = time.process_time()
            table = find_nuclei(slide, tissue, detector)
            seconds = time.process_time() - start
    middle = np.stack([table.columns["y_um"], table.columns["x_um"]], axis=1) / MPP
    at = np.minimum(middle.astype(np.int64), np.array(truth.shape) - 1)
    picture = Image.new("1", (truth.shape[1], truth.shape[0]))
    pen = ImageDraw.Draw(picture)
    for row in range(table.n_nuclei):
        ring = (table.outline_um(row) / MPP - 0.5).tolist()
        pen.polygon([tuple(point) for point in ring], fill=1)
    return match(outlines_of(truth), at, large_px=1), dice(np.asarray(picture), truth), seconds
