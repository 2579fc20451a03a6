"""From a graph to stage probabilities, hazards and a survival curve.

The bundle is checked against the graph's schema before anything is computed. The predictions of all ensemble members
are averaged. For a patient of the training cohort, only the member not trained on them predicts, and the prediction
says so. Evaluation uses one torch thread and no gradients, so a graph gives the same numbers on one machine whatever
else runs. Differences from the training slides are reported as warnings; they do not change the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.survival import log_cumulative_hazard, survival_between
from wsigraph.config import CoarseningConfig, PredictionConfig
from wsigraph.errors import ModelError
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.device import find_device
from wsigraph.graph.feature.interpret import feature_schema_id
from wsigraph.graph.feature.moments import schema_id as moment_schema_id
from wsigraph.graph.tissue.suitability import mark_prediction
from wsigraph.model.applicability import (
    FORCED,
    HELD_OUT_QUANTILE,
    assumption,
    distance_percentile,
    reason_to_withhold,
    withhold,
)
from wsigraph.model.bundle import (
    SHIPPED,
    Card,
    MemberCard,
    ModelBundle,
    check_schemas,
    load_bundle,
    patient_digest,
    slide_digest,
)
from wsigraph.model.coarsening_space import as_trained
from wsigraph.model.columns import NodeColumns
from wsigraph.model.conformal import MIN_CALIBRATION, stage_probabilities, stage_sets, survival_band
from wsigraph.model.inputs import CLIP, Standardised, graph_input
from wsigraph.model.member import EnsembleMember
from wsigraph.records import CoarseGraph, Prediction, TissueGraph

MAX_OUTSIDE_FRACTION = 0.05
"""Fraction of features outside the training range above which a prediction has a warning."""
MAX_CLIPPED_FRACTION = 0.01
"""Fraction of clipped feature values above which a prediction has a warning."""
EXTERNAL, OUT_OF_FOLD, IN_TRAINING = "external", "out of fold", "in training"
"""Relation of a patient to the model: not in its cohort, predicted by a member not trained on them, or trained on."""


def predict(
    graph: CoarseGraph | TissueGraph,
    model: Path | str | ModelBundle | None = None,
    *,
    patient: str | None = None,
    sha256: str | None = None,
    without: Sequence[int] | NDArray[np.int64] = (),
    config: PredictionConfig | None = None,
    device: str = "cpu",
) -> Prediction:
    """Return the prediction of a model for a graph.

    Parameters
    ----------
    graph : CoarseGraph or TissueGraph
        The slide's regions; one region without edges is enough. A superpixel graph is coarsened first: by the model's
        own embedding where it was trained with one, else by the shipped one.
    model : Path, str or ModelBundle, optional
        A bundle or its directory; the shipped demonstration model where left out.
    patient : str, optional
        Id of the patient.
    sha256 : str, optional
        SHA-256 of the slide's bytes. Either of the two shows whether the model was trained on the patient.
    without : sequence of int
        Regions to remove with all their edges; if that is all of them, the largest stays. The whole slide decides
        whether the prediction is withheld.
    config : PredictionConfig, optional
        Organ of the slide, and what is withheld; the defaults where left out.
    device : str
        Where the networks run: ``cpu``, ``cuda``, ``mps`` or ``auto``.

    Returns
    -------
    Prediction
        With the model's notice, and warnings where the slide differs from the training slides. Without any number where
        the model was not made for the slide; ``withheld`` says why.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    ModelError
        If the bundle is missing, damaged or of another schema than the graph, the graph lacks the encoder's features or
        was coarsened by another embedding than the model's own, or a region to remove does not exist.

    Notes
    -----
    Linear in regions and edges: about 0.1 s per member for 10,000 regions, after some seconds to import torch.
    """
    place = find_device(device)
    bundle = model if isinstance(model, ModelBundle) else load_bundle(SHIPPED if model is None else model)
    card, options = bundle.card, config or PredictionConfig()
    coarse = graph if isinstance(graph, CoarseGraph) else _coarsened(graph, bundle, sha256)
    check_graph(bundle, coarse)
    held_by = _held_by(card, patient, sha256)
    if held_by is not None and held_by >= 0 and not _is_coarsening_held_out(bundle, held_by, coarse):
        held_by = -1
    numbers = list(range(len(bundle.members))) if held_by is None or held_by < 0 else [held_by]
    members = [bundle.members[number] for number in numbers]
    whole = graph_input(coarse, NodeColumns.of(card.config, card.encoder))
    raw = whole.without(without) if len(without) else whole
    graphs = [member.scaler.standardise(raw) for member in members]
    distance = float(np.mean([graph.distance for graph in graphs]))
    logits = [member.read([graph], place) for member, graph in zip(members, graphs, strict=True)]
    stage, stage_set = _stage(bundle, members, [stage_logits for stage_logits, _ in logits])
    earned = _earned([card.members[number] for number in numbers], members, graphs, place)
    time_days = np.array(card.time_days)
    survival, band = _survival(bundle, members, [hazard_logits for _, hazard_logits in logits], time_days)
    before = np.concatenate([[1.0], survival])[: len(survival)]
    hazard = 1.0 - np.divide(survival, before, out=np.zeros_like(survival), where=before > 0)
    prediction = Prediction(
        slide_id=coarse.graph.slide_id,
        model_id=bundle.model_id,
        model_name=card.name,
        stage_names=card.stage_names,
        stage_probability=np.clip(stage, 0.0, 1.0),
        time_days=time_days,
        hazard=np.clip(hazard, 0.0, 1.0),
        survival=survival,
        risk=float(log_cumulative_hazard(survival[-1:])[0]) if len(survival) else None,
        median_survival_days=median_survival_days(time_days, survival),
        notice=card.notice,
        warnings=_warnings(card, coarse, members, graphs),
        stage_set=stage_set,
        survival_band=band,
        distance=distance,
        relation=EXTERNAL if held_by is None else OUT_OF_FOLD if held_by >= 0 else IN_TRAINING,
        percentile=distance_percentile(card, distance),
        assumes=assumption(card),
        is_demonstration=card.training.simulated,
        **earned,
    )
    if len(without):  # the whole slide decides, not what an ablation leaves of it
        distance = float(np.mean([member.scaler.standardise(whole).distance for member in members]))
    prediction = mark_prediction(prediction, coarse.graph.mark)
    reason = reason_to_withhold(card, coarse.graph.stain.name, distance, options)
    if reason and not options.withhold:
        return replace(prediction, warnings=(f"{FORCED}: {reason}", *prediction.warnings))
    return withhold(prediction, reason) if reason else prediction


def _earned(
    cards: Sequence[MemberCard], members: Sequence[EnsembleMember], graphs: Sequence[Standardised], device: str
) -> dict[str, Any]:
    """Return composition and arrangement of a prediction and the earned fractions, by their names in the record."""
    corrections = [card.correction for card in cards if card.correction is not None]
    if len(corrections) < len(cards):
        return {}
    parts = [member.read_parts([graph], device) for member, graph in zip(members, graphs, strict=True)]
    composition, arrangement = (float(np.mean([part[index][0] for part in parts])) for index in (0, 1))
    has_survival, has_stage = bool(len(members[0].ends_days)), members[0].config.task != "survival"
    survival_fraction = float(np.mean([correction.survival_fraction for correction in corrections]))
    stage_fraction = float(np.mean([correction.stage_fraction for correction in corrections]))
    return {
        "composition_risk": composition if has_survival else None,
        "arrangement_risk": arrangement if has_survival else None,
        "survival_fraction": survival_fraction if has_survival else None,
        "stage_fraction": stage_fraction if has_stage else None,
    }


def check_graph(bundle: ModelBundle, coarse: CoarseGraph) -> None:
    """Raise an error if a model was not made for a graph.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    coarse : CoarseGraph
        The slide's regions.

    Raises
    ------
    ModelError
        If the schema of moments or features differs, or the model has an embedding of its own and another one coarsened
        the graph.
    """
    card = bundle.card
    if NodeColumns.of(card.config).needs_features:
        check_schemas(card, feature_schema_id(), moment_schema_id(coarse.graph.moment_names))
        trained = card.nuclei or "rule"
        if coarse.graph.nuclei == "none" != trained:
            raise ModelError(
                f"slide {coarse.graph.slide_id!r} has no nuclear features, model {card.name!r} needs those found by "
                f"{trained!r}; scan the slide at 10x or more if it is coarser than 1.2 um/px, or build the graph with "
                f"--nuclei {trained.partition(' ')[0]}"
            )
        if coarse.graph.nuclei != trained:
            raise ModelError(
                f"slide {coarse.graph.slide_id!r} has nuclei by {coarse.graph.nuclei!r}, model {card.name!r} was "
                f"trained on nuclei by {trained!r}; build the graph with --nuclei {trained.partition(' ')[0]}"
            )
    if bundle.embedding is None:
        return
    own = [bundle.embedding, *(member.embedding for member in bundle.members)]
    if coarse.embedding_id not in {embedding.embedding_id for embedding in own if embedding is not None}:
        raise ModelError(
            f"slide {coarse.graph.slide_id!r} was coarsened by embedding {coarse.embedding_id}, model {card.name!r} "
            f"was trained together with its own, {card.coarsening_embedding_id}; give predict the superpixel graph, or "
            "run wsigraph predict --model, which coarsens by the model's embedding"
        )


def _coarsened(graph: TissueGraph, bundle: ModelBundle, sha256: str | None) -> CoarseGraph:
    own = bundle.coarsening(CoarseningConfig(), sha256)
    config, embedding = own or (as_trained(CoarseningConfig(), bundle, graph), None)
    return coarsen(graph, config, embedding=embedding)


def _is_coarsening_held_out(bundle: ModelBundle, held_by: int, coarse: CoarseGraph) -> bool:
    """Return whether the embedding that coarsened the slide was not trained on the patient either."""
    own = bundle.members[held_by].embedding
    return own is None or own.embedding_id == coarse.embedding_id


def _held_by(card: Card, patient: str | None, sha256: str | None) -> int | None:
    """Return the member not trained on the patient, -1 where all were, None where the patient is not in the cohort."""
    known = [
        *([] if patient is None else [card.seen.patients.get(patient_digest(patient))]),
        *([] if sha256 is None else [card.seen.slides.get(slide_digest(sha256))]),
    ]
    numbers = {number for number in known if number is not None}
    # if patient and slide name two different members, neither is known to be untrained on both
    return None if not numbers else numbers.pop() if len(numbers) == 1 else -1


def _stage(
    bundle: ModelBundle, members: Sequence[EnsembleMember], logits: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    names = bundle.card.stage_names
    if not names:
        return np.zeros(0), ()
    probability = np.stack(
        [stage_probabilities(table, member.temperature) for table, member in zip(logits, members, strict=True)]
    )
    calibration = bundle.calibration
    if len(calibration.score) < MIN_CALIBRATION:
        return np.asarray(probability.mean(axis=0)[0]), ()
    # where only the member that held the patient out predicts, it takes the place of all members
    by_member = probability if len(members) > 1 else np.repeat(probability, len(bundle.members), axis=0)
    inside = stage_sets(
        by_member,
        calibration.score,
        calibration.member,
        bundle.card.config.miscoverage,
        stage=calibration.stage,
    )[0]
    return np.asarray(probability.mean(axis=0)[0]), tuple(
        name for name, belongs in zip(names, inside, strict=True) if belongs
    )


def _survival(
    bundle: ModelBundle,
    members: Sequence[EnsembleMember],
    logits: Sequence[NDArray[np.float64]],
    time_days: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return survival (T,) and its band (2, T), None where no patient was held out."""
    if not len(time_days):
        return np.zeros(0), None
    curves = [np.exp(-np.logaddexp(0.0, table[0]).cumsum())[None] for table in logits]
    ends = [member.ends_days for member in members]
    at = [survival_between(days, curve, time_days)[0] for days, curve in zip(ends, curves, strict=True)]
    draws = bundle.calibration.recalibration
    band = survival_band([table[0] for table in logits], draws, ends, time_days) if len(draws) else None
    return np.asarray(np.mean(at, axis=0)), band


