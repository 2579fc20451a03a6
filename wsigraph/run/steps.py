"""One slide from file to report: the only module that knows the order of the stages.

Each stage writes one record into ``OUT/<slide_id>/`` and is skipped when that record is there, undamaged, and its
header names the inputs and settings that would be used now. The first stage that must be redone removes its record
and all later ones, so that a directory never shows a prediction beside a graph it was not made from. Timings go to
``run.json`` alone; every other file depends on nothing but the slide, the settings and the version.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph import __version__
from wsigraph.config import Config, section_hash
from wsigraph.errors import ConfigError

if TYPE_CHECKING:
    from wsigraph.explanation.request import Question
    from wsigraph.model.bundle import ModelBundle
    from wsigraph.records import CoarseGraph, Prediction, SlideInfo, SuperpixelLabels, TissueGraph, TissueMap
    from wsigraph.run.explain_step import Asked
    from wsigraph.slide.damage import BadTile
    from wsigraph.slide.reader import Slide
    from wsigraph.store import Destination
    from wsigraph.store.directory import SlideDirectory

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) from the calling thread."""

LAYOUT: Mapping[str, tuple[str, ...]] = {
    "read": ("slide.json",),
    "tissue": ("tissue.zarr",),
    "segment": ("superpixels.zarr",),
    "graph": ("graph.safetensors",),
    "coarsen": ("coarse.safetensors",),
    "predict": ("prediction.json",),
    "report": ("report.json", "report.geojson", "report.png"),
    "explain": ("explanation.safetensors",),
    "page": ("explanation.json", "explanation.geojson", "explanation.png", "report.html"),
}
"""The stages in their order, as `until` and ``run.json`` spell them, and what each leaves in the slide's directory."""

BAD_TILES = "bad_tiles.json"
"""Tiles that did not decode and were read as white; there only where there are any."""

STAGES = tuple(LAYOUT)
"""Names of the stages."""

