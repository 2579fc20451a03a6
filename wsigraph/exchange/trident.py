"""Feature files of TRIDENT and CLAM as graphs: tiles become regions, features their encoding.

Both write HDF5 with ``coords`` (N, 2), the tiles' upper left corners in level-0 pixels, and ``features`` (N, D).
TRIDENT states the side of a tile (``patch_size_level0``), and newer versions the slide's size. CLAM states
``patch_size`` and ``downsample`` with the coordinates, and often nothing in the file of features; then the side must be
given. With the slide, every moment is counted from its pixels. Without it the graph holds geometry alone, under another
schema, and functions that need pixels refuse it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import Config
from wsigraph.errors import MissingMpp, RecordError, StoreError
from wsigraph.exchange.optional import load_package
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
from wsigraph.graph.feature.encode import ENCODING_UNIT, FEATURE_MAX
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.graph.tissue.suitability import mark
from wsigraph.records import SuperpixelLabels, TissueGraph
from wsigraph.slide.map_boxes import Progress
from wsigraph.slide.reader import Slide

_UNNAMED = "unnamed"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileFeatures:
    """A feature file.

    Attributes
    ----------
    coords : int64 (N, 2)
        Upper left corners as (x, y), level-0 pixels.
    features : floating (N, D)
        One row a tile, as stored.
    tile_px : int or None
        Side of a tile in level-0 pixels, where the file states it.
    level0 : Size or None
        Size of the slide, where the file states it.
    encoder, name : str or None
        The encoder and the slide, where the file states them.
    """

    coords: NDArray[np.int64]
    features: NDArray[np.floating[Any]]
    tile_px: int | None
    level0: Size | None
    encoder: str | None
    name: str | None


def read_features(path: Path | str) -> TileFeatures:
    """Read a feature file of TRIDENT or CLAM.

    Parameters
    ----------
    path : Path or str
        HDF5 file with ``coords`` and ``features``.

    Returns
    -------
    TileFeatures
        Checked: finite features, one row a tile.

    Raises
    ------
    PluginError
        If h5py is not installed.
    StoreError
        If the file is missing or no HDF5, lacks a dataset, or holds one of another shape or type.
    RecordError
        If coordinates and features differ in number, there are none, or a feature is not finite or beyond 2**20.
    """
    path = Path(path)
    h5py = load_package("h5py", "reading features")
    if not path.is_file():
        raise StoreError(f"feature file {str(path)!r} does not exist; check the path")
    try:
        with h5py.File(path, "r") as file:
            coords, place = _dataset(h5py, file, "coords", path)
            features, origin = _dataset(h5py, file, "features", path)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"feature file {str(path)!r} is no HDF5 file that can be read ({reason}); check it") from None
    _check(path, coords, features)
    stated = {**origin, **place}
    return TileFeatures(
        coords=coords.astype(np.int64),
        features=features,
        tile_px=_tile_px(stated),
        level0=_size(stated),
        encoder=_text(origin.get("encoder")),
        name=_text(stated.get("name")),
    )


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
    """Build a tissue graph from a feature file of TRIDENT or CLAM.

    Parameters
    ----------
    path : Path or str
        HDF5 file with ``coords`` and ``features``.
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
    side = _settled_side(path, table, tile_px)
    level0_mpp = _settled_mpp(path, slide, mpp)
    level0 = _settled_size(path, table, slide)
    working = settings.superpixel.mpp
    tiles = place_tiles(table.coords, side, ratio(working, level0_mpp), level0)
    graph = (
        _geometry_graph(tiles, working, slide_id or table.name or Path(path).stem)
        if slide is None
        else _counted_graph(tiles, slide, settings, progress)
    )
    rounded = np.rint(table.features.astype(np.float64) * ENCODING_UNIT).astype(np.int64)
    return dataclasses.replace(
        graph,
        slide_id=slide_id or graph.slide_id,
        encoding_sum=rounded * tiles.area[:, None],
        encoder=encoder or table.encoder or _UNNAMED,
    )


