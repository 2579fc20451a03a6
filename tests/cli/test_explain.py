"""``wsigraph explain`` and ``predict --explain``: what is printed, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import RECORDS, SLIDE, Finished, Run, content
from wsigraph.explanation.reference import load_reference
from wsigraph.model.bundle import SHIPPED, load_bundle

EXPLAINED = ["explanation.geojson", "explanation.json", "explanation.png", "explanation.safetensors", "report.html"]
QUICK = ("--set", "explanation.random_orders=10", "--set", "explanation.steps=10")


@pytest.fixture(scope="module")
def out(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    shutil.copytree(finished.directory, folder / SLIDE.stem)
    return folder


def test_it_tells_why_and_writes_the_page(run: Run, finished: Finished, out: Path) -> None:
    process = run("explain", SLIDE, "--out", out, "--perturb", "nuclear density", *QUICK)
    assert (process.returncode, process.stderr) == (0, "")
    assert "The predicted risk is" in process.stdout
    assert any(said in process.stdout for said in ("Structure 1 ", "Nothing is localised", "in scattered regions"))
    assert "The claim " in process.stdout
    assert "research use only" in process.stdout
    assert sorted(path.name for path in (out / SLIDE.stem).iterdir()) == sorted([*RECORDS, *EXPLAINED])
    before, after = content(finished.directory), content(out / SLIDE.stem)
    assert {name: after[name] for name in before} == before, "what predict wrote is left as it was"

    again = run("predict", SLIDE, "--out", out, "--explain", "risk", *QUICK, "--json")
    assert again.returncode == 0, again.stderr
    shown = json.loads(again.stdout)
    assert {"explain", "page"} <= set(shown["resumed"])
    assert set(EXPLAINED) <= set(shown["files"])
    assert content(out / SLIDE.stem) == after

    described = run("explain", SLIDE, "--out", out, *QUICK, "--json", "--perturb", "1 -> 2")
    output = json.loads(described.stdout)
    assert output["facts"]["target"] == "risk"
    assert output["perturbation_tests"][0]["claim"] == "1 -> 2"
    assert output["text"] == process.stdout.split("\nThe claim ")[0].splitlines()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "grade"), "expected stage, risk or survival@DAYS"),
        (("--perturb", "nuclear densty"), "did you mean 'nuclear density'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    run: Run, out: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    shutil.copytree(out / SLIDE.stem, tmp_path / SLIDE.stem)
    process = run("explain", SLIDE, "--out", tmp_path, *QUICK, *options)
    assert process.returncode == 1
    assert process.stderr.splitlines() == [process.stderr.strip()]
    assert said in process.stderr


def test_a_manifest_names_the_site_that_a_slide_is_compared_with(run: Run, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / SLIDE.stem, tmp_path / "runs" / SLIDE.stem)
    bundle = load_bundle(SHIPPED)
    reference = load_reference(SHIPPED, bundle)
    assert reference is not None
    site_seen = reference.site_names[1]
    known, unknown = tmp_path / "known.csv", tmp_path / "unknown.csv"
    for path, site in ((known, site_seen), (unknown, "elsewhere")):
        path.write_text(f"slide_id,patient_id,path,site\n{SLIDE.stem},p1,{SLIDE},{site}\n")
    same_site = (*QUICK, "--set", "explanation.reference=site", "--out", tmp_path / "runs")
    process = run("explain", "--manifest", known, *same_site, "--json")
    assert process.returncode == 0, process.stderr
    (output,) = json.loads(process.stdout)["slides"]
    assert output["facts"]["reference_input"].endswith(f" {site_seen}")

    again = run("predict", "--manifest", known, "--explain", "risk", *same_site, "--json")
    assert again.returncode == 0, again.stderr
    assert {"explain", "page"} <= set(json.loads(again.stdout)["slides"][0]["resumed"])

    refused = run("explain", "--manifest", unknown, *same_site)
    assert refused.returncode == 3
    assert "site 'elsewhere' was not in training" in refused.stderr
