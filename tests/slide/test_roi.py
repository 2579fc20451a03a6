"""Regions of a user: read from three kinds of file, sampled exactly, refused with the reason where they are wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image

from tests.slide.leica import write_scn
from wsigraph.errors import RegionError
from wsigraph.geometry import Box
from wsigraph.slide.polygon_fill import fill, find_crossing
from wsigraph.slide.reader import Slide, read
from wsigraph.slide.roi import read_roi
from wsigraph.slide.roi_files import Shape

CORNER, PLANE = (2500, 4000), (6000, 8000)
SQUARE = [[100, 100], [300, 100], [300, 260], [100, 260], [100, 100]]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    """Return a slide of 1024 x 768 px at 0.5 um/px, on a plane of 6000 x 8000."""
    picture = np.full((768, 1024, 3), 220, np.uint8)
    return read(write_scn(tmp_path_factory.mktemp("roi") / "area.scn", [picture], CORNER, PLANE))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of QuPath GeoJSON: (rings, class) pairs, each an annotation."""

    def make(*annotations: tuple[Any, str | None], **foreign: Any) -> Path:
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": rings},
                "properties": {"objectType": "annotation", **({"classification": {"name": name}} if name else {})},
            }
            for rings, name in annotations
        ]
        path = tmp_path / "regions.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **foreign}))
        return path

    return make


def moved(ring: list[list[int]], by: tuple[int, int]) -> list[list[int]]:
    return [[x + by[0], y + by[1]] for x, y in ring]


