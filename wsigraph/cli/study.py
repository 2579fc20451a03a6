"""``wsigraph study``: from slides and a clinical table to a model, its scores and one page."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.completion import named
from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, TilePx, forced, read_settings

if TYPE_CHECKING:
    from wsigraph.cohort.clinical.clinical_table import ClinicalTable
    from wsigraph.cohort.clinical.column_mapping import ColumnMapping
    from wsigraph.run.study.plan import StudyPlan
    from wsigraph.run.study.run_study import StudyProgress, StudyResult


class _GroupBy(StrEnum):
    AUTO = "auto"
    PATIENT = "patient"
    SITE = "site"


class _LastStep(StrEnum):
    MANIFEST = "manifest"
    GRAPHS = "graphs"
    TRAIN = "train"
    EVALUATE = "evaluate"
    EXPLAIN = "explain"
    PAGE = "page"


_Slides = Annotated[
    list[str] | None,
    typer.Argument(metavar="SLIDES...", help="Slides, folders, globs, or feature files.", show_default=False),
]
_Clinical = Annotated[
    str | None, typer.Option("--clinical", metavar="TABLE", help="Clinical table: CSV, TSV, Excel or Parquet.")
]
_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory of the study.")]
_Plan = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="Repeat the study of a study.yaml; other options change it."),
]
_Sheet = Annotated[str | None, typer.Option("--sheet", metavar="NAME", help="Sheet of an Excel file.")]
_Patient = Annotated[str | None, typer.Option("--patient", metavar="COLUMN", help="Column of the patient.")]
_Slide = Annotated[str | None, typer.Option("--slide", metavar="COLUMN", help="Column of the slide's file name.")]
_Stage = Annotated[str | None, typer.Option("--stage", metavar="COLUMN", help="Column of the stage.")]
_StageNames = Annotated[
    str | None,
    typer.Option("--stage-names", metavar="A,B,...", help="Stages of the study, in order, e.g. I,II,III,IV."),
]
_Time = Annotated[
    list[str] | None,
    typer.Option(
        "--time", metavar="COLUMN", help="Column of follow-up, or of its last date. Repeat: the first that is filled."
    ),
]
_TimeUnit = Annotated[
    str | None,
    typer.Option(
        "--time-unit",
        metavar="UNIT",
        help="Unit of follow-up: days, weeks, months or years.",
        autocompletion=named("days", "weeks", "months", "years"),
    ),
]
_TimeFrom = Annotated[
    str | None, typer.Option("--time-from", metavar="COLUMN", help="Column of the first date, if --time holds dates.")
]
_DateOrder = Annotated[
    str | None,
    typer.Option(
        "--date-order",
        metavar="ORDER",
        help="ymd, dmy, mdy, or excel for days since 1899-12-30.",
        autocompletion=named("ymd", "dmy", "mdy", "excel"),
    ),
]
_Event = Annotated[
    str | None,
    typer.Option("--event", metavar="COLUMN[=VALUE,...]", help="Column of the event, and the values that mean one."),
]
_Site = Annotated[str | None, typer.Option("--site", metavar="COLUMN", help="Column of the hospital or scanner.")]
_Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="ROLE:CELL=VALUE", help="What a cell means, e.g. 'stage:pT2=II'. Repeatable."),
]
_Match = Annotated[
    str | None,
    typer.Option("--match", metavar="REGEX", help="Expression whose first group is the patient's id in a file name."),
]
_Mpp = Annotated[float | None, typer.Option("--mpp", metavar="UM", help="Pixel size of slides that state none, um/px.")]
_Features = Annotated[
    str | None,
    typer.Option(
        "--features", metavar="DIR", help="Feature files of an encoder (.h5, .pt), of the slides or in their place."
    ),
]
_Splits = Annotated[
    str | None,
    typer.Option("--splits", metavar="FILE", help="Folds to use, e.g. the k=all.tsv of Patho-Bench."),
]
_AllowUnmapped = Annotated[
    bool, typer.Option("--allow-unmapped", help="Read values that are not understood as missing.")
]
_Group = Annotated[_GroupBy | None, typer.Option("--group", help="What a fold keeps together; auto by default.")]
_Folds = Annotated[int | None, typer.Option("--folds", min=2, help="Number of folds; 5 by default.")]
_Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random choices; 1 by default.")]
_Until = Annotated[_LastStep, typer.Option("--until", help="Last step.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; take what was guessed, or stop where nothing is sure.")]
_Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Train on a cohort that is too small to be scored, and use slides that are no H&E sections."
    ),
]
_Restart = Annotated[bool, typer.Option("--restart", help="Discard a model of other settings or data.")]


@ends_plainly
def study(
    slides: _Slides = None,
    clinical: _Clinical = None,
    out: _Out = Path("study"),
    plan: _Plan = None,
    sheet: _Sheet = None,
    patient: _Patient = None,
    slide: _Slide = None,
    stage: _Stage = None,
    stage_names: _StageNames = None,
    time: _Time = None,
    time_unit: _TimeUnit = None,
    time_from: _TimeFrom = None,
    date_order: _DateOrder = None,
    event: _Event = None,
    site: _Site = None,
    values: _Map = None,
    match: _Match = None,
    mpp: _Mpp = None,
    features: _Features = None,
    tile_px: TilePx = None,
    splits: _Splits = None,
    allow_unmapped: _AllowUnmapped = False,
    group: _Group = None,
    folds: _Folds = None,
    seed: _Seed = None,
    until: _Until = _LastStep.PAGE,
    yes: _Yes = False,
    restart: _Restart = False,
    force: _Force = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Go from slides and a clinical table to a model, its scores, explanations and one page.

    The columns are guessed and shown; name those that are wrong. The mapping is written to DIR/study.yaml, what every
    value became to DIR/mapping.csv, and what is not used to DIR/left_out.csv. The same command continues a stopped
    study.
    """
    from wsigraph.cohort.clinical.clinical_table import read_clinical_table

    settings = read_settings(config, overrides, forced(force))
    whole = _plan(
        plan,
        slides,
        clinical,
        {
            "sheet": sheet,
            "match": match,
            "mpp": mpp,
            "features": features,
            "tile_px": tile_px,
            "splits": splits,
            "group": group and group.value,
            "folds": folds,
            "seed": seed,
        },
    )
    if allow_unmapped:
        whole = whole.model_copy(update={"allow_unmapped": True})
    stated = {"patient": patient, "slide": slide, "stage": stage, "time_unit": time_unit, "time_from": time_from,
              "date_order": date_order, "site": site, "time": tuple(time) if time else None,
              "stage_names": tuple(part.strip() for part in stage_names.split(",")) if stage_names else None,
              **_event(event), **_values(values, whole.columns)}  # fmt: skip
    table = read_clinical_table(whole.clinical, sheet=whole.sheet)
    for note in table.notes:
        say(f"note: {note}")
    columns = _columns(table, whole.columns, stated, ask=not yes and not as_json and sys.stdin.isatty())
    whole = whole.model_copy(update={"columns": columns})
    from wsigraph.run.study.run_study import run_study

    progress = _progress(settings.batch.report_s)
    result = run_study(whole, out, settings, until=until.value, restart=restart, force=force, progress=progress)
    _print_result(result, as_json)


