"""The regions of a job over HTTP, against the records they come from."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.conftest import ROOT
from tests.service.contexts import bearer, make_context, tokens
from tests.service.finished import Finished
from wsigraph.errors import Conflict
from wsigraph.explanation.ablation import predict_ablated
from wsigraph.explanation.reference import load_reference
from wsigraph.explanation.region_facts import unit_words
from wsigraph.geometry import Box
from wsigraph.graph.feature.interpret import interpret
from wsigraph.model.bundle import SHIPPED, load_bundle
from wsigraph.service.app import create_app
from wsigraph.service.results import JobResults
from wsigraph.slide.reader import read
from wsigraph.store import load_coarse_graph, load_explanation, load_prediction

TOP = 5


def get(client: TestClient, finished: Finished, path: str, **options: Any) -> Any:
    response = client.get(f"/v1/jobs/{finished.job_id}/{path}", **options)
    assert response.status_code == 200, response.text
    return response.json()


def ablate(client: TestClient, finished: Finished, **ablation_request: Any) -> Any:
    response = client.post(f"/v1/jobs/{finished.job_id}/ablation", json=ablation_request)
    assert response.status_code == 200, response.text
    return response.json()


def rings(document: dict[str, Any]) -> list[list[list[np.ndarray]]]:
    """Points of every ring of every polygon of every region: steps added up."""
    return [
        [[np.array(ring).reshape(-1, 2).cumsum(axis=0) for ring in polygon] for polygon in region]
        for region in document["outlines"]
    ]


def area(ring: np.ndarray) -> float:
    x, y = ring.T.astype(float)
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


@pytest.fixture(scope="module")
def regions(explained: TestClient, finished: Finished) -> dict[str, Any]:
    document: dict[str, Any] = get(explained, finished, "regions")
    return document


def test_outlines_are_those_of_the_report(regions: dict[str, Any], finished: Finished) -> None:
    report = json.loads((finished.records / "report.geojson").read_text())
    assert regions["n_regions"] == len(report["features"]) > 20
    for region, feature in zip(rings(regions), report["features"], strict=True):
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for polygon, expected in zip(region, polygons, strict=True):
            for ring, points in zip(polygon, expected, strict=True):
                # the report closes its rings; outlines are whole pixels, the report's may hold tenths
                assert np.abs(ring - np.array(points[:-1])).max() <= 0.5


def test_coarser_levels_have_fewer_points_and_the_same_regions(
    explained: TestClient, finished: Finished, regions: dict[str, Any]
) -> None:
    n_points, total = [], []
    for level in range(regions["coarsest_level"] + 1):
        document = get(explained, finished, f"regions?level={level}&values=false")
        assert "features" not in document
        outlines = rings(document)
        areas = [abs(sum(area(ring) for polygon in region for ring in polygon)) for region in outlines]
        assert min(areas) > 0
        n_points.append(sum(len(ring) for region in outlines for polygon in region for ring in polygon))
        total.append(sum(areas))
    assert n_points == sorted(n_points, reverse=True)
    assert n_points[-1] < n_points[0]
    # what one region loses to a simpler line its neighbour wins, but at the tissue's edge
    assert np.ptp(total) < 0.03 * total[0]
    beyond = get(explained, finished, "regions?level=12&values=false")
    assert beyond["outlines"] == document["outlines"]


def test_values_are_those_of_the_records(regions: dict[str, Any], finished: Finished) -> None:
    explanation = load_explanation(finished.records / "explanation.safetensors")
    coarse = load_coarse_graph(finished.records / "coarse.safetensors")
    table = interpret(coarse.graph)
    by_target = {each["target"]: each for each in regions["targets"]}
    assert list(by_target) == ["risk", "stage"]
    assert np.allclose(by_target["risk"]["attribution"], explanation.node, rtol=1e-4, atol=1e-12)
    assert np.allclose(by_target["stage"]["attribution"], explanation.other_targets["stage"], rtol=1e-4, atol=1e-12)
    for column, feature in enumerate(regions["features"]):
        assert feature["feature"] == table.names[column]
        assert feature["unit"] == unit_words(table.units[column])
        assert np.allclose(feature["values"], table.values[:, column], rtol=1e-4)
    for each in by_target.values():
        density = np.array(each["attribution"]) / np.array(regions["area_mm2"])
        sign = 1 if sum(each["attribution"]) >= 0 else -1
        assert sorted(each["order"]) == list(range(regions["n_regions"]))
        assert (np.diff(sign * density[each["order"]]) <= np.abs(density).max() * 1e-3).all()


def test_outlines_are_compressed_and_asked_for_once(explained: TestClient, finished: Finished) -> None:
    path = f"/v1/jobs/{finished.job_id}/regions?level=1"
    packed = explained.get(path, headers={"Accept-Encoding": "gzip"})
    plain = explained.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    again = explained.get(path, headers={"If-None-Match": packed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_region_is_told_with_percentiles_and_neighbours(explained: TestClient, finished: Finished) -> None:
    coarse = load_coarse_graph(finished.records / "coarse.safetensors")
    explanation = load_explanation(finished.records / "explanation.safetensors")
    reference = load_reference(SHIPPED, load_bundle(SHIPPED))
    assert reference is not None
    percentile = reference.percentiles(interpret(coarse.graph).values)
    regions = [get(explained, finished, f"regions/{node}") for node in range(coarse.graph.n_nodes)]
    for node, facts in enumerate(regions):
        assert [each["percentile"] for each in facts["features"]] == pytest.approx(percentile[node].tolist())
        boundary = {each["node"]: each["boundary_um"] for each in facts["neighbours"]}
        assert sorted(boundary) == coarse.graph.edge_index[1][coarse.graph.edge_index[0] == node].tolist()
        for other, length in boundary.items():
            back = {each["node"]: each["boundary_um"] for each in regions[other]["neighbours"]}
            assert back[node] == pytest.approx(length)
    for at, target in enumerate(("risk", "stage")):
        rows = [facts["targets"][at] for facts in regions]
        assert {row["target"] for row in rows} == {target}
        assert sum(abs(row["fraction"]) for row in rows) == pytest.approx(1)
        assert sorted(row["rank"] for row in rows) == list(range(1, len(regions) + 1))
    assert [facts["targets"][0]["attribution"] for facts in regions] == pytest.approx(explanation.node.tolist())


def test_a_crop_shows_the_slide_there(explained: TestClient, finished: Finished, regions: dict[str, Any]) -> None:
    node = regions["targets"][0]["order"][0]
    box = get(explained, finished, f"regions/{node}")["crop"]
    response = explained.get(f"/v1/jobs/{finished.job_id}/regions/{node}/crop.jpeg")
    assert response.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(response.content))
    assert max(picture.size) <= 514
    with read(finished.data / f"{finished.slide_id}.svs") as slide:
        whole = slide.read(Box(y0=box["y"], x0=box["x"], y1=box["y"] + box["height"], x1=box["x"] + box["width"]))
    expected = Image.fromarray(whole).resize(picture.size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(picture, np.float64) - np.asarray(expected, np.float64)).mean()
    # JPEG, and a box that begins between two pixels of the smaller picture
    assert difference < 12
    turned = np.abs(np.asarray(picture, np.float64) - np.asarray(expected, np.float64)[::-1]).mean()
    assert turned > 2 * difference
    points = np.concatenate([ring for polygon in rings(regions)[node] for ring in polygon])
    assert box["x"] <= points[:, 0].min()
    assert points[:, 0].max() <= box["x"] + box["width"]


def test_facts_are_those_of_the_prediction(explained: TestClient, finished: Finished) -> None:
    facts = get(explained, finished, "facts")
    prediction = load_prediction(finished.records / "prediction.json")
    explanation = load_explanation(finished.records / "explanation.safetensors")
    assert list(facts["prediction"]["stage"].values()) == pytest.approx(prediction.stage_probability.tolist(), abs=1e-5)
    assert facts["prediction"]["stage_set"] == list(prediction.stage_set)
    assert facts["prediction"]["survival"]["probability"] == pytest.approx(prediction.survival.tolist())
    assert facts["explanation"]["value"] == explanation.value
    for name, curve in explanation.curves.items():
        outputs = facts["explanation"]["curves"][name]["output"]
        assert outputs["attribution"] == pytest.approx(curve.output["attribution"].tolist(), rel=1e-4)
    assert facts["explanation"]["text"]
    assert facts["cohort"]["n_patients"] > 0
    assert facts["cohort"]["survival"] == sorted(facts["cohort"]["survival"], reverse=True)


def test_without_no_region_the_prediction_stands(explained: TestClient, finished: Finished) -> None:
    facts = get(explained, finished, "facts")["prediction"]
    response = ablate(explained, finished, top=0)
    assert (response["n_removed"], response["area_fraction"]) == (0, 0)
    assert response["prediction"]["stage"] == pytest.approx(facts["stage"], abs=1e-5)
    assert response["prediction"]["risk"] == pytest.approx(facts["risk"], abs=1e-5)


@pytest.mark.parametrize("target", ["risk", "stage"])
def test_the_top_regions_are_those_named(
    explained: TestClient, finished: Finished, regions: dict[str, Any], target: str
) -> None:
    order = next(each["order"] for each in regions["targets"] if each["target"] == target)
    top = ablate(explained, finished, top=TOP, target=target)
    named = ablate(explained, finished, nodes=order[:TOP][::-1])
    assert top == named
    assert top["n_removed"] == TOP
    area_mm2 = np.array(regions["area_mm2"])
    assert top["area_fraction"] == pytest.approx(area_mm2[order[:TOP]].sum() / area_mm2.sum(), rel=1e-3)


def test_taking_the_reasons_away_moves_the_risk_towards_the_baseline(explained: TestClient, finished: Finished) -> None:
    facts = get(explained, finished, "facts")
    towards = np.sign(facts["explanation"]["reference_value"] - facts["explanation"]["value"])
    # a few may be off tissue that the model never saw; most of the slide's reasons are not
    response = ablate(explained, finished, top=60, target="risk")["prediction"]["risk"]
    assert (response - facts["prediction"]["risk"]) * towards > 0.05
    coarse = load_coarse_graph(finished.records / "coarse.safetensors")
    explanation = load_explanation(finished.records / "explanation.safetensors")
    assert response == pytest.approx(predict_ablated(coarse, 60, explanation=explanation).risk, abs=1e-5)


def test_the_last_region_stays(explained: TestClient, finished: Finished, regions: dict[str, Any]) -> None:
    n = regions["n_regions"]
    response = ablate(explained, finished, nodes=list(range(n)))
    assert sum(response["prediction"]["stage"].values()) == pytest.approx(1, abs=1e-4)


def test_a_slider_can_be_followed(explained: TestClient, finished: Finished) -> None:
    ablate(explained, finished, top=1)
    start = time.process_time()
    for top in range(2, 12):
        ablate(explained, finished, top=top)
    # processor time of this process, so that the load of the machine does not count
    assert (time.process_time() - start) / 10 < 0.2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("regions/9999", 404),
        ("regions/-1", 422),
        ("regions/9999/crop.jpeg", 404),
        ("regions?level=13", 422),
        ("regions?level=x", 422),
        ("regions/1e3", 422),
    ],
)
def test_what_is_not_there_is_said(explained: TestClient, finished: Finished, path: str, status: int) -> None:
    response = explained.get(f"/v1/jobs/{finished.job_id}/{path}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


@pytest.mark.parametrize(
    ("ablation_request", "status"),
    [
        ({}, 422),
        ({"top": 1, "nodes": [1]}, 422),
        ({"top": -1}, 422),
        ({"top": 1, "target": "fate"}, 422),
        ({"nodes": [9999]}, 404),
        ({"nodes": [1], "path": "/etc/passwd"}, 422),
        ({"nodes": ["1; drop"]}, 422),
    ],
)
def test_a_wrong_ablation_request_is_refused(
    explained: TestClient, finished: Finished, ablation_request: dict[str, Any], status: int
) -> None:
    response = explained.post(f"/v1/jobs/{finished.job_id}/ablation", json=ablation_request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_the_former_address_of_ablations_still_answers(explained: TestClient, finished: Finished) -> None:
    response = explained.post(f"/v1/jobs/{finished.job_id}/without", json={"top": 1})
    assert response.status_code == 200
    assert response.json() == ablate(explained, finished, top=1)


def test_jobs_that_are_not_there_or_not_done(explained: TestClient, finished: Finished) -> None:
    assert explained.get(f"/v1/jobs/{'0' * 20}/regions").status_code == 404
    waiting = explained.post("/v1/jobs", json={"slide_id": finished.slide_id, "kind": "predict"}).json()
    response = explained.get(f"/v1/jobs/{waiting['job_id']}/facts")
    assert response.status_code == 409
    assert "queued" in response.json()["detail"]


def test_a_token_is_needed_where_there_are_tokens(finished: Finished) -> None:
    with TestClient(create_app(make_context(finished.data, tokens=tokens())), base_url="http://127.0.0.1") as client:
        path = f"/v1/jobs/{finished.job_id}/regions/0"
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer("read")).status_code == 200


def test_another_model_shows_and_does_not_predict(finished: Finished) -> None:
    other: Any = SimpleNamespace(model_id="another")
    slide = JobResults(finished.records, other, None, (2.0, 3.0, 6000))
    assert slide.describer.region(0)["fraction"] is not None
    with pytest.raises(Conflict, match="now runs another"):
        slide.ablate(np.array([1]))


COLD = """
import sys, threading
from pathlib import Path
from fastapi.testclient import TestClient
from tests.service.contexts import make_context
from wsigraph.service.app import create_app

found = {}
with TestClient(create_app(make_context(Path(sys.argv[1]))), base_url="http://127.0.0.1") as client:
    assert "torch" not in sys.modules
    def ask(path):
        found[path] = client.get(path).status_code
    paths = ["/", *(f"/v1/jobs/{sys.argv[2]}/{part}" for part in ("facts", "regions", "regions/0"))]
    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
assert set(found.values()) == {200}, found
"""


def test_the_first_questions_may_come_all_at_once(finished: Finished) -> None:
    """In a fresh process, where each of them would import what explanations need."""
    command = [sys.executable, "-c", COLD, str(finished.data), finished.job_id]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
