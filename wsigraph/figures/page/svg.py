"""Parts of an inline SVG chart: a coordinate frame, axes, ticks and the element itself.

Charts use plain shapes and text in the colours of the stylesheet, so they follow light and dark mode, print in black on
white and scale to a phone. Each chart has a title and a description for screen readers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 520, 64, 14, 14, 44
"""Width and margins of a chart, px."""
DAYS_PER_YEAR = 365.25


class Frame:
    """Maps values to coordinates of the chart, px.

    Parameters
    ----------
    x_max : float
        Right end of the x axis, which starts at 0.
    y_min, y_max : float
        Ends of the y axis.
    height : float
        Height of the chart, px.
    """

    def __init__(self, x_max: float, y_min: float, y_max: float, height: float) -> None:
        self.x_max, self.y_min, self.y_max, self.height = x_max, y_min, y_max, height

    def x(self, value: float) -> float:
        """Return the x coordinate of a value."""
        return LEFT + value / self.x_max * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the y coordinate of a value."""
        height = self.height - TOP - BOTTOM
        return TOP + (self.y_max - value) / (self.y_max - self.y_min) * height

    def line(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
        """Return the path of a line through points, the ``d`` of a path element."""
        points = [f"{self.x(float(a)):.1f} {self.y(float(b)):.1f}" for a, b in zip(x, y, strict=True)]
        return "M" + "L".join(points)

    def area(
        self, x0: NDArray[np.float64], y0: NDArray[np.float64], x1: NDArray[np.float64], y1: NDArray[np.float64]
    ) -> str:
        """Return the path of the area between two lines."""
        return self.line(np.concatenate([x0, x1[::-1]]), np.concatenate([y0, y1[::-1]])) + "Z"


def axes(
    frame: Frame, x_ticks: Sequence[tuple[float, str]], x_label: str, y_ticks: Sequence[tuple[float, str]]
) -> list[Markup]:
    """Return the elements of both axes: lines, ticks and the label of the x axis."""
    floor = frame.height - BOTTOM
    body = [Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, WIDTH - RIGHT, floor, floor)]
    for value, text in y_ticks:
        y = frame.y(value)
        body.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
        )
        body.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, y + 4, text))
    for value, text in x_ticks:
        # the last label would extend beyond the edge
        anchor = "middle" if value < 0.97 * frame.x_max else "end"
        x = frame.x(value) if anchor == "middle" else WIDTH - 2
        body.append(Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x, floor + 17, anchor, text))
    body.append(
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(WIDTH - RIGHT, frame.height - 5, x_label)
    )
    return body


def path(css_class: str, d: str) -> Markup:
    """Return a path element."""
    return Markup('<path class="{}" d="{}"/>').format(css_class, d)


def chart(height: float, title: str, description: str, body: Sequence[Markup]) -> Markup:
    """Return the ``svg`` element of a chart; title and description are for screen readers."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}: {}"><title>{}</title>{}</svg>'
    ).format(WIDTH, height, title, description, title, Markup("").join(body))


def stairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a step function that changes at `x`."""
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]


def round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return a few round numbers inside a range, with their text."""
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    # multiples of the step, so that zero is exact
    return [(n * step, f"{n * step:.6g}") for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def percent_ticks() -> list[tuple[float, str]]:
    """Return ticks at every quarter from 0 to 100 %."""
    return [(value, f"{100 * value:.0f} %") for value in (0.0, 0.25, 0.5, 0.75, 1.0)]


def year_ticks(last_days: float) -> list[tuple[float, str]]:
    """Return ticks in years for an axis in days."""
    years = last_days / DAYS_PER_YEAR
    step = next(size for size in (0.25, 0.5, 1, 2, 5, 10, 1e9) if years / size <= 8)
    return [(float(year) * DAYS_PER_YEAR, f"{year:g}") for year in np.arange(0, years + 1e-9, step)]
