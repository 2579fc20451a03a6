"""The page on a folder of many slides: tiles come first, and a prediction is started from it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.service.contexts import make_context
from tests.service.serving import serving
from tests.service.test_viewer import Seen, browser, watch  # noqa: F401  (a fixture)
from wsigraph.service import openseadragon

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Request

N_SLIDES = 40


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, small_slide: Path) -> Iterator[str]:
    """Address of a service on forty slides, none of which was opened before."""
    data = tmp_path_factory.mktemp("many")
    first = data / "slide-00.svs"
    first.write_bytes(small_slide.read_bytes())
    for number in range(1, N_SLIDES):
        os.link(first, data / f"slide-{number:02}.svs")
    with serving(make_context(data)) as address:
        yield address


def test_tiles_come_before_thumbnails_and_a_prediction_is_started(browser: Browser, address: str) -> None:  # noqa: F811
    if not openseadragon.is_installed():
        pytest.skip("OpenSeadragon is not installed; run 'wsigraph viewer'")
    seen, page = Seen(), browser.new_page(viewport={"width": 1440, "height": 900})
    watch(page, seen)
    events: list[str] = []
    asked_at: list[float] = []

    def asks(request: Request) -> None:
        events.append(f"asks {request.url}")
        if request.url.endswith("thumbnail.jpeg"):
            asked_at.append(time.monotonic())

    page.on("requestfinished", lambda request: events.append(f"has {request.url}"))
    page.on("request", asks)
    began = time.monotonic()
    page.goto(f"{address}/")
    page.wait_for_function("() => document.querySelector('#slides img')?.naturalWidth > 0", timeout=60_000)
    tiles = [at for at, event in enumerate(events) if event.startswith("has") and "_files/" in event]
    first_thumbnail = next(at for at, event in enumerate(events) if event.endswith("thumbnail.jpeg"))
    # where a slide takes 15 s to open, its tiles are waited for no longer
    assert asked_at[0] - began > 14 or tiles[0] < first_thumbnail
    # of forty, only those in sight
    page.wait_for_timeout(500)
    assert len(asked_at) < N_SLIDES
    page.locator("#job-kind").select_option("predict")
    page.get_by_role("button", name="Start").click()
    page.locator("#jobs li").filter(has_text="Prediction").wait_for(timeout=60_000)
    (job,) = httpx.get(f"{address}/v1/jobs").json()["jobs"]
    assert (job["kind"], job["target"], job["slide_id"]) == ("predict", None, "slide-00")
    page.close()
    assert seen.faults == []


def test_the_page_of_the_interface_shows_every_operation_under_the_policy(browser: Browser, address: str) -> None:  # noqa: F811
    seen, page = Seen(), browser.new_page()
    watch(page, seen)
    page.goto(f"{address}/docs")
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    paths = httpx.get(f"{address}/v1/openapi.json").json()["paths"]
    assert page.locator(".operation").count() == sum(len(methods) for methods in paths.values())
    page.locator("#read_slide summary").click()
    assert "objective_power" in page.locator("#read_slide pre").inner_text()
    page.locator("#filter").fill("batch")
    assert page.locator(".operation:visible").count() == 1
    policy = page.evaluate("fetch('docs').then((response) => response.headers.get('content-security-policy'))")
    assert "script-src 'self'" in policy
    page.close()
    assert (seen.faults, seen.hosts) == ([], {address})
