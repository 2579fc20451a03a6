"""Clinical tables as archives, tools and hospitals of several countries write them, each with what it means.

The truth was written down beside each table before the table was ever read by the program. A cell is right if it has
the value that is stated here; where that is None, it must be empty.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

Truth = tuple[str, str | None, float | None, bool | None]
"""Patient, stage, follow-up in days, event."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A table: text or rows of a sheet, its encoding, what it means, and the cells that must be named as unmapped."""

    name: str
    text: str | tuple[tuple[object, ...], ...]
    truth: tuple[Truth, ...]
    unmapped: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def write(self, folder: Path) -> Path:
        """Write the table; return its path."""
        if isinstance(self.text, str):
            path = folder / f"{self.name}.csv"
            path.write_bytes(self.text.encode(self.encoding))
            return path
        import openpyxl

        book = openpyxl.Workbook()
        for row in self.text:
            book.active.append(list(row))
        path = folder / f"{self.name}.xlsx"
        book.save(path)
        return path


MONTH, YEAR = 365.25 / 12, 365.25


def date(text: str) -> datetime.datetime:
    """Return a date as a cell of Excel."""
    return datetime.datetime.fromisoformat(text)


GDC = Stranger(
    "gdc",
    "project.project_id\tcases.case_id\tcases.submitter_id\tdemographic.gender\tdemographic.vital_status\t"
    "demographic.days_to_death\tdiagnoses.age_at_diagnosis\tdiagnoses.ajcc_pathologic_stage\t"
    "diagnoses.ajcc_pathologic_t\tdiagnoses.days_to_last_follow_up\tdiagnoses.diagnosis_is_primary_disease\t"
    "treatments.treatment_type\n"
    "TCGA-KIRC\t0a1b\tTCGA-B0-4688\tfemale\tAlive\t'--\t'--\t'--\t'--\t'--\tfalse\tSurgery, NOS\n"
    "TCGA-KIRC\t0a1b\tTCGA-B0-4688\tfemale\tAlive\t'--\t21915\tStage IIIA\tT3a\t1500\ttrue\tPharmaceutical Therapy\n"
    "TCGA-KIRC\t0a1c\tTCGA-B0-4690\tmale\tDead\t333\t25000\tStage IV\tT3b\t'--\ttrue\tRadiation Therapy, NOS\n"
    "TCGA-KIRC\t0a1c\tTCGA-B0-4690\tmale\tDead\t333\t25000\tStage IV\tT3b\t'--\ttrue\tSurgery, NOS\n"
    "TCGA-KIRC\t0a1d\tTCGA-CJ-4634\tmale\tNot Reported\t'--\t19999\tNot Reported\tTX\t12.0\ttrue\t'--\n"
    "TCGA-KIRC\t0a1e\tTCGA-CJ-4635\tmale\tAlive\t'--\t20100\tStage X\tT1a\t2001\ttrue\t'--\n"
    "TCGA-KIRC\t0a1f\tTCGA-CJ-4636\tfemale\tDead\t15\t20200\tStage II\tT2\t15\ttrue\t'--\n",
    (
        ("TCGA-B0-4688", "III", 1500, False),
        ("TCGA-B0-4690", "IV", 333, True),
        ("TCGA-CJ-4634", None, 12, None),
        ("TCGA-CJ-4635", None, 2001, False),
        ("TCGA-CJ-4636", "II", 15, True),
    ),
)

CBIOPORTAL = Stranger(
    "cbioportal",
    "#Patient Identifier\tSex\tDiagnosis Age\tNeoplasm Disease Stage\tTumor Stage Code\tOverall Survival Status\t"
    "Overall Survival (Months)\tDisease Free Status\tDisease Free (Months)\n"
    "#Identifier to uniquely specify a patient.\tSex\tAge at diagnosis\tStage\tT\tStatus\tMonths\tStatus\tMonths\n"
    "#STRING\tSTRING\tNUMBER\tSTRING\tSTRING\tSTRING\tNUMBER\tSTRING\tNUMBER\n#1\t1\t1\t1\t1\t1\t1\t1\t1\n"
    "PATIENT_ID\tSEX\tAGE\tAJCC_PATHOLOGIC_TUMOR_STAGE\tPATH_T_STAGE\tOS_STATUS\tOS_MONTHS\tDFS_STATUS\tDFS_MONTHS\n"
    "TCGA-A1-A0SB\tFemale\t70\tSTAGE I\tT1C\t0:LIVING\t8.51\t0:DiseaseFree\t8.51\n"
    "TCGA-A1-A0SD\tFemale\t59\tSTAGE IIA\tT2\t0:LIVING\t14.36\t1:Recurred/Progressed\t10.00\n"
    "TCGA-A1-A0SK\tFemale\t54\tSTAGE IIIC\tT2\t1:DECEASED\t31.77\t\t\n"
    "TCGA-A1-A0SO\tFemale\t67\tSTAGE X\tT2\t0:LIVING\t[Not Available]\t[Not Available]\t[Not Available]\n",
    (
        ("TCGA-A1-A0SB", "I", 8.51 * MONTH, False),
        ("TCGA-A1-A0SD", "II", 14.36 * MONTH, False),
        ("TCGA-A1-A0SK", "III", 31.77 * MONTH, True),
        ("TCGA-A1-A0SO", None, None, False),
    ),
)

