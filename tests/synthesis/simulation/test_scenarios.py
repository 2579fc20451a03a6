from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import load
from wsigraph.errors import SynthesisError
from wsigraph.synthesis.simulation.interface import front
from wsigraph.synthesis.simulation.layout import FAT, GLAND, LYMPHOCYTES, NECROSIS, STROMA, TUMOUR, Tessellation
from wsigraph.synthesis.simulation.scenario import Planted
from wsigraph.synthesis.simulation.scenarios import (
    SCENARIOS,
    STAGE_MISSING,
    Outcome,
    find_scenario,
    sample_outcome,
    site_effect,
)
from wsigraph.synthesis.simulation.spatial import contact_fraction

N = 2000
SITES = 6


@pytest.fixture(scope="module")
def cohorts(tessellations: list[Tessellation]) -> dict[str, tuple[list[Planted], list[Outcome]]]:
    found = {}
    for name, rule in SCENARIOS.items():
        rng = np.random.default_rng(11)
        planted = [
            rule.plant([tessellations[each % 4]], site_effect=site_effect(each % SITES, SITES), rng=rng)
            for each in range(N)
        ]
        found[name] = planted, [sample_outcome(rule, each, rng=rng) for each in planted]
    return found


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_severity_is_standardised(cohorts: dict, name: str) -> None:
    for attribute in ("severity", "staged_severity"):
        severity = np.array([getattr(each, attribute) for each in cohorts[name][0]])
        # the standard error of a mean of 2,000 is 0.022
        assert severity.mean() == pytest.approx(0, abs=0.08)
        assert severity.std() == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_the_oracle_and_the_censoring_are_in_range(cohorts: dict, name: str) -> None:
    outcomes = cohorts[name][1]
    risk = np.array([each.oracle_risk for each in outcomes])
    time = np.array([each.time_days for each in outcomes])
    event = np.array([each.event for each in outcomes])
    assert 0.80 <= c_index(risk, time, event)[0] <= 0.86
    assert 0.35 <= 1 - event.mean() <= 0.40
    assert time.min() > 0


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_stages_are_balanced_rise_with_risk_and_are_sometimes_missing(cohorts: dict, name: str) -> None:
    outcomes = cohorts[name][1]
    known = [each for each in outcomes if each.stage is not None]
    assert 1 - len(known) / N == pytest.approx(STAGE_MISSING, abs=0.03)
    counts = np.bincount([each.stage for each in known], minlength=4)
    assert counts.min() > 0.15 * len(known)
    means = [np.mean([each.oracle_risk for each in known if each.stage == stage]) for stage in range(4)]
    assert (np.diff(means) > 0.5).all()


def fractions(planted: list[Planted], tissue: int) -> np.ndarray:
    return np.array([each.layouts[0].fraction(tissue) for each in planted])


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return abs(float(np.corrcoef(one, other)[0, 1]))


def test_contact_is_uniform_and_apart_from_all_counts(cohorts: dict) -> None:
    planted = cohorts["spatial"][0]
    contact = np.array([each.measures["contact_fraction"] for each in planted])
    assert np.quantile(contact, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0.05, 0.275, 0.5, 0.725, 0.95], abs=0.05)
    for tissue, low, high in ((LYMPHOCYTES, 0.10, 0.15), (TUMOUR, 0.35, 0.45)):
        fraction = fractions(planted, tissue)
        # regions differ a little in size
        assert low - 0.02 < fraction.mean() < high + 0.02
        assert correlation(contact, fraction) < 0.08
    for tissue in (STROMA, GLAND, FAT):
        assert correlation(contact, fractions(planted, tissue)) < 0.08


def test_contact_does_not_show_in_the_number_of_neighbours_of_any_class(
    cohorts: dict, tessellations: list[Tessellation]
) -> None:
    planted = cohorts["spatial"][0]
    contact = np.array([each.measures["contact_fraction"] for each in planted])
    neighbours = [np.bincount(each.regions.edge_index[0], minlength=each.regions.shape.area) for each in tessellations]
    classes = [tessellations[number % 4].region_classes(each.layouts[0]).ravel() for number, each in enumerate(planted)]
    for tissue in (LYMPHOCYTES, TUMOUR, STROMA, GLAND):
        mean = np.array([neighbours[number % 4][each == tissue].mean() for number, each in enumerate(classes)])
        # it was 0.6 for lymphocytes while those away from tumour were free to lie at the rim of the tissue
        assert correlation(contact, mean) < 0.15


