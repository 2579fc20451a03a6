"""Charts of the page as inline SVG: bars, survival, curves.

Plain shapes and text, coloured by the page's own variables, so that they follow light and dark, print in black on
white and scale to a phone. Each carries a title and a description for readers who do not see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps
from wsigraph.records import Curves, Prediction

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 64, 14, 14, 44
_DAYS_A_YEAR = 365.25
_ORDER_WORDS = {
    "attribution": "this explanation",
    "area": "largest first",
    "attention": "attention",
    "gradient_x_input": "gradient x input",
    "random_mean": "random, mean",
}
_ORDER_STYLE = {
    "attribution": "line strong",
    "area": "line dash1",
    "attention": "line dash2",
    "gradient_x_input": "line dash3",
    "random_mean": "line faint",
}


def bars(rows: Sequence[tuple[str, float, str]], title: str, *, is_signed: bool = False) -> str:
    """Return horizontal bars.

    Parameters
    ----------
    rows : sequence of (str, float, str)
        Name, value, and the value as text.
    title : str
        Said to readers who do not see the chart.
    is_signed : bool
        Whether bars go both ways from the middle; else values are shares of one.

    Returns
    -------
    str
        An ``svg`` element.
    """
    height = 30 * len(rows) + 8
    most = max((abs(value) for _, value, _ in rows), default=1.0) or 1.0
    room = _WIDTH - 236
    zero = 150 + room / 2 if is_signed else 150
    body = []
    for number, (name, value, text) in enumerate(rows):
        y = 8 + 30 * number
        length = abs(value) / most * room / 2 if is_signed else value * room
        x = zero - length if value < 0 else zero
        kind = ("up" if value >= 0 else "down") if is_signed else "plain"
        body.append(f'<text x="142" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        body.append(f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{max(length, 0.8):.1f}" height="20" rx="2"/>')
        body.append(f'<text x="{_WIDTH - 4}" y="{y + 15}" text-anchor="end">{escape(text)}</text>')
    if is_signed:
        body.append(f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="2" y2="{height - 2}"/>')
    described = "; ".join(f"{name}: {text}" for name, _, text in rows)
    return _svg(height, title, described, body)


def survival(prediction: Prediction, steps: SurvivalSteps | None) -> str:
    """Return the predicted survival with its band, against the training cohort's Kaplan-Meier.

    Parameters
    ----------
    prediction : Prediction
        Curve, and a band where there is one.
    steps : SurvivalSteps or None
        The training cohort's.

    Returns
    -------
    str
        An ``svg`` element.
    """
    last = float(prediction.time_days[-1])
    height = 300
    frame = _Frame(last, 0.0, 1.0, height)
    days = np.concatenate([[0.0], prediction.time_days])
    body = _axes(frame, [(year * _DAYS_A_YEAR, f"{year:g}") for year in _years(last)], "years", _percent_ticks())
    if steps is not None and len(steps.time_days):
        inside = steps.time_days <= last
        at = np.concatenate([[0.0], steps.time_days[inside], [last]])
        low, middle, high = (
            np.concatenate([[1.0], part[inside], part[inside][-1:] if inside.any() else [1.0]])
            for part in (steps.low, steps.survival, steps.high)
        )
        body.append(f'<path class="cohort band" d="{frame.area(*_stairs(at, low), *_stairs(at, high))}"/>')
        body.append(f'<path class="cohort line" d="{frame.line(*_stairs(at, middle))}"/>')
    band = prediction.survival_band
    if band is not None:
        low, high = (np.concatenate([[1.0], part]) for part in band)
        body.append(f'<path class="own band" d="{frame.area(days, low, days, high)}"/>')
    alive = np.concatenate([[1.0], prediction.survival])
    body.append(f'<path class="own line strong" d="{frame.line(days, alive)}"/>')
    described = ", ".join(
        f"{day / _DAYS_A_YEAR:.1f} years {100 * share:.0f} %" for day, share in zip(days[1:], alive[1:], strict=True)
    )
    return _svg(height, "Predicted survival", described, body)


def groups(estimates: Mapping[str, SurvivalSteps]) -> str:
    """Return survival curves of groups of patients with their bands.

    Parameters
    ----------
    estimates : mapping of str to SurvivalSteps
        One or two groups; the first is drawn in full, the second dashed.

    Returns
    -------
    str
        An ``svg`` element.
    """
    last = max(float(each.time_days[-1]) if len(each.time_days) else 1.0 for each in estimates.values())
    frame = _Frame(last, 0.0, 1.0, 300)
    body = _axes(frame, [(year * _DAYS_A_YEAR, f"{year:g}") for year in _years(last)], "years", _percent_ticks())
    said = []
    for number, (name, steps) in enumerate(estimates.items()):
        at = np.concatenate([[0.0], steps.time_days, [last]])
        low, middle, high = (
            np.concatenate([[1.0], part, part[-1:] if len(part) else [1.0]])
            for part in (steps.low, steps.survival, steps.high)
        )
        kind = ("own", "cohort")[number % 2]
        body.append(f'<path class="{kind} band" d="{frame.area(*_stairs(at, low), *_stairs(at, high))}"/>')
        body.append(f'<path class="{kind} line strong" d="{frame.line(*_stairs(at, middle))}"/>')
        y = frame.y(float(middle[-1])) - 6
        body.append(f'<text x="{_WIDTH - _RIGHT - 4}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>')
        said.append(f"{name} ends at {100 * float(middle[-1]):.0f} %")
    return _svg(300, "Survival by predicted risk", ", ".join(said), body)


def curves(curve: Curves, title: str, unit: str) -> str:
    """Return what becomes of the output while regions are taken away in several orders.

    Parameters
    ----------
    curve : Curves
        One way of taking them.
    title : str
        Which way.
    unit : str
        Of the output.

    Returns
    -------
    str
        An ``svg`` element.
    """
    shown = [curve.output[name] for name in curve.output]
    low, high = float(np.min(shown)), float(np.max(shown))
    pad = 0.05 * (high - low) or 1.0
    height = 260
    frame = _Frame(float(curve.area_fraction[-1]), low - pad, high + pad, height)
    shares = np.arange(0.0, float(curve.area_fraction[-1]) + 1e-9, 0.1)
    ticks = [(float(each), f"{100 * each:.0f} %") for each in shares]
    body = _axes(frame, ticks, "share of the tissue's area taken", _round_ticks(low - pad, high + pad))
    at = curve.area_fraction
    if "random_p5" in curve.output:
        area = frame.area(at, curve.output["random_p5"], at, curve.output["random_p95"])
        body.append(f'<path class="cohort band" d="{area}"/>')
    for name, style in reversed(list(_ORDER_STYLE.items())):
        if name in curve.output:
            own = "own " if name == "attribution" else "rival "
            body.append(f'<path class="{own}{style}" d="{frame.line(at, curve.output[name])}"/>')
    described = f"{unit}; " + "; ".join(
        f"{_ORDER_WORDS[name]} moves by {gain:+.2f} standard deviations on average"
        for name, gain in curve.gain.items()
        if name in _ORDER_WORDS
    )
    return _svg(height, title, described, body)


def curve_legend(gain: Mapping[str, float]) -> str:
    """Return the key to the lines of `curves` as a list, with how far each moves the output."""
    rows = [
        f'<li><svg class="key" viewBox="0 0 34 10" aria-hidden="true"><path class="'
        f'{"own" if name == "attribution" else "rival"} {style}" d="M1 5H33"/></svg> {_ORDER_WORDS[name]} '
        f'<span class="number">{gain[name]:+.2f}</span></li>'
        for name, style in _ORDER_STYLE.items()
        if name in gain
    ]
    return f'<ul class="legend">{"".join(rows)}</ul>'


class _Frame:
    """From values to places on the drawing."""

    def __init__(self, x_max: float, y_min: float, y_max: float, height: int) -> None:
        self.x_max, self.y_min, self.y_max, self.height = x_max, y_min, y_max, height

    def x(self, value: float) -> float:
        return _LEFT + value / self.x_max * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        room = self.height - _TOP - _BOTTOM
        return _TOP + (self.y_max - value) / (self.y_max - self.y_min) * room

    def line(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
        points = [f"{self.x(float(a)):.1f} {self.y(float(b)):.1f}" for a, b in zip(x, y, strict=True)]
        return "M" + "L".join(points)

    def area(
        self, x0: NDArray[np.float64], y0: NDArray[np.float64], x1: NDArray[np.float64], y1: NDArray[np.float64]
    ) -> str:
        return self.line(np.concatenate([x0, x1[::-1]]), np.concatenate([y0, y1[::-1]])) + "Z"


def _axes(
    frame: _Frame, x_ticks: Sequence[tuple[float, str]], x_label: str, y_ticks: Sequence[tuple[float, str]]
) -> list[str]:
    floor = frame.height - _BOTTOM
    body = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>']
    for value, text in y_ticks:
        y = frame.y(value)
        body.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for value, text in x_ticks:
        # the last one would reach over the edge
        anchor = "middle" if value < 0.97 * frame.x_max else "end"
        x = frame.x(value) if anchor == "middle" else _WIDTH - 2
        body.append(f'<text x="{x:.1f}" y="{floor + 17}" text-anchor="{anchor}">{escape(text)}</text>')
    body.append(f'<text x="{_WIDTH - _RIGHT}" y="{frame.height - 5}" text-anchor="end">{escape(x_label)}</text>')
    return body


def _svg(height: int, title: str, described: str, body: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}: '
        f'{escape(described)}"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )


def _stairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]


def _round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return a few levels inside a range that are round numbers."""
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(each for each in (1, 2, 5, 10) if each * power >= rough)
    # counted in whole steps, so that a zero is a zero
    return [(n * step, f"{n * step:.6g}") for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _percent_ticks() -> list[tuple[float, str]]:
    return [(each, f"{100 * each:.0f} %") for each in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _years(last_days: float) -> list[float]:
    whole = last_days / _DAYS_A_YEAR
    step = next(each for each in (0.25, 0.5, 1, 2, 5, 10, 1e9) if whole / each <= 8)
    return [float(each) for each in np.arange(0, whole + 1e-9, step)]
