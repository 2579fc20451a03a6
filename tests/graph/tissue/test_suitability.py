"""What is no H&E section is refused before any number, H&E never is, and what is forced says so in every output."""

import json

import numpy as np
import pytest
import zarr
from PIL import Image, ImageDraw
from scipy import ndimage
from typer.testing import CliRunner

import wsigraph
from wsigraph import store
from wsigraph.cli.main import app
from wsigraph.config import Config, SlideConfig
from wsigraph.errors import NotHE, TissueError
from wsigraph.geometry import Box
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.suitability import MARK, judge_channels
from wsigraph.run.batch.job import Job
from wsigraph.run.batch.work import carry_out
from wsigraph.run.steps import run_slide

FORCED = SlideConfig(allow_non_he=True)


@pytest.fixture(scope="module")
def section(small_slide):
    with wsigraph.read(small_slide) as slide:
        return slide.read(Box.whole(slide.size(1.0)), 1.0)


@pytest.fixture(scope="module")
def tissue(section):
    return section[800:1100, 420:720]


def opened(path, rgb, mpp=1.0):
    Image.fromarray(rgb).save(path)
    return wsigraph.read(path, mpp=mpp)


def stained_blue(rgb):
    """Return what DAPI on black looks like."""
    signal = 255 - rgb.min(axis=2).astype(int)
    signal = np.clip(3 * (signal - 120), 4, 255)
    return np.stack([signal // 60, signal // 90, signal], axis=-1).astype(np.uint8)


def stroke(colour, size=(600, 500), width=70, seed=0):
    """Return one soft stroke of pen on glass; colour is optical density over (R, G, B)."""
    canvas = Image.new("L", size[::-1], 0)
    ImageDraw.Draw(canvas).line([(60, 60), (250, 300), (440, 540)], fill=255, width=width)
    covered = ndimage.gaussian_filter(np.asarray(canvas) / 255.0, 3)
    noise = np.random.default_rng(seed).normal(scale=1.0, size=(*size, 3))
    return np.clip(243 * 10 ** (-covered[..., None] * np.array(colour)) + noise, 0, 255).astype(np.uint8)


def altered(rgb, change):
    density = np.log10(256.0 / (rgb + 1.0))
    return {
        "plain": lambda: rgb,
        "pale": lambda: (256 * 10 ** (-0.4 * density) - 1).clip(0, 255).astype(np.uint8),
        "dense": lambda: (256 * 10 ** (-1.6 * density) - 1).clip(0, 255).astype(np.uint8),
        "yellowed": lambda: (rgb * np.array([1.0, 0.95, 0.85])).astype(np.uint8),
        "underexposed": lambda: (rgb * 0.75).astype(np.uint8),
        "blurred": lambda: ndimage.gaussian_filter(rgb, (3, 3, 0)),
    }[change]()


@pytest.mark.parametrize("change", ["plain", "pale", "dense", "yellowed", "underexposed", "blurred"])
@pytest.mark.parametrize("part", ["with glass", "without glass"])
def test_he_is_never_refused(section, tissue, tmp_path, change, part):
    rgb = altered(section[700:1400, 200:900] if part == "with glass" else tissue, change)
    with opened(tmp_path / "he.png", rgb) as slide:
        assert find_tissue(slide).refusal == ""


def test_he_with_much_black_that_was_not_scanned_is_not_refused(tissue, tmp_path):
    padded = np.zeros((900, 900, 3), np.uint8)
    padded[:300, :300] = tissue
    with opened(tmp_path / "padded.png", padded) as slide:
        assert find_tissue(slide).refusal == ""


@pytest.mark.parametrize(
    "make",
    [
        stained_blue,
        lambda rgb: np.repeat(255 - rgb.min(axis=2, keepdims=True), 3, axis=2),
        lambda rgb: np.roll(stained_blue(rgb), 1, axis=2),
    ],
    ids=["DAPI", "grey", "red dye"],
)
def test_a_dark_ground_is_refused(section, tmp_path, make):
    dark = make(section[300:1300, 0:1000])
    with opened(tmp_path / "dark.png", dark) as slide, pytest.raises(NotHE, match="dark ground"):
        find_tissue(slide)


def test_an_inverted_section_is_refused(section, tmp_path):
    with opened(tmp_path / "inverted.png", 255 - section) as slide, pytest.raises(TissueError):
        find_tissue(slide)


@pytest.mark.parametrize("mpp", [1.0, 4.0, 10.0])
@pytest.mark.parametrize(
    "colour", [(0.05, 0.9, 0.65), (0.5, 1.0, 0.25), (0.5, 0.56, 0.62)], ids=["red", "purple", "grey"]
)
def test_a_lone_stroke_is_no_tissue(tmp_path, colour, mpp):
    with opened(tmp_path / "pen.png", stroke(colour), mpp) as slide, pytest.raises(TissueError, match="no tissue"):
        find_tissue(slide)


def test_a_stroke_beside_tissue_does_no_harm(section, tmp_path):
    both = np.vstack([section[700:1300, 200:700], stroke((0.05, 0.9, 0.65))])
    with opened(tmp_path / "both.png", both) as slide:
        assert find_tissue(slide).refusal == ""


def test_channels_named_after_dyes_are_refused_with_their_names(tissue, tmp_path):
    path = tmp_path / "if.ome.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", data=np.moveaxis(tissue, 2, 0).copy(), chunks=(3, 128, 128))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": "c", "type": "channel"}, *axes],
            "datasets": [{"path": "0", "coordinateTransformations": scale}],
        }
    ]
    group.attrs["omero"] = {"channels": [{"label": name} for name in ("DAPI", "CD3", "CD8")]}
    with wsigraph.read(path) as slide, pytest.raises(NotHE, match="DAPI, CD3, CD8"):
        find_tissue(slide)
    group.attrs["omero"] = {"channels": [{"label": name} for name in ("Red", "Green", "Blue")]}
    with wsigraph.read(path) as slide:
        assert find_tissue(slide).refusal == ""


