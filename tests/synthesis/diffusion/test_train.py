from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsigraph.config import Config, DiffusionConfig
from wsigraph.errors import SynthesisError
from wsigraph.synthesis.diffusion.denoiser import DOMAINS, GUIDANCE, Denoiser
from wsigraph.synthesis.diffusion.generator import (
    CARD_FILE,
    WEIGHTS_FILE,
    About,
    Generator,
    load_generator,
    save_generator,
)
from wsigraph.synthesis.diffusion.grid import sample_grid
from wsigraph.synthesis.diffusion.painter import Painter
from wsigraph.synthesis.diffusion.scene import UNKNOWN
from wsigraph.synthesis.diffusion.train import CHECKPOINT, TrainingResult, make_batch, train
from wsigraph.synthesis.diffusion.training_images import (
    REAL,
    TrainingImage,
    cut,
    find_sources,
    lay_out,
    paint_training_set,
    read_training_image,
    read_training_images,
    split,
)
from wsigraph.synthesis.simulation.layout import TISSUES

SLIDE = Path(__file__).parents[2] / "data" / "CMU-1-Small-Region.svs"
ABOUT = About(name="a", description="b", licence="c", data="d", seed=3)


class Killed(Exception):
    pass


def test_training_is_deterministic_and_lowers_the_loss(
    tiny: DiffusionConfig, training_images: list[TrainingImage], trained: TrainingResult
) -> None:
    again = train(training_images, tiny, seed=3)
    assert again.losses == trained.losses
    assert all(torch.equal(again.weights[name], trained.weights[name]) for name in trained.weights)
    longer = tiny.model_copy(update={"training_steps": 40, "learning_rate": 3e-3})
    losses = train(training_images[:1], longer, seed=3).losses
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_a_killed_training_goes_on_to_the_same_weights(
    tiny: DiffusionConfig, training_images: list[TrainingImage], trained: TrainingResult, tmp_path: Path
) -> None:
    def kill(stage: str, done: int, total: int) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train(training_images, tiny, seed=3, out=tmp_path, progress=kill)
    seen: list[int] = []
    resumed = train(training_images, tiny, seed=3, out=tmp_path, progress=lambda stage, done, total: seen.append(done))
    assert seen == [4, 5, 6]
    assert resumed.losses == trained.losses
    assert all(torch.equal(resumed.weights[name], trained.weights[name]) for name in trained.weights)


def test_a_checkpoint_of_something_else_is_refused(
    tiny: DiffusionConfig, training_images: list[TrainingImage], tmp_path: Path
) -> None:
    short = tiny.model_copy(update={"training_steps": 3})
    train(training_images, short, seed=3, out=tmp_path)
    with pytest.raises(SynthesisError, match="--seed was 3 and is 4 now"):
        train(training_images, short, seed=4, out=tmp_path)
    with pytest.raises(SynthesisError, match=rf"diffusion\.batch was {tiny.batch} and is 2 now.*--restart"):
        train(training_images, short.model_copy(update={"batch": 2}), seed=3, out=tmp_path)
    with pytest.raises(SynthesisError, match="training images was 3 and is 2 now; the training images are others"):
        train(training_images[:2], short, seed=3, out=tmp_path)
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:500])
    with pytest.raises(SynthesisError, match="is damaged"):
        train(training_images, short, seed=3, out=tmp_path)


def test_training_goes_on_from_a_generator_of_the_same_sizes(
    tiny: DiffusionConfig, training_images: list[TrainingImage], trained: TrainingResult, tmp_path: Path
) -> None:
    start = Denoiser(tiny)
    start.load_state_dict(trained.weights)
    still = tiny.model_copy(update={"training_steps": 1, "learning_rate": 1e-12})
    moved = train(training_images, still, seed=8, start=start).weights
    assert all(torch.allclose(moved[name], trained.weights[name], atol=1e-6) for name in moved)
    train(training_images, still, seed=8, start=start, out=tmp_path)
    with pytest.raises(SynthesisError, match="the weights to start from are others"):
        train(training_images, still, seed=8, out=tmp_path)
    with pytest.raises(SynthesisError, match=f"train with diffusion.token_width={tiny.token_width}"):
        train(training_images, tiny.model_copy(update={"token_width": 2 * tiny.token_width}), seed=8, start=start)


