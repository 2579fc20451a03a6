"""Guesses which column of a clinical table holds what: patient, stage, follow-up, event and so on.

A column is chosen by its name, in the usages of the GDC, cBioPortal, TCGA's clinical data resource, CLAM, STAMP, and
English or German hospital tables, and only if its cells fit. A guess is shown to the user and can be overridden.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsigraph.cohort.clinical.cell_values import date_order, is_missing, is_t_category, map_event, map_stage
from wsigraph.cohort.clinical.clinical_table import ClinicalTable

ROLES = ("patient", "slide", "stage", "time", "event", "time_from", "age", "sex", "grade", "site", "split")
"""What a column can hold for a study, in the order in which they are guessed."""

STAGE_GROUPS = ("I", "II", "III", "IV")
_FIT = 0.5
"""Smallest fraction of a column's filled cells that must fit its role."""

# names without case, accents and punctuation; those before come first
_NAMES: dict[str, tuple[str, ...]] = {
    "patient": (
        "patientid", "bcrpatientbarcode", "casesubmitterid", "casessubmitterid", "caseid", "patient", "case",
        "patientbarcode", "submitterid", "subjectid", "subject", "pid", "patnr", "patientnr", "patientno", "patid",
        "patientnumber", "patientennummer", "patientenid", "patientennr", "fallnummer", "fallnr", "fall", "pseudonym",
        "studienid", "studyid", "probandennummer", "probandid", "mrn", "idpatient", "id",
    ),
    "slide": (
        "slideid", "slide", "slidename", "filename", "slidefile", "file", "imagename", "imageid", "image", "wsi",
        "wsiid", "dateiname", "datei", "schnitt", "objekttrager", "scan", "path",
    ),
    "stage": (
        "stage", "ajccpathologictumorstage", "ajccpathologicstage", "diagnosesajccpathologicstage", "pathologicstage",
        "ajccstage", "uiccstage", "uicc", "tumorstage", "tumourstage", "clinicalstage", "ajccclinicalstage",
        "stadium", "uiccstadium", "tumorstadium", "figostage", "figo", "stageatdiagnosis", "tstage", "ptstage",
        "pt", "pathologict", "ajccpathologict", "diagnosesajccpathologict", "tcategory", "pathtstage", "label",
    ),
    "time": (
        "timedays", "osdays", "ostime", "osmonths", "overallsurvivalmonths", "overallsurvivaldays", "survivalmonths",
        "survivaldays", "survivaltime", "osyears", "followupdays", "followupmonths", "followupyears", "followuptime",
        "daystodeathorlastfollowup", "monate", "uberlebenszeit", "uberlebenmonate", "uberlebenszeitmonate",
        "uberlebenszeittage", "uberlebentage", "gesamtuberlebenmonate", "nachbeobachtungmonate",
        "nachbeobachtungtage", "nachbeobachtung", "followup", "survival", "time",
        "days", "months", "years", "tage", "letzterkontakt",
        "datumletzterkontakt",
        "dateoflastcontact", "lastcontact", "lastcontactdate", "dateoflastfollowup", "lastfollowup", "lastfollowupdate",
    ),
    "event": (
        "event", "osevent", "osstatus", "vitalstatus", "demographicvitalstatus", "os", "overallsurvivalstatus",
        "survivalstatus", "status", "dead", "death", "deceased", "died", "verstorben", "tod", "lebensstatus",
        "uberlebensstatus", "vital", "censorship", "censored", "censor", "zensiert", "zensur",
    ),
    "time_from": (
        "dateofdiagnosis", "diagnosisdate", "diagnosedatum", "erstdiagnose", "datumerstdiagnose", "dateofsurgery",
        "surgerydate", "opdatum", "datumop", "operationdate",
    ),
    "age": (
        "age", "ageatdiagnosis", "agediagnosis", "ageatindex", "ageatinitialpathologicdiagnosis", "diagnosisage",
        "ageyears", "alter", "alterbeidiagnose", "alterjahre", "patientage",
    ),
    "sex": ("sex", "gender", "geschlecht", "patientsex"),
    "site": (
        "site", "center", "centre", "hospital", "institution", "tissuesourcesite", "tss", "klinik", "zentrum",
        "standort", "krankenhaus", "cohort",
    ),
    "grade": (
        "grade", "grading", "histologicgrade", "histologicalgrade", "neoplasmhistologicgrade", "tumorgrade",
        "tumourgrade", "differentiation", "differenzierungsgrad",
    ),
    "split": ("split", "dataset", "subset"),
}  # fmt: skip
_GDC_TIME = ("daystodeath", "daystolastfollowup")
_CENSORING = ("censorship", "censored", "censor", "zensiert", "zensur")
_UNITS = {
    "days": ("days", "day", "tage", "tagen", "jours", "d"),
    "weeks": ("weeks", "week", "wochen"),
    "months": ("months", "month", "monate", "monaten", "mo", "mos", "mois", "meses", "mon"),
    "years": ("years", "year", "jahre", "jahren", "yrs", "y", "ans"),
}
# in these tables the unit is known though the name does not state it
_DAYS_BY_NAME = ("timedays", "ostime", "dssttime", "dsstime", "pfitime", "dfitime", *_GDC_TIME)


@dataclass(frozen=True, slots=True)
class RoleGuess:
    """The column that probably holds something.

    Attributes
    ----------
    columns : tuple of str
        The column; several if the first that is filled counts, as for days to death and to last follow-up.
    is_certain : bool
        Whether the name is a usual one for this alone, and no other column fits as well.
    """

    columns: tuple[str, ...]
    is_certain: bool


