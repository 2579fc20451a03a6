"""How a command ends when something is wrong: one line on stderr (of a manifest, one a fault) and an exit code.

0 done; 1 an error that wsigraph raises on purpose, or one it did not foresee; 2 wrong usage; 3 some slides of several
failed; 130 interrupted. A traceback is shown only with ``--debug``.
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
    """Return a verb that ends with one line and an exit code where it fails.

    Parameters
    ----------
    verb : callable
        A command with a keyword argument ``debug``; where that is true, errors pass with their traceback.

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
        _say_what_is_logged()
        try:
            verb(*arguments, **options)
        except KeyboardInterrupt:
            tell_interrupted()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (typer.Exit, typer.BadParameter, BrokenPipeError):
            raise
        except Exception as error:
            if options["debug"]:
                raise
            # a manifest's faults are a list, which one line would bury
            say(str(error) if isinstance(error, CohortError) else describe(error))
            raise typer.Exit(EXIT_ERROR) from None

    return ending  # type: ignore[return-value]  # wraps() keeps the signature that typer reads


def tell_interrupted() -> None:
    """Tell the user of an interruption, and that nothing finished is lost."""
    # zarr's event loop dies with work in flight, and asyncio would tell of every piece
    logging.getLogger("asyncio").disabled = True
    say("interrupted; run the same command again to go on after the last finished stage")


def describe(error: BaseException) -> str:
    """Return an error as one line; one that was not foreseen says so."""
    text = " ".join(str(error).split())
    if isinstance(error, WsigraphError):
        return text
    return f"unexpected {type(error).__name__}: {text or 'no message'}; run again with --debug and report what it shows"


class _SayingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def _say_what_is_logged() -> None:
    """Have what the library logs look like the rest of what a command says."""
    logger = logging.getLogger("wsigraph")
    if not any(isinstance(handler, _SayingHandler) for handler in logger.handlers):
        logger.addHandler(_SayingHandler())


def say(text: str) -> None:
    """Write to stderr what the command has to say beside its output."""
    print(f"wsigraph: {text}", file=sys.stderr, flush=True)
