"""Predictions of any other model on the patients of a trained one, in the same paired table.

They are stored as ``MODEL/networks/<name>/predictions.csv``, from where `wsigraph.evaluate` takes them beside its own
baseline models: the same folds, the same bootstrap draws, differences paired draw by draw.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import CohortError, ModelError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import load_bundle, patient_digest
from wsigraph.store.atomic import write_file
from wsigraph.store.csv_file import encode_csv
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.evaluation.held_out_scores import HeldOutOutcomes, differences, estimates, score_draws
from wsigraph.training.held_out import load_held_out

NETWORKS, PREDICTIONS = "networks", "predictions.csv"
"""Directory of other networks in that of a model, and the file of each one's predictions."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_N_NAMED = 5
_SUM_TOLERANCE = 1e-3


def scores_from(frame: Any, model: Path | str, *, name: str = "own", store: bool = True) -> dict[str, Any]:
    """Score out-of-fold predictions made anywhere, paired with those of a trained model and of its baselines.

    Parameters
    ----------
    frame : DataFrame or mapping of str to sequence
        One row a patient: ``patient_id``, and ``risk`` (higher is worse), or a column of probabilities for every stage,
        named by the stage, or both. Each patient must be predicted by a model that was not trained on that patient: use
        the folds of `wsigraph.torch.splits`.
    model : Path or str
        Directory of a model that `wsigraph.train` made on these patients.
    name : str
        Name in the tables: letters, digits, and ``_.@-``.
    store : bool
        Store the predictions in the model's directory, so that `wsigraph.evaluate` has them in its table.

    Returns
    -------
    dict
        ``survival`` and ``stage``: scores of the predictions with 95 % intervals; ``above``: by how much they score
        above the model (``model``) and, after `wsigraph.evaluate`, above each baseline model in the C-index.

    Raises
    ------
    CohortError
        If a patient of the model has no prediction, or one is not a finite number.
    ModelError
        If the directory is no model with out-of-fold predictions, or a name is not allowed.
    """
    directory = Path(model)
    bundle = load_bundle(directory)
    held_out = load_held_out(directory, bundle.model_id)
    if not _NAME.fullmatch(name) or name == "model":
        raise ModelError(
            f"{name!r} cannot be a name in the tables, expected letters, digits, and _.@-, and not 'model'"
        )
    columns = _columns(frame)
    patients = [patient_digest(str(patient)) for patient in columns.get("patient_id", ())]
    stages = bundle.card.stage_names
    predictions = _ordered(columns, patients, held_out.patient.tolist(), stages)
    if store:
        write_file(directory / NETWORKS / name / PREDICTIONS, _encode(held_out.patient.tolist(), predictions, stages))
    by_site, rng = bundle.card.split_by == "site", np.random.default_rng(bundle.card.seeds["train"])
    with one_thread():
        outcomes = HeldOutOutcomes.of(held_out, by_site=by_site, rng=rng.spawn(1)[0])
        own = score_draws(outcomes, predictions)
        reference = CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability)
        others = {"model": reference, **_stored_risks(directory, held_out.patient.tolist())}
        above = {label: differences(own, score_draws(outcomes, other)) for label, other in others.items()}
    scores = estimates(own)
    return {"name": name, "survival": scores.get("survival", {}), "stage": scores.get("stage", {}), "above": above}


def other_models(model: Path, patients: NDArray[np.str_], stage_names: Sequence[str]) -> dict[str, CohortPredictions]:
    """Return the stored predictions of other networks by name.

    Parameters
    ----------
    model : Path
        Directory of a model.
    patients : str (n,)
        Digests of the patients, in the order that is wanted.
    stage_names : sequence of str
        The K stages.

    Returns
    -------
    dict of str to CohortPredictions
        Sorted by name; empty without other networks.

    Raises
    ------
    CohortError
        If a patient has no prediction.
    """
    by_name = {}
    for path in _files(model):
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        columns = {column: [row[column] for row in rows] for column in rows[0]} if rows else {}
        by_name[path.parent.name] = _ordered(columns, columns.get("patient", []), patients.tolist(), stage_names)
    return by_name


