"""Routes of slides: the list of slides, and their metadata."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from wsigraph.errors import NotAllowed
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.routes.conditional import cached, not_modified
from wsigraph.service.routes.cursor import decode_cursor, encode_cursor
from wsigraph.service.routes.images import SlideId, describe
from wsigraph.service.security.auth import ADMIN, READ, RUN, Principal, require_role

router = APIRouter(prefix="/v1/slides", tags=["slides"], dependencies=[Depends(require_role(READ))])


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
    version : str
        Changes with the file. Part of the URLs that browsers keep for good.
    """

    slide_id: str
    name: str
    bytes: int
    uploaded: bool
    version: str


class SlideList(BaseModel):
    """A page of the list of slides.

    Attributes
    ----------
    slides : list of SlideRow
        Slides of the data directory first, sorted by name.
    total : int
        Number of slides that match.
    next_cursor : str or None
        Value of ``cursor`` for the next page; None at the end.
    """

    slides: list[SlideRow]
    total: int
    next_cursor: str | None


class PixelSize(BaseModel):
    """A size in pixels."""

    width: int
    height: int


class SlideLevel(BaseModel):
    """A level of the image pyramid in the file.

    Attributes
    ----------
    width, height, tile_width, tile_height : int
        Size of the level and of its tiles, px.
    downsample : float
        Number of level-0 pixels along one pixel.
    mpp : float or None
        Pixel size, um/px.
    """

    width: int
    height: int
    downsample: float
    tile_width: int
    tile_height: int
    mpp: float | None


class DeepZoomFacts(BaseModel):
    """The Deep Zoom pyramid of a slide.

    Attributes
    ----------
    tile_px, overlap_px : int
        Side of a tile without its overlap, and the overlap, px.
    n_levels : int
        Number of levels.
    format : str
        File suffix of the tiles.
    """

    tile_px: int
    overlap_px: int
    n_levels: int
    format: Literal["jpeg"]


class SlideMetadata(SlideRow):
    """What ``wsigraph inspect`` prints, and the Deep Zoom pyramid.

    Attributes
    ----------
    reader, vendor : str
        Reader plugin, and vendor of the scanner.
    size : PixelSize
        Size of level 0.
    levels : list of SlideLevel
        Levels of the file.
    mpp, file_mpp : float or None
        Pixel size of level 0 that is used and that the file states, um/px.
    mpp_source : str or None
        Where the pixel size is from.
    mpp_problem : str or None
        Why the pixel size will be refused.
    objective_power, magnification : float or None
        Magnification of the objective. `magnification` is its old name.
    associated, identifying_images : list of str
        Label, macro and other images, and those that may show the patient's name.
    associated_served : bool
        Whether these images are served.
    privacy : str or None
        Warning if the file may identify the patient.
    warnings : list of str
        Warnings about the file.
    deepzoom : DeepZoomFacts
        The pyramid of tiles.
    """

    reader: str
    vendor: str
    size: PixelSize
    levels: list[SlideLevel]
    mpp: float | None
    mpp_source: str | None
    file_mpp: float | None
    mpp_problem: str | None
    objective_power: float | None
    magnification: float | None
    associated: list[str]
    identifying_images: list[str]
    associated_served: bool
    privacy: str | None
    warnings: list[str]
    deepzoom: DeepZoomFacts


def _serialize_entry(context: ServiceContext, entry: Entry) -> SlideRow:
    return SlideRow(
        slide_id=entry.slide_id,
        name=entry.name,
        bytes=entry.n_bytes,
        uploaded=entry.uploaded,
        version=context.images.version(entry),
    )


@router.get("", summary="Slides", operation_id="list_slides")
def list_slides(
    request: Request,
    name: Annotated[str | None, Query(max_length=400, description="part of the name, in upper or lower case")] = None,
    uploaded: Annotated[bool | None, Query(description="uploaded slides, or those of the data directory")] = None,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 10_000,
    cursor: Annotated[str | None, Query(max_length=1000, description="next_cursor of the page before")] = None,
) -> SlideList:
    """Return the slides of the data directory and the uploaded slides, optionally filtered.

    Raises
    ------
    ConfigError
        If `cursor` is not from this list.
    """
    context = service_context(request)
    entries = context.catalogue.slides()
    if name is not None:
        entries = [entry for entry in entries if name.casefold() in entry.name.casefold()]
    if uploaded is not None:
        entries = [entry for entry in entries if entry.uploaded == uploaded]
    entries.sort(key=_sort_key)
    total = len(entries)
    if cursor is not None:
        after = decode_cursor(cursor, (bool, str, str))
        entries = [entry for entry in entries if _sort_key(entry) > after]
    page = entries[:limit]
    next_cursor = encode_cursor(_sort_key(page[-1])) if len(entries) > limit else None
    return SlideList(slides=[_serialize_entry(context, entry) for entry in page], total=total, next_cursor=next_cursor)


def _sort_key(entry: Entry) -> tuple[bool, str, str]:
    return entry.uploaded, entry.name, entry.slide_id


@router.get(
    "/{slide_id}",
    summary="Metadata of a slide",
    operation_id="read_slide",
    response_model=SlideMetadata,
    responses={304: {"description": "The client has the current metadata", "content": {}}},
)
async def inspect_slide(request: Request, response: Response, slide_id: SlideId) -> Any:
    """Return the metadata that ``wsigraph inspect`` prints, and the Deep Zoom pyramid."""
    context = service_context(request)
    entry = await run_in_threadpool(context.catalogue.find, slide_id)
    tag = f'"{context.images.version(entry)}-{int(context.serves_associated)}"'
    unchanged = not_modified(request, tag)
    if unchanged is not None:
        return unchanged
    description = await describe(context, entry)
    pyramid = context.images.pyramid(entry)
    names = ", ".join(description["identifying_images"])
    response.headers.update(cached(tag))
    return {
        **_serialize_entry(context, entry).model_dump(),
        **description,
        "magnification": description["objective_power"],
        "privacy": f"{names} may show the patient's name; protect the file like other patient data" if names else None,
        "associated_served": context.serves_associated,
        "deepzoom": {
            "tile_px": pyramid.tile_px,
            "overlap_px": pyramid.overlap_px,
            "n_levels": pyramid.n_levels,
            "format": "jpeg",
        },
    }


@router.delete("/{slide_id}", status_code=204, summary="Remove an uploaded slide", operation_id="delete_slide")
def remove(request: Request, slide_id: SlideId, principal: Annotated[Principal, Depends(require_role(RUN))]) -> None:
    """Remove an uploaded slide. The results of its jobs are kept until they expire.

    Raises
    ------
    NotAllowed
        If it belongs to another principal.
    """
    context = service_context(request)
    entry = context.catalogue.find(slide_id)
    owner = context.uploads.slide_owner(slide_id)
    if owner and owner != principal.name and not principal.has_role(ADMIN):
        raise NotAllowed(
            f"slide {slide_id!r} belongs to another principal; only its owner and administrators can remove it"
        )
    context.uploads.remove_slide(slide_id)
    context.images.forget(entry)
    context.catalogue.forget()
