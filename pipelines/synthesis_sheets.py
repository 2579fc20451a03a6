"""The tissue that the shipped generator learns from, and what is held out of it.

Painted sheets, half of them in stains estimated from real tiles; the tiles of ``oral_tiles`` at 400x (CC0); the two
H&E crops of the package histolytics (BSD-3); the CC0 slide in ``tests/data``. Near-duplicates go first, then blocks of
tiles with neighbouring numbers are held out whole: the set has no patient ids, and neighbours may share a patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsigraph.config import Config
from wsigraph.graph.tissue.stain import count_colours, empty_histogram, estimate_stain
from wsigraph.synthesis.diffusion.generator import GUIDANCE
from wsigraph.synthesis.diffusion.training_images import Sheet, paint_sheet, read_sheets
from wsigraph.synthesis.simulation.procedural import SiteStain, sample_site

ROOT = Path(__file__).parent.parent
ORAL_MPP = 1.0
"""The tiles state no pixel size; nuclei of 6 to 8 px say about 1 um/px."""
CROP_MPP = 0.5
"""Likewise the crops of histolytics: lymphocytes of 14 to 18 px."""
REAL_GUIDANCE = GUIDANCE["real"]
"""With which real tissue is painted: more obeys better and looks worse."""
_BLOCK = 20
_HELD_OUT = 4
"""Of so many blocks of tiles, one is held out."""
_ALIKE = 0.97


def paint_sheets(n: int, settings: Config, real: Sequence[Sheet], *, seed: int, side_px: int = 256) -> list[Sheet]:
    """Return painted sheets; every second in a stain estimated from a real sheet."""
    sheets = []
    for number, rng in enumerate(np.random.default_rng([seed, 1]).spawn(n)):
        site = sample_site(rng=rng)
        if real and number % 2:
            site = _stained_as(real[int(rng.integers(len(real)))], site)
        sheets.append(paint_sheet(settings.diffusion, site, side_px=side_px, rng=rng))
    return sheets


def split_oral(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the tiles to train on and those held out, without near-duplicates."""
    tiles = sorted(folder.glob("*/*_400x_*"), key=_number)
    kept: list[Path] = []
    seen: list[NDArray[np.float64]] = []
    for path in tiles:
        look = _fingerprint(path)
        if not seen or max(float((turned @ np.stack(seen).T).max()) for turned in _turns(look)) < _ALIKE:
            kept.append(path)
            seen.append(look.ravel())
    held = [path for path in kept if (_number(path)[1] // _BLOCK) % _HELD_OUT == _HELD_OUT - 1]
    return [path for path in kept if path not in set(held)], held


def real_sheets(oral: Path, histolytics: Path | None, settings: Config) -> tuple[list[Sheet], list[Sheet]]:
    """Return real sheets to train on, and those held out."""
    training, held = split_oral(oral)
    sheets, skipped = read_sheets(training, settings, mpp=ORAL_MPP)
    others, _ = read_sheets(held, settings, mpp=ORAL_MPP)
    if histolytics is not None:
        more, _ = read_sheets(sorted(histolytics.glob("hgsc*.jpg")), settings, mpp=CROP_MPP)
        sheets += more
    slide, _ = read_sheets([ROOT / "tests/data/CMU-1-Small-Region.svs"], settings)
    print(f"real sheets: {len(sheets)} and 1 slide to train on, {len(others)} held out, {len(skipped)} without tissue")
    return sheets + slide, others


def _stained_as(sheet: Sheet, site: SiteStain) -> SiteStain:
    histogram = empty_histogram()
    bins, pixels = count_colours(sheet.image, sheet.labels > 0)
    histogram[bins] += pixels
    return replace(site, vectors=estimate_stain(histogram).vectors)


def _number(path: Path) -> tuple[str, int]:
    found = re.search(r"(\d+)$", path.stem)
    return path.parent.name, int(found.group(1)) if found else 0


def _fingerprint(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        look = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), np.float64)
    look = look - look.mean()
    return np.asarray(look / (np.linalg.norm(look) + 1e-9))


def _turns(look: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return [np.rot90(each, turn).ravel() for each in (look, look[:, ::-1]) for turn in range(4)]
