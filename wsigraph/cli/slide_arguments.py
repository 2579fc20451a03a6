"""Slides of a command, named one by one or by a manifest; one that fails does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from wsigraph.cli.failure import EXIT_SOME_FAILED, describe, say

if TYPE_CHECKING:
    from wsigraph.config import Config

FromManifest = Annotated[
    str | None,
    typer.Option("--manifest", metavar="FILE", help="Take slides, names and pixel sizes from a manifest (CSV)."),
]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSlide:
    """A slide to work on.

    Attributes
    ----------
    path : str
        Slide file or folder.
    slide_id : str or None
        Name in a manifest; where there is none, the file's name counts.
    mpp : float or None
        Pixel size that overrules the file's, um/px.
    site : str or None
        Hospital or scanner site, as the manifest says.
    """

    path: str
    slide_id: str | None
    mpp: float | None
    site: str | None = None

    @property
    def label(self) -> str:
        """What messages call the slide."""
        return self.slide_id or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The slides of one command.

    Attributes
    ----------
    slides : tuple of NamedSlide
        In the order given.
    is_single : bool
        Whether one slide was named by itself: its error is the command's, its result is not in a list.
    """

    slides: tuple[NamedSlide, ...]
    is_single: bool


def select_slides(
    named: Sequence[str] | None, manifest: str | None, mpp: float | None, settings: Config | None = None
) -> Selection:
    """Return the slides that a command is to work on.

    Parameters
    ----------
    named : sequence of str or None
        Slides on the command line, folders that hold slides, and globs.
    manifest : str or None
        Value of ``--manifest``, in their place. Its warnings are told.
    mpp : float or None
        Value of ``--mpp``; a row's own pixel size wins over it.
    settings : Config, optional
        Where the names of stages come from; the defaults where left out.

    Returns
    -------
    Selection
        The slides.
    """
    if (manifest is None) == (not named):
        raise typer.BadParameter("give slides, or a manifest with --manifest")
    if manifest is None:
        groups = [_named_slides(text, mpp) for text in named or ()]
        slides = tuple(slide for group in groups for slide in group)
        return Selection(slides=slides, is_single=len(slides) == 1 and slides[0].slide_id is None)
    from wsigraph.cli.progress import progress_line
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.config import Config

    stage_names = (settings or Config()).model.stage_names
    with progress_line(manifest) as progress:
        read = read_manifest(manifest, stage_names=stage_names, requires=("path",), progress=progress)
    for warning in read.warnings:
        say(f"{manifest}: {warning}")
    rows = [(row, str(row.path)) for row in read.rows if row.path is not None]
    slides = tuple(
        NamedSlide(path=path, slide_id=row.slide_id, mpp=row.mpp or mpp, site=row.site) for row, path in rows
    )
    return Selection(slides=slides, is_single=False)


def _named_slides(text: str, mpp: float | None) -> list[NamedSlide]:
    """Return the slides that one argument names: a slide, a folder with its subfolders, or a glob."""
    path = Path(text)
    if not path.is_dir() and not any(sign in text for sign in "*?["):
        return [NamedSlide(path=text, slide_id=None, mpp=mpp)]
    from wsigraph.slide.discover import discover_glob, discover_slides, is_glob

    if path.is_dir():
        slides = discover_slides(path, recursive=True)
    elif is_glob(text):
        slides = discover_glob(text)
    else:
        return [NamedSlide(path=text, slide_id=None, mpp=mpp)]
    if [slide.path for slide in slides] == [path]:
        return [NamedSlide(path=text, slide_id=None, mpp=mpp)]
    return [NamedSlide(path=str(slide.path), slide_id=slide.slide_id, mpp=mpp) for slide in slides]


def refuse_equal_names(slides: Sequence[NamedSlide]) -> None:
    """Refuse two files that would write into the same directory."""
    from wsigraph.errors import StoreError
    from wsigraph.slide.reader import default_slide_id

    seen: dict[str, str] = {}
    for slide in slides:
        name = slide.slide_id or default_slide_id(Path(slide.path))
        if name in seen:
            raise StoreError(
                f"{seen[name]} and {slide.path} would both write to {name}/, expected files with different names; "
                "run them apart with different --out, or name them in a manifest"
            )
        seen[name] = slide.path


def work_through(
    selection: Selection,
    work: Callable[[NamedSlide], _Result],
    *,
    show: Callable[[_Result], None],
    plain: Callable[[_Result], dict[str, Any]],
    as_json: bool,
    debug: bool,
) -> None:
    """Work on slides one after another, print what came of them, and end with exit code 3 if some failed.

    Parameters
    ----------
    selection : Selection
        From `select_slides`.
    work : callable
        Takes a slide and returns what came of it.
    show : callable
        Prints that for people, as soon as it is there.
    plain : callable
        Turns that into plain values for ``--json``, printed as one object at the end.
    as_json : bool
        Whether to print JSON in place of what `show` prints.
    debug : bool
        Whether to show the traceback of a failure.
    """
    values: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for slide in selection.slides:
        try:
            result = work(slide)
        except Exception as error:
            if selection.is_single:
                raise
            if debug:
                import traceback

                traceback.print_exception(error)
            failed.append({"slide": slide.label, "error": type(error).__name__, "message": describe(error)})
            say(f"{slide.label}: {describe(error)}")
            continue
        if as_json:
            values.append(plain(result))
        else:
            show(result)
    if as_json:
        shown = values[0] if selection.is_single else {"slides": values, "failed": failed}
        print(json.dumps(shown, allow_nan=False))
    if failed:
        names = ", ".join(row["slide"] for row in failed)
        say(f"{len(failed)} of {len(selection.slides)} slides failed: {names}")
        raise typer.Exit(EXIT_SOME_FAILED)
