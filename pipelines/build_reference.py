"""Gather what explanations of the demonstration model must know of its training cohort.

``python -m pipelines.build_reference`` simulates the training patients of ``pipelines.train_shipped_model`` again, with
the same seed, and writes ``reference.safetensors`` beside the model. Training the model writes it too; this is for a
model that came without one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsigraph.explanation.fit_reference import TrainingSlide, gather_reference
from wsigraph.explanation.reference import Reference, save_reference
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.synthesis.simulation.assess import Case


def main(arguments: list[str] | None = None) -> int:
    """Write the reference of the demonstration model; print its kinds of tissue."""
    from pipelines.train_shipped_model import simulated_cases

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="directory of the bundle")
    parser.add_argument("--patients", type=int, default=300, help="patients it was trained on")
    parser.add_argument("--seed", type=int, default=1, help="seed it was trained with")
    options = parser.parse_args(arguments)
    reference = reference_of(load_bundle(options.model), simulated_cases("train", options.patients, seed=options.seed))
    path = save_reference(reference, options.model)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    for name, share in zip(reference.cluster_names, reference.cluster_fraction, strict=True):
        print(f"{100 * share:4.0f} %  {name}")
    return 0


def reference_of(bundle: ModelBundle, training: Sequence[Case]) -> Reference:
    """Return the reference of a model trained on simulated patients.

    Parameters
    ----------
    bundle : ModelBundle
        The finished model.
    training : sequence of Case
        All patients it was trained on.

    Returns
    -------
    Reference
        The same for the same model and patients.
    """
    slides = (
        TrainingSlide(
            graph=case.coarse,
            site=f"synthetic-site-{case.truth.site + 1}",
            time_days=case.truth.outcome.time_days,
            event=case.truth.outcome.event,
        )
        for case in training
    )
    return gather_reference(slides, bundle, rng=np.random.default_rng(0))


if __name__ == "__main__":
    raise SystemExit(main())
