"""Whether copying is caught: a generator learns from tissue of which one tile is repeated, another from no such tissue.

    python -m pipelines.check_copying --oral DIR [--histolytics DIR] [--model DIR] [--out FILE] [--tiles N]
        [--repeats N] [--steps N] [--pictures N] [--seed N] [--inception FILE]

Both go on from the same weights with as many batches of real tiles of one canvas, half of them without their graph; in
one set a tile stands ``--repeats`` times. What each then paints without a graph is compared by the detector of
``wsigraph.synthesis.diffusion.realism`` with the tiles it learned from, mirrored and turned, and with as many held-out
ones: it has to catch a generator that paints the tile from memory, and to pass the other. Pictures of the repeated
tile's own graph are looked at as well. The generators are not kept.
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

from pipelines.score_synthesis import Painter
from pipelines.synthesis_features import Images, encoders
from pipelines.synthesis_sheets import REAL_GUIDANCE, real_sheets
from wsigraph.config import Config, DiffusionConfig
from wsigraph.synthesis.diffusion.denoiser import Denoiser, for_painting
from wsigraph.synthesis.diffusion.generator import load_generator
from wsigraph.synthesis.diffusion.realism import look_for_copies, turned
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.train import train
from wsigraph.synthesis.diffusion.training_images import Sheet, cut

_RATE = 3e-4
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
    learning = {"training_steps": options.steps, "learning_rate": _RATE, "painted_share": 0.0}
    config = start.config.model_copy(update={**learning, "drop_graph": 0.5, "drop_raster": 1.0})
    training, held = real_sheets(options.oral, options.histolytics, Config().model_copy(update={"diffusion": config}))
    rng = np.random.default_rng(options.seed)
    tiles = _tiles(training, config, options.tiles, rng)
    new = [each.image for each in _tiles(held, config, options.pictures, rng)]
    spaces = encoders(options.inception)
    near = {space: encode(turned([each.image for each in tiles])) for space, encode in spaces.items()}
    others = {space: encode(new) for space, encode in spaces.items()}
    results: dict[str, Any] = {
        "model": start.model_id,
        **{name: getattr(options, name) for name in ("tiles", "repeats", "steps", "pictures", "seed")},
        "sets": {},
    }
    for name, repeats in (("every tile once", 0), ("one tile repeated", options.repeats)):
        kept = tiles[: len(tiles) - repeats]
        learned = kept + tiles[:1] * repeats
        network = Denoiser(config)
        network.load_state_dict(train(learned, config, seed=options.seed, start=start.network).weights)
        painting = for_painting(network, half=config.half, device="cpu")
        graphs = _graphs(learned, config, options.pictures, options.seed)
        images = _paint(painting, graphs, "unconditional", options.seed)
        own = _paint(painting, _graphs(tiles[:1], config, options.pictures // 10, options.seed), "graph", options.seed)
        found = results["sets"][name] = {}
        for space, encode in spaces.items():
            known = near[space][: len(near[space]) * len(kept) // len(tiles)]
            found[space] = asdict(look_for_copies(encode(images), known, others[space])) | {
                "close_of_own_graph": look_for_copies(encode(own), known, others[space]).close_fraction
            }
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        _show(options.out.with_name(f"{options.out.stem}-{name.replace(' ', '-')}.png"), tiles[0], images, own)
        print(json.dumps(found, indent=1), flush=True)


def _tiles(sheets: Sequence[Sheet], config: DiffusionConfig, n: int, rng: np.random.Generator) -> list[Sheet]:
    """Return canvases as sheets of their own: of such a sheet, training sees all or nothing."""
    tiles = []
    for number in range(n):
        example = cut(sheets[number % len(sheets)], config, rng=rng)
        assert example.scene.labels is not None  # noqa: S101 - cut from an image
        tiles.append(
            Sheet(
                name=f"tile {number}",
                image=example.image,
                labels=example.scene.labels,
                classes=example.scene.classes,
                style=example.style,
            )
        )
    return tiles


def _graphs(sheets: Sequence[Sheet], config: DiffusionConfig, n: int, seed: int) -> list[Scene]:
    rng = np.random.default_rng([seed, 2])
    return [cut(sheets[number % len(sheets)], config, rng=rng).scene for number in range(n)]


def _paint(network: Denoiser, scenes: Sequence[Scene], row: str, seed: int) -> Images:
    painter = Painter(network, _STEPS, REAL_GUIDANCE, _PAINTED_TOGETHER, "cpu", "dpmsolver")
    return painter.paint(scenes, "real", row, seed=seed)


def _show(path: Path, tile: Sheet, images: Images, own: Images) -> None:
    """Write the repeated tile and pictures of its graph above pictures without a graph."""
    first = [tile.image, *own]
    n = min(10, len(first), len(images))
    Image.fromarray(np.vstack([np.hstack(row[:n]) for row in (first, images)])).save(path)


if __name__ == "__main__":
    main()
