"""``wsigraph validate``: score a finished model on patients of another cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, CompetingColumn, EventColumn, TimeColumn, read_endpoint

_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Directory that wsigraph train wrote.")]
_Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Table of slides, patients and outcomes.")]
_Graphs = Annotated[Path, typer.Option("--graphs", metavar="DIR", help="Directory with <slide>/coarse.safetensors.")]
_ValidationOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory of the results.")]
_Days = Annotated[
    list[int] | None,
    typer.Option("--day", metavar="DAYS", min=1, help="A horizon; 365, 1095 and 1825 by default. Repeatable."),
]
_Seed = Annotated[int, typer.Option("--seed", help="Seed of the bootstrap draws.")]
_Missing = Annotated[bool, typer.Option("--allow-missing", help="Leave out slides that have no graph, with a warning.")]


@ends_plainly
def validate(
    model: _Model,
    manifest: _Manifest,
    graphs: _Graphs,
    out: _ValidationOut = Path("validation"),
    time: TimeColumn = None,
    event: EventColumn = None,
    competing: CompetingColumn = None,
    days: _Days = None,
    seed: _Seed = 1,
    allow_missing: _Missing = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score a finished model on patients of another cohort: discrimination, calibration, net benefit, by site.

    The slides of a patient are joined to one graph, as in training. Patients of the training cohort are refused. Writes
    validation.json, validation.html and predictions.csv into DIR.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.validate_model import DAYS, PAGE
    from wsigraph.run.validate_model import validate as validate_model

    endpoint = read_endpoint(time, event, competing)
    with progress_line(str(manifest)) as progress:
        document = validate_model(
            model,
            manifest,
            graphs,
            out,
            endpoint=endpoint,
            days=days or DAYS,
            seed=seed,
            allow_missing=allow_missing,
            progress=progress,
        )
    for text in document["warnings"]:
        say(text)
    if as_json:
        print(json.dumps(document, allow_nan=False))
        return
    for line in validation_lines(document):
        print(line)
    print(f"page: {out / PAGE}")


def validation_lines(document: dict[str, Any]) -> list[str]:
    """Return the scores of a validation, one a line."""
    from wsigraph.training.evaluation.evaluation_page import coverage_row, interval_and_count

    lines = [
        f"{document['model']['name']} on {document['n_patients']} patients of {document['cohort']['manifest']}, "
        f"{document['n_events']} events"
    ]
    for part in ("survival", "stage", "calibration"):
        lines += [
            f"  {part + ' ' + name:36s} {interval_and_count(score)}"
            for name, score in document[part].items()
            if isinstance(score, dict) and "value" in score
        ]
        if part == "survival":
            lines += [
                f"  {'AUC at day ' + format(score['day'], 'g'):36s} {interval_and_count(score)}"
                for score in document[part].get("time_auc", ())
            ]
    for name, row in document["stage_sets"].get("coverage", {}).items():
        stage, covered, size, n = coverage_row(name, row)
        lines.append(f"  {'stage sets hold ' + stage:36s} {covered}, mean size {size}, {n} patients")
    if len(document["sites"]) > 1:
        lines.append("by site")
        for site in document["sites"]:
            scores = [interval_and_count(site.get(name)) for name in ("c_index", "stage_auc")]
            lines.append(f"  {site['site'] or 'not named':20s} C-index {scores[0]}; stage AUC {scores[1]}")
    return lines
