"""Label images: written shard by shard while superpixels are computed, and read lazily."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from zarr.storage import LocalStore, MemoryStore

from wsigraph.geometry import Size
from wsigraph.records import SuperpixelLabels, TissueMap
from wsigraph.store.atomic import discard, partial_of, publish_directory, writing
from wsigraph.store.codecs import LABELS, decode_labels
from wsigraph.store.grids import create_array, read_grids, stamp
from wsigraph.store.header import Destination, reading


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
        self.array = create_array(store, (size.height, size.width), np.dtype(np.int32))

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
                stamp(self.array, self._partial, self._to, "SuperpixelLabels", fields)
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
        Labels in memory or in another store.
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
    to = Destination.of(to)
    LABELS.save(labels, to)
    return load_labels(to.path, labels.tissue)


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
    payload = read_grids(path, SuperpixelLabels.__name__)
    with reading(path, SuperpixelLabels.__name__):
        return decode_labels(payload, tissue)
