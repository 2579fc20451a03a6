"""Predictions as JSON values, for responses of routes and of the process of ablations."""

from __future__ import annotations

from typing import Any

from wsigraph.records import Prediction


def serialize_prediction(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON values."""
    band = prediction.survival_band
    return {
        "stage": {
            name: float(f"{probability:.6g}")
            for name, probability in zip(prediction.stage_names, prediction.stage_probability.tolist(), strict=True)
        },
        "stage_set": list(prediction.stage_set),
        "risk": None if prediction.risk is None else float(prediction.risk),
        "median_survival_days": prediction.median_survival_days,
        "survival": {
            "time_days": prediction.time_days.tolist(),
            "probability": prediction.survival.tolist(),
            "low": None if band is None else band[0].tolist(),
            "high": None if band is None else band[1].tolist(),
        },
        "distance": prediction.distance,
        "risk_parts": prediction.risk_parts(),
        "percentile": prediction.percentile,
        "withheld": prediction.withheld,
        "assumes": prediction.assumes,
        "is_demonstration": prediction.is_demonstration,
        "relation": prediction.relation,
        "model": prediction.model_name,
        "notice": prediction.notice,
        "warnings": list(prediction.warnings),
    }
