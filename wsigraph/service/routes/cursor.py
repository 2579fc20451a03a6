"""Cursors: where the next page of a list begins. They stay valid while items are added and removed."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from wsigraph.errors import ConfigError


def encode_cursor(key: tuple[Any, ...]) -> str:
    """Return the sort key of the last item of a page as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return the sort key of a cursor.

    Parameters
    ----------
    cursor : str
        From `encode_cursor`.
    kinds : tuple of type
        Types of its values.

    Returns
    -------
    tuple
        The sort key.

    Raises
    ------
    ConfigError
        If it is not a cursor of this list.
    """
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list) or tuple(type(value) for value in key) != kinds:
        raise ConfigError(f"cursor {cursor[:40]!r} is not from this list; give next_cursor of the page before")
    return tuple(key)
