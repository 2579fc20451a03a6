"""``wsigraph simulate``: write a simulated cohort with known ground truth."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, Threads, read_settings

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest_row import ManifestRow

_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Directory for the manifest and <slide>/.")]
_Patients = Annotated[int, typer.Option("--patients", min=1, metavar="N", help="Number of patients.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of all random choices.")]
_Scenario = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="NAME",
        help="What decides the outcome: composition, spatial, interface, site or null.",
        show_default="composition",
    ),
]
_Law = Annotated[str | None, typer.Option("--law", hidden=True, help="The old name of --scenario.")]
_Images = Annotated[
    bool, typer.Option("--images", help="Paint slides and build the graphs from their pixels; takes seconds per slide.")
]


@ends_plainly
def simulate(
    out: _Out = "wsigraph-synthetic",
    patients: _Patients = 300,
    seed: _Seed = 1,
    scenario: _Scenario = None,
    law: _Law = None,
    images: _Images = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Simulate a cohort with known ground truth: patients, sites, slides, stage and survival of a generative scenario.

    Writes DIR/data_manifest.csv, with the oracle's risk of every patient, and DIR/<slide>/graph.safetensors. With
    --images, the tissue is painted into pyramidal TIFF slides in DIR/slides, and the graphs are built from the slides.
    All files say that they are synthetic.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.simulated_cohort import simulate as simulate_cohort
    from wsigraph.synthesis.simulation.write_cohort import MANIFEST

    spelled = {"synthesis.scenario": scenario or law, "runtime.threads": threads}
    settings = read_settings(config, overrides, spelled)
    started = time.perf_counter()
    with progress_line("simulate") as progress:
        rows = simulate_cohort(patients, out, settings, seed=seed, images=images, progress=progress)
    facts = _facts(rows, settings.synthesis.scenario, Path(out) / MANIFEST, time.perf_counter() - started)
    print(json.dumps(facts, allow_nan=False) if as_json else _table(facts), flush=True)


def _facts(rows: list[ManifestRow], scenario: str, manifest: Path, seconds: float) -> dict[str, Any]:
    patients = {row.patient_id: row for row in rows}
    events = sum(bool(row.event) for row in patients.values())
    return {
        "synthetic": True,
        "scenario": scenario,
        "patients": len(patients),
        "slides": len(rows),
        "sites": len({row.site for row in rows}),
        "events": events,
        "censored_fraction": round(1 - events / len(patients), 4),
        "stage_missing": sum(row.stage is None for row in patients.values()),
        "manifest": str(manifest),
        "seconds": round(seconds, 3),
    }


def _table(facts: dict[str, Any]) -> str:
    rows = [
        ("cohort", f"synthetic, scenario {facts['scenario']}"),
        ("patients", f"{facts['patients']:,} of {facts['sites']} sites, {facts['slides']:,} slides"),
        ("events", f"{facts['events']:,}; {100 * facts['censored_fraction']:.1f} % of the patients censored"),
        ("stage missing", f"{facts['stage_missing']:,}"),
        ("seconds", f"{facts['seconds']:.1f}"),
        ("manifest", facts["manifest"]),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
