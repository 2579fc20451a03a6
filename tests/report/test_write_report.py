"""The report of a real slide, from its own segmentation: files, bytes, and outlines that lie on the tissue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
import zarr
from PIL import Image, ImageDraw

from tests.outline.drawn_regions import NOTICE, prediction
from wsigraph.config import ReportConfig, section_hash
from wsigraph.errors import ConfigError, RecordError
from wsigraph.graph.build import build_graph
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.superpixel.segment import segment
from wsigraph.records import CoarseGraph, Prediction, SuperpixelLabels
from wsigraph.report.write_report import FACTS, PICTURE, POLYGONS, write
from wsigraph.slide.reader import Slide, read
from wsigraph.store import is_done

Parts = tuple[Slide, SuperpixelLabels, CoarseGraph, Prediction]


@pytest.fixture(scope="module")
def parts(small_slide: Path) -> Iterator[Parts]:
    with read(small_slide) as slide:
        labels = segment(slide)
        coarse = coarsen(build_graph(slide, labels))
        yield slide, labels, coarse, prediction()


def report(parts: Parts, directory: Path, config: ReportConfig | None = None) -> dict[str, bytes]:
    slide, labels, coarse, predicted = parts
    written = write(
        directory,
        slide=slide,
        labels=labels,
        coarse=coarse,
        prediction=predicted,
        config=config,
        inputs={"coarse": "c" * 64},
    )
    assert sorted(path.name for path in directory.iterdir()) == sorted(written.files)
    return {name: (directory / name).read_bytes() for name in written.files}


@pytest.fixture(scope="module")
def files(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return report(parts, tmp_path_factory.mktemp("report"))


def regions_of(content: bytes) -> list[shapely.Geometry]:
    return [shapely.geometry.shape(feature["geometry"]) for feature in json.loads(content)["features"]]


def test_two_reports_are_the_same_bytes(parts: Parts, files: dict[str, bytes], tmp_path: Path) -> None:
    assert report(parts, tmp_path) == files


def test_storage_of_the_labels_does_not_show(parts: Parts, files: dict[str, bytes], tmp_path: Path) -> None:
    slide, labels, coarse, predicted = parts
    stored = zarr.create_array({}, shape=labels.labels.shape, chunks=(3000, 3000), dtype="int32")
    stored[...] = np.asarray(labels.labels[:])
    other = SuperpixelLabels(labels=stored, n_superpixels=labels.n_superpixels, mpp=labels.mpp, tissue=labels.tissue)
    assert report((slide, other, coarse, predicted), tmp_path) == files


def test_facts_are_those_of_the_slide(parts: Parts, files: dict[str, bytes]) -> None:
    slide, labels, coarse, _ = parts
    facts = json.loads(files[FACTS])
    assert facts["slide_id"] == slide.info.slide_id
    assert (facts["superpixels"], facts["nodes"]) == (labels.n_superpixels, coarse.graph.n_nodes)
    assert facts["notice"] == NOTICE
    assert facts["tissue_mm2"] == pytest.approx(np.count_nonzero(np.asarray(labels.labels[:])) * labels.mpp**2 / 1e6)
    assert facts["provenance"]["slide_sha256"] == slide.info.sha256
    assert str(Path(slide.info.path).parent) not in files[FACTS].decode()


def test_the_report_is_done_only_for_what_it_was_made_from(parts: Parts, tmp_path: Path) -> None:
    report(parts, tmp_path)
    config = {"report": section_hash(ReportConfig())}
    assert is_done(tmp_path / FACTS, {"coarse": "c" * 64}, config)
    assert not is_done(tmp_path / FACTS, {"coarse": "d" * 64}, config)
    assert not is_done(tmp_path / FACTS, {"coarse": "c" * 64}, {"report": section_hash(ReportConfig(thumbnail_px=800))})


def test_polygons_are_valid_inside_the_slide_and_fit_together(parts: Parts, files: dict[str, bytes]) -> None:
    size = parts[0].info.levels[0].size
    regions = regions_of(files[POLYGONS])
    assert all(region.is_valid for region in regions)
    assert shapely.box(0, 0, size.width, size.height).covers(shapely.union_all(regions))
    pieces = shapely.get_parts(np.array(regions))
    assert shapely.coverage_is_valid(pieces)


def test_polygons_have_the_area_of_their_regions(parts: Parts, files: dict[str, bytes]) -> None:
    slide, _, coarse, _ = parts
    area_um2 = np.array([region.area for region in regions_of(files[POLYGONS])]) * slide.info.mpp**2
    counted_um2 = coarse.graph.moment("n") * coarse.graph.mpp**2
    assert area_um2.sum() == pytest.approx(counted_um2.sum(), rel=0.02)
    large = counted_um2 > 20_000
    assert large.sum() >= 5
    assert np.abs(area_um2[large] / counted_um2[large] - 1).max() < 0.08


def test_polygons_lie_on_their_superpixels(parts: Parts, files: dict[str, bytes]) -> None:
    slide, labels, coarse, _ = parts
    full = np.asarray(labels.labels[:])
    truth = np.append(0, coarse.assignment + 1)[full]
    canvas = Image.new("I", (full.shape[1], full.shape[0]), 0)
    scale = slide.info.mpp / labels.mpp
    regions = regions_of(files[POLYGONS])
    # larger ones first, so that what lies in a hole is painted over it
    for node in sorted(range(len(regions)), key=lambda index: -shapely.Polygon(regions[index].envelope).area):
        for piece in shapely.get_parts(regions[node]):
            outer = shapely.get_coordinates(piece.exterior) * scale - 0.5
            ImageDraw.Draw(canvas).polygon([tuple(point) for point in outer], fill=node + 1)
            for hole in piece.interiors:
                if not any(other.intersects(shapely.Polygon(hole).representative_point()) for other in regions):
                    inner = shapely.get_coordinates(hole) * scale - 0.5
                    ImageDraw.Draw(canvas).polygon([tuple(point) for point in inner], fill=0)
    painted = np.asarray(canvas)
    # borders move by up to the tolerance of 3 um, which is what the rest consists of
    assert (painted == truth).mean() > 0.95


def test_the_picture_is_small_enough_and_large_enough(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / PICTURE).write_bytes(files[PICTURE])
    with Image.open(tmp_path / PICTURE) as picture:
        assert picture.width >= 1600
    assert len(files[PICTURE]) < 3_000_000


def test_settings_reach_the_files(parts: Parts, files: dict[str, bytes], tmp_path: Path) -> None:
    config = ReportConfig(
        outline_mpp=8.0,
        outline_tolerance_um=12.0,
        outline_max_area_error=1.0,
        map_feature=None,
        measurements=("eosin_mean",),
        thumbnail_px=400,
    )
    other = report(parts, tmp_path, config)
    assert len(other[POLYGONS]) < 0.5 * len(files[POLYGONS])
    assert other[PICTURE] != files[PICTURE]
    assert json.loads(other[POLYGONS])["wsigraph"]["outline_mpp"] == 8.0
    assert all(region.is_valid for region in regions_of(other[POLYGONS]))


def test_small_regions_and_large_files_are_said(parts: Parts, tmp_path: Path) -> None:
    config = ReportConfig(outline_mpp=64.0, geojson_max_mb=0.01)
    facts = json.loads(report(parts, tmp_path, config)[FACTS])
    assert any("shown as squares; lower report.outline_mpp" in text for text in facts["warnings"])
    assert any("leaves out 12 of 12 measurements" in text for text in facts["warnings"])
    assert any("raise coarsening.granularity" in text for text in facts["warnings"])


def test_an_unknown_feature_is_named_before_anything_is_written(parts: Parts, tmp_path: Path) -> None:
    for config in (ReportConfig(map_feature="greenness"), ReportConfig(measurements=("greenness",))):
        with pytest.raises(ConfigError, match="greenness"):
            report(parts, tmp_path, config)
    assert not list(tmp_path.iterdir())


def test_labels_of_another_graph_are_refused(parts: Parts, tmp_path: Path) -> None:
    slide, labels, coarse, predicted = parts
    shorter = CoarseGraph(graph=coarse.graph, assignment=coarse.assignment[:-1], embedding_id=coarse.embedding_id)
    with pytest.raises(RecordError, match="give the labels that the graph was built from"):
        report((slide, labels, shorter, predicted), tmp_path)