def plain_name(name: str) -> str:
    """Return the name of a column without case, accents and punctuation, for comparison."""
    decomposed = unicodedata.normalize("NFKD", name.casefold().replace("ß", "ss"))
    return re.sub(r"[^a-z0-9]", "", decomposed)


def guess_roles(table: ClinicalTable) -> dict[str, RoleGuess]:
    """Return the probable column of each role.

    Parameters
    ----------
    table : ClinicalTable
        The table.

    Returns
    -------
    dict of str to RoleGuess
        By role of `ROLES`; a role without any probable column is left out. No column has two roles.
    """
    guesses: dict[str, RoleGuess] = {}
    taken: set[str] = set()
    plain = {column: _without_domain(plain_name(column)) for column in table.columns}
    for role in ROLES:
        if role == "time" and (pair := _gdc_pair(plain)):
            guesses[role] = RoleGuess(pair, True)
            taken.update(pair)
            continue
        ranked = []
        for column in table.columns:
            rank = _rank(role, plain[column])
            if column not in taken and rank is not None and _FITS[role](table.column(column)):
                ranked.append((rank, table.columns.index(column), column))
        if ranked:
            ranked.sort()
            guesses[role] = RoleGuess((ranked[0][2],), len(ranked) == 1 or ranked[0][0] < ranked[1][0])
            taken.add(ranked[0][2])
    if "event" not in guesses:
        # follow-up without an event cannot be used, so that a column named "time" is no follow-up then
        guesses.pop("time", None)
    return guesses


def guess_unit(column: str) -> str | None:
    """Return the unit of time that the name of a column states: days, weeks, months or years; None if it states none.

    Parameters
    ----------
    column : str
        For example ``OS.months`` or ``Überlebenszeit (Tage)``.
    """
    plain = _without_domain(plain_name(column))
    if plain in _DAYS_BY_NAME:
        return "days"
    words = re.split(r"[^a-z]+", unicodedata.normalize("NFKD", column.casefold()).encode("ascii", "ignore").decode())
    for unit, names in _UNITS.items():
        if any(word in names for word in words):
            return unit
    return next((unit for unit, names in _UNITS.items() if any(plain.endswith(name) for name in names[:3])), None)


def states_censoring(column: str) -> bool:
    """Return whether a column states censoring by its name, so that its 1 means that no event was observed."""
    return plain_name(column) in _CENSORING


def _without_domain(plain: str) -> str:
    """Return a name without the table that GDC's own exports put before it."""
    for domain in ("cases", "diagnoses", "demographic", "followups"):
        if plain.startswith(domain) and len(plain) > len(domain) + 3 and plain != "casesubmitterid":
            return plain[len(domain) :]
    return plain


def _rank(role: str, plain: str) -> int | None:
    names = _NAMES[role]
    if plain in names:
        return names.index(plain)
    # a unit may follow the name, as in "Survival (months)"
    for place, name in enumerate(names):
        if role == "time" and len(name) > 3 and plain.startswith(name) and guess_unit(plain[len(name) :]):
            return place
    # names such as "Path Stage" and "Stage group"; the cells decide whether it is one
    if role == "stage" and any(word in plain for word in ("stage", "stadium")):
        return len(names)
    return None


def _gdc_pair(plain: dict[str, str]) -> tuple[str, ...]:
    by_name = {name: column for column, name in reversed(plain.items())}
    return tuple(by_name[name] for name in _GDC_TIME) if all(name in by_name for name in _GDC_TIME) else ()


def _filled(cells: Sequence[str]) -> list[str]:
    return [cell for cell in cells if not is_missing(cell)]


def _mostly(cells: Sequence[str], fits: Callable[[str], bool]) -> bool:
    filled = _filled(cells)
    return bool(filled) and sum(map(fits, filled)) >= _FIT * len(filled)


def _fits_patient(cells: Sequence[str]) -> bool:
    filled = _filled(cells)
    return bool(filled) and len(set(filled)) >= min(2, len(filled))


def _fits_stage(cells: Sequence[str]) -> bool:
    return _mostly(cells, lambda cell: map_stage(cell, STAGE_GROUPS).value is not None or is_t_category(cell))


def _fits_event(cells: Sequence[str]) -> bool:
    return _mostly(cells, lambda cell: map_event(cell).value is not None) or 1 <= len(set(_filled(cells))) <= 3


def _fits_time(cells: Sequence[str]) -> bool:
    filled = _filled(cells)
    return date_order(filled) is not None or _mostly(
        cells, lambda cell: cell.replace(",", "").replace(".", "").isdigit()
    )


_FITS: dict[str, Callable[[Sequence[str]], bool]] = {
    "patient": _fits_patient,
    "slide": _fits_patient,
    "stage": _fits_stage,
    "time": _fits_time,
    "event": _fits_event,
    "time_from": lambda cells: date_order(_filled(cells)) is not None,
    "age": lambda cells: _mostly(cells, lambda cell: cell.replace(",", ".").replace(".", "", 1).isdigit()),
    "sex": lambda cells: 1 <= len(set(_filled(cells))) <= 6,
    "site": lambda cells: 1 < len(set(_filled(cells))) <= max(2, len(cells) // 2),
    "grade": lambda cells: bool(_filled(cells)) and len(set(_filled(cells))) <= 12,
    "split": lambda cells: bool(_filled(cells)) and len(set(_filled(cells))) <= 6,
}
