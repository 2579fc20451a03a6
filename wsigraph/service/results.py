"""The results of finished jobs: regions, attributions, and the model that predicted them.

The records of a job never change, so they are read once and cached for the jobs that were viewed last. The model stays
in memory, so an ablation (a prediction without some regions) takes milliseconds.
"""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from wsigraph.config import PredictionConfig
from wsigraph.errors import ConfigError, Conflict, NotFound, StoreError
from wsigraph.explanation.ablation import predict_ablated
from wsigraph.explanation.faithfulness import order_by
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.region_facts import RegionDescriber, unit_words
from wsigraph.explanation.target import Target
from wsigraph.geometry import Box, px_to_um, um_to_px
from wsigraph.model.bundle import ModelBundle, load_bundle
from wsigraph.outline.label_grid import LabelGrid, sample_regions
from wsigraph.outline.outline import Outlines, trace_outlines
from wsigraph.records import Explanation, Prediction
from wsigraph.run.page_step import FACTS
from wsigraph.service.context import ServiceContext
from wsigraph.service.deepzoom import MAX_OUTLINE_LEVEL
from wsigraph.store import (
    load_coarse_graph,
    load_explanation,
    load_labels,
    load_prediction,
    load_slide_info,
    read_document,
)

_MAX_JOBS = 3
_CROP_MARGIN = 1.35
_CROP_MIN_UM = 60.0


