"""Cross-validation of a cohort, and the model directory it leaves: folds, ensemble, out-of-fold predictions, losses.

``OUT`` holds ``model.safetensors`` and ``card.json`` (all that prediction needs), ``held_out.json`` (the out-of-fold
predictions that scores are computed from), ``losses.csv`` and ``losses.png``, and ``run.json`` (paths of manifest and
graphs, and the time it took). During training, ``OUT/checkpoints`` holds the state of every fold; a killed run resumes
from there.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.splits import folds, repeated
from wsigraph.cohort.metrics.bootstrap import draw_weights, estimate
from wsigraph.cohort.metrics.stage import quadratic_kappa, stage_auc
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError, ModelError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import CARD_FILE, ModelBundle, save_bundle
from wsigraph.model.card import About, Score
from wsigraph.store.atomic import discard, write_file
from wsigraph.store.header import canonical_document, parse_json
from wsigraph.training.curves import write_losses
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.held_out import HeldOut, save_held_out
from wsigraph.training.settings_identity import Identity, cohort_digests, refusal, settings_of

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

RUN_FILE = "run.json"
"""Paths of manifest and graphs at training time; for people and for ``wsigraph evaluate``."""
CHECKPOINTS = "checkpoints"
"""State of every fold during training."""
IDENTITY_FILE = "settings.json"
"""Settings and data that the checkpoints were made with, next to them."""

_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The design of a cross-validation.

    Attributes
    ----------
    n_folds : int
        Number of folds, at least 2.
    group : str
        What folds keep whole: ``"patient"`` or ``"site"``.
    seed : int
        Decides folds, initial weights and everything else that is random.
    workers : int
        Processes; 0 uses one per available core.
    device : str
        Where tensors are, e.g. ``"cuda"``.
    fold_of : mapping of str to int, or None
        Fold that holds each patient out, where folds are given and not drawn.
    """

    n_folds: int = 5
    group: Literal["patient", "site"] = "patient"
    seed: int = 1
    workers: int = 0
    device: str = "cpu"
    fold_of: Mapping[str, int] | None = None


def cross_validate(
    cohort: Cohort,
    configurations: Sequence[ModelConfig],
    out: Path | str,
    *,
    design: Design,
    about: About,
    sources: Mapping[str, Any] | None = None,
    on_finished: Callable[[ModelBundle], object] | None = None,
    keep_checkpoints: bool = False,
    progress: Progress | None = None,
) -> Ensemble:
    """Cross-validate a cohort: train an ensemble of folds, score it out of fold, and write its directory.

    Parameters
    ----------
    cohort : Cohort
        One row a patient.
    configurations : sequence of ModelConfig
        Settings to try, at least one.
    out : Path or str
        Directory of the model.
    design : Design
        Folds, seed and processes.
    about : About
        The author's part of the card.
    sources : mapping, optional
        Further entries of ``run.json``: paths of manifest and graphs, columns of the endpoint.
    on_finished : callable, optional
        Called with the finished model to write further files; a run killed in it resumes there.
    keep_checkpoints : bool
        Whether to keep the checkpoints at the end, for further repeats of the same run (``repeats.py``).
    progress : callable, optional
        Called after every epoch and fold.

    Returns
    -------
    Ensemble
        The ensemble as written, with its out-of-fold scores on the card.

    Raises
    ------
    CohortError
        If the folds cannot be formed, or share a patient or a slide.
    ModelError
        If a fold cannot be fitted, or the directory holds checkpoints of other settings or data.
    StoreError
        If the directory cannot be written.
    """
    directory, started = Path(out), time.perf_counter()
    configurations = cohort.settled(configurations)
    identity = study_identity(cohort, configurations, design)
    _begin(directory / CHECKPOINTS, identity)
    ensemble = train_folds(
        cohort,
        assign_folds(cohort, design)[0],
        configurations,
        seed=design.seed,
        about=about,
        split_by=design.group,
        checkpoints=directory / CHECKPOINTS,
        workers=design.workers,
        device=design.device,
        progress=progress,
    )
    metrics = held_out_metrics(ensemble.held_out, by_site=design.group == "site", seed=design.seed)
    what = "sites" if design.group == "site" else "patients"
    card = ensemble.bundle.card.model_copy(
        update={
            "metrics": metrics,
            "evaluation": (
                f"held-out patients of {design.n_folds} folds by {design.group}, each answered by the network that "
                f"never saw them; pairs within a fold; 95 % intervals from 2,000 bootstrap draws of {what}"
            ),
        }
    )
    ensemble = Ensemble(
        bundle=ModelBundle(card=card, weights=ensemble.bundle.weights),
        held_out=ensemble.held_out,
        fitted=ensemble.fitted,
    )
    save_held_out(ensemble.held_out, directory, ensemble.bundle.model_id)
    histories = [fitted.history for fitted in ensemble.fitted]
    write_losses(histories, [fitted.n_epochs for fitted in ensemble.fitted], directory)
    seconds = round(time.perf_counter() - started, 1)
    notes: dict[str, Any] = {**(sources or {}), "seconds": seconds, "identity": identity.document()}
    write_file(directory / RUN_FILE, canonical_document(notes))
    save_bundle(ensemble.bundle, directory)
    if on_finished is not None:
        on_finished(ensemble.bundle)
    if not keep_checkpoints:
        discard(directory / CHECKPOINTS)
    return ensemble


