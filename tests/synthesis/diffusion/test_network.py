from __future__ import annotations

import copy
import dataclasses
import sys

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.ndimage import gaussian_filter

from tests.synthesis.diffusion.test_scene import permuted
from wsigraph.config import DiffusionConfig
from wsigraph.errors import SynthesisError
from wsigraph.synthesis.diffusion.condition import Tokens, batch_scenes, coordinates, rasterise_tokens
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, Denoiser, draw_raster, inference_copy, supports_bfloat16
from wsigraph.synthesis.diffusion.generator import Generator
from wsigraph.synthesis.diffusion.prior import LinearPrior, cosine_matrix
from wsigraph.synthesis.diffusion.sampling_loop import denoise, guided_velocity
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, ordered, rasterise
from wsigraph.synthesis.diffusion.schedule import load_diffusers, noise_weight, sampling_scheduler, training_scheduler

# What is equal but for the order of sums is compared in double precision. In single precision the order alone moves the
# loud attention of this network by 1e-6 to 1e-4, as the processor groups the terms: a bound for that would either fail
# on some machine or hide a fault of its size. In double precision the same sums differ by 2^29 times less, about 1e-13
# of velocities of 0.1 to 10; 1e-9 leaves room for any order and is 10^4 times below what any fault here would move.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def network(generator: Generator) -> Denoiser:
    return generator.network


@pytest.fixture
def exact(network: Denoiser) -> Denoiser:
    """Return the network in double precision."""
    return copy.deepcopy(network).double()


def asked_of(network: Denoiser, *scenes: Scene, n_tokens: int | None = None) -> Tokens:
    """Return a batch of graphs in the network's precision."""
    tokens = batch_scenes(scenes, n_tokens=n_tokens)
    parts = {name: getattr(tokens, name).to(network.alphas_cumprod.dtype) for name in ("geometry", "density", "pair")}
    return dataclasses.replace(tokens, **parts)


def velocity(network: Denoiser, *scenes: Scene, n_tokens: int | None = None, raster: torch.Tensor | None = None):
    side, n, dtype = network.config.canvas_px, len(scenes), network.alphas_cumprod.dtype
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1)).expand(n, -1, -1, -1)
    given = torch.zeros(n, N_RASTER, side, side) if raster is None else raster
    domain = torch.zeros(n, dtype=torch.int64)
    with torch.no_grad():
        tokens = asked_of(network, *scenes, n_tokens=n_tokens)
        return network(picture.to(dtype), torch.full((n,), 50), tokens, given.to(dtype), domain)


def smaller(scene: Scene, n: int) -> Scene:
    kept = (scene.edge_index < n).all(axis=0)
    return dataclasses.replace(
        scene,
        classes=scene.classes[:n],
        position_um=scene.position_um[:n],
        area_um2=scene.area_um2[:n],
        shape=scene.shape[:n],
        density=scene.density[:n],
        edge_index=scene.edge_index[:, kept],
        boundary_um=scene.boundary_um[kept],
        labels=None,
    )


def test_tokens_that_fill_up_change_nothing(exact: Denoiser, scene: Scene) -> None:
    alone = velocity(exact, scene)
    torch.testing.assert_close(velocity(exact, scene, n_tokens=40), alone, **CLOSE)
    beside = velocity(exact, smaller(scene, 2), scene)
    torch.testing.assert_close(beside[1:], alone, **CLOSE)
    torch.testing.assert_close(beside[:1], velocity(exact, smaller(scene, 2)), **CLOSE)


def test_what_lies_in_a_filler_is_never_read(exact: Denoiser, scene: Scene) -> None:
    tokens = asked_of(exact, scene, n_tokens=9)
    dirty = dataclasses.replace(
        tokens,
        classes=tokens.classes.clone(),
        geometry=tokens.geometry.clone(),
        density=tokens.density.clone(),
        pair=tokens.pair.clone(),
    )
    assert int(tokens.owner.max()) == 6
    dirty.classes[:, 6:], dirty.geometry[:, 6:], dirty.density[:, 6:], dirty.pair[:, :, 6:] = 3, 1e3, -1e3, 1e3
    with torch.no_grad():
        clean, spoilt = exact.encoder(tokens), exact.encoder(dirty)
    torch.testing.assert_close(clean, spoilt, **CLOSE)
    assert (clean[:, 7:] == 0).all()


