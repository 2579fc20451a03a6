from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from wsigraph.config import Config, SynthesisConfig
from wsigraph.errors import SynthesisError
from wsigraph.geometry import Box, Size
from wsigraph.graph.feature.count import CountScales, count_moments
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.graph.tissue.stain import count_colours, empty_histogram, estimate_stain
from wsigraph.synthesis.simulation.layout import NECROSIS, TISSUES, TUMOUR, Layout, sample_tessellation
from wsigraph.synthesis.simulation.procedural import SiteStain, paint
from wsigraph.synthesis.simulation.simulate import (
    Library,
    SimulatedPatient,
    build_library,
    draw_graph,
    sample_sites,
    shift_moments,
    simulate,
)


@pytest.fixture(scope="module")
def patients(library: Library, small: SynthesisConfig) -> list[SimulatedPatient]:
    return list(simulate(8, library, small, rng=np.random.default_rng(2)))


def test_shifting_equals_counting_elsewhere(site: SiteStain) -> None:
    tessellation = sample_tessellation(Size(2, 2), 20, rng=np.random.default_rng(0))
    image = paint(
        np.full(tessellation.labels.shape, TUMOUR, np.uint8), mpp=1.0, site=site, rng=np.random.default_rng(0)
    )
    histogram = empty_histogram()
    bins, pixels = count_colours(image, tessellation.labels > 0)
    histogram[bins] += pixels
    stain, scales = estimate_stain(histogram), CountScales.of(Config().feature, 1.0)
    here = Box.whole(tessellation.size)
    there = Box(y0=500, x0=300, y1=500 + here.y1, x1=300 + here.x1)
    tables = [
        count_moments(
            image, tessellation.labels, window=box, core=box, size=Size(4000, 4000), stain=stain, scales=scales
        )[1]
        for box in (here, there)
    ]
    inner = [column for column, name in enumerate(MOMENT_NAMES) if not name.startswith(("edge", "outside"))]
    moved = shift_moments(tables[0], np.tile([300, 500], (4, 1)))
    assert (moved[:, inner] == tables[1][:, inner]).all()
    assert (shift_moments(moved, -np.tile([300, 500], (4, 1))) == tables[0]).all()


def test_graphs_are_symmetric_and_marked_synthetic(patients: list[SimulatedPatient]) -> None:
    for each in patients:
        graph = each.graph
        assert graph.slide_id.startswith("synthetic-composition-")
        assert graph.slide_id == f"{each.patient}-1"
        source, target = graph.edge_index
        mirrored = np.lexsort((source, target))
        assert (graph.edge_index[::-1, mirrored] == graph.edge_index).all()
        assert (graph.boundary[mirrored] == graph.boundary).all()
        assert graph.n_nodes == each.layout.classes.size
        assert np.isfinite(interpret(graph).values).all()


def test_regions_lie_where_their_cells_are(patients: list[SimulatedPatient]) -> None:
    for each in patients:
        for slide in each.slides:
            centres = slide.graph.centroid_um / slide.graph.mpp - 0.5
            assert np.abs(centres - slide.tessellation.centre_px).max() < 0.51


def test_moments_of_a_region_agree_with_one_another(patients: list[SimulatedPatient]) -> None:
    moments = patients[0].graph.moments
    n = moments[:, COLUMN["n"]]
    for first in ("hematoxylin_bin_0", "eosin_bin_0", "lightness_bin_0"):
        assert (moments[:, COLUMN[first] : COLUMN[first] + 16].sum(axis=1) == n).all()
    assert (moments[:, COLUMN["cooccurrence_0_0"] : COLUMN["nuclei"]].sum(axis=1) == 2 * n).all()
    for square, total in (("sum_xx", "sum_x"), ("sum_yy", "sum_y"), ("od_gg", "od_g")):
        assert (moments[:, COLUMN[square]] * n >= moments[:, COLUMN[total]] ** 2).all()
    assert (moments[:, COLUMN["edge_straight"]] == 0).all()
    assert moments[:, COLUMN["outside_straight"]].sum() > 0


def test_classes_are_recognisable_in_the_graph(library: Library) -> None:
    found = list(simulate(20, library, rng=np.random.default_rng(4)))
    column = interpret(found[0].graph).names.index("nuclear_fraction")
    table = np.concatenate([interpret(each.graph).values[:, column] for each in found])
    classes = np.concatenate([each.layout.classes.ravel() for each in found])
    assert table[classes == TUMOUR].mean() > 5 * table[classes == NECROSIS].mean()


def test_the_same_generator_gives_the_same_patients(
    library: Library, small: SynthesisConfig, patients: list[SimulatedPatient]
) -> None:
    again = list(simulate(3, library, small, rng=np.random.default_rng(2)))
    for one, other in zip(again, patients, strict=False):
        assert len(one.slides) == len(other.slides)
        for slide, its in zip(one.slides, other.slides, strict=True):
            assert (slide.graph.moments == its.graph.moments).all()
        assert one.outcome == other.outcome
    fresh = next(iter(simulate(1, library, small, rng=np.random.default_rng(3))))
    assert fresh.outcome != patients[0].outcome


