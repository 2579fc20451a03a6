"""Routes of slides: what there is, what each says of itself, and its pixels as Deep Zoom tiles."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from wsigraph.errors import NotAllowed
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import House, house_of
from wsigraph.service.security.auth import ADMIN, READ, RUN, Caller, needs

router = APIRouter(prefix="/v1/slides", tags=["slides"], dependencies=[Depends(needs(READ))])

SlideId = Annotated[str, Path(min_length=1, max_length=160, description="name from GET /v1/slides")]
Number = Annotated[int, Path(ge=0, le=2**31)]
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "A JPEG picture"}}
_XML: dict[int | str, dict[str, Any]] = {200: {"content": {"application/xml": {}}, "description": "Deep Zoom XML"}}


class SlideRow(BaseModel):
    """A slide in the list.

    Attributes
    ----------
    slide_id : str
        Its name in addresses.
    name : str
        What people call it.
    bytes : int
        Bytes of its file; 0 for a folder.
    uploaded : bool
        Whether it came through the service.
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


def _row(entry: Entry) -> SlideRow:
    return SlideRow(slide_id=entry.slide_id, name=entry.name, bytes=entry.n_bytes, uploaded=entry.uploaded)


@router.get("", summary="All slides")
def list_slides(request: Request) -> SlideList:
    """Return the slides of the data directory and those uploaded."""
    return SlideList(slides=[_row(entry) for entry in house_of(request).catalogue.slides()])


@router.get("/{slide_id}", summary="What a slide says of itself")
def inspect_slide(request: Request, slide_id: SlideId) -> dict[str, Any]:
    """Return what ``wsigraph inspect`` tells of a slide, and its Deep Zoom pyramid."""
    house = house_of(request)
    entry = house.catalogue.find(slide_id)
    told = house.pictures.describe(entry)
    pyramid = house.pictures.pyramid(entry)
    names = ", ".join(told["identifying_images"])
    privacy = f"{names} may show the patient's name; keep the file as you keep patient data" if names else None
    return {
        **_row(entry).model_dump(),
        **told,
        "magnification": told["objective_power"],
        "privacy": privacy,
        "associated_served": house.serves_associated,
        "deepzoom": {
            "tile_px": pyramid.tile_px,
            "overlap_px": pyramid.overlap_px,
            "n_levels": pyramid.n_levels,
            "format": "jpeg",
        },
    }


@router.get("/{slide_id}/dzi", summary="Deep Zoom description", response_class=Response, responses=_XML)
def deep_zoom(request: Request, slide_id: SlideId) -> Response:
    """Return the pyramid as Deep Zoom viewers read it."""
    house = house_of(request)
    return Response(house.pictures.pyramid(house.catalogue.find(slide_id)).xml(), media_type="application/xml")


@router.get("/{slide_id}/tiles/{level}/{col}_{row}.jpeg", summary="A tile", response_class=Response, responses=_JPEG)
async def tile(request: Request, slide_id: SlideId, level: Number, col: Number, row: Number) -> Response:
    """Return a tile; one that is in memory is answered at once."""
    house = house_of(request)
    entry = await _found(house, slide_id)
    tag = f'"{entry.version}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    encoded = house.pictures.kept_tile(entry, level, col, row)
    if encoded is None:
        encoded = await to_thread.run_sync(house.pictures.tile, entry, level, col, row, limiter=house.turns)
    return _jpeg(encoded, tag)


@router.get("/{slide_id}/thumbnail.jpeg", summary="The whole slide", response_class=Response, responses=_JPEG)
def thumbnail(request: Request, slide_id: SlideId) -> Response:
    """Return the slide as one small picture."""
    house = house_of(request)
    entry = house.catalogue.find(slide_id)
    return _jpeg(house.pictures.thumbnail(entry), f'"{entry.version}"')


@router.get(
    "/{slide_id}/associated/{name}.jpeg", summary="Label or macro image", response_class=Response, responses=_JPEG
)
def associated(request: Request, slide_id: SlideId, name: Annotated[str, Path(max_length=200)]) -> Response:
    """Return an associated image, where the service was started to serve them.

    Raises
    ------
    NotAllowed
        If it was not.
    """
    house = house_of(request)
    if not house.serves_associated:
        raise NotAllowed(
            "labels and macro images may show the patient's name and are not served; start with --associated-images"
        )
    entry = house.catalogue.find(slide_id)
    return _jpeg(house.pictures.associated(entry, name), f'"{entry.version}"')


@router.delete("/{slide_id}", status_code=204, summary="Remove an uploaded slide")
def remove(request: Request, slide_id: SlideId, caller: Annotated[Caller, Depends(needs(RUN))]) -> None:
    """Remove the file of a slide that came through the service; its jobs keep their results until these expire.

    Raises
    ------
    NotAllowed
        If it is another's.
    """
    house = house_of(request)
    house.catalogue.find(slide_id)
    owner = house.uploads.owner_of(slide_id)
    if owner and owner != caller.name and not caller.reaches(ADMIN):
        raise NotAllowed(f"slide {slide_id!r} was uploaded by another, who may remove it, as may administrators")
    house.uploads.remove_slide(slide_id)
    house.catalogue.forget()


async def _found(house: House, slide_id: str) -> Entry:
    """Return the slide; the directory is looked at in a thread where it is time to."""
    known = house.catalogue.known(slide_id)
    return known if known is not None else await run_in_threadpool(house.catalogue.find, slide_id)


def _jpeg(encoded: bytes, tag: str) -> Response:
    headers = {"ETag": tag, "Cache-Control": "private, max-age=600"}
    return Response(encoded, media_type="image/jpeg", headers=headers)
