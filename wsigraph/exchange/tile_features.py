"""Feature files of other tools: TRIDENT, CLAM, STAMP, and the public UNI2-h files of TCGA.

All hold the upper left corners of tiles and one row of features for each. They differ in names, shapes and units:

- TRIDENT and CLAM: HDF5 with ``coords`` (N, 2) in level-0 pixels and ``features`` (N, D). TRIDENT states the side of
  a tile and the size of the slide; CLAM states ``patch_size`` and ``downsample``, and often nothing with the features.
- UNI2-h: the same with a leading axis of one, (1, N, 2) and (1, N, D), and no attributes.
- STAMP: ``feats`` (N, D) and ``coords`` (N, 2) in um; newer files say so in ``unit`` and state ``tile_size_um``.
- PyTorch files (``.pt``) that hold a dictionary of features and coordinates.

Where a file states no side, the spacing of its tiles is taken. Tiles of a regular grid that overlap are made a
partition: each becomes the square around its centre whose side is the spacing, and its features are the mean of the
tiles over that square, weighted by the area that they share with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError, StoreError
from wsigraph.exchange.optional import load_package
from wsigraph.geometry import Size
from wsigraph.graph.feature.encode import FEATURE_MAX

COORDS, FEATURES = ("coords", "coordinates"), ("features", "feats", "embeddings")
"""Names of datasets, in the order of preference."""
_GRID_MIN = 9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileFeatures:
    """A feature file.

    Attributes
    ----------
    coords : int64 (N, 2) or float64 (N, 2)
        Upper left corners as (x, y): level-0 pixels, or um where `is_in_um`.
    features : floating (N, D)
        One row a tile, as stored.
    tile_px : int or None
        Side of a tile in level-0 pixels, where the file states it.
    tile_um : float or None
        Side of a tile in um, where the file states it.
    level0 : Size or None
        Size of the slide, where the file states it.
    mpp : float or None
        Pixel size of level 0, um/px, where the file states it.
    is_in_um : bool
        Whether coordinates are in um.
    encoder, name : str or None
        The encoder and the slide, where the file states them.
    notes : tuple of str
        What was assumed, because the file does not state it.
    """

    coords: NDArray[Any]
    features: NDArray[np.floating[Any]]
    tile_px: int | None
    tile_um: float | None
    level0: Size | None
    mpp: float | None
    is_in_um: bool
    encoder: str | None
    name: str | None
    notes: tuple[str, ...] = ()


def read_features(path: Path | str) -> TileFeatures:
    """Read a feature file.

    Parameters
    ----------
    path : Path or str
        HDF5, or a PyTorch file with a dictionary of tensors.

    Returns
    -------
    TileFeatures
        Checked: finite features, one row a tile.

    Raises
    ------
    PluginError
        If h5py is not installed.
    StoreError
        If the file is missing or no feature file, lacks a dataset, or holds one of another shape or type.
    RecordError
        If coordinates and features differ in number, there are none, or a feature is not finite or beyond 2**20.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"feature file {str(path)!r} does not exist; check the path")
    is_torch = path.suffix.lower() in (".pt", ".pth")
    arrays, attributes = _read_torch(path) if is_torch else _read_hdf5(path)
    coords_name = _present(path, arrays, COORDS)
    features_name = _present(path, arrays, FEATURES)
    coords, features = _flat(arrays[coords_name]), _flat(arrays[features_name])
    origin = {**attributes.get("", {}), **attributes.get(features_name, {})}
    stated = {**origin, **attributes.get(coords_name, {})}
    coords, is_in_um, notes = _coords(path, coords, stated, features_name)
    _check(path, coords, features)
    return TileFeatures(
        coords=coords,
        features=features,
        tile_px=_tile_px(stated),
        tile_um=_number(stated.get("tile_size_um")) or (_number(stated.get("tile_size")) if is_in_um else None),
        level0=_size(stated),
        mpp=_stated_mpp(stated),
        is_in_um=is_in_um,
        encoder=_text(origin.get("encoder")) or _text(origin.get("extractor")),
        name=_text(stated.get("name")),
        notes=notes,
    )


