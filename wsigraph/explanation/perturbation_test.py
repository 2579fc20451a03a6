"""Claims about what a model rests on, put to the test by changing the slide.

``nuclear density`` neutralises a feature: every region gets the training mean of it. ``nuclear density+2`` exaggerates
it, by two training standard deviations; ``-2`` the other way. ``KIND -> KIND`` replaces all regions of one kind of
tissue by training regions of another, of their size. What the output then does is told with an interval over regions,
from random halves of the regions in which alone the change is made: the change in a half, doubled, spreads as a
bootstrap of the regions would. A claim survives where the interval leaves out zero and the change is no trifle. One
feature moved alone may leave what tissue can be; that is what replacing kinds is for.

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
from wsigraph.explanation.kinds import spoken
from wsigraph.explanation.members import ExplainedMember, members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.target import Target
from wsigraph.graph.feature.interpret import FEATURE_NAMES
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.columns import NodeColumns
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.records import CoarseGraph

LEAST_CHANGE_SD = 0.05
"""Changes below this many standard deviations of the training outputs are trifles."""
_N_HALVES = 200
_EXAGGERATED = re.compile(r"(.*?)\s*([+-]\s*\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Falsification:
    """What a claim came to.

    Attributes
    ----------
    claim, action : str
        As asked, and what was done.
    target : str
        Output that was watched.
    n_regions : int
        Regions that were changed.
    value, change : float
        Output before, and how it changed.
    low, high : float
        95 % interval of the change over regions.
    change_sd : float or None
        Change in standard deviations of the training outputs.
    survives : bool
        Whether what the claim names matters to the output.
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
    survives: bool

    def sentence(self) -> str:
        """Return the result as people read it."""
        verdict = "The claim survives" if self.survives else "The claim falls"
        spread = (
            "" if self.change_sd is None else f", {self.change_sd:+.2f} standard deviations of the training outputs"
        )
        return (
            f"{verdict}: {self.action} in {self.n_regions} regions changes {self.target} from {self.value:.3g} by "
            f"{self.change:+.3g} (95 % over regions {self.low:+.3g} to {self.high:+.3g}{spread})."
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Change:
    features: NDArray[np.float64]
    changed: NDArray[np.bool_]
    action: str


def falsify(
    coarse: CoarseGraph,
    claim: str,
    model: Path | str | ModelBundle | None = None,
    target: str = "risk",
    *,
    reference: Reference | None = None,
    sha256: str | None = None,
    rng: np.random.Generator,
    threads: int = 1,
) -> Falsification:
    """Return what becomes of an output when what a claim names is taken away.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions.
    claim : str
        A feature, a feature with ``+`` or ``-`` and a number, or ``KIND -> KIND`` by names or numbers from 1.
    model : Path, str or ModelBundle, optional
        A bundle or its directory; the shipped demonstration model where left out.
    target : str
        ``stage``, ``risk`` or ``survival@DAYS``.
    reference : Reference, optional
        The training cohort; read from the model's directory where `model` names one.
    sha256 : str, optional
        Digest of the slide's bytes; of a slide of the training cohort the member is asked that never saw it.
    rng : numpy.random.Generator
        Source of donors and halves.
    threads : int
        Work done at once.

    Returns
    -------
    Falsification
        The change with its interval.

    Raises
    ------
    ConfigError
        If the claim names no feature or kind, or no region is of that kind.
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
    networks, asked = members(model, sha256), Target.parse(target)
    asked.check([member.ends_days for member in networks], len(model.card.stage_names))
    change = _change(claim, raw, networks, reference, rng)
    outputs = replacing(networks, asked, raw, change.features, threads=threads)
    n_nodes = len(raw.features)
    halves = _halves(change.changed, rng)
    masks = np.concatenate([np.zeros((1, n_nodes), np.bool_), change.changed[None], halves])
    found = outputs(masks)
    moved = float(found[1] - found[0])
    low, high = (float(each) for each in np.percentile(2 * (found[2:] - found[0]), (2.5, 97.5)))
    # doubled halves are centred on the whole change where the output is linear; where it is not, they are moved there
    shift = moved - float(np.mean(2 * (found[2:] - found[0])))
    low, high = low + shift, high + shift
    sd = None if reference is None else reference.output_sd(asked)
    is_trifle = sd is not None and abs(moved) < LEAST_CHANGE_SD * sd
    return Falsification(
        claim=claim,
        action=change.action,
        target=str(asked),
        n_regions=int(change.changed.sum()),
        value=float(found[0]),
        change=moved,
        low=low,
        high=high,
        change_sd=None if not sd else moved / sd,
        survives=bool((low > 0 or high < 0) and not is_trifle),
    )


def check_claim(claim: str) -> None:
    """Refuse a claim about a feature that does not exist, before anything is worked out.

    Parameters
    ----------
    claim : str
        As for `falsify`; kinds are known only with a model.

    Raises
    ------
    ConfigError
        If it names no feature.
    """
    if "->" not in claim:
        exaggerated = _EXAGGERATED.fullmatch(claim)
        _column(exaggerated[1] if exaggerated else claim)


def _halves(changed: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return random halves of the changed regions, bool (draws, N)."""
    nodes = np.flatnonzero(changed)
    masks = np.zeros((_N_HALVES, len(changed)), np.bool_)
    for row in range(0, _N_HALVES, 2):
        first = rng.permutation(nodes)
        # both halves count, so that an odd region is in one of them and no draw leans to a side
        masks[row, first[: len(nodes) // 2]] = True
        masks[row + 1, first[len(nodes) // 2 :]] = True
    return masks


def _change(
    claim: str,
    raw: GraphInput,
    networks: Sequence[ExplainedMember],
    reference: Reference | None,
    rng: np.random.Generator,
) -> _Change:
    if "->" in claim:
        return _replace_kind(claim, raw, reference, rng)
    exaggerated = _EXAGGERATED.fullmatch(claim)
    column = _column(exaggerated[1] if exaggerated else claim)
    scaler = networks[0].scaler
    features = raw.features.copy()
    if exaggerated:
        deviations = float(exaggerated[2].replace(" ", ""))
        features[:, column] += deviations * float(scaler.feature_scale[column])
        action = f"moving {spoken(FEATURE_NAMES[column])} by {deviations:+g} training standard deviations"
    else:
        mean = scaler.feature_mean if reference is None else reference.mean
        features[:, column] = mean[column]
        action = f"setting {spoken(FEATURE_NAMES[column])} to its training mean of {mean[column]:.3g}"
    return _Change(features=features, changed=np.ones(len(features), np.bool_), action=action)


def _replace_kind(claim: str, raw: GraphInput, reference: Reference | None, rng: np.random.Generator) -> _Change:
    if reference is None:
        raise ConfigError(f"claim {claim!r} needs the model's reference, which is not there; name a feature instead")
    source, end = (_kind(text.strip(), reference) for text in claim.split("->", 1))
    changed = reference.kinds(raw.features) == source
    if not changed.any():
        raise ConfigError(f"claim {claim!r}: the slide has no region of kind {reference.kind_names[source]!r}")
    donors = find_donors(raw, np.full(len(changed), end), reference, among=reference.region_kind, rng=rng)
    action = f"replacing '{reference.kind_names[source]}' by '{reference.kind_names[end]}'"
    return _Change(features=donors.feature, changed=changed, action=action)


def _kind(text: str, reference: Reference) -> int:
    names = reference.kind_names
    if text.isdigit() and 1 <= int(text) <= len(names):
        return int(text) - 1
    found = [number for number, name in enumerate(names) if name.lower().startswith(text.lower()) and text]
    if len(found) != 1:
        listed = "; ".join(f"{number} {name}" for number, name in enumerate(names, 1))
        raise ConfigError(f"kind {text!r} is unknown or not the only one, expected one of {listed}")
    return found[0]


def _column(text: str) -> int:
    names = {name: column for column, name in enumerate(FEATURE_NAMES)}
    names |= {spoken(name): column for column, name in enumerate(FEATURE_NAMES)}
    wanted = " ".join(text.strip().lower().split())
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(FEATURE_NAMES)}"
        raise ConfigError(f"claim {text!r} names no feature; {hint}")
    return names[wanted]
