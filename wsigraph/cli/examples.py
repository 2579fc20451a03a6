"""Examples under the help of every command; a test checks them against the existing options."""

from __future__ import annotations

from collections.abc import Mapping

import typer

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "predict": (
        "wsigraph predict slide.svs",
        "wsigraph predict *.svs --out out --model models/own --json",
        "wsigraph predict scan.tif --mpp UM --explain risk",
        "wsigraph predict --manifest data_manifest.csv --set coarsening.ratio=10",
    ),
    "explain": (
        "wsigraph explain slide.svs --target stage",
        "wsigraph explain slide.svs --target survival@1095 --thorough",
        "wsigraph explain slide.svs --perturb nuclear_density --perturb 'hematoxylin_mean+2'",
    ),
    "study": (
        "wsigraph study slides --clinical patients.xlsx --out study",
        "wsigraph study slides --clinical table.csv --patient case --time OS.months --event vital_status=dead",
        "wsigraph study --plan study/study.yaml --map stage:pT2=II",
    ),
    "train": (
        "wsigraph train data_manifest.csv --graphs runs --out models/own",
        "wsigraph train data_manifest.csv --graphs runs --out models/own --group site --try layers=1 --try layers=2",
        "wsigraph train data_manifest.csv --graphs runs --out models/dss --time DSS.time --event DSS --competing OS",
    ),
    "evaluate": (
        "wsigraph evaluate models/own",
        "wsigraph evaluate models/own --manifest moved.csv --graphs runs --json",
    ),
    "validate": (
        "wsigraph validate models/own other_cohort.csv --graphs runs",
        "wsigraph validate models/own other_cohort.csv --graphs runs --time DSS.time --event DSS --competing OS",
    ),
    "run": (
        "wsigraph run data_manifest.csv --out runs --workers 8",
        "wsigraph run data_manifest.csv --out runs --until graph --cluster tls://scheduler:8786 --config tls.yaml",
        "wsigraph run data_manifest.csv --out runs --cluster slurm --workers 32 --dry-run",
    ),
    "status": ("wsigraph status runs", "wsigraph status runs --json"),
    "graph": (
        "wsigraph graph slide.svs --out graphs --threads 8 --memory 2GB",
        "wsigraph graph slide.svs --features slide.h5 --coarsen",
    ),
    "nuclei": (
        "wsigraph nuclei slide.svs",
        "wsigraph nuclei slide.svs --points --to geojson --to anndata --box 10000,8000,4096,4096",
    ),
    "tissue": (
        "wsigraph tissue slide.svs",
        "wsigraph tissue slides --out out --tissue-model models/tissue --json",
    ),
    "train-tissue": (
        "wsigraph train-tissue annotations/*.geojson --slides slides --out models/tissue",
        "wsigraph train-tissue slide.geojson --out models/tissue --origin plane",
    ),
    "export": (
        "wsigraph export wsigraph-out/slide --to anndata --out slide.h5ad",
        "wsigraph export wsigraph-out/slide --coarse --to geojson --out slide.geojson",
    ),
    "simulate": (
        "wsigraph simulate --out synthetic --patients 300 --seed 1 --scenario spatial",
        "wsigraph simulate --out painted --patients 12 --images",
    ),
    "synthesize": ("wsigraph synthesize wsigraph-out/slide/coarse.safetensors --out synthetic --seed 1",),
    "train-synthesis": ("wsigraph train-synthesis slides --out models/tissue",),
    "serve": ("wsigraph serve --data slides",),
    "viewer": ("wsigraph viewer",),
    "inspect": ("wsigraph inspect slide.svs", "wsigraph inspect scan.tif --mpp UM --json"),
    "manifest create": (
        "wsigraph manifest create slides --out data_manifest.csv",
        "wsigraph manifest create tcga --recursive --tcga --sha256",
    ),
    "manifest check": ("wsigraph manifest check data_manifest.csv",),
    "doctor": ("wsigraph doctor", "wsigraph doctor --json"),
    "report cohort": ("wsigraph report cohort runs --manifest data_manifest.csv",),
    "config show": ("wsigraph config show superpixel coarsening",),
    "config write": ("wsigraph config write configs",),
    "config check": ("wsigraph config check configs/superpixel.yaml",),
    "sample": ("wsigraph sample", "wsigraph sample --out slides"),
    "constraints": ("wsigraph constraints",),
    "version": ("wsigraph version",),
}
"""By command; a command of a group has the name of the group before its own."""


def add_examples(app: typer.Typer, group: str = "") -> None:
    """Add the examples of every command to its help.

    Parameters
    ----------
    app : typer.Typer
        Commands and groups of commands; changed in place.
    group : str
        Name of the group that `app` is.
    """
    for command in app.registered_commands:
        listed = EXAMPLES.get(f"{group} {command.name}".strip(), ())
        if listed:
            # \b keeps the line breaks
            command.epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in listed)])
    for subgroup in app.registered_groups:
        if subgroup.typer_instance is not None and isinstance(subgroup.name, str):
            add_examples(subgroup.typer_instance, subgroup.name)
