"""Feature files of TRIDENT and CLAM as graphs: exact geometry, exact sums, named refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsigraph.config import Config, load
from wsigraph.errors import MissingMpp, PluginError, RecordError, StoreError
from wsigraph.exchange import optional
from wsigraph.exchange.tile_features import read_features
from wsigraph.exchange.tile_graph import GEOMETRY_NAMES
from wsigraph.exchange.trident import graph_from_features
from wsigraph.geometry import Size
from wsigraph.graph.feature.encode import encoding
from wsigraph.graph.feature.interpret import interpret
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.records import TissueGraph
from wsigraph.slide.reader import read
from wsigraph.store import load_graph, save_graph

WriteFeatures = Callable[..., Path]
TRIDENT: dict[str, Any] = {
    "patch_size": 256,
    "patch_size_level0": 240,
    "level0_magnification": 20,
    "target_magnification": 10,
    "overlap": 0,
    "name": "CMU-1-Small-Region",
    "savetodir": "None",
    "level0_width": 2220,
    "level0_height": 2967,
}


def _grid(rows: range, columns: range, side: int = 240, at: tuple[int, int] = (0, 0)) -> np.ndarray:
    return np.array([(at[0] + x * side, at[1] + y * side) for y in rows for x in columns], dtype=np.int64)


def _column(graph: TissueGraph, names: tuple[str, ...] = GEOMETRY_NAMES) -> np.ndarray:
    return np.stack([graph.moment(name) for name in names], axis=1)


@pytest.mark.parametrize("mpp", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("chunk_px", [300, 2048])
def test_geometry_equals_what_counting_the_slide_s_pixels_gives(
    small_slide: Path, write_features: WriteFeatures, mpp: float, chunk_px: int
) -> None:
    """Two grids of CLAM's kind: one that leaves the slide at the right, one that is shifted against it, and a gap."""
    coords = np.concatenate([_grid(range(2, 5), range(6, 10)), _grid(range(2), range(3), at=(113, 1300))])
    path = write_features(np.delete(coords, 5, axis=0), **TRIDENT)
    settings = load(overrides=[f"superpixel.mpp={mpp}", f"runtime.chunk_px={chunk_px}"])
    with read(small_slide) as slide:
        counted = graph_from_features(path, slide, settings)
    drawn = graph_from_features(path, config=settings, mpp=0.499)
    np.testing.assert_array_equal(_column(drawn), _column(counted))
    np.testing.assert_array_equal(drawn.edge_index, counted.edge_index)
    np.testing.assert_array_equal(drawn.boundary, counted.boundary)
    np.testing.assert_array_equal(drawn.encoding_sum, counted.encoding_sum)
    assert drawn.size == counted.size
    assert (counted.slide_id, drawn.slide_id) == ("CMU-1-Small-Region", "CMU-1-Small-Region")
    assert counted.moment_names == MOMENT_NAMES
    assert drawn.moment_names == GEOMETRY_NAMES


def test_two_by_two_tiles_by_hand(write_features: WriteFeatures) -> None:
    """Tiles of 4 px in the middle of a slide of 16: areas, sums, sides and the corner where all four meet."""
    coords = _grid(range(2), range(2), side=4, at=(4, 4))
    path = write_features(coords, **(TRIDENT | {"patch_size_level0": 4, "level0_width": 16, "level0_height": 16}))
    graph = graph_from_features(path, config=load(overrides=["superpixel.mpp=0.5"]), mpp=0.5)
    assert graph.moment("n").tolist() == [16] * 4
    assert graph.moment("sum_x").tolist() == [4 * (4 + 5 + 6 + 7), 4 * (8 + 9 + 10 + 11)] * 2
    assert graph.moment("sum_xx")[0] == 4 * (16 + 25 + 36 + 49)
    assert graph.moment("sum_xy")[0] == 22 * 22
    edges = zip(graph.edge_index.T.tolist(), graph.boundary.tolist(), strict=True)
    pairs = {tuple(pair): tuple(count) for pair, count in edges}
    side, corner = (4, 6), (0, 1)
    assert pairs[0, 1] == pairs[0, 2] == pairs[1, 3] == pairs[3, 2] == side
    assert pairs[0, 3] == pairs[1, 2] == corner
    assert len(pairs) == 12
    # a lone square of 4 px has 16 straight and 28 diagonal pairs around it
    assert (graph.moment("outside_straight") == 16 - 2 * 4).all()
    assert (graph.moment("outside_diagonal") == 28 - 2 * 6 - 1).all()
    assert not graph.moment("edge_straight").any()


