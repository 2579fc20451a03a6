"""Layouts of tissue classes on tessellations, whose cells form regions.

A tessellation divides an image into the Voronoi cells of jittered grid points. Cells are about as large and as round as
superpixels, and several cells form a region, the ideal result of coarsening. Boundaries are counted in pixels, as on a
slide. A layout assigns a tissue class to every cell, the same one within a region. Classes follow smoothed random
fields, which are ranked and cut so that every class takes an exact number of regions: tumour in nests, necrosis in the
cores of nests, lymphocytes mostly at their borders, fat away from them, glands in small groups, vessels scattered,
stroma elsewhere. In real tissue, superpixels can contain several classes and there is structure beyond nearest
neighbours; layouts have neither.

References
----------
Thresholded Gaussian random fields as a model of two-phase media: Cahn, J. Chem. Phys. 42, 1965.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from wsigraph.errors import SynthesisError
from wsigraph.geometry import Box, Size
from wsigraph.graph.adjacency import both_directions, count_boundaries
from wsigraph.graph.coarsening.contract import contract_edges

TISSUES = ("stroma", "tumour", "necrosis", "lymphocytes", "fat", "gland", "vessel")
"""Tissue classes; a class map holds their indices."""
STROMA, TUMOUR, NECROSIS, LYMPHOCYTES, FAT, GLAND, VESSEL = range(len(TISSUES))

_JITTER, _REGION_JITTER = 0.3, 0.42
"""Largest shift of the grid points of cells, and of regions, along an axis, in spacings."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Tissue class of every cell of a tessellation.

    Attributes
    ----------
    classes : uint8 (rows, columns)
        Index into `TISSUES`.
    """

    classes: NDArray[np.uint8]

    def fraction(self, tissue: int) -> float:
        """Return the fraction of the cells that are of a class."""
        return float((self.classes == tissue).mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """Regions of a tessellation: their cells and their adjacency.

    Attributes
    ----------
    shape : Size
        Rows and columns of regions, R in all.
    member : int64 (N,)
        Region of every cell, 0..R-1, each used.
    edge_index : int64 (2, E)
        Regions that touch, both directions, sorted.
    """

    shape: Size
    member: NDArray[np.int64]
    edge_index: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tessellation:
    """Shapes, boundaries and regions of the cells of a layout.

    Attributes
    ----------
    labels : int32 (h, w)
        Cell of every pixel, 1..N row by row; 0 in a margin of one pixel outside the tissue.
    rows, columns : int
        Cells along each side; N is their product.
    centre_px : int64 (N, 2)
        Rounded centre of mass of every cell, as (x, y).
    edge_index : int64 (2, E)
        Neighbouring cells, both directions, sorted.
    boundary : int64 (E, 2)
        Straight and diagonal pixel pairs across each edge.
    outside : int64 (N, 2)
        Straight and diagonal pixel pairs with the margin.
    regions : Regions
        Regions that the cells form.
    """

    labels: NDArray[np.int32]
    rows: int
    columns: int
    centre_px: NDArray[np.int64]
    edge_index: NDArray[np.int64]
    boundary: NDArray[np.int64]
    outside: NDArray[np.int64]
    regions: Regions

    @property
    def size(self) -> Size:
        """Size of the label image in pixels."""
        return Size(*self.labels.shape)

    def to_layout(self, classes: NDArray[np.uint8]) -> Layout:
        """Return the layout whose regions have the given classes, uint8 (region rows, region columns)."""
        return Layout(classes=classes.ravel()[self.regions.member].reshape(self.rows, self.columns))

    def region_classes(self, layout: Layout) -> NDArray[np.uint8]:
        """Return the class of every region of a layout, uint8 (region rows, region columns)."""
        shape = self.regions.shape
        classes = np.empty(shape.area, np.uint8)
        classes[self.regions.member] = layout.classes.ravel()
        return classes.reshape(shape.height, shape.width)


def sample_layout(
    size: Size, *, tumour_fraction: float, necrosis_fraction: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the classes of regions with given fractions of tumour and necrosis.

    Parameters
    ----------
    size : Size
        Rows and columns of regions.
    tumour_fraction, necrosis_fraction : float
        Fractions of the regions, rounded to whole regions; together at most 1.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    uint8 (rows, columns)
        Classes; the remaining regions are split at random, most of them stroma.

    Raises
    ------
    SynthesisError
        If a fraction is negative or both together exceed 1.
    """
    if min(tumour_fraction, necrosis_fraction) < 0 or tumour_fraction + necrosis_fraction > 1:
        raise SynthesisError(
            f"tumour {tumour_fraction:g} and necrosis {necrosis_fraction:g} of a layout, "
            "expected fractions of at least 0 that do not exceed 1 together"
        )
    classes = np.full((size.height, size.width), STROMA, np.uint8)
    nests = random_field(size, 2.0, rng=rng)
    n_necrosis, n_tumour = round(necrosis_fraction * size.area), round(tumour_fraction * size.area)
    place(classes, NECROSIS, nests + 0.3 * random_field(size, 1.0, rng=rng), n_necrosis)
    place(classes, TUMOUR, nests, min(n_tumour, size.area - n_necrosis))
    near = gaussian_filter((classes != STROMA).astype(np.float64), 1.5, mode="nearest")
    near = (near - near.mean()) / (near.std() + 1e-9)
    n_rest = int((classes == STROMA).sum())
    fractions = rng.dirichlet([6.0, 1.5, 1.5, 1.0, 0.6])[1:]
    scores = (
        (LYMPHOCYTES, near + random_field(size, 0.7, rng=rng)),
        (FAT, random_field(size, 2.0, rng=rng) - 0.7 * near),
        (GLAND, random_field(size, 1.2, rng=rng)),
        (VESSEL, random_field(size, 0.4, rng=rng)),
    )
    for (tissue, score), fraction in zip(scores, fractions, strict=True):
        place(classes, tissue, score, round(fraction * n_rest))
    return classes


