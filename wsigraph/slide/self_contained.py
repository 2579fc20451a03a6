"""Whether a file holds a whole slide, so that no reader follows it to another file.

A slide that a stranger sends must not name other files: a reader would open them with the rights of whoever runs it. A
Hamamatsu VMS index is a text that names JPEG files anywhere on the disk, an OME-TIFF may name a companion file, and
what a file is called says nothing of what it is. So formats are allowed by their content: the first bytes must be those
of a format of one file, the suffix must belong to that format, and OpenSlide must recognise the same format, because a
file can be made that is two formats at once. TIFF and DICOM can refer to other files; theirs are searched for that.

The check looks at headers and indexes, not at pixels. It knows the readers of this package; a reader plugin of another
package that follows names inside a TIFF in a way of its own is not covered. Sakura files are left out, although each is
one file: they are SQLite databases, whose views run whatever statement the file's author wrote.

References
----------
Goode et al., "OpenSlide: A vendor-neutral software foundation for digital pathology", J Pathol Inform 4:27, 2013.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

from wsigraph.errors import UnreadableSlide
from wsigraph.slide import dicom

SUFFIXES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "TIFF": frozenset({".svs", ".tif", ".tiff", ".qptiff", ".ndpi", ".scn", ".bif"}),
        "DICOM": frozenset({".dcm"}),
        "CZI": frozenset({".czi"}),
        "PNG": frozenset({".png"}),
        "JPEG": frozenset({".jpg", ".jpeg"}),
    }
)
"""Formats that hold a slide in one file, and the suffixes that belong to each."""
_VENDORS: Mapping[str, frozenset[str | None]] = MappingProxyType(
    {
        "TIFF": frozenset({"aperio", "generic-tiff", "hamamatsu", "leica", "philips", "trestle", "ventana", None}),
        "DICOM": frozenset({"dicom"}),
        "CZI": frozenset({"zeiss"}),
        "PNG": frozenset({None}),
        "JPEG": frozenset({None}),
    }
)
"""What OpenSlide may take a file of each format for. Of a TIFF, ``hamamatsu`` is NDPI: its text indexes are no TIFF."""
_MAGIC = {
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG", b"ZISRAWFILE": "CZI",
}  # fmt: skip
_DICOM_AT, _DICOM_MAGIC = 128, b"DICM"
_HEAD_BYTES = 132
_VSI_AT, _VSI_MAGIC = 8, b"\x18\0IS"
_CZI_HEAD_BYTES = 84
_IMAGE_DESCRIPTION, _XMP = 270, 700
_VL_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_SYNTAX_OF_REFERENCES = frozenset(
    {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"}
)
"""Transfer syntaxes JPIP Referenced: instead of pixels the file holds the address of a server."""
_OME_REFERENCES = frozenset({"BinaryOnly", "External"})
_OME_REFERRING_ATTRIBUTES = frozenset({"MetadataFile", "href"})


def check_self_contained(path: Path) -> None:
    """Check that a file holds a whole slide and names no other file.

    Parameters
    ----------
    path : Path
        The file; links are not followed.

    Raises
    ------
    OSError
        If the file cannot be read, which says nothing of the slide.
    UnreadableSlide
        If its content is of no format of `SUFFIXES`, does not fit its suffix, or refers to other files.
    """
    if path.is_symlink() or not path.is_file():
        raise _refusal(path, "it is no regular file")
    kind = _kind(path)
    if kind is None:
        raise _refusal(path, "its content is of no format that holds a slide in one file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES[kind]:
        raise _refusal(path, f"its content is {kind}, which does not fit the suffix {suffix!r}")
    fault = _FAULTS[kind](path) or _vendor_fault(path, kind)
    if fault is not None:
        raise _refusal(path, fault)


def _refusal(path: Path, what: str) -> UnreadableSlide:
    formats = "; ".join(f"{kind} ({' '.join(sorted(suffixes))})" for kind, suffixes in SUFFIXES.items())
    return UnreadableSlide(
        f"slide {path.name!r} is refused as an upload: {what}; expected one file that names no other: {formats}; "
        "put slides of several files into the data directory"
    )


def _kind(path: Path) -> str | None:
    """Return the format that a file begins like."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    is_dicom = head[_DICOM_AT:] == _DICOM_MAGIC
    return "DICOM" if kind is None and is_dicom else kind


