"""Plugins by entry point, shown with distributions that exist for the test alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wsigraph import registry
from wsigraph.errors import PluginError

GROUP = "wsigraph.encoders"


def install(directory: Path, name: str, entry: str, source: str | None = None) -> None:
    """Lay a distribution with one entry point where the import system finds it."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")
    if source is not None:
        (directory / f"{name}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_foreign_distribution_registers_like_our_own(site: Path) -> None:
    install(site, "fake_one", "fake = fake_one:make", "def make():\n    return 42\n")
    assert "fake" in registry.names(GROUP)
    assert "fake_one" not in sys.modules, "listing imports nothing"
    assert registry.load(GROUP, "fake")() == 42


def test_a_plugin_that_does_not_import_harms_nobody_else(site: Path) -> None:
    install(site, "fake_two", "broken = fake_two:make", "import a_package_that_is_not_there\n")
    install(site, "fake_three", "nameless = fake_three:absent", "")
    assert {"broken", "nameless", "efficientnet_lite0"} <= set(registry.names(GROUP))
    with pytest.raises(PluginError, match=r"broken = fake_two:make from fake_two .*a_package_that_is_not_there"):
        registry.load(GROUP, "broken")
    with pytest.raises(PluginError, match="nameless = fake_three:absent from fake_three"):
        registry.load(GROUP, "nameless")
    registry.load(registry.READERS, "openslide")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(PluginError, match=r"no plugin 'resnet' .* installed: .*efficientnet_lite0"):
        registry.load(GROUP, "resnet")
    with pytest.raises(PluginError, match="installed: none"):
        registry.load("wsigraph.nothing", "x")


def test_one_name_claimed_twice_is_refused(site: Path) -> None:
    install(site, "fake_four", "twice = fake_four:make", "make = 1\n")
    install(site, "fake_five", "twice = fake_five:make", "make = 2\n")
    assert registry.names(GROUP).count("twice") == 1
    with pytest.raises(PluginError, match=r"claimed twice .*fake_five.*fake_four.*uninstall one"):
        registry.load(GROUP, "twice")


def test_our_own_readers_are_there() -> None:
    assert {"tiled_tiff", "openslide", "image"} <= set(registry.names(registry.READERS))
