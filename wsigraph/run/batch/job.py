"""What goes to a worker and what comes back: small, plain and picklable; never pixels, records or open files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wsigraph.config import Config
from wsigraph.explanation.request import Question
from wsigraph.run.batch.lease import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at one slide, up to one stage.

    Attributes
    ----------
    run_id : str
        The run that it belongs to.
    slide_id : str
        The slide.
    path : str
        Its file, as the workers see it.
    mpp : float or None
        Pixel size that wins over the file's, um/px.
    sha256 : str or None
        What the file's digest must be.
    out : str
        Directory of the run, as the workers see it.
    config : Config
        Settings.
    model : str or None
        Model bundle; None for the one in `config`.
    until : str
        Last stage to carry out.
    seen_stale : Holder or None
        Lease that may be taken over.
    explain : Question or None
        What is to be explained, where anything is.
    must_be_self_contained : bool
        Whether the file came from a stranger and must name no other.
    """

    run_id: str
    slide_id: str
    path: str
    mpp: float | None
    sha256: str | None
    out: str
    config: Config
    model: str | None
    until: str
    seen_stale: Holder | None = None
    explain: Question | None = None
    must_be_self_contained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    status : str
        ``done``; ``failed``; ``held`` where another client works on the slide.
    worker : str
        Address of the worker.
    seconds : dict of str to float
        Wall time of the stages that were carried out.
    resumed : tuple of str
        Stages that were found done.
    mpx : float
        Pixels of level 0, in millions.
    elapsed_s : float
        Wall time of the whole job, s.
    busy_s : dict of str to float
        Time that each worker spent on the slide, s.
    peak_bytes : int
        Highest resident memory of the worker's process so far.
    stage, error, message : str
        Where and how it failed; empty where it did not.
    is_disk_full : bool
        Whether it failed for want of space.
    holder : Holder or None
        Who works on the slide, where that is another client.
    """

    status: Literal["done", "failed", "held"]
    worker: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    resumed: tuple[str, ...] = ()
    mpx: float = 0.0
    elapsed_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    stage: str = ""
    error: str = ""
    message: str = ""
    is_disk_full: bool = False
    holder: Holder | None = None
