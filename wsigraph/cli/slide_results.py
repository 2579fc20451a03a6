"""Results of a command over several slides: a slide that fails does not stop the others.

A command loops over its slides itself. `SlideResults.catch` encloses the work on one slide, `SlideResults.add` prints
or collects its result, and `SlideResults.finish` prints the JSON and ends the command with code 3 if a slide failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from wsigraph.cli.failure import EXIT_SOME_FAILED, describe, say
from wsigraph.cli.slide_arguments import NamedSlide, Selection


class SlideResults:
    """What a command has to print of its slides.

    Parameters
    ----------
    selection : Selection
        From `wsigraph.cli.slide_arguments.select_slides`.
    as_json : bool
        Whether to print one JSON object at the end, and nothing before.
    debug : bool
        Whether to show the traceback of a slide that fails.
    """

    def __init__(self, selection: Selection, *, as_json: bool, debug: bool) -> None:
        self.as_json = as_json
        self._selection = selection
        self._debug = debug
        self._values: list[dict[str, Any]] = []
        self._failed: list[dict[str, str]] = []

    @contextmanager
    def catch(self, slide: NamedSlide) -> Iterator[None]:
        """Note an error of the enclosed work and continue; the error of a slide named by itself passes."""
        try:
            yield
        except BrokenPipeError:
            # nobody reads the output any more: no fault of the slide
            raise
        except Exception as error:
            if self._selection.is_single:
                raise
            if self._debug:
                import traceback

                traceback.print_exception(error)
            message = describe(error)
            self._failed.append({"slide": slide.label, "error": type(error).__name__, "message": message})
            say(f"{slide.label}: {message}")

    def add(self, value: dict[str, Any]) -> None:
        """Collect what ``--json`` prints of one slide."""
        self._values.append(value)

    def print_text(self, text: str) -> None:
        """Print the result of one slide, with an empty line after it if there may be others."""
        print(text, end="\n" if self._selection.is_single else "\n\n", flush=True)

    def finish(self) -> None:
        """Print the collected JSON, and end with an exit code if slides failed.

        Raises
        ------
        typer.Exit
            With code 3 if at least one slide failed.
        """
        if self.as_json:
            several = {"slides": self._values, "failed": self._failed}
            print(json.dumps(self._values[0] if self._selection.is_single else several, allow_nan=False))
        if self._failed:
            names = ", ".join(slide["slide"] for slide in self._failed)
            say(f"{len(self._failed)} of {len(self._selection.slides)} slides failed: {names}")
            raise typer.Exit(EXIT_SOME_FAILED)
