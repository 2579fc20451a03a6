"""Images and truths from which the nucleus network is trained, and what is varied about them.

Every image is brought to a scale at which the median nucleus is 6 um wide, 12 px at 0.5 um/px, and kept at three sizes.
A sample is a window of one of them, turned, scaled, re-coloured, blurred and compressed at random.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

Float = NDArray[np.float32]
NEST_CUT, NEST_SCALE = 900, 0.85
"""Column up to which the typed crop is trained on, and the scale that brings it to `NUCLEUS_PX` and more."""
NUCLEUS_PX = 12.0
"""Diameter to which the median nucleus of an image is brought, pixels of 0.5 um."""
SIZES = (0.72, 1.0, 1.38)
"""Sizes at which every image is kept, relative to that."""
HEMATOXYLIN = np.array([[0.65, 0.70, 0.29], [0.55, 0.76, 0.35], [0.74, 0.61, 0.27], [0.60, 0.75, 0.20]], np.float32)
EOSIN = np.array([[0.07, 0.99, 0.11], [0.20, 0.85, 0.35], [0.25, 0.80, 0.50], [0.14, 0.93, 0.25]], np.float32)


@dataclass(frozen=True, slots=True)
class Source:
    """An image with what is known of its nuclei, at one size.

    Attributes
    ----------
    image : float32 (3, h, w)
        In 0..1.
    truth : float32 (4, h, w)
        Nucleus, centre, weight of the loss, and type + 1 (0 where unknown).
    weight : float
        Chance of being drawn, relative to the others.
    recolour : float
        Chance that tissue and nuclei are given new colours.
    """

    image: Float
    truth: Float
    weight: float
    recolour: float


def centre_map(instances: NDArray[np.int32]) -> Float:
    """Return a bump for each nucleus: exp(-0.6 m^2) with m the Mahalanobis distance from its centroid, 0 outside."""
    result = np.zeros(instances.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        y, x = np.nonzero(instances[box] == number)
        points = np.stack([y, x]).astype(np.float64)
        points -= points.mean(axis=1, keepdims=True)
        spread = points @ points.T / points.shape[1] + np.eye(2) * 0.5
        distance = np.einsum("in,ij,jn->n", points, np.linalg.inv(spread), points)
        result[box][y, x] = np.exp(-0.6 * distance)
    return result


def resized(rgb: NDArray[np.uint8], instances: NDArray[np.int32], scale: float) -> tuple[Float, NDArray[np.int32]]:
    """Return image float32 (3, h, w) and instances at another size."""
    height, width = (max(16, round(length * scale)) for length in instances.shape)
    image = Image.fromarray(rgb).resize(
        (width, height), Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    )
    labels = Image.fromarray(instances.astype(np.int32), mode="I").resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255), np.asarray(labels, np.int32)


def median_diameter(instances: NDArray[np.int32]) -> float:
    """Return the median diameter of the nuclei, pixels."""
    area = np.bincount(instances.ravel())[1:]
    return float(2 * np.sqrt(np.median(area[area > 0]) / np.pi))


def split_touching(instances: NDArray[np.int32]) -> Float:
    """Return 0 on pixels between two nuclei that touch, else 1."""
    high = ndimage.maximum_filter(instances, 3)
    low = -ndimage.maximum_filter(np.where(instances > 0, -instances, -(2**30)), 3)
    return np.asarray((instances == 0) | (high == low), np.float32)


def labelled(
    rgb: NDArray[np.uint8],
    instances: NDArray[np.int32],
    *,
    scale: float,
    weight: float,
    recolour: float,
    types: NDArray[np.int32] | None = None,
    certain: Float | None = None,
) -> list[Source]:
    """Return an image with drawn nuclei at every size."""
    sources = []
    for size in SIZES:
        image, labels = resized(rgb, instances, scale * size)
        nucleus = (labels > 0).astype(np.float32) * split_touching(labels)
        kind = np.zeros(labels.shape, np.float32)
        if types is not None:
            kind = resized(rgb, types, scale * size)[1].astype(np.float32)
        sure = np.ones(labels.shape, np.float32)
        if certain is not None:
            sure = np.asarray(Image.fromarray(certain).resize(labels.shape[::-1], Image.Resampling.BILINEAR))
        sources.append(
            Source(image, np.stack([nucleus, centre_map(labels), sure, kind]), weight / len(SIZES), recolour)
        )
    return sources


def dsb2018(folder: Path) -> list[tuple[str, NDArray[np.uint8], NDArray[np.int32]]]:
    """Return name, image and instances of every image of the folder."""
    rows = list(csv.DictReader((folder / "index.csv").open()))
    result = []
    for row in rows:
        rgb = np.asarray(Image.open(folder / f"{row['name']}.png").convert("RGB"))
        instances = np.asarray(Image.open(folder / f"{row['name']}_nuclei.png")).astype(np.int32)
        result.append((row["name"], rgb, instances))
    return result


def at_sizes(image: Float, truth: Float, weight: float) -> list[Source]:
    """Return an image with soft truths at every size."""
    sources = []
    for size in SIZES:
        shape = [round(length * size) for length in image.shape[1:]]
        parts = [
            interpolate(torch.from_numpy(maps)[None], size=shape, mode="bilinear", antialias=size < 1)[0].numpy()
            for maps in (image, truth)
        ]
        sources.append(Source(np.clip(parts[0], 0, 1), parts[1], weight / len(SIZES), 0.0))
    return sources


def nest_crop(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Return image, instances and types (1 inflammatory, 2 connective, 3 neoplastic) of histolytics' typed crop."""
    rgb = np.asarray(Image.open(folder / "hgsc_nest.jpg").convert("RGB"))
    instances = np.load(folder / "hgsc_nest_inst_mask.npz")["nuc_raster"].astype(np.int32)
    return rgb, instances, np.load(folder / "hgsc_nest_type_mask.npz")["nuc_raster"].astype(np.int32)


