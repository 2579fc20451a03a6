"""The columns that the networks of a model with an offset read: an encoder's by random signs, the others as they are.

Ridges read all columns of an encoder. Small networks would only get more weights to overfit with.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.graph.feature.interpret import FEATURE_NAMES
from wsigraph.model.columns import projection
from wsigraph.model.inputs import Standardised
from wsigraph.training.dataset import Cohort


def network_projection(cohort: Cohort, config: ModelConfig) -> NDArray[np.float64] | None:
    """Return the matrix by which networks read the columns of an encoder, float64 (F, F').

    Parameters
    ----------
    cohort : Cohort
        Its columns; ridges read all of them.
    config : ModelConfig
        ``encoding_dimensions`` is the most columns of an encoder that networks read.

    Returns
    -------
    float64 (F, F') or None
        Interpretable features as they are, an encoder's by random signs; None where it has no more columns than that.
    """
    n_columns = len(cohort.feature_names)
    n_own = len(FEATURE_NAMES) if cohort.columns.needs_features else 0
    n_encoding = n_columns - n_own
    if not cohort.columns.needs_encoding or n_encoding <= config.encoding_dimensions:
        return None
    signs = projection(str(cohort.columns.encoder), n_encoding, config.encoding_dimensions)
    # 1 / sqrt(n_in) instead of 1 / sqrt(n_out): standardised columns stay near a standard deviation of 1
    signs = signs * np.sqrt(config.encoding_dimensions / n_encoding)
    matrix = np.zeros((n_columns, n_own + config.encoding_dimensions))
    matrix[:n_own, :n_own] = np.eye(n_own)
    matrix[n_own:, n_own:] = signs
    return matrix


def project(graph: Standardised, matrix: NDArray[np.float64]) -> Standardised:
    """Return a graph with the columns that networks read."""
    return replace(graph, features=(graph.features @ matrix.astype(np.float32)).astype(np.float32))
