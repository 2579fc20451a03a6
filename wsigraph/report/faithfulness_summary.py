"""Faithfulness summary of a run: how often explanations beat other orders, over all slides.

The faithfulness curves of one slide say whether its own explanation names what the model uses, but one slide can be
lucky. Over a run the fraction of slides counts, with its confidence interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval
from wsigraph.store import read_document

Gains = Mapping[str, Mapping[str, float]]
"""By curve, by order: mean movement towards the reference, in standard deviations of the training outputs."""
_ABLATIONS = {"drop": "removed", "replace": "replaced by training regions of the same broad cluster and size"}
_BASELINES = {
    "random_mean": "random orders, on average",
    "area": "largest first",
    "attention": "attention",
    "gradient_x_input": "gradient x input",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaithfulnessRow:
    """One comparison of the order by attribution with another order.

    Attributes
    ----------
    ablation, order : str
        How regions are ablated, and the other order.
    n_better, n_slides : int
        Slides whose output moves further in the order of attribution, and slides compared.
    fraction, low, high : float
        Fraction of those slides with its 95 % confidence interval (Wilson).
    """

    ablation: str
    order: str
    n_better: int
    n_slides: int
    fraction: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaithfulnessSummary:
    """Faithfulness over the slides of a run.

    Attributes
    ----------
    n_explained, n_slides : int
        Explained slides, and all slides.
    rows : tuple of FaithfulnessRow
        Comparisons that at least one slide has.
    """

    n_explained: int
    n_slides: int
    rows: tuple[FaithfulnessRow, ...]


def read_gains(folder: Path) -> Gains:
    """Return the gains of all orders in the explanation of a slide.

    Parameters
    ----------
    folder : Path
        The slide's directory.

    Returns
    -------
    mapping of str to mapping of str to float
        Empty if the slide is not explained.

    Raises
    ------
    StoreError
        If the facts of the explanation are damaged.
    """
    path = folder / "explanation.json"
    if not path.exists():
        return {}
    curves: Mapping[str, Mapping[str, Mapping[str, float]]] = read_document(path)[1]["facts"]["curves"]
    return {name: curve["gain"] for name, curve in curves.items()}


def summarize_faithfulness(gains: Sequence[Gains]) -> FaithfulnessSummary:
    """Return how often the order by attribution moves the output further than other orders.

    Parameters
    ----------
    gains : sequence of mapping
        `read_gains` of every slide; slides without an explanation are only counted.

    Returns
    -------
    FaithfulnessSummary
        Counts and comparisons.
    """
    explained = [slide for slide in gains if slide]
    rows = []
    for ablation, ablation_text in _ABLATIONS.items():
        curves = [slide[ablation] for slide in explained if ablation in slide]
        for order, order_text in _BASELINES.items():
            pairs = [(curve["attribution"], curve[order]) for curve in curves if order in curve]
            if pairs:
                n_better = sum(own > other for own, other in pairs)
                low, high = wilson_confidence_interval(n_better, len(pairs))
                rows.append(
                    FaithfulnessRow(
                        ablation=ablation_text,
                        order=order_text,
                        n_better=n_better,
                        n_slides=len(pairs),
                        fraction=n_better / len(pairs),
                        low=low,
                        high=high,
                    )
                )
    return FaithfulnessSummary(n_explained=len(explained), n_slides=len(gains), rows=tuple(rows))