def read_unlabelled(path: Path, unstated_mpp: float) -> tuple[NDArray[np.uint8], float]:
    """Return the pixels of a slide or an image and its pixel size; 0 where an image states none.

    A folder is read as one image of its tiles side by side.
    """
    if path.is_dir():
        tiles = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.glob("*400x*"))]
        tiles = [tile for tile in tiles if tile.shape == tiles[0].shape][::4]
        columns = 16
        rows = len(tiles) // columns
        side = tiles[0].shape[0]
        grid = np.stack(tiles[: rows * columns]).reshape(rows, columns, side, side, 3)
        return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(rows * side, columns * side, 3)), 0.0
    if path.suffix in (".svs", ".tif", ".tiff"):
        from wsigraph import read
        from wsigraph.errors import MissingMpp
        from wsigraph.geometry import Box

        try:
            slide = read(path)
        except MissingMpp:
            slide = read(path, mpp=unstated_mpp)
        with slide:
            mpp = max(0.5, slide.info.mpp)
            return slide.read(Box.whole(slide.size(mpp)), mpp), mpp
    return np.asarray(Image.open(path).convert("RGB")), 0.0


def in_strips(function: Callable[[Float], Float], image: Float, rows: int = 1024, halo: int = 64) -> Float:
    """Return a function of an image, worked out in strips with a halo so that memory stays small."""
    parts = []
    for y in range(0, image.shape[1], rows):
        top = max(y - halo, 0)
        parts.append(function(image[:, top : y + rows + halo])[:, y - top : y - top + rows])
    return np.concatenate(parts, axis=1)[:, : image.shape[1]]


