"""Whether a segmenter gains from synthetic tissue: real only, synthetic only, both, by patient.

    python -m pipelines.score_usefulness GLAS [--model DIR] [--out FILE] [--folds N] [--seeds N] [--steps N]
        [--generator-steps N] [--pictures N] [--few N] [--device auto|cpu|cuda]
    python -m pipelines.score_usefulness --printed FILE

GLAS holds ``images/``, ``labels/`` (glands numbered) and ``grades.csv`` (image, patient_id). In each fold by patient a
generator starts from one that has seen none of these images (the shipped one where ``--model`` is left out), goes on
with the training patients alone and paints pictures of the graphs and masks of their canvases; small segmenters learn
to tell gland from the rest. Every arm has equal batches, turned and mirrored, in stains, sharpness and noise that vary;
"both" draws as many canvases of one kind as of the other. Dice is over the pixels of a test patient, mean over seeds;
intervals are a paired bootstrap of patients. ``--few`` leaves so many training patients. Folds that FILE holds whole,
from the same settings, are not run again; ``--printed`` trains nothing and shows what a FILE holds. Segmenters that
collapsed are named, and the table is shown again without them. The images are for research only: no weights from here
are shipped.
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

from pipelines.synthesis_sheets import REAL_GUIDANCE
from wsigraph.config import DiffusionConfig
from wsigraph.geometry import Size
from wsigraph.graph.feature.efficientnet import one_thread
from wsigraph.synthesis.diffusion.condition import collate
from wsigraph.synthesis.diffusion.denoiser import Denoiser, draw_raster, for_painting
from wsigraph.synthesis.diffusion.extract import Extractor, train_extractor
from wsigraph.synthesis.diffusion.generator import load_generator
from wsigraph.synthesis.diffusion.grid import to_image
from wsigraph.synthesis.diffusion.sampling_loop import denoise
from wsigraph.synthesis.diffusion.train import to_tensor, train
from wsigraph.synthesis.diffusion.training_images import REAL, Sheet, cut
from wsigraph.synthesis.simulation.layout import GLAND, STROMA, TISSUES

GLAS_MPP = 0.62
_BATCH = 16
_RATE = 3e-4
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
    learning = {"training_steps": options.generator_steps, "learning_rate": _RATE, "painted_share": 0.0}
    config = start.config.model_copy(update={**learning, "drop_class": 0.0})
    sheets = read_glas(options.glas, config)
    patients = sorted(sheets)
    settings = {
        "model": start.model_id,
        **{name: getattr(options, name) for name in ("folds", "seeds", "steps", "generator_steps", "pictures", "few")},
    }
    results = read_rows(options.out, settings)
    done = {row["fold"] for row in results}
    for number, held in enumerate(np.array_split(np.random.default_rng(0).permutation(patients), options.folds)):
        if number in done:
            continue
        kept = [name for name in patients if name not in set(held)]
        kept = list(np.random.default_rng(number).permutation(kept)[: options.few])
        real = [sheet for name in kept for sheet in sheets[name]]
        generator = Denoiser(config)
        generator.load_state_dict(train(real, config, seed=number, start=start.network, device=device).weights)
        generator = for_painting(generator, half=config.half, device=device)
        made = paint_like(generator, real, options.pictures, seed=number, device=device)
        show(options.out.with_suffix(f".{number}.png"), made)
        arms = {"real": real, "synthetic": made, "both": [*real * max(1, len(made) // len(real)), *made]}
        for seed, (arm, learned) in product(range(options.seeds), arms.items()):
            segmenter = train_extractor(config, seed=1000 + seed, steps=options.steps, sheets=learned, half=config.half)
            results += [
                {"fold": number, "seed": seed, "arm": arm, "patient": str(name), "dice": dice(segmenter, sheets[name])}
                for name in held
            ]
        options.out.write_text(json.dumps({"settings": settings, "rows": results}, indent=1) + "\n")
        print(f"fold {number}: {len(kept)} patients to train on", flush=True)
    print(report(results))


def read_rows(path: Path, settings: dict[str, object]) -> list[dict[str, object]]:
    """Return the rows of an earlier run; SystemExit where it had other settings."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text())
    if earlier["settings"] != settings:
        sys.exit(
            f"{path} was made with {earlier['settings']}, asked are {settings}; move it away or name another --out"
        )
    return list(earlier["rows"])


def show(path: Path, made: Sequence[Sheet]) -> None:
    """Write the first pictures above their masks."""
    pictures = np.hstack([each.image for each in made[:12]])
    masks = np.hstack([(each.labels * 36).astype(np.uint8) for each in made[:12]])
    Image.fromarray(np.vstack([pictures, np.dstack([masks] * 3)])).save(path)


