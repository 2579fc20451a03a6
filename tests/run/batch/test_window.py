"""A manifest of 100,000 rows: it starts at once, and never more than a few hundred tasks are in flight."""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.run.batch.cohorts import do_nothing, manifest_of, row
from wsigraph.cohort.manifest.manifest import ManifestRow
from wsigraph.config import load
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.job import Job
from wsigraph.run.batch.run import run_cohort
from wsigraph.run.batch.run_state import read_states
from wsigraph.run.batch.tally import Tally
from wsigraph.run.batch.work import carry_out

N_ROWS = 100_000


class EnoughError(Exception):
    """Ends a run that has shown what was asked of it."""


def simulated(folder: Path) -> list[ManifestRow]:
    return [row(2 + n, f"slide-{n:06d}", folder / f"slide-{n:06d}.svs") for n in range(N_ROWS)]


def watched(tmp_path: Path, enough: int) -> tuple[float, int, Tally]:
    """Return seconds to the first slide, most tasks at the scheduler and the tally, after `enough` slides."""
    manifest = manifest_of(simulated(tmp_path))
    config = load(overrides=["cluster.kind=threads", "cluster.workers=64", "batch.max_in_flight=200"])
    clusters = []
    started, first, most, seen = time.perf_counter(), 0.0, 0, Tally(total=0)

    def watch(tally: Tally, active: list[Active]) -> None:
        nonlocal first, most, seen
        seen = tally
        first = first or (time.perf_counter() - started if tally.done else 0.0)
        assert len(active) <= 200
        most = max(most, len(clusters[0].client.cluster.scheduler.tasks))
        if tally.done >= enough:
            raise EnoughError

    with suppress(EnoughError):
        run_cohort(manifest, tmp_path, config, watch=watch, started=clusters.append, work=do_nothing, until="graph")
    return first, most, seen


def test_it_starts_at_once_and_stays_small(tmp_path: Path) -> None:
    first, most, tally = watched(tmp_path, 1500)
    assert first < 10.0
    assert 50 < most <= 400
    assert tally.done >= 1500
    (state,) = read_states(tmp_path)
    assert state.status == "stopped"
    assert state.content["slides"] == N_ROWS
    assert len(state.content["slowest"]) == 10


def test_a_job_is_small_and_travels() -> None:
    config = load(overrides=["superpixel.spacing_um=41"])
    job = Job(
        run_id="r", slide_id="s", path="s.svs", mpp=0.25, sha256=None, out="runs", config=config, model=None,
        until="graph",
    )  # fmt: skip
    packed = pickle.dumps(job)
    assert len(packed) < 10_000
    assert pickle.loads(packed) == job
    assert pickle.loads(pickle.dumps(carry_out)) is carry_out


@pytest.mark.slow
def test_all_of_it(tmp_path: Path) -> None:
    first, most, tally = watched(tmp_path, N_ROWS + 1)
    assert first < 10.0
    assert most <= 400
    assert tally.done == N_ROWS
    assert not (tmp_path / "summary.json").stat().st_size > 100_000
