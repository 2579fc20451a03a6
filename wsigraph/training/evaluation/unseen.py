"""New patients of sites that a member of an ensemble was not trained on.

The held-out sites of a small cohort have few patients. A simulation can add any number of patients of the same sites,
and each is predicted by the one member that was not trained on the site.
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
    ensemble: Ensemble, train: Cohort, fold: NDArray[np.int64], new: Cohort, *, seed: int, n_draws: int = N_DRAWS
) -> dict[str, Any]:
    """Return the C-index of new patients, each predicted by the member not trained on their site.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on `train` in folds that keep sites whole.
    train : Cohort
        n rows.
    fold : int64 (n,)
        Fold of every row.
    new : Cohort
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
        If a site of the new patients is not in the training cohort, or in two folds.
    """
    folds_of = {str(site): np.unique(fold[train.site == site]) for site in np.unique(new.site)}
    divided = [site for site, numbers in folds_of.items() if len(numbers) != 1]
    if divided:
        raise CohortError(f"site {divided[0]!r} is in {len(folds_of[divided[0]])} folds, expected one; split by site")
    number = np.array([folds_of[str(site)][0] for site in new.site])
    task = BaselineTask(cohort=new, fold=number, config=ensemble.bundle.card.config, seed=seed)
    risk = predict_folds(task, ensemble.bundle.members).risk

    def score(rows: NDArray[np.bool_]) -> dict[str, Any]:
        stratum = np.unique(new.site[rows], return_inverse=True)[1]
        weights = draw_weights(stratum, n_draws=n_draws, rng=np.random.default_rng(seed))
        followed = (risk[rows], new.time_days[rows], new.event[rows])
        score_with_interval = estimate(c_index(*followed, stratum=stratum, weights=weights))
        parts = {name: round(getattr(score_with_interval, name), 4) for name in ("value", "low", "high")}
        return {"c_index": parts, "n": int(rows.sum())}

    return {**score(np.ones(new.n_rows, np.bool_)), "by_site": {site: score(new.site == site) for site in folds_of}}
