"""Scheduler and worker that open no port for HTTP.

Those of dask serve metrics, logs, call stacks and the names of what is worked on to everybody who reaches their HTTP
ports, and have no setting that keeps them from it; of threads alone, the worker's port is open to the whole network.
Nothing here reads those pages. Only the scheduler's, which is the dashboard, can be asked for.
"""

from __future__ import annotations

from typing import Any

from distributed import Scheduler, Worker


class QuietScheduler(Scheduler):
    """A scheduler without HTTP."""

    def start_http_server(self, *_arguments: Any, **_options: Any) -> None:
        """Start nothing."""


class QuietWorker(Worker):
    """A worker without HTTP."""

    def start_http_server(self, *_arguments: Any, **_options: Any) -> None:
        """Start nothing."""