CDR = Stranger(
    "tcga_cdr",
    (
        (None, "bcr_patient_barcode", "type", "age_at_initial_pathologic_diagnosis", "gender",
         "ajcc_pathologic_tumor_stage", "clinical_stage", "vital_status", "tumor_status", "last_contact_days_to",
         "death_days_to", "OS", "OS.time", "DSS", "DSS.time", "PFI", "PFI.time"),
        (1, "TCGA-OR-A5J1", "ACC", 58, "MALE", "Stage II", "[Not Applicable]", "Dead", "WITH TUMOR", None, 1355, 1,
         1355, 1, 1355, 1, 754),
        (2, "TCGA-OR-A5J2", "ACC", 44, "FEMALE", "Stage IV", "[Not Applicable]", "Dead", "WITH TUMOR", None, 1677, 1,
         1677, 1, 1677, 1, 289),
        (3, "TCGA-OR-A5J3", "ACC", 23, "FEMALE", "Stage IIIC", "[Not Applicable]", "Alive", "WITH TUMOR", 2091, None,
         0, 2091, 0, 2091, 1, 53),
        (4, "TCGA-OR-A5J4", "ACC", 23, "FEMALE", "[Discrepancy]", "[Not Applicable]", "Alive", "#N/A", "#N/A", "#N/A",
         "#N/A", "#N/A", "#N/A", "#N/A", "#N/A", "#N/A"),
        (5, "TCGA-OR-A5J5", "ACC", 30, "MALE", "[Not Available]", "[Not Applicable]", "Dead", "WITH TUMOR", None, 365,
         1, 365.0, 1, 365, 1, 50),
    ),
    (
        ("TCGA-OR-A5J1", "II", 1355, True),
        ("TCGA-OR-A5J2", "IV", 1677, True),
        ("TCGA-OR-A5J3", "III", 2091, False),
        ("TCGA-OR-A5J4", None, None, None),
        ("TCGA-OR-A5J5", None, 365, True),
    ),
)  # fmt: skip

STAMP = Stranger(
    "stamp",
    (
        ("PATIENT", "FILENAME", "GENDER", "AGE", "AJCC_STAGE", "isMSIH", "OS_E", "OS_T"),
        ("P_001", "P_001_A.h5", "M", 61, "Ⅱ", "MSIH", 1, 801),
        ("P_002", "P_002_A.h5", "F", 70, "Ⅲ", "nonMSIH", 0, 1410),
        ("P_003", "P_003_A.h5", "F", 55, "Ⅳ", "nonMSIH", 1, 99),
        ("P_004", "P_004_A.h5", "M", 48, "\u2160", "NaN", 0, 2000),
        (None, None, None, None, None, None, None, None),
        (None, None, None, None, None, None, None, None),
    ),
    (
        ("P_001", "II", 801, True),
        ("P_002", "III", 1410, False),
        ("P_003", "IV", 99, True),
        ("P_004", "I", 2000, False),
    ),
)

CLAM = Stranger(
    "mcat",
    ",case_id,slide_id,site,is_female,oncotree_code,age,survival_months,censorship,train,ACTN1_rnaseq\n"
    "0,TCGA-2V-A95S,TCGA-2V-A95S-01Z-00-DX1.svs,2V,0,HCC,60,0.0,1,1.0,1.2\n"
    "1,TCGA-2Y-A9GS,TCGA-2Y-A9GS-01Z-00-DX1.svs,2Y,0,HCC,58,23.79,0,1.0,-0.3\n"
    "2,TCGA-2Y-A9GT,TCGA-2Y-A9GT-01Z-00-DX1.svs,2Y,0,HCC,51,53.35,0,0.0,0.4\n"
    "3,TCGA-2Y-A9GU,TCGA-2Y-A9GU-01Z-00-DX1.svs,2Y,1,HCC,55,63.63,1,1.0,0.9\n",
    (
        ("TCGA-2V-A95S", None, 0.0, False),
        ("TCGA-2Y-A9GS", None, 23.79 * MONTH, True),
        ("TCGA-2Y-A9GT", None, 53.35 * MONTH, True),
        ("TCGA-2Y-A9GU", None, 63.63 * MONTH, False),
    ),
)