def test_contact_is_read_from_the_tissue(cohorts: dict, tessellations: list[Tessellation]) -> None:
    for number, each in enumerate(cohorts["spatial"][0][:8]):
        tessellation, layout = tessellations[number % 4], each.layouts[0]
        classes = tessellation.region_classes(layout).ravel()
        source, target = tessellation.regions.edge_index
        lymphocytes = np.flatnonzero(classes == LYMPHOCYTES)
        touching = [bool((classes[target[source == region]] == TUMOUR).any()) for region in lymphocytes]
        assert contact_fraction(layout, tessellation) == each.measures["contact_fraction"] == np.mean(touching)


def test_front_is_apart_from_the_amount_of_tumour(cohorts: dict) -> None:
    planted = cohorts["interface"][0]
    length, depth = (np.array([each.measures[f"front_{name}"] for each in planted]) for name in ("length", "depth"))
    assert correlation(length, fractions(planted, TUMOUR)) < 0.08
    assert correlation(depth, fractions(planted, TUMOUR)) < 0.08
    assert correlation(length, depth) < 0.08
    severity = np.array([each.severity for each in planted])
    # both parts decide
    assert correlation(severity, length) < 0.98
    assert np.corrcoef(severity, depth)[0, 1] > 0.15


def test_front_counts_fat_double(tessellations: list[Tessellation]) -> None:
    tessellation = tessellations[0]
    shape = tessellation.regions.shape
    classes = np.full((shape.height, shape.width), GLAND, np.uint8)
    classes[0, 0] = TUMOUR
    for tissue, depth in ((STROMA, 1.0), (FAT, 2.0)):
        classes[0, 1:3] = classes[1:3, :3] = tissue
        length, found = front(tessellation.to_layout(classes), tessellation)
        assert length > 0
        assert found == depth
    classes[classes != TUMOUR] = GLAND
    assert front(tessellation.to_layout(classes), tessellation) == (0.0, 1.0)


def test_composition_follows_tumour_and_twice_necrosis(cohorts: dict) -> None:
    planted = cohorts["composition"][0]
    tumour, necrosis = fractions(planted, TUMOUR), fractions(planted, NECROSIS)
    fitted, residual, *_ = np.linalg.lstsq(
        np.column_stack([tumour, necrosis, np.ones(N)]), [each.severity for each in planted], rcond=None
    )
    assert residual[0] < 1e-12
    assert fitted[1] == pytest.approx(2 * fitted[0])
    assert fitted[0] > 0


def test_nothing_in_the_tissue_has_an_effect_where_the_scenario_has_none(cohorts: dict) -> None:
    for name in ("site", "null"):
        severity = np.array([each.severity for each in cohorts[name][0]])
        for tissue in (TUMOUR, NECROSIS, LYMPHOCYTES):
            assert correlation(severity, fractions(cohorts[name][0], tissue)) < 0.08


def test_sites_make_up_two_thirds_of_the_severity_in_their_scenario_alone(cohorts: dict) -> None:
    hospital = np.array([site_effect(each % SITES, SITES) for each in range(N)])
    assert hospital[:SITES].mean() == pytest.approx(0)
    assert hospital[:SITES].std() == pytest.approx(1)
    for name, (planted, _) in cohorts.items():
        squared = correlation(hospital, np.array([each.severity for each in planted])) ** 2
        assert squared == pytest.approx(0.65 if name == "site" else 0.0, abs=0.05)
    assert site_effect(0, 1) == 0.0


def test_two_slides_follow_one_draw(tessellations: list[Tessellation]) -> None:
    rng = np.random.default_rng(2)
    for name, measure, tolerance in (("spatial", "contact_fraction", 0.06), ("composition", "tumour_fraction", 0.04)):
        for _ in range(10):
            planted = find_scenario(name).plant(tessellations[:2], site_effect=0.0, rng=rng)
            assert len(planted.layouts) == 2
            if name == "spatial":
                each = [contact_fraction(*pair) for pair in zip(planted.layouts, tessellations[:2], strict=True)]
            else:
                each = [layout.fraction(TUMOUR) for layout in planted.layouts]
            assert planted.measures[measure] == pytest.approx(np.mean(each))
            assert abs(each[0] - each[1]) < 2 * tolerance


def test_the_oracle_risk_is_the_log_hazard_ratio(tessellations: list[Tessellation]) -> None:
    rng = np.random.default_rng(3)
    for rule in SCENARIOS.values():
        planted = rule.plant(tessellations[:1], site_effect=0.3, rng=rng)
        assert sample_outcome(rule, planted, rng=rng).oracle_risk == rule.effect * planted.severity


def test_the_old_name_of_the_setting_is_read() -> None:
    assert load([], ["synthesis.law=spatial"]) == load([], ["synthesis.scenario=spatial"])


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(SynthesisError, match="no scenario 'gravity', expected one of composition, spatial"):
        find_scenario("gravity")
