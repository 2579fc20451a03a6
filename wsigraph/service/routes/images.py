"""Routes of the pixels of slides: Deep Zoom tiles, thumbnails, regions at any scale, and associated images.

Every image has an entity tag. The URLs under ``versions`` name the version of the slide, so that browsers and proxies
keep their content for good; the others are checked at every use.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from wsigraph.errors import NotAllowed, NotFound
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.routes.conditional import CHECKED, IMMUTABLE, cached, not_modified
from wsigraph.service.security.auth import READ, require_role

router = APIRouter(prefix="/v1/slides", tags=["images"], dependencies=[Depends(require_role(READ))])

SlideId = Annotated[str, Path(min_length=1, max_length=160, description="identifier from GET /v1/slides")]
Version = Annotated[
    str, Path(pattern=r"^[0-9a-f]{16}$", description="version from GET /v1/slides; 404 once the slide has changed")
]
Number = Annotated[int, Path(ge=0, le=2**31)]
Scale = Annotated[
    float, Query(gt=0.0, le=1.0, allow_inf_nan=False, description="output pixels along one level-0 pixel")
]
_NOT_MODIFIED: dict[str, Any] = {"description": "The client has the current image", "content": {}}
JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        "description": "A JPEG image",
    },
    304: _NOT_MODIFIED,
}
XML: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/xml": {"schema": {"type": "string"}}}, "description": "Deep Zoom XML"},
    304: _NOT_MODIFIED,
}


@router.get(
    "/{slide_id}/dzi",
    summary="Deep Zoom description",
    operation_id="read_deep_zoom",
    response_class=Response,
    responses=XML,
)
async def deep_zoom(request: Request, slide_id: SlideId) -> Response:
    """Return the Deep Zoom XML descriptor. Its tiles are at ``dzi_files/LEVEL/COLUMN_ROW.jpeg`` beside it."""
    return await _deep_zoom(request, slide_id, None)


@router.get(
    "/{slide_id}/versions/{version}/dzi",
    summary="Deep Zoom description of a version",
    operation_id="read_versioned_deep_zoom",
    response_class=Response,
    responses=XML,
)
async def versioned_deep_zoom(request: Request, slide_id: SlideId, version: Version) -> Response:
    """Return the Deep Zoom XML descriptor. It and its tiles can be kept for good."""
    return await _deep_zoom(request, slide_id, version)


@router.get(
    "/{slide_id}/dzi_files/{level}/{col}_{row}.jpeg",
    summary="A tile",
    operation_id="read_tile",
    response_class=Response,
    responses=JPEG,
)
# the first address, kept for clients that have it
@router.get("/{slide_id}/tiles/{level}/{col}_{row}.jpeg", include_in_schema=False)
async def tile(request: Request, slide_id: SlideId, level: Number, col: Number, row: Number) -> Response:
    """Return a Deep Zoom tile. A cached tile needs no thread."""
    return await _tile(request, slide_id, None, (level, col, row))


@router.get(
    "/{slide_id}/versions/{version}/dzi_files/{level}/{col}_{row}.jpeg",
    summary="A tile of a version",
    operation_id="read_versioned_tile",
    response_class=Response,
    responses=JPEG,
)
async def versioned_tile(
    request: Request, slide_id: SlideId, version: Version, level: Number, col: Number, row: Number
) -> Response:
    """Return a Deep Zoom tile that can be kept for good."""
    return await _tile(request, slide_id, version, (level, col, row))


@router.get(
    "/{slide_id}/thumbnail.jpeg",
    summary="Thumbnail",
    operation_id="read_thumbnail",
    response_class=Response,
    responses=JPEG,
)
async def thumbnail(request: Request, slide_id: SlideId) -> Response:
    """Return the whole slide as one small image. Its longer side has 257 to 512 pixels."""
    return await _thumbnail(request, slide_id, None)


@router.get(
    "/{slide_id}/versions/{version}/thumbnail.jpeg",
    summary="Thumbnail of a version",
    operation_id="read_versioned_thumbnail",
    response_class=Response,
    responses=JPEG,
)
async def versioned_thumbnail(request: Request, slide_id: SlideId, version: Version) -> Response:
    """Return the whole slide as one small image that can be kept for good."""
    return await _thumbnail(request, slide_id, version)


@router.get(
    "/{slide_id}/region.jpeg",
    summary="A region at any scale",
    operation_id="read_slide_region",
    response_class=Response,
    responses=JPEG,
)
async def region(
    request: Request,
    slide_id: SlideId,
    x: Annotated[int, Query(ge=-(2**31), le=2**31, description="left edge, level-0 px")],
    y: Annotated[int, Query(ge=-(2**31), le=2**31, description="upper edge, level-0 px")],
    w: Annotated[int, Query(ge=1, le=2**31, description="width, level-0 px")],
    h: Annotated[int, Query(ge=1, le=2**31, description="height, level-0 px")],
    scale: Scale = 1.0,
) -> Response:
    """Return a region of the slide as round(w * scale) by round(h * scale) pixels, at most 4096 along a side.

    Its corner is rounded to the grid of output pixels. Outside the slide it is white.
    """
    context = service_context(request)
    entry = await run_in_threadpool(context.catalogue.find, slide_id)
    tag, cache_control = _tag(context, entry, None)
    response = not_modified(request, tag, cache_control)
    if response is not None:
        return response
    encoded = await context.turns.run(entry.version, lambda: context.images.region(entry, (x, y), (w, h), scale))
    return Response(encoded, media_type="image/jpeg", headers=cached(tag, cache_control))


@router.get(
    "/{slide_id}/associated/{name}.jpeg",
    summary="Label or macro image",
    operation_id="read_associated_image",
    response_class=Response,
    responses=JPEG,
)
async def associated(request: Request, slide_id: SlideId, name: Annotated[str, Path(max_length=200)]) -> Response:
    """Return an associated image, if the service was started with ``--associated-images``.

    Raises
    ------
    NotAllowed
        If it was started without.
    """
    context = service_context(request)
    if not context.serves_associated:
        raise NotAllowed(
            "labels and macro images may show the patient's name and are not served; restart the service with "
            "--associated-images"
        )
    entry = await run_in_threadpool(context.catalogue.find, slide_id)
    tag, cache_control = _tag(context, entry, None)
    encoded = await context.turns.run(entry.version, lambda: context.images.associated(entry, name))
    response = not_modified(request, tag, cache_control)
    if response is not None:
        return response
    return Response(encoded, media_type="image/jpeg", headers=cached(tag, cache_control))


async def describe(context: ServiceContext, entry: Entry) -> dict[str, Any]:
    """Return the metadata of a slide, opened when it is its turn."""
    if not await run_in_threadpool(context.images.has_description, entry):
        return await context.turns.run(entry.version, lambda: context.images.describe(entry))
    return context.images.describe(entry)


async def _deep_zoom(request: Request, slide_id: str, version: str | None) -> Response:
    context = service_context(request)
    entry, tag, cache_control = await _current(context, slide_id, version)
    await describe(context, entry)
    unchanged = not_modified(request, tag, cache_control)
    if unchanged is not None:
        return unchanged
    xml = context.images.pyramid(entry).xml()
    return Response(xml, media_type="application/xml", headers=cached(tag, cache_control))


async def _tile(request: Request, slide_id: str, version: str | None, tile_address: tuple[int, int, int]) -> Response:
    context = service_context(request)
    entry, tag, cache_control = await _current(context, slide_id, version)
    unchanged = not_modified(request, tag, cache_control)
    if unchanged is not None:
        return unchanged
    images = context.images
    encoded = images.cached_tile(entry, *tile_address)
    if encoded is None:
        encoded = await run_in_threadpool(images.stored_tile, entry, *tile_address)
    if encoded is None:
        encoded = await context.turns.run(entry.version, lambda: images.tile(entry, *tile_address))
    return Response(encoded, media_type="image/jpeg", headers=cached(tag, cache_control))


async def _thumbnail(request: Request, slide_id: str, version: str | None) -> Response:
    context = service_context(request)
    entry = await run_in_threadpool(context.catalogue.find, slide_id)
    tag, cache_control = _tag(context, entry, version)
    unchanged = not_modified(request, tag, cache_control)
    if unchanged is not None:
        return unchanged
    encoded = await run_in_threadpool(context.images.stored_thumbnail, entry)
    if encoded is None:
        encoded = await context.turns.run_thumbnail(entry.version, lambda: context.images.thumbnail(entry))
    return Response(encoded, media_type="image/jpeg", headers=cached(tag, cache_control))


async def _current(context: ServiceContext, slide_id: str, version: str | None) -> tuple[Entry, str, str]:
    """Return a slide, its tag and its Cache-Control. If the directory has to be scanned again, a thread does that."""
    entry = context.catalogue.known(slide_id)
    if entry is None or (version is not None and version != context.images.version(entry)):
        entry = await run_in_threadpool(context.catalogue.find, slide_id)
    return entry, *_tag(context, entry, version)


def _tag(context: ServiceContext, entry: Entry, version: str | None) -> tuple[str, str]:
    current = context.images.version(entry)
    if version not in (None, current):
        raise NotFound(f"slide {entry.slide_id!r} has changed; GET /v1/slides/SLIDE_ID has its new version")
    return f'"{current}"', CHECKED if version is None else IMMUTABLE