def _plan(path: Path | None, slides: list[str] | None, clinical: str | None, stated: dict[str, Any]) -> StudyPlan:
    """Return the plan of a file, or a new one, with what the options state."""
    from wsigraph.run.study.plan import StudyPlan, load_plan

    given = {name: value for name, value in stated.items() if value is not None}
    if not slides and path is None and "features" in given:
        slides = [given.pop("features")]
    if path is not None:
        given |= {"slides": tuple(slides)} if slides else {}
        given |= {"clinical": clinical} if clinical else {}
        return load_plan(path).model_copy(update=given)
    if not slides or clinical is None:
        raise typer.BadParameter("give slides and --clinical TABLE, or the --plan of an earlier study")
    return StudyPlan(slides=tuple(slides), clinical=clinical, **given)


def _event(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    column, _, values = text.partition("=")
    listed = tuple(value.strip() for value in values.split(",") if value.strip())
    return {"event": column, "event_values": listed}


def _values(texts: list[str] | None, columns: ColumnMapping) -> dict[str, Any]:
    """Return the mapping of single cells, added to an earlier one."""
    from wsigraph.cohort.clinical.column_roles import ROLES

    merged = {role: dict(cells) for role, cells in columns.values.items()}
    for text in texts or ():
        role, colon, rest = text.partition(":")
        cell, sign, value = rest.rpartition("=")
        if not colon or not sign or role not in ROLES:
            raise typer.BadParameter(f"--map {text!r}: expected ROLE:CELL=VALUE with a role among {', '.join(ROLES)}")
        merged.setdefault(role, {})[cell] = value
    return {"values": merged} if texts else {}


def _columns(table: ClinicalTable, known: ColumnMapping, stated: dict[str, Any], *, ask: bool) -> ColumnMapping:
    """Return the mapping: what is stated, then what is known of an earlier study, then a guess."""
    from wsigraph.cohort.clinical.column_mapping import ColumnMapping, complete_mapping, guess_mapping
    from wsigraph.cohort.clinical.column_roles import guess_unit
    from wsigraph.errors import CohortError

    given = {name: value for name, value in stated.items() if value is not None}
    guessed, doubtful = guess_mapping(table, given.get("stage_names"))
    base = guessed if known == ColumnMapping() else known
    if "time" in given:
        # unit and dates of another column say nothing of this one
        base = base.model_copy(update={"time_unit": None, "date_order": None})
    taken = {given[name] for name in ("patient", "slide", "stage", "event", "site", "time_from") if given.get(name)}
    taken |= set(given.get("time", ()))
    single = ("patient", "slide", "stage", "event", "site", "grade", "age", "sex", "split", "time_from")
    freed: dict[str, Any] = {role: None for role in single if getattr(base, role) in taken and role not in given}
    if taken & set(base.time) and "time" not in given:
        freed["time"] = ()
    mapping = base.model_copy(update={**freed, **given})
    mapping, unknown = complete_mapping(table, mapping, given.get("stage_names"))
    if mapping.time and mapping.time_unit and guess_unit(mapping.time[0]) is None and known == ColumnMapping():
        doubtful = [*doubtful, "time_unit"]  # from its values alone
    for line in _describe(table, mapping, [role for role in doubtful if role not in given]):
        say(line)
    if ask:
        mapping, unknown = _ask(table, mapping, unknown)
    if unknown:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unknown)
        shown = table.column(mapping.time[0])[:3]
        raise CohortError(
            f"follow-up in column {mapping.time[0]!r} ({', '.join(map(repr, shown))}, ...) is not clear without "
            f"{options}; state it"
        )
    return mapping


