"""Training images with a region for every pixel, and the canvases that are cut from them at random.

A training image is painted tissue of exactly known classes, an image with a mask of classes, or real tissue alone. The
regions of real tissue are those of ``segment`` and ``coarsen``; their classes are unknown. A canvas is cut at a random
position, rotated and reflected; the parts of regions on it become the nodes of its graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from wsigraph.config import Config, DiffusionConfig
from wsigraph.errors import NoTissue, SynthesisError
from wsigraph.geometry import Box, Size, um2_to_px, um_to_px
from wsigraph.graph.build import build_graph
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.superpixel.segment import segment
from wsigraph.slide.open_slide import open_slide
from wsigraph.slide.reader import Slide
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, scene_from_labels
from wsigraph.synthesis.simulation.layout import TISSUES, sample_layout, sample_tessellation
from wsigraph.synthesis.simulation.procedural import SiteStain, paint, sample_site

PAINTED, REAL = range(2)
"""Domains, as indices into ``DOMAINS``."""
_REGION_UM = 26.0
_TRIES = 50
_MASK = "_mask.png"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingImage:
    """An image with its regions.

    Attributes
    ----------
    name : str
        Source, for messages.
    image : uint8 (h, w, 3)
        RGB at the canvas' pixel size.
    labels : int32 (h, w)
        Region of every pixel; 0 belongs to none.
    classes : int64 (R,)
        Class of regions 1..R, or ``UNKNOWN``.
    domain : int
        `PAINTED` or `REAL`.
    mark : str
        What every output says of a slide that is no H&E section and was forced; empty otherwise.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    classes: NDArray[np.int64]
    domain: int
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A canvas with its graph.

    Attributes
    ----------
    image : uint8 (h, w, 3)
        RGB.
    scene : Scene
        Its regions, with their label image.
    domain : int
        `PAINTED` or `REAL`.
    """

    image: NDArray[np.uint8]
    scene: Scene
    domain: int


def paint_training_image(
    config: DiffusionConfig, site: SiteStain, *, side_px: int, rng: np.random.Generator
) -> TrainingImage:
    """Return an image of painted tissue.

    Parameters
    ----------
    config : DiffusionConfig
        Pixel size.
    site : SiteStain
        Stain and scanner.
    side_px : int
        Side of the image, px.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    TrainingImage
        One region for each tissue class; `split` divides it into connected parts.
    """
    classes = _lay_out(config, side_px, rng)
    return TrainingImage(
        name="painted",
        image=paint(classes, mpp=config.mpp, site=site, rng=rng),
        labels=classes.astype(np.int32) + 1,
        classes=np.arange(len(TISSUES)),
        domain=PAINTED,
    )


def paint_training_set(config: DiffusionConfig, n: int, *, seed: int, side_px: int) -> list[TrainingImage]:
    """Return images of painted tissue, each with the stain of another site; a larger `n` appends further images."""
    spawned = np.random.default_rng([seed, 0]).spawn(n)
    return [paint_training_image(config, sample_site(rng=own), side_px=side_px, rng=own) for own in spawned]


def lay_out(config: DiffusionConfig, side_px: int, *, seed: int) -> Scene:
    """Return the graph of a square of random tissue.

    Parameters
    ----------
    config : DiffusionConfig
        Pixel size, and the area of the smallest region.
    side_px : int
        Side, px.
    seed : int
        Seed of the layout.

    Returns
    -------
    Scene
        Classes are known, optical densities are not.
    """
    labels = _lay_out(config, side_px, np.random.default_rng([seed, 2])).astype(np.int32) + 1
    pieces, owner = split(labels, min_px=um2_to_px(config.min_area_um2, config.mpp))
    return scene_from_labels(pieces, owner - 1, mpp=config.mpp)


def read_training_image(
    path: Path, settings: Config, *, mpp: float | None = None, box: Box | None = None
) -> TrainingImage:
    """Return an image of real tissue with its regions.

    Parameters
    ----------
    path : Path
        Slide or image. Beside an image ``NAME.png`` there may be ``NAME_mask.png`` of the same size: uint8, 1 + class,
        0 where unknown.
    settings : Config
        Section ``diffusion``; the other sections say how tissue is found and segmented.
    mpp : float, optional
        Pixel size of the file, um/px, where it states none.
    box : Box, optional
        Part of the image, in pixels of the canvas' pixel size.

    Returns
    -------
    TrainingImage
        Regions of the mask, or of ``segment`` and ``coarsen``.

    Raises
    ------
    NoTissue
        If there is no tissue.
    SlideError
        If the file does not read or states no pixel size.
    SynthesisError
        If the mask has another size or an unknown class.
    """
    options = settings.diffusion
    with open_slide(path, settings.slide, mpp=mpp) as slide:
        whole = Box.whole(slide.size(options.mpp))
        window = whole if box is None else box.intersect(whole)
        if window.is_empty:
            raise SynthesisError(
                f"the box lies outside slide {slide.info.slide_id!r} of {whole.width} x {whole.height} px at "
                f"{options.mpp:g} um/px; choose a box inside"
            )
        image = slide.read(window, options.mpp)
        mask = path.with_name(path.stem + _MASK)
        if mask.is_file():
            (labels, classes), forced = _read_mask(mask, whole.size), ""
        else:
            labels, classes, forced = _find_regions(slide, settings)
        size = whole.size
        labels = _nearest(labels, size)
        regions = labels[window.slices]
        return TrainingImage(name=path.name, image=image, labels=regions, classes=classes, domain=REAL, mark=forced)


def cut(training_image: TrainingImage, config: DiffusionConfig, *, rng: np.random.Generator) -> Example:
    """Return a random canvas of a training image, rotated and reflected.

    Parameters
    ----------
    training_image : TrainingImage
        At least as large as the canvas.
    config : DiffusionConfig
        Size of the canvas and of its smallest region.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    Example
        At least one region, at most ``max_nodes``.

    Raises
    ------
    SynthesisError
        If the image is too small, or has no such canvas.
    """
    side = config.canvas_px
    if min(training_image.labels.shape) < side:
        raise SynthesisError(
            f"{training_image.name} is {training_image.labels.shape[1]} x {training_image.labels.shape[0]} px at "
            f"{config.mpp:g} um/px, expected at least the canvas of {side} px; leave it out or train a smaller canvas"
        )
    for _ in range(_TRIES):
        y, x = (int(rng.integers(0, length - side + 1)) for length in training_image.labels.shape)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        window = np.s_[y : y + side, x : x + side]
        image, labels = np.rot90(training_image.image[window], turns), np.rot90(training_image.labels[window], turns)
        if mirrored:
            image, labels = image[:, ::-1], labels[:, ::-1]
        image, labels = np.ascontiguousarray(image), np.ascontiguousarray(labels)
        pieces, owner = split(labels, min_px=um2_to_px(config.min_area_um2, config.mpp))
        if 1 <= len(owner) <= config.max_nodes:
            scene = scene_from_labels(pieces, training_image.classes[owner - 1], mpp=config.mpp, image=image)
            return Example(image=image, scene=scene, domain=training_image.domain)
    raise SynthesisError(
        f"{training_image.name} shows no canvas of 1 to {config.max_nodes} regions in {_TRIES} tries; raise "
        "diffusion.spacing_um or diffusion.max_nodes"
    )


def split(labels: NDArray[np.int32], *, min_px: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the connected parts of regions; small parts join the nearest larger one.

    Parameters
    ----------
    labels : int32 (h, w)
        Regions 1..R, 0 belongs to none.
    min_px : int
        Smallest part that is not joined to another, px.

    Returns
    -------
    pieces : int32 (h, w)
        Parts 1..P, 0 belongs to none.
    owner : int64 (P,)
        Region, from 1, of every part.
    """
    from skimage.measure import label

    pieces = label(labels, background=-1, connectivity=1)
    n = np.bincount(pieces.ravel())
    owner = np.zeros(len(n), np.int64)
    owner[pieces.ravel()] = labels.ravel()
    small = n < max(min_px, 1)
    if small[pieces].any() and not small[1:].all():
        nearest = distance_transform_edt(small[pieces], return_distances=False, return_indices=True)
        pieces = pieces[tuple(nearest)]
    present = np.flatnonzero((np.bincount(pieces.ravel(), minlength=len(n)) > 0) & (owner > 0))
    renumber = np.zeros(len(n), np.int32)
    renumber[present] = np.arange(1, len(present) + 1)
    return renumber[pieces], owner[present]


