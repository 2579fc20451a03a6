"""The command ``wsigraph``: one file per subcommand, which parses options, calls the library and prints.

Only typer is imported here. Subcommands import the library when they run, so that ``--help`` is fast.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from wsigraph.cli import (
    configuration,
    constraints,
    doctor,
    evaluate,
    explain,
    export,
    graph,
    inspect,
    manifest,
    nuclei,
    predict,
    report,
    run,
    sample,
    serve,
    simulate,
    status,
    study,
    synthesize,
    tissue,
    train,
    train_synthesis,
    train_tissue,
    validate,
    version,
    viewer,
)
from wsigraph.cli.examples import add_examples
from wsigraph.cli.failure import EXIT_INTERRUPTED, report_interrupted
from wsigraph.cli.log_options import JsonLog, LogFile, Quiet, Verbose, set_up_log

app = typer.Typer(
    name="wsigraph",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Whole-slide images as graphs of tissue regions: stage, survival and the reasons for both. Research use only.",
)
_Version = Annotated[
    bool,
    typer.Option("--version", "-V", callback=version.print_version, is_eager=True, help="Print the version and exit."),
]


@app.callback()
def options(
    show_version: _Version = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
    json_log: JsonLog = False,
) -> None:
    """Take the options that stand before the command."""
    set_up_log(quiet, verbose, log_file, json_log)


app.command("predict", short_help="Predict stage and survival of slides, with graphs and a report.")(predict.predict)
app.command("explain", short_help="Explain predictions: regions, features, and faithfulness.")(explain.explain)
app.command("study", short_help="From slides and a clinical table to a model and a page.")(study.study)
app.command("train", short_help="Train a model on your own slides, with held-out scores.")(train.train)
app.command("evaluate", short_help="Out-of-fold scores of a model, next to baseline models.")(evaluate.evaluate)
app.command("validate", short_help="Score a finished model on patients of another cohort.")(validate.validate)
app.command("run", short_help="Process all slides of a manifest, here or on a cluster.")(run.run)
app.command("status", short_help="Show the progress of a run, also after a crash.")(status.status)
app.command("serve", short_help="Serve slides, jobs and results in a browser and over HTTP.")(serve.serve)
app.command("viewer", short_help="Install the viewer's JavaScript.")(viewer.viewer)
app.command("graph", short_help="Build the superpixel graph of a slide, with a picture.")(graph.graph)
app.command("nuclei", short_help="Find the nuclei of a slide: outlines, types, counts and densities.")(nuclei.nuclei)
app.command("tissue", short_help="Name the tissue of a slide: map, areas and shares with intervals.")(tissue.tissue)
app.command("train-tissue", short_help="Train tissue classes of your own from annotated slides.")(
    train_tissue.train_tissue
)
app.command("export", short_help="Convert a graph to AnnData, GeoJSON, parquet or networkx.")(export.export)
app.command("simulate", short_help="Simulate a cohort with known ground truth.")(simulate.simulate)
app.command("synthesize", short_help="Paint annotated synthetic tissue from a graph.")(synthesize.synthesize)
app.command("train-synthesis", short_help="Train a generator of tissue on slides or images.")(
    train_synthesis.train_synthesis
)
app.command("inspect", short_help="Print the metadata of a slide file.")(inspect.inspect)
app.add_typer(manifest.app, name="manifest")
app.command("doctor", short_help="Check the installation and show how to fix it.")(doctor.doctor)
app.add_typer(report.app, name="report")
app.add_typer(configuration.app, name="config")
app.command("sample", short_help="Copy the sample slide into a folder.")(sample.sample)
app.command("constraints", short_help="Print the tested version of every package, for pip.")(constraints.constraints)
app.command("version", short_help="Print the version.")(version.version)
add_examples(app)


def main() -> None:
    """Run the command with the arguments of the process."""
    try:
        app()
    except KeyboardInterrupt:
        # outside every command: while arguments are parsed, or at exit
        report_interrupted()
        sys.exit(EXIT_INTERRUPTED)
