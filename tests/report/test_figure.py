"""report.png: the same bytes every time, not too large, with the notice on it; and the rules behind its panels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.outline.drawn_regions import coarse_of, dense, graph_of, label_grid_of, labels_of, prediction, slide_info
from tests.outline.test_outline import blobs
from wsigraph.geometry import Box, Size
from wsigraph.outline.label_grid import resample
from wsigraph.outline.outline import trace_outlines
from wsigraph.report.figure import MAX_BYTES, draw_report
from wsigraph.report.panel import duration
from wsigraph.report.picture import scale_bar_um
from wsigraph.report.slide_summary import summary
from wsigraph.report.view import MAX_DETAIL_FRACTION, RegionMap, View, find_detail, mean_colours

NOTICE_COLOUR = (255, 244, 206)


def view_of(cells: np.ndarray, *, cell_px: int = 4, box: Box | None = None) -> View:
    lattice = label_grid_of(cells, cell_px=cell_px)
    outlines = trace_outlines(lattice, graph_of(cells), tolerance_um=float(cell_px))
    size = Size(cells.shape[0] * cell_px, cells.shape[1] * cell_px)
    box = box or Box.whole(size)
    regions = resample(lattice, box, box.size)
    pixels = np.stack([40 + 5 * (regions % 40), 90 + 3 * (regions % 30), 150 + regions % 90], axis=-1).astype(np.uint8)
    return View(pixels=pixels, regions=regions, box=box, outlines=outlines, level0_mpp=1.0)


def facts_of(cells: np.ndarray, **changes: Any) -> dict[str, Any]:
    graph = graph_of(cells)
    found = summary(
        slide=slide_info(*cells.shape),
        labels=labels_of(cells, n_superpixels=graph.n_nodes),
        coarse=coarse_of(graph),
        prediction=prediction(),
    )
    return found | changes


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("shape", [(90, 90), (40, 160), (100, 30)], ids=["square", "wide", "tall"])
@pytest.mark.parametrize("mapped", [True, False], ids=["feature", "mean colour"])
def test_equal_input_gives_equal_bytes_and_a_readable_picture(shape: tuple[int, int], mapped: bool) -> None:
    cells, _ = dense(blobs(1, side=160)[60 : 60 + shape[0], : shape[1]])
    view, facts = view_of(cells), facts_of(cells)
    region_map = RegionMap.over(view.regions, np.arange(facts["nodes"]) * 1.0, "rank") if mapped else None
    first, second = (draw_report(view, None, region_map, prediction(), facts) for _ in range(2))
    assert first == second
    assert len(first) <= MAX_BYTES
    picture = decoded(first)
    assert "Software" not in picture.info
    assert picture.width == 2100
    top = np.asarray(picture.convert("RGB"))[:200]
    assert (top == NOTICE_COLOUR).all(axis=-1).sum() > 5000


def test_a_detail_adds_a_row() -> None:
    cells = blobs(4)
    view, facts = view_of(cells), facts_of(cells)
    box = find_detail(view, n_across=5, aspect=1.6)
    detail = view_of(cells, box=box)
    plain, closer = (decoded(draw_report(view, part, None, prediction(), facts)) for part in (None, detail))
    assert closer.height > plain.height + 400


def test_synthetic_tissue_is_called_so_on_the_picture() -> None:
    cells = blobs(4)
    view = view_of(cells)
    real, synthetic = (
        draw_report(view, None, None, prediction(), facts_of(cells, is_synthetic=flag)) for flag in (False, True)
    )
    boxes = [np.asarray(decoded(content).convert("RGB"))[:200] for content in (real, synthetic)]
    yellow = [(box == NOTICE_COLOUR).all(axis=-1).sum() for box in boxes]
    assert yellow[1] > 1.1 * yellow[0]


def test_a_picture_too_large_is_drawn_with_fewer_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = blobs(4)
    view, facts = view_of(cells), facts_of(cells)
    size = len(draw_report(view, None, None, prediction(), facts))
    monkeypatch.setattr("wsigraph.report.figure.MAX_BYTES", round(0.8 * size))
    smaller = draw_report(view, None, None, prediction(), facts)
    assert len(smaller) <= 0.8 * size
    assert 1500 < decoded(smaller).width < 2100


def test_odd_names_and_long_warnings_do_not_break_the_page() -> None:
    cells = blobs(4)
    facts = facts_of(cells, slide_id="a $\\frac$ " * 40, warnings=["word " * 60] * 9, median_survival_days=None)
    assert decoded(draw_report(view_of(cells), None, None, prediction(), facts)).width == 2100


def test_mean_colours_are_means() -> None:
    view = view_of(blobs(6))
    noise = np.random.default_rng(0).integers(-30, 31, view.pixels.shape)
    noisy = View(
        pixels=(view.pixels.astype(int) + noise).clip(0, 255).astype(np.uint8),
        regions=view.regions,
        box=view.box,
        outlines=view.outlines,
        level0_mpp=1.0,
    )
    filled = mean_colours(noisy)
    assert (filled[view.regions == 0] == 255).all()
    for region in range(1, int(view.regions.max()) + 1):
        inside = view.regions == region
        expected = np.rint(noisy.pixels[inside].mean(axis=0))
        assert np.abs(filled[inside].astype(int) - expected).max() <= 1  # a mean on .5 may round either way


@pytest.mark.parametrize(
    ("width_um", "bar_um"), [(1000.0, 200.0), (799.0, 100.0), (24_000.0, 5000.0), (4.0, 1.0), (2.5, 0.5)]
)
def test_scale_bars_are_round(width_um: float, bar_um: float) -> None:
    assert scale_bar_um(width_um) == pytest.approx(bar_um)


def test_the_detail_is_full_of_tissue_and_inside_the_slide() -> None:
    view = view_of(blobs(8))
    box = find_detail(view, n_across=2, aspect=1.5)
    assert Box.whole(Size(480, 480)).intersect(box) == box
    assert (view.regions[box.slices] > 0).all()
    assert box.width / box.height == pytest.approx(1.5, rel=0.05)
    assert box.width == pytest.approx(2 * view.region_side_fraction() * 480, abs=2)


def test_a_detail_is_always_closer() -> None:
    view = view_of(np.array([[1, 0], [0, 2]]), cell_px=10)
    box = find_detail(view, n_across=50, aspect=1.0)
    assert box.width == box.height == MAX_DETAIL_FRACTION * view.box.width


def test_a_scale_has_two_ends_even_for_one_value() -> None:
    regions = np.array([[0, 1], [2, 2]], np.int32)
    assert RegionMap.over(regions, np.array([3.0, 3.0]), "flat").high == 4.0
    assert RegionMap.over(regions * 0, np.array([3.0, 3.0]), "none").low == 0.0
    spread = RegionMap.over(regions, np.array([0.0, 10.0]), "two")
    assert 0.0 <= spread.low < spread.high <= 10.0


def test_times_are_said_as_people_say_them() -> None:
    assert duration(365.25 * 3) == "3.0 years"
    assert duration(365.25 / 2) == "6.0 months"