def median_survival_days(time_days: NDArray[np.float64], survival: NDArray[np.float64]) -> float | None:
    """Return when survival falls to one half, interpolated within its interval.

    Parameters
    ----------
    time_days : float64 (T,)
        Rising right ends of the intervals, days.
    survival : float64 (T,)
        Survival to the end of each; 1 at day 0.

    Returns
    -------
    float or None
        Days; None where survival stays above one half.
    """
    reached = np.flatnonzero(survival <= 0.5)
    if not len(reached):
        return None
    days, alive = np.concatenate([[0.0], time_days]), np.concatenate([[1.0], survival])
    last = int(reached[0]) + 1
    fraction = (alive[last - 1] - 0.5) / (alive[last - 1] - alive[last])
    return float(days[last - 1] + fraction * (days[last] - days[last - 1]))


def median_band_days(prediction: Prediction) -> tuple[float | None, float | None] | None:
    """Return the ends of the band of the median survival, days: where the ends of the band of the curve reach one half.

    Parameters
    ----------
    prediction : Prediction
        Its band, if it has one.

    Returns
    -------
    tuple of float or None
        An end that is not reached within the curve is None. None where the prediction has no band.
    """
    if prediction.survival_band is None:
        return None
    low, high = (median_survival_days(prediction.time_days, curve) for curve in prediction.survival_band)
    return low, high


