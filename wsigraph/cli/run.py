"""``wsigraph run``: a manifest in, the records of every slide out, on whatever cluster there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import EXIT_SOME_FAILED, Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Encoder, Force, Overrides, forced, read_settings

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import Manifest
    from wsigraph.config import Config
    from wsigraph.run.cluster import Cluster

_Manifest = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST", help="Table of the slides (data_manifest.md), or a folder of slides.", show_default=False
    ),
]
_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Where <slide>/ and the summary are written.")]
_Until = Annotated[
    str, typer.Option("--until", metavar="STAGE", help="Last stage: graph, coarsen, predict, report, ...")
]
_Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="WHERE", help="local (processes), threads, slurm, or a scheduler: tls://HOST:PORT."
    ),
]
_Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, metavar="N", help="Workers of one thread each; 0 is one a core, slurm: one job."),
]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; else the demonstration model.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, tell what would be done, and print the SLURM job script.")
]


@ends_plainly
def run(
    manifest: _Manifest,
    out: _Out = "runs",
    until: _Until = "report",
    cluster: _Cluster = None,
    workers: _Workers = None,
    model: _Model = None,
    encoder: Encoder = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    force: Force = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Work through the slides of a manifest, on this machine or a cluster; run it again and it goes on.

    Writes DIR/<slide>/ with every record, DIR/summary.md, summary.json and failures.parquet. A stage whose record is
    there and fits is not repeated. A slide that fails is tried again on another worker, then listed; exit code 3.
    """
    from wsigraph.cli.watch import watching
    from wsigraph.run.batch.run import check_stages, run_cohort
    from wsigraph.run.cluster_security import check_cluster

    spelled = {"cluster.kind": cluster, "cluster.workers": workers, "feature.encoder": encoder, **forced(force)}
    settings = read_settings(config, overrides, spelled)
    check_stages(until, settings)
    if not dry_run:
        # before the manifest, whose slides may take minutes to be read
        check_cluster(settings.cluster)
    found = _read(manifest, settings, None if dry_run else Path(out))
    for text in found.warnings:
        say(f"warning: {text}")
    if dry_run:
        _tell_plan(found, out, until, settings)
        # last, so that a script can be looked at where there is no SLURM; the exit code says that it would not run here
        check_cluster(settings.cluster)
        return
    with watching(settings.batch.report_s) as watch:
        result = run_cohort(found, out, settings, until=until, model=model, watch=watch, started=_tell_cluster)
    print(json.dumps(result.summary, allow_nan=False) if as_json else _table(result.summary, result.out), flush=True)
    if result.n_failed:
        say(f"{result.n_failed} of {len(found.rows)} slides failed: {result.out / 'failures.parquet'} lists them")
        raise typer.Exit(EXIT_SOME_FAILED)


def _tell_cluster(cluster: Cluster) -> None:
    from importlib.util import find_spec

    workers = cluster.workers()
    # without bokeh the address answers with a line that says so
    needs = "" if find_spec("bokeh") else " (needs bokeh: pip install 'wsigraph[dashboard]')"
    say(
        f"{len(workers)} workers with {sum(workers.values())} threads; dashboard: "
        + (f"{cluster.dashboard}{needs}" if cluster.dashboard else "none")
    )


def _read(manifest: str, settings: Config, out: Path | None) -> Manifest:
    """Return the manifest, bytes compared with stated digests here where that is soon done, else by the workers."""
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.run.batch.run_state import DIRECTORY

    if Path(manifest).is_dir():
        from wsigraph.cohort.manifest.create import manifest_of_folder

        return manifest_of_folder(Path(manifest))
    return read_manifest(
        manifest,
        stage_names=settings.model.stage_names,
        digest_max_bytes=settings.batch.digest_max_gb * 1e9,
        digest_cache=None if out is None else out / DIRECTORY / "digests.json",
    )


def _tell_plan(manifest: Manifest, out: str, until: str, settings: Config) -> None:
    """Say what would be done on stderr; the job script alone goes to stdout."""
    from wsigraph.run.cluster import job_script, n_cores, n_jobs

    n_slides = sum(row.path is not None for row in manifest.rows)
    n_without = len(manifest.rows) - n_slides
    without = f", {n_without} without a file left out" if n_without else ""
    say(f"{n_slides} slides of {manifest.path}{without}, up to the stage {until}, into {Path(out).absolute()}")
    cluster = settings.cluster
    if cluster.kind == "slurm":
        say(f"{n_jobs(cluster)} SLURM jobs of {cluster.slurm_cores} workers would be submitted, each with this script:")
        print(job_script(cluster), end="", flush=True)
    elif cluster.kind in ("local", "threads"):
        say(f"{cluster.workers or n_cores()} {'threads' if cluster.kind == 'threads' else 'processes'} of this machine")
    else:
        say(f"the workers of {cluster.kind}")


def _table(summary: dict[str, Any], out: Path) -> str:
    stages = "  ".join(f"{name} {one['total_s']:.1f}" for name, one in summary["stages"].items())
    rows = [
        ("slides", str(summary["slides"])),
        ("done", str(summary["done"])),
        ("found done", str(summary["skipped"])),
        ("failed", str(summary["failed"])),
        ("without a file", str(summary["without_file"])),
        ("wall time", f"{summary['seconds']:.1f} s, {summary['mpx_per_s']:.1f} Mpx/s"),
        ("stage seconds", stages or "-"),
        *((f"  {one['slide_id']}", f"{one['stage']}: {one['error']}: {one['message']}") for one in summary["failures"]),
        ("files", f"{out}/: summary.md, summary.json, failures.parquet"),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
