"""Score the parts of the survival offset, and mixes of them, on fresh patients of a simulated scenario.

    python -m pipelines.score_offset_parts [--scenario composition] [--draws 6] [--train 300] [--fresh 1000]

Why is the default below a ridge on ``composition``? Every draw trains the offset once and scores, on the same fresh
patients: the ridge on means with several penalties, the ridge with a chosen penalty that ``evaluate`` shows as
``pooled_ridge``, attention alone, and mixes with other weights. Prints JSON: mean C-index over draws, and differences
from the offset's own weights with 95 % intervals over draws.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from pipelines.choose_offset import MIXES
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import Config, load
from wsigraph.graph.one_thread import one_thread
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.synthesis.simulation.scenarios import SCENARIOS
from wsigraph.training.cox_ridge import cox_risk
from wsigraph.training.evaluation.baselines import fixed_cox_risk
from wsigraph.training.evaluation.evaluation_document import mean_over
from wsigraph.training.evaluation.pooled import means_and_stds
from wsigraph.training.fit import fit
from wsigraph.training.read_offset import offset_parts

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
FURTHER_MIXES = {"means + 2 attention": (1, 0, 2), "attention": (0, 0, 1)}
OWN = "mix: 2 means + attention"
"""The weights of the default."""


@one_thread()
def score_draw(settings: Config, n_train: int, n_fresh: int, *, seed: int) -> dict[str, float]:
    """Return the C-index of every model on the fresh patients of one draw."""
    simulated = gather_simulated(n_train + n_fresh, settings, seed=seed, nodes="regions")
    cohort = simulated.cohort
    rows = np.arange(cohort.n_rows)
    train, fresh = rows[:n_train], rows[n_train:]
    both = means_and_stds(cohort)
    means = both[:, : both.shape[1] // 2]
    known = (cohort.time_days, cohort.event)
    risks = {f"means@{penalty:g}": fixed_cox_risk(means, *known, train, penalty) for penalty in PENALTIES}
    risks["means and spreads@1"] = fixed_cox_risk(both, *known, train)
    risks["means, penalty chosen"] = cox_risk(means, *known, cohort.patient, train, seed=seed)
    risks["means and spreads, penalty chosen"] = cox_risk(both, *known, cohort.patient, train, seed=seed)
    config = settings.model.model_copy(update={"design": "offset", "task": "survival"})
    parts = list(offset_parts(fit(cohort, train, config, seed=seed).member, cohort.inputs).values())
    for name, weights in (MIXES | FURTHER_MIXES).items():
        scaled = [w * part / max(part[train].std(), 1e-9) for w, part in zip(weights, parts, strict=True)]
        risks[f"mix: {name}"] = np.sum(scaled, axis=0)
    attention = parts[2] / max(parts[2][train].std(), 1e-9)
    for penalty in (0.03, 0.1):
        ridge = risks[f"means@{penalty:g}"]
        risks[f"mix: 2 means@{penalty:g} + attention"] = 2.0 * ridge / ridge[train].std() + attention
    risks["oracle"] = simulated.oracle_risk
    days, event = cohort.time_days[fresh], cohort.event[fresh]
    return {name: float(c_index(risk[fresh], days, event)[0]) for name, risk in risks.items()}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="composition")
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--fresh", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=101, help="of the first draw")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load([], [f'synthesis.scenario="{options.scenario}"', *options.overrides])
    rows = []
    for number in range(options.draws):
        rows.append(score_draw(settings, options.train, options.fresh, seed=options.seed + number))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    table: dict[str, Any] = {}
    for name in rows[0]:
        above = [row[name] - row[OWN] for row in rows]
        table[name] = {
            "mean": round(float(np.mean([row[name] for row in rows])), 4),
            "above_own": mean_over(above) if len(above) > 1 else round(above[0], 4),
        }
    print(json.dumps({"draws": options.draws, "train": options.train, "summary": table}, indent=1))


if __name__ == "__main__":
    main()
