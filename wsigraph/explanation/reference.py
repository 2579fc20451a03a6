"""The training reference: what an explanation needs of the training cohort, in one file beside the model.

Attributions compare a slide with the mean training tissue, faithfulness curves replace regions by training regions,
differences are given in standard deviations of the training outputs, and features as percentiles of the training
regions. A model bundle holds none of these. They are computed once, from the training graphs and the trained model, and
stored as ``reference.safetensors`` with the digest of the weights that they belong to.
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
from wsigraph.explanation.target import Target
from wsigraph.explanation.tissue_clusters import nearest, without_shape
from wsigraph.model.bundle import ModelBundle
from wsigraph.store.header import Destination
from wsigraph.store.tensors import read_tensors, save_tensors

REFERENCE_FILE = "reference.safetensors"
"""File name inside a bundle's directory."""

_RECORD = "Reference"
_CURVE = "kaplan_meier_"
_STORED = {
    "cluster_names": "kind_names",
    "cluster_centre": "kind_centre",
    "cluster_mean": "kind_mean",
    "cluster_fraction": "kind_fraction",
    "broad_cluster_names": "broad_names",
    "broad_cluster_centre": "broad_centre",
    "broad_cluster_mean": "broad_mean",
    "region_cluster": "region_kind",
    "region_broad_cluster": "region_broad_kind",
}
"""Fields whose names in the file differ, with the names there."""
_FIELDS = {stored: name for name, stored in _STORED.items()}
_NAMES = ("feature_names", "kind_names", "broad_names", "site_names")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Statistics of the training cohort.

    Attributes
    ----------
    weights_sha256 : str
        Digest of the weights that the reference belongs to.
    feature_names : tuple of str
        Names of the F columns.
    centre, scale : float64 (F,)
        Mean and standard deviation over training regions; 0 for a constant feature.
    mean, edge_mean : float64 (F,), (A,)
        Means over training tissue by area, and over training edges.
    cluster_names, cluster_centre, cluster_mean, cluster_fraction : tuple of str, float64 (k, F), (k, F), (k,)
        Tissue clusters: names, standardised centres, area-weighted means in the features' units, and fractions of the
        area. They are narrow enough to separate tissues that a model distinguishes. The reference input uses them.
    broad_cluster_names, broad_cluster_centre, broad_cluster_mean : tuple of str, float64 (b, F), (b, F)
        Broad tissue clusters, from a clustering of their own, not a merge of the narrow ones: names, standardised
        centres and area-weighted means. A region is replaced by a training region of its broad cluster.
    site_names, site_mean : tuple of str, float64 (S, F)
        Sites and their area-weighted means.
    region_feature, region_area_um2 : float32 (R, F), float32 (R,)
        A sample of training regions, with the same number from each cluster as far as possible.
    region_cluster, region_broad_cluster : int16 (R,)
        Clusters and broad clusters of the sample.
    percentile : float32 (101, F)
        Percentiles 0 to 100 of every feature over training regions.
    output_stage, output_risk, output_log_survival : float64 (B,), (B,), (B, T)
        Outputs of the trained model for the training slides, as `Target` defines them; 0 and empty if not predicted.
    time_days : float64 (T,)
        Days of the columns of `output_log_survival`.
    survival : SurvivalSteps
        Kaplan-Meier estimate of the training cohort.
    reference_id : str
        Digest of the file, 16 hexadecimal characters; empty until stored.
    """

    weights_sha256: str
    feature_names: tuple[str, ...]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    mean: NDArray[np.float64]
    edge_mean: NDArray[np.float64]
    cluster_names: tuple[str, ...]
    cluster_centre: NDArray[np.float64]
    cluster_mean: NDArray[np.float64]
    cluster_fraction: NDArray[np.float64]
    broad_cluster_names: tuple[str, ...]
    broad_cluster_centre: NDArray[np.float64]
    broad_cluster_mean: NDArray[np.float64]
    site_names: tuple[str, ...]
    site_mean: NDArray[np.float64]
    region_feature: NDArray[np.float32]
    region_area_um2: NDArray[np.float32]
    region_cluster: NDArray[np.int16]
    region_broad_cluster: NDArray[np.int16]
    percentile: NDArray[np.float32]
    output_stage: NDArray[np.float64]
    output_risk: NDArray[np.float64]
    output_log_survival: NDArray[np.float64]
    time_days: NDArray[np.float64]
    survival: SurvivalSteps
    reference_id: str = ""

    def standardised(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return features in training standard deviations, float64 (n, F); 0 for a constant feature."""
        centred = features - self.centre
        return np.divide(centred, self.scale, out=np.zeros_like(centred), where=self.scale > 0)

    def clusters(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the tissue cluster of every region, int64 (n,), from features in their own units."""
        return nearest(without_shape(self.standardised(features), self.feature_names), self.cluster_centre)

    def broad_clusters(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the broad tissue cluster of every region, int64 (n,), from features in their own units."""
        return nearest(without_shape(self.standardised(features), self.feature_names), self.broad_cluster_centre)

    def percentiles(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return percentiles of features among the training regions, float64 (n, F), 0 to 100; ties take the middle."""
        percentiles = np.empty(features.shape)
        for column, table in enumerate(self.percentile.T.astype(np.float64)):
            low, high = (np.searchsorted(table, features[:, column], side=side) for side in ("left", "right"))
            percentiles[:, column] = np.clip((low + high - 1) / 2, 0, 100)
        return percentiles

    def output_sd(self, target: Target) -> float:
        """Return the standard deviation of an output over the training slides."""
        outputs = target.of_training(self.output_stage, self.output_risk, self.output_log_survival, self.time_days)
        return float(outputs.std())


def save_reference(reference: Reference, directory: Path | str) -> Path:
    """Write a reference into the directory of its bundle.

    Parameters
    ----------
    reference : Reference
        The training reference.
    directory : Path or str
        Directory of the bundle.

    Returns
    -------
    Path
        The file. Equal references give equal bytes.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = Path(directory) / REFERENCE_FILE
    values = {_STORED.get(field.name, field.name): getattr(reference, field.name) for field in fields(reference)}
    texts = {name: list(values.pop(name)) for name in _NAMES}
    curve, _ = values.pop("survival"), values.pop("reference_id")
    tensors = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    tensors |= {_CURVE + name: getattr(curve, name) for name in ("time_days", "survival", "low", "high")}
    counts = {"n_patients": curve.n_patients, "n_events": curve.n_events}
    to = Destination(path, {"weights": reference.weights_sha256})
    save_tensors(to, _RECORD, tensors, {**texts, **counts, "weights_sha256": reference.weights_sha256})
    return path


def load_reference(directory: Path | str, bundle: ModelBundle) -> Reference | None:
    """Read the reference from the directory of a bundle.

    Parameters
    ----------
    directory : Path or str
        Directory of the bundle.
    bundle : ModelBundle
        The bundle in it.

    Returns
    -------
    Reference or None
        None if the directory has none.

    Raises
    ------
    ModelError
        If it belongs to other weights or features, or an earlier version wrote it without broad clusters.
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
            f"{path} belongs to weights {texts['weights_sha256'][:12]}, expected {card.weights_sha256[:12]} of the "
            "model in this directory; remove the file, or build it again for this model"
        )
    if any(name not in texts for name in _NAMES):
        raise ModelError(
            f"{path} was written by an earlier version without broad tissue clusters, expected them for the curve that "
            "replaces regions; write it again with wsigraph train or python -m pipelines.build_reference --model "
            f"{Path(directory)}, or remove the file to explain without a training reference"
        )
    arrays: dict[str, Any] = dict(tensors)
    curve = SurvivalSteps(
        n_patients=texts["n_patients"],
        n_events=texts["n_events"],
        **{name: arrays.pop(_CURVE + name) for name in ("time_days", "survival", "low", "high")},
    )
    # earlier versions labelled clusters by the "spread" of a feature where this one says SD
    names: dict[str, Any] = {
        _FIELDS.get(name, name): tuple(text.replace(" spread", " SD") for text in texts[name]) for name in _NAMES
    }

    return Reference(
        weights_sha256=texts["weights_sha256"],
        survival=curve,
        reference_id=hashlib.sha256(header["content"].encode()).hexdigest()[:16],
        **names,
        **{_FIELDS.get(name, name): array for name, array in arrays.items()},
    )
