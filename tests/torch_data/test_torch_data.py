"""Graphs as torch_geometric data, a cohort as a data set, and the folds of a study."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import wsigraph
from tests.cli.command import ROOT
from wsigraph import store
from wsigraph.cohort.manifest.fold_table import SPLITS
from wsigraph.config import Config, load
from wsigraph.errors import CohortError, ModelError
from wsigraph.geometry import Size
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.graph.feature.nucleus_table import NucleusTable
from wsigraph.records import StainBasis, SuperpixelLabels, TissueGraph, TissueMap
from wsigraph.torch import GraphDataModule, GraphDataset, splits, to_data, to_hetero_data
from wsigraph.torch.two_level import CELL_FEATURES
from wsigraph.training.cross_validate import Design

SETTINGS = (
    "synthesis.scenario=spatial", "synthesis.sites=4", "synthesis.library_side=3", "synthesis.min_side=3",
    "synthesis.max_side=4", "model.design=network", "model.epochs=1", "model.layers=1", "model.channels=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Config:
    return load(overrides=SETTINGS)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, settings: Config) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    wsigraph.simulate(24, out, settings, seed=3)
    return out


@pytest.fixture(scope="module")
def dataset(cohort: Path) -> GraphDataset:
    return GraphDataset(cohort / "data_manifest.csv", cohort)


@pytest.fixture(scope="module")
def graph(cohort: Path) -> TissueGraph:
    return store.load_graph(min(cohort.glob("*/graph.safetensors")))


def test_the_package_does_not_shadow_torch() -> None:
    code = "import torch, wsigraph.torch as own; assert torch.nn.Linear and own.to_data and own is not torch"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_data_holds_the_features_by_name_and_lengths_in_um(graph: TissueGraph) -> None:
    data = to_data(graph, y=torch.tensor([2]))
    data.validate(raise_on_error=True)
    assert data.x_names == FEATURE_NAMES
    np.testing.assert_allclose(data.x.numpy(), interpret(graph).values, rtol=1e-6)
    np.testing.assert_allclose(data.pos.numpy(), graph.centroid_um, rtol=1e-6)
    np.testing.assert_allclose(data.area.numpy(), graph.moment("n") * graph.mpp**2, rtol=1e-6)
    pairs = set(map(tuple, data.edge_index.T.tolist()))
    assert {(target, source) for source, target in pairs} == pairs
    assert data.edge_attr.shape == (data.num_edges, len(data.edge_attr_names))
    assert data.y.tolist() == [2]


def test_a_file_is_read_too_and_regions_from_their_own(graph: TissueGraph, tmp_path: Path) -> None:
    store.save_graph(graph, store.Destination(tmp_path / "graph.safetensors"))
    coarse = wsigraph.coarsen(graph)
    store.save_coarse_graph(coarse, store.Destination(tmp_path / "coarse.safetensors"))
    assert torch.equal(to_data(tmp_path / "graph.safetensors").x, to_data(graph).x)
    assert torch.equal(to_data(tmp_path / "coarse.safetensors").x, to_data(coarse).x)


def test_encoder_features_are_further_columns(graph: TissueGraph) -> None:
    from dataclasses import replace

    sums = np.arange(graph.n_nodes * 3, dtype=np.int64).reshape(-1, 3)
    encoded = replace(graph, encoding_sum=sums, encoder="any")
    assert to_data(encoded).x_names[-3:] == ("encoding_1", "encoding_2", "encoding_3")
    assert to_data(encoded, inputs="encoding").x.shape == (graph.n_nodes, 3)
    with pytest.raises(ModelError, match="no encoder's features"):
        to_data(graph, inputs="encoding")


def test_a_data_set_is_lazy_keeps_few_and_makes_batches(cohort: Path, dataset: GraphDataset) -> None:
    from torch_geometric.loader import DataLoader

    seen: list[str] = []

    def note(data):  # type: ignore[no-untyped-def]
        seen.append(data.slide_id)
        return data

    few = GraphDataset(cohort / "data_manifest.csv", cohort, pre_transform=note, cached_graphs=2, level="superpixels")
    assert (len(few), seen) == (len(dataset.rows), [])
    assert few[0].num_nodes == few[0].num_nodes
    assert len(seen) == 1, "the second time it was kept"
    for index in (1, 2, 0):
        few[index]
    assert len(seen) == 4, "two are kept"
    first = few[0]
    first.x = None
    assert few[0].x is not None, "a change of an item does not change the data set"
    batch = next(iter(DataLoader(dataset, batch_size=8)))
    assert (batch.num_graphs, tuple(batch.y.shape), tuple(batch.time_days.shape)) == (8, (8,), (8,))
    assert batch.event.dtype == torch.bool
    assert batch.x.shape[1] == len(dataset.x_names)


@pytest.mark.parametrize("group", ["patient", "site"])
def test_folds_are_those_of_train(cohort: Path, dataset: GraphDataset, settings: Config, tmp_path: Path, group) -> None:  # type: ignore[no-untyped-def]
    model = tmp_path / "model"
    wsigraph.train(
        cohort / "data_manifest.csv", cohort, model, settings, n_folds=3, workers=1, group=group, seed=7, force=True
    )
    drawn = splits(Design(n_folds=3, group=group, seed=7), dataset)
    read, by_path = splits(model, dataset), splits(model)
    assert len(drawn) == len(read) == len(by_path) == 3
    for own, stored, noted in zip(drawn, read, by_path, strict=True):
        assert own.test.tolist() == stored.test.tolist() == noted.test.tolist()
        assert own.train.tolist() == stored.train.tolist()
        train, test = ({dataset.patients[row] for row in part.tolist()} for part in (own.train, own.test))
        assert not train & test
        assert len(train | test) == 24
        if group == "site":
            sites = [{dataset.rows[row].site for row in part.tolist()} for part in (own.train, own.test)]
            assert not sites[0] & sites[1]
    (model / SPLITS).unlink()
    with pytest.raises(ModelError, match=SPLITS):
        splits(model)


def test_slides_without_a_graph_are_named(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"(\d+) of \1 slides have no graph of regions"):
        GraphDataset(cohort / "data_manifest.csv", tmp_path)
    with pytest.raises(CohortError, match="expected a data set"):
        splits(Design())


def test_a_fold_for_lightning(dataset: GraphDataset) -> None:
    pytest.importorskip("pytorch_lightning", exc_type=ImportError)
    split = splits(Design(n_folds=4), dataset)[0]
    module = GraphDataModule(dataset, split, batch_size=5)
    parts = [
        {name for batch in loader for name in batch.patient}
        for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    ]
    assert all(parts)
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 24
    assert parts[2] == {dataset.patients[row] for row in split.test.tolist()}


def _labels() -> SuperpixelLabels:
    """Return four superpixels of 100 x 100 px in a square, over two chunks of labels."""
    labels = np.zeros((200, 2200), np.int32)
    for number, (y, x) in enumerate([(0, 1950), (0, 2050), (100, 1950), (100, 2050)], start=1):
        labels[y : y + 100, x : x + 100] = number
    stain = StainBasis(vectors=np.eye(2, 3), max_concentration=np.ones(2), nucleus_threshold=0.5, source="test")
    tissue = TissueMap(
        tissue=np.ones((2, 22), np.uint8), artefact=np.zeros((2, 22), np.uint8), section=np.ones((2, 22), np.uint16),
        mpp=100.0, stain=stain,
    )  # fmt: skip
    return SuperpixelLabels(labels=labels, n_superpixels=4, mpp=1.0, tissue=tissue)


def _cells(place: np.ndarray) -> NucleusTable:
    n = len(place)
    columns = {name: np.linspace(0.1, 0.9, n) for name in CELL_FEATURES}
    columns |= {"x_um": place[:, 0], "y_um": place[:, 1], "type": np.arange(n) % 2, "section": np.ones(n, np.int64)}
    return NucleusTable(columns, ("a", "b"), np.zeros((0, 2), np.int32), np.zeros(n + 1, np.int64), 0.5, {1: 1.0})


def test_two_levels(graph: TissueGraph, tmp_path: Path) -> None:
    from dataclasses import replace

    from wsigraph.exchange.nucleus_files import write_nucleus_parquet

    few = replace(
        graph, moments=graph.moments[:4], edge_index=np.array([[0, 1], [1, 0]]), boundary=np.full((2, 2), 5),
        size=Size(200, 2200), encoding_sum=None, class_pixels=None,
    )  # fmt: skip
    place = np.array([[1960.0, 10.0], [1970.0, 10.0], [2149.9, 199.9], [2060.0, 50.0], [10.0, 10.0]])
    data = to_hetero_data(few, _cells(place), _labels())
    data.validate(raise_on_error=True)
    assert data["region", "contains", "cell"].edge_index.tolist() == [[0, 0, 3, 1], [0, 1, 2, 3]]
    assert data["cell", "near", "cell"].edge_index.tolist() == [[0, 1], [1, 0]]
    assert data["cell", "near", "cell"].edge_attr.tolist() == [10.0, 10.0]
    assert data["cell"].num_nodes == 4, "the cell outside every superpixel is left out"
    assert data["cell"].x_names[-2:] == ("a", "b")
    path = write_nucleus_parquet(_cells(place), tmp_path / "nuclei.parquet", {})
    assert torch.allclose(to_hetero_data(few, path, _labels())["cell"].x, data["cell"].x)


@pytest.mark.slow
def test_memory_of_a_million_nuclei_is_bounded(graph: TissueGraph) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    place = np.random.default_rng(0).uniform([1950, 0], [2150, 200], (1_000_000, 2))
    from dataclasses import replace

    few = replace(
        graph, moments=graph.moments[:4], edge_index=np.zeros((2, 0), np.int64), boundary=np.zeros((0, 2), np.int64)
    )
    data = to_hetero_data(few, _cells(place), _labels(), radius_um=1.0)
    assert data["cell"].num_nodes == 1_000_000
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    assert grown < 1.0, f"{grown:.2f} GB"
