"""``wsigraph tissue`` and ``wsigraph train-tissue``: files that agree, and annotations that do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import shapely
import zarr
from PIL import Image

from tests.cli.command import SLIDE, Run
from tests.slide.leica import write_scn
from wsigraph.config import Config
from wsigraph.errors import CohortError, RegionError
from wsigraph.run.train_tissue import annotate_slide, pair_slides

SKIN, DERMIS = (
    [[1300, 1300], [1500, 1300], [1500, 1800], [1300, 1800]],
    [[850, 1900], [1000, 1900], [1000, 2500], [850, 2500]],
)


def write(path: Path, *regions: tuple[Any, str | None]) -> Path:
    """Write rings with classes as QuPath annotations."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {"objectType": "annotation", **({"classification": {"name": name}} if name else {})},
        }
        for ring, name in regions
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture(scope="module")
def trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a model of two classes of the real slide, and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    path = write(folder / f"{SLIDE.stem}.geojson", (SKIN, "Nest: deep"), (DERMIS, "Dermis"))
    process = run("train-tissue", path, "--slides", SLIDE.parent, "--out", folder / "model", "--json")
    assert (process.returncode, process.stderr) == (0, "")
    return folder / "model", json.loads(process.stdout)


def test_own_classes_are_trained_and_used(run: Run, trained: tuple[Path, dict[str, Any]], tmp_path) -> None:
    model, facts = trained
    assert facts["classes"] == ["Dermis", "Nest: deep"]
    assert facts["held_out"].startswith("quarters of one slide")
    assert np.array(facts["confusion"]).sum() == sum(facts["regions"].values())
    assert facts["balanced_accuracy"] > 0.9
    assert json.loads((model / "scores.json").read_text())["candidates"] == facts["candidates"]
    # the graph of the training is not made again
    process = run("tissue", SLIDE, "--out", model / "graphs", "--tissue-model", model, "--json")
    assert (process.returncode, process.stderr) == (0, "")
    facts = json.loads(process.stdout)
    folder = model / "graphs" / SLIDE.stem
    assert facts["files"] == [
        f"tissue_classes.{suffix}" for suffix in ("png", "geojson", "zarr", "safetensors", "json")
    ]
    assert "tissue classes" in facts["seconds"]
    amounts = facts["composition"]
    assert sum(share["value"] for share in amounts["share"].values()) == pytest.approx(1.0, abs=1e-5)
    for area in amounts["area_mm2"].values():
        assert area["low"] <= area["value"] <= area["high"]
    stored = json.loads((folder / "tissue_classes.json").read_text())
    assert stored["composition"] == amounts
    assert amounts["tumour_stroma_ratio"] is None  # the model has no class of either name
    collection = json.loads((folder / "tissue_classes.geojson").read_text())
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]
    assert all(shape.is_valid for shape in shapes)
    outlined = sum(shape.area for shape in shapes) * 0.499**2 / 1e6
    assert outlined == pytest.approx(amounts["tissue_mm2"] + amounts["glass_mm2"], rel=0.05)
    names = {feature["properties"]["classification"]["name"] for feature in collection["features"]}
    image = zarr.open(folder / "tissue_classes.zarr", mode="r")
    listed = image.attrs["wsigraph"]["fields"]["names"]
    assert names <= set(listed)
    assert 0 < int(np.asarray(image[:]).max()) < len(listed)
    with Image.open(folder / "tissue_classes.png") as picture:
        assert picture.size[0] > 800


def test_the_shipped_model_names_epithelium_and_stroma(run: Run, trained: tuple[Path, dict[str, Any]]) -> None:
    process = run("tissue", SLIDE, "--out", trained[0] / "graphs", "--level", "structure")
    assert (process.returncode, process.stderr) == (0, "")
    rows = dict(line.split(None, 1) for line in process.stdout.splitlines())
    assert "mm2" in rows["Epithelium"]
    assert "mm2" in rows["Stroma"]
    assert "a mm2" in rows["nuclei"]
    folder = trained[0] / "graphs" / SLIDE.stem
    features = json.loads((folder / "tissue_classes.geojson").read_text())["features"]
    assert all(feature["properties"]["measurements"]["Area mm^2"] <= 0.1 for feature in features)