def states_pixel_size(path: Path | str) -> bool:
    """Return whether tiles of a feature file can be placed without a pixel size from elsewhere.

    Parameters
    ----------
    path : Path or str
        As for `read_features`; of HDF5 no dataset is read.

    Returns
    -------
    bool
        Whether the file states the pixel size, or coordinates in um.

    Raises
    ------
    StoreError
        If the file is missing or no feature file.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"feature file {str(path)!r} does not exist; check the path")
    is_torch = path.suffix.lower() in (".pt", ".pth")
    arrays, attributes = _read_torch(path) if is_torch else _read_hdf5(path, with_data=False)
    features_name = _present(path, arrays, FEATURES)
    stated: dict[str, Any] = {}
    for name in ("", features_name, _present(path, arrays, COORDS)):
        stated |= attributes.get(name, {})
    return _unit(stated, features_name)[0] or bool(_stated_mpp(stated))


def in_pixels(table: TileFeatures, mpp: float) -> TileFeatures:
    """Return features whose coordinates are whole level-0 pixels.

    Parameters
    ----------
    table : TileFeatures
        A feature file.
    mpp : float
        Pixel size of level 0, um/px.

    Returns
    -------
    TileFeatures
        Coordinates in um are divided by `mpp` and rounded.
    """
    if not table.is_in_um:
        return table
    side = table.tile_px if table.tile_um is None else round(table.tile_um / mpp)
    coords = np.rint(np.asarray(table.coords, np.float64) / mpp).astype(np.int64)
    return replace(table, coords=coords, tile_px=side, is_in_um=False)


def without_overlap(table: TileFeatures, side: int) -> tuple[TileFeatures, int]:
    """Return tiles that do not overlap, and their side.

    Parameters
    ----------
    table : TileFeatures
        Tiles in level-0 pixels.
    side : int
        Their side.

    Returns
    -------
    tuple of (TileFeatures, int)
        Unchanged if tiles are at least a side apart or on no regular grid. Else the square of the spacing around the
        centre of each tile, with the mean of all tiles over it, weighted by shared area.
    """
    step = spacing(table.coords)
    if step is None or step >= side or not _is_grid(table.coords, step):
        return table, side
    margin = (side - step) // 2
    column, row = ((table.coords - table.coords.min(axis=0)) // step).T
    width = int(column.max()) + 1
    key = row * width + column  # (N,)
    order = np.argsort(key)
    offsets = range(-(side // step) - 1, 2)
    # pixels that a cell shares with the tile that many steps away, along one axis
    shared = {d: max(0, min(margin + step, d * step + side) - max(margin, d * step)) for d in offsets}
    total = np.zeros(len(key))
    sums = np.zeros(table.features.shape, np.float64)
    for dy, dx in itertools.product(offsets, offsets):
        weight = float(shared[dy] * shared[dx])
        inside = (column + dx >= 0) & (column + dx < width)
        wanted = np.where(inside, key + dy * width + dx, -1)
        at = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(key) - 1)]
        cells = np.flatnonzero(key[at] == wanted)
        if weight and len(cells):
            total[cells] += weight
            sums[cells] += weight * table.features[at[cells]]
    features = sums / total[:, None]
    corners = table.coords + margin
    note = f"tiles of {side} px overlap at a spacing of {step} px: each is the square of {step} px around its centre"
    return replace(table, coords=corners, features=features, tile_px=step, notes=(*table.notes, note)), step


def spacing(coords: NDArray[Any]) -> int | None:
    """Return the spacing of a regular grid of tiles.

    Parameters
    ----------
    coords : int64 (N, 2)
        Upper left corners.

    Returns
    -------
    int or None
        The most frequent distance between neighbouring columns and rows; None for fewer than nine tiles, and where
        fewer than half of the tiles have a neighbour at this distance to the right or
        below.
    """
    if len(coords) < _GRID_MIN:
        return None
    steps: list[int] = []
    for axis in (0, 1):
        distances = np.diff(np.unique(coords[:, axis]))
        if len(distances):
            values, counts = np.unique(distances, return_counts=True)
            steps.append(int(values[np.argmax(counts)]))
    if not steps:
        return None
    step = min(steps)
    corners = {(int(x), int(y)) for x, y in coords}
    n_neighbours = sum((x + step, y) in corners or (x, y + step) in corners for x, y in corners)
    return step if 2 * n_neighbours >= len(corners) else None


def _is_grid(coords: NDArray[Any], step: int) -> bool:
    """Return whether all tiles lie on one square grid, none twice."""
    return bool(((coords - coords[0]) % step == 0).all()) and len(np.unique(coords, axis=0)) == len(coords)


def _read_hdf5(path: Path, *, with_data: bool = True) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, Any]]]:
    """Return the datasets of features and coordinates, and all attributes; those of the file are under ''."""
    h5py = load_package("h5py", "reading features")
    arrays: dict[str, NDArray[Any]] = {}
    attributes: dict[str, dict[str, Any]] = {}
    try:
        with h5py.File(path, "r") as file:
            attributes[""] = dict(file.attrs)
            for name in file:
                # links to other files are not followed
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    continue
                dataset = file.get(name)
                if isinstance(dataset, h5py.Dataset):
                    attributes[name] = dict(dataset.attrs)
                    wanted = with_data and name in (*COORDS, *FEATURES)
                    arrays[name] = np.asarray(dataset[()]) if wanted else np.empty(0)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"feature file {str(path)!r} is no HDF5 file that can be read ({reason}); check it") from None
    return arrays, attributes


def _read_torch(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, Any]]]:
    """Return the tensors of a PyTorch file; nothing but tensors and plain values is loaded."""
    import pickle

    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"feature file {str(path)!r} is no PyTorch file of tensors ({reason}); check it") from None
    if isinstance(loaded, torch.Tensor):
        raise StoreError(
            f"feature file {str(path)!r} holds features without coordinates, as CLAM's pt_files do; give the file of "
            "the same name in h5_files"
        )
    if not isinstance(loaded, Mapping):
        raise StoreError(f"feature file {str(path)!r} holds {type(loaded).__name__}, expected a dictionary of tensors")
    arrays = {str(name): value.numpy() for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    return arrays, {"": {str(name): value for name, value in loaded.items() if not isinstance(value, torch.Tensor)}}


def _present(path: Path, arrays: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if name in arrays:
            return name
    held = ", ".join(sorted(arrays)) or "nothing"
    hint = "; give the file that the encoder wrote, not the one of coordinates" if names is FEATURES else ""
    raise StoreError(f"feature file {str(path)!r} holds no dataset {names[0]!r} but {held}{hint}")


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array without a leading axis of one."""
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _coords(
    path: Path, coords: NDArray[Any], stated: Mapping[str, Any], features_name: str
) -> tuple[NDArray[Any], bool, tuple[str, ...]]:
    """Return coordinates, whether they are in um, and what was assumed."""
    unit = _text(stated.get("unit"))
    is_in_um, assumed = _unit(stated, features_name)
    named = f"feature file {str(path)!r}"
    if unit not in (None, "um", "px"):
        raise StoreError(f"{named} states coords in {unit!r}, expected um or px; write them in one of these")
    notes = (f"{named} states no unit: its coordinates are taken as um, as STAMP writes them",) if assumed else ()
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iuf":
        raise StoreError(f"{named} holds coords of {coords.dtype} in shape {coords.shape}, expected numbers (N, 2)")
    if is_in_um:
        return coords.astype(np.float64), True, notes
    whole = coords if coords.dtype.kind in "iu" else np.rint(coords)
    if not np.array_equal(whole, coords):
        raise StoreError(
            f"{named} holds coords of {coords.dtype} that are not whole, expected level-0 pixels; if they are um, "
            "write the attribute unit = 'um'"
        )
    return whole.astype(np.int64), False, notes


def _unit(stated: Mapping[str, Any], features_name: str) -> tuple[bool, bool]:
    """Return whether coordinates are in um, and whether that is assumed."""
    unit = _text(stated.get("unit"))
    # STAMP names its features "feats" and writes um; its first versions did not say so
    assumed = unit is None and features_name == "feats" and "tile_size_um" not in stated
    return unit == "um" or "tile_size_um" in stated or assumed, assumed


def _stated_mpp(stated: Mapping[str, Any]) -> float | None:
    return _number(stated.get("level0_mpp")) or _number(stated.get("mpp_level0"))


def _check(path: Path, coords: NDArray[Any], features: NDArray[Any]) -> None:
    named = f"feature file {str(path)!r}"
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind != "f":
        raise StoreError(
            f"{named} holds features of {features.dtype} in shape {features.shape}, expected floats (N, D)"
        )
    if len(coords) != len(features):
        raise RecordError(f"{named} holds {len(coords)} coords and {len(features)} features, expected one row a tile")
    if len(coords) == 0:
        raise RecordError(f"{named} holds no tile, expected at least one; look for tissue the encoder's tool missed")
    if not np.isfinite(coords).all() or (coords < 0).any():
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
