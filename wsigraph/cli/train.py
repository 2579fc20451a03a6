"""``wsigraph train``: a manifest and graphs in, a model with held-out scores out."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, read_settings

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow
    from wsigraph.config import Config, ModelConfig
    from wsigraph.model.card import About
    from wsigraph.training.ensemble import Ensemble


class Task(StrEnum):
    """What is learned."""

    STAGE = "stage"
    SURVIVAL = "survival"
    BOTH = "both"


class Group(StrEnum):
    """What folds keep whole."""

    PATIENT = "patient"
    SITE = "site"


_Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Table of slides, patients and outcomes.")]
_Graphs = Annotated[Path, typer.Option("--graphs", metavar="DIR", help="Where <slide>/coarse.safetensors lies.")]
_ModelOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory of the model.")]
_Task = Annotated[Task | None, typer.Option("--task", help="What is learned; model.task where left out.")]
_Folds = Annotated[int, typer.Option("--folds", min=2, help="Folds, each held out once.")]
_Repeats = Annotated[
    int, typer.Option("--repeats", min=1, help="Divisions to score; the model kept is that of the first.")
]
_Group = Annotated[Group, typer.Option("--group", help="What stays whole in a fold.")]
_Seed = Annotated[int, typer.Option("--seed", help="Decides folds, weights and all else that is random.")]
_Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes, a fold each; 0 takes every core.")]
_Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
_Tries = Annotated[
    list[str] | None,
    typer.Option("--try", metavar="KEY=VALUE", help="Also try this model setting, e.g. layers=2. Repeatable."),
]
_Restart = Annotated[
    bool, typer.Option("--restart", help="Throw away what DIR holds of other settings or data, and start over.")
]
_Missing = Annotated[bool, typer.Option("--allow-missing", help="Leave out slides that have no graph, and say so.")]


@ends_plainly
def train(
    manifest: _Manifest,
    graphs: _Graphs,
    out: _ModelOut,
    task: _Task = None,
    n_folds: _Folds = 5,
    repeats: _Repeats = 1,
    group: _Group = Group.PATIENT,
    seed: _Seed = 1,
    workers: _Workers = 0,
    device: _Device = "cpu",
    tries: _Tries = None,
    allow_missing: _Missing = False,
    restart: _Restart = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train an ensemble of folds on a cohort; every patient is scored by a network that never saw them.

    What explanations must know of the cohort is written beside the model. Rows whose split is "test" are never trained
    on. Killed, the same command goes on where it was; one of other settings or data ends with an error that names them,
    so that nothing finished is lost. With --repeats the cohort is divided anew as often, and
    OUT/repeats.json tells how far the scores scatter.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.explanation.fit_reference import write_reference
    from wsigraph.training.cross_validate import Design, refuse_finished, start_over, study_identity, train_model
    from wsigraph.training.load_cohort import gather, what_to_read
    from wsigraph.training.repeats import score_repeats

    settings = read_settings(config, overrides, {"model.task": None if task is None else task.value})
    names = settings.model.stage_names
    read = read_manifest(manifest, stage_names=names, check_files=False)
    for text in read.warnings:
        say(text)
    rows = _rows(read.rows, graphs, allow_missing)
    configurations = _configurations(settings, tries or [])
    design = Design(n_folds=n_folds, group=group.value, seed=seed, workers=workers, device=device)
    with progress_line(str(manifest)) as progress:
        cohort = gather(
            rows,
            graphs,
            stage_names=names,
            coarsening=settings.coarsening,
            model=what_to_read(configurations),
            progress=progress,
        )
        if restart:
            start_over(out)
        else:
            refuse_finished(out, study_identity(cohort, configurations, design))
        ensemble = train_model(
            cohort,
            configurations,
            out,
            design=design,
            about=_about(out, manifest, rows),
            sources={"manifest": str(manifest.absolute()), "graphs": str(graphs.absolute())},
            beside=lambda bundle: write_reference(cohort, bundle, out, settings.explanation, seed=seed),
            keep_checkpoints=repeats > 1,
            progress=progress,
        )
        over = {}
        if repeats > 1:
            scored = score_repeats(
                ensemble, cohort, configurations, out, design=design, n_repeats=repeats, progress=progress
            )
            over = scored["over_repeats"]
    _tell(ensemble, out, as_json, over)


def _rows(rows: tuple[ManifestRow, ...], graphs: Path, allow_missing: bool) -> list[ManifestRow]:
    from wsigraph.training.load_cohort import find_missing

    kept = [row for row in rows if row.split != "test"]
    if len(kept) < len(rows):
        say(f"{len(rows) - len(kept)} slides of split 'test' are left alone")
    if allow_missing:
        missing = {row.slide_id for row in find_missing(kept, graphs)}
        if missing:
            say(f"{len(missing)} slides have no graph and are left out: {', '.join(sorted(missing)[:10])}")
        kept = [row for row in kept if row.slide_id not in missing]
    return kept


def _configurations(settings: Config, tries: list[str]) -> list[ModelConfig]:
    from wsigraph.config import load

    chosen = json.loads(settings.model.model_dump_json())
    found = [settings.model]
    for text in tries:
        base = [f"model.{key}={json.dumps(value)}" for key, value in chosen.items()]
        found.append(load([], [*base, f"model.{text}"]).model)
    return found


def _about(out: Path, manifest: Path, rows: list[ManifestRow]) -> About:
    from wsigraph.model.card import About

    simulated = bool(rows) and all(row.slide_id.startswith("synthetic") for row in rows)
    tissue = "simulated tissue graphs" if simulated else "tissue graphs"
    return About(
        name=out.resolve().name,
        description=f"Ensemble of folds over {tissue}, trained with wsigraph train.",
        notice="for research only: not validated for any clinical use"
        + ("; trained on simulated tissue, its numbers have no medical meaning" if simulated else ""),
        licence="not stated",
        data=f"{len(rows)} slides of {manifest.name}",
        simulated=simulated,
        limits=(
            "held-out scores hold for patients like those of the cohort; see evaluation.html for rivals and sites",
        ),
    )


def _tell(ensemble: Ensemble, out: Path, as_json: bool, over: dict[str, dict[str, float]]) -> None:
    card = ensemble.bundle.card
    scores = {name: score.model_dump() for name, score in card.metrics.items()}
    if as_json:
        shown = {
            "model_id": ensemble.bundle.model_id,
            "directory": str(out),
            "n_patients": card.training.n_patients,
            "n_folds": len(card.members),
            "split_by": card.split_by,
            "metrics": scores,
            **({"over_repeats": over} if over else {}),
        }
        print(json.dumps(shown, allow_nan=False))
        return
    print(f"{out}: model {ensemble.bundle.model_id}, {len(card.members)} folds by {card.split_by}")
    for name, score in card.metrics.items():
        print(f"{name:24s} {score.value:.3f} ({score.low:.3f} to {score.high:.3f})")
    for name, each in over.items():
        print(f"{name:24s} {each['mean']:.3f}, sd {each['sd']:.3f} over divisions")
    print(f"rivals and all scores: wsigraph evaluate {out}")
