"""Feature files in the forms of other tools give the same tiles, and overlapping tiles become an exact partition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsigraph.errors import StoreError
from wsigraph.exchange.tile_features import read_features, spacing, without_overlap
from wsigraph.exchange.trident import graph_from_features
from wsigraph.graph.feature.encode import encoding

h5py = pytest.importorskip("h5py")

GRID = np.array([(512 * x, 512 * y) for y in range(4) for x in range(5)], np.int64)
FEATURES = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32)


def written(path: Path, arrays: dict[str, Any], attributes: dict[str, Any] | None = None) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.attrs.update(attributes or {})
    return path


@pytest.mark.parametrize(
    ("arrays", "attributes"),
    [
        ({"coords": GRID, "features": FEATURES}, {}),
        ({"coords": GRID[None], "features": FEATURES[None]}, {}),
        ({"coords": GRID.astype(np.float64), "features": FEATURES}, {}),
        ({"coords": GRID * 0.5, "feats": FEATURES}, {"unit": "um"}),
        ({"coords": GRID * 0.5, "feats": FEATURES}, {"tile_size_um": 256.0}),
        ({"coords": GRID * 0.5, "feats": FEATURES}, {}),
    ],
    ids=["CLAM", "UNI2-h", "whole floats", "STAMP", "STAMP tile_size_um", "STAMP without a unit"],
)
def test_every_form_gives_the_same_graph(tmp_path: Path, arrays: dict[str, Any], attributes: dict[str, Any]) -> None:
    graph = graph_from_features(written(tmp_path / "s.h5", arrays, attributes), mpp=0.5)
    expected = graph_from_features(
        written(tmp_path / "t.h5", {"coords": GRID, "features": FEATURES}), mpp=0.5, tile_px=512
    )
    np.testing.assert_array_equal(graph.moments, expected.moments)
    np.testing.assert_array_equal(graph.edge_index, expected.edge_index)
    np.testing.assert_array_equal(graph.encoding_sum, expected.encoding_sum)


def test_files_in_um_need_no_pixel_size(tmp_path: Path) -> None:
    path = written(tmp_path / "s.h5", {"coords": GRID * 0.5, "feats": FEATURES}, {"unit": "um"})
    graph = graph_from_features(path)
    assert graph.moment("n").tolist() == [round(256 / graph.mpp) ** 2] * 20


def test_a_torch_file_of_tensors_is_read_and_others_are_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"features": torch.from_numpy(FEATURES), "coords": torch.from_numpy(GRID)}, tmp_path / "s.pt")
    table = read_features(tmp_path / "s.pt")
    np.testing.assert_array_equal(table.coords, GRID)
    np.testing.assert_array_equal(table.features, FEATURES)
    torch.save(torch.from_numpy(FEATURES), tmp_path / "clam.pt")
    with pytest.raises(StoreError, match=r"features without coordinates.*h5_files"):
        read_features(tmp_path / "clam.pt")
    torch.save({"features": Path("x")}, tmp_path / "object.pt")
    with pytest.raises(StoreError, match="no PyTorch file of tensors"):
        read_features(tmp_path / "object.pt")


def test_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "other.h5", {"features": FEATURES})
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["coords"] = GRID
        file["features"] = h5py.ExternalLink("other.h5", "/features")
    with pytest.raises(StoreError, match="holds no dataset 'features' but coords"):
        read_features(tmp_path / "s.h5")


@pytest.mark.parametrize(("side", "step"), [(256, 128), (256, 192), (256, 224), (250, 125), (300, 100)])
def test_overlapping_tiles_are_averaged_by_area(tmp_path: Path, side: int, step: int) -> None:
    """Against counting: paint every tile's value over its pixels, and average over the cell's."""
    coords = np.array([(step * x, step * y) for y in range(5) for x in range(4) if (x, y) != (2, 2)], np.int64)
    features = np.random.default_rng(2).standard_normal((len(coords), 2))
    path = written(tmp_path / "s.h5", {"coords": coords, "features": features})
    table, own_side = without_overlap(read_features(path), side)
    assert own_side == step
    size = coords.max() + side
    sums, counts = np.zeros((size, size, 2)), np.zeros((size, size, 1))
    for (x, y), row in zip(coords, features, strict=True):
        sums[y : y + side, x : x + side] += row
        counts[y : y + side, x : x + side] += 1
    for (x, y), row in zip(table.coords, table.features, strict=True):
        cell = np.s_[y : y + step, x : x + step]
        np.testing.assert_allclose(row, sums[cell].sum(axis=(0, 1)) / counts[cell].sum(), rtol=1e-9, atol=1e-12)
    graph = graph_from_features(path, mpp=0.5, tile_px=side)
    assert encoding(graph).shape == (19, 2)


def test_tiles_that_do_not_overlap_stay_as_they_are(tmp_path: Path) -> None:
    table = read_features(written(tmp_path / "s.h5", {"coords": GRID, "features": FEATURES}))
    assert without_overlap(table, 512) == (table, 512)
    assert spacing(GRID) == 512
    assert spacing(GRID[:8]) is None
    assert spacing(np.random.default_rng(3).integers(0, 99999, (40, 2))) is None
