"""Routes of the maps over a job's slide: which there are, and each as Deep Zoom."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from wsigraph.geometry import Size
from wsigraph.service.context import House, house_of
from wsigraph.service.deepzoom import DeepZoom
from wsigraph.service.routes.jobs import JobId
from wsigraph.service.security.auth import READ, needs

router = APIRouter(prefix="/v1/jobs/{job_id}/overlay", tags=["overlays"], dependencies=[Depends(needs(READ))])

Layer = Annotated[str, Query(max_length=64, description="one of GET /v1/jobs/{job_id}/overlay")]
Number = Annotated[int, Path(ge=0, le=2**31)]
_OPEN_S = 120.0


class Layers(BaseModel):
    """Maps of a job.

    Attributes
    ----------
    layers : list of str
        ``attribution`` is that of the job's own target.
    """

    layers: list[str]


@router.get("", summary="Maps over the slide")
def layers(request: Request, job_id: JobId) -> Layers:
    """Return the names of the maps that the job's records give."""
    return Layers(layers=_told(house_of(request), job_id)["layers"])


@router.get(
    "/dzi",
    summary="Deep Zoom description of a map",
    response_class=Response,
    responses={200: {"content": {"application/xml": {}}, "description": "Deep Zoom XML"}},
)
def deep_zoom(request: Request, job_id: JobId, layer: Layer = "attribution") -> Response:
    """Return the pyramid of a map; it is the slide's own, so that tiles lie upon tiles."""
    del layer
    return Response(_pyramid(house_of(request), job_id).xml("png"), media_type="application/xml")


@router.get(
    "/tiles/{level}/{col}_{row}.png",
    summary="A tile of a map",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "A PNG picture with transparency"}},
)
async def tile(
    request: Request, job_id: JobId, level: Number, col: Number, row: Number, layer: Layer = "attribution"
) -> Response:
    """Return a tile of a map."""
    house = house_of(request)
    encoded = await to_thread.run_sync(_tile, house, job_id, layer, (level, col, row), limiter=house.turns)
    return Response(encoded, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})


def _tile(house: House, job_id: str, layer: str, place: tuple[int, int, int]) -> bytes:
    pyramid = _pyramid(house, job_id)
    box = pyramid.box(*place)

    def make() -> bytes:
        asked = {**_request(house, job_id), "layer": layer, "box": [box.y0, box.x0, box.y1, box.x1]}
        return house.pool.ask({**asked, "downsample": pyramid.downsample(place[0])}, time_s=_OPEN_S)[1]

    return house.pictures.encoded.find_or_make((_version(house, job_id), layer, place), make)


def _version(house: House, job_id: str) -> tuple[str, float | None]:
    return job_id, house.store.find(job_id).ended_at


def _request(house: House, job_id: str) -> dict[str, Any]:
    directory = house.done_directory(job_id)
    return {"op": "overlay", "directory": str(directory), "version": str(_version(house, job_id))}


def _told(house: House, job_id: str) -> dict[str, Any]:
    """Return layers and size of a job's maps; asked once."""
    key = (*_version(house, job_id), "overlay")
    known = house.told.get(key)
    if known is None:
        known, _ = house.pool.ask(_request(house, job_id), time_s=_OPEN_S)
        house.told[key] = known
    return known


def _pyramid(house: House, job_id: str) -> DeepZoom:
    house.done_directory(job_id)
    height, width = _told(house, job_id)["size"]
    limits = house.config.service
    return DeepZoom(size=Size(height, width), tile_px=limits.tile_px, overlap_px=limits.tile_overlap_px)
