"""The page: whole in one file, nothing fetched, readable without seeing, and made of facts."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.config import load
from wsigraph.explanation.report_text import write_text
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.figures.page.charts import bar_chart
from wsigraph.figures.page.svg import round_ticks
from wsigraph.report.explanation_page import MAX_BYTES
from wsigraph.run.steps import run_slide
from wsigraph.store import load_explanation, read_document

CHROMIUM = Path("/usr/bin/chromium")
CONFIG = load(overrides=["explanation.random_orders=10", "explanation.steps=10", "explanation.top_regions=3"])


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "input", "br", "line", "rect", "path"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def directory(small_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    path = folder / "a <b> & c.tiff"
    pixels = tifffile.imread(small_slide, key=0)[900:1700, 600:1500]
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", resolution=(2e4, 2e4), resolutionunit="CENTIMETER"
    )
    return run_slide(path, folder / "out", CONFIG, explain=ExplanationRequest(target="risk")).directory


@pytest.fixture(scope="module")
def page(directory: Path) -> Reader:
    reader = Reader()
    reader.feed((directory / "report.html").read_text(encoding="utf-8"))
    reader.close()
    return reader


def test_it_is_one_small_file_that_fetches_nothing(directory: Path, page: Reader) -> None:
    content = (directory / "report.html").read_bytes()
    assert len(content) < MAX_BYTES
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "srcset", "action"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/", "#")), address
    assert b"url(" not in content
    assert b"http:" not in content.replace(b"http-equiv", b"")
    assert b"https:" not in content


def test_what_links_lead_to_is_there(page: Reader) -> None:
    places = {attributes.get("id") for _, attributes in page.tags}
    targets = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    linked = {target for target in targets if target.startswith("region-")}
    assert len(linked) >= 3
    missing = linked - places
    # a sentence may name a patch's strongest region that is not among those shown
    assert len(missing) <= 1


def test_it_can_be_read_without_seeing(page: Reader) -> None:
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if tag == "input":
            assert ("label", attributes["id"]) in {
                (name, found.get("for")) for name, found in page.tags if name == "label"
            }
    assert ("html", {"lang": "en"}) in page.tags
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_everything_that_was_asked_of_it_is_on_it(page: Reader) -> None:
    text = " ".join(page.text.split())
    for said in (
        "a _b_ & c~",  # not a folder name on every system
        "research use only",
        "Demonstration model",
        "Risk attribution",
        "Stage attribution",
        "Regions",
        "Kaplan-Meier of 300 training patients",
        "Conformal set" if "Conformal set" in text else "no conformal set",
        "Replaced by training regions of the same broad cluster and size",
        "Removed",
        "random orders",
        "Trained on 300 slides",
        "slide sha256",
        "model id",
        "versions wsigraph",
        "association, not a staging",
    ):
        assert said in text, said


def test_the_files_agree(directory: Path) -> None:
    explanation = load_explanation(directory / "explanation.safetensors")
    _, document = read_document(directory / "explanation.json", "ExplanationFacts")
    assert document["facts"]["value"] == explanation.value
    polygons = __import__("json").loads((directory / "explanation.geojson").read_text())
    shown = [each["properties"]["measurements"]["Attribution: risk"] for each in polygons["features"]]
    np.testing.assert_allclose(shown, explanation.node, rtol=1e-4, atol=1e-12)
    assert "Attribution: stage" in polygons["features"][0]["properties"]["measurements"]


def test_colours_are_told_apart_from_their_ground() -> None:
    from importlib.resources import files

    style = files("wsigraph.figures.page").joinpath("templates", "page.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root\{([^}]*)\}", style)
    assert len(schemes) >= 3, "light, dark and print"
    for scheme in schemes:
        known = dict(re.findall(r"--([\w-]+):(#[0-9a-f]{3,8})", scheme))
        for ink, ground in (
            ("ink", "paper"), ("muted", "paper"), ("muted", "card"), ("ink", "card"), ("own", "paper"),
            ("warn", "paper"), ("notice-ink", "notice"), ("up", "paper"), ("down", "paper"),
        ):  # fmt: skip
            assert contrast(known[ink], known[ground]) >= 4.5, (ink, ground)


def contrast(left: str, right: str) -> float:
    def luminance(colour: str) -> float:
        digits = colour[1:]
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits[:6]
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        r, g, b = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    light, dark = sorted((luminance(left), luminance(right)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_second_run_finds_it_done_and_another_question_does_not(directory: Path) -> None:
    slide = directory.parent.parent / "a <b> & c.tiff"
    before = (directory / "report.html").read_bytes()
    again = run_slide(slide, directory.parent, CONFIG, explain=ExplanationRequest(target="risk"))
    assert {"explain", "page"} <= set(again.resumed)
    plain = run_slide(slide, directory.parent, CONFIG)
    assert "report" in plain.resumed
    assert (directory / "report.html").read_bytes() == before
    other = run_slide(slide, directory.parent, CONFIG, explain=ExplanationRequest(target="stage"))
    assert not {"explain", "page"} & set(other.resumed)
    assert "report" in other.resumed
    run_slide(slide, directory.parent, CONFIG, explain=ExplanationRequest(target="risk"))
    assert (directory / "report.html").read_bytes() == before


def test_bars_are_said_in_words() -> None:
    drawn = bar_chart([("a<b", 0.5, "50 %")], "Shares")
    assert 'aria-label="Shares: a&lt;b: 50 %"' in drawn


@pytest.mark.parametrize("ends", [(0.992, 1.97), (-3.0, 4.1), (0.0, 1e-4), (1200.0, 56000.0)])
def test_levels_of_a_chart_are_round_and_inside(ends: tuple[float, float]) -> None:
    found = round_ticks(*ends)
    assert 2 <= len(found) <= 6
    for value, text in found:
        assert ends[0] <= value <= ends[1]
        assert float(text) == pytest.approx(float(f"{value:.2g}"), rel=1e-12)


def test_pictures_are_there_before_they_are_scrolled_to(directory: Path) -> None:
    """Browsers print what was not scrolled to without pictures that load late."""
    assert b"loading=" not in (directory / "report.html").read_bytes()


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium")
def test_the_first_page_prints_on_one_sheet_and_details_follow(directory: Path, tmp_path: Path) -> None:
    whole = (directory / "report.html").read_text(encoding="utf-8")
    only_first = "<style>main>:not(.sheet),footer{display:none!important}</style></head>"
    pages = {}
    for name, content in (("first", whole.replace("</head>", only_first, 1)), ("whole", whole)):
        (tmp_path / f"{name}.html").write_text(content, encoding="utf-8")
        printed = tmp_path / f"{name}.pdf"
        subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
                "--no-pdf-header-footer", f"--print-to-pdf={printed}", (tmp_path / f"{name}.html").as_uri(),
            ],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        pages[name] = len(re.findall(rb"/Type\s*/Page\b(?!s)", printed.read_bytes()))
    assert pages["first"] == 1
    assert pages["whole"] > 1


def test_the_first_page_says_why_and_what_was_left_out(directory: Path, page: Reader) -> None:
    _, document = read_document(directory / "explanation.json", "ExplanationFacts")
    text = " ".join(page.text.split())
    first = text[: text.index("Details of the explanation")]
    for said in ("Why this risk", "Tissue, and what was left out", "Predicted survival", "Blue lowers the risk"):
        assert said in first, said
    reasons = write_text(document["facts"]).reasons
    assert reasons
    for sentence in reasons:
        assert " ".join(sentence.text.split()) in first
    steps = [attributes["id"] for tag, attributes in page.tags if tag == "input" and attributes["name"] == "opacity"]
    assert steps == ["opacity-0", "opacity-25", "opacity-50", "opacity-75", "opacity-100"]
    assert "Bar: " in text
