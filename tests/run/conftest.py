"""One cluster of two worker processes on loopback for all tests of runs, and small cohorts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.run.batch.cohorts import content, write_slides
from wsigraph.config import Config, load
from wsigraph.run.steps import run_slide

if TYPE_CHECKING:
    from distributed import Client


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory, small_slide: Path) -> dict[str, Path]:
    """Five small slides of real tissue."""
    return write_slides(tmp_path_factory.mktemp("slides"), small_slide)


@pytest.fixture(scope="session")
def reference(slides: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Records of the five slides by a bare loop in this process."""
    out = tmp_path_factory.mktemp("reference")
    for slide_id, path in slides.items():
        run_slide(path, out, slide_id=slide_id, until="coarsen")
    return content(out)


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two worker processes of one thread each."""
    import dask
    from distributed import LocalCluster

    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def client(scheduler: str) -> Iterator[Client]:
    """A client of that scheduler that looks on."""
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        yield client


@pytest.fixture
def on_two(scheduler: str, client: Client) -> Config:
    """Settings that work on those two processes, once both are there again after an earlier test."""
    client.wait_for_workers(2, timeout=180)  # a busy machine starts processes slowly
    return load(
        overrides=[
            f"cluster.kind={scheduler}",
            "cluster.insecure=true",
            "batch.lease_beat_s=0.2",
            "batch.lease_stale_s=1.5",
        ]
    )
