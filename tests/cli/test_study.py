"""``wsigraph study`` as its users meet it: a folder of slides, a table as it comes, one command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cli.command import Run

GERMAN = ["Patienten-Nr", "Geschlecht", "Alter", "UICC-Stadium", "Überlebenszeit (Monate)", "verstorben", "Klinik"]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, tissue_pixels: np.ndarray) -> Path:
    """Eight crops: one broken, one without a pixel size, one a copy of another."""
    folder = tmp_path_factory.mktemp("slides")
    for number in range(1, 8):
        y, x = 40 * (number // 3), 60 * (number % 3)
        stated = {} if number == 5 else {"resolution": (1e4 / 0.499,) * 2, "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(
            folder / f"P-{number:02d}_HE.tiff",
            tissue_pixels[y : y + 700, x : x + 700],
            tile=(256, 256),
            photometric="rgb",
            **stated,
        )
    (folder / "P-03_HE_copy.tiff").write_bytes((folder / "P-03_HE.tiff").read_bytes())
    broken = folder / "P-07_HE.tiff"
    broken.write_bytes(broken.read_bytes()[:100_000])
    return folder


@pytest.fixture(scope="module")
def german_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A German Excel table with a title, decimal commas as text, subdivided stages and a patient without a slide."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Register Nierenkarzinom"])
    book.active.append([])
    book.active.append(GERMAN)
    for number in range(1, 10):
        stage = ("I", "IIIA", "unbekannt", "pT2")[number % 4] if number == 3 else ("I", "IIIA", "IV", "II")[number % 4]
        row = [
            f"P-{number:02d}",
            "mw"[number % 2],
            60 + number,
            stage,
            f"{3 * number},5",
            "ja" if number % 2 else "nein",
        ]
        book.active.append([*row, "Nord" if number < 5 else "Süd"])
    path = tmp_path_factory.mktemp("tables") / "Patienten.xlsx"
    book.save(path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_value_that_is_not_understood_is_named_and_mapped(
    run: Run, slides: Path, german_table: Path, tmp_path: Path
) -> None:
    refused = run("study", slides, "--clinical", german_table, "--out", tmp_path / "out", "--until", "manifest")
    assert refused.returncode == 1
    assert "stage (column 'UICC-Stadium'): 'pT2' 1 x; expected I, II, III, IV" in refused.stderr
    assert refused.stdout == ""
    done = run(
        *("study", slides, "--clinical", german_table, "--out", tmp_path / "out", "--until", "manifest"),
        *("--map", "stage:pT2=II"),
    )
    assert done.returncode == 0, done.stderr
    manifest = {row["slide_id"]: row for row in rows_of(tmp_path / "out" / "data_manifest.csv")}
    assert sorted(manifest) == [f"P-{number:02d}_HE" for number in (1, 2, 3, 4, 6)]
    third = manifest["P-03_HE"]
    assert (third["patient_id"], third["stage"], third["event"], third["site"]) == ("P-03", "II", "1", "Nord")
    assert float(third["time_days"]) == pytest.approx(9.5 * 365.25 / 12, abs=0.01)
    assert (third["age"], third["sex"]) == ("63", "female")
    left_out = {row["name"]: row["group"] for row in rows_of(tmp_path / "out" / "left_out.csv")}
    assert left_out == {
        "P-03_HE_copy.tiff": "copy of another",
        "P-05_HE.tiff": "no pixel size",
        "P-07_HE.tiff": "not readable",
        "P-08": "no slide",
        "P-09": "no slide",
    }
    mapping = {(row["role"], row["cell"]): row["value"] for row in rows_of(tmp_path / "out" / "mapping.csv")}
    assert mapping["stage", "IIIA"] == "III"
    assert mapping["stage", "pT2"] == "II"
    # the plan repeats the study, wherever it is started
    again = run("study", "--plan", "out/study.yaml", "--out", "again", "--until", "manifest", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert rows_of(tmp_path / "again" / "data_manifest.csv") == rows_of(tmp_path / "out" / "data_manifest.csv")


def test_a_study_of_few_patients_ends_with_a_page_that_says_why(
    run: Run, slides: Path, german_table: Path, tmp_path: Path
) -> None:
    command = (
        *("study", slides, "--clinical", german_table, "--out", tmp_path / "out", "--map", "stage:pT2="),
        *("--mpp", "0.499", "--json"),
    )
    done = run(*command)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["flow"][1]["text"] == "6 slides of 6 patients can be read"
    page = (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
    assert "no model was trained" in page
    assert "copy of another" in page
    assert 'href="tables/table_1.csv"' in page
    for name in ("tables/table_1.csv", "tables/tables.xlsx", "mapping.csv", "left_out.csv", "study.yaml"):
        assert (tmp_path / "out" / name).is_file()
    # nothing is repeated
    written = (tmp_path / "out" / "runs" / "P-01_HE" / "graph.safetensors").stat().st_mtime_ns
    assert run(*command).returncode == 0
    assert (tmp_path / "out" / "runs" / "P-01_HE" / "graph.safetensors").stat().st_mtime_ns == written


def test_a_messy_american_table_needs_one_command(run: Run, slides: Path, tmp_path: Path) -> None:
    """Comments, spaces around cells, dates of either end, subdivided stages, an empty line and a formula as a name."""
    lines = [
        "# exported 11/02/2021 by registry",
        '"Patient ID"," Path Stage ",Date of Dx,Last Contact,Vital Status,Hospital',
    ]
    stages = ("Stage IA", "stage iiib", "IV", "Stage II")
    for number in range(1, 10):
        dead, site = "Dead" if number % 2 else "Alive", "=St. Mary's" if number < 5 else "County"
        lines.append(f"P-{number:02d},{stages[number % 4]},0{number}/15/2018, 03/{10 + number}/2020,{dead},{site}")
    (tmp_path / "us.csv").write_text("\r\n".join([*lines, ",,,,,", ""]), encoding="latin-1")
    done = run(
        *("study", slides, "--clinical", tmp_path / "us.csv", "--out", tmp_path / "out", "--until", "manifest"),
        *("--mpp", "0.499"),
    )
    assert done.returncode == 0, done.stderr
    manifest = {row["slide_id"]: row for row in rows_of(tmp_path / "out" / "data_manifest.csv")}
    assert sorted(manifest) == [f"P-{number:02d}_HE" for number in (1, 2, 3, 4, 5, 6)]
    third = manifest["P-03_HE"]
    assert (third["patient_id"], third["stage"], third["event"], third["time_days"]) == ("P-03", "II", "1", "729")
    assert third["site"] == "'=St. Mary's"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clinical", "none.csv"], "clinical table none.csv cannot be read"),
        (["--clinical", "table.csv", "--stage", "TNM"], "has no column 'TNM', expected one of 'case'"),
        (["--clinical", "table.csv"], "none of 8 slides"),
        (["--clinical", "table.csv", "--map", "stage=I"], "expected ROLE:CELL=VALUE"),
        (["--clinical", "table.csv", "--time", "follow"], "not clear without --time-unit"),
        ([], "give slides and --clinical TABLE"),
    ],
)
def test_wrong_input_is_named(run: Run, slides: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "table.csv").write_text("case,follow,dead\nA1,12,yes\nA2,30,no\n", encoding="utf-8")
    done = run("study", slides, *arguments, "--out", "out", "--until", "manifest", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
