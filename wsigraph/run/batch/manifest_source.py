"""The rows of a manifest as slides for the supervisor; their outcomes are counts, times and rows of failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.config import Config
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder
from wsigraph.run.batch.source import Source
from wsigraph.run.batch.tally import Failure, Tally
from wsigraph.run.step_tasks import plan_tasks

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow


class ManifestSource(Source[Active]):
    """The slides of a cohort.

    Parameters
    ----------
    rows : sequence of ManifestRow
        The slides; those without a file are counted and left out.
    config : Config
        Settings.
    out : Path
        Directory of the run.
    run_id : str
        Identifies the run of this client.
    until : str
        Last step.
    model : str, optional
        Model bundle.
    tile_px : int, optional
        Side of the tiles of feature files that do not state it, level-0 pixels.
    missing_mpp : float, optional
        Pixel size where nothing else states one, um/px.

    Attributes
    ----------
    tally : Tally
        Counts, failures and times so far.
    disk_full : str
        Why no slide is started any more, if the disk is full.
    """

    def __init__(
        self,
        rows: Sequence[ManifestRow],
        config: Config,
        out: Path,
        run_id: str,
        *,
        until: str,
        model: str | None,
        tile_px: int | None = None,
        missing_mpp: float | None = None,
    ) -> None:
        self.until = until
        self.tally = Tally(total=len(rows))
        self.disk_full = ""
        self._config = config
        self._out = out
        self._run_id = run_id
        self._model = model
        self._tile_px, self._missing_mpp = tile_px, missing_mpp
        self._tasks = plan_tasks(until, config.batch.gpu_steps)
        self._rows = iter(rows)

    def limit(self, n_threads: int) -> int:
        """Return the largest number of slides in flight: two for each thread, so that no worker has to wait."""
        return min(self._config.batch.max_in_flight, max(2 * n_threads, 2))

    def claim(self, n: int) -> Iterator[Active]:
        """Yield the next rows that have a file, at most `n`."""
        while n > 0 and (row := next(self._rows, None)) is not None:
            if row.source is None:
                self.tally.without_file += 1
                continue
            n -= 1
            yield Active(row=row, run_id=self._run_id, tasks=self._tasks)

    def make_job(self, slide: Active, seen_stale: Holder | None) -> Job:
        """Return the current task of a slide."""
        row = slide.row
        return Job(
            run_id=self._run_id,
            slide_id=row.slide_id,
            path=None if row.path is None else str(row.path),
            features=None if row.features is None else str(row.features),
            tile_px=self._tile_px,
            mpp=row.mpp,
            missing_mpp=self._missing_mpp,
            sha256=row.sha256,
            out=str(self._out),
            config=self._config.with_organ(row.organ),
            model=self._model,
            until=slide.task.until,
            seen_stale=seen_stale,
            roi=None if row.roi is None else str(row.roi),
        )

    def count_attempt(self, slide: Active, outcome: Outcome) -> None:
        """Add the time of one task to its workers and, if it is done, to the steps of the slide."""
        self.tally.count_attempt(outcome)
        if outcome.status == "done":
            for step, seconds in outcome.seconds.items():
                slide.seconds[step] = slide.seconds.get(step, 0.0) + seconds
        if outcome.is_disk_full:
            # what is in flight may still end well; nothing new can
            self.is_closed = True
            self.disk_full = (
                f"the disk is full, at slide {slide.slide_id!r} ({outcome.message}); free some space and run the "
                "same command again to continue"
            )

    def finish(self, slide: Active, outcome: Outcome) -> None:
        """Count a slide that is done, or that was done before."""
        if outcome.mark:
            self.tally.marked[slide.slide_id] = outcome.mark
        if outcome.withheld:
            self.tally.withheld[slide.slide_id] = outcome.withheld
        if outcome.resumed and not set(slide.seconds) - {"read"}:
            self.tally.count_skipped()
        else:
            self.tally.count_done(slide.slide_id, outcome.worker, slide.seconds, outcome.mpx)

    def retry(self, _slide: Active) -> None:
        """Count a repeated attempt."""
        self.tally.retried += 1

    def fail(self, slide: Active, outcome: Outcome) -> None:
        """Add a row of ``failures.parquet``."""
        row = slide.row
        self.tally.failures.append(
            Failure(
                slide_id=row.slide_id,
                patient_id=row.patient_id,
                line=row.line,
                path=str(row.source),
                step=outcome.step,
                error=outcome.error,
                message=outcome.message,
                attempts=slide.attempt,
                worker=outcome.worker,
            )
        )
