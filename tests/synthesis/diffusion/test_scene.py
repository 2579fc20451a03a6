from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from wsigraph.errors import StoreError, SynthesisError
from wsigraph.synthesis.diffusion.scene import (
    UNKNOWN,
    Scene,
    check_scene,
    ordered,
    rasterise,
    scene_from_graph,
    scene_from_labels,
)
from wsigraph.synthesis.diffusion.scene_file import parse_scene, read_scene, scene_document
from wsigraph.synthesis.simulation.layout import FAT, TUMOUR, Layout
from wsigraph.synthesis.simulation.simulate import Library, draw_graph


def permuted(scene: Scene, order: np.ndarray) -> Scene:
    rank = np.argsort(order)
    labels = None if scene.labels is None else np.concatenate([[0], rank + 1]).astype(np.int32)[scene.labels]
    return dataclasses.replace(
        scene,
        classes=scene.classes[order],
        position_um=scene.position_um[order],
        area_um2=scene.area_um2[order],
        shape=scene.shape[order],
        density=scene.density[order],
        edge_index=rank[scene.edge_index],
        labels=labels,
    )


def assert_same(one: Scene, other: Scene) -> None:
    for field in dataclasses.fields(Scene):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_two_squares_have_known_places_and_share_an_edge() -> None:
    labels = np.repeat(np.array([[1, 2]], np.int32), 10, axis=0).repeat(10, axis=1)
    scene = scene_from_labels(labels, np.array([TUMOUR, FAT]), mpp=2.0)
    np.testing.assert_allclose(scene.position_um, [[10, 10], [30, 10]])
    np.testing.assert_allclose(scene.area_um2, [400, 400])
    np.testing.assert_allclose(scene.shape, 0, atol=1e-12)
    assert scene.edge_index.tolist() == [[0, 1], [1, 0]]
    # 10 straight and 18 diagonal pairs of pixels cross it
    np.testing.assert_allclose(scene.boundary_um, 2.0 * np.pi / 8 * (10 + 18 / np.sqrt(2)))


def test_a_wide_region_points_along_x_and_a_tall_one_along_y() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[2:6, 2:38] = 1
    labels[10:38, 4:8] = 2
    wide, tall = scene_from_labels(labels, np.array([0, 0]), mpp=1.0).shape
    assert wide[0] > 0.9
    assert tall[0] < -0.9


def test_density_is_mean_and_spread_of_each_region() -> None:
    image = np.full((4, 8, 3), 255, np.uint8)
    image[:, 4:] = 25
    image[:2, 4:] = 255
    labels = np.repeat(np.array([[1, 1, 1, 1, 2, 2, 2, 2]], np.int32), 4, axis=0)
    scene = scene_from_labels(labels, np.array([0, 1]), mpp=1.0, image=image)
    dark = np.log10(256 / 26)
    np.testing.assert_allclose(scene.density[0], 0, atol=1e-3)
    np.testing.assert_allclose(scene.density[1], dark / 2, atol=1e-3)


def test_a_graph_of_moments_says_what_its_label_image_says(library: Library) -> None:
    tessellation = library.tessellations[0]
    classes = np.random.default_rng(1).integers(0, 7, (tessellation.rows, tessellation.columns)).astype(np.uint8)
    layout = Layout(classes=classes)
    graph = draw_graph(layout, tessellation, library, site=0, slide_id="synthetic-1", rng=np.random.default_rng(0))
    scene = scene_from_graph(graph, classes=layout.classes.ravel().astype(np.int64), mpp=library.mpp)
    seen = scene_from_labels(tessellation.labels, layout.classes.ravel().astype(np.int64), mpp=library.mpp)
    assert scene.n_nodes == seen.n_nodes
    assert scene.edge_index.shape == seen.edge_index.shape
    # moments are drawn from other cells of the same lattice, so areas agree over the whole alone
    assert scene.area_um2.sum() == pytest.approx(seen.area_um2.sum(), rel=0.05)
    assert np.isfinite(scene.density).all()
    assert np.isnan(scene_from_graph(graph, mpp=2 * library.mpp).density[:, 3:]).all()
    assert (scene_from_graph(graph).classes == UNKNOWN).all()


