"""``wsigraph manifest create|check``: create a table of the slides in a folder, or check a table."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import EXIT_ERROR, EXIT_SOME_FAILED, Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, read_settings

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import Findings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Create or check the table of a cohort's slides.")

_Folder = Annotated[str, typer.Argument(metavar="DIR", help="Folder that holds slides.", show_default=False)]
_Table = Annotated[
    str, typer.Option("--out", metavar="FILE", help="Manifest to write; its paths are relative to its folder.")
]
_Recursive = Annotated[bool, typer.Option("--recursive", help="Search subfolders too.")]
_Pattern = Annotated[
    str | None, typer.Option("--glob", metavar="PATTERN", help="Only files below DIR that match, e.g. '*/*.svs'.")
]
_Digests = Annotated[bool, typer.Option("--sha256", help="Read every slide completely and write its SHA-256.")]
_Tcga = Annotated[bool, typer.Option("--tcga", help="Take patient and site from TCGA barcodes in the names.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace an existing manifest.")]
_Manifest = Annotated[str, typer.Argument(metavar="FILE", help="Manifest, CSV.", show_default=False)]
_NoFiles = Annotated[bool, typer.Option("--no-files", help="Do not check that the slides exist.")]
_NoDigests = Annotated[bool, typer.Option("--no-digests", help="Do not compare the SHA-256 of slides.")]
_DigestCache = Annotated[
    str | None,
    typer.Option("--keep-digests", metavar="FILE", help="Cache digests in this file, so that the next check is fast."),
]


@app.command("create")
@ends_plainly
def create(
    folder: _Folder,
    out: _Table = "data_manifest.csv",
    recursive: _Recursive = False,
    pattern: _Pattern = None,
    sha256: _Digests = False,
    tcga: _Tcga = False,
    force: _Force = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Create a manifest of the slides in a folder, with the metadata of each file.

    Fill in stage, follow-up and split yourself, and the patient too unless --tcga finds a barcode.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.cohort.manifest.create_manifest import create_manifest
    from wsigraph.cohort.manifest.manifest import write_manifest
    from wsigraph.errors import CohortError, StoreError
    from wsigraph.slide.discover import discover_slides

    if Path(out).exists() and not force:
        raise StoreError(f"{out} exists already; replace it with --force, or give another --out")
    settings = read_settings(config, overrides, {})
    slides = discover_slides(Path(folder), pattern=pattern, recursive=recursive)
    with progress_line(folder) as progress:
        created = create_manifest(slides, digests=sha256, tcga=tcga, options=settings.slide, progress=progress)
    for note in created.notes:
        say(f"note: {note}")
    for path, reason in created.unreadable:
        say(f"left out {path}: {reason}")
    if not created.rows:
        raise CohortError(f"no reader opens any of the {len(slides)} files in {folder}; no manifest is written")
    write_manifest(created.rows, out)
    unknown = sum(not row.patient_id for row in created.rows)
    if unknown:
        say(f"note: patient_id is empty for {unknown} slides; until you fill it in, each counts as a separate patient")
    left = f", {len(created.unreadable)} left out" if created.unreadable else ""
    print(f"{out}: {len(created.rows)} slides{left}")
    if created.unreadable:
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command("check")
@ends_plainly
def check(
    manifest: _Manifest,
    no_files: _NoFiles = False,
    no_digests: _NoDigests = False,
    keep_digests: _DigestCache = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print every fault and warning of a manifest, each with its line and slide.

    Stages are those of model.stage_names in the settings. The exit code is 1 if there is a fault.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.cohort.manifest.manifest import check_manifest

    settings = read_settings(config, overrides, {})
    with progress_line(manifest) as progress:
        findings = check_manifest(
            manifest,
            stage_names=settings.model.stage_names,
            check_files=not no_files,
            digest_max_bytes=0 if no_digests else None,
            digest_cache=None if keep_digests is None else Path(keep_digests),
            progress=progress,
        )
    print(json.dumps(_values(findings), allow_nan=False) if as_json else "\n".join(_lines(findings)))
    if findings.faults:
        raise typer.Exit(EXIT_ERROR)


def _values(findings: Findings) -> dict[str, Any]:
    return {
        "path": str(findings.path),
        "slides": len(findings.rows),
        "patients": len({row.patient_id for row in findings.rows}),
        "sites": _count(row.site for row in findings.rows),
        "splits": _count(row.split for row in findings.rows),
        "stages": _count(row.stage for row in findings.rows),
        "events": sum(row.event is True and row.follow_up_days is not None for row in findings.rows),
        "with_follow_up": sum(row.follow_up_days is not None for row in findings.rows),
        "faults": [asdict(fault) for fault in findings.faults],
        "warnings": list(findings.warnings),
    }


def _count(values: Any) -> dict[str, int]:
    """Return the number of times that each value occurs; empty cells are not counted."""
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _lines(findings: Findings) -> list[str]:
    values = _values(findings)
    rows = [
        ("manifest", values["path"]),
        ("slides", f"{values['slides']:,}"),
        ("patients", f"{values['patients']:,}"),
    ]
    rows += [
        (name, "  ".join(f"{key} {count:,}" for key, count in values[name].items()))
        for name in ("sites", "splits", "stages")
        if values[name]
    ]
    if values["with_follow_up"]:
        rows.append(("follow-up", f"{values['with_follow_up']:,}, of them {values['events']:,} with an event"))
    rows += [("warning", text) for text in findings.warnings]
    rows += [("fault", str(fault)) for fault in findings.faults]
    rows.append(("faults", f"{len(findings.faults):,}"))
    return [f"{name:<10} {text}" for name, text in rows]
