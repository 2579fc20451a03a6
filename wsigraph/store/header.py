"""The header of every stored record, and when a record counts as done.

The header names the schema, the record, the version that wrote it, the digests of what it was made from, the digests
of the configuration sections that shaped it, and a digest of the content. It holds no time, host, absolute path or
runtime setting, so equal work gives equal bytes. A stage is done only if its file exists, is undamaged, and its
header names the same inputs and configuration; a file's existence proves nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from wsigraph import __version__
from wsigraph.errors import RecordError, StoreError

SCHEMA_VERSION = 1
"""Version of the layout of stored records; raised when an older reader could misread a newer file."""
KEY = "wsigraph"
"""The one metadata key: safetensors writes several keys in random order, which would change the bytes."""

_READ_BYTES = 1 << 20
_DAMAGE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)
"""What the format libraries raise on damaged bytes; zarr's own errors are ValueErrors."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a record goes, and what its header says it was made from.

    Attributes
    ----------
    path : Path
        File or zarr directory.
    inputs : mapping of str to str
        SHA-256 of everything the record was made from, by name.
    config : mapping of str to str
        Digest of every configuration section that shaped it (``wsigraph.config.section_hash``).
    """

    path: Path
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Destination | Path | str) -> Destination:
        """Return `path` itself if it is a destination, else one without inputs and configuration."""
        return path if isinstance(path, Destination) else cls(Path(path))

    def header(self, record: str, content: str) -> dict[str, Any]:
        """Return the header of a record of this destination.

        Parameters
        ----------
        record : str
            Name of the record's class.
        content : str
            Digest of the stored content.

        Returns
        -------
        dict
            Plain JSON values.
        """
        return {
            "schema": SCHEMA_VERSION,
            "record": record,
            "version": __version__,
            "inputs": dict(sorted(self.inputs.items())),
            "config": dict(sorted(self.config.items())),
            "content": content,
        }


def canonical_json(value: Any) -> str:
    """Return `value` as compact JSON with sorted keys and floats by ``repr``.

    Parameters
    ----------
    value : JSON value
        Dictionaries with text keys, lists, text, finite numbers, booleans and None.

    Returns
    -------
    str
        One line of ASCII; equal values give equal text.

    Raises
    ------
    StoreError
        If a number is not finite or a value is not JSON.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"a record holds a value that JSON cannot: {error}; expected finite numbers") from error


def canonical_document(value: Any) -> bytes:
    """Return `value` as indented JSON with sorted keys, for files that people read.

    Parameters
    ----------
    value : JSON value
        As for `canonical_json`.

    Returns
    -------
    bytes
        UTF-8 with a final newline; equal values give equal bytes.

    Raises
    ------
    StoreError
        If a number is not finite or a value is not JSON.
    """
    canonical_json(value)
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, refusing the NaN and Infinity that JSON does not have.

    Parameters
    ----------
    text : str or bytes
        JSON.

    Returns
    -------
    JSON value
        As written.

    Raises
    ------
    ValueError
        If the text is no JSON.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


def digest(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, or of a directory's sorted relative names and bytes.

    Parameters
    ----------
    path : Path or str
        A file, or a zarr directory.

    Returns
    -------
    str
        64 hexadecimal characters.

    Raises
    ------
    StoreError
        If the path is missing or cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            return _file_digest(path)
        return tree_digest(path, [file for file in path.rglob("*") if file.is_file()])
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}; run the stage that writes it again"
        ) from error


def tree_digest(root: Path, files: list[Path]) -> str:
    """Return the SHA-256 of the sorted names relative to `root`, and the digests, of some files below it.

    Parameters
    ----------
    root : Path
        Directory that the names are relative to.
    files : list of Path
        Files below `root`.

    Returns
    -------
    str
        64 hexadecimal characters.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    total = hashlib.sha256()
    for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
        total.update(f"{name}\n{_file_digest(file)}\n".encode())
    return total.hexdigest()


def check_header(header: Any, record: str | None, path: Path) -> dict[str, Any]:
    """Return a header that belongs to `record` and to this version's schema.

    Parameters
    ----------
    header : JSON value
        What was found in the file.
    record : str or None
        Name of the record's class; None takes any.
    path : Path
        The file, for the message.

    Returns
    -------
    dict
        The header.

    Raises
    ------
    StoreError
        If it is no header, of another schema or of another record.
    """
    if not isinstance(header, dict) or not {"schema", "record", "inputs", "config", "content"} <= header.keys():
        raise StoreError(
            f"{path} carries no wsigraph header; expected a stored {record or 'record'}; name another file"
        )
    if header["schema"] != SCHEMA_VERSION:
        raise StoreError(
            f"{path} is of schema {header['schema']!r}, expected {SCHEMA_VERSION}; "
            "write it again with this version of wsigraph"
        )
    if record is not None and header["record"] != record:
        raise StoreError(f"{path} holds a {header['record']}, expected a {record}; name the right file")
    return header


def check_content(header: Mapping[str, Any], content: str, path: Path) -> None:
    """Compare the digest of what was read with the one that the header promises.

    Raises
    ------
    StoreError
        If they differ, so that the file was damaged or edited after it was written.
    """
    if header["content"] != content:
        raise StoreError(
            f"{path} is damaged: its content has digest {content[:12]}, expected {str(header['content'])[:12]}; "
            "remove it and run again"
        )


@contextmanager
def reading(path: Path, record: str | None) -> Iterator[None]:
    """Turn whatever a damaged or absent file provokes into StoreError.

    Parameters
    ----------
    path : Path
        What is read.
    record : str or None
        What is expected in it; None for any record.

    Raises
    ------
    StoreError
        If the file is missing, or the block meets damage.
    """
    record = record or "record"
    if not path.exists():
        raise StoreError(f"{path} does not exist, expected a stored {record}; run the stage that writes it")
    try:
        yield
    except StoreError:
        raise
    except RecordError as error:
        raise StoreError(
            f"{path} holds a {record} that contradicts itself: {error}; remove it and run again"
        ) from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(
            f"{path} does not read as a {record}: {reason}; expected a whole file, remove it and run again"
        ) from error


def _file_digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            total.update(block)
    return total.hexdigest()
