"""Predictions for a cohort joined with its manifest, as one tidy table.

There are two sources. A directory written by ``wsigraph train`` holds out-of-fold predictions: one row per patient. A
directory written by ``wsigraph run`` or ``wsigraph predict`` holds one prediction per slide: one row per slide. Every
row says whether the model was trained on the patient. Nothing is scored here.

Columns: ``patient_id``, ``slide_id``, ``site``, ``relation`` (``out_of_fold``, ``external`` or ``in_training``),
``fold`` (-1 if every member predicted), ``risk``, ``risk_cut``, ``stage``, ``time_days``, ``event``; ``p_<stage>``,
``stage_set`` where stage is predicted; ``survival_<day>`` for each horizon; then every other column of the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.follow_up import patients_at_zero
from wsigraph.cohort.manifest.manifest import read_manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow, patient_digest
from wsigraph.cohort.metrics.survival import survival_between
from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError
from wsigraph.records import Prediction
from wsigraph.store import load_prediction, read_document

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT_FILE, CARD_FILE, PREDICTION_FILE = "held_out.json", "card.json", "prediction.json"
OUT_OF_FOLD, EXTERNAL, IN_TRAINING = "out_of_fold", "external", "in_training"
"""Predicted by a member not trained on the patient; not in the training cohort; trained on by every member."""
YEAR_DAYS = 365
HORIZONS_DAYS = (YEAR_DAYS, 3 * YEAR_DAYS, 5 * YEAR_DAYS)
"""Default days at which survival is evaluated."""


def load(
    run: Path | str,
    *,
    manifest: Path | str | None = None,
    model: Path | str | None = None,
    horizons_days: Sequence[float] = HORIZONS_DAYS,
) -> pd.DataFrame:
    """Return the predictions for a cohort, joined with the manifest.

    Parameters
    ----------
    run : Path or str
        Directory of a trained model (it holds ``held_out.json``), of a run (it holds ``<slide>/prediction.json``), or
        of the results of a service (``DATA/.wsigraph/results``): the latest prediction of every slide.
    manifest : Path or str, optional
        The manifest; by default that of the training or the run. Results of a service name none. Without it, the
        predictions of a model are still read, with digests for patients and without further columns.
    model : Path or str, optional
        For a run: directory of the model that made it, for the cut between high and low risk and for folds.
    horizons_days : sequence of float
        Days at which survival is evaluated; NaN beyond the last interval of the model.

    Returns
    -------
    pandas.DataFrame
        One row per patient for a model, one row per slide for a run, in the order of the source; columns as described
        in the module. ``stage`` is an ordered categorical. ``attrs["left_out"]`` names slides of the manifest without a
        prediction, ``attrs["zero_follow_up"]`` patients with a follow-up of 0 days, whose ``time_days`` is NaN.

    Raises
    ------
    CohortError
        If the directory is none of these, no manifest or several are found for a run, the manifest has faults, or jobs
        of a service used different models.
    StoreError
        If a file is damaged.
    """
    directory = Path(run)
    if (directory / HELD_OUT_FILE).is_file():
        return _of_model(directory, manifest, horizons_days)
    paths = sorted(directory.glob(f"*/{PREDICTION_FILE}")) or _latest_of_jobs(directory)
    if paths:
        return _of_run(directory, paths, manifest, None if model is None else Path(model), horizons_days)
    raise CohortError(
        f"{directory} holds neither {HELD_OUT_FILE} nor <slide>/{PREDICTION_FILE}; expected a directory that "
        "'wsigraph train', 'wsigraph run' or 'wsigraph predict' wrote, or the results of 'wsigraph serve'"
    )


def horizons(frame: pd.DataFrame) -> list[float]:
    """Return the days of a frame's ``survival_<day>`` columns, rising; whole days are int."""
    days = [float(name.removeprefix("survival_")) for name in frame.columns if str(name).startswith("survival_")]
    return [int(day) if day.is_integer() else day for day in sorted(days)]


def survival_column(day: float) -> str:
    """Return the column of survival to a day, e.g. ``survival_365`` for 365 and for 365.0."""
    return f"survival_{float(day):.10g}"


def stage_columns(frame: pd.DataFrame) -> list[str]:
    """Return the ``p_<stage>`` columns of a frame, by rising stage; none where stage is not predicted."""
    return [name for name in (f"p_{stage}" for stage in frame["stage"].cat.categories) if name in frame.columns]


