"""Whether the explanations of a run hold: how the orders by attribution did against others, over all slides.

A slide's faithfulness curves say whether its own explanation names what the model rests on; one slide can be lucky.
Over a run it is the share of slides counts, with what chance leaves open of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from wsigraph.cohort.metrics.proportion_interval import wilson
from wsigraph.store import read_document

Gains = Mapping[str, Mapping[str, float]]
"""By curve, by order: mean movement towards the baseline, in standard deviations of the training outputs."""
_WAYS = {"drop": "left out", "replace": "replaced by training regions of their broad kind and size"}
_RIVALS = {
    "random_mean": "random orders, on average",
    "area": "largest first",
    "attention": "attention",
    "gradient_x_input": "gradient x input",
}


def gains(folder: Path) -> Gains:
    """Return how the orders of a slide's explanation did.

    Parameters
    ----------
    folder : Path
        The slide's directory.

    Returns
    -------
    mapping of str to mapping of str to float
        Empty where the slide is not explained.

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


def holding(found: Sequence[Gains]) -> str:
    """Return a table of how often the order by attribution moved the output further than another did.

    Parameters
    ----------
    found : sequence of mapping
        `gains` of every slide; those without an explanation are counted and left out.

    Returns
    -------
    str
        HTML.
    """
    explained = [each for each in found if each]
    if not explained:
        return "<p>No slide is explained; run wsigraph explain.</p>"
    rows = []
    for way, told in _WAYS.items():
        curves = [each[way] for each in explained if way in each]
        for rival, name in _RIVALS.items():
            pairs = [(curve["attribution"], curve[rival]) for curve in curves if rival in curve]
            if pairs:
                hits = sum(own > other for own, other in pairs)
                low, high = wilson(hits, len(pairs))
                rows.append(
                    f"<tr><td>{escape(told)}</td><td>{escape(name)}</td><td class=number>{hits} of {len(pairs)}</td>"
                    f"<td class=number>{hits / len(pairs):.2f} ({low:.2f} to {high:.2f})</td></tr>"
                )
    return (
        f"<p>{len(explained)} of {len(found)} slides are explained. Regions are taken away by their attribution, or in "
        "another order; counted are the slides whose output moves further towards its baseline by attribution.</p>"
        '<div class="scroll"><table><thead><tr><th>regions are</th><th>against</th><th class=number>slides</th>'
        f"<th class=number>share (95 %)</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
