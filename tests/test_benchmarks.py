"""A short form of every benchmark on the slide in the repository: the tables come out, and what they claim holds.

Quality claims are absolute. Speed claims are loose ratios between methods that run in turns in this process; the
machine that runs the tests may be busy.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

import wsigraph
from tests.benchmarks import (
    __main__ as command,
)
from tests.benchmarks import (
    batch,
    explanations,
    hotspots,
    measure,
    memory,
    nuclei,
    reading,
    scaling,
    segmenters,
    service,
    slide_maker,
    start,
    superpixels,
    table,
    truth,
    whole,
)
from wsigraph.config import Config, TissueConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small made slide whose sides are no whole number of blocks."""
    return slide_maker.make_slide(tmp_path_factory.mktemp("made") / "small.svs", 2500, 2010)


def test_a_made_slide_is_an_aperio_pyramid_of_tissue(made: Path) -> None:
    with openslide.OpenSlide(made) as handle:
        assert handle.properties["openslide.vendor"] == "aperio"
        assert handle.level_dimensions == ((2496, 2000), (624, 500), (156, 125))
        assert float(handle.properties["openslide.mpp-x"]) == 0.25
        shown = np.asarray(handle.read_region((0, 0), 2, (156, 125)).convert("RGB")).astype(int)
        fine = np.asarray(handle.read_region((0, 0), 1, (624, 496)).convert("RGB")).astype(int)
    with wsigraph.read(made) as slide:
        tissue = wsigraph.find_tissue(slide, TissueConfig(min_area_um2=1000.0))  # its smallest section is tiny
    # on a slide of 0.6 mm the margin of half a pixel of the tissue grid on either side of a section counts
    assert tissue.tissue.mean() == pytest.approx(slide_maker.TISSUE_FRACTION, abs=0.045)
    # levels show the same picture in the same place
    averaged = fine.reshape(124, 4, 156, 4, 3).mean((1, 3))
    moved = np.abs(averaged[:, 1:] - shown[:124, :-1]).mean()
    assert np.abs(averaged - shown[:124]).mean() < 0.6 * moved


def test_a_made_slide_is_the_same_every_time(made: Path, tmp_path: Path) -> None:
    again = slide_maker.make_slide(tmp_path / "again.svs", 2500, 2010)
    with openslide.OpenSlide(made) as first, openslide.OpenSlide(again) as second:
        regions = [np.asarray(handle.read_region((700, 300), 0, (600, 600))) for handle in (first, second)]
    np.testing.assert_array_equal(regions[0], regions[1])


def test_reading_is_near_the_decoder_and_faster_than_openslide(small_slide: Path) -> None:
    times = reading.one_table(small_slide, None, 3)
    over_floor, over_us = times.column("CPU over floor"), times.column("in CPU")
    assert over_floor["raw decode"] == 1.0
    assert 0.9 < float(str(over_floor["Slide.read"])) < 2.5
    assert float(str(over_us["Slide.read"])) > 1.5


def test_half_scale_decoding_serves_a_coarse_request(small_slide: Path) -> None:
    request = reading._Request.of(small_slide, 1.0)
    assert (request.level, request.scale) == (0, 2)
    streams, tile = reading.streams(request)
    assert len(streams) == 130
    assert (tile.height, tile.width) == (240, 240)


def test_no_setting_of_scikit_image_is_better_and_ours_is_faster() -> None:
    """Recall and error trade against each other; on two small scenes the error of equal methods differs by a tenth."""
    images = superpixels.scenes(small=True)["made"]
    methods = [segmenters.our_method(), *segmenters.skimage_methods()[4:6]]
    own, *others = superpixels.quality_of(methods, images, 30)
    for other in others:
        assert abs(other.n_regions / own.n_regions - 1) < 0.04
        assert own.quality.boundary_recall > other.quality.boundary_recall
        assert own.quality.undersegmentation < 1.15 * other.quality.undersegmentation
    chosen = {result.method.family: result for result in (own, superpixels.best(others))}
    speed, ratio = superpixels.speed_table("made", images[:1], chosen, 1)
    assert ratio > 3, speed.markdown()
    line = superpixels.verdict({"wsigraph": [own], superpixels.BASELINE: others}, ratio)
    assert line.startswith("verdict: goal ")