FRENCH = Stranger(
    "centre_francais",
    "N° patient;Sexe;Âge au diagnostic;Stade;Date du diagnostic;Date des dernières nouvelles;"
    "État aux dernières nouvelles;Centre\r\n"
    "0012;H;61,5;Stade IIb;03/02/2015;15/06/2018;Décédé;Lyon\r\n"
    "0013;F;70;Stade I;14/03/2016;14/03/2021;Vivant;Lyon\r\n"
    "0014;F;55,2;III a;02/11/2014;30/11/2015;décédée;Nancy\r\n"
    "0015;H;48;non précisé;07/07/2017;08/07/2019;perdu de vue;Nancy\r\n"
    "0016;H;66;IV;01/12/2013;01/03/2014;DCD;Nancy\r\n"
    "0017;F;59;2;05/05/2016;;Vivante;Lyon\r\n"
    ";;;;;;;\r\n;;;;;;;\r\n",
    (
        ("0012", "II", 1228, True),
        ("0013", "I", 1826, False),
        ("0014", "III", 393, True),
        ("0015", None, 731, False),
        ("0016", "IV", 90, True),
        ("0017", "II", None, False),
    ),
    encoding="cp1252",
)

GERMAN = Stranger(
    "tumorregister",
    (
        ("Klinisches Krebsregister: Auszug Nierenzellkarzinom", None, None, None, None, None, None, None),
        (None, None, None, None, None, None, None, None),
        ("Pat.-ID", "m/w", "Geb.-Datum", "Diagnosedatum", "pTNM", "UICC", "Todesdatum", "Letzter Kontakt"),
        ("K-17", "w", date("1950-05-01"), date("2014-03-01"), "pT2a pN0 M0", "II", date("2016-03-01"), None),
        ("K-18", "m", date("1961-01-31"), date("2015-06-15"), "pT3b pN0 cM0", "IIIb", None, date("2020-06-15")),
        ("K-19", "m", date("1944-12-24"), date("2013-01-10"), "pT1a pNX", "Ia", None, date("2019-01-10")),
        ("K-20", "w", date("1939-08-08"), date("2016-10-10"), "pT4 pN1 M1", "IV", date("2017-01-08"),
         date("2016-12-20")),
        ("K-21", "w", date("1958-08-08"), date("2018-10-10"), "pTX", "k. A.", None, date("2018-11-09")),
        (None, None, None, None, None, None, None, None),
        ("Stand: 01.02.2023", None, None, None, None, None, None, None),
    ),
    (
        ("K-17", "II", 731, True),
        ("K-18", "III", 1827, False),
        ("K-19", "I", 2191, False),
        ("K-20", "IV", 90, True),
        ("K-21", None, 30, False),
    ),
)  # fmt: skip

US = Stranger(
    "us_registry",
    "MRN,Sex,Age at Dx,Path T,Path N,Path M,AJCC Stage Group,Stage,Vital Status (1=alive; 2=dead),Survival (mo),Stage\n"
    "A-100,1,61,pT2,pN0,cM0,IIA,local,1,60.5,x\n"
    "A-101,2,70,pT3,pN1,cM0,3B,regional,2,14,x\n"
    'A-102,2,55,pT4,pN2,pM1,Stage 4,distant,2,"1,000.0",x\n'
    "A-103,1,48,pTis,pN0,cM0,0,in situ,1,33,x\n"
    "A-104,1,48,pT1,pN0,cM0,IA3,local,1,81.25,x\n"
    "A-105,1,50,pT1,pNX,cM0,Unk,unknown,9,12,x\n"
    "A-106,2,51,pT3,pN2,cM0,IIIC1,regional,2,7,x\n",
    (
        ("A-100", "II", 60.5 * MONTH, False),
        ("A-101", "III", 14 * MONTH, True),
        ("A-102", "IV", 1000 * MONTH, True),
        ("A-103", None, 33 * MONTH, False),
        ("A-104", "I", 81.25 * MONTH, False),
        ("A-105", None, 12 * MONTH, None),
        ("A-106", "III", 7 * MONTH, True),
    ),
    unmapped=("0", "9"),
)

