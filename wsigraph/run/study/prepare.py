"""The manifest of a study: slides and patients that belong together, and a list of all that was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsigraph.cohort.clinical.clinical_table import read_clinical_table
from wsigraph.cohort.clinical.match_slides import SlideMatches, match_slides
from wsigraph.cohort.clinical.table_mapping import ClinicalRow, MappedTable, apply_mapping, join_rows
from wsigraph.cohort.manifest.create_manifest import create_manifest
from wsigraph.cohort.manifest.manifest import Manifest, write_manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.errors import CohortError, SlidesNotFound, WsigraphError
from wsigraph.exchange.feature_files import is_feature_file, named_feature_files
from wsigraph.exchange.feature_manifest import feature_row, with_feature_files
from wsigraph.exchange.tile_features import states_pixel_size
from wsigraph.run.study.plan import StudyPlan
from wsigraph.slide.discover import DiscoveredSlide
from wsigraph.slide.files import locate, slide_digest
from wsigraph.slide.named_slides import all_named_slides
from wsigraph.store import digest
from wsigraph.store.atomic import write_file
from wsigraph.store.csv_file import encode_csv

MANIFEST, MAPPING, LEFT_OUT = "data_manifest.csv", "mapping.csv", "left_out.csv"
"""Files in the directory of a study: the manifest, what every value became, and what is not used."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A slide or patient that the study does not use.

    Attributes
    ----------
    kind : str
        ``slide`` or ``patient``.
    name : str
        The slide's file name or the patient.
    reason : str
        Why.
    group : str
        The reason in a few words, for counting.
    """

    kind: str
    name: str
    reason: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStudy:
    """Slides and patients of a study.

    Attributes
    ----------
    rows : tuple of ManifestRow
        As in the manifest.
    left_out : tuple of LeftOut
        All that is not used.
    notes : tuple of str
        How the table was read, and doubtful entries.
    n_slides, n_patients : int
        How many slides were found and patients the table names.
    rules : dict of str to int
        How many slides each matching rule matched.
    """

    rows: tuple[ManifestRow, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    n_slides: int
    n_patients: int
    rules: dict[str, int]


def prepare_study(plan: StudyPlan, directory: Path, *, progress: Progress | None = None) -> PreparedStudy:
    """Match slides with the clinical table and write manifest, mapping and what is left out.

    Parameters
    ----------
    plan : StudyPlan
        The plan.
    directory : Path
        Directory of the study.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    PreparedStudy
        What the files hold.

    Raises
    ------
    CohortError
        If values are not understood and `plan.allow_unmapped` is false, or no slide has a patient.
    SlidesNotFound
        If there is no slide, or a slide has no feature file where `plan.features` names some.
    StoreError
        If a file cannot be written.
    """
    table = read_clinical_table(plan.clinical, sheet=plan.sheet)
    if not (plan.columns.patient or plan.columns.slide):
        names = ", ".join(map(repr, table.columns))
        raise CohortError(
            f"no column of {plan.clinical} is known to name the patient; choose one with --patient: {names}"
        )
    mapped = apply_mapping(table, plan.columns)
    write_file(directory / MAPPING, _mapping_csv(mapped))
    if mapped.faults and not plan.allow_unmapped:
        raise CohortError(
            "\n".join(
                [
                    f"{plan.clinical} has values that are not understood:",
                    *(f"  {fault}" for fault in mapped.faults),
                    "--allow-unmapped reads them as missing",
                ]
            )
        )
    slides = find_inputs(plan.slides)
    matches = match_slides(slides, join_rows(mapped.rows), pattern=plan.match)
    if not matches.pairs:
        raise CohortError(_no_match(slides, mapped.rows, matches))
    rows, left_out = _manifest_rows(matches, plan, progress)
    notes = [*table.notes, *mapped.notes, *(f"read as missing: {fault}" for fault in mapped.faults)]
    write_manifest(rows, directory / MANIFEST)
    write_left_out(left_out, directory)
    return PreparedStudy(
        rows=tuple(rows),
        left_out=tuple(left_out),
        notes=tuple(notes),
        n_slides=len(slides),
        n_patients=len({row.patient or row.slide for row in mapped.rows if row.patient or row.slide}),
        rules=matches.rules,
    )


def find_inputs(named: Sequence[str]) -> list[DiscoveredSlide]:
    """Return the slides or feature files that arguments name; a folder without slides may hold feature files."""
    by_path: dict[Path, DiscoveredSlide] = {}
    for text in named:
        if is_feature_file(text):
            inputs = named_feature_files(text)
        else:
            try:
                inputs = all_named_slides([text])
            except SlidesNotFound as error:
                if not Path(text).is_dir():
                    raise
                try:
                    inputs = named_feature_files(text)
                except SlidesNotFound:
                    raise error from None
        by_path |= {one.path: one for one in inputs if one.path not in by_path}
    return list(by_path.values())


def _manifest_rows(
    matches: SlideMatches, plan: StudyPlan, progress: Progress | None
) -> tuple[list[ManifestRow], list[LeftOut]]:
    """Return the rows of slides that can be read, and what is left out."""
    left_out = [
        LeftOut(kind="slide", name=slide.path.name, reason=reason, group="no patient in the table")
        for slide, reason in matches.unmatched_slides
    ]
    left_out += [
        LeftOut(kind="patient", name=name, reason="no slide carries this id", group="no slide")
        for name in matches.unmatched_patients
    ]
    patients = {slide.slide_id: row for slide, row in matches.pairs}
    files = [slide for slide, _ in matches.pairs if is_feature_file(slide.path)]
    created = create_manifest([slide for slide, _ in matches.pairs if slide not in files], progress=progress)
    mpp = plan.mpp
    left_out += [
        LeftOut(kind="slide", name=path.name, reason=reason, group="not readable")
        for path, reason in created.unreadable
    ]
    rows, unreadable = _feature_rows(files, mpp)
    rows = [_joined(row, patients[row.slide_id], mpp) for row in rows]
    left_out += unreadable
    slide_rows = created.rows if plan.features is None else _with_features(created.rows, plan.features)
    for row in slide_rows:
        if row.mpp is None and mpp is None:
            reason = "the file states no credible pixel size; --mpp states one for all such slides"
            left_out.append(
                LeftOut(kind="slide", name=str(row.path and row.path.name), reason=reason, group="no pixel size")
            )
            continue
        rows.append(_joined(row, patients[row.slide_id], mpp))
    return _without_copies(rows, left_out)


def _with_features(rows: Sequence[ManifestRow], features: str) -> tuple[ManifestRow, ...]:
    return with_feature_files(Manifest(path=Path(features), rows=tuple(rows), warnings=()), features).rows


def _feature_rows(files: Sequence[DiscoveredSlide], mpp: float | None) -> tuple[list[ManifestRow], list[LeftOut]]:
    """Return the rows of feature files without slides, and those that cannot be used."""
    rows: list[ManifestRow] = []
    left_out: list[LeftOut] = []
    for file in files:
        try:
            is_placed = states_pixel_size(file.path) or mpp is not None
        except WsigraphError as error:
            left_out.append(LeftOut(kind="slide", name=file.path.name, reason=str(error), group="not readable"))
            continue
        if not is_placed:
            reason = "the file states no pixel size; --mpp states one for all such files"
            left_out.append(LeftOut(kind="slide", name=file.path.name, reason=reason, group="no pixel size"))
            continue
        rows.append(feature_row(len(rows) + 2, file.slide_id, file.path))
    return rows, left_out


def _joined(row: ManifestRow, patient: ClinicalRow, mpp: float | None) -> ManifestRow:
    return replace(
        row,
        patient_id=patient.patient or patient.slide or row.slide_id,
        site=patient.site,
        # only what the file does not state is written, so that the file stays the source
        mpp=row.mpp or mpp,
        stage=patient.stage,
        grade=patient.grade,
        time_days=patient.time_days,
        event=patient.event,
        split=patient.split,
        free=dict(patient.free),
    )


def _without_copies(rows: list[ManifestRow], left_out: list[LeftOut]) -> tuple[list[ManifestRow], list[LeftOut]]:
    """Leave out files with the same bytes: all but one of a patient, and all that are under several patients."""
    sizes = Counter(row.source.stat().st_size for row in rows if row.source is not None and row.source.is_file())
    groups: dict[str, list[ManifestRow]] = {}
    for row in rows:
        source = row.source
        if source is not None and source.is_file() and sizes[source.stat().st_size] > 1:
            key = digest(source) if row.path is None else slide_digest(locate(row.path))
            groups.setdefault(key, []).append(row)
    dropped: dict[str, LeftOut] = {}
    for copies in (group for group in groups.values() if len(group) > 1):
        patients = sorted({row.patient_id for row in copies})
        for row in copies if len(patients) > 1 else copies[1:]:
            reason = (
                f"the same file as {copies[0].slide_id} of the same patient"
                if len(patients) == 1
                else f"the same file stands under patients {', '.join(patients)}; remove the wrong one"
            )
            dropped[row.slide_id] = LeftOut(
                kind="slide", name=str(row.source and row.source.name), reason=reason, group="copy of another"
            )
    left = [row for row in rows if row.slide_id not in dropped]
    return [replace(row, line=line) for line, row in enumerate(left, start=2)], [*left_out, *dropped.values()]


def _no_match(slides: Sequence[DiscoveredSlide], rows: Sequence[ClinicalRow], matches: SlideMatches) -> str:
    names = ", ".join(slide.path.name for slide in slides[:3])
    patients = ", ".join(str(row.patient or row.slide) for row in rows[:3])
    return (
        f"none of {len(slides)} slides ({names}, ...) has a patient in the table ({patients}, ...): "
        f"{matches.unmatched_slides[0][1]}; name the column of the slides with --slide, or give a rule such as "
        "--match '^([A-Z]+[0-9]+)_' whose group is the patient's id in a file name"
    )


def _mapping_csv(mapped: MappedTable) -> bytes:
    rows = ([one.role, one.column, one.cell, one.value, one.count, int(one.is_understood)] for one in mapped.counts)
    return encode_csv(["role", "column", "cell", "value", "cells", "understood"], rows)


def write_left_out(left_out: Sequence[LeftOut], directory: Path) -> None:
    """Write ``left_out.csv`` into the directory of a study."""
    rows = ([one.kind, one.name, one.group, one.reason] for one in left_out)
    write_file(directory / LEFT_OUT, encode_csv(["kind", "name", "group", "reason"], rows))
