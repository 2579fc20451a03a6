"""A feature file in place of a slide, so that every step from the graph to the page can be made from it alone.

Tiles are placed on the plane of level 0 as their file states them. The plane has no pixels: where a picture is drawn,
tiles are pale and all else is white. What would be measured in pixels, such as stain, texture and nuclei, is not known.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import Config
from wsigraph.errors import RecordError
from wsigraph.exchange.tile_features import TileFeatures, in_pixels, read_features, without_overlap
from wsigraph.exchange.tile_graph import TileLabels, TileRectangles, cover, first_inside, place_tiles
from wsigraph.exchange.trident import geometry_graph, rounded_sums, settled_mpp, settled_side, settled_size
from wsigraph.geometry import Box, Size, ratio, resampled_size, um_to_px_exact
from wsigraph.graph.tissue.section import number_sections
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.model.columns import UNNAMED
from wsigraph.records import SlideInfo, SuperpixelLabels, TissueGraph, TissueMap
from wsigraph.slide.colour import WHITE
from wsigraph.slide.description import FileDescription, make_levels
from wsigraph.slide.reader import Slide
from wsigraph.slide.series import SeriesRule
from wsigraph.slide.slide_id import default_slide_id
from wsigraph.store import digest

_log = logging.getLogger(__name__)
READER = "features"
"""Name of the reader in ``slide.json`` of a feature file."""
OF_TILES = "no slide was given: areas are those of the tiles, with the glass in them, and only shape is measured"
"""What a reader of any output without a slide must know."""
_TILE_COLOUR = (232, 224, 236)
_NATIVE = Size(512, 512)
_DOWNSAMPLES = (1, 4, 16, 64)


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """Tiles of a feature file, placed on a slide.

    Attributes
    ----------
    path : Path
        The file.
    sha256 : str
        Digest of its bytes.
    table : TileFeatures
        Tiles that do not overlap, in level-0 pixels.
    side : int
        Side of a tile, level-0 pixels.
    mpp : float
        Pixel size of level 0, um/px.
    mpp_source : str
        Where it comes from.
    level0 : Size
        Size of the slide; of the area of the tiles where neither file nor slide states it.
    tiles : TileRectangles
        The tiles in working pixels.
    working_mpp : float
        Working pixel size, um/px.
    """

    path: Path
    sha256: str
    table: TileFeatures
    side: int
    mpp: float
    mpp_source: str
    level0: Size
    tiles: TileRectangles
    working_mpp: float

    @property
    def encoder(self) -> str:
        """Name of the encoder; ``unnamed`` where the file states none."""
        return self.table.encoder or UNNAMED

    @property
    def identity(self) -> list[object]:
        """What a record that is made from the tiles depends on, as JSON."""
        return [self.sha256, self.side, self.mpp, self.encoder]

    @cached_property
    def labels(self) -> TileLabels:
        """The label image of the tiles, drawn where it is indexed."""
        return TileLabels(self.tiles)

    def tissue(self, config: Config) -> TissueMap:
        """Return the area of the tiles as a map of tissue."""
        mpp = config.tissue.mpp
        size = resampled_size(self.level0, ratio(mpp, self.mpp))
        covered = cover(self.tiles, (size.height, size.width), ratio(mpp, self.working_mpp))
        gap_px = round(um_to_px_exact(config.tissue.section_gap_um, mpp))
        return TissueMap(
            tissue=covered,
            artefact=np.zeros_like(covered),
            section=number_sections(covered.astype(np.bool_), gap_px, config.tissue.section_min_fraction),
            mpp=mpp,
            stain=estimate_stain(empty_histogram(), method="reference", name=config.slide.stain),
            warnings=(OF_TILES,),
        )

    def superpixels(self, tissue: TissueMap) -> SuperpixelLabels:
        """Return the tiles in place of superpixels."""
        n_tiles = len(self.tiles.corners)
        return SuperpixelLabels(labels=self.labels, n_superpixels=n_tiles, mpp=self.working_mpp, tissue=tissue)

    def graph(self, slide_id: str, stain: str) -> TissueGraph:
        """Return the graph of the tiles of a slide in a stain: geometry and encoding."""
        sums = rounded_sums(self.table, self.tiles)
        return geometry_graph(
            self.tiles, self.working_mpp, slide_id, encoding_sum=sums, encoder=self.encoder, stain=stain
        )


def open_features(
    path: Path | str,
    config: Config | None = None,
    *,
    slide: Slide | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
) -> FeatureFile:
    """Read a feature file and place its tiles.

    Parameters
    ----------
    path : Path or str
        A file that `wsigraph.exchange.tile_features.read_features` reads.
    config : Config, optional
        ``superpixel.mpp`` is the working pixel size.
    slide : Slide, optional
        The slide that the tiles are of.
    mpp : float, optional
        Pixel size of level 0, um/px, where neither the slide nor the file states it.
    tile_px : int, optional
        Side of a tile, level-0 pixels, where the file does not state it.

    Returns
    -------
    FeatureFile
        Tiles that do not overlap.

    Raises
    ------
    StoreError
        If the file does not read.
    RecordError
        If its content contradicts itself or the slide.
    MissingMpp
        If nothing states the pixel size.
    """
    path, settings = Path(path), config or Config()
    working = settings.superpixel.mpp
    table = read_features(path)
    level0_mpp, source = settled_mpp(path, table, slide, mpp, working)
    table = in_pixels(table, level0_mpp)
    table, side = without_overlap(*settled_side(path, table, tile_px))
    for note in table.notes if slide is not None else ():
        # without a slide they are warnings of what stands for it
        _log.warning(note)
    step = ratio(working, level0_mpp)
    level0 = settled_size(path, table, slide)
    if level0 is None:
        # one working pixel more than the last tile, so that what is there counts as glass and not as the slide's edge
        x, y = (int(value) for value in table.coords.max(axis=0) + side + ceil(step) + 1)
        level0 = Size(y, x)
    return FeatureFile(
        path=path,
        sha256=digest(path),
        table=table,
        side=side,
        mpp=level0_mpp,
        mpp_source=source,
        level0=level0,
        tiles=place_tiles(table.coords, side, step, level0),
        working_mpp=working,
    )


def slide_of_tiles(features: FeatureFile, slide_id: str | None = None) -> Slide:
    """Return the slide that a feature file stands for.

    Parameters
    ----------
    features : FeatureFile
        The tiles.
    slide_id : str, optional
        Name of the slide; that of the file where left out.

    Returns
    -------
    Slide
        Pale where there are tiles and white elsewhere; its digest is that of the feature file.

    Raises
    ------
    RecordError
        If the name cannot be that of a directory.
    """
    name = slide_id or default_slide_id(features.path)
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise RecordError(f"slide id {name!r} cannot name a directory; give letters, digits, '-', '_' and '.'")
    reader = TileReader(features)
    info = SlideInfo(
        slide_id=name,
        path=str(features.path.absolute()),
        sha256=features.sha256,
        vendor=features.encoder,
        reader=READER,
        mpp=features.mpp,
        mpp_source=features.mpp_source,
        file_mpp=features.table.mpp,
        levels=reader.description.levels,
        warnings=(OF_TILES, *features.table.notes),
    )
    return Slide(info, reader)


class TileReader:
    """Draws the tiles of a feature file as a slide; a `wsigraph.slide.opening.SlideReader` that is no plugin."""

    suffixes: ClassVar[frozenset[str]] = frozenset()
    series: ClassVar[tuple[SeriesRule, ...]] = ()

    def __init__(self, features: FeatureFile) -> None:
        height, width = features.level0.height, features.level0.width
        sizes = [Size(-(-height // factor), -(-width // factor)) for factor in _DOWNSAMPLES]
        levels = make_levels((size, _NATIVE) for size in sizes)
        self.description = FileDescription(vendor=READER, levels=levels, scales=((1,),) * len(levels))
        self._coords = features.table.coords
        self._side = features.side

    @classmethod
    def matches(cls, path: Path) -> bool:  # noqa: ARG003
        """Return that no file is opened by this reader by itself."""
        return False

    def read_level(self, level: int, box: Box, scale: int) -> NDArray[np.uint8]:  # noqa: ARG002
        """Return the tiles in a box of a level, uint8 (h, w, 3); `scale` is 1, as the description says."""
        one = self.description.levels[level]
        first, last = (first_inside(self._coords + add, one.downsample) for add in (0, self._side))
        corners = np.stack([first[:, 1], first[:, 0], last[:, 1], last[:, 0]], axis=1)
        labels = TileLabels(TileRectangles(corners, one.size, np.zeros((0, 2), np.int64)))
        out = np.full((box.height, box.width, 3), WHITE, np.uint8)
        inside = box.clip(one.size)
        if not inside.is_empty:
            part = out[inside.relative_to(box).slices]
            part[labels[inside.slices] > 0] = _TILE_COLOUR
        return out

    def close(self) -> None:
        """Nothing is open."""
