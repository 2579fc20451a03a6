"""Routes of the overlays of a job: their names, and each overlay as Deep Zoom tiles."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from wsigraph.geometry import Size
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.deepzoom import DeepZoom
from wsigraph.service.routes.conditional import cached, not_modified
from wsigraph.service.routes.images import XML
from wsigraph.service.routes.jobs import JobId
from wsigraph.service.security.auth import READ, require_role

router = APIRouter(prefix="/v1/jobs/{job_id}/overlay", tags=["overlays"], dependencies=[Depends(require_role(READ))])

Layer = Annotated[str, Query(max_length=64, description="one of GET /v1/jobs/{job_id}/overlay")]
Number = Annotated[int, Path(ge=0, le=2**31)]
_PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        "description": "A PNG image with transparency",
    },
    304: {"description": "The client has the current image", "content": {}},
}
# reading the records of a large job takes longer than a tile
_OPEN_S = 120.0


class Layers(BaseModel):
    """The overlays of a job.

    Attributes
    ----------
    layers : list of str
        Names. ``attribution`` is the attribution to the target of the job.
    """

    layers: list[str]


@router.get("", summary="Overlays of a job", operation_id="list_overlays")
def layers(request: Request, job_id: JobId) -> Layers:
    """Return the names of the overlays."""
    return Layers(layers=_describe(service_context(request), job_id)["layers"])


@router.get(
    "/dzi",
    summary="Deep Zoom description of an overlay",
    operation_id="read_overlay_deep_zoom",
    response_class=Response,
    responses=XML,
)
def deep_zoom(request: Request, job_id: JobId, layer: Layer = "attribution") -> Response:
    """Return the Deep Zoom XML descriptor. All overlays have the pyramid of the slide."""
    del layer
    return Response(_pyramid(service_context(request), job_id).xml("png"), media_type="application/xml")


@router.get(
    "/dzi_files/{level}/{col}_{row}.png",
    summary="A tile of an overlay",
    operation_id="read_overlay_tile",
    response_class=Response,
    responses=_PNG,
)
# the first address, kept for clients that have it
@router.get("/tiles/{level}/{col}_{row}.png", include_in_schema=False)
async def tile(
    request: Request, job_id: JobId, level: Number, col: Number, row: Number, layer: Layer = "attribution"
) -> Response:
    """Return a tile of an overlay."""
    context = service_context(request)
    # the records of a job never change, so its identifier serves as a version
    tag = f'"{job_id}-{len(layer)}-{layer.encode().hex()[:80]}"'
    encoded = await to_thread.run_sync(_tile, context, job_id, layer, (level, col, row), limiter=context.turns.limiter)
    unchanged = not_modified(request, tag)
    if unchanged is not None:
        return unchanged
    return Response(encoded, media_type="image/png", headers=cached(tag))


def _tile(context: ServiceContext, job_id: str, layer: str, tile_address: tuple[int, int, int]) -> bytes:
    pyramid = _pyramid(context, job_id)
    box = pyramid.box(*tile_address)

    def make() -> bytes:
        message = {**_message(context, job_id), "layer": layer, "box": [box.y0, box.x0, box.y1, box.x1]}
        return context.pool.request({**message, "downsample": pyramid.downsample(tile_address[0])}, time_s=_OPEN_S)[1]

    return context.images.encoded.get_or_create((_version(context, job_id), layer, tile_address), make)


def _version(context: ServiceContext, job_id: str) -> tuple[str, float | None]:
    return job_id, context.store.find(job_id).ended_at


def _message(context: ServiceContext, job_id: str) -> dict[str, Any]:
    directory = context.done_directory(job_id)
    return {"op": "overlay", "directory": str(directory), "version": str(_version(context, job_id))}


def _describe(context: ServiceContext, job_id: str) -> dict[str, Any]:
    """Return layers and size of the overlays of a job. The worker is asked once; then they are cached."""
    key = (*_version(context, job_id), "overlay")
    description = context.overlay_descriptions.get(key)
    if description is None:
        description, _ = context.pool.request(_message(context, job_id), time_s=_OPEN_S)
        context.overlay_descriptions[key] = description
    return description


def _pyramid(context: ServiceContext, job_id: str) -> DeepZoom:
    context.done_directory(job_id)
    height, width = _describe(context, job_id)["size"]
    limits = context.config.service
    return DeepZoom(size=Size(height, width), tile_px=limits.tile_px, overlap_px=limits.tile_overlap_px)
