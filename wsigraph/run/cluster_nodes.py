"""A dask scheduler and worker without HTTP ports, and certificates whose paths a job script may hold.

The HTTP ports of dask serve metrics, logs, call stacks and the names of tasks to everybody who reaches them, and no
setting turns them off. With threads, the port of the worker is even open to the whole network. wsigraph does not use
these pages; only the dashboard, which is the page of the scheduler, can be requested.
"""

from __future__ import annotations

import shlex
from typing import Any

from distributed import Scheduler, Security, Worker


class QuietScheduler(Scheduler):
    """A scheduler without an HTTP server."""

    def start_http_server(self, *_arguments: Any, **_options: Any) -> None:
        """Start nothing."""


class QuietWorker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *_arguments: Any, **_options: Any) -> None:
        """Start nothing."""


class JobSecurity(Security):
    """Certificates in files, for a scheduler here and workers in jobs.

    dask-jobqueue writes the paths for workers into a shell script as they are, where a space would cut them.
    """

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:
        """Return the paths of a role, those for workers quoted for the shell."""
        files: dict[str, Any] = super().get_tls_config_for_role(role)  # type: ignore[no-untyped-call]
        if role != "worker":
            return files
        return {name: shlex.quote(value) if isinstance(value, str) else value for name, value in files.items()}
