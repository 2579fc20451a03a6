"""``wsigraph run``: process all slides of a manifest, on this machine or a cluster."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.completion import named, steps
from wsigraph.cli.failure import EXIT_SOME_FAILED, Debug, ends_plainly, say
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Coordinates,
    Device,
    Encoder,
    Features,
    Force,
    Organ,
    Overrides,
    Stain,
    TilePx,
    forced,
    read_settings,
)

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import Manifest
    from wsigraph.config import Config
    from wsigraph.run.cluster import Cluster

_Manifest = Annotated[
    str | None,
    typer.Argument(
        metavar="MANIFEST",
        help="Table of the slides (data_manifest.md), or a folder of slides; optional with --features.",
        show_default=False,
    ),
]
_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Directory for <slide>/ and the summary.")]
_Until = Annotated[
    str,
    typer.Option(
        "--until", metavar="STEP", help="Last step: graph, coarsen, predict, report, ...", autocompletion=steps
    ),
]
_Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="local (processes), threads, slurm, or a scheduler: tls://HOST:PORT.",
        autocompletion=named("local", "threads", "slurm", "tls://"),
    ),
]
_Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, metavar="N", help="Workers with one thread each; 0 is one per core, or one SLURM job."
    ),
]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; by default the demonstration model.")
]
_Mpp = Annotated[
    float | None,
    typer.Option("--mpp", metavar="UM", help="Pixel size, um/px, where neither file nor manifest states one."),
]
_N_WITHHELD = 5
"""Slides without a prediction that are named; the summary lists all."""
_DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, print the plan and the SLURM job script, and stop."),
]


@ends_plainly
def run(
    manifest: _Manifest = None,
    out: _Out = "runs",
    features: Features = None,
    tile_px: TilePx = None,
    mpp: _Mpp = None,
    until: _Until = "report",
    cluster: _Cluster = None,
    workers: _Workers = None,
    model: _Model = None,
    encoder: Encoder = None,
    device: Device = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    origin: Coordinates = None,
    stain: Stain = None,
    organ: Organ = None,
    force: Force = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Process the slides of a manifest, on this machine or a cluster; the same command continues a stopped run.

    Writes DIR/<slide>/ with every record, DIR/summary.md, summary.json and failures.parquet. A step whose record is
    already there is not repeated. A slide that fails is tried again on another worker, then listed. If a
    slide fails, the exit code is 3. Pixel sizes, regions and organs of single slides are in the columns mpp, roi and
    organ of the manifest; there is no --roi here.
    """
    from wsigraph.cli.watch import watching
    from wsigraph.run.batch.run import check_steps, run_cohort
    from wsigraph.run.cluster_security import check_cluster

    spelled = {"cluster.kind": cluster, "cluster.workers": workers, "feature.encoder": encoder}
    spelled |= {"runtime.device": device}
    spelled |= {"report.origin": origin, "slide.stain": stain, "prediction.organ": organ, **forced(force)}
    settings = read_settings(config, overrides, spelled)
    check_steps(until, settings)
    if not dry_run:
        # before the manifest, because reading its slides may take minutes
        check_cluster(settings.cluster)
    table = _read(manifest, features, settings, None if dry_run else Path(out))
    for text in table.warnings:
        say(f"warning: {text}")
    if dry_run:
        _print_plan(table, out, until, settings)
        # last, so that the script is printed even without SLURM; the exit code then says that it would not run here
        check_cluster(settings.cluster)
        return
    with watching(settings.batch.report_s) as watch:
        result = run_cohort(
            *(table, out, settings),
            until=until,
            model=model,
            watch=watch,
            started=_print_cluster,
            tile_px=tile_px,
            missing_mpp=mpp,
        )
    print(json.dumps(result.summary, allow_nan=False) if as_json else _table(result.summary, result.out), flush=True)
    for one in result.summary["marked"]:
        say(f"{one['slide_id']}: {one['mark']}")
    for line in _withheld(result.summary["withheld"], result.out):
        say(line)
    if result.n_failed:
        if any(failure["error"] == "MissingMpp" for failure in result.summary["failures"]):
            say(_how_to_state_mpp(manifest or str(features)))
        say(f"{result.n_failed} of {len(table.rows)} slides failed: {result.out / 'failures.parquet'} lists them")
        raise typer.Exit(EXIT_SOME_FAILED)


