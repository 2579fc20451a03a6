from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from wsigraph.errors import SynthesisError
from wsigraph.geometry import Size, crofton_um
from wsigraph.synthesis.simulation.layout import (
    FAT,
    GLAND,
    LYMPHOCYTES,
    NECROSIS,
    STROMA,
    TISSUES,
    TUMOUR,
    Layout,
    Tessellation,
    place,
    random_field,
    sample_layout,
    sample_tessellation,
    set_nests,
)


@pytest.fixture(scope="module")
def tessellation() -> Tessellation:
    return sample_tessellation(Size(5, 7), 16, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("tumour", "necrosis"), [(0.3, 0.1), (0.0, 0.0), (0.6, 0.4), (1.0, 0.0), (0.1, 0.25)])
def test_tumour_and_necrosis_take_exactly_their_shares(tumour: float, necrosis: float) -> None:
    layout = Layout(
        classes=sample_layout(
            Size(12, 15), tumour_fraction=tumour, necrosis_fraction=necrosis, rng=np.random.default_rng(3)
        )
    )
    assert layout.fraction(TUMOUR) == round(180 * tumour) / 180
    assert layout.fraction(NECROSIS) == round(180 * necrosis) / 180
    assert sum(layout.fraction(tissue) for tissue in range(len(TISSUES))) == pytest.approx(1)


def test_every_class_occurs_and_stroma_leads_the_rest() -> None:
    rng = np.random.default_rng(1)
    layouts = [sample_layout(Size(16, 16), tumour_fraction=0.3, necrosis_fraction=0.1, rng=rng) for _ in range(20)]
    fractions = np.array([[(each == tissue).mean() for tissue in range(len(TISSUES))] for each in layouts]).mean(axis=0)
    assert (fractions > 0.01).all()
    assert fractions[STROMA] == max(np.delete(fractions, TUMOUR))


def neighbours(classes: np.ndarray, first: int, second: int) -> float:
    """Share of the first class's straight neighbours that are of the second."""
    pairs = [(classes[:-1], classes[1:]), (classes[:, :-1], classes[:, 1:])]
    pairs += [(b, a) for a, b in pairs]
    met = np.concatenate([b[a == first] for a, b in pairs])
    return float((met == second).mean())


def test_tumour_grows_in_nests_with_lymphocytes_near_and_fat_away() -> None:
    rng = np.random.default_rng(2)
    layouts = [sample_layout(Size(20, 20), tumour_fraction=0.3, necrosis_fraction=0.1, rng=rng) for _ in range(10)]
    mean = {
        pair: np.mean([neighbours(each, *pair) for each in layouts])
        for pair in ((TUMOUR, TUMOUR), (NECROSIS, TUMOUR), (LYMPHOCYTES, TUMOUR), (FAT, TUMOUR))
    }
    assert mean[TUMOUR, TUMOUR] > 0.5
    assert mean[LYMPHOCYTES, TUMOUR] > 2 * mean[FAT, TUMOUR]


def test_the_same_generator_gives_the_same_layout_and_lattice() -> None:
    layouts = [
        sample_layout(Size(9, 9), tumour_fraction=0.3, necrosis_fraction=0.1, rng=np.random.default_rng(seed))
        for seed in (4, 4, 5)
    ]
    assert (layouts[0] == layouts[1]).all()
    assert (layouts[0] != layouts[2]).any()
    tessellations = [sample_tessellation(Size(4, 4), 12, rng=np.random.default_rng(seed)) for seed in (4, 4, 5)]
    assert (tessellations[0].labels == tessellations[1].labels).all()
    assert (tessellations[0].labels != tessellations[2].labels).any()


@pytest.mark.parametrize(("tumour", "necrosis"), [(-0.1, 0.0), (0.7, 0.4)])
def test_impossible_shares_are_refused(tumour: float, necrosis: float) -> None:
    with pytest.raises(SynthesisError, match="expected fractions"):
        sample_layout(Size(4, 4), tumour_fraction=tumour, necrosis_fraction=necrosis, rng=np.random.default_rng(0))


def test_a_lattice_too_fine_is_refused() -> None:
    with pytest.raises(SynthesisError, match="expected at least 4"):
        sample_tessellation(Size(4, 4), 3, rng=np.random.default_rng(0))


def test_cells_partition_the_image_inside_its_margin(tessellation: Tessellation) -> None:
    assert tessellation.size == Size(5 * 16 + 2, 7 * 16 + 2)
    inner = tessellation.labels[1:-1, 1:-1]
    assert (np.unique(inner) == np.arange(1, 36)).all()
    rim = np.ones(tessellation.labels.shape, bool)
    rim[1:-1, 1:-1] = False
    assert (tessellation.labels[rim] == 0).all()
    assert all(label(tessellation.labels == cell)[1] == 1 for cell in range(1, 36))


