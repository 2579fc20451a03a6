"""What the package ships is made anew step by step, and a broken run goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import rebuild_shipped
from pipelines.rebuild_shipped import STEPS, Step, main, run_steps

WRITES = """
import sys
from pathlib import Path
name, source, *rest = sys.argv[1:]
if Path(source).is_file() and Path(source).read_text() == "broken":
    sys.exit(3)
with Path(name + ".log").open("a") as log:
    log.write("x")
Path(name).write_text(Path(source).read_text() + name[-1])
print("scores of", name[-1])
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Two steps, real processes, the second of which reads what the first writes."""
    (tmp_path / "writer.py").write_text(WRITES)
    (tmp_path / "source").write_text("s")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    source, a, b = (str(tmp_path / name) for name in ("source", "a", "b"))
    scores = "{out}/docs/scores.json"
    return [
        Step(name="first", command=("writer", a, source), reads=(source,), writes=(a,)),
        Step(name="second", command=("writer", b, a), reads=(a,), writes=(b, scores), printed=scores),
    ]


def runs(tmp_path: Path) -> tuple[int, int]:
    """Return how often each step ran."""
    logs = [tmp_path / f"{name}.log" for name in "ab"]
    first, second = (len(log.read_text()) if log.is_file() else 0 for log in logs)
    return first, second


def test_a_second_run_does_nothing(steps: list[Step], tmp_path: Path) -> None:
    assert run_steps(steps, tmp_path) == 0
    assert (tmp_path / "docs/scores.json").read_text() == "scores of b\n"
    assert run_steps(steps, tmp_path) == 0
    assert runs(tmp_path) == (1, 1)


def test_a_broken_run_goes_on_where_it_stopped(
    steps: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").write_text("fine")
    assert run_steps(steps[:1], tmp_path) == 0
    (tmp_path / "a").write_text("broken")  # not what the first step wrote: it is run again
    assert run_steps(steps, tmp_path) == 0
    assert runs(tmp_path) == (2, 1)
    (tmp_path / "source").write_text("broken")
    assert run_steps(steps, tmp_path) == 1
    assert "first: ended with 3" in capsys.readouterr().err
    (tmp_path / "source").write_text("fine")
    assert run_steps(steps, tmp_path) == 0
    assert runs(tmp_path) == (2, 1)


def test_what_depends_on_a_changed_file_is_done_again(steps: list[Step], tmp_path: Path) -> None:
    run_steps(steps, tmp_path)
    (tmp_path / "source").write_text("t")
    run_steps(steps, tmp_path)
    assert runs(tmp_path) == (2, 2)
    assert (tmp_path / "b").read_text() == "tab"


def test_a_dry_run_prints_every_command_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_shipped, "_run", lambda *_: pytest.fail("a dry run may run nothing"))
    assert main(["--dry-run", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines()] == [step.name for step in STEPS]
    assert "python -m pipelines.train_shipped_embedding --out" in printed
    assert not list(tmp_path.iterdir())


def test_a_quick_run_needs_a_folder_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick"])
    assert "give --out FOLDER" in capsys.readouterr().err


def test_every_step_is_a_recipe_that_reads_what_is_there() -> None:
    root = rebuild_shipped.ROOT
    for step in STEPS:
        module = step.command[0].replace(".", "/") + ".py"
        assert (root / module).is_file(), module
        for name in step.reads:
            assert "{out}" in name or (root / name).exists(), name


@pytest.mark.slow
def test_every_step_works_at_a_small_size(tmp_path: Path) -> None:
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    for step in STEPS:
        for name in step.writes:
            assert Path(name.format(out=tmp_path)).stat().st_size > 0
