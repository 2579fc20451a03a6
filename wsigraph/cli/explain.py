"""``wsigraph explain``: explain a model's prediction for slides."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.completion import named
from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Coordinates,
    Device,
    Features,
    FocalPlane,
    Force,
    Mpp,
    Organ,
    Out,
    Overrides,
    Roi,
    Stain,
    Threads,
    TilePx,
    TissueMask,
    forced,
    read_settings,
)
from wsigraph.cli.slide_arguments import FromManifest, refuse_equal_names, select_slides
from wsigraph.cli.slide_results import SlideResults

if TYPE_CHECKING:
    from wsigraph.explanation.perturbation_test import PerturbationResult
    from wsigraph.run.steps import SlideResult

_Slides = Annotated[list[str] | None, typer.Argument(metavar="[SLIDE]", help="Slide files.", show_default=False)]
_Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="stage, risk or survival@DAYS.",
        autocompletion=named("stage", "risk", "survival@365", "survival@1095"),
    ),
]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; by default the demonstration model.")
]
_Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        metavar="NAME",
        help="The slide's site, for explanation.reference=site; the column of a manifest overrides it.",
    ),
]
_Thorough = Annotated[bool, typer.Option("--thorough", help="Use every reference input and report their agreement.")]

_Perturb = Annotated[
    list[str] | None,
    typer.Option(
        "--perturb",
        metavar="CLAIM",
        help="Perturbation test of a claim: a feature (set to its mean), 'feature+2' (shifted by 2 SD) or "
        "'CLUSTER -> CLUSTER'. Repeatable.",
    ),
]
_Falsify = Annotated[list[str] | None, typer.Option("--falsify", hidden=True, help="The old name of --perturb.")]


@ends_plainly
def explain(
    slides: _Slides = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    target: _Target = "risk",
    site: _Site = None,
    thorough: _Thorough = False,
    perturb: _Perturb = None,
    falsify: _Falsify = None,
    features: Features = None,
    tile_px: TilePx = None,
    mpp: Mpp = None,
    model: _Model = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    device: Device = None,
    origin: Coordinates = None,
    z: FocalPlane = None,
    roi: Roi = None,
    tissue_mask: TissueMask = None,
    stain: Stain = None,
    organ: Organ = None,
    force: Force = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Explain the predictions for slides: which regions and features matter, and how faithful the explanation is.

    Writes DIR/<slide>/ with explanation.safetensors, the page report.html and outlines with attributions for QuPath.
    Steps that predict has done already are not repeated. With several slides, or a manifest, a slide that fails does
    not stop the others.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.explanation.request import ExplanationRequest
    from wsigraph.run.steps import run_slide

    settings = read_settings(
        config,
        overrides,
        {
            "runtime.threads": threads,
            "runtime.device": device,
            "report.origin": origin,
            "slide.z": z,
            "slide.stain": stain,
            "prediction.organ": organ,
            **forced(force),
        },
    )
    claims = [*(perturb or []), *(falsify or [])]
    if claims:
        from wsigraph.explanation.perturbation_test import check_claim

        for claim in claims:
            check_claim(claim)
    selection = select_slides(slides, manifest, mpp, settings, roi=roi, tissue_mask=tissue_mask, features=features)
    refuse_equal_names(selection.slides)

    results = SlideResults(selection, as_json=as_json, debug=debug)
    for slide in selection.slides:
        request = ExplanationRequest(target=target, thorough=thorough, site=slide.site or site)
        with results.catch(slide):
            with progress_line(slide.label) as progress:
                result = run_slide(
                    slide.path,
                    out,
                    settings.with_organ(slide.organ),
                    features=slide.features,
                    tile_px=tile_px,
                    mpp=slide.mpp,
                    slide_id=slide.slide_id,
                    model=model,
                    progress=progress,
                    explain=request,
                    roi=slide.roi,
                    tissue_mask=slide.tissue_mask,
                )
            _require_prediction(result)
            tests = _test_claims(result, claims, target, model or settings.model.path, settings.explanation.seed)
            if as_json:
                results.add(_to_json(result, tests))
            else:
                _print_text(result, tests)
    results.finish()


def _require_prediction(result: SlideResult) -> None:
    """Raise ModelError if the model gave no prediction, so that there is nothing to explain."""
    from wsigraph.errors import ModelError

    if result.facts and result.facts["withheld"]:
        raise ModelError(
            f"slide {result.slide_id!r} has no prediction to explain: {result.facts['withheld']}; --force goes on, and "
            "every output is marked"
        )


def _to_json(result: SlideResult, tests: list[PerturbationResult]) -> dict[str, Any]:
    """Return what --json prints of one slide."""
    tested = {"perturbation_tests": [asdict(test) for test in tests]} if tests else {}
    files = [path.name for path in result.files]
    return {"directory": str(result.directory), "files": files, **_explanation(result), **tested}


def _print_text(result: SlideResult, tests: list[PerturbationResult]) -> None:
    """Print the text, the perturbation tests, and the files."""
    from wsigraph.graph.tissue.suitability import find_marks

    print(
        "\n".join(
            [*find_marks(result.info.warnings), *_explanation(result)["text"], *(test.sentence() for test in tests)]
        )
    )
    print(f"\n{result.directory}/: {', '.join(path.name for path in result.files)}", flush=True)


def _explanation(result: SlideResult) -> dict[str, Any]:
    """Return facts and text as they are stored."""
    from wsigraph.store import read_document

    _, document = read_document(result.directory / "explanation.json")
    return {"facts": document["facts"], "text": document["text"]}


def _test_claims(
    result: SlideResult, claims: list[str], target: str, model: str | None, seed: int
) -> list[PerturbationResult]:
    """Return the perturbation tests of claims on the slide's stored graph."""
    if not claims:
        return []
    import numpy as np

    from wsigraph.explanation.perturbation_test import run_perturbation_test
    from wsigraph.store import load_coarse_graph, load_slide_info

    coarse = load_coarse_graph(result.directory / "coarse.safetensors")
    sha256 = load_slide_info(result.directory / "slide.json").sha256
    return [
        run_perturbation_test(coarse, claim, model, target, sha256=sha256, rng=np.random.default_rng(seed))
        for claim in claims
    ]
