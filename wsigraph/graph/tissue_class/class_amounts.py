"""Areas and shares of the classes of a slide, with their intervals, and what follows from them.

The area of a class is that of the regions in which it is most likely. Its interval runs from the area that is
certainly of it (the conformal set holds it alone) to the area that may be of it (the set holds it, or it is most
likely), so it is an interval of naming, not of sampling. Glass is left out of every area. Two neighbouring regions
share a boundary of exact length; the front of two classes is the sum over the pairs that are most likely of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import crofton_um, px_to_mm2
from wsigraph.graph.tissue_class.node_classifier import UNNAMED, RegionClasses
from wsigraph.records import TissueGraph

_TUMOUR = ("epithelium", "tumour", "tumor", "carcinoma")
_STROMA = ("stroma",)
_UM_IN_MM = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with the least and most that it may be.

    Attributes
    ----------
    value, low, high : float
        The number, and both ends.
    """

    value: float
    low: float
    high: float

    def document(self) -> dict[str, float]:
        """Return the three numbers by name, for JSON."""
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What the tissue of a slide consists of.

    Attributes
    ----------
    tissue_mm2, glass_mm2, unnamed_mm2 : float
        Area of tissue without glass, of glass inside it, and of tissue without a name.
    area_mm2, share : dict of str to Interval
        Area of every class, and its share of the tissue.
    ratio : Interval or None
        Area of epithelium or tumour over that of stroma; None where the model has not both, or there is no stroma.
    front_mm : float or None
        Length of the boundary between the two; None where the model has not both.
    stroma_nuclei_per_mm2 : Interval or None
        Nuclei in the stroma, over its area: the value over the regions most likely stroma, the ends over those that
        are certainly and possibly stroma, in order.
    """

    tissue_mm2: float
    glass_mm2: float
    unnamed_mm2: float
    area_mm2: dict[str, Interval]
    share: dict[str, Interval]
    ratio: Interval | None
    front_mm: float | None
    stroma_nuclei_per_mm2: Interval | None

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        optional = {"tumour_stroma_ratio": self.ratio, "stroma_nuclei_per_mm2": self.stroma_nuclei_per_mm2}
        return {
            "tissue_mm2": round(self.tissue_mm2, 6),
            "glass_mm2": round(self.glass_mm2, 6),
            "unnamed_mm2": round(self.unnamed_mm2, 6),
            "unnamed_share": round(self.unnamed_mm2 / self.tissue_mm2, 6) if self.tissue_mm2 else 0.0,
            "area_mm2": {name: area.document() for name, area in self.area_mm2.items()},
            "share": {name: share.document() for name, share in self.share.items()},
            **{name: None if value is None else value.document() for name, value in optional.items()},
            "front_mm": None if self.front_mm is None else round(self.front_mm, 6),
        }

    def sentence(self) -> str:
        """Return the composition as one sentence."""
        parts = [
            f"{100 * share.value:.0f} % {name.lower()} ({100 * share.low:.0f} to {100 * share.high:.0f} %)"
            for name, share in sorted(self.share.items(), key=lambda item: -item[1].value)
        ]
        unnamed = self.unnamed_mm2 / self.tissue_mm2 if self.tissue_mm2 else 0.0
        return f"The tissue is {', '.join(parts)}; {100 * unnamed:.0f} % of it is unnamed."


def measure_composition(graph: TissueGraph, classes: RegionClasses) -> Composition:
    """Return what the tissue of a slide consists of.

    Parameters
    ----------
    graph : TissueGraph
        The graph that was classified.
    classes : RegionClasses
        Classes of its regions.

    Returns
    -------
    Composition
        Areas, shares, ratio, front and nuclei in the stroma.
    """
    area = np.asarray(graph.moment("n") * px_to_mm2(1.0, graph.mpp), np.float64)  # (N,)
    tissue = float(area[~classes.is_glass].sum())
    areas, shares = {}, {}
    for number, name in enumerate(classes.names):
        chosen = _chosen(classes, [number])
        value, low, high = (float(area[rows].sum()) for rows in chosen)
        areas[name] = Interval(value=value, low=low, high=high)
        shares[name] = Interval(value=value / tissue, low=low / tissue, high=high / tissue) if tissue else areas[name]
    names, label = classes.labels()
    tumour, stroma = _columns(classes.names, _TUMOUR), _columns(classes.names, _STROMA)
    both = bool(tumour and stroma)
    return Composition(
        tissue_mm2=tissue,
        glass_mm2=float(area[classes.is_glass].sum()),
        unnamed_mm2=float(area[label == names.index(UNNAMED)].sum()),
        area_mm2=areas,
        share=shares,
        ratio=_ratio(area, _chosen(classes, tumour), _chosen(classes, stroma)) if both else None,
        front_mm=_front_mm(graph, classes, tumour, stroma) if both else None,
        stroma_nuclei_per_mm2=_density(graph, area, _chosen(classes, stroma)) if stroma else None,
    )


def _columns(names: tuple[str, ...], words: tuple[str, ...]) -> list[int]:
    """Return the classes whose names hold one of the words."""
    return [number for number, name in enumerate(names) if any(word in name.lower() for word in words)]


def _chosen(classes: RegionClasses, columns: list[int]) -> tuple[NDArray[np.bool_], ...]:
    """Return which regions are most likely, certainly and possibly of one of the classes, bool (N,) each."""
    likely = np.isin(classes.most_likely, columns)
    inside = classes.inside[:, columns].any(axis=1) & ~classes.is_glass
    others = np.delete(classes.inside, columns, axis=1).any(axis=1)
    return likely, likely & inside & ~others, likely | inside


def _ratio(
    area: NDArray[np.float64], top: tuple[NDArray[np.bool_], ...], bottom: tuple[NDArray[np.bool_], ...]
) -> Interval | None:
    """Return a ratio of areas; its ends put what is uncertain on one side. None over an area of 0."""
    (a, a_low, a_high), (b, b_low, b_high) = ([float(area[rows].sum()) for rows in side] for side in (top, bottom))
    if b == 0 or b_low == 0:
        return None
    return Interval(value=a / b, low=a_low / b_high, high=a_high / b_low)


def _front_mm(graph: TissueGraph, classes: RegionClasses, tumour: list[int], stroma: list[int]) -> float:
    """Return the length of the boundary between two classes."""
    source, target = (classes.most_likely[end] for end in graph.edge_index)
    across = np.isin(source, tumour) & np.isin(target, stroma)
    straight, diagonal = graph.boundary[across].sum(axis=0)
    return float(crofton_um(straight, diagonal, graph.mpp)) / _UM_IN_MM


def _density(graph: TissueGraph, area: NDArray[np.float64], stroma: tuple[NDArray[np.bool_], ...]) -> Interval | None:
    """Return nuclei over area of the stroma; None where nuclei were not counted or there is no stroma."""
    if graph.nuclei == "none" or not stroma[0].any():
        return None
    nuclei = graph.moment("nuclei")
    densities = [float(nuclei[rows].sum() / area[rows].sum()) for rows in stroma if rows.any()]
    return Interval(value=densities[0], low=min(densities), high=max(densities))