def test_annotations_that_do_not_fit_say_so(trained: tuple[Path, dict[str, Any]], tmp_path) -> None:
    graphs = trained[0] / "graphs"

    def take(*regions: tuple[Any, str | None]) -> Any:
        return annotate_slide(SLIDE, write(tmp_path / "a.geojson", *regions), graphs, Config())

    with pytest.raises(RegionError, match="have no classes, expected a class on each; set them"):
        take((SKIN, None))
    with pytest.raises(RegionError, match=r"annotation 1 \('A'\) is outside the slide: x 9000 to 9100"):
        take(([[9000, 0], [9100, 0], [9100, 100], [9000, 100]], "A"))
    with pytest.raises(RegionError, match="cover no superpixel of tissue by three quarters"):
        take(([[1300, 1300], [1310, 1300], [1310, 1310], [1300, 1310]], "A"))
    # 150 px of the second annotation lie on the first
    both = take((SKIN, "A"), ([[1400, 1300], [1700, 1300], [1700, 1800], [1400, 1800]], "B"))
    assert re.search(
        r"2\d regions lie under two classes, with a median purity of 0\.[56]\d; \d+ of them", both.notes[0]
    )
    assert set(both.label) == {0, 1}
    assert len(both.label) < len(take((SKIN, "A"), (DERMIS, "B")).label) + 60


def test_annotations_in_the_other_origin_are_named(tmp_path) -> None:
    slide = write_scn(tmp_path / "area.scn", [np.full((768, 1024, 3), 220, np.uint8)], (2500, 4000), (6000, 8000))
    square = [[2600, 4100], [2800, 4100], [2800, 4260], [2600, 4260]]
    path = write(tmp_path / "area.geojson", (square, "A"))
    with pytest.raises(RegionError, match="are in the other origin"):
        annotate_slide(slide, path, tmp_path / "graphs", Config())
    assert not (tmp_path / "graphs").exists()


def test_an_annotation_without_its_slide_is_named(run: Run, tmp_path) -> None:
    path = write(tmp_path / "lost.geojson", (SKIN, "A"))
    with pytest.raises(CohortError, match=r"found none in .*, expected one slide named lost; give --slides DIR"):
        pair_slides([path])
    process = run("train-tissue", path, "--slides", SLIDE.parent, "--out", tmp_path / "model")
    assert process.returncode == 1
    assert "expected one slide named lost" in process.stderr
    assert not (tmp_path / "model").exists()


def test_a_wrong_model_ends_the_command_before_any_pixel(run: Run, tmp_path) -> None:
    process = run("tissue", SLIDE, "--out", tmp_path / "out", "--tissue-model", SLIDE)
    assert process.returncode == 1
    assert "expected a model of wsigraph train-tissue" in process.stderr
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_refuses_another_stain_before_any_pixel(run: Run, tmp_path) -> None:
    process = run("tissue", SLIDE, "--out", tmp_path / "out", "--stain", "pas")
    assert process.returncode == 1
    assert "trained on sections in h&e" in process.stderr
    assert not (tmp_path / "out").exists()


def test_an_export_counts_the_pixels_of_each_name(run: Run, trained: tuple[Path, dict[str, Any]], tmp_path) -> None:
    folder = trained[0] / "graphs" / SLIDE.stem
    process = run("export", folder, "--to", "parquet", "--out", tmp_path)
    assert process.returncode == 0
    table = pyarrow.parquet.read_table(tmp_path / "nodes.parquet")
    columns = [name for name in table.column_names if name.startswith("class_fraction: tissue: ")]
    total = sum(np.asarray(table[name]) for name in columns)
    assert total == pytest.approx(1.0)
    amounts = json.loads((folder / "tissue_classes.json").read_text())["composition"]
    glass = np.asarray(table["class_fraction: tissue: Glass"]) @ np.asarray(table["area_um2"]) / 1e6
    assert glass == pytest.approx(amounts["glass_mm2"], abs=1e-6)
