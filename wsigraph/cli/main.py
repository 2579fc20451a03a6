"""The command ``wsigraph``: one file per verb, each of which parses, calls the library and prints.

Only typer is imported here. Settings, records and stages are imported inside the verbs, so that ``--help`` answers
at once.
"""

from __future__ import annotations

import sys

import typer

from wsigraph.cli import (
    configuration,
    doctor,
    evaluate,
    explain,
    export,
    graph,
    inspect,
    manifest,
    predict,
    report,
    run,
    serve,
    simulate,
    status,
    synthesize,
    train,
    train_synthesis,
    version,
    viewer,
)
from wsigraph.cli.examples import add_examples
from wsigraph.cli.failure import EXIT_INTERRUPTED, tell_interrupted

app = typer.Typer(
    name="wsigraph",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Whole-slide images as graphs of tissue regions: stage, survival and the reasons for both. Research use only.",
)
app.command("predict", short_help="Slides in; graph, stage, survival and report out.")(predict.predict)
app.command("explain", short_help="Why: regions, features, and whether the reasons hold.")(explain.explain)
app.command("train", short_help="A manifest and graphs in; a model with held-out scores out.")(train.train)
app.command("evaluate", short_help="Out-of-fold scores of a model, next to baseline models.")(evaluate.evaluate)
app.command("run", short_help="A manifest in; the records of all its slides out, on a cluster.")(run.run)
app.command("status", short_help="How a run stands, also after a crash.")(status.status)
app.command("serve", short_help="Slides, jobs and results in a browser and over HTTP.")(serve.serve)
app.command("viewer", short_help="What the viewer needs, put in place once.")(viewer.viewer)
app.command("graph", short_help="A slide in; its superpixel graph and a picture out.")(graph.graph)
app.command("export", short_help="A graph in; AnnData, GeoJSON, parquet or networkx out.")(export.export)
app.command("simulate", short_help="A synthetic cohort with known truth out.")(simulate.simulate)
app.command("synthesize", short_help="A graph in; annotated synthetic tissue out.")(synthesize.synthesize)
app.command("train-synthesis", short_help="Slides or images in; a generator of tissue out.")(
    train_synthesis.train_synthesis
)
app.command("inspect", short_help="What a slide file says of itself.")(inspect.inspect)
app.add_typer(manifest.app, name="manifest")
app.command("doctor", short_help="What is installed, what works, and the fixes.")(doctor.doctor)
app.add_typer(report.app, name="report")
app.add_typer(configuration.app, name="config")
app.command("version", short_help="Print the version.")(version.version)
add_examples(app)


def main() -> None:
    """Run the command with the arguments of the process."""
    try:
        app()
    except KeyboardInterrupt:
        # outside every verb: while arguments are read, or on the way out
        tell_interrupted()
        sys.exit(EXIT_INTERRUPTED)
