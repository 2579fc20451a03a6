"""Maps the cells of a clinical table to the values of a manifest: stages, events, numbers and dates.

A cell is mapped, means a missing value, or is not understood. A cell that is not understood is never guessed at: it
stays empty and is named. What a cell became is counted, so that a user can check every mapping.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsigraph.cohort.manifest.missing_values import MISSING_WORDS

DAYS_PER_UNIT = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}
"""Length of each unit of time, days."""

_MISSING = MISSING_WORDS | {
    "",
    "'--",
    "-",
    "?",
    "not reported",
    "not available",
    "not applicable",
    "not evaluated",
    "unknown",
    "unspecified",
    "missing",
    "discrepancy",
    "completed",
    "unbekannt",
    "k.a.",
    "k. a.",
    "keine angabe",
    "entfallt",
    "inconnu",
    "inconnue",
    "non precise",
    "non renseigne",
    "desconocido",
    "sconosciuto",
    "non noto",
    "onbekend",
    "unk",
    "unstaged",
    "unknown/unstaged",
    "blank",
    "blank(s)",
}
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "1": 1, "2": 2, "3": 3, "4": 4}
_STAGE_PREFIX = re.compile(
    r"^(?:(?:ajcc|uicc|figo|dukes|ann arbor|pathologic(?:al)?|clinical|tumou?r)\s+)*"
    r"(?:p?stage|stadium|stade|stadio|estadio)?\s*[:.]?\s*",
    re.IGNORECASE,
)
_STAGE = re.compile(r"(IV|I{1,3}|[1-4])\s*(?:[-_.]?\s*[ABC]\s*[1-4]?)?\s*(?:NOS|,\s*NOS|期)?\s*", re.IGNORECASE)
_STAGE_UNKNOWN = re.compile(r"(?:X|Tx|pTx)", re.IGNORECASE)
_T_CATEGORY = re.compile(
    r"(?:[yramc]*p|c|yc?)?\s*T\s*([0-4X]|is)\s*[a-d]?\d?(?:\s*\([^)]*\))?(?=$|[\s,;/NMpc])", re.IGNORECASE
)
_DIGIT_PREFIX = re.compile(r"([01])\s*[:=]\s*\S.*")
_DEAD = frozenset(
    {
        *(
            "dead",
            "deceased",
            "died",
            "death",
            "dod",
            "doc",
            "expired",
            "event",
            "events",
            "yes",
            "y",
            "true",
            "t",
            "1",
        ),
        *(
            "tot",
            "exitus",
            "ja",
            "j",
            "decede",
            "decedee",
            "dcd",
            "oui",
            "exitus letalis",
            "deceduto",
            "deceduta",
            "死亡",
        ),
        *("fallecido", "fallecida", "muerto", "muerta", "si", "progression", "progressed", "recurred", "recurrence"),
        *("relapse", "relapsed", "with event", "recurred/progressed", "overleden"),
    }
)
_ALIVE = frozenset(
    {
        *("alive", "living", "lives", "censored", "censor", "no", "n", "false", "f", "0", "ned", "awd", "diseasefree"),
        *("lebt", "lebend", "am leben", "zensiert", "zensuriert", "nein", "non", "vivo", "viva", "vivant", "vivante"),
        *("disease free", "no event", "no evidence of disease", "without event", "lost to follow-up", "levend"),
        *(
            "lost to follow up",
            "lost",
            "perdu de vue",
            "perdue de vue",
            "perso al follow-up",
            "perdido",
            "存活",
            "生存",
        ),
    }
)
_DEAD_STARTS = (
    "dead ",
    "dead,",
    "died ",
    "died,",
    "deceased ",
    "verstorben",
    "gestorben",
    "tot ",
    "decede ",
    "decedee ",
)
_ALIVE_STARTS = ("alive ", "alive,", "living ", "lebt ", "lebend ", "vivant ", "vivante ", "vivo ", "viva ")
_LEGEND = re.compile(r"\b([0-9])\s*[=:]\s*([^\W\d_][\w ]*)")
_FEMALE = frozenset({"female", "f", "w", "woman", "weiblich", "frau", "femme", "mujer", "donna", "femmina", "女"})
_MALE = frozenset({"male", "m", "man", "mannlich", "mann", "homme", "h", "hombre", "uomo", "maschio", "男"})
_PLAIN_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+")
_GROUPED_NUMBER = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class MappedCell:
    """What a cell means.

    Attributes
    ----------
    value : str or None
        The value of the manifest; None if it is missing or not understood.
    is_understood : bool
        Whether the cell is a value or a word for a missing one.
    """

    value: str | None
    is_understood: bool


MISSING = MappedCell(None, True)
UNKNOWN = MappedCell(None, False)


def plain_word(cell: str) -> str:
    """Return a cell without case, accents and double spaces, for comparison; a numeral of one sign as letters."""
    decomposed = unicodedata.normalize("NFKD", cell.strip().casefold())
    return " ".join("".join(sign for sign in decomposed if not unicodedata.combining(sign)).split())


def is_missing(cell: str) -> bool:
    """Return whether a cell is empty or a word for a missing value, such as ``[Not Available]`` or ``'--``."""
    word = plain_word(cell)
    return word in _MISSING or (word.startswith("[") and word.endswith("]") and word[1:-1] in _MISSING)


