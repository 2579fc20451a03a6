"""Write the reference that explanations of the demonstration model need.

``python -m pipelines.build_reference`` simulates the training patients of ``pipelines.train_shipped_model`` again, with
the same seed, and writes ``reference.safetensors`` beside the model. Training the model writes it too; use this recipe
for a model without one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.shipped_training import simulate_cases, simulated_reference
from wsigraph.explanation.reference import save_reference
from wsigraph.model.bundle import SHIPPED, load_bundle


def main(arguments: list[str] | None = None) -> int:
    """Write the reference of the demonstration model; print its clusters of tissue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="directory of the bundle")
    parser.add_argument("--patients", type=int, default=300, help="patients it was trained on")
    parser.add_argument("--seed", type=int, default=1, help="seed it was trained with")
    options = parser.parse_args(arguments)
    training = simulate_cases("train", options.patients, seed=options.seed)
    reference = simulated_reference(load_bundle(options.model), training)
    path = save_reference(reference, options.model)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    for name, fraction in zip(reference.cluster_names, reference.cluster_fraction, strict=True):
        print(f"{100 * fraction:4.0f} %  {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
