"""Files of regions: QuPath GeoJSON, ImageScope XML, HistomicsTK JSON and label images, in the file's own coordinates.

The files come from elsewhere. They are limited in size, nothing in them is executed, and an XML with a document type
(where entities would be declared) is refused before it is parsed further.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsigraph.errors import RegionError

MAX_BYTES = 2**28
"""Most bytes of a file of regions."""
MAX_LABEL_PX = 2**27
"""Most pixels of a label image."""
MAX_POINTS = 2**21
"""Most points of all regions together."""
_IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
_LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_NOT_DRAWN = ("detection", "cell", "tile")
"""QuPath's object types that a program makes; they count only where a file has no annotations."""


@dataclass(slots=True, kw_only=True)
class Shape:
    """One drawn region.

    Attributes
    ----------
    class_name : str
        Its class; empty for none.
    rings : list of float64 (n, 2)
        Closed rings without repetition of the first point, (x, y); a point is inside where it is in an odd number.
    is_hole : bool
        Whether it is taken away from all others (ImageScope's negative regions).
    label : str
        What the region is in messages, e.g. ``"annotation 3 ('Tumour')"``.
    """

    class_name: str
    rings: list[NDArray[np.float64]]
    is_hole: bool = False
    label: str = ""

    @property
    def edges(self) -> NDArray[np.float64]:
        """x0, y0, x1, y1 of every edge, float64 (E, 4)."""
        return np.concatenate([np.concatenate([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in self.rings])


@dataclass(slots=True, kw_only=True)
class RegionFile:
    """The content of a file of regions.

    Attributes
    ----------
    shapes : list of Shape
        Drawn regions; empty for a label image.
    labels : uint16 or uint8 (h, w) or None
        Label image, 0 outside all regions.
    origin : str or None
        What the file says that its coordinates count from, ``bounds`` or ``plane``.
    """

    shapes: list[Shape] = field(default_factory=list)
    labels: NDArray[Any] | None = None
    origin: str | None = None


def read_region_file(path: Path) -> RegionFile:
    """Read a file of regions; its content decides the format.

    Parameters
    ----------
    path : Path
        GeoJSON, ImageScope XML, HistomicsTK JSON, PNG or TIFF.

    Returns
    -------
    RegionFile
        Shapes or labels.

    Raises
    ------
    RegionError
        If the file cannot be read, is of no such format, or holds no area.
    """
    try:
        n_bytes = path.stat().st_size
        head = b""
        if n_bytes <= MAX_BYTES:
            with path.open("rb") as handle:
                head = handle.read(256)
    except OSError as error:
        raise RegionError(f"regions {str(path)!r} cannot be read: {error.strerror}; check the name") from None
    if n_bytes > MAX_BYTES:
        raise RegionError(f"regions {str(path)!r} has {n_bytes:,} bytes, expected at most {MAX_BYTES:,}")
    if head.startswith(_IMAGE_MAGIC):
        return RegionFile(labels=_read_labels(path))
    if not head:
        raise RegionError(f"regions {str(path)!r} is empty: the file has no bytes; export it again")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"{", b"[")):
        regions = _read_geojson(path)
    elif text.startswith(b"<") or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        regions = RegionFile(shapes=_read_imagescope(path))
    else:
        raise RegionError(
            f"regions {str(path)!r} is of no known format, expected GeoJSON (QuPath), XML (ImageScope), or a label "
            "image as PNG or TIFF"
        )
    if not regions.shapes or all(shape.is_hole for shape in regions.shapes):
        raise RegionError(f"regions {str(path)!r} is empty: it holds no area, expected polygons; draw the region first")
    if sum(len(ring) for shape in regions.shapes for ring in shape.rings) > MAX_POINTS:
        raise RegionError(f"regions {str(path)!r} holds more than {MAX_POINTS:,} points; simplify its outlines")
    return regions