def map_stage(cell: str, stage_names: Sequence[str]) -> MappedCell:
    """Return the stage of a cell.

    Parameters
    ----------
    cell : str
        For example ``IIIA``, ``Stage IIIA``, ``3a`` or, if the stages are T categories, ``pT3b``.
    stage_names : sequence of str
        Stages of the study, such as I to IV or T1 to T4.

    Returns
    -------
    MappedCell
        One of `stage_names`, without its subdivision. A T category is no stage group: it is mapped only to stages that
        are named T1 to T4.
    """
    if cell in stage_names:
        return MappedCell(cell, True)
    if is_missing(cell):
        return MISSING
    # one sign for a Roman numeral, as in tables of East Asia, becomes letters
    bare = _STAGE_PREFIX.sub("", unicodedata.normalize("NFKC", cell).strip(), count=1).strip()
    if _STAGE_UNKNOWN.fullmatch(bare) or is_missing(re.sub(r"\s*stage$", "", bare, flags=re.IGNORECASE)):
        return MISSING
    number = t_category(cell) if _are_t_categories(stage_names) else _stage_group(bare)
    if number is None:
        return UNKNOWN
    for name in stage_names:
        if name.upper().removeprefix("P").removeprefix("T") in (_roman(number), str(number)):
            return MappedCell(name, True)
    return UNKNOWN


def t_category(cell: str) -> int | None:
    """Return the number of a T category such as ``pT3b N1``; None if the cell is none, or TX or Tis."""
    match = _T_CATEGORY.match(cell.strip())
    return int(match[1]) if match and match[1].isdigit() else None


def is_t_category(cell: str) -> bool:
    """Return whether a cell states a T category, TX and Tis included."""
    return _T_CATEGORY.match(cell.strip()) is not None


def event_legend(column: str, cells: Sequence[str]) -> dict[str, str]:
    """Return what the digits of a column of events mean: as its name says, or as 1 and 2 usually do.

    Parameters
    ----------
    column : str
        Name, for example ``Vital status (1=alive; 2=dead)``.
    cells : sequence of str
        Its cells.

    Returns
    -------
    dict of str to str
        A word for each digit; of a column of 1 and 2 alone, 1 is censored and 2 dead, as statistics programs code them;
        empty otherwise.
    """
    legend = {digit: word.strip() for digit, word in _LEGEND.findall(column)}
    if legend:
        if len(legend) == 1 and "0" in legend:
            # the other digit of the pair means the other state
            legend["1"] = {"1": "alive", "0": "dead"}.get(map_event(legend["0"]).value or "", "")
        return legend
    digits = {cell.strip().removesuffix(".0") for cell in cells if not is_missing(cell)}
    return {"1": "censored", "2": "dead"} if digits == {"1", "2"} else {}


