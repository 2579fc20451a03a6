"""``wsigraph report``: pages that summarise finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, read_settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pages that summarise finished runs.")

_Runs = Annotated[
    str, typer.Argument(metavar="DIR", help="Directory that holds <slide>/ for every slide.", show_default=False)
]
_Manifest = Annotated[
    str | None, typer.Option("--manifest", metavar="FILE", help="Patients and their follow-up, for survival by risk.")
]


@app.command("cohort", short_help="One page over all slides of a run.")
@ends_plainly
def cohort(
    runs: _Runs,
    manifest: _Manifest = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write DIR/cohort.html: slides with stage, risk and quality, sortable; survival by predicted risk; failures."""
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.report.overview import gather_rows, write_overview

    settings = read_settings(config, overrides, {})
    known = (
        None if manifest is None else read_manifest(manifest, stage_names=settings.model.stage_names, check_files=False)
    )
    path = write_overview(runs, known)
    rows, unpredicted = gather_rows(Path(runs), known)
    n_failed = sum(slide.has_failed for slide in unpredicted)
    n_pending = len(unpredicted) - n_failed
    if as_json:
        counts = {"slides": len(rows), "failed": n_failed, "without_prediction": n_pending}
        print(json.dumps({"page": str(path), **counts}))
        return
    pending = f", {n_pending} without a prediction" if n_pending else ""
    print(f"{path}: {len(rows)} slides, {n_failed} failed{pending}")
