"""Images and truths from which the nucleus network is trained, and what is varied about them.

Every image is brought to a scale at which the median nucleus is 6 um wide, 12 px at 0.5 um/px, and kept at three sizes.
A sample is a window of one of them, turned, scaled, re-coloured, blurred and compressed at random.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from shapely import from_wkb
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from wsigraph.graph.feature.nucleus_network import TYPES

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]
NEST_CUT, NEST_SCALE = 900, 0.85
"""Column up to which the typed crop is trained on, and the scale that brings it to `NUCLEUS_PX` and more."""
NUCLEUS_PX = 12.0
"""Diameter to which the median nucleus of an image is brought, pixels of 0.5 um."""
SIZES = (0.6, 0.8, 1.08, 1.44)
"""Sizes at which every image is kept, relative to that: with a zoom of 0.86 to 1.17, nuclei of 3.1 to 10 um."""
UNDRAWN = 0.25
"""Weight of the ground in crops whose outlines miss nuclei."""
HEMATOXYLIN = np.array([[0.65, 0.70, 0.29], [0.55, 0.76, 0.35], [0.74, 0.61, 0.27], [0.60, 0.75, 0.20]], np.float32)
EOSIN = np.array([[0.07, 0.99, 0.11], [0.20, 0.85, 0.35], [0.25, 0.80, 0.50], [0.14, 0.93, 0.25]], np.float32)


@dataclass(frozen=True, slots=True)
class Source:
    """An image with what is known of its nuclei, at one size.

    Attributes
    ----------
    image : uint8 (3, h, w)
        Colours.
    truth : uint8 (4, h, w)
        Nucleus, centre and weight of the loss, 255 is 1, and type + 1 (0 where unknown).
    weight : float
        Chance of being drawn, relative to the others.
    recolour : float
        Chance that tissue and nuclei are given new colours.
    """

    image: Bytes
    truth: Bytes
    weight: float
    recolour: float

    @classmethod
    def of(cls, image: Float, maps: Float, kind: Float, weight: float, recolour: float) -> Source:
        """Return a source from an image and maps in 0..1 and types."""
        truth = np.concatenate([as_bytes(maps), kind[None].astype(np.uint8)])
        return cls(as_bytes(image), truth, weight, recolour)


def as_bytes(maps: Float) -> Bytes:
    """Return maps in 0..1 as 0..255."""
    return np.round(np.clip(maps, 0, 1) * 255).astype(np.uint8)


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
    ground: float = 1.0,
) -> list[Source]:
    """Return an image with drawn nuclei at every size; `ground` is the weight of pixels outside them."""
    sources = []
    for size in SIZES:
        image, labels = resized(rgb, instances, scale * size)
        nucleus = (labels > 0).astype(np.float32) * split_touching(labels)
        kind = np.zeros(labels.shape, np.float32)
        if types is not None:
            kind = resized(rgb, types, scale * size)[1].astype(np.float32)
        sure = np.where(labels > 0, 1, ground).astype(np.float32)
        maps = np.stack([nucleus, centre_map(labels), sure])
        sources.append(Source.of(image, maps, kind, weight / len(SIZES), recolour))
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


def nest_crop(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Return image, instances and types (1 inflammatory, 2 connective, 3 neoplastic) of histolytics' typed crop.

    Its file numbers connective nuclei 1 and inflammatory ones 2: 374 and 633 of the shapes that its table names so.
    """
    rgb = np.asarray(Image.open(folder / "hgsc_nest.jpg").convert("RGB"))
    instances = np.load(folder / "hgsc_nest_inst_mask.npz")["nuc_raster"].astype(np.int32)
    stored = np.load(folder / "hgsc_nest_type_mask.npz")["nuc_raster"]
    return rgb, instances, np.array([0, 2, 1, 3], np.int32)[stored]


def stroma_crop(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Return image, instances and types of histolytics' crop of stroma, whose outlines come as polygons."""
    rgb = np.asarray(Image.open(folder / "hgsc_stromal_he.jpg").convert("RGB"))
    table = pd.read_parquet(folder / "hgsc_stromal_cells.parquet")
    drawn, kinds = (Image.new("I", rgb.shape[1::-1]) for _ in range(2))
    for number, (outline, name) in enumerate(zip(table["geometry"], table["class_name"], strict=True), start=1):
        for picture, value in ((drawn, number), (kinds, 1 + TYPES.index(name))):
            ImageDraw.Draw(picture).polygon(list(from_wkb(outline).exterior.coords), fill=value)
    return rgb, np.asarray(drawn, np.int32), np.asarray(kinds, np.int32)


def sample(sources: list[Source], n: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, side, side) and truths (n, 4, side, side)."""
    chance = np.array([source.weight for source in sources])
    images, truths = [], []
    for index in rng.choice(len(sources), n, p=chance / chance.sum()):
        source = sources[index]
        image, truth = _window(source, side, rng)
        if rng.random() < source.recolour:
            image = _recoloured(image, truth[:, 0:1], rng)
        if rng.random() < 0.3:
            image = _hollowed(image, truth[:, 1:2], rng)
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
    around = int(side * 0.72 / zoom) + 3  # what a turned window can touch
    y0, x0 = max(int(cy) - around, 0), max(int(cx) - around, 0)
    part = np.s_[:, y0 : int(cy) + around, x0 : int(cx) + around]
    shown = torch.from_numpy(np.concatenate([source.image[part], source.truth[part]]).astype(np.float32))[None]
    height, width = shown.shape[2:]
    cy, cx = cy - y0, cx - x0
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    theta = torch.tensor(
        [[[flip * cos * side / width, -sin * side / width, 2 * cx / width - 1],
          [flip * sin * side / height, cos * side / height, 2 * cy / height - 1]]], dtype=torch.float32,
    )  # fmt: skip
    grid = affine_grid(theta, [1, 1, side, side], align_corners=False)
    maps = grid_sample(shown[:, :6], grid, padding_mode="reflection", align_corners=False).clamp_(0, 255) / 255
    kind = grid_sample(shown[:, 6:], grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return maps[:, :3], torch.cat([maps[:, 3:], kind], dim=1)


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


def _hollowed(image: Tensor, centre: Tensor, rng: np.random.Generator) -> Tensor:
    """Return an image whose nuclei are pale in the middle, as vesicular ones are."""
    density = -torch.log(image.clamp_min(1 / 255))
    middle = centre.clamp(0, 1) ** float(rng.uniform(0.6, 1.6))
    return torch.exp(-density * (1 - float(rng.uniform(0.2, 0.75)) * middle)).clamp(0, 1)


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
