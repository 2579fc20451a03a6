"""The columns of the node features: interpretable features, an encoder's features, or both.

An encoder's features are averaged over the region's pixels. If there are more of them than configured, a matrix of
random signs projects them, which keeps distances to within a few per cent for any data (Achlioptas, "Database-friendly
random projections", JCSS 2003). The signs follow from the encoder's name and the two widths alone. So the projection is
the same for every fold and every slide, and nothing is fitted that would have to stay inside a fold. Centre and scale
are the scaler's, from the training part. Where few directions hold all the information, principal axes fitted to data
would need fewer columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsigraph import registry
from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.feature.encode import encoding
from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES, interpret
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.records import TissueGraph

UNNAMED = "unnamed"
"""Encoder of a feature file that states none."""
ENCODER_GROUP = "encoder"
"""Group of the columns of an encoder; the others are stain, texture, shape and nuclei."""
ALL_COLUMNS = 1 << 20
"""More columns than any encoder has."""
_GROUP_OF = dict(zip(FEATURE_NAMES, FEATURE_GROUPS, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeColumns:
    """Choice of the node features of a network.

    Attributes
    ----------
    inputs : str
        ``"features"``, ``"encoding"``, ``"both"``, or ``"auto"``: what the first graph has.
    encoding_dimensions : int
        Largest number of columns of the encoding.
    encoder : str or None
        Name of the encoder; None accepts any.
    """

    inputs: Literal["auto", "features", "encoding", "both"] = "features"
    encoding_dimensions: int = 64
    encoder: str | None = None

    @classmethod
    def of(cls, config: ModelConfig, encoder: str | None = None) -> NodeColumns:
        """Return the columns that a model's settings choose; with an offset, all columns of an encoder."""
        width = config.encoding_dimensions if config.design == "network" else ALL_COLUMNS
        return cls(inputs=config.inputs, encoding_dimensions=width, encoder=encoder)

    @classmethod
    def of_columns(cls, names: Sequence[str]) -> NodeColumns:
        """Return the choice that gives columns of these names."""
        n_encoding = sum(name not in _GROUP_OF for name in names)
        if not n_encoding:
            return cls()
        return cls(inputs="encoding" if n_encoding == len(names) else "both", encoding_dimensions=n_encoding)

    def chosen_for(self, graph: TissueGraph) -> NodeColumns:
        """Return the choice with ``auto`` settled by a graph: an encoder's features count wherever it has them."""
        if self.inputs != "auto":
            return self
        if graph.encoding_sum is None:
            return replace(self, inputs="features")
        return replace(self, inputs="both" if graph.moment_names == MOMENT_NAMES else "encoding")

    @property
    def needs_encoding(self) -> bool:
        """Whether a graph needs an encoder's features."""
        return self.inputs in ("encoding", "both")

    @property
    def needs_features(self) -> bool:
        """Whether a graph needs moments counted from pixels."""
        return self.inputs != "encoding"


def column_names(columns: NodeColumns, n_columns: int) -> tuple[str, ...]:
    """Return the names of the columns that `node_columns` gives."""
    own = FEATURE_NAMES if columns.needs_features else ()
    return (*own, *(f"encoding_{number + 1}" for number in range(n_columns - len(own))))


def column_groups(names: Sequence[str]) -> tuple[str, ...]:
    """Return the group of each column: stain, texture, shape, nuclei or encoder."""
    return tuple(_GROUP_OF.get(name, ENCODER_GROUP) for name in names)


def node_columns(graph: TissueGraph, columns: NodeColumns) -> NDArray[np.float64]:
    """Return the node features of a graph, before scaling.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels or coarse regions.
    columns : NodeColumns
        Which columns.

    Returns
    -------
    float64 (N, F)
        Interpretable features in their own units, then the encoding's columns.

    Raises
    ------
    ModelError
        If the graph lacks the encoder's features, or holds those of another encoder.
    RecordError
        If interpretable features are needed and the graph was not counted from pixels.
    """
    parts = [interpret(graph).values] if columns.needs_features else []
    if columns.needs_encoding:
        parts.append(_encoding(graph, columns))
    return np.concatenate(parts, axis=1)


def _encoding(graph: TissueGraph, columns: NodeColumns) -> NDArray[np.float64]:
    encoder = columns.encoder
    # a file that names no encoder may be of any; its width is checked where it is scaled
    if graph.encoding_sum is None or (encoder not in (None, graph.encoder) and UNNAMED not in (encoder, graph.encoder)):
        given = "no encoder's features" if graph.encoding_sum is None else f"features of encoder {graph.encoder!r}"
        if encoder is None:
            expected, remedy = "those of an encoder", "with --encoder NAME or --features FILE"
        elif encoder in registry.names(registry.ENCODERS):
            expected, remedy = f"those of {encoder!r}", f"with --encoder {encoder}"
        else:
            expected, remedy = f"those of {encoder!r}", "with that encoder's feature file (--features FILE)"
        raise ModelError(
            f"slide {graph.slide_id!r}: the graph holds {given}, the model needs {expected}; build the graph in "
            f"another directory {remedy}, or train a model with model.inputs=features"
        )
    mean = encoding(graph)
    if mean.shape[1] <= columns.encoding_dimensions:
        return mean
    return np.asarray(mean @ projection(str(encoder or graph.encoder), mean.shape[1], columns.encoding_dimensions))


def projection(encoder: str, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Return the projection of an encoder's features: a matrix of random signs.

    Parameters
    ----------
    encoder : str
        Name of the encoder.
    n_in, n_out : int
        Widths before and after.

    Returns
    -------
    float64 (n_in, n_out)
        Plus or minus ``1 / sqrt(n_out)``. The signs are bits of a hash, so they depend on no random generator.
    """
    stream = hashlib.shake_256(f"projection {encoder} {n_in} {n_out}".encode()).digest((n_in * n_out + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[: n_in * n_out]
    return np.asarray((2.0 * bits - 1.0).reshape(n_in, n_out) / np.sqrt(n_out))
