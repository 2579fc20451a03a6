"""``wsigraph run`` and ``status`` as a user meets them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import SLIDE, Run, command, write_tiff
from tests.slurm import fake_slurm

HEADER = "slide_id,patient_id,path,mpp,stage,time_days,event\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, tissue_pixels: np.ndarray) -> Path:
    """A manifest of one good slide, one broken one and one that is still to come."""
    folder = tmp_path_factory.mktemp("cohort")
    write_tiff(folder / "good.tiff", tissue_pixels[:600, :700], 0.5)
    (folder / "broken.svs").write_bytes(SLIDE.read_bytes()[:200_000])
    path = folder / "cohort.csv"
    path.write_text(f"{HEADER}good,P1,good.tiff,,II,1000,1\nbroken,P2,broken.svs,,,,\nlater,P3,,,,,\n")
    return path


@pytest.fixture(scope="module")
def ended(run: Run, table: Path) -> subprocess.CompletedProcess[str]:
    out = table.parent / "runs"
    return run("run", table, "--out", out, "--until", "coarsen", "--workers", "1", "--set", "batch.report_s=0.5")


def test_a_bad_slide_is_a_row_and_the_exit_code(ended: subprocess.CompletedProcess[str], table: Path) -> None:
    assert ended.returncode == 3, ended.stderr
    shown = dict(re.findall(r"^(\S[\w ]*?)  +(.+)$", ended.stdout, re.M))
    assert (shown["slides"], shown["done"], shown["failed"], shown["without a file"]) == ("3", "1", "1", "1")
    assert "TruncatedSlide" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    out = table.parent / "runs"
    assert {path.name for path in out.iterdir()} == {
        ".batch", "good", "summary.md", "summary.json", "failures.parquet"
    }  # fmt: skip
    lines = ended.stderr.splitlines()
    assert lines[0] == "wsigraph: 1 workers with 1 threads; dashboard: none"
    assert any(re.match(r"wsigraph: \d of 3 slides", line) for line in lines)
    assert lines[-1].startswith("wsigraph: 1 of 3 slides failed: ")
    assert all(line.startswith("wsigraph: ") for line in lines)


def test_a_missing_pixel_size_is_given_where_run_takes_it(run: Run, tmp_path: Path, tissue_pixels: np.ndarray) -> None:
    """The advice is followed to its end: the run that it leads to ends well."""
    folder = tmp_path / "my slides"
    folder.mkdir()
    write_tiff(folder / "bare.tiff", tissue_pixels[:600, :700], None)
    options = ("--out", tmp_path / "runs", "--until", "tissue", "--cluster", "threads", "--workers", "1")
    process = run("run", folder, *options)
    assert process.returncode == 3
    assert "MissingMpp" in process.stdout
    (advice,) = (line for line in process.stderr.splitlines() if "--mpp states the pixel size of all" in line)
    (advised,) = re.findall(r"\(wsigraph (manifest create .*) --out data_manifest.csv\)", advice)
    table = tmp_path / "data_manifest.csv"
    assert run(*shlex.split(advised), "--out", table).returncode == 0
    process = run("run", table, *options)
    assert process.returncode == 3
    assert f"fill in the column mpp of {table}" in process.stderr
    header, line = table.read_text().splitlines()
    cells = line.split(",")
    cells[header.split(",").index("mpp")] = "0.5"
    table.write_text("\n".join([header, ",".join(cells)]) + "\n")
    process = run("run", table, *options)
    assert process.returncode == 0, process.stderr
    assert "--mpp" not in process.stderr


def test_status_tells_of_it_from_elsewhere(ended: subprocess.CompletedProcess[str], table: Path, run: Run) -> None:
    output = run("status", table.parent / "runs")
    assert output.returncode == 0
    assert "finished" in output.stdout
    assert "3 of 3 slides, 1 failed, 1 without a file" in output.stdout
    assert "TruncatedSlide" in output.stdout
    values = json.loads(run("status", table.parent / "runs", "--json").stdout)
    assert values["runs"][0]["content"]["failed"] == 1
    assert values["held"] == []
    absent = run("status", table.parent / "absent")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "holds no run" in absent.stderr


def test_the_same_command_goes_on_and_json_is_all_of_stdout(
    ended: subprocess.CompletedProcess[str], table: Path, run: Run
) -> None:
    again = run("run", table, "--out", table.parent / "runs", "--until", "coarsen", "--cluster", "threads", "--json")
    assert again.returncode == 3
    output = json.loads(again.stdout)
    assert (output["done"], output["skipped"], output["failed"]) == (0, 1, 1)
    assert output["status"] == "finished"


def test_a_dry_run_starts_nothing(
    table: Path, run: Run, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = run("run", table, "--out", tmp_path / "out", "--until", "graph", "--workers", "3", "--dry-run")
    assert (plan.returncode, plan.stdout) == (0, "")
    assert "2 slides of" in plan.stderr
    assert "1 without a file left out, up to the step graph" in plan.stderr
    assert "3 processes of this machine" in plan.stderr
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    for name, value in fake_slurm(tmp_path / "slurm").items():
        monkeypatch.setitem(environment, name, value)
    script = run(
        "run", table, "--cluster", "slurm", "--workers", "20", "--dry-run", "--set", "cluster.slurm_queue=long"
    )
    assert script.returncode == 0
    assert "3 SLURM jobs of 8 workers" in script.stderr
    assert script.stdout.startswith("#!")
    assert "#SBATCH -p long" in script.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--until", "explode"], "step 'explode' is unknown; expected one of read, tissue"),
        (["--cluster", "kubernetes"], "cluster.kind"),
        (["--cluster", "tcp://127.0.0.1:1"], "is not encrypted: whoever reaches that scheduler"),
        (["--cluster", "tls://127.0.0.1:1"], "takes certificates; give cluster.tls_ca_file"),
        (["--model", "absent"], "absent"),
    ],
)
def test_what_cannot_work_is_one_line(table: Path, run: Run, tmp_path: Path, options: list[str], message: str) -> None:
    met = run("run", table, "--out", tmp_path / "out", "--set", "cluster.wait_s=5", *options)
    assert (met.returncode, met.stdout) == (1, "")
    assert message in met.stderr
    assert met.stderr.count("\n") == 1


def test_faults_of_the_manifest_end_it_before_anything_starts(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "faulty.csv"
    path.write_text(f"{HEADER}a,P1,absent.svs,,,,\na,P2,,,IX,-3,1\n")
    met = run("run", path, "--out", tmp_path / "out")
    assert met.returncode == 1
    for fault in ("absent.svs", "IX", "line 3"):
        assert fault in met.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("limit", "is_fault"), [("1", True), ("0", False)])
def test_a_stated_digest_is_compared_before_the_run_or_by_the_workers(
    table: Path, run: Run, tmp_path: Path, limit: str, is_fault: bool
) -> None:
    path = table.parent / f"other_bytes_{limit}.csv"
    path.write_text(f"slide_id,path,sha256\ngood,good.tiff,{'0' * 64}\n")
    words = ["--out", tmp_path, "--until", "read", "--workers", "1", "--set", f"batch.digest_max_gb={limit}"]
    met = run("run", path, *words)
    assert met.returncode == (1 if is_fault else 3)
    assert "sha256" in (met.stderr if is_fault else (tmp_path / "summary.md").read_text())


def test_heavy_libraries_are_left_alone_until_the_command_runs() -> None:
    program = (
        "import sys; import wsigraph.cli.main; print([m for m in ('distributed', 'dask', 'rich') if m in sys.modules])"
    )
    shown = subprocess.run([command()[0], "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
