"""Features of tiles averaged over superpixels, against counting pixel by pixel; and feature files out and in again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from wsigraph.config import Config, load
from wsigraph.errors import MissingMpp
from wsigraph.exchange.feature_slide import open_features, slide_of_tiles
from wsigraph.exchange.superpixel_features import sum_over_superpixels
from wsigraph.exchange.tile_features import states_pixel_size
from wsigraph.exchange.trident_file import write_trident
from wsigraph.geometry import Box
from wsigraph.graph.feature.encode import encoding
from wsigraph.graph.feature.interpret import known_features
from wsigraph.records import CoarseGraph, SuperpixelLabels, TissueGraph

SETTINGS = load(overrides=["superpixel.mpp=1.0"])
SIDE = 40


def tiles(path: Path, corners: np.ndarray, features: np.ndarray, **stated: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=corners.astype(np.int64)).attrs.update(stated)
        file["features"] = features
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return twelve tiles of 40 px at 0.5 um/px, without one of them."""
    corners = np.array([(SIDE * x, SIDE * y) for y in range(3) for x in range(4) if (x, y) != (2, 1)])
    features = np.random.default_rng(4).standard_normal((len(corners), 5)).astype(np.float32)
    return tiles(tmp_path / "s.h5", corners, features, patch_size_level0=SIDE, level0_width=200, level0_height=140)


def test_sums_equal_counting_pixel_by_pixel(file: Path) -> None:
    """Superpixels inside tiles, across tiles, partly and wholly outside of them."""
    features = open_features(file, SETTINGS, mpp=0.5)
    whole = features.graph("s", "h&e")
    tissue = features.tissue(SETTINGS)
    labels = np.zeros((70, 100), np.int32)
    labels[2:18, 2:15] = 1  # inside one tile
    labels[10:30, 15:45] = 2  # over four
    labels[22:38, 42:58] = 3  # inside the missing tile: none
    labels[45:70, 60:100] = 4  # beyond the tiles
    record = SuperpixelLabels(labels=labels, n_superpixels=4, mpp=1.0, tissue=tissue)
    n = np.bincount(labels.ravel())[1:]
    y, x = (np.array([np.nonzero(labels == label)[axis].sum() for label in range(1, 5)]) for axis in (0, 1))
    moments = np.zeros((4, len(whole.moment_names)), np.int64)
    for name, values in (("n", n), ("sum_x", x), ("sum_y", y)):
        moments[:, whole.moment_names.index(name)] = values
    graph = dataclasses.replace(
        whole, moments=moments, edge_index=np.zeros((2, 0), np.int64), boundary=np.zeros((0, 2), np.int64),
        encoding_sum=None, encoder=None,
    )  # fmt: skip
    sums = sum_over_superpixels(features, record, graph)
    painted = features.labels[:, :]
    rounded = np.rint(features.table.features.astype(np.float64) * 256).astype(np.int64)
    for label in (1, 2, 4):
        inside = painted[(labels == label) & (painted > 0)]
        total = rounded[inside - 1].sum(axis=0)
        if len(inside) == n[label - 1]:
            np.testing.assert_array_equal(sums[label - 1], total)
        else:
            np.testing.assert_allclose(sums[label - 1] / n[label - 1], total / len(inside), atol=0.5)
    # a superpixel without a tile has the features of the nearest
    assert (sums[2] == n[2] * rounded).all(axis=1).any()


def test_the_pixel_size_comes_from_the_file_before_it_is_given(tmp_path: Path) -> None:
    corners = np.array([(SIDE * x, 0) for x in range(4)])
    plain = tiles(tmp_path / "a.h5", corners, np.ones((4, 2), np.float32), patch_size_level0=SIDE)
    stated = tiles(tmp_path / "b.h5", corners, np.ones((4, 2), np.float32), patch_size_level0=SIDE, level0_mpp=0.25)
    assert (states_pixel_size(plain), states_pixel_size(stated)) == (False, True)
    assert open_features(plain, SETTINGS, mpp=0.5).mpp == 0.5
    assert open_features(stated, SETTINGS, mpp=0.5).mpp == 0.25
    with pytest.raises(
        MissingMpp, match=r"states no pixel size; give the slide.*column mpp of a manifest or with --mpp"
    ):
        open_features(plain, SETTINGS)


def test_tiles_are_drawn_alike_at_every_level(file: Path) -> None:
    features = open_features(file, SETTINGS, mpp=0.5)
    with slide_of_tiles(features, "s") as slide:
        for level, one in enumerate(slide.info.levels):
            whole = slide.read(Box.whole(one.size), slide.info.mpp * float(one.downsample))
            pale = (whole != 255).any(axis=2).mean()
            assert pale == pytest.approx(11 * SIDE**2 / (200 * 140), abs=0.02 if level < 2 else 0.2)
        assert slide.info.sha256 == features.sha256
        assert slide.info.warnings[0].startswith("no slide was given")


def test_a_graph_without_pixels_has_shape_alone(file: Path) -> None:
    table = known_features(open_features(file, SETTINGS, mpp=0.5).graph("s", "h&e"))
    assert set(table.groups) == {"shape"}
    np.testing.assert_allclose(table.values[:, table.names.index("log_area")], np.log(400.0))


def test_tiles_come_back_from_trident_s_form(file: Path, tmp_path: Path) -> None:
    features = open_features(file, SETTINGS, mpp=0.5)
    graph = features.graph("s", "h-dab")
    path = write_trident(graph, tmp_path / "out.h5", level0_mpp=0.5, level0=features.level0)
    again = open_features(path, SETTINGS)
    np.testing.assert_array_equal(again.table.coords, features.table.coords)
    np.testing.assert_array_equal(again.graph("s", "h&e").encoding_sum, graph.encoding_sum)
    with h5py.File(path) as written:
        assert written["coords"].attrs["stain"] == "h-dab"
    assert (again.side, again.level0, again.mpp) == (SIDE, features.level0, 0.5)
    assert (
        path.read_bytes()
        == write_trident(graph, tmp_path / "two.h5", level0_mpp=0.5, level0=features.level0).read_bytes()
    )


def test_regions_and_superpixels_are_written_for_mil_tools(
    graph: TissueGraph, coarse: CoarseGraph, tmp_path: Path
) -> None:
    write_trident(coarse, tmp_path / "coarse.h5", level0_mpp=0.5)
    plain = dataclasses.replace(graph, encoding_sum=None, encoder=None)
    write_trident(plain, tmp_path / "plain.h5", level0_mpp=0.5)
    with h5py.File(tmp_path / "coarse.h5") as file:
        np.testing.assert_allclose(file["features"][()], encoding(graph))
        assert file["coords"].attrs["patch_size_level0"] == 40  # 20 um at 0.5 um/px
        assert file["features"].attrs["encoder"] == "drawn"
    with h5py.File(tmp_path / "plain.h5") as file:
        assert file["features"].shape == (4, 36)
        assert next(iter(file["features"].attrs["columns"])) == known_features(graph).names[0]


def test_default_settings_are_used_where_none_are_given(file: Path) -> None:
    assert open_features(file, mpp=0.5).working_mpp == Config().superpixel.mpp
