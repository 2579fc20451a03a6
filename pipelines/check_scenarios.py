"""Check the generative scenarios: ``python -m pipelines.check_scenarios``.

Prints, for every scenario, the censored fraction, the oracle's C-index, correlations that should be near 0, and the
scores of baseline models that cannot see neighbourhood. Each has its 95 % confidence interval over simulated patients,
and bounds where the scenario states any. All patients are synthetic. The exit status is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse

from pipelines.options import add_renamed
from wsigraph.config import Config
from wsigraph.synthesis.simulation.scenarios import SCENARIOS
from wsigraph.synthesis.simulation.validity import check_scenario


def main(arguments: list[str] | None = None) -> int:
    """Print the statistics of every scenario; return 1 if one is outside its bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_renamed(
        parser, "--scenario", "--law", choices=list(SCENARIOS), action="append", help="check this one; repeatable"
    )
    parser.add_argument("--train", type=int, default=600, help="synthetic patients that baseline models are fitted on")
    parser.add_argument("--fresh", type=int, default=2000, help="other synthetic patients to measure on")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers")
    parser.add_argument("--no-networks", action="store_true", help="leave out the networks, which take minutes")
    options = parser.parse_args(arguments)
    missed = 0
    print(f"{options.fresh} synthetic patients, baselines fitted on {options.train} others, seed {options.seed}")
    for name in options.scenario or SCENARIOS:
        print(f"\n{name}", flush=True)
        for check in check_scenario(
            name,
            Config(),
            n_train=options.train,
            n_fresh=options.fresh,
            seed=options.seed,
            networks=not options.no_networks,
        ):
            value = check.value
            bounds = "" if check.holds is None else f"[{_bound(check.low)}, {_bound(check.high)}]"
            verdict = {None: "", True: "holds", False: "MISSED"}[check.holds]
            missed += check.holds is False
            print(
                f"  {check.name:50s} {value.value:6.3f} ({value.low:6.3f} to {value.high:6.3f}) {bounds:14s} {verdict}",
                flush=True,
            )
    return 1 if missed else 0


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


if __name__ == "__main__":
    raise SystemExit(main())
