from __future__ import annotations

import numpy as np
import pytest

from wsigraph.config import Config, SynthesisConfig
from wsigraph.geometry import Size
from wsigraph.synthesis.simulation.layout import Tessellation, sample_tessellation
from wsigraph.synthesis.simulation.procedural import SiteStain, sample_site
from wsigraph.synthesis.simulation.simulate import Library, build_library, sample_sites


@pytest.fixture(scope="session")
def small() -> SynthesisConfig:
    changed = {"library_side": 3, "grain": 2, "min_side": 5, "max_side": 7, "second_slide_fraction": 0.5}
    return Config().synthesis.model_copy(update=changed)


@pytest.fixture(scope="session")
def library(small: SynthesisConfig) -> Library:
    rng = np.random.default_rng(5)
    return build_library(sample_sites(2, rng=rng), small, rng=rng)


@pytest.fixture(scope="session")
def tessellations() -> list[Tessellation]:
    """Return tessellations with as many regions as a slide has, of small cells."""
    rng = np.random.default_rng(8)
    sizes = [Size(10, 14), Size(12, 12), Size(14, 11), Size(13, 13)]
    return [sample_tessellation(size, 4, rng=rng, grain=3) for size in sizes]


@pytest.fixture(scope="session")
def site() -> SiteStain:
    return sample_site(rng=np.random.default_rng(1))
