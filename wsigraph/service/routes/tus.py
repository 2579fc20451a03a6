"""The tus protocol for uploads: its headers, and what they mean here.

References
----------
tus resumable upload protocol 1.0.0, https://tus.io/protocols/resumable-upload: the core, and the extensions creation,
expiration, checksum and termination.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from email.utils import format_datetime
from typing import Any

from fastapi import HTTPException, Request

from wsigraph.errors import ConfigError
from wsigraph.service.context import ServiceContext
from wsigraph.service.upload_note import Upload

VERSION = "1.0.0"
PART_TYPE = "application/offset+octet-stream"
_EXTENSIONS = "creation,expiration,checksum,termination"
_ALGORITHMS = {"sha256": hashlib.sha256, "sha1": hashlib.sha1, "md5": hashlib.md5}
_CHECKSUM_MISMATCH = 460


def is_tus(request: Request) -> bool:
    """Return whether a request follows the protocol."""
    return "tus-resumable" in request.headers


async def check_version(request: Request) -> None:
    """Refuse other versions of the protocol (412).

    Raises
    ------
    HTTPException
        If the request names another version.
    """
    version = request.headers.get("tus-resumable", VERSION)
    if version != VERSION:
        raise HTTPException(412, f"tus version {version[:20]!r}, expected {VERSION}", {"Tus-Version": VERSION})


def capabilities(context: ServiceContext) -> dict[str, str]:
    """Return the headers that say what the service supports."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": _EXTENSIONS,
        "Tus-Max-Size": str(int(context.config.service.upload_max_gb * 1e9)),
        "Tus-Checksum-Algorithm": ",".join(_ALGORITHMS),
    }


def read_creation(request: Request) -> tuple[str, int]:
    """Return file name and size of an upload from ``Upload-Metadata`` and ``Upload-Length``.

    Raises
    ------
    ConfigError
        If one is missing or malformed.
    """
    length = request.headers.get("upload-length", "")
    if not length.isdigit() or not 1 <= int(length) <= 2**53:
        raise ConfigError(f"Upload-Length {length[:20]!r}, expected the number of bytes; its value cannot be deferred")
    metadata = {}
    for pair in filter(None, (part.strip() for part in request.headers.get("upload-metadata", "").split(","))):
        key, _, value = pair.partition(" ")
        try:
            metadata[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError(f"Upload-Metadata: the value of {key[:40]!r} is not UTF-8 in base64") from None
    name = metadata.get("filename") or metadata.get("name")
    if not name:
        raise ConfigError("Upload-Metadata has no 'filename', which decides the format of the slide")
    return name[:400], int(length)


def metadata_header(upload: Upload) -> str:
    """Return ``Upload-Metadata`` of an upload."""
    return f"filename {base64.b64encode(upload.name.encode()).decode()}"


def expires_header(context: ServiceContext, upload: Upload) -> dict[str, str]:
    """Return ``Upload-Expires`` of an unfinished upload; empty for a slide."""
    at = context.uploads.expires_at(upload)
    return {} if at is None else {"Upload-Expires": format_datetime(at, usegmt=True)}


class PartChecksum:
    """The checksum of a part, as its request announced it.

    Parameters
    ----------
    request : Request
        The request. Without ``Upload-Checksum`` every content fits.

    Raises
    ------
    HTTPException
        If the algorithm is not supported or the header is malformed (400).
    """

    def __init__(self, request: Request) -> None:
        header = request.headers.get("upload-checksum")
        self._hash: Any = None
        self._expected = b""
        if header is None:
            return
        algorithm, _, value = header.partition(" ")
        if algorithm not in _ALGORITHMS:
            raise HTTPException(400, f"checksum {algorithm[:20]!r}, expected one of {', '.join(_ALGORITHMS)}")
        try:
            self._expected = base64.b64decode(value, validate=True)
        except binascii.Error:
            raise HTTPException(400, "Upload-Checksum is not in base64") from None
        # these find damage in transit; nobody's trust rests on them
        self._hash = _ALGORITHMS[algorithm](usedforsecurity=False)

    @property
    def is_announced(self) -> bool:
        """Whether there is a checksum."""
        return self._hash is not None

    def update(self, content: bytes) -> None:
        """Add the next bytes."""
        if self._hash is not None:
            self._hash.update(content)

    def check(self) -> None:
        """Compare all bytes with the checksum.

        Raises
        ------
        HTTPException
            If they differ (460, as the protocol defines).
        """
        if self._hash is not None and self._hash.digest() != self._expected:
            raise HTTPException(_CHECKSUM_MISMATCH, "the part differs from its checksum; send it again")