def test_the_slide_s_edge_is_told_from_glass(write_features: WriteFeatures) -> None:
    coords = np.array([[0, 0]])
    known = TRIDENT | {"patch_size_level0": 4, "level0_width": 4, "level0_height": 8}
    settings = load(overrides=["superpixel.mpp=0.5"])
    graph = graph_from_features(write_features(coords, **known), config=settings, mpp=0.5)
    assert (graph.moment("edge_straight")[0], graph.moment("outside_straight")[0]) == (12, 4)
    del known["level0_width"]
    graph = graph_from_features(write_features(coords, **known), config=settings, mpp=0.5)
    assert (graph.moment("edge_straight")[0], graph.moment("outside_straight")[0]) == (8, 8)


def test_the_graph_carries_the_stain(write_features: WriteFeatures) -> None:
    path = write_features(_grid(range(3), range(3)), **TRIDENT)
    stained = graph_from_features(path, config=load(overrides=["slide.stain=h-dab"]), mpp=0.5)
    assert stained.stain.name == "h-dab"


def test_features_come_back_as_means(write_features: WriteFeatures) -> None:
    coords = _grid(range(3), range(4))
    features = np.random.default_rng(3).normal(size=(12, 5)).astype(np.float16)
    graph = graph_from_features(write_features(coords, features, **TRIDENT), mpp=0.499, encoder="uni_v1")
    assert graph.encoder == "uni_v1"
    assert np.abs(encoding(graph) - features).max() <= 0.5 / 256
    rounded = np.rint(features.astype(np.float64) * 256).astype(np.int64)
    np.testing.assert_array_equal(graph.encoding_sum, rounded * graph.moment("n")[:, None])


def test_coarse_sums_are_those_of_the_tiles(small_slide: Path, write_features: WriteFeatures) -> None:
    """The graph serves the coarsening like one of superpixels."""
    from wsigraph.graph.coarsening.coarsen import coarsen

    path = write_features(_grid(range(3, 9), range(2, 8)), **TRIDENT)
    with read(small_slide) as slide:
        graph = graph_from_features(path, slide)
    coarse = coarsen(graph)
    assert graph.encoding_sum is not None
    assert coarse.graph.encoding_sum is not None
    np.testing.assert_array_equal(coarse.graph.encoding_sum.sum(axis=0), graph.encoding_sum.sum(axis=0))
    assert coarse.graph.n_nodes <= graph.n_nodes
    assert interpret(graph).values.shape == (36, 36)


def test_a_graph_of_geometry_alone_is_not_interpreted(write_features: WriteFeatures, tmp_path: Path) -> None:
    graph = graph_from_features(write_features(_grid(range(2), range(2)), **TRIDENT), mpp=0.499)
    with pytest.raises(RecordError, match="moment schema"):
        interpret(graph)
    save_graph(graph, tmp_path / "graph.safetensors")
    again = load_graph(tmp_path / "graph.safetensors")
    np.testing.assert_array_equal(again.moments, graph.moments)
    assert again.moment_names == GEOMETRY_NAMES


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({"patch_size_level0": 512.0, "patch_size": 256}, 512),
        ({"patch_size": 256, "patch_level": 1, "downsample": (4.00023, 4.00023)}, 1024),
        ({"patch_size": 256, "patch_level": 0}, 256),
        ({"patch_size": 256, "patch_level": 0, "custom_downsample": 2}, 512),
        ({"patch_size": 256, "patch_level": 1}, None),
        ({}, None),
    ],
    ids=["TRIDENT", "CLAM", "CLAM level 0", "CLAM custom", "CLAM without downsample", "CLAM features"],
)
def test_the_side_of_a_tile_is_read_or_asked_for(
    write_features: WriteFeatures, attributes: dict[str, Any], side: int | None
) -> None:
    path = write_features(np.array([[0, 0], [4096, 0]]), **attributes)
    assert read_features(path).tile_px == side
    if side is None:
        with pytest.raises(RecordError, match="states no side of a tile"):
            graph_from_features(path, mpp=0.5)
        assert graph_from_features(path, mpp=0.5, tile_px=64).moment("n").tolist() == [1024, 1024]


def test_the_features_own_attributes_name_the_encoder(write_features: WriteFeatures) -> None:
    h5py = pytest.importorskip("h5py")
    path = write_features(_grid(range(1), range(2)), **TRIDENT)
    with h5py.File(path, "a") as file:
        file["features"].attrs["encoder"] = "conch_v15"
    table = read_features(path)
    assert (table.encoder, table.name, table.level0) == ("conch_v15", "CMU-1-Small-Region", Size(2967, 2220))
    assert graph_from_features(path, mpp=0.5).encoder == "conch_v15"


