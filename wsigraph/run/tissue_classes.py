"""Tissue classes of one slide: the steps up to the graph, then the map."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wsigraph.config import Config

if TYPE_CHECKING:
    from wsigraph.report.tissue_map import TissueClassMap
    from wsigraph.slide.map_boxes import Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NamedTissue:
    """The map of one slide, and what it took.

    Attributes
    ----------
    directory : Path
        The slide's directory.
    map : TissueClassMap
        Files and amounts.
    warnings : tuple of str
        Of the slide.
    seconds : dict of str to float
        Of each step; ``tissue classes`` is what the map adds to the graph.
    """

    directory: Path
    map: TissueClassMap
    warnings: tuple[str, ...]
    seconds: dict[str, float]


def name_tissue(
    path: Path | str,
    out: Path | str = "wsigraph-out",
    config: Config | None = None,
    *,
    tissue_model: Path | str | None = None,
    level: Literal["structure", "compartment"] = "compartment",
    mpp: float | None = None,
    slide_id: str | None = None,
    roi: Path | str | None = None,
    tissue_mask: Path | str | None = None,
    progress: Progress | None = None,
) -> NamedTissue:
    """Classify the tissue of a slide and write the map into its directory.

    Parameters
    ----------
    path : Path or str
        Slide file or folder.
    out : Path or str
        Directory under which ``<slide_id>/`` is written.
    config : Config, optional
        Settings; by default the built-in ones.
    tissue_model : Path or str, optional
        Model of ``wsigraph train-tissue``; by default the shipped one.
    level : {"structure", "compartment"}
        Size of the map's regions: 0.01 to 0.1 mm2, or 0.1 mm2 and more.
    mpp : float, optional
        Pixel size of level 0 in um/px; overrides the one in the file.
    slide_id : str, optional
        Name of the slide; by default the file's name without its suffix.
    roi, tissue_mask : Path or str, optional
        Regions that limit the tissue, and that replace it.
    progress : callable, optional
        Called with (step, done, total).

    Returns
    -------
    NamedTissue
        Files, amounts and seconds.

    Raises
    ------
    ModelError
        If the model does not read or does not fit the graph, or is of another stain.
    SlideError
        If the slide cannot be used.
    StoreError
        If a file cannot be written.
    """
    from wsigraph import store
    from wsigraph.graph.tissue_class.node_classifier import classifier_digest, load_node_classifier
    from wsigraph.report.tissue_map import write_tissue_map
    from wsigraph.run.steps import run_slide
    from wsigraph.slide.open_slide import open_slide

    settings = config or Config()
    model = load_node_classifier(tissue_model)
    model.check_stain(settings.slide.stain)  # before any pixel is read
    result = run_slide(
        path,
        out,
        settings,
        mpp=mpp,
        slide_id=slide_id,
        progress=progress,
        until="graph",
        roi=roi,
        tissue_mask=tissue_mask,
    )
    started = time.perf_counter()
    labels = store.load_labels(result.directory / "superpixels.zarr")
    graph = store.load_graph(result.directory / "graph.safetensors")
    with open_slide(path, settings.slide, mpp=mpp, slide_id=slide_id) as slide:
        written = write_tissue_map(
            result.directory,
            slide=slide,
            labels=labels,
            graph=graph,
            model=model,
            model_digest=classifier_digest(model),
            level=level,
            config=settings.report,
        )
    seconds = {**result.seconds, "tissue classes": time.perf_counter() - started}
    return NamedTissue(directory=result.directory, map=written, warnings=tuple(result.info.warnings), seconds=seconds)
