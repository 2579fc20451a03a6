"""A page over all slides of a run: what was read of each, how good it is, what failed, and whether risk tells survival.

Only what lies in the run's directory is read, and a manifest for follow-up where one is given. Survival is compared by
predicted risk on patients that the model has not seen, or that were answered by a member that has not seen them; those
of the training cohort are counted and left out. The table sorts by a script of a few lines that is part of the page
and named in its policy by digest; nothing else is run or fetched.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsigraph.cohort.manifest.manifest import Manifest
from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps, kaplan_meier
from wsigraph.errors import StoreError
from wsigraph.graph.tissue.artefact import artefact_areas
from wsigraph.report.charts import groups
from wsigraph.report.faithfulness_summary import Gains, gains, holding
from wsigraph.store import load_prediction, load_tissue_map, read_document, write_file

OVERVIEW = "cohort.html"
"""File name inside a run's directory."""
IN_TRAINING = "in training"
"""Relation of patients whose survival says nothing of the model."""
_THUMBNAIL_PX = 128
_JPEG = re.compile(rb"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")
_SORT = """
for(const head of document.querySelectorAll("th button"))head.addEventListener("click",()=>{
const cell=head.parentElement,table=cell.closest("table"),body=table.tBodies[0];
const at=cell.cellIndex,up=cell.getAttribute("aria-sort")!=="ascending";
for(const other of table.querySelectorAll("th"))other.removeAttribute("aria-sort");
cell.setAttribute("aria-sort",up?"ascending":"descending");
const key=row=>row.cells[at].dataset.key??row.cells[at].textContent;
const rows=[...body.rows].sort((a,b)=>{const x=key(a),y=key(b),n=Number(x)-Number(y);
return (Number.isNaN(n)?x.localeCompare(y):n)*(up?1:-1)});body.append(...rows)});
"""
_STYLE = """
td img{width:96px;height:auto;background:#fff;display:block}th button{font:inherit;color:inherit;background:none;
border:0;padding:0;cursor:pointer;text-decoration:underline dotted}
#survival+figure{max-width:42rem}
th[aria-sort=ascending] button::after{content:" \\25B2"}
th[aria-sort=descending] button::after{content:" \\25BC"}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideRow:
    """What the overview tells of one slide.

    Attributes
    ----------
    slide_id, patient : str
        The slide, and whose it is; the slide itself where no manifest says.
    stage, stage_probability : str or None, float
        Most likely stage.
    risk, median_survival_days : float or None
        Of survival.
    tissue_mm2 : float
        Tissue.
    artefact_mm2 : mapping of str to float
        Area of each artefact that was found; empty where there is no tissue map.
    distance : float or None
        How unlike the training slides it is, standard deviations; about 1 for a slide like them.
    gains : mapping
        How the orders of its explanation did (`wsigraph.report.faithfulness_summary.gains`).
    warnings : tuple of str
        What to beware of.
    relation : str
        Whether the model has seen the patient.
    page : str or None
        Address of its report, relative to the run's directory.
    thumbnail : str or None
        ``data:`` address.
    """

    slide_id: str
    patient: str
    stage: str | None
    stage_probability: float
    risk: float | None
    median_survival_days: float | None
    tissue_mm2: float
    artefact_mm2: Mapping[str, float]
    distance: float | None
    gains: Gains
    warnings: tuple[str, ...]
    relation: str
    page: str | None
    thumbnail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A slide without a prediction, and why."""

    slide_id: str
    message: str


def write_overview(directory: Path | str, manifest: Manifest | None = None) -> Path:
    """Write the overview of a run.

    Parameters
    ----------
    directory : Path or str
        Directory that holds ``<slide>/`` for every slide.
    manifest : Manifest, optional
        Patients and their follow-up.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StoreError
        If there is no slide, a record is damaged, or the page cannot be written.
    """
    directory = Path(directory)
    rows, failures = gather_rows(directory, manifest)
    if not rows and not failures:
        raise StoreError(f"{directory} holds no slide's directory, expected that of a run; name another")
    path = directory / OVERVIEW
    write_file(path, render(rows, failures, survival_groups(rows, manifest)))
    return path


