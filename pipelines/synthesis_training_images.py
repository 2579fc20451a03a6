"""Training images of the shipped generator, and the images held out of its training.

Training uses painted images, half of them in stains estimated from real tiles; the tiles of ``oral_tiles`` at 400x
(CC0); the two H&E crops of the package histolytics (BSD-3); and the CC0 slide in ``tests/data``. Near-duplicates are
removed first. Then whole blocks of tiles with neighbouring numbers are held out, because the data set has no patient
ids and neighbours may come from one patient.
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
from wsigraph.synthesis.diffusion.denoiser import GUIDANCE
from wsigraph.synthesis.diffusion.training_images import TrainingImage, paint_training_image, read_training_images
from wsigraph.synthesis.simulation.procedural import SiteStain, sample_site

ROOT = Path(__file__).parent.parent
ORAL_MPP = 1.0
"""The tiles state no pixel size; nuclei of 6 to 8 px say about 1 um/px."""
CROP_MPP = 0.5
"""Likewise the crops of histolytics: lymphocytes of 14 to 18 px."""
REAL_GUIDANCE = GUIDANCE["real"]
"""Guidance for real tissue: a higher one has better fidelity and looks less real."""
_BLOCK = 20
_HELD_OUT = 4
"""Of so many blocks of tiles, one is held out."""
_ALIKE = 0.97


def paint_training_images(
    n: int, settings: Config, real: Sequence[TrainingImage], *, seed: int, side_px: int = 256
) -> list[TrainingImage]:
    """Return painted images; every second one in a stain estimated from a real image."""
    training_images = []
    for number, rng in enumerate(np.random.default_rng([seed, 1]).spawn(n)):
        site = sample_site(rng=rng)
        if real and number % 2:
            site = _stained_as(real[int(rng.integers(len(real)))], site)
        training_images.append(paint_training_image(settings.diffusion, site, side_px=side_px, rng=rng))
    return training_images


def split_oral(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the tiles to train on and those held out, without near-duplicates."""
    tiles = sorted(folder.glob("*/*_400x_*"), key=_number)
    unique: list[Path] = []
    fingerprints: list[NDArray[np.float64]] = []
    for path in tiles:
        own = _fingerprint(path)
        if not unique or max(float((variant @ np.stack(fingerprints).T).max()) for variant in _turns(own)) < _ALIKE:
            unique.append(path)
            fingerprints.append(own.ravel())
    held = [path for path in unique if (_number(path)[1] // _BLOCK) % _HELD_OUT == _HELD_OUT - 1]
    return [path for path in unique if path not in set(held)], held


def real_training_images(
    oral: Path, histolytics: Path | None, settings: Config
) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Return real images to train on, and those held out."""
    training, held = split_oral(oral)
    training_images, skipped = read_training_images(training, settings, mpp=ORAL_MPP)
    others, _ = read_training_images(held, settings, mpp=ORAL_MPP)
    if histolytics is not None:
        more, _ = read_training_images(sorted(histolytics.glob("hgsc*.jpg")), settings, mpp=CROP_MPP)
        training_images += more
    slide, _ = read_training_images([ROOT / "tests/data/CMU-1-Small-Region.svs"], settings)
    print(
        f"real images: {len(training_images)} and 1 slide to train on, {len(others)} held out, "
        f"{len(skipped)} without tissue"
    )
    return training_images + slide, others


def _stained_as(training_image: TrainingImage, site: SiteStain) -> SiteStain:
    histogram = empty_histogram()
    bins, pixels = count_colours(training_image.image, training_image.labels > 0)
    histogram[bins] += pixels
    return replace(site, vectors=estimate_stain(histogram).vectors)


def _number(path: Path) -> tuple[str, int]:
    match = re.search(r"(\d+)$", path.stem)
    return path.parent.name, int(match.group(1)) if match else 0


def _fingerprint(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), np.float64)
    pixels = pixels - pixels.mean()
    return np.asarray(pixels / (np.linalg.norm(pixels) + 1e-9))


def _turns(pixels: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return [np.rot90(variant, turn).ravel() for variant in (pixels, pixels[:, ::-1]) for turn in range(4)]
