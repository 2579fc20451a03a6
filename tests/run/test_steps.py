"""One slide through the stages: what is redone, what is not, and what lies on disk at every moment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph import store
from wsigraph.config import Config, load
from wsigraph.errors import ConfigError, ModelError, NoTissue, StoreError, UnreadableSlide
from wsigraph.run import page_step
from wsigraph.run.steps import STEP_NAMES, STEPS, SlideResult, run_slide

UPSTREAM = ("tissue", "segment", "graph", "coarsen")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, small_slide: Path) -> Path:
    """A small piece of the real slide, so that redoing a stage is quick."""
    path = tmp_path_factory.mktemp("slides") / "piece.tiff"
    pixels = tifffile.imread(small_slide, key=0)[900:1700, 600:1500]
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", resolution=(2e4, 2e4), resolutionunit="CENTIMETER"
    )
    return path


@pytest.fixture(scope="module")
def pristine(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of an unbroken run up to the coarse graph."""
    out = tmp_path_factory.mktemp("pristine")
    run_slide(slide, out, until="coarsen")
    return out / "piece"


@pytest.fixture
def out(pristine: Path, tmp_path: Path) -> Path:
    """A copy of those records, to be spoilt."""
    shutil.copytree(pristine, tmp_path / "out" / "piece")
    return tmp_path / "out"


def again(slide: Path, out: Path, config: Config | None = None, until: str = "coarsen") -> SlideResult:
    return run_slide(slide, out, config, until=until)


def content(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_nothing_is_repeated_that_is_done(slide: Path, out: Path, pristine: Path) -> None:
    noted = json.loads((out / "piece" / "run.json").read_text())["seconds"]
    result = again(slide, out)
    assert result.resumed == UPSTREAM
    assert content(result.directory) == content(pristine)
    assert {stage: result.seconds[stage] for stage in UPSTREAM} == {stage: noted[stage] for stage in UPSTREAM}
    assert [path.name for path in result.files] == [*(STEPS[stage].files[0] for stage in STEP_NAMES[:5]), "run.json"]


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("runtime.chunk_px=333", UPSTREAM),
        ("runtime.threads=1", UPSTREAM),
        ("report.thumbnail_px=500", UPSTREAM),
        ("coarsening.granularity=2", ("tissue", "segment", "graph")),
        ("feature.texture_offset_um=3", ("tissue", "segment")),
        ("superpixel.spacing_um=45", ("tissue",)),
        ("superpixel.mpp=2", ()),
        ("tissue.min_area_um2=20000", ()),
    ],
)
def test_a_setting_redoes_its_stage_and_all_below_and_nothing_above(
    slide: Path, out: Path, override: str, kept: tuple[str, ...]
) -> None:
    assert again(slide, out, load(overrides=[override])).resumed == kept


@pytest.mark.parametrize("stage", UPSTREAM)
def test_a_damaged_record_is_redone_to_the_same_bytes(slide: Path, out: Path, pristine: Path, stage: str) -> None:
    path = out / "piece" / STEPS[stage].files[0]
    victim = (
        path
        if path.is_file()
        else next(file for file in sorted(path.rglob("*")) if file.parent.name == "c" or file.name == "0")
    )
    victim = victim if victim.is_file() else next(file for file in sorted(victim.rglob("*")) if file.is_file())
    victim.write_bytes(victim.read_bytes()[:-5])
    result = again(slide, out)
    assert result.resumed == UPSTREAM[: UPSTREAM.index(stage)]
    assert content(result.directory) == content(pristine)


def test_chunks_and_threads_leave_no_trace(slide: Path, pristine: Path, tmp_path: Path) -> None:
    for chunk_px, threads in ((64, 2), (177, 1), (256, 2), (1024, 1)):
        config = load(overrides=[f"runtime.chunk_px={chunk_px}", f"runtime.threads={threads}"])
        result = run_slide(slide, tmp_path / str(chunk_px), config, until="coarsen")
        assert content(result.directory) == content(pristine), (chunk_px, threads)


