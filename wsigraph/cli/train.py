"""``wsigraph train``: train a model on a manifest and its graphs, with held-out scores."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import (
    AsJson,
    CompetingColumn,
    ConfigFiles,
    Device,
    EventColumn,
    Overrides,
    TimeColumn,
    read_endpoint,
    read_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsigraph.config import Config
    from wsigraph.model.card import Card
    from wsigraph.run.train_cohort import TrainResult
    from wsigraph.training.held_out import HeldOut


class Task(StrEnum):
    """What the model predicts."""

    STAGE = "stage"
    SURVIVAL = "survival"
    BOTH = "both"


class Group(StrEnum):
    """What a fold keeps together."""

    PATIENT = "patient"
    SITE = "site"


_Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Table of slides, patients and outcomes.")]
_Graphs = Annotated[Path, typer.Option("--graphs", metavar="DIR", help="Directory with <slide>/coarse.safetensors.")]
_Splits = Annotated[
    str | None,
    typer.Option(
        "--splits", metavar="FILE", help="Folds to use in place of drawn ones, e.g. Patho-Bench's; FILE:fold_3 is one."
    ),
]
_ModelOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory of the model.")]
_Task = Annotated[Task | None, typer.Option("--task", help="What to predict; by default model.task.")]
_Folds = Annotated[int, typer.Option("--folds", min=2, help="Number of folds; each is held out once.")]
_Repeats = Annotated[
    int, typer.Option("--repeats", min=1, help="Number of divisions into folds to score; the model is of the first.")
]
_Group = Annotated[Group, typer.Option("--group", help="What a fold keeps together.")]
_Seed = Annotated[int, typer.Option("--seed", help="Seed of folds, weights and all other random choices.")]
_Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Number of processes, one fold each; 0 uses all cores.")
]
_Network = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="MODULE:CLASS",
        help="Also fit this network in the same folds and compare it: a class of a module, whose code is run, or a "
        "plugin. Repeatable.",
    ),
]
_Tries = Annotated[
    list[str] | None,
    typer.Option("--try", metavar="KEY=VALUE", help="Also try this model setting, e.g. layers=2. Repeatable."),
]
_Missing = Annotated[bool, typer.Option("--allow-missing", help="Leave out slides that have no graph, with a warning.")]
_Restart = Annotated[
    bool, typer.Option("--restart", help="Discard work in DIR that has other settings or data, and start over.")
]
_Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Train on a cohort with too few events or patients of a stage, and on forced slides that are no H&E "
        "sections; the model is marked.",
    ),
]
_Organ = Annotated[
    str,
    typer.Option(
        "--organ",
        metavar="NAME",
        help="Organ of the slides, for the card; other names of it after commas: kidney,renal.",
    ),
]
_Inclusion = Annotated[
    str,
    typer.Option(
        "--inclusion", metavar="TEXT", help="What was included, for the card: 'a proven clear cell carcinoma'."
    ),
]


@ends_plainly
def train(
    manifest: _Manifest,
    graphs: _Graphs,
    out: _ModelOut,
    task: _Task = None,
    time: TimeColumn = None,
    event: EventColumn = None,
    competing: CompetingColumn = None,
    n_folds: _Folds = 5,
    repeats: _Repeats = 1,
    group: _Group = Group.PATIENT,
    seed: _Seed = 1,
    workers: _Workers = 0,
    device: Device = None,
    tries: _Tries = None,
    network: _Network = None,
    splits: _Splits = None,
    allow_missing: _Missing = False,
    restart: _Restart = False,
    force: _Force = False,
    organ: _Organ = "",
    inclusion: _Inclusion = "",
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train an ensemble on a cohort; every patient is scored by a network that was not trained on that patient.

    Statistics of the cohort that explanations need are written beside the model. Rows whose split is "test" are never
    trained on. To continue a stopped training, run the same command again. With other settings or data, the command
    stops with an error that lists the differences, so no finished work is lost. With --repeats, the cohort is divided
    several times, and DIR/repeats.json has the standard deviation of the scores.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.train_cohort import train as train_cohort

    if network:
        from wsigraph.torch.any_network import load_network

        for name in network:
            load_network(name)  # before the training, not after it
    settings = read_settings(
        config, overrides, {"model.task": None if task is None else task.value, "runtime.device": device}
    )
    with progress_line(str(manifest)) as progress:
        result = train_cohort(
            manifest,
            graphs,
            out,
            settings,
            endpoint=read_endpoint(time, event, competing),
            n_folds=n_folds,
            n_repeats=repeats,
            group=group.value,
            seed=seed,
            workers=workers,
            tries=tries or (),
            splits=splits,
            allow_missing=allow_missing,
            restart=restart,
            force=force,
            organ=organ,
            inclusion=inclusion,
            progress=progress,
        )
        compared = _compare(network or (), out, settings, seed, progress)
    if as_json:
        more = {"networks": compared} if compared else {}
        print(json.dumps({**_to_json(result, out), **more}, allow_nan=False))
    else:
        _print_scores(result, out)
        _print_compared(compared)


def _compare(
    networks: Sequence[str], out: Path, settings: Config, seed: int, progress: Callable[[str, int, int], None] | None
) -> list[dict[str, Any]]:
    """Fit other networks in the folds of the model and return their scores."""
    if not networks:
        return []
    from wsigraph.torch.any_network import Fitting, compare_network

    fitting = Fitting(epochs=settings.model.correction_epochs, seed=seed, device=settings.runtime.device)
    return [compare_network(name, out, fitting=fitting, progress=progress) for name in networks]


def _print_compared(compared: list[dict[str, Any]]) -> None:
    for scores in compared:
        for part, score in (("survival", "c_index"), ("stage", "auc")):
            if part in scores["above"]["model"]:
                own, above = scores[part][score], scores["above"]["model"][part][score]
                print(
                    f"{scores['name'][:24]:24s} {part} {score} {own['value']:.3f} ({own['low']:.3f} to "
                    f"{own['high']:.3f}), above the model by {above['value']:+.3f} ({above['low']:+.3f} to "
                    f"{above['high']:+.3f})"
                )


def _to_json(result: TrainResult, out: Path) -> dict[str, Any]:
    card = result.ensemble.bundle.card
    return {
        "model_id": result.ensemble.bundle.model_id,
        "directory": str(out),
        "n_patients": card.training.n_patients,
        "n_folds": len(card.members),
        "split_by": card.split_by,
        "earned": _earned(card),
        "metrics": {name: score.model_dump() for name, score in card.metrics.items()},
        **({"over_repeats": result.over_repeats} if result.over_repeats else {}),
    }


def _earned(card: Card) -> dict[str, list[float]]:
    """Return the fractions that the corrections of survival and stage earned in every fold."""
    corrections = [member.correction for member in card.members if member.correction is not None]
    earned = {"survival": [one.survival_fraction for one in corrections] if card.time_days else []}
    earned["stage"] = [one.stage_fraction for one in corrections] if card.stage_names else []
    return {name: fractions for name, fractions in earned.items() if fractions}


def _print_scores(result: TrainResult, out: Path) -> None:
    bundle = result.ensemble.bundle
    print(f"{out}: model {bundle.model_id}, {len(bundle.card.members)} folds by {bundle.card.split_by}")
    for name, score in bundle.card.metrics.items():
        count = _count(name, result.ensemble.held_out)
        print(f"{name:24s} {score.value:.3f} ({score.low:.3f} to {score.high:.3f}), {count}")
    for name, fractions in _earned(bundle.card).items():
        texts = ", ".join(f"{fraction:g}" for fraction in fractions)
        print(f"fraction of the networks' correction that {name} earned, by fold: {texts}")
    for name, over in result.over_repeats.items():
        print(f"{name:24s} {over['mean']:.3f}, sd {over['sd']:.3f} over divisions")
    print(f"baseline models and all scores: wsigraph evaluate {out}")


def _count(score: str, held_out: HeldOut) -> str:
    """Return the pairs or patients that a score rests on."""
    import numpy as np

    from wsigraph.cohort.metrics.stage import stage_pairs
    from wsigraph.cohort.metrics.survival import comparable_pairs

    if score == "c_index":
        rows = np.isfinite(held_out.time_days)
        pairs = comparable_pairs(held_out.time_days[rows], held_out.event[rows], stratum=held_out.fold[rows])
        return f"{pairs:,} pairs"
    if score == "stage_auc":
        return f"{stage_pairs(held_out.stage, held_out.fold):,} pairs"
    return f"{int((held_out.stage >= 0).sum()):,} patients"
