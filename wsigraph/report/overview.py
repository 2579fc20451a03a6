"""cohort.html: all slides of a run on one page, with predictions, quality, failures and survival by predicted risk.

The page is made from the run's directory, and from a manifest with follow-up if there is one. Survival is compared by
predicted risk on patients of other cohorts, or predicted by a member not trained on them; patients of the training
cohort are counted and left out. A script of a few lines sorts the table. It is part of the page and allowed by the
content security policy through its digest; nothing else is run or fetched.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsigraph.cohort.manifest.manifest import Manifest
from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps, kaplan_meier
from wsigraph.errors import StoreError
from wsigraph.figures.page.survival_chart import survival_by_group_chart
from wsigraph.figures.page.templates import render_page
from wsigraph.graph.tissue.artefact import artefact_areas
from wsigraph.report.faithfulness_summary import Gains, read_gains, summarize_faithfulness
from wsigraph.store import load_prediction, load_tissue_map, read_document, write_file

OVERVIEW = "cohort.html"
"""File name inside a run's directory."""
IN_TRAINING = "in training"
"""Relation of patients whose survival is no evidence about the model."""
_THUMBNAIL_PX = 128
_JPEG = re.compile(rb"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideRow:
    """One slide in the overview.

    Attributes
    ----------
    slide_id, patient : str
        The slide and its patient; the slide again if no manifest names the patient.
    stage, stage_probability : str or None, float
        Most likely stage.
    risk, median_survival_days : float or None
        Predicted risk and median survival.
    tissue_mm2 : float
        Area of the tissue.
    artefact_mm2 : mapping of str to float
        Area of each artefact; empty if there is no tissue map.
    distance : float or None
        Distance from the training slides, standard deviations; about 1 for a similar slide.
    gains : mapping
        Gains of the faithfulness curves (`wsigraph.report.faithfulness_summary.read_gains`).
    warnings : tuple of str
        Warnings of the report.
    relation : str
        Relation of the patient to the training cohort.
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
class Unpredicted:
    """A slide without a prediction.

    Attributes
    ----------
    slide_id : str
        The slide.
    message : str
        Step and message of its error; empty if the slide did not fail.
    """

    slide_id: str
    message: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the slide failed. A run up to an earlier step, or one that was stopped, leaves others."""
        return bool(self.message)


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
    rows, unpredicted = gather_rows(directory, manifest)
    if not rows and not unpredicted:
        raise StoreError(f"{directory} holds no slide's directory, expected the directory of a run; name another")
    path = directory / OVERVIEW
    write_file(path, render(rows, unpredicted, survival_groups(rows, manifest)))
    return path


def gather_rows(directory: Path, manifest: Manifest | None) -> tuple[list[SlideRow], list[Unpredicted]]:
    """Return the slides of a run by name: those with a prediction, and those without one.

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
    unpredicted : list of Unpredicted
        Slides without one, whether they failed or their prediction was not asked for.

    Raises
    ------
    StoreError
        If a record is damaged.
    """
    patient = {row.slide_id: row.patient_id for row in manifest.rows} if manifest else {}
    messages = _batch_failures(directory / "summary.json")
    rows, unpredicted = [], []
    if not directory.is_dir():
        return [], []
    for folder in sorted(path for path in directory.iterdir() if (path / "slide.json").exists()):
        name = folder.name
        if (folder / "prediction.json").exists():
            rows.append(_row(folder, patient.get(name, name)))
        else:
            unpredicted.append(Unpredicted(slide_id=name, message=messages.get(name, "")))
    known = {row.slide_id for row in rows} | {slide.slide_id for slide in unpredicted}
    unpredicted += [Unpredicted(slide_id=name, message=text) for name, text in messages.items() if name not in known]
    return rows, sorted(unpredicted, key=lambda slide: slide.slide_id)


def _batch_failures(path: Path) -> dict[str, str]:
    """Return the messages of slides that failed in a batch; empty if no batch was run here."""
    if not path.exists():
        return {}
    try:
        failures = json.loads(path.read_bytes()).get("failures", [])
        # earlier versions wrote the step as "stage"
        return {
            str(failure["slide_id"]): f"{failure.get('step') or failure['stage']}: {failure['message']}"
            for failure in failures
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read as the summary of a run: {error}; run the batch again") from error


def _row(folder: Path, patient: str) -> SlideRow:
    prediction = load_prediction(folder / "prediction.json")
    report, tissue = folder / "report.json", folder / "tissue.zarr"
    facts: dict[str, Any] = {"tissue_mm2": 0.0, "warnings": []}
    if report.exists():
        facts = read_document(report, "Report")[1]
    elif prediction.warnings:
        facts["warnings"] = list(prediction.warnings)
    likely = int(np.argmax(prediction.stage_probability)) if len(prediction.stage_probability) else None
    page = next((file for file in ("report.html", "report.png") if (folder / file).exists()), None)
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
        gains=read_gains(folder),
        warnings=tuple(facts["warnings"]),
        relation=prediction.relation,
        page=None if page is None else f"{quote(folder.name)}/{page}",
        thumbnail=_thumbnail(folder),
    )


def _thumbnail(folder: Path) -> str | None:
    """Return a thumbnail of the slide, from its page or else from its picture, as a ``data:`` address."""
    page, picture = folder / "report.html", folder / "report.png"
    if page.exists() and (match := _JPEG.search(page.read_bytes())):
        source: Path | io.BytesIO = io.BytesIO(base64.b64decode(match[1]))
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
        Slides; the risk of a patient is the mean over the patient's slides.
    manifest : Manifest or None
        Follow-up.

    Returns
    -------
    dict of str to SurvivalSteps
        Empty if fewer than four patients with follow-up are outside the training cohort.
    """
    if manifest is None:
        return {}
    follow_up = {row.patient_id: (row.follow_up_days, row.event) for row in manifest.rows if row.follow_up_days}
    risks: dict[str, list[float]] = {}
    for row in rows:
        if row.relation != IN_TRAINING and row.risk is not None and row.patient in follow_up:
            risks.setdefault(row.patient, []).append(row.risk)
    if len(risks) < 4:
        return {}
    mean = np.array([np.mean(values) for values in risks.values()])
    time_days = np.array([follow_up[name][0] for name in risks], np.float64)
    event = np.array([bool(follow_up[name][1]) for name in risks])
    is_high = mean > np.median(mean)
    return {"lower risk": _estimate(time_days, event, ~is_high), "higher risk": _estimate(time_days, event, is_high)}


def _estimate(time_days: NDArray[np.float64], event: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> SurvivalSteps:
    return kaplan_meier(time_days[chosen], event[chosen])


def render(rows: Sequence[SlideRow], unpredicted: Sequence[Unpredicted], groups: Mapping[str, SurvivalSteps]) -> bytes:
    """Return the page.

    Parameters
    ----------
    rows : sequence of SlideRow
        Slides.
    unpredicted : sequence of Unpredicted
        Slides without a prediction.
    groups : mapping of str to SurvivalSteps
        Survival by group of predicted risk.

    Returns
    -------
    bytes
        UTF-8; equal content gives equal bytes.
    """
    return render_page(
        "cohort.html",
        script="sort_table.js",
        rows=rows,
        failures=[slide for slide in unpredicted if slide.has_failed],
        pending=[slide for slide in unpredicted if not slide.has_failed],
        groups=groups,
        survival_chart=survival_by_group_chart(groups) if groups else None,
        faithfulness=summarize_faithfulness([row.gains for row in rows]),
        n_training=sum(row.relation == IN_TRAINING for row in rows),
    ).encode()
