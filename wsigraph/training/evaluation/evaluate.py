"""A model directory in, its evaluation out: scores as a document, and a page for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.cohort.manifest.manifest import ManifestRow, read_manifest
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import CohortError, ModelError, StoreError
from wsigraph.model.bundle import ModelBundle, load_bundle, patient_digest
from wsigraph.store import Destination, read_document, save_document, write_file
from wsigraph.training.cross_validate import RUN_FILE
from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.evaluation_document import (
    add_baseline_models,
    baseline_models,
    baseline_task,
    own_scores,
)
from wsigraph.training.evaluation.evaluation_page import render_page
from wsigraph.training.held_out import HELD_OUT_FILE, HeldOut, load_held_out
from wsigraph.training.load_cohort import gather

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsigraph.slide.map_boxes import Progress

DOCUMENT, PAGE = "evaluation.json", "evaluation.html"
"""What an evaluation leaves in the model's directory."""

_FIRST = ("survival", "stage", "folds", "baselines")
_NO_GRAPHS = (
    "no rival was asked: manifest and graphs the model was trained on are not where they were; name them with "
    "--manifest and --graphs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the cohort of a model lies.

    Attributes
    ----------
    manifest, graphs : Path or None
        Given by hand; else where they lay when the model was trained.
    """

    manifest: Path | None = None
    graphs: Path | None = None


def evaluate(
    model: Path | str,
    *,
    sources: Sources | None = None,
    coarsening: CoarseningConfig | None = None,
    workers: int = 1,
    told: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a model on its held-out patients, train its rivals in the same folds, and write document and page.

    Parameters
    ----------
    model : Path or str
        Directory that ``wsigraph train`` wrote.
    sources : Sources, optional
        Where manifest and graphs lie.
    coarsening : CoarseningConfig, optional
        How graphs that are not coarsened yet are coarsened; as in training.
    workers : int
        Processes for rivals that are networks.
    told : callable, optional
        Told the name of each rival before it is asked.
    progress : callable, optional
        Told of passes and folds.

    Returns
    -------
    dict
        ``survival``, ``stage``, ``folds``, ``baselines`` and what else the page shows. Rivals that were trained for
        this model and this cohort before are not trained again.

    Raises
    ------
    CohortError
        If the manifest has faults or is not the one of the model.
    ModelError
        If the directory is no model, or one without held-out answers.
    StoreError
        If a graph is damaged or the directory cannot be written.
    """
    directory = Path(model)
    bundle = load_bundle(directory)
    if not (directory / HELD_OUT_FILE).is_file():
        raise ModelError(
            f"{directory} holds no {HELD_OUT_FILE}, so no patient was held out that could be scored; "
            "train with wsigraph train"
        )
    held_out = load_held_out(directory, bundle.model_id)
    seed = bundle.card.seeds["train"]
    cohort_at = _located(directory, sources or Sources())
    identity = {"model": bundle.model_id, "manifest": _digest(cohort_at)}
    document = _kept(directory / DOCUMENT, identity)
    if document is None:
        document, truth = own_scores(bundle, held_out, seed=seed)
        if cohort_at is None:
            document["warnings"].append(_NO_GRAPHS)
        else:
            cohort, uncoarsened = _cohorts(bundle, held_out, cohort_at, coarsening)
            question = baseline_task(bundle, cohort, seed=seed)
            asked = baseline_models(
                question, bundle.members, uncoarsened=uncoarsened, workers=workers, progress=progress
            )
            document = add_baseline_models(document, truth, held_out, _digests(cohort), asked, told)
        save_document(Destination(directory / DOCUMENT, identity), "Evaluation", document)
    write_file(directory / PAGE, render_page(document, held_out).encode())
    return document


def _located(directory: Path, sources: Sources) -> tuple[Path, Path] | None:
    """Return manifest and graphs, as given or as noted in training; None where they are not there."""
    noted: dict[str, Any] = {}
    if (directory / RUN_FILE).is_file():
        noted = json.loads((directory / RUN_FILE).read_bytes())
    given = []
    for name, path in (("manifest", sources.manifest), ("graphs", sources.graphs)):
        if path is not None and not path.exists():
            raise CohortError(f"--{name} {path} does not exist; name where the cohort of the model lies")
        given.append(path or Path(str(noted.get(name, ""))))
    manifest, graphs = given
    return (manifest, graphs) if manifest.is_file() and graphs.is_dir() else None


def _digest(cohort_at: tuple[Path, Path] | None) -> str:
    return "" if cohort_at is None else hashlib.sha256(cohort_at[0].read_bytes()).hexdigest()


def _kept(path: Path, identity: dict[str, str]) -> dict[str, Any] | None:
    """Return an earlier evaluation of the same model and cohort; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        header, document = read_document(path, "Evaluation")
    except StoreError:
        # it is made again from what it was made from
        return None
    if header.get("inputs") != identity:
        return None
    # stored keys are sorted; the model's own scores come first
    return {name: document[name] for name in (*_FIRST, *sorted(document.keys() - set(_FIRST)))}


def _cohorts(
    bundle: ModelBundle, held_out: HeldOut, cohort_at: tuple[Path, Path], coarsening: CoarseningConfig | None
) -> tuple[Cohort, Cohort | None]:
    manifest, graphs = cohort_at
    names = bundle.card.config.stage_names
    known = bundle.card.seen.patients
    rows = [
        row
        for row in read_manifest(manifest, stage_names=names, check_files=False).rows
        if patient_digest(row.patient_id) in known
    ]
    missing = set(held_out.patient.tolist()) - {patient_digest(row.patient_id) for row in rows}
    if missing:
        raise CohortError(
            f"{len(missing)} of {len(held_out.patient)} patients that the model was trained on are not in {manifest}; "
            "name the manifest it was trained with"
        )
    card = bundle.card
    cohort = gather(rows, graphs, stage_names=names, coarsening=card.coarsening or coarsening, model=card.config)
    return cohort, _uncoarsened(rows, graphs, card.config)


def _uncoarsened(rows: list[ManifestRow], graphs: Path, config: ModelConfig) -> Cohort | None:
    """Return the cohort before coarsening, where every slide still has that graph."""
    if not all((graphs / row.slide_id / "graph.safetensors").is_file() for row in rows):
        return None
    return gather(rows, graphs, stage_names=config.stage_names, uncoarsened=True, model=config)


def _digests(cohort: Cohort) -> NDArray[np.str_]:
    import numpy as np

    return np.array([patient_digest(str(name)) for name in cohort.patient], np.str_)
