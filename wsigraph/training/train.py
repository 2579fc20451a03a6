"""A single network trained on graphs with known outcomes; for an ensemble with held-out scores see ``ensemble.py``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import CoarseningConfig, Config, ModelConfig
from wsigraph.model.bundle import Calibration, ModelBundle, pack
from wsigraph.model.card import About
from wsigraph.model.columns import NodeColumns
from wsigraph.training.dataset import Example, collect
from wsigraph.training.ensemble import own_embedding
from wsigraph.training.fit import fit
from wsigraph.training.load_cohort import coarsening_to_train
from wsigraph.training.make_card import make_card

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

__all__ = ["About", "Trained", "train"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained model with its losses.

    Attributes
    ----------
    bundle : ModelBundle
        Card without metrics, and weights of the best epoch.
    history : float64 (epochs, 2)
        Training and validation loss of every epoch.
    """

    bundle: ModelBundle
    history: NDArray[np.float64]


def train(
    examples: Iterable[Example],
    config: ModelConfig | None = None,
    *,
    seed: int,
    about: About,
    coarsening: CoarseningConfig | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Return a model trained on graphs with known outcomes.

    Parameters
    ----------
    examples : iterable of Example
        Iterated once; of at least two patients, with at least one event in the training part.
    config : ModelConfig, optional
        Architecture and hyper-parameters.
    seed : int
        Decides the split, the initial weights, the order of graphs and all dropout.
    about : About
        The author's part of the card.
    coarsening : CoarseningConfig, optional
        Settings of the initial coarsening where ``config.train_coarsening`` is true; the defaults where left out.
    progress : callable, optional
        Called with ``("train", epoch, epochs)`` after every epoch.

    Returns
    -------
    Trained
        Model and losses; deterministic on one machine.

    Raises
    ------
    ModelError
        If the examples are too few, of mixed schemas, name a stage that does not exist, or hold no event.
    """
    config = config or Config().model
    learned = coarsening_to_train(coarsening, config)
    cohort = collect(examples, config.stage_names, columns=NodeColumns.of(config), coarsening=learned)
    (config,) = cohort.settled([config])
    fitted = fit(cohort, np.arange(cohort.n_rows), config, seed=seed, progress=progress)
    embedding = own_embedding([fitted.member], cohort)
    weights = pack([fitted.member], Calibration.none(), embedding)
    card = make_card(
        cohort, None, [fitted], about=about, seed=seed, config=config, weights=weights, embedding=embedding
    )
    return Trained(bundle=ModelBundle(card=card, weights=weights), history=fitted.history)
