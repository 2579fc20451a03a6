"""Train a model of tissue classes from files of annotations: graphs of the slides, annotated superpixels, the fit.

The slide of ``NAME.geojson`` is the slide file NAME in the same folder, or in the folder that is given. Graphs are
stored under ``MODEL/graphs`` and reused, so that a fault in the last file loses nothing of the ones before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.config import Config
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    from wsigraph.graph.tissue_class.annotated import AnnotatedSlide
    from wsigraph.slide.map_boxes import Progress
    from wsigraph.training.train_tissue_classes import TissueTraining

GRAPHS, SCORES = "graphs", "scores.json"
"""Names inside the model's directory."""


def pair_slides(annotations: Sequence[Path | str], slides: Path | str | None = None) -> dict[Path, Path]:
    """Return the slide of each file of annotations.

    Parameters
    ----------
    annotations : sequence of Path or str
        Files whose names without their suffix are those of slides.
    slides : Path or str, optional
        Folder of the slides; by default that of each file.

    Returns
    -------
    dict of Path to Path
        Slide by file of annotations, in order.

    Raises
    ------
    CohortError
        If a file has no slide of its name, or two.
    """
    from wsigraph.errors import SlidesNotFound
    from wsigraph.slide.discover import discover_slides

    pairs, faults = {}, []
    listed: dict[Path, list[Any]] = {}
    for given in annotations:
        path = Path(given)
        folder = path.parent if slides is None else Path(slides)
        if folder not in listed:
            try:
                listed[folder] = list(discover_slides(folder))
            except SlidesNotFound:
                listed[folder] = []
        matches = [one.path for one in listed[folder] if path.stem in (one.path.stem, one.path.name)]
        matches = [one for one in matches if one != path]
        if len(matches) == 1:
            pairs[path] = matches[0]
        else:
            names = ", ".join(one.name for one in matches) or "none"
            faults.append(f"{path}: found {names} in {folder}, expected one slide named {path.stem}; give --slides DIR")
    if faults:
        raise CohortError("\n".join(faults))
    return pairs


def train_tissue(
    pairs: Mapping[Path, Path],
    out: Path | str,
    config: Config | None = None,
    *,
    mpp: float | Mapping[str, float] | None = None,
    groups: Mapping[str, str] | None = None,
    colours: dict[str, tuple[int, int, int]] | None = None,
    card: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> TissueTraining:
    """Train a model of tissue classes and write it.

    Parameters
    ----------
    pairs : mapping of Path to Path
        Slide by file of annotations.
    out : Path or str
        Directory of the model.
    config : Config, optional
        Settings; by default the built-in ones.
    mpp : float or mapping of str to float, optional
        Pixel size of every slide, or by the name of the annotations; overrides the files.
    groups : mapping of str to str, optional
        Group of a slide by its name, for slides of one patient; they are held out together.
    colours : dict of str to (int, int, int), optional
        8-bit colours of classes.
    card : dict, optional
        Further facts for the model's card.
    progress : callable, optional
        Called with (step, done, total).

    Returns
    -------
    TissueTraining
        Model, scores and notes; also written as ``tissue_model.safetensors`` and ``scores.json``.

    Raises
    ------
    CohortError
        If too few classes have regions.
    RegionError
        If annotations do not fit their slide; the message names the file.
    SlideError
        If a slide cannot be used.
    """
    from wsigraph.graph.tissue_class.node_classifier import classifier_digest, save_node_classifier
    from wsigraph.store import canonical_document, write_file
    from wsigraph.training.train_tissue_classes import train_tissue_classes

    settings, out = config or Config(), Path(out)
    slides = [
        annotate_slide(
            slide,
            path,
            out / GRAPHS,
            settings,
            mpp=mpp.get(path.stem) if isinstance(mpp, Mapping) else mpp,
            groups=groups,
            progress=progress,
        )
        for path, slide in pairs.items()
    ]
    trained = train_tissue_classes(slides, colours=colours, card=card)
    save_node_classifier(trained.model, out)
    facts = {"model": classifier_digest(trained.model), **trained.scores, "notes": list(trained.notes)}
    write_file(out / SCORES, canonical_document(facts))
    return trained


def annotate_slide(
    slide: Path,
    annotations: Path,
    graphs: Path,
    settings: Config,
    *,
    mpp: float | None = None,
    groups: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> AnnotatedSlide:
    """Build or reuse the graph of a slide, and return its annotated superpixels.

    Parameters
    ----------
    slide, annotations : Path
        Slide, and its annotations.
    graphs : Path
        Directory of the graphs.
    settings : Config
        Settings.
    mpp : float, optional
        Pixel size that overrides the file.
    groups : mapping of str to str, optional
        Group of a slide by its name.
    progress : callable, optional
        Called with (step, done, total).

    Returns
    -------
    AnnotatedSlide
        Features and classes.

    Raises
    ------
    RegionError
        If the annotations do not fit the slide.
    SlideError
        If the slide cannot be used.
    """
    from wsigraph import store
    from wsigraph.graph.tissue_class.annotated import annotate
    from wsigraph.run.steps import run_slide
    from wsigraph.slide.open_slide import open_slide
    from wsigraph.slide.roi import read_roi

    with open_slide(slide, settings.slide, mpp=mpp) as opened:
        # before any pixel is worked on, so that a wrong file costs nothing
        roi = read_roi(annotations, opened, origin=settings.report.origin)
    result = run_slide(slide, graphs, settings, mpp=mpp, progress=progress, until="graph")
    labels = store.load_labels(result.directory / "superpixels.zarr")
    graph = store.load_graph(result.directory / "graph.safetensors")
    return annotate(graph, labels, roi, group=(groups or {}).get(graph.slide_id, ""))