def other_models_digest(model: Path) -> dict[str, str]:
    """Return the digest of all stored predictions of other networks, by its name in a header; empty without any."""
    files = _files(model)
    if not files:
        return {}
    content = b"".join(path.parent.name.encode() + b"\0" + path.read_bytes() for path in files)
    return {NETWORKS: hashlib.sha256(content).hexdigest()}


def _files(model: Path) -> list[Path]:
    return sorted((model / NETWORKS).glob(f"*/{PREDICTIONS}"))


def _columns(frame: Any) -> dict[str, list[Any]]:
    """Return the columns of a frame by their names."""
    names = [str(column) for column in frame]
    doubled = sorted({column for column in names if names.count(column) > 1})
    if doubled:
        raise CohortError(f"predictions have the column {doubled[0]!r} several times, expected once")
    columns = {str(column): list(frame[column]) for column in frame}
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise CohortError(f"columns of the predictions have the lengths {lengths}, expected one value a patient")
    return columns


def _ordered(
    columns: Mapping[str, Sequence[Any]], given: Sequence[str], wanted: Sequence[str], stage_names: Sequence[str]
) -> CohortPredictions:
    """Return the predictions of the patients that are wanted, by their digests, in that order."""
    row_of = {str(patient): row for row, patient in enumerate(given)}
    if len(row_of) != len(given):
        raise CohortError("predictions have several rows of a patient, expected one; take the mean over slides first")
    absent = [patient for patient in wanted if patient not in row_of]
    if absent:
        raise CohortError(
            f"{len(absent)} of {len(wanted)} patients of the model have no prediction (digests "
            f"{', '.join(absent[:_N_NAMED])}); predict every patient out of fold, in a column patient_id"
        )
    rows = [row_of[patient] for patient in wanted]
    has_stage = bool(stage_names) and all(stage in columns for stage in stage_names)
    if "risk" not in columns and not has_stage:
        raise CohortError(
            f"predictions have the columns {', '.join(columns)}, expected risk, or the stages {', '.join(stage_names)}"
        )

    def numbers(name: str) -> NDArray[np.float64]:
        try:
            values = np.array([float(columns[name][row]) for row in rows], np.float64)
        except (TypeError, ValueError):
            raise CohortError(f"column {name!r} of the predictions holds a value that is no number") from None
        if not np.isfinite(values).all():
            raise CohortError(f"column {name!r} of the predictions holds a value that is not finite, expected numbers")
        return values

    risk = numbers("risk") if "risk" in columns else np.full(len(rows), np.nan)
    table = np.stack([numbers(stage) for stage in stage_names], axis=1) if has_stage else np.zeros((len(rows), 0))
    if has_stage and ((table < 0.0).any() or (np.abs(table.sum(axis=1) - 1.0) > _SUM_TOLERANCE).any()):
        raise CohortError(
            f"columns {', '.join(stage_names)} of the predictions are not probabilities, expected numbers of 0 to 1 "
            "that sum to 1 for each patient"
        )
    return CohortPredictions(risk=risk, stage_probability=table)


def _encode(patients: Sequence[str], predictions: CohortPredictions, stage_names: Sequence[str]) -> bytes:
    columns: dict[str, Sequence[Any]] = {"patient": patients}
    if np.isfinite(predictions.risk).all():
        columns["risk"] = predictions.risk.tolist()
    for number, stage in enumerate(stage_names if predictions.stage_probability.shape[1] else ()):
        columns[stage] = predictions.stage_probability[:, number].tolist()
    return encode_csv(list(columns), zip(*columns.values(), strict=True))


def _stored_risks(model: Path, patients: Sequence[str]) -> dict[str, CohortPredictions]:
    """Return the risks of the baseline models that an evaluation has stored; empty before one."""
    from wsigraph.training.evaluation.evaluate import SCORES

    path = model / SCORES
    if not path.is_file():
        return {}
    rows = {row["patient"]: row for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))}
    names = [name.removesuffix(":risk") for name in next(iter(rows.values()), {}) if name.endswith(":risk")]
    return {
        name: CohortPredictions(
            risk=np.array([float(rows[patient][f"{name}:risk"] or "nan") for patient in patients], np.float64),
            stage_probability=np.zeros((len(patients), 0)),
        )
        for name in names
        if name != "model"
    }