@pytest.mark.parametrize("seed", range(4))
def test_filling_is_that_of_shapely_however_it_is_cut(seed: int) -> None:
    """Every pixel whose centre is inside, and no other; boxes of any cut give the same pixels."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
    outer = 50 + rng.uniform(20, 47, 40)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner = 50 + rng.uniform(3, 12, 40)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    edges = Shape(class_name="", rings=[outer, inner]).edges
    y, x = np.mgrid[:100, :100] + 0.5
    expected = shapely.contains_xy(shapely.Polygon(outer, [inner]), x, y)
    whole = fill(edges, Box(y0=0, x0=0, y1=100, x1=100))
    np.testing.assert_array_equal(whole, expected)
    part = Box(y0=13, x0=41, y1=77, x1=98)
    np.testing.assert_array_equal(fill(edges, part), whole[part.slices])


@pytest.mark.parametrize("seed", range(12))
def test_a_crossing_is_found_where_shapely_finds_one(seed: int) -> None:
    ring = np.random.default_rng(seed).uniform(0, 100, (5, 2))
    crossing = find_crossing(Shape(class_name="", rings=[ring]).edges)
    assert (crossing is None) == shapely.Polygon(ring).is_valid


def test_neighbours_that_share_a_border_share_no_pixel(slide: Slide, write: Write) -> None:
    right = [[300, 100], [500, 90], [500, 300], [300, 260], [300, 100]]
    roi = read_roi(write(([SQUARE], "Tumour"), ([right], "Stroma")), slide)
    assert roi.class_names == ("Stroma", "Tumour")
    box = Box(y0=0, x0=0, y1=384, x1=512)
    stroma, tumour = roi.in_classes(box, 1.0)
    assert not (stroma & tumour).any()
    np.testing.assert_array_equal(stroma | tumour, roi.inside(box, 1.0))
    assert int(tumour.sum()) == 100 * 80
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(roi)).inside(box, 1.0), roi.inside(box, 1.0))


def test_a_hole_of_qupath_and_a_negative_region_of_imagescope_are_outside(
    slide: Slide, write: Write, tmp_path: Path
) -> None:
    hole = [[150, 150], [250, 150], [250, 200], [150, 200], [150, 150]]
    drawn = read_roi(write(([SQUARE, hole], None)), slide)

    def region(ring: list[list[int]], negative: int) -> str:
        vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ring[:-1])
        return f'<Region Type="0" NegativeROA="{negative}"><Vertices>{vertices}</Vertices></Region>'

    xml = tmp_path / "regions.xml"
    regions = region(SQUARE, 0) + region(hole, 1)
    xml.write_text(f'<Annotations><Annotation Name="Tumour"><Regions>{regions}</Regions></Annotation></Annotations>')
    layered = read_roi(xml, slide)
    box = Box(y0=0, x0=0, y1=768, x1=1024)
    assert layered.class_names == ("Tumour",)
    np.testing.assert_array_equal(layered.inside(box, 0.5), drawn.inside(box, 0.5))
    np.testing.assert_array_equal(layered.in_classes(box, 0.5)[0], drawn.inside(box, 0.5))
    assert int(drawn.inside(box, 0.5).sum()) == 200 * 160 - 100 * 50


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_label_image_of_any_size_with_the_proportions(slide: Slide, tmp_path: Path, suffix: str) -> None:
    labels = np.zeros((192, 256), np.uint16)
    labels[10:60, 20:90], labels[100:150, 20:40] = 1, 300
    Image.fromarray(labels).save(tmp_path / f"labels{suffix}")
    roi = read_roi(tmp_path / f"labels{suffix}", slide)
    assert roi.class_names == ("1", "300")
    box = Box(y0=0, x0=0, y1=768, x1=1024)
    expected = labels.repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(roi.inside(box, 0.5), expected > 0)
    np.testing.assert_array_equal(roi.in_classes(box, 0.5)[1], expected == 300)


def test_coordinates_of_the_plane_are_moved_and_never_mistaken(slide: Slide, write: Write) -> None:
    inside = read_roi(write(([SQUARE], None)), slide)
    box = Box(y0=0, x0=0, y1=768, x1=1024)
    on_plane = write(([moved(SQUARE, CORNER)], None))
    np.testing.assert_array_equal(read_roi(on_plane, slide, origin="plane").inside(box, 0.5), inside.inside(box, 0.5))
    with pytest.raises(RegionError, match=r"in the other origin.*--origin plane"):
        read_roi(on_plane, slide)
    with pytest.raises(RegionError, match=r"in the other origin.*--origin bounds"):
        read_roi(write(([SQUARE], None)), slide, origin="plane")
    # a file of our own states what its coordinates count from
    stated = write(([moved(SQUARE, CORNER)], None), wsigraph={"origin": {"coordinates": "plane"}})
    np.testing.assert_array_equal(read_roi(stated, slide).inside(box, 0.5), inside.inside(box, 0.5))


def test_a_label_image_of_the_plane(slide: Slide, tmp_path: Path) -> None:
    labels = np.zeros((2000, 1500), np.uint8)  # 4 level-0 px each
    labels[1010:1050, 640:700] = 2
    Image.fromarray(labels).save(tmp_path / "plane.png")
    with pytest.raises(RegionError, match=r"in the other origin.*--origin plane"):
        read_roi(tmp_path / "plane.png", slide)
    mask = read_roi(tmp_path / "plane.png", slide, origin="plane").inside(Box(y0=0, x0=0, y1=768, x1=1024), 0.5)
    y, x = np.nonzero(mask)
    assert (y.min(), y.max() + 1, x.min(), x.max() + 1) == (40, 200, 60, 300)


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        ([[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]], "crosses itself at x 50, y 50"),
        (moved(SQUARE, (5000, 0)), "outside the slide: x 5100 to 5300.*1024 x 768 px"),
        ([[0, 0], [10, 10], [0, 0]], "has 2 corners, expected at least 3"),
        ([[0, 0], [100, 100], [200, 200], [0, 0]], "has no area, its points lie on one line"),
        ([["a", 0], [10, 10], [0, 5]], "points that are no numbers"),
        ([[float("nan"), 0], [10, 10], [0, 5]], "no pixel"),
    ],
)
def test_what_is_wrong_with_a_region_is_said(slide: Slide, write: Write, ring: Any, reason: str) -> None:
    with pytest.raises(RegionError, match=rf"annotation 2 \('Tumour'\).*{reason}"):
        read_roi(write(([SQUARE], None), ([ring], "Tumour")), slide)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"type": "FeatureCollection", "features": []}', "is empty"),
        (b'{"geometry": {"type": "Point", "coordinates": [1, 2]}}', "is empty"),
        (b'{"features": 7}', "is empty"),
        (b"{", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"<Annotations/>", "is empty"),
        (b"<svg/>", "without <Annotations>"),
        (b"<Annotations>", "no valid XML"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Annotations>&b;</Annotations>', "document type"),
        (b"\x80\x04\x95pickle", "of no known format"),
        (b"", "is empty: the file has no bytes"),
        (b"\x89PNG\r\n\x1a\n", "does not decode"),
    ],
)
def test_files_that_are_no_regions_are_refused(slide: Slide, tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "regions"
    path.write_bytes(content)
    with pytest.raises(RegionError, match=reason):
        read_roi(path, slide)


def test_label_images_that_do_not_fit_are_refused(slide: Slide, tmp_path: Path) -> None:
    def saved(pixels: NDArray[np.uint8]) -> Path:
        Image.fromarray(pixels).save(tmp_path / "labels.png")
        return tmp_path / "labels.png"

    with pytest.raises(RegionError, match="is empty"):
        read_roi(saved(np.zeros((192, 256), np.uint8)), slide)
    with pytest.raises(RegionError, match="not the proportions"):
        read_roi(saved(np.ones((192, 192), np.uint8)), slide)
    with pytest.raises(RegionError, match="pixels of mode RGB"):
        read_roi(saved(np.ones((192, 256, 3), np.uint8)), slide)
    with pytest.raises(RegionError, match="cannot be read"):
        read_roi(tmp_path / "none.png", slide)


def test_detections_count_only_where_there_are_no_annotations(slide: Slide, write: Write) -> None:
    path = write(([SQUARE], "Tumour"), ([moved(SQUARE, (400, 0))], "Cell"))
    document = json.loads(path.read_text())
    document["features"][1]["properties"]["objectType"] = "detection"
    path.write_text(json.dumps(document))
    assert read_roi(path, slide).class_names == ("Tumour",)
    document["features"] = document["features"][1:]
    path.write_text(json.dumps(document))
    assert read_roi(path, slide).class_names == ("Cell",)


def test_annotations_of_histomicstk_count_from_the_plane(slide: Slide, tmp_path: Path) -> None:
    x, y = slide.info.origin
    ring = [[x + 100, y + 100, 0], [x + 300, y + 100, 0], [x + 300, y + 260, 0], [x + 100, y + 260, 0]]
    hole = [[x + 150, y + 150, 0], [x + 200, y + 150, 0], [x + 200, y + 200, 0]]
    elements = [
        {"type": "polyline", "closed": True, "points": ring, "holes": [hole], "group": "Tumour"},
        {"type": "rectangle", "center": [x + 500, y + 300, 0], "width": 80, "height": 40, "rotation": np.pi / 2},
        {"type": "point", "center": [x + 5, y + 5, 0], "group": "Nucleus"},
    ]
    path = tmp_path / "dsa.json"
    path.write_text(json.dumps([{"annotation": {"name": "reader 1", "elements": elements}}]))
    regions = read_roi(path, slide)
    assert regions.class_names == ("Tumour",)
    whole = Box(y0=0, x0=0, y1=768, x1=1024)
    assert int(regions.in_classes(whole, 0.5)[0].sum()) == pytest.approx(200 * 160 - 50 * 50 / 2, rel=0.01)
    inside = regions.inside(whole, 0.5)
    rows, columns = np.nonzero(inside[260:, 400:])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (80, 40)
    elements[1].pop("width")
    path.write_text(json.dumps({"elements": elements}))
    with pytest.raises(RegionError, match="annotation 2 is a rectangle without numbers"):
        read_roi(path, slide)
