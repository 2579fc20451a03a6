"""Test whether a segmenter gains from synthetic tissue: real only, synthetic only, both, by patient.

    python -m pipelines.score_usefulness GLAS [--model DIR] [--out FILE] [--folds N] [--seeds N] [--steps N]
        [--generator-steps N] [--pictures N] [--few N] [--device auto|cpu|cuda]
    python -m pipelines.score_usefulness --printed FILE

GLAS holds ``images/``, ``labels/`` (glands numbered) and ``grades.csv`` (image, patient_id). In each fold by patient, a
generator that was not trained on these images (by default the shipped one) is trained further on the training patients
alone. It then paints pictures of the graphs and masks of their canvases. Small segmenters are trained to separate gland
from the rest. All arms have equal numbers of batches, with rotations, reflections, and augmented stain, sharpness and
noise; "both" draws equal numbers of real and synthetic canvases. Dice is over the pixels of a test patient, mean over
seeds; intervals are a paired bootstrap of patients. ``--few N`` uses only N training patients. Finished folds in FILE
with the same settings are not run again; ``--printed`` only prints the table of a FILE. Collapsed segmenters are named,
and the table is printed again without them. The images are for research only: no weights from here are shipped.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.synthesis_training_images import REAL_GUIDANCE
from wsigraph.config import DiffusionConfig
from wsigraph.geometry import Size
from wsigraph.synthesis.diffusion.denoiser import Denoiser, inference_copy
from wsigraph.synthesis.diffusion.extract import Extractor, train_extractor
from wsigraph.synthesis.diffusion.generator import load_generator
from wsigraph.synthesis.diffusion.image_tensors import to_tensor
from wsigraph.synthesis.diffusion.painter import Painter
from wsigraph.synthesis.diffusion.train import train
from wsigraph.synthesis.diffusion.training_images import REAL, TrainingImage, cut
from wsigraph.synthesis.simulation.layout import GLAND, STROMA, TISSUES

GLAS_MPP = 0.62
_BATCH = 16
_LEARNING_RATE = 3e-4
_STEPS = 12


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("glas", type=Path, nargs="?")
    parser.add_argument("--printed", type=Path, help="rows of an earlier run; nothing is trained")
    parser.add_argument("--model", type=Path, help="generator to start from")
    parser.add_argument("--out", type=Path, default=Path("synthesis-usefulness.json"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="batches of each segmenter")
    parser.add_argument("--generator-steps", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--few", type=int, help="training patients to leave in a fold")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.printed is not None:
        print(report(json.loads(options.printed.read_text())["rows"]))
        return
    if options.glas is None:
        parser.error("name the folder of GlaS, or --printed FILE")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    start = load_generator(options.model)
    learning = {"training_steps": options.generator_steps, "learning_rate": _LEARNING_RATE, "painted_share": 0.0}
    config = start.config.model_copy(update={**learning, "drop_class": 0.0})
    training_images = read_glas(options.glas, config)
    patients = sorted(training_images)
    settings = {
        "model": start.model_id,
        **{name: getattr(options, name) for name in ("folds", "seeds", "steps", "generator_steps", "pictures", "few")},
    }
    results = read_rows(options.out, settings)
    done = {row["fold"] for row in results}
    for number, held in enumerate(np.array_split(np.random.default_rng(0).permutation(patients), options.folds)):
        if number in done:
            continue
        training = [name for name in patients if name not in set(held)]
        training = list(np.random.default_rng(number).permutation(training)[: options.few])
        real = [training_image for name in training for training_image in training_images[name]]
        generator = Denoiser(config)
        generator.load_state_dict(train(real, config, seed=number, start=start.network, device=device).weights)
        generator = inference_copy(generator, half=config.half, device=device)
        made = paint_like(generator, real, options.pictures, seed=number, device=device)
        show(options.out.with_suffix(f".{number}.png"), made)
        arms = {"real": real, "synthetic": made, "both": [*real * max(1, len(made) // len(real)), *made]}
        for seed, (arm, learned) in product(range(options.seeds), arms.items()):
            segmenter = train_extractor(
                config, seed=1000 + seed, steps=options.steps, training_images=learned, half=config.half
            )
            key = {"fold": number, "seed": seed, "arm": arm}
            results += [{**key, "patient": str(name), "dice": dice(segmenter, training_images[name])} for name in held]
        options.out.write_text(json.dumps({"settings": settings, "rows": results}, indent=1) + "\n")
        print(f"fold {number}: {len(training)} patients to train on", flush=True)
    print(report(results))


def read_rows(path: Path, settings: dict[str, object]) -> list[dict[str, object]]:
    """Return the rows of an earlier run; SystemExit where it had other settings."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text())
    if earlier["settings"] != settings:
        sys.exit(f"{path} was made with {earlier['settings']}, expected {settings}; move it away or name another --out")
    return list(earlier["rows"])


def show(path: Path, made: Sequence[TrainingImage]) -> None:
    """Write the first pictures above their masks."""
    pictures = np.hstack([tile.image for tile in made[:12]])
    masks = np.hstack([(tile.labels * 36).astype(np.uint8) for tile in made[:12]])
    Image.fromarray(np.vstack([pictures, np.dstack([masks] * 3)])).save(path)


