"""Check scenario ``hospital`` against known facts, and compare parts of the fixed offset on it.

    python -m pipelines.choose_offset [--cohorts 12] [--seed 100] [--networks | --trials] [--printed FILE ...]

Cohorts are drawn in memory (``wsigraph/synthesis/simulation/hospital.py``) and scored in four folds of whole sites.
Five facts are known from real cohorts (docs/learning.md); a scenario that does not show them may not be used to choose.
The parts of the offset, each in standard deviations, are then mixed with fixed weights. ``--networks`` adds the facts
that need networks, which take about two minutes a cohort. ``--trials`` scores other designs instead: ridges of several
penalties, the penalty that other cohorts agree on, and a mean-pooled MLP. Prints JSON; ``--printed`` pools earlier
outputs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.mean_pooled_mlp import mlp_risk
from wsigraph.cohort.manifest.splits import folds
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import ModelConfig, load
from wsigraph.graph.one_thread import one_thread
from wsigraph.synthesis.simulation.hospital import HospitalDesign, sample_hospital_cohort
from wsigraph.training.cox_ridge import cox_risk
from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.baselines import BaselineTask, fixed_cox_risk, network
from wsigraph.training.evaluation.evaluation_document import mean_over
from wsigraph.training.evaluation.pooled import edge_products, means_and_stds, one_hot
from wsigraph.training.fit import fit
from wsigraph.training.read_offset import offset_parts

MIXES = {
    "means": (1, 0, 0),
    "means + edges": (1, 1, 0),
    "means + attention": (1, 0, 1),
    "2 means + edges": (2, 1, 0),
    "2 means + attention": (2, 0, 1),
    "means + edges + attention": (1, 1, 1),
    "2 means + edges + attention": (2, 1, 1),
    "3 means + edges + attention": (3, 1, 1),
    "2 means + edges + 2 attention": (2, 1, 2),
}
"""Weights of means, products over edges and attention."""
N_FOLDS = 4
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Of the ridges on means that are tried beside penalty 1."""


