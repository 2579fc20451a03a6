"""Serve the results of ``wsigraph run``: each slide of the run becomes a finished job of the service.

Nothing is copied. A job is a link to the records of its slide, so the directory of the run has to stay where it is. A
run that was repeated since gives new jobs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from wsigraph.errors import ServiceError, StoreError
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import ServiceContext
from wsigraph.service.job_inputs import JobInputs
from wsigraph.service.jobs.schema import DONE, StoredJob, new_job
from wsigraph.store import load_prediction, load_slide_info, read_document
from wsigraph.store.atomic import writing

_log = logging.getLogger("wsigraph.service")
OWNER = "run"
"""Owner of the imported jobs."""
_PREDICTION, _EXPLANATION = "prediction.json", "explanation.safetensors"


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """What of a run is served.

    Attributes
    ----------
    job_ids : list of str
        Jobs, in the order of the slides' ids.
    not_served : list of str
        Slides that are not in the data directory of the service.
    """

    job_ids: list[str]
    not_served: list[str]


def import_run(context: ServiceContext, directory: Path) -> ImportedRun:
    """Make the results of a run available as finished jobs.

    Parameters
    ----------
    context : ServiceContext
        Context of the service.
    directory : Path
        Directory of a run, with one subdirectory for each slide.

    Returns
    -------
    ImportedRun
        A slide is found in the service by its path, else by its id.

    Raises
    ------
    ServiceError
        If the directory holds no prediction.
    StoreError
        If the database does not answer, or the directory of the service cannot be written.
    """
    directory = directory.absolute()
    records = sorted(path.parent for path in directory.glob(f"*/{_PREDICTION}"))
    if not records:
        raise ServiceError(
            f"--results {directory} holds no <slide>/{_PREDICTION}; expected a directory that 'wsigraph run' or "
            "'wsigraph predict' wrote"
        )
    entries = context.catalogue.slides()
    by_path, by_id = {str(entry.path.resolve()): entry for entry in entries}, {e.slide_id: e for e in entries}
    job_ids, not_served = [], []
    for record in records:
        try:
            info = load_slide_info(record / "slide.json")
            entry = by_path.get(str(Path(info.path).resolve())) or by_id.get(info.slide_id)
            if entry is None:
                not_served.append(info.slide_id)
                continue
            job_ids.append(_import_slide(context, record, entry, info.sha256, info.mpp))
        except StoreError as error:
            # a damaged record costs its slide, and the others are served
            _log.warning("the results in %s are not served: %s", record.name, error)
            not_served.append(record.name)
    return ImportedRun(job_ids, not_served)


def _import_slide(context: ServiceContext, record: Path, entry: Entry, sha256: str, mpp: float) -> str:
    prediction = load_prediction(record / _PREDICTION)
    is_explained = (record / _EXPLANATION).is_file()
    contents = [str(record), entry.slide_id, _file_digest(record / _PREDICTION)]
    target = ""
    if is_explained:
        target = str(read_document(record / "explanation.json")[1]["facts"]["target"])
        contents.append(_file_digest(record / "explanation.json"))
    key = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
    now = time.time()
    job = new_job(
        key=key,
        slide_key=key,
        slide_id=entry.slide_id,
        sha256=sha256,
        path=str(entry.path),
        kind="explain" if is_explained else "predict",
        target=target,
        owner=OWNER,
    )
    job = replace(job, state=DONE, fraction=1.0, completions=1, created_at=now, started_at=now, ended_at=now)
    job, _ = context.store.create(job, queue_max=2**31, owner_max=2**31)
    _link(context, job, record)
    header = read_document(record / _PREDICTION)[0]
    settings = hashlib.sha256(json.dumps(header.get("config", {}), sort_keys=True).encode()).hexdigest()
    context.inputs.save(
        job.job_id,
        JobInputs(
            mpp=mpp,
            model_id=prediction.model_id,
            model_name=prediction.model_name,
            model_version="",
            settings_digest=settings,
        ),
    )
    return job.job_id


def _link(context: ServiceContext, job: StoredJob, record: Path) -> None:
    link = context.job_directory(job)
    with writing(link):
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if link.is_symlink() and link.readlink() == record:
            return
        partial = link.with_name(f".{link.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        partial.symlink_to(record, target_is_directory=True)
        partial.replace(link)


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
