"""Routes of uploads: create one, send parts, read its status, delete it.

The routes speak JSON, and tus 1.0 to clients that send ``Tus-Resumable``.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from wsigraph import errors
from wsigraph.errors import ConfigError, Conflict, NotAllowed
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.part_writer import PartWriter
from wsigraph.service.routes import tus
from wsigraph.service.security.auth import ADMIN, RUN, Principal, require_role
from wsigraph.service.upload_note import Upload
from wsigraph.service.upload_store import UploadState

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], dependencies=[Depends(tus.check_version)])

RunPrincipal = Annotated[Principal, Depends(require_role(RUN))]
UploadId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="identifier from POST /v1/uploads")]
_CHUNK_BYTES = 2**20
_VERDICT_WAIT_S = 10.0


class UploadCreate(BaseModel):
    """A request to upload a file.

    Attributes
    ----------
    name : str
        File name. Displayed, never used as a path.
    size : int
        Size in bytes.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=400)
    size: int = Field(ge=1, le=2**53)


class UploadError(BaseModel):
    """Why an upload was refused.

    Attributes
    ----------
    kind : str
        Class of the error.
    message : str
        The message that the command line prints.
    """

    kind: str
    message: str


class UploadStatus(BaseModel):
    """The status of an upload.

    Attributes
    ----------
    upload_id : str
        Identifier.
    offset, size : int
        Received bytes, and total bytes.
    slide_id : str or None
        Identifier of the slide once the upload is ``done``.
    state : UploadState
        ``uploading``, ``checking`` once all bytes are there, then ``done`` or ``refused``.
    error : UploadError or None
        Why it was refused.
    detail : str
        Why it is still being checked, if an attempt failed.
    """

    upload_id: str
    offset: int
    size: int
    slide_id: str | None
    state: UploadState
    error: UploadError | None = None
    detail: str = ""


@router.options("", include_in_schema=False)
@router.options("/{upload_id}", include_in_schema=False)
async def options(request: Request) -> Response:
    """Return what the service supports of the tus protocol."""
    return Response(status_code=204, headers=tus.capabilities(service_context(request)))


@router.post("", status_code=201, summary="Create an upload", operation_id="create_upload", response_model=UploadStatus)
def create(
    request: Request, response: Response, principal: RunPrincipal, upload_create: UploadCreate | None = None
) -> UploadStatus | Response:
    """Create an upload. Send its bytes with PATCH.

    Raises
    ------
    ConfigError
        If the request has neither a JSON body nor the headers of tus.
    """
    context = service_context(request)
    if tus.is_tus(request):
        name, size = tus.read_creation(request)
    elif upload_create is not None:
        name, size = upload_create.name, upload_create.size
    else:
        raise ConfigError('expected a body such as {"name": "a.svs", "size": 1938955}')
    upload = context.uploads.create(name, size, principal.name)
    response.headers["Location"] = f"uploads/{upload.upload_id}"
    return _respond(request, response, upload, 0)


