"""Results of a run are served, and results of the service are read as a cohort."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import make_context
from tests.service.finished import Finished
from wsigraph import cohort
from wsigraph.errors import CohortError, ServiceError
from wsigraph.service.app import create_app
from wsigraph.service.run_import import import_run

MANIFEST = "slide_id,patient_id,path,stage,time_days,event\n"


@pytest.fixture
def run(tmp_path: Path, finished: Finished) -> tuple[Path, Path]:
    """A data directory with the slide, and the directory of a run on it."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    shutil.copy(finished.data / f"{finished.slide_id}.svs", data)
    shutil.copytree(finished.records, out / finished.slide_id)
    return data, out


def test_results_of_a_run_are_jobs_with_everything_that_the_page_shows(
    run: tuple[Path, Path], finished: Finished, explained: TestClient
) -> None:
    data, out = run
    context = make_context(data)
    (job_id,) = import_run(context, out).job_ids
    # at every start: the same job
    assert import_run(context, out).job_ids == [job_id]
    with TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        (job,) = client.get("/v1/jobs").json()["jobs"]
        assert (job["state"], job["kind"], job["target"], job["owner"]) == ("done", "explain", "risk", "run")
        assert job["mpp"] == pytest.approx(0.499, abs=1e-3)
        expected = explained.get(f"/v1/jobs/{finished.job_id}/facts").json()
        assert client.get(f"/v1/jobs/{job_id}/facts").json() == expected | {"job_id": job_id}
        for path in ("results/prediction.json", "regions?level=9", "overlay", "overlay/dzi_files/9/0_0.png"):
            assert client.get(f"/v1/jobs/{job_id}/{path}").status_code == 200, path
        assert client.get(f"/v1/jobs/{job_id}/regions/0/crop.jpeg").status_code == 200
        assert client.post(f"/v1/jobs/{job_id}/ablation", json={"top": 2}).json()["n_removed"] == 2
    assert (out / finished.slide_id / "prediction.json").is_file()


def test_a_run_that_was_repeated_gives_a_new_job(run: tuple[Path, Path], finished: Finished) -> None:
    data, out = run
    context = make_context(data)
    first = import_run(context, out).job_ids
    for name in ("explanation.safetensors", "explanation.json"):
        (out / finished.slide_id / name).unlink()
    again = import_run(context, out).job_ids
    assert again != first
    assert context.store.find(again[0]).kind == "predict"
    context.close()


def test_slides_that_are_not_served_are_named_and_a_folder_without_results_is_refused(
    run: tuple[Path, Path], finished: Finished, tmp_path: Path
) -> None:
    data, out = run
    (data / f"{finished.slide_id}.svs").unlink()
    context = make_context(data)
    assert import_run(context, out).not_served == [finished.slide_id]
    with pytest.raises(ServiceError, match="holds no <slide>/prediction"):
        import_run(context, data)
    context.close()


def test_results_of_the_service_are_read_as_a_cohort(finished: Finished, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        MANIFEST + f"{finished.slide_id},p1,{finished.slide_id}.svs,II,400,1\nother,p2,other.svs,I,90,0\n"
    )
    frame = cohort.load(finished.records.parents[1], manifest=manifest)
    assert frame["slide_id"].tolist() == [finished.slide_id]
    assert frame.attrs["left_out"] == ["other"]
    assert frame["risk"].notna().all()
    with pytest.raises(CohortError, match="pass manifest"):
        cohort.load(finished.records.parents[1])


def test_the_latest_job_of_a_slide_counts_and_two_models_are_refused(finished: Finished, tmp_path: Path) -> None:
    results, manifest = tmp_path / "results", tmp_path / "manifest.csv"
    manifest.write_text(MANIFEST + f"{finished.slide_id},p1,{finished.slide_id}.svs,II,400,1\n")
    for job_id in ("a" * 20, "b" * 20):
        directory = results / job_id / finished.slide_id
        directory.mkdir(parents=True)
        shutil.copy(finished.records / "prediction.json", directory)
    assert len(cohort.load(results, manifest=manifest)) == 1
    other = results / ("c" * 20) / "other"
    other.mkdir(parents=True)
    changed = _of_another_model(finished.records / "prediction.json")
    (other / "prediction.json").write_bytes(changed)
    with pytest.raises(CohortError, match="2 models"):
        cohort.load(results, manifest=manifest)


def _of_another_model(path: Path) -> bytes:
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from wsigraph.store import load_prediction, save_prediction

    prediction = replace(load_prediction(path), model_id="0" * 16)
    with TemporaryDirectory() as work:
        target = Path(work) / "prediction.json"
        save_prediction(prediction, target)
        return target.read_bytes()
