"""What the routes share: the slides, their pictures, the jobs, and where each lies on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import Request

from wsigraph.config import Config
from wsigraph.errors import Conflict, ModelError, NotFound
from wsigraph.service.catalogue import Catalogue, Entry
from wsigraph.service.isolation.pool import ReadingPool
from wsigraph.service.jobs.dispatch import Dispatcher
from wsigraph.service.jobs.schema import DONE, StoredJob, new_job
from wsigraph.service.jobs.store import JobStore
from wsigraph.service.security.audit import Audit
from wsigraph.service.security.auth import Tokens
from wsigraph.service.tile_cache import Pictures, Remembered
from wsigraph.service.upload_store import Uploads
from wsigraph.store.atomic import writing

STATE = ".wsigraph"
"""Directory below the data where the service keeps uploads, results, jobs and its audit log."""
_SECTIONS = ("runtime", "cluster", "batch", "service")
_DIGEST_S = 3600.0
_TURNS = 32


@dataclass(eq=False, kw_only=True)
class House:
    """One service.

    Attributes
    ----------
    config : Config
        Settings.
    data, state : Path
        Directory of slides, and the service's own.
    model : Path or None
        Model bundle; None for the one in `config`, else the demonstration model.
    serves_associated : bool
        Whether labels and macro images are served.
    tokens : Tokens
        Who may ask; empty where everybody may, which is on loopback alone.
    pool, digesting : ReadingPool
        Processes that open slides, and the one that reads them whole.
    catalogue, pictures, store
        Slides, their pixels, jobs.
    dispatcher : Dispatcher or None
        Runs jobs; None where another service of the same database does.
    uploads : Uploads
        Slides on their way in.
    audit : Audit
        Who did what.
    turns : CapacityLimiter
        Requests that may wait for a picture at a time in threads of their own, so that no other waits behind them.
    n_streams : int
        Streams of events that are open.
    told : Remembered
        What is worth remembering of finished jobs.
    """

    config: Config
    data: Path
    state: Path
    model: Path | None
    serves_associated: bool
    tokens: Tokens
    pool: ReadingPool
    digesting: ReadingPool
    catalogue: Catalogue
    pictures: Pictures
    store: JobStore
    uploads: Uploads
    audit: Audit
    dispatcher: Dispatcher | None = None
    turns: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_TURNS))
    n_streams: int = 0
    told: Remembered = field(default_factory=lambda: Remembered(1024))

    @property
    def results(self) -> Path:
        """Directory of the results, one below it a job."""
        return self.state / "results"

    @property
    def private_paths(self) -> tuple[str, ...]:
        """Directories that no answer names, the longest first."""
        return str(self.results), str(self.state), str(self.data)

    def digest_of(self, entry: Entry) -> str:
        """Return the SHA-256 of a slide; read once for every version of the file.

        Raises
        ------
        UnreadableSlide
            If it does not read.
        """
        known = self.store.known_digest(entry.version)
        if known is None:
            answer, _ = self.digesting.ask({"op": "digest", "path": str(entry.path)}, time_s=_DIGEST_S)
            known = str(answer["sha256"])
            self.store.note_digest(entry.version, known)
        return known

    def make_job(self, entry: Entry, kind: str, target: str, owner: str, mpp: float | None = None) -> StoredJob:
        """Return a job on a slide, not stored yet.

        Parameters
        ----------
        entry : Entry
            The slide.
        kind, target : str
            ``predict`` and nothing, or ``explain`` and what.
        owner : str
            Who asks.
        mpp : float, optional
            Pixel size that wins over the file's, um/px.

        Returns
        -------
        StoredJob
            Equal wishes have equal keys.
        """
        sha256 = self.digest_of(entry)
        slide_key = _digest([entry.slide_id, sha256, mpp, model_id(self.model_directory), _settings(self.config)])
        return new_job(
            key=_digest([slide_key, kind, target]),
            slide_key=slide_key,
            slide_id=entry.slide_id,
            sha256=sha256,
            path=str(entry.path),
            mpp=mpp,
            kind=kind,
            target=target,
            owner=owner,
        )

    @property
    def model_directory(self) -> Path:
        """Where the model lies."""
        from wsigraph import model

        return self.model or Path(self.config.model.path or Path(model.__file__).parent / "shipped")

    def directory_of(self, job: StoredJob) -> Path:
        """Return where a job's records lie or will lie."""
        return self.results / job.job_id / job.slide_id

    def done_directory(self, job_id: str) -> Path:
        """Return where the records of a job lie that is done.

        Raises
        ------
        NotFound
            If there is no such job, or its results are gone.
        Conflict
            If it is not done.
        """
        job = self.store.find(job_id)
        if job.state != DONE:
            raise Conflict(f"job {job_id!r} is {job.state}; its results are there once it is done")
        directory = self.directory_of(job)
        if not directory.is_dir():
            raise NotFound(f"the results of job {job_id!r} are gone; start it again with POST /v1/jobs")
        return directory

    def slide_of(self, job: StoredJob) -> Entry:
        """Return the slide of a job, as it is now.

        Raises
        ------
        NotFound
            If it is gone.
        """
        return self.catalogue.find(job.slide_id)

    def start(self) -> None:
        """Start the processes that open slides, and look for workers in the background."""
        self.pool.warm()
        if self.dispatcher is not None:
            self.dispatcher.start()

    def close(self) -> None:
        """Stop what runs."""
        if self.dispatcher is not None:
            self.dispatcher.close()
        self.pool.close()
        self.digesting.close()
        self.store.close()
        self.audit.close()


