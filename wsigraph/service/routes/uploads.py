"""Routes of uploads: create one, send parts, read its status, delete it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from wsigraph.errors import NotAllowed
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.security.auth import ADMIN, RUN, Principal, require_role
from wsigraph.service.upload_store import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

RunPrincipal = Annotated[Principal, Depends(require_role(RUN))]
UploadId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="identifier from POST /v1/uploads")]
_CHUNK_BYTES = 2**20


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


class UploadStatus(BaseModel):
    """The status of an upload.

    Attributes
    ----------
    upload_id : str
        Identifier.
    offset, size : int
        Received bytes, and total bytes.
    slide_id : str or None
        Identifier of the slide once the upload is complete.
    """

    upload_id: str
    offset: int
    size: int
    slide_id: str | None


@router.post("", status_code=201, summary="Create an upload", operation_id="create_upload")
def create(request: Request, response: Response, upload_create: UploadCreate, principal: RunPrincipal) -> UploadStatus:
    """Create an upload. Send its bytes with PATCH."""
    upload = service_context(request).uploads.create(upload_create.name, upload_create.size, principal.name)
    response.headers["Location"] = f"uploads/{upload.upload_id}"
    return _upload_status(response, upload, 0)


@router.patch(
    "/{upload_id}",
    summary="Send a part",
    operation_id="send_part",
    responses={201: {"model": UploadStatus, "description": "The last part has come, and the slide is there"}},
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
) -> UploadStatus:
    """Append bytes at ``Upload-Offset``. Bytes received before a lost connection are kept.

    The last part creates the slide.

    If the slide could not be checked (503), all bytes are kept, and an empty part starts the check again.
    """
    context = service_context(request)
    upload = await run_in_threadpool(_own_upload, context, upload_id, principal)
    if context.uploads.is_finished(upload_id):
        # the client missed the last response
        return _upload_status(response, upload, upload.size, upload.slide_id)
    writer = await run_in_threadpool(context.uploads.writer, upload_id, upload_offset)
    try:
        buffer = bytearray()
        async for chunk in request.stream():
            buffer += chunk
            if len(buffer) >= _CHUNK_BYTES:
                await run_in_threadpool(writer.write, bytes(buffer))
                buffer.clear()
        await run_in_threadpool(writer.write, bytes(buffer))
    except ClientDisconnect:
        await run_in_threadpool(writer.write, bytes(buffer))
        raise
    finally:
        await run_in_threadpool(writer.close)
    slide_id = None
    if writer.offset == upload.size:
        await run_in_threadpool(_finish, context, upload)
        slide_id = upload.slide_id
        response.status_code = 201
    return _upload_status(response, upload, writer.offset, slide_id)


@router.head("/{upload_id}", summary="Status of an upload", include_in_schema=False)
@router.get("/{upload_id}", summary="Status of an upload", operation_id="read_upload")
def read_status(request: Request, response: Response, upload_id: UploadId, principal: RunPrincipal) -> UploadStatus:
    """Return the offset of the next part. The header ``Upload-Offset`` has it too."""
    context = service_context(request)
    upload = _own_upload(context, upload_id, principal)
    slide_id = upload.slide_id if context.uploads.is_finished(upload_id) else None
    return _upload_status(response, upload, context.uploads.find(upload_id)[1], slide_id)


@router.delete("/{upload_id}", status_code=204, summary="Delete an upload", operation_id="delete_upload")
def delete(request: Request, upload_id: UploadId, principal: RunPrincipal) -> None:
    """Delete an unfinished upload."""
    context = service_context(request)
    _own_upload(context, upload_id, principal)
    context.uploads.remove(upload_id)


def _own_upload(context: ServiceContext, upload_id: str, principal: Principal) -> Upload:
    upload, _ = context.uploads.find(upload_id)
    if upload.owner != principal.name and not principal.has_role(ADMIN):
        raise NotAllowed(f"upload {upload_id!r} belongs to another principal; create your own")
    return upload


def _finish(context: ServiceContext, upload: Upload) -> None:
    def check(path: object) -> None:
        context.pool.request({"op": "check", "path": str(path)})

    context.uploads.finish(upload, check)
    context.catalogue.forget()


def _upload_status(response: Response, upload: Upload, offset: int, slide_id: str | None = None) -> UploadStatus:
    response.headers["Upload-Offset"] = str(offset)
    response.headers["Upload-Length"] = str(upload.size)
    response.headers["Cache-Control"] = "no-store"
    return UploadStatus(upload_id=upload.upload_id, offset=offset, size=upload.size, slide_id=slide_id)
