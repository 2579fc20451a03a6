"""Which numbers of a region the network reads: interpretable features, an encoder's features, or both.

An encoder's features come as the mean over the region's pixels. Where there are more of them than asked for they are
projected by a matrix of random signs, which keeps distances to within a few per cent whatever the data (Achlioptas,
"Database-friendly random projections", JCSS 2003). The signs follow from the encoder's name and the widths alone: the
projection is the same for every fold and every slide, and nothing is fitted that would have to stay inside a fold.
Centre and scale are the scaler's, from the training part. Not optimal where few directions hold all that matters: an
axis found in the data would need fewer columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.feature.encode import encoding
from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES, interpret
from wsigraph.records import TissueGraph

ENCODER_GROUP = "encoder"
"""Group of the columns that come from an encoder, beside stain, texture, shape and nuclei."""
_GROUP_OF = dict(zip(FEATURE_NAMES, FEATURE_GROUPS, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read of a region.

    Attributes
    ----------
    inputs : str
        ``"features"``, ``"encoding"`` or ``"both"``.
    encoding_dimensions : int
        Most columns of the encoding.
    encoder : str or None
        The encoder whose features are meant; None takes any.
    """

    inputs: Literal["features", "encoding", "both"] = "features"
    encoding_dimensions: int = 64
    encoder: str | None = None

    @classmethod
    def of(cls, config: ModelConfig, encoder: str | None = None) -> Reading:
        """Return what a model's settings ask for."""
        return cls(inputs=config.inputs, encoding_dimensions=config.encoding_dimensions, encoder=encoder)

    @classmethod
    def of_columns(cls, names: Sequence[str]) -> Reading:
        """Return what gives columns of these names."""
        n_encoding = sum(name not in _GROUP_OF for name in names)
        if not n_encoding:
            return cls()
        return cls(inputs="encoding" if n_encoding == len(names) else "both", encoding_dimensions=n_encoding)

    @property
    def needs_encoding(self) -> bool:
        """Whether a graph must hold an encoder's features."""
        return self.inputs != "features"

    @property
    def needs_features(self) -> bool:
        """Whether a graph must have been counted from pixels."""
        return self.inputs != "encoding"


def column_names(reading: Reading, n_columns: int) -> tuple[str, ...]:
    """Return the names of the columns that `region_columns` gives."""
    own = FEATURE_NAMES if reading.needs_features else ()
    return (*own, *(f"encoding_{number + 1}" for number in range(n_columns - len(own))))


def column_groups(names: Sequence[str]) -> tuple[str, ...]:
    """Return the group of each column: stain, texture, shape, nuclei or encoder."""
    return tuple(_GROUP_OF.get(name, ENCODER_GROUP) for name in names)


def region_columns(graph: TissueGraph, reading: Reading) -> NDArray[np.float64]:
    """Return what is read of every region.

    Parameters
    ----------
    graph : TissueGraph
        Fine or coarse.
    reading : Reading
        What to read.

    Returns
    -------
    float64 (N, F)
        Interpretable features in their own units, then the encoding's columns.

    Raises
    ------
    ModelError
        If the graph lacks the encoder's features, or holds those of another encoder.
    RecordError
        If interpretable features are read and the graph was not counted from pixels.
    """
    parts = [interpret(graph).values] if reading.needs_features else []
    if reading.needs_encoding:
        parts.append(_encoding(graph, reading))
    return np.concatenate(parts, axis=1)


def _encoding(graph: TissueGraph, reading: Reading) -> NDArray[np.float64]:
    wanted = reading.encoder
    if graph.encoding_sum is None or wanted not in (None, graph.encoder):
        met = "no encoder's features" if graph.encoding_sum is None else f"features of encoder {graph.encoder!r}"
        if wanted is None:
            expected, remedy = "those of an encoder", "set feature.encoder (--encoder NAME)"
        else:
            expected, remedy = f"those of {wanted!r}", f"set feature.encoder to {wanted} (--encoder {wanted})"
        raise ModelError(
            f"slide {graph.slide_id!r}: the graph holds {met}, the model reads {expected}; build the graph again and "
            f"{remedy}, give that encoder's feature file to wsigraph graph --features, or set model.inputs to features"
        )
    mean = encoding(graph)
    if mean.shape[1] <= reading.encoding_dimensions:
        return mean
    return np.asarray(mean @ projection(str(graph.encoder), mean.shape[1], reading.encoding_dimensions))


def projection(encoder: str, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Return the matrix of random signs that belongs to an encoder.

    Parameters
    ----------
    encoder : str
        Its name.
    n_in, n_out : int
        Widths before and after.

    Returns
    -------
    float64 (n_in, n_out)
        Plus or minus one over the root of `n_out`; of a hash, so that no library's generator decides.
    """
    stream = hashlib.shake_256(f"projection {encoder} {n_in} {n_out}".encode()).digest((n_in * n_out + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[: n_in * n_out]
    return np.asarray((2.0 * bits - 1.0).reshape(n_in, n_out) / np.sqrt(n_out))
