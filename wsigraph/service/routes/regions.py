"""Routes of the regions of a finished job: outlines to draw, facts of each, its picture, and the slide without some.

Outlines are simplified by zoom level: on the screen they are off by a pixel at most. They are encoded once and kept
compressed. What a client asks for by number is looked up among the records of its job; no path comes from it.
"""

from __future__ import annotations

import gzip
import json
import threading
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from wsigraph.errors import Conflict
from wsigraph.service.catalogue import Entry
from wsigraph.service.context import House, house_of
from wsigraph.service.security.auth import READ, needs

# torch comes with the records of a job, and slides are listed before it is there
if TYPE_CHECKING:
    from wsigraph.service.results import ExplainedSlide, ExplainedSlides

router = APIRouter(prefix="/v1/jobs", tags=["regions"], dependencies=[Depends(needs(READ))])

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="a job that is done")]
Node = Annotated[int, Path(ge=0, le=2**31, description="number of the region")]
MOST_LEVELS = 12
"""Zoom levels for which outlines are simplified."""
_CROP_PX = 512
_importing = threading.Lock()
_MAX_NODES = 100_000
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "A JPEG picture"}}
_JSON: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "Plain values"}}


class Removal(BaseModel):
    """Which regions are left out.

    Attributes
    ----------
    nodes : list of int or None
        The regions by number.
    top : int or None
        How many of the most important ones.
    target : str or None
        Important for which output; the one that was explained where None.
    """

    model_config = ConfigDict(extra="forbid")
    nodes: list[Annotated[int, Field(ge=0, le=2**31)]] | None = Field(None, max_length=_MAX_NODES)
    top: int | None = Field(None, ge=0, le=2**31)
    target: str | None = Field(None, max_length=64)

    @model_validator(mode="after")
    def _one_of_them(self) -> Removal:
        if (self.nodes is None) == (self.top is None):
            raise ValueError("give either nodes or top")
        return self


class Without(BaseModel):
    """A prediction without some regions.

    Attributes
    ----------
    n_removed, n_regions : int
        Regions left out, and all.
    area_fraction : float
        Share of the tissue's area that is left out, 0 to 1.
    prediction : dict
        Stage probabilities, conformal set, risk, survival, warnings.
    """

    n_removed: int
    n_regions: int
    area_fraction: float
    prediction: dict[str, Any]


def explained_slides(request: Request) -> ExplainedSlides:
    """Return the open records of the service that a request came to."""
    state = request.app.state
    # two threads that import torch at a time, from two ends, leave half a module behind
    with _importing:
        from wsigraph.service import results as explained
        from wsigraph.service.routes import serializers as told  # noqa: F401 - what routes import afterwards is there

        if not hasattr(state, "explained"):
            state.explained = explained.ExplainedSlides(house_of(request))
    found: ExplainedSlides = state.explained
    return found


def warm(request: Request) -> None:
    """Read the model in the background, once, so that the first question waits less."""
    state = request.app.state
    if not hasattr(state, "warming"):
        state.warming = threading.Thread(target=lambda: explained_slides(request).warm(), daemon=True)
        state.warming.start()


def _slide(request: Request, job_id: str) -> ExplainedSlide:
    return explained_slides(request).find(job_id)


@router.get("/{job_id}/regions", summary="Outlines and values of all regions", response_class=Response, responses=_JSON)
def list_regions(
    request: Request,
    job_id: JobId,
    level: Annotated[int, Query(ge=0, le=MOST_LEVELS, description="a screen pixel spans 2^level slide pixels")] = 0,
    values: Annotated[bool, Query(description="whether to give attributions, kinds and features too")] = True,
) -> Response:
    """Return the outlines of all regions, simplified for a zoom level, and what to colour them by.

    ``outlines`` holds a list of polygons for each region, each a list of rings, the outer one first; a ring is a flat
    list of x and y in level-0 pixels, its first point and then the steps from one point to the next.
    """
    slide = _slide(request, job_id)
    from wsigraph.service.routes import serializers as told

    level = slide.settled_level(level)

    def encode() -> bytes:
        content = told.outlines_of(slide, level) | (told.values_of(slide) if values else {})
        return gzip.compress(json.dumps({"job_id": job_id, **content}, separators=(",", ":")).encode(), 6, mtime=0)

    # the job's records are its own for good, so its name is a version
    encoded = house_of(request).pictures.encoded.find_or_make((job_id, "regions", level, values), encode)
    return _compressed(request, encoded, f'"{job_id}-{level}-{int(values)}"')