SEER = Stranger(
    "seer",
    '"Patient ID","Sex","Age recode with single ages","Derived AJCC Stage Group, 7th ed (2010-2015)",'
    '"Vital status recode (study cutoff used)","Survival months","COD to site recode"\n'
    "7001,Male,61 years,IIA,Alive,0061,Alive\n7002,Female,70 years,IIINOS,Dead,0012,Colon\n"
    "7003,Female,82 years,UNK Stage,Dead,0003,Lung\n7004,Male,85+ years,IV,Dead,0000,Colon\n"
    "7005,Male,44 years,IIIB,Alive,Unknown,Alive\n7006,Male,45 years,Blank(s),Alive,0100,Alive\n",
    (
        ("7001", "II", 61 * MONTH, False),
        ("7002", "III", 12 * MONTH, True),
        ("7003", None, 3 * MONTH, True),
        ("7004", "IV", 0.0, True),
        ("7005", "III", None, False),
        ("7006", None, 100 * MONTH, False),
    ),
)

STATUS_WORDS = Stranger(
    "trial",
    "Subject\tTNM\tFU (yrs)\tOutcome\n"
    "S01\tpT2N0M0\t5,25\tAlive with disease\nS02\tpT3N1M0\t1,5\tDOD\nS03\tT1 N0\t8,0\tNED\n"
    "S04\typT4aN2M1\t0,75\tDOC\nS05\tpT3 N0\t2\tAWD\nS06\tTx\t3,1\tdied of other cause\n\t\t\t\n",
    (
        ("S01", "T2", 5.25 * YEAR, False),
        ("S02", "T3", 1.5 * YEAR, True),
        ("S03", "T1", 8 * YEAR, False),
        ("S04", "T4", 0.75 * YEAR, True),
        ("S05", "T3", 2 * YEAR, False),
        ("S06", None, 3.1 * YEAR, True),
    ),
)

SPANISH = Stranger(
    "hospital_espanol",
    "NHC;Sexo;Edad;Fecha diagnóstico;Estadio AJCC;Fecha último contacto;Fecha de exitus;Estado vital;Hospital\n"
    "445-1;V;71;12/01/2012;Estadio IIIC;20/05/2015;;Vivo;La Paz\n"
    "445-2;M;66;30/09/2013;II;;30/03/2014;Exitus;La Paz\n"
    "445-3;V;59;05/02/2011;IVA;;05/02/2013;Fallecido;Clínic\n"
    "445-4;M;80;17/07/2014;desconocido;17/07/2019;;Viva;Clínic\n",
    (
        ("445-1", "III", 1224, False),
        ("445-2", "II", 181, True),
        ("445-3", "IV", 731, True),
        ("445-4", None, 1826, False),
    ),
)
ITALIAN = Stranger(
    "ospedale",
    (
        ("Studio osservazionale: carcinoma del colon", None, None, None, None, None),
        ("Paziente", "Sesso", "Età", "Stadio", "Stato al follow-up", "Sopravvivenza (mesi)"),
        ("IT01", "M", 66, "Stadio IIA", "deceduto", 18.5),
        ("IT02", "F", 71, "3b", "vivo con malattia", 40),
        ("IT03", "F", 50, "I", "vivo", 77.25),
        ("IT04", "M", 83, "non noto", "perso al follow-up", 5),
    ),
    (
        ("IT01", "II", 18.5 * MONTH, True),
        ("IT02", "III", 40 * MONTH, False),
        ("IT03", "I", 77.25 * MONTH, False),
        ("IT04", None, 5 * MONTH, False),
    ),
)
REDCAP = Stranger(
    "redcap",
    "record_id,redcap_event_name,sex,dob,dx_date,stage_ajcc8,date_last_fu,vital_status,cause_of_death,study_site\n"
    '1,baseline_arm_1,2,1961-02-03,2016-05-04,"Stage IIIB",2019-05-04,Deceased,cancer,01\n'
    '2,baseline_arm_1,1,1950-02-03,2017-01-01,"Stage IA",2022-01-01,Alive - NED,,01\n'
    '3,baseline_arm_1,1,1944-02-03,2018-06-30,"Stage IV",2018-12-27,Deceased (other),cardiac,02\n'
    '4,baseline_arm_1,2,1939-02-03,2015-10-10,"",2020-10-10,Alive - with disease,,02\n',
    (("1", "III", 1095, True), ("2", "I", 1826, False), ("3", "IV", 180, True), ("4", None, 1827, False)),
)
CHINESE = Stranger(
    "west_china",
    "住院号,性别,年龄,TNM分期,生存时间(月),生存状态\nZ1001,男,61,Ⅱa期,35,1\nZ1002,女,55,Ⅲ期,12.5,1\nZ1003,男,70,Ⅳ期,7,1\nZ1004,女,49,Ⅰ期,60,0\n",
    (
        ("Z1001", "II", 35 * MONTH, True),
        ("Z1002", "III", 12.5 * MONTH, True),
        ("Z1003", "IV", 7 * MONTH, True),
        ("Z1004", "I", 60 * MONTH, False),
    ),
)
EXCEL_SERIAL = Stranger(
    "excel_serials",
    "Case No.;Date of surgery;Date of last follow-up;Status at last FU;Pathological stage\n"
    "77;42005;43100;Dead of disease;pStage IIB\n78;42370;43831;Alive, no evidence of disease;pStage IA\n"
    "79;41640;42005;dead (other);pStage IIIA\n80;42736;44562;alive;pStage I\n",
    (("77", "II", 1095, True), ("78", "I", 1461, False), ("79", "III", 365, True), ("80", "I", 1826, False)),
)

