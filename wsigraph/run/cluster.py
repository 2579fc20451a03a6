"""A dask cluster: processes or threads of this machine, an existing scheduler, or SLURM jobs.

`connect` yields the same kind of client for all of them. Workers only need the installed package; its version is
compared with the client's before any slide is submitted. `wsigraph.run.cluster_security` keeps other users out.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import wsigraph
from wsigraph.config.runtime import ClusterConfig
from wsigraph.errors import ClusterError, PluginError
from wsigraph.run import cluster_security

GPU = "GPU"
"""Name of the resource that a worker with a graphics card offers."""
KEEP_MEMORY = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
"""Dask setting with which worker processes keep the memory they free. By default they return every large array to the
system at once, and allocating it again takes a fifth of the time of a slide. Keeping it costs 0.1 GB per worker."""
_LOOPBACK = "127.0.0.1"
# the same as `cluster_security.private_scratch`, on the machine of the job
_JOB_SCRATCH = (
    'scratch="${TMPDIR:-/tmp}/wsigraph-$(id -u)"',
    'mkdir -m 700 "$scratch" 2>/dev/null || { [ -O "$scratch" ] && [ ! -L "$scratch" ]; } || scratch="$(mktemp -d)"',
    'export DASK_TEMPORARY_DIRECTORY="$scratch"',
)
_POLL_S = 0.2
_CONNECT_S, _CLOSE_S = 10, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A scheduler with workers.

    Attributes
    ----------
    client : distributed.Client
        Connected.
    kind : str
        ``cluster.kind`` of the settings.
    dashboard : str
        Address of the dashboard of the scheduler; empty if it has none.
    restock : callable or None
        Starts workers again up to the requested number, if one was lost or a job has ended; None if the workers were
        not started here.
    """

    client: Any
    kind: str
    dashboard: str
    restock: Callable[[], object] | None = None

    def workers(self) -> dict[str, int]:
        """Return the number of threads of every worker, by address."""
        return {str(address): int(threads) for address, threads in self.client.nthreads().items()}

    def offers(self, resource: str) -> bool:
        """Return whether a present worker offers a resource."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker.get("resources", {}).get(resource, 0) > 0 for worker in workers)

    def check_gpus(self, gpu_steps: Sequence[str]) -> None:
        """Check that a worker can carry out the steps that need a GPU.

        Parameters
        ----------
        gpu_steps : sequence of str
            ``batch.gpu_steps`` of the settings.

        Raises
        ------
        ClusterError
            If there are such steps and no worker offers a GPU.
        """
        if gpu_steps and not self.offers(GPU):
            raise ClusterError(
                f"batch.gpu_steps names {', '.join(gpu_steps)} and no worker offers the resource {GPU}; set "
                f"cluster.gpus, or start workers with --resources '{GPU}=1'"
            )


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Cluster]:
    """Start or join a cluster, wait for its first worker, and leave it at the end of the block.

    Parameters
    ----------
    config : ClusterConfig
        The kind of cluster and its settings.

    Yields
    ------
    Cluster
        With at least one worker of this version of wsigraph. At the end, what was started here is stopped; an existing
        scheduler keeps running.

    Raises
    ------
    ClusterError
        If the scheduler does not answer or has other certificates, no worker comes within ``cluster.wait_s``, a worker
        has no wsigraph or another version of it, or `wsigraph.run.cluster_security.check_cluster` finds a fault.
    PluginError
        If SLURM is requested and dask-jobqueue is not installed.
    """
    import dask

    # imported before its settings are changed: importing it reads its defaults, which would replace the changes
    from distributed import Client

    cluster_security.check_cluster(config)
    cluster_security.warn_if_insecure(config)
    # the supervisor reports a worker that dies or is restarted, once
    for name in ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # a slide whose worker dies twice is most likely the cause; the supervisor counts further attempts
    settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 1}
    if not config.is_foreign:
        settings["temporary-directory"] = cluster_security.private_scratch()
    with dask.config.set(settings), _started(config) as target:
        try:
            security = cluster_security.given_certificates(config) if config.is_foreign else None
            client = Client(target, timeout=_CONNECT_S, set_as_default=False, security=security)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no scheduler answers at {config.kind} ({_first_line(error)}); start one with 'dask scheduler', give "
                "another --cluster, or check that its certificates are those of cluster.tls_ca_file"
            ) from None
        try:
            restock = partial(target.scale, _n_workers(config)) if hasattr(target, "scale") else None
            cluster = Cluster(client=client, kind=config.kind, dashboard=_link(config, client), restock=restock)
            _await_worker(cluster, config.wait_s)
            _check_versions(cluster)
            yield cluster
        finally:
            client.close(timeout=5)


def _link(config: ClusterConfig, client: Any) -> str:
    """Return the address of the dashboard of the scheduler; empty if it has none."""
    if config.dashboard_port is None and not config.is_foreign:
        return ""
    link = str(client.dashboard_link or "")
    # dask returns the address at which workers reach the scheduler; the dashboard listens on loopback only
    return link if config.is_foreign else link.replace(str(urlsplit(link).hostname), _LOOPBACK)


def _n_workers(config: ClusterConfig) -> int:
    """Return how many worker processes are started, or requested from SLURM."""
    if config.kind == "slurm":
        return n_jobs(config) * _workers_of_a_job(config)
    return 1 if config.kind == "threads" else config.workers or n_cores()


def n_jobs(config: ClusterConfig) -> int:
    """Return the number of SLURM jobs to submit."""
    return -(-max(config.workers, 1) // config.slurm_cores)


def _workers_of_a_job(config: ClusterConfig) -> int:
    """Return the number of workers of each SLURM job, which share all workers evenly."""
    return -(-config.workers // n_jobs(config)) if config.workers else config.slurm_cores


def for_slides(config: ClusterConfig, n_slides: int) -> ClusterConfig:
    """Return the settings for a number of slides: SLURM is asked for no more workers than there are slides.

    Parameters
    ----------
    config : ClusterConfig
        The settings.
    n_slides : int
        Number of slides.

    Returns
    -------
    ClusterConfig
        Those with fewer workers, or the same. Workers of this machine are kept: idle ones help with large slides.
    """
    if config.kind != "slurm":
        return config
    workers = min(config.workers or config.slurm_cores, max(n_slides, 1))
    return config.model_copy(update={"workers": workers})


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def job_script(config: ClusterConfig) -> str:
    """Return the script of one SLURM job as it would be submitted.

    Parameters
    ----------
    config : ClusterConfig
        Its ``slurm_`` settings and `gpus` decide the script.

    Returns
    -------
    str
        A shell script; the address of the scheduler in it is a placeholder, because it is only known during the run.

    Raises
    ------
    PluginError
        If dask-jobqueue is not installed.
    """
    options = _job_options(config, cluster_security.planned_for_slurm(config))
    job = _jobqueue().slurm.SLURMJob(f"{options['protocol']}SCHEDULER:PORT", name="wsigraph", **options)
    return str(job.job_script())


@contextmanager
def _started(config: ClusterConfig) -> Iterator[Any]:
    """Yield the address or the cluster that a client connects to."""
    if config.is_foreign:
        yield config.kind
        return
    with ExitStack() as stack:
        if config.kind == "slurm":
            security = stack.enter_context(cluster_security.for_slurm(config))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            cluster = _slurm(config, security) if config.kind == "slurm" else _local(config)
        try:
            yield cluster
        finally:
            # a hanging thread prevents its cluster from closing; the work is done and the process ends anyway
            with suppress(TimeoutError):
                cluster.close(timeout=_CLOSE_S)


def _local(config: ClusterConfig) -> Any:
    import dask
    from distributed import Nanny, Security, SpecCluster

    from wsigraph.run.cluster_nodes import QuietWorker

    n_workers = config.workers or n_cores()
    uses_threads = config.kind == "threads"
    # threads of one process communicate through queues
    both: dict[str, Any] = {
        "protocol": "inproc://" if uses_threads else "tls://",
        "host": None if uses_threads else _LOOPBACK,
        "security": Security(require_encryption=False) if uses_threads else cluster_security.make_certificate(),
    }
    options = both | {
        "nthreads": n_workers if uses_threads else 1,
        "resources": _resources(config),
        "memory_limit": f"{config.memory_gb}GB" if config.memory_gb else "auto",
        "silence_logs": logging.CRITICAL,
    }
    worker = {"cls": QuietWorker, "options": options}
    if not uses_threads:
        worker = {"cls": Nanny, "options": options | {"worker_class": QuietWorker}}
    with dask.config.set({} if uses_threads else KEEP_MEMORY):
        return SpecCluster(
            scheduler={"cls": _scheduler(config), "options": both | _dashboard(config)},
            workers=dict.fromkeys(range(1 if uses_threads else n_workers), worker),
            worker=worker,
            security=both["security"],
            silence_logs=logging.CRITICAL,
        )


def _scheduler(config: ClusterConfig) -> Any:
    """Return the class of the scheduler."""
    from distributed import Scheduler

    from wsigraph.run.cluster_nodes import QuietScheduler

    return QuietScheduler if config.dashboard_port is None else Scheduler


def _dashboard(config: ClusterConfig) -> dict[str, Any]:
    if config.dashboard_port is None:
        return {"dashboard": False, "dashboard_address": None}
    return {"dashboard": True, "dashboard_address": f"{_LOOPBACK}:{config.dashboard_port}"}


def _slurm(config: ClusterConfig, security: Any) -> Any:
    jobqueue = _jobqueue()
    cluster = jobqueue.SLURMCluster(
        scheduler_cls=_scheduler(config), scheduler_options=_dashboard(config), **_job_options(config, security)
    )
    cluster.scale(_n_workers(config))
    return cluster


def _jobqueue() -> Any:
    try:
        import dask_jobqueue
        import dask_jobqueue.slurm
    except ImportError as error:
        raise PluginError(
            f"--cluster slurm needs the package dask-jobqueue ({error}); install it with: pip install 'wsigraph[slurm]'"
        ) from None
    return dask_jobqueue


def _job_options(config: ClusterConfig, security: Any) -> dict[str, Any]:
    resources = [f"--resources '{name}={number}'" for name, number in _resources(config).items()]
    without_http = ["--no-dashboard", "--worker-class", "wsigraph.run.cluster_nodes.QuietWorker"]
    return {
        "queue": config.slurm_queue,
        "account": config.slurm_account,
        "cores": _workers_of_a_job(config),
        "processes": _workers_of_a_job(config),
        "memory": config.slurm_memory,
        "walltime": config.slurm_walltime,
        "interface": config.slurm_interface,
        "job_extra_directives": [*_gres(config), *config.slurm_directives],
        "job_script_prologue": [*_JOB_SCRATCH, *config.slurm_prologue],
        "worker_extra_args": [*without_http, *resources],
        "protocol": "tcp://" if security is None else "tls://",
        "security": security,
        "job_name": "wsigraph",
        "python": shlex.quote(sys.executable),
    }


def _gres(config: ClusterConfig) -> list[str]:
    """Return the directive that requests the GPUs of all workers of a job, unless the settings have their own."""
    if not config.gpus or any("gres" in line or "--gpus" in line for line in config.slurm_directives):
        return []
    return [f"--gres=gpu:{config.gpus * _workers_of_a_job(config)}"]


def _resources(config: ClusterConfig) -> dict[str, int]:
    return {GPU: config.gpus} if config.gpus else {}


def _await_worker(cluster: Cluster, wait_s: float) -> None:
    started = time.monotonic()
    while not cluster.workers():
        if wait_s and time.monotonic() - started > wait_s:
            raise ClusterError(
                f"no worker has joined {cluster.client.scheduler.address} within {wait_s:g} s; look at the queue, "
                "start one with 'dask worker ADDRESS', or raise cluster.wait_s"
            )
        time.sleep(_POLL_S)


def worker_version() -> str:
    """Return the version of wsigraph; called on a worker."""
    return wsigraph.__version__


def _check_versions(cluster: Cluster) -> None:
    for worker, version in cluster.client.run(worker_version, on_error="return").items():
        if version != wsigraph.__version__:
            what = f"runs wsigraph {version}" if isinstance(version, str) else f"cannot run it ({_first_line(version)})"
            raise ClusterError(
                f"worker {worker} {what}, expected wsigraph {wsigraph.__version__}; install the same wheel there"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
