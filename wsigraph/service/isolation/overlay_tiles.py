"""Tiles of the overlays of a job: attributions, region borders and artefacts.

The regions are sampled once, on the grid that outlines are traced on. Every tile is resampled from that grid, so a
colour has the same meaning at every zoom level. This runs in the worker processes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsigraph.errors import NotFound
from wsigraph.geometry import Box, Size, px_to_mm2, um_to_px_exact
from wsigraph.outline.label_grid import LabelGrid, resample, sample_regions
from wsigraph.records import TissueMap
from wsigraph.report.overlay import attribution_colours

REGIONS, ARTEFACTS, ATTRIBUTION = "regions", "artefacts", "attribution"
_LINE = (10, 10, 30, 230)
_PALE, _STRIPE = (255, 255, 255, 130), (20, 20, 20, 230)
_OUTLINE_MPP = 2.0
_MAX_PX = 4000


@dataclass(frozen=True, slots=True, eq=False)
class _Coloured:
    """Colours of the regions. `index` maps a node plus one to a row of `palette`; 0 is the background."""

    index: NDArray[np.uint8]
    palette: NDArray[np.uint8]


class OverlayTiles:
    """The overlays of one job.

    Parameters
    ----------
    directory : Path
        Directory of the records of the job.

    Raises
    ------
    StoreError
        If a record is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        from wsigraph import store

        info = store.load_slide_info(directory / "slide.json")
        self._tissue: TissueMap = store.load_tissue_map(directory / "tissue.zarr")
        coarse = store.load_coarse_graph(directory / "coarse.safetensors")
        labels = store.load_labels(directory / "superpixels.zarr", self._tissue)
        self._grid: LabelGrid = sample_regions(
            labels, coarse, info, outline_mpp=max(_OUTLINE_MPP, labels.mpp), max_px=_MAX_PX
        )
        self.size: Size = info.levels[0].size
        self._level0_mpp = info.mpp
        self._coloured: dict[str, _Coloured] = {}
        path = directory / "explanation.safetensors"
        if path.is_file():
            explanation = store.load_explanation(path)
            area = px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)
            nodes = {explanation.target: explanation.node, **explanation.other_targets}
            for name, node in nodes.items():
                self._coloured[name] = self._colour(node, area)
            self._coloured[ATTRIBUTION] = self._coloured[explanation.target]

    @property
    def layers(self) -> list[str]:
        """Names of the overlays."""
        return [*self._coloured, REGIONS, ARTEFACTS]

    def tile(self, layer: str, box: Box, downsample: int) -> bytes:
        """Return a part of an overlay as PNG with transparency.

        Parameters
        ----------
        layer : str
            One of `layers`.
        box : Box
            Region in pixels at `downsample`.
        downsample : int
            Number of level-0 pixels along one output pixel.

        Returns
        -------
        bytes
            PNG.

        Raises
        ------
        NotFound
            If there is no such overlay.
        """
        if layer not in self.layers:
            raise NotFound(f"the job has no overlay {layer!r}; it has {', '.join(self.layers)}")
        level0 = Box(y0=box.y0 * downsample, x0=box.x0 * downsample, y1=box.y1 * downsample, x1=box.x1 * downsample)
        if layer == ARTEFACTS:
            return _encode(self._artefacts(level0, box), np.array([(0, 0, 0, 0), _PALE, _STRIPE], np.uint8))
        if layer == REGIONS:
            return _encode(self._borders(level0, box, downsample), np.array([(0, 0, 0, 0), _LINE], np.uint8))
        coloured = self._coloured[layer]
        return _encode(coloured.index[resample(self._grid, level0, box.size)], coloured.palette)

    def _colour(self, node: NDArray[np.float64], area: NDArray[np.float64]) -> _Coloured:
        cells = self._grid.cells
        layer = attribution_colours(cells, node, area)
        index = np.zeros(len(node) + 1, np.uint8)
        index[cells.ravel()] = layer.index.ravel()
        return _Coloured(index, layer.colours)

    def _borders(self, level0: Box, box: Box, downsample: int) -> NDArray[np.uint8]:
        # one more pixel above and to the left, so that a border between two tiles is drawn by exactly one of them
        wider = replace(level0, y0=level0.y0 - downsample, x0=level0.x0 - downsample)
        regions = resample(self._grid, wider, Size(box.height + 1, box.width + 1))
        inner = regions[1:, 1:]
        borders: NDArray[np.bool_] = (inner != regions[1:, :-1]) | (inner != regions[:-1, 1:])
        return borders.astype(np.uint8)

    def _artefacts(self, level0: Box, box: Box) -> NDArray[np.uint8]:
        step = um_to_px_exact(self._tissue.mpp, self._level0_mpp)
        rows, columns = (
            np.minimum(((low + (np.arange(n) + 0.5) * (high - low) / n) / step).astype(np.int64), limit - 1)
            for low, high, n, limit in (
                (level0.y0, level0.y1, box.height, self._tissue.artefact.shape[0]),
                (level0.x0, level0.x1, box.width, self._tissue.artefact.shape[1]),
            )
        )
        is_artefact = self._tissue.artefact[rows[:, None], columns] > 0
        stripe = (np.arange(box.y0, box.y1)[:, None] + np.arange(box.x0, box.x1)) % 8 < 3
        return np.where(is_artefact, np.where(stripe, 2, 1), 0).astype(np.uint8)


def _encode(index: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    image = Image.frombytes("P", index.shape[::-1], np.ascontiguousarray(index).tobytes())
    image.putpalette(palette[:, :3].tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=palette[:, 3].tobytes())
    return stream.getvalue()
