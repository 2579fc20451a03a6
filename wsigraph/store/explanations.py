"""Explanations as safetensors files: arrays by name, scalars and texts beside them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from wsigraph.records import Curves, Explanation
from wsigraph.store.header import Destination, reading
from wsigraph.store.tensors import read_tensors, save_tensors

_RECORD = "Explanation"
_OTHER, _CURVE = "other_target.", "curve."
_RENAMED = {
    "baseline_id": "reference_input_id",
    "baseline_value": "reference_value",
    "baseline_agreement": "reference_agreement",
    "gap": "completeness_error",
    "gap_limit": "completeness_limit",
    "kind_share": "cluster_attribution",
    "kind": "cluster",
    "kind_names": "cluster_names",
    "broad_kind": "broad_cluster",
    "broad_names": "broad_cluster_names",
    "without_edges": "edge_ablation_value",
}
"""Names in files of earlier versions, each with the field that holds it now."""


def save_explanation(explanation: Explanation, to: Destination | Path | str) -> None:
    """Write an explanation.

    Parameters
    ----------
    explanation : Explanation
        Attributions and their checks.
    to : Destination, Path or str
        ``explanation.safetensors``.

    Raises
    ------
    StoreError
        If a number is not finite or the file cannot be written.
    """
    values = {each.name: getattr(explanation, each.name) for each in fields(explanation)}
    others, curves = values.pop("other_targets"), values.pop("curves")
    tensors = {name: values.pop(name) for name, value in list(values.items()) if isinstance(value, np.ndarray)}
    tensors |= {_OTHER + name: value for name, value in others.items()}
    scalars: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
    scalars["reference_agreement"] = dict(explanation.reference_agreement)
    scalars["curves"] = {}
    for name, curve in curves.items():
        tensors[f"{_CURVE}{name}.area_fraction"] = curve.area_fraction
        tensors |= {f"{_CURVE}{name}.output.{order}": output for order, output in curve.output.items()}
        scalars["curves"][name] = {
            "towards": curve.towards,
            "gain": dict(curve.gain),
            "n_random": curve.n_random,
            "n_members": curve.n_members,
            "random_beaten": curve.random_beaten,
        }
    save_tensors(Destination.of(to), _RECORD, tensors, scalars)


def load_explanation(path: Path | str) -> Explanation:
    """Read an explanation.

    Parameters
    ----------
    path : Path or str
        ``explanation.safetensors``.

    Returns
    -------
    Explanation
        Equal to what was written.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    _, tensors, scalars = read_tensors(path, _RECORD)
    with reading(path, _RECORD):
        curves = {
            name: Curves(
                area_fraction=tensors.pop(f"{_CURVE}{name}.area_fraction"),
                output={
                    key.removeprefix(f"{_CURVE}{name}.output."): tensors.pop(key)
                    for key in sorted(tensors)
                    if key.startswith(f"{_CURVE}{name}.output.")
                },
                **scalar,
            )
            for name, scalar in scalars.pop("curves").items()
        }
        others: dict[str, Any] = {
            name.removeprefix(_OTHER): tensors.pop(name) for name in sorted(tensors) if name.startswith(_OTHER)
        }
        arrays: dict[str, Any] = {_RENAMED.get(name, name): value for name, value in tensors.items()}
        texts: dict[str, Any] = {
            _RENAMED.get(name, name): tuple(value) if isinstance(value, list) else value
            for name, value in scalars.items()
        }
        return Explanation(curves=curves, other_targets=others, **arrays, **texts)