def test_the_order_of_nodes_permutes_tokens_and_leaves_the_picture(
    network: Denoiser, exact: Denoiser, scene: Scene
) -> None:
    order = np.random.default_rng(4).permutation(scene.n_nodes)
    other = permuted(scene, order)
    with torch.no_grad():
        one, two = (exact.encoder(asked_of(exact, each)) for each in (scene, other))
    torch.testing.assert_close(two[:, 1:], one[:, 1:][:, order], **CLOSE)
    torch.testing.assert_close(velocity(exact, other), velocity(exact, scene), **CLOSE)
    assert torch.equal(velocity(network, ordered(other)), velocity(network, scene))


def test_the_graph_reaches_the_picture(network: Denoiser, scene: Scene) -> None:
    plain = velocity(network, scene)
    for change in (
        {"classes": np.roll(scene.classes, 1)},
        {"position_um": scene.position_um[::-1].copy()},
        {"area_um2": scene.area_um2 * np.arange(1, 7)},
        {"shape": scene.shape + 0.5},
        {"boundary_um": scene.boundary_um * np.linspace(1, 9, len(scene.boundary_um))},
        {"edge_index": scene.edge_index[:, :0], "boundary_um": scene.boundary_um[:0]},
        {"classes": np.full(6, UNKNOWN)},
        {"density": np.full((6, 6), 0.4)},
    ):
        assert (velocity(network, dataclasses.replace(scene, **change)) - plain).abs().max() > 1e-6, list(change)


def test_a_token_is_shown_where_its_node_lies(scene: Scene) -> None:
    tokens = batch_scenes([scene, smaller(scene, 1)], n_tokens=8)
    token = torch.arange(9.0)[None, :, None].expand(2, -1, 1)
    shown = rasterise_tokens(token, tokens.owner, (32, 32))
    assert scene.labels is not None
    drawn = torch.from_numpy(rasterise(dataclasses.replace(scene, labels=None), mpp=2.0).labels).float()
    torch.testing.assert_close(shown[0, 0], drawn)
    # one node of a sixth of the canvas leaves the rest to the canvas' own token
    assert (shown[1] > 0).float().mean().item() == pytest.approx(scene.area_um2[0] / 64**2, abs=0.01)
    assert (tokens.unconditional().owner == 0).all()


def test_the_map_reaches_the_picture(network: Denoiser, scene: Scene) -> None:
    assert scene.labels is not None
    raster = draw_raster(scene)[None]
    assert (velocity(network, scene, raster=raster) - velocity(network, scene)).abs().max() > 1e-5
    assert raster[0, :7].sum(dim=0).eq(1).all()
    assert raster[0, 7, 8, 10] == 1


def test_guidance_is_the_line_through_both_models(exact: Denoiser, scene: Scene) -> None:
    side = exact.config.canvas_px
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2)).double()
    raster = torch.zeros(1, N_RASTER, side, side).double()
    asked = (picture, torch.tensor([30]), asked_of(exact, scene), raster, torch.tensor([1]))
    with torch.no_grad():
        # alone, alone, and both as one batch
        none, plain, twice = (guided_velocity(exact, *asked, weight) for weight in (0.0, 1.0, 2.0))
    torch.testing.assert_close(twice - plain, plain - none, **CLOSE)
    assert (plain - none).abs().max() > 1e-6


