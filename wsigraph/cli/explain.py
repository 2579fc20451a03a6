"""``wsigraph explain``: why a model reads what it reads from a slide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, ConfigFiles, Force, Mpp, Out, Overrides, Threads, forced, read_settings
from wsigraph.cli.slides import FromManifest, NamedSlide, refuse_equal_names, select_slides, work_through

if TYPE_CHECKING:
    from wsigraph.explanation.falsify import Falsification
    from wsigraph.flow import FlowResult

_Slides = Annotated[list[str] | None, typer.Argument(metavar="[SLIDE]", help="Slide files.", show_default=False)]
_Target = Annotated[str, typer.Option("--target", metavar="NAME", help="stage, risk or survival@DAYS.")]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; else the demonstration model.")
]
_Site = Annotated[
    str | None,
    typer.Option(
        "--site", metavar="NAME", help="The site, for explanation.baseline=site; a row of a manifest has its own."
    ),
]
_Thorough = Annotated[bool, typer.Option("--thorough", help="Try every baseline and say how far they agree.")]

_Falsify = Annotated[
    list[str] | None,
    typer.Option(
        "--falsify",
        metavar="CLAIM",
        help="Test a claim: a feature (neutralised), 'feature+2' (exaggerated) or 'KIND -> KIND'. Repeatable.",
    ),
]


@ends_plainly
def explain(
    slides: _Slides = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    target: _Target = "risk",
    site: _Site = None,
    thorough: _Thorough = False,
    falsify: _Falsify = None,
    mpp: Mpp = None,
    model: _Model = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    force: Force = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Explain what the model reads from slides: which regions, which features, and whether the reasons hold.

    Writes DIR/<slide>/ with explanation.safetensors, the page report.html and outlines with attributions for QuPath.
    What predict has done already is not repeated. With several slides, or a manifest, one that fails does not stop the
    others.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.explanation.question import Question
    from wsigraph.flow import run_slide

    settings = read_settings(config, overrides, {"runtime.threads": threads, **forced(force)})
    if falsify:
        from wsigraph.explanation.falsify import check_claim

        for claim in falsify:
            check_claim(claim)
    selection = select_slides(slides, manifest, mpp, settings)
    refuse_equal_names(selection.slides)

    def work(slide: NamedSlide) -> _Told:
        question = Question(target=target, thorough=thorough, site=slide.site or site)
        with progress_line(slide.label) as progress:
            result = run_slide(
                slide.path,
                out,
                settings,
                mpp=slide.mpp,
                slide_id=slide.slide_id,
                model=model,
                progress=progress,
                explain=question,
            )
        claims = _falsified(result, falsify or [], target, model or settings.model.path, settings.explanation.seed)
        return _Told(result=result, claims=claims)

    work_through(selection, work, show=_show, plain=_plain, as_json=as_json, debug=debug)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What came of one slide."""

    result: FlowResult
    claims: list[Falsification]


def _plain(told: _Told) -> dict[str, Any]:
    """Return what --json prints of one slide."""
    result = told.result
    falsified = {"falsified": [asdict(each) for each in told.claims]} if told.claims else {}
    files = [path.name for path in result.files]
    return {"directory": str(result.directory), "files": files, **_explanation(result), **falsified}


def _show(told: _Told) -> None:
    """Print the text, the claims, and where the files are."""
    from wsigraph.tissue.suitability import MARK

    result = told.result
    marks = [text for text in result.info.warnings if text.startswith(MARK)]
    print("\n".join([*marks, *_explanation(result)["text"], *(each.sentence() for each in told.claims)]))
    print(f"\n{result.directory}/: {', '.join(path.name for path in result.files)}", flush=True)


def _explanation(result: FlowResult) -> dict[str, Any]:
    """Return facts and text as they were written."""
    from wsigraph.store import read_document

    _, document = read_document(result.directory / "explanation.json")
    return {"facts": document["facts"], "text": document["text"]}


def _falsified(result: FlowResult, claims: list[str], target: str, model: str | None, seed: int) -> list[Falsification]:
    """Return what claims come to on the slide's stored graph."""
    if not claims:
        return []
    import numpy as np

    from wsigraph.explanation.falsify import falsify
    from wsigraph.store import load_coarse_graph, load_slide_info

    coarse = load_coarse_graph(result.directory / "coarse.safetensors")
    sha256 = load_slide_info(result.directory / "slide.json").sha256
    return [falsify(coarse, claim, model, target, sha256=sha256, rng=np.random.default_rng(seed)) for claim in claims]
