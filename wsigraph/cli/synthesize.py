"""``wsigraph synthesize``: paint annotated synthetic tissue from a graph."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Device, Force, Mpp, Overrides, Threads, forced, read_settings

if TYPE_CHECKING:
    from wsigraph.config import Config
    from wsigraph.synthesis.diffusion.scene import Scene
    from wsigraph.synthesis.diffusion.writer import SyntheticTile


class Domain(StrEnum):
    """Appearance of the tissue."""

    PAINTED = "painted"
    REAL = "real"


_Graph = Annotated[
    Path | None,
    typer.Argument(metavar="GRAPH", help="graph.json, graph.safetensors, coarse.safetensors or a sample's .zarr."),
]
_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory for images, masks, graph and index.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of all random choices.")]
_Number = Annotated[int, typer.Option("--n", min=1, max=100_000, metavar="N", help="Number of samples of the graph.")]
_Steps = Annotated[
    int | None, typer.Option("--steps", min=1, metavar="N", help="Steps of the sampler.", show_default="12")
]
_Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance", min=0.0, metavar="X", help="Weight of the graph; 0 ignores it.", show_default="the model's"
    ),
]
_Edits = Annotated[
    list[str] | None,
    typer.Option(
        "--edit", metavar="TEXT", help="'remove node 12', 'class 7=necrosis', 'move 3 by 40,0 um'. Repeatable."
    ),
]
_FromSlide = Annotated[
    Path | None, typer.Option("--from-slide", metavar="SLIDE", help="Take the graph of real tissue.")
]
_Box = Annotated[str | None, typer.Option("--box", metavar="X,Y,W,H", help="Part of the slide, px at full resolution.")]
_SlidePx = Annotated[
    int | None,
    typer.Option(
        "--slide", metavar="PX", min=64, help="Paint a slide of this size with a random layout, without a graph."
    ),
]
_Domain = Annotated[
    Domain | None, typer.Option("--domain", help="Appearance; by default painted for graphs with classes, else real.")
]
_Style = Annotated[Domain | None, typer.Option("--style", hidden=True, help="The old name of --domain.")]
_Raster = Annotated[bool, typer.Option("--raster", help="Give the model the mask in addition to the graph.")]
_Model = Annotated[str | None, typer.Option("--model", metavar="DIR", help="Generator; by default the shipped one.")]


@ends_plainly
def synthesize(
    graph: _Graph = None,
    out: _Out = Path("wsigraph-synthetic-tissue"),
    seed: _Seed = 1,
    n: _Number = 1,
    steps: _Steps = None,
    guidance: _Guidance = None,
    edits: _Edits = None,
    from_slide: _FromSlide = None,
    box: _Box = None,
    slide_px: _SlidePx = None,
    domain: _Domain = None,
    style: _Style = None,
    raster: _Raster = False,
    mpp: Mpp = None,
    model: _Model = None,
    device: Device = None,
    force: Force = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Paint tissue from a graph: image, mask and graph of every sample, all marked as synthetic.

    A graph that fits the canvas of the model gives DIR/00000.png, its mask, a zarr with both and the graph, and an
    index. A larger graph, or --slide, gives DIR/slide.tiff with its ground truth in DIR/slide.zarr.

    Example: wsigraph synthesize graph.json --out tissue --seed 1 --n 8 --edit "class 7=necrosis"
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.config.diffusion import PAINTING
    from wsigraph.synthesis.diffusion.generator import load_generator
    from wsigraph.synthesis.diffusion.synthesize import synthesize as paint
    from wsigraph.synthesis.diffusion.writer import write_samples, write_slide

    spelled = {
        "diffusion.steps": steps,
        "diffusion.guidance": guidance,
        "diffusion.path": model,
        "runtime.threads": threads,
        "runtime.device": device,
        **forced(force),
    }
    settings = read_settings(config, overrides, spelled)
    started = time.perf_counter()
    generator = load_generator(settings.diffusion.path)
    # the graph must be built as in training; only the settings of painting are free
    sizes = generator.config.model_dump(exclude=set(PAINTING))
    settings = settings.model_copy(update={"diffusion": settings.diffusion.model_copy(update=sizes)})
    scene = _scene(graph, from_slide, box, slide_px, mpp, settings, seed)
    chosen = domain or style
    canvas_um = settings.diffusion.canvas_px * settings.diffusion.mpp
    with progress_line("synthesize") as progress:
        tiles = paint(
            scene,
            settings,
            seed=seed,
            n=n,
            generator=generator,
            edits=tuple(edits or ()),
            domain=None if chosen is None else chosen.value,
            raster=raster,
            progress=progress,
        )
        if max(scene.size_um) < canvas_um + settings.diffusion.mpp / 2:
            last = write_samples(tiles, out)
        else:
            for last in tiles:
                write_slide(last, out if n == 1 else out / f"{last.number:05d}")
    facts = _facts(last, n, out, time.perf_counter() - started)
    if scene.mark:
        say(scene.mark)
    print(json.dumps(facts, allow_nan=False) if as_json else _table(facts), flush=True)


def _scene(
    graph: Path | None,
    from_slide: Path | None,
    box: str | None,
    slide_px: int | None,
    mpp: float | None,
    settings: Config,
    seed: int,
) -> Scene:
    from wsigraph.synthesis.diffusion.scene_file import read_scene
    from wsigraph.synthesis.diffusion.synthesize import scene_from_slide
    from wsigraph.synthesis.diffusion.training_images import lay_out

    given = [option is not None for option in (graph, from_slide, slide_px)]
    if sum(given) != 1:
        raise typer.BadParameter("give one of GRAPH, --from-slide SLIDE and --slide PX")
    if box is not None and from_slide is None:
        raise typer.BadParameter("--box needs --from-slide")
    if graph is not None:
        return read_scene(graph, mpp=settings.diffusion.mpp)
    if slide_px is not None:
        return lay_out(settings.diffusion, slide_px, seed=seed)
    assert from_slide is not None  # noqa: S101 - one of three was given
    return scene_from_slide(from_slide, settings, box=None if box is None else _parse_box(box), mpp=mpp)


def _parse_box(text: str) -> Any:
    from wsigraph.geometry import Box

    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"--box {text!r}, expected X,Y,W,H in whole pixels of the slide")
    x, y, width, height = (int(part) for part in parts)
    if not width or not height:
        raise typer.BadParameter(f"--box {text!r} is empty, expected a width and height of at least 1")
    return Box(y0=y, x0=x, y1=y + height, x1=x + width)


def _facts(last: SyntheticTile, n: int, out: Path, seconds: float) -> dict[str, Any]:
    return {
        "synthetic": True,
        "directory": str(out),
        "samples": n,
        "height_px": last.image.shape[0],
        "width_px": last.image.shape[1],
        "nodes": last.graph.n_nodes,
        "seconds": round(seconds, 3),
        **{key: value for key, value in last.facts.items() if key not in ("synthetic", "notice", "number")},
    }


def _table(facts: dict[str, Any]) -> str:
    rows = [
        ("tissue", f"synthetic, {facts['domain']}, {facts['samples']} of seed {facts['seed']}"),
        ("size", f"{facts['width_px']} x {facts['height_px']} px at {facts['mpp']:g} um/px, {facts['nodes']} regions"),
        ("sampler", f"{facts['sampler']}, {facts['steps']} steps, guidance {facts['guidance']:g}"),
        ("generator", facts["model_id"]),
        ("seconds", f"{facts['seconds']:.1f}"),
        ("directory", facts["directory"]),
        *([("mark", facts["mark"])] if "mark" in facts else []),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
