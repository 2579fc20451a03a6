"""A thin client of the service: slides, uploads, jobs and their results, with the library's own errors.

It holds no state but its connection; whatever breaks can be done again: an upload goes on where it was, and a job that
was asked for before is found.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from wsigraph import errors

_ACTIVE = ("queued", "running")
_PART_BYTES = 8 * 2**20
_TRIES = 5


class Client:
    """A connection to a service.

    Parameters
    ----------
    address : str
        Where it listens, e.g. ``http://127.0.0.1:8008``.
    token : str, optional
        Where it demands one.
    timeout_s : float, optional
        Longest wait for an answer, s.
    transport : httpx.BaseTransport, optional
        Other than the network, for tests.
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
            If the service refuses or does not answer.
        """
        found: list[dict[str, Any]] = self._json("GET", "/v1/slides")["slides"]
        return found

    def slide(self, slide_id: str) -> dict[str, Any]:
        """Return what a slide says of itself.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        return self._json("GET", f"/v1/slides/{quote(slide_id, safe='')}")

    def tile(self, slide_id: str, level: int, col: int, row: int) -> bytes:
        """Return a Deep Zoom tile as JPEG.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        return self._ask("GET", f"/v1/slides/{quote(slide_id, safe='')}/tiles/{level}/{col}_{row}.jpeg").content

    def upload(self, path: Path | str, progress: Callable[[int, int], None] | None = None) -> str:
        """Send a slide in parts, going on where a broken connection left it.

        Parameters
        ----------
        path : Path or str
            A slide of one file.
        progress : callable, optional
            Told (bytes sent, bytes in all).

        Returns
        -------
        str
            Its ``slide_id``.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        SlideError
            If it is no slide that reads.
        """
        path = Path(path)
        standing = self._json("POST", "/v1/uploads", json={"name": path.name, "size": path.stat().st_size})
        address, failed = f"/v1/uploads/{standing['upload_id']}", 0
        with path.open("rb") as stream:
            while standing["slide_id"] is None:
                stream.seek(standing["offset"])
                part = stream.read(_PART_BYTES)
                try:
                    headers = {"Upload-Offset": str(standing["offset"])}
                    standing = self._json("PATCH", address, content=part, headers=headers)
                except (errors.Conflict, errors.Unavailable):
                    # not there at the moment, or the service is at work on a part whose answer was lost
                    failed += 1
                    if failed > _TRIES:
                        raise
                    time.sleep(2.0**failed)
                    standing = self._json("GET", address)
                if progress is not None:
                    progress(standing["offset"], standing["size"])
        return str(standing["slide_id"])

    def start(
        self, slide_id: str, kind: str = "predict", target: str = "risk", mpp: float | None = None
    ) -> dict[str, Any]:
        """Start a prediction or an explanation, or find the equal one.

        Parameters
        ----------
        slide_id : str
            The slide.
        kind : str
            ``predict`` or ``explain``.
        target : str
            ``risk``, ``stage`` or ``survival@DAYS``, for an explanation.
        mpp : float, optional
            Pixel size that wins over the file's, um/px.

        Returns
        -------
        dict
            The job.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        return self._json("POST", "/v1/jobs", json={"slide_id": slide_id, "kind": kind, "target": target, "mpp": mpp})

    def jobs(self, state: str | None = None) -> list[dict[str, Any]]:
        """Return jobs, the latest first.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        query = {} if state is None else {"state": state}
        found: list[dict[str, Any]] = self._json("GET", "/v1/jobs", params=query)["jobs"]
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """Return how a job stands.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        return self._json("GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        return self._json("DELETE", f"/v1/jobs/{job_id}")

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield the job at each of its changes until it has ended.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        with _told(), self._http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=httpx.Timeout(60.0)) as answer:
            if answer.is_error:
                answer.read()
            _refuse(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def wait(self, job_id: str, *, timeout_s: float = 3600.0, every_s: float = 1.0) -> dict[str, Any]:
        """Return a job that is done.

        Parameters
        ----------
        job_id : str
            The job.
        timeout_s : float
            Longest wait, s.
        every_s : float
            Time between two looks, s.

        Returns
        -------
        dict
            The job.

        Raises
        ------
        ServiceError
            If it takes longer, was cancelled, or the service refuses or does not answer.
        WsigraphError
            What the job failed of.
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
        """Return a file that a job has left.

        Raises
        ------
        ServiceError
            If the service refuses or does not answer.
        """
        return self._ask("GET", f"/v1/jobs/{job_id}/results/{name}").content

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
        found: dict[str, Any] = self._ask(method, path, **options).json()
        return found

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _told():
            answer = self._http.request(method, path, **options)
        _refuse(answer)
        return answer


class _told:  # noqa: N801  (read as a verb: with _told())
    """Turns what the network does into errors of the library."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, httpx.TransportError):
            raise errors.Unavailable(
                f"the service does not answer ({str(error) or type(error).__name__}); start it with 'wsigraph serve' "
                "or correct its address"
            ) from None


def _refuse(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        told: Mapping[str, Any] = answer.json()
    except ValueError:
        told = {}
    detail = str(told.get("detail", f"the service answers {answer.status_code}"))
    raise _error(str(told.get("title", "")), detail)


def _error(kind: str, message: str) -> errors.WsigraphError:
    found = getattr(errors, kind, None)
    is_own = isinstance(found, type) and issubclass(found, errors.WsigraphError)
    made: errors.WsigraphError = found(message) if is_own and found is not None else errors.ServiceError(message)
    return made
