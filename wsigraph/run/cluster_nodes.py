"""A dask scheduler and worker without HTTP ports.

The HTTP ports of dask serve metrics, logs, call stacks and the names of tasks to everybody who reaches them, and no
setting turns them off. With threads, the port of the worker is even open to the whole network. wsigraph does not use
these pages; only the dashboard, which is the page of the scheduler, can be requested.
"""

from __future__ import annotations

from typing import Any

from distributed import Scheduler, Worker


class QuietScheduler(Scheduler):
    """A scheduler without an HTTP server."""

    def start_http_server(self, *_arguments: Any, **_options: Any) -> None:
        """Start nothing."""


class QuietWorker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *_arguments: Any, **_options: Any) -> None:
        """Start nothing."""
