"""The manifest: the slides of a cohort, their patients, and stage and follow-up.

It is a CSV file with a header (``data_manifest.md`` describes its columns). Reading it checks everything that can be
checked before a slide is opened, and reports all faults at once, each with its line and slide. A slide that no reader
can open is no fault of the manifest: that slide fails in the run, and the others continue.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsigraph.cohort.manifest.ambiguous_ids import find_ambiguous_ids
from wsigraph.cohort.manifest.csv_table import doubtful_columns, read_table
from wsigraph.cohort.manifest.digests import DigestCache, Progress
from wsigraph.cohort.manifest.follow_up import describe_follow_up
from wsigraph.cohort.manifest.manifest_row import COLUMNS, Fault, ManifestRow
from wsigraph.cohort.manifest.missing_values import empty_missing_words
from wsigraph.cohort.manifest.slide_files import compare_digests, find_companion_files, find_files, group_same_bytes
from wsigraph.cohort.manifest.validation import describe_same_bytes, find_contradictions, parse_rows
from wsigraph.errors import CohortError
from wsigraph.store.atomic import write_file
from wsigraph.store.csv_file import encode_csv

__all__ = ["Fault", "Findings", "Manifest", "ManifestRow", "check_manifest", "read_manifest", "write_manifest"]

_FAULTS_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest without faults.

    Attributes
    ----------
    path : Path
        The file.
    rows : tuple of ManifestRow
        One for each slide, in the order of the file.
    warnings : tuple of str
        Doubtful entries that are accepted.
    """

    path: Path
    rows: tuple[ManifestRow, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A checked manifest, with its faults.

    Attributes
    ----------
    path : Path
        The file.
    rows : tuple of ManifestRow
        Complete rows, in the order of the file; a cell with a fault is None.
    faults : tuple of Fault
        All faults, by line.
    warnings : tuple of str
        Doubtful entries that are accepted.
    """

    path: Path
    rows: tuple[ManifestRow, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]


def read_manifest(
    path: Path | str,
    *,
    stage_names: Sequence[str],
    requires: Sequence[str] = (),
    check_files: bool = True,
    digest_max_bytes: float | None = None,
    digest_cache: Path | None = None,
    threads: int = 8,
    progress: Progress | None = None,
) -> Manifest:
    """Read a manifest and refuse one with faults.

    Parameters
    ----------
    path : Path or str
        The manifest: UTF-8, separated by commas, semicolons or tabs.
    stage_names : sequence of str
        Stages that the settings name (``model.stage_names``).
    requires : sequence of str
        Columns that every row must fill, e.g. ``("path",)`` if slides are read.
    check_files : bool
        Whether the slide files must exist.
    digest_max_bytes : float, optional
        Slides with a stated digest, and those that look alike, are read to compare their bytes: always where left out,
        else only if those with a stated digest are this large together at most; 0 leaves that to the run. Without
        `check_files` nothing is read.
    digest_cache : Path, optional
        JSON file in which digests are kept, so that the next start reads only what has changed.
    threads : int
        Files that are checked or read at a time.
    progress : callable, optional
        Called with ("digest", slides done, number of slides).

    Returns
    -------
    Manifest
        Its rows.

    Raises
    ------
    CohortError
        If the file cannot be read, is no table, or has faults; the message lists the first 20 of them, each with its
        line and slide, and counts the rest. `check_manifest` returns them all.
    """
    findings = check_manifest(
        path,
        stage_names=stage_names,
        requires=requires,
        check_files=check_files,
        digest_max_bytes=digest_max_bytes,
        digest_cache=digest_cache,
        threads=threads,
        progress=progress,
    )
    if findings.faults:
        n_faults = len(findings.faults)
        texts = [str(fault) for fault in findings.faults[:_FAULTS_LISTED]]
        if n_faults > _FAULTS_LISTED:
            texts.append(f"and {n_faults - _FAULTS_LISTED} more; 'wsigraph manifest check {path}' lists all")
        count = "1 fault" if n_faults == 1 else f"{n_faults} faults"
        raise CohortError("\n".join([f"manifest {path} has {count}:", *(f"  {text}" for text in texts)]))
    return Manifest(path=findings.path, rows=findings.rows, warnings=findings.warnings)


def check_manifest(
    path: Path | str,
    *,
    stage_names: Sequence[str],
    requires: Sequence[str] = (),
    check_files: bool = True,
    digest_max_bytes: float | None = None,
    digest_cache: Path | None = None,
    threads: int = 8,
    progress: Progress | None = None,
) -> Findings:
    """Check a manifest and return its rows, faults and warnings.

    Parameters
    ----------
    path, stage_names, requires, check_files, digest_max_bytes, digest_cache, threads, progress
        As for `read_manifest`.

    Returns
    -------
    Findings
        Rows, faults and warnings.

    Raises
    ------
    CohortError
        If the file cannot be read or is no table of text.
    """
    named = Path(path)
    table, missing_words = empty_missing_words(read_table(named, requires), stage_names)
    rows = parse_rows(table, os.path.abspath(named.parent), stage_names, requires)  # noqa: PTH100 - keeps links
    faults, warnings = list(table.faults), [*doubtful_columns(table.columns), *missing_words]
    if not rows and not faults:
        warnings.append("the manifest lists no slide")
    contradictions, doubts = find_contradictions(rows)
    faults += [*contradictions, *find_ambiguous_ids(rows)]
    warnings += [*doubts, *describe_follow_up(rows)]
    stats: dict[Path, os.stat_result] = {}
    digests: dict[Path, str] = {}
    if check_files:
        stats, missing = find_files(rows, threads=threads)
        faults += [*missing, *find_companion_files(rows)]
        if digest_max_bytes is None or 0 < _stated_bytes(rows, stats) <= digest_max_bytes:
            cache = DigestCache(digest_cache)
            digests, differing, unread = compare_digests(rows, stats, cache, threads=threads, progress=progress)
            faults += differing
            warnings += unread
    shared, alike = describe_same_bytes(group_same_bytes(rows, stats, digests))
    faults += shared
    warnings += alike
    return Findings(path=named, rows=tuple(rows), faults=tuple(sorted(faults)), warnings=tuple(warnings))


def _stated_bytes(rows: Sequence[ManifestRow], stats: Mapping[Path, os.stat_result]) -> int:
    """Return the total size of the slides with a stated digest, bytes."""
    stated = {row.path for row in rows if row.sha256 is not None and row.path is not None}
    return sum(stats[path].st_size for path in stated if path in stats)


def write_manifest(rows: Iterable[ManifestRow], path: Path | str) -> None:
    """Write rows as a manifest.

    Parameters
    ----------
    rows : iterable of ManifestRow
        Slides; `line` is not written, it follows from the order.
    path : Path or str
        Destination, replaced atomically. Paths of slides are written relative to its folder, so that both can be moved
        together.

    Raises
    ------
    CohortError
        If a free column is named like one with a meaning.
    StoreError
        If the file cannot be written.

    Notes
    -----
    The same rows give the same bytes. Free columns follow the others, in the order of their first appearance.
    """
    listed = list(rows)
    free = list(dict.fromkeys(column for row in listed for column in row.free))
    if clash := [column for column in free if column in COLUMNS]:
        raise CohortError(f"free columns {', '.join(clash)} have a meaning in a manifest; rename them")
    folder = os.path.abspath(Path(path).parent)  # noqa: PTH100 - keeps links
    rare = ("roi", "features", "organ")
    columns = [
        column for column in COLUMNS if column not in rare or any(getattr(row, column) is not None for row in listed)
    ]
    cells = (
        [*(_cell(getattr(row, column), folder) for column in columns), *(row.free.get(column, "") for column in free)]
        for row in listed
    )
    write_file(Path(path), encode_csv([*columns, *free], cells))


def _cell(value: object, folder: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    if isinstance(value, Path):
        try:
            return Path(os.path.relpath(value, folder)).as_posix()
        except ValueError:  # another drive
            return value.as_posix()
    return str(value)