@pytest.mark.parametrize("names", [(), ("red", "green", "blue"), ("Channel 0", "Channel 1", "Channel 2"), ("H&E",)])
def test_channels_of_bright_field_pass(names):
    assert judge_channels(names) == ""


@pytest.mark.parametrize(
    "names", [("Hoechst 33342", "FITC", "TRITC"), ("Cy3", "Cy5", "x"), ("a", "b", "PanCK"), ("AF488",)]
)
def test_names_of_dyes_and_markers_are_known(names):
    assert judge_channels(names).startswith("fluorescence")


def test_what_is_forced_is_marked_and_refused_again_without_force(section, tmp_path):
    picture = tmp_path / "dapi.png"
    Image.fromarray(stained_blue(section[800:1100, 300:600])).save(picture)
    out = tmp_path / "out"
    with pytest.raises(NotHE):
        run_slide(picture, out, mpp=1.0)
    assert not (out / "dapi").exists()
    result = run_slide(picture, out, Config(slide=FORCED), mpp=1.0)
    assert result.info.warnings[0].startswith(MARK)
    assert result.facts["warnings"][0].startswith(MARK)
    for name in ("slide.json", "prediction.json", "report.json"):
        said = json.loads((result.directory / name).read_text())
        assert any(text.startswith(MARK) for text in said["warnings"]), name
    assert MARK in (result.directory / "report.geojson").read_text()
    assert store.load_prediction(result.directory / "prediction.json").notice.startswith(MARK)
    # found done, and refused all the same
    with pytest.raises(NotHE, match="dark ground"):
        run_slide(picture, out, mpp=1.0)
    again = run_slide(picture, out, Config(slide=FORCED), mpp=1.0)
    assert "report" in again.resumed
    assert again.facts["warnings"][0].startswith(MARK)


def test_force_changes_no_byte_of_a_slide_that_is_he(tissue, tmp_path):
    picture = tmp_path / "he.png"
    Image.fromarray(tissue).save(picture)
    plain = run_slide(picture, tmp_path / "a", mpp=1.0, until="tissue")
    forced = run_slide(picture, tmp_path / "b", Config(slide=FORCED), mpp=1.0, until="tissue")
    first, second = (store.digest(result.directory / "tissue.zarr") for result in (plain, forced))
    assert first == second


