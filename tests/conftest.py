"""Fixtures that every room shares."""

import warnings
from importlib import import_module
from importlib.util import find_spec
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


@pytest.fixture(scope="session")
def tiatoolbox() -> None:
    """tiatoolbox, imported once without the warnings of what it imports; tests that use it skip elsewhere."""
    if find_spec("tiatoolbox") is None:
        pytest.skip("tiatoolbox is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in ("tools.stainnorm", "tools.stainextract", "wsicore.wsireader", "annotation.storage"):
            import_module(f"tiatoolbox.{module}")
