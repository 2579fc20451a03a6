"""What an explanation must know of the training cohort, in one file beside the model.

Attributions compare a slide with something, regions are replaced by regions that were seen in training, a difference
is large or small against the spread of the training outputs, and a feature is high or low against the training
regions. A bundle holds none of that, so it is gathered once, from the training graphs and the finished model, and
travels as ``reference.safetensors``. The file names the digest of the weights that it belongs to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps
from wsigraph.errors import ModelError
from wsigraph.explanation.kinds import nearest, of_tissue
from wsigraph.explanation.target import Target
from wsigraph.model.bundle import ModelBundle
from wsigraph.store.header import Destination
from wsigraph.store.tensors import read_tensors, save_tensors

REFERENCE_FILE = "reference.safetensors"
"""File name inside a bundle's directory."""

_RECORD = "Reference"
_CURVE = "kaplan_meier_"
_NAMES = ("feature_names", "kind_names", "broad_names", "site_names")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """The training cohort in numbers.

    Attributes
    ----------
    weights_sha256 : str
        Digest of the weights that it belongs to.
    feature_names : tuple of str
        The F columns.
    centre, scale : float64 (F,)
        Mean and standard deviation over training regions; 0 where a feature never varied.
    mean, edge_mean : float64 (F,), (A,)
        Means over training tissue by area, and over training edges.
    kind_names, kind_centre, kind_mean, kind_fraction : tuple of str, float64 (k, F), (k, F), (k,)
        Kinds of tissue: names, standardised centres, means in the features' units by area, shares of the area. Narrow
        enough that what a model tells apart is not one kind: attributions are taken against them.
    broad_names, broad_centre, broad_mean : tuple of str, float64 (b, F), (b, F)
        Broad kinds of tissue, by a clustering of their own, so that a narrow kind need not lie in one of them: names,
        standardised centres, means by area. What a region is replaced by is of its broad kind.
    site_names, site_mean : tuple of str, float64 (S, F)
        Sites and their means by area.
    region_feature, region_area_um2 : float32 (R, F), float32 (R,)
        A sample of training regions, the same number from each kind as far as they go.
    region_kind, region_broad_kind : int16 (R,)
        Their kinds, narrow and broad.
    percentile : float32 (101, F)
        Percentiles 0 to 100 of every feature over training regions.
    output_stage, output_risk, output_log_survival : float64 (B,), (B,), (B, T)
        What the finished model says of the training slides, as `Target` reads it; 0 and empty where not predicted.
    time_days : float64 (T,)
        Days of the last.
    survival : SurvivalSteps
        Kaplan-Meier of the training cohort.
    reference_id : str
        Digest of it all, 16 hexadecimal characters; empty until stored.
    """

    weights_sha256: str
    feature_names: tuple[str, ...]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    mean: NDArray[np.float64]
    edge_mean: NDArray[np.float64]
    kind_names: tuple[str, ...]
    kind_centre: NDArray[np.float64]
    kind_mean: NDArray[np.float64]
    kind_fraction: NDArray[np.float64]
    broad_names: tuple[str, ...]
    broad_centre: NDArray[np.float64]
    broad_mean: NDArray[np.float64]
    site_names: tuple[str, ...]
    site_mean: NDArray[np.float64]
    region_feature: NDArray[np.float32]
    region_area_um2: NDArray[np.float32]
    region_kind: NDArray[np.int16]
    region_broad_kind: NDArray[np.int16]
    percentile: NDArray[np.float32]
    output_stage: NDArray[np.float64]
    output_risk: NDArray[np.float64]
    output_log_survival: NDArray[np.float64]
    time_days: NDArray[np.float64]
    survival: SurvivalSteps
    reference_id: str = ""

    def standardised(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return features in training standard deviations, float64 (n, F); 0 where a feature never varied."""
        centred = features - self.centre
        return np.divide(centred, self.scale, out=np.zeros_like(centred), where=self.scale > 0)

    def kinds(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the kind of tissue of every region, int64 (n,), from features in their own units."""
        return nearest(of_tissue(self.standardised(features), self.feature_names), self.kind_centre)

    def broad_kinds(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the broad kind of tissue of every region, int64 (n,), from features in their own units."""
        return nearest(of_tissue(self.standardised(features), self.feature_names), self.broad_centre)

    def percentiles(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where features lie among the training regions, float64 (n, F), 0 to 100; ties take the middle."""
        found = np.empty(features.shape)
        for column, table in enumerate(self.percentile.T.astype(np.float64)):
            low, high = (np.searchsorted(table, features[:, column], side=side) for side in ("left", "right"))
            found[:, column] = np.clip((low + high - 1) / 2, 0, 100)
        return found

    def output_sd(self, target: Target) -> float:
        """Return the standard deviation of an output over the training slides."""
        outputs = target.of_training(self.output_stage, self.output_risk, self.output_log_survival, self.time_days)
        return float(outputs.std())


def save_reference(reference: Reference, directory: Path | str) -> Path:
    """Write a reference beside its bundle.

    Parameters
    ----------
    reference : Reference
        What to write.
    directory : Path or str
        Directory of the bundle.

    Returns
    -------
    Path
        The file; equal references give equal bytes.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = Path(directory) / REFERENCE_FILE
    values = {each.name: getattr(reference, each.name) for each in fields(reference)}
    texts = {name: list(values.pop(name)) for name in _NAMES}
    curve, _ = values.pop("survival"), values.pop("reference_id")
    tensors = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    tensors |= {_CURVE + name: getattr(curve, name) for name in ("time_days", "survival", "low", "high")}
    counts = {"n_patients": curve.n_patients, "n_events": curve.n_events}
    to = Destination(path, {"weights": reference.weights_sha256})
    save_tensors(to, _RECORD, tensors, {**texts, **counts, "weights_sha256": reference.weights_sha256})
    return path


def load_reference(directory: Path | str, bundle: ModelBundle) -> Reference | None:
    """Read the reference beside a bundle.

    Parameters
    ----------
    directory : Path or str
        Directory of the bundle.
    bundle : ModelBundle
        The bundle in it.

    Returns
    -------
    Reference or None
        None where the model came without one.

    Raises
    ------
    ModelError
        If it belongs to other weights or features, or an earlier version wrote it.
    StoreError
        If the file is damaged.
    """
    path = Path(directory) / REFERENCE_FILE
    if not path.exists():
        return None
    header, tensors, texts = read_tensors(path, _RECORD)
    card = bundle.card
    if texts["weights_sha256"] != card.weights_sha256 or tuple(texts["feature_names"]) != card.feature_names:
        raise ModelError(
            f"{path} was made for weights {texts['weights_sha256'][:12]}, the model beside it has "
            f"{card.weights_sha256[:12]}; remove the file, or build it again for this model"
        )
    if any(name not in texts for name in _NAMES):
        raise ModelError(
            f"{path} was written by an earlier version and does not know the broad kinds of tissue from which regions "
            "are replaced; write it again, with wsigraph train or python -m pipelines.build_reference --model "
            f"{Path(directory)}, or remove the file to be explained without a training cohort"
        )
    arrays: dict[str, Any] = dict(tensors)
    curve = SurvivalSteps(
        n_patients=texts["n_patients"],
        n_events=texts["n_events"],
        **{name: arrays.pop(_CURVE + name) for name in ("time_days", "survival", "low", "high")},
    )
    named: dict[str, Any] = {name: tuple(texts[name]) for name in _NAMES}
    return Reference(
        weights_sha256=texts["weights_sha256"],
        survival=curve,
        reference_id=hashlib.sha256(header["content"].encode()).hexdigest()[:16],
        **named,
        **arrays,
    )
