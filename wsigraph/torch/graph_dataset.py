"""A cohort as a torch_geometric data set: graphs are read when they are used, and those used last are kept."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch_geometric.data import Data, Dataset

from wsigraph.cohort.manifest.endpoint import Endpoint, with_endpoint
from wsigraph.cohort.manifest.manifest import read_manifest
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import CohortError
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.torch.graph_data import Inputs, read_graph, to_data

Level = Literal["regions", "superpixels"]
_REGIONS, _SUPERPIXELS = "coarse.safetensors", "graph.safetensors"
NO_STAGE = -1
"""Label of a slide whose stage is unknown, as cross-entropy's ``ignore_index=-1`` takes it."""


class GraphDataset(Dataset):  # type: ignore[misc]  # torch_geometric has no annotations
    """Slides of a manifest and their graphs.

    Each item is the `Data` of `to_data` with ``y``, the index of the stage (int64 (1,), -1 where unknown),
    ``time_days`` (float32 (1,), NaN where unknown), ``event`` (bool (1,)), ``patient`` and ``site``.

    Parameters
    ----------
    manifest : Path or str
        Table of slides and patients.
    graphs : Path or str
        Directory of ``<slide_id>/coarse.safetensors`` and ``<slide_id>/graph.safetensors``.
    transform : callable, optional
        Takes and returns a `Data`; called every time an item is taken.
    pre_transform : callable, optional
        The same, called once for every graph that is read; its result is kept.
    level : str
        ``regions`` or ``superpixels``. Superpixels without a file of regions are coarsened when they are read.
    coarsening : CoarseningConfig, optional
        Settings of that coarsening.
    inputs : str
        Columns of ``x``, as for `to_data`.
    encoding_dimensions : int, optional
        As for `to_data`.
    endpoint : Endpoint, optional
        Columns of follow-up and event; ``time_days`` and ``event`` by default.
    split : str, optional
        Only the rows whose manifest column ``split`` says so; ``train`` also takes rows that state none.
    stage_names : tuple of str
        The K stages that ``y`` counts.
    cached_graphs : int
        Number of graphs that are kept in memory.
    allow_missing : bool
        Leave out slides without a graph, instead of failing.

    Raises
    ------
    CohortError
        If the manifest has faults, or slides have no graph.
    """

    def __init__(
        self,
        manifest: Path | str,
        graphs: Path | str,
        *,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        level: Level = "regions",
        coarsening: CoarseningConfig | None = None,
        inputs: Inputs = "auto",
        encoding_dimensions: int | None = None,
        endpoint: Endpoint | None = None,
        split: Literal["train", "test"] | None = None,
        stage_names: tuple[str, ...] = ModelConfig().stage_names,
        cached_graphs: int = 256,
        allow_missing: bool = False,
    ) -> None:
        super().__init__(None, transform=transform)
        self.stage_names = stage_names
        # not under PyG's own name, which would process all graphs before the first is used
        self._prepare = pre_transform
        self._directory, self._level, self._coarsening = Path(graphs), level, coarsening
        self._options: dict[str, Any] = {"inputs": inputs, "encoding_dimensions": encoding_dimensions}
        self._kept: OrderedDict[int, Data] = OrderedDict()
        self._n_kept = cached_graphs
        table = read_manifest(Path(manifest), stage_names=stage_names, check_files=False)
        rows = with_endpoint(table.rows, endpoint or Endpoint()).rows
        if split is not None:
            rows = tuple(row for row in rows if (row.split == "test") == (split == "test"))
        missing = [row for row in rows if self._path(row.slide_id) is None]
        if missing and not allow_missing:
            raise CohortError(
                f"{len(missing)} of {len(rows)} slides have no graph of {level} under {self._directory}, e.g. "
                f"{missing[0].slide_id}; make them with wsigraph run, or give allow_missing=True"
            )
        absent = {row.slide_id for row in missing}
        self.rows = tuple(row for row in rows if row.slide_id not in absent)
        if not self.rows:
            raise CohortError(f"{manifest} has no slide with a graph under {self._directory}; check both paths")

    def _path(self, slide_id: str) -> Path | None:
        """Return the file of a slide's graph; None where there is none."""
        names = (_REGIONS, _SUPERPIXELS) if self._level == "regions" else (_SUPERPIXELS,)
        paths = (self._directory / slide_id / name for name in names)
        return next((path for path in paths if path.is_file()), None)

    def _graph(self, slide_id: str) -> TissueGraph | CoarseGraph:
        path = self._path(slide_id)
        if path is None:
            raise CohortError(f"slide {slide_id!r} has no graph any more, expected one under {self._directory}")
        graph = read_graph(path)
        if isinstance(graph, TissueGraph) and self._level == "regions":
            return coarsen(graph, self._coarsening)
        return graph

    def len(self) -> int:
        """Return the number of slides."""
        return len(self.rows)

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient of every slide."""
        return tuple(row.patient_id for row in self.rows)

    @property
    def x_names(self) -> tuple[str, ...]:
        """Names of the columns of ``x``, as the first graph has them."""
        return tuple(self._read(0).x_names)

    def get(self, idx: int) -> Data:
        """Return a slide; its tensors are shared with the data set, so change a copy."""
        data = self._kept.get(idx)
        if data is None:
            data = self._read(idx)
            if self._prepare is not None:
                data = self._prepare(data)
            self._kept[idx] = data
            if len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(idx)
        return data.__copy__()

    def _read(self, idx: int) -> Data:
        row = self.rows[idx]
        stage = NO_STAGE if row.stage is None else self.stage_names.index(row.stage)
        data = to_data(self._graph(row.slide_id), y=torch.tensor([stage]), **self._options)
        followed = row.follow_up_days is not None
        data.time_days = torch.tensor([row.follow_up_days if followed else math.nan], dtype=torch.float32)
        data.event = torch.tensor([bool(row.event) and followed])
        data.slide_id, data.patient, data.site = row.slide_id, row.patient_id, row.site or ""
        return data
