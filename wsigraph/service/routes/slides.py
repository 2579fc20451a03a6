"""Routes of slides: the list of slides, their metadata, and their pixels as Deep Zoom tiles."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from wsigraph.errors import NotAllowed
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.security.auth import ADMIN, READ, RUN, Principal, require_role

router = APIRouter(prefix="/v1/slides", tags=["slides"], dependencies=[Depends(require_role(READ))])

SlideId = Annotated[str, Path(min_length=1, max_length=160, description="identifier from GET /v1/slides")]
Number = Annotated[int, Path(ge=0, le=2**31)]
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "A JPEG image"}}
_XML: dict[int | str, dict[str, Any]] = {200: {"content": {"application/xml": {}}, "description": "Deep Zoom XML"}}


class SlideRow(BaseModel):
    """A slide in the list.

    Attributes
    ----------
    slide_id : str
        Identifier in URLs.
    name : str
        Display name.
    bytes : int
        Size of the file in bytes; 0 for a folder.
    uploaded : bool
        Whether it was uploaded.
    """

    slide_id: str
    name: str
    bytes: int
    uploaded: bool


class SlideList(BaseModel):
    """All slides.

    Attributes
    ----------
    slides : list of SlideRow
        Sorted by path.
    """

    slides: list[SlideRow]


def _serialize_entry(entry: Entry) -> SlideRow:
    return SlideRow(slide_id=entry.slide_id, name=entry.name, bytes=entry.n_bytes, uploaded=entry.uploaded)


@router.get("", summary="All slides")
def list_slides(request: Request) -> SlideList:
    """Return the slides of the data directory and the uploaded slides."""
    return SlideList(slides=[_serialize_entry(entry) for entry in service_context(request).catalogue.slides()])


@router.get("/{slide_id}", summary="Metadata of a slide")
def inspect_slide(request: Request, slide_id: SlideId) -> dict[str, Any]:
    """Return the metadata that ``wsigraph inspect`` prints, and the Deep Zoom pyramid."""
    context = service_context(request)
    entry = context.catalogue.find(slide_id)
    description = context.images.describe(entry)
    pyramid = context.images.pyramid(entry)
    names = ", ".join(description["identifying_images"])
    privacy = f"{names} may show the patient's name; protect the file like other patient data" if names else None
    return {
        **_serialize_entry(entry).model_dump(),
        **description,
        "magnification": description["objective_power"],
        "privacy": privacy,
        "associated_served": context.serves_associated,
        "deepzoom": {
            "tile_px": pyramid.tile_px,
            "overlap_px": pyramid.overlap_px,
            "n_levels": pyramid.n_levels,
            "format": "jpeg",
        },
    }


@router.get("/{slide_id}/dzi", summary="Deep Zoom description", response_class=Response, responses=_XML)
def deep_zoom(request: Request, slide_id: SlideId) -> Response:
    """Return the Deep Zoom XML descriptor."""
    context = service_context(request)
    return Response(context.images.pyramid(context.catalogue.find(slide_id)).xml(), media_type="application/xml")


@router.get("/{slide_id}/tiles/{level}/{col}_{row}.jpeg", summary="A tile", response_class=Response, responses=_JPEG)
async def tile(request: Request, slide_id: SlideId, level: Number, col: Number, row: Number) -> Response:
    """Return a tile. A cached tile needs no thread."""
    context = service_context(request)
    entry = await _find_entry(context, slide_id)
    tag = f'"{entry.version}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    encoded = context.images.cached_tile(entry, level, col, row)
    if encoded is None:
        encoded = await to_thread.run_sync(context.images.tile, entry, level, col, row, limiter=context.image_limiter)
    return _jpeg(encoded, tag)


@router.get("/{slide_id}/thumbnail.jpeg", summary="Thumbnail", response_class=Response, responses=_JPEG)
def thumbnail(request: Request, slide_id: SlideId) -> Response:
    """Return the whole slide as one small image."""
    context = service_context(request)
    entry = context.catalogue.find(slide_id)
    return _jpeg(context.images.thumbnail(entry), f'"{entry.version}"')


@router.get(
    "/{slide_id}/associated/{name}.jpeg", summary="Label or macro image", response_class=Response, responses=_JPEG
)
def associated(request: Request, slide_id: SlideId, name: Annotated[str, Path(max_length=200)]) -> Response:
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
    entry = context.catalogue.find(slide_id)
    return _jpeg(context.images.associated(entry, name), f'"{entry.version}"')


@router.delete("/{slide_id}", status_code=204, summary="Remove an uploaded slide")
def remove(request: Request, slide_id: SlideId, principal: Annotated[Principal, Depends(require_role(RUN))]) -> None:
    """Remove an uploaded slide. The results of its jobs are kept until they expire.

    Raises
    ------
    NotAllowed
        If it belongs to another principal.
    """
    context = service_context(request)
    context.catalogue.find(slide_id)
    owner = context.uploads.slide_owner(slide_id)
    if owner and owner != principal.name and not principal.has_role(ADMIN):
        raise NotAllowed(
            f"slide {slide_id!r} belongs to another principal; only its owner and administrators can remove it"
        )
    context.uploads.remove_slide(slide_id)
    context.catalogue.forget()


async def _find_entry(context: ServiceContext, slide_id: str) -> Entry:
    """Return a slide. If the directory has to be scanned again, a thread does that."""
    entry = context.catalogue.known(slide_id)
    return entry if entry is not None else await run_in_threadpool(context.catalogue.find, slide_id)


def _jpeg(encoded: bytes, tag: str) -> Response:
    headers = {"ETag": tag, "Cache-Control": "private, max-age=600"}
    return Response(encoded, media_type="image/jpeg", headers=headers)
