"""A data directory of small slides, and a service on it without workers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import make_context, write_slide
from tests.service.finished import Finished, finish, opened
from wsigraph.service.app import create_app


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, small_slide: Path) -> Path:
    """Directory with the real slide, a made one, one without pixel size, and what is no slide."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copy(small_slide, folder / small_slide.name)
    (folder / "ward 7").mkdir()
    write_slide(folder / "ward 7" / "made one.tiff")
    write_slide(folder / "no-mpp.tiff", mpp=None, seed=1)
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "broken.svs").write_bytes(b"II*\0" + bytes(200))
    (folder / ".hidden.svs").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def client(data: Path) -> Iterator[TestClient]:
    """A client of a service without tokens and workers."""
    with TestClient(create_app(make_context(data)), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_slide: Path) -> Finished:
    """A data directory in which the real slide is explained."""
    return finish(tmp_path_factory.mktemp("finished"), small_slide)


@pytest.fixture(scope="session")
def explained(finished: Finished) -> Iterator[TestClient]:
    """A client of the service on it."""
    with TestClient(create_app(opened(finished)), base_url="http://127.0.0.1") as client:
        yield client
