"""Count how often intervals of a difference over whole sites cover it, for sites of unequal size.

    python -m pipelines.score_intervals [--draws 4000] [--seed 1]

A difference between two models is drawn for every site: a common value, a part of the site (standard deviation
``--between``) and noise that falls with the square root of the site's patients (``--within`` for one patient). Sites
are a sample from many, and so are their sizes: each study draws both. The target is the patient-weighted mean over all
sites there could be. Prints JSON: for every set of sites, the coverage and the mean width of two 95 % intervals:
percentiles of a bootstrap over whole sites, and `wsigraph.cohort.metrics.site_difference.mean_over_sites`.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from wsigraph.cohort.metrics.site_difference import effective_sites, mean_over_sites

N_SITES = (4, 6, 10, 20, 40)
"""Sites of a study."""
SIZE_SPREADS = {"equal sizes": 0.0, "sizes as in TCGA": 1.0}
"""Standard deviation of the log of the sites' sizes."""
_N_BOOTSTRAP = 400


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000, help="studies of each kind")
    parser.add_argument("--between", type=float, default=0.03, help="standard deviation of the difference over sites")
    parser.add_argument("--within", type=float, default=0.5, help="standard deviation of the noise of one patient")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    table = {
        f"{n_sites} sites, {name}": score_intervals(
            n_sites, spread, options.draws, between=options.between, within=options.within, rng=rng
        )
        for name, spread in SIZE_SPREADS.items()
        for n_sites in N_SITES
    }
    print(json.dumps(table, indent=1))


def score_intervals(
    n_sites: int, spread: float, n_draws: int, *, between: float, within: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return coverage and mean width of both intervals over simulated studies.

    Parameters
    ----------
    n_sites : int
        Sites of a study.
    spread : float
        Standard deviation of the log of their sizes, around 30 patients.
    n_draws : int
        Studies.
    between, within : float
        Standard deviation over sites, and of one patient's noise.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    dict
        ``effective_sites`` (mean), and ``coverage`` and ``width`` of ``percentile`` and ``student``.
    """
    covered, width = np.zeros((n_draws, 2)), np.zeros((n_draws, 2))
    effective = np.zeros(n_draws)
    for draw in range(n_draws):
        sizes = np.maximum(np.round(30 * np.exp(spread * rng.normal(size=n_sites))), 3.0)
        values = between * rng.normal(size=n_sites) + within * rng.normal(size=n_sites) / np.sqrt(sizes)
        picked = rng.multinomial(n_sites, np.full(n_sites, 1 / n_sites), _N_BOOTSTRAP).astype(np.float64) * sizes
        means = picked @ values / picked.sum(axis=1)
        student = mean_over_sites(values, sizes)
        ends = np.array([np.quantile(means, [0.025, 0.975]), [student.low, student.high]])
        # the common value is 0
        covered[draw] = (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
        width[draw] = ends[:, 1] - ends[:, 0]
        effective[draw] = effective_sites(sizes)
    names = ("percentile", "student")
    return {
        "effective_sites": round(float(effective.mean()), 1),
        "coverage": dict(zip(names, np.round(covered.mean(axis=0), 4).tolist(), strict=True)),
        "width": dict(zip(names, np.round(width.mean(axis=0), 4).tolist(), strict=True)),
    }


if __name__ == "__main__":
    main()