class JobResults:
    """The results of one job.

    Parameters
    ----------
    directory : Path
        Directory of the records.
    bundle : ModelBundle
        The model of the service.
    reference : Reference or None
        Its training cohort.
    outline : tuple of float, float, int
        Pixel size (um/px) of the grid that outlines are traced on, tolerance (um), and largest number of grid cells
        along a side. See the section ``report`` of the settings.
    max_area_error : float
        Largest error of the area of an outline at the finest level, as a fraction.

    Raises
    ------
    StoreError
        If a record is missing or damaged.
    """

    def __init__(
        self,
        directory: Path,
        bundle: ModelBundle,
        reference: Reference | None,
        outline: tuple[float, float, int],
        *,
        max_area_error: float = np.inf,
    ) -> None:
        self.directory = directory
        self.info = load_slide_info(directory / "slide.json")
        self.coarse = load_coarse_graph(directory / "coarse.safetensors")
        self.prediction = load_prediction(directory / "prediction.json")
        path = directory / "explanation.safetensors"
        self.explanation: Explanation | None = load_explanation(path) if path.is_file() else None
        # after a restart with another model, the service still shows the predictions of the previous one
        is_same = self.prediction.model_id == bundle.model_id
        self.bundle = bundle if is_same else None
        self.reference = reference if is_same else None
        self.describer = RegionDescriber(self.coarse, self.explanation, self.reference)
        self._outline_mpp, self._tolerance_um, self._max_px = outline
        self._max_area_error = max_area_error
        self._outlines: dict[int, Outlines] = {}
        self._trace_lock = threading.Lock()

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return self.coarse.graph.n_nodes

    @cached_property
    def attributions(self) -> dict[str, NDArray[np.float64]]:
        """Attribution of every region by target. The target of the job comes first. Empty without an explanation."""
        if self.explanation is None:
            return {}
        return {self.explanation.target: self.explanation.node, **self.explanation.other_targets}

    @cached_property
    def rankings(self) -> dict[str, NDArray[np.int64]]:
        """All regions by target, sorted by importance. Removing the first one should change the output most."""
        area = self.coarse.graph.moment("n").astype(np.float64)
        # attributions sum to the difference between the slide and the reference input
        return {
            target: order_by(node / area, 1.0 if node.sum() >= 0 else -1.0)
            for target, node in self.attributions.items()
        }

    @cached_property
    def sentences(self) -> list[str]:
        """The explanation as text. Empty if the job stopped before it was written."""
        path = self.directory / FACTS
        return [str(sentence) for sentence in read_document(path)[1]["text"]] if path.is_file() else []

    @staticmethod
    def unit_label(unit: str) -> str:
        """Return the unit of a feature as a label; empty for a dimensionless feature."""
        return unit_words(unit)

    def unit(self, target: str) -> str:
        """Return the unit of the output of a target."""
        return Target.parse(target).unit

    def most_important(self, top: int, target: str | None) -> NDArray[np.int64]:
        """Return the most important regions.

        Parameters
        ----------
        top : int
            Number of regions.
        target : str or None
            Rank by the attribution to this target; None for the target of the job.

        Returns
        -------
        int64 (top,)
            Region numbers, most important first.

        Raises
        ------
        ConfigError
            If the job has no explanation, or none for this target.
        """
        if not self.rankings:
            raise ConfigError(
                "this job has a prediction but no explanation; start a job of kind 'explain' to rank its regions"
            )
        target = next(iter(self.rankings)) if target is None else target
        if target not in self.rankings:
            raise ConfigError(f"target {target!r} was not explained, expected one of {', '.join(self.rankings)}")
        return self.rankings[target][:top]

    def ablate(self, regions: NDArray[np.int64]) -> Prediction:
        """Return the prediction after an ablation: without some regions and their edges.

        Parameters
        ----------
        regions : int64 (k,)
            Regions to remove. At least one region must be left.

        Returns
        -------
        Prediction
            Prediction by the model of the job.

        Raises
        ------
        Conflict
            If the service now runs another model.
        NotFound
            If there is no such region.
        """
        if self.bundle is None:
            raise Conflict(
                f"this job used the model {self.prediction.model_id}, but the service now runs another; start the job "
                "again"
            )
        if len(regions) and not 0 <= int(regions.min()) <= int(regions.max()) < self.n_regions:
            raise NotFound(f"there is no such region; regions are numbered 0 to {self.n_regions - 1}")
        # where the whole slide has numbers, because it was forced or is near enough, so has what is left of it
        config = PredictionConfig(withhold=bool(self.prediction.withheld))
        return predict_ablated(self.coarse, regions, self.bundle, sha256=self.info.sha256, config=config)

    def outline_level(self, level: int) -> int:
        """Return the finest zoom level whose outlines have the same tolerance as those of `level`."""
        while level > 0 and self.tolerance_um(level - 1) >= self.tolerance_um(level):
            level -= 1
        return level

    @property
    def coarsest_level(self) -> int:
        """The zoom level at which the whole slide is a few hundred pixels wide."""
        size = self.info.levels[0].size
        return min(MAX_OUTLINE_LEVEL, max(0, (max(size.height, size.width) // 512).bit_length()))

    def tolerance_um(self, level: int) -> float:
        """Return the tolerance of outlines at a zoom level in um: about one screen pixel."""
        return max(self._min_tolerance_um, px_to_um(2.0 ** min(level, self.coarsest_level), self.info.mpp))

    def outlines(self, level: int) -> Outlines:
        """Return the outlines of all regions. They are traced once for each level.

        Parameters
        ----------
        level : int
            Zoom level: one screen pixel spans 2**level level-0 pixels.

        Returns
        -------
        Outlines
            Polygons in level-0 pixels.

        Raises
        ------
        RecordError
            If the records belong to different slides.
        StoreError
            If the labels are damaged.
        """
        level = self.outline_level(level)
        with self._trace_lock:
            if level not in self._outlines:
                tolerance_um = self.tolerance_um(level)
                # the finest outlines are those of report.geojson; coarser ones are for looking at
                is_finest = tolerance_um <= self._min_tolerance_um
                self._outlines[level] = trace_outlines(
                    self._label_grid,
                    self.coarse.graph,
                    tolerance_um=tolerance_um,
                    max_area_error=self._max_area_error if is_finest else np.inf,
                )
            return self._outlines[level]

    def crop_box(self, node: int) -> Box:
        """Return a square around a region in level-0 pixels, clipped to the slide.

        Raises
        ------
        NotFound
            If there is no such region.
        """
        self.check_region(node)
        points = np.concatenate([ring for polygon in self.outlines(0).polygons(node) for ring in polygon])
        low, high = points.min(axis=0), points.max(axis=0)
        side = max(float((high - low).max()) * _CROP_MARGIN, um_to_px(_CROP_MIN_UM, self.info.mpp))
        x, y = (low + high) / 2
        half = side / 2
        box = Box(y0=round(y - half), x0=round(x - half), y1=round(y + half), x1=round(x + half))
        return box.clip(self.info.levels[0].size)

    def check_region(self, node: int) -> None:
        """Raise an error if there is no such region.

        Raises
        ------
        NotFound
            If there is no such region.
        """
        if not 0 <= node < self.n_regions:
            raise NotFound(f"there is no region {node}; regions are numbered 0 to {self.n_regions - 1}")

    @cached_property
    def _label_grid(self) -> LabelGrid:
        labels = load_labels(self.directory / "superpixels.zarr")
        return sample_regions(labels, self.coarse, self.info, outline_mpp=self._outline_mpp, max_px=self._max_px)

    @cached_property
    def _min_tolerance_um(self) -> float:
        return self._tolerance_um * max(1.0, self._label_grid.mpp / max(self._outline_mpp, self.coarse.graph.mpp))


class JobResultsCache:
    """A least-recently-used cache of job results. It is safe to use from several threads.

    Parameters
    ----------
    context : ServiceContext
        Context of the service.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._jobs: LRUCache[str, JobResults] = LRUCache(_MAX_JOBS)
        self._lock = threading.Lock()
        self._model: tuple[ModelBundle, Reference | None] | None = None

    def find(self, job_id: str) -> JobResults:
        """Return the results of a job.

        Parameters
        ----------
        job_id : str
            Identifier of the job.

        Returns
        -------
        JobResults
            Results, read from disk or from the cache.

        Raises
        ------
        Conflict
            If the job has not finished.
        NotFound
            If there is no such job, or its results were removed.
        StoreError
            If a record is damaged.
        """
        directory = self._context.done_directory(job_id)
        with self._lock:
            results = self._jobs.get(job_id)
            if results is None:
                results = self._jobs[job_id] = self._open(directory)
            return results

    def warm(self) -> None:
        """Load the model before the first request.

        Raises
        ------
        ModelError
            If the model is damaged.
        """
        with self._lock:
            self._load_model()

    def _load_model(self) -> tuple[ModelBundle, Reference | None]:
        if self._model is None:
            directory = self._context.model_directory
            bundle = load_bundle(directory)
            self._model = bundle, load_reference(directory, bundle)
        return self._model

    def _open(self, directory: Path) -> JobResults:
        model = self._load_model()
        report = self._context.config.report
        outline = report.outline_mpp, report.outline_tolerance_um, report.outline_max_px
        try:
            return JobResults(directory, *model, outline, max_area_error=report.outline_max_area_error)
        except StoreError as error:
            raise NotFound(f"the records of this job cannot be read ({error}); start it again") from None
