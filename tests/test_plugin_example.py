"""The plugin that the documentation shows in full does what is said of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph import registry, store
from wsigraph.errors import MissingMpp, UnreadableSlide
from wsigraph.run.steps import run_slide

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
CMU = ROOT / "tests" / "data" / "CMU-1-Small-Region.svs"


def block(language: str, page: str = PAGE) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)
    return str(found)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay the package where the import system finds it, as installing it would."""
    project = tomllib.loads(block("toml"))["project"]
    (tmp_path / "example_plugin.py").write_text(block("py"))
    info = tmp_path / "example_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_its_reader_and_its_encoder_take_a_slide_to_a_graph(installed: Path) -> None:
    from wsigraph.config import load
    from wsigraph.slide.discover import discover_slides

    assert "npy" in registry.names(registry.READERS)
    with tifffile.TiffFile(CMU) as tif:
        np.save(installed / "slide.npy", tif.pages.first.asarray()[1400:1912, 760:1528])
    (slide,) = discover_slides(installed)
    assert (slide.path.name, slide.slide_id) == ("slide.npy", "slide")
    settings = load([], ["feature.encoder=brightness"])
    result = run_slide(str(installed / "slide.npy"), installed / "out", settings, mpp=0.499, until="graph")
    graph = store.load_graph(result.directory / "graph.safetensors")
    assert graph.encoding_sum is not None
    assert graph.encoding_sum.shape == (graph.n_nodes, 2)
    mean = graph.encoding_sum[:, 0] / 256 / graph.moment("n")
    assert 0.1 < mean.min() < mean.max() < 1.0
    assert store.load_slide_info(result.directory / "slide.json").vendor == "npy"


def test_it_refuses_as_other_readers_do(installed: Path) -> None:
    import wsigraph

    np.save(installed / "flat.npy", np.zeros((4, 4)))
    with pytest.raises(UnreadableSlide, match=r"holds float64 \(4, 4\), expected uint8"):
        wsigraph.read(installed / "flat.npy")
    np.save(installed / "bare.npy", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(MissingMpp):
        wsigraph.read(installed / "bare.npy")


def test_the_readme_shows_the_same_encoder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = block("py", readme)
    assert shown.split("class Brightness")[1] == block("py").split("class Brightness")[1]
