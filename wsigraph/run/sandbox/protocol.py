"""Sandbox protocol: messages to and from the processes that open slides.

A message is a JSON header followed by raw bytes. Nothing is pickled: a hostile file might take over the process that
decodes it, so its responses are only read as plain values of bounded size.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">II")
MAX_BYTES = 64 * 2**20
"""Largest size of a header or of a body."""


def send_message(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message.

    Parameters
    ----------
    stream : binary stream
        Pipe to the other process.
    header : dict
        JSON values.
    body : bytes
        Raw bytes, for example an encoded image.
    """
    encoded = json.dumps(header, allow_nan=False).encode()
    stream.write(_LENGTHS.pack(len(encoded), len(body)) + encoded + body)
    stream.flush()


def receive_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Parameters
    ----------
    stream : binary stream
        Pipe from the other process.

    Returns
    -------
    tuple of dict, bytes
        Header and body.

    Raises
    ------
    EOFError
        If the stream ends before the message does.
    ValueError
        If the bytes are not a message.
    """
    n_header, n_body = _LENGTHS.unpack(_read_exactly(stream, _LENGTHS.size))
    if max(n_header, n_body) > MAX_BYTES:
        raise ValueError(f"a message part of {max(n_header, n_body)} bytes, expected at most {MAX_BYTES}")
    header = json.loads(_read_exactly(stream, n_header))
    if not isinstance(header, dict):
        raise ValueError("the header of a message is not a JSON object")
    return header, _read_exactly(stream, n_body)


def _read_exactly(stream: IO[bytes], n_bytes: int) -> bytes:
    content = bytearray()
    # a stream without a buffer returns what is there
    while len(content) < n_bytes:
        part = stream.read(n_bytes - len(content))
        if not part:
            raise EOFError("the other process has ended")
        content += part
    return bytes(content)
