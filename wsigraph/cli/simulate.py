"""``wsigraph simulate``: nothing in, a synthetic cohort with known truth out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, ConfigFiles, Overrides, Threads, read_settings

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.row import ManifestRow
    from wsigraph.config import Config
    from wsigraph.synthesis.simulation.simulate import SimulatedSlide

_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Where the manifest and <slide>/ are written.")]
_Patients = Annotated[int, typer.Option("--patients", min=1, metavar="N", help="How many patients.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Decides everything random.")]
_Law = Annotated[
    str | None,
    typer.Option(
        "--law", metavar="NAME", help="composition, spatial, interface, site or null.", show_default="composition"
    ),
]
_Images = Annotated[
    bool, typer.Option("--images", help="Paint slides and build the graphs from their pixels; seconds a slide.")
]


@ends_plainly
def simulate(
    out: _Out = "wsigraph-synthetic",
    patients: _Patients = 300,
    seed: _Seed = 1,
    law: _Law = None,
    images: _Images = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make up a cohort whose truth is known: patients, sites, slides, stage and survival by a planted law.

    Writes DIR/data_manifest.csv, with the oracle's risk of every patient, and DIR/<slide>/graph.safetensors. With
    --images the tissue is painted into pyramidal TIFF slides in DIR/slides, and the graphs are built from them as
    from any slide. All of it is synthetic and says so.
    """
    from wsigraph.synthesis.simulation.write_cohort import MANIFEST, simulate_cohort, write_cohort

    settings = read_settings(config, overrides, {"synthesis.scenario": law, "runtime.threads": threads})
    started = time.perf_counter()
    folder = Path(out)
    rows = write_cohort(
        simulate_cohort(patients, settings, seed=seed),
        folder,
        settings,
        seed=seed,
        images=images,
        finished=_reader(folder, settings) if images else None,
    )
    facts = _facts(rows, settings.synthesis.scenario, folder / MANIFEST, time.perf_counter() - started)
    print(json.dumps(facts, allow_nan=False) if as_json else _table(facts), flush=True)


def _reader(folder: Path, settings: Config) -> Any:
    """Return what builds the graph of a painted slide as soon as it is there."""
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.steps import run_slide

    def read(slide: SimulatedSlide, path: Path | None) -> None:
        with progress_line(str(path)) as progress:
            run_slide(str(path), folder, settings, slide_id=slide.slide_id, progress=progress, until="graph")

    return read


def _facts(rows: list[ManifestRow], law: str, manifest: Path, seconds: float) -> dict[str, Any]:
    patients = {row.patient_id: row for row in rows}
    events = sum(bool(row.event) for row in patients.values())
    return {
        "synthetic": True,
        "law": law,
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
        ("cohort", f"synthetic, law {facts['law']}"),
        ("patients", f"{facts['patients']:,} of {facts['sites']} sites, {facts['slides']:,} slides"),
        ("events", f"{facts['events']:,}; {100 * facts['censored_fraction']:.1f} % of the patients censored"),
        ("stage missing", f"{facts['stage_missing']:,}"),
        ("seconds", f"{facts['seconds']:.1f}"),
        ("manifest", facts["manifest"]),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
