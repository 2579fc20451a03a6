"""A record as a file holds it: fields and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Payload:
    """What a codec hands to a container, and the other way round.

    Attributes
    ----------
    fields : dict of str to JSON value
        Scalars and texts.
    arrays : mapping of str to array
        Numpy arrays; from zarr, arrays whose pixels are read when indexed.
    path : Path
        The file that was read; empty before writing.
    """

    fields: dict[str, Any]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()