def by_fold(
    cohort: Cohort, fold: NDArray[np.int64], predict: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the predictions of every fold's rows by a function of the other rows."""
    risk = np.zeros(cohort.n_rows)
    for number in np.unique(fold):
        risk[fold == number] = predict(np.flatnonzero(fold != number))[fold == number]
    return risk


@one_thread()
def score_cohort(seed: int, design: HospitalDesign, *, networks: bool, trials: bool = False) -> dict[str, Any]:
    """Return C-indices within folds of whole sites of one cohort, and the fractions that corrections earned."""
    simulated = sample_hospital_cohort(design, seed=seed)
    cohort, site = simulated.cohort, simulated.cohort.site.tolist()
    n_sites = len(set(site))
    fold = folds(
        cohort.patient.tolist(),
        n_folds=min(N_FOLDS, n_sites),
        event=cohort.event.tolist(),
        site=site,
        group="site",
        seed=1,
    )
    known = (cohort.time_days, cohort.event)
    both = means_and_stds(cohort)
    means = both[:, : both.shape[1] // 2]
    config = load([], ["model.task=survival"]).model
    risks = {
        "means@1": by_fold(cohort, fold, lambda train: fixed_cox_risk(means, *known, train)),
        "means@0.01": by_fold(cohort, fold, lambda train: fixed_cox_risk(means, *known, train, 0.01)),
        "means and spreads@1": by_fold(cohort, fold, lambda train: fixed_cox_risk(both, *known, train)),
        "means and spreads, penalty chosen": by_fold(
            cohort, fold, lambda train: cox_risk(both, *known, cohort.patient, train, seed=1)
        ),
        "edge@1": by_fold(cohort, fold, lambda train: fixed_cox_risk(edge_products(cohort, train), *known, train)),
        "site": by_fold(cohort, fold, lambda train: fixed_cox_risk(one_hot(site, train), *known, train, 0.01)),
        "oracle": simulated.oracle_risk,
    }
    if trials:
        risks = {"means@1": risks["means@1"]} | trial_risks(cohort, means, fold)
    else:
        risks |= mixed_offsets(cohort, fold, config)
    earned: dict[str, list[float]] = {}
    if networks:
        task = BaselineTask(cohort=cohort, fold=fold, config=config, seed=1)
        alone: dict[str, object] = {"design": "network"}
        risks["attention MIL"] = network(task, {**alone, "survival_head": "cox", "layers": 0}).risk
        risks["network alone"] = network(task, alone).risk
        for name, unit in (("by site", cohort), ("at random", without_sites(cohort))):
            corrected = [fit(unit, np.flatnonzero(fold != number), config, seed=1) for number in np.unique(fold)]
            earned[name] = [fitted.correction.survival_fraction for fitted in corrected if fitted.correction]
            risk = np.zeros(cohort.n_rows)
            for number, fitted in enumerate(corrected):
                rows = np.flatnonzero(fold == number)
                risk[rows] = np.sum(fitted.member.read_parts([cohort.inputs[row] for row in rows]), axis=0)
            risks[f"offset and correction, parts {name}"] = risk
    scores = {name: round(float(c_index(risk, *known, stratum=fold)[0]), 4) for name, risk in risks.items()}
    return {
        "patients": cohort.n_rows,
        "sites": n_sites,
        "events": int(cohort.event.sum()),
        "c_index": scores,
        **({"earned": earned} if networks else {}),
    }


def trial_risks(cohort: Cohort, means: NDArray[np.float64], fold: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return the risks of ridges of several penalties and of a small network on means, float64 (n,) each."""
    known = (cohort.time_days, cohort.event)

    def ridge(penalty: float) -> NDArray[np.float64]:
        return by_fold(cohort, fold, lambda train: fixed_cox_risk(means, *known, train, penalty))

    tried = {f"penalty {penalty:g}": ridge(penalty) for penalty in PENALTIES}
    tried["mean-pooled MLP"] = by_fold(cohort, fold, lambda train: mlp_risk(means, *known, train, seed=1))
    return tried


def penalty_of_others(rows: list[dict[str, Any]]) -> list[float]:
    """Return the C-index of every cohort by the penalty that is best on the mean of the other cohorts."""
    values = np.array([[row["c_index"][f"penalty {penalty:g}"] for penalty in PENALTIES] for row in rows])
    best = [int(np.delete(values, number, axis=0).mean(axis=0).argmax()) for number in range(len(rows))]
    return [float(values[number, column]) for number, column in enumerate(best)]


def without_sites(cohort: Cohort) -> Cohort:
    """Return a cohort of unknown sites, so that inner parts are drawn at random among patients."""
    return replace(cohort, site=np.full(cohort.n_rows, ""))


def mixed_offsets(cohort: Cohort, fold: NDArray[np.int64], config: ModelConfig) -> dict[str, NDArray[np.float64]]:
    """Return the risks of every mix of `MIXES`."""
    alone = config.model_copy(update={"design": "offset"})
    risks = {f"mix: {name}": np.zeros(cohort.n_rows) for name in MIXES}
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        parts = offset_parts(fit(cohort, train, alone, seed=1).member, cohort.inputs)
        for name, weights in MIXES.items():
            for weight, values in zip(weights, parts.values(), strict=True):
                risks[f"mix: {name}"][test] += weight * values[test] / max(values[train].std(), 1e-9)
    return risks


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean C-indices over cohorts, and mean differences from ``means@1`` with the lowest of them."""
    if len(rows) > 1 and "penalty 1" in rows[0]["c_index"]:
        for row, value in zip(rows, penalty_of_others(rows), strict=True):
            row["c_index"]["penalty learned on other cohorts"] = value
    names = [name for name in rows[0]["c_index"] if all(name in row["c_index"] for row in rows)]
    table = {}
    for name in names:
        values = np.array([row["c_index"][name] for row in rows])
        above = values - np.array([row["c_index"]["means@1"] for row in rows])
        table[name] = {
            "mean": round(float(values.mean()), 4),
            "above_means@1": mean_over(above.tolist()) if len(above) > 1 else round(float(above[0]), 4),
            "lowest": round(float(above.min()), 4),
        }
    earned = [row["earned"] for row in rows if "earned" in row]
    refused = {
        name: round(float(np.mean([fraction == 0 for row in earned for fraction in row[name]])), 3)
        for name in (earned[0] if earned else ())
    }
    return {"cohorts": len(rows), "summary": table, **({"refused_fraction": refused} if earned else {}), "rows": rows}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=100, help="of the first cohort")
    parser.add_argument("--networks", action="store_true", help="also the facts that need networks")
    parser.add_argument("--trials", action="store_true", help="other designs in place of the offset's parts")
    parser.add_argument("--coordinates", action="store_true", help="regions have places; the arrangement has a signal")
    parser.add_argument("--printed", type=Path, nargs="+", default=None, help="pool the output of earlier runs")
    options = parser.parse_args(arguments)
    design = HospitalDesign()
    if options.coordinates:
        design = HospitalDesign(coordinates=True, arrangement=0.5)
    if options.printed:
        rows = [row for path in options.printed for row in json.loads(path.read_text())["rows"]]
    else:
        seeds = range(options.seed, options.seed + options.cohorts)
        rows = [score_cohort(seed, design, networks=options.networks, trials=options.trials) for seed in seeds]
    print(json.dumps(summarise(rows), indent=1))


if __name__ == "__main__":
    main()
