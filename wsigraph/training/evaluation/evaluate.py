"""Evaluate a model directory: scores as a JSON document and as an HTML page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsigraph.cohort.manifest.endpoint import Endpoint, with_endpoint
from wsigraph.cohort.manifest.manifest import ManifestRow, read_manifest
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import CohortError, ModelError, StoreError
from wsigraph.model.bundle import ModelBundle, load_bundle, patient_digest
from wsigraph.store import Destination, read_document, save_document, write_file
from wsigraph.training.cross_validate import RUN_FILE
from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.evaluation.competing_events import describe_incidence, incidence_by_risk
from wsigraph.training.evaluation.evaluation_document import (
    add_baseline_models,
    baseline_models,
    baseline_task,
    own_scores,
)
from wsigraph.training.evaluation.evaluation_page import render_page
from wsigraph.training.evaluation.other_predictions import other_models, other_models_digest
from wsigraph.training.evaluation.patient_scores import patient_scores
from wsigraph.training.held_out import HELD_OUT_FILE, HeldOut, load_held_out
from wsigraph.training.load_cohort import load_cohort
from wsigraph.training.tries import cohort_key, count_tries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsigraph.cohort.metrics.aalen_johansen import IncidenceSteps
    from wsigraph.slide.map_boxes import Progress

DOCUMENT, PAGE = "evaluation.json", "evaluation.html"
"""Files of an evaluation in the model's directory."""
SCORES = "baseline_scores.csv"
"""Out-of-fold predictions of the model and of every baseline, a row a patient, to compare two models in pairs."""

