"""Pixel lattices as zarr v3 directories: stored chunks of 512 px in shards of 2048 px, zstd, header in the attributes.

The chunking is fixed, so it tells nothing of how the work was cut; shards keep the number of files of a large slide in
the hundreds. Whoever writes whole shards may do so from many threads at once. Empty chunks are not stored, whether
zeros were written there or nothing was.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore, MemoryStore

from wsigraph.geometry import Size
from wsigraph.records import StainBasis, SuperpixelLabels, TissueMap
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

CHUNK_PX = 512
"""Side of a stored chunk: what one read decodes at least."""
SHARD_PX = 2048
"""Side of a shard, one file: what one writer must own."""

_ARRAYS = ("artefact", "section", "tissue")


class LabelsWriter:
    """A label image that is being written.

    Attributes
    ----------
    array : zarr array, int32 (H, W)
        Writable and zero to begin with. Threads may write boxes at once as long as no two share a shard, that is,
        as long as all box corners are multiples of ``SHARD_PX`` (or the image's edge).
    """

    def __init__(self, size: Size, to: Destination | None) -> None:
        self._to = to
        self._partial: Path | None = None
        store: LocalStore | MemoryStore = MemoryStore()
        if to is not None:
            with writing(to.path):
                self._partial = partial_of(to.path)
            store = LocalStore(self._partial)
        self.array = _create_array(store, (size.height, size.width), np.dtype(np.int32))

    def finish(self, *, n_superpixels: int, mpp: float, tissue: TissueMap) -> SuperpixelLabels:
        """Close the image, give it its final name and return it as a record.

        Parameters
        ----------
        n_superpixels : int
            Highest label.
        mpp : float
            Working pixel size, um/px.
        tissue : TissueMap
            The tissue that was partitioned.

        Returns
        -------
        SuperpixelLabels
            Labels read lazily from the finished store.

        Raises
        ------
        StoreError
            If the directory cannot be finished; nothing is left behind.
        RecordError
            If the fields contradict one another.
        """
        if self._to is None or self._partial is None:
            return SuperpixelLabels(labels=self.array, n_superpixels=n_superpixels, mpp=mpp, tissue=tissue)
        with writing(self._to.path):
            try:
                fields = {"mpp": float(mpp), "n_superpixels": int(n_superpixels)}
                _stamp(self.array, self._partial, self._to, "SuperpixelLabels", fields)
                publish_directory(self._partial, self._to.path)
            except BaseException:
                self.discard()
                raise
        return load_labels(self._to.path, tissue)

    def discard(self) -> None:
        """Throw away what was written; after `finish` this does nothing."""
        if self._partial is not None:
            discard(self._partial)

    def __enter__(self) -> LabelsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def create_labels(to: Destination | Path | str | None, size: Size) -> LabelsWriter:
    """Start a label image.

    Parameters
    ----------
    to : Destination, Path, str or None
        ``superpixels.zarr``; None keeps the compressed image in memory.
    size : Size
        Height and width in working pixels.

    Returns
    -------
    LabelsWriter
        A context manager: left without ``finish()``, nothing remains of the image.

    Raises
    ------
    StoreError
        If the destination cannot be written.

    Examples
    --------
    >>> with create_labels(None, Size(2, 3)) as writer:
    ...     writer.array[:] = 1
    """
    return LabelsWriter(size, None if to is None else Destination.of(to))


def save_labels(labels: SuperpixelLabels, to: Destination | Path | str) -> SuperpixelLabels:
    """Write a label image, one shard in memory at a time, and return it as stored.

    Parameters
    ----------
    labels : SuperpixelLabels
        Labels anywhere.
    to : Destination, Path or str
        ``superpixels.zarr``.

    Returns
    -------
    SuperpixelLabels
        The same labels, read lazily from the new directory.

    Raises
    ------
    StoreError
        If the directory cannot be written.
    """
    size = labels.size
    with create_labels(to, size) as writer:
        for y in range(0, size.height, SHARD_PX):
            for x in range(0, size.width, SHARD_PX):
                box = slice(y, min(y + SHARD_PX, size.height)), slice(x, min(x + SHARD_PX, size.width))
                writer.array[box] = labels.labels[box]
        return writer.finish(n_superpixels=labels.n_superpixels, mpp=labels.mpp, tissue=labels.tissue)


def load_labels(path: Path | str, tissue: TissueMap | None = None) -> SuperpixelLabels:
    """Open a label image; its pixels are read when indexed.

    Parameters
    ----------
    path : Path or str
        ``superpixels.zarr``.
    tissue : TissueMap, optional
        The tissue that was partitioned; by default read from ``tissue.zarr`` beside `path`.

    Returns
    -------
    SuperpixelLabels
        Equal to what was written.

    Raises
    ------
    StoreError
        If the directory is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    tissue = load_tissue_map(path.parent / "tissue.zarr") if tissue is None else tissue
    with reading(path, "SuperpixelLabels"):
        _, fields = read_attributes(path, "SuperpixelLabels")
        array = zarr.open_array(LocalStore(path, read_only=True), mode="r")
        return SuperpixelLabels(labels=array, tissue=tissue, **fields)


def read_attributes(path: Path, record: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the fields of a zarr directory and check its data files, decoding none of them.

    Parameters
    ----------
    path : Path
        Directory of a stored lattice.
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


def save_tissue_map(tissue: TissueMap, to: Destination | Path | str) -> None:
    """Write a tissue map.

    Parameters
    ----------
    tissue : TissueMap
        The map.
    to : Destination, Path or str
        ``tissue.zarr``, a group of the arrays ``tissue``, ``artefact`` and ``section``.

    Raises
    ------
    StoreError
        If the directory cannot be written.
    """
    to = Destination.of(to)
    with writing(to.path):
        partial = partial_of(to.path)
        try:
            store = LocalStore(partial)
            group = zarr.create_group(store)
            for name in _ARRAYS:
                values = getattr(tissue, name)
                _create_array(store, values.shape, values.dtype, name)[:] = values
            fields = {
                "max_concentration": tissue.stain.max_concentration.tolist(),
                "mpp": float(tissue.mpp),
                "nucleus_threshold": float(tissue.stain.nucleus_threshold),
                "source": tissue.stain.source,
                "vectors": tissue.stain.vectors.tolist(),
                **({"refusal": tissue.refusal} if tissue.refusal else {}),
            }
            _stamp(group, partial, to, "TissueMap", fields)
            publish_directory(partial, to.path)
        except BaseException:
            discard(partial)
            raise


def load_tissue_map(path: Path | str) -> TissueMap:
    """Read a tissue map.

    Parameters
    ----------
    path : Path or str
        ``tissue.zarr``.

    Returns
    -------
    TissueMap
        Equal to what was written.

    Raises
    ------
    StoreError
        If the directory is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    with reading(path, "TissueMap"):
        _, fields = read_attributes(path, "TissueMap")
        store = LocalStore(path, read_only=True)
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(zarr.open_array(store, path=name, mode="r")[:]) for name in _ARRAYS
        }
        stain = StainBasis(
            vectors=np.asarray(fields["vectors"], np.float64),
            max_concentration=np.asarray(fields["max_concentration"], np.float64),
            nucleus_threshold=fields["nucleus_threshold"],
            source=fields["source"],
        )
        return TissueMap(mpp=fields["mpp"], stain=stain, refusal=fields.get("refusal", ""), **arrays)


def _create_array(
    store: LocalStore | MemoryStore, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | None = None
) -> zarr.Array[Any]:
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


def _stamp(
    node: zarr.Array[Any] | zarr.Group, root: Path, to: Destination, record: str, fields: dict[str, Any]
) -> None:
    """Write header and fields into the attributes of the root; the last thing before the directory gets its name."""
    node.update_attributes({KEY: {"fields": fields, "header": to.header(record, _content(root, fields))}})


def _content(root: Path, fields: dict[str, Any]) -> str:
    """Return the digest of fields, array description and data; the root's attributes hold the digest itself."""
    own = root / "zarr.json"
    description = parse_json(own.read_bytes())
    description.pop("attributes", None)
    data = tree_digest(root, [file for file in root.rglob("*") if file.is_file() and file != own])
    return hashlib.sha256(canonical_json([description, fields, data]).encode()).hexdigest()