def gather_rows(directory: Path, manifest: Manifest | None) -> tuple[list[SlideRow], list[Failure]]:
    """Return the slides of a run by name, and those that failed.

    Parameters
    ----------
    directory : Path
        Directory of the run.
    manifest : Manifest or None
        Patients.

    Returns
    -------
    rows : list of SlideRow
        Slides with a prediction.
    failures : list of Failure
        Slides without one.

    Raises
    ------
    StoreError
        If a record is damaged.
    """
    patient = {row.slide_id: row.patient_id for row in manifest.rows} if manifest else {}
    told = _told_failures(directory / "summary.json")
    rows, failures = [], []
    if not directory.is_dir():
        return [], []
    for folder in sorted(each for each in directory.iterdir() if (each / "slide.json").exists()):
        name = folder.name
        if (folder / "prediction.json").exists():
            rows.append(_row(folder, patient.get(name, name)))
        else:
            failures.append(Failure(slide_id=name, message=told.pop(name, "not finished: no prediction is stored")))
    known = {row.slide_id for row in rows} | {each.slide_id for each in failures}
    failures += [Failure(slide_id=name, message=text) for name, text in told.items() if name not in known]
    return rows, sorted(failures, key=lambda each: each.slide_id)


def _told_failures(path: Path) -> dict[str, str]:
    """Return what a batch noted of slides that failed; nothing where no batch was run here."""
    if not path.exists():
        return {}
    try:
        noted = json.loads(path.read_bytes()).get("failures", [])
        return {str(each["slide_id"]): f"{each['stage']}: {each['message']}" for each in noted}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} does not read as a run's summary: {error}; run the batch again") from error


def _row(folder: Path, patient: str) -> SlideRow:
    prediction = load_prediction(folder / "prediction.json")
    report, tissue = folder / "report.json", folder / "tissue.zarr"
    facts: dict[str, Any] = {"tissue_mm2": 0.0, "warnings": []}
    if report.exists():
        facts = read_document(report, "Report")[1]
    likely = int(np.argmax(prediction.stage_probability)) if len(prediction.stage_probability) else None
    page = next((each for each in ("report.html", "report.png") if (folder / each).exists()), None)
    return SlideRow(
        slide_id=folder.name,
        patient=patient,
        stage=None if likely is None else prediction.stage_names[likely],
        stage_probability=0.0 if likely is None else float(prediction.stage_probability[likely]),
        risk=None if prediction.risk is None else float(prediction.risk),
        median_survival_days=prediction.median_survival_days,
        tissue_mm2=float(facts["tissue_mm2"]),
        artefact_mm2=artefact_areas(load_tissue_map(tissue)) if tissue.exists() else {},
        distance=prediction.distance,
        gains=gains(folder),
        warnings=tuple(facts["warnings"]),
        relation=prediction.relation,
        page=None if page is None else f"{quote(folder.name)}/{page}",
        thumbnail=_thumbnail(folder),
    )


def _thumbnail(folder: Path) -> str | None:
    """Return the slide at the size of a stamp: from its page, else from its picture."""
    page, picture = folder / "report.html", folder / "report.png"
    if page.exists() and (found := _JPEG.search(page.read_bytes())):
        source: Path | io.BytesIO = io.BytesIO(base64.b64decode(found[1]))
    elif picture.exists():
        source = picture
    else:
        return None
    with Image.open(source) as image:
        small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def survival_groups(rows: Sequence[SlideRow], manifest: Manifest | None) -> dict[str, SurvivalSteps]:
    """Return survival of the patients of lower and of higher predicted risk.

    Parameters
    ----------
    rows : sequence of SlideRow
        Slides; the risk of a patient is the mean over theirs.
    manifest : Manifest or None
        Follow-up.

    Returns
    -------
    dict of str to SurvivalSteps
        Empty where there are fewer than four patients with known follow-up that the model has not seen.
    """
    if manifest is None:
        return {}
    follow_up = {row.patient_id: (row.time_days, row.event) for row in manifest.rows if row.time_days is not None}
    risks: dict[str, list[float]] = {}
    for row in rows:
        if row.relation != IN_TRAINING and row.risk is not None and row.patient in follow_up:
            risks.setdefault(row.patient, []).append(row.risk)
    if len(risks) < 4:
        return {}
    mean = np.array([np.mean(each) for each in risks.values()])
    time_days = np.array([follow_up[name][0] for name in risks], np.float64)
    event = np.array([bool(follow_up[name][1]) for name in risks])
    is_high = mean > np.median(mean)
    return {"lower risk": _estimate(time_days, event, ~is_high), "higher risk": _estimate(time_days, event, is_high)}


