"""The viewer in a browser, on the real slide: what it shows, and what it never asks for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.service.contexts import TOKENS, make_context, tokens
from tests.service.finished import WILD, Finished, opened
from tests.service.serving import serving
from wsigraph.errors import PluginError
from wsigraph.service import openseadragon
from wsigraph.service.app import VIEWER

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

CHROMIUM = Path("/usr/bin/chromium")
READY_MS = 60_000
ASSETS = sorted(path for path in VIEWER.iterdir() if path.is_file())


@dataclass
class Seen:
    """What a page did beside what it shows."""

    faults: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def address(finished: Finished) -> Iterator[str]:
    """Address of the service on a socket."""
    with serving(opened(finished)) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; tests that need it skip where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip(f"Chromium is not installed ({CHROMIUM})")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def page(browser: Browser, address: str, seen: Seen) -> Iterator[Page]:
    """A page of its own on the explained slide; faults of any test are looked at in the end."""
    if not openseadragon.is_installed():
        pytest.skip("OpenSeadragon is not installed; run 'wsigraph viewer'")
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce", base_url=address)
    page = context.new_page()
    watch(page, seen)
    yield page
    context.close()
    assert seen.faults == []
    assert seen.hosts <= {address}


def watch(page: Page, seen: Seen) -> None:
    def requested(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")):
            seen.hosts.add("/".join(request.url.split("/")[:3]))

    page.on("request", requested)
    page.on("console", lambda line: seen.faults.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: seen.faults.append(str(error)))


def show(page: Page, finished: Finished, **link: object) -> None:
    fields = {"slide": finished.slide_id, "job": finished.job_id, **link}
    page.goto("/#" + "&".join(f"{name}={value}" for name, value in fields.items()))
    page.wait_for_selector("body[data-ready]", timeout=READY_MS)
    page.wait_for_selector("#prediction .bars", state="attached", timeout=READY_MS)
    drawn(page)


def drawn(page: Page, at: int = 0) -> None:
    """Wait until the overlay shows something."""
    page.wait_for_function(f"() => {OPAQUE.format(at=at)} > 2000", timeout=READY_MS)


# read from a copy: Chromium warns of a canvas on the screen that is read again and again
OPAQUE = (
    "(([canvas]) => {{ if (!canvas.width) return 0; const copy = document.createElement('canvas');"
    " copy.width = canvas.width; copy.height = canvas.height;"
    " const paper = copy.getContext('2d', {{ willReadFrequently: true }}); paper.drawImage(canvas, 0, 0);"
    " return paper.getImageData(0, 0, copy.width, copy.height).data"
    ".reduce((sum, value, index) => sum + (index % 4 === 3 && value > 0), 0); }})"
    "([document.querySelectorAll('canvas.overlay')[{at}]])"
)


def hashed(page: Page) -> dict[str, str]:
    page.wait_for_timeout(300)  # the address follows moves with a pause
    return dict(each.split("=", 1) for each in page.evaluate("location.hash.slice(1)").split("&"))


def risk(page: Page) -> float:
    text = page.locator(".figures dd").first.evaluate("dd => dd.lastChild.textContent")
    return float(text.replace("\u2212", "-"))


def remove(page: Page, count: int) -> None:
    page.locator("#remove").evaluate(
        "(slider, count) => { slider.value = count; slider.dispatchEvent(new Event('input')); }", count
    )
    page.wait_for_function(
        "n => document.querySelector('#ablation-status').textContent.startsWith(n)", arg=f"{count} of"
    )


def test_the_slide_its_regions_and_its_prediction_are_shown(page: Page, finished: Finished) -> None:
    show(page, finished)
    assert page.locator("#title").inner_text() == f"{finished.slide_id}.svs"
    assert page.locator(".sight canvas").count() >= 1
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter(({ name }) => name.includes('/dzi_files/')).length >= 4",
        timeout=READY_MS,
    )
    assert page.locator("#prediction .bars .bar.in").count() >= 1
    assert page.locator("#prediction .chart").count() == 4  # stage, survival, both curves of faithfulness
    assert "Research use only" in page.locator(".research").inner_text()
    assert re.fullmatch(r"\d+ (µm|mm)", page.locator(".scale span").inner_text())
    assert page.locator(".power").inner_text().endswith("\u00d7")


def test_a_click_tells_of_the_region_under_it(page: Page, finished: Finished) -> None:
    show(page, finished)
    with page.expect_response(lambda response: response.url.endswith("/crop.jpeg")) as crop:
        box = page.locator(".sight").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 0.46 * box["width"], box["y"] + 0.55 * box["height"])
    assert crop.value.ok
    page.wait_for_selector("#region h3")
    node = int(page.locator("#region h3").inner_text().removeprefix("Region "))
    assert int(hashed(page)["region"]) == node
    assert page.locator("#region .features tbody tr").count() == 10
    page.get_by_role("button", name="All 36").click()
    assert page.locator("#region .features tbody tr").count() == 36
    neighbour = page.locator("#region .neighbours button").first
    other = neighbour.locator("strong").inner_text()
    neighbour.click()
    page.wait_for_function("n => document.querySelector('#region h3').textContent === `Region ${n}`", arg=other)


def test_the_place_under_the_pointer_is_told_in_mm(page: Page, finished: Finished) -> None:
    show(page, finished)
    box = page.locator(".sight").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    message = page.locator(".place").inner_text()
    x, y = map(float, message.split(" mm")[0].split(", "))
    # the slide is 2220 x 2967 px of 0.499 um
    assert x == pytest.approx(0.554, abs=0.01)
    assert y == pytest.approx(0.740, abs=0.01)


def test_the_slider_takes_regions_away_and_the_prediction_follows(page: Page, finished: Finished) -> None:
    show(page, finished)
    before = risk(page)
    remove(page, 60)
    assert risk(page) < before - 0.05
    assert page.locator(".figures del").count() == 2
    assert hashed(page)["remove"] == "60"
    page.locator("#remove").evaluate("slider => { slider.value = 0; slider.dispatchEvent(new Event('input')); }")
    page.wait_for_function("() => !document.querySelector('.figures del')")
    assert risk(page) == before


def test_a_link_brings_everything_back(page: Page, finished: Finished) -> None:
    show(page, finished, x=0.6, y=0.5, zoom=0.8, region=7, colour="nuclear_density", second="stage", remove=3)
    page.wait_for_function("() => document.querySelector('#ablation-status').textContent.startsWith('3 of')")
    drawn(page, at=1)
    found = hashed(page)
    assert float(found["x"]) == pytest.approx(0.6, abs=0.005)
    assert float(found["y"]) == pytest.approx(0.5, abs=0.005)
    assert float(found["zoom"]) == pytest.approx(0.8, rel=0.01)
    expected = {"region": "7", "colour": "nuclear_density", "second": "stage", "remove": "3"}
    assert {name: found[name] for name in expected} == expected
    assert page.locator("#region h3").inner_text() == "Region 7"
    assert page.locator(".pane").count() == 2


def test_two_views_move_together(page: Page, finished: Finished) -> None:
    show(page, finished)
    page.get_by_role("button", name="Compare").click()
    drawn(page, at=1)
    page.locator(".zooms").nth(1).get_by_title("Closer").click()
    page.wait_for_function("() => new Set([...document.querySelectorAll('.power')].map(e => e.textContent)).size === 1")
    first, second = page.locator(".power").all_inner_texts()
    assert first == second
    selects = page.locator(".colour select")
    assert selects.nth(0).input_value() == "risk"
    assert selects.nth(1).input_value() == "stage"


def test_everything_goes_by_keyboard(page: Page, finished: Finished) -> None:
    show(page, finished)
    start = hashed(page)
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    moved = hashed(page)
    assert float(moved["zoom"]) > float(start["zoom"])
    assert float(moved["x"]) > float(start["x"])
    page.keyboard.press("0")
    page.locator("#tab-slide").click()
    page.keyboard.press("n")
    page.wait_for_selector("#region h3")
    first = page.locator("#region h3").inner_text()
    page.keyboard.press("n")
    page.wait_for_function("name => document.querySelector('#region h3').textContent !== name", arg=first)
    page.keyboard.press("c")
    assert page.locator(".colour select").input_value() == "stage"
    page.keyboard.press("]")
    page.wait_for_function("() => document.querySelector('#ablation-status').textContent.startsWith('1 of')")
    page.keyboard.press("s")
    assert page.locator(".pane").count() == 2
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert "region" not in hashed(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_button(page: Page, finished: Finished, scheme: Any) -> None:
    def paper() -> int:
        found = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", found)[:3]))

    page.emulate_media(color_scheme=scheme)
    show(page, finished)
    assert (paper() < 200) == (scheme == "dark")
    page.locator("#theme").click()
    assert (paper() > 600) == (scheme == "dark")
    page.reload()
    page.wait_for_selector("body[data-ready]", timeout=READY_MS)
    assert (paper() > 600) == (scheme == "dark")


def test_on_a_tablet_nothing_is_cut_off(page: Page, finished: Finished) -> None:
    page.set_viewport_size({"width": 820, "height": 1180})
    show(page, finished)
    assert page.evaluate("document.documentElement.scrollWidth") == 820
    assert (
        page.evaluate(
            "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('#prediction'))"
        )
        == 0
    )
    assert page.locator("#rail").is_hidden()
    page.locator("#rail-toggle").click()
    assert page.locator("#rail").is_visible()
    for part in ("#panel", ".controls", ".zooms", ".foot"):
        box = page.locator(part).first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 820


def test_a_broken_thumbnail_is_named(page: Page, finished: Finished, seen: Seen) -> None:
    page.route("**/thumbnail.jpeg", lambda route: route.fulfill(status=500))
    show(page, finished)
    page.wait_for_selector("#slides .broken", timeout=READY_MS)
    assert page.locator("#slides .broken").first.get_attribute("title") == "The thumbnail could not be read"
    seen.faults[:] = [fault for fault in seen.faults if "500" not in fault]


def test_a_name_is_text_whatever_it_says(page: Page, finished: Finished) -> None:
    show(page, finished)
    wild = page.locator("#slides button").filter(has_text="onerror")
    assert wild.locator(".name").inner_text() == WILD
    wild.click()
    page.wait_for_function("name => document.querySelector('#title').textContent === name", arg=WILD)
    page.wait_for_timeout(300)
    assert page.title() != "hit"
    assert "No prediction yet" in page.locator("#prediction").inner_text()


def test_tiles_on_their_way_are_given_up_when_another_slide_is_opened(page: Page, finished: Finished) -> None:
    tiles: list[Route] = []
    page.route(f"**/v1/slides/{finished.slide_id}/versions/*/dzi_files/**", lambda tile: tiles.append(tile))
    show(page, finished)
    page.wait_for_function("() => document.querySelector('.sight canvas')")
    assert tiles
    page.locator("#slides button").filter(has_text="onerror").click()
    page.wait_for_function("name => document.querySelector('#title').textContent === name", arg=WILD)
    page.wait_for_timeout(300)
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    tile_jpeg = stream.getvalue()
    for tile in tiles:
        tile.fulfill(body=tile_jpeg, content_type="image/jpeg")
    # one that came all the same would be warned of, and a warning is a fault
    page.wait_for_timeout(300)


def test_a_job_is_started_followed_and_cancelled(page: Page, finished: Finished) -> None:
    show(page, finished)
    page.locator("#job-target").select_option("survival")
    page.locator("#job-days").fill("777")
    page.get_by_role("button", name="Start").click()
    row = page.locator("#jobs li").filter(has_text="survival@777")
    row.locator("progress").wait_for()
    row.get_by_title("Cancel").click()
    row.filter(has_text="cancelled").wait_for()


def test_a_dropped_file_becomes_a_slide(page: Page, finished: Finished, small_slide: Path) -> None:
    show(page, finished)
    page.locator("#file").set_input_files({"name": "dropped.svs", "mimeType": "", "buffer": small_slide.read_bytes()})
    page.wait_for_function("() => document.querySelector('#title').textContent === 'dropped.svs'", timeout=READY_MS)
    assert page.locator("#uploads li").count() == 0
    assert page.locator("#slides button").filter(has_text="dropped.svs").get_attribute("aria-current") == "true"


def test_a_token_is_asked_for_once(browser: Browser, finished: Finished, seen: Seen) -> None:
    with serving(make_context(finished.data, tokens=tokens())) as address:
        context = browser.new_context(base_url=address)
        page = context.new_page()
        watch(page, seen)
        page.goto(f"/#slide={finished.slide_id}")
        page.locator("#token").fill("wrong" * 8)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_function("() => document.querySelector('#message').textContent.includes('not valid')")
        page.locator("#token").fill(TOKENS["read"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("#slides button", timeout=READY_MS)
        page.wait_for_selector("#prediction .bars", state="attached", timeout=READY_MS)
        assert context.cookies()[0]["httpOnly"]
        assert TOKENS["read"] not in page.content()
        context.close()
    assert [fault for fault in seen.faults if "401" not in fault] == []


def test_without_openseadragon_the_whole_slide_is_shown_small(
    browser: Browser, address: str, finished: Finished, seen: Seen
) -> None:
    context = browser.new_context(base_url=address, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.route("**/openseadragon.min.js", lambda route: route.fulfill(status=404))
    watch(page, seen)
    show(page, finished)
    assert "wsigraph viewer" in page.locator(".note").inner_text()
    page.keyboard.press("n")
    page.wait_for_selector("#region h3")
    context.close()
    assert [fault for fault in seen.faults if "404" not in fault] == []


def test_a_package_is_kept_only_if_it_is_the_pinned_one(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="another version or was modified"):
        openseadragon.unpack(b"not the package", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not openseadragon.is_installed(tmp_path)
    with pytest.raises(PluginError, match="cannot be read"):
        openseadragon.install(tmp_path / "absent.tgz", tmp_path)


def test_without_npm_the_package_is_asked_for_as_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match="as a file"):
        openseadragon.fetch()


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.name)
def test_our_own_files_fit_the_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    addresses = set(re.findall(r"https?://[^\s\"')]+", text))
    # names of XML dialects, never fetched
    assert addresses <= {"http://www.w3.org/2000/svg", "http://schemas.microsoft.com/deepzoom/2008"}
    if path.suffix == ".html":
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", text)
        for name in re.findall(r"(?:src|href)=\"viewer/([^\"#]+)", text):
            assert name.startswith("vendor/") or (VIEWER / name).is_file()
    for name in re.findall(r"from \"\./([^\"]+)\"", text):
        assert (VIEWER / name).is_file()
