"""Scores against a known cause: closed forms and reference values."""

from __future__ import annotations

import numpy as np
import pytest

from wsigraph.explanation.members import explained_members
from wsigraph.explanation.sanity_checks import average_precision, hits_cause, randomise_weights
from wsigraph.model.bundle import ModelBundle


def test_average_precision_of_chance_and_of_truth() -> None:
    rng = np.random.default_rng(0)
    cause = rng.random(5000) < 0.1
    area = np.ones(5000)
    assert average_precision(cause.astype(float), cause, area) == 1.0
    assert average_precision(np.zeros(5000), cause, area) == pytest.approx(cause.mean())
    assert average_precision(rng.random(5000), cause, area) == pytest.approx(0.1, abs=0.03)
    assert average_precision(rng.random(3), np.zeros(3, bool), np.ones(3)) == 0.0
    # the second of two is the cause: half of what is taken when it is found
    assert average_precision(np.array([2.0, 1.0]), np.array([False, True]), np.array([1.0, 1.0])) == 0.5
    # an area of three weighs like three places
    one = average_precision(np.array([2.0, 1.0]), np.array([False, True]), np.array([1.0, 3.0]))
    assert one == pytest.approx(0.75)


def test_the_pointing_game_looks_at_the_highest_place() -> None:
    assert hits_cause(np.array([0.0, 3.0, -9.0]), np.array([False, True, False]))
    assert not hits_cause(np.array([0.0, 3.0, -9.0]), np.array([True, False, True]))


def test_weights_are_drawn_anew_and_the_model_is_left_alone(bundle: ModelBundle) -> None:
    (member,) = explained_members(bundle)
    before = member.network.arrays()
    first, second, other = (randomise_weights([member], seed=seed)[0] for seed in (1, 1, 2))
    name = "embed.weight"
    assert (member.network.arrays()[name] == before[name]).all()
    assert (first.network.arrays()[name] == second.network.arrays()[name]).all()
    assert not (first.network.arrays()[name] == other.network.arrays()[name]).any()
    assert not (first.network.arrays()[name] == before[name]).any()
