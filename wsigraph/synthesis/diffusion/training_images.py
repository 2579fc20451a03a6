"""What the model learns from: sheets of tissue with a region for every pixel, from which canvases are cut at random.

A sheet is painted tissue of exactly known classes, an image with a mask of classes, or real tissue alone, whose regions
are those of ``segment`` and ``coarsen`` and whose classes are not known. A canvas is cut at a random place, turned and
mirrored; the pieces of regions on it become the nodes of its graph.
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
from wsigraph.slide.reader import Slide, read
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, of_labels
from wsigraph.synthesis.simulation.layout import TISSUES, sample_lattice, sample_layout
from wsigraph.synthesis.simulation.procedural import SiteStain, paint, sample_site

PAINTED, REAL = range(2)
"""Styles, as indices into ``STYLES``."""
_REGION_UM = 26.0
_TRIES = 50
_MASK = "_mask.png"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """A picture with its regions.

    Attributes
    ----------
    name : str
        Where it comes from.
    image : uint8 (h, w, 3)
        RGB at the canvas' pixel size.
    labels : int32 (h, w)
        Region of every pixel; 0 belongs to none.
    classes : int64 (R,)
        Class of regions 1..R, or ``UNKNOWN``.
    style : int
        `PAINTED` or `REAL`.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    classes: NDArray[np.int64]
    style: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A canvas with its graph.

    Attributes
    ----------
    image : uint8 (h, w, 3)
        RGB.
    scene : Scene
        Its regions, with their label image.
    style : int
        `PAINTED` or `REAL`.
    """

    image: NDArray[np.uint8]
    scene: Scene
    style: int


def paint_sheet(config: DiffusionConfig, site: SiteStain, *, side_px: int, rng: np.random.Generator) -> Sheet:
    """Return a sheet of painted tissue.

    Parameters
    ----------
    config : DiffusionConfig
        Pixel size.
    site : SiteStain
        Stain and scanner.
    side_px : int
        Side of the sheet, px.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Sheet
        Regions of one class each, as large as what touches of it.
    """
    classes = _lay_out(config, side_px, rng)
    return Sheet(
        name="painted",
        image=paint(classes, mpp=config.mpp, site=site, rng=rng),
        labels=classes.astype(np.int32) + 1,
        classes=np.arange(len(TISSUES)),
        style=PAINTED,
    )


def paint_many(config: DiffusionConfig, n: int, *, seed: int, side_px: int) -> list[Sheet]:
    """Return sheets of painted tissue, each of a hospital of its own; the first of more are those of fewer."""
    spawned = np.random.default_rng([seed, 0]).spawn(n)
    return [paint_sheet(config, sample_site(rng=own), side_px=side_px, rng=own) for own in spawned]


def lay_out(config: DiffusionConfig, side_px: int, *, seed: int) -> Scene:
    """Return the graph of a square of made-up tissue.

    Parameters
    ----------
    config : DiffusionConfig
        Pixel size, and the smallest region.
    side_px : int
        Side, px.
    seed : int
        Decides the layout.

    Returns
    -------
    Scene
        Classes known, optical density not.
    """
    labels = _lay_out(config, side_px, np.random.default_rng([seed, 2])).astype(np.int32) + 1
    pieces, owner = split(labels, min_px=um2_to_px(config.min_area_um2, config.mpp))
    return of_labels(pieces, owner - 1, mpp=config.mpp)


def read_sheet(path: Path, settings: Config, *, mpp: float | None = None, box: Box | None = None) -> Sheet:
    """Return a sheet of real tissue.

    Parameters
    ----------
    path : Path
        Slide or image. Beside an image ``NAME.png`` there may be ``NAME_mask.png`` of the same size: uint8, 1 + class,
        0 where not known.
    settings : Config
        Section ``diffusion``; the others as far as they say how tissue is found and cut.
    mpp : float, optional
        Pixel size of the file, um/px, where it states none.
    box : Box, optional
        Part of the sheet, in pixels of the canvas' size.

    Returns
    -------
    Sheet
        Regions of the mask, or of ``segment`` and ``coarsen``.

    Raises
    ------
    NoTissue
        If there is no tissue.
    SlideError
        If the file does not read or states no pixel size.
    SynthesisError
        If the mask is of another size, or names a class that there is not.
    """
    options = settings.diffusion
    with read(path, mpp=mpp) as slide:
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
            labels, classes = _read_mask(mask, whole.size)
        else:
            labels, classes = _find_regions(slide, settings)
        size = whole.size
        labels = _nearest(labels, size)
        return Sheet(name=path.name, image=image, labels=labels[window.slices], classes=classes, style=REAL)


def cut(sheet: Sheet, config: DiffusionConfig, *, rng: np.random.Generator) -> Example:
    """Return a random canvas of a sheet, turned and mirrored.

    Parameters
    ----------
    sheet : Sheet
        At least as large as the canvas.
    config : DiffusionConfig
        Size of the canvas and of its smallest region.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Example
        At least one region, at most ``max_nodes``.

    Raises
    ------
    SynthesisError
        If the sheet is too small, or no such canvas is found on it.
    """
    side = config.canvas_px
    if min(sheet.labels.shape) < side:
        raise SynthesisError(
            f"{sheet.name} is {sheet.labels.shape[1]} x {sheet.labels.shape[0]} px at {config.mpp:g} um/px, expected "
            f"at least the canvas of {side} px; leave it out or train a smaller canvas"
        )
    for _ in range(_TRIES):
        y, x = (int(rng.integers(0, length - side + 1)) for length in sheet.labels.shape)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        window = np.s_[y : y + side, x : x + side]
        image, labels = np.rot90(sheet.image[window], turns), np.rot90(sheet.labels[window], turns)
        if mirrored:
            image, labels = image[:, ::-1], labels[:, ::-1]
        image, labels = np.ascontiguousarray(image), np.ascontiguousarray(labels)
        pieces, owner = split(labels, min_px=um2_to_px(config.min_area_um2, config.mpp))
        if 1 <= len(owner) <= config.max_nodes:
            scene = of_labels(pieces, sheet.classes[owner - 1], mpp=config.mpp, image=image)
            return Example(image=image, scene=scene, style=sheet.style)
    raise SynthesisError(
        f"{sheet.name} shows no canvas of 1 to {config.max_nodes} regions in {_TRIES} tries; raise "
        "diffusion.spacing_um or diffusion.max_nodes"
    )


def split(labels: NDArray[np.int32], *, min_px: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the connected pieces of regions; small ones join the nearest.

    Parameters
    ----------
    labels : int32 (h, w)
        Regions 1..R, 0 belongs to none.
    min_px : int
        Smallest piece that stays, px.

    Returns
    -------
    pieces : int32 (h, w)
        Pieces 1..P, 0 belongs to none.
    owner : int64 (P,)
        Region, from 1, of every piece.
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
    kept = np.flatnonzero((np.bincount(pieces.ravel(), minlength=len(n)) > 0) & (owner > 0))
    renumber = np.zeros(len(n), np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    return renumber[pieces], owner[kept]


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
        found = sorted(each for each in data.iterdir() if each.is_file() and not each.name.startswith("."))
        found = [each for each in found if not each.name.endswith(_MASK)]
    else:
        found = [data] if data.exists() else []
    if not found:
        raise SynthesisError(f"{data} holds no slide and no image; name a file, or a directory of files")
    return found


def read_sheets(paths: Sequence[Path], settings: Config, *, mpp: float | None = None) -> tuple[list[Sheet], list[str]]:
    """Return the sheets of many files.

    Parameters
    ----------
    paths : sequence of Path
        Slides and images.
    settings : Config
        As for `read_sheet`.
    mpp : float, optional
        Pixel size of all files.

    Returns
    -------
    sheets : list of Sheet
        Those that hold tissue and a whole canvas.
    skipped : list of str
        Why each of the others does not serve.
    """
    sheets, skipped = [], []
    for path in paths:
        try:
            sheet = read_sheet(path, settings, mpp=mpp)
        except NoTissue as error:
            skipped.append(str(error))
            continue
        if min(sheet.labels.shape) < settings.diffusion.canvas_px:
            skipped.append(f"{path.name} is smaller than a canvas")
        else:
            sheets.append(sheet)
    return sheets, skipped


def _lay_out(config: DiffusionConfig, side_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the class of every pixel of a square, uint8 (side, side)."""
    spacing_px = max(4, um_to_px(_REGION_UM, config.mpp))
    cells = Size(-(-side_px // spacing_px), -(-side_px // spacing_px))
    lattice = sample_lattice(cells, spacing_px, rng=rng)
    tumour, necrosis = rng.uniform(0.15, 0.4), rng.uniform(0.05, 0.2)
    layout = sample_layout(cells, tumour_fraction=tumour, necrosis_fraction=necrosis, rng=rng)
    # neighbours of the random fields look alike over a whole canvas; a third of the cells is shuffled
    mixed = np.flatnonzero(rng.random(cells.area) < 1 / 3)
    layout.ravel()[mixed] = layout.ravel()[rng.permutation(mixed)]
    return layout.ravel()[lattice.labels[1:-1, 1:-1] - 1][:side_px, :side_px]


def _find_regions(slide: Slide, settings: Config) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    from wsigraph.graph.build import build_graph
    from wsigraph.graph.coarsening.coarsen import coarsen
    from wsigraph.graph.superpixel.segment import segment

    options = settings.diffusion
    cutting = {"spacing_um": options.spacing_um, "min_area_um2": options.min_area_um2}
    chosen = settings.model_copy(
        update={
            "superpixel": settings.superpixel.model_copy(update=cutting),
            "coarsening": settings.coarsening.model_copy(update={"granularity": options.granularity}),
        }
    )
    superpixels = segment(slide, chosen)
    coarse = coarsen(build_graph(slide, superpixels, chosen), chosen.coarsening)
    region = np.concatenate([[0], coarse.assignment + 1]).astype(np.int32)
    return region[np.asarray(superpixels.labels[:])], np.full(coarse.graph.n_nodes, UNKNOWN, np.int64)


def _read_mask(path: Path, size: Size) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    from PIL import Image

    with Image.open(path) as picture:
        mask = np.asarray(picture)
    if mask.ndim != 2 or not np.isclose(mask.shape[0] / mask.shape[1], size.height / size.width, rtol=0.02):
        raise SynthesisError(f"mask {path} is of shape {mask.shape}, expected one number a pixel of its image")
    if mask.max() > len(TISSUES):
        raise SynthesisError(
            f"mask {path} holds {mask.max()}, expected 0 for not known or 1 to {len(TISSUES)}: {', '.join(TISSUES)}"
        )
    # what is not known is a region too, of no class
    return mask.astype(np.int32) + 1, np.concatenate([[UNKNOWN], np.arange(len(TISSUES))])


def _nearest(labels: NDArray[np.int32], size: Size) -> NDArray[np.int32]:
    """Return labels at another resolution, each pixel that under its centre."""
    y, x = (
        ((np.arange(side) + 0.5) * length / side).astype(np.int64)
        for side, length in zip((size.height, size.width), labels.shape, strict=True)
    )
    return np.asarray(labels[y[:, None], x])
