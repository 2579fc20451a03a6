"""Train a classifier of tissue regions on annotated slides, scored on held-out slides.

Candidates are softmax regression on a region's own features, the same with the neighbours' means, and a small graph
network. Each is fitted with every group of slides held out in turn; the one with the best balanced accuracy there is
fitted on all, and the simpler wins a tie. Every pair of slide and class has the same weight, so that a slide with much
of one class does not decide. Temperature and conformal thresholds come from the held-out regions of the winner.

The scores of the winner are the best of a few candidates, so they are slightly optimistic. With one slide alone, its
quarters are held out in place of slides, which says nothing of other slides; the scores state so. So are the quarters
of a class that is on one slide alone, and its recall is left out of the balanced accuracy if others are not so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import CohortError
from wsigraph.graph.tissue_class.annotated import AnnotatedSlide
from wsigraph.graph.tissue_class.class_features import GLASS, class_feature_names
from wsigraph.graph.tissue_class.node_classifier import COVERAGE, NodeClassifier, softmax
from wsigraph.training.softmax_fit import SoftmaxFit, fit_softmax
from wsigraph.training.tissue_scores import class_thresholds, score_classes

LEAST_REGIONS = 3
"""Fewest annotated superpixels of a class."""
_MAX_FOLDS = 10
_TIE = 0.005
_OKABE_ITO = (
    (213, 94, 0), (0, 158, 115), (0, 114, 178), (230, 159, 0), (240, 228, 66), (86, 180, 233), (204, 121, 167),
    (120, 80, 40), (100, 100, 200), (160, 200, 80),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of fitting.

    Attributes
    ----------
    name : str
        What it is, for the scores.
    neighbours : bool
        Whether the neighbours' means are features.
    hidden : int
        Width of the hidden layer.
    penalty : float
        Ridge on the weights.
    """

    name: str
    neighbours: bool
    hidden: int
    penalty: float