def _describe(table: ClinicalTable, mapping: ColumnMapping, doubtful: list[str]) -> list[str]:
    """Return what was understood, one line a role."""
    lines = [f"{table.path}: {len(table.rows)} rows"]
    for role in ("patient", "slide", "stage", "event", "age", "sex", "grade", "site", "split", "time_from"):
        column = getattr(mapping, role)
        if column:
            values = list(dict.fromkeys(table.column(column)))[:4]
            doubt = "  (a guess: --" + role.replace("_", "-") + " chooses)" if role in doubtful else ""
            lines.append(f"  {role:<10} {column!r}: {', '.join(values)}{', ...' if len(values) > 3 else ''}{doubt}")
    if mapping.time:
        unit = mapping.time_unit or (f"dates, {mapping.date_order}" if mapping.date_order else "unit not known")
        doubt = "  (a guess from its values: --time-unit chooses)" if "time_unit" in doubtful else ""
        lines.append(f"  {'time':<10} {', '.join(map(repr, mapping.time))}: {unit}{doubt}")
    return lines


def _ask(table: ClinicalTable, mapping: ColumnMapping, unknown: list[str]) -> tuple[ColumnMapping, list[str]]:
    """Let the user correct the mapping in a terminal."""
    from wsigraph.cohort.clinical.column_mapping import complete_mapping
    from wsigraph.cohort.clinical.column_roles import ROLES

    say(f"columns: {', '.join(table.columns)}")
    while True:
        prompt = f"still needed: {', '.join(unknown)}" if unknown else "Enter accepts"
        answer = typer.prompt(
            f"{prompt}; to change, type ROLE=COLUMN or time_unit=months", default="", show_default=False, err=True
        )
        if not answer.strip():
            return mapping, unknown
        role, _, column = (part.strip() for part in answer.partition("="))
        if role in ("time_unit", "date_order"):
            mapping = mapping.model_copy(update={role: column or None})
        elif role not in ROLES or (column and column not in table.columns):
            say(
                f"{answer!r}: expected a column of the table for a role among {', '.join(ROLES)}, or a value "
                "for time_unit or date_order"
            )
            continue
        else:
            update: dict[str, Any] = {"time": (column,) if column else (), "time_unit": None, "date_order": None}
            mapping = mapping.model_copy(update=update if role == "time" else {role: column or None})
        mapping, unknown = complete_mapping(table, mapping)
        for line in _describe(table, mapping, []):
            say(line)


def _progress(report_s: float) -> StudyProgress:
    from wsigraph.cli.progress import progress_line
    from wsigraph.cli.watch import watching
    from wsigraph.run.study.run_study import StudyProgress

    current = ""

    def begin(name: str, number: int, total: int) -> None:
        nonlocal current
        current = f"step {number} of {total}: {name}"
        say(current)

    return StudyProgress(
        step=begin,
        watch=lambda: watching(report_s, above=f"study, {current}"),
        line=lambda label: progress_line(label, above=f"study, {current}"),
    )


def _print_result(result: StudyResult, as_json: bool) -> None:
    import json

    document = {name: value for name, value in result.document.items() if name != "charts"}
    if as_json:
        print(
            json.dumps(
                {"directory": str(result.directory), "page": result.page and str(result.page), **document},
                allow_nan=False,
            )
        )
        return
    for box in document["flow"]:
        print(box["text"])
    if document["left_out"]:
        print(
            f"left out: {len(document['left_out'])} slides and patients, listed in {result.directory / 'left_out.csv'}"
        )
    for text in document["problems"]:
        say(text)
    from wsigraph.training.evaluation.evaluation_page import interval

    evaluation = document["evaluation"] or {}
    for part, name, label in (("survival", "c_index", "C-index"), ("stage", "auc", "stage AUC")):
        text = interval((evaluation.get(part) or {}).get(name))
        if text != "-":
            print(f"{label:<10} {text}, held-out patients")
    print(f"page: {result.page}" if result.page else f"directory: {result.directory}")
