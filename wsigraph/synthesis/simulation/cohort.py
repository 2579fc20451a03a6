"""Simulated patients as a cohort to learn from, in memory, with what the oracle says of each.

What ``wsigraph simulate`` followed by ``wsigraph train`` would learn from, without gigabytes of graphs on disk in
between. The oracle knows the law: its risk is the true log hazard ratio, its stage probabilities follow from the
severity before noise. Nobody can order or stage the patients better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import CoarseningConfig, Config
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.contract import contract
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.simulation.layout import Lattice
from wsigraph.synthesis.simulation.scenarios import stage_probability
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, SimulatedSlide
from wsigraph.synthesis.simulation.write_cohort import simulate_cohort
from wsigraph.training.dataset import Cohort, Example, collect, join_patients

Nodes = Literal["coarse", "regions", "superpixels"]
"""What the nodes of a slide are: as coarsened, the layout's own regions, or superpixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedCohort:
    """A cohort and its truth.

    Attributes
    ----------
    cohort : Cohort
        One row a patient, n rows.
    oracle_risk : float64 (n,)
        The true log hazard ratio.
    oracle_stage : float64 (n, K)
        The true stage probabilities.
    """

    cohort: Cohort
    oracle_risk: NDArray[np.float64]
    oracle_stage: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> SimulatedCohort:
        """Return some patients in the order asked for."""
        return SimulatedCohort(
            cohort=self.cohort.take(rows), oracle_risk=self.oracle_risk[rows], oracle_stage=self.oracle_stage[rows]
        )


def own_regions(graph: TissueGraph, lattice: Lattice) -> CoarseGraph:
    """Return the graph of a layout's own regions: what perfect coarsening would make of its superpixels."""
    regions = lattice.regions
    return CoarseGraph(
        graph=contract(graph, regions.member, regions.shape.area),
        assignment=regions.member,
        embedding_id="own-regions",
    )


def gather_simulated(
    n_patients: int, settings: Config | None = None, *, seed: int, nodes: Nodes = "coarse"
) -> SimulatedCohort:
    """Return the patients that ``wsigraph simulate`` writes, ready to learn from.

    Parameters
    ----------
    n_patients : int
        How many.
    settings : Config, optional
        Sections ``synthesis``, which names the law, ``feature``, ``coarsening`` and ``model``, which names the stages.
    seed : int
        Decides everything random.
    nodes : str
        What the nodes are: ``"coarse"``, ``"regions"`` or ``"superpixels"``.

    Returns
    -------
    SimulatedCohort
        In the order of simulation; the first patients of a longer cohort are those of a shorter one.

    Raises
    ------
    SynthesisError
        If there is no such law, or the spacing of superpixels is below 4 px.

    Notes
    -----
    About 12 ms a slide of 1,300 superpixels, most of it coarsening.
    """
    settings = settings or Config()
    kept: list[SimulatedPatient] = []
    patients = _noted(simulate_cohort(n_patients, settings, seed=seed), kept)
    cohort = join_patients(collect(_examples(patients, settings.coarsening, nodes), settings.model.stage_names))
    return SimulatedCohort(
        cohort=cohort,
        oracle_risk=np.array([each.outcome.oracle_risk for each in kept]),
        oracle_stage=stage_probability(np.array([each.outcome.staged_severity for each in kept])),
    )


def _noted(patients: Iterable[SimulatedPatient], kept: list[SimulatedPatient]) -> Iterator[SimulatedPatient]:
    """Yield patients and keep what became of them, without their slides."""
    for patient in patients:
        yield patient
        kept.append(replace(patient, slides=()))


def _examples(patients: Iterable[SimulatedPatient], coarsening: CoarseningConfig, nodes: Nodes) -> Iterator[Example]:
    for patient in patients:
        for slide in patient.slides:
            yield Example(
                graph=_graph(slide, coarsening, nodes),
                patient=patient.patient,
                stage=patient.outcome.stage,
                time_days=patient.outcome.time_days,
                event=patient.outcome.event,
                site=f"synthetic-site-{patient.site + 1}",
                sha256=hashlib.sha256(slide.graph.moments.tobytes()).hexdigest(),
            )


def _graph(slide: SimulatedSlide, coarsening: CoarseningConfig, nodes: Nodes) -> CoarseGraph | TissueGraph:
    if nodes == "regions":
        return own_regions(slide.graph, slide.lattice)
    return slide.graph if nodes == "superpixels" else coarsen(slide.graph, coarsening)
