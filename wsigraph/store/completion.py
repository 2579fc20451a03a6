"""Whether a step's file exists, is undamaged, and was made from the inputs and settings that the step has now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsigraph import __version__
from wsigraph.errors import StoreError
from wsigraph.store.documents import read_document
from wsigraph.store.grids import read_attributes
from wsigraph.store.tensors import read_tensors

_READERS = {".json": read_document, ".safetensors": read_tensors, ".zarr": read_attributes}


def verify(path: Path | str) -> dict[str, Any]:
    """Read a stored record through, compare it with its digest and return its header.

    Parameters
    ----------
    path : Path or str
        A stored record: ``.json``, ``.safetensors`` or a ``.zarr`` directory.

    Returns
    -------
    dict
        ``schema``, ``record``, ``version``, ``inputs``, ``config`` and ``content``.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or no stored record.

    Notes
    -----
    Costs one read of the file. Pixels in zarr are not decoded.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise StoreError(f"{path} is no stored record; expected a file named {', '.join(sorted(_READERS))}")
    header: dict[str, Any] = _READERS[path.suffix](path)[0]
    return header


def is_done(path: Path | str, inputs: Mapping[str, str], config: Mapping[str, str]) -> bool:
    """Return whether a record is stored, undamaged, and made by this version from exactly these inputs and settings.

    Parameters
    ----------
    path : Path or str
        A stored record.
    inputs : mapping of str to str
        SHA-256 of everything it would be made from now.
    config : mapping of str to str
        Digests of the configuration sections that would shape it now.

    Returns
    -------
    bool
        False also where the file is missing or damaged: then it has to be made again.
    """
    try:
        header = verify(path)
    except StoreError:
        return False
    expected = {"version": __version__, "inputs": dict(inputs), "config": dict(config)}
    return {key: header.get(key) for key in expected} == expected
