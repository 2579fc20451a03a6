"""Pieces of tissue: gaps, holes, debris, and which pieces are one cross-section."""

import numpy as np

from wsigraph.graph.tissue.section import close_gaps, drop_debris, fill_holes, number_sections


def test_gaps_close_holes_fill_and_debris_goes():
    mask = np.zeros((40, 60), bool)
    mask[5:25, 5:20] = mask[5:25, 23:50] = True
    mask[10:14, 30:34] = False
    mask[35, 55] = True
    assert number_sections(mask).max() == 3
    closed = close_gaps(mask, 2)
    assert closed[15, 21]
    assert (closed | ~mask).all()
    assert drop_debris(mask, 2).sum() == mask.sum() - 1
    assert fill_holes(mask, 16)[12, 32]
    assert not fill_holes(mask, 15)[12, 32]
    assert fill_holes(~mask, 10_000).sum() == (~mask).sum() + mask.sum()


def test_sections_are_numbered_in_raster_order():
    mask = np.zeros((9, 9), bool)
    mask[0, 6:], mask[2:4, :3], mask[7, 4] = True, True, True
    np.testing.assert_array_equal([number_sections(mask)[p] for p in ((0, 8), (2, 0), (7, 4))], [1, 2, 3])


def test_near_pieces_are_one_section_and_far_ones_are_not():
    mask = np.zeros((60, 200), bool)
    mask[10:40, 5:50], mask[10:40, 56:80], mask[10:40, 130:190] = True, True, True
    assert number_sections(mask).max() == 3
    near = number_sections(mask, 10)
    assert near.max() == 2
    assert near[20, 20] == near[20, 60] != near[20, 150]
    assert number_sections(mask, 60).max() == 1
    assert ((near > 0) == mask).all()


def test_a_loose_fragment_joins_the_nearest_section():
    mask = np.zeros((80, 300), bool)
    mask[20:60, 10:80], mask[20:60, 200:280] = True, True
    mask[30:33, 150:153] = True
    mask[2:5, 120:122] = True
    numbers = number_sections(mask, 10, 0.05)
    assert numbers.max() == 2
    assert numbers[31, 151] == numbers[40, 240] == 2
    assert numbers[3, 121] == numbers[40, 40] == 1
    assert number_sections(mask, 10, 0.0).max() == 4


def test_nothing_has_no_section():
    assert not number_sections(np.zeros((5, 6), bool), 4, 0.1).any()