def set_nests(
    size: Size, *, tumour_fraction: float, gland_fraction: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return nests of tumour, and small groups of glands away from them, in stroma.

    Parameters
    ----------
    size : Size
        Rows and columns of regions.
    tumour_fraction, gland_fraction : float
        Fractions of the regions, rounded to whole regions.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    uint8 (rows, columns)
        Classes.
    """
    classes = np.full((size.height, size.width), STROMA, np.uint8)
    place(classes, TUMOUR, random_field(size, 1.5, rng=rng), round(tumour_fraction * size.area))
    near = gaussian_filter((classes == TUMOUR).astype(np.float64), 1.0, mode="nearest")
    near = (near - near.mean()) / (near.std() + 1e-9)
    place(classes, GLAND, random_field(size, 0.5, rng=rng) - 0.8 * near, round(gland_fraction * size.area))
    return classes


def random_field(size: Size, sigma: float, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a smoothed random field of mean 0 and standard deviation 1.

    Parameters
    ----------
    size : Size
        Rows and columns.
    sigma : float
        Standard deviation of the smoothing, cells.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    float64 (rows, columns)
        The field.
    """
    field = gaussian_filter(rng.standard_normal((size.height, size.width)), sigma, mode="nearest")
    return np.asarray((field - field.mean()) / (field.std() + 1e-9))


def place(classes: NDArray[np.uint8], tissue: int, score: NDArray[np.float64], n_cells: int) -> None:
    """Give the stroma regions of highest score another class, in place.

    Parameters
    ----------
    classes : uint8 (rows, columns)
        Changed in place.
    tissue : int
        The new class.
    score : float64 (rows, columns)
        Regions of higher score are taken first.
    n_cells : int
        Number of regions; fewer are changed where there is less stroma.
    """
    free = np.flatnonzero(classes == STROMA)
    order = np.argsort(-score.ravel()[free], kind="stable")
    classes.ravel()[free[order[:n_cells]]] = tissue


def sample_tessellation(size: Size, spacing_px: int, *, rng: np.random.Generator, grain: int = 1) -> Tessellation:
    """Return a tessellation into cells about as large and as round as superpixels.

    Parameters
    ----------
    size : Size
        Rows and columns of regions.
    spacing_px : int
        Distance of neighbouring grid points, px; at least 4.
    rng : numpy.random.Generator
        Random numbers.
    grain : int
        Cells along the side of a region; with 1, every cell is a region.

    Returns
    -------
    Tessellation
        Cells that partition the image except its margin.

    Raises
    ------
    SynthesisError
        If the spacing is below 4 px, where cells could vanish.
    """
    if spacing_px < 4:
        raise SynthesisError(
            f"a spacing of {spacing_px} px between superpixels, expected at least 4; raise synthesis.spacing_um"
        )
    cells = Size(size.height * grain, size.width * grain)
    labels = _voronoi(cells, spacing_px, rng)
    whole = Box.whole(Size(*labels.shape))
    key, crossings = count_boundaries(labels, whole, whole)
    edge_index, boundary = both_directions((key >> 32) - 1, (key & 0xFFFFFFFF) - 1, crossings)
    y, x = np.indices(labels.shape)
    count = np.bincount(labels.ravel(), minlength=cells.area + 1)[1:]
    sums = [np.bincount(labels.ravel(), axis.ravel(), minlength=cells.area + 1)[1:] for axis in (x, y)]
    centre_px = np.round(np.stack(sums, axis=1) / count[:, None]).astype(np.int64)
    member = np.arange(cells.area) if grain == 1 else _members(size, centre_px / (grain * spacing_px), rng)
    return Tessellation(
        labels=labels,
        rows=cells.height,
        columns=cells.width,
        centre_px=centre_px,
        edge_index=edge_index,
        boundary=boundary,
        outside=_outside(labels, cells.area),
        regions=Regions(
            shape=size, member=member, edge_index=contract_edges(edge_index, boundary, member, size.area)[0]
        ),
    )


def _members(size: Size, centre: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the region of every cell: its nearest jittered point; each point also owns the cell nearest to it."""
    cells = cKDTree(centre)
    while True:
        point = _jittered_points(size, _REGION_JITTER, rng)[:, ::-1]
        own = cells.query(point)[1]
        # two points with one nearest cell would leave a region empty: draw again, which is rare
        if len(np.unique(own)) == size.area:
            break
    member = cKDTree(point).query(centre)[1].astype(np.int64)
    member[own] = np.arange(size.area)
    return np.asarray(member)


def _jittered_points(size: Size, jitter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return one point in every unit square, float64 (N, 2) as (y, x)."""
    square = np.moveaxis(np.indices((size.height, size.width)), 0, -1).reshape(-1, 2)
    return np.asarray(square + 0.5 + rng.uniform(-jitter, jitter, square.shape))


def _voronoi(size: Size, spacing_px: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the nearest jittered grid point of every pixel, numbered from 1, inside a margin of zeros."""
    point = _jittered_points(size, _JITTER, rng) * spacing_px
    pixel = np.moveaxis(np.indices((size.height * spacing_px, size.width * spacing_px)), 0, -1) + 0.5
    return np.pad(cKDTree(point).query(pixel)[1].astype(np.int32) + 1, 1)


def _outside(labels: NDArray[np.int32], n_cells: int) -> NDArray[np.int64]:
    """Return every cell's straight and diagonal pixel pairs with the margin, int64 (N, 2)."""
    pairs = np.zeros((n_cells, 2), np.int64)
    inner = labels[1:-1, 1:-1]
    height, width = labels.shape
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            beside = labels[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
            pairs[:, abs(dy * dx)] += np.bincount(inner[beside == 0], minlength=n_cells + 1)[1:]
    return pairs
