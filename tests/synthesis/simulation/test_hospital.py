"""Scenario ``hospital``: sites that differ, and tissue that carries a signal."""

from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.survival import c_index
from wsigraph.synthesis.simulation.hospital import HospitalDesign, sample_hospital_cohort

SMALL = HospitalDesign(n_columns=8, n_latent=4)


@pytest.mark.parametrize("seed", range(3))
def test_cohorts_have_the_sizes_that_are_stated(seed: int) -> None:
    cohort = sample_hospital_cohort(SMALL, seed=seed).cohort
    sites, sizes = np.unique(cohort.site, return_counts=True)
    assert 200 <= cohort.n_rows <= 500
    assert 3 <= len(sites) <= 20
    assert sizes.min() >= 2
    assert sizes.max() > 2 * sizes.min()
    assert 40 <= cohort.event.sum() <= 170
    assert (cohort.time_days > 0).all()
    assert all(graph.edge_attribute[:, 1:].sum() == 0 for graph in cohort.inputs)


def test_a_seed_gives_the_same_cohort() -> None:
    first, second = (sample_hospital_cohort(SMALL, seed=7).cohort for _ in range(2))
    assert all((a.features == b.features).all() for a, b in zip(first.inputs, second.inputs, strict=True))
    assert (first.time_days == second.time_days).all()


def test_tissue_and_site_both_decide_the_hazard() -> None:
    simulated = sample_hospital_cohort(SMALL, seed=2)
    cohort = simulated.cohort
    tissue = c_index(simulated.oracle_risk, cohort.time_days, cohort.event)[0]
    assert 0.6 < tissue < 0.85
    _, number = np.unique(cohort.site, return_inverse=True)
    rate = np.bincount(number, weights=cohort.event) / np.bincount(number, weights=cohort.time_days)
    assert c_index(rate[number], cohort.time_days, cohort.event)[0] > 0.58


def test_with_coordinates_regions_touch_their_neighbours_on_a_grid() -> None:
    design = HospitalDesign(n_columns=8, n_latent=4, coordinates=True, arrangement=0.5)
    graph = sample_hospital_cohort(design, seed=1).cohort.inputs[0]
    degree = np.bincount(graph.edge_index[0], minlength=len(graph.features))
    assert degree.max() <= 4
    assert degree.min() >= 1
    forward = set(map(tuple, graph.edge_index.T.tolist()))
    assert forward == {(b, a) for a, b in forward}
