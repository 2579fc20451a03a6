"""Regions of a user limit the tissue, and their classes stay on the nodes as exact, additive pixel counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsigraph.config import Config
from wsigraph.errors import NoTissue
from wsigraph.exchange.anndata import to_anndata
from wsigraph.geometry import Box
from wsigraph.graph.build import build_graph
from wsigraph.graph.coarsening.contract import contract
from wsigraph.graph.superpixel.segment import segment
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.run.steps import run_slide
from wsigraph.slide.reader import read
from wsigraph.slide.roi import read_roi
from wsigraph.store import load_graph, load_tissue_map

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 1200 x 1000 px of real tissue at 0.499 um/px."""
    with read(DATA / "CMU-1-Small-Region.svs") as slide:
        pixels = slide.read(Box(y0=900, x0=400, y1=1900, x1=1600))
    path = tmp_path_factory.mktemp("piece") / "piece.tif"
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", compression="deflate", metadata=None,
        resolution=(1e4 / 0.499, 1e4 / 0.499), resolutionunit=3,
    )  # fmt: skip
    return path


def write_regions(path: Path, **rings: list[list[float]]) -> Path:
    """Write one annotation for each class."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, ring in rings.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


TUMOUR = [[100.0, 80.0], [620.5, 120.0], [580.0, 700.25], [90.0, 640.0]]
STROMA = [[620.5, 120.0], [1100.0, 60.0], [1010.0, 800.0], [580.0, 700.25]]


def test_only_tissue_inside_is_used_and_classes_are_exact(piece: Path, tmp_path: Path) -> None:
    path = write_regions(tmp_path / "roi.geojson", Tumour=TUMOUR, Stroma=STROMA)
    config = Config()
    with read(piece) as slide:
        roi = read_roi(path, slide)
        tissue = find_tissue(slide, roi=path)
        everything = find_tissue(slide)
        assert 0.2 < tissue.tissue.sum() / everything.tissue.sum() < 0.75
        inside = roi.inside(Box.whole(slide.size(tissue.mpp)), tissue.mpp)
        assert not tissue.tissue[~inside].any()
        labels = segment(slide, config, tissue=tissue)
        graph = build_graph(slide, labels, config, roi=roi)
        small = config.model_copy(update={"runtime": config.runtime.model_copy(update={"chunk_px": 256})})
        chunked = build_graph(slide, labels, small, roi=roi)
    painted = np.asarray(labels.labels[:])
    masks = roi.in_classes(Box.whole(labels.size), labels.mpp)
    assert graph.class_names == ("Stroma", "Tumour")
    assert graph.class_pixels is not None
    for column, mask in enumerate(masks):
        counted = np.bincount(painted[mask], minlength=graph.n_nodes + 1)[1:]
        np.testing.assert_array_equal(graph.class_pixels[:, column], counted)
    np.testing.assert_array_equal(chunked.class_pixels, graph.class_pixels)
    # the two share a border: a node on it has both, and they never exceed its pixels
    assert (graph.class_fraction.sum(axis=1) <= 1).all()
    assert ((graph.class_fraction > 0).all(axis=1)).any()
    assignment = np.arange(graph.n_nodes) % 5
    coarse = contract(graph, assignment, 5)
    assert coarse.class_pixels is not None
    for node in range(5):
        np.testing.assert_array_equal(coarse.class_pixels[node], graph.class_pixels[assignment == node].sum(axis=0))
    np.testing.assert_array_equal(to_anndata(graph).obs["class_fraction: Tumour"], graph.class_fraction[:, 1])


def test_a_mask_replaces_the_tissue(piece: Path, tmp_path: Path) -> None:
    labels = np.zeros((250, 300), np.uint8)
    labels[50:150, 60:210] = 1
    Image.fromarray(labels).save(tmp_path / "mask.png")
    with read(piece) as slide:
        tissue = find_tissue(slide, tissue_mask=tmp_path / "mask.png")
    expected = labels.repeat(4, axis=0).repeat(4, axis=1)
    y, x = (np.arange(n) for n in tissue.tissue.shape)
    step = tissue.mpp / 0.499
    rows, columns = ((axis + 0.5) * step for axis in (y, x))
    inside = expected[np.minimum(rows.astype(int), 999)][:, np.minimum(columns.astype(int), 1199)]
    np.testing.assert_array_equal(tissue.tissue, inside)


def test_regions_without_tissue_are_an_error_that_says_so(piece: Path, tmp_path: Path) -> None:
    roi = write_regions(tmp_path / "roi.geojson", Glass=[[10.0, 10.0], [10.5, 10.0], [10.5, 10.5]])
    with read(piece) as slide:
        with pytest.raises(NoTissue, match=r"regions 'roi\.geojson' hold no tissue of slide 'piece'"):
            find_tissue(slide, roi=roi)
        with pytest.raises(NoTissue, match=r"tissue mask 'roi\.geojson' holds no cell of 4 um"):
            find_tissue(slide, tissue_mask=roi)


def test_a_run_keeps_the_classes_and_is_redone_for_other_regions(piece: Path, tmp_path: Path) -> None:
    first = write_regions(tmp_path / "one.geojson", Tumour=TUMOUR)
    renamed = write_regions(tmp_path / "two.geojson", Necrosis=TUMOUR)
    runs = [run_slide(piece, tmp_path, until="graph", roi=roi) for roi in (first, first, renamed, None)]
    assert [run.resumed for run in runs] == [(), ("tissue", "segment", "graph"), (), ()]
    assert load_graph(tmp_path / "piece" / "graph.safetensors").class_names == ()
    run_slide(piece, tmp_path, until="graph", roi=renamed)
    assert load_graph(tmp_path / "piece" / "graph.safetensors").class_names == ("Necrosis",)
    again = [run_slide(piece, tmp_path, until="graph", roi=renamed, redo=redo) for redo in (False, True)]
    assert [run.resumed for run in again] == [("tissue", "segment", "graph"), ()]
    assert load_tissue_map(tmp_path / "piece" / "tissue.zarr").tissue.any()
