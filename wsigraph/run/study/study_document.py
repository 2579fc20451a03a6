"""What the page of a study shows: the flow of patients, table 1, scores, curves, sites, and the facts of the run.

The flow follows STROBE's diagram of participants, and table 1 its table of characteristics. Of TRIPOD+AI only those
items are listed that are facts of the run; what a model may be used for is not for a program to say.

References
----------
von Elm et al., "The STROBE statement", Lancet 2007; Collins et al., "TRIPOD+AI statement", BMJ 2024.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wsigraph import __version__
from wsigraph.cohort.clinical.cell_values import DAYS_PER_UNIT
from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.statistics.paper_tables import describe_columns

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest_row import ManifestRow
    from wsigraph.run.study.plan import StudyPlan
    from wsigraph.run.study.prepare import LeftOut, PreparedStudy

_LEVELS_MAX = 12


class Produced(Protocol):
    """What the steps of a study have produced."""

    left_out: list[LeftOut]
    problems: list[str]
    task: str | None
    group: str
    evaluation: dict[str, Any] | None
    explained: list[dict[str, str]]


def build_document(plan: StudyPlan, prepared: PreparedStudy, directory: Path, produced: Produced) -> dict[str, Any]:
    """Return everything that the page of a study shows.

    Parameters
    ----------
    plan : StudyPlan
        The plan.
    prepared : PreparedStudy
        Slides and patients.
    directory : Path
        Directory of the study.
    produced : Produced
        What the steps have produced.

    Returns
    -------
    dict
        JSON values, and under ``charts`` the charts of the page as markup.
    """
    failed = {one.name for one in produced.left_out if one.group == "no graph"}
    used = [row for row in prepared.rows if row.slide_id not in failed]
    patients = _by_patient(used)
    followed = [row for row in patients if row.follow_up_days is not None]
    document: dict[str, Any] = {
        "title": directory.resolve().name,
        "version": __version__,
        "flow": _flow(prepared, produced, used, patients, followed),
        "left_out": [
            {"kind": one.kind, "name": one.name, "group": one.group, "reason": one.reason} for one in produced.left_out
        ],
        "notes": list(prepared.notes),
        "problems": list(produced.problems),
        "mapping": plan.columns.model_dump(mode="json", exclude_defaults=True),
        "matching": prepared.rules,
        "table_one": characteristics(patients, plan.columns.stage_names),
        "sites": _sites(patients, directory if produced.evaluation is not None else None),
        "task": produced.task,
        "group": produced.group,
        "folds": plan.folds,
        "seed": plan.seed,
        "evaluation": produced.evaluation,
        "explained": produced.explained,
        "facts": _facts(plan, produced, patients, followed),
    }
    document["charts"] = _charts(followed, directory, produced)
    return document


def characteristics(patients: Sequence[ManifestRow], stage_names: Sequence[str]) -> list[dict[str, str]]:
    """Return the characteristics of patients, as `wsigraph.cohort.table_one` counts them.

    Parameters
    ----------
    patients : sequence of ManifestRow
        One row a patient.
    stage_names : sequence of str
        Stages in their order.

    Returns
    -------
    list of dict
        ``characteristic``, ``level`` and ``value``: counts with percentages, or median with quartiles. Missing values
        are a level; beyond twelve levels, the rare ones are one.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in ("age", "sex", "stage", "grade", "site"):
        values = [str(getattr(row, name, None) or row.free.get(name, "")) or None for row in patients]
        if not any(values):
            continue
        numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
        if name == "age" and numbers.notna().sum() >= 0.5 * sum(value is not None for value in values):
            columns["age, years"] = numbers
        elif name == "stage":
            columns[name] = pd.Categorical(values, list(stage_names), ordered=True)
        else:
            columns[name] = _frequent(values)
    followed = [row.follow_up_days is not None for row in patients]
    if any(followed):
        days = pd.Series([row.follow_up_days for row in patients], dtype=float)
        columns["follow-up, months"] = days / DAYS_PER_UNIT["months"]
        columns["event"] = [("yes" if row.event else "no") if row.follow_up_days is not None else None
                            for row in patients]  # fmt: skip
    table = describe_columns(pd.DataFrame(columns, index=range(len(patients))), list(columns))
    return [
        {"characteristic": str(name), "level": str(level), "value": str(value)}
        for (name, level), value in table["all"].items()
    ]


def _frequent(values: Sequence[str | None]) -> list[str | None]:
    """Return values of which the rare ones, beyond the twelve most frequent, are one."""
    counts = Counter(value for value in values if value)
    frequent = {value for value, _ in counts.most_common(_LEVELS_MAX)}
    rest = f"{len(counts) - len(frequent)} others"
    return [value if not value or value in frequent else rest for value in values]


