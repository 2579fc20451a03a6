"""A simulated cohort on disk: a manifest with the ground truth of every patient, and graphs or painted slides.

The files are those of a real cohort, so that whatever reads one reads the other. The name of every slide, the column
``source`` and the description inside a painted slide say that it is synthetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from wsigraph import store
from wsigraph.cohort.manifest.manifest import write_manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.config import Config, section_hash
from wsigraph.graph.feature.stored_table import stored_features
from wsigraph.synthesis.simulation.procedural import SiteStain
from wsigraph.synthesis.simulation.pyramid import paint_slide, write_pyramid
from wsigraph.synthesis.simulation.scenarios import N_STAGES
from wsigraph.synthesis.simulation.simulate import (
    SimulatedPatient,
    SimulatedSlide,
    build_library,
    sample_sites,
    simulate,
)

MANIFEST = "data_manifest.csv"
"""Name of the manifest in a cohort's directory."""
GRAPH = "graph.safetensors"
"""Name of a graph in its slide's directory."""
SLIDES = "slides"
"""Directory of painted slides."""


def simulate_cohort(n_patients: int, settings: Config | None = None, *, seed: int) -> Iterator[SimulatedPatient]:
    """Yield the patients of a seed, with sites and a painted library of their own.

    Parameters
    ----------
    n_patients : int
        Number of patients.
    settings : Config, optional
        Sections ``synthesis``, which names the scenario, and ``feature``.
    seed : int
        Seed of all random numbers; also part of the patients' names.

    Yields
    ------
    SimulatedPatient
        One or two slides each.

    Raises
    ------
    SynthesisError
        If the scenario is unknown, or the spacing of superpixels is below 4 px.
    """
    settings = settings or Config()
    scenery, painting, drawing = np.random.default_rng(seed).spawn(3)
    sites = sample_sites(settings.synthesis.sites, rng=scenery)
    library = build_library(sites, settings.synthesis, settings.feature, rng=painting)
    yield from simulate(n_patients, library, settings.synthesis, rng=drawing, cohort=f"s{seed}")


def write_cohort(
    patients: Iterable[SimulatedPatient],
    out: Path,
    settings: Config | None = None,
    *,
    seed: int,
    images: bool = False,
    finished: Callable[[SimulatedSlide, Path | None], None] | None = None,
) -> list[ManifestRow]:
    """Write a cohort.

    Parameters
    ----------
    patients : iterable of SimulatedPatient
        Iterated once.
    out : Path
        Directory of the manifest, graphs and slides.
    settings : Config, optional
        Settings of the simulation.
    seed : int
        Seed of the simulation; painting uses it too.
    images : bool
        Paint every slide into ``slides/`` instead of writing the graph drawn from its layout.
    finished : callable, optional
        Called with every slide and the path of its painted file, or None, as soon as it is written.

    Returns
    -------
    list of ManifestRow
        Rows of the manifest.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    settings = settings or Config()
    config = {name: section_hash(getattr(settings, name)) for name in ("synthesis", "feature")}
    stages = settings.model.stage_names
    rows: list[ManifestRow] = []
    for patient in patients:
        for slide in patient.slides:
            path = None
            if images:
                path = out / SLIDES / f"{slide.slide_id}.tiff"
                path.parent.mkdir(parents=True, exist_ok=True)
                _paint(slide, path, settings, site=patient.stain, seed=seed)
            else:
                to = store.Destination(out / slide.slide_id / GRAPH, config=config)
                store.save_graph(slide.graph, to, stored_features(slide.graph))
            rows.append(
                _row(len(rows) + 2, patient, slide, path, stages, f"{settings.synthesis.scenario}, seed {seed}")
            )
            if finished is not None:
                finished(slide, path)
    write_manifest(rows, out / MANIFEST)
    return rows


def _row(
    line: int, patient: SimulatedPatient, slide: SimulatedSlide, path: Path | None, stages: Sequence[str], scenario: str
) -> ManifestRow:
    outcome = patient.outcome
    return ManifestRow(
        line=line,
        slide_id=slide.slide_id,
        patient_id=patient.patient,
        site=f"synthetic-site-{patient.site + 1}",
        path=None if path is None else path.absolute(),
        mpp=None,
        # the four planted stages are mapped to the stages of the settings
        stage=None if outcome.stage is None else stages[outcome.stage * len(stages) // N_STAGES],
        grade=None,
        time_days=outcome.time_days,
        event=outcome.event,
        split=None,
        sha256=None,
        free={
            "source": f"synthetic (scenario {scenario})",
            "licence": "CC0-1.0",
            "oracle_risk": f"{outcome.oracle_risk:.6f}",
            **{f"oracle_{name}": f"{value:.6f}" for name, value in patient.measures.items()},
        },
    )


def _paint(slide: SimulatedSlide, path: Path, settings: Config, *, site: SiteStain, seed: int) -> None:
    options = settings.synthesis
    # the random numbers of a slide do not depend on the slides painted before it
    rng = np.random.default_rng([seed, *slide.slide_id.encode()])
    image = paint_slide(
        slide.layout, slide.tessellation, mpp=options.mpp, glass_um=options.glass_um, site=site, rng=rng
    )
    write_pyramid(image, path, mpp=options.mpp, description=f"{slide.slide_id}: synthetic tissue, not from a patient")
