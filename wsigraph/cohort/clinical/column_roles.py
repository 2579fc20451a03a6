"""Guesses which column of a clinical table holds what: patient, stage, follow-up, event and so on.

A column is chosen by its name, in the usages of the GDC, cBioPortal, TCGA's clinical data resource, CLAM, STAMP, and
English or German hospital tables, and only if its cells fit. A guess is shown to the user and can be overridden.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsigraph.cohort.clinical.cell_dates import date_order
from wsigraph.cohort.clinical.cell_values import is_missing, is_t_category, map_event, map_stage
from wsigraph.cohort.clinical.clinical_table import ClinicalTable

ROLES = ("patient", "slide", "stage", "time", "event", "time_from", "age", "sex", "grade", "site", "split")
"""What a column can hold for a study, in the order in which they are guessed."""

STAGE_GROUPS = ("I", "II", "III", "IV")
_FIT = 0.5
"""Smallest fraction of a column's filled cells that must fit its role."""

# names without case, accents and punctuation; those before come first
_NAMES: dict[str, tuple[str, ...]] = {
    "patient": (
        "patientid", "bcrpatientbarcode", "casesubmitterid", "casessubmitterid", "submitterid", "caseid", "patient",
        "case", "patientbarcode", "subjectid", "subject", "pid", "patnr", "patientnr", "patientno", "patid",
        "patientnumber", "patientennummer", "patientenid", "patientennr", "fallnummer", "fallnr", "fall", "pseudonym",
        "studienid", "studyid", "probandennummer", "probandid", "mrn", "idpatient",
        "npatient", "nopatient", "numeropatient", "numerodepatient", "numpatient", "ipp", "nip", "pat", "patientcode",
        "studynumber", "studyno", "participant", "participantid", "usubjid", "recordid", "paziente", "idpaziente",
        "codicepaziente", "paciente", "idpaciente", "nhc", "patientnummer", "caseno",
        "casenumber", "hospitalno", "hospitalnumber", "住院号", "病案号", "病例号", "患者编号", "患者", "编号", "id",
    ),
    "slide": (
        "slideid", "slide", "slidename", "filename", "slidefile", "file", "imagename", "imageid", "image", "wsi",
        "wsiid", "dateiname", "datei", "schnitt", "objekttrager", "scan", "path",
    ),
    "stage": (
        "stage", "ajccpathologictumorstage", "ajccpathologicstage", "diagnosesajccpathologicstage", "pathologicstage",
        "ajccstage", "uiccstage", "uicc", "tumorstage", "tumourstage", "clinicalstage", "ajccclinicalstage",
        "stadium", "uiccstadium", "tumorstadium", "figostage", "figo", "stageatdiagnosis", "tstage", "ptstage",
        "stade", "stadio", "estadio", "分期", "tnm分期", "临床分期", "病理分期", "pt", "pathologict", "patht",
        "ajccpathologict", "diagnosesajccpathologict",
        "tcategory", "pathtstage", "ptnm", "tnm", "label",
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
        "datedesdernieresnouvelles", "datedernieresnouvelles", "datededernieresnouvelles", "datelastfu", "dateoflastfu",
        "fechaultimocontacto", "dataultimocontatto", "ost", "fu", "suivi", "survie", "duree",
        "duration", "durations", "生存时间", "总生存期", "生存期", "随访时间",
    ),
    "event": (
        "event", "osevent", "osstatus", "vitalstatus", "demographicvitalstatus", "os", "overallsurvivalstatus",
        "survivalstatus", "status", "dead", "death", "deceased", "died", "verstorben", "tod", "lebensstatus",
        "uberlebensstatus", "vital", "ose", "outcome", "observed", "eventobserved", "statutvital", "etatvital",
        "etatauxdernieresnouvelles",
        "statut", "deces", "estadovital", "statovitale", "esito", "exitus", "生存状态", "结局", "死亡", "censorship",
        "censored", "censor", "zensiert", "zensur",
    ),
    "time_from": (
        "dateofdiagnosis", "diagnosisdate", "diagnosedatum", "erstdiagnose", "datumerstdiagnose", "dateofsurgery",
        "surgerydate", "opdatum", "datumop", "operationdate", "dateofdx", "dxdate", "datedx", "diagnosedatum",
        "datumdiagnose", "datedudiagnostic", "datediagnostic", "fechadiagnostico", "datadiagnosi", "datedechirurgie",
    ),
    "age": (
        "age", "ageatdiagnosis", "agediagnosis", "ageatindex", "ageatinitialpathologicdiagnosis", "diagnosisage",
        "ageyears", "alter", "alterbeidiagnose", "alterjahre", "patientage", "ageatdx", "ageaudiagnostic", "edad",
        "eta",
    ),
    "sex": ("sex", "gender", "geschlecht", "patientsex", "sexe", "sexo", "sesso", "mw", "wm", "mf", "性别"),
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
_DEATH = (
    "daystodeath", "deathdaysto", "dateofdeath", "deathdate", "todesdatum", "sterbedatum", "datumtod", "datededeces",
    "datedeces", "fechadeexitus", "fechademuerte", "datadecesso",
)  # fmt: skip
_CONTACT = (
    "daystolastfollowup", "lastcontactdaysto", "dateoflastcontact", "lastcontact", "lastcontactdate",
    "dateoflastfollowup", "lastfollowup", "lastfollowupdate", "letzterkontakt", "datumletzterkontakt",
    "datedesdernieresnouvelles", "datededernieresnouvelles", "datedernieresnouvelles", "datelastfu", "dateoflastfu",
    "fechaultimocontacto", "dataultimocontatto",
)  # fmt: skip
"""Names of the end of follow-up of the dead and of the others; the first that is filled counts."""
_LAST_DAY = re.compile(r"last|letzt|dernier|ultim|laatst")
_FIRST_DAY = re.compile(r"diagn|dx|surgery|resection|opdat|datop|chirurg|baseline|inclusion")
_DAY_OF_DEATH = re.compile(r"death|deces|exitus|todesd|sterbed|overlij|muerte|fallec")
"""Parts of the names of columns of dates in several languages; the cells must be dates."""
_OTHER_ENDPOINT = re.compile(
    r"dss|pfs|pfi|dfs|dfi|rfs|efs|disease|progression|free|recur|relapse|rezidiv|tumou?rstatus"
)
_FOLLOWED = re.compile(
    r"survival|followup|overall|uberleben|nachbeobachtung|suivi|survie|seguimiento|sopravvivenza|^fu|^os|supervivencia|生存|随访"
)
_STATED_EVENT = re.compile(r"^(?:vital|status|survivalstatus|outcome|etat|statut|stato|estado)")
_CENSORING = ("censorship", "censored", "censor", "zensiert", "zensur")
_UNITS = {
    "days": ("days", "day", "tage", "tagen", "jours", "dias", "giorni", "dagen", "d"),
    "weeks": ("weeks", "week", "wochen", "semanas", "settimane", "weken"),
    "months": ("months", "month", "monate", "monaten", "mo", "mos", "mois", "meses", "mesi", "maanden", "mon"),
    "years": ("years", "year", "jahre", "jahren", "yrs", "y", "ans", "anni", "jaar"),
}
_SIGNS = {"天": "days", "日": "days", "周": "weeks", "月": "months", "年": "years"}
# in these tables the unit is known though the name does not state it
_DAYS_BY_NAME = ("timedays", "ostime", "dssttime", "dsstime", "pfitime", "dfitime", *_DEATH[:2], *_CONTACT[:2])


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
    return re.sub(r"[\W_]", "", decomposed)


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
        if role == "time" and (pair := _death_and_contact(plain, table)):
            guesses[role] = RoleGuess(pair, True)
            taken.update(pair)
            continue
        if role == "event" and (own := _event_of(guesses.get("time"), plain, table)):
            guesses[role] = RoleGuess((own,), True)
            taken.add(own)
            continue
        ranked = []
        for column in table.columns:
            rank = _rank(role, plain[column], guess_unit(column))
            if column not in taken and rank is not None and _FITS[role](table.column(column)):
                ranked.append((rank, table.columns.index(column), column))
        if ranked:
            ranked.sort()
            guesses[role] = RoleGuess((ranked[0][2],), len(ranked) == 1 or ranked[0][0] < ranked[1][0])
            taken.add(ranked[0][2])
    if "patient" not in guesses and (unnamed := _names_each_row(table, taken)):
        guesses["patient"] = RoleGuess((unnamed,), False)
    if "event" not in guesses and "time" in guesses and len(guesses["time"].columns) > 1:
        # who has a date of death has died
        guesses["event"] = RoleGuess(guesses["time"].columns[:1], True)
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
    if plain[-1:] in _SIGNS:
        return _SIGNS[plain[-1]]
    return next((unit for unit, names in _UNITS.items() if any(plain.endswith(name) for name in names[:3])), None)


def states_censoring(column: str) -> bool:
    """Return whether a column states censoring by its name, so that its 1 means that no event was observed."""
    return plain_name(column) in _CENSORING


def _without_domain(plain: str) -> str:
    """Return a name without the table that GDC's own exports put before it."""
    for domain in ("cases", "diagnoses", "demographic", "followups"):
        if plain.startswith(domain) and len(plain) > len(domain) + 3 and plain != "casesubmitterid":
            bare = plain[len(domain) :]
            # a diagnosis has an id of its own, which is not the patient's
            return plain if bare == "submitterid" and domain != "cases" else bare
    return plain


def _rank(role: str, plain: str, unit: str | None) -> int | None:
    names = _NAMES[role]
    if plain in names:
        return names.index(plain)
    # a unit may follow the name, as in "Survival (months)"
    for place, name in enumerate(names):
        if role == "time" and len(name) > 3 and plain.startswith(name) and guess_unit(plain[len(name) :]):
            return place
    if role == "time" and unit and _FOLLOWED.search(plain) and not _OTHER_ENDPOINT.search(plain):
        return len(names)
    if role == "time" and _LAST_DAY.search(plain):
        return len(names)
    if role == "time_from" and _FIRST_DAY.search(plain):
        return len(names)
    if role == "event" and _STATED_EVENT.search(plain) and not _OTHER_ENDPOINT.search(plain):
        return len(names)
    # names such as "Path Stage" and "Stage group"; the cells decide whether it is one
    if role == "stage" and any(word in plain for word in ("stage", "stadium", "stade", "stadio", "estadio")):
        # a group is a stage before a T category is one
        return names.index("pt")
    return None


def _names_each_row(table: ClinicalTable, taken: set[str]) -> str | None:
    """Return the first column whose cells are all there, all different, and neither dates nor fractions."""
    for column in table.columns:
        cells = table.column(column)
        plain = column not in taken and not any(map(is_missing, cells)) and len(set(cells)) == len(cells) > 1
        if plain and date_order(cells) is None and not any(re.fullmatch(r"\d+[.,]\d+", cell) for cell in cells):
            return column
    return None


def _death_and_contact(plain: dict[str, str], table: ClinicalTable) -> tuple[str, ...]:
    """Return the columns of death and of last contact, where there are both and no column holds follow-up itself."""
    if any(name in ("ostime", "osdays", "osmonths", "timedays", "osyears") for name in plain.values()):
        return ()
    pair = []
    for names, part in ((_DEATH, _DAY_OF_DEATH), (_CONTACT, _LAST_DAY)):
        ranked = sorted((names.index(name), place, column)
                        for place, (column, name) in enumerate(plain.items()) if name in names)  # fmt: skip
        likely = (column for column, name in plain.items()
                  if part.search(name) and date_order(_filled(table.column(column))) is not None)  # fmt: skip
        pair += [column for _, _, column in ranked[:1]] or [column for column in likely if column not in pair][:1]
    return tuple(pair) if len(pair) == 2 else ()


def _event_of(time: RoleGuess | None, plain: dict[str, str], table: ClinicalTable) -> str | None:
    """Return the column of the event that is named as the follow-up is: ``OS`` or ``OS_STATUS`` beside ``OS.time``."""
    if time is None or not (match := re.match(r"(os|dss|pfs|pfi|dfs|dfi|rfs)(?:time|days|months|years|t)$",
                                              plain[time.columns[0]])):  # fmt: skip
        return None
    for name in (f"{match[1]}status", f"{match[1]}event", f"{match[1]}e", match[1]):
        for column, own in plain.items():
            if own == name and _FITS["event"](table.column(column)):
                return column
    return None


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
    few = len(set(_filled(cells)))
    return _mostly(cells, lambda cell: map_event(cell).value is not None) or 1 <= few <= 3


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
