"""Fixtures that every room shares."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def small_slide() -> Path:
    """The CC0 slide that lies in the repository."""
    return ROOT / "tests" / "data" / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="session")
def shared_slides() -> Path:
    """Further real slides, where they are at hand; tests that use them skip elsewhere."""
    if not (SHARED / "slides").is_dir():
        pytest.skip("the further real slides are not at hand (../shared/data/slides)")
    return SHARED / "slides"
