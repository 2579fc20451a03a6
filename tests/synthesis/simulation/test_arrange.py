from __future__ import annotations

import numpy as np
import pytest

from wsigraph.synthesis.simulation.arrange import Contacts, arrange, count_contacts, touches
from wsigraph.synthesis.simulation.layout import FAT, GLAND, LYMPHOCYTES, STROMA, TUMOUR, Tessellation


@pytest.fixture(scope="module")
def classes(tessellations: list[Tessellation]) -> np.ndarray:
    shape = tessellations[0].regions.shape
    drawn = np.random.default_rng(0).permutation(np.repeat([STROMA, TUMOUR, LYMPHOCYTES, FAT], shape.area // 4))
    return drawn.astype(np.uint8).reshape(shape.height, shape.width)


def test_contacts_are_what_edges_say(tessellations: list[Tessellation], classes: np.ndarray) -> None:
    regions = tessellations[0].regions
    pairs = count_contacts(classes, regions)
    assert (pairs == pairs.T).all()
    assert np.triu(pairs).sum() == regions.edge_index.shape[1] // 2
    flat = classes.ravel()
    slow = sum(
        {int(flat[one]), int(flat[other])} == {TUMOUR, LYMPHOCYTES}
        for one, other in regions.edge_index.T
        if one < other
    )
    assert pairs[TUMOUR, LYMPHOCYTES] == slow
    within = sum(flat[one] == flat[other] == TUMOUR for one, other in regions.edge_index.T if one < other)
    assert pairs[TUMOUR, TUMOUR] == within


def test_who_touches_whom(tessellations: list[Tessellation], classes: np.ndarray) -> None:
    regions, flat = tessellations[0].regions, classes.ravel()
    found = touches(classes, TUMOUR, regions)
    for region in range(0, len(flat), 17):
        beside = regions.edge_index[1][regions.edge_index[0] == region]
        assert found[region] == (flat[beside] == TUMOUR).any()


def test_exchange_keeps_every_count_and_what_may_not_move(
    tessellations: list[Tessellation], classes: np.ndarray
) -> None:
    movable = classes != TUMOUR
    wanted = Contacts(pairs={(LYMPHOCYTES, LYMPHOCYTES): (50, 1.0)})
    moved = arrange(classes, movable, wanted, tessellations[0].regions, rng=np.random.default_rng(1))
    assert (np.bincount(moved.ravel(), minlength=7) == np.bincount(classes.ravel(), minlength=7)).all()
    assert (moved[~movable] == TUMOUR).all()
    assert (moved != classes).any()


@pytest.mark.parametrize("number", [5, 30, 60])
def test_contacts_come_to_what_is_wanted(tessellations: list[Tessellation], classes: np.ndarray, number: int) -> None:
    regions = tessellations[0].regions
    wanted = Contacts(pairs={(LYMPHOCYTES, LYMPHOCYTES): (number, 1.0)})
    moved = arrange(classes, classes != TUMOUR, wanted, regions, rng=np.random.default_rng(2))
    assert count_contacts(moved, regions)[LYMPHOCYTES, LYMPHOCYTES] == pytest.approx(number, abs=1)


def test_marked_regions_come_to_what_is_wanted(tessellations: list[Tessellation], classes: np.ndarray) -> None:
    regions = tessellations[0].regions
    marked = touches(classes, TUMOUR, regions)
    for number in (20, 30):
        wanted = Contacts(marked=marked, tissue=LYMPHOCYTES, n_marked=number, cost=1.0)
        moved = arrange(classes, classes != TUMOUR, wanted, regions, rng=np.random.default_rng(3))
        assert (marked & (moved.ravel() == LYMPHOCYTES)).sum() == number


def test_the_generator_decides(tessellations: list[Tessellation], classes: np.ndarray) -> None:
    wanted = Contacts(pairs={(FAT, FAT): (40, 1.0)})
    first, again, other = (
        arrange(classes, classes != TUMOUR, wanted, tessellations[0].regions, rng=np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_one_movable_region_stays(tessellations: list[Tessellation], classes: np.ndarray) -> None:
    movable = np.zeros(classes.shape, bool)
    movable[0, 0] = True
    wanted = Contacts(pairs={(GLAND, GLAND): (3, 1.0)})
    moved = arrange(classes, movable, wanted, tessellations[0].regions, rng=np.random.default_rng(0))
    assert (moved == classes).all()


def test_a_class_comes_to_as_many_neighbours_as_wanted(tessellations: list[Tessellation], classes: np.ndarray) -> None:
    regions = tessellations[0].regions
    degree = np.bincount(regions.edge_index[0], minlength=classes.size)
    for number in (180, 210):
        wanted = Contacts(crowded=LYMPHOCYTES, n_neighbours=number, crowding_cost=1.0)
        moved = arrange(classes, classes != TUMOUR, wanted, regions, rng=np.random.default_rng(6))
        assert degree[moved.ravel() == LYMPHOCYTES].sum() == pytest.approx(number, abs=2)
