"""Jobs and outcomes as JSON, for the pipes to a process in a sandbox.

A hostile slide may have taken over the process that answers, so an outcome is checked field by field and its texts are
bounded. Nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from wsigraph.config import Config
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder

_MAX_TEXT = 4000
_STATUSES = ("done", "failed", "held")


def serialize_job(job: Job) -> dict[str, Any]:
    """Return a job as JSON values."""
    values = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    values["config"] = job.config.model_dump(mode="json")
    for name in ("seen_stale", "explain"):
        values[name] = None if values[name] is None else dataclasses.asdict(values[name])
    return values


def deserialize_job(values: Mapping[str, Any]) -> Job:
    """Return the job of `serialize_job`."""
    fields = dict(values)
    fields["config"] = Config.model_validate(fields["config"])
    fields["seen_stale"] = None if fields["seen_stale"] is None else Holder(**fields["seen_stale"])
    fields["explain"] = None if fields["explain"] is None else ExplanationRequest(**fields["explain"])
    return Job(**fields)


def serialize_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values."""
    return dataclasses.asdict(outcome)


def deserialize_outcome(values: Mapping[str, Any], worker: str) -> Outcome:
    """Return the outcome that a process in a sandbox reported.

    Parameters
    ----------
    values : mapping
        What it sent.
    worker : str
        Address of the worker that started it.

    Returns
    -------
    Outcome
        With `worker` as its worker, whatever the process says.

    Raises
    ------
    ValueError
        If it is no outcome.
    """
    try:
        status, holder = values["status"], values["holder"]
        if status not in _STATUSES:
            raise ValueError(f"status {str(status)[:_MAX_TEXT]!r}, expected one of {', '.join(_STATUSES)}")
        elapsed_s = float(values["elapsed_s"])
        return Outcome(
            status=status,
            worker=worker,
            seconds={str(step)[:32]: float(seconds) for step, seconds in list(values["seconds"].items())[:32]},
            resumed=tuple(str(step)[:32] for step in values["resumed"][:32]),
            mpx=float(values["mpx"]),
            elapsed_s=elapsed_s,
            busy_s={worker: elapsed_s},
            peak_bytes=int(values["peak_bytes"]),
            step=str(values["step"])[:32],
            error=str(values["error"])[:64],
            message=str(values["message"])[:_MAX_TEXT],
            is_disk_full=bool(values["is_disk_full"]),
            holder=None if holder is None else _holder(holder),
            mark=str(values["mark"])[:_MAX_TEXT],
            withheld=str(values["withheld"])[:_MAX_TEXT],
            sha256=str(values["sha256"])[:64],
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"no outcome of a job ({type(error).__name__}: {error})") from None


def _holder(values: Mapping[str, Any]) -> Holder:
    return Holder(
        run_id=str(values["run_id"])[:256],
        host=str(values["host"])[:256],
        process=int(values["process"]),
        nonce=str(values["nonce"])[:64],
        beat_ns=int(values["beat_ns"]),
    )
