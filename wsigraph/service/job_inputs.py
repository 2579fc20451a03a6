"""What a job was made from: pixel size, model and settings, kept beside its results in ``inputs.json``."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cachetools import LRUCache

from wsigraph.errors import ModelError
from wsigraph.store.atomic import write_file

INPUTS_FILE = "inputs.json"
_MAX_CACHED = 10_000
_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model a job uses.

    Attributes
    ----------
    model_id : str
        Digest of card and weights, as in ``prediction.json``.
    name : str
        Name on the card.
    version : str
        First digits of the digest of the weights.
    """

    model_id: str
    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInputs:
    """What a job was made from.

    Attributes
    ----------
    mpp : float or None
        Pixel size of level 0, um/px.
    model_id, model_name, model_version : str
        The model, see `ModelIdentity`.
    settings_digest : str
        Digest of the settings that change results.
    """

    mpp: float | None
    model_id: str
    model_name: str
    model_version: str
    settings_digest: str


class JobInputsStore:
    """The inputs of jobs on disk. It is safe to use from several threads.

    Parameters
    ----------
    results : Path
        Directory of the results, with one subdirectory for each job.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._cache: LRUCache[str, JobInputs] = LRUCache(_MAX_CACHED)
        self._lock = threading.Lock()

    def find(self, job_id: str) -> JobInputs | None:
        """Return the inputs of a job; None for jobs of earlier versions, and for jobs whose results were removed."""
        with self._lock:
            inputs = self._cache.get(job_id)
        if inputs is None:
            try:
                stored = json.loads((self._results / job_id / INPUTS_FILE).read_bytes())
                inputs = JobInputs(**{field.name: stored[field.name] for field in fields(JobInputs)})
            except (OSError, ValueError, KeyError, TypeError):
                # of an earlier version, or damaged: a job is shown without them
                return None
            with self._lock:
                self._cache[job_id] = inputs
        return inputs

    def save(self, job_id: str, inputs: JobInputs) -> None:
        """Store the inputs of a job.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        write_file(self._results / job_id / INPUTS_FILE, json.dumps(asdict(inputs)).encode())


def model_identity(directory: Path) -> ModelIdentity:
    """Return id, name and version of a model bundle, without loading it.

    Parameters
    ----------
    directory : Path
        Model bundle.

    Returns
    -------
    ModelIdentity
        Its id is that of `wsigraph.model.bundle.ModelBundle`.

    Raises
    ------
    ModelError
        If it is not a model bundle.
    """
    try:
        card, weights = (directory / "card.json").read_bytes(), (directory / "model.safetensors").read_bytes()
        stated = json.loads(card)
        name, weights_sha256 = str(stated["name"]), str(stated["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{directory} is not a model bundle ({error}); give another --model") from None
    model_id = hashlib.sha256(weights + card).hexdigest()[:16]
    return ModelIdentity(model_id=model_id, name=name, version=weights_sha256[:_VERSION_DIGITS])
