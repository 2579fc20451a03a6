"""``wsigraph explain``: why a model reads what it reads from a slide."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, ConfigFiles, Mpp, Out, Overrides, Threads, read_settings

if TYPE_CHECKING:
    from wsigraph.explanation.falsify import Falsification
    from wsigraph.flow import FlowResult

_Slide = Annotated[str, typer.Argument(metavar="SLIDE", help="Slide file.", show_default=False)]
_Target = Annotated[str, typer.Option("--target", metavar="NAME", help="stage, risk or survival@DAYS.")]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; else the demonstration model.")
]
_Site = Annotated[
    str | None, typer.Option("--site", metavar="NAME", help="The slide's site, for explanation.baseline=site.")
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
    slide: _Slide,
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
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Explain what the model reads from a slide: which regions, which features, and whether the reasons hold.

    Writes DIR/<slide>/ with explanation.safetensors, the page report.html and outlines with attributions for QuPath.
    What predict has done already is not repeated.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.explanation.question import Question
    from wsigraph.flow import run_slide

    settings = read_settings(config, overrides, {"runtime.threads": threads})
    if falsify:
        from wsigraph.explanation.falsify import check_claim

        for claim in falsify:
            check_claim(claim)
    question = Question(target=target, thorough=thorough, site=site)
    with progress_line(slide) as progress:
        result = run_slide(slide, out, settings, mpp=mpp, model=model, progress=progress, explain=question)
    claims = _falsified(result, falsify or [], target, model or settings.model.path, settings.explanation.seed)
    told = _explanation(result) | ({"falsified": [asdict(each) for each in claims]} if claims else {})
    if as_json:
        shown = {"directory": str(result.directory), "files": [path.name for path in result.files], **told}
        print(json.dumps(shown, allow_nan=False))
        return
    print("\n".join([*told["text"], *(each.sentence() for each in claims)]))
    print(f"\n{result.directory}/: {', '.join(path.name for path in result.files)}")


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
    from wsigraph.store import load_coarse_graph

    coarse = load_coarse_graph(result.directory / "coarse.safetensors")
    return [falsify(coarse, claim, model, target, rng=np.random.default_rng(seed)) for claim in claims]
