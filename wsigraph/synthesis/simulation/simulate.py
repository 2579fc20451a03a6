"""Patients with tissue graphs and outcomes of a planted law, by the thousand.

Painting a slide and walking it through reading, segmentation and counting costs seconds; here it is done once. Every
class is painted as one tile a site and counted with the kernel that counts real slides, which gives a library of
whole integer moment vectors. A patient's graph takes a random vector of the right class and site for each cell of its
layout, moved to the cell's place exactly, and the boundaries of the cells. Against a painted slide the graph lacks
regions that hold two classes, and the bleeding of one class into the texture of the next; superpixels that would
have followed an edge are Voronoi cells here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import Config, FeatureConfig, SynthesisConfig
from wsigraph.geometry import Box, Size, um_to_px
from wsigraph.graph.feature.count import CountScales, count_moments
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.graph.tissue.stain import count_colours, empty_histogram, estimate_stain
from wsigraph.records import StainBasis, TissueGraph
from wsigraph.synthesis.simulation.layout import TISSUES, Lattice, Layout, sample_lattice
from wsigraph.synthesis.simulation.procedural import SiteStain, paint, sample_site
from wsigraph.synthesis.simulation.scenarios import Outcome, law, sample_outcome, site_effect

PREFIX = "synthetic"
"""First word of every simulated slide's id, so that none is taken for a real one."""

_N_LATTICES = 12
_X, _Y, _XX, _XY, _YY = (COLUMN[name] for name in ("sum_x", "sum_y", "sum_xx", "sum_xy", "sum_yy"))
_OUTER = [COLUMN[f"{kind}_{way}"] for kind in ("outside", "edge") for way in ("straight", "diagonal")]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """Moment vectors to draw from, and shapes to put them in.

    Attributes
    ----------
    moments : int64 (sites, classes, V, M)
        Moments of single regions with coordinates relative to their rounded centre and no outer boundary.
    stains : tuple of StainBasis
        Basis that each site's regions were counted with.
    sites : tuple of SiteStain
        What each site's regions were painted with.
    lattices : tuple of Lattice
        Shapes of layouts, some of each size.
    mpp : float
        Pixel size, um/px.
    """

    moments: NDArray[np.int64]
    stains: tuple[StainBasis, ...]
    sites: tuple[SiteStain, ...]
    lattices: tuple[Lattice, ...]
    mpp: float

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.stains)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedSlide:
    """A slide of a simulated patient.

    Attributes
    ----------
    slide_id : str
        Marked as synthetic.
    layout : Layout
        The tissue that the law read.
    lattice : Lattice
        Shapes of its cells.
    graph : TissueGraph
        What a model may see.
    """

    slide_id: str
    layout: Layout
    lattice: Lattice
    graph: TissueGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedPatient:
    """A patient of one or two slides, with known truth.

    Attributes
    ----------
    patient : str
        Marked as synthetic.
    site : int
        Hospital.
    stain : SiteStain
        The hospital's stain and scanner.
    slides : tuple of SimulatedSlide
        Tissue of the patient; the law read all of it.
    outcome : Outcome
        Stage, survival and the oracle's risk.
    measures : mapping of str to float
        What the law read from the tissue, by name.
    """

    patient: str
    site: int
    stain: SiteStain
    slides: tuple[SimulatedSlide, ...]
    outcome: Outcome
    measures: Mapping[str, float]

    @property
    def layout(self) -> Layout:
        """Tissue of the first slide."""
        return self.slides[0].layout

    @property
    def graph(self) -> TissueGraph:
        """Graph of the first slide."""
        return self.slides[0].graph


def sample_sites(n_sites: int, *, rng: np.random.Generator) -> tuple[SiteStain, ...]:
    """Return the stains and scanners of some hospitals."""
    return tuple(sample_site(rng=rng) for _ in range(n_sites))


def build_library(
    sites: Sequence[SiteStain],
    config: SynthesisConfig | None = None,
    feature: FeatureConfig | None = None,
    *,
    rng: np.random.Generator,
) -> Library:
    """Paint every class once a site and count its regions.

    Parameters
    ----------
    sites : sequence of SiteStain
        Stains and scanners.
    config : SynthesisConfig, optional
        Sizes.
    feature : FeatureConfig, optional
        What is measured.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Library
        ``library_side`` squared vectors of every class and site.

    Raises
    ------
    SynthesisError
        If the spacing of regions is below 4 px.

    Notes
    -----
    About 0.15 s for each site and class with the default sizes.
    """
    config, feature = config or Config().synthesis, feature or Config().feature
    spacing_px = um_to_px(config.spacing_um, config.mpp)
    scales = CountScales.of(feature, config.mpp)
    side = config.library_side + 2
    # one lattice for all, or the shape of regions would tell the hospital
    lattice = sample_lattice(Size(side, side), spacing_px, rng=rng)
    tables, stains = [], []
    for site in sites:
        tiles = [
            paint(np.full(lattice.labels.shape, tissue, np.uint8), mpp=config.mpp, site=site, rng=rng)
            for tissue in range(len(TISSUES))
        ]
        histogram = empty_histogram()
        for tile in tiles:
            bins, pixels = count_colours(tile, lattice.labels > 0)
            histogram[bins] += pixels
        stains.append(estimate_stain(histogram))
        tables.append(np.stack([_count_tile(tile, lattice, stains[-1], scales) for tile in tiles]))
    low, high = sorted((config.min_side, config.max_side))
    shapes = rng.integers(low, high, size=(_N_LATTICES, 2), endpoint=True)
    return Library(
        moments=np.stack(tables),
        stains=tuple(stains),
        sites=tuple(sites),
        lattices=tuple(
            sample_lattice(Size(int(h), int(w)), spacing_px, rng=rng, grain=config.grain) for h, w in shapes
        ),
        mpp=config.mpp,
    )


