"""Regions that a user has drawn, as pixels of any resolution.

`read_roi` reads QuPath GeoJSON, ImageScope XML or a label image, and checks the regions against the slide: they must
lie on it, in the stated coordinates, and not cross themselves. Drawn regions and labels are sampled at the centre of
each pixel. The classes of the regions are sampled in the same way, so that the pixels of a class in a superpixel are
counted exactly and add up when superpixels merge.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RegionError
from wsigraph.geometry import Box, Origin, Size
from wsigraph.slide.polygon_fill import fill, find_crossing
from wsigraph.slide.reader import Slide
from wsigraph.slide.roi_files import RegionFile, Shape, read_region_file

MAX_CLASSES = 256
"""Most classes of one file."""
_OTHER = {"bounds": "plane", "plane": "bounds"}
_CORNER = {"bounds": "the scanned area, as in QuPath", "plane": "the file's whole plane, as in ImageScope"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Roi:
    """Regions on a slide.

    Attributes
    ----------
    name : str
        File name, for messages.
    digest : str
        SHA-256 of the file and of what its coordinates count from.
    class_names : tuple of str
        Classes, sorted; regions without a class have none.
    slide_mpp : float
        Pixel size of level 0, um/px.
    size : Size
        Pixels of level 0.
    shapes : tuple of Shape
        Drawn regions, level-0 pixels of the scanned area.
    labels : uint16 (h, w) or None
        Label image.
    covered : Box or None
        What the label image covers, level-0 pixels of the scanned area.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    slide_mpp: float
    size: Size
    shapes: tuple[Shape, ...] = ()
    labels: NDArray[np.uint16] | None = None
    covered: Box | None = None

    @cached_property
    def _edges(self) -> list[NDArray[np.float64]]:
        return [shape.edges for shape in self.shapes]

    def inside(self, box: Box, mpp: float) -> NDArray[np.bool_]:
        """Return which pixels of a box have their centre in a region.

        Parameters
        ----------
        box : Box
            Pixels at `mpp`.
        mpp : float
            um/px.

        Returns
        -------
        bool (box.height, box.width)
            True inside.
        """
        if self.labels is not None:
            return np.asarray(self._sample(box, mpp) > 0)
        return self._union(range(len(self.shapes)), box, mpp)

    def in_classes(self, box: Box, mpp: float) -> NDArray[np.bool_]:
        """Return which pixels of a box have their centre in a region of each class.

        Parameters
        ----------
        box : Box
            Pixels at `mpp`.
        mpp : float
            um/px.

        Returns
        -------
        bool (classes, box.height, box.width)
            In the order of `class_names`. A pixel is in several classes where regions overlap.
        """
        masks = np.zeros((len(self.class_names), box.height, box.width), bool)
        if self.labels is not None:
            labels = self._sample(box, mpp)
            for number, name in enumerate(self.class_names):
                masks[number] = labels == int(name)
            return masks
        for number, name in enumerate(self.class_names):
            chosen = [place for place, shape in enumerate(self.shapes) if shape.is_hole or shape.class_name == name]
            masks[number] = self._union(chosen, box, mpp)
        return masks

    def _union(self, chosen: range | list[int], box: Box, mpp: float) -> NDArray[np.bool_]:
        """Return the pixels of the chosen regions without those of the chosen holes."""
        scale = self.slide_mpp / mpp
        masks = {is_hole: np.zeros((box.height, box.width), bool) for is_hole in (False, True)}
        for place in chosen:
            edges = self._edges[place] * scale
            (x0, y0), (x1, y1) = edges.reshape(-1, 2).min(axis=0), edges.reshape(-1, 2).max(axis=0)
            part = box.intersect(Box(y0=int(y0), x0=int(x0), y1=int(y1) + 1, x1=int(x1) + 1))
            if not part.is_empty:
                masks[self.shapes[place].is_hole][part.relative_to(box).slices] |= fill(edges, part)
        return np.asarray(masks[False] & ~masks[True])

    def _sample(self, box: Box, mpp: float) -> NDArray[np.uint16]:
        """Return the label under the centre of each pixel, uint16 (h, w); 0 outside the slide."""
        labels, covered = self.labels, self.covered
        if labels is None or covered is None:
            raise AssertionError("these regions are drawn")
        scale = mpp / self.slide_mpp  # level-0 pixels a pixel
        y = ((np.arange(box.y0, box.y1) + 0.5) * scale - covered.y0) * labels.shape[0] / covered.height
        x = ((np.arange(box.x0, box.x1) + 0.5) * scale - covered.x0) * labels.shape[1] / covered.width
        rows, columns = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        sampled: NDArray[np.uint16] = labels[np.clip(rows, 0, labels.shape[0] - 1)][
            :, np.clip(columns, 0, labels.shape[1] - 1)
        ]
        sampled[(rows < 0) | (rows >= labels.shape[0])] = 0
        sampled[:, (columns < 0) | (columns >= labels.shape[1])] = 0
        return sampled


