"""Artefacts painted on real tissue are detected where they were painted, named, measured and left out as configured.

The floors are what was measured (``python -m tests.benchmarks artefacts``) less a margin of about 0.05.
"""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import wsigraph
from wsigraph.config import TissueConfig
from wsigraph.geometry import Box
from wsigraph.graph.tissue import focus
from wsigraph.graph.tissue.artefact import (
    ARTEFACT_BLUR,
    ARTEFACT_EDGE,
    ARTEFACT_FOLD,
    ARTEFACT_GLASS,
    ARTEFACT_INK,
    ARTEFACTS,
    artefact_areas,
    artefact_facts,
    section_areas,
    write_codes,
)
from wsigraph.graph.tissue.line import long_narrow_pieces
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.records import StainBasis, TissueMap

from .painting import dice, on_grid, paintings

CENTRE = (900.0, 450.0)


@pytest.fixture(scope="module")
def pixels(small_slide):
    with wsigraph.read(small_slide) as slide:
        return slide.read(Box.whole(slide.size(1.0)), 1.0)


def mapped(rgb, folder, config=None):
    path = folder / "painted.png"
    Image.fromarray(rgb).save(path, compress_level=1)
    with wsigraph.read(path, mpp=1.0) as slide:
        return find_tissue(slide, config)


@pytest.fixture(scope="module")
def clean(pixels, tmp_path_factory):
    return mapped(pixels, tmp_path_factory.mktemp("clean"))


def test_a_clean_slide_loses_nothing(clean):
    assert set(np.unique(clean.artefact)) <= {0, ARTEFACT_FOLD}
    assert 0.35 < clean.tissue.mean() < 0.45
    # a dense band of epithelium is no fold
    assert (clean.artefact == ARTEFACT_FOLD)[clean.tissue > 0].mean() < 0.02


@pytest.mark.parametrize(
    ("what", "code", "floor"),
    [
        ("ink, blue", ARTEFACT_INK, 0.80),
        ("ink, green", ARTEFACT_INK, 0.80),
        ("ink, black", ARTEFACT_INK, 0.90),
        ("ink, red", ARTEFACT_INK, 0.88),
        ("ink, brown", ARTEFACT_INK, 0.88),
        ("ink, orange", ARTEFACT_INK, 0.88),
        ("ink, purple", ARTEFACT_INK, 0.90),
        ("blur, 4 um", ARTEFACT_BLUR, 0.85),
        ("blur, 5 um", ARTEFACT_BLUR, 0.85),
        ("blur, 8 um", ARTEFACT_BLUR, 0.85),
        ("bubble", ARTEFACT_EDGE, 0.66),
        ("edge", ARTEFACT_EDGE, 0.74),
    ],
)
def test_what_is_painted_is_found_and_left_out(pixels, clean, tmp_path, what, code, floor):
    rgb, mask = paintings(pixels, CENTRE)[what]()
    tissue_map = mapped(rgb, tmp_path)
    truth, tissue = on_grid(mask, clean.tissue.shape), clean.tissue > 0
    marked = tissue_map.artefact == code
    if code != ARTEFACT_INK:
        truth, marked = truth & tissue, marked & tissue
    assert dice(marked, truth) > floor
    assert not (tissue_map.tissue[tissue_map.artefact == code]).any()
    away = ~on_grid(mask, truth.shape) & tissue
    assert marked[away].mean() < 0.06


def test_what_is_soft_but_legible_is_kept(pixels, tmp_path):
    # blur is judged by the power at the scale of nuclei, not by the slide's sharper parts
    rgb, _ = paintings(pixels, CENTRE)["blur, 2 um"]()
    assert not (mapped(rgb, tmp_path).artefact == ARTEFACT_BLUR).any()


def test_a_slide_blurred_as_a_whole_is_found(pixels, tmp_path):
    soft = ndimage.gaussian_filter(pixels, (5, 5, 0))
    tissue_map = mapped(soft, tmp_path, TissueConfig(mask_blur=False))
    assert (tissue_map.artefact == ARTEFACT_BLUR)[tissue_map.tissue > 0].mean() > 0.8


def test_each_artefact_can_be_kept_and_is_written_down_all_the_same(pixels, tmp_path):
    for what, code, switch in (
        ("ink, red", ARTEFACT_INK, "mask_ink"),
        ("blur, 5 um", ARTEFACT_BLUR, "mask_blur"),
        ("bubble", ARTEFACT_EDGE, "mask_edge"),
    ):
        rgb, _ = paintings(pixels, CENTRE)[what]()
        tissue_map = mapped(rgb, tmp_path, TissueConfig(**{switch: False}))
        assert (tissue_map.artefact == code).any()
        assert tissue_map.tissue[tissue_map.artefact == code].any()


