"""The lower panels of report.png: measurements, stage probabilities and the survival curve.

Each function draws only on the axes that it gets.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from wsigraph.records import Prediction
from wsigraph.report.font import FONT, drawable
from wsigraph.report.slide_summary import area_label

INK = "#1f2933"
"""Colour of text."""
MUTED = "#55606b"
"""Colour of secondary text; contrast 6.4 to 1 on white."""

_BAR, _BAR_OTHER = "#0072b2", "#9cc3de"
WARNING_COLOUR = "#a33b00"
"""Colour of warnings and marks."""
_DAYS_A_YEAR = 365.25
_DAYS_A_MONTH = _DAYS_A_YEAR / 12
_MOST_WARNING_LINES = 3
_BEYOND = "beyond the curve"


def draw_facts(axes: Axes, facts: Mapping[str, Any]) -> None:
    """Write the measurements and the warnings.

    Parameters
    ----------
    axes : Axes
        Where to write.
    facts : mapping of str to value
        The slide's `wsigraph.report.slide_summary.summary`.
    """
    axes.axis("off")
    axes.set_title("Measured", fontsize=12, loc="left", color=INK, fontfamily=FONT)
    days = facts["median_survival_days"]
    artefacts = "; ".join(
        f"{artefact['name']} {artefact['mm2']:.2g} ({artefact['inside_mm2']:.2g})" for artefact in facts["artefacts"]
    )
    rows = [
        ("Pixel size", f"{facts['mpp']:.4g} µm ({facts['mpp_source']})"),
        (area_label(facts).capitalize(), f"{facts['tissue_mm2']:.3g} mm², sections: {len(facts['section_mm2'])}"),
        ("Artefacts (inside)", textwrap.shorten(f"{artefacts} mm²" if artefacts else "none", 48, placeholder=" ...")),
        ("Stain vectors", facts["stain_source"]),
        ("Nuclei", f"{facts['nuclei']['count']:,}, {facts['nuclei']['per_mm2']:,.0f} per mm²"),
        ("Regions", f"{facts['nodes']:,} of {facts['superpixels']:,} superpixels"),
        ("Model", textwrap.shorten(str(facts["model"]), 38, placeholder="...")),
        ("Risk", "not predicted" if facts["risk"] is None else f"{facts['risk']:+.2f} (log cumulative hazard)"),
    ]
    if facts["risk"] is not None:
        rows.append(("Median survival", median_text(days, facts.get("median_band_days"))))
    step = 0.085
    for row, (name, value) in enumerate(rows):
        height = 0.93 - step * row
        style: dict[str, Any] = {"fontsize": 10.5, "va": "center", "fontfamily": FONT, "transform": axes.transAxes}
        axes.text(0.0, height, name, color=MUTED, **style)
        axes.text(0.34, height, value, color=INK, parse_math=False, **style)
    lines = [line for text in facts["warnings"] for line in textwrap.wrap(f"! {text}", 66, subsequent_indent="   ")]
    if len(lines) > _MOST_WARNING_LINES:
        lines = [*lines[: _MOST_WARNING_LINES - 1], "   ... all warnings are in report.json"]
    axes.text(
        0.0,
        0.93 - step * len(rows) + 0.03,
        "\n".join(lines),
        color=WARNING_COLOUR,
        fontsize=8.8,
        va="top",
        fontfamily=FONT,
        transform=axes.transAxes,
        parse_math=False,
    )


def draw_stage(axes: Axes, prediction: Prediction) -> None:
    """Draw one bar per stage.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    prediction : Prediction
        Stage names and probabilities.
    """
    probability = prediction.stage_probability
    if not len(probability):
        _write_not_predicted(axes, _title("Stage probability", prediction), prediction)
        return
    rows = np.arange(len(probability))
    colours = [_BAR if row == int(np.argmax(probability)) else _BAR_OTHER for row in rows]
    axes.barh(rows, probability, color=colours, height=0.62)
    for row, value in zip(rows, probability, strict=True):
        axes.text(float(value) + 0.02, float(row), f"{value:.0%}", va="center", fontsize=11, color=INK, fontfamily=FONT)
    axes.set_yticks(rows, [drawable(name)[0] for name in prediction.stage_names], fontsize=11, color=INK)
    for label in axes.get_yticklabels():
        label.set_fontfamily(drawable(label.get_text())[1])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"], fontsize=9.5, color=MUTED)
    axes.set_title(_title("Stage probability", prediction), fontsize=12, loc="left", color=INK, fontfamily=FONT)
    _tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def draw_survival(axes: Axes, prediction: Prediction) -> None:
    """Draw the survival curve and, if it reaches one half, its median.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    prediction : Prediction
        Times, survival and median.
    """
    if not len(prediction.time_days):
        _write_not_predicted(axes, _title("Predicted survival", prediction), prediction)
        return
    unit, unit_days = _time_unit(float(prediction.time_days[-1]))
    time = np.concatenate([[0.0], prediction.time_days]) / unit_days
    survival = np.concatenate([[1.0], prediction.survival])
    if prediction.survival_band is not None:
        low, high = (np.concatenate([[1.0], end]) for end in prediction.survival_band)
        axes.fill_between(time, low, high, color=_BAR_OTHER, alpha=0.45, linewidth=0)
    axes.plot(time, survival, color=_BAR, linewidth=2.0, marker="o", markersize=4)
    if prediction.median_survival_days is not None:
        median = prediction.median_survival_days / unit_days
        axes.plot([0, median, median], [0.5, 0.5, 0], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
        is_early = median < 0.6 * time[-1]
        axes.text(
            median + (0.015 if is_early else -0.015) * time[-1],
            0.05,
            f"median {median:.1f} {unit}",
            ha="left" if is_early else "right",
            fontsize=10.5,
            color=INK,
            fontfamily=FONT,
        )
    axes.set_xlim(0, 1.02 * time[-1])
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"], fontsize=9.5, color=MUTED)
    axes.tick_params(axis="x", labelsize=9.5, colors=MUTED)
    axes.set_xlabel(unit, fontsize=10, color=MUTED, fontfamily=FONT)
    axes.set_title(_title("Predicted survival", prediction), fontsize=12, loc="left", color=INK, fontfamily=FONT)
    _tidy(axes)


def duration(days: float) -> str:
    """Return a time as text, in years from two years on, else in months."""
    unit, unit_days = _time_unit(days)
    return f"{days / unit_days:.1f} {unit}"


def median_text(days: float | None, band: Sequence[float | None] | None) -> str:
    """Return a median survival with the ends of its band, if it has one.

    Parameters
    ----------
    days : float or None
        Median; None where it is not reached.
    band : sequence of float or None
        Ends of the band, days, None where not reached; None for a prediction without a band.

    Returns
    -------
    str
        E.g. ``"3.2 years (2.1 years to beyond the curve)"``.
    """
    text = _BEYOND if days is None else duration(days)
    if band is None or list(band) == [None, None]:
        return text
    low, high = (_BEYOND if end is None else duration(end) for end in band)
    return f"{text} ({low} to {high})"


def _time_unit(days: float) -> tuple[str, float]:
    return ("years", _DAYS_A_YEAR) if days >= 2 * _DAYS_A_YEAR else ("months", _DAYS_A_MONTH)


def _title(text: str, prediction: Prediction) -> str:
    """Return the title of a panel, which says where its numbers are of a demonstration."""
    return f"{text} (demonstration)" if prediction.is_demonstration else text


def _write_not_predicted(axes: Axes, title: str, prediction: Prediction) -> None:
    axes.axis("off")
    axes.set_title(title, fontsize=12, loc="left", color=INK, fontfamily=FONT)
    text = f"withheld: {prediction.withheld}" if prediction.withheld else "not learned by this model"
    lines = "\n".join(textwrap.wrap(text, 46))
    axes.text(0.0, 0.9, lines, color=MUTED, fontsize=10.5, va="top", transform=axes.transAxes, parse_math=False)


def _tidy(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa5b1")
