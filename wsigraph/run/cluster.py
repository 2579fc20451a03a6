"""A dask cluster to work on: processes or threads of this machine, a scheduler that is already there, or SLURM jobs.

`connect` yields a client in the same shape for all of them. Workers need nothing but the installed package; what they
say of their version is compared with this one's before any slide is handed out.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import wsigraph
from wsigraph.config.runtime import ClusterConfig
from wsigraph.errors import ClusterError, PluginError

GPU = "GPU"
"""Name of the resource that a worker with a graphics card offers."""
KEEPS_MEMORY = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
"""Dask's setting under which worker processes keep the memory they free. By its default they hand every large array
back at once, and taking it anew costs a fifth of the time of a slide; kept, it is some 0.1 GB a worker."""
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
        Address of the scheduler's dashboard; empty where it has none.
    restock : callable or None
        Brings the workers up to the number asked for, where one was lost for good or a job has ended; None where they
        are somebody else's.
    """

    client: Any
    kind: str
    dashboard: str
    restock: Callable[[], object] | None = None

    def workers(self) -> dict[str, int]:
        """Return the threads of every worker by its address."""
        return {str(address): int(threads) for address, threads in self.client.nthreads().items()}

    def offers(self, resource: str) -> bool:
        """Return whether a worker that is there now offers a resource."""
        found = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker.get("resources", {}).get(resource, 0) > 0 for worker in found)


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Cluster]:
    """Start or join a cluster, wait for its first worker, and leave it at the end of the block.

    Parameters
    ----------
    config : ClusterConfig
        What to work on.

    Yields
    ------
    Cluster
        With at least one worker of this version of wsigraph. What was started here is stopped at the end; a scheduler
        that was there before stays.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, no worker comes within ``cluster.wait_s``, or a worker has no wsigraph or
        another version of it.
    PluginError
        If SLURM is asked for and dask-jobqueue is not installed.
    """
    import dask

    # imported before its settings are touched: what is set before its defaults are read is taken back with them
    from distributed import Client

    # a worker that dies or is restarted is told of once, by whoever looks after the slides
    for name in ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # a slide whose worker dies twice is most likely the cause; further attempts are counted by whoever hands it out
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), _started(config) as made:
        try:
            client = Client(made, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no scheduler answers at {config.kind} ({_first_line(error)}); start one with 'dask scheduler' or "
                "give another --cluster"
            ) from None
        try:
            restock = partial(made.scale, _n_workers(config)) if hasattr(made, "scale") else None
            cluster = Cluster(client=client, kind=config.kind, dashboard=client.dashboard_link or "", restock=restock)
            _await_worker(cluster, config.wait_s)
            _check_versions(cluster)
            yield cluster
        finally:
            client.close(timeout=5)


def _n_workers(config: ClusterConfig) -> int:
    """Return how many worker processes are started, or asked of SLURM."""
    if config.kind == "slurm":
        return n_jobs(config) * config.slurm_cores
    return 1 if config.kind == "threads" else config.workers or n_cores()


def n_jobs(config: ClusterConfig) -> int:
    """Return how many SLURM jobs are submitted."""
    return -(-max(config.workers, 1) // config.slurm_cores)


def n_cores() -> int:
    """Return how many cores this process may use."""
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
        A shell script; the scheduler's address in it is only known once the run has begun.

    Raises
    ------
    PluginError
        If dask-jobqueue is not installed.
    """
    job = _jobqueue().slurm.SLURMJob("tcp://SCHEDULER:PORT", name="wsigraph", **_job_options(config))
    return str(job.job_script())


@contextmanager
def _started(config: ClusterConfig) -> Iterator[Any]:
    """Yield what a client connects to."""
    if config.kind not in ("local", "threads", "slurm"):
        yield config.kind
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        made = _slurm(config) if config.kind == "slurm" else _local(config)
    try:
        yield made
    finally:
        # a thread that hangs keeps its cluster from closing; what was to be done is done, and the process ends anyway
        with suppress(TimeoutError):
            made.close(timeout=_CLOSE_S)


def _local(config: ClusterConfig) -> Any:
    import dask
    from distributed import LocalCluster

    n_workers = config.workers or n_cores()
    options: dict[str, Any] = {
        "dashboard_address": f"127.0.0.1:{config.dashboard_port}",
        "silence_logs": logging.CRITICAL,
        "resources": _resources(config),
        "memory_limit": f"{config.memory_gb}GB" if config.memory_gb else "auto",
    }
    if config.kind == "threads":
        return LocalCluster(n_workers=1, threads_per_worker=n_workers, processes=False, **options)
    with dask.config.set(KEEPS_MEMORY):
        return LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True, host="127.0.0.1", **options)


def _slurm(config: ClusterConfig) -> Any:
    jobqueue = _jobqueue()
    cluster = jobqueue.SLURMCluster(
        scheduler_options={"dashboard_address": f":{config.dashboard_port}"}, **_job_options(config)
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


def _job_options(config: ClusterConfig) -> dict[str, Any]:
    resources = [f"--resources '{name}={number}'" for name, number in _resources(config).items()]
    return {
        "queue": config.slurm_queue,
        "account": config.slurm_account,
        "cores": config.slurm_cores,
        "processes": config.slurm_cores,
        "memory": config.slurm_memory,
        "walltime": config.slurm_walltime,
        "interface": config.slurm_interface,
        "job_extra_directives": list(config.slurm_directives),
        "job_script_prologue": list(config.slurm_prologue),
        "worker_extra_args": resources,
        "job_name": "wsigraph",
        "python": sys.executable,
    }


def _resources(config: ClusterConfig) -> dict[str, int]:
    return {GPU: config.gpus} if config.gpus else {}


def _await_worker(cluster: Cluster, wait_s: float) -> None:
    started = time.monotonic()
    while not cluster.workers():
        if wait_s and time.monotonic() - started > wait_s:
            raise ClusterError(
                f"no worker has come to {cluster.client.scheduler.address} within {wait_s:g} s; look at the queue, "
                "start one with 'dask worker ADDRESS', or raise cluster.wait_s"
            )
        time.sleep(_POLL_S)


def worker_version() -> str:
    """Return the version of wsigraph that a worker runs; carried out there."""
    return wsigraph.__version__


def _check_versions(cluster: Cluster) -> None:
    for worker, met in cluster.client.run(worker_version, on_error="return").items():
        if met != wsigraph.__version__:
            what = f"runs wsigraph {met}" if isinstance(met, str) else f"cannot run it ({_first_line(met)})"
            raise ClusterError(
                f"worker {worker} {what}, expected wsigraph {wsigraph.__version__}; install the same wheel there"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
