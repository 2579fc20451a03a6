"""Tissue: detected on real slides, with and without background, with ink, in any tiling; refused on white."""

import dask
import numpy as np
import pytest
from PIL import Image

import wsigraph
from wsigraph.config import TissueConfig
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box
from wsigraph.graph.tissue import mask as mask_module
from wsigraph.graph.tissue.artefact import ARTEFACT_INK
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.window import tissue_window


def dice(predicted, truth):
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


@pytest.fixture(scope="module")
def cmu_pixels(small_slide):
    with wsigraph.read(small_slide) as slide:
        size = slide.size(1.0)
        return slide.read(Box.whole(size), 1.0)


def opened(path, rgb, mpp=1.0):
    Image.fromarray(rgb).save(path)
    return wsigraph.read(path, mpp=mpp)


def test_the_real_slide_is_two_fifths_tissue_in_one_piece(small_slide):
    with wsigraph.read(small_slide) as slide:
        tissue_map = find_tissue(slide)
    assert 0.35 < tissue_map.tissue.mean() < 0.45
    assert tissue_map.section.max() == 1
    assert tissue_map.stain.source == "macenko"


def test_the_map_does_not_depend_on_chunks_or_threads(small_slide, monkeypatch):
    with wsigraph.read(small_slide) as slide:
        whole = find_tissue(slide)
        monkeypatch.setattr(mask_module, "_GRID_CHUNK_PX", 100)
        with dask.config.set(num_workers=1):
            again = find_tissue(slide)
    np.testing.assert_array_equal(whole.tissue, again.tissue)
    np.testing.assert_array_equal(whole.artefact, again.artefact)
    np.testing.assert_array_equal(whole.section, again.section)
    np.testing.assert_array_equal(whole.stain.vectors, again.stain.vectors)
    assert whole.stain.nucleus_threshold == again.stain.nucleus_threshold


def test_no_background_does_not_mean_no_tissue(cmu_pixels, tmp_path):
    inside = cmu_pixels[800:1400, 420:720]
    with opened(tmp_path / "all.png", inside) as slide:
        assert find_tissue(slide).tissue.mean() > 0.97


def test_grey_glass_is_still_glass(cmu_pixels, tmp_path):
    # a grey slide passes three quarters of the light everywhere
    with opened(tmp_path / "grey.png", (cmu_pixels * 0.82).astype(np.uint8)) as slide:
        grey = find_tissue(slide).tissue
    with opened(tmp_path / "white.png", cmu_pixels) as slide:
        white = find_tissue(slide).tissue
    assert dice(grey > 0, white > 0) > 0.97


def test_real_ink_on_a_real_slide(shared_slides):
    with wsigraph.read(shared_slides / "ink.jpeg", mpp=4.0) as slide:
        tissue_map = find_tissue(slide)
        rgb = slide.read(Box.whole(slide.size(4.0)), 4.0).astype(int)
    saturated_blue = (rgb[..., 2] > rgb[..., 0] + 60) & (rgb[..., 0] < 90)
    assert (tissue_map.artefact[saturated_blue] == ARTEFACT_INK).mean() > 0.9
    assert tissue_map.tissue.mean() == pytest.approx(0.29, abs=0.02)
    # paint washed over tissue, where nuclei and stroma still show: a bluish grey no stroma has
    washed = np.zeros(rgb.shape[:2], bool)
    washed[830:860, 3780:3810] = True
    assert (tissue_map.artefact[washed] == ARTEFACT_INK).mean() > 0.9
    assert tissue_map.section.max() == 1


def test_white_is_refused_with_what_to_do(tmp_path):
    with (
        opened(tmp_path / "white.png", np.full((400, 400, 3), 244, np.uint8)) as slide,
        pytest.raises(NoTissue, match=r"tissue\.min_area_um2"),
    ):
        find_tissue(slide)


def test_tissue_lost_to_artefacts_is_refused_with_their_names(tmp_path):
    blue = np.full((400, 400, 3), 250, np.uint8)
    blue[100:300, 100:300] = (20, 50, 160)
    with (
        opened(tmp_path / "ink.png", blue) as slide,
        pytest.raises(NoTissue, match=r"left out: pen ink 0\.0\d+ mm2"),
    ):
        find_tissue(slide)


def test_a_configuration_can_take_the_reference_stain(cmu_pixels, tmp_path):
    with opened(tmp_path / "plain.png", cmu_pixels) as slide:
        tissue_map = find_tissue(slide, TissueConfig(stain="reference"))
    assert tissue_map.stain.source == "reference"


def test_grid_cells_cover_working_pixels_by_their_centres():
    tissue = np.array([[1, 0], [0, 1]], np.uint8)
    window = tissue_window(tissue, 4.0, Box(y0=0, x0=0, y1=8, x1=7), 1.0)
    np.testing.assert_array_equal(window, np.kron(tissue, np.ones((4, 4)))[:, :7] > 0)
    # a working pixel of 1.5 um belongs to the cell under its centre
    row = tissue_window(np.array([[1, 0, 1]], np.uint8), 4.0, Box(y0=0, x0=0, y1=1, x1=8), 1.5)[0]
    np.testing.assert_array_equal(row, [1, 1, 1, 0, 0, 1, 1, 1])