def _by_patient(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    first: dict[str, ManifestRow] = {}
    for row in rows:
        first.setdefault(row.patient_id, row)
    return list(first.values())


def _flow(
    prepared: PreparedStudy,
    produced: Produced,
    used: Sequence[ManifestRow],
    patients: Sequence[ManifestRow],
    followed: Sequence[ManifestRow],
) -> list[dict[str, Any]]:
    """Return the boxes of the flow diagram, from top to bottom, each with what is left out after it."""

    def lost(*groups: str) -> list[str]:
        counts = Counter((one.kind, one.group) for one in produced.left_out if one.group in groups)
        return [f"{n} {kind}{'s' if n > 1 else ''}: {group}" for (kind, group), n in counts.items()]

    n_readable = len({row.patient_id for row in prepared.rows})
    staged = sum(row.stage is not None for row in patients)
    zero = sum(row.time_days == 0 for row in patients)
    last = [f"{zero} patient{'s' if zero > 1 else ''}: follow-up of 0 days, not used for survival"] if zero else []
    return [
        {
            "text": f"{prepared.n_slides} slides and {prepared.n_patients} patients in the table",
            "left_out": lost("no patient in the table", "no slide"),
        },
        {
            "text": f"{len(prepared.rows)} slides of {n_readable} patients can be read",
            "above": lost("not readable", "no pixel size", "copy of another"),
            "left_out": lost("no graph"),
        },
        {
            "text": f"{len(used)} slides of {len(patients)} patients have a graph",
            "left_out": last,
        },
        {
            "text": f"{staged} patients with a stage, {len(followed)} with follow-up, "
            f"{sum(bool(row.event) for row in followed)} with an event",
            "left_out": [],
        },
    ]


def _sites(patients: Sequence[ManifestRow], directory: Path | None) -> list[dict[str, Any]]:
    """Return counts of every site, and the scores of its held-out patients where there is a model."""
    from wsigraph.run.study.site_scores import site_scores

    scores = {} if directory is None else site_scores(directory / "model")
    sites = sorted({row.site for row in patients if row.site})
    return [
        {
            "site": site,
            "patients": sum(row.site == site for row in patients),
            "events": sum(row.site == site and bool(row.event) and row.follow_up_days is not None for row in patients),
            **scores.get(site, {}),
        }
        for site in sites
    ]


def _facts(
    plan: StudyPlan, produced: Produced, patients: Sequence[ManifestRow], followed: Sequence[ManifestRow]
) -> list[dict[str, str]]:
    """Return the items of TRIPOD+AI that are facts of the run."""
    events = sum(bool(row.event) for row in followed)
    evaluation = produced.evaluation or {}
    facts = [
        ("5a data", f"{len(patients)} patients of {Path(plan.clinical).name} with slides"),
        ("7 data preparation", "the mapping of every value is in mapping.csv; what is left out is in left_out.csv"),
        (
            "8a outcome",
            f"follow-up from {', '.join(plan.columns.time) or 'no column'}, "
            f"event from {plan.columns.event or 'no column'}",
        ),
        (
            "10 sample size",
            f"all that are available: {len(patients)} patients, {len(followed)} with follow-up, {events} events",
        ),
        ("11 missing data", "a patient without a value is left out of what needs it; nothing is imputed"),
        ("12a data use", f"{plan.folds} folds that keep each {produced.group} together, seed {plan.seed}"),
    ]
    if evaluation:
        facts += [
            ("12e performance", f"on held-out patients; intervals from {evaluation['n_draws']} bootstrap draws"),
            ("12c tuning", f"{evaluation['n_configurations']} configuration(s) tried"),
            ("22 model", f"{evaluation['model']['name']}, id {evaluation['model']['model_id']}"),
        ]
    facts.append(("18f code", f"wsigraph {__version__}; study.yaml repeats the study"))
    return [{"item": item, "fact": fact} for item, fact in facts]


def _charts(followed: Sequence[ManifestRow], directory: Path, produced: Produced) -> dict[str, Any]:
    from wsigraph.figures.page.charts import calibration_chart
    from wsigraph.figures.page.survival_chart import survival_by_group_chart
    from wsigraph.model.bundle import load_bundle
    from wsigraph.training.evaluation.evaluation_page import risk_groups
    from wsigraph.training.held_out import load_held_out

    charts: dict[str, Any] = {}
    if len(followed) > 1:
        days = np.array([row.follow_up_days for row in followed], np.float64)
        event = np.array([bool(row.event) for row in followed])
        charts["cohort"] = survival_by_group_chart(
            {"all patients": kaplan_meier(days, event)}, "Survival of all patients"
        )
    if produced.evaluation is None:
        return charts
    model = directory / "model"
    groups = risk_groups(load_held_out(model, load_bundle(model).model_id))
    if groups:
        charts["risk"] = survival_by_group_chart(groups)
    curve = (produced.evaluation.get("stage") or {}).get("calibration_curve")
    if curve:
        charts["calibration"] = calibration_chart(np.array(curve["stated"]), np.array(curve["observed"]))
    return charts
