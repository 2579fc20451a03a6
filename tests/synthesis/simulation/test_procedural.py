from __future__ import annotations

import numpy as np
import pytest

from wsigraph.config import Config, SynthesisConfig
from wsigraph.geometry import Size
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.synthesis.simulation.layout import (
    FAT,
    GLAND,
    LYMPHOCYTES,
    NECROSIS,
    STROMA,
    TISSUES,
    TUMOUR,
    VESSEL,
    Layout,
    sample_tessellation,
)
from wsigraph.synthesis.simulation.procedural import APPEARANCE, SiteStain, paint, sample_site
from wsigraph.synthesis.simulation.simulate import Library, draw_graph


def tile(tissue: int, site: SiteStain, seed: int = 0) -> np.ndarray:
    return paint(np.full((90, 90), tissue, np.uint8), mpp=1.0, site=site, rng=np.random.default_rng(seed))


def test_every_class_has_an_appearance() -> None:
    assert sorted(APPEARANCE) == list(range(len(TISSUES)))


@pytest.mark.parametrize("tissue", range(len(TISSUES)))
def test_painting_is_decided_by_the_generator(tissue: int, site: SiteStain) -> None:
    first, again, other = (tile(tissue, site, seed) for seed in (7, 7, 8))
    assert first.shape == (90, 90, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


@pytest.fixture(scope="module")
def means(library: Library, small: SynthesisConfig) -> dict[int, dict[str, float]]:
    """Mean features of every class, measured by the kernel that measures real slides."""
    tessellation = library.tessellations[0]
    found = {}
    for tissue in range(len(TISSUES)):
        layout = Layout(classes=np.full((tessellation.rows, tessellation.columns), tissue, np.uint8))
        rng = np.random.default_rng(0)
        graphs = [draw_graph(layout, tessellation, library, site=site, slide_id="s", rng=rng) for site in (0, 1)]
        table = np.concatenate([interpret(graph).values for graph in graphs])
        found[tissue] = dict(zip(FEATURE_NAMES, table.mean(axis=0), strict=True))
    return found


def highest(means: dict[int, dict[str, float]], feature: str) -> list[int]:
    return sorted(means, key=lambda tissue: -means[tissue][feature])


def test_classes_look_like_themselves(means: dict[int, dict[str, float]]) -> None:
    assert set(highest(means, "hematoxylin_mean")[:2]) == {TUMOUR, LYMPHOCYTES}
    assert highest(means, "eosin_mean")[0] == VESSEL
    assert highest(means, "white_fraction")[0] == FAT
    assert means[FAT]["white_fraction"] > 0.5
    assert means[GLAND]["white_fraction"] > means[TUMOUR]["white_fraction"]


def test_nuclei_differ_by_class(means: dict[int, dict[str, float]]) -> None:
    assert highest(means, "nuclear_density")[0] == LYMPHOCYTES
    assert highest(means, "nuclear_area_mean")[0] == TUMOUR
    assert highest(means, "nuclear_area_sd")[0] == TUMOUR
    assert means[NECROSIS]["nuclear_density"] < 0.3 * means[TUMOUR]["nuclear_density"]
    assert means[GLAND]["nuclear_eccentricity_mean"] > means[LYMPHOCYTES]["nuclear_eccentricity_mean"]


def test_the_density_of_nuclei_is_about_what_was_painted(means: dict[int, dict[str, float]]) -> None:
    # touching nuclei merge and small pale ones are missed, so the count runs low
    for tissue in (TUMOUR, LYMPHOCYTES):
        painted = APPEARANCE[tissue].nuclei_per_mm2 / 1000
        assert 0.5 * painted < means[tissue]["nuclear_density"] < 1.1 * painted


def test_a_mosaic_keeps_its_classes_apart(site: SiteStain) -> None:
    classes = np.full((80, 160), STROMA, np.uint8)
    classes[:, 80:] = FAT
    image = paint(classes, mpp=1.0, site=site, rng=np.random.default_rng(0)).astype(float)
    assert image[:, 90:].mean() > image[:, :70].mean() + 30


def test_sites_differ_in_stain_but_not_in_kind() -> None:
    sites = [sample_site(rng=np.random.default_rng(seed)) for seed in range(6)]
    colours = np.array([tile(TUMOUR, site).mean(axis=(0, 1)) for site in sites])
    assert colours.std(axis=0).max() > 3
    assert (colours[:, 1] < colours[:, 2]).all()
    for site in sites:
        assert np.linalg.norm(site.vectors, axis=1) == pytest.approx(1)
        assert site.vectors[0, 0] > site.vectors[1, 0]


def test_a_class_without_room_for_a_nucleus_is_painted_all_the_same(site: SiteStain) -> None:
    classes = np.full((6, 6), TUMOUR, np.uint8)
    classes[0, 0] = FAT
    assert paint(classes, mpp=1.0, site=site, rng=np.random.default_rng(0)).shape == (6, 6, 3)


def test_painting_at_half_the_pixel_size_shows_the_same_tissue(site: SiteStain) -> None:
    coarse = tile(TUMOUR, site)
    fine = paint(np.full((180, 180), TUMOUR, np.uint8), mpp=0.5, site=site, rng=np.random.default_rng(0))
    assert fine.mean(axis=(0, 1)) == pytest.approx(coarse.mean(axis=(0, 1)), rel=0.06)


def test_default_lattice_and_painter_agree_on_size(site: SiteStain) -> None:
    spacing_px = round(Config().synthesis.spacing_um / Config().synthesis.mpp)
    tessellation = sample_tessellation(Size(2, 3), spacing_px, rng=np.random.default_rng(0))
    classes = np.concatenate([[STROMA], np.arange(6)])[tessellation.labels].astype(np.uint8)
    image = paint(classes, mpp=1.0, site=site, rng=np.random.default_rng(0))
    assert image.shape[:2] == (tessellation.size.height, tessellation.size.width)
