"""Whether a run has nothing left to do, found out in this process, so that no cluster is started for it.

Every slide is resumed with all checks of a worker: records count as done only if their headers name the inputs and
settings that would be used now. The first slide with work to do ends the search. The digest of a slide needs its bytes,
so slides that are large in total are left to the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.config import Config
from wsigraph.errors import WsigraphError
from wsigraph.graph.tissue.suitability import find_marks
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.steps import STEPS, run_slide
from wsigraph.store.directory import WorkLeft

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest_row import ManifestRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSlides:
    """What the records of a finished run say of its slides.

    Attributes
    ----------
    marked : dict of str to str
        Slides that are no H&E sections and were forced, each with what its outputs say.
    withheld : dict of str to str
        Slides whose prediction is withheld, each with the reason.
    """

    marked: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)


def finished_slides(
    rows: Sequence[ManifestRow],
    out: Path,
    config: Config,
    *,
    until: str,
    model: str | None = None,
    tile_px: int | None = None,
    missing_mpp: float | None = None,
) -> FinishedSlides | None:
    """Return what the records of a run say, if all slides have all records up to a step.

    Parameters
    ----------
    rows : sequence of ManifestRow
        The slides.
    out : Path
        Directory of the run.
    config : Config
        Settings; slides beyond ``batch.digest_max_gb`` in total are not looked at, and the answer is None.
    until : str
        Last step.
    model : str, optional
        Model bundle.
    tile_px, missing_mpp
        As for `wsigraph.run.steps.run_slide`.

    Returns
    -------
    FinishedSlides or None
        None where work is left, and where a slide cannot be read, or another client works on it: the workers then
        report it.
    """
    named = [row for row in rows if row.source is not None]
    # a slide whose prediction is withheld is never explained, and its report is the last record
    last = STEPS["report" if until in ("explain", "page") else until].files
    if not all((out / row.slide_id / name).exists() for row in named for name in last):
        return None
    if sum(_bytes(row.source) for row in named) > config.batch.digest_max_gb * 1e9:
        return None
    finished = FinishedSlides()
    for row in named:
        if lease_path(out, row.slide_id).exists():
            return None
        try:
            result = run_slide(
                row.path,
                out,
                config.with_organ(row.organ),
                features=row.features,
                tile_px=tile_px,
                mpp=row.mpp,
                missing_mpp=missing_mpp,
                slide_id=row.slide_id,
                model=model,
                until=until,
                roi=row.roi,
                resume_only=True,
            )
        except (WorkLeft, WsigraphError, OSError):
            return None
        if mark := next(iter(find_marks(result.info.warnings)), ""):
            finished.marked[row.slide_id] = mark
        if result.withheld:
            finished.withheld[row.slide_id] = result.withheld
    return finished


def _bytes(path: Path | None) -> float:
    """Return the size of a file; of a folder, more than any limit, because it is not read here."""
    if path is None or not path.is_file():
        return float("inf")
    return path.stat().st_size
