"""Synthetic tissue on disk. Every file says that it is synthetic.

``00000.zarr`` holds image, mask (1 + class, 0 unknown), regions and the graph of a sample. ``00000.png`` and
``00000-mask.png`` show it. ``graph.json`` is the graph as text, ``samples.parquet`` the index. A slide is a pyramidal
TIFF with its ground truth beside it. The notice is the attribute ``synthetic`` in zarr, an uncompressed text chunk in
PNG, the description in TIFF and the metadata in parquet. Files hold no times and no paths, so equal samples give equal
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
from wsigraph.synthesis.diffusion.grid import COLOURS
from wsigraph.synthesis.diffusion.sample_file import GRAPH_ARRAYS
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.scene_file import scene_document
from wsigraph.synthesis.simulation.pyramid import write_pyramid

MARK = "synthetic tissue painted by a diffusion model, not from a patient"
"""The notice in every file."""
INDEX, GRAPH = "samples.parquet", "graph.json"

_CHUNK_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticTile:
    """A painted canvas with its ground truth.

    Attributes
    ----------
    image : uint8 (h, w, 3)
        RGB.
    mask : uint8 (h, w)
        1 + class of every pixel, 0 where unknown.
    graph : Scene
        The graph that was painted, with its label image.
    mpp : float
        Pixel size, um/px.
    seed, number : int
        Seed, and number of the sample.
    model_id : str
        Identity of the generator.
    request : dict
        Sampler, steps, guidance, precision, domain, raster and edits.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    graph: Scene
    mpp: float
    seed: int
    number: int
    model_id: str
    request: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the sample that every file states."""
        return {
            "synthetic": True,
            "notice": MARK,
            "model_id": self.model_id,
            "seed": self.seed,
            "number": self.number,
            "mpp": self.mpp,
            **({"mark": self.graph.mark} if self.graph.mark else {}),
            **self.request,
        }


def write_samples(tiles: Iterable[SyntheticTile], out: Path) -> SyntheticTile:
    """Write samples of one graph as they come, with their index at the end.

    Parameters
    ----------
    tiles : iterable of SyntheticTile
        At least one; only one at a time is in memory.
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
    marked = {"mark": tile.graph.mark} if tile.graph.mark else {}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"synthetic": "true", "notice": MARK, **marked})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    write_file(out / INDEX, stream.getvalue())
    return tile


def write_slide(tile: SyntheticTile, out: Path) -> None:
    """Write a large picture as a slide with its ground truth.

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
    if tile.graph.mark:
        description = f"{tile.graph.mark}; {description}"
    write_pyramid(tile.image, out / "slide.tiff", mpp=tile.mpp, description=description, software="wsigraph synthesize")
    _write_zarr(tile, out / "slide.zarr", image=False)
    write_file(out / GRAPH, scene_document(tile.graph))


def _row(tile: SyntheticTile, name: str) -> dict[str, Any]:
    return {
        "sample": name,
        "synthetic": True,
        "seed": tile.seed,
        "model_id": tile.model_id,
        "mpp": tile.mpp,
        "n_nodes": tile.graph.n_nodes,
        "guidance": float(tile.request["guidance"]),
        "steps": int(tile.request["steps"]),
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
            for name in GRAPH_ARRAYS:
                _array(store, f"graph/{name}", getattr(tile.graph, name))
            publish_directory(partial, path)
        except BaseException:
            discard(partial)
            raise


def _array(store: LocalStore, name: str, values: NDArray[Any]) -> None:
    if values is None:
        raise StoreError("a sample without a label image cannot be written; call rasterise on its graph first")
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
        # tEXt is not compressed, so that a search of the file's bytes finds the notice
        text.add_text(key, str(value).lower() if isinstance(value, bool) else str(value), zip=False)
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=text)
    return stream.getvalue()
