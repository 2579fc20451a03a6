"""Check that the planted laws are what they say: ``python -m pipelines.check_laws``.

Prints, for every law, its censoring, the oracle's C-index, the correlations it keeps near 0, and what rivals that know
nothing of neighbourhood find, each with its 95 % interval over simulated patients and its bounds where the law claims
any. All patients are synthetic. Ends with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse

from wsigraph.config import Config
from wsigraph.synthesis.simulation.scenarios import LAWS
from wsigraph.synthesis.simulation.validity import check_law


def main(arguments: list[str] | None = None) -> int:
    """Print the figures of every law; return 1 if one lies outside its bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--law", choices=list(LAWS), action="append", help="check this one; repeatable")
    parser.add_argument("--train", type=int, default=600, help="synthetic patients that rivals are fitted on")
    parser.add_argument("--fresh", type=int, default=2000, help="other synthetic patients to measure on")
    parser.add_argument("--seed", type=int, default=1, help="decides everything random")
    parser.add_argument("--no-networks", action="store_true", help="leave out what takes minutes")
    options = parser.parse_args(arguments)
    missed = 0
    print(f"{options.fresh} synthetic patients, rivals fitted on {options.train} others, seed {options.seed}")
    for name in options.law or LAWS:
        print(f"\n{name}", flush=True)
        for found in check_law(
            name,
            Config(),
            n_train=options.train,
            n_fresh=options.fresh,
            seed=options.seed,
            networks=not options.no_networks,
        ):
            value = found.value
            bounds = "" if found.holds is None else f"[{_bound(found.low)}, {_bound(found.high)}]"
            verdict = {None: "", True: "holds", False: "MISSED"}[found.holds]
            missed += found.holds is False
            print(
                f"  {found.name:50s} {value.value:6.3f} ({value.low:6.3f} to {value.high:6.3f}) {bounds:14s} {verdict}",
                flush=True,
            )
    return 1 if missed else 0


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


if __name__ == "__main__":
    raise SystemExit(main())