def _of_model(directory: Path, manifest: Path | str | None, days: Sequence[float]) -> pd.DataFrame:
    import pandas as pd

    fields = read_document(directory / HELD_OUT_FILE, "HeldOut")[1]
    stages = _stage_names(directory)
    fold = np.array(fields["fold"], np.int64)
    cut = _numbers(fields["risk_cut"])
    columns: dict[str, Any] = {
        "patient_id": fields["patient"],
        "slide_id": "",
        "site": fields["site"],
        "relation": OUT_OF_FOLD,
        "fold": fold,
        "risk": _numbers(fields["risk"]),
        "risk_cut": cut[fold],
        "stage": _categories([None if value < 0 else stages[value] for value in fields["stage"]], stages),
        "time_days": _numbers(fields["time_days"]),
        "event": np.array(fields["event"], bool),
    }
    probability = np.array(fields["stage_probability"], np.float64).reshape(len(fold), -1)
    columns |= {f"p_{name}": probability[:, k] for k, name in enumerate(stages[: probability.shape[1]])}
    survival = np.array(fields["survival"], np.float64).reshape(len(fold), -1)
    if survival.shape[1]:
        ends = np.array(fields["ends_days"], np.float64)
        at = np.stack([_survival(ends[number], row, days) for number, row in zip(fold, survival, strict=True)])
        columns |= {survival_column(day): at[:, k] for k, day in enumerate(days)}
    frame = pd.DataFrame(columns)
    manifest_path = _located(directory / "run.json", manifest)
    frame.attrs |= {"left_out": [], "zero_follow_up": []}
    return frame if manifest_path is None else _join_patients(frame, _read(manifest_path, stages))


def _latest_of_jobs(directory: Path) -> list[Path]:
    """Return the latest prediction of every slide among the jobs of a service."""
    latest: dict[str, Path] = {}
    paths = [path for path in directory.glob(f"*/*/{PREDICTION_FILE}") if not path.parts[-3].startswith(".")]
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, str(path))):
        latest[path.parent.name] = path
    models = {load_prediction(path).model_id for path in latest.values()}
    if len(models) > 1:
        raise CohortError(
            f"{directory} holds predictions of {len(models)} models, whose risks have different scales; start the jobs "
            "of all slides again with one model"
        )
    return sorted(latest.values(), key=lambda path: path.parent.name)


def _of_run(
    directory: Path, paths: Sequence[Path], manifest: Path | str | None, model: Path | None, days: Sequence[float]
) -> pd.DataFrame:
    import pandas as pd

    manifest_path = _located(directory / "summary.json", manifest)
    if manifest_path is None:
        noted = _noted(directory / "summary.json")
        problem = f"names the manifest {noted!r}, which is no file here" if noted else "does not name its manifest"
        raise CohortError(f"{directory} {problem}; pass manifest=...")
    predictions = {value.slide_id: value for value in map(load_prediction, paths)}
    stages = next((value.stage_names for value in predictions.values() if value.stage_names), None)
    rows = _read(manifest_path, stages or ModelConfig().stage_names)
    predicted_rows = [row for row in rows if row.slide_id in predictions]
    if not predicted_rows:
        raise CohortError(
            f"none of the {len(rows)} slides of {manifest_path} has a prediction in {directory}; "
            "pass the directory of its run"
        )
    held = _Held.of(model)
    listed = [_row_of_slide(row, predictions[row.slide_id], held, days) for row in predicted_rows]
    frame = pd.DataFrame(listed)
    frame["stage"] = _categories(frame["stage"].tolist(), stages or ModelConfig().stage_names)
    frame = _with_free(frame, [row.free for row in predicted_rows], [row.grade for row in predicted_rows])
    frame.attrs["left_out"] = [row.slide_id for row in rows if row.slide_id not in predictions]
    frame.attrs["zero_follow_up"] = patients_at_zero(predicted_rows)
    return frame


class _Held:
    """Held-out patients of a model: fold by digest, and the risk cut of every fold."""

    def __init__(self, fold: dict[str, int], cut: NDArray[np.float64]) -> None:
        self.fold, self.cut = fold, cut

    @classmethod
    def of(cls, model: Path | None) -> _Held:
        if model is None:
            return cls({}, np.zeros(0))
        fields = read_document(model / HELD_OUT_FILE, "HeldOut")[1]
        fold = dict(zip(fields["patient"], map(int, fields["fold"]), strict=True))
        return cls(fold, _numbers(fields["risk_cut"]))

    def cut_of(self, fold: int) -> float:
        """Return the cut of a fold; the median over folds for patients that every member predicts."""
        if not len(self.cut):
            return float("nan")
        return float(self.cut[fold] if fold >= 0 else np.median(self.cut))


