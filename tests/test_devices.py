"""Every network on every device of this machine, and on one that is not there as far as that can be checked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.command import SLIDE, command
from tests.training.planted import made_examples
from wsigraph.config import Config, ModelConfig
from wsigraph.errors import ConfigError
from wsigraph.explanation.members import Shape, explained_members, read
from wsigraph.graph.device import TOLERANCE, find_device, present_devices
from wsigraph.graph.feature.detect import load_detector
from wsigraph.graph.feature.encode import load_encoder
from wsigraph.graph.feature.nucleus_network import NucleusNetwork
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.inputs import GraphInput
from wsigraph.model.nn.corrected_network import CorrectedNetwork, NetworkCounts
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.model.nn.on_device import OnDevice
from wsigraph.synthesis.diffusion.train import train as train_synthesis
from wsigraph.synthesis.diffusion.training_images import paint_training_set
from wsigraph.training.dataset import collect
from wsigraph.training.fit import fit

ROOT = Path(__file__).parents[1]
DEVICES = present_devices()
on_every_device = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle(SHIPPED)


def make_graph(n_features: int, n_nodes: int = 30, seed: int = 0) -> GraphInput:
    rng = np.random.default_rng(seed)
    pairs = np.array([(k, k + 1) for k in range(n_nodes - 1)]).T
    edges = np.concatenate([pairs, pairs[::-1]], axis=1)
    return GraphInput(
        features=rng.normal(size=(n_nodes, n_features)),
        area_um2=rng.uniform(500.0, 900.0, n_nodes),
        edge_index=edges[:, np.lexsort(edges[::-1])],
        edge_attribute=rng.uniform(0.0, 1.0, (edges.shape[1], 3)),
    )


def assert_near(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), **TOLERANCE)


@on_every_device
def test_encoder(device: str) -> None:
    encoder, own = load_encoder("efficientnet_lite0"), load_encoder("efficientnet_lite0", device)
    windows = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3)).astype(np.uint8)
    assert_near(own.encode(windows), encoder.encode(windows))


@on_every_device
def test_nuclei(device: str) -> None:
    window = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    detectors: list[Any] = [load_detector("network", device=name) for name in ("cpu", device)]
    (maps, _, types), (own_maps, _, own_types) = (detector.maps(window) for detector in detectors)
    assert np.abs(maps.astype(int) - own_maps.astype(int)).max() <= 1
    assert_near(own_types, types)


@on_every_device
def test_predict(device: str, bundle: ModelBundle) -> None:
    graph = make_graph(len(bundle.card.feature_names))
    for member in bundle.members:
        for own, expected in zip(member.read([graph], device), member.read([graph]), strict=True):
            assert_near(own, expected)
        for own, expected in zip(member.read_parts([graph], device), member.read_parts([graph]), strict=True):
            assert_near(own, expected)


@pytest.mark.parametrize("device", [*DEVICES, "unfused"])
def test_explain(device: str, bundle: ModelBundle) -> None:
    """Logits and gradients of the inputs; a GPU runs torch's own layers in place of the fused ones."""
    (fused, *_), raw = explained_members(bundle), make_graph(len(bundle.card.feature_names))
    if device == "unfused":
        own = replace(fused, network=OnDevice(bundle.members[0].network().requires_grad_(False), "cpu"))
    else:
        own = explained_members(bundle, device=device)[0]
    graph = fused.scaled(raw)
    results = []
    for member in (fused, own):
        features = torch.from_numpy(graph.features)[None].requires_grad_()
        edges = torch.from_numpy(graph.edge_attribute)[None]
        stage, hazard = read(member.network, Shape.of(graph), features, edges)
        (gradient,) = torch.autograd.grad(hazard.sum(), [features])
        results.append((stage.detach(), hazard.detach(), gradient))
    for expected, value in zip(*results, strict=True):
        assert value.device.type == "cpu"
        assert_near(value, expected)


