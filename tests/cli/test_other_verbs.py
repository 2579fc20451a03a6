"""inspect, doctor, config, version and help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.cli.command import SLIDE, Run, write_tiff
from wsigraph import __version__
from wsigraph.config import Config


def test_inspect_says_what_the_file_says(run: Run) -> None:
    process = run("inspect", SLIDE)
    assert (process.returncode, process.stderr) == (0, "")
    for words in ("aperio", "2,220 x 2,967 px", "0.499 um/px (aperio.MPP)", "label, macro, thumbnail", "patient"):
        assert words in process.stdout


def test_inspect_as_json(run: Run) -> None:
    shown = json.loads(run("inspect", SLIDE, "--json").stdout)
    assert shown["mpp"] == 0.499
    assert shown["mpp_source"] == "aperio.MPP"
    assert shown["size"] == {"width": 2220, "height": 2967}
    assert shown["sha256"] == "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"


def test_inspect_shows_a_file_that_predict_would_refuse(run: Run, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "nompp.tiff", np.full((512, 512, 3), 200, np.uint8), None)
    process = run("inspect", slide)
    assert process.returncode == 0
    assert "--mpp" in process.stdout
    given = run("inspect", slide, "--mpp", 0.5)
    assert "0.5 um/px (given)" in given.stdout
    assert "--mpp" not in given.stdout


def test_inspect_of_nothing(run: Run, tmp_path: Path) -> None:
    process = run("inspect", tmp_path / "absent.svs")
    assert process.returncode == 1
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1


def test_doctor_finds_a_working_installation(run: Run) -> None:
    process = run("doctor")
    assert process.returncode == 0, process.stdout
    for words in ("torch", "reader tiled_tiff", "reader openslide", "encoder efficientnet_lite0", "gpu", "no fault"):
        assert words in process.stdout


def test_doctor_names_what_is_broken(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['openslide'] = None; sys.argv = ['wsigraph', 'doctor'];"
        "from wsigraph.cli.main import main; main()"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 1, process.stderr
    fault = next(line for line in process.stdout.splitlines() if line.startswith("FAULT"))
    assert "reader openslide" in fault
    assert "pip install" in fault


def doctor(prelude: str = "pass", **environment: str) -> dict[str, dict[str, str]]:
    """Return the findings of ``doctor --json`` by subject, after some lines of Python in the same process."""
    start = "sys.argv = ['wsigraph', 'doctor', '--json']; from wsigraph.cli.main import main; main()"
    program = f"import sys; {prelude}; {start}"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert process.returncode == 0, process.stdout + process.stderr
    values = json.loads(process.stdout)
    assert values["faults"] == 0
    return {finding["subject"]: finding for finding in values["findings"]}


def test_doctor_calls_plugins_and_does_not_only_load_them(tmp_path: Path) -> None:
    """tiatoolbox is absent, and a plugin of another package raises an error of its own when it is called."""
    (tmp_path / "other_plugin.py").write_text("def normaliser():\n    raise RuntimeError('no licence')\n")
    info = tmp_path / "other_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[wsigraph.stain_normalisers]\nother = other_plugin:normaliser\n")
    findings = doctor(f"sys.path.insert(0, {str(tmp_path)!r}); sys.modules['tiatoolbox'] = None")
    for subject in ("reader tiatoolbox", "stain normaliser tiatoolbox_macenko"):
        assert findings[subject]["status"] == "note"
        assert findings[subject]["state"].startswith("not installed: ")
        assert "pip install 'wsigraph[tiatoolbox]'" in findings[subject]["state"]
    other = findings["stain normaliser other"]
    assert (other["status"], other["state"]) == ("note", "cannot be called: RuntimeError: no licence")
    for subject in ("reader tiled_tiff", "reader image", "stain normaliser macenko", "survival head cox"):
        assert (findings[subject]["status"], findings[subject]["state"]) == ("ok", "can be called")


def test_doctor_names_places_and_tools(tmp_path: Path) -> None:
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\n")
    sbatch.chmod(0o755)
    findings = doctor(PATH=f"{sbatch.parent}{os.pathsep}{os.environ['PATH']}", TMPDIR=str(tmp_path))
    assert findings["sbatch"]["state"] == str(sbatch)
    assert re.fullmatch(rf"\d+\.\d GB free in {re.escape(str(tmp_path))}", findings["temporary directory"]["state"])
    assert findings["current directory"]["state"].endswith(f" GB free in {Path.cwd()}")
    assert {"OpenSeadragon", "gpu", "compiled kernels"} <= set(findings)
    empty = doctor(PATH=str(tmp_path))
    assert empty["sbatch"]["status"] == "note"
    assert "--cluster slurm" in empty["sbatch"]["state"]


def test_config_show_is_yaml_that_loads_again(run: Run, tmp_path: Path) -> None:
    process = run("config", "show", "--set", "superpixel.spacing_um=40")
    assert process.returncode == 0
    shown = yaml.safe_load(process.stdout)
    assert set(shown) == set(Config.model_fields)
    assert shown["superpixel"]["spacing_um"] == 40.0
    (tmp_path / "study.yaml").write_text(process.stdout)
    again = run("config", "show", "superpixel", "--config", tmp_path / "study.yaml")
    assert yaml.safe_load(again.stdout) == {"superpixel": shown["superpixel"]}
    assert run("config", "show", "superpixels").returncode == 1


def test_config_write_then_check(run: Run, tmp_path: Path) -> None:
    process = run("config", "write", tmp_path / "configs")
    assert process.returncode == 0
    assert len(process.stdout.splitlines()) == len(Config.model_fields)
    assert run("config", "check", tmp_path / "configs").returncode == 0
    (tmp_path / "configs" / "tissue.yaml").write_text("mpp: 400\n")
    process = run("config", "check", tmp_path / "configs")
    assert process.returncode == 1
    assert "tissue.mpp" in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_version(run: Run) -> None:
    assert run("version").stdout == f"wsigraph {__version__}\n"


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_as_an_option(run: Run, option: str) -> None:
    process = run(option)
    assert (process.returncode, process.stdout, process.stderr) == (0, f"wsigraph {__version__}\n", "")


@pytest.mark.parametrize("command", [(), ("version",), ("manifest", "check")])
def test_help_is_short_too(run: Run, command: tuple[str, ...]) -> None:
    process = run(*command, "-h")
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == run(*command, "--help").stdout
    assert "Usage: " in process.stdout


# typer itself imports pydantic, where that is installed, once it looks at a verb's own options
@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ("pydantic", "numpy", "yaml", "dask", "torch", "rich", "importlib.metadata")),
        (["predict", "--help"], ("numpy", "yaml", "dask", "torch", "rich")),
    ],
)
def test_help_imports_neither_settings_nor_numbers(arguments: list[str], heavy: tuple[str, ...]) -> None:
    program = (
        f"import sys, atexit; sys.argv = ['wsigraph', *sys.argv[1:]]; heavy = {heavy};"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr));"
        "from wsigraph.cli.main import main; main()"
    )
    process = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert "Usage: wsigraph" in process.stdout
    assert process.stderr.strip() == "[]"
