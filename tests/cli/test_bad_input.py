"""What bad input gets: exit code 1, one line that names what was met and what to do, and nothing on disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cli.command import SLIDE, Finished, Run, write_tiff
from wsigraph.model.bundle import SHIPPED


def missing(directory: Path) -> list[object]:
    return [directory / "absent.svs"]


def a_directory(directory: Path) -> list[object]:
    (directory / "folder.svs").mkdir()
    return [directory / "folder.svs"]


def empty(directory: Path) -> list[object]:
    (directory / "empty.svs").write_bytes(b"")
    return [directory / "empty.svs"]


def text(directory: Path) -> list[object]:
    (directory / "text.svs").write_text("this is no slide\n" * 100)
    return [directory / "text.svs"]


def truncated(directory: Path) -> list[object]:
    (directory / "truncated.svs").write_bytes(SLIDE.read_bytes()[:1_000_000])
    return [directory / "truncated.svs"]


def cut_in_the_header(directory: Path) -> list[object]:
    (directory / "header.svs").write_bytes(SLIDE.read_bytes()[:100])
    return [directory / "header.svs"]


def without_mpp(directory: Path) -> list[object]:
    return [write_tiff(directory / "nompp.tiff", np.full((512, 512, 3), 200, np.uint8), None)]


def absurd_mpp_in_the_file(directory: Path) -> list[object]:
    return [write_tiff(directory / "absurd.tiff", np.full((512, 512, 3), 200, np.uint8), 896.0)]


def absurd_mpp_given(directory: Path) -> list[object]:
    return [SLIDE, "--mpp", "100"]


def white(directory: Path) -> list[object]:
    return [write_tiff(directory / "white.tiff", np.full((1024, 1024, 3), 255, np.uint8), 0.5)]


def unknown_key(directory: Path) -> list[object]:
    return [SLIDE, "--set", "superpixel.spacin_um=40"]


def unknown_key_in_a_file(directory: Path) -> list[object]:
    (directory / "study.yaml").write_text("superpixel: {spacin_um: 40}\n")
    return [SLIDE, "--config", directory / "study.yaml"]


def unknown_encoder(directory: Path) -> list[object]:
    return [SLIDE, "--encoder", "resnet"]


def no_model_there(directory: Path) -> list[object]:
    return [SLIDE, "--model", directory / "absent"]


def a_damaged_model(directory: Path) -> list[object]:
    shutil.copytree(SHIPPED, directory / "model")
    weights = directory / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x00")
    return [SLIDE, "--model", directory / "model"]


def a_model_of_other_features(directory: Path) -> list[object]:
    shutil.copytree(SHIPPED, directory / "model")
    path = directory / "model" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "feature_schema_id": "0123456789abcdef"}))
    return [SLIDE, "--model", directory / "model"]


def out_is_a_file(directory: Path) -> list[object]:
    (directory / "taken").write_text("")
    return [SLIDE, "--out", directory / "taken"]


def one_name_twice(directory: Path) -> list[object]:
    shutil.copy(SLIDE, directory / SLIDE.name)
    return [SLIDE, directory / SLIDE.name]


CASES: list[tuple[Callable[[Path], list[object]], list[str]]] = [
    (missing, ["absent.svs", "does not exist"]),
    (a_directory, ["folder.svs", "holds no slide"]),
    (empty, ["empty.svs", "empty"]),
    (text, ["text.svs", "expected"]),
    (truncated, ["truncated.svs"]),
    (cut_in_the_header, ["header.svs"]),
    (without_mpp, ["nompp.tiff", "--mpp"]),
    (absurd_mpp_in_the_file, ["absurd.tiff", "896", "0.05 to 20", "--mpp"]),
    (absurd_mpp_given, [SLIDE.name, "100", "0.05 to 20"]),
    (white, ["white", "tissue"]),
    (unknown_key, ["superpixel.spacin_um", "superpixel.spacing_um"]),
    (unknown_key_in_a_file, ["study.yaml", "superpixel.spacin_um", "superpixel.spacing_um"]),
    (unknown_encoder, ["resnet", "efficientnet_lite0"]),
    (no_model_there, ["absent", "model.safetensors"]),
    (a_damaged_model, ["model.safetensors", "damaged"]),
    (a_model_of_other_features, ["feature schema 0123456789abcdef"]),
    (out_is_a_file, ["taken", "is a file", "--out"]),
    (one_name_twice, [SLIDE.stem, "different"]),
]


def assert_one_line(process: subprocess.CompletedProcess[str]) -> None:
    assert process.returncode == 1, process.stderr
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1, process.stderr
    assert process.stderr.startswith("wsigraph: ")
    assert "Traceback" not in process.stderr
    assert "unexpected" not in process.stderr


@pytest.mark.parametrize(("make", "words"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_bad_input_ends_with_one_line(
    make: Callable[[Path], list[object]], words: list[str], run: Run, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    arguments = make(given)
    before = sorted(given.rglob("*"))
    out = [] if "--out" in arguments else ["--out", tmp_path / "out"]
    process = run("predict", *arguments, *out)
    assert_one_line(process)
    for word in words:
        assert word in process.stderr
    assert not (tmp_path / "out").exists(), "nothing is on disk for a slide that failed before its first record"
    assert sorted(given.rglob("*")) == before


def test_the_current_directory_is_no_slide(run: Run, tmp_path: Path) -> None:
    process = run("predict", ".", cwd=tmp_path)
    assert_one_line(process)
    assert "holds no slide" in process.stderr
    assert not list(tmp_path.iterdir())


def test_another_slide_of_the_same_name_is_refused(run: Run, finished: Finished, tmp_path: Path) -> None:
    shutil.copy(SLIDE, tmp_path / SLIDE.name)
    with (tmp_path / SLIDE.name).open("ab") as file:
        file.write(b"other bytes")
    process = run("predict", tmp_path / SLIDE.name, "--out", finished.directory.parent)
    assert_one_line(process)
    assert "belongs to another slide" in process.stderr
    assert "--out" in process.stderr


def test_a_failing_rerun_leaves_nothing_that_looks_finished(
    run: Run, tissue_pixels: np.ndarray, tmp_path: Path
) -> None:
    slide = write_tiff(tmp_path / "piece.tiff", tissue_pixels, 0.499)
    assert run("predict", slide, "--out", tmp_path / "out").returncode == 0
    process = run("predict", slide, "--out", tmp_path / "out", "--set", "report.map_feature=absent")
    assert_one_line(process)
    names = {path.name for path in (tmp_path / "out" / "piece").iterdir()}
    assert not names & {"report.json", "report.png", "report.geojson", "run.json"}


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    process = run("predict", tmp_path / "absent.svs", "--debug", "--out", tmp_path / "out")
    assert process.returncode == 1
    assert "Traceback" in process.stderr
    assert "UnreadableSlide" in process.stderr


@pytest.mark.parametrize(
    "arguments", [["predict"], ["predict", "--mpp", "x", "a.svs"], ["prdict", "a.svs"], ["config"]]
)
def test_wrong_usage_is_code_2(run: Run, arguments: list[str]) -> None:
    process = run(*arguments)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr


def test_a_tile_that_does_not_decode_is_left_white_and_told(run: Run, tmp_path: Path) -> None:
    with tifffile.TiffFile(SLIDE) as tif:
        page = tif.pages.first
        offset, count = page.dataoffsets[44], page.databytecounts[44]
    data = bytearray(SLIDE.read_bytes())
    data[offset + 2 : offset + count] = bytes(count - 2)
    damaged = tmp_path / "damaged.svs"
    damaged.write_bytes(data)
    first = run("predict", damaged, "--out", tmp_path / "out", "--json")
    assert first.returncode == 0, first.stderr
    (warning,) = [text for text in json.loads(first.stdout)["warnings"] if "not decode" in text]
    assert warning.startswith("1 tile does not decode and was read as white: tile 4, 4 of level 0 (x 960, y 960)")
    listed = json.loads((tmp_path / "out" / "damaged" / "bad_tiles.json").read_text())["tiles"]
    assert [(tile["row"], tile["column"]) for tile in listed] == [(4, 4)]
    # a run that finds everything done reads no pixel, and still says so
    again = run("predict", damaged, "--out", tmp_path / "out", "--json")
    assert warning in json.loads(again.stdout)["warnings"]
    strict = run("predict", damaged, "--out", tmp_path / "strict", "--set", "slide.max_bad_tile_fraction=0")
    assert strict.returncode == 1
    assert "tile" in strict.stderr
