"""Synthetic tissue on disk, every file marked as synthetic.

``00000.zarr`` holds image, mask (1 + class, 0 not known), regions and the graph of a sample; ``00000.png`` and
``00000-mask.png`` show it; ``graph.json`` is the graph for people, ``samples.parquet`` the index. A slide is a
pyramidal TIFF with its truth beside it. The mark is the attribute ``synthetic`` of zarr, an uncompressed text chunk of
PNG, the description of TIFF and the metadata of parquet. No time and no path is written, so equal samples give equal
bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from wsigraph.errors import StoreError
from wsigraph.store.atomic import discard, partial_of, publish_directory, write_file, writing
from wsigraph.store.header import reading
from wsigraph.synthesis.diffusion.grid import COLOURS
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.scene_file import scene_document
from wsigraph.synthesis.simulation.pyramid import write_pyramid

MARK = "synthetic tissue painted by a diffusion model, not from a patient"
"""What every file says of itself."""
INDEX, GRAPH = "samples.parquet", "graph.json"
_GRAPH_ARRAYS = ("classes", "position_um", "area_um2", "shape", "density", "edge_index", "boundary_um", "labels")
_CHUNK_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticTile:
    """A painted canvas with its truth.

    Attributes
    ----------
    image : uint8 (h, w, 3)
        RGB.
    mask : uint8 (h, w)
        1 + class of every pixel, 0 where not known.
    graph : Scene
        The graph that asked for it, with its label image.
    mpp : float
        Pixel size, um/px.
    seed, number : int
        Seed, and which of its samples.
    model_id : str
        Generator.
    asked : dict
        Sampler, steps, guidance, style and edits.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    graph: Scene
    mpp: float
    seed: int
    number: int
    model_id: str
    asked: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What is said of the sample in every file."""
        return {
            "synthetic": True,
            "notice": MARK,
            "model_id": self.model_id,
            "seed": self.seed,
            "number": self.number,
            "mpp": self.mpp,
            **self.asked,
        }


def write_samples(tiles: Iterable[SyntheticTile], out: Path) -> SyntheticTile:
    """Write samples of one graph as they come, with their index at the end.

    Parameters
    ----------
    tiles : iterable of SyntheticTile
        At least one; one is held in memory.
    out : Path
        Directory; made where missing.

    Returns
    -------
    SyntheticTile
        The last.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for tile in tiles:
        name = f"{tile.number:05d}"
        _write_zarr(tile, out / f"{name}.zarr", image=True)
        write_file(out / f"{name}.png", _png(Image.fromarray(tile.image), tile))
        write_file(out / f"{name}-mask.png", _png(_palette(tile.mask), tile))
        rows.append(_row(tile, name))
    write_file(out / GRAPH, scene_document(tile.graph))
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"synthetic": "true", "notice": MARK})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    write_file(out / INDEX, stream.getvalue())
    return tile


def write_slide(tile: SyntheticTile, out: Path) -> None:
    """Write a large picture as a slide with its truth.

    Parameters
    ----------
    tile : SyntheticTile
        The picture.
    out : Path
        Directory: ``slide.tiff``, ``slide.zarr`` with mask, regions and graph, and ``graph.json``.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    description = f"{MARK}; generator {tile.model_id}, seed {tile.seed}"
    write_pyramid(tile.image, out / "slide.tiff", mpp=tile.mpp, description=description, software="wsigraph synthesize")
    _write_zarr(tile, out / "slide.zarr", image=False)
    write_file(out / GRAPH, scene_document(tile.graph))


def read_sample(path: Path) -> Scene:
    """Return the graph of a sample, with its label image.

    Parameters
    ----------
    path : Path
        A sample's ``.zarr``.

    Returns
    -------
    Scene
        As it was painted.

    Raises
    ------
    StoreError
        If the directory is missing, damaged or something else.
    """
    with reading(path, "SyntheticTile"):
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r")
        arrays: dict[str, Any] = {name: np.asarray(group[f"graph/{name}"]) for name in _GRAPH_ARRAYS}
        sides: Any = group.attrs["size_um"]
        return Scene(size_um=(float(sides[0]), float(sides[1])), **arrays)


def _row(tile: SyntheticTile, name: str) -> dict[str, Any]:
    return {
        "sample": name,
        "synthetic": True,
        "seed": tile.seed,
        "model_id": tile.model_id,
        "mpp": tile.mpp,
        "n_nodes": tile.graph.n_nodes,
        "guidance": float(tile.asked["guidance"]),
        "steps": int(tile.asked["steps"]),
        "image": f"{name}.png",
        "mask": f"{name}-mask.png",
        "store": f"{name}.zarr",
    }


def _write_zarr(tile: SyntheticTile, path: Path, *, image: bool) -> None:
    with writing(path):
        partial = partial_of(path)
        try:
            store = LocalStore(partial)
            zarr.create_group(store, attributes={**tile.facts, "size_um": list(tile.graph.size_um)})
            if image:
                _array(store, "image", tile.image)
            _array(store, "mask", tile.mask)
            for name in _GRAPH_ARRAYS:
                _array(store, f"graph/{name}", getattr(tile.graph, name))
            publish_directory(partial, path)
        except BaseException:
            discard(partial)
            raise


def _array(store: LocalStore, name: str, values: NDArray[Any]) -> None:
    if values is None:
        raise StoreError("a sample without a label image, expected one; draw it first")
    array = zarr.create_array(
        store,
        name=name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(min(max(side, 1), _CHUNK_PX) for side in values.shape),
        compressors=[ZstdCodec(level=3, checksum=True)],
        fill_value=0,
    )
    if values.size:
        array[:] = values


def _palette(mask: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(mask)
    picture.putpalette(COLOURS.ravel().tolist())
    return picture


def _png(picture: Image.Image, tile: SyntheticTile) -> bytes:
    text = PngImagePlugin.PngInfo()
    for key, value in tile.facts.items():
        # tEXt is not compressed, so that a plain search of the file finds the mark
        text.add_text(key, str(value).lower() if isinstance(value, bool) else str(value), zip=False)
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=text)
    return stream.getvalue()
