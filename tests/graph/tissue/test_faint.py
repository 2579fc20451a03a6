"""Fat, pale stain, tinted glass and colours of other stains: what is tissue is found, what is not is left."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

import wsigraph
from wsigraph.config import SlideConfig, TissueConfig
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box
from wsigraph.graph.tissue.artefact import ARTEFACT_GLASS, ARTEFACT_INK
from wsigraph.graph.tissue.faint import glass_noise
from wsigraph.graph.tissue.mask import find_tissue

from .painting import dice, on_grid

FORCED = SlideConfig(allow_non_he=True)


@pytest.fixture(scope="module")
def section(small_slide):
    with wsigraph.read(small_slide) as slide:
        return slide.read(Box.whole(slide.size(1.0)), 1.0)


@pytest.fixture(scope="module")
def plain(section, tmp_path_factory):
    return mapped(section, tmp_path_factory.mktemp("plain"))


def mapped(rgb, folder, config=None):
    path = folder / "slide.png"
    Image.fromarray(np.clip(np.round(rgb), 0, 255).astype(np.uint8)).save(path, compress_level=1)
    with wsigraph.read(path, mpp=1.0) as slide:
        return find_tissue(slide, config, suitability=FORCED)


def disc_of(shape, centre=(900.0, 450.0), radius=170.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def glass_with_noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return 243 + rng.normal(scale=1.5, size=(*shape, 3))


@pytest.mark.parametrize("factor", [0.2, 0.3])
def test_a_pale_section_is_found_whole(section, plain, tmp_path, factor):
    pale = 256.0 * ((section + 1.0) / 256.0) ** factor - 1.0
    tissue = mapped(pale, tmp_path).tissue > 0
    assert tissue[plain.tissue > 0].mean() >= 0.9
    assert dice(tissue, plain.tissue > 0) >= 0.9


@pytest.mark.parametrize("tint", [(0.92, 0.88, 0.75), (1.0, 0.93, 0.96), (0.7, 0.7, 0.7)])
def test_glass_may_be_tinted_or_dim(section, plain, tmp_path, tint):
    tissue_map = mapped(section * np.array(tint), tmp_path)
    assert dice(tissue_map.tissue > 0, plain.tissue > 0) >= 0.95
    # an underexposed slide holds no ink
    assert not (tissue_map.artefact == ARTEFACT_INK).any()


@pytest.mark.parametrize(
    "colour", [(0.27, 0.57, 0.78), (0.75, 0.4, 0.18), (0.18, 0.8, 0.75), (0.85, 0.45, 0.3), (0.9, 0.55, 0.25)]
)
def test_the_colour_of_another_stain_inside_tissue_is_no_ink(section, plain, tmp_path, colour):
    # DAB, blue collagen, blood, Perls' blue and alcian blue
    density = -np.log10((section + 1.0) / 256.0)
    amount = density.mean(axis=2, keepdims=True) / np.mean(colour)
    disc = disc_of(section.shape)
    stained = np.where(disc[..., None], 256.0 * 10.0 ** (-amount * np.array(colour)) - 1.0, section)
    lost = on_grid(disc, plain.tissue.shape) & (plain.tissue > 0)
    assert mapped(stained, tmp_path).tissue[lost].mean() >= 0.97


def test_fat_is_tissue(tmp_path):
    shape = (1200, 1200)
    fat = disc_of(shape, (600, 600), 450.0)
    index = np.argwhere(fat)
    distance, _ = cKDTree(np.random.default_rng(1).uniform(0, 1200, (225, 2))).query(index, k=2)
    membrane = np.zeros(shape)
    membrane[fat] = np.clip(2 - (distance[:, 1] - distance[:, 0]) / 2, 0, 1)
    rgb = glass_with_noise(shape) * 10.0 ** (-0.2 * membrane[..., None] * np.array([0.2, 1.0, 0.6]))
    tissue = mapped(rgb, tmp_path).tissue > 0
    truth = on_grid(fat, tissue.shape)
    assert tissue[truth].mean() >= 0.8
    assert truth[tissue].mean() >= 0.85


def test_a_change_of_tint_between_fields_is_no_tissue(section, plain, tmp_path):
    stitched = section.astype(float)
    stitched[:, 700:] *= np.array([0.99, 0.975, 0.995])
    tissue = mapped(stitched, tmp_path).tissue > 0
    assert dice(tissue, plain.tissue > 0) >= 0.95


@pytest.mark.parametrize("colour", [(0.07, 0.9, 0.68), (1.1, 0.8, 0.2), (1.0, 0.3, 0.6)])
def test_streaked_marker_beside_tissue_is_ink(section, plain, tmp_path, colour):
    wide = np.concatenate([section, glass_with_noise((section.shape[0], 700), 2)], axis=1)
    rng = np.random.default_rng(3)
    streaks = ndimage.gaussian_filter(rng.normal(size=wide.shape[:2]), (40, 2))
    y, x = np.mgrid[: wide.shape[0], : wide.shape[1]]
    amount = np.clip(0.4 + 0.45 * streaks / streaks.std(), 0, 1.2) * (np.abs(x - 1450 - 0.05 * y) < 90)
    marked = wide * 10.0 ** (-0.6 * amount[..., None] * np.array(colour))
    tissue_map = mapped(marked, tmp_path)
    truth = on_grid(amount > 0.2, tissue_map.tissue.shape)
    assert (tissue_map.artefact == ARTEFACT_INK)[truth].mean() >= 0.85
    assert tissue_map.tissue[truth].mean() <= 0.05


def test_glass_in_a_lumen_is_a_code_without_tissue(section, plain, tmp_path):
    lumen = disc_of(section.shape, (1150, 500), 95.0)
    rgb = np.where(lumen[..., None], glass_with_noise(section.shape[:2]), section)
    tissue_map = mapped(rgb, tmp_path)
    inside = ndimage.binary_erosion(on_grid(lumen, tissue_map.tissue.shape), iterations=3)
    assert (tissue_map.artefact == ARTEFACT_GLASS)[inside].mean() > 0.95
    assert not tissue_map.tissue[tissue_map.artefact == ARTEFACT_GLASS].any()
    kept = mapped(rgb, tmp_path, TissueConfig(max_hole_um2=1e6))
    assert kept.tissue[inside].all()


def test_the_setting_that_an_error_names_changes_the_result(tmp_path):
    rng = np.random.default_rng(4)
    cells = ndimage.gaussian_filter(rng.normal(size=(800, 800)), 3)
    faint = np.clip(cells / cells.std(), 0, 2) * 0.02 * disc_of((800, 800), (400, 400), 300.0)
    rgb = glass_with_noise((800, 800)) * 10.0 ** -(faint[..., None] * np.array([0.3, 1.0, 0.4]))
    with pytest.raises(NoTissue, match=r"lower tissue\.min_saturation"):
        mapped(rgb, tmp_path, TissueConfig(min_saturation=0.05))
    with pytest.raises(NoTissue, match=r"lower tissue\.noise_factor"):
        mapped(rgb, tmp_path, TissueConfig(noise_factor=1000.0))
    assert mapped(rgb, tmp_path).tissue.any()


def test_tissue_without_glass_and_tinted_glass_are_warnings(section, tmp_path):
    assert any("scanned area" in text for text in mapped(section[800:1400, 420:720], tmp_path).warnings)
    tinted = mapped(section * np.array([0.92, 0.88, 0.75]), tmp_path).warnings
    assert any("not neutral" in text for text in tinted)


def test_noise_in_closed_form():
    # means 0, 1, 2, ... on one side of the commonest and none on the other
    sums = np.array([[-40] * 2 + [-20] * 3 + [4] * 90 + [20] * 3 + [400] * 20], np.int32)
    mode, noise = glass_noise(sums, 4)
    assert mode == pytest.approx(1.0, abs=0.5)
    assert noise == pytest.approx(0.25, abs=0.3)
    assert glass_noise(np.zeros((9, 9), np.int32), 4) == (0.0, 0.0)
