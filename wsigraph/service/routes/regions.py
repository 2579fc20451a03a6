"""Routes of the regions of a finished job: outlines, facts, images, and ablation (the prediction without some regions).

Outlines are simplified for each zoom level, with an error of at most one screen pixel. They are encoded once and cached
compressed. Clients name jobs and regions by number; no path comes from a client.
"""

from __future__ import annotations

import gzip
import json
import logging
import threading
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from wsigraph.errors import Conflict, ReaderLost, Unavailable, WsigraphError
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.deepzoom import MAX_OUTLINE_LEVEL
from wsigraph.service.prediction_json import serialize_prediction
from wsigraph.service.routes.conditional import cached, not_modified
from wsigraph.service.routes.images import JPEG
from wsigraph.service.routes.region_models import RegionFacts, RegionOutlines
from wsigraph.service.routes.result_models import Facts, PredictionFacts
from wsigraph.service.routes.serializers import (
    serialize_cohort_survival,
    serialize_explanation,
    serialize_outlines,
    serialize_region,
    serialize_region_values,
)
from wsigraph.service.security.auth import READ, require_role

# loads torch, which takes seconds; slides are listed before that
if TYPE_CHECKING:
    from wsigraph.service.results import JobResults, JobResultsCache

router = APIRouter(prefix="/v1/jobs", tags=["regions"], dependencies=[Depends(require_role(READ))])

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="a finished job")]
Node = Annotated[int, Path(ge=0, le=2**31, description="number of the region")]
_CROP_PX = 512
# the first one loads the model and the records of the job
_ABLATION_S = 120.0
_log = logging.getLogger("wsigraph.service")
_import_lock = threading.Lock()
_MAX_NODES = 100_000
_WARM_AFTER_S = 5.0


class AblationRequest(BaseModel):
    """Which regions to remove: either `nodes` or `top`.

    Attributes
    ----------
    nodes : list of int or None
        Region numbers.
    top : int or None
        Number of most important regions.
    target : str or None
        Rank regions by the attribution to this target; None for the target of the job.
    """

    model_config = ConfigDict(extra="forbid")
    nodes: list[Annotated[int, Field(ge=0, le=2**31)]] | None = Field(None, max_length=_MAX_NODES)
    top: int | None = Field(None, ge=0, le=2**31)
    target: str | None = Field(None, max_length=64)

    @model_validator(mode="after")
    def _check_one_choice(self) -> AblationRequest:
        if (self.nodes is None) == (self.top is None):
            raise ValueError("give either nodes or top")
        return self


class RegionAblation(BaseModel):
    """A prediction without some regions.

    Attributes
    ----------
    n_removed, n_regions : int
        Number of removed regions, and of all regions.
    area_fraction : float
        Removed fraction of the tissue area, 0 to 1.
    prediction : PredictionFacts
        Stage probabilities, conformal set, risk, survival and warnings.
    """

    n_removed: int
    n_regions: int
    area_fraction: float
    prediction: PredictionFacts


def job_results(request: Request) -> JobResultsCache:
    """Return the cache of job results of the service."""
    state = request.app.state
    # two threads that import torch at the same time can leave a module half imported
    with _import_lock:
        from wsigraph.service.results import JobResultsCache

        if not hasattr(state, "job_results"):
            state.job_results = JobResultsCache(service_context(request))
    cache: JobResultsCache = state.job_results
    return cache


def warm(request: Request) -> None:
    """Load the model in the background, once, so that the first request is fast.

    The import of torch takes seconds of CPU time, so the tiles of the page come first.
    """
    state = request.app.state
    if not hasattr(state, "warming"):
        state.warming = threading.Timer(_WARM_AFTER_S, _load_models, args=(request,))
        state.warming.daemon = True
        state.warming.start()


def _load_models(request: Request) -> None:
    context = service_context(request)
    try:
        job_results(request).warm()
        context.ablation_pool.request({"model": str(context.model_directory)}, time_s=_ABLATION_S)
    except WsigraphError as error:
        # the first request tries again, and reports it
        _log.warning("the model is not loaded yet: %s", error)


def _results(request: Request, job_id: str) -> JobResults:
    return job_results(request).find(job_id)


