from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wsigraph import synthesize
from wsigraph.config import Config
from wsigraph.synthesis.diffusion.edit import mask_unedited
from wsigraph.synthesis.diffusion.generator import Generator, load_generator
from wsigraph.synthesis.diffusion.mosaic import crop_scene
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, scene_from_labels


@pytest.fixture
def measured(scene: Scene) -> Scene:
    """Return the six regions as real tissue: known by their optical density alone."""
    density = np.random.default_rng(2).uniform(0.1, 0.6, (6, 6))
    return dataclasses.replace(scene, classes=np.full(6, UNKNOWN), density=density)


def on_glass(settings: Config) -> tuple[np.ndarray, Scene]:
    """Return where there is tissue, and the graph: a block on the left, glass, and a speck at the right rim."""
    labels = np.zeros((32, 96), np.int32)
    labels[4:28, 2:20], labels[14:17, 90:93] = 1, 2
    density = np.full((2, 6), 0.3)
    return labels > 0, scene_from_labels(labels, np.full(2, UNKNOWN), mpp=2.0, density=density)


def test_an_edit_of_a_class_leaves_real_tissue_real(
    measured: Scene, scene: Scene, settings: Config, generator: Generator
) -> None:
    plain = next(synthesize(measured, settings, seed=5, generator=generator))
    edited = next(synthesize(measured, settings, seed=5, generator=generator, edits=["class 2=necrosis"]))
    assert plain.request["domain"] == edited.request["domain"] == "real"
    again = next(synthesize(edited.graph, settings, seed=5, generator=generator))
    assert again.request["domain"] == "real"
    assert next(synthesize(scene, settings, seed=5, generator=generator)).request["domain"] == "painted"
    held = mask_unedited(measured, edited.graph, margin_um=10.0, mpp=2.0)
    assert 0 < held.keep.mean() < 1
    np.testing.assert_array_equal(edited.image[held.keep], plain.image[held.keep])
    assert not np.array_equal(edited.image, plain.image)


def test_the_weight_of_the_graph_is_what_the_card_says_for_its_domain(
    measured: Scene, scene: Scene, settings: Config, generator: Generator
) -> None:
    assert Config().diffusion.guidance is None
    assert load_generator().card.guidance == {"painted": 4.0, "real": 1.5}
    card = generator.card.model_copy(update={"guidance": {"painted": 3.0, "real": 1.25}})
    own = Generator(card=card, weights=generator.weights)
    assert own.model_id == generator.model_id
    asked = [next(synthesize(each, settings, seed=5, generator=own)).request for each in (scene, measured)]
    assert [each["guidance"] for each in asked] == [3.0, 1.25]
    named = settings.model_copy(update={"diffusion": settings.diffusion.model_copy(update={"guidance": 2.0})})
    assert next(synthesize(measured, named, seed=5, generator=own)).request["guidance"] == 2.0


@pytest.mark.parametrize("domain", ["painted", "real"])
def test_a_part_without_a_region_is_glass(settings: Config, generator: Generator, domain) -> None:
    tissue, scene = on_glass(settings)
    tile = next(synthesize(scene, settings, seed=5, generator=generator, domain=domain))
    assert np.abs(tile.image[~tissue].astype(int) - (244, 242, 242)).max() <= 6
    assert tile.image[tissue].std() > 6
    canvas = scene_from_labels(tissue[:, :32].astype(np.int32), np.array([UNKNOWN]), mpp=2.0, density=scene.density[:1])
    tile = next(synthesize(canvas, settings, seed=5, generator=generator, domain=domain))
    assert np.abs(tile.image[~tissue[:, :32]].astype(int) - (244, 242, 242)).max() <= 6


def test_an_edit_beside_glass_leaves_the_rest_to_the_byte(settings: Config, generator: Generator) -> None:
    scene = on_glass(settings)[1]
    images = []
    for edits in ([], ["move 1 by 8,0 um"]):
        tile = next(synthesize(scene, settings, seed=5, generator=generator, edits=edits))
        images.append(tile.image)
    held = mask_unedited(scene, tile.graph, margin_um=10.0, mpp=2.0)
    np.testing.assert_array_equal(images[0][held.keep], images[1][held.keep])
    glass = tile.graph.labels == 0
    assert np.abs(images[1][glass].astype(int) - (244, 242, 242)).max() <= 6


def test_a_canvas_of_specks_alone_is_glass(settings: Config) -> None:
    _, scene = on_glass(settings)
    cut = crop_scene(scene, 0, 64, settings.diffusion)
    assert cut.n_nodes == 1
    assert (cut.density[:, :3] < 0.1).all()
