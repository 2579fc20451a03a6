"""Whether a run has nothing left to do, found out in this process, so that no cluster is started for it.

Every slide is resumed with all checks of a worker: records count as done only if their headers name the inputs and
settings that would be used now. The first slide with work to do ends the search. The digest of a slide needs its bytes,
so slides that are large in total are left to the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def finished_marks(
    rows: Sequence[ManifestRow],
    out: Path,
    config: Config,
    *,
    until: str,
    model: str | None = None,
    tile_px: int | None = None,
    missing_mpp: float | None = None,
) -> dict[str, str] | None:
    """Return the marks of forced slides, by name, if all slides have all records up to a step.

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
    dict of str to str or None
        None where work is left, and where a slide cannot be read, or another client works on it: the workers then
        report it.
    """
    named = [row for row in rows if row.source is not None]
    last = STEPS[until].files
    if not all((out / row.slide_id / name).exists() for row in named for name in last):
        return None
    if sum(_bytes(row.source) for row in named) > config.batch.digest_max_gb * 1e9:
        return None
    marks = {}
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
            marks[row.slide_id] = mark
    return marks


def _bytes(path: Path | None) -> float:
    """Return the size of a file; of a folder, more than any limit, because it is not read here."""
    if path is None or not path.is_file():
        return float("inf")
    return path.stat().st_size
