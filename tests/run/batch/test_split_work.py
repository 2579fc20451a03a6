"""A slide shared by the chunk: who works on it, that its bytes stay, that damage met elsewhere is not lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.run.batch.cohorts import content, manifest_of, share_reading
from wsigraph.config import Config, load
from wsigraph.run.batch.run import run_cohort
from wsigraph.run.batch.split_work import idle_event
from wsigraph.run.steps import run_slide

if TYPE_CHECKING:
    from distributed import Client

Slides = dict[str, Path]


def chunked(config: Config, chunk_px: int, split_min_mpx: float = 0.02) -> Config:
    return config.model_copy(
        update={
            "runtime": config.runtime.model_copy(update={"chunk_px": chunk_px}),
            "batch": config.batch.model_copy(update={"split_min_mpx": split_min_mpx}),
        }
    )


def test_two_workers_share_one_slide_to_the_same_bytes(
    slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    manifest = manifest_of({"gamma": slides["gamma"]})
    # more than the work of the first steps, whose chunks end before another worker has begun
    settings = chunked(on_two, 96, 0.1)
    summary = run_cohort(manifest, tmp_path / "shared", settings, until="coarsen").summary
    assert len(summary["workers"]) == 2, "the second worker had nothing to do"
    assert all(worker["busy_s"] > 0 for worker in summary["workers"].values())
    expected = {name: kept for name, kept in reference.items() if name.startswith("gamma/")}
    assert content(tmp_path / "shared") == expected


def test_a_small_slide_stays_with_its_worker(slides: Slides, on_two: Config, tmp_path: Path) -> None:
    manifest = manifest_of({"gamma": slides["gamma"]})
    summary = run_cohort(manifest, tmp_path, chunked(on_two, 96, 16.0), until="graph").summary
    assert len(summary["workers"]) == 1


def test_threads_of_one_process_share_too(slides: Slides, reference: dict[str, bytes], tmp_path: Path) -> None:
    config = chunked(load(overrides=["cluster.kind=threads", "cluster.workers=2"]), 96)
    run_cohort(manifest_of({"gamma": slides["gamma"]}), tmp_path, config, until="coarsen")
    assert content(tmp_path) == {name: kept for name, kept in reference.items() if name.startswith("gamma/")}


@pytest.fixture
def spotted(slides: Slides, tmp_path: Path) -> Path:
    """A slide in JPEG tiles, one of which does not decode."""
    import tifffile

    path = tmp_path / "spotted.tiff"
    pixels = tifffile.imread(slides["alpha"])
    tifffile.imwrite(
        path, pixels, tile=(64, 64), photometric="rgb", compression="jpeg", resolution=(2e4, 2e4),
        resolutionunit="CENTIMETER",
    )  # fmt: skip
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        start, size = page.dataoffsets[70], page.databytecounts[70]
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\x00" * size
    path.write_bytes(data)
    return path


def test_bad_tiles_met_on_other_workers_are_told(spotted: Path, on_two: Config, client: Client, tmp_path: Path) -> None:
    run_slide(spotted, tmp_path / "alone", chunked(on_two, 96), until="graph")
    manifest = manifest_of({"spotted": spotted})
    for name in ("first", "again"):
        summary = run_cohort(manifest, tmp_path / name, chunked(on_two, 96), until="graph").summary
        assert summary["done"] == 1, summary["failures"]
        assert content(tmp_path / name) == content(tmp_path / "alone")
    assert "spotted/bad_tiles.json" in content(tmp_path / "first")


def test_damage_that_only_another_worker_has_met_comes_back(spotted: Path, on_two: Config, client: Client) -> None:
    from distributed import Event

    Event(idle_event("lent"), client=client).set()
    reads, n_bad = client.submit(share_reading, spotted, "lent", pure=False).result(timeout=60)
    assert reads > 0
    assert n_bad == 1


def test_too_many_bad_tiles_fail_the_slide_when_shared(spotted: Path, on_two: Config, tmp_path: Path) -> None:
    strict = on_two.model_copy(update={"slide": on_two.slide.model_copy(update={"max_bad_tile_fraction": 0.001})})
    result = run_cohort(manifest_of({"spotted": spotted}), tmp_path, chunked(strict, 96), until="graph")
    assert result.summary["failures"][0]["error"] == "UnreadableSlide"
    assert "do not decode" in result.summary["failures"][0]["message"]
