"""A service with a job that is done, made without workers: the same flow, run where the service will look for it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.service.contexts import make_context
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.run.steps import run_slide
from wsigraph.service.context import ServiceContext

WILD = "<img src=x onerror=document.title='hit'>&\"'.svs"
"""A file name that would do harm where names are parsed as HTML."""


@dataclass(frozen=True)
class Finished:
    """A service's directory, the explained slide, and its job."""

    data: Path
    slide_id: str
    job_id: str
    records: Path


def finish(data: Path, slide: Path) -> Finished:
    """Put a slide into a data directory, explain it, and note that as a job that is done."""
    shutil.copy(slide, data / slide.name)
    shutil.copy(slide, data / WILD)
    service = make_context(data)
    try:
        entry = service.catalogue.find(slide.stem)
        job, _ = service.store.create(service.make_job(entry, "explain", "risk", "local"), queue_max=10, owner_max=10)
        service.inputs.save(job.job_id, service.job_inputs(0.499))
        (job,) = service.store.claim("test", 1, 600)
        directory = service.job_directory(job)
        run_slide(
            entry.path,
            directory.parent,
            service.config,
            slide_id=job.slide_id,
            explain=ExplanationRequest(target="risk"),
        )
        assert service.store.finish(job.job_id, "test", "done")
    finally:
        service.close()
    return Finished(data, job.slide_id, job.job_id, directory)


def opened(finished: Finished) -> ServiceContext:
    """The same service, started anew."""
    return make_context(finished.data)