@router.get(
    "/{job_id}/regions",
    summary="Outlines and values of all regions",
    operation_id="read_regions",
    response_class=Response,
    responses={
        200: {"model": RegionOutlines, "description": "Outlines and values"},
        304: {"description": "The client has the current outlines", "content": {}},
    },
)
def list_regions(
    request: Request,
    job_id: JobId,
    level: Annotated[
        int, Query(ge=0, le=MAX_OUTLINE_LEVEL, description="one screen pixel spans 2^level level-0 pixels")
    ] = 0,
    values: Annotated[bool, Query(description="include attributions, tissue clusters and features")] = True,
) -> Response:
    """Return the outlines of all regions, simplified for a zoom level, and the values to colour them by.

    ``outlines`` has a list of polygons for every region. A polygon is a list of rings, the outer ring first. A ring is
    a flat list: x and y of its first point in level-0 pixels, then the steps to each next point.
    """
    results = _results(request, job_id)
    level = results.outline_level(level)

    def encode() -> bytes:
        content = serialize_outlines(results, level) | (serialize_region_values(results) if values else {})
        return gzip.compress(json.dumps({"job_id": job_id, **content}, separators=(",", ":")).encode(), 6, mtime=0)

    # the records of a job never change, so its identifier serves as a version
    key = (job_id, "regions", level, values)
    encoded = service_context(request).images.encoded.get_or_create(key, encode)
    return _compressed(request, encoded, f'"{job_id}-{level}-{int(values)}"')


@router.get(
    "/{job_id}/facts",
    summary="The prediction, its explanation and the tests of the explanation",
    operation_id="read_facts",
    response_model=Facts,
)
def facts(request: Request, job_id: JobId) -> Any:
    """Return prediction, explanation with its faithfulness curves, and the survival curve of the training cohort."""
    results = _results(request, job_id)
    return {
        "job_id": job_id,
        "slide_id": results.info.slide_id,
        "n_regions": results.n_regions,
        "tissue_mm2": results.coarse.graph.tissue_mm2,
        "can_remove": results.bundle is not None,
        "prediction": serialize_prediction(results.prediction),
        "explanation": serialize_explanation(results),
        "cohort": serialize_cohort_survival(results),
    }


@router.get("/{job_id}/regions/{node}", summary="One region", operation_id="read_region", response_model=RegionFacts)
def region(request: Request, job_id: JobId, node: Node) -> Any:
    """Return a region's features with training percentiles, its neighbours, and its fraction of the prediction."""
    results = _results(request, job_id)
    results.check_region(node)
    return serialize_region(results, node)


@router.get(
    "/{job_id}/regions/{node}/crop.jpeg",
    summary="Image of a region",
    operation_id="read_region_image",
    response_class=Response,
    responses=JPEG,
)
def crop(request: Request, job_id: JobId, node: Node) -> Response:
    """Return the unmodified pixels around a region. The region's ``crop`` says which part of the slide it is."""
    context, results = service_context(request), _results(request, job_id)
    box = results.crop_box(node)
    downsample = 1 << max(0, (max(box.width, box.height) - 1) // _CROP_PX).bit_length()
    entry = _unchanged_slide(context, job_id, results)
    window = (
        box.y0 // downsample,
        box.x0 // downsample,
        -(-box.y1 // downsample),
        -(-box.x1 // downsample),
    )
    tag = f'"{context.images.version(entry)}-{node}"'
    unchanged = not_modified(request, tag)
    if unchanged is not None:
        return unchanged
    encoded = context.images.part(entry, window, downsample)
    return Response(encoded, media_type="image/jpeg", headers=cached(tag))


# the old address is accepted for one version
@router.post("/{job_id}/without", include_in_schema=False)
@router.post("/{job_id}/ablation", summary="Predict without some regions", operation_id="predict_without_regions")
def ablate(request: Request, job_id: JobId, ablation_request: AblationRequest) -> RegionAblation:
    """Return the prediction after regions and their edges are removed from the graph.

    A process of its own predicts, so that many ablations do not delay tiles.

    Raises
    ------
    Unavailable
        If that process died or took too long.
    """
    context = service_context(request)
    message = {
        "directory": str(context.done_directory(job_id)),
        "model": str(context.model_directory),
        **ablation_request.model_dump(),
    }
    try:
        response, _ = context.ablation_pool.request(message, time_s=_ABLATION_S)
    except ReaderLost:
        raise Unavailable("the process that predicts without regions died or took too long; try again") from None
    return RegionAblation(**response)


def _unchanged_slide(context: ServiceContext, job_id: str, results: JobResults) -> Entry:
    """Return the slide of a job. A file that changed since would show other tissue than was predicted."""
    entry = context.job_slide(context.store.find(job_id))
    if context.slide_digest(entry) != results.info.sha256:
        raise Conflict(f"slide {entry.slide_id!r} has changed since this job; start the job again")
    return entry


def _compressed(request: Request, encoded: bytes, tag: str) -> Response:
    """Return gzip-compressed JSON, decompressed for a client that does not accept gzip."""
    vary = "Accept-Encoding"
    unchanged = not_modified(request, tag, vary=vary)
    if unchanged is not None:
        return unchanged
    headers = {**cached(tag), "Vary": vary}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(encoded), media_type="application/json", headers=headers)
    return Response(encoded, media_type="application/json", headers={**headers, "Content-Encoding": "gzip"})
