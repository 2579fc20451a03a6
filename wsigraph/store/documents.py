"""Small records as JSON documents: sorted keys, finite numbers, floats by ``repr``, the header under its own key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from wsigraph.geometry import Size
from wsigraph.records import Level, Prediction, SlideInfo
from wsigraph.store.atomic import write_file
from wsigraph.store.header import (
    Destination,
    canonical_document,
    canonical_json,
    check_content,
    check_header,
    parse_json,
    reading,
)


def save_document(to: Destination, record: str, fields: Mapping[str, Any]) -> None:
    """Write a record's fields, and its header under ``"header"``, as one JSON document.

    Parameters
    ----------
    to : Destination
        File, inputs and configuration.
    record : str
        Name of the record's class.
    fields : mapping of str to JSON value
        Top-level keys.

    Raises
    ------
    StoreError
        If a number is not finite, a value is no JSON, or the file cannot be written.
    """
    content = hashlib.sha256(canonical_json(dict(fields)).encode()).hexdigest()
    write_file(to.path, canonical_document({**fields, "header": to.header(record, content)}))


def read_document(path: Path, record: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the fields of a JSON document.

    Parameters
    ----------
    path : Path
        File written by `save_document`.
    record : str, optional
        Name of the record's class that is expected.

    Returns
    -------
    tuple of dict, dict
        Header, and fields without it.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    with reading(path, record):
        stored = dict(parse_json(path.read_bytes()))
        header = check_header(stored.pop("header", None), record, path)
        check_content(header, hashlib.sha256(canonical_json(stored).encode()).hexdigest(), path)
        return header, stored


def save_slide_info(info: SlideInfo, to: Destination | Path | str) -> None:
    """Write what is known of a slide; of its path only the file name, so that a moved slide gives equal bytes.

    Parameters
    ----------
    info : SlideInfo
        The slide.
    to : Destination, Path or str
        ``slide.json``.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    levels = [
        {
            "size": [level.size.height, level.size.width],
            "downsample": str(level.downsample),
            "tile": [level.tile.height, level.tile.width],
        }
        for level in info.levels
    ]
    fields = {
        "slide_id": info.slide_id,
        "path": Path(info.path).name,
        "sha256": info.sha256,
        "vendor": info.vendor,
        "reader": info.reader,
        "mpp": float(info.mpp),
        "mpp_source": info.mpp_source,
        "file_mpp": info.file_mpp,
        "levels": levels,
        "associated": list(info.associated),
        "warnings": list(info.warnings),
    }
    save_document(Destination.of(to), "SlideInfo", fields)


def load_slide_info(path: Path | str) -> SlideInfo:
    """Read what is known of a slide.

    Parameters
    ----------
    path : Path or str
        ``slide.json``.

    Returns
    -------
    SlideInfo
        Equal to what was written, but for ``path``, which is the file name alone.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    _, fields = read_document(path, "SlideInfo")
    with reading(path, "SlideInfo"):
        levels = tuple(
            Level(size=Size(*level["size"]), downsample=Fraction(level["downsample"]), tile=Size(*level["tile"]))
            for level in fields.pop("levels")
        )
        associated, warnings = tuple(fields.pop("associated")), tuple(fields.pop("warnings"))
        return SlideInfo(levels=levels, associated=associated, warnings=warnings, **fields)


def save_prediction(prediction: Prediction, to: Destination | Path | str) -> None:
    """Write a prediction.

    Parameters
    ----------
    prediction : Prediction
        Stage and survival.
    to : Destination, Path or str
        ``prediction.json``.

    Raises
    ------
    StoreError
        If a number is not finite or the file cannot be written.
    """
    fields = {
        "slide_id": prediction.slide_id,
        "model_id": prediction.model_id,
        "model_name": prediction.model_name,
        "stage_names": list(prediction.stage_names),
        "stage_probability": prediction.stage_probability.tolist(),
        "time_days": prediction.time_days.tolist(),
        "hazard": prediction.hazard.tolist(),
        "survival": prediction.survival.tolist(),
        "risk": None if prediction.risk is None else float(prediction.risk),
        "median_survival_days": prediction.median_survival_days,
        "notice": prediction.notice,
        "warnings": list(prediction.warnings),
        "stage_set": list(prediction.stage_set),
        "survival_band": None if prediction.survival_band is None else prediction.survival_band.tolist(),
        "distance": prediction.distance,
        "relation": prediction.relation,
    }
    save_document(Destination.of(to), "Prediction", fields)


def load_prediction(path: Path | str) -> Prediction:
    """Read a prediction.

    Parameters
    ----------
    path : Path or str
        ``prediction.json``.

    Returns
    -------
    Prediction
        Equal to what was written.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    _, fields = read_document(path, "Prediction")
    with reading(path, "Prediction"):
        arrays: dict[str, Any] = {
            name: np.asarray(fields.pop(name), np.float64)
            for name in ("stage_probability", "time_days", "hazard", "survival")
        }
        band = fields.pop("survival_band")
        texts: dict[str, Any] = {name: tuple(fields.pop(name)) for name in ("stage_names", "warnings", "stage_set")}
        return Prediction(**texts, **arrays, **fields, survival_band=None if band is None else np.asarray(band))
