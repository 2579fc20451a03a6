"""The table of records: in which file each is stored, and how it is taken apart and put together.

A `Codec` names a record class and the suffix of its file. The suffix decides the container: JSON for small records,
safetensors for fixed sets of arrays, zarr for images larger than memory. The container writes and checks bytes, header
and digest. The codec turns the record into fields and arrays, and back. A new record needs one more codec in `CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from wsigraph.errors import StoreError
from wsigraph.geometry import Size
from wsigraph.records import (
    CoarseGraph,
    Explanation,
    Level,
    Prediction,
    SlideInfo,
    StainBasis,
    SuperpixelLabels,
    TissueGraph,
    TissueMap,
)
from wsigraph.store.documents import read_document, save_document
from wsigraph.store.explanations import decode_explanation, encode_explanation
from wsigraph.store.grids import ROOT, read_grids, save_grids
from wsigraph.store.header import Destination, reading
from wsigraph.store.payload import Payload
from wsigraph.store.tensors import read_tensors, save_tensors

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class Codec(Generic[_Record]):
    """How records of one class are stored.

    Attributes
    ----------
    record : type
        The record's class; its name is in the header of the file.
    suffix : str
        Suffix of the file, which decides the container: ``.json``, ``.safetensors`` or ``.zarr``.
    encode : callable
        Takes a record and returns its fields and arrays.
    decode : callable
        Takes fields, arrays and path of a file and returns the record.
    """

    record: type[_Record]
    suffix: str
    encode: Callable[[_Record], Payload]
    decode: Callable[[Payload], _Record]

    def save(self, record: _Record, to: Destination | Path | str, beside: Payload | None = None) -> None:
        """Write a record.

        Parameters
        ----------
        record : record
            Of the codec's class.
        to : Destination, Path or str
            The file, or the file with inputs and configuration for its header.
        beside : Payload, optional
            Further fields and arrays for readers without this package; `load` ignores them.

        Raises
        ------
        StoreError
            If a number is not finite or the file cannot be written.
        """
        write, _ = _CONTAINERS[self.suffix]
        payload = self.encode(record)
        if beside is not None:
            payload = Payload({**payload.fields, **beside.fields}, {**payload.arrays, **beside.arrays})
        write(Destination.of(to), self.record.__name__, payload)

    def load(self, path: Path | str) -> _Record:
        """Read a record.

        Parameters
        ----------
        path : Path or str
            File that `save` wrote.

        Returns
        -------
        record
            Equal to the one that was written. Of a slide's path only the file name is stored.

        Raises
        ------
        StoreError
            If the file is missing, damaged, of another schema or holds another record.
        """
        path, name = Path(path), self.record.__name__
        _, read = _CONTAINERS[self.suffix]
        payload = read(path, name)
        with reading(path, name):
            return self.decode(payload)


def _write_json(to: Destination, name: str, payload: Payload) -> None:
    save_document(to, name, payload.fields)


def _read_json(path: Path, name: str) -> Payload:
    return Payload(read_document(path, name)[1], path=path)


def _write_safetensors(to: Destination, name: str, payload: Payload) -> None:
    save_tensors(to, name, payload.arrays, payload.fields)


def _read_safetensors(path: Path, name: str) -> Payload:
    _, tensors, fields = read_tensors(path, name)
    return Payload(fields, tensors, path)


_CONTAINERS: Mapping[str, tuple[Callable[[Destination, str, Payload], None], Callable[[Path, str], Payload]]] = {
    ".json": (_write_json, _read_json),
    ".safetensors": (_write_safetensors, _read_safetensors),
    ".zarr": (save_grids, read_grids),
}


def _encode_slide_info(info: SlideInfo) -> Payload:
    levels = [
        {
            "size": [level.size.height, level.size.width],
            "downsample": str(level.downsample),
            "tile": [level.tile.height, level.tile.width],
        }
        for level in info.levels
    ]
    return Payload(
        {
            "slide_id": info.slide_id,
            "path": Path(info.path).name,  # the name alone, so that a slide that was moved gives equal bytes
            "sha256": info.sha256,
            "vendor": info.vendor,
            "reader": info.reader,
            "mpp": float(info.mpp),
            "mpp_source": info.mpp_source,
            "file_mpp": info.file_mpp,
            "levels": levels,
            "associated": list(info.associated),
            "warnings": list(info.warnings),
            "origin": list(info.origin),
            "plane": None if info.plane is None else [info.plane.height, info.plane.width],
            "z": info.z,
            "n_z": info.n_z,
            "icc": info.icc,
            "is_icc_applied": info.is_icc_applied,
            **({"window": list(info.window)} if info.window else {}),
        }
    )


def _decode_slide_info(payload: Payload) -> SlideInfo:
    fields = payload.fields
    levels = tuple(
        Level(size=Size(*level["size"]), downsample=Fraction(level["downsample"]), tile=Size(*level["tile"]))
        for level in fields.pop("levels")
    )
    associated, warnings = tuple(fields.pop("associated")), tuple(fields.pop("warnings"))
    x, y = fields.pop("origin", (0, 0))  # records of earlier versions have none
    plane, window = fields.pop("plane", None), fields.pop("window", None)
    return SlideInfo(
        levels=levels,
        associated=associated,
        warnings=warnings,
        origin=(int(x), int(y)),
        plane=None if plane is None else Size(*plane),
        window=None if window is None else (int(window[0]), int(window[1])),
        **fields,
    )


def _encode_prediction(prediction: Prediction) -> Payload:
    band = prediction.survival_band
    return Payload(
        {
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
            "survival_band": None if band is None else band.tolist(),
            "distance": prediction.distance,
            "relation": prediction.relation,
            **(prediction.risk_parts() or {}),
            "percentile": prediction.percentile,
            "withheld": prediction.withheld,
            "assumes": prediction.assumes,
            "is_demonstration": prediction.is_demonstration,
        }
    )


def _decode_prediction(payload: Payload) -> Prediction:
    fields = payload.fields
    arrays: dict[str, Any] = {
        name: np.asarray(fields.pop(name), np.float64)
        for name in ("stage_probability", "time_days", "hazard", "survival")
    }
    band = fields.pop("survival_band")
    texts: dict[str, Any] = {name: tuple(fields.pop(name)) for name in ("stage_names", "warnings", "stage_set")}
    return Prediction(**texts, **arrays, **fields, survival_band=None if band is None else np.asarray(band))


def _encode_graph(graph: TissueGraph) -> Payload:
    arrays: dict[str, Any] = {
        "moments": graph.moments,
        "edge_index": graph.edge_index,
        "boundary": graph.boundary,
        "centroid_um": graph.centroid_um,  # float64 (N, 2), for readers without this library
        "stain_vectors": graph.stain.vectors,
        "stain_max_concentration": graph.stain.max_concentration,
    }
    if graph.encoding_sum is not None:
        arrays["encoding_sum"] = graph.encoding_sum
    classes = {}
    if graph.class_pixels is not None:
        arrays["class_pixels"], classes = graph.class_pixels, {"class_names": list(graph.class_names)}
    fields = {
        **classes,
        "slide_id": graph.slide_id,
        "mpp": float(graph.mpp),
        "size": [graph.size.height, graph.size.width],
        "moment_names": list(graph.moment_names),
        "encoder": graph.encoder,
        "nucleus_threshold": float(graph.stain.nucleus_threshold),
        "stain_source": graph.stain.source,
    }
    if graph.nuclei != "rule":  # left out otherwise, so that older graphs keep their bytes
        fields["nuclei"] = graph.nuclei
    if graph.mark:
        fields["mark"] = graph.mark
    if graph.stain.name != "h&e":
        fields["stain"] = graph.stain.name
    return Payload(fields, arrays)


def _decode_graph(payload: Payload) -> TissueGraph:
    arrays, fields = payload.arrays, payload.fields
    return TissueGraph(
        slide_id=fields["slide_id"],
        mpp=fields["mpp"],
        size=Size(*fields["size"]),
        moments=arrays["moments"],
        moment_names=tuple(fields["moment_names"]),
        edge_index=arrays["edge_index"],
        boundary=arrays["boundary"],
        stain=StainBasis(
            vectors=arrays["stain_vectors"],
            max_concentration=arrays["stain_max_concentration"],
            nucleus_threshold=fields["nucleus_threshold"],
            source=fields["stain_source"],
            name=fields.get("stain", "h&e"),
        ),
        encoding_sum=arrays.get("encoding_sum"),
        encoder=fields["encoder"],
        class_names=tuple(fields.get("class_names", ())),
        class_pixels=arrays.get("class_pixels"),
        nuclei=fields.get("nuclei", "rule"),
        mark=fields.get("mark", ""),
    )


def _encode_coarse_graph(coarse: CoarseGraph) -> Payload:
    payload = _encode_graph(coarse.graph)
    return Payload(
        {**payload.fields, "embedding_id": coarse.embedding_id},
        {**payload.arrays, "assignment": coarse.assignment},
    )


def _decode_coarse_graph(payload: Payload) -> CoarseGraph:
    return CoarseGraph(
        graph=_decode_graph(payload),
        assignment=payload.arrays["assignment"],
        embedding_id=payload.fields["embedding_id"],
    )


def _encode_tissue_map(tissue: TissueMap) -> Payload:
    fields = {
        "max_concentration": tissue.stain.max_concentration.tolist(),
        "mpp": float(tissue.mpp),
        "nucleus_threshold": float(tissue.stain.nucleus_threshold),
        "source": tissue.stain.source,
        "vectors": tissue.stain.vectors.tolist(),
        **({"refusal": tissue.refusal} if tissue.refusal else {}),
        **({"stain": tissue.stain.name} if tissue.stain.name != "h&e" else {}),
        **({"warnings": list(tissue.warnings)} if tissue.warnings else {}),
    }
    return Payload(fields, {"artefact": tissue.artefact, "section": tissue.section, "tissue": tissue.tissue})


def _decode_tissue_map(payload: Payload) -> TissueMap:
    fields = payload.fields
    stain = StainBasis(
        vectors=np.asarray(fields["vectors"], np.float64),
        max_concentration=np.asarray(fields["max_concentration"], np.float64),
        nucleus_threshold=fields["nucleus_threshold"],
        source=fields["source"],
        name=fields.get("stain", "h&e"),
    )
    arrays: dict[str, Any] = {name: np.asarray(array[:]) for name, array in payload.arrays.items()}
    return TissueMap(
        mpp=fields["mpp"],
        stain=stain,
        refusal=fields.get("refusal", ""),
        warnings=tuple(fields.get("warnings", ())),
        **arrays,
    )


def _encode_labels(labels: SuperpixelLabels) -> Payload:
    return Payload(
        {"mpp": float(labels.mpp), "n_superpixels": int(labels.n_superpixels)},
        {ROOT: labels.labels},
    )


def decode_labels(payload: Payload, tissue: TissueMap | None = None) -> SuperpixelLabels:
    """Return the labels of a file; the tissue map is read from ``tissue.zarr`` beside it where it is not given."""
    if tissue is None:
        tissue = TISSUE_MAP.load(payload.path.parent / "tissue.zarr")
    return SuperpixelLabels(labels=payload.arrays[ROOT], tissue=tissue, **payload.fields)


SLIDE_INFO = Codec(SlideInfo, ".json", _encode_slide_info, _decode_slide_info)
TISSUE_MAP = Codec(TissueMap, ".zarr", _encode_tissue_map, _decode_tissue_map)
LABELS = Codec(SuperpixelLabels, ".zarr", _encode_labels, decode_labels)
GRAPH = Codec(TissueGraph, ".safetensors", _encode_graph, _decode_graph)
COARSE_GRAPH = Codec(CoarseGraph, ".safetensors", _encode_coarse_graph, _decode_coarse_graph)
PREDICTION = Codec(Prediction, ".json", _encode_prediction, _decode_prediction)
EXPLANATION = Codec(Explanation, ".safetensors", encode_explanation, decode_explanation)

CODECS: Mapping[type, Codec[Any]] = {
    codec.record: codec for codec in (SLIDE_INFO, TISSUE_MAP, LABELS, GRAPH, COARSE_GRAPH, PREDICTION, EXPLANATION)
}
"""The codec of every record class, in the order of the steps."""


def save(record: object, to: Destination | Path | str) -> None:
    """Write any record; see `Codec.save`.

    Raises
    ------
    StoreError
        If no codec is known for its class, or the file cannot be written.
    """
    _codec(type(record)).save(record, to)


def load(record: type[_Record], path: Path | str) -> _Record:
    """Read a record of a class, for example ``load(TissueGraph, "graph.safetensors")``; see `Codec.load`.

    Raises
    ------
    StoreError
        If no codec is known for the class, or the file is missing, damaged or holds another record.
    """
    return _codec(record).load(path)


def _codec(record: type[_Record]) -> Codec[_Record]:
    codec: Codec[_Record] | None = CODECS.get(record)
    if codec is None:
        known = ", ".join(one.__name__ for one in CODECS)
        raise StoreError(f"objects of class {record.__name__} are not stored; expected one of {known}")
    return codec
