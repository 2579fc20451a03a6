"""The service behind a path prefix, with a real proxy, by HTTP and in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx
import pytest

from tests.service.contexts import make_context
from tests.service.finished import Finished, opened
from tests.service.proxy import proxied
from tests.service.serving import serving
from tests.service.test_viewer import Seen, browser, drawn, watch  # noqa: F401  (a fixture)
from wsigraph.errors import ServiceError
from wsigraph.service import openseadragon
from wsigraph.service.client import Client
from wsigraph.service.path_prefix import check_prefix

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PREFIX = "/user/me/proxy/8008"


@pytest.fixture(scope="module")
def behind(finished: Finished) -> Iterator[str]:
    """Address of the service behind a proxy that removes the prefix; the service knows nothing of it."""
    with serving(opened(finished)) as address, proxied(address, PREFIX) as behind:
        yield behind


def test_the_page_works_behind_a_prefix(browser: Browser, behind: str, finished: Finished) -> None:  # noqa: F811
    if not openseadragon.is_installed():
        pytest.skip("OpenSeadragon is not installed; run 'wsigraph viewer'")
    seen, context = Seen(), browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    watch(page, seen)
    paths: list[str] = []
    page.on("request", lambda request: paths.append(request.url))
    page.goto(f"{behind}/#slide={finished.slide_id}&job={finished.job_id}")
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    page.wait_for_selector("#prediction .bars", state="attached", timeout=60_000)
    drawn(page)
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter(({ name }) => name.includes('_files/')).length >= 4"
    )
    page.keyboard.press("n")
    page.wait_for_function("() => document.querySelector('#region .crop img')?.naturalWidth > 0", timeout=60_000)
    page.locator("#job-target").select_option("survival")
    page.locator("#job-days").fill("555")
    page.get_by_role("button", name="Start").click()
    row = page.locator("#jobs li").filter(has_text="survival@555")
    row.get_by_title("Cancel").click()
    row.filter(has_text="cancelled").wait_for()
    context.close()
    assert seen.faults == []
    assert {path for path in paths if not path.startswith((behind, "data:", "blob:"))} == set()


def test_the_client_works_behind_a_prefix(behind: str, finished: Finished, small_slide: Path) -> None:
    with Client(behind) as service:
        assert finished.slide_id in [slide["slide_id"] for slide in service.slides()]
        assert service.job(finished.job_id)["state"] == "done"
        assert service.upload(small_slide).startswith("CMU-1")


def test_locations_hold_behind_a_prefix(behind: str, finished: Finished) -> None:
    request = {"slide_id": finished.slide_id, "kind": "explain", "target": "risk"}
    response = httpx.post(f"{behind}/v1/jobs", json=request)
    assert httpx.get(urljoin(str(response.url), response.headers["location"])).json()["job_id"] == finished.job_id


@pytest.mark.parametrize("strips", [True, False])
def test_a_known_prefix_may_be_passed_on_by_the_proxy(data: Path, strips: bool) -> None:
    with (
        serving(make_context(data), root_path=PREFIX) as address,
        proxied(address, PREFIX, strips=strips) as behind,
    ):
        assert httpx.get(f"{behind}/v1/slides").json()["slides"]
        assert httpx.get(f"{behind}/viewer/main.js").status_code == 200
        assert httpx.get(f"{behind}/v1/openapi.json").json()["servers"] == [{"url": PREFIX}]
        assert httpx.get(f"{address}/v1/health").json()["status"] == "ok"
        assert httpx.get(f"{address}{PREFIX}", follow_redirects=True).text.startswith("<!doctype html>")


def test_a_page_of_the_same_origin_may_write_though_the_proxy_replaced_the_host(behind: str) -> None:
    there = {"Origin": "https://hub.example.org"}
    own = httpx.post(
        f"{behind}/v1/uploads", json={"name": "a.svs", "size": 9}, headers={**there, "Sec-Fetch-Site": "same-origin"}
    )
    assert own.status_code == 201
    for site in ("cross-site", "same-site"):
        headers = {**there, "Sec-Fetch-Site": site}
        assert httpx.post(f"{behind}/v1/uploads", json={"name": "a.svs", "size": 9}, headers=headers).status_code == 403
    assert httpx.post(f"{behind}/v1/uploads", json={"name": "a.svs", "size": 9}, headers=there).status_code == 403


def test_only_named_hosts_reach_a_service_without_tokens(data: Path) -> None:
    with serving(make_context(data), hosts=("127.0.0.1", "hub.example.org")) as address:
        for host, status in (("hub.example.org", 200), ("127.0.0.1", 200), ("evil.example", 421)):
            assert httpx.get(f"{address}/v1/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("prefix", ["pre", "//evil.example", "/a b", "/a?b", "http://x/y"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(ServiceError, match="--root-path"):
        check_prefix(prefix)
