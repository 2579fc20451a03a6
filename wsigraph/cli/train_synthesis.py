"""``wsigraph train-synthesis``: train a generator of tissue on slides or images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Device, Mpp, Overrides, Threads, read_settings

if TYPE_CHECKING:
    from wsigraph.synthesis.diffusion.generator import Generator

_Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="A slide, or a directory of slides and images; NAME_mask.png is the mask of NAME.png."
    ),
]
_ModelOut = Annotated[Path, typer.Option("--out", metavar="MODEL", help="Directory of the generator.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, batches and noise.")]
_Painted = Annotated[int, typer.Option("--painted", min=0, help="Number of painted training images to add.")]
_Start = Annotated[
    str | None,
    typer.Option(
        "--start", metavar="MODEL", help="Start from the weights of this generator; 'shipped' is the package's."
    ),
]
_Restart = Annotated[
    bool, typer.Option("--restart", help="Discard work in MODEL that has other settings or data, and start over.")
]
_TRAINING_IMAGE_PX = 256


@ends_plainly
def train_synthesis(
    data: _Data,
    out: _ModelOut,
    seed: _Seed = 1,
    painted: _Painted = 64,
    start: _Start = None,
    mpp: Mpp = None,
    device: Device = None,
    restart: _Restart = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a generator on slides, or on images with masks of tissue classes (1 + class; 0 where not known).

    Slides without masks are divided into regions by segment and coarsen. Writes MODEL/generator.safetensors and
    card.json, pictures that show the progress, and a checkpoint. To continue a stopped training, run the same command
    again. With other settings or data, the command stops with an error that lists the differences. With --start, the
    sizes of the network are those of the generator that it starts from.

    Examples: wsigraph train-synthesis slides --out generator --set diffusion.training_steps=20000

    wsigraph train-synthesis slides --out own --start shipped --set diffusion.training_steps=1000
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.config.diffusion import SIZES
    from wsigraph.graph.device import find_device
    from wsigraph.synthesis.diffusion.generator import (
        About,
        load_generator,
        note_training,
        refuse_finished,
        save_generator,
    )
    from wsigraph.synthesis.diffusion.grid import sample_grid
    from wsigraph.synthesis.diffusion.train import CHECKPOINT, train, training_identity
    from wsigraph.synthesis.diffusion.training_images import find_sources, paint_training_set, read_training_images

    settings = read_settings(config, overrides, {"runtime.threads": threads, "runtime.device": device})
    place = find_device(settings.runtime.device)
    base = None if start is None else load_generator(None if start == "shipped" else start)
    if base is not None:
        sizes = {name: getattr(base.config, name) for name in SIZES}
        settings = settings.model_copy(update={"diffusion": settings.diffusion.model_copy(update=sizes)})
    real, skipped = read_training_images(find_sources(data), settings, mpp=mpp)
    for text in skipped:
        say(text)
    side_px = max(_TRAINING_IMAGE_PX, settings.diffusion.canvas_px)
    training_images = [*paint_training_set(settings.diffusion, painted, seed=seed, side_px=side_px), *real]
    shown = [*training_images[: min(painted, 4)], *real[:4]]
    network = None if base is None else base.network
    identity = training_identity(training_images, settings.diffusion, seed=seed, start=network)
    full = identity.with_settings({"diffusion.training_steps": settings.diffusion.training_steps})
    if restart:
        (out / CHECKPOINT).unlink(missing_ok=True)
    elif not (out / CHECKPOINT).is_file():
        refuse_finished(out, full)
    with progress_line(str(data)) as progress:
        trained = train(
            training_images,
            settings.diffusion,
            seed=seed,
            start=network,
            out=out,
            device=place,
            progress=progress,
            on_checkpoint=sample_grid(shown, out, device=place),
        )
    about = About(
        name=out.resolve().name,
        description="Tissue of a canvas from its graph, trained with wsigraph train-synthesis.",
        licence="not stated",
        data=f"{len(real)} training images of {data.name}, {painted} painted training images"
        + ("" if base is None else f"; started from {base}, which learned from {base.card.data}"),
        seed=seed,
    )
    generator = save_generator(out, trained, settings.diffusion, about)
    note_training(out, full)
    (out / CHECKPOINT).unlink(missing_ok=True)
    facts = _facts(out, generator, len(training_images))
    print(json.dumps(facts) if as_json else f"{out}: {generator}, loss {generator.card.loss:.4f}", flush=True)


def _facts(out: Path, generator: Generator, n_training_images: int) -> dict[str, Any]:
    return {
        "directory": str(out),
        "model_id": generator.model_id,
        "weights": generator.card.n_weights,
        "bytes": len(generator.weights),
        "training_images": n_training_images,
        "batches": generator.card.batches,
        "loss": generator.card.loss,
    }