@pytest.mark.parametrize(
    ("coords", "words"),
    [
        (np.array([[0, 0], [239, 0]]), "overlap"),
        (np.array([[0, 0], [130, 130], [400, 0]]), "overlap"),
        (np.array([[0, 0], [0, 0]]), "overlap"),
        (np.array([[0, 0], [2400, 0]]), "1 of 2 tiles hold no pixel of the slide of 2220 x 2967 px .the first at x 24"),
        (np.array([[-1, 0]]), "below 0"),
        (np.zeros((0, 2), np.int64), "holds no tile"),
    ],
)
def test_tiles_that_contradict_one_another_or_the_slide_are_refused(
    write_features: WriteFeatures, coords: np.ndarray, words: str
) -> None:
    with pytest.raises(RecordError, match=words):
        graph_from_features(write_features(coords, **TRIDENT), mpp=0.5)


@pytest.mark.parametrize(
    ("coords", "features", "words"),
    [
        (np.full((2, 2), 0.5), None, "coords of float64 that are not whole"),
        (np.zeros((2, 3), np.int64), None, "coords of int64 in shape .2, 3."),
        (np.zeros(4, np.int64), None, "expected numbers .N, 2."),
        (_grid(range(1), range(2)), np.zeros((2, 3), np.int32), "features of int32"),
        (_grid(range(1), range(2)), np.zeros((2, 2, 3), np.float32), "in shape .2, 2, 3."),
    ],
)
def test_datasets_of_another_type_are_refused(
    write_features: WriteFeatures, coords: np.ndarray, features: np.ndarray | None, words: str
) -> None:
    with pytest.raises(StoreError, match=words):
        read_features(write_features(coords, features, **TRIDENT))


def test_features_that_do_not_fit_are_refused(write_features: WriteFeatures) -> None:
    coords = _grid(range(1), range(2))
    with pytest.raises(RecordError, match="2 coords and 3 features"):
        read_features(write_features(coords, np.zeros((3, 4), np.float32)))
    for bad in (np.nan, np.inf, 2.0**21):
        with pytest.raises(RecordError, match="not finite or beyond 1048576"):
            read_features(write_features(coords, np.array([[0.0, bad], [1.0, 2.0]])))


def test_files_that_are_none_are_refused(tmp_path: Path, write_features: WriteFeatures) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(StoreError, match="does not exist"):
        read_features(tmp_path / "absent.h5")
    note = tmp_path / "note.h5"
    note.write_text("not HDF5")
    with pytest.raises(StoreError, match="is no HDF5 file"):
        read_features(note)
    cut = write_features(_grid(range(9), range(9)), np.ones((81, 64), np.float32))
    cut.write_bytes(cut.read_bytes()[:4000])
    with pytest.raises(StoreError, match="is no HDF5 file"):
        read_features(cut)
    with h5py.File(tmp_path / "coords.h5", "w") as file:
        file["coords"] = np.zeros((2, 2), np.int64)
    with pytest.raises(StoreError, match="no dataset 'features' but coords; give the file that the encoder wrote"):
        read_features(tmp_path / "coords.h5")


def test_the_pixel_size_and_the_slide_must_fit(small_slide: Path, write_features: WriteFeatures) -> None:
    path = write_features(_grid(range(1), range(2)), **TRIDENT)
    for mpp, words in ((None, "states no pixel size"), (896.0, "896 um/px is not credible"), (float("nan"), "nan")):
        with pytest.raises(MissingMpp, match=words):
            graph_from_features(path, mpp=mpp)
    other = write_features(_grid(range(1), range(2)), file_name="other.h5", **(TRIDENT | {"level0_width": 5000}))
    with read(small_slide) as slide:
        with pytest.raises(RecordError, match="expected one"):
            graph_from_features(path, slide, mpp=0.5)
        with pytest.raises(RecordError, match="of a slide of 5000 x 2967 px"):
            graph_from_features(other, slide)


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(PluginError, match=r"reading nothing needs the package absent_one .*wsigraph\[exchange\]"):
        optional.load_package("absent_one.part", "reading nothing")


def test_many_tiles_cost_little(write_features: WriteFeatures) -> None:
    """40,000 tiles in one grid: 4 x 2 neighbours each but at the border."""
    coords = _grid(range(200), range(200), side=256)
    path = write_features(coords, np.ones((40000, 2), np.float32), patch_size_level0=256)
    graph = graph_from_features(path, config=Config(), mpp=0.25)
    assert graph.n_edges == 2 * 200 * 199 + 2 * 199 * 199
    assert int(graph.moment("n").sum()) == (200 * 64) ** 2
