"""Tables in the usages of hospitals and archives map without editing, and what is not understood is named once."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsigraph.cohort.clinical.clinical_table import read_clinical_table
from wsigraph.cohort.clinical.column_mapping import ColumnMapping, complete_mapping, guess_mapping
from wsigraph.cohort.clinical.table_mapping import MappedTable, apply_mapping
from wsigraph.errors import CohortError

CBIOPORTAL = (
    "#Patient\tSurvival\tStatus\tStage\n#x\tx\tx\tx\nPATIENT_ID\tOS_MONTHS\tOS_STATUS\tAJCC_PATHOLOGIC_TUMOR_STAGE\n"
    "P1\t12\t1:DECEASED\tSTAGE IIIA\nP2\t24\t0:LIVING\tSTAGE I\n"
)
GDC = (
    "case_submitter_id\tdemographic.vital_status\tdays_to_death\tdays_to_last_follow_up\tajcc_pathologic_stage\n"
    "P1\tDead\t365\t'--\tStage IIIA\nP2\tAlive\t'--\t730.5\tStage I\n"
)
CDR = (
    "bcr_patient_barcode,ajcc_pathologic_tumor_stage,OS,OS.time,DSS,DSS.time\n"
    "P1,Stage IIIA,1,365,1,365\nP2,Stage I,0,731,0,731\n"
)
SURVIVAL_BENCHMARK = "case_id,slide_id,age,survival_months,censorship\nP1,P1-01.svs,60,12,0\nP2,P2-01.svs,61,24,1\n"
STRANGER = "case; T-stage; OS.months; vital_status\nP1; pT3a; 12,0; dead\nP2; pT1; 24,0; alive\n"
GERMAN = (
    "Patienten-Nr;Alter;Geschlecht;UICC-Stadium;Überlebenszeit (Monate);verstorben;Klinik\n"
    "P1;60;m;IIIA;12,0;ja;Nord\nP2;61;w;I;24,0;nein;Süd\n"
)
DATES = (
    "Patient;Erstdiagnose;Letzter Kontakt;Status;Stadium\n"
    "P1;01.01.2019;01.01.2020;tot;3a\nP2;13.02.2018;13.02.2020;lebt;1\n"
)


def mapped(folder: Path, text: str, **changes: object) -> tuple[ColumnMapping, MappedTable]:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    table = read_clinical_table(path)
    mapping, doubtful = guess_mapping(table)
    assert not doubtful
    mapping = mapping.model_copy(update=changes)
    return mapping, apply_mapping(table, mapping)


@pytest.mark.parametrize("text", [CBIOPORTAL, GDC, CDR, SURVIVAL_BENCHMARK, STRANGER, GERMAN, DATES])
def test_a_usual_table_maps_without_editing(tmp_path: Path, text: str) -> None:
    mapping, result = mapped(tmp_path, text)
    assert result.faults == ()
    first, second = result.rows
    assert (first.patient, second.patient) == ("P1", "P2")
    assert (first.event, second.event) == (True, False)
    assert first.time_days == pytest.approx(365.25, abs=0.3)
    assert second.time_days == pytest.approx(730.5, abs=0.6)
    if mapping.stage:
        assert {(first.stage, second.stage)} <= {("III", "I"), ("T3", "T1")}
    else:
        assert text is SURVIVAL_BENCHMARK


def test_what_is_not_understood_is_named_by_column_and_value(tmp_path: Path) -> None:
    text = "id,stage,months,dead\na1,pT2,12,yes\na2,III,-3,maybe\na3,foo,12,no\na4,foo,3,no\na5,II,3,no\n"
    _, result = mapped(tmp_path, text)
    assert [fault.partition(";")[0] for fault in result.faults] == [
        "stage (column 'stage'): 'foo' 2 x, 'pT2' 1 x",
        "event (column 'dead'): 'maybe' 1 x",
        "time (column 'months'): '-3' 1 x",
    ]
    assert "map a value with --map 'stage:foo=VALUE'" in result.faults[0]
    values = {"stage": {"foo": "IV", "pT2": ""}, "event": {"maybe": ""}, "time": {"-3": ""}}
    _, corrected = mapped(tmp_path, text, values=values)
    assert corrected.faults == ()
    assert [row.stage for row in corrected.rows] == [None, "III", "IV", "IV", "II"]


def test_every_value_is_counted(tmp_path: Path) -> None:
    _, result = mapped(tmp_path, GERMAN)
    counted = {(count.role, count.cell): (count.value, count.count) for count in result.counts}
    assert counted["stage", "IIIA"] == ("III", 1)
    assert counted["time", "numbers"] == ("days", 2)
    assert counted["sex", "w"] == ("female", 1)
    assert result.rows[0].free == {"age": "60", "sex": "male"}


def test_rows_of_a_patient_may_not_contradict_each_other(tmp_path: Path) -> None:
    _, result = mapped(tmp_path, "id,stage,months,dead\na,I,12,yes\na,II,12,yes\nb,I,1,no\n,I,1,no\n")
    assert result.faults[0].startswith("patient: 1 rows name none")
    assert result.faults[1].startswith("stage: 1 patients have rows that contradict each other (a)")


def test_an_unknown_unit_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,followup,dead\na,12,yes\nb,3,no\n", encoding="utf-8")
    table = read_clinical_table(path)
    mapping, doubtful = guess_mapping(table)
    assert doubtful == ["time_unit"]
    with pytest.raises(CohortError, match=r"the unit of 'followup' is not known.*--time-unit"):
        apply_mapping(table, mapping)
    years = apply_mapping(table, mapping.model_copy(update={"time_unit": "years"}))
    assert years.rows[0].time_days == pytest.approx(12 * 365.25)


def test_dates_need_a_first_date_and_an_order(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,last contact,dead\na,01/02/2020,yes\nb,02/03/2020,no\n", encoding="utf-8")
    table = read_clinical_table(path)
    assert guess_mapping(table)[1] == ["date_order", "time_from"]
    mapping, unknown = complete_mapping(table, ColumnMapping(patient="id", time=("last contact",), date_order="dmy"))
    assert unknown == ["time_from"]
    with pytest.raises(CohortError, match="--time-from"):
        apply_mapping(table, mapping)
