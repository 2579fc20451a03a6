"""Names in any script on a picture: a font that has the characters, or Latin letters in their place.

matplotlib's own font has no Chinese, Japanese or Korean characters, draws boxes for them and warns at each. Where an
installed font has them it is used beside matplotlib's. Else kana and Hangul are written as in their Unicode names, and
an ideograph by its code point, so that two names still differ. Pictures with such names depend on the fonts installed.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from matplotlib import font_manager, ft2font

FONT = "DejaVu Sans"
"""Font of all pictures; matplotlib brings it."""
_FAMILIES = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Source Han Sans SC", "Source Han Sans", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans",
    "Apple SD Gothic Neo", "NanumGothic", "Arial Unicode MS",
)  # fmt: skip
_NAMED = (
    "HANGUL SYLLABLE ",
    "KATAKANA LETTER ",
    "HIRAGANA LETTER ",
    "KATAKANA LETTER SMALL ",
    "HIRAGANA LETTER SMALL ",
)


def drawable(text: str) -> tuple[str, list[str]]:
    """Return a text that can be drawn, and the font families to draw it with.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    text : str
        The same where fonts have all its characters; else with the others spelled in Latin letters.
    families : list of str
        Value of matplotlib's ``fontfamily``.
    """
    missing = frozenset(sign for sign in text if not sign.isspace() and ord(sign) not in _characters(FONT))
    if not missing:
        return text, [FONT]
    for family in _FAMILIES:
        if all(ord(sign) in _characters(family) for sign in missing):
            return text, [FONT, family]
    return "".join(_spell(sign) if sign in missing else sign for sign in text), [FONT]


def _spell(sign: str) -> str:
    name = unicodedata.name(sign, "")
    for start in _NAMED:  # the longer first
        if name.startswith(start):
            return name.removeprefix(start).capitalize()
    return f"(U+{ord(sign):04X})"


@lru_cache(maxsize=64)
def _characters(family: str) -> frozenset[int]:
    """Return the code points of an installed font; none where it is not installed."""
    paths = [font.fname for font in font_manager.fontManager.ttflist if font.name == family]
    if not paths:
        return frozenset()
    return frozenset(ft2font.FT2Font(paths[0]).get_charmap())
