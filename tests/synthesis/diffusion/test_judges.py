from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wsigraph.config import DiffusionConfig
from wsigraph.synthesis.diffusion.condition_fidelity import match_nodes, pair_alike, score_fidelity
from wsigraph.synthesis.diffusion.extract import extract, train_extractor
from wsigraph.synthesis.diffusion.realism import detect_copies, kernel_distance, pixel_rows, rotations_and_reflections
from wsigraph.synthesis.diffusion.scene import Scene, scene_from_labels
from wsigraph.synthesis.diffusion.training_images import cut, paint_training_set


def test_a_graph_has_full_fidelity_to_itself(scene: Scene) -> None:
    score = score_fidelity([scene], [scene])
    assert (score.precision, score.recall, score.f1, score.edge_f1) == (1.0, 1.0, 1.0, 1.0)
    assert (score.position_um, score.area_log2) == (0.0, 0.0)
    assert score.recall_interval[0] < 1.0
    assert score.n_nodes == 6


def test_wrong_classes_and_far_nodes_do_not_count(scene: Scene) -> None:
    wrong = dataclasses.replace(scene, classes=(scene.classes + 1) % 7)
    assert (match_nodes(scene, wrong) == -1).all()
    assert score_fidelity([scene], [wrong]).f1 == 0.0
    reach = np.sqrt(scene.area_um2[0] / np.pi)
    for shift, found in ((0.99 * reach, 0), (1.01 * reach, -1)):
        position = scene.position_um.copy()
        position[0, 0] += shift
        assert match_nodes(scene, dataclasses.replace(scene, position_um=position))[0] == found


def test_a_node_is_matched_once() -> None:
    asked = scene_from_labels(np.repeat(np.array([[1, 1, 2, 2]], np.int32), 4, axis=0), np.array([1, 1]), mpp=2.0)
    shown = scene_from_labels(np.ones((4, 4), np.int32), np.array([1]), mpp=2.0)
    assert (match_nodes(asked, shown) >= 0).sum() == 1
    score = score_fidelity([asked], [shown])
    assert (score.precision, score.recall) == (1.0, 0.5)
    assert score.edge_f1 == 0.0


def test_chance_is_another_graph_of_like_counts(scene: Scene) -> None:
    other = dataclasses.replace(scene, classes=np.full(6, 1))
    assert pair_alike([scene, other, scene]) == [2, 0, 0]


def test_the_extractor_reads_what_is_painted(tiny: DiffusionConfig) -> None:
    network = train_extractor(tiny, seed=900, steps=60)
    rng = np.random.default_rng(0)
    training_image = paint_training_set(tiny, 1, seed=5, side_px=128)[0]
    examples = [cut(training_image, tiny, rng=rng) for _ in range(12)]
    shown = extract(network, [each.image for each in examples], tiny)
    asked = [each.scene for each in examples]
    own = score_fidelity(asked, shown).f1
    chance = score_fidelity([asked[other] for other in pair_alike(asked)], shown).f1
    assert own > chance + 0.1


def test_kernel_distance_is_zero_for_one_kind_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(0)
    draws = [
        kernel_distance(rng.standard_normal((60, 8)), rng.standard_normal((80, 8)), n_subsets=20, rng=rng)
        for _ in range(30)
    ]
    means, errors = np.array(draws).T
    # unbiased: 30 means scatter around zero
    assert abs(means.mean()) < 3 * means.std() / np.sqrt(30)
    assert 0.3 < errors.mean() / means.std() < 3
    shifted, _ = kernel_distance(rng.standard_normal((60, 8)) + 1, rng.standard_normal((60, 8)), rng=rng)
    assert shifted > 10 * means.std()


def test_kernel_distance_equals_its_definition() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    kernel = lambda a, b: (a @ b / 3 + 1) ** 3  # noqa: E731
    within = np.mean([kernel(one[i], one[j]) for i in range(4) for j in range(4) if i != j])
    others = np.mean([kernel(other[i], other[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([kernel(a, b) for a in one for b in other])
    found, _ = kernel_distance(one, other, n_subsets=2, rng=rng)
    assert found == pytest.approx(within + others - 2 * across)


def test_copies_are_caught_and_new_pictures_are_not(tiny: DiffusionConfig) -> None:
    rng = np.random.default_rng(3)
    training_images = paint_training_set(tiny, 4, seed=8, side_px=160)
    training = [cut(training_images[0], tiny, rng=rng).image for _ in range(40)]
    known = pixel_rows(rotations_and_reflections(training))
    new, fresh = (
        [cut(training_image, tiny, rng=rng).image for _ in range(60)] for training_image in training_images[1:3]
    )
    assert not detect_copies(pixel_rows(fresh), known, pixel_rows(new)).median_ratio < 0.8
    planted = training[7].astype(float)[:, ::-1] + rng.normal(0, 4, training[7].shape)
    copies = [np.clip(planted, 0, 255).astype(np.uint8)] * 6
    found = detect_copies(pixel_rows([*fresh[6:], *copies]), known, pixel_rows(new))
    assert found.caught
    assert found.close_fraction >= 0.1
    # a dull picture is no nearer than a vivid one, though it is by bare pixels
    dull = [(each.mean(axis=(0, 1)) + 0.2 * (each - each.mean(axis=(0, 1)))).round().astype(np.uint8) for each in fresh]
    vivid, pale = (detect_copies(pixel_rows(each), known, pixel_rows(new)).median_ratio for each in (fresh, dull))
    assert pale == pytest.approx(vivid, abs=0.03)