_DAYS = (365, 1095, 1825)
"""Days at which cumulative incidences are printed."""
_LAYOUT = "2"
"""Of the document; one of another layout is made again."""
_FIRST = ("survival", "stage", "folds", "baselines")
_NO_GRAPHS = (
    "no baseline model was fitted: the manifest and graphs of the training are not at their old paths; name them with "
    "--manifest and --graphs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Paths of the cohort of a model.

    Attributes
    ----------
    manifest, graphs : Path or None
        Paths; those noted in training where left out.
    """

    manifest: Path | None = None
    graphs: Path | None = None


def evaluate(
    model: Path | str,
    *,
    sources: Sources | None = None,
    coarsening: CoarseningConfig | None = None,
    workers: int = 1,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a model's out-of-fold predictions, fit baseline models in the same folds, and write document and page.

    Parameters
    ----------
    model : Path or str
        Directory that ``wsigraph train`` wrote.
    sources : Sources, optional
        Paths of manifest and graphs.
    coarsening : CoarseningConfig, optional
        Settings for graphs that are not coarsened yet; those of the training.
    workers : int
        Processes for baselines that are networks.
    report : callable, optional
        Called with the name of every baseline before it is fitted.
    progress : callable, optional
        Called after every epoch and fold.

    Returns
    -------
    dict
        ``survival``, ``stage``, ``folds``, ``baselines`` and further entries of the page. Stored baselines of the same
        model and cohort are not fitted again.

    Raises
    ------
    CohortError
        If the manifest is invalid or not the one of the model.
    ModelError
        If the directory is no model, or one without out-of-fold predictions.
    StoreError
        If a graph is damaged or the directory cannot be written.
    """
    directory = Path(model)
    bundle = load_bundle(directory)
    if not (directory / HELD_OUT_FILE).is_file():
        raise ModelError(
            f"{directory} has no {HELD_OUT_FILE}, so there are no out-of-fold predictions to score; "
            "train with wsigraph train"
        )
    held_out = load_held_out(directory, bundle.model_id)
    seed = bundle.card.seeds["train"]
    paths = cohort_paths(directory, sources or Sources())
    identity = {"model": bundle.model_id, "manifest": _digest(paths), "layout": _LAYOUT}
    identity |= other_models_digest(directory)
    document = _stored_document(directory / DOCUMENT, identity)
    if document is None:
        document, outcomes = own_scores(bundle, held_out, seed=seed)
        if paths is None:
            document["warnings"].append(_NO_GRAPHS)
        else:
            cohort, uncoarsened = _cohorts(bundle, held_out, paths, coarsening, trained_endpoint(directory))
            task = baseline_task(bundle, cohort, seed=seed)
            models = baseline_models(task, bundle.members, uncoarsened=uncoarsened, workers=workers, progress=progress)
            others = other_models(directory, _digests(cohort), bundle.card.stage_names)
            models |= {name: partial(_given, one) for name, one in others.items()}
            predictions: dict[str, CohortPredictions] = {}
            document = add_baseline_models(document, outcomes, held_out, _digests(cohort), models, report, predictions)
            write_file(directory / SCORES, patient_scores(held_out, predictions))
        save_document(Destination(directory / DOCUMENT, identity), "Evaluation", document)
    tried = 0 if paths is None else count_tries(paths[1], cohort_key(held_out.patient.tolist()))
    document = {**document, "n_configurations": max(tried, bundle.card.n_configurations)}
    incidence = _incidence(bundle, held_out, paths, trained_endpoint(directory))
    document["competing"] = describe_incidence(incidence, _DAYS)
    write_file(directory / PAGE, render_page(document, held_out, incidence).encode())
    return document


def _given(predictions: CohortPredictions) -> CohortPredictions:
    return predictions


def _incidence(
    bundle: ModelBundle, held_out: HeldOut, paths: tuple[Path, Path] | None, endpoint: Endpoint
) -> dict[str, IncidenceSteps]:
    """Return cumulative incidences by predicted risk, where the model's endpoint has competing events."""
    if paths is None or endpoint.is_default or not held_out.has_survival:
        return {}
    table = read_manifest(paths[0], stage_names=bundle.card.config.stage_names, check_files=False)
    digests = {patient_digest(name) for name in with_endpoint(table.rows, endpoint).competing}
    competing = np.array([str(name) in digests for name in held_out.patient], bool)
    is_high = held_out.risk > held_out.risk_cut[held_out.fold]
    return incidence_by_risk(held_out.time_days, held_out.event, competing, is_high)


def cohort_paths(directory: Path, sources: Sources) -> tuple[Path, Path] | None:
    """Return the paths of manifest and graphs, as given or as noted in training.

    Parameters
    ----------
    directory : Path
        The model's.
    sources : Sources
        Paths that are given.

    Returns
    -------
    tuple of (Path, Path) or None
        None where they do not exist.

    Raises
    ------
    CohortError
        If a path that is given does not exist.
    """
    noted: dict[str, Any] = {}
    if (directory / RUN_FILE).is_file():
        noted = json.loads((directory / RUN_FILE).read_bytes())
    given = []
    for name, path in (("manifest", sources.manifest), ("graphs", sources.graphs)):
        if path is not None and not path.exists():
            raise CohortError(f"--{name} {path} does not exist; give the path of the cohort of the model")
        given.append(path or Path(str(noted.get(name, ""))))
    manifest, graphs = given
    return (manifest, graphs) if manifest.is_file() and graphs.is_dir() else None


def _digest(paths: tuple[Path, Path] | None) -> str:
    return "" if paths is None else hashlib.sha256(paths[0].read_bytes()).hexdigest()


def _stored_document(path: Path, identity: dict[str, str]) -> dict[str, Any] | None:
    """Return a stored evaluation of the same model and cohort; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        header, document = read_document(path, "Evaluation")
    except StoreError:
        # a damaged document is computed again
        return None
    if header.get("inputs") != identity:
        return None
    # stored keys are sorted; the model's own scores come first
    return {name: document[name] for name in (*_FIRST, *sorted(document.keys() - set(_FIRST)))}


def trained_endpoint(directory: Path) -> Endpoint:
    """Return the columns of follow-up that the model of a directory was trained on."""
    path = directory / RUN_FILE
    noted: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return Endpoint(**noted.get("endpoint", {}))


def _cohorts(
    bundle: ModelBundle,
    held_out: HeldOut,
    paths: tuple[Path, Path],
    coarsening: CoarseningConfig | None,
    endpoint: Endpoint,
) -> tuple[Cohort, Cohort | None]:
    manifest, graphs = paths
    names = bundle.card.config.stage_names
    known = bundle.card.seen.patients
    table = read_manifest(manifest, stage_names=names, check_files=False)
    rows = [row for row in with_endpoint(table.rows, endpoint).rows if patient_digest(row.patient_id) in known]
    missing = set(held_out.patient.tolist()) - {patient_digest(row.patient_id) for row in rows}
    if missing:
        raise CohortError(
            f"{len(missing)} of {len(held_out.patient)} patients of the training cohort are not in {manifest}; "
            "name the manifest it was trained with"
        )
    card = bundle.card
    cohort = load_cohort(rows, graphs, stage_names=names, coarsening=card.coarsening or coarsening, model=card.config)
    return cohort, _uncoarsened(rows, graphs, card.config)


def _uncoarsened(rows: list[ManifestRow], graphs: Path, config: ModelConfig) -> Cohort | None:
    """Return the cohort as superpixel graphs, where every slide has one."""
    if not all((graphs / row.slide_id / "graph.safetensors").is_file() for row in rows):
        return None
    return load_cohort(rows, graphs, stage_names=config.stage_names, uncoarsened=True, model=config)


def _digests(cohort: Cohort) -> NDArray[np.str_]:
    return np.array([patient_digest(str(name)) for name in cohort.patient], np.str_)
