"""The records of a job that is done, open for questions: regions, what each counts for, and the model that read them.

A job's records never change, so that they are read once and kept for the few jobs that are looked at. The model stays
loaded, which makes a prediction without some regions a matter of milliseconds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ConfigError, Conflict, NotFound, StoreError
from wsigraph.explanation.ablation import predict_without
from wsigraph.explanation.faithfulness import order_by
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.region_facts import RegionDescriber
from wsigraph.explanation.target import Target
from wsigraph.geometry import Box, px_to_um, um_to_px
from wsigraph.model.bundle import ModelBundle, load_bundle
from wsigraph.outline.label_grid import LabelGrid, sample_regions
from wsigraph.outline.outline import Outlines, trace_outlines
from wsigraph.records import Explanation, Prediction
from wsigraph.service.context import House
from wsigraph.service.routes.regions import MOST_LEVELS
from wsigraph.store import (
    load_coarse_graph,
    load_explanation,
    load_labels,
    load_prediction,
    load_slide_info,
)

_KEPT = 3
_CROP_MARGIN = 1.35
_CROP_LEAST_UM = 60.0


class ExplainedSlide:
    """The records of one job.

    Parameters
    ----------
    directory : Path
        Where they lie.
    bundle : ModelBundle
        The model of the service.
    reference : Reference or None
        Its training cohort.
    outline : tuple of float, float, int
        Spacing and tolerance of outlines in um, and most cells along a side (section ``report`` of the settings).

    Raises
    ------
    StoreError
        If a record is missing or damaged.
    """

    def __init__(
        self, directory: Path, bundle: ModelBundle, reference: Reference | None, outline: tuple[float, float, int]
    ) -> None:
        self.directory = directory
        self.info = load_slide_info(directory / "slide.json")
        self.coarse = load_coarse_graph(directory / "coarse.safetensors")
        self.prediction = load_prediction(directory / "prediction.json")
        path = directory / "explanation.safetensors"
        self.explanation: Explanation | None = load_explanation(path) if path.is_file() else None
        # a service that was started anew with another model still shows what the former one said
        is_same = self.prediction.model_id == bundle.model_id
        self.bundle = bundle if is_same else None
        self.reference = reference if is_same else None
        self.describer = RegionDescriber(self.coarse, self.explanation, self.reference)
        self._outline_mpp, self._tolerance_um, self._max_px = outline
        self._outlines: dict[int, Outlines] = {}
        self._tracing = threading.Lock()

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return self.coarse.graph.n_nodes

    @cached_property
    def attributions(self) -> dict[str, NDArray[np.float64]]:
        """Attribution of every region by target, the one that was asked for first; empty without an explanation."""
        if self.explanation is None:
            return {}
        return {self.explanation.target: self.explanation.node, **self.explanation.other_targets}

    @cached_property
    def orders(self) -> dict[str, NDArray[np.int64]]:
        """All regions by target, the one whose loss should move the output soonest first."""
        area = self.coarse.graph.moment("n").astype(np.float64)
        # attributions add up to what the slide differs by from the baseline
        return {
            target: order_by(node / area, 1.0 if node.sum() >= 0 else -1.0)
            for target, node in self.attributions.items()
        }

    def unit(self, target: str) -> str:
        """Return what the output of a target is measured in."""
        return Target.parse(target).unit

    def chosen(self, top: int, target: str | None) -> NDArray[np.int64]:
        """Return the most important regions.

        Parameters
        ----------
        top : int
            How many.
        target : str or None
            For which output; the one that was explained where None.

        Returns
        -------
        int64 (top,)
            Regions.

        Raises
        ------
        ConfigError
            If the job has no explanation, or none of this target.
        """
        if not self.orders:
            raise ConfigError("this job has predicted and not explained; start one of kind 'explain' for an order")
        target = next(iter(self.orders)) if target is None else target
        if target not in self.orders:
            raise ConfigError(f"target {target!r} was not explained, expected one of {', '.join(self.orders)}")
        return self.orders[target][:top]

    def without(self, regions: NDArray[np.int64]) -> Prediction:
        """Return the prediction of the slide without some regions.

        Parameters
        ----------
        regions : int64 (k,)
            Which; the last region stays.

        Returns
        -------
        Prediction
            By the model that read the whole slide.

        Raises
        ------
        Conflict
            If the service has another model now.
        NotFound
            If there is no such region.
        """
        if self.bundle is None:
            raise Conflict(
                f"this job was read by model {self.prediction.model_id}, the service has another now; start it again"
            )
        if len(regions) and not 0 <= int(regions.min()) <= int(regions.max()) < self.n_regions:
            raise NotFound(f"a region is not there; regions are 0 to {self.n_regions - 1}")
        return predict_without(self.coarse, regions, self.bundle, sha256=self.info.sha256)

    def settled_level(self, level: int) -> int:
        """Return the zoom level whose outlines serve for `level`: the finest of those that look alike."""
        while level > 0 and self.tolerance_um(level - 1) >= self.tolerance_um(level):
            level -= 1
        return level

    @property
    def coarsest_level(self) -> int:
        """The zoom level at which the whole slide is a few hundred pixels."""
        size = self.info.levels[0].size
        return min(MOST_LEVELS, max(0, (max(size.height, size.width) // 512).bit_length()))

    def tolerance_um(self, level: int) -> float:
        """Return how far outlines may lie from the regions at a zoom level, um: a pixel of the screen."""
        return max(self._floor_um, px_to_um(2.0 ** min(level, self.coarsest_level), self.info.mpp))

    def outlines(self, level: int) -> Outlines:
        """Return the outlines of all regions, traced once for a level.

        Parameters
        ----------
        level : int
            Zoom level: a pixel of the screen spans 2 to the power of it of the slide's.

        Returns
        -------
        Outlines
            Level-0 pixels.

        Raises
        ------
        RecordError
            If the records do not belong together.
        StoreError
            If the labels are damaged.
        """
        level = self.settled_level(level)
        with self._tracing:
            if level not in self._outlines:
                self._outlines[level] = trace_outlines(
                    self._lattice, self.coarse.graph, tolerance_um=self.tolerance_um(level)
                )
            return self._outlines[level]

    def crop_box(self, node: int) -> Box:
        """Return a square around a region, cut at the slide's end; level-0 pixels.

        Raises
        ------
        NotFound
            If there is no such region.
        """
        self.check(node)
        points = np.concatenate([ring for polygon in self.outlines(0).polygons(node) for ring in polygon])
        low, high = points.min(axis=0), points.max(axis=0)
        side = max(float((high - low).max()) * _CROP_MARGIN, um_to_px(_CROP_LEAST_UM, self.info.mpp))
        x, y = (low + high) / 2
        half = side / 2
        whole = Box(y0=round(y - half), x0=round(x - half), y1=round(y + half), x1=round(x + half))
        return whole.clip(self.info.levels[0].size)

    def check(self, node: int) -> None:
        """Refuse a region that is not there.

        Raises
        ------
        NotFound
            If there is no such region.
        """
        if not 0 <= node < self.n_regions:
            raise NotFound(f"region {node} is not there; regions are 0 to {self.n_regions - 1}")

    @cached_property
    def _lattice(self) -> LabelGrid:
        labels = load_labels(self.directory / "superpixels.zarr")
        return sample_regions(labels, self.coarse, self.info, outline_mpp=self._outline_mpp, max_px=self._max_px)

    @cached_property
    def _floor_um(self) -> float:
        lattice = self._lattice
        return self._tolerance_um * max(1.0, lattice.mpp / max(self._outline_mpp, self.coarse.graph.mpp))


class ExplainedSlides:
    """The jobs that are looked at, the least recently used dropped first; safe to use from several threads.

    Parameters
    ----------
    house : House
        The service.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._kept: OrderedDict[str, ExplainedSlide] = OrderedDict()
        self._lock = threading.Lock()
        self._model: tuple[ModelBundle, Reference | None] | None = None

    def find(self, job_id: str) -> ExplainedSlide:
        """Return the records of a job.

        Parameters
        ----------
        job_id : str
            The job.

        Returns
        -------
        ExplainedSlide
            Kept for the next question.

        Raises
        ------
        Conflict
            If the job is not done.
        NotFound
            If there is no such job, or its results are gone.
        StoreError
            If a record is damaged.
        """
        directory = self._house.done_directory(job_id)
        with self._lock:
            found = self._kept.pop(job_id, None)
            if found is None:
                found = self._open(directory)
            self._kept[job_id] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return found

    def warm(self) -> None:
        """Read the model before the first question.

        Raises
        ------
        ModelError
            If it is damaged.
        """
        with self._lock:
            self._read_model()

    def _read_model(self) -> tuple[ModelBundle, Reference | None]:
        if self._model is None:
            directory = self._house.model_directory
            bundle = load_bundle(directory)
            self._model = bundle, load_reference(directory, bundle)
        return self._model

    def _open(self, directory: Path) -> ExplainedSlide:
        model = self._read_model()
        report = self._house.config.report
        outline = report.outline_mpp, report.outline_tolerance_um, report.outline_max_px
        try:
            return ExplainedSlide(directory, *model, outline)
        except StoreError as error:
            raise NotFound(f"the records of this job cannot be read ({error}); start it again") from None
