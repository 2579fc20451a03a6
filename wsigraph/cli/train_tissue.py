"""``wsigraph train-tissue``: a model of the user's own tissue classes, from annotated slides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Coordinates,
    Force,
    Mpp,
    Nuclei,
    NucleiWeights,
    Overrides,
    Stain,
    Threads,
    forced,
    read_settings,
)

if TYPE_CHECKING:
    from wsigraph.training.train_tissue_classes import TissueTraining

_Annotations = Annotated[
    list[Path],
    typer.Argument(
        metavar="ANNOTATIONS...",
        help="QuPath GeoJSON, ImageScope XML, HistomicsTK JSON or label images, named like their slides.",
        show_default=False,
    ),
]
_ModelOut = Annotated[Path, typer.Option("--out", metavar="MODEL", help="Directory to write.", show_default=False)]
_Slides = Annotated[
    Path | None,
    typer.Option("--slides", metavar="DIR", help="Folder of the slides; by default that of each annotation."),
]


@ends_plainly
def train_tissue(
    annotations: _Annotations,
    out: _ModelOut,
    slides: _Slides = None,
    mpp: Mpp = None,
    nuclei: Nuclei = None,
    nuclei_weights: NucleiWeights = None,
    threads: Threads = None,
    origin: Coordinates = None,
    stain: Stain = None,
    force: Force = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a classifier of your own tissue classes, scored on slides that it was not trained on.

    Writes MODEL/tissue_model.safetensors, for wsigraph tissue --tissue-model MODEL, and MODEL/scores.json: balanced
    accuracy, confusion, calibration and coverage on held-out slides. Graphs of the slides are kept in MODEL/graphs.
    A class with fewer than 3 regions is left out, and named.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.train_tissue import pair_slides
    from wsigraph.run.train_tissue import train_tissue as train

    spelled = {
        "feature.nuclei": nuclei,
        "feature.nuclei_weights": nuclei_weights,
        "runtime.threads": threads,
        "report.origin": origin,
        "slide.stain": stain,
        **forced(force),
    }
    settings = read_settings(config, overrides, spelled)
    pairs = pair_slides(annotations, slides)
    with progress_line(str(out)) as progress:
        trained = train(pairs, out, settings, mpp=mpp, progress=progress)
    for note in trained.notes:
        say(note)
    if as_json:
        print(json.dumps({"directory": str(out), **trained.scores, "notes": list(trained.notes)}, allow_nan=False))
    else:
        print(_table(trained, out), flush=True)


def _table(trained: TissueTraining, out: Path) -> str:
    scores: dict[str, Any] = trained.scores
    width = max(len(name) for name in scores["classes"])
    lines = [
        f"{out}: {len(scores['classes'])} classes, {sum(scores['regions'].values()):,} regions of "
        f"{len(scores['slides'])} slides; held out: {scores['held_out']}",
        *(f"{name}: balanced accuracy {value:.3f}" for name, value in scores["candidates"].items()),
        f"chosen: {scores['chosen']}; calibration error {scores['calibration_error']:.3f}",
        "true class, regions, recall, coverage of the 90 % sets, predicted as",
    ]
    for number, name in enumerate(scores["classes"]):
        alone = " (parts of one slide)" if name in scores["classes_of_one_slide"] else ""
        row = " ".join(f"{count:>6}" for count in scores["confusion"][number])
        recall, coverage = scores["recall"][number], scores["coverage"][name]
        lines.append(f"{name:<{width}} {scores['regions'][name]:>7,} {recall:>8.3f} {coverage:>8.3f}  {row}{alone}")
    lines.append(f"use it: wsigraph tissue SLIDE --tissue-model {out}")
    return "\n".join(lines)