def find_sources(data: Path) -> list[Path]:
    """Return the slides and images of a directory, or the one that is named.

    Parameters
    ----------
    data : Path
        File or directory.

    Returns
    -------
    list of Path
        Sorted by name, masks left out.

    Raises
    ------
    SynthesisError
        If there is none.
    """
    if data.is_dir():
        files = sorted(path for path in data.iterdir() if path.is_file() and not path.name.startswith("."))
        files = [path for path in files if not path.name.endswith(_MASK)]
    else:
        files = [data] if data.exists() else []
    if not files:
        raise SynthesisError(f"{data} holds no slide and no image; name a file, or a directory of files")
    return files


def read_training_images(
    paths: Sequence[Path], settings: Config, *, mpp: float | None = None
) -> tuple[list[TrainingImage], list[str]]:
    """Return the training images of many files.

    Parameters
    ----------
    paths : sequence of Path
        Slides and images.
    settings : Config
        As for `read_training_image`.
    mpp : float, optional
        Pixel size of all files.

    Returns
    -------
    training_images : list of TrainingImage
        Images with tissue that are at least as large as a canvas.
    skipped : list of str
        For each of the other files, why it is left out.
    """
    training_images, skipped = [], []
    for path in paths:
        try:
            training_image = read_training_image(path, settings, mpp=mpp)
        except NoTissue as error:
            skipped.append(str(error))
            continue
        if min(training_image.labels.shape) < settings.diffusion.canvas_px:
            skipped.append(f"{path.name} is smaller than a canvas")
        else:
            training_images.append(training_image)
    return training_images, skipped