def shift_moments(moments: NDArray[np.int64], offset_px: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the moments of regions moved by whole pixels, exactly.

    Parameters
    ----------
    moments : int64 (N, M)
        Columns as ``MOMENT_NAMES``.
    offset_px : int64 (N, 2)
        Displacement of every region as (x, y), px.

    Returns
    -------
    int64 (N, M)
        Only sums and products of coordinates differ.
    """
    moved = moments.copy()
    n, x, y = moments[:, COLUMN["n"]], moments[:, _X], moments[:, _Y]
    dx, dy = offset_px.T
    moved[:, _X] += n * dx
    moved[:, _Y] += n * dy
    moved[:, _XX] += 2 * dx * x + n * dx * dx
    moved[:, _XY] += dx * y + dy * x + n * dx * dy
    moved[:, _YY] += 2 * dy * y + n * dy * dy
    return moved


def draw_graph(
    layout: Layout, lattice: Lattice, library: Library, *, site: int, slide_id: str, rng: np.random.Generator
) -> TissueGraph:
    """Return a tissue graph of a layout.

    Parameters
    ----------
    layout : Layout
        Classes, as many rows and columns as the lattice.
    lattice : Lattice
        Shapes of the cells.
    library : Library
        Moments to draw from.
    site : int
        Hospital.
    slide_id : str
        Name of the slide.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    TissueGraph
        One node a cell, in raster order of the lattice.
    """
    classes = layout.classes.ravel()
    drawn = library.moments[site, classes, rng.integers(0, library.moments.shape[2], len(classes))]
    moments = shift_moments(drawn, lattice.centre_px)
    moments[:, _OUTER[:2]] = lattice.outside
    return TissueGraph(
        slide_id=slide_id,
        mpp=library.mpp,
        size=lattice.size,
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=lattice.edge_index,
        boundary=lattice.boundary,
        stain=library.stains[site],
    )


def simulate(
    n_patients: int,
    library: Library,
    config: SynthesisConfig | None = None,
    *,
    rng: np.random.Generator,
    cohort: str = "a",
) -> Iterator[SimulatedPatient]:
    """Yield patients of a law.

    Parameters
    ----------
    n_patients : int
        How many.
    library : Library
        Moments and shapes to draw from.
    config : SynthesisConfig, optional
        Names the law and says how many patients have a second slide.
    rng : numpy.random.Generator
        Source of chance; every patient draws from a generator of its own, so that the first patients of a longer
        cohort are those of a shorter one.
    cohort : str
        Becomes part of the patients' names, so that cohorts do not share any.

    Yields
    ------
    SimulatedPatient
        Sites are drawn uniformly and decide the stain, and the hazard where the law says so.

    Raises
    ------
    SynthesisError
        If there is no such law.

    Notes
    -----
    About 5 ms a slide of 300 regions.
    """
    config = config or Config().synthesis
    rule = law(config.scenario)
    for number, own in enumerate(rng.spawn(n_patients)):
        patient = f"{PREFIX}-{config.scenario}-{cohort}-{number:06d}"
        site = int(own.integers(library.n_sites))
        n_slides = 1 + int(own.random() < config.second_slide_fraction)
        lattices = [library.lattices[index] for index in own.integers(len(library.lattices), size=n_slides)]
        planted = rule.plant(lattices, site_effect=site_effect(site, library.n_sites), rng=own)
        outcome = sample_outcome(rule, planted, rng=own)
        slides = []
        for index, (layout, lattice) in enumerate(zip(planted.layouts, lattices, strict=True)):
            slide_id = f"{patient}-{index + 1}"
            graph = draw_graph(layout, lattice, library, site=site, slide_id=slide_id, rng=own)
            slides.append(SimulatedSlide(slide_id=slide_id, layout=layout, lattice=lattice, graph=graph))
        yield SimulatedPatient(
            patient=patient,
            site=site,
            stain=library.sites[site],
            slides=tuple(slides),
            outcome=outcome,
            measures=planted.measures,
        )


def _count_tile(tile: NDArray[np.uint8], lattice: Lattice, stain: StainBasis, scales: CountScales) -> NDArray[np.int64]:
    """Return the moments of the cells that do not touch the tile's rim, int64 (V, M), centred on themselves."""
    whole = Box.whole(lattice.size)
    _, moments = count_moments(
        tile, lattice.labels, window=whole, core=whole, size=lattice.size, stain=stain, scales=scales
    )
    inner = np.arange(lattice.rows * lattice.columns).reshape(lattice.rows, lattice.columns)[1:-1, 1:-1].ravel()
    centred = shift_moments(moments, -lattice.centre_px)[inner]
    centred[:, _OUTER] = 0
    return centred
