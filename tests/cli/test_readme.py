"""What the README says is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import RECORDS, ROOT, Finished, Run
from wsigraph import store

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def test_it_opens_with_exactly_two_commands_of_one_line_each() -> None:
    commands = blocks("bash")
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    assert "wsigraph predict tests/data/CMU-1-Small-Region.svs" in commands[0]
    assert all("-c constraints.txt" in command for command in commands)
    assert README.index("```bash") < README.index("## What it does")


@pytest.mark.parametrize("line", "".join(blocks("console")).splitlines())
def test_every_command_and_option_exists(line: str, run: Run) -> None:
    verb = re.findall(r"^wsigraph((?: [a-z][a-z-]*)+)", line)[0].split()
    shown = run(*verb, "--help")
    assert shown.returncode == 0
    for option in re.findall(r"--[a-z-]+", line):
        assert option in shown.stdout


def test_every_verb_is_named() -> None:
    from typer.main import get_command

    from wsigraph.cli.main import app

    for verb in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"wsigraph {verb}" in "".join(blocks("console"))


def test_every_file_is_described() -> None:
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", README, re.M)) == RECORDS


def test_the_lines_of_python_do_what_the_command_does(finished: Finished, tmp_path: Path) -> None:
    (lines,) = blocks("python")
    assert len([line for line in lines.splitlines() if line]) == 7
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=True)
    prediction = store.load_prediction(finished.directory / "prediction.json")
    assert done.stdout.strip().endswith(str(prediction.risk))


def words(line: str) -> list[str | float]:
    return [float(word.replace(",", "")) if re.fullmatch(r"[\d.,]*\d", word) else word for word in line.split()]


def test_the_printed_example_is_what_is_printed(finished: Finished) -> None:
    printed = finished.process.stdout.replace(str(finished.directory.parent), "wsigraph-out").splitlines()
    shown: dict[str, list[str | float]] = {}
    for line in printed:
        # of several warnings the first is shown
        shown.setdefault(line[:17], words(line[17:]))
    for line in "".join(blocks("text")).splitlines():
        if line.startswith("seconds"):
            continue
        expected = words(line[17:].removesuffix("..."))
        met = shown[line[:17]][: len(expected)]
        for one, other in zip(expected, met, strict=True):
            # another type of processor may move the last digit shown
            same = pytest.approx(other, rel=0.01, abs=0.002) if isinstance(other, float) else other
            assert one == same, f"paste what the command prints now (python -m pipelines.draw_readme): {line}"


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 250