def _vendor_fault(path: Path, kind: str) -> str | None:
    """Return where OpenSlide takes the file for something else: it would then read that."""
    import openslide

    vendor = openslide.OpenSlide.detect_format(str(path))
    if vendor in _VENDORS[kind]:
        return None
    return f"it begins like {kind}, but OpenSlide takes it for {vendor or 'no slide'}"


def _no_fault(_path: Path) -> str | None:
    return None


def _czi_fault(path: Path) -> str | None:
    """Return whether a CZI is one part of several.

    After a segment header of 32 bytes: version 2 x int32, reserved 2 x int32, GUID of the first file, GUID of this
    file, int32 number of this part.
    """
    with path.open("rb") as handle:
        head = handle.read(_CZI_HEAD_BYTES)
    if len(head) < _CZI_HEAD_BYTES:
        return "its CZI header is cut short"
    is_first = head[48:64] == head[64:80] and struct.unpack_from("<i", head, 80)[0] == 0
    return None if is_first else "it is one part of a CZI of several files"


def _dicom_fault(path: Path) -> str | None:
    """Return what a DICOM file refers to: directories (DICOMDIR) name files, JPIP names a server."""
    meta = dicom.file_meta(path)
    if meta.get(dicom.SOP_CLASS) != _VL_WHOLE_SLIDE:
        return f"its SOP class is {meta.get(dicom.SOP_CLASS)}, expected a whole slide ({_VL_WHOLE_SLIDE})"
    if meta.get(dicom.TRANSFER_SYNTAX) in _SYNTAX_OF_REFERENCES:
        return "its pixels lie on a server that it names (JPIP)"
    return None


def _tiff_fault(path: Path) -> str | None:
    from wsigraph.slide import tiff_index

    with path.open("rb") as handle:
        handle.seek(_VSI_AT)
        if handle.read(len(_VSI_MAGIC)) == _VSI_MAGIC:
            return "it is the index of an Olympus VSI, whose pixels lie in a folder beside it"
    try:
        with tiff_index.open_index(path) as tif:
            for page in tiff_index.all_pages(tif):
                for code in (_IMAGE_DESCRIPTION, _XMP):
                    text = _text(page.tags[code].value) if code in page.tags else ""
                    fault = _xml_fault(text)
                    if fault is not None:
                        return fault
    except tiff_index.MALFORMED as error:
        raise UnreadableSlide(
            f"slide {path.name!r} has a damaged TIFF index ({tiff_index.first_line(error)}); copy it again"
        ) from None
    return None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _xml_fault(text: str) -> str | None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return "its XML declares entities, which may name files"
    if not any(mark in text for mark in ("<OME", ":OME", "BinaryOnly", "TiffData")):
        return None
    try:
        root = ElementTree.fromstring(text.strip().strip("\0"))  # noqa: S314  (no entities: refused above)
    except (ElementTree.ParseError, ValueError):
        # words that are no OME-XML; a damaged one places no pixels, but lenient readers search it
        return "its OME-XML is damaged" if "TiffData" in text or "MetadataFile" in text else None
    return _ome_fault(root)


def _ome_fault(root: ElementTree.Element) -> str | None:
    """Return the other files that an OME-XML names; a file names itself by the UUID of the root."""
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        if name in _OME_REFERENCES or _OME_REFERRING_ATTRIBUTES & {key.rpartition("}")[2] for key in element.attrib}:
            return f"its OME-XML refers to another file ({name})"
        if name == "UUID" and (element.text or "").strip() != root.get("UUID", ""):
            other = element.get("FileName", "without a name")
            return f"its OME-XML names another file of its set ({other[:80]!r})"
    return None


_FAULTS: Mapping[str, Callable[[Path], str | None]] = MappingProxyType(
    {"TIFF": _tiff_fault, "DICOM": _dicom_fault, "CZI": _czi_fault, "PNG": _no_fault, "JPEG": _no_fault}
)
