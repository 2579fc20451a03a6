"""Artefacts painted on real slides, and how much of the painted truth is detected.

Dice compares the low-power pixels of the detected artefact with the painted truth: ink everywhere, all others within
the tissue of the clean slide, because they are only searched there. "Elsewhere" is tissue beside the painted truth that
was marked, including the margin of ink and the cells at the border of blur.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import wsigraph
from tests.benchmarks.table import Table
from tests.benchmarks.truth import SHARED
from tests.graph.tissue.painting import dice, on_grid, paintings
from wsigraph.geometry import Box
from wsigraph.graph.tissue.artefact import ARTEFACT_BLUR, ARTEFACT_EDGE, ARTEFACT_FOLD, ARTEFACT_INK, artefact_areas
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.records import TissueMap

ROOT = Path(__file__).parent.parent.parent
CODES = {
    "ink": ARTEFACT_INK,
    "blur": ARTEFACT_BLUR,
    "bubble": ARTEFACT_EDGE,
    "edge": ARTEFACT_EDGE,
    "fold": ARTEFACT_FOLD,
}


def slides() -> dict[str, tuple[Path, float | None, tuple[float, float]]]:
    """Return the available slides: path, pixel size if the file has none, and centre (y, x) of painted discs, um."""
    at_hand: dict[str, tuple[Path, float | None, tuple[float, float]]] = {
        "CMU-1-Small-Region.svs": (ROOT / "tests" / "data" / "CMU-1-Small-Region.svs", None, (900.0, 450.0)),
        "kidney_glomeruli.svs": (SHARED / "slides" / "kidney_glomeruli.svs", 0.5, (900.0, 700.0)),
        "pyramid_wrong_mpp.tiff": (SHARED / "slides" / "pyramid_wrong_mpp.tiff", 0.5, (500.0, 700.0)),
    }
    return {name: row for name, row in at_hand.items() if row[0].is_file()}


def mapped(rgb: np.ndarray, folder: Path) -> TissueMap:
    """Return the tissue map of pixels of 1 um, through the normal pipeline."""
    path = folder / "painted.png"
    Image.fromarray(rgb).save(path, compress_level=1)
    with wsigraph.read(path, mpp=1.0) as slide:
        return find_tissue(slide)


def quality(name: str, folder: Path) -> Table:
    """Return how well each painted artefact is detected on one slide."""
    path, mpp, centre = slides()[name]
    with wsigraph.read(path, mpp=mpp) as slide:
        rgb = slide.read(Box.whole(slide.size(1.0)), 1.0)
    clean = mapped(rgb, folder)
    areas = ", ".join(f"{reason} {area:.3f}" for reason, area in artefact_areas(clean).items())
    table = Table(
        f"Painted artefacts on {name}",
        ("painted", "Dice", "recall", "painted mm2", "elsewhere, of the tissue"),
        notes=[f"clean slide, mm2 by reason: {areas}"],
    )
    tissue = clean.tissue > 0
    for what, paint in paintings(rgb, centre).items():
        picture, mask = paint()
        code = CODES[what.split(",")[0]]
        detected = mapped(picture, folder).artefact == code
        truth = on_grid(mask, tissue.shape)
        if code != ARTEFACT_INK:
            truth, detected = truth & tissue, detected & tissue
        away = float((detected & ~on_grid(mask, tissue.shape) & tissue).sum() / tissue.sum())
        recall = float((detected & truth).sum() / truth.sum())
        table.rows.append((what, dice(detected, truth), recall, float(truth.sum() * clean.mpp**2 / 1e6), away))
    return table


def benchmark() -> list[Table]:
    """Return one table a slide."""
    with tempfile.TemporaryDirectory(prefix="wsigraph-painted-") as folder:
        return [quality(name, Path(folder)) for name in slides()]
