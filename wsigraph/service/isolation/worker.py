"""The process that opens slides: ``python -m wsigraph.service.isolation.worker``, started by the service alone.

It answers one request after another on its standard streams, under a limit on its address space. A file that makes it
crash, hang or grow ends this process and one request, never the service.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsigraph.errors import Unavailable, WsigraphError
from wsigraph.service.isolation import protocol

_KEPT, _MAPS_KEPT = 8, 2
Answer = tuple[dict[str, Any], bytes]


class Answers:
    """Answers requests about slides; keeps the last few open."""

    def __init__(self, decoded_mpx: float, slide_mpx: float) -> None:
        from wsigraph.service.isolation.slide import PixelLimits

        self._limits = PixelLimits(decoded_mpx=decoded_mpx, slide_mpx=slide_mpx)
        self._slides: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._maps: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._by_name: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "ping": lambda _: ({}, b""),
            "describe": self._describe,
            "check": self._check,
            "digest": self._digest,
            "picture": self._picture,
            "associated": self._associated,
            "overlay": self._overlay,
        }

    def answer(self, request: dict[str, Any]) -> Answer:
        """Return header and body of the answer to one request.

        Parameters
        ----------
        request : dict
            ``op`` and what it needs.

        Returns
        -------
        tuple of dict, bytes
            For an error its class and message under ``error`` and ``message``.
        """
        try:
            return self._by_name[request["op"]](request)
        except WsigraphError as error:
            return {"error": type(error).__name__, "message": " ".join(str(error).split())}, b""
        except MemoryError:
            self._slides.clear()
            self._maps.clear()
            message = "the slide needs more memory than a slide may take; raise service.slide_memory_gb"
            return {"error": "TooLarge", "message": message}, b""
        except Exception as error:  # noqa: BLE001  (whatever a hostile file provokes is the answer to its request)
            return {"error": "UnreadableSlide", "message": f"the slide does not read ({type(error).__name__})"}, b""

    def _describe(self, request: dict[str, Any]) -> Answer:
        from wsigraph.service.isolation.slide import describe

        return describe(Path(request["path"]), self._limits), b""

    def _check(self, request: dict[str, Any]) -> Answer:
        """Judge an upload by itself: not for the memory that other slides take, nor for a disk that does not answer."""
        self._slides.clear()
        self._maps.clear()
        try:
            return self._describe(request)
        except OSError as error:
            raise Unavailable(f"the file cannot be read ({error.strerror}); try again") from None

    def _digest(self, request: dict[str, Any]) -> Answer:
        from wsigraph.slide.files import locate, slide_digest

        return {"sha256": slide_digest(locate(Path(request["path"])))}, b""

    def _picture(self, request: dict[str, Any]) -> Answer:
        import simplejpeg  # type: ignore[import-untyped]

        from wsigraph.geometry import Box

        y0, x0, y1, x1 = request["box"]
        pixels = self._open(request).read(Box(y0=y0, x0=x0, y1=y1, x1=x1), request["downsample"])
        encoded = simplejpeg.encode_jpeg(pixels, quality=request["quality"], colorspace="RGB", colorsubsampling="420")
        return {}, encoded

    def _associated(self, request: dict[str, Any]) -> Answer:
        from wsigraph.service.isolation.associated import encode_associated

        return {}, encode_associated(Path(request["path"]), request["name"], self._limits)

    def _overlay(self, request: dict[str, Any]) -> Answer:
        from wsigraph.geometry import Box
        from wsigraph.service.isolation.overlay_tiles import Overlays

        key = (request["directory"], request["version"])
        maps = self._maps.pop(key, None) or Overlays(Path(request["directory"]))
        self._maps[key] = maps
        while len(self._maps) > _MAPS_KEPT:
            self._maps.popitem(last=False)
        if "box" not in request:
            return {"layers": maps.layers, "size": [maps.size.height, maps.size.width]}, b""
        y0, x0, y1, x1 = request["box"]
        return {}, maps.tile(request["layer"], Box(y0=y0, x0=x0, y1=y1, x1=x1), request["downsample"])

    def _open(self, request: dict[str, Any]) -> Any:
        from wsigraph.service.isolation.slide import OpenedSlide

        key = (request["path"], request["version"])
        slide = self._slides.pop(key, None) or OpenedSlide(Path(request["path"]), self._limits)
        self._slides[key] = slide
        while len(self._slides) > _KEPT:
            self._slides.popitem(last=False)[1].close()
        return slide


def limit_memory(n_bytes: int) -> None:
    """Bound the address space of this process, where the system knows how."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(arguments: list[str]) -> None:
    """Answer requests until the service ends.

    Parameters
    ----------
    arguments : list of str
        Address space in bytes; most decoded and most slide pixels in Mpx.
    """
    limit_memory(int(arguments[0]))
    # what libraries print must not get between the frames
    answers_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answers = Answers(float(arguments[1]), float(arguments[2]))
    while True:
        try:
            request, _ = protocol.receive(sys.stdin.buffer)
        except EOFError:
            return
        protocol.send(answers_to, *answers.answer(request))


if __name__ == "__main__":
    main(sys.argv[1:])
