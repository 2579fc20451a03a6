"""What a training run depends on, kept beside its checkpoints, so that it goes on only where all of it is as it was.

Settings are kept by the name a user gives them, data by digests. Where something differs, the message names each
setting with both values; nothing is begun anew, and no file is touched, until the user says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import CoarseningConfig, ModelConfig

if TYPE_CHECKING:
    from wsigraph.training.dataset import Cohort

_ABSENT = "not set"
_N_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a training run depends on.

    Attributes
    ----------
    settings : dict
        Values that JSON holds, by the name of the setting, e.g. ``model.layers`` or ``--seed``.
    data : dict of str to str
        Digests, by what they are of, e.g. ``graphs``.
    """

    settings: dict[str, Any]
    data: dict[str, str]

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"settings": self.settings, "data": self.data}

    def with_settings(self, more: Mapping[str, Any]) -> Identity:
        """Return the same with further settings."""
        return Identity(settings={**self.settings, **more}, data=self.data)

    def differences(self, earlier: object) -> list[str]:
        """Return what differs from an earlier run.

        Parameters
        ----------
        earlier : object
            What `document` returned then, read from JSON.

        Returns
        -------
        list of str
            A phrase for each setting that differs, with both values, and one for each part of the data; empty where
            nothing does.
        """
        if not isinstance(earlier, dict) or not isinstance(earlier.get("settings"), dict):
            return ["it is of an earlier version of wsigraph, which did not note its settings"]
        then, now = earlier["settings"], self.settings
        phrases = [
            f"{name} was {_show(then, name)} and is {_show(now, name)} now"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        if len(phrases) > _N_SHOWN:
            phrases[_N_SHOWN:] = [f"{len(phrases) - _N_SHOWN} more settings differ"]
        data: Mapping[str, str] = earlier.get("data") or {}
        return phrases + [
            f"the {name} are others" for name in sorted({*data, *self.data}) if data.get(name) != self.data.get(name)
        ]


def refusal(what: str, differences: Iterable[str]) -> str:
    """Return the message for work that was begun, or finished, under other settings.

    Parameters
    ----------
    what : str
        What was met, e.g. ``checkpoint PATH``.
    differences : iterable of str
        As `Identity.differences` returned them.

    Returns
    -------
    str
        What was met, what differs, and what to do.
    """
    return (
        f"{what} was made under other settings or of other data: {'; '.join(differences)}. Nothing was changed: go on "
        "with the settings and data of then (--set NAME=VALUE), name another --out to keep both, or start over with "
        "--restart"
    )


def settings_of(section: str, config: ModelConfig | CoarseningConfig) -> dict[str, Any]:
    """Return the settings of a section by their full names; where a model is read from is none of training's."""
    return {f"{section}.{name}": value for name, value in config.model_dump(mode="json", exclude={"path"}).items()}


def cohort_digests(cohort: Cohort, rows: NDArray[np.int64], *, with_superpixels: bool) -> dict[str, str]:
    """Return digests of all that training reads of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows that are read.
    with_superpixels : bool
        Whether superpixel graphs are read as well, to train the coarsening.

    Returns
    -------
    dict of str to str
        Of ``patients``, ``outcomes``, ``graphs`` and, where read, ``superpixel graphs``.
    """
    chosen = cohort.take(rows)
    digests = {
        "patients": _digest([rows, chosen.patient]),
        "outcomes": _digest([chosen.stage, chosen.time_days, chosen.event]),
        "graphs": _digest(
            array for each in chosen.inputs for array in (each.features, each.edge_index, each.edge_attribute)
        ),
    }
    if with_superpixels and chosen.fine is not None:
        graphs = (graph for graphs in chosen.fine.rows for graph in graphs)
        digests["superpixel graphs"] = _digest(
            array for graph in graphs for array in (graph.moments, graph.edge_index, graph.boundary)
        )
    return digests


def fit_identity(cohort: Cohort, rows: NDArray[np.int64], config: ModelConfig, seed: int) -> Identity:
    """Return what the fit of one network depends on.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows that are read.
    config : ModelConfig
        Settings.
    seed : int
        Of this fit.

    Returns
    -------
    Identity
        Settings with those of the coarsening where it is trained too, and the data.
    """
    settings = {**settings_of("model", config), "the seed of this fit": seed, "torch": torch.__version__}
    if config.train_coarsening and cohort.fine is not None:
        settings |= settings_of("coarsening", cohort.fine.config)
        settings["the embedding to start from"] = cohort.fine.embedding.embedding_id
    return Identity(settings=settings, data=cohort_digests(cohort, rows, with_superpixels=config.train_coarsening))


def _show(settings: Mapping[str, Any], name: str) -> str:
    return repr(settings[name]) if name in settings else _ABSENT


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
