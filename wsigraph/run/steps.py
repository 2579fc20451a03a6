"""The steps of one slide, from the file to the page of its explanation, as a table; and the one loop over them.

`STEPS` lists every step in its order: the files it leaves in ``OUT/<slide_id>/``, what it is made from, and which
settings shape it. `run_slide` carries them out. A step is skipped if its record is there and undamaged, and if its
header names the inputs and settings that would be used now. The first step that must be redone removes its record and
all later ones, so a directory never shows a prediction beside a graph it was not made from. Timings go to ``run.json``
alone; every other file depends only on the slide, the settings and the version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.config import Config
from wsigraph.errors import ConfigError
from wsigraph.run import make_records as records
from wsigraph.run.slide_run import (
    Progress,
    SlideRun,
    check_networks,
    describe_run,
    load_explanation_inputs,
    load_model,
    open_directory,
    read_regions,
)

if TYPE_CHECKING:
    from wsigraph.explanation.request import ExplanationRequest
    from wsigraph.records import SlideInfo
    from wsigraph.store import Destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a slide.

    Attributes
    ----------
    name : str
        As `until` and ``run.json`` spell it.
    files : tuple of str
        What the step leaves in the slide's directory. The first file carries the header.
    inputs : tuple of str
        What the record is made from: earlier steps, or ``slide``, ``tiles``, ``features``, ``roi``, ``tissue_mask``,
        ``embedding``, ``model``, ``reference``.
    config : tuple of str
        Sections of the settings that shape the record; ``section.key`` is one value.
    make : callable
        Writes the files.
    load : callable
        Reads the record from its path.
    load_with : tuple of str
        Earlier steps whose records `load` takes after the path.
    after : callable or None
        Called after the step, whether it was made or loaded.
    needs_model : bool
        Whether the step can only be carried out with a model.
    written_by : str or None
        A later step that, when it succeeds, also writes the file of this one, which is carried out only as the last.
    """

    name: str
    files: tuple[str, ...]
    inputs: tuple[str, ...]
    config: tuple[str, ...] = ()
    make: Callable[[SlideRun, Destination], None]
    load: Callable[..., Any]
    load_with: tuple[str, ...] = ()
    after: Callable[[SlideRun], None] | None = None
    needs_model: bool = False
    written_by: str | None = None


STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(
            name="read",
            files=(records.SLIDE_FILE,),
            inputs=("slide",),
            make=records.make_slide_info,
            load=records.load_slide_info,
            written_by="tissue",
        ),
        Step(
            name="tissue",
            files=("tissue.zarr",),
            inputs=("slide", "tiles", "roi", "tissue_mask"),
            config=("tissue", "superpixel.mpp", "slide.stain"),
            make=records.make_tissue,
            load=records.load_tissue,
            after=records.mark_tissue,
        ),
        Step(
            name="segment",
            files=("superpixels.zarr",),
            inputs=("slide", "tiles", "tissue"),
            config=("superpixel",),
            make=records.make_superpixels,
            load=records.load_superpixels,
            load_with=("tissue",),
        ),
        Step(
            name="graph",
            files=("graph.safetensors",),
            inputs=("slide", "features", "tissue", "segment", "roi"),
            config=("feature",),
            make=records.make_graph,
            load=records.load_graph,
            after=records.note_bad_tiles,
        ),
        Step(
            name="coarsen",
            files=("coarse.safetensors",),
            inputs=("graph", "embedding"),
            config=("coarsening",),
            make=records.make_coarse_graph,
            load=records.load_coarse_graph,
        ),
        Step(
            name="predict",
            files=("prediction.json",),
            inputs=("coarsen", "model"),
            config=("prediction",),
            make=records.make_prediction,
            load=records.load_prediction,
            needs_model=True,
        ),
        Step(
            name="report",
            files=("report.json", "report.geojson", "report.png"),
            inputs=("slide", "roi", "tissue_mask", "read", "segment", "coarsen", "predict"),
            config=("report",),
            make=records.make_report,
            load=records.load_report,
            needs_model=True,
        ),
        Step(
            name="explain",
            files=("explanation.safetensors",),
            inputs=("graph", "coarsen", "model", "reference"),
            config=("explanation", "question"),
            make=records.make_explanation,
            load=records.load_explanation,
            needs_model=True,
        ),
        Step(
            name="page",
            files=("explanation.json", "explanation.geojson", "explanation.png", "report.html"),
            inputs=("graph", "coarsen", "model", "reference", "read", "tissue", "predict", "report", "explain"),
            config=("explanation", "question", "report"),
            make=records.make_page,
            load=records.load_page,
            needs_model=True,
        ),
    )
}
"""The steps in their order, by name. The last two are carried out only if an explanation is requested."""