def test_folds_stay_unless_told_otherwise(pixels, tmp_path):
    rgb, _ = paintings(pixels, CENTRE)["fold"]()
    with_folds, without_folds = mapped(rgb, tmp_path), mapped(rgb, tmp_path, TissueConfig(mask_fold=True))
    folds = with_folds.artefact == ARTEFACT_FOLD
    assert folds.any()
    assert with_folds.tissue[folds].all()
    assert not without_folds.tissue[folds].any()


def test_focus_does_not_depend_on_chunks(pixels, tmp_path, monkeypatch):
    rgb, _ = paintings(pixels, CENTRE)["blur, 5 um"]()
    whole = mapped(rgb, tmp_path)
    monkeypatch.setattr(focus, "_CELLS_PER_CHUNK", 3)
    again = mapped(rgb, tmp_path)
    assert (whole.artefact == ARTEFACT_BLUR).any()
    np.testing.assert_array_equal(whole.artefact, again.artefact)
    np.testing.assert_array_equal(whole.tissue, again.tissue)


def test_a_coarse_slide_is_not_judged(pixels, tmp_path):
    rgb, _ = paintings(pixels, CENTRE)["blur, 5 um"]()
    Image.fromarray(rgb).save(tmp_path / "coarse.png", compress_level=1)
    for mpp, is_judged in ((1.0, True), (2.5, False)):
        with wsigraph.read(tmp_path / "coarse.png", mpp=mpp) as slide:
            size = slide.size(4.0)
            blurred = focus.find_blur(slide, np.ones((size.height, size.width), bool), TissueConfig())
        assert blurred.any() == is_judged


def test_detail_of_a_cell_in_closed_form():
    # one bright pixel: Laplacian 4 v there and -v at four neighbours; averaged 2 x 2 it is one bright pixel of sum v
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[6, 6] = (10, 20, 30)
    energy = focus.cell_energies(rgb, 16)
    assert energy.shape == (1, 1, focus.N_SCALES, 2)
    assert energy[0, 0, 0].tolist() == [20 * 60**2, 14 * 14]
    assert energy[0, 0, 1].tolist() == [20 * 60**2, 6 * 6]
    assert energy[0, 0, 2].tolist() == [16 * 60**2 + 60**2 * 2, 2 * 2]


def test_white_noise_is_not_blur_and_a_ramp_has_no_detail():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    energy = focus.cell_energies(noise, 64)[0, 0]
    # white noise: equal squares at each scale but for the sums of four
    assert energy[0, 0] / energy[0, 1] == pytest.approx(energy[1, 0] / energy[1, 1] / 4, rel=0.2)
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 3)).copy()
    assert not focus.cell_energies(ramp, 64)[..., 0].any()


def test_areas_name_every_reason():
    codes = np.zeros((100, 100), np.uint8)
    codes[:10, :25], codes[50, :] = ARTEFACT_INK, ARTEFACT_FOLD
    stain = StainBasis(vectors=np.eye(3)[:2], max_concentration=np.ones(2), nucleus_threshold=0.5, source="reference")
    tissue = TissueMap(
        tissue=np.ones_like(codes), artefact=codes, section=np.ones(codes.shape, np.uint16), mpp=10.0, stain=stain
    )
    areas = artefact_areas(tissue)
    assert list(areas) == list(ARTEFACTS.values())[1:]
    assert areas["pen ink"] == pytest.approx(250 * 100 / 1e6)
    assert areas["fold"] == pytest.approx(0.01)
    assert areas["out of focus"] == 0.0


def test_facts_say_how_much_is_inside_and_what_keeps_it():
    tissue, codes = np.zeros((200, 200), np.uint8), np.zeros((200, 200), np.uint8)
    tissue[50:150, 50:150] = 1
    codes[0:10, 0:10] = ARTEFACT_INK
    codes[90:110, 90:110] = ARTEFACT_GLASS
    codes[60:70, 60:70] = ARTEFACT_FOLD
    tissue[codes == ARTEFACT_GLASS] = 0
    stain = StainBasis(vectors=np.eye(3)[:2], max_concentration=np.ones(2), nucleus_threshold=0.5, source="reference")
    tissue_map = TissueMap(tissue=tissue, artefact=codes, section=tissue.astype(np.uint16), mpp=4.0, stain=stain)
    ink, fold, glass = artefact_facts(tissue_map)
    assert (ink["inside_mm2"], fold["left_out_mm2"]) == (0.0, 0.0)
    assert fold["inside_mm2"] == fold["mm2"] == pytest.approx(100 * 16e-6)
    assert glass["left_out_mm2"] == pytest.approx(400 * 16e-6)
    assert glass["kept_by"] == "a larger tissue.max_hole_um2"
    assert section_areas(tissue_map) == pytest.approx([9600 * 16e-6])


