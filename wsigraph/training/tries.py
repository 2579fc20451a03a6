"""Counts the settings that were tried on a cohort, in whatever directory and by whatever option.

A model that was chosen among many by its held-out scores has scores that are too good, so the evaluation says how many
settings were tried. Each is a small file, ``tries/<cohort>/<settings>.json`` beside the graphs; a cohort is its set of
patients. The same settings again, or with another seed, are no new try.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from wsigraph.config import ModelConfig
from wsigraph.errors import StoreError
from wsigraph.store.atomic import write_file
from wsigraph.store.header import canonical_document

TRIES = "tries"
"""Directory of the settings that were tried, in the directory of the graphs."""

_log = logging.getLogger(__name__)


def cohort_key(patients: Iterable[str]) -> str:
    """Return the name of a cohort: a digest of the digests of its patients (`patient_digest`), in any order."""
    return hashlib.sha256("\n".join(sorted(set(patients))).encode()).hexdigest()[:16]


def note_tries(graphs: Path, cohort: str, configurations: Iterable[ModelConfig]) -> int:
    """Note settings as tried on a cohort.

    Parameters
    ----------
    graphs : Path
        Directory of the graphs.
    cohort : str
        From `cohort_key`.
    configurations : iterable of ModelConfig
        Settings that are tried now.

    Returns
    -------
    int
        Settings tried on this cohort so far, these included. If the directory cannot be written, a warning is logged
        and those of this run are not among them.
    """
    for config in configurations:
        content = canonical_document(config.model_dump(mode="json", exclude={"path"}))
        path = graphs / TRIES / cohort / f"{hashlib.sha256(content).hexdigest()[:16]}.json"
        if path.is_file():
            continue
        try:
            write_file(path, content)
        except StoreError as error:
            _log.warning("%s; the settings of this training are not counted as tried", error)
    return count_tries(graphs, cohort)


def count_tries(graphs: Path, cohort: str) -> int:
    """Return how many settings were tried on a cohort; 0 where none is noted."""
    return sum(1 for _ in (graphs / TRIES / cohort).glob("*.json"))