@pytest.mark.parametrize("verb", ["predict", "explain", "graph"])
def test_commands_refuse_in_one_line(section, tmp_path, verb):
    picture = tmp_path / "dapi.png"
    Image.fromarray(stained_blue(section[800:1100, 300:600])).save(picture)
    result = CliRunner().invoke(app, [verb, str(picture), "--mpp", "1", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "no H&E section: dark ground" in result.stderr
    assert "--force" in result.stderr


def test_a_worker_and_with_it_the_service_fails_with_the_same_line(section, tmp_path):
    picture = tmp_path / "dapi.png"
    Image.fromarray(stained_blue(section[800:1100, 300:600])).save(picture)
    job = Job(
        slide_id="dapi",
        path=str(picture),
        out=str(tmp_path),
        mpp=1.0,
        config=Config(),
        run_id="run",
        sha256=None,
        model=None,
        until="report",
    )
    outcome = carry_out(job)
    assert (outcome.status, outcome.error) == ("failed", "NotHE")
    assert "no H&E section: dark ground" in outcome.message
    assert outcome.error in Config().batch.final_errors


def test_the_summary_of_a_run_marks_what_was_forced_also_when_it_is_run_again(section, tmp_path):
    picture = tmp_path / "dapi.png"
    Image.fromarray(stained_blue(section[800:1100, 300:600])).save(picture)
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"slide_id,patient_id,path,mpp\ndapi,p,{picture},1\n")
    words = [
        "run",
        str(manifest),
        "--out",
        str(tmp_path / "out"),
        "--cluster",
        "threads",
        "--until",
        "tissue",
        "--force",
    ]
    for _ in range(2):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert f"dapi: {MARK}" in result.stderr
        (marked,) = json.loads((tmp_path / "out" / "summary.json").read_text())["marked"]
        assert marked["slide_id"] == "dapi"
        assert marked["mark"].startswith(MARK)
        assert f"| dapi | {MARK}" in (tmp_path / "out" / "summary.md").read_text()


def worn_stroke(colour, height=300, width=800, faded=120):
    """Return a dense stroke whose end fades over 480 um at 4 um/px; colour is optical density over (R, G, B)."""
    amount = np.clip((550 - np.arange(width)) / faded, 0, 1)[None, :] * np.ones((height, 1))
    amount[:100], amount[200:] = 0, 0
    covered = ndimage.gaussian_filter(amount, 2)
    noise = np.random.default_rng(0).normal(scale=1.0, size=(height, width, 3))
    return np.clip(243 * 10 ** (-covered[..., None] * np.array(colour)) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "colour", [(1.2, 1.35, 1.6), (1.4, 1.4, 1.4), (1.5, 1.4, 1.4)], ids=["brownish", "grey", "bluish"]
)
def test_the_worn_end_of_a_black_stroke_is_no_tissue(tmp_path, colour):
    with opened(tmp_path / "worn.png", worn_stroke(colour), 4.0) as slide, pytest.raises(TissueError):
        find_tissue(slide)


def test_tissue_beside_a_black_stroke_is_kept(section, tmp_path):
    part = section[600:1400, 200:1000]
    both = np.vstack([part, np.full((60, 800, 3), 243, np.uint8), worn_stroke((1.2, 1.35, 1.6))])
    with opened(tmp_path / "alone.png", part) as slide:
        alone = find_tissue(slide).tissue > 0
    with opened(tmp_path / "both.png", both) as slide:
        kept = find_tissue(slide).tissue[: alone.shape[0], : alone.shape[1]] > 0
    assert (alone & ~kept).sum() <= 0.01 * alone.sum()


@pytest.mark.parametrize("side_um", [200, 300, 390])
def test_a_tile_smaller_than_debris_has_tissue_on_it(section, tmp_path, side_um):
    tile = section[800 : 800 + side_um, 300 : 300 + side_um].copy()
    tile[: side_um // 3] = 243  # glass, so that the tissue is smaller than min_area_um2 on the smallest tile
    with opened(tmp_path / "tile.png", tile) as slide:
        assert (find_tissue(slide).tissue > 0).mean() > 0.3
