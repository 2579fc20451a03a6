"""Routes of uploads: begin, send parts, ask how far it is, give up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from wsigraph.errors import NotAllowed
from wsigraph.service.context import House, house_of
from wsigraph.service.security.auth import ADMIN, RUN, Caller, needs
from wsigraph.service.upload_store import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

May = Annotated[Caller, Depends(needs(RUN))]
UploadId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="name from POST /v1/uploads")]
_CHUNK_BYTES = 2**20


class Announced(BaseModel):
    """A file that is to come.

    Attributes
    ----------
    name : str
        What it is called; shown, never used as a path.
    size : int
        Bytes.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=400)
    size: int = Field(ge=1, le=2**53)


class Standing(BaseModel):
    """How far an upload is.

    Attributes
    ----------
    upload_id : str
        Its name.
    offset, size : int
        Bytes that have come, and that are to come in all.
    slide_id : str or None
        The slide that it has become, once it is whole.
    """

    upload_id: str
    offset: int
    size: int
    slide_id: str | None


@router.post("", status_code=201, summary="Begin an upload")
def begin(request: Request, response: Response, announced: Announced, caller: May) -> Standing:
    """Announce a file; its bytes follow with PATCH."""
    upload = house_of(request).uploads.begin(announced.name, announced.size, caller.name)
    response.headers["Location"] = f"/v1/uploads/{upload.upload_id}"
    return _standing(response, upload, 0)


@router.patch(
    "/{upload_id}",
    summary="Send a part",
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def send(
    request: Request,
    response: Response,
    upload_id: UploadId,
    caller: May,
    upload_offset: Annotated[int, Header(ge=0, le=2**53)],
) -> Standing:
    """Add bytes at ``Upload-Offset``; what came before a broken connection stays. The last part makes the slide.

    Where it could not be checked (503), all bytes stay, and an empty part has it checked again.
    """
    house = house_of(request)
    upload = await run_in_threadpool(_own, house, upload_id, caller)
    if house.uploads.is_finished(upload_id):
        # the client has missed the last answer
        return _standing(response, upload, upload.size, upload.slide_id)
    writer = await run_in_threadpool(house.uploads.writer, upload_id, upload_offset)
    try:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _CHUNK_BYTES:
                await run_in_threadpool(writer.write, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(writer.write, bytes(waiting))
    except ClientDisconnect:
        await run_in_threadpool(writer.write, bytes(waiting))
        raise
    finally:
        await run_in_threadpool(writer.close)
    slide_id = None
    if writer.offset == upload.size:
        await run_in_threadpool(_finish, house, upload)
        slide_id = upload.slide_id
        response.status_code = 201
    return _standing(response, upload, writer.offset, slide_id)


@router.head("/{upload_id}", summary="How far an upload is", include_in_schema=False)
@router.get("/{upload_id}", summary="How far an upload is")
def look(request: Request, response: Response, upload_id: UploadId, caller: May) -> Standing:
    """Return the offset to go on from; also in the header ``Upload-Offset``."""
    house = house_of(request)
    upload = _own(house, upload_id, caller)
    slide_id = upload.slide_id if house.uploads.is_finished(upload_id) else None
    return _standing(response, upload, house.uploads.find(upload_id)[1], slide_id)


@router.delete("/{upload_id}", status_code=204, summary="Give an upload up")
def give_up(request: Request, upload_id: UploadId, caller: May) -> None:
    """Remove what has come."""
    house = house_of(request)
    _own(house, upload_id, caller)
    house.uploads.remove(upload_id)


def _own(house: House, upload_id: str, caller: Caller) -> Upload:
    upload, _ = house.uploads.find(upload_id)
    if upload.owner != caller.name and not caller.reaches(ADMIN):
        raise NotAllowed(f"upload {upload_id!r} belongs to another; begin one of your own")
    return upload


def _finish(house: House, upload: Upload) -> None:
    def check(path: object) -> None:
        house.pool.ask({"op": "check", "path": str(path)})

    house.uploads.finish(upload, check)
    house.catalogue.forget()


def _standing(response: Response, upload: Upload, offset: int, slide_id: str | None = None) -> Standing:
    response.headers["Upload-Offset"] = str(offset)
    response.headers["Upload-Length"] = str(upload.size)
    response.headers["Cache-Control"] = "no-store"
    return Standing(upload_id=upload.upload_id, offset=offset, size=upload.size, slide_id=slide_id)