def test_the_lower_code_is_written():
    here = np.array([[True, True, False]])
    codes = write_codes((1, 3), {ARTEFACT_FOLD: here, ARTEFACT_INK: np.array([[True, False, False]])})
    np.testing.assert_array_equal(codes, [[ARTEFACT_INK, ARTEFACT_FOLD, 0]])


def test_long_and_narrow_is_a_matter_of_the_whole_piece():
    mask = np.zeros((80, 80), bool)
    mask[5, 5:60] = True
    mask[20:50, 20:50] = True
    y, x = np.mgrid[:80, :80]
    ring = np.abs(np.hypot(y - 62, x - 64) - 13) < 1.5
    pieces = long_narrow_pieces(mask | ring, 30, 4)
    assert pieces[5, 5:60].all()
    assert not pieces[30, 30]
    assert pieces[ring].all()
    assert not long_narrow_pieces(mask, 60, 4).any()


def test_clean_real_slides_have_no_false_alarm(shared_slides):
    for name, mpp, fraction in (("kidney_glomeruli.svs", 0.5, 0.998), ("pyramid_wrong_mpp.tiff", 0.5, 0.790)):
        with wsigraph.read(shared_slides / name, mpp=mpp) as slide:
            tissue_map = find_tissue(slide)
        # the second has lumina of glass
        assert set(np.unique(tissue_map.artefact)) <= {0, ARTEFACT_FOLD, ARTEFACT_GLASS}
        assert tissue_map.tissue.mean() == pytest.approx(fraction, abs=0.005)


@pytest.mark.parametrize("has_stroke", [True, False])
def test_remains_of_a_dried_red_marker_are_known_from_its_strokes(has_stroke):
    from wsigraph.graph.tissue.density import OD_UNIT
    from wsigraph.graph.tissue.ink import find_ink

    rng = np.random.default_rng(5)
    marker, eosin = np.array([0.06, 0.9, 0.7]), np.array([0.12, 0.62, 0.36])
    density = rng.normal(scale=0.004, size=(3, 400, 500))
    # tissue of two stains, from which the slide's own ratio of blue to green follows
    amount = rng.uniform(0.2, 0.9, (2, 300, 240))
    density[:, 50:350, 220:460] += np.einsum("cyx,cd->dyx", amount, np.array([eosin, [0.5, 0.6, 0.35]]))
    stroke, strip, scrap = np.s_[:, 50:250, 40:95], np.s_[:, 290:302, 40:95], np.s_[:, 330:342, 40:95]
    streaks = 0.4 + 0.15 * np.sin(np.arange(200) / 1.5) + rng.normal(scale=0.02, size=200)
    if has_stroke:
        density[stroke] += marker[:, None, None] * streaks[:, None]
    density[strip] += 0.25 * marker[:, None, None]
    density[scrap] += 0.4 * eosin[:, None, None]
    ink = find_ink(np.round(density * OD_UNIT).astype(np.int16), TissueConfig())
    assert (ink[stroke[1:]].mean() > 0.9) == has_stroke
    # a thin strip alone may be a scrap of tissue; beside a stroke of its own pigment it is marker
    assert (ink[strip[1:]].mean() > 0.9) == has_stroke
    assert not ink[scrap[1:]].any()
    assert not ink[50:350, 230:450].any()


def test_paler_tissue_enclosed_by_a_fold_is_part_of_it():
    from wsigraph.graph.tissue.line import find_lines

    planes = np.empty((3, 150, 200), np.int16)
    planes[:] = np.array([300, 420, 380])[:, None, None]
    planes[:, 50:80, 50:130] = np.array([570, 800, 720])[:, None, None]
    planes[:, 59:71, 90:104] = np.array([300, 420, 380])[:, None, None]
    _, fold = find_lines(planes, np.ones((300, 400), bool), TissueConfig())
    found = fold[::2, ::2]
    assert found[59:71, 90:104].all()
    assert found[50:80, 55:125].mean() > 0.9
    assert not found[:40].any()
