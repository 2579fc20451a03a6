"""Tissue without outlines, and the nuclei that a network, the one in training or another, finds in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from pipelines.nucleus_measures import instances_of, maps_of
from pipelines.nucleus_training_images import (
    NUCLEUS_PX,
    SIZES,
    Float,
    Source,
    centre_map,
    labelled,
    median_diameter,
    resized,
    split_touching,
)
from wsigraph import read
from wsigraph.errors import SlideError
from wsigraph.geometry import Box
from wsigraph.graph.feature.nucleus_instances import split_heights
from wsigraph.graph.feature.nucleus_network import NucleusNetwork
from wsigraph.graph.feature.torchscript_nuclei import InstanSegDetector

LOWEST, DOUBT = 0.1, 0.15
"""Height of the lowest peak looked at, and how far below the cut between low and high peaks one is still in doubt."""
OWN_NUCLEUS = 0.3
"""Least probability of a pixel of a nucleus that the network draws itself."""
ENLARGED = 1.25
"""Second scale at which the network looks: small nuclei are found there."""
WINDOW_MPP = 0.5
BINS = 64


def labelled_again(
    network: NucleusNetwork, paths: Sequence[Path], slide_mpp: float, total: float, teacher: Path | None = None
) -> list[Source]:
    """Return sources whose truth is what a network finds.

    Parameters
    ----------
    network : NucleusNetwork
        The network in training, for inference.
    paths : sequence of Path
        Slides, images, and folders of tiles.
    slide_mpp : float
        Pixel size of a slide that states none, um/px.
    total : float
        Weight of the drawn sources together; that of the new ones is 1.2 times as much.
    teacher : Path, optional
        TorchScript file of InstanSeg, which labels the tissue in place of the network.

    Returns
    -------
    list of Source
        Every image at every size.
    """
    detector = None if teacher is None else InstanSegDetector(teacher)
    sources: list[Source] = []
    for path in paths:
        rgb, mpp = read_unlabelled(path, slide_mpp)
        scale = mpp / WINDOW_MPP if mpp else estimate_scale(network, rgb)
        image = resized(rgb, np.zeros(rgb.shape[:2], np.int32), scale)[0]
        weight = float(np.sqrt(image.shape[1] * image.shape[2]))
        if detector is None:
            maps = in_strips(lambda part: looked_at_twice(network, part), image)
            truth, n = own_truth(maps)
            sources += at_sizes(image, truth, weight, recolour=0.25)
        else:
            pixels = np.round(image.transpose(1, 2, 0) * 255).astype(np.uint8)
            instances = in_windows(detector, pixels)
            n = len(np.unique(instances)) - 1
            sources += labelled(pixels, instances, scale=1.0, weight=weight, recolour=0.25)
        print(f"  {path.name}: scale {scale:.2f}, {weight**2 / 4e6:.2f} mm2, {n} nuclei", flush=True)
    share = 1.2 * total / sum(source.weight for source in sources)
    return [Source(source.image, source.truth, share * source.weight, source.recolour) for source in sources]


def looked_at_twice(network: NucleusNetwork, image: Float) -> Float:
    """Return nucleus and centre, float32 (2, h, w): the mean over turned and enlarged pictures."""
    shape = image.shape[1:]
    large = [round(length * ENLARGED) for length in shape]
    enlarged = interpolate(torch.from_numpy(image)[None], size=large, mode="bicubic")[0].clamp(0, 1).numpy()
    again = torch.from_numpy(maps_of(network, enlarged, 4))[None]
    second = interpolate(again, size=shape, mode="bilinear", antialias=True)[0].numpy()
    return np.asarray((maps_of(network, image, 4) + second) / 2, np.float32)


def own_truth(maps: Float) -> tuple[Float, int]:
    """Return nucleus, centre and weight, float32 (3, h, w), of what a network found, and the number of nuclei.

    Nuclei above the cut between low and high peaks of the image (Otsu) are drawn as if by hand; what could be one has
    little weight.
    """
    instances, peak, _ = instances_of(maps, LOWEST, OWN_NUCLEUS)
    cut = split_heights(np.bincount(peak * BINS // 4081, minlength=BINS)) / BINS
    certain = np.concatenate([[False], peak >= cut * 4080])
    possible = np.concatenate([[False], peak >= (cut - DOUBT) * 4080])
    drawn = np.where(certain[instances], instances, 0).astype(np.int32)
    nucleus = (drawn > 0) * split_touching(drawn)
    weight = np.where((drawn == 0) & possible[instances], 0.1, 1.0)
    truth = np.stack([0.7 * nucleus + 0.3 * maps[0], 0.8 * centre_map(drawn) + 0.2 * maps[1], weight])
    return truth.astype(np.float32), int(certain.sum())


def at_sizes(image: Float, maps: Float, weight: float, recolour: float) -> list[Source]:
    """Return an image with soft maps (3, h, w) at every size."""
    sources = []
    for size in SIZES:
        shape = [round(length * size) for length in image.shape[1:]]
        parts = [
            interpolate(torch.from_numpy(part)[None], size=shape, mode="bilinear", antialias=size < 1)[0].numpy()
            for part in (image, maps)
        ]
        kind = np.zeros(shape, np.float32)
        sources.append(Source.of(parts[0], parts[1], kind, weight / len(SIZES), recolour))
    return sources


def in_windows(detector: InstanSegDetector, rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the nuclei that a detector of windows finds in an image, each in the window that holds its centroid."""
    side, margin = detector.window_px, detector.margin_px
    height, width = rgb.shape[:2]
    result = np.zeros((height, width), np.int32)
    padded = np.pad(
        rgb, ((margin, margin + -height % side), (margin, margin + -width % side), (0, 0)), mode="symmetric"
    )
    n = 0
    for y0 in range(0, height, side):
        for x0 in range(0, width, side):
            window = padded[y0 : y0 + side + 2 * margin, x0 : x0 + side + 2 * margin]
            instances = detector.detect(np.ascontiguousarray(window))
            y, x = np.nonzero(instances)
            number = instances[y, x]
            size = np.maximum(np.bincount(number), 1)
            cy, cx = (np.bincount(number, part) / size - margin for part in (y, x))
            owned = (cy >= 0) & (cy < side) & (cx >= 0) & (cx < side)
            y, x = y + y0 - margin, x + x0 - margin
            inside = owned[number] & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            result[y[inside], x[inside]] = number[inside] + n
            n += int(instances.max(initial=0))
    return result


