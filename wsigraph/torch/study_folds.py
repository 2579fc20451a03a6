"""The folds of a study: those that a trained model used, or those that a training of a design would use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.endpoint import Endpoint
from wsigraph.cohort.manifest.fold_table import SPLITS, read_folds
from wsigraph.cohort.manifest.splits import folds
from wsigraph.errors import CohortError, ModelError
from wsigraph.torch.graph_dataset import GraphDataset
from wsigraph.training.cross_validate import RUN_FILE, Design


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """One fold of a data set.

    Attributes
    ----------
    train, test : int64 (n,)
        Numbers of the slides: of the patients to train on, and of those held out. ``dataset[split.train]`` takes them.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def splits(source: Path | str | Design, dataset: GraphDataset | None = None) -> list[Split]:
    """Return the folds of a study; all slides of a patient are in one.

    Parameters
    ----------
    source : Path, str or Design
        Directory of a model (`wsigraph train`), whose folds are read; or a design, whose folds are drawn as `wsigraph
        train` draws them, by patient or site.
    dataset : GraphDataset, optional
        The cohort. Of a model, the manifest and graphs that it was trained on, where they still exist.

    Returns
    -------
    list of Split
        In the order of the folds. Slides that a model did not use, and those of the test split, are in none.

    Raises
    ------
    CohortError
        If the folds cannot be formed, or the model's folds are not those of the data set.
    ModelError
        If the directory holds no folds.
    """
    if isinstance(source, Design):
        if dataset is None:
            raise CohortError("a design has no slides, expected a data set too: splits(design, dataset)")
        fold_of = _draw(source, dataset)
    else:
        directory = Path(source)
        if not (directory / SPLITS).is_file():
            raise ModelError(
                f"{directory} has no {SPLITS}, expected a directory that wsigraph train wrote; train again"
            )
        dataset = dataset or dataset_of(directory)
        fold_of = read_folds(str(directory / SPLITS), dataset.rows).fold_of or {}
    fold = np.array([fold_of.get(row.patient_id, -1) for row in dataset.rows], np.int64)
    return [
        Split(train=np.flatnonzero((fold >= 0) & (fold != number)), test=np.flatnonzero(fold == number))
        for number in range(int(fold.max()) + 1)
    ]


def dataset_of(model: Path | str) -> GraphDataset:
    """Return the cohort that a model was trained on, from the paths that its directory notes.

    Raises
    ------
    ModelError
        If the manifest or the graphs are no longer there.
    """
    path = Path(model) / RUN_FILE
    notes = json.loads(path.read_bytes()) if path.is_file() else {}
    manifest, graphs = (Path(str(notes.get(name, ""))) for name in ("manifest", "graphs"))
    if not manifest.is_file() or not graphs.is_dir():
        raise ModelError(
            f"the manifest and graphs of {model} are not at their old paths; give a data set too: "
            "splits(model, GraphDataset(manifest, graphs))"
        )
    return GraphDataset(
        manifest, graphs, split="train", endpoint=Endpoint(**notes.get("endpoint", {})), allow_missing=True
    )


def _draw(design: Design, dataset: GraphDataset) -> Mapping[str, int]:
    """Return the fold of every patient, drawn as `wsigraph.training.cross_validate.assign_folds` draws it."""
    if design.fold_of is not None:
        return design.fold_of
    first = {row.patient_id: row for row in reversed(dataset.rows) if row.split != "test"}
    rows = list(first.values())
    drawn = folds(
        [row.patient_id for row in rows],
        n_folds=design.n_folds,
        stage=[None if row.stage is None else dataset.stage_names.index(row.stage) for row in rows],
        event=[bool(row.event) and row.follow_up_days is not None for row in rows],
        site=[row.site for row in rows] if any(row.site for row in rows) else None,
        group=design.group,
        seed=design.seed,
    )
    return dict(zip([row.patient_id for row in rows], drawn.tolist(), strict=True))
