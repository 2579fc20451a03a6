"""One client that asks for everything at once delays others little."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.cli.command import command
from tests.service.contexts import TOKENS, bearer, make_context, settings, tokens, write_slide
from tests.service.finished import Finished
from tests.service.serving import serving
from tests.service.test_supervisor import until
from wsigraph.errors import TooMany, Unavailable
from wsigraph.service.isolation.fair_queue import FairQueue, Lease
from wsigraph.service.request_context import Priority, RequestContext
from wsigraph.service.security.admission import Admission, kind_of_request
from wsigraph.service.security.auth import digest

GOAL_MS = 300.0


class Asking:
    """Threads that ask a queue of one worker, and the order in which they get it."""

    def __init__(self, queue: FairQueue[str]) -> None:
        self.queue, self.order = queue, list[str]()
        self._threads: list[threading.Thread] = []

    def ask(self, name: str, priority: int, caller: str, seconds: float = 0.0) -> None:
        def run() -> None:
            lease = self.queue.acquire(priority, caller, name, 30.0)
            assert lease is not None
            self.order.append(name)
            time.sleep(seconds)
            self.queue.release(lease)

        n_waiting = self.queue.n_waiting
        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        until(lambda: self.queue.n_waiting == n_waiting + 1, "it waits")

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join(30)
        return self.order


@pytest.fixture
def taken() -> tuple[Asking, Lease[str]]:
    queue = FairQueue(["worker"])
    lease = queue.acquire(Priority.TILE, "someone", "", 1.0)
    assert lease is not None
    return Asking(queue), lease


def test_the_most_urgent_class_goes_first(taken: tuple[Asking, Lease[str]]) -> None:
    asking, lease = taken
    for priority in reversed(Priority):
        asking.ask(priority.name, priority, "a")
    asking.queue.release(lease)
    assert asking.join() == ["TILE", "REGION", "THUMBNAIL", "CHECK", "DIGEST"]


def test_callers_get_equal_shares(taken: tuple[Asking, Lease[str]]) -> None:
    asking, lease = taken
    for number in range(6):
        asking.ask(f"greedy-{number}", Priority.TILE, "greedy", 0.02)
    for number in range(2):
        asking.ask(f"other-{number}", Priority.TILE, "other", 0.02)
    asking.queue.release(lease)
    order = asking.join()
    # each of the other's requests waits for one of the greedy client's, not for all
    assert order.index("other-0") <= 1
    assert order.index("other-1") <= 4


def test_the_lowest_class_does_not_wait_for_ever() -> None:
    now = 0.0
    queue = FairQueue(["worker"], clock=lambda: now)
    lease = queue.acquire(Priority.TILE, "a", "", 1.0)
    asking = Asking(queue)
    asking.ask("digest", Priority.DIGEST, "b")
    now = 10.0
    asking.ask("tile", Priority.TILE, "c")
    assert lease is not None
    queue.release(lease)
    assert asking.join() == ["digest", "tile"]


def test_a_slow_slide_leaves_a_worker_for_others() -> None:
    now = 0.0
    queue = FairQueue(["one", "two"], clock=lambda: now)
    lease = queue.acquire(Priority.TILE, "a", "slow.svs", 1.0)
    assert lease is not None
    now = 5.0
    queue.release(lease)
    first = queue.acquire(Priority.TILE, "a", "slow.svs", 1.0)
    assert first is not None
    assert queue.acquire(Priority.TILE, "b", "slow.svs", 0.05) is None
    other = queue.acquire(Priority.TILE, "c", "quick.svs", 1.0)
    assert other is not None
    queue.release(first)
    queue.release(other)


def test_a_client_that_leaves_waits_no_longer(taken: tuple[Asking, Lease[str]]) -> None:
    asking, _ = taken
    request = RequestContext("a")
    threading.Timer(0.1, request.leave).start()
    started = time.monotonic()
    assert asking.queue.acquire(Priority.TILE, "a", "", 30.0, request) is None
    assert time.monotonic() - started < 5
    assert asking.queue.n_waiting == 0


def test_requests_of_one_caller_wait_for_each_other_and_not_for_another() -> None:
    async def run() -> tuple[int, int]:
        admission, go = Admission(settings().service), asyncio.Event()
        running: dict[str, int] = {"greedy": 0, "other": 0}

        async def request(caller: str) -> None:
            async with admission.admit(caller, "ablation", None):
                running[caller] += 1
                await go.wait()

        tasks = [asyncio.create_task(request("greedy")) for _ in range(150)]
        tasks.append(asyncio.create_task(request("other")))
        await asyncio.sleep(0.05)
        before = dict(running)
        for task in tasks[:50]:
            task.cancel()
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not admission._lanes
        return before["greedy"], before["other"]

    assert asyncio.run(run()) == (4, 1)


def test_too_many_requests_together_are_refused_at_once() -> None:
    async def run() -> None:
        admission = Admission(settings("service.requests_at_once=8").service)
        async with AsyncExit() as stack:
            for number in range(8):
                await stack.enter(admission.admit(str(number), "other", None))
            with pytest.raises(Unavailable, match="as many requests as it can"):
                await stack.enter(admission.admit("9", "other", None))

    asyncio.run(run())


class AsyncExit:
    """A small AsyncExitStack whose names read well."""

    def __init__(self) -> None:
        from contextlib import AsyncExitStack

        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AsyncExit:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def enter(self, context) -> object:
        return await self._stack.enter_async_context(context)


def test_event_streams_are_counted_by_caller(finished: Finished) -> None:
    limits = ("service.streams_caller_max=3", "service.streams_max=5")
    service = make_context(finished.data, *limits, tokens=tokens())
    with serving(service) as url, httpx.Client(base_url=url, headers=bearer("run")) as client, ExitStack() as stack:
        wanted = {"slide_id": finished.slide_id, "target": "survival@700", "kind": "explain"}
        job_id = client.post("/v1/jobs", json=wanted).json()["job_id"]

        def follow(role: str) -> int:
            stream = client.stream("GET", f"/v1/jobs/{job_id}/events", headers=bearer(role))
            return stack.enter_context(stream).status_code

        assert [follow("run") for _ in range(4)] == [200, 200, 200, 429]
        assert [follow("read") for _ in range(3)] == [200, 200, 429]
        stack.close()
        until(lambda: follow("admin") == 200, "places of those who left are free")


def test_forwarded_addresses_are_believed_from_trusted_proxies_only(finished: Finished) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9, 10.1.2.3"}
    narrow = ("service.requests_burst=3", "service.requests_per_s=0.01")
    for trusted, addresses in (("[]", {"127.0.0.1"}), ('["127.0.0.1","10.0.0.0/8"]', {"203.0.113.9"})):
        service = make_context(finished.data, *narrow, f"service.trusted_proxies={trusted}", tokens=tokens())
        with serving(service) as url, httpx.Client(base_url=url) as client:
            statuses = [client.get("/v1/slides", headers=forged).status_code for _ in range(4)]
            assert statuses == [401, 401, 401, 429]
            # another client behind the proxy is only another one where the proxy is believed
            other = client.get("/v1/slides", headers={"X-Forwarded-For": "198.51.100.7"}).status_code
            assert other == (429 if trusted == "[]" else 401)
        lines = (service.state / "audit.log").read_text().splitlines()[-5:-1]
        assert {json.loads(line)["address"] for line in lines} == addresses


def test_work_is_cancelled_when_the_client_leaves(finished: Finished) -> None:
    import os
    import signal

    service = make_context(finished.data)
    with serving(service) as url:
        service.pool.request({"op": "ping"}, time_s=120)
        reader = service.pool._all[0].start().pid
        os.kill(reader, signal.SIGSTOP)
        try:
            with ExitStack() as stack:
                for number in range(6):
                    client = stack.enter_context(httpx.Client(base_url=url, timeout=6.0))
                    # tiles of the highest level: lower ones may be on disk from another test
                    address = f"/v1/slides/{finished.slide_id}/tiles/12/{number}_0.jpeg"
                    threading.Thread(target=lambda c=client, a=address: _ignore_errors(c, a), daemon=True).start()
                until(lambda: service.turns.n_waiting == 5, "five wait for the one that is being made")
                # each client gives up after six seconds, by when all have arrived on a busy machine too
                until(lambda: service.turns.n_waiting == 0, "nobody waits any more")
        finally:
            os.kill(reader, signal.SIGCONT)


def _ignore_errors(client: httpx.Client, address: str) -> None:
    try:
        client.get(address)
    except httpx.TransportError:
        return


@pytest.mark.parametrize(("path", "kind", "priority"), [
    ("/v1/slides/a/tiles/3/0_0.jpeg", "tile", Priority.TILE),
    ("/v1/slides/a_files/3/0_0.jpeg", "tile", Priority.TILE),
    ("/v1/jobs/a/regions/3/crop.jpeg", "image", Priority.REGION),
    ("/v1/slides/a/thumbnail.jpeg", "image", Priority.THUMBNAIL),
    ("/v1/jobs/a/ablation", "ablation", Priority.REGION),
    ("/v1/uploads/a", "upload", Priority.CHECK),
    ("/v1/jobs/a/events", "stream", Priority.REGION),
])  # fmt: skip
def test_requests_have_kinds(path: str, kind: str, priority: Priority) -> None:
    assert kind_of_request(path) == (kind, priority)


def test_streams_beyond_the_limit_of_one_caller_are_refused() -> None:
    async def run() -> None:
        admission = Admission(settings("service.streams_caller_max=1").service)
        async with admission.admit("a", "stream", None):
            with pytest.raises(TooMany, match="1 event streams of this client"):
                async with admission.admit("a", "stream", None):
                    pass
        async with admission.admit("a", "stream", None):
            pass

    asyncio.run(run())


@contextmanager
def started(data: Path, token_file: Path) -> Iterator[str]:
    words = command(
        "serve", "--data", data, "--port", 0, "--cluster", "threads", "--workers", 1, "--token-file", token_file
    )
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found
        yield found.group()
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()  # type: ignore[union-attr]


def tile_times(client: httpx.Client, slide_id: str, lasts_s: float) -> list[float]:
    """Ask for tiles one after another, as a viewer that pans; return the latency of each, ms."""
    taken, end, number = [], time.monotonic() + lasts_s, 0
    while time.monotonic() < end:
        level, side = 12, 16
        address = f"/v1/slides/{slide_id}/tiles/{level}/{number % side}_{number // side % 11}.jpeg"
        begun = time.monotonic()
        assert client.get(address).status_code == 200
        taken.append((time.monotonic() - begun) * 1e3)
        number += 1
        time.sleep(0.02)
    return taken


@pytest.mark.slow
def test_tiles_of_others_while_one_client_asks_for_everything(finished: Finished, tmp_path: Path, capsys) -> None:
    """Measures the 95th percentile of the others' tiles; before this queue one tile waited 37 s."""
    write_slide(finished.data / "other.tiff", 2800, 4000)
    token_file = tmp_path / "tokens"
    token_file.touch(mode=0o600)
    token_file.write_text("".join(f"{role}:{role}:{digest(TOKENS[role])}\n" for role in ("read", "run")))
    with (
        started(finished.data, token_file) as url,
        httpx.Client(base_url=url, headers=bearer("read"), timeout=120) as client,
    ):
        until(lambda: _answers(client), "it answers", 60)
        tile_times(client, "other", 1.0)
        quiet = tile_times(client, "other", 3.0)
        greedy = subprocess.Popen(
            [sys.executable, "-m", "tests.service.greedy", url, TOKENS["run"], finished.job_id, "150", "8"],
            stdout=subprocess.PIPE,
        )
        assert greedy.stdout is not None
        # the picture is made, and now everything is sent
        n_bytes = json.loads(greedy.stdout.readline())["png_bytes"]
        time.sleep(0.5)
        busy = tile_times(client, "other", 10.0)
        still_waits = greedy.poll() is None
        report = read_report(greedy)
    p95 = {name: round(float(np.percentile(times, 95)), 1) for name, times in (("quiet", quiet), ("busy", busy))}
    with capsys.disabled():
        print(f"\ntiles p95 ms {p95}, max {max(busy):.0f}, n {len(busy)}; PNG {n_bytes} B; {report}")
    # what was measured is a time in which the greedy client's requests ran and waited
    assert still_waits or report
    if report:
        assert set(report["ablations"]) == {200}
        assert set(report["uploads"]) <= {201, 202}
    assert p95["busy"] <= GOAL_MS


def read_report(greedy: subprocess.Popen[bytes]) -> dict[str, list[float]]:
    """Return what the greedy client got; empty if it still waits after a minute, as on a busy machine."""
    try:
        report: dict[str, list[float]] = json.loads(greedy.communicate(timeout=60)[0])
    except subprocess.TimeoutExpired:
        greedy.kill()
        greedy.communicate()
        return {}
    return report


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/slides").status_code == 200
    except httpx.TransportError:
        return False