STEP_NAMES = tuple(STEPS)
"""Names of the steps in their order."""
_LAYOUT = {step.name: step.files for step in STEPS.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideResult:
    """Result of `run_slide`; the records themselves are in `directory`.

    Attributes
    ----------
    slide_id : str
        Name of the slide.
    directory : Path
        ``OUT/<slide_id>``.
    info : SlideInfo
        Name, digest, pixel size and levels of the slide.
    facts : dict or None
        Summary of the slide, as in ``report.json``; None if the run stopped before the report.
    withheld : str
        Why the prediction is withheld, or empty.
    seconds : dict of str to float
        Wall time in s that each step took when it was last carried out.
    resumed : tuple of str
        Steps that were already done and were not repeated.
    files : tuple of Path
        Files in the directory, in the order of the steps.
    """

    slide_id: str
    directory: Path
    info: SlideInfo
    facts: dict[str, Any] | None
    withheld: str
    seconds: dict[str, float]
    resumed: tuple[str, ...]
    files: tuple[Path, ...]


def run_slide(
    path: Path | str | None,
    out: Path | str = "wsigraph-out",
    config: Config | None = None,
    *,
    features: Path | str | None = None,
    tile_px: int | None = None,
    mpp: float | None = None,
    missing_mpp: float | None = None,
    slide_id: str | None = None,
    model: Path | str | None = None,
    progress: Progress | None = None,
    until: str = "report",
    explain: ExplanationRequest | None = None,
    roi: Path | str | None = None,
    tissue_mask: Path | str | None = None,
    redo: bool = False,
    resume_only: bool = False,
    max_mpx: float = 0.0,
) -> SlideResult:
    """Carry out the steps of one slide, and skip those whose records are there.

    Parameters
    ----------
    path : Path, str or None
        Slide file or folder; None where `features` takes its place.
    out : Path or str
        Directory under which ``<slide_id>/`` is written.
    config : Config, optional
        Settings; by default the built-in ones.
    features : Path or str, optional
        Feature file of an encoder: averaged over superpixels of the slide; without a slide, its tiles are the nodes.
    tile_px : int, optional
        Side of a tile in level-0 pixels, where `features` does not state it.
    mpp : float, optional
        Pixel size of level 0 in um/px; overrides the one in a slide. That of a feature file alone counts before it.
    missing_mpp : float, optional
        Pixel size where nothing else states one.
    slide_id : str, optional
        Name of the slide; by default the file's name without its suffix.
    model : Path or str, optional
        Model bundle; by default the one in `config`, else the shipped demonstration model.
    progress : callable, optional
        Called with (step, done, total).
    until : str
        Last step to carry out, one of `STEP_NAMES`. With `explain`, ``report`` means ``page``.
    explain : ExplanationRequest, optional
        What to explain; without it nothing is explained.
    roi : Path or str, optional
        Regions outside which no tissue is used, and whose classes are counted in every node: QuPath GeoJSON, ImageScope
        XML or a label image, in coordinates of ``report.origin``.
    tissue_mask : Path or str, optional
        Regions that are taken as the tissue.
    redo : bool
        Whether to carry out every step again, even if its record is there.
    resume_only : bool
        Whether to raise `wsigraph.store.directory.WorkLeft` in place of carrying out a step.
    max_mpx : float
        Largest number of pixels of level 0, Mpx; 0 is unlimited.

    Returns
    -------
    SlideResult
        Summary of the slide and the paths of its files.

    Raises
    ------
    ConfigError
        If `until` names no step, the model does not have the target of `explain`, or regions are given for a feature
        file without its slide.
    ModelError
        If the model is damaged or of another feature schema; checked before the slide is opened.
    PluginError
        If a reader or encoder does not load.
    SlideError
        If the slide does not read, has no pixel size or more pixels than `max_mpx`, or a file of regions does not fit
        it (`RegionError`).
    TissueError
        If the slide holds no tissue, or is no H&E section.
    StoreError
        If the output cannot be written, or belongs to another slide of the same name.

    Notes
    -----
    A slide that fails before its tissue is found leaves nothing on disk.
    """
    from wsigraph.run.open_inputs import check_features, open_inputs, refuse_regions
    from wsigraph.slide.map_boxes import with_threads
    from wsigraph.store.directory import check_writable

    if until not in STEPS:
        raise ConfigError(f"step {until!r} is unknown; expected one of {', '.join(STEPS)}")
    settings = config or Config()
    if settings.runtime.memory_gb > 0:
        from wsigraph.graph.superpixel.memory_limit import within_memory

        settings = within_memory(settings)
    until = "page" if explain is not None and until == "report" else until
    bundle, reference, request = None, None, None
    if STEPS[until].needs_model:
        bundle, directory_of_model = load_model(model, settings)
        if until in ("explain", "page"):
            request, reference = load_explanation_inputs(explain, directory_of_model, bundle)
    refuse_regions(path, roi, tissue_mask)
    settings = check_features(bundle, settings, has_slide=path is not None, has_features=features is not None)
    check_networks(settings)
    check_writable(Path(out))
    started = time.perf_counter()
    opened = open_inputs(
        *(path, settings),
        features=features,
        tile_px=tile_px,
        mpp=mpp,
        missing_mpp=missing_mpp,
        slide_id=slide_id,
        max_mpx=max_mpx,
    )
    with opened as (slide, tiles), with_threads(settings.runtime.threads):
        directory = open_directory(slide, out, _LAYOUT, progress, redo=redo, resume_only=resume_only)
        directory.seconds["read"] = time.perf_counter() - started
        run = SlideRun(
            slide=slide,
            directory=directory,
            settings=settings,
            bundle=bundle,
            request=request,
            reference=reference,
            progress=progress,
            roi=read_regions(roi, slide, settings),
            tissue_mask=read_regions(tissue_mask, slide, settings),
            features=tiles,
            has_slide=path is not None,
        )
        carry_out_steps(run, until)
        directory.write_run(describe_run(str(path or features), settings))
        bad_tiles, prediction = directory.path / records.BAD_TILES, run.records.get("predict")
        return SlideResult(
            slide_id=slide.info.slide_id,
            directory=directory.path,
            info=slide.info,
            facts=run.records.get("report"),
            withheld=prediction.withheld if prediction is not None else "",
            seconds={step: directory.seconds[step] for step in STEPS if step in directory.seconds},
            resumed=tuple(directory.resumed),
            files=(*directory.files(), *([bad_tiles] if bad_tiles.exists() else [])),
        )


def carry_out_steps(run: SlideRun, until: str) -> None:
    """Make or load the records of all steps up to one.

    Parameters
    ----------
    run : SlideRun
        The slide; every record is added to it.
    until : str
        Name of the last step.

    Raises
    ------
    WsigraphError
        Whatever a step raises.
    """
    for step in steps_until(until):
        if step.name in ("explain", "page") and run.records["predict"].withheld:
            return  # there is no number to explain; the report gives the reason
        if step.written_by is not None:
            # a slide that fails before its first record leaves no directory behind
            if step.name == until:
                step.make(run, _destination(run, step))
            continue
        to = _destination(run, step)
        load = partial(_load, step, [run.records[name] for name in step.load_with])
        run.records[step.name] = run.directory.carry_out(step.name, to.inputs, to.config, partial(step.make, run), load)
        if step.after is not None:
            step.after(run)


def _load(step: Step, earlier: Sequence[Any], path: Path) -> Any:
    return step.load(path, *earlier)


def _destination(run: SlideRun, step: Step) -> Destination:
    """Return where the record of a step goes and what its header names."""
    from wsigraph.store import Destination

    inputs: dict[str, str] = {}
    for name in step.inputs:
        inputs |= run.input_digest(name)
    config = {name: run.config_digest(name) for name in step.config}
    return Destination(run.directory.path / step.files[0], inputs, config)


def steps_until(until: str) -> tuple[Step, ...]:
    """Return the steps up to one, in their order."""
    return tuple(STEPS[name] for name in STEP_NAMES[: STEP_NAMES.index(until) + 1])
