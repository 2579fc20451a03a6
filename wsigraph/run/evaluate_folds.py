"""Evaluate a model in the folds of a table, such as Patho-Bench's ``k=all.tsv``.

A table of a cross-validation must hold out the patients that the model's folds held out; then the scores of the model,
and those of the baseline models beside it, are those of the table. Of one column (``k=all.tsv:fold_3``), the test
patients are scored, none of whom the model may have been trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.cohort.manifest.endpoint import with_endpoint
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsigraph.config import CoarseningConfig
    from wsigraph.run.slide_run import Progress
    from wsigraph.training.evaluation.evaluate import Sources
    from wsigraph.training.held_out import HeldOut


def evaluate_folds(
    model: Path | str,
    splits: str,
    *,
    sources: Sources | None = None,
    coarsening: CoarseningConfig | None = None,
    workers: int = 1,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Score a model in the folds of a table.

    Parameters
    ----------
    model : Path or str
        Directory that ``wsigraph train`` wrote.
    splits : str
        Table of folds, or ``TABLE:fold_N`` for one of its columns.
    sources : Sources, optional
        Paths of manifest and graphs.
    coarsening, workers, report, progress
        As for `wsigraph.training.evaluation.evaluate.evaluate`.

    Returns
    -------
    tuple of (dict, Path)
        The document and its page: of `evaluate`, or, for one column, of `wsigraph.run.validate_model.validate` in
        ``MODEL/test_fold_N``.

    Raises
    ------
    CohortError
        If the table or the manifest cannot be read, the model was trained in other folds, or a test patient of the
        column belongs to the training cohort.
    ModelError
        If the directory is no model, or one without out-of-fold predictions.
    StoreError
        If a graph is damaged or the directory cannot be written.
    """
    from wsigraph.cohort.manifest.fold_table import read_folds
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.model.bundle import load_bundle
    from wsigraph.run.validate_model import PAGE as VALIDATION_PAGE
    from wsigraph.run.validate_model import validate
    from wsigraph.training.evaluation.evaluate import PAGE, Sources, cohort_paths, evaluate, trained_endpoint
    from wsigraph.training.held_out import load_held_out

    directory = Path(model)
    bundle = load_bundle(directory)
    paths = cohort_paths(directory, sources or Sources())
    if paths is None:
        raise CohortError(
            "--splits needs the manifest and graphs of the cohort, and they are not at their old paths; name them with "
            "--manifest and --graphs"
        )
    endpoint = trained_endpoint(directory)
    table = read_manifest(paths[0], stage_names=bundle.card.config.stage_names, check_files=False)
    given = read_folds(splits, with_endpoint(table.rows, endpoint).rows)
    if given.fold_of is None:
        out = directory / f"test_{splits.rpartition(':')[2]}"
        document = validate(directory, *paths, out, endpoint=endpoint, splits=splits, progress=progress)
        return document, out / VALIDATION_PAGE
    _check_folds(splits, given.fold_of, load_held_out(directory, bundle.model_id))
    document = evaluate(
        directory, sources=sources, coarsening=coarsening, workers=workers, report=report, progress=progress
    )
    return document, directory / PAGE


def _check_folds(splits: str, fold_of: Mapping[str, int], held_out: HeldOut) -> None:
    """Refuse a table that holds out other patients together than the model's folds."""
    from wsigraph.cohort.manifest.manifest_row import patient_digest

    given = {patient_digest(patient): fold for patient, fold in fold_of.items()}
    own = dict(zip(held_out.patient.tolist(), held_out.fold.tolist(), strict=True))
    missing = own.keys() - given.keys()
    # the number of a fold is a name: the same patients must be held out together
    number_of: dict[int, int] = {}
    differing = [
        patient
        for patient, fold in own.items()
        if patient in given and number_of.setdefault(fold, given[patient]) != given[patient]
    ]
    if missing or differing or len(set(number_of.values())) < len(number_of):
        raise CohortError(
            f"the model was trained in other folds than those of {splits}: {len(missing)} of its {len(own)} patients "
            f"are not in the table, and {len(differing)} are held out beside others; train it with --splits {splits}"
        )
