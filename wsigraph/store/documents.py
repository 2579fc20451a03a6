"""Small records as JSON documents: sorted keys, finite numbers, floats by ``repr``, the header under its own key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsigraph.store.atomic import write_file
from wsigraph.store.header import (
    Destination,
    canonical_document,
    canonical_json,
    check_content,
    check_header,
    parse_json,
    reading,
)


def save_document(to: Destination, record: str, fields: Mapping[str, Any]) -> None:
    """Write a record's fields, and its header under ``"header"``, as one JSON document.

    Parameters
    ----------
    to : Destination
        File, inputs and configuration.
    record : str
        Name of the record's class.
    fields : mapping of str to JSON value
        Top-level keys.

    Raises
    ------
    StoreError
        If a number is not finite, a value is no JSON, or the file cannot be written.
    """
    content = hashlib.sha256(canonical_json(dict(fields)).encode()).hexdigest()
    write_file(to.path, canonical_document({**fields, "header": to.header(record, content)}))


def read_document(path: Path, record: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the fields of a JSON document.

    Parameters
    ----------
    path : Path
        File written by `save_document`.
    record : str, optional
        Name of the record's class that is expected.

    Returns
    -------
    tuple of dict, dict
        Header, and fields without it.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    with reading(path, record):
        stored = dict(parse_json(path.read_bytes()))
        header = check_header(stored.pop("header", None), record, path)
        check_content(header, hashlib.sha256(canonical_json(stored).encode()).hexdigest(), path)
        return header, stored