@on_every_device
def test_train(device: str) -> None:
    examples, _ = made_examples(24, np.random.default_rng(0))
    cohort = collect(examples, ("I", "II", "III", "IV"))
    config = ModelConfig(design="network", epochs=2, layers=1, heads=2, channels=4, task="stage")
    members = [fit(cohort, np.arange(24), config, seed=1, device=name).member for name in ("cpu", device)]
    (expected, _), (logits, _) = (member.read(cohort.inputs[:4]) for member in members)
    np.testing.assert_allclose(logits, expected, rtol=0.05, atol=0.05)


@on_every_device
def test_synthesize(device: str) -> None:
    tiny = {
        "canvas_px": 32,
        "channels": (16, 32),
        "attention_levels": 2,
        "heads": 2,
        "token_width": 16,
        "steps": 2,
        "token_layers": 1,
        "token_heads": 2,
        "batch": 2,
        "training_steps": 2,
        "warmup_steps": 1,
        "noise_levels": 50,
    }
    config = Config().diffusion.model_copy(update=tiny)
    images = paint_training_set(config, 2, seed=1, side_px=64)
    losses = [train_synthesis(images, config, seed=3, device=name).losses for name in ("cpu", device)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


def test_an_absent_device_is_refused_before_any_work(tmp_path: Path) -> None:
    absent = next(name for name in ("cuda", "mps") if name not in DEVICES)
    done = subprocess.run(
        command("predict", SLIDE, "--out", tmp_path, "--device", absent),
        env=os.environ, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"device '{absent}' is not on this machine" in done.stderr
    assert ", ".join(DEVICES) in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["predict", "explain", "graph", "nuclei", "tissue", "run", "train", "synthesize",
                                  "train-synthesis"])  # fmt: skip
def test_every_verb_that_runs_a_network_takes_a_device(verb: str) -> None:
    from typer.main import get_command

    from wsigraph.cli.main import app

    options = get_command(app).commands[verb].params  # type: ignore[attr-defined]
    (option,) = [one for one in options if "--device" in one.opts]
    assert option.default is None, "a settings file decides where the option is not given"


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert find_device("auto") == (DEVICES[1] if len(DEVICES) > 1 else "cpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99' is not on this machine, expected auto or one of cpu"):
        find_device("cuda:99")


def _graph_network(**settings: Any) -> Callable[[], nn.Module]:
    return lambda: GraphNetwork(ModelConfig(design="network", **settings), n_features=36, n_intervals=5)


def _corrected_network() -> nn.Module:
    counts = NetworkCounts(attention=1, survival_networks=1, stage_networks=1)
    return CorrectedNetwork(ModelConfig(), n_features=36, n_intervals=5, counts=counts)


@pytest.mark.parametrize(
    "make", [_graph_network(), _graph_network(survival_head="cox", linear_offset=True), _corrected_network]
)
def test_no_tensor_of_a_graph_network_stays_on_the_processor(make: Callable[[], nn.Module]) -> None:
    """Without a GPU: on torch's device of shapes alone, an operation on tensors of two devices is refused."""
    network = make().to("meta").eval()
    x, edge_attr = torch.empty(12, 36, device="meta").requires_grad_(), torch.empty(40, 3, device="meta")
    edge_index, batch = (torch.empty(shape, dtype=torch.int64, device="meta") for shape in ((2, 40), (12,)))
    outputs = network(x, edge_index, edge_attr, batch, torch.empty(12, device="meta"), 1)
    assert [output.device.type for output in outputs] == ["meta", "meta"]
    (gradient,) = torch.autograd.grad(sum(output.sum() for output in outputs), [x])
    assert gradient.device.type == "meta"


def test_no_tensor_of_the_nucleus_network_stays_on_the_processor() -> None:
    outputs = NucleusNetwork().to("meta").eval()(torch.empty(1, 3, 64, 64, device="meta"))
    assert [output.device.type for output in outputs] == ["meta", "meta"]


def test_a_tensor_that_stays_on_the_processor_would_be_noticed() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device="meta") + torch.ones(3)
    with pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device="meta").index_add(0, torch.arange(3), torch.ones(3))
