"""The image and its composition, as far as that can be told without building them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
COPIED = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)


def test_what_is_copied_is_there_and_is_let_through() -> None:
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    names = [name for line in COPIED for name in line.split()]
    assert sorted(names) == sorted(let_through)
    for name in names:
        assert (ROOT / name).exists()


def test_it_runs_as_nobody_in_particular_with_pinned_versions() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    assert DOCKERFILE.rindex("\nUSER 10001") < DOCKERFILE.index("\nENTRYPOINT")
    assert "--constraint constraints.txt" in DOCKERFILE
    # python of the image is one that the package allows
    assert all(re.search(r"python:3\.1[12]-", base) for base in bases if not base.startswith("node:"))


def test_no_secret_stands_in_a_file_of_the_repository() -> None:
    for name, service in COMPOSE["services"].items():
        assert ":" in service["image"], name
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or key.endswith("_FILE"), key
            assert "password" not in str(value).lower() or str(value).startswith("/run/secrets/")
        for secret in service.get("secrets", ()):
            assert COMPOSE["secrets"][secret]["file"].startswith("./secrets/")
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_nothing_listens_beyond_this_machine() -> None:
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["service"]["ports"])
    assert "ports" not in COMPOSE["services"]["db"]
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            name = volume.split(":")[0]
            assert name.startswith("./") or name in COMPOSE["volumes"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed; it is GPL, so in no extra")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