def map_event(
    cell: str,
    event_values: Sequence[str] = (),
    *,
    is_censoring: bool = False,
    legend: Mapping[str, str] | None = None,
) -> MappedCell:
    """Return whether the event was observed.

    Parameters
    ----------
    cell : str
        For example ``1:DECEASED``, ``Dead``, ``verstorben`` or ``0``.
    event_values : sequence of str
        Cells that mean an event, compared without regard to case; then every other cell means censored. Without any,
        usual words of several languages are known.
    is_censoring : bool
        Whether the column states censoring, so that 1 means that no event was observed.
    legend : mapping of str to str, optional
        Words for digits, from `event_legend`; a digit that it lacks is not understood.

    Returns
    -------
    MappedCell
        ``1`` or ``0``.
    """
    word = plain_word(cell)
    if event_values:
        if word in {plain_word(value) for value in event_values}:
            return MappedCell("1", True)
        return MISSING if is_missing(cell) else MappedCell("0", True)
    if is_missing(cell):
        return MISSING
    if re.fullmatch(r"[0-9]\.0", word):
        word = word[0]
    if legend and re.fullmatch(r"[0-9]", word):
        return map_event(legend[word]) if word in legend else UNKNOWN
    prefix = _DIGIT_PREFIX.fullmatch(word)
    if prefix:
        observed = prefix[1] == "1"
    elif word in ("0", "1", "yes", "no", "ja", "nein", "true", "false") and is_censoring:
        return MappedCell("0" if word in ("1", "yes", "ja", "true") else "1", True)
    elif word in _DEAD or f"{word} ".startswith(_DEAD_STARTS):
        observed = True
    elif word in _ALIVE or f"{word} ".startswith(_ALIVE_STARTS):
        observed = False
    else:
        return UNKNOWN
    return MappedCell("1" if observed else "0", True)


def map_sex(cell: str) -> MappedCell:
    """Return ``female`` or ``male``; other words stay as they are."""
    if is_missing(cell):
        return MISSING
    word = plain_word(cell)
    for sex, words in (("female", _FEMALE), ("male", _MALE)):
        if word in words:
            return MappedCell(sex, True)
    return MappedCell(cell, True)


def uses_decimal_comma(cells: Sequence[str]) -> bool:
    """Return whether the numbers of a column are written with a decimal comma, such as ``12,5``."""
    return any(_COMMA_NUMBER.fullmatch(cell) and not _GROUPED_NUMBER.fullmatch(cell) for cell in cells)


def parse_number(cell: str, *, decimal_comma: bool) -> float | None:
    """Return a number.

    Parameters
    ----------
    cell : str
        For example ``1234.5``, ``12,5`` or ``1.234,5``.
    decimal_comma : bool
        Whether the column is written with decimal commas; then points divide thousands.

    Returns
    -------
    float or None
        None if it is no finite number.
    """
    text = cell.strip()
    if decimal_comma and (_COMMA_NUMBER.fullmatch(text) or re.fullmatch(r"[+-]?\d{1,3}(?:\.\d{3})+", text)):
        text = text.replace(".", "").replace(",", ".")
    elif not decimal_comma and _GROUPED_NUMBER.fullmatch(text):
        text = text.replace(",", "")
    if not _PLAIN_NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if abs(number) < float("inf") else None


def _stage_group(bare: str) -> int | None:
    match = _STAGE.fullmatch(bare)
    return _ROMAN[match[1].upper()] if match else None


def _roman(number: int) -> str:
    return {1: "I", 2: "II", 3: "III", 4: "IV"}.get(number, str(number))


def _are_t_categories(stage_names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"p?T[0-4]", name) for name in stage_names)