def test_nothing_to_train_on_is_refused(tiny: DiffusionConfig) -> None:
    with pytest.raises(SynthesisError, match="no training images"):
        train([], tiny, seed=1)


def test_pictures_show_how_training_stands_and_change_nothing(
    tiny: DiffusionConfig, training_images: list[TrainingImage], trained: TrainingResult, tmp_path: Path
) -> None:
    watched = train(training_images, tiny, seed=3, on_checkpoint=sample_grid(training_images, tmp_path))
    assert watched.losses == trained.losses
    with Image.open(tmp_path / "samples-000006.png") as picture:
        assert picture.size == (3 * 32, 3 * 32)


def test_pictures_of_training_have_the_guidance_of_their_domain(
    training_images: list[TrainingImage], generator: Generator, tmp_path: Path
) -> None:
    network = generator.network
    real = dataclasses.replace(training_images[1], domain=DOMAINS.index("real"))
    sample_grid([training_images[0], real], tmp_path)(1, network)
    rng = np.random.default_rng(0)
    scenes = [cut(image, network.config, rng=rng).scene for image in (training_images[0], real)]
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = np.asarray(Image.open(tmp_path / "samples-000001.png"))[32:64]
    for index, name in enumerate(DOMAINS):
        painter = Painter(network=network, steps=15, guidance=GUIDANCE[name])
        (image,) = painter.paint([scenes[index]], noise[index : index + 1], domain=index)
        np.testing.assert_array_equal(shown[:, 32 * index : 32 * (index + 1)], image)


def test_parts_of_the_condition_are_left_out_by_their_shares(
    tiny: DiffusionConfig, training_images: list[TrainingImage]
) -> None:
    rng = np.random.default_rng(0)
    examples = [cut(training_images[0], tiny, rng=rng) for _ in range(300)]
    batch = make_batch(examples, tiny, rng=rng)
    assert (~batch.tokens.valid.any(dim=1)).float().mean().item() == pytest.approx(tiny.drop_graph, abs=0.08)
    gone = (batch.raster == 0).all(dim=(1, 2, 3))
    assert gone.float().mean().item() == pytest.approx(tiny.drop_raster, abs=0.08)
    unknown = (batch.tokens.classes == len(TISSUES)).all(dim=1)
    assert unknown.float().mean().item() == pytest.approx(tiny.drop_class, abs=0.08)
    # no graph loses its classes and its optical density at once
    assert (batch.tokens.density[unknown][:, 0, 6] == 1).all()


def test_a_canvas_is_a_part_of_its_sheet(tiny: DiffusionConfig, training_images: list[TrainingImage]) -> None:
    example = cut(training_images[0], tiny, rng=np.random.default_rng(1))
    labels = example.scene.labels
    assert labels is not None
    assert example.image.shape == (32, 32, 3)
    assert set(np.unique(labels)) == set(range(1, example.scene.n_nodes + 1))
    assert example.scene.area_um2.sum() == pytest.approx(64 * 64)
    assert example.scene.area_um2.min() >= tiny.min_area_um2
    colours = {tuple(pixel) for pixel in training_images[0].image.reshape(-1, 3)}
    assert all(tuple(pixel) in colours for pixel in example.image.reshape(-1, 3))


def test_a_sheet_smaller_than_a_canvas_is_refused(tiny: DiffusionConfig, training_images: list[TrainingImage]) -> None:
    small = paint_training_set(tiny, 1, seed=1, side_px=24)[0]
    with pytest.raises(SynthesisError, match=r"24 x 24 px at 2 um/px, expected at least the canvas of 32 px"):
        cut(small, tiny, rng=np.random.default_rng(1))


