"""The process that runs jobs in a sandbox, ``python -m wsigraph.run.batch.sandbox_process``.

A worker starts it. For each job it forks a child, which enters the sandbox before it opens the slide. It ends, and its
child with it, when the worker closes the pipe or dies.
"""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from wsigraph.run.batch.compile_kernels import is_compiled
from wsigraph.run.batch.job import Job
from wsigraph.run.batch.job_messages import deserialize_job, serialize_outcome
from wsigraph.run.sandbox import protocol
from wsigraph.run.sandbox.child import SandboxedChild, import_before_fork
from wsigraph.run.sandbox.sandbox import Limits, slide_paths

_SCRATCH = "scratch"
_FIRST_STEP = "read"
_COMPILE_S = 120.0
_POLL_S = 0.2


def main() -> None:
    """Run jobs until the worker closes the pipe."""
    responses = os.fdopen(os.dup(1), "wb")
    # libraries that print to standard output must not write between two messages
    os.dup2(2, 1)
    import_before_fork(
        "wsigraph.slide", "wsigraph.graph", "wsigraph.outline", "wsigraph.model", "wsigraph.explanation",
        "wsigraph.report", "wsigraph.store", "wsigraph.run",
    )  # fmt: skip
    while True:
        try:
            values, _ = protocol.receive_message(sys.stdin.buffer)
        except EOFError:
            return
        job, waits = deserialize_job(values), not is_compiled()
        child = SandboxedChild(job_limits(job), _serve)
        try:
            child.send({"job": values, "waits": waits})
            if not _relay(child, responses, waits=waits):
                return
        except (EOFError, OSError, ValueError):
            protocol.send_message(responses, {"lost": child.cause()})
        finally:
            child.end()


def _compile_kernels() -> bool:
    """Have the kernels compiled where jobs find them, or wait for another process that does so.

    Returns
    -------
    bool
        Whether the worker is still there. If compiling failed or took too long, jobs compile their kernels themselves.
    """
    until = time.monotonic() + _COMPILE_S
    with subprocess.Popen(
        [sys.executable, "-m", "wsigraph.run.batch.compile_kernels"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as compiling:
        try:
            while compiling.poll() is None and time.monotonic() < until:
                # the worker sends nothing while it waits for its job, so this is the end of the pipe
                if select.select([sys.stdin], [], [], _POLL_S)[0]:
                    return False
        finally:
            compiling.kill()
    return True


def job_limits(job: Job) -> Limits:
    """Return what the process of a job may use; its directories are made where missing.

    Parameters
    ----------
    job : Job
        The job.

    Returns
    -------
    Limits
        The slide and the model may be read, the directory of the job may be changed.
    """
    out = Path(job.out)
    (out / ".batch" / _SCRATCH).mkdir(parents=True, exist_ok=True)
    given = [Path(job.path)] if job.path is not None else []
    targets = {*given, *(slide.resolve() for slide in given)}
    slides = [path for name in targets for path in slide_paths(name, is_upload=job.must_be_self_contained)]
    settings = job.config
    files = (job.features, job.model, settings.model.path, settings.coarsening.weights)
    return Limits(
        read=(*slides, *(Path(file) for file in files if file), *_encoder_paths(job)),
        write=(out,),
        memory_bytes=int(job.memory_gb * 1e9),
    )


def _encoder_paths(job: Job) -> tuple[Path, ...]:
    """Return where encoders of other packages keep their weights."""
    if job.config.feature.encoder is None:
        return ()
    home = Path.home() / ".cache"
    hub, torch = os.environ.get("HF_HOME", home / "huggingface"), os.environ.get("TORCH_HOME", home / "torch")
    return Path(hub), Path(torch)


def _serve(requests: IO[bytes], responses: IO[bytes]) -> None:
    """Run one job; this is called in the child, inside the sandbox."""
    from wsigraph.run.batch.work import carry_out_here

    message, _ = protocol.receive_message(requests)
    job, waits = deserialize_job(message["job"]), bool(message["waits"])
    tempfile.tempdir = str(Path(job.out) / ".batch" / _SCRATCH)

    def report(_topic: str, message: dict[str, Any]) -> None:
        nonlocal waits
        protocol.send_message(responses, message)
        if waits and message["stage"] != _FIRST_STEP:
            # the first kernel is called next
            waits = False
            protocol.receive_message(requests)

    outcome = carry_out_here(job, worker="", log=report)
    protocol.send_message(responses, {"outcome": serialize_outcome(outcome)})


def _relay(child: SandboxedChild, responses: IO[bytes], *, waits: bool) -> bool:
    """Pass on messages of the child until its outcome; return False if the worker is gone.

    A child that waits goes on once the kernels are compiled. A slide that cannot be read does not wait for that.
    """
    with selectors.DefaultSelector() as selector:
        for descriptor in (sys.stdin.fileno(), child.responses.fileno()):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if sys.stdin.fileno() in ready:
                # the worker sends nothing while a job runs, so this is the end of the pipe
                return False
            header, body = protocol.receive_message(child.responses)
            protocol.send_message(responses, header, body)
            if "outcome" in header:
                return True
            if waits and header.get("stage") != _FIRST_STEP:
                waits = False
                if not _compile_kernels():
                    return False
                child.send({})


if __name__ == "__main__":
    main()
