"""A classifier of the regions of a graph, with conformal sets, as one signed file.

With standardised features x of a region (``class_features``), clipped to +-5, and classes k::

    p_k = softmax((x W + b) / T)_k         T: temperature from held-out slides
    set = {k : p_k >= t_k}                 t_k: the lower 10 % quantile of p_k over held-out regions of class k

so that the set of a region holds its true class with probability 0.90 for every class, as long as its slide is like
the training slides; on others nothing is guaranteed. A region is named by its set: one class, "A or B" for two,
"unnamed" for none or more. A model with a hidden layer (a graph network over the same columns) has one more product.
Inference is numpy alone.

References: Vovk, Gammerman and Shafer 2005 (label-conditional conformal prediction); Guo et al. 2017 (temperature).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ModelError, StoreError
from wsigraph.graph.feature.interpret import feature_schema_id
from wsigraph.graph.tissue_class.class_features import GLASS, class_feature_names, class_features
from wsigraph.records import TissueGraph
from wsigraph.store import Destination
from wsigraph.store.tensors import read_tensors, save_tensors

FILE = "tissue_model.safetensors"
"""Name of the model's file inside its directory."""
UNNAMED = "unnamed"
"""Name of a region whose set holds no class, or more than two."""
COVERAGE = 0.90
"""Probability with which a set holds the true class."""
_CLIP = 5.0
_RECORD = "NodeClassifier"
_TENSORS = ("mean", "scale", "weights", "bias", "thresholds", "hidden_weights", "hidden_bias")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeClassifier:
    """Weights of a classifier of regions.

    Attributes
    ----------
    class_names : tuple of str
        Names of the K classes; glass is not among them.
    colours : tuple of (int, int, int)
        8-bit (R, G, B) of each.
    neighbours : bool
        Whether the neighbours' means are among the features.
    mean, scale : float64 (F,)
        Of the features in training.
    weights, bias : float64 (J, K), (K,)
        Last layer; J is F, or the width of the hidden layer.
    temperature : float
        Divisor of the logits.
    thresholds : float64 (K,)
        Least probability of a class in a conformal set.
    hidden_weights, hidden_bias : float64 (F, J), (J,)
        Hidden layer with a rectifier; empty where there is none.
    nuclei : str
        What found the nuclei of the training graphs.
    feature_schema : str
        Digest of the interpretable features.
    stain : str
        What the training sections were stained with, one of ``slide.stain``.
    card : dict
        Training slides, scores and provenance, as JSON values.
    """

    class_names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    neighbours: bool
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    temperature: float = 1.0
    hidden_weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    hidden_bias: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    nuclei: str = "rule"
    feature_schema: str = field(default_factory=feature_schema_id)
    stain: str = "h&e"
    card: dict[str, Any] = field(default_factory=dict)

    def logits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logits of rows of features before the temperature, float64 (N, K)."""
        rows = np.clip((values - self.mean) / self.scale, -_CLIP, _CLIP)
        if self.hidden_bias.size:
            rows = np.maximum(rows @ self.hidden_weights + self.hidden_bias, 0.0)
        return np.asarray(rows @ self.weights + self.bias)

    def classify(self, graph: TissueGraph) -> RegionClasses:
        """Return the classes of a graph's regions.

        Parameters
        ----------
        graph : TissueGraph
            Superpixels or regions.

        Returns
        -------
        RegionClasses
            Probabilities and conformal sets.

        Raises
        ------
        ModelError
            If the nuclei of the graph were found by something else than those of the training graphs, or its section is
            stained with something else.
        RecordError
            If the graph's moments follow another schema.
        """
        if graph.nuclei != self.nuclei:
            raise ModelError(
                f"the tissue model was trained on graphs with nuclei by {self.nuclei!r}, this graph has nuclei by "
                f"{graph.nuclei!r}; build the graph with --nuclei {self.nuclei.split(' ')[0]}, or train the model again"
            )
        self.check_stain(graph.stain.name)
        values, is_glass = class_features(graph, neighbours=self.neighbours)
        probability = softmax(self.logits(values) / self.temperature)
        return RegionClasses(
            names=self.class_names,
            colours=self.colours,
            probability=probability,
            inside=probability >= self.thresholds,
            is_glass=is_glass,
        )

    def check_stain(self, stain: str) -> None:
        """Refuse a stain that is not that of the training sections: features of the second stain mean another one.

        Parameters
        ----------
        stain : str
            What a section is stained with, one of ``slide.stain``.

        Raises
        ------
        ModelError
            If it is another one.
        """
        if stain != self.stain:
            raise ModelError(
                f"the tissue model was trained on sections in {self.stain}, slide.stain is {stain!r}; name a model of "
                f"{stain} with --tissue-model, or the section's own stain with --stain"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionClasses:
    """Classes of the regions of one graph.

    Attributes
    ----------
    names, colours : tuple
        Classes and their 8-bit colours.
    probability : float64 (N, K)
        Of every class; not meaningful for glass.
    inside : bool (N, K)
        Classes in the conformal set of a region.
    is_glass : bool (N,)
        Glass, which has no class.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    probability: NDArray[np.float64]
    inside: NDArray[np.bool_]
    is_glass: NDArray[np.bool_]

    @property
    def most_likely(self) -> NDArray[np.int64]:
        """Most likely class of every region, int64 (N,); -1 for glass."""
        return np.where(self.is_glass, -1, self.probability.argmax(axis=1))

    def labels(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the names that occur, and the name of every region.

        Returns
        -------
        names : tuple of str
            All classes, then pairs such as ``"A or B"`` that occur, then unnamed and glass.
        label : int64 (N,)
            Index into `names`.
        """
        n_classes = len(self.names)
        size = self.inside.sum(axis=1)
        pairs = [(a, b) for a in range(n_classes) for b in range(a + 1, n_classes)]
        held = [(a, b) for a, b in pairs if bool((self.inside[:, a] & self.inside[:, b] & (size == 2)).any())]
        names = (*self.names, *(f"{self.names[a]} or {self.names[b]}" for a, b in held), UNNAMED, GLASS)
        label = np.full(len(size), len(names) - 2, np.int64)
        label[size == 1] = self.inside[size == 1].argmax(axis=1)
        for number, (a, b) in enumerate(held):
            label[self.inside[:, a] & self.inside[:, b] & (size == 2)] = n_classes + number
        label[self.is_glass] = len(names) - 1
        return names, label

    def label_colours(self) -> list[tuple[int, int, int]]:
        """Return an 8-bit colour for each name of `labels`; a pair has the mean of both."""
        names, _ = self.labels()
        by_name = dict(zip(self.names, self.colours, strict=True))
        by_name |= {UNNAMED: (150, 150, 150), GLASS: (235, 235, 235)}
        colours = []
        for name in names:
            parts = [by_name[part] for part in ([name] if name in by_name else name.split(" or "))]
            red, green, blue = (sum(values) // len(parts) for values in zip(*parts, strict=True))
            colours.append((red, green, blue))
        return colours


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of rows of logits, float64 (N, K)."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def classifier_digest(model: NodeClassifier) -> str:
    """Return the digest of a classifier's classes and weights, 16 hexadecimal characters."""
    digest = hashlib.sha256(json.dumps([model.class_names, model.neighbours, model.feature_schema]).encode())
    for name in _TENSORS:
        digest.update(np.ascontiguousarray(getattr(model, name), np.float64).tobytes())
    return digest.hexdigest()[:16]


def save_node_classifier(model: NodeClassifier, directory: Path | str) -> Path:
    """Write a classifier into a directory, and return its file.

    Parameters
    ----------
    model : NodeClassifier
        The classifier.
    directory : Path or str
        Made if it does not exist.

    Returns
    -------
    Path
        ``tissue_model.safetensors``, whose header holds a digest of all weights and of the card.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = Path(directory) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "class_names": list(model.class_names),
        "colours": [list(colour) for colour in model.colours],
        "neighbours": model.neighbours,
        "temperature": float(model.temperature),
        "nuclei": model.nuclei,
        "feature_schema": model.feature_schema,
        "stain": model.stain,
        "card": json.dumps(model.card, sort_keys=True),
    }
    tensors = {name: np.asarray(getattr(model, name), np.float64) for name in _TENSORS}
    save_tensors(Destination(path), _RECORD, tensors, fields)
    return path


def load_node_classifier(path: Path | str | None = None) -> NodeClassifier:
    """Return a classifier, or the shipped one.

    Parameters
    ----------
    path : Path or str, optional
        Directory or file written by `save_node_classifier`.

    Returns
    -------
    NodeClassifier
        Checked weights.

    Raises
    ------
    ModelError
        If the file is missing or damaged, or was trained on other features.
    """
    if path is None:
        return _shipped()
    path = Path(path)
    return _read(path / FILE if path.is_dir() else path)


@cache
def _shipped() -> NodeClassifier:
    with as_file(files("wsigraph.graph.tissue_class") / "shipped" / FILE) as path:
        return _read(path)


def _read(path: Path) -> NodeClassifier:
    try:
        _, tensors, fields = read_tensors(path, _RECORD)
        model = NodeClassifier(
            class_names=tuple(str(name) for name in fields["class_names"]),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in fields["colours"]),
            neighbours=bool(fields["neighbours"]),
            temperature=float(fields["temperature"]),
            nuclei=str(fields["nuclei"]),
            feature_schema=str(fields["feature_schema"]),
            stain=str(fields.get("stain", "h&e")),  # files of before this field are of H&E
            card=dict(json.loads(fields["card"])),
            **{name: tensors[name].astype(np.float64) for name in _TENSORS},
        )
    except (StoreError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"tissue model {path} does not read ({error}); expected a model of wsigraph train-tissue"
        ) from None
    if model.feature_schema != feature_schema_id():
        raise ModelError(
            f"tissue model {path} was trained on feature schema {model.feature_schema}, this version measures "
            f"{feature_schema_id()}; train it again with wsigraph train-tissue"
        )
    n_features = len(class_feature_names(neighbours=model.neighbours))
    if model.mean.shape != (n_features,) or len(model.thresholds) != len(model.class_names):
        raise ModelError(
            f"tissue model {path} has {model.mean.size} features and {len(model.thresholds)} thresholds, expected "
            f"{n_features} and {len(model.class_names)}; train it again with wsigraph train-tissue"
        )
    return model
