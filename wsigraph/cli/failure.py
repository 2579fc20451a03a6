"""How a command ends after an error: one line on stderr (for a manifest, one per fault) and an exit code.

0 done; 1 an error, expected or not; 2 wrong usage; 3 some of several slides failed; 130 interrupted. A traceback is
shown only with ``--debug``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from wsigraph.errors import CohortError, WsigraphError

EXIT_ERROR = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

Verb = TypeVar("Verb", bound=Callable[..., None])


def ends_plainly(verb: Verb) -> Verb:
    """Return a command that ends with one line and an exit code if it fails.

    Parameters
    ----------
    verb : callable
        A command with a keyword argument ``debug``; if that is true, errors are raised with their traceback.

    Returns
    -------
    callable
        The same command.

    Raises
    ------
    typer.Exit
        With code 1 for an error, 130 for an interruption; raised by the returned command.
    """

    @wraps(verb)
    def ending(*arguments: Any, **options: Any) -> None:
        _print_log()
        try:
            verb(*arguments, **options)
        except KeyboardInterrupt:
            report_interrupted()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (typer.Exit, typer.BadParameter, BrokenPipeError):
            raise
        except Exception as error:
            if options["debug"]:
                raise
            # the faults of a manifest are a list, one per line
            say(str(error) if isinstance(error, CohortError) else describe(error), logging.ERROR)
            raise typer.Exit(EXIT_ERROR) from None

    return ending  # type: ignore[return-value]  # wraps() keeps the signature that typer reads


def report_interrupted() -> None:
    """Print that the command was interrupted and that finished steps are kept."""
    # zarr's event loop ends with tasks in flight, and asyncio would log each of them
    logging.getLogger("asyncio").disabled = True
    say("interrupted; run the same command again to continue after the last finished step")


def describe(error: BaseException) -> str:
    """Return an error as one line, which says if the error was unexpected."""
    text = " ".join(str(error).split())
    if isinstance(error, WsigraphError):
        return text
    return f"unexpected {type(error).__name__}: {text or 'no message'}; run again with --debug and report what it shows"


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name != _COMMAND:
            _print(self.format(record), record.levelno)


_COMMAND = "wsigraph.command"
"""Logger of the messages that a command prints itself."""
_IS_QUIET = False


def set_quiet(quiet: bool) -> None:
    """Choose whether only errors are printed."""
    global _IS_QUIET
    _IS_QUIET = quiet


def set_least_shown(level: int) -> None:
    """Choose from which level on messages of the library are printed."""
    _print_log()
    for handler in logging.getLogger("wsigraph").handlers:
        if isinstance(handler, _StderrHandler):
            handler.setLevel(level)


def _print_log() -> None:
    """Print what the library logs in the same form as the messages of the command."""
    logger = logging.getLogger("wsigraph")
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())


def say(text: str, level: int = logging.INFO) -> None:
    """Print a message on stderr, apart from the output of the command, and log it.

    Parameters
    ----------
    text : str
        The message.
    level : int
        Level of `logging`; with ``--quiet``, those below an error are not printed.
    """
    logging.getLogger(_COMMAND).log(level, text)
    _print(text, level)


def _print(text: str, level: int) -> None:
    if not _IS_QUIET or level >= logging.ERROR:
        print(f"wsigraph: {text}", file=sys.stderr, flush=True)