def read_glas(folder: Path, config: DiffusionConfig) -> dict[str, list[Sheet]]:
    """Return the images of each patient at the canvas' pixel size, glands as GLAND and all else as STROMA."""
    with (folder / "grades.csv").open(newline="") as table:
        owner = {row["image"]: row["patient_id"] for row in csv.DictReader(table)}
    sheets: dict[str, list[Sheet]] = {}
    for path in sorted((folder / "images").iterdir()):
        with Image.open(path) as image, Image.open(next((folder / "labels").glob(f"{path.stem}[._]*"))) as label:
            size = Size(*(round(side * GLAS_MPP / config.mpp) for side in (image.height, image.width)))
            small = np.array(image.convert("RGB").resize((size.width, size.height), Image.Resampling.BOX))
            gland = np.asarray(label.resize((size.width, size.height), Image.Resampling.NEAREST)) > 0
        classes = np.where(gland, GLAND, STROMA)
        sheet = Sheet(
            name=path.stem,
            image=small,
            labels=classes.astype(np.int32) + 1,
            classes=np.arange(len(TISSUES)),
            style=REAL,
        )
        sheets.setdefault(owner[path.stem], []).append(sheet)
    return sheets


def paint_like(network: Denoiser, real: Sequence[Sheet], n: int, *, seed: int, device: str) -> list[Sheet]:
    """Return synthetic canvases of the graphs and masks of real ones, each from a noise of its own."""
    rng, config = np.random.default_rng([seed, 7]), network.config
    examples = [cut(real[int(rng.integers(len(real)))], config, rng=rng) for _ in range(n)]
    made: list[Sheet] = []
    with one_thread():
        for first in range(0, n, _BATCH):
            some = examples[first : first + _BATCH]
            labels = [each.scene.labels for each in some if each.scene.labels is not None]
            maps = [each.scene.class_map(label) for each, label in zip(some, labels, strict=True)]
            raster = torch.stack([draw_raster(each.scene) for each in some])
            noise = torch.randn(
                len(some), 3, *raster.shape[2:], generator=torch.Generator().manual_seed(int(rng.integers(2**62)))
            )
            pictures = denoise(
                network,
                collate([each.scene for each in some]).to(device),
                raster.to(device),
                torch.full((len(some),), REAL, device=device),
                noise.to(device),
                steps=_STEPS,
                guidance=REAL_GUIDANCE,
                sampler="dpmsolver",
            )
            made += [
                Sheet(
                    name="synthetic",
                    image=image,
                    labels=classes.astype(np.int32),
                    classes=np.arange(len(TISSUES)),
                    style=REAL,
                )
                for image, classes in zip(to_image(pictures), maps, strict=True)
            ]
    return made


@torch.no_grad()
def dice(segmenter: Extractor, sheets: Sequence[Sheet]) -> float:
    """Return the Dice of glands over all pixels of a patient."""
    both = total = 0
    for sheet in sheets:
        height, width = (side // 8 * 8 for side in sheet.labels.shape)
        scores = segmenter(to_tensor(np.ascontiguousarray(sheet.image[:height, :width]))[None])[0]
        found = (scores[GLAND] > scores[STROMA]).numpy()
        truth = sheet.labels[:height, :width] == GLAND + 1
        both += int((found & truth).sum())
        total += int(found.sum() + truth.sum())
    return 2 * both / max(total, 1)


def report(results: Sequence[dict[str, object]]) -> str:
    """Return the table of all segmenters and, where some collapsed, which, and the table without their seeds."""
    failed = collapsed(results)
    if not failed:
        return summary(results)
    lines = [summary(results), ""]
    for (fold, seed, arm), own, others in failed:
        lines.append(f"Collapsed: fold {fold}, seed {seed}, {arm}: Dice {own:.3f}; other seeds {others:.3f}.")
    gone = {key[:2] for key, _, _ in failed}
    lines += ["", "Without these seeds of these folds, in every arm:", ""]
    return "\n".join([*lines, summary([row for row in results if (row["fold"], row["seed"]) not in gone])])


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
    means = {key: float(np.mean(each)) for key, each in dices.items()}
    found = []
    for key, own in means.items():
        others = [mean for (fold, seed, arm), mean in means.items() if (fold, arm) == key[::2] and seed != key[1]]
        if others and own < np.mean(others) / 2:
            found.append((key, own, float(np.mean(others))))
    return found


def summary(results: Sequence[dict[str, object]]) -> str:
    """Return the Dice of every arm with a paired bootstrap of patients, as Markdown."""
    patients = sorted({str(row["patient"]) for row in results})
    table: dict[str, NDArray[np.float64]] = {}
    for arm in ("real", "synthetic", "both"):
        own = [[float(str(r["dice"])) for r in results if r["arm"] == arm and r["patient"] == p] for p in patients]
        table[arm] = np.array([np.mean(each) for each in own])
    draws = np.random.default_rng(0).integers(0, len(patients), (2000, len(patients)))
    lines = ["| arm | Dice | of real only | above real only (95 %) |", "|---|---|---|---|"]
    for arm, values in table.items():
        gains = values[draws].mean(axis=1) - table["real"][draws].mean(axis=1)
        low, high = np.percentile(gains, [2.5, 97.5])
        gain, share = values.mean() - table["real"].mean(), values.mean() / table["real"].mean()
        lines.append(f"| {arm} | {values.mean():.3f} | {share:.2f} | {gain:+.3f} ({low:+.3f} to {high:+.3f}) |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
