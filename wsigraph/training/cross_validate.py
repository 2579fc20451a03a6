"""A cohort becomes a model directory: folds, ensemble, held-out answers, losses.

``OUT`` holds ``model.safetensors`` and ``card.json`` (all that prediction needs), ``held_out.json`` (what scores are
computed from), ``losses.csv`` and ``losses.png``, and ``run.json`` (where manifest and graphs lay, and how long it
took). While training goes on, ``OUT/checkpoints`` holds how far each fold is; a killed run goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from wsigraph.errors import ModelError
from wsigraph.model.bundle import CARD_FILE, ModelBundle, save_bundle
from wsigraph.model.card import About, Score
from wsigraph.model.nn.network import one_thread
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
"""Where manifest and graphs lay when the model was trained; for people and for ``wsigraph evaluate``."""
CHECKPOINTS = "checkpoints"
"""How far each fold is, while training goes on."""
IDENTITY_FILE = "settings.json"
"""What the checkpoints were made under, beside them."""

_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How a cohort is learned from.

    Attributes
    ----------
    n_folds : int
        Folds, at least 2.
    group : str
        What folds keep whole: ``"patient"`` or ``"site"``.
    seed : int
        Decides folds, weights and all else that is random.
    workers : int
        Processes; 0 takes one for every core allowed.
    device : str
        Where tensors live.
    """

    n_folds: int = 5
    group: Literal["patient", "site"] = "patient"
    seed: int = 1
    workers: int = 0
    device: str = "cpu"


def train_model(
    cohort: Cohort,
    configurations: Sequence[ModelConfig],
    out: Path | str,
    *,
    design: Design,
    about: About,
    sources: dict[str, str] | None = None,
    beside: Callable[[ModelBundle], object] | None = None,
    keep_checkpoints: bool = False,
    progress: Progress | None = None,
) -> Ensemble:
    """Train an ensemble of folds and write its directory.

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
        What the card shall say.
    sources : dict of str to str, optional
        What else to note in ``run.json``: where manifest and graphs lie.
    beside : callable, optional
        Writes what else belongs into the directory, told the finished model; killed in it, a run goes on there.
    keep_checkpoints : bool
        Leave the checkpoints when all is done, for further divisions of the same run (``repeats.py``).
    progress : callable, optional
        Told of passes and folds.

    Returns
    -------
    Ensemble
        As written, with its held-out scores on the card.

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
    identity = study_identity(cohort, configurations, design)
    _begin(directory / CHECKPOINTS, identity)
    ensemble = train_folds(
        cohort,
        divide(cohort, design)[0],
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
    write_losses([each.history for each in ensemble.fitted], [each.n_epochs for each in ensemble.fitted], directory)
    seconds = round(time.perf_counter() - started, 1)
    notes: dict[str, Any] = {**(sources or {}), "seconds": seconds, "identity": identity.document()}
    write_file(directory / RUN_FILE, canonical_document(notes))
    save_bundle(ensemble.bundle, directory)
    if beside is not None:
        beside(ensemble.bundle)
    if not keep_checkpoints:
        discard(directory / CHECKPOINTS)
    return ensemble


def study_identity(cohort: Cohort, configurations: Sequence[ModelConfig], design: Design) -> Identity:
    """Return what an ensemble of folds depends on, by the names of settings and options.

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
    }
    for number, config in enumerate(configurations[1:], start=1):
        tried = settings_of("model", config).items()
        settings[f"--try, number {number}"] = {name: value for name, value in tried if value != first[name]}
    joint = any(config.train_coarsening for config in configurations)
    if joint and cohort.fine is not None:
        settings |= settings_of("coarsening", cohort.fine.config)
    data = cohort_digests(cohort, np.arange(cohort.n_rows), with_superpixels=joint)
    return Identity(settings=settings, data=data)


def refuse_finished(out: Path, identity: Identity) -> None:
    """Refuse to train a model over a finished one of other settings or data.

    Parameters
    ----------
    out : Path
        Directory of the model to be.
    identity : Identity
        Of the run to be.

    Raises
    ------
    ModelError
        If the directory holds a finished model that this run would not give again; the message names what differs.
    """
    if not (out / CARD_FILE).is_file() or (out / CHECKPOINTS / IDENTITY_FILE).is_file():
        return
    notes = _read_json(out / RUN_FILE) if (out / RUN_FILE).is_file() else None
    others = identity.differences(notes.get("identity") if isinstance(notes, dict) else None)
    if others:
        raise ModelError(refusal(f"the finished model in {out}", others))


def start_over(out: Path) -> None:
    """Throw away how far a run has come; a finished model stays until the next is finished.

    Parameters
    ----------
    out : Path
        Directory of the model.
    """
    discard(out / CHECKPOINTS)


def _begin(checkpoints: Path, identity: Identity) -> None:
    """Note what the checkpoints to come are made under; refuse those of something else before any work is done."""
    path = checkpoints / IDENTITY_FILE
    if path.is_file():
        if others := identity.differences(_read_json(path)):
            raise ModelError(refusal(f"what {checkpoints} holds of an unfinished run", others))
    else:
        write_file(path, canonical_document(identity.document()))


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} does not read ({error}); name another --out, or give --restart to start over"
        ) from None


def divide(cohort: Cohort, design: Design, n_repeats: int = 1) -> NDArray[np.int64]:
    """Return the folds of a design, balanced in stage, event and site, and those of further divisions.

    Parameters
    ----------
    cohort : Cohort
        n rows.
    design : Design
        How many folds, what they keep whole, and the seed.
    n_repeats : int
        Divisions, at least 1; more leave the first as they are.

    Returns
    -------
    int64 (n_repeats, n)
        Fold of every row in every division.

    Raises
    ------
    CohortError
        If the folds cannot be formed.
    """
    patients = cohort.patient.tolist()
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
    """Return the main scores of held-out answers for the card.

    Parameters
    ----------
    held_out : HeldOut
        Answers and outcomes.
    by_site : bool
        Whether folds are made of sites, and sites are drawn.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to Score
        ``c_index``, ``stage_auc`` and ``stage_quadratic_kappa``, as far as they are defined.
    """
    cluster = np.unique(held_out.site, return_inverse=True)[1] if by_site else None
    weights = draw_weights(held_out.fold, cluster=cluster, rng=np.random.default_rng(seed))
    found = {}
    if held_out.has_survival:
        rows = np.isfinite(held_out.time_days)
        found["c_index"] = c_index(
            held_out.risk[rows],
            held_out.time_days[rows],
            held_out.event[rows],
            stratum=held_out.fold[rows],
            weights=weights[:, rows],
        )
    if held_out.has_stage:
        p, stage = held_out.stage_probability, held_out.stage
        found["stage_auc"] = stage_auc(p, stage, stratum=held_out.fold, weights=weights)
        found["stage_quadratic_kappa"] = quadratic_kappa(p.argmax(axis=1), stage, p.shape[1], weights=weights)
    scores = {}
    for name, values in found.items():
        each = estimate(values)
        if np.isfinite([each.value, each.low, each.high]).all():
            parts = {part: round(getattr(each, part), _DIGITS) for part in ("value", "low", "high")}
            scores[name] = Score(**parts)
    return scores
