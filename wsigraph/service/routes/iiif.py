"""Routes of the IIIF Image API 3.0, level 1, for viewers such as Mirador and OpenSeadragon."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from wsigraph.service.catalogue import Entry
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.iiif_requests import CONTEXT, IiifError, ImageRequest, image_information, parse_request
from wsigraph.service.routes.conditional import cached, not_modified
from wsigraph.service.routes.images import JPEG, SlideId, describe
from wsigraph.service.security.auth import READ, require_role

router = APIRouter(prefix="/iiif/3", tags=["iiif"], dependencies=[Depends(require_role(READ))])

Part = Annotated[str, Path(max_length=60)]
_LD = "application/ld+json"


class TileSizes(BaseModel):
    """Sizes of tiles.

    Attributes
    ----------
    width, height : int
        Size of a tile, px.
    scaleFactors : list of int
        Downsamples of level 0.
    """

    width: int
    height: int
    scaleFactors: list[int]  # noqa: N815  (the name that the API gives it)


class ImageSize(BaseModel):
    """A size of the whole image, px."""

    width: int
    height: int


class ImageInformation(BaseModel):
    """Image information as the IIIF Image API 3.0 defines it."""

    model_config = ConfigDict(populate_by_name=True)
    context: str = Field(alias="@context")
    id: str
    type: str
    protocol: str
    profile: str
    width: int
    height: int
    maxWidth: int  # noqa: N815
    maxHeight: int  # noqa: N815
    tiles: list[TileSizes]
    sizes: list[ImageSize]
    extraQualities: list[str]  # noqa: N815


@router.get(
    "/{slide_id}",
    summary="Redirect to the image information",
    operation_id="redirect_iiif_image",
    status_code=303,
    response_class=Response,
)
def redirect(request: Request, slide_id: SlideId) -> Response:
    """Redirect to ``info.json``."""
    headers = {"Location": f"{quote(slide_id, safe='')}/info.json", **_open_to(request)}
    return Response(status_code=303, headers=headers)


@router.get(
    "/{slide_id}/info.json",
    summary="Image information",
    operation_id="read_iiif_information",
    response_class=Response,
    responses={
        200: {"model": ImageInformation, "description": "Image information"},
        304: {"description": "The client has the current information", "content": {}},
    },
)
async def information(request: Request, slide_id: SlideId) -> Response:
    """Return size and tiles of the image."""
    context, entry, tag = await _entry(request, slide_id)
    headers = {**cached(tag), "Vary": "Accept, Origin", **_open_to(request)}
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    await describe(context, entry)
    address = (
        f"{request.url.scheme}://{request.url.netloc}{request.app.state.root_path}/iiif/3/{quote(slide_id, safe='')}"
    )
    accepts_ld = _LD in request.headers.get("accept", "")
    media_type = f'{_LD};profile="{CONTEXT}"' if accepts_ld else "application/json"
    values: dict[str, Any] = image_information(address, context.images.pyramid(entry).size)
    return JSONResponse(values, media_type=media_type, headers=headers)


@router.get(
    "/{slide_id}/{region}/{size}/{rotation}/{quality}.{suffix}",
    summary="An image",
    operation_id="read_iiif_image",
    response_class=Response,
    responses=JPEG,
)
async def image(
    request: Request, slide_id: SlideId, region: Part, size: Part, rotation: Part, quality: Part, suffix: Part
) -> Response:
    """Return a region of the slide at a size: ``full``, ``square`` or ``x,y,w,h``; ``max``, ``w,``, ``,h`` or ``w,h``.

    Raises
    ------
    HTTPException
        400 for a malformed request, 501 for a feature above level 1.
    """
    context, entry, tag = await _entry(request, slide_id)
    await describe(context, entry)
    try:
        wanted = parse_request(context.images.pyramid(entry).size, region, size, rotation, quality, suffix)
    except IiifError as error:
        raise HTTPException(error.status, str(error)) from None
    headers = {**cached(tag), "Vary": "Origin", **_open_to(request)}
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    encoded = await context.turns.run(entry.version, lambda: _render(context, entry, wanted))
    return Response(encoded, media_type="image/jpeg", headers=headers)


def _render(context: ServiceContext, entry: Entry, wanted: ImageRequest) -> bytes:
    return context.images.resized(entry, wanted.region, wanted.size, wanted.downsample)


async def _entry(request: Request, slide_id: str) -> tuple[ServiceContext, Entry, str]:
    context = service_context(request)
    entry = await run_in_threadpool(context.catalogue.find, slide_id)
    return context, entry, f'"{context.images.version(entry)}"'


def _open_to(request: Request) -> dict[str, str]:
    """Return the headers that let the pages of the configured origins read an image."""
    allowed = service_context(request).config.service.iiif_origins
    origin = request.headers.get("origin", "")
    if "*" in allowed:
        origin = "*"
    elif not origin or origin not in allowed:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Cross-Origin-Resource-Policy": "cross-origin"}
