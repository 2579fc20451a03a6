"""Images as zarr v3 directories: stored chunks of 512 px in shards of 2048 px, zstd, header in the attributes.

The chunking is fixed, so it tells nothing of how the work was cut; shards keep the number of files of a large slide in
the hundreds. Whoever writes whole shards may do so from many threads at once. Empty chunks are not stored, whether
zeros were written there or nothing was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore, MemoryStore

from wsigraph.store.atomic import discard, partial_of, publish_directory, writing
from wsigraph.store.header import (
    KEY,
    Destination,
    canonical_json,
    check_content,
    check_header,
    parse_json,
    reading,
    tree_digest,
)
from wsigraph.store.payload import Payload

CHUNK_PX = 512
"""Side of a stored chunk: what one read decodes at least."""
SHARD_PX = 2048
"""Side of a shard, one file: what one writer must own."""

ROOT = ""
"""Name in a `Payload` of the one array that is the root of its zarr directory."""


def read_attributes(path: Path, record: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the fields of a zarr directory and check its data files, decoding none of them.

    Parameters
    ----------
    path : Path
        Directory of stored images.
    record : str, optional
        Name of the record's class that is expected.

    Returns
    -------
    tuple of dict, dict
        Header, and fields.

    Raises
    ------
    StoreError
        If the directory is missing, damaged, of another schema or holds another record.
    """
    with reading(path, record):
        stored = parse_json((path / "zarr.json").read_bytes()).get("attributes", {}).get(KEY, {})
        header = check_header(stored.get("header"), record, path)
        check_content(header, _content(path, stored["fields"]), path)
        return header, dict(stored["fields"])


def save_grids(to: Destination, record: str, payload: Payload) -> None:
    """Write arrays and fields as one zarr directory, one shard in memory at a time.

    Parameters
    ----------
    to : Destination
        Directory, inputs and configuration.
    record : str
        Name of the record's class.
    payload : Payload
        Fields, and two-dimensional arrays by name; one array alone under `ROOT` becomes the directory's root.

    Raises
    ------
    StoreError
        If the directory cannot be written; nothing is left behind.
    """
    with writing(to.path):
        partial = partial_of(to.path)
        try:
            store = LocalStore(partial)
            root = None if ROOT in payload.arrays else zarr.create_group(store)
            for name, values in payload.arrays.items():
                array = create_array(store, values.shape, np.dtype(values.dtype), name or None)
                for box in _shards(array.shape):
                    array[box] = values[box]
            stamp(array if root is None else root, partial, to, record, payload.fields)
            publish_directory(partial, to.path)
        except BaseException:
            discard(partial)
            raise


def read_grids(path: Path, record: str) -> Payload:
    """Open a zarr directory written by `save_grids`; pixels are read when an array is indexed.

    Parameters
    ----------
    path : Path
        The directory.
    record : str
        Name of the record's class that is expected.

    Returns
    -------
    Payload
        Fields and arrays.

    Raises
    ------
    StoreError
        If the directory is missing, damaged, of another schema or holds another record.
    """
    with reading(path, record):
        _, fields = read_attributes(path, record)
        node = zarr.open(LocalStore(path, read_only=True), mode="r")
        arrays = {ROOT: node} if isinstance(node, zarr.Array) else dict(node.arrays())
        return Payload(fields, arrays, path)


def _shards(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    height, width = shape
    for y in range(0, height, SHARD_PX):
        for x in range(0, width, SHARD_PX):
            yield slice(y, min(y + SHARD_PX, height)), slice(x, min(x + SHARD_PX, width))


def create_array(
    store: LocalStore | MemoryStore, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | None = None
) -> zarr.Array[Any]:
    """Return a new array of zeros with axes (y, x), in the chunks and shards of every stored image."""
    return zarr.create_array(
        store,
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=(CHUNK_PX, CHUNK_PX),
        shards=(SHARD_PX, SHARD_PX),
        compressors=[ZstdCodec(level=3, checksum=True)],
        fill_value=0,
        dimension_names=("y", "x"),
        config={"write_empty_chunks": False},
    )


def stamp(node: zarr.Array[Any] | zarr.Group, root: Path, to: Destination, record: str, fields: dict[str, Any]) -> None:
    """Write header and fields into the attributes of the root; the last thing before the directory gets its name."""
    node.update_attributes({KEY: {"fields": fields, "header": to.header(record, _content(root, fields))}})


def _content(root: Path, fields: dict[str, Any]) -> str:
    """Return the digest of fields, array description and data; the root's attributes hold the digest itself."""
    own = root / "zarr.json"
    description = parse_json(own.read_bytes())
    description.pop("attributes", None)
    data = tree_digest(root, [file for file in root.rglob("*") if file.is_file() and file != own])
    return hashlib.sha256(canonical_json([description, fields, data]).encode()).hexdigest()
