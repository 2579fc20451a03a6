"""Requests and answers between the service and the processes that open slides: a JSON header and raw bytes.

Nothing is pickled. A process that decodes hostile files might itself turn hostile, and what it answers is read here
as plain values of bounded size.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">II")
MAX_BYTES = 64 * 2**20
"""Most bytes of a header or of a body."""


def send(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one frame.

    Parameters
    ----------
    stream : binary stream
        Where to.
    header : dict
        JSON values.
    body : bytes
        What comes with them.
    """
    encoded = json.dumps(header, allow_nan=False).encode()
    stream.write(_LENGTHS.pack(len(encoded), len(body)) + encoded + body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one frame.

    Parameters
    ----------
    stream : binary stream
        Where from.

    Returns
    -------
    tuple of dict, bytes
        Header and body.

    Raises
    ------
    EOFError
        If the stream ends first.
    ValueError
        If it holds no frame.
    """
    n_header, n_body = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if max(n_header, n_body) > MAX_BYTES:
        raise ValueError(f"a frame of {max(n_header, n_body)} bytes, expected at most {MAX_BYTES}")
    header = json.loads(_exactly(stream, n_header))
    if not isinstance(header, dict):
        raise ValueError("a frame whose header is no object")
    return header, _exactly(stream, n_body)


def _exactly(stream: IO[bytes], n_bytes: int) -> bytes:
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError("the other side has ended")
    return content