def sample(sources: list[Source], n: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, side, side) and truths (n, 4, side, side)."""
    chance = np.array([source.weight for source in sources])
    images, truths = [], []
    for index in rng.choice(len(sources), n, p=chance / chance.sum()):
        source = sources[index]
        image, truth = _window(source, side, rng)
        if rng.random() < source.recolour:
            image = _recoloured(image, truth[:, 0:1], rng)
        images.append(_varied(image, rng))
        truths.append(truth)
    return torch.cat(images), torch.cat(truths)


def _window(source: Source, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a window around a random pixel, turned and scaled; beyond its border the image is mirrored."""
    height, width = source.image.shape[1:]
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    zoom = rng.uniform(0.86, 1.17)
    flip = 1.0 if rng.random() < 0.5 else -1.0
    reach = side / 2 * 0.8

    def place(length: int) -> float:
        return float(rng.uniform(reach, length - reach)) if length > 2 * reach else length / 2

    cy, cx = place(height), place(width)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    theta = torch.tensor(
        [[[flip * cos * side / width, -sin * side / width, 2 * cx / width - 1],
          [flip * sin * side / height, cos * side / height, 2 * cy / height - 1]]], dtype=torch.float32,
    )  # fmt: skip
    grid = affine_grid(theta, [1, 1, side, side], align_corners=False)
    image = torch.from_numpy(source.image)[None]
    truth = torch.from_numpy(source.truth)[None]
    window = grid_sample(image, grid, padding_mode="reflection", align_corners=False).clamp_(0, 1)
    maps = grid_sample(truth[:, :3], grid, padding_mode="reflection", align_corners=False)
    kind = grid_sample(truth[:, 3:], grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return window, torch.cat([maps, kind], dim=1)


def _smooth_noise(rng: np.random.Generator, side: int, cells: int) -> Tensor:
    """Return noise float32 (1, 1, side, side) of unit spread that varies over `cells` cells."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells)).astype(np.float32))
    return interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)


def _recoloured(image: Tensor, nucleus: Tensor, rng: np.random.Generator) -> Tensor:
    """Return an image with hematoxylin in the nuclei and eosin in the rest, the darkness of each varied.

    So purple tissue becomes pink, and nuclei can be paler than the tissue around them.
    """
    density = -torch.log(image.clamp_min(1 / 255))
    total = density.mean(dim=1, keepdim=True)
    side = image.shape[-1]
    soft = torch.nn.functional.avg_pool2d(nucleus, 5, 1, 2)
    blue = (soft * rng.uniform(0.35, 0.9) + rng.uniform(0, 0.35) + 0.12 * _smooth_noise(rng, side, 12)).clamp(0, 1)
    stain = []
    for family in (HEMATOXYLIN, EOSIN):
        vector = rng.dirichlet(np.ones(len(family))) @ family + rng.normal(0, 0.05, 3)
        vector = np.maximum(vector, 0.02)
        stain.append(torch.from_numpy((vector / vector.mean()).astype(np.float32))[None, :, None, None])
    ground = np.exp(rng.uniform(np.log(0.6), np.log(2.4)))
    gain = ground + soft * (rng.uniform(0.6, 1.2) - ground)
    colour = blue * stain[0] + (1 - blue) * stain[1]
    return torch.exp(-(total * gain * colour)).clamp(0, 1)


def _varied(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return an image with other stain, light, focus, noise and compression."""
    density = -torch.log(image.clamp_min(1 / 255))
    if rng.random() < 0.85:
        mixing = np.eye(3) + rng.normal(0, 0.06, (3, 3))
        gain = np.exp(rng.uniform(np.log(0.55), np.log(1.6)))
        matrix = torch.from_numpy((mixing * gain).astype(np.float32))
        density = torch.einsum("oc,bchw->bohw", matrix, density)
        power = float(np.exp(rng.normal(0, 0.12)))
        density = density.clamp_min(0) ** power
    image = torch.exp(-density)
    image = image * torch.from_numpy(rng.uniform(0.86, 1.02, (1, 3, 1, 1)).astype(np.float32))
    chance = rng.random()
    if chance < 0.35:
        sigma = rng.uniform(0.4, 1.4)
        image = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, sigma, sigma)))
    elif chance < 0.5:
        soft = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, 1, 1)))
        image = image + (image - soft) * rng.uniform(0.3, 1.2)
    if rng.random() < 0.3:
        image = image + torch.from_numpy(rng.normal(0, rng.uniform(0.005, 0.03), image.shape).astype(np.float32))
    image = image.clamp(0, 1)
    if rng.random() < 0.35:
        buffer = io.BytesIO()
        pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(35, 95)))
        image = torch.from_numpy(np.asarray(Image.open(buffer), np.float32).transpose(2, 0, 1)[None] / 255)
    return image
