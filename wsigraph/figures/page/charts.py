"""Bar, faithfulness and calibration charts of the HTML pages as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsigraph.figures.page.svg import WIDTH, Frame, axes, chart, path, percent_ticks, round_ticks
from wsigraph.records import Curves

_ORDER_LABELS = {
    "attribution": "this explanation",
    "area": "largest first",
    "attention": "attention",
    "gradient_x_input": "gradient x input",
    "random_mean": "random, mean",
}
_ORDER_CLASSES = {
    "attribution": "own line strong",
    "area": "baseline line dash1",
    "attention": "baseline line dash2",
    "gradient_x_input": "baseline line dash3",
    "random_mean": "baseline line faint",
}


def bar_chart(rows: Sequence[tuple[str, float, str]], title: str, *, is_signed: bool = False) -> Markup:
    """Return horizontal bars.

    Parameters
    ----------
    rows : sequence of (str, float, str)
        Name, value, and the value as text.
    title : str
        Title for screen readers.
    is_signed : bool
        Whether bars extend to both sides of the middle; else values are fractions of one.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    height = 30 * len(rows) + 8
    largest = max((abs(value) for _, value, _ in rows), default=1.0) or 1.0
    width = WIDTH - 236
    zero = 150 + width / 2 if is_signed else 150
    body = []
    for number, (name, value, text) in enumerate(rows):
        y = 8 + 30 * number
        length = abs(value) / largest * width / 2 if is_signed else value * width
        x = zero - length if value < 0 else zero
        colour = ("up" if value >= 0 else "down") if is_signed else "plain"
        body.append(
            Markup(
                '<text x="142" y="{}" text-anchor="end">{}</text>'
                '<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="20" rx="2"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(y + 15, name, colour, x, y, max(length, 0.8), WIDTH - 4, y + 15, text)
        )
    if is_signed:
        body.append(
            Markup('<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="2" y2="{}"/>').format(zero, zero, height - 2)
        )
    return chart(height, title, "; ".join(f"{name}: {text}" for name, _, text in rows), body)


def faithfulness_chart(curve: Curves, title: str, unit: str) -> Markup:
    """Return the output while regions are ablated in several orders.

    Parameters
    ----------
    curve : Curves
        One way of ablating regions.
    title : str
        Title for screen readers.
    unit : str
        Unit of the output.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    values = list(curve.output.values())
    low, high = float(np.min(values)), float(np.max(values))
    pad = 0.05 * (high - low) or 1.0
    height = 260
    at, last = curve.area_fraction, float(curve.area_fraction[-1])
    frame = Frame(last, low - pad, high + pad, height)
    ticks = [(float(fraction), f"{100 * fraction:.0f} %") for fraction in np.arange(0.0, last + 1e-9, 0.1)]
    body = axes(frame, ticks, "ablated fraction of the tissue area", round_ticks(low - pad, high + pad))
    if "random_p5" in curve.output:
        area = frame.area(at, curve.output["random_p5"], at, curve.output["random_p95"])
        body.append(path("cohort band", area))
    for name, css_class in reversed(list(_ORDER_CLASSES.items())):
        if name in curve.output:
            body.append(path(css_class, frame.line(at, curve.output[name])))
    description = f"{unit}; " + "; ".join(
        f"{_ORDER_LABELS[name]} moves by {gain:+.2f} standard deviations on average"
        for name, gain in curve.gain.items()
        if name in _ORDER_LABELS
    )
    return chart(height, title, description, body)


def faithfulness_legend(gain: Mapping[str, float]) -> Markup:
    """Return the legend of `faithfulness_chart` as a list, with the gain of each order."""
    row = Markup(
        '<li><svg class="key" viewBox="0 0 34 10" aria-hidden="true"><path class="{}" d="M1 5H33"/></svg> {} '
        '<span class="number">{:+.2f}</span></li>'
    )
    rows = [
        row.format(css_class, _ORDER_LABELS[name], gain[name])
        for name, css_class in _ORDER_CLASSES.items()
        if name in gain
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(rows))


def calibration_chart(
    predicted: NDArray[np.float64],
    observed: NDArray[np.float64],
    *,
    label: str = "predicted probability of a higher stage",
    title: str = "Calibration of stage",
) -> Markup:
    """Return a calibration curve: observed fractions over predicted probabilities, with the diagonal.

    Parameters
    ----------
    predicted, observed : float64 (bins,)
        Mean predicted probability and observed fraction of every bin.
    label : str
        Label of the x axis.
    title : str
        Title for screen readers.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    frame = Frame(1.0, 0.0, 1.0, 300)
    body = axes(frame, percent_ticks(), label, percent_ticks())
    body.append(path("baseline line dash1", frame.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]))))
    body.append(path("own line strong", frame.line(predicted, observed)))
    pairs = list(zip(predicted.tolist(), observed.tolist(), strict=True))
    body += [
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(frame.x(x), frame.y(y)) for x, y in pairs
    ]
    description = ", ".join(f"predicted {100 * x:.0f} %, observed {100 * y:.0f} %" for x, y in pairs)
    return chart(300, title, description, body)


def decision_curve_chart(
    threshold: NDArray[np.float64], model: NDArray[np.float64], everybody: NDArray[np.float64], title: str
) -> Markup:
    """Return the net benefit of treating by the model, of treating everybody, and of treating nobody (0).

    Parameters
    ----------
    threshold : float64 (m,)
        Probabilities of the event from which a patient would be treated.
    model, everybody : float64 (m,)
        Net true positives per patient.
    title : str
        Title for screen readers.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    top = max(float(np.nanmax(model)), float(np.nanmax(everybody)), 0.05)
    low = -0.25 * top
    frame = Frame(1.0, low, 1.1 * top, 300)
    body = axes(frame, percent_ticks(), "threshold probability of the event", round_ticks(low, 1.1 * top))
    inside = everybody >= low
    body.append(path("baseline line faint", frame.line(np.array([0.0, 1.0]), np.zeros(2))))
    if inside.any():
        body.append(path("baseline line dash1", frame.line(threshold[inside], everybody[inside])))
    shown = model >= low
    if shown.any():
        body.append(path("own line strong", frame.line(threshold[shown], model[shown])))
    best = threshold[(model > everybody + 1e-12) & (model > 1e-12)]
    description = (
        f"the model is above both from {100 * best.min():.0f} to {100 * best.max():.0f} %"
        if len(best)
        else "the model is nowhere above both"
    )
    return chart(300, title, description, body)
