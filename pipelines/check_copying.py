"""Whether copying is caught: a generator learns from tissue of which one tile is repeated, another from no such tissue.

    python -m pipelines.check_copying --oral DIR [--histolytics DIR] [--model DIR] [--out FILE] [--tiles N]
        [--repeats N] [--steps N] [--pictures N] [--seed N] [--inception FILE]

Both go on from the same weights with as many batches of real tiles of one canvas; in one set a tile stands
``--repeats`` times. Each then paints the graphs of tiles drawn from what it learned from, and the detector of
``wsigraph.diffusion.realism`` compares the pictures with those tiles, mirrored and turned, and with as many held-out
ones. It has to catch the one and to pass the other. What the first paints of the tile's own graph, and of other
graphs, is told apart. The generators are not kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.score_synthesis import Painter
from pipelines.synthesis_features import Images, encoders
from pipelines.synthesis_sheets import real_sheets
from wsigraph.config import Config, DiffusionConfig
from wsigraph.diffusion.denoiser import Denoiser, for_painting
from wsigraph.diffusion.generator import load_generator
from wsigraph.diffusion.realism import look_for_copies, turned
from wsigraph.diffusion.sheet import Sheet, cut
from wsigraph.diffusion.train import train
from wsigraph.feature.network import one_thread

_RATE = 3e-4
_STEPS, _GUIDANCE, _PAINTED_TOGETHER = 12, 1.5, 20
_PLANTED = "one tile repeated"


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
    config = start.config.model_copy(update=learning)
    training, held = real_sheets(options.oral, options.histolytics, Config().model_copy(update={"diffusion": config}))
    rng = np.random.default_rng(options.seed)
    tiles = _tiles(training, config, options.tiles, rng)
    new = [each.image for each in _tiles(held, config, options.pictures, rng)]
    sets = {"every tile once": tiles, _PLANTED: tiles[: -options.repeats] + tiles[:1] * options.repeats}
    results: dict[str, Any] = {
        "model": start.model_id,
        **{name: getattr(options, name) for name in ("tiles", "repeats", "steps", "pictures", "seed")},
        "sets": {},
    }
    spaces = encoders(options.inception)
    for name, learned in sets.items():
        network = Denoiser(config)
        network.load_state_dict(train(learned, config, seed=options.seed, start=start.network).weights)
        # one draw for all sets: which of the tiles a picture is asked from
        chosen = np.random.default_rng([options.seed, 1]).integers(len(learned), size=options.pictures)
        painting = for_painting(network, half=config.half, device="cpu")
        images = _paint(painting, [learned[number] for number in chosen], config, options.seed)
        own = np.array([learned[number] is tiles[0] for number in chosen])
        results["sets"][name] = {
            space: _look(encode(images), encode(turned([each.image for each in learned])), encode(new), own)
            for space, encode in spaces.items()
        }
        _show(options.out.with_name(f"{options.out.stem}-{name.replace(' ', '-')}.png"), images, own, tiles[0])
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps(results["sets"][name], indent=1), flush=True)


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


def _paint(network: Denoiser, asked: Sequence[Sheet], config: DiffusionConfig, seed: int) -> Images:
    rng = np.random.default_rng([seed, 2])
    painter = Painter(network, _STEPS, _GUIDANCE, _PAINTED_TOGETHER, "cpu", "dpmsolver")
    with one_thread(), torch.no_grad():
        return painter.paint([cut(each, config, rng=rng).scene for each in asked], "real", "graph", seed=seed)


def _look(
    found: NDArray[np.float64], near: NDArray[np.float64], new: NDArray[np.float64], own: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return what the detector says of all pictures, and the share of close ones among those of the tile's graph."""
    said: dict[str, Any] = asdict(look_for_copies(found, near, new))
    for name, some in (("tile", own), ("others", ~own)):
        said[f"close_{name}"] = look_for_copies(found[some], near, new).close_fraction if some.any() else None
    return said


def _show(path: Path, images: Images, own: NDArray[np.bool_], tile: Sheet) -> None:
    """Write the repeated tile and pictures of its graph above pictures of other graphs."""
    first = [tile.image, *(images[number] for number in np.flatnonzero(own)[:9])]
    second = [images[number] for number in np.flatnonzero(~own)[:10]]
    blank = np.full_like(tile.image, 255)
    rows = [np.hstack([*row, *[blank] * (10 - len(row))]) for row in (first, second)]
    Image.fromarray(np.vstack(rows)).save(path)


if __name__ == "__main__":
    main()