CANDIDATES = (
    *(Candidate(f"regression on own features, ridge {ridge:g}", False, 0, ridge) for ridge in (1.0, 0.3, 0.1, 0.01)),
    *(Candidate(f"regression with neighbours, ridge {ridge:g}", True, 0, ridge) for ridge in (1.0, 0.3, 0.1, 0.01)),
    *(Candidate(f"graph network, ridge {ridge:g}", True, 16, ridge) for ridge in (0.1, 0.01)),
)
"""The simplest first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueTraining:
    """A trained classifier with its scores.

    Attributes
    ----------
    model : NodeClassifier
        The classifier; its card holds the scores.
    scores : dict
        Held-out scores, as JSON values.
    notes : tuple of str
        What was left out, as sentences.
    """

    model: NodeClassifier
    scores: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """All annotated superpixels of all slides."""

    names: tuple[str, ...]
    values: NDArray[np.float64]
    label: NDArray[np.int64]
    slide: NDArray[np.int64]
    fold: NDArray[np.int64]
    weight: NDArray[np.float64]
    of_one_slide: NDArray[np.bool_]


def train_tissue_classes(
    slides: Sequence[AnnotatedSlide],
    *,
    colours: dict[str, tuple[int, int, int]] | None = None,
    candidates: Sequence[Candidate] = CANDIDATES,
    card: dict[str, Any] | None = None,
) -> TissueTraining:
    """Return a classifier of the annotated classes.

    Parameters
    ----------
    slides : sequence of AnnotatedSlide
        Annotated superpixels.
    colours : dict of str to (int, int, int), optional
        8-bit colours of classes.
    candidates : sequence of Candidate
        Ways of fitting, the simplest first.
    card : dict, optional
        Further facts for the model's card.

    Returns
    -------
    TissueTraining
        Model, scores and notes.

    Raises
    ------
    CohortError
        If fewer than two classes have three regions, or the graphs differ in stain or in what found their nuclei.
    """
    detector, stain = _detector_and_stain(slides)
    names, notes = _kept_classes(slides)
    rows, is_by_slide = _collect(slides, names)
    tried = {candidate.name: _held_out(rows, candidate) for candidate in candidates}
    accuracy = {
        name: score_classes(rows.label, softmax(logits), rows.fold, rows.of_one_slide) for name, logits in tried.items()
    }
    best = max(score["balanced_accuracy"] for score in accuracy.values())
    chosen = next(one for one in candidates if accuracy[one.name]["balanced_accuracy"] >= best - _TIE)
    logits = tried[chosen.name]
    temperature = _temperature(logits, rows)
    probability = softmax(logits / temperature)
    thresholds = class_thresholds(probability, rows.label, COVERAGE)
    scores = {
        "held_out": "slides" if is_by_slide else "quarters of one slide, which says nothing of other slides",
        "chosen": chosen.name,
        "candidates": {name: score["balanced_accuracy"] for name, score in accuracy.items()},
        **score_classes(rows.label, probability, rows.fold, rows.of_one_slide),
        "classes": list(names),
        "classes_of_one_slide": [name for name, alone in zip(names, rows.of_one_slide, strict=True) if alone],
        "regions": {name: int((rows.label == number).sum()) for number, name in enumerate(names)},
        "slides": {slide.slide_id: len(slide.label) for slide in slides},
        "temperature": round(temperature, 4),
        "coverage": _coverage(probability, rows),
    }
    model = _as_model(_fit(rows, np.ones(len(rows.label), np.bool_), chosen), chosen, names, thresholds, temperature)
    forced = {"forced": [one.slide_id for one in slides if one.mark]} if any(one.mark for one in slides) else {}
    model = _with_card(model, detector, names, colours or {}, {**(card or {}), **forced, "scores": scores})
    model = replace(model, stain=stain)
    return TissueTraining(model=model, scores=scores, notes=(*notes, *(note for one in slides for note in one.notes)))


def _detector_and_stain(slides: Sequence[AnnotatedSlide]) -> tuple[str, str]:
    """Return what found the nuclei of all slides, and what all are stained with."""
    detectors = sorted({slide.nuclei for slide in slides})
    if len(detectors) != 1:
        raise CohortError(
            f"the graphs have nuclei by {' and '.join(detectors) or 'nothing'}, expected one way; build all with the "
            "same --nuclei"
        )
    stains = sorted({slide.stain for slide in slides})
    if len(stains) != 1:
        raise CohortError(
            f"the slides are stained with {' and '.join(stains)}, expected one stain; train one model for each"
        )
    return detectors[0], stains[0]


def _kept_classes(slides: Sequence[AnnotatedSlide]) -> tuple[tuple[str, ...], list[str]]:
    """Return the classes with enough regions, and a sentence for each that is left out."""
    counts: dict[str, int] = {}
    for slide in slides:
        for number, name in enumerate(slide.class_names):
            counts[name] = counts.get(name, 0) + int((slide.label == number).sum())
    notes = [
        f"class {name!r} has {count} region{'' if count == 1 else 's'}, expected at least {LEAST_REGIONS}; it is left "
        "out, draw more of it"
        for name, count in sorted(counts.items())
        if count < LEAST_REGIONS and name != GLASS
    ]
    names = tuple(sorted(name for name, count in counts.items() if count >= LEAST_REGIONS and name != GLASS))
    if len(names) < 2:
        raise CohortError(
            f"{len(names)} class{'' if len(names) == 1 else 'es'} with at least {LEAST_REGIONS} regions, expected at "
            f"least 2; {'; '.join(notes) or 'annotate a second class'}"
        )
    return names, notes


def _collect(slides: Sequence[AnnotatedSlide], names: tuple[str, ...]) -> tuple[_Rows, bool]:
    """Return the rows of all slides, and whether whole slides are held out."""
    values, label, slide_of, centre = [], [], [], []
    for number, slide in enumerate(slides):
        column = np.array([names.index(name) if name in names else -1 for name in slide.class_names])
        own = column[slide.label]
        values.append(slide.values[own >= 0])
        label.append(own[own >= 0])
        slide_of.append(np.full(int((own >= 0).sum()), number))
        centre.append(slide.centre_um[own >= 0])
    groups = sorted({slide.group for slide in slides})
    group = np.array([groups.index(slide.group) for slide in slides])
    labels, of, points = np.concatenate(label), np.concatenate(slide_of), np.concatenate(centre)
    fold = group[of] % _MAX_FOLDS if len(groups) > 1 else _quarters(points)
    # a class of one fold alone is unknown to every fit that is asked for it: its own quarters go to several folds
    of_one_slide = np.array([len(np.unique(fold[labels == number])) == 1 for number in range(len(names))])
    folds = np.unique(fold)
    for number in np.flatnonzero(of_one_slide).tolist():
        rows = labels == number
        fold[rows] = folds[_quarters(points[rows]) % len(folds)]
    key = of * len(names) + labels
    weight = 1.0 / np.bincount(key)[key]
    joined = np.concatenate(values)
    kept = _Rows(
        names=names, values=joined, label=labels, slide=of, fold=fold, weight=weight, of_one_slide=of_one_slide
    )
    return kept, len(groups) > 1


def _quarters(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the quarter of the plane, about the median, that each point is in, 0..3."""
    high = points > np.median(points, axis=0)
    return np.asarray(2 * high[:, 0] + high[:, 1], np.int64)


