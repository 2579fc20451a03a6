"""Measure what painted borders reveal about contact: ``python -m pipelines.check_bleed --out DIR``.

Paints a small synthetic cohort of the scenario ``spatial`` and builds its graphs from the pixels. Prints how well the
features of single lymphocyte superpixels predict whether they touch tumour, on these and on graphs drawn from layouts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wsigraph.config import load
from wsigraph.run.steps import run_slide
from wsigraph.synthesis.simulation.bleed import measure_bleed
from wsigraph.synthesis.simulation.simulate import SimulatedSlide
from wsigraph.synthesis.simulation.write_cohort import simulate_cohort, write_cohort


def main(arguments: list[str] | None = None) -> int:
    """Paint, read, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the painted cohort")
    parser.add_argument("--patients", type=int, default=12, help="synthetic patients")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers")
    options = parser.parse_args(arguments)
    settings = load(overrides=["synthesis.scenario=spatial", "synthesis.second_slide_fraction=0"])
    patients = list(simulate_cohort(options.patients, settings, seed=options.seed))

    def segment(slide: SimulatedSlide, path: Path | None) -> None:
        run_slide(str(path), options.out, settings, slide_id=slide.slide_id, until="graph")

    write_cohort(
        patients,
        options.out,
        settings,
        seed=options.seed,
        images=True,
        finished=segment,
    )
    bleed = measure_bleed(patients, options.out, settings)
    print(f"{options.patients} synthetic patients, {bleed['superpixels']:.0f} superpixels of lymphocytes")
    print(f"painted superpixels of more than one region  {100 * bleed['mixed']:.1f} %")
    print(f"contact from single superpixels, AUC         painted {bleed['painted']:.3f}, drawn {bleed['drawn']:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