def _withheld(slides: list[dict[str, str]], out: Path) -> list[str]:
    """Return how many predictions are withheld, and the first few with their reasons."""
    if not slides:
        return []
    head = f"{len(slides)} predictions are withheld, and not explained; --force gives them, marked:"
    lines = [f"  {one['slide_id']}: {one['reason']}" for one in slides[:_N_WITHHELD]]
    rest = len(slides) - len(lines)
    return [head, *lines, *([f"  and {rest} more, listed in {out / 'summary.md'}"] if rest else [])]


def _how_to_state_mpp(manifest: str) -> str:
    """Return where this command takes pixel sizes from: an option for all, or a column where slides differ."""
    reason = "--mpp states the pixel size of all slides without one"
    if Path(manifest).is_file() and Path(manifest).suffix.lower() in (".csv", ".tsv", ".txt"):
        return f"{reason}; where they differ, fill in the column mpp of {manifest} (um/px at full resolution)"
    create = f"wsigraph manifest create {shlex.quote(manifest)} --out data_manifest.csv"
    return f"{reason}; where they differ, make a manifest ({create}) and fill in its column mpp"


def _print_cluster(cluster: Cluster) -> None:
    from importlib.util import find_spec

    workers = cluster.workers()
    # without bokeh the page only says that bokeh is missing
    needs = "" if find_spec("bokeh") else " (needs bokeh: pip install 'wsigraph[dashboard]')"
    say(
        f"{len(workers)} workers with {sum(workers.values())} threads; dashboard: "
        + (f"{cluster.dashboard}{needs}" if cluster.dashboard else "none")
    )


def _read(manifest: str | None, features: str | None, settings: Config, out: Path | None) -> Manifest:
    """Return the manifest. Digests are checked here if the slides are small in total, else by the workers."""
    if manifest is None:
        if features is None:
            raise typer.BadParameter("give a MANIFEST, a folder of slides, or feature files with --features")
        from wsigraph.exchange.feature_manifest import manifest_of_features

        return manifest_of_features(features)
    if Path(manifest).is_dir():
        from wsigraph.cohort.manifest.create_manifest import manifest_of_folder

        table = manifest_of_folder(Path(manifest))
        return table if features is None else _with_features(table, features)
    table = _read_table(manifest, settings, out)
    return table if features is None else _with_features(table, features)


def _with_features(table: Manifest, features: str) -> Manifest:
    """Return a manifest whose rows name the feature files of a folder."""
    from wsigraph.exchange.feature_manifest import with_feature_files

    return with_feature_files(table, features)


def _read_table(manifest: str, settings: Config, out: Path | None) -> Manifest:
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.run.batch.run_state import DIRECTORY

    return read_manifest(
        manifest,
        stage_names=settings.model.stage_names,
        digest_max_bytes=settings.batch.digest_max_gb * 1e9,
        digest_cache=None if out is None else out / DIRECTORY / "digests.json",
    )


def _print_plan(manifest: Manifest, out: str, until: str, settings: Config) -> None:
    """Print the plan on stderr; only the job script goes to stdout."""
    from wsigraph.run.cluster import job_script, n_cores, n_jobs

    n_slides = sum(row.source is not None for row in manifest.rows)
    n_without = len(manifest.rows) - n_slides
    without = f", {n_without} without a file left out" if n_without else ""
    say(f"{n_slides} slides of {manifest.path}{without}, up to the step {until}, into {Path(out).absolute()}")
    cluster = settings.cluster
    if cluster.kind == "slurm":
        say(f"{n_jobs(cluster)} SLURM jobs of {cluster.slurm_cores} workers would be submitted, each with this script:")
        print(job_script(cluster), end="", flush=True)
    elif cluster.kind in ("local", "threads"):
        say(f"{cluster.workers or n_cores()} {'threads' if cluster.kind == 'threads' else 'processes'} of this machine")
    else:
        say(f"the workers of {cluster.kind}")


def _table(summary: dict[str, Any], out: Path) -> str:
    steps = "  ".join(f"{name} {one['total_s']:.1f}" for name, one in summary["steps"].items())
    rows = [
        ("slides", str(summary["slides"])),
        ("done", str(summary["done"])),
        ("already done", str(summary["skipped"])),
        ("failed", str(summary["failed"])),
        *([("withheld", f"{len(summary['withheld'])} predictions")] if summary["withheld"] else []),
        ("without a file", str(summary["without_file"])),
        ("wall time", f"{summary['seconds']:.1f} s, {summary['mpx_per_s']:.1f} Mpx/s"),
        ("step seconds", steps or "-"),
        *((f"  {one['slide_id']}", f"{one['step']}: {one['error']}: {one['message']}") for one in summary["failures"]),
        ("files", f"{out}/: summary.md, summary.json, failures.parquet"),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
