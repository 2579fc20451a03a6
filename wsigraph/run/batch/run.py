"""A cohort from the manifest to the summary: the function behind ``wsigraph run``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph import __version__
from wsigraph.config import Config
from wsigraph.errors import ConfigError, StoreError
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.finished_run import finished_slides
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.manifest_source import ManifestSource
from wsigraph.run.batch.run_state import EVERY_S, StateFile
from wsigraph.run.batch.slide_supervisor import SlideSupervisor
from wsigraph.run.batch.summary import write_failures, write_summary
from wsigraph.run.batch.tally import Tally
from wsigraph.run.batch.work import carry_out
from wsigraph.run.cluster import Cluster, connect, for_slides
from wsigraph.run.slide_run import check_networks, load_model
from wsigraph.run.steps import STEPS

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import Manifest

_CHECKPOINT_S = 10.0

Watch = Callable[[Tally, list[Active]], None]
"""Called about four times a second with the tally and the slides in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Result of `run_cohort`; everything else is in the directory of the run.

    Attributes
    ----------
    out : Path
        Directory of the run.
    summary : dict
        Content of ``summary.json``.
    """

    out: Path
    summary: dict[str, Any]

    @property
    def n_failed(self) -> int:
        """Number of slides that failed."""
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
    tile_px: int | None = None,
    missing_mpp: float | None = None,
) -> RunResult:
    """Process the slides of a manifest on a cluster.

    Parameters
    ----------
    manifest : Manifest
        The slides.
    out : Path or str
        Directory of the run, on a file system that client and workers share. Each slide has its own directory in it.
    config : Config, optional
        Settings. The sections ``cluster`` and ``batch`` do not change the records.
    until : str
        Last step to carry out.
    model : Path or str, optional
        Model bundle, as the workers see it; by default the one in `config`, else the demonstration model.
    watch : callable, optional
        Called about four times a second with the tally and the slides in flight.
    started : callable, optional
        Called with the cluster as soon as it has a worker.
    work : callable
        Function that a worker applies to a slide; tests and benchmarks pass others.
    tile_px : int, optional
        Side of the tiles of feature files that do not state it, level-0 pixels.
    missing_mpp : float, optional
        Pixel size where neither file nor manifest states one, um/px.

    Returns
    -------
    RunResult
        The summary. It counts the slides that failed; ``failures.parquet`` lists them.

    Raises
    ------
    ConfigError
        If `until` or ``batch.gpu_steps`` names no step.
    ClusterError
        If the cluster cannot be reached, runs another version, or stops.
    PluginError
        If SLURM or an encoder is requested and not installed.
    ModelError
        If the model is damaged; checked before any slide is submitted.
    StoreError
        If the directory cannot be written, or the disk is full.
    """
    settings, out = config or Config(), Path(out).absolute()
    check_steps(until, settings)
    _check_model(until, settings, model)
    run_id = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(3)}"
    circumstances = {
        "manifest": str(Path(manifest.path).absolute()),
        "until": until,
        "cluster": settings.cluster.kind,
        "wsigraph": __version__,
    }
    state = StateFile(out, run_id, circumstances)
    state.write(Tally(total=len(manifest.rows)).snapshot())
    n_slides = sum(row.source is not None for row in manifest.rows)
    model = None if model is None else str(Path(model).absolute())
    finished = None
    if work is carry_out:
        named = (manifest.rows, out, settings)
        finished = finished_slides(*named, until=until, model=model, tile_px=tile_px, missing_mpp=missing_mpp)
    if finished is not None:
        tally = Tally(total=len(manifest.rows), marked=finished.marked, withheld=finished.withheld)
        tally.without_file = len(manifest.rows) - n_slides
        for _ in range(n_slides):
            tally.count_skipped()
        return RunResult(
            out=out, summary=_RunFiles(state, out, watch).close(tally, {**circumstances, "status": "finished"})
        )
    with connect(for_slides(settings.cluster, n_slides)) as cluster:
        state.add({"dashboard": cluster.dashboard})
        if started is not None:
            started(cluster)
        files = _RunFiles(state, out, watch)
        source = ManifestSource(
            manifest.rows,
            settings,
            out,
            run_id,
            until=until,
            model=model,
            tile_px=tile_px,
            missing_mpp=missing_mpp,
        )
        status = "stopped"
        try:
            _work_through(source, cluster, settings, work, files)
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            summary = files.close(source.tally, {**circumstances, "status": status})
    return RunResult(out=out, summary=summary)


def _work_through(
    source: ManifestSource, cluster: Cluster, settings: Config, work: Callable[[Job], Outcome], files: _RunFiles
) -> None:
    supervisor = SlideSupervisor(cluster, source, settings, work=work)
    try:
        while supervisor.turn():
            files.update(source.tally, supervisor.flying)
    finally:
        supervisor.leave()
    if source.disk_full:
        raise StoreError(source.disk_full)


def check_steps(until: str, settings: Config) -> None:
    """Check the names of steps.

    Parameters
    ----------
    until : str
        Last step of a run.
    settings : Config
        ``batch.gpu_steps`` names steps too.

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
    check_networks(settings, here=settings.cluster.kind in ("local", "threads"))
    if STEPS[until].needs_model:
        load_model(model, settings)


class _RunFiles:
    """Keeps state, failures and summary of a run up to date."""

    def __init__(self, state: StateFile, out: Path, watch: Watch | None) -> None:
        self._state = state
        self._out = out
        self._watch = watch
        self._written_at = self._checked_at = float("-inf")
        self._n_failures = 0

    def update(self, tally: Tally, active: list[Active]) -> None:
        """Write the files that are due, and call `watch`."""
        now = time.monotonic()
        if now - self._written_at > EVERY_S:
            self._written_at = now
            self._state.write({**tally.snapshot(), "active": [_to_json(slide) for slide in active if slide.step]})
        if len(tally.failures) != self._n_failures and now - self._checked_at > _CHECKPOINT_S:
            self._checked_at, self._n_failures = now, len(tally.failures)
            write_failures(tally.failures, self._out)
        if self._watch is not None:
            self._watch(tally, active)

    def close(self, tally: Tally, circumstances: dict[str, Any]) -> dict[str, Any]:
        """Write how the run has ended and return its summary."""
        snapshot = tally.snapshot()
        self._state.write(snapshot, ended=circumstances["status"])
        write_failures(tally.failures, self._out)
        write_summary(snapshot, circumstances, self._out)
        return {**circumstances, **snapshot}


def _to_json(active: Active) -> dict[str, Any]:
    return {
        "slide_id": active.row.slide_id,
        "step": active.step,
        "fraction": round(active.fraction, 3),
        "worker": active.worker,
    }
