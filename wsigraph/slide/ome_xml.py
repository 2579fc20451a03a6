"""The part of an OME-XML text that says which page of a TIFF is which plane.

The text comes from the file, so it is limited in size, and a document type (where entities would be declared) ends the
parsing. A plane may be said to be in another file; that file is never opened.

References
----------
Goldberg et al., "The Open Microscopy Environment (OME) Data Model and XML file", Genome Biology 6:R47, 2005.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

MAX_CHARS = 2**24
"""Longest text that is parsed."""


@dataclass(slots=True, kw_only=True)
class OmePlanes:
    """Planes of the first image.

    Attributes
    ----------
    n_z, n_t : int
        Focal planes, and points in time.
    channels : list of (str, int)
        Name and samples a pixel of each channel.
    order : str
        Axes from the fastest on, e.g. ``"XYCZT"``.
    blocks : list of dict
        Attributes of each ``TiffData``, and ``FileName`` where it names a file.
    """

    n_z: int = 1
    n_t: int = 1
    n_c: int = 1
    channels: list[tuple[str, int]] = field(default_factory=list)
    order: str = "XYCZT"
    blocks: list[dict[str, str]] = field(default_factory=list)

    def pages(self) -> dict[tuple[int, int, int], int]:
        """Return the page of each plane, by (channel, z, t), all counted from 0.

        Raises
        ------
        ValueError
            If the order of the axes or a number of the text is none.
        """
        n_channels = max(1, len(self.channels) or self.n_c)
        lengths = {"C": n_channels, "Z": self.n_z, "T": self.n_t}
        axes = [axis for axis in self.order if axis in lengths]
        if sorted(axes) != ["C", "T", "Z"]:
            raise ValueError(f"its planes are in the order {self.order}")
        total = n_channels * self.n_z * self.n_t
        pages: dict[tuple[int, int, int], int] = {}
        for block in self.blocks or [{}]:
            first = {axis: int(block.get(f"First{axis}", "0")) for axis in axes}
            start = sum(first[axis] * _stride(axes, lengths, axis) for axis in axes)
            page = int(block.get("IFD", "0"))
            n = int(block.get("PlaneCount", "1" if "IFD" in block else str(total)))
            for step in range(min(n, total - start)):
                place = {axis: (start + step) // _stride(axes, lengths, axis) % lengths[axis] for axis in axes}
                pages[place["C"], place["Z"], place["T"]] = page + step
        return pages

    @property
    def other_file(self) -> str:
        """A file that the text names for some plane; empty where it names none."""
        return next((block["FileName"] for block in self.blocks if block.get("FileName")), "")


def _stride(axes: list[str], lengths: Mapping[str, int], axis: str) -> int:
    stride = 1
    for earlier in axes[: axes.index(axis)]:
        stride *= lengths[earlier]
    return stride


def parse_planes(xml: str) -> OmePlanes:
    """Return the planes of the first image of an OME-XML text.

    Parameters
    ----------
    xml : str
        The text.

    Returns
    -------
    OmePlanes
        One plane where the text names no image.

    Raises
    ------
    ValueError
        If it is no XML, declares a document type, is too long, or its numbers are none.
    """
    if len(xml) > MAX_CHARS:
        raise ValueError("its OME-XML is too long")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(xml.encode(), True)
    except expat.ExpatError as error:
        raise ValueError(f"its OME-XML does not parse ({error})") from None
    return reader.planes


class _Reader:
    def __init__(self) -> None:
        self.planes = OmePlanes()
        self._n_images = 0

    def refuse_doctype(self, *_: Any) -> None:
        raise ValueError("its OME-XML declares a document type")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        kind, planes = name.rpartition(":")[2], self.planes
        if kind == "Image":
            self._n_images += 1
        if self._n_images != 1:
            return
        if kind == "Pixels":
            sizes = [int(attributes.get(f"Size{axis}", "1")) for axis in "ZTC"]
            if not all(1 <= size <= 2**16 for size in sizes):
                raise ValueError(f"its OME-XML states {sizes} planes")
            planes.n_z, planes.n_t, planes.n_c = sizes
            planes.order = attributes.get("DimensionOrder", "XYCZT")
        elif kind == "Channel":
            label = attributes.get("Name") or attributes.get("Fluor") or ""
            planes.channels.append((label, int(attributes.get("SamplesPerPixel", "1"))))
        elif kind == "TiffData":
            planes.blocks.append(dict(attributes))
        elif kind == "UUID" and planes.blocks:
            planes.blocks[-1]["FileName"] = attributes.get("FileName", "")

    def end(self, name: str) -> None:
        """Do nothing; the first image ends where the second begins."""
