"""Attributions of many slides in one table, and one slide's where they lie."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from wsigraph import cohort, figures, store
from wsigraph.errors import CohortError
from wsigraph.geometry import Size
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.records import CoarseGraph, Explanation, TissueGraph

FEATURE = np.array([[0.5, -0.2], [0.1, 0.4], [-0.3, 0.0]])


def explanation(slide_id: str, target: str = "risk") -> Explanation:
    """Three regions of two kinds, two features of two groups, boundaries that account for 0.1."""
    return Explanation(
        slide_id=slide_id,
        model_id="abc",
        target=target,
        unit="",
        reference_input_id="mean",
        value=1.0,
        reference_value=0.4,
        output_sd=None,
        completeness_error=0.0,
        completeness_limit=0.01,
        n_steps=10,
        feature=FEATURE,
        feature_names=("hematoxylin_mean", "log_area"),
        feature_groups=("stain", "shape"),
        cluster_attribution=np.zeros(3),
        edge=np.array([0.05, 0.05]),
        other_targets={},
        superpixel=FEATURE.sum(axis=1),
        cluster=np.array([0, 1, 0]),
        cluster_names=("dark", "pale"),
        broad_cluster=np.zeros(len(FEATURE), np.int64),
        broad_cluster_names=("tissue",),
        neighbourhood=np.array([0, 1, 0]),
        member_value=np.array([1.0]),
        member_agreement=None,
        edge_ablation_value=1.0,
        cut_node=np.zeros(0, np.int64),
        cut_change=np.zeros(0),
        node=FEATURE.sum(axis=1),
        notice="made",
    )


def test_parts_of_a_slide_add_up_to_what_is_explained() -> None:
    frame = cohort.reasons([explanation("a"), explanation("b")])
    assert len(frame) == 2 * (2 + 3 + 2)
    one = frame[frame["slide_id"] == "a"]
    feature = one[one["by"] == "feature"].set_index("name")["attribution"]
    assert feature["hematoxylin_mean"] == pytest.approx(0.3)
    assert feature["log_area"] == pytest.approx(0.2)
    group = one[one["by"] == "group"].set_index("name")["attribution"]
    assert group.to_dict() == pytest.approx({"stain": 0.3, "shape": 0.2, "boundaries": 0.1})
    # completeness: value less baseline
    assert group.sum() == pytest.approx(0.6)
    kind = one[one["by"] == "cluster"].set_index("name")["attribution"]
    assert kind.to_dict() == pytest.approx({"dark": 0.0, "pale": 0.5})
    assert one.groupby("by")["fraction"].agg(lambda parts: parts.abs().sum()).tolist() == pytest.approx([1.0] * 3)


def test_a_run_whose_slides_were_explained_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        store.save_explanation(explanation(name), tmp_path / name / "explanation.safetensors")
    frame = cohort.reasons(tmp_path)
    assert frame["slide_id"].unique().tolist() == ["a", "b"]
    assert frame["is_complete"].all()
    assert frame["member_agreement"].isna().all()


def test_nothing_explained_and_different_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="make them with wsigraph explain"):
        cohort.reasons(tmp_path)
    with pytest.raises(CohortError, match="there is no explanation"):
        cohort.reasons([])
    with pytest.raises(CohortError, match="are of risk, stage, expected one target"):
        cohort.reasons([explanation("a"), explanation("b", "stage")])


def graph_of(n: int) -> CoarseGraph:
    moments = np.zeros((n, len(MOMENT_NAMES)), np.int64)
    column = {name: index for index, name in enumerate(MOMENT_NAMES)}
    moments[:, column["n"]] = 100
    moments[:, column["sum_x"]] = 100 * 1000 * np.arange(n)
    moments[:, column["sum_y"]] = 100 * 500
    graph = TissueGraph(
        slide_id="a",
        mpp=1.0,
        size=Size(1000, 4000),
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=np.zeros((2, 0), np.int64),
        boundary=np.zeros((0, 2), np.int64),
        stain=None,
    )
    return CoarseGraph(graph=graph, assignment=np.arange(n), embedding_id="none")


def test_regions_are_drawn_where_they_lie() -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    coarse = graph_of(3)
    ax = figures.plot_regions(coarse, explanation("a"))
    (dots,) = [each for each in ax.collections if len(each.get_offsets()) == 3 and each.get_array() is not None]
    np.testing.assert_allclose(dots.get_offsets(), coarse.graph.centroid_um / 1000)
    np.testing.assert_allclose(dots.get_array(), FEATURE.sum(axis=1))
    assert ax.yaxis_inverted()
    with pytest.raises(CohortError, match="pass the explanation of this graph"):
        figures.plot_regions(graph_of(2), explanation("a"))
    pyplot.close("all")
