"""A first manifest of a folder: which slides lie there, and what each file says of itself.

Nothing is guessed. A pixel size stands in the draft only where the file states a credible one; a patient only where
the caller asks for TCGA barcodes and the name begins with one; stages, follow-up and splits are the user's to fill in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from wsigraph.cohort.manifest.manifest import Manifest
from wsigraph.cohort.manifest.row import ManifestRow
from wsigraph.errors import SlideError
from wsigraph.slide import files, mpp
from wsigraph.slide.discover import DiscoveredSlide, discover_slides
from wsigraph.slide.opening import open_reader
from wsigraph.slide.slide_id import default_slide_id

_BARCODE = re.compile(r"TCGA-([0-9A-Z]{2})-([0-9A-Z]{4})(?![0-9A-Z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A manifest to be, and what the user should know before using it.

    Attributes
    ----------
    rows : tuple of ManifestRow
        Slides that a reader opens, by path. `patient_id` is empty where it is not known.
    unreadable : tuple of (Path, str)
        Files that no reader opens, and why.
    notes : tuple of str
        Pixel sizes that are missing or absurd, and names that had to change.
    """

    rows: tuple[ManifestRow, ...]
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]


def draft_manifest(
    slides: Sequence[DiscoveredSlide],
    *,
    digests: bool = False,
    tcga: bool = False,
    threads: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
) -> Draft:
    """Ask slides what they say of themselves.

    Parameters
    ----------
    slides : sequence of DiscoveredSlide
        From `wsigraph.slide.discover.discover_slides`.
    digests : bool
        Whether to read every slide whole for its SHA-256.
    tcga : bool
        Whether to take patient and site from TCGA barcodes in the names.
    threads : int
        Slides that are opened at a time.
    progress : callable, optional
        Told ("slides", opened, in all).

    Returns
    -------
    Draft
        Rows with free columns vendor, objective_power, width_px, height_px and mpp_source.
    """
    notes = [
        f"{slide.path} is named {slide.slide_id!r}: its file name is another slide's too, or cannot name a folder"
        for slide in slides
        if slide.slide_id != default_slide_id(slide.path) or slide.slide_id not in slide.path.name
    ]
    rows: list[ManifestRow] = []
    unreadable: list[tuple[Path, str]] = []
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="draft")
    try:
        answers = pool.map(lambda slide: _describe(slide.path, digests), slides)
        for done, (slide, answer) in enumerate(zip(slides, answers, strict=True), start=1):
            if isinstance(answer, SlideError):
                unreadable.append((slide.path, str(answer)))
            else:
                rows.append(_row(len(rows) + 2, slide.slide_id, slide.path, answer, tcga))
                if answer.problem:
                    notes.append(f"{answer.problem.partition(';')[0]}; its mpp is left empty, fill it in")
            if progress is not None:
                progress("slides", done, len(slides))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return Draft(rows=tuple(rows), unreadable=tuple(unreadable), notes=tuple(notes))


def manifest_of_folder(folder: Path) -> Manifest:
    """Return the slides of a folder and its subfolders as a manifest that states nothing but their ids and paths.

    Parameters
    ----------
    folder : Path
        Folder of slides; no file is opened.

    Returns
    -------
    Manifest
        Every slide counts as a patient of its own.

    Raises
    ------
    SlidesNotFound
        If the folder cannot be read or holds no slide.
    """
    nothing = _Answer(None, None, None, {})
    rows = tuple(
        replace(_row(line, slide.slide_id, slide.path, nothing, tcga=False), patient_id=slide.slide_id)
        for line, slide in enumerate(discover_slides(folder, recursive=True), start=2)
    )
    return Manifest(path=folder, rows=rows, warnings=())


@dataclass(frozen=True, slots=True)
class _Answer:
    mpp: float | None
    problem: str | None
    sha256: str | None
    free: dict[str, str]


def _describe(path: Path, digests: bool) -> _Answer | SlideError:
    try:
        located = files.locate(path)
        _, reader = open_reader(located)
        reader.close()
        sha256 = files.slide_digest(located) if digests else None
    except SlideError as error:
        return error
    described = reader.description
    problem = mpp.find_problem(str(path), described)
    finest = described.levels[0].size
    power = described.objective_power
    free = {
        "vendor": described.vendor,
        "objective_power": "" if power is None else f"{power:g}",
        "width_px": str(finest.width),
        "height_px": str(finest.height),
        "mpp_source": "" if problem else described.mpp_source or "",
    }
    return _Answer(None if problem else described.mpp, problem, sha256, free)


def _row(line: int, slide_id: str, path: Path, answer: _Answer, tcga: bool) -> ManifestRow:
    barcode = _BARCODE.match(path.name) if tcga else None
    return ManifestRow(
        line=line,
        slide_id=slide_id,
        patient_id=barcode.group().upper() if barcode else "",
        site=barcode.group(1).upper() if barcode else None,
        path=Path(os.path.abspath(path)),  # noqa: PTH100 - links keep their own name
        mpp=answer.mpp,
        stage=None,
        grade=None,
        time_days=None,
        event=None,
        split=None,
        sha256=answer.sha256,
        free=answer.free,
    )