def estimate_scale(network: NucleusNetwork, rgb: NDArray[np.uint8]) -> float:
    """Return the scale at which the median nucleus that the network finds is 6 um wide."""
    scale = 1.0
    for _ in range(3):
        image, _ = resized(rgb, np.zeros(rgb.shape[:2], np.int32), scale)
        middle_y, middle_x = (length // 2 for length in image.shape[1:])
        part = image[:, max(middle_y - 512, 0) : middle_y + 512, max(middle_x - 512, 0) : middle_x + 512]
        instances, peak, _ = instances_of(maps_of(network, part), 0.3, OWN_NUCLEUS)
        if len(peak) < 20:
            return scale
        scale = float(np.clip(scale * NUCLEUS_PX / median_diameter(instances), 0.3, 2.0))
    return scale


def read_unlabelled(path: Path, unstated_mpp: float) -> tuple[NDArray[np.uint8], float]:
    """Return the pixels of a slide or an image and its pixel size; 0 where an image states none.

    A folder is read as one image of every second of its tiles of 400 times magnification, side by side. A slide whose
    pixel size is absurd is read as if it stated none, and its scale is that of its nuclei.
    """
    if path.is_dir():
        tiles = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.glob("*400x*"))]
        tiles = [tile for tile in tiles if tile.shape == tiles[0].shape][::2]
        columns = 12
        rows = len(tiles) // columns
        side = tiles[0].shape[0]
        grid = np.stack(tiles[: rows * columns]).reshape(rows, columns, side, side, 3)
        return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(rows * side, columns * side, 3)), 0.0
    if path.suffix == ".svs":
        try:
            slide = read(path)
        except SlideError:
            slide = read(path, mpp=unstated_mpp)
        with slide:
            mpp = max(WINDOW_MPP, slide.info.mpp)
            return slide.read(Box.whole(slide.size(mpp)), mpp), mpp
    return np.asarray(Image.open(path).convert("RGB")), 0.0


def in_strips(function: Callable[[Float], Float], image: Float, rows: int = 1024, halo: int = 64) -> Float:
    """Return a function of an image, worked out in strips with a halo so that memory stays small."""
    parts = []
    for y in range(0, image.shape[1], rows):
        top = max(y - halo, 0)
        parts.append(function(image[:, top : y + rows + halo])[:, y - top : y - top + rows])
    return np.concatenate(parts, axis=1)[:, : image.shape[1]]
