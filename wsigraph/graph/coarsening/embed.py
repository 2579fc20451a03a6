"""The learned embedding in which neighbouring regions are compared.

With standardised features x_i of region i, clipped to +-8, and boundary lengths w_ij to its neighbours::

    z_i = round(256 (A x_i + B sum_j w_ij x_j / sum_j w_ij))        (D,) with A, B (D, F), D = 16

One step of message passing on a linear map, quantised to integers, so the mean of a merged region is an exact ratio of
sums and equals the map of its mean features. The edge score is the log-odds that a boundary of tissue runs between two
regions: |z_i - z_j|**2 / 256**2 minus an offset. Weights are learned without labels (``train_embedding``).

The forward pass is a sequential float64 kernel and not a BLAS product: BLAS sums in an order that depends on its build
and thread count, and importing torch costs seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ModelError
from wsigraph.graph.feature.interpret import feature_schema_id, interpret
from wsigraph.kernels import njit
from wsigraph.records import TissueGraph

QUANTUM = 256
"""Integer units of embedding distance 1."""
_CLIP = 8.0
_TENSORS = ("mean", "scale", "own_weight", "message_weight", "offset")


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Weights of the learned embedding.

    Attributes
    ----------
    mean, scale : float64 (F,)
        Mean and standard deviation of the interpretable features in training.
    own_weight, message_weight : float64 (D, F)
        A and B: weights on the region's own features and on the mean of its neighbours'.
    offset : float64 (1,)
        Squared distance at which a boundary has a probability of 1/2.
    feature_schema : str
        Digest of the features that the weights were trained on.
    embedding_id : str
        Digest of all fields, 16 hexadecimal characters.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    own_weight: NDArray[np.float64]
    message_weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    feature_schema: str

    @property
    def embedding_id(self) -> str:
        """Digest of weights and schema."""
        digest = hashlib.sha256(self.feature_schema.encode())
        for name in _TENSORS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()[:16]


def load_embedding(path: Path | str | None = None) -> Embedding:
    """Return the embedding stored in a file, or the shipped one.

    Parameters
    ----------
    path : Path or str, optional
        A safetensors file written by `save_embedding`.

    Returns
    -------
    Embedding
        Weights, checked against the feature schema of this version.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or trained on other features.
    """
    if path is not None:
        return _read(Path(path))
    return _shipped()


@cache
def _shipped() -> Embedding:
    with as_file(files("wsigraph.graph.coarsening") / "shipped" / "embedding.safetensors") as path:
        return _read(path)


def _read(path: Path) -> Embedding:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stored:
            schema = (stored.metadata() or {}).get("feature_schema", "")
            tensors = {name: stored.get_tensor(name).astype(np.float64) for name in _TENSORS}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"embedding file {path} does not read ({error}); expected a coarsening embedding") from None
    if schema != feature_schema_id():
        raise ModelError(
            f"embedding file {path} was trained on feature schema {schema or 'unknown'}, this version measures "
            f"{feature_schema_id()}; train it again with python -m pipelines.train_shipped_embedding"
        )
    return Embedding(**tensors, feature_schema=schema)


def save_embedding(embedding: Embedding, path: Path | str) -> None:
    """Write an embedding as safetensors, float32.

    Parameters
    ----------
    embedding : Embedding
        Weights to write.
    path : Path or str
        File to write; its folder must exist.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(getattr(embedding, name), np.float32) for name in _TENSORS}
    Path(path).write_bytes(save(tensors, metadata={"feature_schema": embedding.feature_schema}))


def embed(graph: TissueGraph, embedding: Embedding) -> NDArray[np.int64]:
    """Return the quantised embedding of every region.

    Parameters
    ----------
    graph : TissueGraph
        Graph with moments.
    embedding : Embedding
        Learned weights.

    Returns
    -------
    int64 (N, D)
        z, in units of 1/256.
    """
    start = np.searchsorted(graph.edge_index[0], np.arange(graph.n_nodes + 1))
    # allocated here and not in the kernel: numpy requests huge pages, numba does not
    own, sent = np.empty((2, graph.n_nodes, len(embedding.own_weight)))  # (N, D) each
    weights = np.ascontiguousarray(embedding.own_weight.T), np.ascontiguousarray(embedding.message_weight.T)
    _fill_layers(own, sent, interpret(graph).values, embedding.mean, embedding.scale, *weights)
    result = np.empty(own.shape, np.int64)
    _fill_mixed(result, own, sent, start, graph.edge_index[1], edge_lengths(graph))
    return result


