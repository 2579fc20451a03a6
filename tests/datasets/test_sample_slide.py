"""The slide that comes with the package."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import SLIDE, command
from wsigraph.datasets import sample, sample_slide
from wsigraph.errors import StoreError


def test_it_is_the_slide_that_the_tests_use() -> None:
    assert sample().read_bytes() == SLIDE.read_bytes()
    assert hashlib.sha256(sample().read_bytes()).hexdigest() == sample_slide.SHA256


def test_a_damaged_or_missing_slide_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / sample_slide.NAME
    damaged.write_bytes(SLIDE.read_bytes()[:-1])
    monkeypatch.setattr(sample_slide, "_PLACES", (tmp_path / "gone.svs", damaged))
    with pytest.raises(StoreError, match="expected ed92d5a9f2e8"):
        sample()
    monkeypatch.setattr(sample_slide, "_PLACES", (tmp_path / "gone.svs",))
    with pytest.raises(StoreError, match="not in this installation"):
        sample()


def test_the_command_copies_it_and_keeps_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "slides"
    done = subprocess.run(command("sample", "--out", out, "--json"), capture_output=True, text=True, check=True)
    target = Path(json.loads(done.stdout)["path"])
    assert target.read_bytes() == SLIDE.read_bytes()
    assert sorted(path.name for path in out.iterdir()) == [SLIDE.name]
    target.write_bytes(b"mine")
    subprocess.run(command("sample", "--out", out), capture_output=True, check=True)
    assert target.read_bytes() == b"mine"


def test_the_tested_versions_are_printed() -> None:
    done = subprocess.run(command("constraints"), capture_output=True, text=True, check=True)
    assert done.stdout == (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8")
