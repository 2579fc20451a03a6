"""Whether a model was made for a slide: what its card assumes, how far the slide is from its training slides.

The distance of a slide is that of its area-weighted mean features from those of the training slides, in standard
deviations between them. Alone it means little, because slides of a new patient are always farther than those that a
model was fitted to. So it is also given as a percentile of the distances of held-out patients of the training cohort,
each by the member that had not seen the patient. A model trained on real slides withholds its prediction beyond a
multiple of what 99 of 100 of them lie within; one of painted tissue is far from every real slide and says so.

Limits: the distance reads means of whole slides, not the diagnosis. Benign tissue with the composition of a carcinoma
is near; what was included in the training, and the organ, must be compared by name.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from wsigraph.config import PredictionConfig
from wsigraph.model.card import Card
from wsigraph.records import Prediction

HELD_OUT_QUANTILE = 0.99
"""Fraction of the held-out training slides that lie within the distance to which others are compared."""
FORCED = "prediction of a slide that the model was not made for, forced"
"""How the warning begins of a prediction that would have been withheld."""


def assumption(card: Card) -> str:
    """Return what a model takes for granted about a slide.

    Parameters
    ----------
    card : Card
        The model.

    Returns
    -------
    str
        One phrase, such as "assumes a proven carcinoma of the kidney, stained with h&e".
    """
    if card.training.simulated:
        return "assumes simulated tissue: the model was trained on no real slide"
    organ = re.split(r"\s*[,;|]\s*", card.organ)[0]
    place = f" of the {organ}" if organ else ""
    what = f"{card.inclusion}{place}" if card.inclusion else f"tissue{place} like that of its training slides"
    unknown = [name for name, value in (("organ", card.organ), ("inclusion", card.inclusion)) if not value]
    lacking = f" (its card states no {' and no '.join(unknown)})" if unknown else ""
    return f"assumes {what}, stained with {card.stain or 'h&e'}{lacking}"


def distance_percentile(card: Card, distance: float) -> float | None:
    """Return the percent of held-out training patients that are nearer; None where the card has none."""
    if not card.distances:
        return None
    return float(100.0 * (np.array(card.distances) < distance).mean())


def distance_limit(card: Card, config: PredictionConfig) -> float | None:
    """Return the distance beyond which a model withholds its prediction; None where it never does."""
    if not card.distances or card.training.simulated:
        return None
    return float(config.max_distance_ratio * np.quantile(card.distances, HELD_OUT_QUANTILE))


def reason_to_withhold(card: Card, stain: str, distance: float, config: PredictionConfig) -> str:
    """Return why a model was not made for a slide; empty where nothing is known against it.

    Parameters
    ----------
    card : Card
        The model.
    stain : str
        What the slide is stained with.
    distance : float
        Of the slide from the training slides.
    config : PredictionConfig
        Organ of the slide, and the limit of the distance.

    Returns
    -------
    str
        The reason.
    """
    trained = card.stain or "h&e"
    if stain != trained:
        return f"the slide is stained with {stain}, the model was trained on {trained}"
    names = [name for name in re.split(r"\s*[,;|]\s*", card.organ.casefold()) if name]
    if config.organ and names and config.organ.strip().casefold() not in names:
        return f"the slide is of the organ {config.organ.strip()!r}, the model was trained on {card.organ!r}"
    limit = distance_limit(card, config)
    if limit is not None and distance > limit:
        return (
            f"the slide lies {distance:.2f} standard deviations from the training slides, beyond the limit of "
            f"{limit:.2f} (prediction.max_distance_ratio {config.max_distance_ratio:g}); 99 of 100 held-out training "
            f"slides lie within {limit / config.max_distance_ratio:.2f}"
        )
    return ""


def withhold(prediction: Prediction, reason: str) -> Prediction:
    """Return a prediction without any number, with the reason; warnings and distance stay."""
    return replace(
        prediction,
        stage_names=(),
        stage_probability=np.zeros(0),
        time_days=np.zeros(0),
        hazard=np.zeros(0),
        survival=np.zeros(0),
        risk=None,
        median_survival_days=None,
        stage_set=(),
        survival_band=None,
        composition_risk=None,
        arrangement_risk=None,
        survival_fraction=None,
        stage_fraction=None,
        withheld=reason,
        warnings=(f"no prediction: {reason}", *prediction.warnings),
    )