def _read_labels(path: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            opened = Image.open(path, formats=("PNG", "TIFF"))
        with opened as image:
            if image.width * image.height > MAX_LABEL_PX:
                raise RegionError(
                    f"label image {str(path)!r} has {image.width} x {image.height} px, expected at most "
                    f"{MAX_LABEL_PX:,} in all; save it at a lower resolution"
                )
            if image.mode not in _LABEL_MODES:
                raise RegionError(
                    f"label image {str(path)!r} holds pixels of mode {image.mode}, expected one whole number a "
                    "pixel: 0 outside, the region's class inside"
                )
            labels = np.asarray(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise RegionError(f"label image {str(path)!r} does not decode ({error}); save it again") from None
    if int(labels.max(initial=0)) == 0:
        raise RegionError(f"label image {str(path)!r} is empty: all its pixels are 0, expected a class above 0 inside")
    if int(labels.min(initial=0)) < 0 or int(labels.max(initial=0)) > np.iinfo(np.uint16).max:
        raise RegionError(f"label image {str(path)!r} holds labels outside 0 to 65535; number the classes from 1")
    return labels.astype(np.uint16)


def _read_geojson(path: Path) -> RegionFile:
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RegionError(f"regions {str(path)!r} is no valid JSON ({error}); export it again") from None
    elements = list(_histomics_elements(document))
    if elements:
        shapes = [
            shape for number, element in enumerate(elements, 1) for shape in _histomics_shape(element, number, path)
        ]
        return RegionFile(shapes=shapes, origin="plane")
    features = list(_features(document))
    if any(_object_type(feature) not in _NOT_DRAWN for feature in features):
        features = [feature for feature in features if _object_type(feature) not in _NOT_DRAWN]
    shapes = []
    for number, feature in enumerate(features, 1):
        class_name = _class_name(feature)
        label = f"annotation {number}" + (f" ({class_name!r})" if class_name else "")
        for polygon in _polygons(feature.get("geometry", feature), path):
            rings = [_ring(ring, path, label) for ring in polygon]
            shapes.append(Shape(class_name=class_name, rings=rings, label=label))
    foreign = document.get("wsigraph") if isinstance(document, Mapping) else None
    stated = foreign.get("origin") if isinstance(foreign, Mapping) else None
    origin = stated.get("coordinates") if isinstance(stated, Mapping) else None
    return RegionFile(shapes=shapes, origin=origin if origin in ("bounds", "plane") else None)


def _histomics_elements(document: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the elements of annotations of HistomicsTK and the Digital Slide Archive; none for other JSON."""
    for member in document if isinstance(document, list) else [document]:
        inner = member.get("annotation", member) if isinstance(member, Mapping) else None
        elements = inner.get("elements") if isinstance(inner, Mapping) else None
        for element in elements if isinstance(elements, list) else []:
            if isinstance(element, Mapping):
                yield element


def _histomics_shape(element: Mapping[str, Any], number: int, path: Path) -> Iterator[Shape]:
    """Yield the area of a closed polyline or rectangle; its class is its group, else its label. Others have no area."""
    label = element.get("label")
    text = label.get("value") if isinstance(label, Mapping) else None
    class_name = str(element.get("group") or text or "").strip()
    name = f"annotation {number}" + (f" ({class_name!r})" if class_name else "")
    if element.get("type") == "polyline" and element.get("closed"):
        holes = element.get("holes")
        rings = [element.get("points"), *(holes if isinstance(holes, list) else [])]
        yield Shape(class_name=class_name, rings=[_ring(ring, path, name) for ring in rings], label=name)
    elif element.get("type") == "rectangle":
        try:
            x, y = (float(value) for value in element["center"][:2])
            half_width, half_height = float(element["width"]) / 2, float(element["height"]) / 2
            angle = float(element.get("rotation") or 0.0)
        except (TypeError, ValueError, LookupError):
            raise RegionError(
                f"regions {str(path)!r}: {name} is a rectangle without numbers; export it again"
            ) from None
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_width, half_height)
        ring = corners @ turn + (x, y)
        yield Shape(class_name=class_name, rings=[_ring(ring, path, name)], label=name)


def _features(document: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the features of a collection, of a list, or the one feature or geometry."""
    members = document.get("features") if isinstance(document, Mapping) and "features" in document else document
    for member in members if isinstance(members, list) else [members]:
        if isinstance(member, Mapping):
            yield member


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _object_type(feature: Mapping[str, Any]) -> str:
    return str(_properties(feature).get("objectType", _properties(feature).get("object_type", "annotation"))).lower()


def _class_name(feature: Mapping[str, Any]) -> str:
    """Return QuPath's class, whose parts are joined as QuPath shows them; empty for none."""
    stated = _properties(feature).get("classification")
    if isinstance(stated, str):
        return stated.strip()
    if not isinstance(stated, Mapping):
        return ""
    names = stated.get("names")
    return ": ".join(str(name) for name in names) if isinstance(names, list) else str(stated.get("name") or "").strip()


def _polygons(geometry: Any, path: Path) -> Iterator[list[Any]]:
    """Yield the polygons of a geometry, each a list of rings; points and lines have no area and are passed over."""
    if not isinstance(geometry, Mapping):
        return
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        parts = geometry.get("geometries")
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, Mapping) and part.get("type") != "GeometryCollection":
                yield from _polygons(part, path)
    elif kind in ("Polygon", "MultiPolygon"):
        polygons = [coordinates] if kind == "Polygon" else coordinates
        if not isinstance(polygons, list) or not all(isinstance(polygon, list) for polygon in polygons):
            raise RegionError(f"regions {str(path)!r} holds a {kind} without coordinates; export it again")
        yield from (polygon for polygon in polygons if polygon)


def _ring(points: Any, path: Path, label: str) -> NDArray[np.float64]:
    """Return a ring without its repeated last point, float64 (n, 2)."""
    try:
        ring = np.array([[float(point[0]), float(point[1])] for point in points], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, LookupError, OverflowError):
        raise RegionError(f"regions {str(path)!r}: {label} holds points that are no numbers; export it again") from None
    if not np.isfinite(ring).all() or (np.abs(ring) > 1e9).any():
        raise RegionError(
            f"regions {str(path)!r}: {label} holds a coordinate that is no pixel of a slide; export it again"
        )
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise RegionError(f"regions {str(path)!r}: {label} has {len(ring)} corners, expected at least 3; draw an area")
    return ring


def _read_imagescope(path: Path) -> list[Shape]:
    """Return the closed regions of an Aperio ImageScope file; the class is the layer's name, else the region's text."""
    reader = _ImageScope(path)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise RegionError(f"regions {str(path)!r} is no valid XML ({error}); export it again") from None
    if not reader.is_imagescope:
        raise RegionError(f"regions {str(path)!r} is an XML without <Annotations>, expected a file of ImageScope")
    return reader.shapes


_ELLIPSE, _RECTANGLE, _AREAS = "2", "1", ("0", "1", "2")
_ELLIPSE_CORNERS = 256


class _ImageScope:
    """Collects the regions of an ImageScope file while it is parsed."""

    def __init__(self, path: Path) -> None:
        self.shapes: list[Shape] = []
        self.is_imagescope = False
        self._path = path
        self._layer = ""
        self._region: Mapping[str, str] = {}
        self._points: list[list[str]] = []
        self._n_regions = 0

    def refuse_doctype(self, *_: Any) -> None:
        raise RegionError(
            f"regions {str(self._path)!r} declares a document type, which ImageScope does not; not parsed"
        )

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Annotations":
            self.is_imagescope = True
        elif name == "Annotation" or (name == "Attribute" and not self._layer):
            self._layer = attributes.get("Name", "").strip()
        elif name == "Region":
            self._region, self._points = dict(attributes), []
        elif name in ("Vertex", "V"):
            self._points.append([attributes.get("X", ""), attributes.get("Y", "")])

    def end(self, name: str) -> None:
        if name != "Region":
            return
        self._n_regions += 1
        kind = self._region.get("Type", "0")
        if kind not in _AREAS:
            return  # rulers, arrows and points have no area
        class_name = self._layer or self._region.get("Text", "").strip()
        label = f"region {self._n_regions}" + (f" ({class_name!r})" if class_name else "")
        points: list[Any] = self._points
        if kind == _ELLIPSE or (kind == _RECTANGLE and len(points) == 2):
            points = _from_box(self._points, kind, self._path, label)
        ring = _ring(points, self._path, label)
        is_hole = self._region.get("NegativeROA", "0") == "1"
        self.shapes.append(Shape(class_name=class_name, rings=[ring], is_hole=is_hole, label=label))


def _from_box(points: list[list[str]], kind: str, path: Path, label: str) -> list[Any]:
    """Return the corners of a rectangle or ellipse that is given by its bounding box."""
    try:
        corners = np.array([[float(x), float(y)] for x, y in points], np.float64).reshape(-1, 2)
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    except ValueError:
        raise RegionError(f"regions {str(path)!r}: {label} holds points that are no numbers; export it again") from None
    if kind == _RECTANGLE:
        return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    angles = [2 * math.pi * step / _ELLIPSE_CORNERS for step in range(_ELLIPSE_CORNERS)]
    middle_x, middle_y, radius_x, radius_y = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    return [[middle_x + radius_x * math.cos(angle), middle_y + radius_y * math.sin(angle)] for angle in angles]
