"""The plugins that the documentation shows in full do what the page says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph import registry, store
from wsigraph.config import Config, ExplanationConfig, ModelConfig
from wsigraph.errors import MissingMpp, PluginError, UnreadableSlide
from wsigraph.explanation.explain import explain
from wsigraph.explanation.fit_reference import TrainingSlide, gather_reference
from wsigraph.explanation.gradients import pooling_weights
from wsigraph.explanation.members import explained_members
from wsigraph.model.bundle import load_bundle, save_bundle
from wsigraph.model.inputs import graph_input
from wsigraph.model.nn.heads import BUILT_IN_SURVIVAL_HEADS
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.model.nn.pooling import BUILT_IN_POOLINGS
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph
from wsigraph.run.steps import run_slide
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, build_library, sample_sites, simulate
from wsigraph.training.dataset import Example
from wsigraph.training.train import About, train

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
CMU = ROOT / "tests" / "data" / "CMU-1-Small-Region.svs"


def block(language: str, page: str = PAGE, number: int = 0) -> str:
    return str(re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)[number])


def install(directory: Path, number: int) -> None:
    """Write a package of the page and its metadata, as installing it would."""
    project = tomllib.loads(block("toml", number=number))["project"]
    module = project["name"].replace("-", "_")
    (directory / f"{module}.py").write_text(block("py", number=number))
    info = directory / f"{module}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(tmp_path, 0)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def patients() -> list[SimulatedPatient]:
    settings = Config().synthesis.model_copy(update={"sites": 1, "library_side": 3, "min_side": 4, "max_side": 6})
    rng = np.random.default_rng(5)
    return list(simulate(24, build_library(sample_sites(1, rng=rng), settings, rng=rng), rng=np.random.default_rng(6)))


def test_its_pooling_and_its_head_are_trained_predict_and_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patients: list[SimulatedPatient]
) -> None:
    install(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        config = ModelConfig(
            design="network",
            pooling="mean",
            survival_head="proportional_odds",
            layers=1,
            heads=2,
            channels=4,
            epochs=4,
            time_intervals=4,
        )
        slides = [
            TrainingSlide(
                graph=CoarseGraph(
                    graph=patient.graph, assignment=np.arange(patient.graph.n_nodes), embedding_id="none"
                ),
                time_days=patient.outcome.time_days,
                event=patient.outcome.event,
            )
            for patient in patients
        ]
        examples = [
            Example(
                graph=slide.graph,
                patient=patient.patient,
                stage=patient.outcome.stage,
                time_days=slide.time_days,
                event=slide.event,
            )
            for slide, patient in zip(slides, patients, strict=True)
        ]
        about = About(name="t", description="-", notice="for a test", licence="MIT", data="-", simulated=True)
        model = save_bundle(train(examples, config, seed=1, about=about).bundle, tmp_path / "model")
        bundle = load_bundle(model)
        arrays = bundle.members[0].arrays
        assert arrays["hazard.baseline"].shape == (len(bundle.card.time_days),)
        assert not any(name.startswith("pooling.") for name in arrays)
        coarse = slides[3].graph
        prediction = predict(coarse, model)
        assert prediction.risk is not None
        assert np.isfinite(prediction.risk)
        reference = gather_reference(
            slides, bundle, rng=np.random.default_rng(0), n_clusters=2, n_broad_clusters=2, n_regions=100
        )
        quick = ExplanationConfig(steps=20, random_orders=10)
        explanation = explain(coarse, coarse.graph, bundle, "risk", reference=reference, config=quick)
        assert explanation.value == pytest.approx(prediction.risk, abs=1e-5)
        assert explanation.is_complete
        # the pooling's own weights are the areas
        member = explained_members(bundle)[0]
        raw = graph_input(coarse)
        np.testing.assert_allclose(
            pooling_weights(member, member.scaled(raw)), raw.area_um2 / raw.area_um2.sum(), rtol=1e-5
        )
    with pytest.raises(PluginError, match=r"no plugin 'mean' in group 'wsigraph\.poolings'"):
        predict(coarse, load_bundle(model))


def test_names_of_no_pooling_and_no_head_are_refused() -> None:
    for changes, group in (({"pooling": "none"}, "poolings"), ({"survival_head": "none"}, "survival_heads")):
        with pytest.raises(PluginError, match=rf"no plugin 'none' in group 'wsigraph\.{group}'"):
            GraphNetwork(ModelConfig(**changes), n_features=2, n_intervals=2)


def test_the_packages_own_parts_are_registered_as_plugins_are() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for group, own in ((registry.POOLINGS, BUILT_IN_POOLINGS), (registry.SURVIVAL_HEADS, BUILT_IN_SURVIVAL_HEADS)):
        assert points[group] == {name: f"{part.__module__}:{part.__qualname__}" for name, part in own.items()}


def test_its_reader_and_its_encoder_take_a_slide_to_a_graph(installed: Path) -> None:
    from wsigraph.config import load
    from wsigraph.slide.discover import discover_slides

    assert "npy" in registry.names(registry.READERS)
    with tifffile.TiffFile(CMU) as tif:
        np.save(installed / "slide.npy", tif.pages.first.asarray()[1400:1912, 760:1528])
    (slide,) = discover_slides(installed)
    assert (slide.path.name, slide.slide_id) == ("slide.npy", "slide")
    settings = load([], ["feature.encoder=brightness"])
    result = run_slide(str(installed / "slide.npy"), installed / "out", settings, mpp=0.499, until="graph")
    graph = store.load_graph(result.directory / "graph.safetensors")
    assert graph.encoding_sum is not None
    assert graph.encoding_sum.shape == (graph.n_nodes, 2)
    mean = graph.encoding_sum[:, 0] / 256 / graph.moment("n")
    assert 0.1 < mean.min() < mean.max() < 1.0
    assert store.load_slide_info(result.directory / "slide.json").vendor == "npy"


def test_it_refuses_as_other_readers_do(installed: Path) -> None:
    import wsigraph

    np.save(installed / "flat.npy", np.zeros((4, 4)))
    with pytest.raises(UnreadableSlide, match=r"holds float64 \(4, 4\), expected uint8"):
        wsigraph.read(installed / "flat.npy")
    np.save(installed / "bare.npy", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(MissingMpp):
        wsigraph.read(installed / "bare.npy")


def test_the_readme_leads_to_the_page() -> None:
    assert "(docs/plugins.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