def test_metrics_of_a_known_cut() -> None:
    outline = np.zeros((40, 40), np.int64)
    outline[:, 20:] = 1
    exact = (outline + 1).astype(np.int32)
    assert truth.boundary_quality(exact, outline) == truth.Quality(1.0, 0.0, 1.0)
    crossing = np.ones((40, 40), np.int32)
    crossing[20:] = 2
    # the cut crosses the outline at right angles: five of its forty rows lie within two pixels; half spills over
    wrong = truth.boundary_quality(crossing, outline)
    assert wrong.undersegmentation == pytest.approx(1.0)
    assert wrong.accuracy == pytest.approx(0.5)
    assert wrong.boundary_recall == pytest.approx(6 / 40)


def test_the_pipeline_costs_less_than_its_baselines(made: Path) -> None:
    tables = whole.benchmark(made, 1)
    ratios = tables[0].column("CPU over ours")
    assert ratios["read to graph"] == 1.0
    assert float(str(ratios["scikit-image and networkx"])) > 1.5
    assert [row[0] for row in tables[1].rows] == list(whole.STAGES)


def test_hotspots_name_our_functions(made: Path) -> None:
    names = [str(row[0]) for row in hotspots.benchmark(made)[0].rows]
    assert {"**find_tissue**", "**segment**", "**build_graph**"} <= set(names)
    assert any(name.startswith("`graph.superpixel.") for name in names)


def test_a_line_is_fitted_with_its_deviations() -> None:
    area = np.array([1.0, 2.0, 4.0, 8.0])
    a, b, off = scaling.line(area, 0.5 + 2 * area)
    assert a == pytest.approx(0.5)
    assert b == pytest.approx(2.0)
    assert np.abs(off).max() < 1e-9
    assert scaling.line(area, np.array([2.5, 4.5, 8.5, 20.0]))[2][3] > 0.05


def test_scaling_covers_slides_and_nodes(made: Path, small_slide: Path) -> None:
    by_area = scaling.by_area([made, small_slide], 1)
    assert [row[0] for row in by_area.rows] == ["2496 x 2000", "2220 x 2967"]
    growth = scaling.by_nodes((2_000, 20_000), 3)
    assert {row[0] for row in growth.rows} == {"adjacency", "interpret", "coarsen"}
    assert all(5 < row[1] < 30 for row in growth.rows if row[1] is not None)  # type: ignore[operator]


def test_copies_of_a_graph_share_no_edge() -> None:
    with wsigraph.read(slide_maker.SOURCE) as slide:
        graph = wsigraph.build_graph(slide, wsigraph.segment(slide))
    twice = scaling.copies(graph, graph.n_nodes + 1)
    assert (twice.n_nodes, twice.n_edges) == (2 * graph.n_nodes, 2 * graph.n_edges)
    assert ((twice.edge_index[0] < graph.n_nodes) == (twice.edge_index[1] < graph.n_nodes)).all()


def test_memory_is_measured_in_a_process_of_its_own(made: Path) -> None:
    usage = memory.benchmark([made])[0]
    fraction, peak, imported = usage.rows[0][1:4]
    assert 0 < float(str(imported)) <= float(str(peak)) < 1.5
    assert float(str(fraction)) < 1


def test_compiled_code_is_reused(small_slide: Path, tmp_path: Path) -> None:
    """Compiled by the first run, or by another test before it, nothing is left for the second."""
    start.run_command(small_slide, tmp_path / "first")
    n_compiled, wall, cpu = start.run_command(small_slide, tmp_path / "second")
    assert n_compiled == 0
    assert wall > 0
    assert cpu > 0


@pytest.mark.slow
def test_an_empty_cache_is_filled_by_one_run(small_slide: Path) -> None:
    first, later = start.command_table(small_slide, 1).rows
    assert int(str(first[2])) > 30
    assert later[2] == 0


def test_help_needs_no_stage_and_each_module_starts_alone() -> None:
    wall_s = start.import_table(1).column("wall s")
    assert set(wall_s) == {"a bare interpreter", "wsigraph --help", *(f"import {module}" for module in start.MODULES)}
    # far apart, so that other work on the machine cannot turn them round
    assert float(str(wall_s["wsigraph --help"])) < float(str(wall_s["import wsigraph.model.predict"]))
    assert float(str(wall_s["import wsigraph"])) < float(str(wall_s["import wsigraph.model.predict"]))


