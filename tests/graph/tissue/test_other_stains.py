"""IHC and special stains: kept as tissue, features named by the stain, no stage from a model of H&E."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import wsigraph
from tests.graph.tissue.staining import restained
from wsigraph.config import Config, SlideConfig
from wsigraph.errors import ConfigError, NotHE, NoTissue
from wsigraph.geometry import Box
from wsigraph.graph.feature.interpret import FEATURE_NAMES, stained_names
from wsigraph.graph.tissue.artefact import ARTEFACT_INK
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.normalise import picture_stain
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.records.slide_records import STAINS
from wsigraph.run.steps import run_slide

OTHERS = tuple(name for name in STAINS if name != "h&e")


@pytest.fixture(scope="module")
def section(small_slide: Path) -> NDArray[np.uint8]:
    with wsigraph.read(small_slide) as slide:
        return slide.read(Box.whole(slide.size(1.0)), 1.0)


def stained(section: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Return the section in two other stains: much of the one that H&E does not resemble, less of the other."""
    own, other = picture_stain(section), estimate_stain(empty_histogram(), name=name)
    strength = (1.8, 0.4) if name == "trichrome" else (0.8, 1.6)
    return restained(section, own, other.vectors, strength)


@pytest.mark.parametrize("name", OTHERS)
def test_other_stains_are_kept_as_tissue(section: NDArray[np.uint8], tmp_path: Path, name: str) -> None:
    Image.fromarray(stained(section, name)).save(tmp_path / "stained.png")
    with wsigraph.read(tmp_path / "stained.png", mpp=1.0) as slide:
        found = find_tissue(slide, suitability=SlideConfig(stain=name))  # type: ignore[arg-type]
    with wsigraph.read(_saved(section, tmp_path), mpp=1.0) as slide:
        expected = find_tissue(slide).tissue > 0
    assert not found.refusal
    assert found.stain.name == name
    lost = expected & ((found.tissue == 0) | (found.artefact == ARTEFACT_INK))
    assert lost.sum() <= 0.03 * expected.sum()


@pytest.mark.parametrize(("name", "word"), [("h-dab", "brown"), ("trichrome", "blue")])
def test_another_stain_is_named_where_none_was_stated(
    section: NDArray[np.uint8], tmp_path: Path, name: str, word: str
) -> None:
    Image.fromarray(stained(section, name)).save(tmp_path / "stained.png")
    with wsigraph.read(tmp_path / "stained.png", mpp=1.0) as slide:
        found = find_tissue(slide, suitability=SlideConfig(allow_non_he=True))
    assert any(f"of the tissue is {word}" in text and name in text for text in found.warnings)
    with wsigraph.read(_saved(section, tmp_path), mpp=1.0) as slide:
        assert not any("--stain" in text for text in find_tissue(slide).warnings)


def test_a_slide_that_is_blue_all_over_is_no_pen_in_silence(section: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(stained(section, "alcian-blue")).save(tmp_path / "stained.png")
    with wsigraph.read(tmp_path / "stained.png", mpp=1.0) as slide, pytest.raises(NoTissue, match="--stain"):
        find_tissue(slide)


def _saved(section: NDArray[np.uint8], folder: Path) -> Path:
    Image.fromarray(section).save(folder / "he.png")
    return folder / "he.png"


def test_a_stain_does_not_let_fluorescence_or_pen_pass(section: NDArray[np.uint8], tmp_path: Path) -> None:
    dark = 255 - section[800:1100, 300:600]
    Image.fromarray(np.repeat(dark.min(axis=2, keepdims=True) // 2, 3, axis=2)).save(tmp_path / "dark.png")
    with wsigraph.read(tmp_path / "dark.png", mpp=1.0) as slide, pytest.raises(NotHE, match="dark ground"):
        find_tissue(slide, suitability=SlideConfig(stain="h-dab"))


@pytest.mark.parametrize(("name", "second"), [("h-dab", "dab_mean"), ("perls", "prussian_blue_mean")])
def test_features_carry_the_name_of_their_stain(name: str, second: str) -> None:
    stain = estimate_stain(empty_histogram(), name=name)
    names = stained_names(stain)
    assert second in names
    assert not any(one.startswith("eosin") for one in names)
    assert names.index(second) == FEATURE_NAMES.index("eosin_mean")
    assert stained_names(replace(stain, name="h&e")) == FEATURE_NAMES


def test_an_ihc_slide_has_named_measurements_and_no_stage(section: NDArray[np.uint8], tmp_path: Path) -> None:
    picture = tmp_path / "ihc.png"
    Image.fromarray(stained(section, "h-dab")[700:1100, 300:700]).save(picture)
    config = Config(slide=SlideConfig(stain="h-dab"))
    result = run_slide(picture, tmp_path / "out", config, mpp=1.0)
    facts = result.facts or {}
    assert facts["stage"] is None
    assert facts["risk"] is None
    assert facts["survival"] is None
    assert "stained with h-dab" in facts["withheld"]
    assert facts["stain"] == "h-dab"
    polygons = (result.directory / "report.geojson").read_text()
    assert "dab" in polygons.lower()
    assert "eosin" not in polygons.lower()
    # an explanation would be of a number that is not given: it ends with the report
    from wsigraph.explanation.request import ExplanationRequest

    again = run_slide(picture, tmp_path / "out", config, mpp=1.0, explain=ExplanationRequest())
    assert not (again.directory / "explanation.safetensors").exists()
    # another stain is another tissue map
    other = run_slide(picture, tmp_path / "out", Config(), mpp=1.0, until="tissue")
    assert "tissue" not in other.resumed


def test_an_unknown_stain_is_refused() -> None:
    from wsigraph.config import load

    with pytest.raises(ConfigError, match=r"slide.stain"):
        load([], ["slide.stain=gram"])


def test_a_section_that_is_blue_beside_neutral_glass_is_refused_and_brown_is_not(
    section: NDArray[np.uint8], tmp_path: Path
) -> None:
    from wsigraph.graph.tissue.quality import judge_stain

    glass = np.array([244, 243, 245])
    inside = np.ones((20, 20), bool)
    blue, brown = np.zeros((3, 20, 20), np.int16), np.zeros((3, 20, 20), np.int16)
    for density, strongest in ((blue, 0), (brown, 2)):
        density[:] = 220
        density[strongest, :10] = 400
    assert "50 % of its tissue is blue" in judge_stain(blue, inside, glass)
    # melanin, bile and hemosiderin are brown in hematoxylin and eosin
    assert judge_stain(brown, inside, glass) == ""
    # where no glass is seen, or it is tinted, its colour is in every pixel
    assert judge_stain(blue, inside, np.array([255, 255, 255])) == ""
    assert judge_stain(blue, inside, np.array([223, 213, 181])) == ""
    Image.fromarray(stained(section, "trichrome")).save(tmp_path / "stained.png")
    with wsigraph.read(tmp_path / "stained.png", mpp=1.0) as slide:
        with pytest.raises(NotHE, match=r"another stain \(\d+ % of its tissue is blue"):
            find_tissue(slide)
        assert "another stain" in find_tissue(slide, suitability=SlideConfig(allow_non_he=True)).refusal
        assert not find_tissue(slide, suitability=SlideConfig(stain="trichrome")).refusal
