"""Creates a manifest of the slides in a folder, from the metadata of the files.

Nothing is guessed. A pixel size is written only if the file states a credible one, and a patient only if the caller
requests TCGA barcodes and the name starts with one. The user fills in stages, follow-up and splits.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.cohort.manifest.validation import is_folder_name
from wsigraph.errors import CohortError, SlideError
from wsigraph.slide import dicom, files, mpp
from wsigraph.slide.opening import open_reader
from wsigraph.slide.reader import default_slide_id

_TIFF_LIKE = (".bif", ".ndpi", ".qptiff", ".scn", ".svs", ".svslide", ".tif", ".tiff")
_OTHERS = (".czi", ".dcm", ".jp2", ".jpeg", ".jpg", ".mrxs", ".png", ".vms", ".vmu")
SLIDE_SUFFIXES = frozenset({*_TIFF_LIKE, *_OTHERS})
"""Suffixes of slide files, if no pattern is given."""

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


def find_slides(folder: Path, *, pattern: str | None = None, recursive: bool = False) -> list[Path]:
    """Return the slides in a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    pattern : str, optional
        Glob below `folder`, e.g. ``"*/*.svs"``; every match is taken as a slide.
    recursive : bool
        Whether to search subfolders; ignored if `pattern` is given.

    Returns
    -------
    list of Path
        Files with one of `SLIDE_SUFFIXES`, OME-Zarr folders, and DICOM series: the folder that holds one alone, else
        an instance of each; sorted. Hidden files and the data folders of MIRAX slides are left out.

    Raises
    ------
    CohortError
        If `folder` is no folder, cannot be read, or holds no slide.
    """
    if not folder.is_dir():
        raise CohortError(f"{folder} is not a folder, expected one with slides")
    try:
        if pattern is not None:
            paths = [path for path in folder.glob(pattern) if not _is_hidden(path.relative_to(folder))]
        else:
            paths = list(_slides_below(folder, recursive, set()))
    except OSError as error:
        message = f"{error.filename or folder} cannot be read: {error.strerror}; check its permissions"
        raise CohortError(message) from None
    except (ValueError, NotImplementedError) as error:
        raise CohortError(
            f"pattern {pattern!r} is not a glob below a folder ({error}); use one such as '*/*.svs'"
        ) from None
    if not paths:
        remedy = (
            f"no file matches {pattern!r}"
            if pattern
            else "search subfolders with --recursive, or select files with --glob"
        )
        raise CohortError(f"{folder} holds no slide; {remedy}")
    return sorted(paths)


def create_manifest(
    slides: Sequence[Path],
    folder: Path,
    *,
    digests: bool = False,
    tcga: bool = False,
    threads: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
) -> CreatedManifest:
    """Return a manifest of slides, from their metadata.

    Parameters
    ----------
    slides : sequence of Path
        From `find_slides`.
    folder : Path
        Their folder; slides of equal name are named by their path in it.
    digests : bool
        Whether to compute the SHA-256 of every slide, which reads the whole file.
    tcga : bool
        Whether to take patient and site from TCGA barcodes in the names.
    threads : int
        Number of threads.
    progress : callable, optional
        Called with ("slides", slides done, number of slides).

    Returns
    -------
    CreatedManifest
        Rows with free columns vendor, objective_power, width_px, height_px and mpp_source.
    """
    names, notes = _name_slides(slides, folder)
    rows: list[ManifestRow] = []
    unreadable: list[tuple[Path, str]] = []
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="manifest")
    try:
        answers = pool.map(lambda path: _describe(path, digests), slides)
        for done, (path, slide_id, answer) in enumerate(zip(slides, names, answers, strict=True), start=1):
            if isinstance(answer, SlideError):
                unreadable.append((path, str(answer)))
            else:
                rows.append(_row(len(rows) + 2, slide_id, path, answer, tcga))
                if answer.problem:
                    notes.append(f"{answer.problem.partition(';')[0]}; its mpp is left empty, fill it in")
            if progress is not None:
                progress("slides", done, len(slides))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return CreatedManifest(rows=tuple(rows), unreadable=tuple(unreadable), notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class _SlideDescription:
    mpp: float | None
    problem: str | None
    sha256: str | None
    free: dict[str, str]


def _describe(path: Path, digests: bool) -> _SlideDescription | SlideError:
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
    return _SlideDescription(None if problem else described.mpp, problem, sha256, free)


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


def _slides_below(folder: Path, recursive: bool, above: set[Path]) -> Iterator[Path]:
    place = folder.resolve()
    if place in above:  # a link to a parent folder
        return
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    series = dicom.folder_series(folder) if any(path.suffix.lower() == ".dcm" for path in entries) else {}
    alone = len(series) == 1 and bool(above)
    yield from [folder] if alone else series.values()
    mirax = {path.stem for path in entries if path.suffix.lower() == ".mrxs"}
    for path in entries:
        suffix = path.suffix.lower()
        if path.is_dir():
            if files.is_zarr(path):
                yield path
            elif path.name not in mirax and (recursive or _holds_series(path)):
                yield from _slides_below(path, recursive, above | {place})
        elif suffix in SLIDE_SUFFIXES and suffix != ".dcm":
            yield path


def _is_hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts)


def _holds_series(folder: Path) -> bool:
    return any(path.suffix.lower() == ".dcm" for path in folder.iterdir())


def _name_slides(slides: Sequence[Path], folder: Path) -> tuple[list[str], list[str]]:
    """Return a name for each slide, and notes on those that are not simply the file's."""
    file_names = [default_slide_id(path) for path in slides]
    count = Counter(name.casefold() for name in file_names)
    names, notes, used = [], [], set()
    for path, name in zip(slides, file_names, strict=True):
        chosen = name
        if count[name.casefold()] > 1:
            chosen = "__".join(path.relative_to(folder).parts)
        chosen = chosen if is_folder_name(chosen) else _mend(chosen)
        unique, number = chosen, 1
        while unique.casefold() in used:
            number += 1
            unique = f"{chosen}-{number}"
        used.add(unique.casefold())
        names.append(unique)
        if unique != name:
            notes.append(f"{path} is named {unique!r}, because {name!r} is taken or cannot name a folder")
    return names, notes


def _mend(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name).strip(".")[:100] or "slide"
