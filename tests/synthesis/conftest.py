from __future__ import annotations

import numpy as np
import pytest

from wsigraph.config import Config, SynthesisConfig
from wsigraph.synthesis.procedural import SiteStain, sample_site
from wsigraph.synthesis.simulate import Library, build_library, sample_sites


@pytest.fixture(scope="session")
def small() -> SynthesisConfig:
    return Config().synthesis.model_copy(update={"library_side": 3, "min_side": 5, "max_side": 7})


@pytest.fixture(scope="session")
def library(small: SynthesisConfig) -> Library:
    rng = np.random.default_rng(5)
    return build_library(sample_sites(2, rng=rng), small, rng=rng)


@pytest.fixture(scope="session")
def site() -> SiteStain:
    return sample_site(rng=np.random.default_rng(1))
