"""Write a simulated cohort whose truth is known: the verb behind ``wsigraph simulate``.

Patients, sites, slides, stage and survival are drawn from a generative scenario. The manifest holds the oracle's risk
of every patient: the best that could be predicted.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.config import Config

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest_row import ManifestRow
    from wsigraph.run.slide_run import Progress
    from wsigraph.synthesis.simulation.simulate import SimulatedSlide


def simulate(
    n_patients: int = 300,
    out: Path | str = "wsigraph-synthetic",
    config: Config | None = None,
    *,
    seed: int = 1,
    images: bool = False,
    progress: Progress | None = None,
) -> list[ManifestRow]:
    """Simulate a cohort and write its manifest and graphs.

    Parameters
    ----------
    n_patients : int
        Number of patients, at least 1.
    out : Path or str
        Directory for ``data_manifest.csv`` and ``<slide_id>/graph.safetensors``.
    config : Config, optional
        Settings; ``synthesis.scenario`` decides what stage and survival depend on. By default the built-in ones.
    seed : int
        Seed of all random choices.
    images : bool
        Whether to paint every slide as a pyramidal TIFF in ``out/slides`` and build the graph from its pixels. This
        takes seconds for each slide.
    progress : callable, optional
        Called with (step, done, total) while graphs are built from painted slides.

    Returns
    -------
    list of ManifestRow
        One row per slide, as in the manifest.

    Raises
    ------
    SynthesisError
        If the spacing of superpixels is below 4 px.
    StoreError
        If a file cannot be written.

    Notes
    -----
    All of it is synthetic, and every file says so.
    """
    from wsigraph.synthesis.simulation.write_cohort import simulate_cohort, write_cohort

    settings, folder = config or Config(), Path(out)
    patients = simulate_cohort(n_patients, settings, seed=seed)
    built = partial(_build_graph, folder, settings, progress) if images else None
    return write_cohort(patients, folder, settings, seed=seed, images=images, finished=built)


def _build_graph(
    folder: Path, settings: Config, progress: Progress | None, slide: SimulatedSlide, path: Path | None
) -> None:
    """Build the graph of a painted slide as soon as the slide is written."""
    from wsigraph.run.steps import run_slide

    run_slide(str(path), folder, settings, slide_id=slide.slide_id, progress=progress, until="graph")
