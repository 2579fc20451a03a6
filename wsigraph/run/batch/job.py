"""What a worker receives and returns: small picklable values, never pixels, records or open files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wsigraph.config import Config
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.run.batch.lease import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at one slide, up to one step.

    Attributes
    ----------
    run_id : str
        Identifies the run.
    slide_id : str
        Name of the slide.
    path : str or None
        Slide file, as the workers see it; None for a feature file alone.
    mpp : float or None
        Pixel size that overrides the one in the file, um/px.
    sha256 : str or None
        Expected SHA-256 of the file.
    out : str
        Directory of the run, as the workers see it.
    config : Config
        Settings.
    model : str or None
        Model bundle; None means the one in `config`.
    until : str
        Last step to carry out.
    seen_stale : Holder or None
        Stale lease that may be taken over.
    explain : ExplanationRequest or None
        What to explain, if anything.
    roi : str or None
        File of regions, as the workers see it.
    must_be_self_contained : bool
        Whether the file was uploaded and must not refer to other files.
    max_mpx : float
        Largest number of pixels of level 0, Mpx; 0 is unlimited.
    max_s : float
        Longest time of one attempt in a sandbox, s; 0 is unlimited.
    memory_gb : float
        Memory of its process in a sandbox, GB; 0 is unlimited.
    threads : int
        Number of threads for the pixel steps.
    features : str or None
        Feature file, as the workers see it.
    tile_px : int or None
        Side of its tiles in level-0 pixels, where it does not state it.
    missing_mpp : float or None
        Pixel size where nothing else states one, um/px.
    """

    run_id: str
    slide_id: str
    path: str | None
    mpp: float | None
    sha256: str | None
    out: str
    config: Config
    model: str | None
    until: str
    seen_stale: Holder | None = None
    explain: ExplanationRequest | None = None
    roi: str | None = None
    must_be_self_contained: bool = False
    max_mpx: float = 0.0
    max_s: float = 0.0
    memory_gb: float = 0.0
    threads: int = 1
    features: str | None = None
    tile_px: int | None = None
    missing_mpp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a job.

    Attributes
    ----------
    status : str
        ``done``, ``failed``, or ``held`` if another client works on the slide.
    worker : str
        Address of the worker.
    seconds : dict of str to float
        Wall time in s of the steps that were carried out.
    resumed : tuple of str
        Steps that were done already.
    mpx : float
        Pixels of level 0, in millions.
    elapsed_s : float
        Wall time of the job, s.
    busy_s : dict of str to float
        Time that each worker spent on the slide, by address, s.
    peak_bytes : int
        Peak resident memory of the worker's process so far.
    step, error, message : str
        Step, class and message of the error; empty if it did not fail.
    is_disk_full : bool
        Whether it failed because the disk is full.
    holder : Holder or None
        The other client that works on the slide, if any.
    mark : str
        What every output of the slide says if it is no H&E section and was forced; empty otherwise.
    withheld : str
        Why the prediction of the slide is withheld; empty where it is given.
    sha256 : str
        SHA-256 of the slide's bytes, if it is done.
    """

    status: Literal["done", "failed", "held"]
    worker: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    resumed: tuple[str, ...] = ()
    mpx: float = 0.0
    elapsed_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    step: str = ""
    error: str = ""
    message: str = ""
    is_disk_full: bool = False
    holder: Holder | None = None
    mark: str = ""
    withheld: str = ""
    sha256: str = ""