def test_half_precision_moves_the_picture_little_and_the_weights_not_at_all(network: Denoiser, scene: Scene) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whole, half = (inference_copy(network, half=each, device="cpu") for each in (False, True))
    assert velocity(whole, scene).equal(velocity(network, scene))
    assert half.unet.dtype == (torch.bfloat16 if supports_bfloat16("cpu") else torch.float32)
    assert half.encoder.canvas.dtype == torch.float32
    found, expected = velocity(half, scene), velocity(network, scene)
    assert found.dtype == torch.float32
    # each of the layers (95) rounds its weights and what it gives to 8 bits, by 2^-9 at most and independently
    n_layers = sum(isinstance(each, torch.nn.Linear | torch.nn.Conv2d) for each in half.unet.modules())
    assert (found - expected).abs().mean() < 2**-9 * np.sqrt(2 * n_layers) * expected.abs().mean()
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_without_guidance_the_graph_is_not_read(network: Denoiser, scene: Scene) -> None:
    side = network.config.canvas_px
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    raster, domain = torch.zeros(1, N_RASTER, side, side), torch.tensor([0])
    other = dataclasses.replace(scene, classes=np.roll(scene.classes, 2))
    one, two = (
        denoise(network, batch_scenes([each]), raster, domain, noise, steps=2, guidance=0.0) for each in (scene, other)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver"])
def test_a_perfect_network_gives_back_the_picture(tiny: DiffusionConfig, sampler: str) -> None:
    clean = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    scheduler = sampling_scheduler(tiny, sampler, 5)  # type: ignore[arg-type]
    picture, schedule = noise, training_scheduler(tiny)
    for level in scheduler.timesteps:
        kept = schedule.alphas_cumprod[level]
        # what makes this noise of the current picture and the true one
        own = (picture - kept.sqrt() * clean) / (1 - kept).sqrt()
        picture = scheduler.step(kept.sqrt() * own - (1 - kept).sqrt() * clean, level, picture).prev_sample
    # the last step leaves the noise of level 0 where a sampler ends above it
    torch.testing.assert_close(picture, clean, rtol=0, atol=0.05)


def test_the_last_level_is_pure_noise_and_the_weight_is_bounded(tiny: DiffusionConfig) -> None:
    scheduler = training_scheduler(tiny)
    assert float(scheduler.alphas_cumprod[-1]) == 0.0
    kept = scheduler.alphas_cumprod
    weight = noise_weight(scheduler, torch.arange(len(kept)), 5.0)
    ratio = (kept / (1 - kept)).double()
    torch.testing.assert_close(weight.double(), (ratio + 1).clamp(max=5.0) / (ratio + 1), rtol=1e-4, atol=1e-6)
    assert float(weight[-1]) == 1.0


def test_the_linear_part_is_the_best_one_for_white_pixels() -> None:
    rng = np.random.default_rng(0)
    clean, noise = 0.5 * rng.standard_normal((2, 3, 64, 64)), rng.standard_normal((2, 3, 64, 64))
    prior = LinearPrior(64, 1)
    for kept in (0.05, 0.5, 0.95):
        noisy = np.sqrt(kept) * clean + np.sqrt(1 - kept) * noise
        target = np.sqrt(kept) * noise - np.sqrt(1 - kept) * clean
        best = (noisy * target).sum() / (noisy * noisy).sum()
        given = torch.from_numpy(noisy).float(), torch.full((2,), kept), torch.zeros(2, dtype=torch.int64)
        np.testing.assert_allclose(prior(*given).numpy(), best * noisy, atol=0.05)


def test_the_measured_field_explains_more_than_white_pixels_and_its_mean() -> None:
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.standard_normal((40, 3, 32, 32)), (0, 0, 3, 3)) * 3 + 0.4
    pictures = torch.from_numpy(smooth).float()
    white, field = LinearPrior(32, 2), LinearPrior(32, 2)
    field.fit(1, list(pictures[:30]))
    new, noise = pictures[30:], torch.from_numpy(rng.standard_normal((10, 3, 32, 32))).float()
    kept, domain = torch.full((10,), 0.4), torch.ones(10, dtype=torch.int64)
    noisy, target = 0.4**0.5 * new + 0.6**0.5 * noise, 0.4**0.5 * noise - 0.6**0.5 * new
    errors = [(each(noisy, kept, domain) - target).square().mean().item() for each in (white, field)]
    assert errors[1] < 0.25 * errors[0]
    # the other style was not measured
    assert torch.equal(field(noisy, kept, domain - 1), white(noisy, kept, domain - 1))
    # pure noise says nothing, which leaves the mean
    empty = field(noise, torch.zeros(10), domain)
    torch.testing.assert_close(empty.mean(dim=(0, 2, 3)), -pictures[:30].mean(dim=(0, 2, 3)), atol=1e-3, rtol=0)


def test_the_cosine_transform_is_orthonormal_and_scipys() -> None:
    matrix = cosine_matrix(16)
    # in single precision: two rounded factors and a sum of 16 products, whose sizes add up to 1 at most
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16), atol=(16 + 2) * 2**-24, rtol=0)
    np.testing.assert_allclose(matrix.numpy(), dct(np.eye(16), norm="ortho", axis=0), atol=2**-24)


def test_folding_pixels_into_cells_loses_nothing() -> None:
    picture = torch.randn(2, 3, 16, 16)
    cells = torch.nn.functional.pixel_unshuffle(picture, 4)
    assert cells.shape == (2, 48, 4, 4)
    assert torch.equal(torch.nn.functional.pixel_shuffle(cells, 4), picture)


def test_coordinates_tell_places_apart() -> None:
    place = torch.tensor([[-1.0, 1.0], [0.0, 0.5]])
    told = coordinates(place)
    assert told.shape == (2, 18)
    assert torch.equal(told[:, :2], place)
    assert told.abs().max() <= 1.0


def test_without_diffusers_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SynthesisError, match=r"pip install 'wsigraph\[diffusion\]'"):
        load_diffusers()
