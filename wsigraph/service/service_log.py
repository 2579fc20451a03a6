"""The log of the service: one line an event, with its time and the request it belongs to."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from wsigraph.service.request_context import current_request_id
from wsigraph.service.shown_names import show_safely


class RequestFormatter(logging.Formatter):
    """Writes time (UTC), level, request and logger before each message."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return the time in UTC, to the millisecond."""
        at = datetime.fromtimestamp(record.created, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        """Return a line. Characters that would turn or end it are shown by their code."""
        record.request = current_request_id()
        # a traceback has several lines of its own, a message has one
        record.msg = show_safely(record.getMessage())
        record.args = None
        return super().format(record)


def log_config() -> dict[str, Any]:
    """Return the configuration of the log, for `logging.config.dictConfig` and uvicorn."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "wsigraph.service.service_log.RequestFormatter",
                "format": "%(asctime)s %(levelname)s [%(request)s] %(name)s: %(message)s",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "wsigraph": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }
