"""The summary of a slide as plain JSON values.

One dictionary is used for the console's table, ``--json`` and report.json, so that they agree. It holds results and
warnings, but no time, path or host name.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wsigraph import __version__
from wsigraph.geometry import Origin
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.graph.tissue.artefact import artefact_facts, section_areas
from wsigraph.records import CoarseGraph, Prediction, SlideInfo, SuperpixelLabels, TissueGraph
from wsigraph.slide.bounds import describe_origin

_MOST_SECTIONS = 8
_STAIN_SOURCES = {
    "macenko": "estimated from this slide (Macenko)",
    "reference": "reference vectors, not from this slide",
}
_LIBRARIES = ("numpy", "numba", "scipy", "torch", "torch-geometric", "matplotlib")


def summary(
    *,
    slide: SlideInfo,
    labels: SuperpixelLabels,
    coarse: CoarseGraph,
    prediction: Prediction,
    files: Iterable[str] = (),
    warnings: Iterable[str] = (),
    is_synthetic: bool = False,
) -> dict[str, Any]:
    """Return the summary of a slide.

    Parameters
    ----------
    slide : SlideInfo
        The slide.
    labels : SuperpixelLabels
        Its superpixels; their number and the tissue map are used.
    coarse : CoarseGraph
        Its regions.
    prediction : Prediction
        The prediction.
    files : iterable of str
        Names of the files written.
    warnings : iterable of str
        Further warnings, after those of the slide, its tissue and the prediction.
    is_synthetic : bool
        Whether the slide is synthetic.

    Returns
    -------
    dict
        Plain JSON values: ``slide_id``, ``is_synthetic``, ``mpp`` (um/px), ``mpp_source``, ``tissue_mm2``,
        ``area_of`` (``tiles`` where no slide was given), ``section_mm2`` (of each cross-section), ``artefacts``
        (`wsigraph.graph.tissue.artefact.artefact_facts`),
        ``stain_source`` (where the stain vectors came from), ``superpixels``, ``nodes``, ``stage`` (probability by
        name), ``risk``, ``median_survival_days`` (None where not reached), ``median_band_days`` (ends of its band),
        ``survival`` (``time_days``, ``probability`` and, where known, the ends ``low`` and ``high`` of its pointwise
        bootstrap band), ``stage_set``, ``distance`` from the training slides, ``patient`` (whether the model knows the
        patient), ``model``, ``notice``, ``warnings`` without repetition, ``files``; ``stain`` (its name), ``nuclei``
        (``count``, ``per_mm2``, ``found_by``), ``assumes``, ``percentile``, ``is_demonstration``, and ``withheld``, the
        reason why ``stage``, ``risk`` and ``survival`` are None; empty where they are given.
    """
    # not above: whoever writes polygons alone would import the networks for it
    from wsigraph.model.predict import median_band_days

    graph, band = coarse.graph, median_band_days(prediction)
    texts = [*slide.warnings, *labels.tissue.warnings, *prediction.warnings, *warnings]
    return {
        "slide_id": slide.slide_id,
        "is_synthetic": is_synthetic,
        "mpp": float(slide.mpp),
        "mpp_source": slide.mpp_source,
        "tissue_mm2": graph.tissue_mm2,
        # without a slide, the area is that of tiles and the glass in them
        **({} if graph.moment_names == MOMENT_NAMES else {"area_of": "tiles"}),
        "section_mm2": section_areas(labels.tissue),
        "artefacts": artefact_facts(labels.tissue),
        "stain": labels.tissue.stain.name,
        "stain_source": labels.tissue.stain.source,
        "nuclei": _nuclei(graph),
        "superpixels": int(labels.n_superpixels),
        "nodes": graph.n_nodes,
        "stage": None
        if prediction.withheld
        else {
            name: float(probability)
            for name, probability in zip(prediction.stage_names, prediction.stage_probability, strict=True)
        },
        "risk": None if prediction.risk is None else float(prediction.risk),
        "median_survival_days": (
            None if prediction.median_survival_days is None else float(prediction.median_survival_days)
        ),
        "median_band_days": None if band is None else list(band),
        "survival": None
        if prediction.withheld
        else {
            "time_days": [float(days) for days in prediction.time_days],
            "probability": [float(probability) for probability in prediction.survival],
            **_band(prediction),
        },
        "stage_set": list(prediction.stage_set),
        "distance": prediction.distance,
        "percentile": prediction.percentile,
        "withheld": prediction.withheld,
        "assumes": prediction.assumes,
        "is_demonstration": prediction.is_demonstration,
        "risk_parts": prediction.risk_parts(),
        "patient": prediction.relation,
        "model": prediction.model_name,
        "notice": prediction.notice,
        "warnings": list(dict.fromkeys(texts)),
        "files": sorted(files),
    }


def area_label(facts: Mapping[str, Any]) -> str:
    """Return what the area of a slide's `summary` is of: the tissue, or tiles where no slide was given."""
    return "area of tiles" if facts.get("area_of") == "tiles" else "tissue"