def _warnings(
    card: Card, coarse: CoarseGraph, members: Sequence[EnsembleMember], graphs: Sequence[Standardised]
) -> tuple[str, ...]:
    warnings = []
    # the member with the most features outside its training range
    graph, member = max(zip(graphs, members, strict=True), key=lambda pair: len(pair[0].outside))
    outside_fraction = len(graph.outside) / len(card.feature_names)
    if outside_fraction > MAX_OUTSIDE_FRACTION or graph.clipped_fraction > MAX_CLIPPED_FRACTION:
        examples = ", ".join(card.feature_names[column] for column in graph.outside[:5]) or "none"
        more = ", ..." if len(graph.outside) > 5 else ""
        warnings.append(
            f"this slide is unlike the training slides: {len(graph.outside)} of {len(card.feature_names)} "
            f"mean features lie outside their range ({examples}{more}), and {100 * graph.clipped_fraction:.1f} % "
            f"of the feature values were cut off at {CLIP:g} standard deviations"
        )
    limit = float(member.scaler.pooled_limit[0])
    if card.distances:
        limit, held_out = float(np.quantile(card.distances, HELD_OUT_QUANTILE)), "held-out training slides"
        is_far = graph.distance > limit
    else:
        held_out, is_far = "training slides", graph.distance > 1.5 * limit
    if not warnings and is_far:
        warnings.append(
            f"this slide is unlike the training slides: it lies {graph.distance:.1f} standard deviations from their "
            f"mean, where 99 of 100 {held_out} lie within {limit:.1f}"
        )
    if card.coarsening is None and card.coarsening_embedding_id not in (None, coarse.embedding_id):
        warnings.append(
            f"the graph was coarsened by embedding {coarse.embedding_id}, "
            f"the model was trained on graphs of embedding {card.coarsening_embedding_id}"
        )
    return tuple(warnings)
