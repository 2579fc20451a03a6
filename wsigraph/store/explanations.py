"""How an explanation is taken apart into named arrays, scalars and texts, and put together again."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from wsigraph.records import Curves, Explanation
from wsigraph.store.payload import Payload

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


def encode_explanation(explanation: Explanation) -> Payload:
    """Return an explanation as arrays by name and scalar fields."""
    values = {one.name: getattr(explanation, one.name) for one in fields(explanation)}
    others, curves = values.pop("other_targets"), values.pop("curves")
    arrays = {name: values.pop(name) for name, value in list(values.items()) if isinstance(value, np.ndarray)}
    arrays |= {_OTHER + name: value for name, value in others.items()}
    scalars: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
    scalars["reference_agreement"] = dict(explanation.reference_agreement)
    scalars["curves"] = {}
    for name, curve in curves.items():
        arrays[f"{_CURVE}{name}.area_fraction"] = curve.area_fraction
        arrays |= {f"{_CURVE}{name}.output.{order}": output for order, output in curve.output.items()}
        scalars["curves"][name] = {
            "towards": curve.towards,
            "gain": dict(curve.gain),
            "n_random": curve.n_random,
            "n_members": curve.n_members,
            "random_beaten": curve.random_beaten,
        }
    return Payload(scalars, arrays)


def decode_explanation(payload: Payload) -> Explanation:
    """Return the explanation that `encode_explanation` took apart."""
    arrays: dict[str, Any] = dict(payload.arrays)
    scalars = payload.fields
    curves = {
        name: Curves(
            area_fraction=arrays.pop(f"{_CURVE}{name}.area_fraction"),
            output={
                key.removeprefix(f"{_CURVE}{name}.output."): arrays.pop(key)
                for key in sorted(arrays)
                if key.startswith(f"{_CURVE}{name}.output.")
            },
            **scalar,
        )
        for name, scalar in scalars.pop("curves").items()
    }
    others: dict[str, Any] = {
        name.removeprefix(_OTHER): arrays.pop(name) for name in sorted(arrays) if name.startswith(_OTHER)
    }
    arrays = {_RENAMED.get(name, name): value for name, value in arrays.items()}
    texts: dict[str, Any] = {
        _RENAMED.get(name, name): tuple(value) if isinstance(value, list) else value for name, value in scalars.items()
    }
    return Explanation(curves=curves, other_targets=others, **arrays, **texts)
