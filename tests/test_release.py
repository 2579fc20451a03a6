"""What a release needs is there and has the form that its readers expect; no release is made here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RECIPE = yaml.safe_load((ROOT / "packaging" / "conda-forge" / "recipe.yaml").read_text(encoding="utf-8"))
CONDA_NAMES = {"dask[array]": "dask-core", "matplotlib": "matplotlib-base", "torch": "pytorch",
               "torch-geometric": "pytorch_geometric"}  # fmt: skip
"""Names that conda-forge gives a package of PyPI."""


def workflow(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    # YAML 1.1 reads `on` as true
    return dict(yaml.safe_load(re.sub(r"^on:", "'on':", text, flags=re.M)))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_limits_and_few_rights(path: Path) -> None:
    content = workflow(path.stem)
    assert set(content["permissions"]) == {"contents"}
    for name, job in content["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert "@" in step.get("uses", "@"), step


def test_the_matrix_is_what_the_package_supports() -> None:
    matrix = workflow("test")["jobs"]["matrix"]["strategy"]["matrix"]
    stated = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert matrix["python"] == stated == ["3.11", "3.12", "3.13", "3.14"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert any(step.get("run") == ".ci/run" for step in workflow("test")["jobs"]["gate"]["steps"])


def test_publishing_stores_no_token() -> None:
    publish = workflow("release")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_the_recipe_installs_what_the_package_needs() -> None:
    needed = {}
    for line in PROJECT["dependencies"]:
        name, version = re.fullmatch(r"([\w\[\]-]+)>=([\w.]+)", line).groups()  # type: ignore[union-attr]
        needed[CONDA_NAMES.get(name, name)] = version
    # conda-forge has OpenSlide itself as a dependency of openslide-python
    needed.pop("openslide-bin")
    listed = dict(re.fullmatch(r"([\w-]+) >=([\w.]+)", line).groups() for line in RECIPE["requirements"]["run"])  # type: ignore[union-attr]
    assert listed.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    assert listed == needed
    assert RECIPE["schema_version"] == 1
    assert {"package", "source", "build", "tests", "about"} <= set(RECIPE)


def test_the_citation_invents_nothing() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "doi" not in text.lower()


@pytest.mark.parametrize("name", ["SECURITY.md", ".pre-commit-config.yaml", ".github/pull_request_template.md"])
def test_what_contributors_look_for_is_there(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").strip()


def test_every_package_of_the_environment_has_its_licence() -> None:
    page = (ROOT / "docs" / "about" / "licences.md").read_text(encoding="utf-8")
    names = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    missing = [name for name in names if f"| `{name}` |" not in page]
    assert missing == [], "run 'python -m docs.licences'"
    assert "LGPL" in page


def test_old_names_say_in_which_version_they_go() -> None:
    page = (ROOT / "docs" / "about" / "releases.md").read_text(encoding="utf-8")
    assert "## Deprecation" in page
    assert f"The current version is {PROJECT['version']}." in page
