"""One supervisor, two sources: what holds for the rows of a manifest holds for stored jobs, by the same settings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.run.batch.cohorts import row
from tests.service.contexts import hang, mark, marks, settings
from tests.service.test_supervisor import Work, add, scheduler
from wsigraph.config import Config
from wsigraph.errors import ClusterError
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder, acquire
from wsigraph.run.batch.manifest_source import ManifestSource
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.batch.slide_supervisor import SlideSupervisor
from wsigraph.run.batch.source import Source
from wsigraph.run.cluster import connect
from wsigraph.service.jobs.job_source import JobSource
from wsigraph.service.jobs.schema import ACTIVE, FAILED
from wsigraph.service.jobs.store import JobStore

__all__ = ["scheduler"]
_THREADS = ("cluster.kind=threads", "cluster.workers=2", "service.sandbox=false")


@dataclass
class Slides:
    """Some slides from one kind of source, and how to look at their ends."""

    kind: str
    folder: Path
    config: Config
    source: Source[Any]
    outs: list[Path]
    store: JobStore

    @property
    def names(self) -> list[str]:
        return [f"slide-{number}" for number in range(len(self.outs))]

    def has_ended(self) -> bool:
        if isinstance(self.source, ManifestSource):
            return self.source.tally.finished == len(self.outs)
        return all(job.state not in ACTIVE for job in self.store.latest())

    def failures(self) -> list[tuple[str, str, int]]:
        """Return step, error and number of attempts of each slide that failed."""
        if isinstance(self.source, ManifestSource):
            return [(each.step, each.error, each.attempts) for each in self.source.tally.failures]
        return [(job.step, job.error, job.attempts) for job in self.store.latest() if job.state == FAILED]

    def supervise(self, work: Work, enough: Callable[[], bool] | None = None, within_s: float = 60.0) -> None:
        """Run the slides until all have ended, or there is enough of it."""
        end = time.monotonic() + within_s
        with connect(self.config.cluster) as cluster:
            supervisor = SlideSupervisor(cluster, self.source, self.config, work=work)
            try:
                while supervisor.turn() and not (enough or self.has_ended)():
                    assert time.monotonic() < end, "they have not ended"
            finally:
                supervisor.leave()


@pytest.fixture(params=["manifest", "job store"])
def slides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Slides]]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")

    def make(n: int, *overrides: str) -> Slides:
        config, out = settings(*overrides), tmp_path / "out"
        out.mkdir()
        source: Source[Any]
        if request.param == "manifest":
            rows = [row(2 + number, f"slide-{number}", tmp_path / f"{number}.svs") for number in range(n)]
            source, outs = ManifestSource(rows, config, out, "a-run", until="report", model=None), [out] * n
        else:
            outs = [out / job.job_id for job in add(store, n)]
            source = JobSource(store, "a-service", out, config, None)
        return Slides(request.param, tmp_path, config, source, outs, store)

    yield make
    store.close()


def note(job: Job, text: object) -> None:
    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{job.slide_id}.txt").open("a") as stream:
        stream.write(f"{text}\n")


def notes(slides: Slides, number: int = 0) -> list[str]:
    path = slides.outs[number] / f"{slides.names[number]}.txt"
    return path.read_text().splitlines() if path.is_file() else []


def fail_at_first(job: Job) -> Outcome:
    """Fail the first time, wherever that is."""
    from distributed import get_worker

    note(job, address := get_worker().address)
    is_first = len((Path(job.out) / f"{job.slide_id}.txt").read_text().splitlines()) == 1
    error = {"status": "failed", "step": "read", "error": "UnreadableSlide", "message": "m"} if is_first else {}
    return Outcome(**{"status": "done", "worker": address, "seconds": {"graph": 0.1}, **error})  # type: ignore[arg-type]


def find_nothing(job: Job) -> Outcome:
    note(job, "tried")
    return Outcome(status="failed", worker="w", step="tissue", error="NoTissue", message="no tissue")


def say_what(job: Job) -> Outcome:
    batch = job.config.batch
    note(job, f"{job.until} {batch.lease_beat_s:g} {batch.lease_stale_s:g}")
    return Outcome(status="done", worker="w", seconds={"graph": 0.1})


def take_lease(job: Job) -> Outcome:
    """Do nothing but what needs the lease of the slide."""
    lease = acquire(
        lease_path(Path(job.out), job.slide_id),
        job.run_id,
        beat_s=job.config.batch.lease_beat_s,
        seen_stale=job.seen_stale,
    )
    note(job, "tried")
    if isinstance(lease, Holder):
        return Outcome(status="held", holder=lease)
    with lease:
        return Outcome(status="done", worker="w", seconds={"graph": 0.1})


def work_while_it_holds(job: Job) -> Outcome:
    """Work for as long as the lease holds."""
    lease = acquire(lease_path(Path(job.out), job.slide_id), job.run_id, beat_s=0.1)
    if isinstance(lease, Holder):
        return Outcome(status="held", holder=lease)
    note(job, "began")
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end:
            lease.check()
            time.sleep(0.05)
    finally:
        lease.release()
        mark(Path(job.out) / "stopped")
    return Outcome(status="done")


def hold(path: Path) -> None:
    """Leave the lease of a machine that is gone."""
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"run_id": "another", "host": "vanished", "process": 7, "nonce": "n"}))


def test_a_slide_that_failed_is_tried_on_another_worker(slides: Callable[..., Slides], scheduler: str) -> None:
    two = slides(2, f"cluster.kind={scheduler}", "cluster.insecure=true", "batch.attempts=2")
    two.supervise(fail_at_first)
    assert two.failures() == []
    for number in range(2):
        first, second = notes(two, number)
        assert first != second
    if isinstance(two.source, ManifestSource):
        assert two.source.tally.retried == 2
    else:
        assert [(job.attempts, job.completions) for job in two.store.latest()] == [(2, 1)] * 2


@pytest.mark.parametrize(("final", "n_attempts"), [("NoTissue", 1), ("NotHE", 3)])
def test_only_what_may_change_is_tried_again(slides: Callable[..., Slides], final: str, n_attempts: int) -> None:
    one = slides(1, *_THREADS, "batch.attempts=3", f"batch.final_errors=['{final}']")
    one.supervise(find_nothing)
    assert one.failures() == [("tissue", "NoTissue", n_attempts)]
    assert len(notes(one)) == n_attempts


def test_steps_on_a_gpu_are_tasks_of_their_own(slides: Callable[..., Slides]) -> None:
    gpu = ("batch.gpu_stages=['graph']", "batch.lease_beat_s=3", "batch.lease_stale_s=11")
    one = slides(1, *_THREADS, *gpu, "cluster.gpus=1")
    one.supervise(say_what)
    # workers get the settings as they are
    assert notes(one) == ["segment 3 11", "graph 3 11", "report 3 11"]


def test_without_a_gpu_nothing_is_started(slides: Callable[..., Slides]) -> None:
    one = slides(1, *_THREADS, "batch.gpu_steps=['graph']")
    with pytest.raises(ClusterError, match="no worker offers the resource GPU"):
        one.supervise(say_what)
    assert notes(one) == []


def test_a_stale_lease_is_taken_over_after_its_time(slides: Callable[..., Slides]) -> None:
    one = slides(1, *_THREADS, "batch.lease_beat_s=0.3", "batch.lease_stale_s=1.2")
    hold(lease_path(one.outs[0], "slide-0"))
    began = time.monotonic()
    one.supervise(take_lease, within_s=20.0)
    took = time.monotonic() - began
    assert one.failures() == []
    assert took > 1.2
    # tried again after half a beat each time
    assert 3 <= len(notes(one)) <= took / 0.15


def test_who_leaves_stops_its_own_work_alone(slides: Callable[..., Slides]) -> None:
    two = slides(2, *_THREADS)
    other = lease_path(two.outs[1], "slide-1")
    hold(other)
    two.supervise(work_while_it_holds, enough=lambda: bool(notes(two)))
    end = time.monotonic() + 10
    while not marks(two.outs[0] / "stopped"):
        assert time.monotonic() < end, "the work goes on without its lease"
        time.sleep(0.05)
    assert not lease_path(two.outs[0], "slide-0").exists()
    assert other.exists()


def test_a_slide_that_hangs_is_given_up_and_its_worker_restarted(slides: Callable[..., Slides], scheduler: str) -> None:
    from distributed import Client

    one = slides(1, f"cluster.kind={scheduler}", "cluster.insecure=true", "batch.stall_s=1", "batch.attempts=1")
    with Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        before = set(client.nthreads())
        one.supervise(hang)
        assert one.failures() == [("graph", "TimeoutError", 1)]
        end = time.monotonic() + 60
        while len(set(client.nthreads()) - before) != 1:
            assert time.monotonic() < end, "no worker was restarted"
            time.sleep(0.1)
