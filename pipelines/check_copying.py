"""Test the detection of copies: train one generator on tiles of which one is repeated, another on distinct tiles.

    python -m pipelines.check_copying --oral DIR [--histolytics DIR] [--model DIR] [--out FILE] [--tiles N]
        [--repeats N] [--steps N] [--pictures N] [--seed N] [--inception FILE]

Both start from the same weights and train for equal numbers of batches on real tiles of one canvas, half of them
without their graph. In one set, one tile is repeated ``--repeats`` times. The detector of
``wsigraph.synthesis.diffusion.realism`` compares unconditional samples of each generator with its training tiles, in
all rotations and reflections, and with as many held-out tiles. It has to detect a generator that reproduces the
repeated tile, and no copies by the other. Samples of the repeated tile's own graph are scored too. The generators are
not kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.score_synthesis import paint_row
from pipelines.synthesis_features import Images, encoders
from pipelines.synthesis_training_images import REAL_GUIDANCE, real_training_images
from wsigraph.config import Config, DiffusionConfig
from wsigraph.synthesis.diffusion.denoiser import Denoiser, inference_copy
from wsigraph.synthesis.diffusion.generator import load_generator
from wsigraph.synthesis.diffusion.painter import Painter
from wsigraph.synthesis.diffusion.realism import detect_copies, rotations_and_reflections
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.train import train
from wsigraph.synthesis.diffusion.training_images import TrainingImage, cut

_LEARNING_RATE = 3e-4
_STEPS, _PAINTED_TOGETHER = 12, 20


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--oral", type=Path, required=True)
    parser.add_argument("--histolytics", type=Path)
    parser.add_argument("--model", type=Path, help="generator to go on from")
    parser.add_argument("--out", type=Path, default=Path("copying.json"))
    parser.add_argument("--tiles", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1000, help="batches of training")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--inception", type=Path, help="TorchScript file")
    options = parser.parse_args()
    start = load_generator(options.model)
    learning = {"training_steps": options.steps, "learning_rate": _LEARNING_RATE, "painted_share": 0.0}
    config = start.config.model_copy(update={**learning, "drop_graph": 0.5, "drop_raster": 1.0})
    training, held = real_training_images(
        options.oral, options.histolytics, Config().model_copy(update={"diffusion": config})
    )
    rng = np.random.default_rng(options.seed)
    tiles = _tiles(training, config, options.tiles, rng)
    new = [tile.image for tile in _tiles(held, config, options.pictures, rng)]
    spaces = encoders(options.inception)
    variants = rotations_and_reflections([tile.image for tile in tiles])
    near = {space: encode(variants) for space, encode in spaces.items()}
    others = {space: encode(new) for space, encode in spaces.items()}
    results: dict[str, Any] = {
        "model": start.model_id,
        **{name: getattr(options, name) for name in ("tiles", "repeats", "steps", "pictures", "seed")},
        "sets": {},
    }
    for name, repeats in (("every tile once", 0), ("one tile repeated", options.repeats)):
        distinct = tiles[: len(tiles) - repeats]
        training_set = distinct + tiles[:1] * repeats
        network = Denoiser(config)
        network.load_state_dict(train(training_set, config, seed=options.seed, start=start.network).weights)
        painting = inference_copy(network, half=config.half, device="cpu")
        graphs = _graphs(training_set, config, options.pictures, options.seed)
        images = _paint(painting, graphs, "unconditional", options.seed)
        own = _paint(painting, _graphs(tiles[:1], config, options.pictures // 10, options.seed), "graph", options.seed)
        scores = results["sets"][name] = {}
        for space, encode in spaces.items():
            known = near[space][: len(near[space]) * len(distinct) // len(tiles)]
            scores[space] = asdict(detect_copies(encode(images), known, others[space])) | {
                "close_of_own_graph": detect_copies(encode(own), known, others[space]).close_fraction
            }
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        _show(options.out.with_name(f"{options.out.stem}-{name.replace(' ', '-')}.png"), tiles[0], images, own)
        print(json.dumps(scores, indent=1), flush=True)


def _tiles(
    training_images: Sequence[TrainingImage], config: DiffusionConfig, n: int, rng: np.random.Generator
) -> list[TrainingImage]:
    """Return canvases as training images of their own: training cuts exactly this canvas from each."""
    tiles = []
    for number in range(n):
        example = cut(training_images[number % len(training_images)], config, rng=rng)
        assert example.scene.labels is not None  # noqa: S101 - cut from an image
        tiles.append(
            TrainingImage(
                name=f"tile {number}",
                image=example.image,
                labels=example.scene.labels,
                classes=example.scene.classes,
                domain=example.domain,
            )
        )
    return tiles


def _graphs(training_images: Sequence[TrainingImage], config: DiffusionConfig, n: int, seed: int) -> list[Scene]:
    rng = np.random.default_rng([seed, 2])
    return [cut(training_images[number % len(training_images)], config, rng=rng).scene for number in range(n)]


def _paint(network: Denoiser, scenes: Sequence[Scene], row: str, seed: int) -> Images:
    painter = Painter(
        network=network, steps=_STEPS, guidance=REAL_GUIDANCE, sampler="dpmsolver", batch=_PAINTED_TOGETHER
    )
    return paint_row(painter, scenes, "real", row, seed=seed)


def _show(path: Path, tile: TrainingImage, images: Images, own: Images) -> None:
    """Write the repeated tile and pictures of its graph above pictures without a graph."""
    first = [tile.image, *own]
    n = min(10, len(first), len(images))
    Image.fromarray(np.vstack([np.hstack(row[:n]) for row in (first, images)])).save(path)


if __name__ == "__main__":
    main()
