"""What is written beside results: options before the command for more, less, or a file of messages."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and results alone.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print what is logged for details.")]
LogFile = Annotated[
    Path | None, typer.Option("--log-file", metavar="FILE", help="Append all messages to a file, with their times.")
]
JsonLog = Annotated[bool, typer.Option("--json-log", help="Write the lines of --log-file as JSON.")]


def set_up_log(quiet: bool, verbose: bool, log_file: Path | None, json_log: bool) -> None:
    """Apply the options of messages.

    Parameters
    ----------
    quiet, verbose : bool
        Less or more on stderr.
    log_file : Path or None
        File to append to.
    json_log : bool
        Whether its lines are JSON objects.
    """
    from wsigraph.cli import failure

    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose are both given, expected one")
    if json_log and log_file is None:
        raise typer.BadParameter("--json-log is the form of --log-file; give that too")
    failure.set_quiet(quiet)
    logger = logging.getLogger("wsigraph")
    logger.setLevel(logging.DEBUG if verbose or log_file is not None else logging.WARNING)
    failure.set_least_shown(logging.DEBUG if verbose else logging.WARNING)
    if log_file is None:
        return
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(log_file, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--log-file {log_file} cannot be written: {error.strerror}") from None
    handler.setFormatter(_JsonLine() if json_log else _TextLine("%(asctime)sZ %(levelname)s %(message)s"))
    logger.addHandler(handler)


class _TextLine(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03d"


class _JsonLine(_TextLine):
    """One JSON object a line: time (UTC), level, logger and message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{self.formatTime(record)}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