def test_pieces_are_connected_and_small_ones_join() -> None:
    labels = np.ones((8, 8), np.int32)
    labels[:, 4] = 2
    labels[0, 0] = 3
    pieces, owner = split(labels, min_px=2)
    assert sorted(owner) == [1, 1, 2]
    assert pieces[0, 0] == pieces[7, 0] != pieces[0, 7]


def test_layouts_follow_their_seed(tiny: DiffusionConfig) -> None:
    one, two, other = (lay_out(tiny, 96, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert not np.array_equal(one.labels, other.labels)
    assert (one.classes != UNKNOWN).all()


def test_a_real_slide_is_cut_into_regions(settings: Config) -> None:
    training_image = read_training_image(SLIDE, settings)
    assert training_image.domain == REAL
    assert training_image.image.shape[:2] == training_image.labels.shape == (741, 554)
    assert len(training_image.classes) > 100
    assert (training_image.classes == UNKNOWN).all()


def test_an_image_with_a_mask_is_read_and_bad_masks_are_refused(tmp_path: Path, settings: Config) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (80, 100, 3), np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((80, 100), np.uint8)
    mask[:, 50:] = 2
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    found = find_sources(tmp_path)
    assert [path.name for path in found] == ["a.png"]
    (training_image,), skipped = read_training_images(found, settings, mpp=1.0)
    assert training_image.image.shape == (40, 50, 3)
    assert training_image.classes[training_image.labels[0, 0] - 1] == UNKNOWN
    assert training_image.classes[training_image.labels[0, -1] - 1] == 1
    assert not skipped
    Image.fromarray(mask * 50).save(tmp_path / "a_mask.png")
    with pytest.raises(SynthesisError, match="holds 100, expected 0 for unknown or 1 to 7"):
        read_training_image(tmp_path / "a.png", settings, mpp=1.0)
    Image.fromarray(mask[:40]).save(tmp_path / "a_mask.png")
    with pytest.raises(SynthesisError, match="has shape"):
        read_training_image(tmp_path / "a.png", settings, mpp=1.0)
    with pytest.raises(SynthesisError, match="holds no slide and no image"):
        find_sources(tmp_path / "b")


def test_a_generator_round_trips_and_damage_is_found(
    tiny: DiffusionConfig, trained: TrainingResult, tmp_path: Path
) -> None:
    saved = save_generator(tmp_path, trained, tiny, ABOUT)
    loaded = load_generator(tmp_path)
    assert loaded.model_id == saved.model_id
    assert loaded.config == tiny
    for name, value in loaded.network.state_dict().items():
        # half precision keeps 11 bits
        torch.testing.assert_close(value, trained.weights[name], rtol=1e-3, atol=1e-6)
    (tmp_path / WEIGHTS_FILE).write_bytes(saved.weights[:-1] + b"x")
    with pytest.raises(SynthesisError, match="is damaged"):
        load_generator(tmp_path)
    (tmp_path / CARD_FILE).write_text("{}")
    with pytest.raises(SynthesisError, match="no card of a generator"):
        load_generator(tmp_path)
    with pytest.raises(SynthesisError, match="is no generator"):
        load_generator(tmp_path / "nowhere")


def test_weights_of_another_size_are_refused(tiny: DiffusionConfig, generator: Generator) -> None:
    card = generator.card.model_copy(update={"config": tiny.model_copy(update={"token_width": 32})})
    with pytest.raises(SynthesisError, match="do not fit its card"):
        _ = Generator(card=card, weights=generator.weights).network


def test_the_shipped_generator_loads_and_is_small() -> None:
    generator = load_generator()
    assert len(generator.weights) < 40_000_000
    assert generator.network.training is False
    assert sum(value.numel() for value in generator.network.state_dict().values()) == generator.card.n_weights