def test_a_failing_command_is_an_error_not_a_time(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        start.run_command(tmp_path / "missing.svs", tmp_path / "out")


def test_nuclei_counts_follow_the_outlines() -> None:
    found = nuclei.benchmark()[0]
    if not found.rows:
        pytest.skip("the outlined tiles are not at hand (../shared/data/monuseg_train)")
    # matched one to one, as an independent reader found within 0.001; ratios of counts were 0.72 and told of neither
    assert "all: recall 0.560, precision 0.802, recall among large outlines 0.693" in found.notes
    assert found.rows[-1][5:] == (2634, 3283, 4703, 3496)
    assert float(str(found.rows[-1][4])) > 0.7


OUTLINES = np.zeros((20, 20), bool)
OUTLINES[2:6, 2:6] = OUTLINES[2:6, 10:14] = OUTLINES[12:14, 2:4] = True


@pytest.mark.parametrize(
    ("centroids", "pairs", "large_pairs"),
    [
        ([], 0, 0),
        ([(3, 3)], 1, 1),
        ([(3, 3), (4, 4)], 1, 1),  # two in one outline count once
        ([(3, 8)], 0, 0),  # one that joins two nuclei has its centroid between them
        ([(3, 3), (3, 11), (12, 2)], 3, 2),
        ([(3, 3), (3, 11), (12, 2), (19, 19), (2, 2)], 3, 2),
        ([(6, 6)], 0, 0),  # beside the corner
    ],
)
def test_detections_and_outlines_are_matched_one_to_one(
    centroids: list[tuple[int, int]], pairs: int, large_pairs: int
) -> None:
    at = np.array(centroids, np.int64).reshape(-1, 2)
    found = nuclei.match(nuclei.outlines_of(OUTLINES), at, large_px=5)
    assert found == nuclei.Matches(pairs, len(centroids), 3, large_pairs, 2)
    assert found.recall == pytest.approx(pairs / 3)
    assert found.large_recall == pytest.approx(large_pairs / 2)
    assert found.precision == pytest.approx(pairs / max(len(centroids), 1))


def test_the_matching_is_the_largest_there_is() -> None:
    rng = np.random.default_rng(0)
    outlines = nuclei.outlines_of(rng.random((60, 60)) < 0.45)
    at = rng.integers(0, 60, (500, 2))
    owner = outlines[at[:, 0], at[:, 1]]
    inside = np.flatnonzero(owner)
    pairs = csr_matrix((np.ones(len(inside)), (inside, owner[inside] - 1)), (500, outlines.max()))
    largest = (maximum_bipartite_matching(pairs, perm_type="column") >= 0).sum()
    assert nuclei.match(outlines, at, large_px=1).pairs == largest < len(inside)


def test_nuclei_that_meet_at_a_corner_are_two() -> None:
    assert nuclei.outlines_of(np.eye(3, dtype=bool)).max() == 3


def test_nuclei_of_a_folder_of_outlined_tiles_are_matched(tmp_path: Path) -> None:
    y, x = np.mgrid[:800, :800]
    rgb = np.clip(np.random.default_rng(1).normal((222, 165, 196), 6, (800, 800, 3)), 0, 255)
    mask = np.zeros((800, 800), bool)
    for row in range(60, 800, 120):
        for column in range(60, 800, 120):
            mask |= np.hypot(y - row, x - column) < 14
    rgb[mask] = (92, 60, 140)
    mask[:100] = False  # the first row of nuclei is not outlined
    mask[90:94, 700:704] = True  # and a speck is that no nucleus lies in
    Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "made.png")
    Image.fromarray(mask).save(tmp_path / "made_nuclei.png")
    words = ["nuclei", "--outlines", str(tmp_path), "--out", str(tmp_path / "page.md")]
    assert command.main(words) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| all | 0.977 | 0.857 | 1.00 |" in page
    assert " | 42 | 49 | 43 | 42 |" in page
    assert f"nuclei --repeats 5 --outlines {tmp_path.name}`" in page


def test_explanations_are_timed_with_five_members() -> None:
    table = explanations.benchmark(2, rows=6, columns=7)[0]
    assert table.title.startswith("An explanation of 42 regions")
    assert [row[3] for row in table.rows] == [10.0, None, 5.0]
    assert all(float(str(row[1])) > 0 for row in table.rows)