def test_centres_lie_in_the_middle_of_their_cells(tessellation: Tessellation) -> None:
    for cell in (0, 17, 34):
        y, x = np.nonzero(tessellation.labels == cell + 1)
        assert tessellation.centre_px[cell].tolist() == [round(x.mean()), round(y.mean())]


def test_edges_are_symmetric_and_sorted(tessellation: Tessellation) -> None:
    source, target = tessellation.edge_index
    assert (source != target).all()
    assert (np.diff(source * 35 + target) > 0).all()
    mirrored = np.lexsort((source, target))
    assert (tessellation.edge_index[::-1, mirrored] == tessellation.edge_index).all()
    assert (tessellation.boundary[mirrored] == tessellation.boundary).all()
    assert (tessellation.boundary.sum(axis=1) > 0).all()


def test_boundaries_add_up_to_what_the_pixels_say(tessellation: Tessellation) -> None:
    own, beside = tessellation.labels[:, :-1], tessellation.labels[:, 1:]
    under, over = tessellation.labels[1:], tessellation.labels[:-1]
    straight = int((own != beside).sum() + (under != over).sum())
    assert tessellation.boundary[:, 0].sum() // 2 + tessellation.outside[:, 0].sum() == straight
    # a rim pixel has one straight and two diagonal pairs with the margin; a corner shares one of its diagonal ones
    assert tessellation.outside[:, 0].sum() == 2 * (80 + 112)
    assert tessellation.outside[:, 1].sum() == 2 * (2 * 80 + 2 * 112) - 4


def test_the_rim_has_its_length(tessellation: Tessellation) -> None:
    length = crofton_um(tessellation.outside[:, 0].sum(), tessellation.outside[:, 1].sum(), 1.0)
    # four directions underestimate a side that runs along the grid by 5 %
    assert length == pytest.approx(2 * (80 + 112), rel=0.06)


@pytest.mark.parametrize("grain", [1, 2, 3])
def test_regions_are_made_of_cells_and_touch_where_their_cells_do(grain: int) -> None:
    tessellation = sample_tessellation(Size(4, 5), 6, rng=np.random.default_rng(grain), grain=grain)
    regions = tessellation.regions
    assert (tessellation.rows, tessellation.columns) == (4 * grain, 5 * grain)
    assert (np.bincount(regions.member, minlength=20) > 0).all()
    touching = {tuple(pair) for pair in regions.member[tessellation.edge_index].T if pair[0] != pair[1]}
    assert touching == {tuple(pair) for pair in regions.edge_index.T}
    if grain == 1:
        assert (regions.member == np.arange(20)).all()


def test_classes_of_regions_survive_being_spread_over_cells() -> None:
    tessellation = sample_tessellation(Size(4, 5), 6, rng=np.random.default_rng(0), grain=3)
    classes = np.random.default_rng(1).integers(0, len(TISSUES), (4, 5)).astype(np.uint8)
    assert (tessellation.region_classes(tessellation.to_layout(classes)) == classes).all()


def test_nests_take_their_shares_and_glands_keep_away_from_tumour() -> None:
    rng = np.random.default_rng(6)
    drawn = [set_nests(Size(14, 14), tumour_fraction=0.4, gland_fraction=0.2, rng=rng) for _ in range(20)]
    for each in drawn:
        assert (each == TUMOUR).sum() == round(0.4 * 196)
        assert (each == GLAND).sum() == round(0.2 * 196)
    # where glands lay anywhere among the rest, two thirds of what tumour borders on would still be stroma
    met = np.mean([neighbours(each, TUMOUR, STROMA) / neighbours(each, TUMOUR, GLAND) for each in drawn])
    assert met > 2 * 0.4 / 0.2


def test_a_field_is_standardised_and_rougher_with_less_smoothing() -> None:
    smooth, rough = (random_field(Size(40, 40), sigma, rng=np.random.default_rng(0)) for sigma in (3.0, 0.5))
    for each in (smooth, rough):
        assert each.mean() == pytest.approx(0)
        assert each.std() == pytest.approx(1)
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(rough)).mean()


def test_only_stroma_is_given_away_and_never_more_than_there_is() -> None:
    classes = np.array([[STROMA, TUMOUR], [STROMA, STROMA]], np.uint8)
    place(classes, FAT, np.array([[1.0, 9.0], [3.0, 2.0]]), 2)
    assert classes.tolist() == [[STROMA, TUMOUR], [FAT, FAT]]
    place(classes, FAT, np.zeros((2, 2)), 5)
    assert classes.tolist() == [[FAT, TUMOUR], [FAT, FAT]]
