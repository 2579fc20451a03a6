"""A job is accepted at once, however large its slide: the digest is computed inside the job."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from fastapi.testclient import TestClient

from tests.service.contexts import make_context, write_slide
from tests.service.test_supervisor import until
from wsigraph.service.app import create_app
from wsigraph.service.jobs.schema import DONE

_SIX_GB = 6 * 10**9


def test_a_slide_of_six_gigabytes_is_accepted_at_once_by_all(tmp_path: Path) -> None:
    # a sparse tail: hashing it would take as long as that of any other file
    slide = write_slide(tmp_path / "large.tiff")
    os.truncate(slide, _SIX_GB)
    took: list[tuple[int, float]] = []
    with TestClient(create_app(make_context(tmp_path)), base_url="http://127.0.0.1") as client:
        client.get("/v1/slides/large")

        def post(number: int) -> None:
            began = time.monotonic()
            target = {"slide_id": "large", "kind": "explain", "target": f"survival@{365 * (number + 1)}"}
            took.append((client.post("/v1/jobs", json=target).status_code, time.monotonic() - began))

        threads = [threading.Thread(target=post, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"12 requests: {[round(seconds, 2) for _, seconds in took]} s")
    assert [status for status, _ in took] == [201] * 12
    assert max(seconds for _, seconds in took) < 5.0


def test_the_job_states_the_digest_and_the_service_keeps_it(tmp_path: Path) -> None:
    from wsigraph.run.batch.job import Job, Outcome

    def work(job: Job) -> Outcome:
        assert job.sha256 is None
        return Outcome(status="done", sha256="f" * 64)

    write_slide(tmp_path / "s.tiff")
    context = make_context(tmp_path, "cluster.kind=threads", "cluster.workers=1", runs_jobs=True)
    assert context.supervisor is not None
    context.supervisor._work = work
    try:
        entry = context.catalogue.find("s")
        job, _ = context.store.create(context.make_job(entry, "predict", "", "o"), queue_max=9, owner_max=9)
        context.supervisor.start()
        until(lambda: context.store.find(job.job_id).state == DONE, "it is done")
        until(lambda: context.store.find_digest(entry.version) == "f" * 64, "the digest is kept")
        assert context.store.find(job.job_id).sha256 == "f" * 64
        # an equal request is the same job, also now that the digest is known
        assert context.make_job(entry, "predict", "", "o").key == job.key
    finally:
        context.close()
