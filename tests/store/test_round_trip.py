"""Every record comes back as it went, and equal records give equal bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsigraph import store
from wsigraph.errors import StoreError
from wsigraph.geometry import Size
from wsigraph.records import SuperpixelLabels, TissueGraph, TissueMap

CASES: dict[str, tuple[str, Callable[..., Any], Callable[..., Any]]] = {
    "slide_info": ("slide.json", store.save_slide_info, store.load_slide_info),
    "tissue_map": ("tissue.zarr", store.save_tissue_map, store.load_tissue_map),
    "labels": ("superpixels.zarr", store.save_labels, store.load_labels),
    "graph": ("graph.safetensors", store.save_graph, store.load_graph),
    "encoded_graph": ("graph.safetensors", store.save_graph, store.load_graph),
    "lone_graph": ("graph.safetensors", store.save_graph, store.load_graph),
    "coarse_graph": ("coarse.safetensors", store.save_coarse_graph, store.load_coarse_graph),
    "prediction": ("prediction.json", store.save_prediction, store.load_prediction),
}


def assert_equal(left: Any, right: Any, name: str = "record") -> None:
    if is_dataclass(left) and not isinstance(left, type):
        assert type(left) is type(right)
        for field in fields(left):
            assert_equal(getattr(left, field.name), getattr(right, field.name), field.name)
    elif hasattr(left, "shape"):
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(np.asarray(left[:]), np.asarray(right[:]), err_msg=name)
    else:
        assert left == right, name


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Any, str, Callable[..., Any], Callable[..., Any]]:
    name, save, load = CASES[request.param]
    return request.getfixturevalue(request.param), name, save, load


def stored(case: tuple[Any, ...], directory: Path, tissue_map: TissueMap) -> Path:
    record, name, save, _ = case
    if name == "superpixels.zarr":
        store.save_tissue_map(tissue_map, directory / "tissue.zarr")
    save(record, store.Destination(directory / name, {"b": "2", "a": "1"}, {"tissue": "3"}))
    return directory / name


def test_every_record_comes_back_as_it_went(case: Any, tmp_path: Path, tissue_map: TissueMap) -> None:
    record, name, _, load = case
    path = stored(case, tmp_path, tissue_map)
    expected = replace(record, path="a.svs") if name == "slide.json" else record
    assert_equal(expected, load(path))
    assert not [found.name for found in tmp_path.iterdir() if found.name.startswith(".")]


def test_the_table_of_codecs_writes_and_reads_every_record(case: Any, tmp_path: Path, tissue_map: TissueMap) -> None:
    record, name, _, _ = case
    path = stored(case, tmp_path, tissue_map)
    store.save(record, store.Destination(tmp_path / "table" / name, {"b": "2", "a": "1"}, {"tissue": "3"}))
    assert store.digest(tmp_path / "table" / name) == store.digest(path)
    assert_equal(replace(record, path="a.svs") if name == "slide.json" else record, store.load(type(record), path))
    assert store.CODECS[type(record)].suffix == path.suffix


def test_what_is_no_record_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="objects of class dict are not stored; expected one of SlideInfo"):
        store.save({}, tmp_path / "a.json")
    with pytest.raises(StoreError, match="objects of class str are not stored"):
        store.load(str, tmp_path / "a.json")


def test_equal_records_give_equal_bytes(case: Any, tmp_path: Path, tissue_map: TissueMap) -> None:
    first, second = (stored(case, tmp_path / name, tissue_map) for name in ("a", "b"))
    again = stored(case, tmp_path / "a", tissue_map)
    assert store.digest(first) == store.digest(second) == store.digest(again)


def test_done_means_same_inputs_same_settings_and_undamaged(case: Any, tmp_path: Path, tissue_map: TissueMap) -> None:
    path = stored(case, tmp_path, tissue_map)
    assert store.is_done(path, {"a": "1", "b": "2"}, {"tissue": "3"})
    assert not store.is_done(path, {"a": "1", "b": "x"}, {"tissue": "3"})
    assert not store.is_done(path, {"a": "1"}, {"tissue": "3"})
    assert not store.is_done(path, {"a": "1", "b": "2"}, {"tissue": "x"})
    assert not store.is_done(tmp_path / f"absent{path.suffix}", {}, {})
    assert store.verify(path)["inputs"] == {"a": "1", "b": "2"}


def data_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("fault", ["truncated", "flipped", "empty", "absent"])
def test_damage_is_met_by_name_and_never_counts_as_done(
    case: Any, tmp_path: Path, tissue_map: TissueMap, fault: str
) -> None:
    _, _, _, load = case
    path = stored(case, tmp_path, tissue_map)
    for victim in data_files(path):
        content = victim.read_bytes()
        if fault == "absent":
            victim.unlink()
        else:
            middle = len(content) // 2
            flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            victim.write_bytes({"truncated": content[:-3], "flipped": flipped, "empty": b""}[fault])
        with pytest.raises(StoreError, match=str(path)) as met:
            load(path)
        assert "expected" in str(met.value)
        assert "\n" not in str(met.value)
        assert not store.is_done(path, {"a": "1", "b": "2"}, {"tissue": "3"}), victim
        victim.write_bytes(content)
    load(path)


def test_another_record_and_another_schema_are_refused(tmp_path: Path, graph: TissueGraph, prediction: Any) -> None:
    store.save_graph(graph, tmp_path / "graph.safetensors")
    with pytest.raises(StoreError, match="holds a TissueGraph, expected a CoarseGraph"):
        store.load_coarse_graph(tmp_path / "graph.safetensors")
    path = tmp_path / "prediction.json"
    store.save_prediction(prediction, path)
    document = json.loads(path.read_text())
    document["header"]["schema"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="schema 99, expected 1"):
        store.load_prediction(path)
    path.write_text("[1, 2]")
    with pytest.raises(StoreError, match=r"prediction\.json"):
        store.load_prediction(path)
    path.write_text("{}")
    with pytest.raises(StoreError, match="no wsigraph header"):
        store.load_prediction(path)
    with pytest.raises(StoreError, match=r"expected a file named \.json, \.safetensors, \.zarr"):
        store.verify(tmp_path / "report.png")


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path, prediction: Any) -> None:
    with pytest.raises(StoreError, match="finite"):
        store.save_prediction(replace(prediction, median_survival_days=float("nan")), tmp_path / "prediction.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="Infinity"):
        store.parse_json('{"a": Infinity}')


def test_safetensors_hold_one_metadata_key_and_the_derived_centroids(tmp_path: Path, graph: TissueGraph) -> None:
    from safetensors import safe_open

    store.save_graph(graph, tmp_path / "graph.safetensors")
    with safe_open(tmp_path / "graph.safetensors", framework="np") as file:
        assert list(file.metadata()) == ["wsigraph"]
        np.testing.assert_array_equal(file.get_tensor("centroid_um"), graph.centroid_um)


def test_bytes_are_equal_in_another_process(tmp_path: Path, graph: TissueGraph) -> None:
    store.save_graph(graph, tmp_path / "here.safetensors")
    program = (
        "from wsigraph import store; from pathlib import Path; import sys; here = Path(sys.argv[1]);"
        "store.save_graph(store.load_graph(here / 'here.safetensors'), here / 'there.safetensors')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environment)
    assert store.digest(tmp_path / "here.safetensors") == store.digest(tmp_path / "there.safetensors")


def test_threads_may_write_shards_at_once_and_any_cut_gives_the_same_bytes(
    tmp_path: Path, labels: SuperpixelLabels
) -> None:
    image = np.asarray(labels.labels[:])
    height, width = image.shape
    side = store.SHARD_PX

    with store.create_labels(tmp_path / "threads.zarr", labels.size) as writer:

        def write(y: int, x: int) -> None:
            writer.array[y : y + side, x : x + side] = image[y : y + side, x : x + side]

        threads = [
            threading.Thread(target=write, args=(y, x)) for y in range(0, height, side) for x in range(0, width, side)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = writer.finish(n_superpixels=labels.n_superpixels, mpp=1.0, tissue=labels.tissue)
    np.testing.assert_array_equal(done.labels[:], image)

    with store.create_labels(tmp_path / "rows.zarr", labels.size) as writer:
        for y in range(0, height, 700):
            writer.array[y : y + 700] = image[y : y + 700]
        writer.finish(n_superpixels=labels.n_superpixels, mpp=1.0, tissue=labels.tissue)
    assert store.digest(tmp_path / "threads.zarr") == store.digest(tmp_path / "rows.zarr")


def test_labels_without_a_path_stay_in_memory(labels: SuperpixelLabels, tmp_path: Path) -> None:
    with store.create_labels(None, labels.size) as writer:
        writer.array[:] = labels.labels[:]
        kept = writer.finish(n_superpixels=labels.n_superpixels, mpp=1.0, tissue=labels.tissue)
    np.testing.assert_array_equal(kept.labels[600:700, 800:1000], labels.labels[600:700, 800:1000])
    assert not list(tmp_path.iterdir())


def test_an_unfinished_label_image_leaves_nothing(tmp_path: Path) -> None:
    with store.create_labels(tmp_path / "superpixels.zarr", Size(10, 10)) as writer:
        writer.array[:] = 1
    assert not list(tmp_path.iterdir())


def test_labels_without_their_tissue_are_refused_by_name(tmp_path: Path, labels: SuperpixelLabels) -> None:
    store.save_labels(labels, tmp_path / "superpixels.zarr")
    with pytest.raises(StoreError, match=r"tissue\.zarr does not exist"):
        store.load_labels(tmp_path / "superpixels.zarr")
    assert store.load_labels(tmp_path / "superpixels.zarr", labels.tissue).n_superpixels == labels.n_superpixels
