"""Names of regions: sets, areas that add up, and compartments that keep every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wsigraph.errors import ModelError
from wsigraph.geometry import Size, px_to_mm2
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.graph.tissue_class.class_amounts import measure_composition
from wsigraph.graph.tissue_class.class_features import GLASS, class_feature_names, class_features
from wsigraph.graph.tissue_class.class_regions import merge_by_class
from wsigraph.graph.tissue_class.node_classifier import (
    FILE,
    UNNAMED,
    NodeClassifier,
    RegionClasses,
    load_node_classifier,
    save_node_classifier,
)
from wsigraph.records import StainBasis, TissueGraph

N = 12


@pytest.fixture
def graph() -> TissueGraph:
    """Return a row of twelve squares of 10 x 10 px, each touching the next along 10 px."""
    rng = np.random.default_rng(3)
    moments = np.zeros((N, len(MOMENT_NAMES)), np.int64)
    moments[:, MOMENT_NAMES.index("n")] = 100
    for name in MOMENT_NAMES:
        if name.startswith(("od_", "nuclei", "nucleus_")):
            moments[:, MOMENT_NAMES.index(name)] = rng.integers(1, 9, N)
    for stain in ("hematoxylin", "eosin"):
        moments[:, MOMENT_NAMES.index(f"{stain}_bin_3")] = 100
    moments[:, MOMENT_NAMES.index("lightness_bin_10")] = 100
    first = np.arange(N - 1)
    edge_index, boundary = both_directions(first, first + 1, np.tile([10, 18], (N - 1, 1)))
    stain = StainBasis(
        vectors=np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
        / np.linalg.norm([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], axis=1, keepdims=True),
        max_concentration=np.array([1.0, 1.0]),
        nucleus_threshold=0.4,
        source="reference",
    )
    return TissueGraph(
        slide_id="row",
        mpp=1.0,
        size=Size(10, 10 * N),
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=stain,
    )


def as_classes(sets: list[str], glass: tuple[int, ...] = ()) -> RegionClasses:
    """Return the classes Epithelium, Stroma and Fat with the sets that letters name, the first most likely."""
    inside = np.array([[letter in held for letter in "esf"] for held in sets])
    probability = np.array([[0.6 if held[:1] == letter else 0.2 for letter in "esf"] for held in sets])
    is_glass = np.isin(np.arange(len(sets)), glass)
    colours = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
    return RegionClasses(
        names=("Epithelium", "Stroma", "Fat"),
        colours=colours,
        probability=probability,
        inside=inside,
        is_glass=is_glass,
    )


def test_a_set_names_a_region_only_where_it_is_certain() -> None:
    classes = as_classes(["e", "se", "", "esf", "f", "s"], glass=(5,))
    names, label = classes.labels()
    assert [names[number] for number in label] == ["Epithelium", "Epithelium or Stroma", UNNAMED, UNNAMED, "Fat", GLASS]
    assert names == ("Epithelium", "Stroma", "Fat", "Epithelium or Stroma", UNNAMED, GLASS)
    assert classes.label_colours()[3] == (100, 100, 0)


def test_areas_and_front_are_exact(graph: TissueGraph) -> None:
    classes = as_classes(["e"] * 4 + ["s"] * 4 + ["se"] * 2 + ["", "f"], glass=(11,))
    amounts = measure_composition(graph, classes)
    mm2 = px_to_mm2(100.0, 1.0)
    assert amounts.tissue_mm2 == pytest.approx(11 * mm2)
    assert amounts.glass_mm2 == pytest.approx(mm2)
    # the region without a set has letter "" and is most likely Epithelium by the order of columns
    assert amounts.area_mm2["Epithelium"].value == pytest.approx(5 * mm2)
    stroma = amounts.area_mm2["Stroma"]
    assert (stroma.low, stroma.value, stroma.high) == pytest.approx((4 * mm2, 6 * mm2, 6 * mm2))
    assert sum(area.value for area in amounts.area_mm2.values()) == pytest.approx(amounts.tissue_mm2)
    assert amounts.unnamed_mm2 == pytest.approx(mm2)
    ratio = amounts.ratio
    assert ratio is not None
    assert ratio.low <= ratio.value <= ratio.high
    nuclei = graph.moment("nuclei")[4:10].sum()
    density = amounts.stroma_nuclei_per_mm2
    assert density is not None
    assert density.value == pytest.approx(nuclei / (6 * mm2))
    # squares 4|5 (numbered from 1) touch, and 10|11; a boundary of 10 px is 10 um but for Crofton's error
    assert amounts.front_mm == pytest.approx(2 * 0.00893, abs=0.0012)
    assert "% stroma" in amounts.sentence()


def test_compartments_are_of_one_name_and_lose_nothing(graph: TissueGraph) -> None:
    label = np.array([0, 0, 0, 0, 1, 0, 0, 2, 2, 2, 3, 2])
    merged, names = merge_by_class(graph, label, min_area_um2=1.0, apart=3)
    assert names.tolist() == [0, 1, 0, 2, 3, 2]
    assert merged.assignment.tolist() == [0, 0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5]
    merged, names = merge_by_class(graph, label, min_area_um2=250.0, apart=3)
    # the single square of name 1 and the pair beside it join; the square of glass and what lies behind it stay
    assert names.tolist() == [0, 2, 3, 2]
    assert (merged.graph.moments.sum(axis=0) == graph.moments.sum(axis=0)).all()


def test_features_of_a_slide_are_in_its_own_units(graph: TissueGraph) -> None:
    values, is_glass = class_features(graph, neighbours=True)
    assert values.shape == (N, len(class_feature_names(neighbours=True)))
    assert np.isfinite(values).all()
    assert not is_glass.any()
    own, _ = class_features(graph, neighbours=False)
    half = own.shape[1] // 2
    assert (values[:, : own.shape[1]] == own).all()
    assert np.median(own[:, half:], axis=0) == pytest.approx(0.0, abs=1e-9)
    white = graph.moments.copy()
    white[0, MOMENT_NAMES.index("lightness_bin_10")] = 40
    white[0, MOMENT_NAMES.index("lightness_bin_15")] = 60
    from dataclasses import replace

    assert class_features(replace(graph, moments=white), neighbours=False)[1].tolist() == [True] + [False] * (N - 1)


def model_of(graph: TissueGraph) -> NodeClassifier:
    values, _ = class_features(graph, neighbours=False)
    rng = np.random.default_rng(5)
    return NodeClassifier(
        class_names=("Epithelium", "Stroma"),
        colours=((200, 0, 0), (0, 200, 0)),
        neighbours=False,
        mean=values.mean(axis=0),
        scale=values.std(axis=0) + 1.0,
        weights=rng.normal(size=(values.shape[1], 2)),
        bias=np.zeros(2),
        thresholds=np.array([0.4, 0.3]),
        card={"scores": {"balanced_accuracy": 0.9}},
    )


def test_a_model_is_read_as_it_was_written(graph: TissueGraph, tmp_path) -> None:
    model = model_of(graph)
    save_node_classifier(model, tmp_path)
    again = load_node_classifier(tmp_path)
    assert again.card == model.card
    assert (again.classify(graph).probability == model.classify(graph).probability).all()
    assert load_node_classifier(tmp_path / FILE).class_names == model.class_names


def test_a_changed_or_foreign_model_is_refused(graph: TissueGraph, tmp_path) -> None:
    path = save_node_classifier(model_of(graph), tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="does not read"):
        load_node_classifier(tmp_path)
    with pytest.raises(ModelError, match="expected a model of wsigraph train-tissue"):
        load_node_classifier(tmp_path / "absent")
    from dataclasses import replace

    save_node_classifier(replace(model_of(graph), feature_schema="0" * 16), tmp_path)
    with pytest.raises(ModelError, match="trained on feature schema 0000"):
        load_node_classifier(tmp_path)
    with pytest.raises(ModelError, match="build the graph with --nuclei network"):
        replace(model_of(graph), nuclei="network 123").classify(graph)