def _estimate(time_days: NDArray[np.float64], event: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> SurvivalSteps:
    return kaplan_meier(time_days[chosen], event[chosen])


def render(rows: Sequence[SlideRow], failures: Sequence[Failure], survival: Mapping[str, SurvivalSteps]) -> bytes:
    """Return the page.

    Parameters
    ----------
    rows : sequence of SlideRow
        Slides.
    failures : sequence of Failure
        Slides without a prediction.
    survival : mapping of str to SurvivalSteps
        Survival by group of predicted risk.

    Returns
    -------
    bytes
        UTF-8; equal content gives equal bytes.
    """
    style = files("wsigraph.report").joinpath("page.css").read_text(encoding="utf-8") + _STYLE
    digest = base64.b64encode(hashlib.sha256(_SORT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    n_training = sum(row.relation == IN_TRAINING for row in rows)
    failed = "".join(f"<tr><td>{escape(each.slide_id)}</td><td>{escape(each.message)}</td></tr>" for each in failures)
    failed = f"<table><tbody>{failed}</tbody></table>" if failures else "<p>None.</p>"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Cohort</title>'
        f'<style>{style}</style></head><body><header><h1>Cohort of {len(rows):,} slides</h1><p class="notice">For '
        "research use only; not for any decision about a patient.</p></header><main>"
        f'<h2 id="survival">Survival by predicted risk</h2>{_survival(survival, n_training)}'
        f'<h2 id="holding">Do the explanations hold?</h2>{holding([row.gains for row in rows])}'
        f'<h2 id="failures">Failures</h2><div class="scroll">{failed}</div>'
        f'<h2 id="slides">Slides</h2><div class="scroll">{_table(rows)}</div></main>'
        f"<script>{_SORT}</script></body></html>\n"
    ).encode()


def _survival(survival: Mapping[str, SurvivalSteps], n_training: int) -> str:
    left_out = f" {n_training} slides of the training cohort are left out." if n_training else ""
    if not survival:
        return (
            "<p>Not shown: it takes a manifest with follow-up of at least four patients that the model has not seen."
            f"{left_out}</p>"
        )
    told = "; ".join(f"{name}: {each.n_patients} patients, {each.n_events} events" for name, each in survival.items())
    return (
        f"<figure><figcaption>Kaplan-Meier with 95 % bands, split at the median risk. {escape(told)}. Patients of "
        f"other cohorts, or answered by a member that never saw them.{left_out}</figcaption>{groups(survival)}</figure>"
    )


def _table(rows: Sequence[SlideRow]) -> str:
    heads = (
        *("slide", "patient", "stage", "risk", "median survival", "tissue"),
        *("artefacts", "unlike training", "warnings", "known to the model"),
    )
    head = "".join(f'<th scope="col"><button type="button">{each}</button></th>' for each in heads)
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(map(_table_row, rows))}</tbody></table>"


def _table_row(row: SlideRow) -> str:
    name = escape(row.slide_id)
    link = name if row.page is None else f'<a href="{escape(row.page)}">{name}</a>'
    picture = "" if row.thumbnail is None else f'<img src="{row.thumbnail}" alt="{name} as a stamp">'
    stage = "" if row.stage is None else f"{escape(row.stage)} ({row.stage_probability:.0%})"
    risk = "" if row.risk is None else f"{row.risk:+.2f}"
    median = "beyond" if row.median_survival_days is None else f"{row.median_survival_days:,.0f} days"
    listed = "".join(f"<li>{escape(text)}</li>" for text in row.warnings)
    warnings = f"<details><summary>{len(row.warnings)}</summary><ul>{listed}</ul></details>" if listed else "0"
    artefacts = "<br>".join(f"{escape(name)} {area:.2f} mm²" for name, area in row.artefact_mm2.items() if area) or "0"
    unlike = "" if row.distance is None else f"{row.distance:.1f} SD"
    far = 1e9 if row.median_survival_days is None else row.median_survival_days
    return (
        f"<tr><td>{picture}</td><td>{link}</td><td>{escape(row.patient)}</td><td>{stage}</td>"
        f'<td class="number" data-key="{-1e9 if row.risk is None else row.risk!r}">{risk}</td>'
        f'<td class="number" data-key="{far!r}">{median}</td>'
        f'<td class="number" data-key="{row.tissue_mm2!r}">{row.tissue_mm2:.2f} mm²</td>'
        f'<td class="number" data-key="{sum(row.artefact_mm2.values())!r}">{artefacts}</td>'
        f'<td class="number" data-key="{-1 if row.distance is None else row.distance!r}">{unlike}</td>'
        f'<td data-key="{len(row.warnings)}">{warnings}</td><td>{escape(row.relation)}</td></tr>'
    )
