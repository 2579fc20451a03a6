"""Baselines: what a user would run instead of the pipeline, on a part of the same slide.

Tiles through a network: a ResNet-18 in plain torch over the 256 px tissue tiles at 0.5 um/px, read by OpenSlide; its
weights are random, which costs the same as trained ones. Regions by scikit-image and networkx: SLIC, region adjacency
graph and region properties of a square of tissue at 1 um/px. Both are timed on a part and scaled up by tiles or by
tissue area; neither grows more slowly than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from wsigraph.geometry import Box, grid
from wsigraph.records import TissueMap
from wsigraph.slide.reader import Slide

if TYPE_CHECKING:
    from torch import Tensor

TILE_PX, TILE_MPP = 256, 0.5
BATCH = 32
_FEATURES = ("label", "area", "centroid", "eccentricity", "perimeter", "intensity_mean", "intensity_std")


def resnet18(threads: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a ResNet-18 (He et al., 2016) up to its pooled features, for uint8 (n, h, w, 3).

    Parameters
    ----------
    threads : int
        Number of torch threads while it runs; the previous number is restored.
    """
    import torch
    from torch import nn

    def unit(n_in: int, n_out: int, size: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(n_out))

    class Block(nn.Module):
        def __init__(self, n_in: int, n_out: int, stride: int) -> None:
            super().__init__()
            self.first, self.second = unit(n_in, n_out, 3, stride), unit(n_out, n_out, 3, 1)
            self.skip = unit(n_in, n_out, 1, stride) if stride != 1 or n_in != n_out else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.second(torch.relu(self.first(x))) + self.skip(x))

    layers: list[nn.Module] = [unit(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for n_in, n_out, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers += [Block(n_in, n_out, stride), Block(n_out, n_out, 1)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

    def run(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                batch = torch.from_numpy(tiles).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.25)
                return np.asarray(network(batch).numpy())
        finally:
            torch.set_num_threads(before)

    return run


def tissue_tiles(slide: Slide, tissue: TissueMap) -> list[Box]:
    """Return the tiles at 0.5 um/px of which at least half is tissue, as boxes at that pixel size."""
    size = slide.size(TILE_MPP)
    cell = TILE_PX * TILE_MPP / tissue.mpp
    tiles = []
    for box in grid(size, TILE_PX):
        y, x = box.y0 // TILE_PX, box.x0 // TILE_PX
        part = tissue.tissue[round(y * cell) : round((y + 1) * cell), round(x * cell) : round((x + 1) * cell)]
        if part.size and part.mean() >= 0.5:
            tiles.append(box)
    return tiles


def read_tiles(handle: openslide.OpenSlide, mpp: float, tiles: list[Box]) -> NDArray[np.uint8]:
    """Return tiles as OpenSlide users read them: the nearest finer level, then a box filter."""
    factor = TILE_MPP / mpp
    level = handle.get_best_level_for_downsample(factor * 1.01)
    side = round(TILE_PX * factor / handle.level_downsamples[level])
    out = np.empty((len(tiles), TILE_PX, TILE_PX, 3), np.uint8)
    for row, tile in enumerate(tiles):
        at = (round(tile.x0 * factor), round(tile.y0 * factor))
        image = handle.read_region(at, level, (side, side)).convert("RGB")
        out[row] = np.asarray(image if side == TILE_PX else image.resize((TILE_PX, TILE_PX), Image.Resampling.BOX))
    return out


def fullest_square(slide: Slide, tissue: TissueMap, mpp: float, side_px: int) -> Box:
    """Return the square of a grid that holds most tissue."""
    cell = side_px * mpp / tissue.mpp

    def tissue_pixels(box: Box) -> float:
        y, x = box.y0 / side_px * cell, box.x0 / side_px * cell
        return float(tissue.tissue[round(y) : round(y + cell), round(x) : round(x + cell)].sum())

    return max(grid(slide.size(mpp), side_px), key=tissue_pixels)


def region_graph(rgb: NDArray[np.uint8], spacing_px: int) -> Any:
    """Return a networkx graph of SLIC regions with their properties, as scikit-image's guides build it."""
    from skimage import graph as region_graphs
    from skimage import measure, segmentation

    scikit: Any = (segmentation.slic, region_graphs.rag_mean_color, measure.regionprops_table)
    slic, rag_mean_color, regionprops_table = scikit

    n_segments = max(2, rgb.shape[0] * rgb.shape[1] // spacing_px**2)
    labels = slic(rgb, n_segments=n_segments, compactness=20.0, sigma=1.0, start_label=1, channel_axis=-1)
    graph = rag_mean_color(rgb, labels)
    for name, values in regionprops_table(labels, rgb, properties=_FEATURES).items():
        for node, value in enumerate(values, start=1):
            graph.nodes[node][name] = value
    return graph