def _geometry_graph(tiles: TileRectangles, mpp: float, slide_id: str) -> TissueGraph:
    edge_index, boundary = both_directions(*tile_edges(tiles))
    return TissueGraph(
        slide_id=slide_id,
        mpp=mpp,
        size=tiles.size,
        moments=geometry_moments(tiles),
        moment_names=GEOMETRY_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=estimate_stain(empty_histogram(), method="reference"),
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


def _dataset(h5py: Any, file: Any, name: str, path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return a dataset of the file and its attributes."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        held = ", ".join(sorted(file)) or "nothing"
        hint = "; give the file that the encoder wrote, not the one of coordinates" if name == "features" else ""
        raise StoreError(f"feature file {str(path)!r} holds no dataset {name!r} but {held}{hint}")
    return np.asarray(dataset[()]), dict(dataset.attrs)


def _check(path: Path, coords: NDArray[Any], features: NDArray[Any]) -> None:
    named = f"feature file {str(path)!r}"
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iu":
        raise StoreError(
            f"{named} holds coords of {coords.dtype} in shape {coords.shape}, expected whole numbers (N, 2)"
        )
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind != "f":
        raise StoreError(
            f"{named} holds features of {features.dtype} in shape {features.shape}, expected floats (N, D)"
        )
    if len(coords) != len(features):
        raise RecordError(f"{named} holds {len(coords)} coords and {len(features)} features, expected one row a tile")
    if len(coords) == 0:
        raise RecordError(f"{named} holds no tile, expected at least one; look for tissue the encoder's tool missed")
    if (coords < 0).any():
        raise RecordError(f"{named} holds tiles left of or above the slide (x or y below 0); extract them again")
    # a NaN fails this comparison too; float16 does not reach the bound
    if not bool((np.abs(features, dtype=np.promote_types(features.dtype, np.float32)) <= FEATURE_MAX).all()):
        raise RecordError(f"{named} holds a feature that is not finite or beyond {FEATURE_MAX:.0f}; extract it again")


def _tile_px(stated: Mapping[str, Any]) -> int | None:
    """Return the side of a tile in level-0 pixels as TRIDENT or CLAM state it, or None."""
    direct = _number(stated.get("patch_size_level0"))
    if direct is not None:
        return round(direct)
    side, factor = _number(stated.get("patch_size")), _number(stated.get("downsample"))
    if factor is None and np.array_equal(np.ravel(stated.get("patch_level", ())), [0]):
        factor = 1.0
    custom = _number(stated.get("custom_downsample")) or 1.0
    return None if side is None or factor is None else round(side * factor * custom)


def _size(stated: Mapping[str, Any]) -> Size | None:
    height, width = _number(stated.get("level0_height")), _number(stated.get("level0_width"))
    return None if height is None or width is None else Size(round(height), round(width))


def _number(value: Any) -> float | None:
    """Return an attribute as a positive number; CLAM writes one for each axis."""
    try:
        number = float(np.asarray(value, dtype=np.float64).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _text(value: Any) -> str | None:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return text if isinstance(text, str) and text not in ("", "None") else None


def _settled_side(path: Path | str, table: TileFeatures, given: int | None) -> int:
    side = table.tile_px if given is None else given
    if side is None or side < 1:
        raise RecordError(
            f"feature file {str(path)!r} states no side of a tile; give it in level-0 pixels as tile_px (for CLAM "
            "patch_size times the downsample of patch_level)"
        )
    return side


def _settled_mpp(path: Path | str, slide: Slide | None, given: float | None) -> float:
    if slide is not None:
        if given is not None:
            raise RecordError("a slide and mpp are both given, expected one; give mpp when the slide is read")
        return slide.info.mpp
    if given is None or not MPP_MIN <= given <= MPP_MAX:
        raise MissingMpp(
            f"feature file {str(path)!r} states no pixel size, and {given} is given; give the slide, or mpp in um/px "
            f"at full resolution ({MPP_MIN:g} to {MPP_MAX:g})"
        )
    return given


def _settled_size(path: Path | str, table: TileFeatures, slide: Slide | None) -> Size | None:
    if slide is None:
        return table.level0
    own = slide.info.levels[0].size
    if table.level0 not in (None, own):
        raise RecordError(
            f"feature file {str(path)!r} is of a slide of {table.level0.width} x {table.level0.height} px, slide "
            f"{slide.info.slide_id!r} has {own.width} x {own.height}; give the slide that the features are of"
        )
    return own
