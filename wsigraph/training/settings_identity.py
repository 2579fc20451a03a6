"""The identity of a training run: its settings and data, stored next to the checkpoints.

A run resumes only if all of them are unchanged. Settings are stored under the names that users give them, data as
digests. If something differs, the error names each setting with both values. No file is changed until the user asks
for a restart.
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
    """Settings and data that a training run depends on.

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
        """Return the identity for JSON."""
        return {"settings": self.settings, "data": self.data}

    def with_settings(self, more: Mapping[str, Any]) -> Identity:
        """Return the same with further settings."""
        return Identity(settings={**self.settings, **more}, data=self.data)

    def differences(self, earlier: object) -> list[str]:
        """Return the differences from an earlier run.

        Parameters
        ----------
        earlier : object
            Its `document`, read from JSON.

        Returns
        -------
        list of str
            A phrase for each setting that differs, with both values, and one for each part of the data that does; empty
            if nothing differs.
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
    """Return the error message for a run that was started or finished under other settings.

    Parameters
    ----------
    what : str
        Name of the file or run, e.g. ``checkpoint PATH``.
    differences : iterable of str
        As `Identity.differences` returned them.

    Returns
    -------
    str
        The name, the differences, and what to do.
    """
    return (
        f"{what} was made under other settings or of other data: {'; '.join(differences)}. Nothing was changed: go on "
        "with the settings and data of then (--set NAME=VALUE), name another --out to keep both, or start over with "
        "--restart"
    )


def settings_of(section: str, config: ModelConfig | CoarseningConfig) -> dict[str, Any]:
    """Return the settings of a section by their full names, without the path of a stored model."""
    return {f"{section}.{name}": value for name, value in config.model_dump(mode="json", exclude={"path"}).items()}


def cohort_digests(cohort: Cohort, rows: NDArray[np.int64], *, with_superpixels: bool) -> dict[str, str]:
    """Return digests of everything that training reads of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows of the cohort.
    with_superpixels : bool
        Whether superpixel graphs are read as well, to train the coarsening.

    Returns
    -------
    dict of str to str
        Of ``patients``, ``outcomes``, ``graphs`` and, where read, ``superpixel graphs``.
    """
    part = cohort.take(rows)
    digests = {
        "patients": _digest([rows, part.patient]),
        "outcomes": _digest([part.stage, part.time_days, part.event]),
        "graphs": _digest(
            array for graph in part.inputs for array in (graph.features, graph.edge_index, graph.edge_attribute)
        ),
    }
    if with_superpixels and part.superpixel_graphs is not None:
        graphs = (graph for graphs in part.superpixel_graphs.rows for graph in graphs)
        digests["superpixel graphs"] = _digest(
            array for graph in graphs for array in (graph.moments, graph.edge_index, graph.boundary)
        )
    return digests


def fit_identity(cohort: Cohort, rows: NDArray[np.int64], config: ModelConfig, seed: int) -> Identity:
    """Return the identity of the fit of one network.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows of the cohort.
    config : ModelConfig
        Settings.
    seed : int
        Of this fit.

    Returns
    -------
    Identity
        Settings, with those of the coarsening if it is trained too, and data.
    """
    settings = {**settings_of("model", config), "the seed of this fit": seed, "torch": torch.__version__}
    if config.train_coarsening and cohort.superpixel_graphs is not None:
        settings |= settings_of("coarsening", cohort.superpixel_graphs.config)
        settings["the embedding to start from"] = cohort.superpixel_graphs.embedding.embedding_id
    return Identity(settings=settings, data=cohort_digests(cohort, rows, with_superpixels=config.train_coarsening))


def _show(settings: Mapping[str, Any], name: str) -> str:
    return repr(settings[name]) if name in settings else _ABSENT


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
