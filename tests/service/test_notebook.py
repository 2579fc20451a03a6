"""`wsigraph.view`: the viewer of one slide, in a frame of a page of another origin."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import wsigraph
from tests.service.finished import Finished
from tests.service.proxy import proxied
from tests.service.test_viewer import Seen, browser, watch  # noqa: F401  (a fixture)
from wsigraph.errors import ServiceError, UnreadableSlide
from wsigraph.service import openseadragon
from wsigraph.service.notebook import SlideView, _base

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def shown(finished: Finished) -> Iterator[SlideView]:
    """The explained slide with its results."""
    view = wsigraph.view(finished.data / f"{finished.slide_id}.svs", results=finished.records.parent)
    yield view
    view.close()


def test_a_view_serves_its_slide_and_nothing_else(shown: SlideView, finished: Finished) -> None:
    address = shown.url.partition("#")[0]
    slides = httpx.get(f"{address}v1/slides").json()["slides"]
    assert [slide["slide_id"] for slide in slides] == [finished.slide_id]
    assert not (finished.data / "wsigraph-view").exists()
    (job,) = httpx.get(f"{address}v1/jobs").json()["jobs"]
    assert (job["state"], job["kind"]) == ("done", "explain")


def test_who_does_not_know_the_key_gets_nothing(shown: SlideView) -> None:
    origin = "/".join(shown.url.split("/")[:3])
    for path in ("/", "/v1/slides", "/v1/health", "/viewer/main.js", "/wrong/v1/slides"):
        assert httpx.get(origin + path).status_code == 404, path
    assert len(shown.url.split("/")[3]) >= 32


def test_a_notebook_of_another_origin_shows_the_viewer_in_a_frame(
    browser: Browser,  # noqa: F811
    shown: SlideView,
) -> None:
    if not openseadragon.is_installed():
        pytest.skip("OpenSeadragon is not installed; run 'wsigraph viewer'")

    class Notebook(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>notebook</title>" + shown._repr_html_().encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Notebook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen, page = Seen(), browser.new_page(viewport={"width": 1300, "height": 700})
    watch(page, seen)
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    frame = page.frame_locator("iframe")
    frame.locator("#prediction .bars").wait_for(state="attached", timeout=60_000)
    frame.locator(".sight canvas").first.wait_for(timeout=60_000)
    page.close()
    server.shutdown()
    server.server_close()
    assert [fault for fault in seen.faults if "favicon" not in fault and "404" not in fault] == []


def test_a_view_works_through_the_proxy_of_a_notebook_server(shown: SlideView) -> None:
    origin, key = "/".join(shown.url.split("/")[:3]), shown.url.split("/")[3]
    with proxied(origin, "/user/me/proxy/40123") as behind:
        assert httpx.get(f"{behind}/{key}/v1/slides").json()["total"] == 1
        assert httpx.get(f"{behind}/{key}/viewer/main.js").status_code == 200


def test_the_address_follows_the_notebook_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    assert _base(5, None) == "http://127.0.0.1:5/"
    assert _base(5, "/user/me/") == "/user/me/proxy/5/"
    assert _base(5, "/") == "/proxy/5/"
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    assert _base(5, None) == "/user/me/proxy/5/"


def test_a_closed_view_answers_no_more(small_slide: Path) -> None:
    with wsigraph.read(small_slide) as slide:
        view = wsigraph.view(slide)
    address = view.url.partition("#")[0]
    assert httpx.get(f"{address}v1/slides").status_code == 200
    view.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}v1/slides")


def test_what_is_no_slide_or_no_run_is_refused(tmp_path: Path, small_slide: Path) -> None:
    with pytest.raises(UnreadableSlide, match="does not exist"):
        wsigraph.view(tmp_path / "nothing.svs")
    with pytest.raises(ServiceError, match="--results"):
        wsigraph.view(small_slide, results=tmp_path)
