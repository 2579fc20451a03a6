"""The sections of the settings that may change how fast a result is computed, never the result.

The device of the networks is one of them: on a GPU their outputs differ within a stated tolerance
(`wsigraph.graph.device`).

They are left out of every hash, so a run that was started on one machine can be continued on a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

ENCRYPTED = ("tls://", "wss://")
"""How the addresses of schedulers begin that speak TLS."""


class Section(BaseModel):
    """A frozen section that refuses unknown keys.

    Attributes
    ----------
    renamed_keys : mapping of str to str
        Keys of the version before and what they are called now; read, never written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed_keys: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _rename_keys(cls, values: Any) -> Any:
        if not (cls.renamed_keys and isinstance(values, Mapping)):
            return values
        return {cls.renamed_keys.get(key, key): value for key, value in values.items()}


class RuntimeConfig(Section):
    """Chunks, threads, memory and device; never part of a hash."""

    chunk_px: int = Field(2048, ge=64, le=65536, description="side of one task's pixels at working mpp")
    threads: int = Field(0, ge=0, le=1024, description="threads for the pixel steps; 0 uses all allowed cores")
    memory_gb: float = Field(
        0.0,
        ge=0.0,
        le=65536.0,
        description="memory for pixels being processed, GB; chunks become smaller if needed; 0 is no limit",
    )
    device: str = Field(
        "cpu",
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$",
        description="where networks run: cpu, cuda, cuda:1, mps, or auto, the first GPU there is",
    )


class ClusterConfig(Section):
    """Where a cohort is processed; never part of a hash."""

    kind: str = Field(
        "local",
        pattern=r"^(local|threads|slurm|(tcp|tls|ucx|ws|wss)://\S+)$",
        description="local (processes), threads (this process), slurm, or a scheduler's address such as tls://HOST:PORT",
    )
    workers: int = Field(
        0, ge=0, le=100000, description="workers of one thread each; 0 is one a core allowed, with slurm one job"
    )
    memory_gb: float = Field(
        0.0,
        ge=0.0,
        le=65536.0,
        description="memory of a local worker, GB, beyond which it is restarted; 0 divides the memory of the machine",
    )
    gpus: int = Field(0, ge=0, le=64, description="GPUs each worker offers, as the resource GPU (see batch.gpu_steps)")
    wait_s: float = Field(600.0, ge=0.0, le=1e7, description="time without any worker before giving up, s; 0 is never")
    dashboard_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port of the dashboard, on loopback, where every user of this machine may look at it; 0 takes any "
        "that is free, null is no dashboard",
    )
    tls_ca_file: str | None = Field(
        None, description="certificate (PEM) that signed those of a tls:// scheduler or SLURM's workers"
    )
    tls_cert_file: str | None = Field(None, description="own certificate (PEM), signed by that of tls_ca_file")
    tls_key_file: str | None = Field(
        None, description="key (PEM) of tls_cert_file, which others may not read; null where that file holds it too"
    )
    insecure: bool = Field(
        False,
        description="allow a scheduler (tcp://HOST:PORT) or SLURM jobs without TLS: whoever reaches their ports runs "
        "code as you; warned of at every start",
    )
    slurm_queue: str | None = Field(None, description="partition that jobs are submitted to")
    slurm_account: str | None = Field(None, description="account that jobs are charged to")
    slurm_walltime: str = Field(
        "08:00:00", pattern=r"^[0-9:-]+$", description="time limit of a job; slides in flight at its end are done again"
    )
    slurm_cores: int = Field(8, ge=1, le=1024, description="workers of one thread each in a job")
    slurm_memory: str = Field("32GB", pattern=r"^[0-9.]+ ?[KMGT]i?B$", description="memory of a job")
    slurm_interface: str | None = Field(None, description="network interface of the workers, e.g. ib0")
    slurm_shared_dir: str | None = Field(
        None, description="directory that jobs see, for the certificates made for a run; null is the current one"
    )
    slurm_directives: tuple[str, ...] = Field((), description="further #SBATCH lines, e.g. --gres=gpu:1")
    slurm_prologue: tuple[str, ...] = Field((), description="shell lines before the workers start, e.g. module load")

    @model_validator(mode="after")
    def _check_encryption(self) -> ClusterConfig:
        if (self.tls_ca_file is None) != (self.tls_cert_file is None):
            raise ValueError("tls_ca_file and tls_cert_file belong together; give both or neither")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file is the key of tls_cert_file; give that and tls_ca_file too")
        if not self.is_foreign:
            return self
        if self.kind.startswith(ENCRYPTED):
            if self.tls_ca_file is None:
                raise ValueError(
                    f"{self.kind} takes certificates; give cluster.tls_ca_file, cluster.tls_cert_file and "
                    "cluster.tls_key_file"
                )
        elif not self.insecure:
            raise ValueError(
                f"{self.kind} is not encrypted: whoever reaches that scheduler or its workers runs code as you; use "
                "tls://HOST:PORT with cluster.tls_ca_file, cluster.tls_cert_file and cluster.tls_key_file, or accept "
                "it with cluster.insecure=true"
            )
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether the scheduler is somebody else's."""
        return "://" in self.kind

    @property
    def is_insecure(self) -> bool:
        """Whether the settings come to work without TLS beyond this machine's own processes."""
        if self.is_foreign:
            return not self.kind.startswith(ENCRYPTED)
        return self.kind == "slurm" and self.insecure and self.tls_ca_file is None


class BatchConfig(Section):
    """How the slides of a cohort are scheduled and monitored; never part of a hash."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"share_min_mpx": "split_min_mpx", "gpu_stages": "gpu_steps"}

    attempts: int = Field(2, ge=1, le=10, description="times a slide is tried, on another worker where there is one")
    final_errors: tuple[str, ...] = Field(
        ("MissingMpp", "NoTissue", "NotHE", "TooLarge"),
        description="classes of error that another attempt would not change",
    )
    stall_s: float = Field(
        1800.0, ge=0.0, le=1e6, description="a slide without progress for this long hangs: its worker is restarted, s"
    )
    digest_max_gb: float = Field(
        20.0,
        ge=0.0,
        le=1e6,
        description="slides with a stated digest are read before the run where they hold at most this, else by the "
        "workers, GB",
    )
    max_in_flight: int = Field(256, ge=1, le=5000, description="most slides handed out at once")
    split_min_mpx: float = Field(
        16.0, gt=0.0, le=1e6, description="work left in a step from which idle workers take a part of it, Mpx"
    )
    gpu_steps: tuple[str, ...] = Field((), description="steps that only workers with the resource GPU run")
    lease_beat_s: float = Field(10.0, gt=0.0, le=600.0, description="time between updates of a lease file, s")
    lease_stale_s: float = Field(
        90.0, gt=0.0, le=86400.0, description="a lease that is not updated for this long is taken over, s"
    )
    report_s: float = Field(
        10.0, gt=0.0, le=86400.0, description="time between lines of progress without a terminal, s"
    )

    @model_validator(mode="after")
    def _check_lease(self) -> BatchConfig:
        if self.lease_stale_s < 3 * self.lease_beat_s:
            raise ValueError("lease_stale_s must be at least three times lease_beat_s")
        return self
