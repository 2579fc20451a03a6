"""Perturbation test of a claim about what a model uses: the slide is perturbed, and the change of the output tested.

``nuclear density`` neutralises a feature: every region gets its training mean. ``nuclear density+2`` raises the
feature by two training standard deviations; ``-2`` lowers it. ``CLUSTER -> CLUSTER`` replaces all regions of one
tissue cluster by training regions of another, of similar area. The change of the output has a confidence interval over
regions, from random halves of them: the change when only a half is perturbed, doubled, varies like a bootstrap over
regions. A claim is supported if the interval excludes zero and the change is not negligible. A single feature may move
beyond realistic tissue; replacing clusters avoids that.

References
----------
McCarthy, "Pseudo-replication: half samples", Review of the International Statistical Institute 1969.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ConfigError
from wsigraph.explanation.faithfulness import find_donors, replacing
from wsigraph.explanation.members import ExplainedMember, explained_members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.target import Target
from wsigraph.explanation.tissue_clusters import feature_label
from wsigraph.graph.feature.interpret import FEATURE_NAMES
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.columns import NodeColumns
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.records import CoarseGraph

LEAST_CHANGE_SD = 0.05
"""Changes below this many standard deviations of the training outputs are negligible."""
_N_HALVES = 200
_SHIFTED = re.compile(r"(.*?)\s*([+-]\s*\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationResult:
    """Result of a perturbation test.

    Attributes
    ----------
    claim, action : str
        The claim, and the perturbation.
    target : str
        The tested output.
    n_regions : int
        Perturbed regions.
    value, change : float
        Output of the unperturbed slide, and its change.
    low, high : float
        95 % confidence interval of the change over regions.
    change_sd : float or None
        Change in standard deviations of the training outputs.
    is_supported : bool
        Whether the output depends on what the claim names.
    """

    claim: str
    action: str
    target: str
    n_regions: int
    value: float
    change: float
    low: float
    high: float
    change_sd: float | None
    is_supported: bool

    def sentence(self) -> str:
        """Return the result as one sentence."""
        verdict = "The claim is supported" if self.is_supported else "The claim is not supported"
        in_sd = "" if self.change_sd is None else f", {self.change_sd:+.2f} standard deviations of the training outputs"
        return (
            f"{verdict}: {self.action} in {self.n_regions} regions changes {self.target} from {self.value:.3g} by "
            f"{self.change:+.3g} (95 % confidence interval over regions {self.low:+.3g} to {self.high:+.3g}{in_sd})."
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Perturbation:
    features: NDArray[np.float64]
    is_perturbed: NDArray[np.bool_]
    action: str


def run_perturbation_test(
    coarse: CoarseGraph,
    claim: str,
    model: Path | str | ModelBundle | None = None,
    target: str = "risk",
    *,
    reference: Reference | None = None,
    sha256: str | None = None,
    rng: np.random.Generator,
    threads: int = 1,
) -> PerturbationResult:
    """Test whether an output depends on what a claim names.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions.
    claim : str
        A feature, a feature with ``+`` or ``-`` and a number, or ``CLUSTER -> CLUSTER`` by names or numbers from 1.
    model : Path, str or ModelBundle, optional
        A bundle or its directory; the shipped demonstration model by default.
    target : str
        ``stage``, ``risk`` or ``survival@DAYS``.
    reference : Reference, optional
        The training cohort; read from the model's directory if `model` is a directory.
    sha256 : str, optional
        Digest of the slide's bytes. For a slide of the training cohort, only the member not trained on it is used.
    rng : numpy.random.Generator
        Source of donors and halves.
    threads : int
        Number of threads.

    Returns
    -------
    PerturbationResult
        The change with its interval.

    Raises
    ------
    ConfigError
        If the claim names no feature or tissue cluster, or the slide has no region of that cluster.
    ModelError
        If the model is damaged.
    StoreError
        If the reference is damaged.
    """
    if not isinstance(model, ModelBundle):
        directory = SHIPPED if model is None else model
        model = load_bundle(directory)
        reference = reference or load_reference(directory, model)
    raw = graph_input(coarse, NodeColumns.of(model.card.config, model.card.encoder))
    networks, output = explained_members(model, sha256), Target.parse(target)
    output.check([member.ends_days for member in networks], len(model.card.stage_names))
    perturbation = _perturb(claim, raw, networks, reference, rng)
    outputs = replacing(networks, output, raw, perturbation.features, threads=threads)
    n_nodes = len(raw.features)
    halves = _halves(perturbation.is_perturbed, rng)
    masks = np.concatenate([np.zeros((1, n_nodes), np.bool_), perturbation.is_perturbed[None], halves])
    values = outputs(masks)
    change = float(values[1] - values[0])
    doubled = 2 * (values[2:] - values[0])
    # doubled halves are centred on the whole change if the output is linear; otherwise they are shifted there
    shift = change - float(np.mean(doubled))
    low, high = (float(limit) + shift for limit in np.percentile(doubled, (2.5, 97.5)))
    sd = None if reference is None else reference.output_sd(output)
    is_negligible = sd is not None and abs(change) < LEAST_CHANGE_SD * sd
    return PerturbationResult(
        claim=claim,
        action=perturbation.action,
        target=str(output),
        n_regions=int(perturbation.is_perturbed.sum()),
        value=float(values[0]),
        change=change,
        low=low,
        high=high,
        change_sd=None if not sd else change / sd,
        is_supported=bool((low > 0 or high < 0) and not is_negligible),
    )


def check_claim(claim: str) -> None:
    """Refuse a claim about an unknown feature, before any computation.

    Parameters
    ----------
    claim : str
        As for `run_perturbation_test`. Names of tissue clusters are not checked, because they depend on the model.

    Raises
    ------
    ConfigError
        If the claim names no feature.
    """
    if "->" not in claim:
        shifted = _SHIFTED.fullmatch(claim)
        _column(shifted[1] if shifted else claim)


def _halves(is_perturbed: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return random halves of the perturbed regions, bool (draws, N)."""
    nodes = np.flatnonzero(is_perturbed)
    masks = np.zeros((_N_HALVES, len(is_perturbed)), np.bool_)
    for row in range(0, _N_HALVES, 2):
        first = rng.permutation(nodes)
        # both halves of a permutation are used, so every region is perturbed equally often
        masks[row, first[: len(nodes) // 2]] = True
        masks[row + 1, first[len(nodes) // 2 :]] = True
    return masks


def _perturb(
    claim: str,
    raw: GraphInput,
    networks: Sequence[ExplainedMember],
    reference: Reference | None,
    rng: np.random.Generator,
) -> _Perturbation:
    if "->" in claim:
        return _replace_cluster(claim, raw, reference, rng)
    shifted = _SHIFTED.fullmatch(claim)
    column = _column(shifted[1] if shifted else claim)
    scaler = networks[0].scaler
    features = raw.features.copy()
    if shifted:
        deviations = float(shifted[2].replace(" ", ""))
        features[:, column] += deviations * float(scaler.feature_scale[column])
        action = f"shifting {feature_label(FEATURE_NAMES[column])} by {deviations:+g} training standard deviations"
    else:
        mean = scaler.feature_mean if reference is None else reference.mean
        features[:, column] = mean[column]
        action = f"setting {feature_label(FEATURE_NAMES[column])} to its training mean of {mean[column]:.3g}"
    return _Perturbation(features=features, is_perturbed=np.ones(len(features), np.bool_), action=action)


def _replace_cluster(
    claim: str, raw: GraphInput, reference: Reference | None, rng: np.random.Generator
) -> _Perturbation:
    if reference is None:
        raise ConfigError(
            f"claim {claim!r} needs the model's training reference, and this model has none; name a feature instead"
        )
    names = reference.cluster_names
    source, target = (_cluster(text.strip(), names) for text in claim.split("->", 1))
    is_source = reference.clusters(raw.features) == source
    if not is_source.any():
        raise ConfigError(
            f"claim {claim!r}: the slide has no region of tissue cluster {names[source]!r}; name another cluster"
        )
    donors = find_donors(raw, np.full(len(is_source), target), reference, among=reference.region_cluster, rng=rng)
    action = f"replacing '{names[source]}' by '{names[target]}'"
    return _Perturbation(features=donors.feature, is_perturbed=is_source, action=action)


def _cluster(text: str, names: Sequence[str]) -> int:
    if text.isdigit() and 1 <= int(text) <= len(names):
        return int(text) - 1
    matches = [number for number, name in enumerate(names) if name.lower().startswith(text.lower()) and text]
    if len(matches) != 1:
        listed = "; ".join(f"{number} {name}" for number, name in enumerate(names, 1))
        raise ConfigError(f"tissue cluster {text!r} is unknown or ambiguous, expected one of {listed}")
    return matches[0]


def _column(text: str) -> int:
    names = {name: column for column, name in enumerate(FEATURE_NAMES)}
    names |= {feature_label(name).lower(): column for column, name in enumerate(FEATURE_NAMES)}
    wanted = " ".join(text.strip().lower().split())
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(FEATURE_NAMES)}"
        raise ConfigError(f"claim {text!r} names no feature; {hint}")

    return names[wanted]