AFTER_MODEL = ("predict", "report", "explain", "page")
"""Stages that need a model; the last two are carried out where an explanation is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowResult:
    """What came of one slide; the records themselves are in `directory`.

    Attributes
    ----------
    slide_id : str
        The slide.
    directory : Path
        ``OUT/<slide_id>``.
    info : SlideInfo
        What is known of the slide.
    facts : dict or None
        What is worth knowing at a glance (``report.slide_summary.summary``); None where the flow stopped earlier.
    seconds : dict of str to float
        Wall time that each stage took when it was last carried out.
    resumed : tuple of str
        Stages that were found done.
    files : tuple of Path
        What is in the directory, in the order of the stages.
    """

    slide_id: str
    directory: Path
    info: SlideInfo
    facts: dict[str, Any] | None
    seconds: dict[str, float]
    resumed: tuple[str, ...]
    files: tuple[Path, ...]


def run_slide(
    path: Path | str,
    out: Path | str = "wsigraph-out",
    config: Config | None = None,
    *,
    mpp: float | None = None,
    slide_id: str | None = None,
    model: Path | str | None = None,
    progress: Progress | None = None,
    until: str = "report",
    explain: Question | None = None,
) -> FlowResult:
    """Walk one slide through all stages, skipping those whose records are there.

    Parameters
    ----------
    path : Path or str
        The slide.
    out : Path or str
        Directory under which ``<slide_id>/`` is written.
    config : Config, optional
        Settings; the defaults where left out.
    mpp : float, optional
        Level-0 pixel size in um/px; wins over what the file says.
    slide_id : str, optional
        Name of the slide; the file's name without its suffix where left out.
    model : Path or str, optional
        Model bundle; by default the one in `config`, else the shipped demonstration model.
    progress : callable, optional
        Told (stage, done, total).
    until : str
        Last stage to carry out, one of `STAGES`; with `explain`, ``report`` stands for ``page``.
    explain : Question, optional
        What is to be explained.

    Returns
    -------
    FlowResult
        Figures of the slide and where its files are.

    Raises
    ------
    ConfigError
        If `until` names no stage, or the target is none that the model has.
    ModelError
        If the model is damaged or of another feature schema; met before the slide is worked on.
    PluginError
        If a reader or encoder does not load.
    SlideError
        If the slide does not read or has no pixel size.
    TissueError
        If the slide holds no tissue, or is no H&E section.
    StoreError
        If the output cannot be written, or belongs to another slide of the same name.

    Notes
    -----
    A slide that fails before its tissue is found leaves nothing on disk.
    """
    from wsigraph.slide.map_boxes import with_threads
    from wsigraph.slide.reader import read
    from wsigraph.store.directory import SlideDirectory, check_writable

    if until not in STAGES:
        raise ConfigError(f"stage {until!r} is unknown; expected one of {', '.join(STAGES)}")
    settings = config or Config()
    if settings.runtime.memory_gb > 0:
        from wsigraph.graph.superpixel.memory_limit import within_memory

        settings = within_memory(settings)
    bundle, asked = _model(model, settings, explain, until)
    _check_encoder(settings)
    check_writable(Path(out))
    started = time.perf_counter()
    limit = settings.slide.max_bad_tile_fraction
    opened = read(path, mpp=mpp, slide_id=slide_id, max_bad_tile_fraction=limit)
    with opened as slide, with_threads(settings.runtime.threads):
        directory = SlideDirectory(Path(out) / slide.info.slide_id, LAYOUT, progress)
        directory.refuse_clash(slide.info)
        directory.seconds["read"] = time.perf_counter() - started
        facts = _Walk(slide, directory, settings, bundle, asked, progress).to(until)
        directory.write_run(_circumstances(path, settings))
        return FlowResult(
            slide_id=slide.info.slide_id,
            directory=directory.path,
            info=slide.info,
            facts=facts,
            seconds={stage: directory.seconds[stage] for stage in STAGES if stage in directory.seconds},
            resumed=tuple(directory.resumed),
            files=(*directory.files(), *(each for each in [directory.path / BAD_TILES] if each.exists())),
        )


@dataclass(eq=False)
class _Walk:
    """One slide on its way through the stages."""

    slide: Slide
    directory: SlideDirectory
    settings: Config
    bundle: ModelBundle | None
    asked: Asked | None
    progress: Progress | None
    mark: str = ""

    def to(self, until: str) -> dict[str, Any] | None:
        """Carry out the stages up to `until` and return the facts where that is the report."""
        if until == "read":
            self._save_info()
            return None
        tissue = self._tissue()
        if until == "tissue":
            return None
        labels = self._segment(tissue)
        if until == "segment":
            return None
        graph = self._graph(labels)
        bad_tiles = self._bad_tiles()
        if until == "graph":
            return None
        coarse = self._coarsen(graph)
        if until == "coarsen" or self.bundle is None:
            return None
        prediction = self._predict(coarse, self.bundle)
        if until == "predict":
            return None
        facts = self._report(labels, coarse, prediction, bad_tiles)
        if self.asked is not None:
            from wsigraph.run.explain_step import Found, carry_out

            found = Found(self.slide, tissue, labels, graph, coarse, prediction, facts)
            carry_out(self.directory, found, self.asked, threads=self.settings.runtime.threads, until=until)
        return facts

    @property
    def _identity(self) -> dict[str, str]:
        """Digest of what decides the slide's pixels and their scale."""
        info = self.slide.info
        return {"slide": _digest([info.slide_id, info.sha256, info.reader, info.mpp])}

    def _save_info(self) -> None:
        from wsigraph import store

        to = store.Destination(self.directory.path / LAYOUT["read"][0], self._identity)
        store.save_slide_info(self.slide.info, to)

    def _tissue(self) -> TissueMap:
        from wsigraph import store
        from wsigraph.graph.tissue.suitability import mark_slide

        options, working_mpp = self.settings.tissue, self.settings.superpixel.mpp

        def make(to: Destination) -> None:
            from wsigraph.graph.tissue.mask import find_tissue

            tissue = find_tissue(
                self.slide,
                options,
                suitability=self.settings.slide,
                working_mpp=working_mpp,
                progress=self.progress,
            )
            mark_slide(self.slide, tissue, self.settings.slide)
            # only now: a slide without tissue leaves no directory behind
            self._save_info()
            store.save_tissue_map(tissue, to)

        config = {"tissue": section_hash(options), "superpixel.mpp": _digest(working_mpp)}
        tissue = self.directory.carry_out("tissue", self._identity, config, make, store.load_tissue_map)
        self.mark = mark_slide(self.slide, tissue, self.settings.slide)
        if "tissue" in self.directory.resumed:
            # new bytes only where the source of the same pixel size, or a warning, has changed
            self._save_info()
        return tissue

    def _segment(self, tissue: TissueMap) -> SuperpixelLabels:
        from wsigraph import store

        def make(to: Destination) -> None:
            from wsigraph.graph.superpixel.segment import segment

            segment(self.slide, self.settings, tissue=tissue, path=to, progress=self.progress)

        inputs = self._identity | self.directory.digest("tissue")
        config = {"superpixel": section_hash(self.settings.superpixel)}
        return self.directory.carry_out("segment", inputs, config, make, lambda path: store.load_labels(path, tissue))

    def _graph(self, labels: SuperpixelLabels) -> TissueGraph:
        from wsigraph import store

        def make(to: Destination) -> None:
            from wsigraph.graph.build import build_graph

            store.save_graph(build_graph(self.slide, labels, self.settings, progress=self.progress), to)

        inputs = self._identity | self.directory.digest("tissue") | self.directory.digest("segment")
        config = {"feature": section_hash(self.settings.feature)}
        return self.directory.carry_out("graph", inputs, config, make, store.load_graph)

    def _coarsen(self, graph: TissueGraph) -> CoarseGraph:
        from wsigraph import store
        from wsigraph.graph.coarsening.embed import load_embedding

        options = self.settings.coarsening
        own = None if self.bundle is None else self.bundle.coarsening(options, self.slide.info.sha256)
        options, embedding = own or (options, load_embedding(options.weights))

        def make(to: Destination) -> None:
            from wsigraph.graph.coarsening.coarsen import coarsen

            store.save_coarse_graph(coarsen(graph, options, embedding=embedding), to)

        inputs = self.directory.digest("graph") | {"embedding": embedding.embedding_id}
        config = {"coarsening": section_hash(options.model_copy(update={"weights": None}))}  # they count by content
        return self.directory.carry_out("coarsen", inputs, config, make, store.load_coarse_graph)

    def _predict(self, coarse: CoarseGraph, bundle: ModelBundle) -> Prediction:
        from wsigraph import store

        def make(to: Destination) -> None:
            from wsigraph.graph.tissue.suitability import mark_prediction
            from wsigraph.model.predict import predict

            prediction = predict(coarse, bundle, sha256=self.slide.info.sha256)
            store.save_prediction(mark_prediction(prediction, self.mark), to)

        inputs = self.directory.digest("coarsen") | {"model": bundle.model_id}
        return self.directory.carry_out("predict", inputs, {}, make, store.load_prediction)

    def _bad_tiles(self) -> tuple[BadTile, ...]:
        """Return the tiles left white, and remember them for a run that finds its stages done and reads no pixel."""
        from wsigraph.slide.scan import load_bad_tiles, save_bad_tiles

        path = self.directory.path / BAD_TILES
        known = load_bad_tiles(path) if {"tissue", "segment", "graph"} & set(self.directory.resumed) else ()
        tiles = tuple(sorted({*known, *self.slide.bad_tiles}))
        save_bad_tiles(path, tiles)
        return tiles

    def _report(
        self, labels: SuperpixelLabels, coarse: CoarseGraph, prediction: Prediction, bad_tiles: tuple[BadTile, ...]
    ) -> dict[str, Any]:
        from wsigraph import store

        options = self.settings.report
        inputs = self._identity
        for stage in ("read", "segment", "coarsen", "predict"):
            inputs |= self.directory.digest(stage)

        def make(to: Destination) -> None:
            from wsigraph.report.write_report import write
            from wsigraph.slide.mpp import describe_enlargement
            from wsigraph.slide.scan import describe_bad_tiles

            enlarged = describe_enlargement(self.slide.info.mpp, self.settings.superpixel.mpp)
            write(
                self.directory.path,
                slide=self.slide,
                labels=labels,
                coarse=coarse,
                prediction=prediction,
                config=options,
                inputs=to.inputs,
                warnings=(*describe_bad_tiles(bad_tiles), *enlarged),
            )

        config = {"report": section_hash(options)}
        return self.directory.carry_out(
            "report", inputs, config, make, lambda path: store.read_document(path, "Report")[1]
        )


def _circumstances(path: Path | str, settings: Config) -> dict[str, Any]:
    return {
        "slide": str(Path(path).absolute()),
        "wsigraph": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "runtime": settings.runtime.model_dump(mode="json"),
    }


def _model(
    model: Path | str | None, settings: Config, question: Question | None, until: str
) -> tuple[ModelBundle | None, Asked | None]:
    """Return the model and what is asked of it, where the flow goes that far; faults are met before the work."""
    if until not in AFTER_MODEL:
        return None, None
    from wsigraph.model.bundle import SHIPPED, load_bundle

    directory = model or settings.model.path or SHIPPED
    bundle = load_bundle(directory)
    if question is None and until in ("predict", "report"):
        return bundle, None
    from wsigraph.run.explain_step import ask

    return bundle, ask(question, directory, bundle, settings)


def _check_encoder(settings: Config) -> None:
    """Raise PluginError before the work rather than in the middle of it where the encoder does not load."""
    from wsigraph import registry

    if settings.feature.encoder is not None:
        registry.load(registry.ENCODERS, settings.feature.encoder)()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
