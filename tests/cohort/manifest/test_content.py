"""What a manifest says of its files is compared with the files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from wsigraph.cohort.manifest import digests
from wsigraph.cohort.manifest.manifest import Findings, check_manifest
from wsigraph.slide.files import locate, slide_digest

SHA = {name: hashlib.sha256(name.encode()).hexdigest() for name in "abcd"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        (tmp_path / f"{name}.svs").write_bytes(name.encode())
    return tmp_path


def check(folder: Path, *lines: str, **options: object) -> Findings:
    path = folder / "data_manifest.csv"
    path.write_text("\n".join(["slide_id,path,split,sha256", *lines, ""]))
    return check_manifest(path, stage_names=("I", "II"), **options)


def test_a_digest_that_differs_is_told_with_its_row(folder: Path) -> None:
    found = check(folder, f"a,a.svs,,{SHA['a'].upper()}", f"b,b.svs,,{SHA['c']}")
    (fault,) = found.faults
    assert (fault.line, fault.slide_id, fault.column) == (3, "b", "sha256")
    assert SHA["b"] in fault.message
    assert SHA["c"] in fault.message
    assert not check(folder, f"b,b.svs,,{SHA['c']}", digest_max_bytes=0).faults
    assert not check(folder, "b,gone.svs,,", check_files=False).faults


def test_a_slide_that_cannot_be_read_is_left_to_the_run(folder: Path) -> None:
    (folder / "empty.svs").write_bytes(b"")
    (folder / "plain").mkdir()
    found = check(folder, f"e,empty.svs,,{SHA['a']}", f"p,plain,,{SHA['b']}", "q,plain,,")
    assert not found.faults
    assert len(found.warnings) == 3
    assert "the digest of slide 'e' (line 2) was not checked" in found.warnings[0]
    assert found.warnings[2] == "slides with the same bytes: p (line 3), q (line 4)"


def test_the_same_bytes_twice_are_a_warning(folder: Path) -> None:
    shutil.copy(folder / "a.svs", folder / "copy.svs")
    found = check(folder, "a,a.svs,,", "b,b.svs,train,", "copy,copy.svs,train,")
    assert not found.faults
    assert found.warnings == ("slides with the same bytes: a (line 2), copy (line 4)",)


@pytest.mark.parametrize("stated", ["neither", "one", "both", "unseen"])
def test_the_same_bytes_in_two_splits_are_a_fault(folder: Path, stated: str) -> None:
    shutil.copy(folder / "a.svs", folder / "copy.svs")
    first = SHA["a"] if stated != "neither" else ""
    second = SHA["a"] if stated in ("both", "unseen") else ""
    paths = ("", "") if stated == "unseen" else ("a.svs", "copy.svs")
    found = check(folder, f"a,{paths[0]},train,{first}", "b,b.svs,test,", f"copy,{paths[1]},test,{second}")
    assert [(fault.line, fault.slide_id, fault.column) for fault in found.faults] == [(4, "copy", "split")]
    assert "same bytes as slide 'a' on line 2" in found.faults[0].message


@pytest.mark.parametrize("spelled", ["a.svs", "./x/../a.svs", "link.svs"])
def test_one_file_under_two_names_needs_no_digest(folder: Path, spelled: str) -> None:
    (folder / "x").mkdir()
    (folder / "link.svs").symlink_to(folder / "a.svs")
    found = check(folder, "a,a.svs,train,", f"b,{spelled},test,", digest_max_bytes=0)
    assert [fault.column for fault in found.faults] == ["split"]


def test_files_that_differ_between_the_samples_are_not_the_same(folder: Path) -> None:
    size = 1_000_000
    (folder / "a.svs").write_bytes(bytes(size))
    (folder / "b.svs").write_bytes(bytes(200_000) + b"1" + bytes(size - 200_001))
    assert digests.sample(folder / "a.svs") == digests.sample(folder / "b.svs")
    assert not check(folder, "a,a.svs,train,", "b,b.svs,test,").faults


def test_a_folder_is_a_slide(folder: Path, shared_slides: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(shared_slides / "cmu_dicom", folder / name)
    expected = slide_digest(locate(folder / "one"))
    found = check(folder, f"one,one,train,{expected}", "two,two/,test,")
    assert [(fault.line, fault.column) for fault in found.faults] == [(3, "split")]


def test_a_second_start_reads_only_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def watched(path: Path) -> str:
        read.append(path.name)
        return slide_digest(path)

    monkeypatch.setattr(digests.files, "slide_digest", watched)
    lines = [f"{name},{name}.svs,,{SHA[name]}" for name in "abcd"]
    cache = folder / "kept" / "digests.json"
    told: list[tuple[str, int, int]] = []
    check(folder, *lines, digest_cache=cache, progress=lambda *step: told.append(step))
    assert sorted(read) == [f"{name}.svs" for name in "abcd"]
    assert told == [("digest", done, 4) for done in (1, 2, 3, 4)]
    assert not check(folder, *lines, digest_cache=cache).faults
    assert len(read) == 4
    (folder / "b.svs").write_bytes(b"c")
    os.utime(folder / "b.svs", ns=(5, 5))
    assert [fault.line for fault in check(folder, *lines, digest_cache=cache).faults] == [3]
    assert read[4:] == ["b.svs"]


def test_kept_digests_that_are_damaged_are_told_and_made_anew(folder: Path) -> None:
    cache = folder / "digests.json"
    cache.write_text("{not json")
    found = check(folder, f"a,a.svs,,{SHA['a']}", digest_cache=cache)
    assert not found.faults
    assert "cannot be used" in found.warnings[0]
    assert list(json.loads(cache.read_text())) == [str(folder / "a.svs")]


def test_an_interruption_keeps_what_was_read(folder: Path) -> None:
    cache = folder / "digests.json"

    def interrupt(_: str, done: int, __: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    lines = [f"{name},{name}.svs,,{SHA[name]}" for name in "abcd"]
    with pytest.raises(KeyboardInterrupt):
        check(folder, *lines, digest_cache=cache, progress=interrupt)
    assert len(json.loads(cache.read_text())) == 2
