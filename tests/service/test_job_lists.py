"""Lists of slides and jobs, batches, and what a job says it was made from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import make_context, write_slide
from tests.service.finished import Finished
from wsigraph.model.bundle import load_bundle
from wsigraph.service.app import create_app
from wsigraph.service.job_inputs import model_identity
from wsigraph.store import load_prediction

N_SLIDES = 5


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may take as long as a busy machine needs."""
    monkeypatch.setattr("wsigraph.service.routes.jobs._BATCH_S", 600.0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service with five slides, one of which has no pixel size, and no workers."""
    first = write_slide(tmp_path / "slide-0.tiff", 300, 300)
    for number in range(1, N_SLIDES - 1):
        shutil.copy(first, tmp_path / f"slide-{number}.tiff")
    write_slide(tmp_path / "no-mpp.tiff", 300, 300, mpp=None)
    with TestClient(create_app(make_context(tmp_path)), base_url="http://127.0.0.1") as client:
        yield client


def pages(client: TestClient, path: str, key: str, limit: int) -> list[list[dict]]:
    found, cursor = [], None
    while True:
        query = {"limit": limit, **({} if cursor is None else {"cursor": cursor})}
        page = client.get(path, params=query).json()
        found.append(page[key])
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def start(client: TestClient, *slide_ids: str, **request: str) -> dict:
    response = client.post("/v1/jobs/batch", json={"slide_ids": slide_ids, **request})
    assert response.status_code == 200, response.text
    return response.json()


def test_a_batch_starts_a_job_for_every_slide_and_says_where_not(client: TestClient) -> None:
    slides = [f"slide-{number}" for number in range(N_SLIDES - 1)]
    batch = start(client, *slides, "no-mpp", "nowhere", slides[0], kind="explain", target="stage")
    assert [job["slide_id"] for job in batch["jobs"]] == slides
    assert {(job["kind"], job["target"], job["state"]) for job in batch["jobs"]} == {("explain", "stage", "queued")}
    refused = {each["slide_id"]: (each["status"], each["error"]["kind"]) for each in batch["not_started"]}
    assert refused == {"no-mpp": (422, "MissingMpp"), "nowhere": (404, "NotFound")}
    # an equal batch finds the same jobs
    assert [job["job_id"] for job in start(client, *slides, kind="explain", target="stage")["jobs"]] == [
        job["job_id"] for job in batch["jobs"]
    ]
    assert client.get("/v1/jobs").json()["total"] == len(slides)
    assert client.post("/v1/jobs/batch", json={"slide_ids": []}).status_code == 422
    assert client.post("/v1/jobs/batch", json={"slide_ids": slides, "target": "mood"}).status_code == 422


def test_a_batch_stops_at_the_limit_of_the_queue_and_says_so(tmp_path: Path) -> None:
    for number in range(3):
        write_slide(tmp_path / f"s{number}.tiff", 300, 300, seed=number)
    context = make_context(tmp_path, "service.queue_owner_max=2")
    with TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        batch = start(client, "s0", "s1", "s2")
    assert len(batch["jobs"]) == 2
    assert [(each["slide_id"], each["status"]) for each in batch["not_started"]] == [("s2", 429)]


def test_pages_of_jobs_hold_each_job_once_while_new_ones_come(client: TestClient) -> None:
    slides = [f"slide-{number}" for number in range(N_SLIDES - 1)]
    made = {job["job_id"] for kind in ("predict", "explain") for job in start(client, *slides, kind=kind)["jobs"]}
    first = client.get("/v1/jobs?limit=3").json()
    assert first["total"] == len(made) == 8
    start(client, *slides, kind="explain", target="stage")
    rest = client.get("/v1/jobs", params={"limit": 100, "cursor": first["next_cursor"]}).json()
    assert rest["next_cursor"] is None
    listed = [job["job_id"] for job in first["jobs"] + rest["jobs"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == made
    assert [len(page) for page in pages(client, "/v1/jobs", "jobs", 5)] == [5, 5, 2]


def test_jobs_are_filtered_and_counted(client: TestClient) -> None:
    start(client, "slide-0", "slide-1", kind="predict")
    start(client, "slide-0", kind="explain", target="risk")
    for query, total in (
        ("kind=predict", 2),
        ("kind=explain&target=risk", 1),
        ("slide_id=slide-0", 2),
        ("slide_id=slide-0&kind=predict&state=queued", 1),
        ("owner=local", 3),
        ("owner=nobody", 0),
        ("state=done", 0),
    ):
        page = client.get(f"/v1/jobs?{query}").json()
        assert (page["total"], len(page["jobs"])) == (total, total), query


def test_slides_have_pages_filters_and_a_total(client: TestClient) -> None:
    assert [len(page) for page in pages(client, "/v1/slides", "slides", 2)] == [2, 2, 1]
    listed = [slide["slide_id"] for page in pages(client, "/v1/slides", "slides", 2) for slide in page]
    assert listed == ["no-mpp", "slide-0", "slide-1", "slide-2", "slide-3"]
    found = client.get("/v1/slides?name=SLIDE-&limit=1").json()
    assert (found["total"], len(found["slides"])) == (4, 1)
    assert client.get("/v1/slides?uploaded=true").json() == {"slides": [], "total": 0, "next_cursor": None}


@pytest.mark.parametrize("cursor", ["nothing", "e30", "WzFd", "W251bGwsIDFd"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/slides"])
def test_a_made_up_cursor_is_refused(client: TestClient, path: str, cursor: str) -> None:
    response = client.get(path, params={"cursor": cursor})
    assert (response.status_code, response.json()["title"]) == (422, "ConfigError")


def test_a_job_says_what_it_is_made_from(client: TestClient, tmp_path: Path) -> None:
    (job,) = start(client, "slide-0")["jobs"]
    assert job["mpp"] == pytest.approx(0.5)
    # a large slide is hashed by its job
    assert job["sha256"] is None or len(job["sha256"]) == 64
    assert len(job["settings_digest"]) == 64
    model = load_bundle(client.app.state.service.model_directory)  # type: ignore[attr-defined]
    assert job["model"]["id"] == model.model_id
    assert job["model"]["name"] == model.card.name
    other = client.post("/v1/jobs", json={"slide_id": "slide-0", "mpp": 0.25}).json()
    assert other["mpp"] == 0.25
    # other settings, another digest
    context = make_context(tmp_path, "superpixel.compactness=11")
    with TestClient(create_app(context), base_url="http://127.0.0.1") as changed:
        assert start(changed, "slide-0")["jobs"][0]["settings_digest"] != job["settings_digest"]


def test_the_model_of_a_job_is_that_of_its_prediction(explained: TestClient, finished: Finished) -> None:
    prediction = load_prediction(finished.records / "prediction.json")
    assert explained.get(f"/v1/jobs/{finished.job_id}").json()["model"]["id"] == prediction.model_id
    assert model_identity(explained.app.state.service.model_directory).model_id == prediction.model_id  # type: ignore[attr-defined]


def test_answers_leave_nothing_out_that_the_serializers_give(explained: TestClient, finished: Finished) -> None:
    from wsigraph.service.prediction_json import serialize_prediction
    from wsigraph.service.results import JobResultsCache
    from wsigraph.service.routes import serializers

    results = JobResultsCache(explained.app.state.service).find(finished.job_id)  # type: ignore[attr-defined]
    job = f"/v1/jobs/{finished.job_id}"
    facts = explained.get(f"{job}/facts").json()
    assert facts["explanation"] == serializers.serialize_explanation(results)
    assert facts["prediction"] == serialize_prediction(results.prediction)
    assert facts["cohort"] == serializers.serialize_cohort_survival(results)
    assert explained.get(f"{job}/regions/0").json() == serializers.serialize_region(results, 0)


def test_a_result_file_is_checked_by_its_tag(explained: TestClient, finished: Finished) -> None:
    address = f"/v1/jobs/{finished.job_id}/results/prediction.json"
    first = explained.get(address)
    again = explained.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = explained.head(address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))


def test_a_batch_that_takes_long_names_the_slides_to_send_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsigraph.service.routes.jobs._BATCH_S", -1.0)
    batch = start(client, "slide-0", "slide-1")
    assert batch["jobs"] == []
    assert [(each["slide_id"], each["status"]) for each in batch["not_started"]] == [("slide-0", 503), ("slide-1", 503)]