def _row_of_slide(row: ManifestRow, prediction: Prediction, held: _Held, days: Sequence[float]) -> dict[str, Any]:
    relation = prediction.relation.replace(" ", "_")
    fold = held.fold.get(patient_digest(row.patient_id), -1) if relation == OUT_OF_FOLD else -1
    known: dict[str, Any] = {
        "patient_id": row.patient_id,
        "slide_id": row.slide_id,
        "site": row.site or "",
        **({"organ": row.organ} if row.organ else {}),
        "relation": relation,
        "fold": fold,
        "risk": np.nan if prediction.risk is None else prediction.risk,
        "risk_cut": held.cut_of(fold),
        "stage": row.stage,
        "time_days": np.nan if row.follow_up_days is None else row.follow_up_days,
        "event": bool(row.event) and row.follow_up_days is not None,
    }
    probabilities = zip(prediction.stage_names, prediction.stage_probability, strict=True)
    known |= {f"p_{name}": float(probability) for name, probability in probabilities}
    if prediction.stage_set:
        known["stage_set"] = prediction.stage_set
    if len(prediction.time_days):
        at = _survival(prediction.time_days, prediction.survival, days)
        known |= {survival_column(day): float(value) for day, value in zip(days, at, strict=True)}
    return known


def _survival(
    ends_days: NDArray[np.float64], survival: NDArray[np.float64], days: Sequence[float]
) -> NDArray[np.float64]:
    at = np.array(days, np.float64)
    return np.where(at <= ends_days[-1], survival_between(ends_days, survival[None], at)[0], np.nan)


def _join_patients(frame: pd.DataFrame, rows: Sequence[ManifestRow]) -> pd.DataFrame:
    by_digest: dict[str, list[ManifestRow]] = {}
    for row in rows:
        by_digest.setdefault(patient_digest(row.patient_id), []).append(row)
    digests = frame["patient_id"].tolist()
    missing = [digest for digest in digests if digest not in by_digest]
    if missing:
        raise CohortError(
            f"{len(missing)} of {len(digests)} held-out patients of the model are not in the manifest; pass the one "
            "it was trained with: manifest=..."
        )
    own = [by_digest[digest] for digest in digests]
    frame.attrs["zero_follow_up"] = patients_at_zero([row for slides in own for row in slides])
    frame["patient_id"] = [slides[0].patient_id for slides in own]
    frame["slide_id"] = [" ".join(row.slide_id for row in slides) for slides in own]
    first = [{name: value for row in reversed(slides) for name, value in row.free.items() if value} for slides in own]
    grade = [next((row.grade for row in slides if row.grade), None) for slides in own]
    return _with_free(frame, first, grade)


def _with_free(frame: pd.DataFrame, free: Sequence[Any], grade: Sequence[str | None]) -> pd.DataFrame:
    """Return the frame with grade and the manifest's free columns, numeric if every filled cell is a number."""
    import pandas as pd

    names = list(dict.fromkeys(name for cells in free for name in cells))
    listed = {name: [cells.get(name, "") for cells in free] for name in names if name not in frame.columns}
    if any(grade):
        listed = {"grade": [value or "" for value in grade], **listed}
    for name, cells in listed.items():
        try:
            frame[name] = [float(cell) if cell else np.nan for cell in cells]
        except ValueError:
            frame[name] = pd.array([cell or None for cell in cells], dtype="string")
    return frame


def _categories(values: Sequence[str | None], stages: Sequence[str]) -> Any:
    import pandas as pd

    return pd.Categorical(values, categories=list(stages), ordered=True)


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _stage_names(directory: Path) -> tuple[str, ...]:
    card = json.loads((directory / CARD_FILE).read_bytes())
    return tuple(card["stage_names"] or card["config"]["stage_names"])


def _located(notes: Path, given: Path | str | None) -> Path | None:
    """Return the manifest, as given or as recorded by the command that wrote the directory; None if it is missing."""
    if given is not None:
        return Path(given)
    noted = _noted(notes)
    if not noted:
        return None
    # runs of earlier versions recorded the path as given, relative to a directory that they did not record
    candidates = [root / noted for root in (Path(), *notes.absolute().parents)]
    paths = {path.resolve(): path for path in candidates if path.is_file()}
    if len(paths) > 1:
        listed = ", ".join(map(str, paths))
        raise CohortError(f"{notes} names the manifest {noted!r}, which may be any of {listed}; pass manifest=...")
    return next(iter(paths.values()), None)


def _noted(notes: Path) -> str:
    return str(json.loads(notes.read_bytes()).get("manifest", "")) if notes.is_file() else ""


def _read(manifest: Path, stages: Sequence[str]) -> tuple[ManifestRow, ...]:
    return read_manifest(manifest, stage_names=stages, check_files=False).rows