def test_a_slide_of_many_regions_is_explained_in_bounded_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsigraph.explanation.gradients.CHUNK_NODES", 1000)
    monkeypatch.setattr("wsigraph.explanation.explain.CHUNK_NODES", 1000)
    monkeypatch.setattr("wsigraph.explanation.explain._RANDOM_NODES", 14_400)
    table = explanations.large_table(2, rows=30, columns=40)
    assert table.title == "An explanation of 1,200 regions, 2 threads"
    (row,) = table.rows
    # a thirtieth of the regions of the goal, with ten times its CPU time for a busy machine
    assert float(str(row[2])) < 10 * 2 * 60 / 30
    assert float(str(row[3])) < 0.5
    assert "12 random orders" in table.notes[0]


def test_a_cohort_is_processed_by_every_method(tmp_path: Path) -> None:
    (cohort,) = batch.benchmark(tmp_path, 1, n_slides=6, width=2496, height=2000)
    speeds = cohort.column("speed over one worker")
    assert list(speeds) == [
        "one worker of one thread",
        "bare loop, one thread",
        "two workers of one thread",
        "one process, two threads",
    ]
    assert speeds["one worker of one thread"] == 1.0
    # two processes win even beside the other work of a busy machine; how much is for the page
    assert float(str(speeds["two workers of one thread"])) > 0.9
    assert 0 < float(str(cohort.column("peak GB a worker")["two workers of one thread"])) < 2


def test_times_are_taken_in_turns() -> None:
    order: list[str] = []
    methods = {name: measure.Method(partial(lambda name, _: order.append(name), name)) for name in "ab"}
    times = measure.compare(methods, 3)
    assert order == list("abababab")
    assert len(times["a"].wall_s) == 3
    assert times["a"].over(times["a"]) == 1.0


def test_a_page_keeps_its_prose() -> None:
    page = table.place("# Page\n\nprose\n", "reading", "old \\1")
    page = table.place(page, "whole", "other")
    page = table.place(page, "reading", "new \\2 figure")
    assert page.startswith("# Page\n\nprose\n")
    assert "old" not in page
    assert page.index("new \\2 figure") < page.index("other")


def test_the_command_prints_and_places_its_tables(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.md"
    assert command.main(["memory", "--slide", str(made), "--repeats", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^\| 2496 x 2000 \| 0\.\d+ \|", printed, re.MULTILINE)
    assert "load average" in printed
    assert str(made.parent) not in printed
    assert "<!-- memory: measured -->" in out.read_text(encoding="utf-8")


def test_superpixels_here_are_those_of_the_pipeline(tmp_path: Path) -> None:
    """The benchmark calls the kernels on one array; the pipeline must give the same labels."""
    from PIL import Image

    rgb = truth.made(1, 300)[0].rgb
    path = tmp_path / "scene.png"
    Image.fromarray(rgb).save(path)
    config = Config()
    with wsigraph.read(path, mpp=config.superpixel.mpp) as slide:
        tissue = wsigraph.find_tissue(slide)
        if not tissue.tissue.all():
            tissue = type(tissue)(
                tissue=np.ones_like(tissue.tissue),
                artefact=np.zeros_like(tissue.artefact),
                section=np.ones_like(tissue.section),
                mpp=tissue.mpp,
                stain=tissue.stain,
            )
        labels = np.asarray(wsigraph.segment(slide, config, tissue=tissue).labels[:])
    np.testing.assert_array_equal(segmenters.ours(rgb, rgb.shape[0] * rgb.shape[1] / 30**2), labels)


def test_viewers_pan_over_a_served_slide_and_every_tile_comes(tmp_path: Path) -> None:
    latency, memory_table = service.benchmark(slide_maker.SOURCE, folder=tmp_path, n_viewers=4, lasts_s=2.0, starts=1)
    assert set(latency.column("failed").values()) == {0}
    assert list(latency.column("goal ms").values()) == [150.0, 40.0, 500.0]
    warm = latency.column("tiles/s")["from the warm cache"]
    assert isinstance(warm, float)
    assert warm > 4
    grown = memory_table.rows[0]
    # three hundred tiles of some 20 kB, and no more
    assert grown[3] - grown[2] < 30