def test_the_same_generator_gives_the_same_library(small: SynthesisConfig) -> None:
    tables = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(seed)
        tables.append(build_library(sample_sites(1, rng=rng), small, rng=rng).moments)
    assert (tables[0] == tables[1]).all()
    assert (tables[0] != tables[2]).any()


def test_library_has_its_shape(library: Library, small: SynthesisConfig) -> None:
    assert library.moments.shape == (2, 7, small.library_side**2, len(MOMENT_NAMES))
    assert library.n_sites == 2
    sides = np.array([(cell.rows, cell.columns) for cell in library.tessellations])
    assert sides.min() >= small.min_side * small.grain
    assert sides.max() <= small.max_side * small.grain
    assert (library.moments[..., COLUMN["n"]] > 0.4 * 900).all()


def test_cohorts_do_not_share_names(library: Library) -> None:
    names = [
        each.patient for cohort in "ab" for each in simulate(2, library, rng=np.random.default_rng(0), cohort=cohort)
    ]
    assert len(set(names)) == 4


def test_a_spacing_below_the_finest_lattice_is_refused(small: SynthesisConfig) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SynthesisError, match=r"raise synthesis\.spacing_um"):
        build_library(sample_sites(1, rng=rng), small.model_copy(update={"spacing_um": 10.0, "mpp": 4.0}), rng=rng)


def test_some_patients_have_two_slides_of_one_site(library: Library, small: SynthesisConfig) -> None:
    found = list(simulate(60, library, small, rng=np.random.default_rng(9)))
    counts = np.array([len(each.slides) for each in found])
    assert set(counts) == {1, 2}
    assert (counts == 2).mean() == pytest.approx(small.second_slide_fraction, abs=0.2)
    for each in found:
        assert [slide.slide_id for slide in each.slides] == [
            f"{each.patient}-{number + 1}" for number in range(len(each.slides))
        ]
        assert each.stain is library.sites[each.site]
        assert all(slide.graph.stain is library.stains[each.site] for slide in each.slides)
    none = small.model_copy(update={"second_slide_fraction": 0.0})
    assert all(len(each.slides) == 1 for each in simulate(20, library, none, rng=np.random.default_rng(9)))


@pytest.mark.parametrize("name", ["spatial", "interface", "site", "null"])
def test_every_scenario_can_be_simulated(library: Library, small: SynthesisConfig, name: str) -> None:
    config = small.model_copy(update={"scenario": name})
    found = list(simulate(3, library, config, rng=np.random.default_rng(1)))
    assert all(each.patient.startswith(f"synthetic-{name}-a-") for each in found)
    assert all(np.isfinite(interpret(each.graph).values).all() for each in found)


def test_both_routes_give_the_same_distribution_of_every_feature(site: SiteStain) -> None:
    """Regions drawn from the library against regions counted on a painted slide that lie inside one class."""
    config = Config().synthesis.model_copy(update={"library_side": 12, "min_side": 4, "max_side": 4})
    library = build_library([site], config, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    tessellation = sample_tessellation(Size(12, 5 * len(TISSUES)), 30, rng=rng)
    layout = Layout(classes=np.repeat(np.arange(len(TISSUES), dtype=np.uint8), 5)[None].repeat(12, axis=0))
    drawn = draw_graph(layout, tessellation, library, site=0, slide_id="drawn", rng=rng)
    padded = np.pad(layout.classes.ravel()[tessellation.labels[1:-1, 1:-1] - 1], 1, mode="edge")
    image = paint(padded, mpp=1.0, site=site, rng=rng)
    whole = Box.whole(tessellation.size)
    _, moments = count_moments(
        image,
        tessellation.labels,
        window=whole,
        core=whole,
        size=tessellation.size,
        stain=library.stains[0],
        scales=CountScales.of(Config().feature, 1.0),
    )
    painted = replace(drawn, moments=moments)
    inside = np.zeros((12, 5 * len(TISSUES)), bool)
    inside[1:-1] = np.tile([False, True, True, True, False], len(TISSUES))
    tables = [interpret(graph).values for graph in (drawn, painted)]
    worst = {}
    for tissue in range(len(TISSUES)):
        rows = (inside & (layout.classes == tissue)).ravel()
        for column, name in enumerate(FEATURE_NAMES):
            worst[tissue, name] = ks_2samp(tables[0][rows, column], tables[1][rows, column], method="asymp").statistic
    # 30 against 30 regions, 252 comparisons: between equal distributions the largest distance is about 0.5
    assert max(worst.values()) < 0.57, sorted(worst.items(), key=lambda item: -item[1])[:5]
    # and it would be seen if a class were drawn for another
    column = FEATURE_NAMES.index("nuclear_density")
    one, other = ((inside & (layout.classes == tissue)).ravel() for tissue in (TUMOUR, NECROSIS))
    assert ks_2samp(tables[0][one, column], tables[1][other, column], method="asymp").statistic > 0.8
