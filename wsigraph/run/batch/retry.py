"""When a slide is tried again, and what an error of the cluster means: one rule for cohorts and for the service."""

from __future__ import annotations

from wsigraph.config.runtime import BatchConfig

_DIED = (
    "the workers that tried it were killed, most likely because memory ran out; give workers more memory or set "
    "runtime.memory_gb"
)


def may_retry(error: str, attempt: int, settings: BatchConfig) -> bool:
    """Return whether a slide that failed is tried again, on another worker where there is one.

    Parameters
    ----------
    error : str
        Class of its error.
    attempt : int
        Number of the attempt that failed, from 1.
    settings : BatchConfig
        ``attempts`` and ``final_errors`` decide.

    Returns
    -------
    bool
        False after the last attempt, and for an error that another attempt would not change.
    """
    return error not in settings.final_errors and attempt < settings.attempts


def describe_cluster_error(error: BaseException) -> tuple[str, str]:
    """Return class and message of the error of a task that the cluster gave up."""
    name = type(error).__name__
    return name, _DIED if name == "KilledWorker" else " ".join(str(error).split()) or "no message"


def describe_cancelled() -> tuple[str, str]:
    """Return class and message of the error of a task that something else than this process has cancelled."""
    return "CancelledError", "the cluster cancelled the task; start it again"


def describe_stall(stall_s: float, worker: str) -> tuple[str, str]:
    """Return class and message of the error of a slide without progress, whose worker was restarted."""
    where = f" on {worker}" if worker else ""
    return "TimeoutError", (
        f"no progress for {stall_s:g} s{where}, so its worker was restarted; raise batch.stall_s if it needs longer"
    )
