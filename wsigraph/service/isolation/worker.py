"""Isolation worker: the process that opens slides, ``python -m wsigraph.service.isolation.worker``.

The service starts it. It answers one request after another over its standard streams, under a limit on its address
space. It never opens a slide itself: for each slide it forks a child in a sandbox (``wsigraph.run.sandbox``), which may
read that slide alone. The children of the slides used last are kept. A file that makes its child crash or run out of
memory costs one request and that child; one that hangs costs this process; neither costs the service.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cachetools import LRUCache

from wsigraph.errors import SlideError, Unavailable, WsigraphError
from wsigraph.run.sandbox import protocol
from wsigraph.run.sandbox.child import SandboxedChild, import_before_fork
from wsigraph.run.sandbox.sandbox import Limits, slide_paths
from wsigraph.service.upload_store import is_upload

if TYPE_CHECKING:
    from wsigraph.config import SlideConfig
    from wsigraph.service.isolation.overlay_tiles import OverlayTiles
    from wsigraph.service.isolation.slide import IsolatedSlide

_MAX_CHILDREN, _MAX_SLIDES, _MAX_OVERLAYS = 8, 2, 2
_MIN_BYTES = 2**28
_ERRNO_OF_CONTENT = frozenset({errno.EINVAL, errno.EOVERFLOW, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
Response = tuple[dict[str, Any], bytes]
"""JSON header and raw body."""


class _OpenSlides(LRUCache[tuple[Any, ...], "IsolatedSlide"]):
    """The slides used last. A slide that is dropped is closed."""

    def popitem(self) -> tuple[tuple[Any, ...], IsolatedSlide]:
        key, slide = super().popitem()
        slide.close()
        return key, slide


class SlideWorker:
    """Answers requests about slides, and keeps the slides and overlays used last open."""

    def __init__(self, decoded_mpx: float, slide_mpx: float, slide: SlideConfig) -> None:
        from wsigraph.service.isolation.slide import PixelLimits

        self._limits = PixelLimits(decoded_mpx=decoded_mpx, slide_mpx=slide_mpx, slide=slide)
        self._slides = _OpenSlides(_MAX_SLIDES)
        self._overlays: LRUCache[tuple[Any, ...], OverlayTiles] = LRUCache(_MAX_OVERLAYS)
        self._operations: dict[str, Callable[[dict[str, Any]], Response]] = {
            "ping": lambda _: ({}, b""),
            "describe": self._describe,
            "check": self._check,
            "digest": self._digest,
            "picture": self._picture,
            "associated": self._associated,
            "overlay": self._overlay,
        }

    def respond(self, request: dict[str, Any]) -> Response:
        """Return header and body of the response to one request.

        Parameters
        ----------
        request : dict
            The operation, ``op``, and its arguments.

        Returns
        -------
        tuple of dict, bytes
            After an error the header holds its class and message under ``error`` and ``message``.
        """
        try:
            return self._operations[request["op"]](request)
        except WsigraphError as error:
            return {"error": type(error).__name__, "message": " ".join(str(error).split())}, b""
        except MemoryError:
            self._clear()
            message = "the slide needs more memory than allowed; raise service.slide_memory_gb"
            return {"error": "TooLarge", "message": message}, b""
        except Exception as error:  # noqa: BLE001  (a hostile file may raise anything; it fails its own request)
            return {"error": "UnreadableSlide", "message": f"the slide cannot be read ({type(error).__name__})"}, b""

    def _clear(self) -> None:
        self._slides.clear()
        self._overlays.clear()

    def _describe(self, request: dict[str, Any]) -> Response:
        from wsigraph.service.isolation.slide import describe

        return describe(Path(request["path"]), self._limits), b""

    def _check(self, request: dict[str, Any]) -> Response:
        """Check an upload. Memory held by other slides and a disk that does not answer must not count against it."""
        self._clear()
        try:
            return self._describe(request)
        except (OSError, SlideError) as error:
            fault = _system_fault(error)
            if fault is None:
                raise
            raise Unavailable(f"the file cannot be read ({fault.strerror}); try again") from None

    def _digest(self, request: dict[str, Any]) -> Response:
        from wsigraph.slide.files import locate, slide_digest

        return {"sha256": slide_digest(locate(Path(request["path"])))}, b""

    def _picture(self, request: dict[str, Any]) -> Response:
        import numpy as np
        import simplejpeg  # type: ignore[import-untyped]

        from wsigraph.geometry import Box

        y0, x0, y1, x1 = request["box"]
        pixels = self._open(request).read(Box(y0=y0, x0=x0, y1=y1, x1=x1), request["downsample"])
        if "size" in request and tuple(request["size"]) != pixels.shape[:2]:
            from PIL import Image

            height, width = request["size"]
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
        encoded = simplejpeg.encode_jpeg(pixels, quality=request["quality"], colorspace="RGB", colorsubsampling="420")
        return {}, encoded

    def _associated(self, request: dict[str, Any]) -> Response:
        from wsigraph.service.isolation.associated import encode_associated

        return {}, encode_associated(Path(request["path"]), request["name"], self._limits)

    def _overlay(self, request: dict[str, Any]) -> Response:
        from wsigraph.geometry import Box
        from wsigraph.service.isolation.overlay_tiles import OverlayTiles

        key = (request["directory"], request["version"])
        overlay = self._overlays.get(key)
        if overlay is None:
            overlay = self._overlays[key] = OverlayTiles(Path(request["directory"]))
        if "box" not in request:
            return {"layers": overlay.layers, "size": [overlay.size.height, overlay.size.width]}, b""
        y0, x0, y1, x1 = request["box"]
        return {}, overlay.tile(request["layer"], Box(y0=y0, x0=x0, y1=y1, x1=x1), request["downsample"])

    def _open(self, request: dict[str, Any]) -> IsolatedSlide:
        from wsigraph.service.isolation.slide import IsolatedSlide

        key = (request["path"], request["version"])
        slide = self._slides.get(key)
        if slide is None:
            slide = self._slides[key] = IsolatedSlide(Path(request["path"]), self._limits)
        return slide


def _system_fault(error: BaseException) -> OSError | None:
    """Return the fault of the system behind an error, e.g. too many open files; None if the content is at fault.

    Readers turn an `OSError` into a `SlideError`. Libraries also raise it for damaged pixels, without a number of the
    system, and for an offset or a name that no file has.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno not in _ERRNO_OF_CONTENT:
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def limit_memory(n_bytes: int) -> None:
    """Limit the address space of this process, on systems that support it."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Children(LRUCache[tuple[str, ...], SandboxedChild]):
    """The children of the slides used last. One that is dropped is ended."""

    def popitem(self) -> tuple[tuple[str, ...], SandboxedChild]:
        key, child = super().popitem()
        child.end()
        return key, child


class SandboxedSlides:
    """Answers requests about slides through children in sandboxes.

    Parameters
    ----------
    memory_bytes : int
        Address space of a child.
    decoded_mpx, slide_mpx : float
        Largest decoded area and largest slide, Mpx.
    slide : SlideConfig
        How slides are read.
    """

    def __init__(self, memory_bytes: int, decoded_mpx: float, slide_mpx: float, slide: SlideConfig) -> None:
        self._worker = SlideWorker(decoded_mpx, slide_mpx, slide)
        # of slides that are only kept in case they are used again, all together occupy no more than one may
        self._kept_bytes = max(_MIN_BYTES, memory_bytes // _MAX_CHILDREN)
        self._children = _Children(_MAX_CHILDREN)

    def respond(self, request: dict[str, Any]) -> Response:
        """Return header and body of the response to one request, as `SlideWorker.respond`."""
        target = request.get("path") or request.get("directory")
        if target is None:
            return self._worker.respond(request)
        # without a version nobody can tell whether the file is still the one that the child may read
        key = None if "version" not in request else (str(target), str(request["version"]))
        child = self._children.get(key) if key is not None else None
        if child is None:
            try:
                child = SandboxedChild(Limits(read=_readable(Path(target))), self._serve)
            except OSError as error:
                return {
                    "error": "Unavailable",
                    "message": f"no process for the slide ({error.strerror}); try again",
                }, b""
            if key is not None:
                self._children[key] = child
        try:
            response = child.request(request)
        except (EOFError, OSError, ValueError):
            message = "the slide crashed the process that read it; check the file, or raise service.slide_memory_gb"
            response = {"error": "ReaderLost", "message": message}, b""
            self._end(key, child)
            return response
        if key is None or child.resident_bytes() > self._kept_bytes:
            self._end(key, child)
        return response

    def _end(self, key: tuple[str, ...] | None, child: SandboxedChild) -> None:
        if key is not None:
            self._children.pop(key, None)
        child.end()

    def _serve(self, requests: IO[bytes], responses: IO[bytes]) -> None:
        """Answer the requests about one slide; this runs in a child."""
        while True:
            try:
                request, _ = protocol.receive_message(requests)
            except EOFError:
                return
            protocol.send_message(responses, *self._worker.respond(request))


def _readable(target: Path) -> tuple[Path, ...]:
    """Return what the child for a slide, or for the overlays of a job, may read. The target itself is not opened."""
    # a link that the operator made is followed; its target may have its other files beside it
    targets = {target, target.resolve()}
    return tuple(path for name in targets for path in slide_paths(name, is_upload=is_upload(target)))


def warm() -> None:
    """Do once what only the first tile would wait for: imports, and the compiled code that resamples pixels."""
    import numpy as np
    import simplejpeg

    from wsigraph.geometry import Box, Size
    from wsigraph.slide.opening import reader_names
    from wsigraph.slide.resample import Source, area_average

    reader_names()
    pixels, whole, half = np.zeros((4, 4, 3), np.uint8), Box(y0=0, x0=0, y1=4, x1=4), Box(y0=0, x0=0, y1=2, x1=2)
    for step in (Fraction(2), Fraction(21, 10)):
        area_average(pixels, whole, half, Source(level=0, scale=1, size=Size(4, 4), step=step))
    simplejpeg.encode_jpeg(pixels, colorspace="RGB")


def main(arguments: list[str]) -> None:
    """Answer requests until the service closes the pipe.

    Parameters
    ----------
    arguments : list of str
        Address space in bytes, the largest decoded area and the largest slide in Mpx, the niceness, and the settings
        of slides as JSON.
    """
    from wsigraph.config import SlideConfig

    memory_bytes = int(arguments[0])
    limit_memory(memory_bytes)
    os.nice(int(arguments[3]))
    import_before_fork("wsigraph.slide", "wsigraph.outline", "wsigraph.service.isolation")
    warm()
    slide = SlideConfig.model_validate_json(arguments[4])
    serve_requests(SandboxedSlides(memory_bytes, float(arguments[1]), float(arguments[2]), slide).respond)


def serve_requests(respond: Callable[[dict[str, Any]], Response]) -> None:
    """Answer requests over the standard streams until the service closes them.

    Parameters
    ----------
    respond : callable
        Takes the header of a request and returns header and body of its response.
    """
    # libraries that print to standard output must not write between two messages
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # the time of the first request begins here, after the imports
    protocol.send_message(responses, {"ready": True})
    while True:
        try:
            request, _ = protocol.receive_message(sys.stdin.buffer)
        except EOFError:
            return
        protocol.send_message(responses, *respond(request))


if __name__ == "__main__":
    main(sys.argv[1:])
