"""Jobs in a sandbox: the same bytes as outside it, bounded, ended with their worker, and answers that are checked."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.config import load
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.run.batch import compile_kernels
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.job_messages import deserialize_job, deserialize_outcome, serialize_job, serialize_outcome
from wsigraph.run.batch.lease import Holder
from wsigraph.run.batch.sandboxed_work import carry_out_sandboxed
from wsigraph.run.batch.work import carry_out

_TILED = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg"}


@pytest.fixture
def job(small_slide: Path, tmp_path: Path) -> Job:
    return Job(
        run_id="run", slide_id="s", path=str(small_slide), mpp=None, sha256=None, out=str(tmp_path / "out"),
        config=load(), model=None, until="tissue",
    )  # fmt: skip


def records(out: Path) -> dict[str, bytes]:
    files = (path for path in (out / "s").rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_records_are_those_of_work_outside_a_sandbox(job: Job, tmp_path: Path) -> None:
    inside = carry_out_sandboxed(replace(job, threads=2, memory_gb=8.0, max_s=600.0))
    assert (inside.status, inside.message) == ("done", "")
    assert carry_out(replace(job, out=str(tmp_path / "plain"))).status == "done"
    assert records(tmp_path / "out") == records(tmp_path / "plain")
    assert len(inside.sha256) == 64
    if os.getuid() == 0:
        assert (tmp_path / "out" / "s").stat().st_uid == 65534


def test_a_job_waits_for_kernels_and_a_bad_slide_does_not(job: Job, tmp_path: Path) -> None:
    """As after an installation: nothing is compiled, and another process is about to compile."""
    note = compile_kernels._note()
    if note is None:
        pytest.skip("compiled code can be kept nowhere")
    note.parent.mkdir(parents=True, exist_ok=True)
    was_compiled = note.exists()
    note.unlink(missing_ok=True)
    try:
        with note.with_name("compiling.lock").open("a") as lock, ThreadPoolExecutor(1) as threads:
            fcntl.flock(lock, fcntl.LOCK_EX)
            bad = carry_out_sandboxed(replace(job, path="nothing.svs", out=str(tmp_path / "bad")))
            assert bad.error == "UnreadableSlide"
            assert compilers() == []
            good = threads.submit(carry_out_sandboxed, job)
            end = time.monotonic() + 60
            while not compilers():
                assert time.monotonic() < end
                time.sleep(0.1)
            time.sleep(0.5)
            assert not good.done()
            note.touch()
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert good.result(90).status == "done"
    finally:
        if not was_compiled:
            note.unlink()


def compilers() -> list[int]:
    """Return the processes that compile kernels for processes of this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            grandparent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if b"compile_kernels" in words and grandparent == os.getpid():
            found.append(int(folder.name))
    return found


def test_limits_of_time_and_pixels_end_one_job_with_the_reason(job: Job, tmp_path: Path) -> None:
    wide = carry_out_sandboxed(replace(job, max_mpx=1.0))
    assert (wide.error, "service.job_max_mpx" in wide.message) == ("TooLarge", True)
    late = carry_out_sandboxed(replace(job, max_s=0.01))
    assert (late.error, "service.job_max_h" in late.message) == ("TooLarge", True)
    # the next job is served all the same
    assert carry_out_sandboxed(job).status == "done"


def test_a_tiny_file_that_claims_a_huge_slide_is_refused_at_once(job: Job, tmp_path: Path) -> None:
    huge = tmp_path / "huge.tiff"
    # one IFD: width, height, 8-bit grey, tiles of 256 px, whose offsets and counts are missing
    tags = [(256, 4, 400_000), (257, 4, 400_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1), (322, 3, 256),
            (323, 3, 256), (324, 4, 0), (325, 4, 0)]  # fmt: skip
    content = b"II*\0" + np.uint32(8).tobytes() + np.uint16(len(tags)).tobytes()
    for tag, kind, value in tags:
        content += np.uint16([tag, kind]).tobytes() + np.uint32([1, value]).tobytes()
    huge.write_bytes(content + bytes(4))
    assert huge.stat().st_size == 134
    began = time.monotonic()
    outcome = carry_out(replace(job, path=str(huge), mpp=0.25))
    assert (outcome.status, outcome.error, time.monotonic() - began < 10.0) == ("failed", "UnreadableSlide", True)
    # where a reader opens it, its size gives it away
    white = tmp_path / "white.tiff"
    tifffile.imwrite(white, np.full((256, 256, 3), 255, np.uint8), **_TILED)
    with tifffile.TiffFile(white, mode="r+b") as handle:
        handle.pages[0].tags["ImageWidth"].overwrite(60_000)
        handle.pages[0].tags["ImageLength"].overwrite(60_000)
    outcome = carry_out(replace(job, path=str(white), mpp=0.25))
    assert outcome.status == "failed"
    assert outcome.error in ("UnreadableSlide", "TruncatedSlide")


def test_a_white_slide_is_not_taken_for_a_trick(tmp_path: Path) -> None:
    from wsigraph.slide.opening import open_reader

    white = tmp_path / "white.tiff"
    tifffile.imwrite(white, np.full((4096, 4096, 3), 255, np.uint8), **_TILED)
    open_reader(white)[1].close()


def test_the_process_of_a_job_ends_with_its_worker(job: Job) -> None:
    code = """
        import os, sys, threading
        from wsigraph.run.batch import sandboxed_work
        process = sandboxed_work._Process()
        print(process.process.pid, flush=True)
        sys.stdin.read()
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        started = int(worker.stdout.readline())
        worker.send_signal(signal.SIGKILL)
    end = time.monotonic() + 120
    while Path(f"/proc/{started}/status").exists() and "zombie" not in Path(f"/proc/{started}/status").read_text():
        assert time.monotonic() < end, "it outlived its worker"
        time.sleep(0.1)


def test_jobs_and_outcomes_come_back_and_a_forged_outcome_is_refused(job: Job) -> None:
    holder = Holder(run_id="r", host="h", process=1, nonce="n", beat_ns=2)
    whole = replace(job, seen_stale=holder, explain=ExplanationRequest(target="stage"), memory_gb=2.0)
    assert deserialize_job(serialize_job(whole)) == whole
    outcome = Outcome(status="held", holder=holder, seconds={"read": 1.0}, resumed=("read",))
    assert replace(deserialize_outcome(serialize_outcome(outcome), ""), busy_s={}) == outcome
    for forged in ({}, {"status": "stolen"}, serialize_outcome(outcome) | {"seconds": 3}):
        with pytest.raises(ValueError, match=r"expected one of|no outcome"):
            deserialize_outcome(forged, "")