def read_roi(path: Path | str, slide: Slide, *, origin: Origin = "bounds") -> Roi:
    """Read regions of a slide.

    Parameters
    ----------
    path : Path or str
        GeoJSON as QuPath writes it, XML of ImageScope, or a label image (PNG or TIFF, 0 outside, any size with the
        slide's proportions).
    slide : Slide
        The slide that they were drawn on.
    origin : {"bounds", "plane"}
        What the coordinates count from: the corner of the scanned area, as in QuPath, or of the file's whole plane. A
        file that states it itself is believed.

    Returns
    -------
    Roi
        The regions.

    Raises
    ------
    RegionError
        If the file cannot be read or is empty; or a region is outside the slide, counts from the other corner, has no
        area, or crosses itself. The message says which.
    """
    path = Path(path)
    regions = read_region_file(path)
    size, corner = slide.info.levels[0].size, slide.info.origin
    stated: Origin = "plane" if (regions.origin or origin) == "plane" else "bounds"
    digest = hashlib.sha256(path.read_bytes() + stated.encode()).hexdigest()
    if regions.labels is not None:
        return _from_labels(path, regions.labels, slide, stated, digest)
    offset = np.array(corner if stated == "plane" else (0, 0), np.float64)
    for shape in regions.shapes:
        crossing = find_crossing(shape.edges)
        if crossing is not None:
            raise RegionError(
                f"regions {path.name!r}: {shape.label} crosses itself at x {crossing[0]:.0f}, y {crossing[1]:.0f}; "
                "draw it without a crossing (in QuPath: Objects > Annotations > Split, or draw it again)"
            )
        if not shape.is_hole and not any(_area_px2(ring) > 0 for ring in shape.rings):
            raise RegionError(
                f"regions {path.name!r}: {shape.label} has no area, its points lie on one line; draw it as an area"
            )
    _refuse_outside(path, regions, slide, stated, offset)
    shapes = tuple(
        Shape(
            class_name=shape.class_name,
            rings=[ring - offset for ring in shape.rings],
            is_hole=shape.is_hole,
            label=shape.label,
        )
        for shape in regions.shapes
    )
    names = sorted({shape.class_name for shape in shapes if shape.class_name and not shape.is_hole})
    return Roi(
        name=path.name,
        digest=digest,
        class_names=_few(path, names),
        slide_mpp=slide.info.mpp,
        size=size,
        shapes=shapes,
    )


def _area_px2(ring: NDArray[np.float64]) -> float:
    """Return the area of a ring of points, float64 (n, 2), by the shoelace formula."""
    x, y = (ring - ring[0]).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _refuse_outside(path: Path, regions: RegionFile, slide: Slide, stated: Origin, offset: NDArray[np.float64]) -> None:
    """Raise RegionError if a region is outside the slide; the message says if it fits with the other origin."""
    size, corner = slide.info.levels[0].size, np.array(slide.info.origin, np.float64)
    outside = [shape for shape in regions.shapes if not _touches(shape, size, offset)]
    inside_other = all(_is_within(shape, size, corner - offset) for shape in regions.shapes)
    is_within = all(_is_within(shape, size, offset) for shape in regions.shapes)
    if corner.any() and not is_within and inside_other:
        other = _OTHER[stated]
        raise RegionError(
            f"regions {path.name!r} are in the other origin: their coordinates fit the slide only if they count from "
            f"the corner of {_CORNER[other]}; give --origin {other}, or export them with the other origin"
        )
    if outside:
        points = np.concatenate(outside[0].rings)
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        raise RegionError(
            f"regions {path.name!r}: {outside[0].label} is outside the slide: x {x0:.0f} to {x1:.0f}, y {y0:.0f} to "
            f"{y1:.0f}, where the slide has {size.width} x {size.height} px; is it of another slide or resolution?"
        )


def _touches(shape: Shape, size: Size, offset: NDArray[np.float64]) -> bool:
    points = np.concatenate(shape.rings) - offset
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return bool(x1 > 0 and y1 > 0 and x0 < size.width and y0 < size.height)


def _is_within(shape: Shape, size: Size, offset: NDArray[np.float64]) -> bool:
    """Return whether a region lies on the slide but for a pixel, as viewers round to pixels."""
    points = np.concatenate(shape.rings) - offset
    far = np.array([size.width + 1, size.height + 1])
    return bool((points >= -1).all() and (points <= far).all())


def _from_labels(path: Path, labels: NDArray[np.uint16], slide: Slide, stated: Origin, digest: str) -> Roi:
    """Return the regions of a label image that covers the scanned area, or the plane."""
    size, plane = slide.info.levels[0].size, slide.info.plane
    covered = plane if stated == "plane" and plane is not None else size
    height, width = labels.shape
    if not _same_shape(width, height, covered):
        other = plane if covered is size else size
        hint = ""
        if other is not None and plane is not None and _same_shape(width, height, other):
            name = _OTHER[stated]
            hint = f": it is in the other origin, and covers {_CORNER[name]}; give --origin {name}"
        raise RegionError(
            f"label image {path.name!r} has {width} x {height} px, which are not the proportions of the slide's "
            f"{covered.width} x {covered.height}{hint or '; save it for the whole slide'}"
        )
    x, y = slide.info.origin if covered is not size else (0, 0)
    box = Box(y0=-y, x0=-x, y1=covered.height - y, x1=covered.width - x)
    names = [str(number) for number in np.unique(labels).tolist() if number]
    return Roi(
        name=path.name,
        digest=digest,
        class_names=_few(path, names),
        slide_mpp=slide.info.mpp,
        size=size,
        labels=labels,
        covered=box,
    )


def _same_shape(width: int, height: int, size: Size) -> bool:
    """Return whether an image has a slide's proportions, each side rounded by at most one pixel."""
    return abs(width * size.height - height * size.width) <= max(size.width, size.height)


def _few(path: Path, names: list[str]) -> tuple[str, ...]:
    if len(names) > MAX_CLASSES:
        raise RegionError(f"regions {path.name!r} have {len(names)} classes, expected at most {MAX_CLASSES}")
    return tuple(names)


def as_roi(value: Roi | Path | str, slide: Slide, *, origin: Origin = "bounds") -> Roi:
    """Return regions, read from their file if they are given by its name; see `read_roi` for the errors."""
    return value if isinstance(value, Roi) else read_roi(value, slide, origin=origin)