def tissue_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is true of a slide whatever the model, as names and texts for the console and the pages.

    Parameters
    ----------
    facts : mapping of str to value
        The slide's `summary`.

    Returns
    -------
    list of tuple of str
        Tissue, sections, one row for each artefact, nuclei, and the source of the stain vectors.
    """
    sections = facts["section_mm2"]
    areas = ", ".join(f"{area:.3g}" for area in sections[:_MOST_SECTIONS])
    more = ", ..." if len(sections) > _MOST_SECTIONS else ""
    rows = [
        (area_label(facts), f"{facts['tissue_mm2']:.3f} mm2"),
        ("sections", f"{len(sections)}" + (f" of {areas}{more} mm2" if len(sections) > 1 else "")),
    ]
    for artefact in facts["artefacts"]:
        inside, left_out = artefact["inside_mm2"], artefact["left_out_mm2"]
        outcome = f"{left_out:.3g} mm2 left out; {artefact['kept_by']} keeps it" if left_out else "kept in the tissue"
        if not inside:
            outcome = "outside the tissue"
        rows.append((artefact["name"], f"{artefact['mm2']:.3g} mm2, {inside:.3g} mm2 of it inside tissue ({outcome})"))
    if facts.get("area_of") == "tiles":
        return rows
    nuclei = facts["nuclei"]
    if nuclei["found_by"] != "none":
        by = nuclei["found_by"].partition(" ")[0]
        rows.append(("nuclei", f"{nuclei['count']:,}, {nuclei['per_mm2']:,.0f} per mm2 (found by the {by})"))
    source = _STAIN_SOURCES.get(facts["stain_source"], facts["stain_source"])
    return [*rows, ("stain vectors", source if facts["stain"] == "h&e" else f"{facts['stain']}, {source}")]


def _nuclei(graph: TissueGraph) -> dict[str, Any]:
    """Return how many nuclei were found in the tissue, and by what; none where no pixels were read."""
    if "nuclei" not in graph.moment_names:
        return {"count": 0, "per_mm2": 0.0, "found_by": "none"}
    count = int(graph.moment("nuclei").sum())
    return {"count": count, "per_mm2": count / max(graph.tissue_mm2, 1e-9), "found_by": graph.nuclei}


def _band(prediction: Prediction) -> dict[str, list[float]]:
    if prediction.survival_band is None:
        return {}
    low, high = prediction.survival_band
    return {"low": [float(probability) for probability in low], "high": [float(probability) for probability in high]}


def provenance(
    *, slide: SlideInfo, coarse: CoarseGraph, prediction: Prediction, is_synthetic: bool, origin: Origin = "bounds"
) -> dict[str, Any]:
    """Return what a result was made from and by, so that it can be made again.

    Parameters
    ----------
    slide : SlideInfo
        The slide, named by its digest and never by its path.
    coarse : CoarseGraph
        Its regions.
    prediction : Prediction
        For the model's name, digest and notice.
    is_synthetic : bool
        Whether the slide is synthetic.
    origin : {"bounds", "plane"}
        What coordinates count from: the corner of the scanned area or of the file's plane.

    Returns
    -------
    dict
        Plain JSON values: ``notice``, ``is_synthetic``, digests, versions, and ``origin``, what coordinates count from.
    """
    return {
        "notice": prediction.notice,
        "is_synthetic": is_synthetic,
        "slide_id": slide.slide_id,
        "slide_sha256": slide.sha256,
        "origin": describe_origin(slide, origin),
        "model": prediction.model_name,
        "model_id": prediction.model_id,
        "embedding_id": coarse.embedding_id,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of wsigraph, Python and the libraries that numbers and pictures come from."""
    installed = {"wsigraph": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "absent"
    return installed
