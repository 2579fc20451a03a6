"""Validate a finished model on another cohort: the verb behind ``wsigraph validate``.

It reads the manifest and the graphs as training does, scores the model once, and writes a document, a page and a table.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.cohort.manifest.endpoint import Endpoint, with_endpoint
from wsigraph.errors import CohortError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from wsigraph.cohort.metrics.aalen_johansen import IncidenceSteps
    from wsigraph.run.slide_run import Progress

DOCUMENT, PAGE, TABLE = "validation.json", "validation.html", "predictions.csv"
"""Files that a validation writes."""
DAYS = (365, 1095, 1825)
"""Default horizons."""

_log = logging.getLogger(__name__)


def validate(
    model: Path | str,
    manifest: Path | str,
    graphs: Path | str,
    out: Path | str,
    *,
    endpoint: Endpoint | None = None,
    days: Sequence[int] = DAYS,
    seed: int = 1,
    splits: str | None = None,
    allow_missing: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a model on patients of another cohort, and write document, page and table.

    Parameters
    ----------
    model : Path or str
        Directory that ``wsigraph train`` wrote.
    manifest : Path or str
        Table of slides, patients and outcomes (``data_manifest.md``).
    graphs : Path or str
        Directory that holds the graphs of every slide, as for training.
    out : Path or str
        Directory of the results.
    endpoint : Endpoint, optional
        Columns of follow-up; ``time_days`` and ``event`` where left out.
    days : sequence of int
        Horizons.
    seed : int
        Of the bootstrap draws.
    splits : str, optional
        Column of a table of folds, as ``k=all.tsv:fold_3``; its test patients alone are scored.
    allow_missing : bool
        Whether to leave out slides without a graph, with a warning, instead of failing.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    dict
        The document: ``survival``, ``stage``, ``calibration``, ``recalibration``, ``sites`` and further entries.

    Raises
    ------
    CohortError
        If the manifest has faults, a slide has no graph, a patient belongs to the training cohort, or nothing can be
        scored.
    ModelError
        If the directory is no model, or the graphs do not fit it.
    StoreError
        If a graph is damaged or `out` cannot be written.
    """
    from wsigraph.cohort.manifest.fold_table import read_folds
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.model.bundle import load_bundle
    from wsigraph.store.atomic import write_file
    from wsigraph.store.csv_file import encode_csv
    from wsigraph.store.header import canonical_document
    from wsigraph.training.evaluation.competing_events import describe_incidence
    from wsigraph.training.evaluation.external_validation import validate_externally
    from wsigraph.training.evaluation.validation_page import render_validation
    from wsigraph.training.load_cohort import find_missing, load_cohort

    if not days or any(day <= 0 for day in days):
        raise CohortError(f"horizons are {list(days)}, expected days above 0; give --day 365")
    endpoint = endpoint or Endpoint()
    manifest, graphs, out = Path(manifest), Path(graphs), Path(out)
    bundle = load_bundle(model)
    config = bundle.card.config
    table = read_manifest(manifest, stage_names=config.stage_names, check_files=False)
    chosen = with_endpoint(table.rows, endpoint)
    for text in (*table.warnings, *chosen.warnings):
        _log.warning(text)
    rows = list(chosen.rows)
    if splits is not None:
        rows = [row for row in read_folds(splits, rows).rows if row.split == "test"]
    if allow_missing:
        missing = {row.slide_id for row in find_missing(rows, graphs)}
        if missing:
            _log.warning("%d slides have no graph and are left out", len(missing))
        rows = [row for row in rows if row.slide_id not in missing]
    if not rows:
        raise CohortError(f"{manifest} lists no slide with a graph under {graphs}; build them with wsigraph run")
    cohort = load_cohort(
        rows,
        graphs,
        stage_names=config.stage_names,
        coarsening=bundle.card.coarsening,
        model=config,
        progress=progress,
    )
    result = validate_externally(bundle, cohort, days=tuple(sorted(set(days))), seed=seed)
    incidence = _incidence(result.table, chosen.competing, _risk_cut(Path(model)))
    document = {
        **result.document,
        "cohort": {
            "manifest": manifest.name,
            "endpoint": "" if endpoint.is_default else str(endpoint),
            "n_slides": len(rows),
            "n_competing": len(chosen.competing),
        },
        "competing": describe_incidence(incidence, days),
    }
    write_file(out / DOCUMENT, canonical_document(document))
    write_file(out / TABLE, encode_csv(list(result.table.columns), result.table.itertuples(index=False)))
    write_file(out / PAGE, render_validation(document, result.table, incidence).encode())
    return document


def _risk_cut(model: Path) -> float:
    """Return the median risk of the model's training patients; NaN where the model came without held-out scores."""
    import numpy as np

    from wsigraph.store import read_document
    from wsigraph.training.held_out import HELD_OUT_FILE

    if not (model / HELD_OUT_FILE).is_file():
        return float("nan")
    try:
        cut = read_document(model / HELD_OUT_FILE, "HeldOut")[1]["risk_cut"]
    except StoreError as error:
        _log.warning("%s; patients are not divided by risk", error)
        return float("nan")
    known = [float(value) for value in cut if value is not None]
    return float(np.median(known)) if known else float("nan")


def _incidence(table: pd.DataFrame, competing: frozenset[str], cut: float) -> dict[str, IncidenceSteps]:
    """Return the cumulative incidences, by risk where the cut between high and low is known."""
    import numpy as np

    from wsigraph.training.evaluation.competing_events import incidence_by_risk

    risk = table["risk"].to_numpy(float)
    return incidence_by_risk(
        table["time_days"].to_numpy(float),
        table["event"].to_numpy(bool),
        table["patient_id"].isin(competing).to_numpy(bool),
        risk > cut if np.isfinite(cut) and np.isfinite(risk).all() else None,
    )
