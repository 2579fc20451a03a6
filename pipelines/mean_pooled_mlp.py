"""A small network on the means of regions, tried beside a ridge on the same numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 32
N_STEPS = 60
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
DROPOUT = 0.5
N_SEEDS = 3


def mlp_risk(
    x: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    train: NDArray[np.int64],
    *,
    seed: int,
) -> NDArray[np.float64]:
    """Return the risks of all rows by networks of one hidden layer, averaged over three seeds, float64 (n,).

    The loss is Cox's partial likelihood over all training rows. The number of steps is fixed, so nothing is held out.

    Parameters
    ----------
    x : float64 (n, D)
        Means of regions.
    time_days : float64 (n,)
        Follow-up in days.
    event : bool (n,)
        Whether the patient died.
    train : int64 (m,)
        Rows to fit.
    seed : int
        Of the first network.

    Returns
    -------
    float64 (n,)
        Log hazard ratios.
    """
    import torch

    rows = train[np.isfinite(time_days[train])]
    centre, scale = x[rows].mean(axis=0), np.maximum(x[rows].std(axis=0), 1e-9)
    inputs = torch.tensor((x - centre) / scale, dtype=torch.float32)
    order = rows[np.argsort(-time_days[rows], kind="stable")]  # longest first: a running sum is the set at risk
    died = torch.tensor(event[order])
    total = np.zeros(len(x))
    for number in range(N_SEEDS):
        torch.manual_seed(seed + number)
        network = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], WIDTH), torch.nn.ReLU(), torch.nn.Dropout(DROPOUT), torch.nn.Linear(WIDTH, 1)
        )
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        network.train()
        for _ in range(N_STEPS):
            ratio = network(inputs[order])[:, 0]
            loss = -(ratio - torch.logcumsumexp(ratio, dim=0))[died].mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            total += network(inputs)[:, 0].numpy().astype(np.float64)
    return total / N_SEEDS