@router.patch(
    "/{upload_id}",
    summary="Send a part",
    operation_id="send_part",
    response_model=UploadStatus,
    responses={
        201: {"model": UploadStatus, "description": "The slide is there"},
        202: {"model": UploadStatus, "description": "All bytes are there and being checked"},
    },
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def send(
    request: Request,
    response: Response,
    upload_id: UploadId,
    principal: RunPrincipal,
    upload_offset: Annotated[int, Header(ge=0, le=2**53)],
) -> UploadStatus | Response:
    """Append bytes at ``Upload-Offset``. Bytes received before a lost connection are kept.

    After the last part the file is checked. Responds 201 when it has become a slide, the error if it is refused, and
    202 if there is no verdict yet; then ask for the status. An empty part starts the check again.

    Raises
    ------
    Conflict
        If a client of tus is at another offset than the upload.
    HTTPException
        If a client of tus sends another content type (415), or a part that differs from its checksum (460).
    """
    context = service_context(request)
    if tus.is_tus(request) and request.headers.get("content-type", "") != tus.PART_TYPE:
        raise HTTPException(415, f"the content type of a part is {tus.PART_TYPE}")
    upload, offset = await run_in_threadpool(_own_upload, context, upload_id, principal)
    if offset < upload.size:
        offset = await _receive_part(request, context, upload, upload_offset)
    elif upload_offset != offset and tus.is_tus(request):
        raise Conflict(f"upload {upload_id!r} is at offset {offset}, got Upload-Offset {upload_offset}")
    if offset < upload.size:
        return _respond(request, response, upload, offset)
    was_done = context.uploads.is_finished(upload_id)
    if not was_done and not upload.error:
        attempt = asyncio.wrap_future(context.upload_checks.submit(upload))
        await asyncio.wait([attempt], timeout=_VERDICT_WAIT_S)
        upload, offset = await run_in_threadpool(context.uploads.find, upload_id)
    if upload.error:
        raise _refusal(upload)
    is_done = context.uploads.is_finished(upload_id)
    response.status_code = 200 if was_done else 201 if is_done else 202
    return _respond(request, response, upload, offset)


async def _receive_part(request: Request, context: ServiceContext, upload: Upload, offset: int) -> int:
    """Append the body of a request to an upload; return the new offset."""
    checksum = tus.PartChecksum(request)
    writer: PartWriter = await run_in_threadpool(context.uploads.writer, upload.upload_id, offset)
    is_whole = False
    buffer = bytearray()
    try:
        async for chunk in request.stream():
            buffer += chunk
            checksum.update(chunk)
            if len(buffer) >= _CHUNK_BYTES:
                await run_in_threadpool(writer.write, bytes(buffer))
                buffer.clear()
        checksum.check()
        await run_in_threadpool(writer.write, bytes(buffer))
        is_whole = True
    except ClientDisconnect:
        await run_in_threadpool(writer.write, bytes(buffer))
        raise
    finally:
        if checksum.is_announced and not is_whole:
            await run_in_threadpool(writer.discard)
        await run_in_threadpool(writer.close)
    return writer.offset


@router.head("/{upload_id}", summary="Status of an upload", include_in_schema=False, response_model=None)
@router.get("/{upload_id}", summary="Status of an upload", operation_id="read_upload", response_model=UploadStatus)
def read_status(
    request: Request, response: Response, upload_id: UploadId, principal: RunPrincipal
) -> UploadStatus | Response:
    """Return state and offset of an upload, also after it has ended. The header ``Upload-Offset`` has the offset too.

    Raises
    ------
    HTTPException
        For a client of tus, if the upload was refused (410).
    """
    upload, offset = _own_upload(service_context(request), upload_id, principal)
    if upload.error and tus.is_tus(request):
        raise HTTPException(410, f"upload {upload_id!r} was refused: {upload.message}")
    return _respond(request, response, upload, offset, status=200)


@router.delete("/{upload_id}", status_code=204, summary="Delete an upload", operation_id="delete_upload")
def delete(request: Request, upload_id: UploadId, principal: RunPrincipal) -> None:
    """Delete an unfinished upload."""
    context = service_context(request)
    _own_upload(context, upload_id, principal)
    context.uploads.remove(upload_id)


def _own_upload(context: ServiceContext, upload_id: str, principal: Principal) -> tuple[Upload, int]:
    upload, offset = context.uploads.find(upload_id)
    if upload.owner != principal.name and not principal.has_role(ADMIN):
        raise NotAllowed(f"upload {upload_id!r} belongs to another principal; create your own")
    return upload, offset


def _refusal(upload: Upload) -> errors.WsigraphError:
    """Return the error for which an upload was refused."""
    kind = getattr(errors, upload.error, errors.UnreadableSlide)
    error: errors.WsigraphError = kind(upload.message)
    return error


def _respond(
    request: Request, response: Response, upload: Upload, offset: int, status: int = 204
) -> UploadStatus | Response:
    """Return the status as JSON, or for a client of tus as headers."""
    context = service_context(request)
    state = context.uploads.state(upload, offset)
    headers = {
        "Upload-Offset": str(offset),
        "Upload-Length": str(upload.size),
        "Cache-Control": "no-store",
        **({} if state is UploadState.DONE else tus.expires_header(context, upload)),
    }
    if tus.is_tus(request) and request.method != "GET":
        location = response.headers.get("Location")
        created = {} if location is None else {"Location": location}
        headers |= {"Upload-Metadata": tus.metadata_header(upload), **created}
        return Response(status_code=201 if created else status, headers=headers)
    for name, value in headers.items():
        response.headers[name] = value
    return UploadStatus(
        upload_id=upload.upload_id,
        offset=offset,
        size=upload.size,
        slide_id=upload.slide_id if state is UploadState.DONE else None,
        state=state,
        error=UploadError(kind=upload.error, message=context.without_paths(upload.message)) if upload.error else None,
        detail=context.without_paths(context.upload_checks.detail(upload.upload_id)),
    )