def test_the_order_of_nodes_does_not_matter(scene: Scene) -> None:
    order = np.random.default_rng(2).permutation(scene.n_nodes)
    assert_same(ordered(permuted(scene, order)), scene)


def test_a_drawn_mask_gives_back_the_graph(scene: Scene) -> None:
    drawn = rasterise(dataclasses.replace(scene, labels=None), mpp=2.0)
    assert scene.labels is not None
    assert (drawn.labels == scene.labels).mean() > 0.95
    assert rasterise(scene, mpp=2.0) is scene


def test_what_no_area_covers_is_glass(scene: Scene) -> None:
    thin = dataclasses.replace(scene, labels=None, area_um2=scene.area_um2 / 2)
    labels = rasterise(thin, mpp=2.0).labels
    assert labels is not None
    assert (labels > 0).mean() == pytest.approx(0.5, abs=0.01)
    assert set(np.unique(labels)) == set(range(7))


def test_a_canvas_beyond_all_measure_is_refused(scene: Scene) -> None:
    with pytest.raises(SynthesisError, match="expected at most 8192 px a side"):
        rasterise(dataclasses.replace(scene, labels=None, size_um=(1e5, 64.0)), mpp=2.0)


def test_a_document_round_trips(scene: Scene, tmp_path) -> None:
    (tmp_path / "graph.json").write_bytes(scene_document(scene))
    read = read_scene(tmp_path / "graph.json", mpp=2.0)
    assert_same(read, dataclasses.replace(scene, labels=None))
    assert scene_document(read) == scene_document(scene)


def test_edges_left_out_are_those_of_the_drawing(scene: Scene) -> None:
    asked = json.loads(scene_document(scene))
    del asked["edges"]
    read = parse_scene(json.dumps(asked).encode(), "graph.json", mpp=2.0)
    straight = {(int(a), int(b)) for a, b in read.edge_index.T}
    assert {(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)} <= straight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": []}, "without nodes"),
        ({"size_um": [0, 64]}, "expected sides over 0"),
        ({"size_um": [1e9, 1e9]}, "expected sides over 0"),
        ({"edges": [{"source": 0, "target": 9, "boundary_um": 1.0}]}, "joins nodes 0 and 9"),
    ],
)
def test_a_document_that_cannot_be_painted_is_refused(scene: Scene, change: dict, message: str) -> None:
    asked = json.loads(scene_document(scene)) | change
    with pytest.raises(SynthesisError, match=message):
        parse_scene(json.dumps(asked).encode(), "graph.json", mpp=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "bone"}, "node 1 is of class 'bone', expected one of stroma, tumour"),
        ({"x_um": 65.0}, "outside the canvas of 64 x 64 um"),
        ({"y_um": -1.0}, "outside the canvas"),
        ({"area_um2": 0.0}, "area of 0 um2"),
        ({"x_um": None}, "outside the canvas"),
        ({"shape": [1, 2, 3]}, "no graph to paint"),
    ],
)
def test_a_node_that_cannot_be_painted_is_refused(scene: Scene, change: dict, message: str) -> None:
    asked = json.loads(scene_document(scene))
    asked["nodes"][1] |= change
    with pytest.raises(SynthesisError, match=message):
        parse_scene(json.dumps(asked).encode(), "graph.json", mpp=2.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"[]", "no graph to paint"),
        (b'{"nodes": 3, "size_um": [1, 1]}', "no graph to paint"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_nonsense_is_no_graph(content: bytes, message: str) -> None:
    with pytest.raises(SynthesisError, match=message):
        parse_scene(content, "graph.json", mpp=2.0)


def test_a_missing_file_is_named(tmp_path) -> None:
    for name in ("graph.json", "graph.safetensors", "a.zarr"):
        with pytest.raises(StoreError, match=name):
            read_scene(tmp_path / name, mpp=2.0)


def test_too_many_nodes_names_the_limit(scene: Scene) -> None:
    with pytest.raises(SynthesisError, match="graph of 6 nodes on one canvas, the model takes at most 5"):
        check_scene(scene, max_nodes=5)


def test_a_label_image_without_regions_is_refused() -> None:
    with pytest.raises(SynthesisError, match="without any region"):
        scene_from_labels(np.zeros((4, 4), np.int32), np.array([0]), mpp=1.0)