def edge_score(z: NDArray[np.int64], edge_index: NDArray[np.int64], embedding: Embedding) -> NDArray[np.float64]:
    """Return the log-odds that a boundary of tissue runs between two single regions.

    Parameters
    ----------
    z : int64 (N, D)
        Embedding from `embed`.
    edge_index : int64 (2, E)
        Pairs of regions.
    embedding : Embedding
        The weights that `z` was computed with.

    Returns
    -------
    float64 (E,)
        Log-odds, calibrated on pairs of the training slides; positive if a boundary is more likely than none.
    """
    difference = (z[edge_index[0]] - z[edge_index[1]]) / QUANTUM
    return np.asarray((difference**2).sum(axis=1) - embedding.offset[0])


def edge_lengths(graph: TissueGraph) -> NDArray[np.int64]:
    """Return the weight w of each edge in message passing, int64 (E,): 2 x straight + diagonal crossings."""
    return 2 * graph.boundary[:, 0] + graph.boundary[:, 1]


def neighbour_mean(
    features: NDArray[np.float64], edge_index: NDArray[np.int64], length: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of each region's neighbours weighted by edge length, float64 (N, F); 0 without neighbours."""
    from scipy.sparse import csr_array

    n_nodes = len(features)
    weight = csr_array((length, (edge_index[0], edge_index[1])), shape=(n_nodes, n_nodes))
    mass = np.bincount(edge_index[0], length, n_nodes)
    return np.asarray((weight @ features) / np.where(mass > 0, mass, 1.0)[:, None])


def standardise(
    values: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return z-scores by the training mean and standard deviation, clipped to +-8, float64 (N, F)."""
    return np.clip((values - mean) / scale, -_CLIP, _CLIP)


@njit(nogil=True, cache=True)
def _fill_layers(
    own: NDArray[np.float64],
    sent: NDArray[np.float64],
    values: NDArray[np.float64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    own_weight: NDArray[np.float64],
    message_weight: NDArray[np.float64],
) -> None:
    """Write own = A x and sent = B x of every region, float64 (N, D) each.

    values float64 (N, F); mean, scale float64 (F,); own_weight, message_weight float64 (F, D), transposed so that the
    inner loop runs over contiguous memory.
    """
    n_features, n_out = own_weight.shape
    for node in range(len(values)):
        own[node] = 0.0
        sent[node] = 0.0
        for feature in range(n_features):
            value = min(max((values[node, feature] - mean[feature]) / scale[feature], -_CLIP), _CLIP)
            # the inner loop runs over outputs: their sums are independent, so it vectorises without reordering sums
            for out in range(n_out):
                own[node, out] += own_weight[feature, out] * value
                sent[node, out] += message_weight[feature, out] * value


@njit(nogil=True, cache=True)
def _fill_mixed(
    result: NDArray[np.int64],
    own: NDArray[np.float64],
    sent: NDArray[np.float64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    boundary: NDArray[np.int64],
) -> None:
    """Write z = round(256 (own + weighted mean of the neighbours' sent)), int64 (N, D).

    own, sent float64 (N, D); start int64 (N + 1,) and neighbour int64 (E,) in CSR order; boundary int64 (E,), w.
    """
    n_nodes, n_out = own.shape
    message = np.empty(n_out)  # (D,)
    for node in range(n_nodes):
        message[:] = 0.0
        mass = 0.0
        for edge in range(start[node], start[node + 1]):
            mass += boundary[edge]
            for out in range(n_out):
                message[out] += boundary[edge] * sent[neighbour[edge], out]
        for out in range(n_out):
            mixed = own[node, out] + (message[out] / mass if mass > 0.0 else 0.0)
            result[node, out] = np.int64(np.floor(mixed * QUANTUM + 0.5))