def study_identity(cohort: Cohort, configurations: Sequence[ModelConfig], design: Design) -> Identity:
    """Return the settings and data that an ensemble of folds depends on, by their names for the user.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    configurations : sequence of ModelConfig
        Settings to try, at least one.
    design : Design
        Folds and seed.

    Returns
    -------
    Identity
        Of ``wsigraph train``.
    """
    first = settings_of("model", configurations[0])
    settings: dict[str, Any] = {
        **first,
        "--folds": design.n_folds,
        "--group": design.group,
        "--seed": design.seed,
        "patients": cohort.n_rows,
        **({} if design.fold_of is None else {"--splits": given_folds_id(design.fold_of)}),
    }
    for number, config in enumerate(configurations[1:], start=1):
        tried = settings_of("model", config).items()
        settings[f"--try, number {number}"] = {name: value for name, value in tried if value != first[name]}
    joint = any(config.train_coarsening for config in configurations)
    if joint and cohort.superpixel_graphs is not None:
        settings |= settings_of("coarsening", cohort.superpixel_graphs.config)
    data = cohort_digests(cohort, np.arange(cohort.n_rows), with_superpixels=joint)
    return Identity(settings=settings, data=data)


def given_folds_id(fold_of: Mapping[str, int]) -> str:
    """Return a digest of given folds, 16 hexadecimal characters."""
    return hashlib.sha256(json.dumps(sorted(fold_of.items())).encode()).hexdigest()[:16]


def refuse_finished(out: Path, identity: Identity) -> None:
    """Refuse to replace a finished model of other settings or data.

    Parameters
    ----------
    out : Path
        Directory of the model.
    identity : Identity
        Settings and data of this run.

    Raises
    ------
    ModelError
        If the directory holds a finished model of other settings or data; the message names the differences.
    """
    if not (out / CARD_FILE).is_file() or (out / CHECKPOINTS / IDENTITY_FILE).is_file():
        return
    notes = _read_json(out / RUN_FILE) if (out / RUN_FILE).is_file() else None
    differences = identity.differences(notes.get("identity") if isinstance(notes, dict) else None)
    if differences:
        raise ModelError(refusal(f"the finished model in {out}", differences))


def start_over(out: Path) -> None:
    """Discard the checkpoints of a run; a finished model stays until the next is finished.

    Parameters
    ----------
    out : Path
        Directory of the model.
    """
    discard(out / CHECKPOINTS)


def _begin(checkpoints: Path, identity: Identity) -> None:
    """Write the identity of the checkpoints; refuse checkpoints of other settings or data before any work."""
    path = checkpoints / IDENTITY_FILE
    if path.is_file():
        if differences := identity.differences(_read_json(path)):
            raise ModelError(refusal(f"the unfinished run in {checkpoints}", differences))
    else:
        write_file(path, canonical_document(identity.document()))


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}); name another --out, or give --restart to start over"
        ) from None


def assign_folds(cohort: Cohort, design: Design, n_repeats: int = 1) -> NDArray[np.int64]:
    """Return the folds of a design, balanced in stage, event and site, and those of repeats.

    Parameters
    ----------
    cohort : Cohort
        n rows.
    design : Design
        Number of folds, what they keep whole, and the seed.
    n_repeats : int
        Number of repeats, at least 1; the first does not depend on it.

    Returns
    -------
    int64 (n_repeats, n)
        Fold of every row in every repeat.

    Raises
    ------
    CohortError
        If the folds cannot be formed.
    """
    patients = cohort.patient.tolist()
    if design.fold_of is not None:
        if n_repeats > 1:
            raise CohortError("folds are given, so that there is one division; leave out --repeats")
        return np.array([[design.fold_of[patient] for patient in patients]], np.int64)
    options: dict[str, Any] = {
        "n_folds": design.n_folds,
        "stage": [None if stage < 0 else int(stage) for stage in cohort.stage],
        "event": cohort.event.tolist(),
        "site": [site or None for site in cohort.site.tolist()] if any(cohort.site.tolist()) else None,
        "group": design.group,
        "seed": design.seed,
    }
    first = folds(patients, **options)[None]
    return first if n_repeats == 1 else np.concatenate([first, repeated(patients, n_repeats=n_repeats - 1, **options)])


@one_thread()
def held_out_metrics(held_out: HeldOut, *, by_site: bool, seed: int) -> dict[str, Score]:
    """Return the main scores of out-of-fold predictions, for the card.

    Parameters
    ----------
    held_out : HeldOut
        Out-of-fold predictions and outcomes.
    by_site : bool
        Whether folds keep sites whole; then the bootstrap draws sites.
    seed : int
        Of the bootstrap draws.

    Returns
    -------
    dict of str to Score
        ``c_index``, ``stage_auc`` and ``stage_quadratic_kappa``, where they are defined.
    """
    cluster = np.unique(held_out.site, return_inverse=True)[1] if by_site else None
    weights = draw_weights(held_out.fold, cluster=cluster, rng=np.random.default_rng(seed))
    draws = {}
    if held_out.has_survival:
        rows = np.isfinite(held_out.time_days)
        draws["c_index"] = c_index(
            held_out.risk[rows],
            held_out.time_days[rows],
            held_out.event[rows],
            stratum=held_out.fold[rows],
            weights=weights[:, rows],
        )
    if held_out.has_stage:
        p, stage = held_out.stage_probability, held_out.stage
        draws["stage_auc"] = stage_auc(p, stage, stratum=held_out.fold, weights=weights)
        draws["stage_quadratic_kappa"] = quadratic_kappa(
            p.argmax(axis=1), stage, p.shape[1], stratum=held_out.fold, weights=weights
        )
    scores = {}
    for name, values in draws.items():
        score = estimate(values)
        if np.isfinite([score.value, score.low, score.high]).all():
            parts = {part: round(getattr(score, part), _DIGITS) for part in ("value", "low", "high")}
            scores[name] = Score(**parts)
    return scores
