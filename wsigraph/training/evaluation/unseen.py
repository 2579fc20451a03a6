"""Fresh patients of sites that a member of an ensemble never saw.

Sites left out of a small cohort are judged by few patients; a simulation has as many others of the same sites as one
likes, and each is answered by the one member that knows nothing of the site.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights, estimate
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.errors import CohortError
from wsigraph.graph.one_thread import one_thread
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble
from wsigraph.training.evaluation.baselines import BaselineTask, predict_folds


@one_thread()
def c_at_unseen_sites(
    ensemble: Ensemble, train: Cohort, fold: NDArray[np.int64], fresh: Cohort, *, seed: int, n_draws: int = N_DRAWS
) -> dict[str, Any]:
    """Return the C-index of fresh patients, each answered by the member that never saw their site.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on `train` in folds that keep sites whole.
    train : Cohort
        n rows.
    fold : int64 (n,)
        Fold of every row.
    fresh : Cohort
        Other patients of the same sites.
    seed : int
        Of the draws.
    n_draws : int
        Bootstrap draws over patients within a site.

    Returns
    -------
    dict
        ``c_index`` over pairs within a site, with its interval, ``n``, and ``by_site``, the same of each.

    Raises
    ------
    CohortError
        If a site of the fresh patients is not in training, or lies in two folds.
    """
    held = {str(site): np.unique(fold[train.site == site]) for site in np.unique(fresh.site)}
    torn = [site for site, numbers in held.items() if len(numbers) != 1]
    if torn:
        raise CohortError(f"site {torn[0]!r} is in {len(held[torn[0]])} folds, expected one; split by site")
    number = np.array([held[str(site)][0] for site in fresh.site])
    question = BaselineTask(cohort=fresh, fold=number, config=ensemble.bundle.card.config, seed=seed)
    risk = predict_folds(question, ensemble.bundle.members).risk

    def score(rows: NDArray[np.bool_]) -> dict[str, Any]:
        stratum = np.unique(fresh.site[rows], return_inverse=True)[1]
        weights = draw_weights(stratum, n_draws=n_draws, rng=np.random.default_rng(seed))
        followed = (risk[rows], fresh.time_days[rows], fresh.event[rows])
        found = estimate(c_index(*followed, stratum=stratum, weights=weights))
        parts = {name: round(getattr(found, name), 4) for name in ("value", "low", "high")}
        return {"c_index": parts, "n": int(rows.sum())}

    return {**score(np.ones(fresh.n_rows, np.bool_)), "by_site": {site: score(fresh.site == site) for site in held}}