DUTCH = Stranger(
    "dutch_palga",
    "Patiëntnummer;Geslacht;Leeftijd;Stadium;Datum diagnose;Datum laatste contact;Status\n"
    "NL-1;M;61;IIA;03-02-2014;03-02-2019;levend\nNL-2;V;72;IIIB;25-06-2015;25-12-2015;overleden\nNL-3;V;55;onbekend;11-11-2016;11-11-2020;levend\n",
    (("NL-1", "II", 1826, False), ("NL-2", "III", 183, True), ("NL-3", None, 1461, False)),
)
THESIS = Stranger(
    "thesis",
    (
        ("Nr.", "Name der Datei", "T", "N", "M", "Stadium (UICC 8)", "OS [Monate]", "Tod", "Rezidiv", "Bemerkung"),
        (1, "01_HE.svs", "2", "0", "0", "IIA", "24,5", 0, 1, None),
        (2, "02_HE.svs", "3", "1", "0", "III A", "11", 1, 1, "R1"),
        (3, "03_HE.svs", "1", "0", "0", "I", "88,25", 0, 0, None),
        (4, "04_HE.svs", "4", "2", "1", "IV", "3,5", 1, 0, None),
    ),
    (
        ("1", "II", 24.5 * MONTH, False),
        ("2", "III", 11 * MONTH, True),
        ("3", "I", 88.25 * MONTH, False),
        ("4", "IV", 3.5 * MONTH, True),
    ),
)
UK = Stranger(
    "uk_trust",
    "Study ID,NHS hosp,Gender,Age (yrs),Overall stage,Survival time in days,"
    "Survival status (0 = alive, 1 = dead),Dataset\n"
    "UK-1,RXA,F,66,Stage 3,1234,0,train\nUK-2,RXA,M,71,Stage 2b,56,1,train\n"
    "UK-3,RYB,F,60,Stage 1,2222,0,test\nUK-4,RYB,M,59,Stage IV,701,1,test\n",
    (("UK-1", "III", 1234, False), ("UK-2", "II", 56, True), ("UK-3", "I", 2222, False), ("UK-4", "IV", 701, True)),
)
LIFELINES = Stranger(
    "lifelines_like",
    "pid\tpathologic_stage\tduration\tobserved\n p1\tstage iia\t412\t1\n p2\tstage iv\t90\t1\n p3\tstage i\t1900\t0\n",
    (("p1", "II", 412, True), ("p2", "IV", 90, True), ("p3", "I", 1900, False)),
)
TWO_ENDPOINTS = Stranger(
    "pfs_and_os",
    "Patient ID;PFS (months);PFS event;OS (months);OS event;FIGO stage\n"
    "O1;12,0;1;30,5;1;IIIC\nO2;40;0;40;0;IC2\nO3;5,5;1;60;0;II\n",
    (("O1", "III", 30.5 * MONTH, True), ("O2", "I", 40 * MONTH, False), ("O3", "II", 60 * MONTH, False)),
)

TABLES = (
    GDC,
    CBIOPORTAL,
    CDR,
    STAMP,
    CLAM,
    FRENCH,
    GERMAN,
    US,
    SEER,
    STATUS_WORDS,
    SPANISH,
    ITALIAN,
    REDCAP,
    CHINESE,
    EXCEL_SERIAL,
    DUTCH,
    THESIS,
    UK,
    LIFELINES,
    TWO_ENDPOINTS,
)