def _lay_out(config: DiffusionConfig, side_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the class of every pixel of a square, uint8 (side, side)."""
    spacing_px = max(4, um_to_px(_REGION_UM, config.mpp))
    cells = Size(-(-side_px // spacing_px), -(-side_px // spacing_px))
    tessellation = sample_tessellation(cells, spacing_px, rng=rng)
    tumour, necrosis = rng.uniform(0.15, 0.4), rng.uniform(0.05, 0.2)
    layout = sample_layout(cells, tumour_fraction=tumour, necrosis_fraction=necrosis, rng=rng)
    # the random fields vary little over one canvas: a third of the cells is shuffled
    mixed = np.flatnonzero(rng.random(cells.area) < 1 / 3)
    layout.ravel()[mixed] = layout.ravel()[rng.permutation(mixed)]
    return layout.ravel()[tessellation.labels[1:-1, 1:-1] - 1][:side_px, :side_px]


def _find_regions(slide: Slide, settings: Config) -> tuple[NDArray[np.int32], NDArray[np.int64], str]:
    """Return the labels of the regions of real tissue, their unknown classes, and the mark of a forced slide."""
    options = settings.diffusion
    superpixel = {"spacing_um": options.spacing_um, "min_area_um2": options.min_area_um2}
    settings = settings.model_copy(
        update={
            "superpixel": settings.superpixel.model_copy(update=superpixel),
            "coarsening": settings.coarsening.model_copy(update={"granularity": options.granularity}),
        }
    )
    superpixels = segment(slide, settings)
    coarse = coarsen(build_graph(slide, superpixels, settings), settings.coarsening)
    region = np.concatenate([[0], coarse.assignment + 1]).astype(np.int32)
    labels = region[np.asarray(superpixels.labels[:])]
    return labels, np.full(coarse.graph.n_nodes, UNKNOWN, np.int64), coarse.graph.mark


def _read_mask(path: Path, size: Size) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    from PIL import Image

    with Image.open(path) as picture:
        mask = np.asarray(picture)
    if mask.ndim != 2 or not np.isclose(mask.shape[0] / mask.shape[1], size.height / size.width, rtol=0.02):
        raise SynthesisError(f"mask {path} has shape {mask.shape}, expected one number for each pixel of its image")
    if mask.max() > len(TISSUES):
        raise SynthesisError(
            f"mask {path} holds {mask.max()}, expected 0 for unknown or 1 to {len(TISSUES)}: {', '.join(TISSUES)}"
        )
    # pixels of unknown class form regions too
    return mask.astype(np.int32) + 1, np.concatenate([[UNKNOWN], np.arange(len(TISSUES))])


def _nearest(labels: NDArray[np.int32], size: Size) -> NDArray[np.int32]:
    """Return labels at another resolution by nearest neighbour."""
    y, x = (
        ((np.arange(side) + 0.5) * length / side).astype(np.int64)
        for side, length in zip((size.height, size.width), labels.shape, strict=True)
    )
    return np.asarray(labels[y[:, None], x])
