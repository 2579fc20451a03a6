"""Service context: what the routes share (slides, images, jobs, uploads, settings) and where it is stored."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import Request

from wsigraph.config import Config
from wsigraph.errors import Conflict, ModelError, NotFound
from wsigraph.run.sandbox.sandbox import log_support
from wsigraph.service.catalogue import Catalogue, Entry
from wsigraph.service.image_cache import DescriptionCache, SlideImages
from wsigraph.service.image_store import ImageStore
from wsigraph.service.isolation.pool import IsolationPool
from wsigraph.service.job_inputs import JobInputs, JobInputsStore, model_identity
from wsigraph.service.jobs.schema import DONE, StoredJob, new_job
from wsigraph.service.jobs.store import JobStore
from wsigraph.service.jobs.supervisor import JobSupervisor
from wsigraph.service.jobs.webhook_sender import WebhookSender
from wsigraph.service.jobs.webhook_store import WebhookStore
from wsigraph.service.security.audit import Audit
from wsigraph.service.security.auth import Tokens
from wsigraph.service.security.oidc import OidcClient
from wsigraph.service.security.sessions import Sessions
from wsigraph.service.turns import SlideTurns
from wsigraph.service.upload_checks import UploadChecks
from wsigraph.service.upload_store import UploadStore
from wsigraph.store.atomic import writing

STATE = ".wsigraph"
"""Subdirectory of the data directory for uploads, results, jobs and the audit log."""
_SECTIONS_WITHOUT_EFFECT = ("runtime", "cluster", "batch", "service")
_DIGEST_S = 3600.0
_IMAGE_THREADS = 64
# routes of the API look like paths, and are left as they are
_ABSOLUTE_PATH = re.compile(r"(?<![\w./:<>])(?!/v1/|/viewer/)(?:/[^\s/'\",:;()<>]+){2,}")
_ABLATION_NICENESS, _CHECK_NICENESS, _DIGEST_NICENESS = 5, 10, 15
_ABLATION = "wsigraph.service.isolation.ablation_worker"


@dataclass(eq=False, kw_only=True)
class ServiceContext:
    """The state of one service.

    Attributes
    ----------
    config : Config
        Settings.
    data, state : Path
        Directory of slides, and directory of the service.
    model : Path or None
        Model bundle; None for the one in `config`, or else the demonstration model.
    serves_associated : bool
        Whether labels and macro images are served.
    tokens : Tokens
        Valid tokens. Empty on loopback, where every client is the administrator.
    pool, check_pool, digest_pool, ablation_pool : IsolationPool
        Isolated processes that open slides for images, and one each that checks uploads, computes digests, and predicts
        without some regions. The last three step back for the first when the CPU is busy.
    catalogue, pictures, store
        Slides, their images, and jobs.
    dispatcher : JobSupervisor or None
        Runs jobs; None if another service with the same database runs them.
    inputs : JobInputsStore
        What jobs were made from.
    uploads : UploadStore
        Uploaded files.
    oidc : OidcClient or None
        Signs browsers in through a provider; None without ``service.oidc_issuer``.
    sessions : Sessions
        Sessions of signed-in browsers.
    webhooks : WebhookSender
        Tells allowed hosts of the ends of jobs.
    upload_checks : UploadChecks
        Checks of complete uploads.
    audit : Audit
        Audit log.
    turns : SlideTurns
        Decides which image is rendered next. Its threads are apart from those of other requests.
    overlay_descriptions : DescriptionCache
        Layers and size of the overlays of finished jobs.
    """

    config: Config
    data: Path
    state: Path
    model: Path | None
    serves_associated: bool
    tokens: Tokens
    pool: IsolationPool
    check_pool: IsolationPool
    digest_pool: IsolationPool
    ablation_pool: IsolationPool
    catalogue: Catalogue
    images: SlideImages
    store: JobStore
    inputs: JobInputsStore
    uploads: UploadStore
    audit: Audit
    turns: SlideTurns
    webhooks: WebhookSender = field(init=False)
    upload_checks: UploadChecks = field(init=False)
    sessions: Sessions = field(init=False)
    supervisor: JobSupervisor | None = None
    oidc: OidcClient | None = None
    overlay_descriptions: DescriptionCache = field(default_factory=lambda: DescriptionCache(1024))

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.config.service.session_h * 3600.0)
        self.webhooks = WebhookSender(WebhookStore(self.store), self.config.service)
        self.upload_checks = UploadChecks(self.uploads, self._check_upload, self.catalogue.forget)

    def _check_upload(self, path: Path, owner: str) -> None:
        self.check_pool.request({"op": "check", "path": str(path)}, caller=owner)

    def without_paths(self, text: str) -> str:
        """Return a text for a response: of each path of the machine, only the last part is left."""
        for folder in self.private_paths:
            text = text.replace(f"{folder}/", "")
        return _ABSOLUTE_PATH.sub(lambda match: match.group().rpartition("/")[2], text)

    @property
    def results(self) -> Path:
        """Directory of the results, with one subdirectory for each job."""
        return self.state / "results"

    @property
    def private_paths(self) -> tuple[str, ...]:
        """Directories that no response may name, longest first."""
        return str(self.results), str(self.state), str(self.data)

    def slide_digest(self, entry: Entry) -> str:
        """Return the SHA-256 of a slide. It is computed once for every version of the file.

        Raises
        ------
        UnreadableSlide
            If the slide cannot be read.
        """
        sha256 = self.store.find_digest(entry.version)
        if sha256 is None:
            response, _ = self.digest_pool.request({"op": "digest", "path": str(entry.path)}, time_s=_DIGEST_S)
            sha256 = str(response["sha256"])
            self.store.save_digest(entry.version, sha256)
        return sha256

    def make_job(self, entry: Entry, kind: str, target: str, owner: str, mpp: float | None = None) -> StoredJob:
        """Return a new job on a slide. It is not stored yet.

        Parameters
        ----------
        entry : Entry
            The slide.
        kind, target : str
            ``predict`` and an empty target, or ``explain`` and its target.
        owner : str
            Name of the principal that starts it.
        mpp : float, optional
            Pixel size that overrides the file's, um/px.

        Returns
        -------
        StoredJob
            Equal requests on the same version of a file have equal keys. The digest of a slide may take minutes, so it
            is only stated if it is known; else the job computes it.
        """
        sha256 = self.store.find_digest(entry.version) or ""
        slide_key = _digest(
            [entry.slide_id, entry.version, mpp, model_id(self.model_directory), _settings_digest(self.config)]
        )
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

    def job_inputs(self, mpp: float | None) -> JobInputs:
        """Return what a job would be made from now.

        Parameters
        ----------
        mpp : float or None
            Pixel size of the slide, um/px.
        """
        model = model_identity(self.model_directory)
        return JobInputs(
            mpp=mpp,
            model_id=model.model_id,
            model_name=model.name,
            model_version=model.version,
            settings_digest=_settings_digest(self.config),
        )

    @property
    def model_directory(self) -> Path:
        """Directory of the model bundle."""
        from wsigraph import model

        return self.model or Path(self.config.model.path or Path(model.__file__).parent / "shipped")

    def job_directory(self, job: StoredJob) -> Path:
        """Return the directory of the records of a job."""
        return self.results / job.job_id / job.slide_id

    def done_directory(self, job_id: str) -> Path:
        """Return the directory of the records of a finished job.

        Raises
        ------
        NotFound
            If there is no such job, or its results were removed.
        Conflict
            If it has not finished.
        """
        job = self.store.find(job_id)
        if job.state != DONE:
            raise Conflict(f"job {job_id!r} is {job.state}; its results are available when it is done")
        directory = self.job_directory(job)
        if not directory.is_dir():
            raise NotFound(f"the results of job {job_id!r} were removed; start it again with POST /v1/jobs")
        return directory

    def job_slide(self, job: StoredJob) -> Entry:
        """Return the catalogue entry of the slide of a job.

        Raises
        ------
        NotFound
            If the slide was removed.
        """
        return self.catalogue.find(job.slide_id)

    def start(self) -> None:
        """Start the isolated processes, and connect to the workers in the background."""
        log_support(runs_jobs_in_sandbox=self.config.service.sandbox)
        self.pool.warm()
        threading.Thread(target=lambda: self.images.keep_only(self.catalogue.slides()), daemon=True).start()
        self.upload_checks.start()
        if self.supervisor is not None:
            self.supervisor.start()
        self.webhooks.start()

    def close(self) -> None:
        """Stop all processes and close all files."""
        if self.supervisor is not None:
            self.supervisor.close()
        self.webhooks.close()
        self.upload_checks.close()
        for pool in (self.pool, self.check_pool, self.digest_pool, self.ablation_pool):
            pool.close()
        self.store.close()
        self.audit.close()


def open_context(
    data: Path,
    config: Config,
    *,
    model: Path | None = None,
    tokens: Tokens | None = None,
    serves_associated: bool = False,
    runs_jobs: bool = True,
    state: Path | None = None,
    only: Path | None = None,
) -> ServiceContext:
    """Return the context of a service on a data directory. Nothing is started yet.

    Parameters
    ----------
    data : Path
        Directory of slides.
    config : Config
        Settings.
    model : Path, optional
        Model bundle.
    tokens : Tokens, optional
        Valid tokens.
    serves_associated : bool, optional
        Whether labels and macro images are served.
    runs_jobs : bool, optional
        Whether jobs run here; else another service with the same database runs them.
    state : Path, optional
        Directory of the service; ``data/.wsigraph`` if left out.
    only : Path, optional
        The one slide of `data` that is served.

    Returns
    -------
    ServiceContext
        Call `close` at the end.

    Raises
    ------
    ConfigError
        If the settings of the OpenID Connect provider are not complete.
    ModelError
        If `model` is not a model bundle.
    PluginError
        If the database's driver, or authlib where it is needed, is not installed.
    ServiceError
        If `data` is not a directory.
    StoreError
        If the directory of the service cannot be written, or the database does not answer.
    """
    oidc = OidcClient(config.service) if config.service.oidc_issuer else None
    data = data.absolute()
    state = data / STATE if state is None else state.absolute()
    catalogue = Catalogue(data, state / "uploads", only)
    with writing(state):
        for folder in (state, state / "uploads", state / "results"):
            folder.mkdir(mode=0o700, exist_ok=True)
    pool = IsolationPool(config.service, slide=config.slide)
    context = ServiceContext(
        config=config,
        data=data,
        state=state,
        model=None if model is None else model.absolute(),
        serves_associated=serves_associated,
        tokens=tokens or Tokens(),
        oidc=oidc,
        pool=pool,
        check_pool=IsolationPool(config.service, 1, niceness=_CHECK_NICENESS, slide=config.slide),
        digest_pool=IsolationPool(config.service, 1, niceness=_DIGEST_NICENESS),
        ablation_pool=IsolationPool(config.service, 1, module=_ABLATION, niceness=_ABLATION_NICENESS),
        catalogue=catalogue,
        images=SlideImages(
            pool,
            config.service,
            ImageStore(state / "images", int(config.service.image_store_mb * 1e6)),
            config.slide,
        ),
        turns=SlideTurns(config.service.slide_processes, CapacityLimiter(_IMAGE_THREADS)),
        inputs=JobInputsStore(state / "results"),
        uploads=UploadStore(state / "uploads", config.service),
        audit=Audit(state / "audit.log", int(config.service.audit_max_mb * 1e6)),
        store=JobStore(config.service.database or f"sqlite:///{state / 'jobs.sqlite'}", config.service.database_time_s),
    )
    model_id(context.model_directory)
    if runs_jobs:
        context.supervisor = JobSupervisor(context.store, context.results, config, context.model)
    return context


def service_context(request: Request) -> ServiceContext:
    """Return the context of the service that handles a request."""
    context: ServiceContext = request.app.state.service
    return context


def model_id(directory: Path) -> str:
    """Return a digest of the files of a model bundle.

    Parameters
    ----------
    directory : Path
        Model bundle.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ModelError
        If it is not a model bundle.
    """
    files = sorted(path for path in directory.glob("*") if path.suffix in (".json", ".safetensors"))
    if not {"card.json", "model.safetensors"} <= {path.name for path in files}:
        raise ModelError(
            f"{directory} is not a model bundle, expected card.json and model.safetensors; give another --model"
        )
    return _digest([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files])


def _settings_digest(config: Config) -> str:
    """Return a digest of the settings that change results."""
    return _digest(config.model_dump(mode="json", exclude=set(_SECTIONS_WITHOUT_EFFECT)))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
