"""Creates a manifest of the slides in a folder, from the metadata of the files.

Nothing is guessed. A pixel size is written only if the file states a credible one, and a patient only if the caller
requests TCGA barcodes and the name starts with one. The user fills in stages, follow-up and splits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from wsigraph.cohort.manifest.manifest import Manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.config import SlideConfig
from wsigraph.errors import SlideError
from wsigraph.slide import files, mpp
from wsigraph.slide.discover import DiscoveredSlide, discover_slides
from wsigraph.slide.opening import open_reader
from wsigraph.slide.slide_id import default_slide_id

_BARCODE = re.compile(r"TCGA-([0-9A-Z]{2})-([0-9A-Z]{4})(?![0-9A-Z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedManifest:
    """A new manifest, with notes for the user.

    Attributes
    ----------
    rows : tuple of ManifestRow
        Slides that a reader can open, by path. `patient_id` is empty if unknown.
    unreadable : tuple of (Path, str)
        Files that no reader can open, and why.
    notes : tuple of str
        Missing or implausible pixel sizes, and changed names.
    """

    rows: tuple[ManifestRow, ...]
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]


def create_manifest(
    slides: Sequence[DiscoveredSlide],
    *,
    digests: bool = False,
    tcga: bool = False,
    options: SlideConfig | None = None,
    threads: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
) -> CreatedManifest:
    """Return a manifest of slides, from their metadata.

    Parameters
    ----------
    slides : sequence of DiscoveredSlide
        From `wsigraph.slide.discover.discover_slides`.
    digests : bool
        Whether to compute the SHA-256 of every slide, which reads the whole file.
    tcga : bool
        Whether to take patient and site from TCGA barcodes in the names.
    options : SlideConfig, optional
        Settings of the slides: focal plane, and the window by which 16-bit RGB is read.
    threads : int
        Number of threads.
    progress : callable, optional
        Called with ("slides", slides done, number of slides).

    Returns
    -------
    CreatedManifest
        Rows with free columns vendor, objective_power, width_px, height_px and mpp_source.
    """
    notes = [
        f"{slide.path} is named {slide.slide_id!r}: its file name is another slide's too, or cannot name a folder"
        for slide in slides
        if slide.slide_id != default_slide_id(slide.path) or slide.slide_id not in slide.path.name
    ]
    rows: list[ManifestRow] = []
    unreadable: list[tuple[Path, str]] = []
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="manifest")
    try:
        answers = pool.map(lambda slide: _describe(slide.path, digests, options or SlideConfig()), slides)
        for done, (slide, answer) in enumerate(zip(slides, answers, strict=True), start=1):
            if isinstance(answer, SlideError):
                unreadable.append((slide.path, str(answer)))
            else:
                rows.append(_row(len(rows) + 2, slide.slide_id, slide.path, answer, tcga))
                if answer.problem:
                    first, _, advice = answer.problem.partition("; ")
                    advice = advice if answer.is_oblong else "its mpp is left empty, fill it in"
                    notes.append(f"{first}; {advice}")
            if progress is not None:
                progress("slides", done, len(slides))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return CreatedManifest(rows=tuple(rows), unreadable=tuple(unreadable), notes=tuple(notes))


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
    nothing = _SlideDescription(None, None, None, {})
    rows = tuple(
        replace(_row(line, slide.slide_id, slide.path, nothing, tcga=False), patient_id=slide.slide_id)
        for line, slide in enumerate(discover_slides(folder, recursive=True), start=2)
    )
    return Manifest(path=folder, rows=rows, warnings=())


@dataclass(frozen=True, slots=True)
class _SlideDescription:
    mpp: float | None
    problem: str | None
    sha256: str | None
    free: dict[str, str]
    is_oblong: bool = False


def _describe(path: Path, digests: bool, options: SlideConfig) -> _SlideDescription | SlideError:
    try:
        located = files.locate(path)
        _, reader = open_reader(located, None, options.z, options.window)
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
    return _SlideDescription(None if problem else described.mpp, problem, sha256, free, not mpp.is_square(described))


def _row(line: int, slide_id: str, path: Path, answer: _SlideDescription, tcga: bool) -> ManifestRow:
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
