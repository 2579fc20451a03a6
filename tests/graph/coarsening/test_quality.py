"""The benchmark of coarsening in short: made scenes of two real tissues, embeddings that never saw the scene."""

import numpy as np
import pytest

from tests.benchmarks import coarsening, merging, truth


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return coarsening.made_cases(truth.made(5, 300), tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def compared(cases):
    only = [
        coarsening.OURS,
        "(a) SLIC, larger superpixels",
        "(c) skimage merge_hierarchical",
        "learned, merged by Felzenszwalb-Huttenlocher",
    ]
    return coarsening.quality_table("made", cases, coarsening.by_fold(cases, coarsening.GLANDS), 6, only)


def test_regions_follow_outlines_better_than_others(compared):
    """Two tissues nearly alike: compact superpixels stay as pure, but their boundaries lie elsewhere."""
    table, _ = compared
    purity, recall, regions = (table.column(name) for name in ("purity", "boundary recall", "regions"))
    ours, plain, hierarchical, predicate = purity
    assert recall[ours] > recall[plain] + 0.05
    assert recall[ours] > recall[hierarchical] + 0.1
    assert purity[ours] > purity[hierarchical]
    assert purity[ours] > purity[predicate]
    # baselines never get fewer regions
    assert regions[plain] >= regions[ours]
    assert regions[hierarchical] >= regions[ours]


def test_density_and_entropy_of_a_known_cut():
    """Left a quarter of object in large regions, right all ground in regions of four pixels."""
    side = coarsening.CELL_PX
    rows, columns = np.mgrid[:side, : 2 * side]
    labels = np.where(columns < side, 1, 2 + rows // 2 * side + columns // 2).astype(np.int32)
    outline = (columns < side // 4).astype(np.int64)
    (density, entropy) = coarsening.density_and_entropy(labels, outline)
    np.testing.assert_allclose(density, [1 / side**2, 1 / 4])
    np.testing.assert_allclose(entropy, [0.811278, 0], atol=1e-6)


def test_density_is_reported_for_every_way(cases, compared):
    table = coarsening.density_table("made", cases, compared[1])
    assert [row[0] for row in table.rows] == list(compared[1])


def test_other_scores_reach_the_same_count(cases):
    case = cases[0]
    for method in coarsening.methods(coarsening.load_embedding()).values():
        labels = method(case, 40)
        assert labels.shape == case.labels.shape
        assert len(np.unique(labels)) >= 40


def test_greedy_merging_by_felzenszwalb_and_huttenlocher_joins_the_flat_part_first():
    z = np.array([[0.0], [0.1], [0.0], [5.0], [9.0]])
    edges = np.array([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]])
    group = merging.greedy(z, edges, 3, merging.felzenszwalb_huttenlocher)
    assert group.tolist() == [0, 0, 0, 1, 2]


def test_purity_of_a_known_cut():
    labels = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    outline = np.zeros((4, 4), np.int64)
    outline[:, 1:] = 7
    assert coarsening.purity(labels, outline) == pytest.approx(12 / 16)
