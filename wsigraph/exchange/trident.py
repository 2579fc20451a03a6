"""Feature files of other tools as graphs: tiles become regions, features their encoding.

`wsigraph.exchange.tile_features` reads the files of TRIDENT, CLAM, STAMP and UNI2-h. With the slide, every moment is
counted from its pixels. Without it the graph holds geometry alone, under another schema, and functions that need pixels
refuse it.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import Config
from wsigraph.errors import MissingMpp, RecordError
from wsigraph.exchange.tile_features import TileFeatures, in_pixels, read_features, spacing, without_overlap
from wsigraph.exchange.tile_graph import (
    GEOMETRY_NAMES,
    TileLabels,
    TileRectangles,
    cover,
    geometry_moments,
    place_tiles,
    tile_edges,
)
from wsigraph.geometry import MPP_MAX, MPP_MIN, Size, ratio
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.build import build_graph
from wsigraph.graph.feature.encode import ENCODING_UNIT
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.graph.tissue.suitability import mark
from wsigraph.model.columns import UNNAMED
from wsigraph.records import SuperpixelLabels, TissueGraph
from wsigraph.slide.map_boxes import Progress
from wsigraph.slide.mpp import MPP_TOLERANCE
from wsigraph.slide.reader import Slide

_log = logging.getLogger(__name__)


def graph_from_features(
    path: Path | str,
    slide: Slide | None = None,
    config: Config | None = None,
    *,
    mpp: float | None = None,
    tile_px: int | None = None,
    encoder: str | None = None,
    slide_id: str | None = None,
    progress: Progress | None = None,
) -> TissueGraph:
    """Build a tissue graph from a feature file of TRIDENT, CLAM, STAMP or UNI2-h.

    Parameters
    ----------
    path : Path or str
        A file that `wsigraph.exchange.tile_features.read_features` reads.
    slide : Slide, optional
        The slide. With it every moment is counted from pixels, and the graph is like any other; without it the
        graph holds geometry and encoding alone, under a schema of its own that `interpret` refuses.
    config : Config, optional
        Settings: ``superpixel.mpp`` is the working pixel size, ``tissue`` finds the stains, ``feature`` decides what
        is counted.
    mpp : float, optional
        Level-0 pixel size in um/px; needed where no slide is given, and not allowed beside one.
    tile_px : int, optional
        Side of a tile in level-0 pixels; needed where the file does not state it.
    encoder : str, optional
        Name of the encoder; the file's own, or ``"unnamed"``, where left out.
    slide_id : str, optional
        Name of the slide; that of the slide, else of the file, where left out.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    TissueGraph
        One node a tile, in the order of the file; edges where tiles share a side or a corner; ``encoding_sum`` is the
        feature rounded to 1/256 times the tile's working pixels.

    Raises
    ------
    PluginError
        If h5py is not installed.
    StoreError
        If the file does not read, see `read_features`.
    RecordError
        If its content contradicts itself or the slide: tiles that overlap or lie outside, another size of slide.
    MissingMpp
        If no slide is given and no credible `mpp`.
    NoTissue
        If the slide shows no tissue to take the stains from.
    SlideError
        If the slide cannot be read.

    Notes
    -----
    Without the slide, linear in tiles. Memory: 16 bytes a feature of the whole file.
    """
    table, settings = read_features(path), config or Config()
    working = settings.superpixel.mpp
    level0_mpp, _ = settled_mpp(path, table, slide, mpp, working)
    table = in_pixels(table, level0_mpp)
    table, side = without_overlap(*settled_side(path, table, tile_px))
    for note in table.notes:
        _log.warning(note)
    level0 = settled_size(path, table, slide)
    tiles = place_tiles(table.coords, side, ratio(working, level0_mpp), level0)
    graph = (
        geometry_graph(tiles, working, slide_id or table.name or Path(path).stem, stain=settings.slide.stain)
        if slide is None
        else _counted_graph(tiles, slide, settings, progress)
    )
    return dataclasses.replace(
        graph,
        slide_id=slide_id or graph.slide_id,
        encoding_sum=rounded_sums(table, tiles),
        encoder=encoder or table.encoder or UNNAMED,
    )


def rounded_features(table: TileFeatures) -> NDArray[np.int64]:
    """Return the features of every tile in units of 1/256, int64 (N, D)."""
    return np.rint(table.features.astype(np.float64) * ENCODING_UNIT).astype(np.int64)


def rounded_sums(table: TileFeatures, tiles: TileRectangles) -> NDArray[np.int64]:
    """Return the features of every tile summed over its working pixels, int64 (N, D)."""
    return rounded_features(table) * tiles.area[:, None]


def geometry_graph(
    tiles: TileRectangles,
    mpp: float,
    slide_id: str,
    *,
    encoding_sum: NDArray[np.int64] | None = None,
    encoder: str | None = None,
    stain: str = "h&e",
) -> TissueGraph:
    """Return the graph of tiles without a slide: their geometry, and an encoding where one is given."""
    edge_index, boundary = both_directions(*tile_edges(tiles))
    return TissueGraph(
        slide_id=slide_id,
        mpp=mpp,
        size=tiles.size,
        moments=geometry_moments(tiles),
        moment_names=GEOMETRY_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=estimate_stain(empty_histogram(), method="reference", name=stain),
        encoding_sum=encoding_sum,
        encoder=encoder,
    )


def _counted_graph(tiles: TileRectangles, slide: Slide, settings: Config, progress: Progress | None) -> TissueGraph:
    mpp = settings.superpixel.mpp
    tissue_map = find_tissue(slide, settings.tissue, suitability=settings.slide, working_mpp=mpp, progress=progress)
    if tissue_map.refusal:
        slide.mark(mark(tissue_map.refusal))
    covered = cover(tiles, tissue_map.tissue.shape, ratio(tissue_map.mpp, mpp))
    tissue = dataclasses.replace(tissue_map, tissue=covered, section=tissue_map.section * covered)
    labels = SuperpixelLabels(labels=TileLabels(tiles), n_superpixels=len(tiles.corners), mpp=mpp, tissue=tissue)
    # the features of the file take the place of those of a network
    counted = settings.model_copy(update={"feature": settings.feature.model_copy(update={"encoder": None})})
    return build_graph(slide, labels, counted, progress=progress)


def settled_side(path: Path | str, table: TileFeatures, given: int | None) -> tuple[TileFeatures, int]:
    """Return the side of a tile: as given, as stated, or the spacing of the tiles, which is then noted.

    Raises
    ------
    RecordError
        If there is none of these.
    """
    side = table.tile_px if given is None else given
    if side is None:
        side = spacing(table.coords)
        if side is not None:
            note = (
                f"feature file {str(path)!r} states no side of a tile: {side} level-0 px is taken, the spacing of its "
                "tiles; --tile-px states another"
            )
            return dataclasses.replace(table, notes=(*table.notes, note)), side
    if side is None or side < 1:
        raise RecordError(
            f"feature file {str(path)!r} states no side of a tile; give it in level-0 pixels with --tile-px (for CLAM "
            "patch_size times the downsample of patch_level)"
        )
    return table, side


def settled_mpp(
    path: Path | str, table: TileFeatures, slide: Slide | None, given: float | None, working: float
) -> tuple[float, str]:
    """Return the pixel size of level 0 and its source: the slide, the file, or what is given, in this order.

    Raises
    ------
    MissingMpp
        If there is none of these, or it is not credible.
    RecordError
        If one is given beside a slide.
    """
    if slide is not None:
        if given is not None:
            raise RecordError("a slide and mpp are both given, expected one; give mpp when the slide is read")
        return slide.info.mpp, slide.info.mpp_source
    # coordinates in um need no pixels: any grid does, and the working one loses nothing
    mpp = table.mpp or given or (working if table.is_in_um else None)
    if mpp is None:
        raise MissingMpp(
            f"feature file {str(path)!r} states no pixel size; give the slide, or the pixel size at full resolution in "
            f"the column mpp of a manifest or with --mpp (um/px, {MPP_MIN:g} to {MPP_MAX:g})"
        )
    if not MPP_MIN <= mpp <= MPP_MAX:
        raise MissingMpp(
            f"feature file {str(path)!r}: a pixel size of {mpp:g} um/px is not credible, expected {MPP_MIN:g} to "
            f"{MPP_MAX:g}; give the slide, or the right one with --mpp"
        )
    if table.mpp and given and abs(table.mpp - given) > MPP_TOLERANCE * given:
        _log.warning(f"feature file {str(path)!r} states {table.mpp:g} um/px, which is used; {given:g} was given")
    return mpp, "feature file" if table.mpp else "given" if given else "coordinates in um"


def settled_size(path: Path | str, table: TileFeatures, slide: Slide | None) -> Size | None:
    """Return the size of level 0: of the slide, else as the file states it.

    Raises
    ------
    RecordError
        If the two differ.
    """
    if slide is None:
        return table.level0
    own = slide.info.levels[0].size
    if table.level0 not in (None, own):
        raise RecordError(
            f"feature file {str(path)!r} is of a slide of {table.level0.width} x {table.level0.height} px, slide "
            f"{slide.info.slide_id!r} has {own.width} x {own.height}; give the slide that the features are of"
        )
    return own
