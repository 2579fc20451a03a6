"""``wsigraph evaluate``: out-of-fold scores of a model, next to those of baseline models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, read_settings
from wsigraph.cli.validate import validation_lines

_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Directory that wsigraph train wrote.")]
_Manifest = Annotated[
    Path | None, typer.Option("--manifest", metavar="FILE", help="The manifest, if it has moved since training.")
]
_Graphs = Annotated[
    Path | None, typer.Option("--graphs", metavar="DIR", help="The graphs, if they have moved since training.")
]
_Splits = Annotated[
    str | None,
    typer.Option(
        "--splits",
        metavar="FILE",
        help="Folds that the model must have been trained in, e.g. Patho-Bench's; of FILE:fold_3 the test patients "
        "are scored.",
    ),
]
_Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Number of processes, one fold each; 0 uses all cores.")
]


@ends_plainly
def evaluate(
    model: _Model,
    manifest: _Manifest = None,
    graphs: _Graphs = None,
    splits: _Splits = None,
    workers: _Workers = 0,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score a model's out-of-fold predictions, next to baseline models fitted in the same folds.

    Writes evaluation.json and evaluation.html into MODEL; a second call does not fit the baselines again. With --splits
    FILE:fold_3, writes MODEL/test_fold_3 as wsigraph validate does.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.evaluate_folds import evaluate_folds
    from wsigraph.training.evaluation.evaluate import PAGE, Sources, evaluate

    settings = read_settings(config, overrides, {})
    with progress_line(str(model)) as progress:
        options: dict[str, Any] = {
            "sources": Sources(manifest=manifest, graphs=graphs),
            "coarsening": settings.coarsening,
            "workers": workers,
            "report": None if progress is None else lambda name: progress(f"baseline {name}", 0, 1),
            "progress": progress,
        }
        if splits is None:
            document, page = evaluate(model, **options), model / PAGE
        else:
            document, page = evaluate_folds(model, splits, **options)
    for text in document["warnings"]:
        say(text)
    if as_json:
        print(json.dumps(document, allow_nan=False))
        return
    for line in _lines(document) if "split_by" in document else validation_lines(document):
        print(line)
    print(f"page: {page}")


def _lines(document: dict[str, Any]) -> list[str]:
    from wsigraph.training.evaluation.evaluation_page import interval, interval_and_count

    lines = [f"{document['model']['name']}, {document['n_patients']} held-out patients, by {document['split_by']}"]
    lines.append(f"  {document['n_configurations']} settings tried on this cohort")
    for part in ("survival", "stage"):
        for name, score in document[part].items():
            if isinstance(score, dict) and "value" in score:
                lines.append(f"  {part + ' ' + name:34s} {interval_and_count(score)}")
    lines += [*_lines_over_sites(document), *_lines_on_sets(document["stage_sets"])]
    lines.append("baseline models in the same folds, and by how much the model scores above them")
    for name, baseline in document["baselines"].items():
        if "left_out" in baseline:
            lines.append(f"  {name:20s} left out: {baseline['left_out']}")
            continue
        for part, score in (("survival", "c_index"), ("stage", "auc")):
            if part in baseline:
                above = interval(baseline["model_above"].get(part, {}).get(score), "+")
                lines.append(f"  {name:20s} {part + ' ' + score:18s} {interval(baseline[part][score]):26s} {above}")
    return lines


def _lines_over_sites(document: dict[str, Any]) -> list[str]:
    from wsigraph.training.evaluation.evaluation_page import interval_and_count

    return [
        f"  {part + ' ' + name + ' over sites':34s} {interval_and_count(of[name])}"
        for part, of in document["over_sites"].items()
        for name in ("c_index", "auc")
        if name in of
    ]


def _lines_on_sets(sets: dict[str, Any]) -> list[str]:
    from wsigraph.training.evaluation.evaluation_page import coverage_row

    if not sets:
        return []
    least = "nothing" if sets["guaranteed"] is None else f"{sets['guaranteed']:.3f}"
    rows = [coverage_row(name, row) for name, row in sets["coverage"].items()]
    return [
        f"stage sets that hold the true stage: {sets['aimed_at']:.3f} aimed at, {least} guaranteed",
        *(f"  {stage:34s} {covered}, mean size {size}, {n} patients" for stage, covered, size, n in rows),
    ]
