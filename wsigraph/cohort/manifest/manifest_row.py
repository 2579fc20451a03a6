"""One row of a manifest, and one fault of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COLUMNS = (
    "slide_id",
    "patient_id",
    "site",
    "path",
    "mpp",
    "stage",
    "grade",
    "time_days",
    "event",
    "split",
    "sha256",
    "roi",
    "features",
    "organ",
)
"""Columns with a meaning, in the order of a written manifest; all others are free."""

_CELL_SHOWN = 80
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One slide in a manifest.

    Attributes
    ----------
    line : int
        Line of the file on which the row begins; the header is line 1.
    slide_id : str
        Name of the slide in outputs.
    patient_id : str
        The patient; the slide's own name if the cell is empty.
    site : str or None
        Hospital or scanner site.
    path : Path or None
        Slide file or folder, absolute; None if the cell is empty.
    mpp : float or None
        Pixel size at full resolution, um/px, to use instead of the file's.
    stage : str or None
        One of the stages in the settings.
    grade : str or None
        Differentiation grade.
    time_days : float or None
        Follow-up until event or censoring, days, >= 0.
    event : bool or None
        Whether the event was observed.
    split : str or None
        Split of the study, e.g. ``train``.
    sha256 : str or None
        Digest of the slide's bytes, 64 lower-case hexadecimal digits.
    roi : Path or None
        File of regions outside which no tissue is used, absolute.
    features : Path or None
        Feature file of an encoder, absolute; alone, it takes the place of the slide.
    organ : str or None
        Organ of the section, compared with that of a model.
    free : mapping of str to str
        Cells of the other columns, as text.
    """

    line: int
    slide_id: str
    patient_id: str
    site: str | None
    path: Path | None
    mpp: float | None
    stage: str | None
    grade: str | None
    time_days: float | None
    event: bool | None
    split: str | None
    sha256: str | None
    free: Mapping[str, str]
    roi: Path | None = None
    features: Path | None = None

    @property
    def source(self) -> Path | None:
        """What the slide is read from: its file, else its feature file; None where the row names neither."""
        return self.path or self.features

    organ: str | None = None

    @property
    def follow_up_days(self) -> float | None:
        """Follow-up that survival is learned and scored from, days; None unless it is above 0 with a known event."""
        return self.time_days if self.time_days and self.event is not None else None


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault in a manifest.

    Attributes
    ----------
    line : int
        Line of the file, the header being 1; 0 for the file as a whole.
    column : str
        Column of the fault; empty for the row as a whole.
    slide_id : str
        The row's slide; empty if unknown.
    message : str
        What is wrong, what is expected and what to do.
    """

    line: int
    column: str
    slide_id: str
    message: str

    def __str__(self) -> str:
        slide = f" ({self.slide_id[:_CELL_SHOWN]})" if self.slide_id else ""
        place = f"line {self.line}{slide}: " if self.line else ""
        text = place + (f"{self.column[:_CELL_SHOWN]}: " if self.column else "") + self.message
        # a cell may hold line ends or terminal control characters
        return _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)


def quote(cell: str) -> str:
    """Return a cell for messages: in quotes, and shortened if it is very long."""
    return repr(cell if len(cell) <= _CELL_SHOWN else f"{cell[:_CELL_SHOWN]}...")


def patient_digest(patient: str) -> str:
    """Return the digest that a model stores for a patient, 16 hexadecimal characters.

    Parameters
    ----------
    patient : str
        As in the manifest's column ``patient_id``.

    Returns
    -------
    str
        The same for the same name everywhere. It is no protection of a name that can be guessed.

    Examples
    --------
    >>> patient_digest("TCGA-B0-5710") == patient_digest("TCGA-B0-5710")
    True
    >>> len(patient_digest("TCGA-B0-5710"))
    16
    """
    return hashlib.sha256(f"patient {patient}".encode()).hexdigest()[:16]
