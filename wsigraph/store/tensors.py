"""Arrays as safetensors files, with one metadata key that holds header and scalar fields.

No pickle is involved. The content digest covers names, types, shapes and bytes of all arrays and the scalar fields,
so that a damaged file is noticed before anything trusts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from wsigraph.store.atomic import write_file
from wsigraph.store.header import (
    KEY,
    Destination,
    canonical_json,
    check_content,
    check_header,
    parse_json,
    reading,
)

Tensors = Mapping[str, NDArray[Any]]


def save_tensors(to: Destination, record: str, tensors: Tensors, fields: Mapping[str, Any]) -> None:
    """Write arrays and scalar fields as one safetensors file.

    Parameters
    ----------
    to : Destination
        File, inputs and configuration.
    record : str
        Name of the record's class.
    tensors : mapping of str to array
        Arrays of any shape.
    fields : mapping of str to JSON value
        Scalars and texts.

    Raises
    ------
    StoreError
        If a field is no JSON value or the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    header = to.header(record, _content(arrays, fields))
    text = canonical_json({"header": header, "fields": dict(fields)})
    write_file(to.path, save(arrays, metadata={KEY: text}))


def read_tensors(
    path: Path, record: str | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the header, arrays and scalar fields of one safetensors file.

    Parameters
    ----------
    path : Path
        File written by `save_tensors`.
    record : str, optional
        Name of the record's class that is expected.

    Returns
    -------
    tuple of dict, dict, dict
        Header, arrays by name, and fields.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    with reading(path, record), safe_open(path, framework="np") as file:
        stored = parse_json((file.metadata() or {}).get(KEY, "{}"))
        header = check_header(stored.get("header"), record, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, has keys() alone
        check_content(header, _content(tensors, stored["fields"]), path)
        return header, tensors, stored["fields"]


def read_fields(path: Path) -> dict[str, Any]:
    """Return the scalar fields of one safetensors file without reading its arrays, and without checking its content.

    Raises
    ------
    StoreError
        If the file is missing, damaged or of another schema.
    """
    with reading(path, None), safe_open(path, framework="np") as file:
        stored = parse_json((file.metadata() or {}).get(KEY, "{}"))
        check_header(stored.get("header"), None, path)
        return dict(stored["fields"])


def _content(tensors: Tensors, fields: Mapping[str, Any]) -> str:
    total = hashlib.sha256(canonical_json(dict(fields)).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()
