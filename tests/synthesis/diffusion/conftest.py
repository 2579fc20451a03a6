from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wsigraph.config import Config, DiffusionConfig
from wsigraph.synthesis.diffusion.generator import About, Generator, save_generator
from wsigraph.synthesis.diffusion.scene import Scene, scene_from_labels
from wsigraph.synthesis.diffusion.train import TrainingResult, train
from wsigraph.synthesis.diffusion.training_images import TrainingImage, paint_training_set
from wsigraph.synthesis.simulation.layout import FAT, GLAND, LYMPHOCYTES, NECROSIS, STROMA, TUMOUR
from wsigraph.synthesis.simulation.simulate import Library, build_library, sample_sites

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def tiny() -> DiffusionConfig:
    """Return settings of a network that trains in a second."""
    changed = {
        "canvas_px": 32,
        "channels": (16, 32),
        "attention_levels": 2,
        "heads": 2,
        "token_width": 16,
        "token_layers": 2,
        "token_heads": 2,
        "batch": 4,
        "training_steps": 6,
        "warmup_steps": 2,
        "checkpoint_steps": 3,
        "steps": 3,
        "noise_levels": 100,
    }
    return Config().diffusion.model_copy(update=changed)


@pytest.fixture(scope="session")
def training_images(tiny: DiffusionConfig) -> list[TrainingImage]:
    return paint_training_set(tiny, 3, seed=1, side_px=64)


@pytest.fixture(scope="session")
def trained(tiny: DiffusionConfig, training_images: list[TrainingImage]) -> TrainingResult:
    return train(training_images, tiny, seed=3)


@pytest.fixture(scope="session")
def generator(tiny: DiffusionConfig, trained: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    about = About(name="tiny", description="for tests", licence="none", data="painted", seed=3)
    loud = {name: value.clone() for name, value in trained.weights.items()}
    rng = torch.Generator().manual_seed(0)
    for name, value in loud.items():
        # so little training leaves the graph without effect; loud attention shows whether it arrives
        if "attn2" in name and value.ndim == 2:
            value.copy_(0.5 * torch.randn(value.shape, generator=rng))
    return save_generator(
        tmp_path_factory.mktemp("tiny"), TrainingResult(weights=loud, losses=trained.losses), tiny, about
    )


@pytest.fixture
def settings(tiny: DiffusionConfig) -> Config:
    return Config().model_copy(update={"diffusion": tiny})


@pytest.fixture
def scene() -> Scene:
    """Return six regions on the tiny canvas: two rows of three."""
    blocks = np.array([[1, 2, 3], [4, 5, 6]])
    labels = np.kron(blocks, np.ones((16, 11), np.int32))[:, :32].astype(np.int32)
    classes = np.array([STROMA, TUMOUR, FAT, NECROSIS, LYMPHOCYTES, GLAND])
    return scene_from_labels(labels, classes, mpp=2.0)


@pytest.fixture(scope="session")
def library() -> Library:
    changed = {"library_side": 3, "grain": 2, "min_side": 5, "max_side": 7}
    rng = np.random.default_rng(5)
    return build_library(sample_sites(1, rng=rng), Config().synthesis.model_copy(update=changed), rng=rng)
