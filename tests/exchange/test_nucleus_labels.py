"""Nuclei as a label image: the pixels that the detector found, at every level, in a form that viewers read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from scipy import ndimage

from wsigraph.exchange import nucleus_labels
from wsigraph.exchange.nucleus_labels import write_nucleus_labels
from wsigraph.geometry import Size
from wsigraph.graph.feature.nucleus_outlines import trace_outlines
from wsigraph.graph.feature.nucleus_table import NucleusTable

NAMES = ("x_um", "y_um", "area_um2", "eccentricity", "solidity", "hematoxylin", "hematoxylin_sd", "probability")


def table_of(points: np.ndarray, start: np.ndarray, mpp: float) -> NucleusTable:
    return NucleusTable({name: np.zeros(len(start) - 1) for name in NAMES}, (), points, start, mpp, {1: 1.0})


def test_every_pixel_holds_the_number_of_its_nucleus(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(nucleus_labels, "CHUNK", 16)
    field = ndimage.gaussian_filter(np.random.default_rng(0).random((150, 190)), 3)
    instances = ndimage.label(field > np.quantile(field, 0.6))[0].astype(np.int32)
    n = int(instances.max())
    truth = np.zeros_like(instances)
    for number in range(1, n + 1):
        truth[ndimage.binary_fill_holes(instances == number)] = number
    table = table_of(*trace_outlines(instances, n), 0.4)
    path = write_nucleus_labels(table, tmp_path / "nuclei.ome.zarr", Size(150, 190), {"slide_id": "a"})
    group = zarr.open_group(str(path), mode="r")
    for level in range(3):
        step = 2**level
        np.testing.assert_array_equal(group[str(level)][:], truth[::step, ::step])
    ome = group.attrs["ome"]
    assert ome["version"] == ome["image-label"]["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    scales = [level["coordinateTransformations"][0]["scale"] for level in multiscale["datasets"]]
    assert scales == [[0.4, 0.4], [0.8, 0.8], [1.6, 1.6]]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer"] * 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["nuclei.ome.zarr"]


def test_labels_replace_those_of_before_and_none_is_all_ground(tmp_path: Path) -> None:
    one = table_of(*trace_outlines(np.ones((5, 5), np.int32), 1), 0.5)
    none = table_of(np.zeros((0, 2), np.int32), np.zeros(1, np.int64), 0.5)
    path = tmp_path / "nuclei.ome.zarr"
    for table, total in ((one, 25), (none, 0)):
        write_nucleus_labels(table, path, Size(30, 40), {})
        assert zarr.open_group(str(path), mode="r")["0"][:].sum() == total
