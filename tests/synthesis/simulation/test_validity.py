from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipelines import check_scenarios
from wsigraph import store
from wsigraph.config import Config, SynthesisConfig
from wsigraph.errors import StoreError, SynthesisError
from wsigraph.records import SuperpixelLabels, TissueMap
from wsigraph.synthesis.simulation import bleed
from wsigraph.synthesis.simulation.simulate import Library, simulate
from wsigraph.synthesis.simulation.validity import check_scenario


@pytest.fixture(scope="module")
def settings(small: SynthesisConfig) -> Config:
    return Config().model_copy(update={"synthesis": small.model_copy(update={"min_side": 8, "max_side": 9})})


@pytest.fixture(scope="module")
def found(settings: Config) -> dict[str, float]:
    figures = check_scenario("spatial", settings, n_train=60, n_fresh=60, seed=2, networks=False)
    return {each.name: each.value.value for each in figures}


def test_a_scenario_is_checked_from_its_survival_to_the_baselines(found: dict[str, float]) -> None:
    names = list(found)
    assert names[:2] == ["censored fraction", "oracle C-index"]
    assert found["oracle C-index"] > 0.78
    for baseline in ("counts", "pooled, superpixels", "pooled, regions", "size and degree, regions"):
        for kind in ("ridge", "forest"):
            # 60 patients: a standard error of 0.04
            assert found[f"{baseline}, {kind}, C-index"] == pytest.approx(0.5, abs=0.12)


def test_neighbours_tell_what_bags_do_not(found: dict[str, float]) -> None:
    assert found["edge products, regions, ridge, C-index"] > 0.62


def test_the_figures_follow_the_seed(settings: Config) -> None:
    first, again, other = (
        [each.value for each in islice(check_scenario("site", settings, n_train=12, n_fresh=12, seed=seed), 4)]
        for seed in (2, 2, 3)
    )
    assert first == again
    assert first != other


def test_the_recipe_prints_bounds_and_ends_with_1_where_one_is_missed(
    monkeypatch: pytest.MonkeyPatch, settings: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_scenarios, "Config", lambda: settings)
    # twelve patients cannot hold every bound
    code = check_scenarios.main(["--scenario", "null", "--train", "12", "--fresh", "12", "--seed", "3"])
    shown = capsys.readouterr().out
    assert "12 synthetic patients" in shown
    assert "[0.8, 0.86]" in shown
    assert code == (1 if "MISSED" in shown else 0)


def test_layouts_that_are_read_back_whole_lend_nothing(
    library: Library, small: SynthesisConfig, tmp_path: Path
) -> None:
    config = small.model_copy(
        update={"scenario": "spatial", "second_slide_fraction": 0.0, "min_side": 8, "max_side": 8}
    )
    settings = Config().model_copy(update={"synthesis": config})
    patients = list(simulate(6, library, config, rng=np.random.default_rng(0)))
    margin = round(config.glass_um / config.mpp)
    for patient in patients:
        slide = patient.slides[0]
        labels = np.pad(slide.tessellation.labels[1:-1, 1:-1], margin)
        ones = np.ones((-(-labels.shape[0] // 8), -(-labels.shape[1] // 8)), np.uint8)
        tissue = TissueMap(
            tissue=ones, artefact=ones * 0, section=ones.astype(np.uint16), mpp=8.0, stain=slide.graph.stain
        )
        folder = tmp_path / slide.slide_id
        store.save_tissue_map(tissue, folder / "tissue.zarr")
        whole = SuperpixelLabels(labels=labels, n_superpixels=int(labels.max()), mpp=config.mpp, tissue=tissue)
        store.save_labels(whole, folder / bleed.LABELS)
        store.save_graph(slide.graph, folder / "graph.safetensors")
    told = bleed.measure_bleed(patients, tmp_path, settings)
    assert told["mixed"] == 0
    assert told["painted"] == told["drawn"]
    assert told["superpixels"] > 20
    with pytest.raises(StoreError):
        bleed.measure_bleed(patients, tmp_path / "elsewhere", settings)
    with pytest.raises(SynthesisError, match="expected at least two"):
        bleed.measure_bleed(patients[:1], tmp_path, settings)