def open_house(
    data: Path,
    config: Config,
    *,
    model: Path | None = None,
    tokens: Tokens | None = None,
    serves_associated: bool = False,
    runs_jobs: bool = True,
) -> House:
    """Return a service on a data directory; nothing runs yet.

    Parameters
    ----------
    data : Path
        Directory of slides.
    config : Config
        Settings.
    model : Path, optional
        Model bundle.
    tokens : Tokens, optional
        Who may ask.
    serves_associated : bool, optional
        Whether labels and macro images are served.
    runs_jobs : bool, optional
        Whether jobs are run here; else by another service of the same database.

    Returns
    -------
    House
        To be closed at the end.

    Raises
    ------
    ModelError
        If `model` is no model directory.
    PluginError
        If the database's driver is not installed.
    ServiceError
        If `data` is no directory.
    StoreError
        If the service's own directory cannot be written, or the database does not answer.
    """
    data = data.absolute()
    state = data / STATE
    catalogue = Catalogue(data, state / "uploads")
    with writing(state):
        for folder in (state, state / "uploads", state / "results"):
            folder.mkdir(mode=0o700, exist_ok=True)
    pool = ReadingPool(config.service)
    house = House(
        config=config,
        data=data,
        state=state,
        model=None if model is None else model.absolute(),
        serves_associated=serves_associated,
        tokens=tokens or Tokens(),
        pool=pool,
        digesting=ReadingPool(config.service, 1),
        catalogue=catalogue,
        pictures=Pictures(pool, config.service),
        uploads=Uploads(state / "uploads", config.service),
        audit=Audit(state / "audit.log", int(config.service.audit_max_mb * 1e6)),
        store=JobStore(config.service.database or f"sqlite:///{state / 'jobs.sqlite'}"),
    )
    model_id(house.model_directory)
    if runs_jobs:
        house.dispatcher = Dispatcher(house.store, house.results, config, house.model)
    return house


def house_of(request: Request) -> House:
    """Return the service that a request came to."""
    house: House = request.app.state.service
    return house


def model_id(directory: Path) -> str:
    """Return a digest of a model directory's files.

    Parameters
    ----------
    directory : Path
        The model.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ModelError
        If it holds no model.
    """
    files = sorted(path for path in directory.glob("*") if path.suffix in (".json", ".safetensors"))
    if not {"card.json", "model.safetensors"} <= {path.name for path in files}:
        raise ModelError(f"{directory} holds no model, expected card.json and model.safetensors; give another --model")
    return _digest([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files])


def _settings(config: Config) -> str:
    """Return a digest of what decides results; how fast they come does not."""
    return _digest(config.model_dump(mode="json", exclude=set(_SECTIONS)))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
