"""Names in any script are drawn without boxes and without a warning."""

from __future__ import annotations

import warnings

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsigraph.report.font import FONT, drawable


def test_latin_greek_and_cyrillic_stay_as_they_are() -> None:
    for name in ("CMU-1", "\u03b1\u03b2 5 \u00b5m", "\u0421\u0440\u0435\u0437"):
        assert drawable(name) == (name, [FONT])


@pytest.mark.parametrize(
    "name", ["\u80ba\u764c_03", "\u75c5\u7406\u30b9\u30e9\u30a4\u30c9", "\uc870\uc9c1 \uc808\ud3b8", "\U0001f52c a"]
)
def test_other_scripts_are_drawn_without_a_warning(name: str) -> None:
    text, families = drawable(name)
    figure = Figure()
    figure.text(0.1, 0.5, text, fontfamily=families, parse_math=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()


def test_without_a_font_letters_are_spelled_and_names_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsigraph.report.font._FAMILIES", ())
    assert drawable("\uac04 1")[0] == "Gan 1"
    assert drawable("\u30ab\u3089")[0] == "KaRa"
    assert drawable("\u809d")[0] == "(U+809D)"
    assert drawable("\u809d")[0] != drawable("\u80ba")[0]