def _fit(rows: _Rows, chosen: NDArray[np.bool_], candidate: Candidate) -> SoftmaxFit:
    width = len(class_feature_names(neighbours=candidate.neighbours))
    return fit_softmax(
        rows.values[chosen, :width],
        rows.label[chosen],
        rows.weight[chosen],
        n_classes=len(rows.names),
        penalty=candidate.penalty,
        hidden=candidate.hidden,
    )


def _held_out(rows: _Rows, candidate: Candidate) -> NDArray[np.float64]:
    """Return the logits of every row by a fit that has not seen its fold, float64 (n, K)."""
    logits = np.zeros((len(rows.label), len(rows.names)))
    width = len(class_feature_names(neighbours=candidate.neighbours))
    for fold in np.unique(rows.fold):
        test = rows.fold == fold
        logits[test] = _fit(rows, ~test, candidate).logits(rows.values[test, :width])
    return logits


def _temperature(logits: NDArray[np.float64], rows: _Rows) -> float:
    """Return the divisor of the logits with the least held-out loss."""
    best, least = 1.0, np.inf
    for temperature in np.exp(np.linspace(np.log(0.02), np.log(12.0), 80)).tolist():
        own = np.take_along_axis(softmax(logits / temperature), rows.label[:, None], axis=1)[:, 0]
        value = -float((rows.weight * np.log(np.maximum(own, 1e-12))).sum())
        if value < least:
            best, least = temperature, value
    return best


def _coverage(probability: NDArray[np.float64], rows: _Rows) -> dict[str, float]:
    """Return how often the set of a fold's rows holds their class, with thresholds of the other folds, by class."""
    inside = np.zeros(len(rows.label), np.bool_)
    for fold in np.unique(rows.fold):
        test = rows.fold == fold
        thresholds = class_thresholds(probability[~test], rows.label[~test], COVERAGE, n_classes=len(rows.names))
        own = rows.label[test]
        inside[test] = probability[test, own] >= thresholds[own]
    return {name: round(float(inside[rows.label == number].mean()), 4) for number, name in enumerate(rows.names)}


def _as_model(
    fit: SoftmaxFit,
    candidate: Candidate,
    names: tuple[str, ...],
    thresholds: NDArray[np.float64],
    temperature: float,
) -> NodeClassifier:
    return NodeClassifier(
        class_names=names,
        colours=tuple((0, 0, 0) for _ in names),
        neighbours=candidate.neighbours,
        mean=fit.mean,
        scale=fit.scale,
        weights=fit.weights,
        bias=fit.bias,
        thresholds=thresholds,
        temperature=temperature,
        hidden_weights=fit.hidden_weights,
        hidden_bias=fit.hidden_bias,
    )


def _with_card(
    model: NodeClassifier,
    nuclei: str,
    names: tuple[str, ...],
    colours: dict[str, tuple[int, int, int]],
    card: dict[str, Any],
) -> NodeClassifier:
    """Return the model with colours, nuclei and card."""
    own = tuple(colours.get(name, _OKABE_ITO[number % len(_OKABE_ITO)]) for number, name in enumerate(names))
    return replace(model, colours=own, nuclei=nuclei, card=card)
