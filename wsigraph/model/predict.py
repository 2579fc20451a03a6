"""From a coarse graph to stage probabilities, hazards and a survival curve.

The bundle is checked against the graph's schema before anything is computed. Evaluation runs with one torch thread
and without gradients, so that a graph gives the same numbers on one machine whatever else runs. What makes a slide
unlike the training slides is said in the prediction's warnings; it does not change the numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.feature.interpret import feature_schema_id
from wsigraph.feature.moments import schema_id as moment_schema_id
from wsigraph.model.heads import log_survival, risk, stage_probability
from wsigraph.model.inputs import CLIP, Standardised, graph_input
from wsigraph.model.network import GraphNetwork, collate, one_thread
from wsigraph.model.weights import SHIPPED, Card, ModelBundle, check_schemas, load_bundle
from wsigraph.records import CoarseGraph, Prediction

MAX_OUTSIDE_FRACTION = 0.05
"""Share of features outside the training range above which a prediction carries a warning."""
MAX_CLIPPED_FRACTION = 0.01
"""Share of clipped feature values above which a prediction carries a warning."""


def predict(coarse: CoarseGraph, model: Path | str | ModelBundle | None = None) -> Prediction:
    """Return what a model reads from a coarse graph.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions; a single region without edges will do.
    model : Path, str or ModelBundle, optional
        A bundle or its directory; the shipped demonstration model where left out.

    Returns
    -------
    Prediction
        With the model's notice, and a warning where the slide is unlike the training slides.

    Raises
    ------
    ModelError
        If the bundle is missing, damaged or of another schema than the graph.

    Notes
    -----
    Linear in regions and edges: about 0.1 s for 10,000 regions, after some seconds for importing torch.
    """
    bundle = model if isinstance(model, ModelBundle) else load_bundle(SHIPPED if model is None else model)
    card = bundle.card
    check_schemas(card, feature_schema_id(), moment_schema_id(coarse.graph.moment_names))
    network = load_network(bundle)
    graph = bundle.scaler.standardise(graph_input(coarse))
    with one_thread(), torch.inference_mode():
        stage_logits, hazard_logits = (logits.double() for logits in network.read(collate([graph])))
        stage = stage_probability(stage_logits)[0].numpy()
        hazard = torch.sigmoid(hazard_logits)[0].numpy()
        survival = log_survival(hazard_logits)[0].exp().numpy()
        log_hazard = float(risk(hazard_logits)[0])
    time_days = np.array(card.time_days)
    return Prediction(
        slide_id=coarse.graph.slide_id,
        model_id=bundle.model_id,
        model_name=card.name,
        stage_names=card.stage_names,
        stage_probability=np.clip(stage, 0.0, 1.0),
        time_days=time_days,
        hazard=hazard,
        survival=survival,
        risk=log_hazard,
        median_survival_days=median_survival_days(time_days, survival),
        notice=card.notice,
        warnings=_warnings(card, coarse, graph),
    )


def load_network(bundle: ModelBundle) -> GraphNetwork:
    """Return a bundle's network, ready for evaluation.

    Parameters
    ----------
    bundle : ModelBundle
        A checked bundle.

    Returns
    -------
    GraphNetwork
        In evaluation mode.

    Raises
    ------
    ModelError
        If the weights do not fit the architecture on the card.
    """
    card = bundle.card
    with torch.random.fork_rng(devices=[]):
        # building draws starting weights, which must not move the caller's random state
        network = GraphNetwork(card.config, n_features=len(card.feature_names), n_intervals=len(card.time_days))
    network.load_arrays(bundle.network_arrays())
    network.eval()
    return network


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
    share = (alive[last - 1] - 0.5) / (alive[last - 1] - alive[last])
    return float(days[last - 1] + share * (days[last] - days[last - 1]))


def _warnings(card: Card, coarse: CoarseGraph, graph: Standardised) -> tuple[str, ...]:
    found = []
    outside_fraction = len(graph.outside) / len(card.feature_names)
    if outside_fraction > MAX_OUTSIDE_FRACTION or graph.clipped_fraction > MAX_CLIPPED_FRACTION:
        named = ", ".join(card.feature_names[column] for column in graph.outside[:5]) or "none"
        more = ", ..." if len(graph.outside) > 5 else ""
        found.append(
            f"this slide is unlike the training slides: {len(graph.outside)} of {len(card.feature_names)} "
            f"mean features lie outside their range ({named}{more}), and {100 * graph.clipped_fraction:.1f} % "
            f"of the feature values were cut off at {CLIP:g} standard deviations"
        )
    if card.coarsening_embedding_id not in (None, coarse.embedding_id):
        found.append(
            f"the graph was coarsened by embedding {coarse.embedding_id}, "
            f"the model was trained on graphs of embedding {card.coarsening_embedding_id}"
        )
    return tuple(found)