@router.get("/{job_id}/facts", summary="The prediction and how it was explained and tested")
def facts(request: Request, job_id: JobId) -> dict[str, Any]:
    """Return prediction, explanation with its faithfulness curves, and the survival of the training cohort."""
    slide = _slide(request, job_id)
    from wsigraph.service.routes import serializers as told

    return {
        "job_id": job_id,
        "slide_id": slide.info.slide_id,
        "n_regions": slide.n_regions,
        "tissue_mm2": slide.coarse.graph.tissue_mm2,
        "can_remove": slide.bundle is not None,
        "prediction": told.prediction_of(slide.prediction),
        "explanation": told.explanation_of(slide),
        "cohort": told.cohort_of(slide),
    }


@router.get("/{job_id}/regions/{node}", summary="What is known of a region")
def region(request: Request, job_id: JobId, node: Node) -> dict[str, Any]:
    """Return a region's features with training percentiles, its neighbours, and its share of the prediction."""
    slide = _slide(request, job_id)
    slide.check(node)
    box = slide.crop_box(node)
    return {
        **slide.describer.region(node),
        "neighbours": slide.describer.neighbours(node),
        "targets": [
            {
                "target": target,
                "unit": slide.unit(target),
                "attribution": float(values[node]),
                "share": float(values[node] / (np.abs(values).sum() or 1.0)),
                "rank": int(np.flatnonzero(slide.orders[target] == node)[0]) + 1,
            }
            for target, values in slide.attributions.items()
        ],
        "crop": {"x": box.x0, "y": box.y0, "width": box.width, "height": box.height},
    }


@router.get(
    "/{job_id}/regions/{node}/crop.jpeg", summary="A region's picture", response_class=Response, responses=_JPEG
)
def crop(request: Request, job_id: JobId, node: Node) -> Response:
    """Return the slide around a region, untouched; ``crop`` of the region says which part it is."""
    house, slide = house_of(request), _slide(request, job_id)
    box = slide.crop_box(node)
    downsample = 1 << max(0, (max(box.width, box.height) - 1) // _CROP_PX).bit_length()
    entry = _unchanged(house, job_id, slide)
    window = (
        box.y0 // downsample,
        box.x0 // downsample,
        -(-box.y1 // downsample),
        -(-box.x1 // downsample),
    )
    encoded = house.pictures.part(entry, window, downsample)
    return Response(encoded, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


@router.post("/{job_id}/without", summary="The prediction without some regions")
def without(request: Request, job_id: JobId, removal: Removal) -> Without:
    """Return what the model reads from the slide once regions and their edges are left out."""
    slide = _slide(request, job_id)
    from wsigraph.service.routes import serializers as told

    if removal.nodes is not None:
        regions = np.unique(np.array(removal.nodes, np.int64))
    else:
        regions = slide.chosen(removal.top or 0, removal.target)
    prediction = slide.without(regions)
    area = slide.coarse.graph.moment("n")
    return Without(
        n_removed=len(regions),
        n_regions=slide.n_regions,
        area_fraction=float(area[regions].sum() / area.sum()),
        prediction=told.prediction_of(prediction),
    )


def _unchanged(house: House, job_id: str, slide: ExplainedSlide) -> Entry:
    """Return the slide of a job; one whose file has changed since would show other tissue than was read."""
    entry = house.slide_of(house.store.find(job_id))
    if house.digest_of(entry) != slide.info.sha256:
        raise Conflict(f"slide {entry.slide_id!r} has changed since this job; start it again")
    return entry


def _compressed(request: Request, encoded: bytes, tag: str) -> Response:
    """Return compressed JSON, unpacked for a client that cannot."""
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(encoded), media_type="application/json", headers=headers)
    return Response(encoded, media_type="application/json", headers={**headers, "Content-Encoding": "gzip"})
