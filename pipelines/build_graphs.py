"""Build the graphs of a cohort: ``python -m pipelines.build_graphs --config study.yaml MANIFEST``.

The settings decide where (``cluster``), how (``batch``) and what (``tissue``, ``superpixel``, ``feature``). Run again,
it goes on where it stopped; the graphs are the same bytes as those of an unbroken run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wsigraph.cohort.manifest.manifest import read_manifest
from wsigraph.config import load
from wsigraph.run.batch.run import run_cohort

ROOT = Path(__file__).parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; 3 where a slide failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", nargs="?", type=Path, default=ROOT / "data_manifest.csv")
    parser.add_argument("--config", action="append", type=Path, default=[], help="settings; repeatable")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="directory of the run")
    options = parser.parse_args(arguments)

    settings = load(options.config)
    manifest = read_manifest(options.manifest, stage_names=settings.model.stage_names, digest_max_bytes=0)
    for warning in manifest.warnings:
        print(warning, file=sys.stderr)
    result = run_cohort(manifest, options.out, settings, until="graph")
    print((result.out / "summary.md").read_text(encoding="utf-8"))
    return 3 if result.n_failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