def test_a_moved_slide_finds_its_records(slide: Path, out: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / slide.name
    moved.parent.mkdir()
    shutil.copy(slide, moved)
    assert again(moved, out).resumed == UPSTREAM


def test_an_earlier_stage_redone_removes_what_was_made_from_it(slide: Path, out: Path) -> None:
    for name in ("prediction.json", "report.json", "report.png", "report.geojson"):
        (out / "piece" / name).write_text("from an earlier graph")
    again(slide, out, load(overrides=["superpixel.spacing_um=45"]), until="segment")
    left = {path.name for path in (out / "piece").iterdir()}
    assert left == {"slide.json", "tissue.zarr", "superpixels.zarr", "run.json"}


def test_every_step_names_inputs_and_settings_that_exist() -> None:
    assert STEP_NAMES == ("read", "tissue", "segment", "graph", "coarsen", "predict", "report", "explain", "page")
    files = [name for step in STEPS.values() for name in step.files]
    assert len(files) == len(set(files))
    for number, (name, step) in enumerate(STEPS.items()):
        earlier = set(STEP_NAMES[:number])
        assert name == step.name
        assert set(step.inputs) <= {
            *earlier,
            "slide",
            "tiles",
            "features",
            "roi",
            "tissue_mask",
            "embedding",
            "model",
            "reference",
        }
        assert set(step.load_with) <= earlier
        for key in set(step.config) - {"question"}:
            section, _, field = key.partition(".")
            assert section in Config.model_fields
            assert not field or field in type(getattr(Config(), section)).model_fields
        assert step.needs_model == (number >= STEP_NAMES.index("predict"))
    assert STEPS["page"].files == (page_step.FACTS, page_step.POLYGONS, page_step.PICTURE, page_step.PAGE)


def test_the_old_name_of_a_setting_is_read() -> None:
    old = load(overrides=["batch.gpu_stages=[graph]", "synthesis.law=spatial"])
    assert old == load(overrides=["batch.gpu_steps=[graph]", "synthesis.scenario=spatial"])
    assert old.batch.gpu_steps == ("graph",)


@pytest.mark.parametrize("until", STEP_NAMES[:5])
def test_a_run_stops_after_the_requested_step(slide: Path, tmp_path: Path, until: str) -> None:
    result = run_slide(slide, tmp_path, until=until)
    expected = {STEPS[stage].files[0] for stage in STEP_NAMES[: STEP_NAMES.index(until) + 1]} | {"run.json"}
    assert {path.name for path in result.directory.iterdir()} == expected
    assert set(result.seconds) == set(STEP_NAMES[: STEP_NAMES.index(until) + 1])
    assert result.facts is None


def test_an_unknown_step_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="step 'paint' is unknown; expected one of read, tissue"):
        run_slide(tmp_path / "absent.svs", tmp_path / "out", until="paint")


def test_another_pixel_size_is_another_slide(slide: Path, out: Path) -> None:
    result = run_slide(slide, out, mpp=0.45, until="coarsen")
    assert result.resumed == ()
    assert result.info.mpp == 0.45
    same = run_slide(slide, out, mpp=0.45, until="coarsen")
    assert same.resumed == UPSTREAM
    assert store.load_slide_info(out / "piece" / "slide.json").mpp_source == "given"


def test_a_directory_of_another_slide_is_left_alone(slide: Path, out: Path, pristine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / slide.name
    other.parent.mkdir()
    other.write_bytes(slide.read_bytes() + b"x")
    with pytest.raises(StoreError, match="belongs to another slide named 'piece'"):
        again(other, out)
    assert content(out / "piece") == content(pristine)
    result = run_slide(other, out, slide_id="second", until="tissue")
    assert result.directory == out / "second"


@pytest.fixture
def white(tmp_path: Path) -> Path:
    path = tmp_path / "white.tiff"
    tifffile.imwrite(path, np.full((600, 600, 3), 255, np.uint8), photometric="rgb")
    return path


def test_a_failure_before_the_first_record_leaves_nothing(white: Path, slide: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(NoTissue):
        run_slide(white, out, mpp=0.5, until="coarsen")
    with pytest.raises(UnreadableSlide):
        run_slide(tmp_path / "absent.svs", out, until="coarsen")
    with pytest.raises(ModelError):
        run_slide(slide, out, model=tmp_path / "absent")
    assert not out.exists()


def test_progress_names_stages_in_order_and_never_overshoots(slide: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    run_slide(slide, tmp_path, until="coarsen", progress=lambda *step: seen.append(step))
    assert all(0 <= done <= total for _, done, total in seen)
    order = [stage for stage, _, _ in seen if stage in STEP_NAMES]
    assert sorted(set(order), key=order.index) == list(UPSTREAM)


def test_a_scheduler_in_force_is_respected(slide: Path, pristine: Path, tmp_path: Path) -> None:
    import dask

    with dask.config.set(scheduler="synchronous"):
        result = run_slide(slide, tmp_path, until="coarsen")
    assert content(result.directory) == content(pristine)


def test_a_slide_coarser_than_the_working_grid_is_told(slide: Path, tmp_path: Path) -> None:
    result = run_slide(slide, tmp_path, load(overrides=["superpixel.mpp=1.0"]), mpp=1.1)
    assert result.facts is not None
    assert any("1.1 um/px were enlarged to the working 1" in text for text in result.facts["warnings"])
    fine = run_slide(slide, tmp_path / "fine")
    assert fine.facts is not None
    assert not any("enlarged" in text for text in fine.facts["warnings"])
