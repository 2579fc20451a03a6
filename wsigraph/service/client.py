"""HTTP client of the service: slides, uploads, jobs and results. It raises the errors of the library.

It has no state except the connection, and every call can be repeated: an upload resumes at its offset, and an equal job
is returned instead of started again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from wsigraph import errors

_ACTIVE = ("queued", "running")
_PART_BYTES = 8 * 2**20
_MAX_TRIES = 5


class Client:
    """A connection to a service.

    Parameters
    ----------
    address : str
        Address of the service, e.g. ``http://127.0.0.1:8008``.
    token : str, optional
        Token, if the service requires one.
    timeout_s : float, optional
        Longest wait for a response, s.
    transport : httpx.BaseTransport, optional
        Transport for tests.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8008",
        token: str | None = None,
        *,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout_s, transport=transport)

    def slides(self) -> list[dict[str, Any]]:
        """Return all slides.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        slides: list[dict[str, Any]] = self._json("GET", "/v1/slides")["slides"]
        return slides

    def slide(self, slide_id: str) -> dict[str, Any]:
        """Return the metadata of a slide.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._json("GET", f"/v1/slides/{quote(slide_id, safe='')}")

    def tile(self, slide_id: str, level: int, col: int, row: int) -> bytes:
        """Return a Deep Zoom tile as JPEG.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._request("GET", f"/v1/slides/{quote(slide_id, safe='')}/dzi_files/{level}/{col}_{row}.jpeg").content

    def region(self, slide_id: str, x: int, y: int, w: int, h: int, scale: float = 1.0) -> bytes:
        """Return a region of a slide as JPEG.

        Parameters
        ----------
        slide_id : str
            Identifier of the slide.
        x, y, w, h : int
            Upper left corner, width and height in level-0 px.
        scale : float
            Output pixels along one level-0 pixel, at most 1.

        Returns
        -------
        bytes
            JPEG of round(w * scale) by round(h * scale) pixels.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        query = {"x": x, "y": y, "w": w, "h": h, "scale": scale}
        return self._request("GET", f"/v1/slides/{quote(slide_id, safe='')}/region.jpeg", params=query).content

    def upload(self, path: Path | str, progress: Callable[[int, int], None] | None = None) -> str:
        """Upload a slide in parts, and resume after a lost connection.

        Parameters
        ----------
        path : Path or str
            A slide in a single file.
        progress : callable, optional
            Called with the sent and the total number of bytes.

        Returns
        -------
        str
            The ``slide_id``.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        SlideError
            If the file is not a slide that can be read.
        """
        path = Path(path)
        status = self._json("POST", "/v1/uploads", json={"name": path.name, "size": path.stat().st_size})
        address, n_failed = f"/v1/uploads/{status['upload_id']}", 0
        with path.open("rb") as stream:
            while status["slide_id"] is None:
                if status["error"]:
                    raise _error(status["error"]["kind"], status["error"]["message"])
                try:
                    stream.seek(status["offset"])
                    # after the last byte an empty part waits for the verdict
                    part = stream.read(_PART_BYTES)
                    headers = {"Upload-Offset": str(status["offset"])}
                    status = self._json("PATCH", address, content=part, headers=headers)
                    if status["detail"]:
                        raise errors.Unavailable(status["detail"])
                except (errors.Conflict, errors.Unavailable):
                    # the service is not available, or still handles a part whose response was lost
                    n_failed += 1
                    if n_failed > _MAX_TRIES:
                        raise
                    time.sleep(2.0**n_failed)
                    with suppress(errors.Unavailable):
                        # where it is still away, the next part fails and counts
                        status = self._json("GET", address)
                if progress is not None:
                    progress(status["offset"], status["size"])
        return str(status["slide_id"])

    def start(
        self, slide_id: str, kind: str = "predict", target: str = "risk", mpp: float | None = None
    ) -> dict[str, Any]:
        """Start a prediction or an explanation, or return an equal job.

        Parameters
        ----------
        slide_id : str
            Identifier of the slide.
        kind : str
            ``predict`` or ``explain``.
        target : str
            ``risk``, ``stage`` or ``survival@DAYS``, for an explanation.
        mpp : float, optional
            Pixel size that overrides the file's, um/px.

        Returns
        -------
        dict
            The job.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._json("POST", "/v1/jobs", json={"slide_id": slide_id, "kind": kind, "target": target, "mpp": mpp})

    def start_many(self, slide_ids: Sequence[str], kind: str = "predict", target: str = "risk") -> dict[str, Any]:
        """Start the same job on up to 1000 slides.

        Parameters
        ----------
        slide_ids : sequence of str
            Identifiers of the slides.
        kind, target : str
            As in `start`.

        Returns
        -------
        dict
            ``jobs``, and ``not_started``: the slides that were refused, with their errors.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._json("POST", "/v1/jobs/batch", json={"slide_ids": list(slide_ids), "kind": kind, "target": target})

    def jobs(self, state: str | None = None) -> list[dict[str, Any]]:
        """Return jobs, latest first.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        query = {} if state is None else {"state": state}
        jobs: list[dict[str, Any]] = self._json("GET", "/v1/jobs", params=query)["jobs"]
        return jobs

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._json("GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._json("DELETE", f"/v1/jobs/{job_id}")

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield the job at every change until it has ended.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        with (
            _transport_errors(),
            self._http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=httpx.Timeout(60.0)) as response,
        ):
            if response.is_error:
                response.read()
            _raise_for_status(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def wait(self, job_id: str, *, timeout_s: float = 3600.0, every_s: float = 1.0) -> dict[str, Any]:
        """Wait until a job is done and return it.

        Parameters
        ----------
        job_id : str
            Identifier of the job.
        timeout_s : float
            Longest wait, s.
        every_s : float
            Time between two requests, s.

        Returns
        -------
        dict
            The job.

        Raises
        ------
        ServiceError
            If the job takes longer or was cancelled, or the service refuses the request or does not answer.
        WsigraphError
            The error of a failed job.
        """
        until = time.monotonic() + timeout_s
        while (job := self.job(job_id))["state"] in _ACTIVE:
            if time.monotonic() > until:
                raise errors.ServiceError(f"job {job_id!r} is {job['state']} after {timeout_s:g} s; wait longer")
            time.sleep(every_s)
        if job["state"] == "failed":
            raise _error(job["error"]["kind"], job["error"]["message"])
        if job["state"] == "cancelled":
            raise errors.ServiceError(f"job {job_id!r} was cancelled; start it again")
        return job

    def result(self, job_id: str, name: str = "prediction.json") -> bytes:
        """Return a result file of a job.

        Raises
        ------
        ServiceError
            If the service refuses the request or does not answer.
        """
        return self._request("GET", f"/v1/jobs/{job_id}/results/{name}").content

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        content: dict[str, Any] = self._request(method, path, **options).json()
        return content

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _transport_errors():
            response = self._http.request(method, path, **options)
        _raise_for_status(response)
        return response


@contextmanager
def _transport_errors() -> Iterator[None]:
    """Turn network errors into errors of the library."""
    try:
        yield
    except httpx.TransportError as error:
        raise errors.Unavailable(
            f"the service does not answer ({str(error) or type(error).__name__}); start it with 'wsigraph serve' or "
            "correct its address"
        ) from None


def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        problem: Mapping[str, Any] = response.json()
    except ValueError:
        problem = {}
    detail = str(problem.get("detail", f"the service responds {response.status_code}"))
    raise _error(str(problem.get("title", "")), detail)


def _error(kind: str, message: str) -> errors.WsigraphError:
    error_class = getattr(errors, kind, None)
    if isinstance(error_class, type) and issubclass(error_class, errors.WsigraphError):
        return error_class(message)
    return errors.ServiceError(message)
