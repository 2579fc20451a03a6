"""The card of fitted networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.model.card import About, Card, KnownPatients, MemberCard, Training, patient_digest, slide_digest
from wsigraph.model.member import EnsembleMember
from wsigraph.training.dataset import Cohort
from wsigraph.training.fit import Fitted


def reporting_days(members: Sequence[EnsembleMember]) -> tuple[float, ...]:
    """Return the days at which an ensemble predicts survival: the mean of the members' interval ends, within all."""
    ends = [member.ends_days for member in members]
    if not len(ends[0]):
        return ()
    fewest = min(len(days) for days in ends)
    common = ends if all(len(days) == fewest for days in ends) else [days for days in ends if len(days) == fewest]
    days = np.minimum(np.mean(common, axis=0), min(days[-1] for days in ends))
    return tuple(float(day) for day in np.unique(days))


def make_card(
    cohort: Cohort,
    fold: NDArray[np.int64] | None,
    fitted: Sequence[Fitted],
    *,
    about: About,
    seed: int,
    config: ModelConfig,
    weights: bytes,
    embedding: Embedding | None = None,
    distances: Sequence[float] = (),
) -> Card:
    """Return the card of fitted networks, without metrics.

    Parameters
    ----------
    cohort : Cohort
        Training cohort.
    fold : int64 (n,) or None
        Member that held out each row; None where every member was trained on all rows.
    fitted : sequence of Fitted
        The networks.
    about : About
        The author's part of the card.
    seed : int
        Of the training.
    config : ModelConfig
        Settings on the card.
    weights : bytes
        Content of ``model.safetensors``.
    embedding : Embedding, optional
        The bundle's own, where the coarsening was trained with the task.
    distances : sequence of float
        `held_out_distances`; empty where none was held out.

    Returns
    -------
    Card
        In this version's layout.

    Raises
    ------
    ModelError
        If there is no network.
    """
    if not fitted:
        raise ModelError("no network to describe, expected at least one")
    held_by = np.full(cohort.n_rows, -1) if fold is None else fold
    n_patients = len(np.unique(cohort.patient))
    cards = []
    for number, fit in enumerate(fitted):
        n_seen = n_patients - len(np.unique(cohort.patient[held_by == number]))
        n_validation = len(fit.validation)
        cards.append(
            MemberCard(
                config=fit.member.config,
                time_days=tuple(float(end) for end in fit.member.ends_days),
                temperature=fit.member.temperature,
                n_patients=n_seen - n_validation,
                n_validation_patients=n_validation,
                n_epochs=fit.n_epochs,
                correction=fit.correction,
            )
        )
    members = [fit.member for fit in fitted]
    return Card(
        name=about.name,
        description=about.description,
        notice=about.notice,
        licence=about.licence,
        training=Training(
            data=about.data,
            simulated=about.simulated,
            n_patients=n_patients,
            n_slides=sum(max(1, len(slides)) for slides in cohort.slides),
            n_events=int(cohort.event.sum()),
            n_validation_patients=cards[0].n_validation_patients,
            n_epochs=cards[0].n_epochs,
        ),
        limits=about.limits,
        config=config.model_copy(update={"path": None}),
        members=tuple(cards),
        seen=_known_patients(cohort, held_by),
        feature_names=cohort.feature_names,
        feature_schema_id=cohort.feature_id,
        moment_schema_id=cohort.moment_id,
        coarsening_embedding_id=cohort.embedding_id if embedding is None else embedding.embedding_id,
        coarsening=None if embedding is None or cohort.superpixel_graphs is None else cohort.superpixel_graphs.config,
        encoder=cohort.columns.encoder,
        nuclei=None if cohort.nuclei == "rule" else cohort.nuclei,
        stage_names=() if config.task == "survival" else config.stage_names,
        time_days=reporting_days(members),
        seeds={"train": seed},
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        organ=about.organ,
        inclusion=about.inclusion,
        stain=None if cohort.stained_with == "h&e" else cohort.stained_with,
        distances=tuple(distances),
    )


def _known_patients(cohort: Cohort, held_by: NDArray[np.int64]) -> KnownPatients:
    """Return the patients and slides of a cohort by digest, each with the member that held it out."""
    return KnownPatients(
        patients={patient_digest(name): int(held_by[row]) for row, name in enumerate(cohort.patient)},
        slides={
            slide_digest(sha256): int(held_by[row]) for row, digests in enumerate(cohort.slides) for sha256 in digests
        },
    )


def held_out_distances(cohort: Cohort, fold: NDArray[np.int64], members: Sequence[EnsembleMember]) -> tuple[float, ...]:
    """Return how far every patient is from the training patients of the member that held the patient out.

    Parameters
    ----------
    cohort : Cohort
        Training cohort.
    fold : int64 (n,)
        Member that held out each row.
    members : sequence of EnsembleMember
        One a fold.

    Returns
    -------
    tuple of float
        `wsigraph.model.inputs.Standardised.distance` of every row, ascending, four decimals.
    """
    distances = []
    for number, member in enumerate(members):
        part = cohort.take(np.flatnonzero(fold == number))
        distances += [member.scaler.standardise(graph).distance for graph in member.inputs(part)]
    return tuple(round(distance, 4) for distance in sorted(distances))
