"""wsigraph manifest, and the commands that read one, as a user meets them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import SLIDE, Finished, Run, content, write_tiff

SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    slides = tmp_path / "slides"
    slides.mkdir()
    shutil.copy(SLIDE, slides / "a.svs")
    write_tiff(slides / "b.tiff", np.full((512, 512, 3), 200, np.uint8), None)
    (slides / "notes.txt").write_text("no slide")
    return tmp_path


def write(folder: Path, *lines: str) -> Path:
    path = folder / "m.csv"
    path.write_text("\n".join(["slide_id,patient_id,path,mpp,stage,time_days,event,split,sha256", *lines, ""]))
    return path


def test_a_draft_is_written_told_and_holds(run: Run, folder: Path) -> None:
    process = run("manifest", "create", "slides", "--sha256", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "data_manifest.csv: 2 slides\n"
    assert "b.tiff' holds no pixel size; its mpp is left empty" in process.stderr
    assert "patient_id is empty for 2 slides" in process.stderr
    with (folder / "data_manifest.csv").open() as stream:
        first, second = csv.DictReader(stream)
    assert (first["slide_id"], first["path"], first["mpp"], first["sha256"]) == ("a", "slides/a.svs", "0.499", SHA256)
    assert (second["path"], second["mpp"], second["patient_id"], second["stage"]) == ("slides/b.tiff", "", "", "")
    assert (first["vendor"], first["objective_power"], first["width_px"]) == ("aperio", "20", "2220")
    checked = run("manifest", "check", "data_manifest.csv", cwd=folder)
    assert (checked.returncode, checked.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in checked.stdout.splitlines())
    assert (shown["slides"], shown["patients"], shown["faults"]) == ("2", "2", "0")


def test_a_draft_replaces_nothing_unless_told_to(run: Run, folder: Path) -> None:
    (folder / "data_manifest.csv").write_text("mine")
    process = run("manifest", "create", "slides", cwd=folder)
    assert (process.returncode, process.stdout) == (1, "")
    assert "--force" in process.stderr
    assert (folder / "data_manifest.csv").read_text() == "mine"
    assert run("manifest", "create", "slides", "--force", cwd=folder).returncode == 0
    assert (folder / "data_manifest.csv").read_text().startswith("slide_id,")


def test_files_that_do_not_read_are_left_out_and_told(run: Run, folder: Path) -> None:
    (folder / "slides" / "cut.svs").write_bytes(SLIDE.read_bytes()[:1_000_000])
    out = folder / "m.csv"
    process = run("manifest", "create", folder / "slides", "--out", out)
    assert process.returncode == 3
    assert f"left out {folder / 'slides' / 'cut.svs'}: slide" in process.stderr
    assert "1 left out" in process.stdout
    assert len(out.read_text().splitlines()) == 3
    process = run("manifest", "create", folder / "slides", "--glob", "*.txt", "--out", folder / "none.csv")
    assert process.returncode == 1
    assert "no reader opens" in process.stderr
    assert not (folder / "none.csv").exists()


FAULTY = (
    "a,P1,slides/a.svs,0.01,V,-3,1,train,",
    "b,P1,slides/gone.svs,,,,1,test,",
    f"b,P2,slides/b.tiff,,,,,,{SHA256}",
)


def test_every_fault_of_a_manifest_is_printed(run: Run, folder: Path) -> None:
    process = run("manifest", "check", write(folder, *FAULTY))
    assert (process.returncode, process.stderr) == (1, "")
    faults = [line.removeprefix("fault").strip() for line in process.stdout.splitlines() if line.startswith("fault ")]
    assert [line.partition(":")[0] for line in faults] == [
        *["line 2 (a)"] * 3,
        *["line 3 (b)"] * 3,
        *["line 4 (b)"] * 2,
    ]
    assert process.stdout.splitlines()[-1].split() == ["faults", "8"]
    shown = json.loads(run("manifest", "check", folder / "m.csv", "--json").stdout)
    assert [(fault["line"], fault["column"]) for fault in shown["faults"]] == [
        (2, "mpp"),
        (2, "stage"),
        (2, "time_days"),
        (3, "event"),
        (3, "path"),
        (3, "split"),
        (4, "sha256"),
        (4, "slide_id"),
    ]
    quick = run("manifest", "check", folder / "m.csv", "--no-files", "--set", 'model.stage_names=["IV","V"]', "--json")
    assert [fault["column"] for fault in json.loads(quick.stdout)["faults"]] == [
        "mpp",
        "time_days",
        "event",
        "split",
        "slide_id",
    ]


def test_a_check_keeps_digests_for_the_next(run: Run, folder: Path) -> None:
    manifest = write(folder, f"a,,slides/a.svs,,,,,,{SHA256}")
    for _ in range(2):
        assert run("manifest", "check", manifest, "--keep-digests", folder / "kept.json").returncode == 0
    kept = json.loads((folder / "kept.json").read_text())
    assert [digest for _, digest in kept.values()] == [SHA256]


@pytest.mark.parametrize("verb", ["predict", "graph", "inspect"])
def test_a_manifest_with_faults_is_refused_before_any_work(run: Run, folder: Path, verb: str) -> None:
    out = () if verb == "inspect" else ("--out", folder / "out")
    process = run(verb, "--manifest", write(folder, *FAULTY, "c,,,,,,,,"), *out)
    assert (process.returncode, process.stdout) == (1, "")
    lines = process.stderr.splitlines()
    assert lines[0] == f"wsigraph: manifest {folder / 'm.csv'} has 9 faults:"
    assert len(lines) == 10
    assert "line 5 (c): path: the cell is empty" in lines[9]
    assert not (folder / "out").exists()


@pytest.mark.parametrize("verb", ["predict", "graph", "inspect"])
def test_slides_or_a_manifest_not_both_and_not_neither(run: Run, folder: Path, verb: str) -> None:
    for arguments in ((), (SLIDE, "--manifest", write(folder, "a,,slides/a.svs,,,,,,"))):
        process = run(verb, *arguments)
        assert process.returncode == 2
        assert "--manifest" in process.stderr


def test_inspect_walks_a_manifest(run: Run, folder: Path) -> None:
    (folder / "slides" / "text.svs").write_text("no slide")
    manifest = write(folder, "one,,slides/a.svs,,,,,,", "two,,slides/b.tiff,0.5,,,,,", "bad,,slides/text.svs,,,,,,")
    process = run("inspect", "--manifest", manifest, "--json")
    assert process.returncode == 3
    shown = json.loads(process.stdout)
    assert [(slide["slide_id"], slide["mpp"], slide["mpp_source"]) for slide in shown["slides"]] == [
        ("one", 0.499, "aperio.MPP"),
        ("two", 0.5, "given"),
    ]
    assert [(row["slide"], row["error"]) for row in shown["failed"]] == [("bad", "UnreadableSlide")]
    table = run("inspect", "--manifest", manifest)
    assert "1 of 3 slides failed: bad" in table.stderr
    assert table.stdout.count("pixel size") == 2


def test_predict_takes_names_and_pixel_sizes_from_a_manifest(run: Run, finished: Finished, folder: Path) -> None:
    shutil.copy(SLIDE, folder / "slides" / f"{SLIDE.name}")
    manifest = write(folder, f"{SLIDE.stem},,slides/{SLIDE.name},,II,10,1,,{SHA256}", "flat,,slides/b.tiff,0.5,,,,,")
    process = run("predict", "--manifest", manifest, "--out", folder / "out", "--json")
    assert process.returncode == 3, process.stderr
    shown = json.loads(process.stdout)
    assert [slide["slide_id"] for slide in shown["slides"]] == [SLIDE.stem]
    assert [(row["slide"], row["error"]) for row in shown["failed"]] == [("flat", "NoTissue")]
    named, alone = content(folder / "out" / SLIDE.stem), content(finished.directory)
    assert named["prediction.json"] == alone["prediction.json"]
    assert named["graph.safetensors"] == alone["graph.safetensors"]


def test_a_folder_or_a_glob_stands_for_its_slides(run: Run, folder: Path) -> None:
    slides = folder / "slides"
    flat = np.full((512, 512, 3), 200, np.uint8)
    (slides / "deep").mkdir()
    (slides / "a.svs").unlink()
    write_tiff(slides / "deep" / "b.tiff", flat, 0.5)
    for argument, expected in (
        (slides, ["b.tiff", "deep__b.tiff"]),
        (f"{slides}/*.tiff", ["b"]),
        (f"{slides}/**/*.tiff", ["b.tiff", "deep__b.tiff"]),
    ):
        process = run("predict", argument, "--mpp", "0.5", "--out", folder / "out", "--json")
        assert process.returncode == 3, process.stderr
        failed = json.loads(process.stdout)["failed"]
        assert [(row["slide"], row["error"]) for row in failed] == [(name, "NoTissue") for name in expected]
    process = run("predict", folder / "slides" / "*.svs", "--out", folder / "out")
    assert (process.returncode, process.stdout) == (1, "")
    assert "holds no slide that matches '*.svs'" in process.stderr
    process = run("run", slides, "--dry-run", "--set", "cluster.kind=threads")
    assert process.returncode == 0, process.stderr
    assert "2 slides of" in process.stderr