def read_glas(folder: Path, config: DiffusionConfig) -> dict[str, list[TrainingImage]]:
    """Return the images of each patient at the canvas' pixel size, with classes GLAND and, for all else, STROMA."""
    with (folder / "grades.csv").open(newline="") as table:
        owner = {row["image"]: row["patient_id"] for row in csv.DictReader(table)}
    training_images: dict[str, list[TrainingImage]] = {}
    for path in sorted((folder / "images").iterdir()):
        with Image.open(path) as image, Image.open(next((folder / "labels").glob(f"{path.stem}[._]*"))) as label:
            size = Size(*(round(side * GLAS_MPP / config.mpp) for side in (image.height, image.width)))
            small = np.array(image.convert("RGB").resize((size.width, size.height), Image.Resampling.BOX))
            gland = np.asarray(label.resize((size.width, size.height), Image.Resampling.NEAREST)) > 0
        classes = np.where(gland, GLAND, STROMA)
        training_image = TrainingImage(
            name=path.stem,
            image=small,
            labels=classes.astype(np.int32) + 1,
            classes=np.arange(len(TISSUES)),
            domain=REAL,
        )
        training_images.setdefault(owner[path.stem], []).append(training_image)
    return training_images


def paint_like(
    network: Denoiser, real: Sequence[TrainingImage], n: int, *, seed: int, device: str
) -> list[TrainingImage]:
    """Return synthetic canvases of the graphs and masks of real ones."""
    rng, config = np.random.default_rng([seed, 7]), network.config
    examples = [cut(real[int(rng.integers(len(real)))], config, rng=rng) for _ in range(n)]
    scenes = [example.scene for example in examples]
    painter = Painter(
        network=network, steps=_STEPS, guidance=REAL_GUIDANCE, sampler="dpmsolver", device=device, batch=_BATCH
    )
    side = config.canvas_px
    noise = torch.cat(
        [
            torch.randn(
                len(scenes[first : first + _BATCH]), 3, side, side,
                generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
            )
            for first in range(0, n, _BATCH)
        ]
    )  # fmt: skip
    images = painter.paint(scenes, noise, domain=REAL, raster=True)
    made: list[TrainingImage] = []
    for image, scene in zip(images, scenes, strict=True):
        assert scene.labels is not None  # noqa: S101 - cut from an image
        labels = scene.class_map(scene.labels).astype(np.int32)
        classes = np.arange(len(TISSUES))
        made.append(TrainingImage(name="synthetic", image=image, labels=labels, classes=classes, domain=REAL))
    return made


@torch.no_grad()
def dice(segmenter: Extractor, training_images: Sequence[TrainingImage]) -> float:
    """Return the Dice of glands over all pixels of a patient."""
    both = total = 0
    for training_image in training_images:
        height, width = (side // 8 * 8 for side in training_image.labels.shape)
        scores = segmenter(to_tensor(np.ascontiguousarray(training_image.image[:height, :width]))[None])[0]
        predicted = (scores[GLAND] > scores[STROMA]).numpy()
        truth = training_image.labels[:height, :width] == GLAND + 1
        both += int((predicted & truth).sum())
        total += int(predicted.sum() + truth.sum())
    return 2 * both / max(total, 1)


def report(results: Sequence[dict[str, object]]) -> str:
    """Return the table of all segmenters and, if some collapsed, their list and the table without their seeds."""
    failed = collapsed(results)
    if not failed:
        return summary(results)
    lines = [summary(results), ""]
    for (fold, seed, arm), own, others in failed:
        lines.append(f"Collapsed: fold {fold}, seed {seed}, {arm}: Dice {own:.3f}; other seeds {others:.3f}.")
    excluded = {key[:2] for key, _, _ in failed}
    lines += ["", "Without these seeds of these folds, in every arm:", ""]
    return "\n".join([*lines, summary([row for row in results if (row["fold"], row["seed"]) not in excluded])])


def collapsed(results: Sequence[dict[str, object]]) -> list[tuple[tuple[object, object, object], float, float]]:
    """Return segmenters whose mean Dice is below half of that of the other seeds of the same fold and arm.

    Parameters
    ----------
    results : sequence of dict
        Rows: ``fold``, ``seed``, ``arm``, ``patient``, ``dice``.

    Returns
    -------
    list of tuple
        Fold, seed and arm; mean Dice of the segmenter; mean Dice of the other seeds.
    """
    dices: dict[tuple[object, object, object], list[float]] = {}
    for row in results:
        dices.setdefault((row["fold"], row["seed"], row["arm"]), []).append(float(str(row["dice"])))
    means = {key: float(np.mean(values)) for key, values in dices.items()}
    low = []
    for key, own in means.items():
        others = [mean for (fold, seed, arm), mean in means.items() if (fold, arm) == key[::2] and seed != key[1]]
        if others and own < np.mean(others) / 2:
            low.append((key, own, float(np.mean(others))))
    return low


def summary(results: Sequence[dict[str, object]]) -> str:
    """Return the Dice of every arm with a paired bootstrap of patients, as Markdown."""
    patients = sorted({str(row["patient"]) for row in results})
    table: dict[str, NDArray[np.float64]] = {}
    for arm in ("real", "synthetic", "both"):
        own = [[float(str(r["dice"])) for r in results if r["arm"] == arm and r["patient"] == p] for p in patients]
        table[arm] = np.array([np.mean(values) for values in own])
    draws = np.random.default_rng(0).integers(0, len(patients), (2000, len(patients)))
    lines = ["| arm | Dice | of real only | above real only (95 %) |", "|---|---|---|---|"]
    for arm, values in table.items():
        gains = values[draws].mean(axis=1) - table["real"][draws].mean(axis=1)
        low, high = np.percentile(gains, [2.5, 97.5])
        gain, fraction = values.mean() - table["real"].mean(), values.mean() / table["real"].mean()
        lines.append(f"| {arm} | {values.mean():.3f} | {fraction:.2f} | {gain:+.3f} ({low:+.3f} to {high:+.3f}) |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
