"""A cohort from manifest to summary: the one function that ``wsigraph run`` and the recipes call."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph import __version__
from wsigraph.config import Config
from wsigraph.errors import ConfigError
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.engine import Engine
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.run_state import EVERY_S, StateFile
from wsigraph.run.batch.summary import write_failures, write_summary
from wsigraph.run.batch.tally import Tally
from wsigraph.run.batch.work import carry_out
from wsigraph.run.cluster import Cluster, connect
from wsigraph.run.slide_run import check_encoder, load_model
from wsigraph.run.steps import STEPS

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import Manifest

_CHECKPOINT_S = 10.0

Watch = Callable[[Tally, list[Active]], None]
"""Told about four times a second what has come so far and what is in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came of a run; the rest lies in its directory.

    Attributes
    ----------
    out : Path
        Directory of the run.
    summary : dict
        What ``summary.json`` holds.
    """

    out: Path
    summary: dict[str, Any]

    @property
    def n_failed(self) -> int:
        """Slides that could not be done."""
        return int(self.summary["failed"])


def run_cohort(
    manifest: Manifest,
    out: Path | str,
    config: Config | None = None,
    *,
    until: str = "report",
    model: Path | str | None = None,
    watch: Watch | None = None,
    started: Callable[[Cluster], None] | None = None,
    work: Callable[[Job], Outcome] = carry_out,
) -> RunResult:
    """Work through the slides of a manifest on a cluster.

    Parameters
    ----------
    manifest : Manifest
        The slides.
    out : Path or str
        Directory of the run, on a file system that client and workers share; each slide has its own below it.
    config : Config, optional
        Settings; ``cluster`` and ``batch`` say where and how, the others decide the records.
    until : str
        Last stage to carry out.
    model : Path or str, optional
        Model bundle, as the workers see it; by default the one in `config`, else the demonstration model.
    watch : callable, optional
        Told about four times a second how far the run is.
    started : callable, optional
        Told of the cluster once it has a worker.
    work : callable
        What a worker does with a slide; another function of the same shape serves tests and measurements.

    Returns
    -------
    RunResult
        The summary; slides that failed are counted in it and listed in ``failures.parquet``.

    Raises
    ------
    ConfigError
        If `until` or ``batch.gpu_steps`` names no stage.
    ClusterError
        If the cluster cannot be reached, is of another version or goes away.
    PluginError
        If SLURM or an encoder is asked for and not installed.
    ModelError
        If the model is damaged; met before any slide is handed out.
    StoreError
        If the directory cannot be written, or the disk is full.
    """
    settings, out = config or Config(), Path(out).absolute()
    check_steps(until, settings)
    _check_model(until, settings, model)
    run_id = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(3)}"
    circumstances = {
        "manifest": str(manifest.path),
        "until": until,
        "cluster": settings.cluster.kind,
        "wsigraph": __version__,
    }
    state = StateFile(out, run_id, circumstances)
    state.write(Tally(total=len(manifest.rows)).snapshot())
    with connect(settings.cluster) as cluster:
        state.add({"dashboard": cluster.dashboard})
        if started is not None:
            started(cluster)
        books = _Books(state, out, watch)
        engine = Engine(
            cluster,
            settings,
            out,
            run_id,
            until=until,
            model=None if model is None else str(Path(model).absolute()),
            watch=books.keep,
            work=work,
        )
        standing = "stopped"
        try:
            engine.run(manifest.rows)
            standing = "finished"
        except KeyboardInterrupt:
            standing = "interrupted"
            raise
        finally:
            summary = books.close(engine.tally, {**circumstances, "standing": standing})
    return RunResult(out=out, summary=summary)


def check_steps(until: str, settings: Config) -> None:
    """Check the names of stages.

    Parameters
    ----------
    until : str
        Last stage of a run.
    settings : Config
        ``batch.gpu_steps`` names stages too.

    Raises
    ------
    ConfigError
        If one is unknown.
    """
    for option, step in (("--until", until), *(("batch.gpu_steps", step) for step in settings.batch.gpu_steps)):
        if step not in STEPS:
            raise ConfigError(f"{option}: step {step!r} is unknown; expected one of {', '.join(STEPS)}")


def _check_model(until: str, settings: Config, model: Path | str | None) -> None:
    """Check what would fail every slide, before a cluster is started."""
    check_encoder(settings)
    if STEPS[until].needs_model:
        load_model(model, settings)


class _Books:
    """Keeps the run's own files up to date while it lasts."""

    def __init__(self, state: StateFile, out: Path, watch: Watch | None) -> None:
        self._state = state
        self._out = out
        self._watch = watch
        self._told_at = self._checked_at = float("-inf")
        self._n_failures = 0

    def keep(self, tally: Tally, active: list[Active]) -> None:
        """Write what is due and hand on to whoever watches."""
        now = time.monotonic()
        if now - self._told_at > EVERY_S:
            self._told_at = now
            self._state.write({**tally.snapshot(), "active": [_to_json(slide) for slide in active if slide.step]})
        if len(tally.failures) != self._n_failures and now - self._checked_at > _CHECKPOINT_S:
            self._checked_at, self._n_failures = now, len(tally.failures)
            write_failures(tally.failures, self._out)
        if self._watch is not None:
            self._watch(tally, active)

    def close(self, tally: Tally, circumstances: dict[str, Any]) -> dict[str, Any]:
        """Write how the run has ended and return its summary."""
        snapshot = tally.snapshot()
        self._state.write(snapshot, ended=circumstances["standing"])
        write_failures(tally.failures, self._out)
        write_summary(snapshot, circumstances, self._out)
        return {**circumstances, **snapshot}


def _to_json(active: Active) -> dict[str, Any]:
    return {
        "slide_id": active.row.slide_id,
        "stage": active.step,
        "fraction": round(active.fraction, 3),
        "worker": active.worker,
    }
