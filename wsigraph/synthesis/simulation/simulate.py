"""Thousands of simulated patients, each with tissue graphs and the outcome of a generative scenario.

Painting, reading and segmenting a slide and counting its moments takes seconds. Here it is done once: every class is
painted as one tile for each site and counted with the kernel for real slides. The result is a library of integer moment
vectors. The graph of a patient takes, for each cell of its layout, a random vector of the right class and site, shifted
exactly to the cell's position, and the boundaries of the cells. Unlike the graph of a painted slide, it has no regions
of two classes and no stain that spreads across a border, and its superpixels are Voronoi cells that do not follow
edges in the image.
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
from wsigraph.synthesis.simulation.layout import TISSUES, Layout, Tessellation, sample_tessellation
from wsigraph.synthesis.simulation.procedural import SiteStain, paint, sample_site
from wsigraph.synthesis.simulation.scenarios import Outcome, find_scenario, sample_outcome, site_effect

PREFIX = "synthetic"
"""Prefix of the id of every simulated slide, so that none is mistaken for a real one."""

_N_TESSELLATIONS = 12
_X, _Y, _XX, _XY, _YY = (COLUMN[name] for name in ("sum_x", "sum_y", "sum_xx", "sum_xy", "sum_yy"))
_OUTER = [COLUMN[f"{side}_{pair}"] for side in ("outside", "edge") for pair in ("straight", "diagonal")]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """Moment vectors of single superpixels to draw from, and tessellations to place them in.

    Attributes
    ----------
    moments : int64 (sites, classes, V, M)
        Moments with coordinates relative to the superpixel's rounded centre and without outer boundary.
    stains : tuple of StainBasis
        Stain basis with which each site was counted.
    sites : tuple of SiteStain
        Stain with which each site was painted.
    tessellations : tuple of Tessellation
        Tessellations of several sizes.
    mpp : float
        Pixel size, um/px.
    """

    moments: NDArray[np.int64]
    stains: tuple[StainBasis, ...]
    sites: tuple[SiteStain, ...]
    tessellations: tuple[Tessellation, ...]
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
        Begins with `PREFIX`.
    layout : Layout
        Ground truth of the tissue.
    tessellation : Tessellation
        Tessellation of the layout.
    graph : TissueGraph
        Input of a model.
    """

    slide_id: str
    layout: Layout
    tessellation: Tessellation
    graph: TissueGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedPatient:
    """A patient with one or two slides and known ground truth.

    Attributes
    ----------
    patient : str
        Begins with `PREFIX`.
    site : int
        Number of the site.
    stain : SiteStain
        Stain and scanner of the site.
    slides : tuple of SimulatedSlide
        Tissue of the patient.
    outcome : Outcome
        Stage, survival and the oracle's risk.
    measures : mapping of str to float
        Quantities that the scenario measured in all slides, by name.
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
    """Return the stains and scanners of some sites."""
    return tuple(sample_site(rng=rng) for _ in range(n_sites))


def build_library(
    sites: Sequence[SiteStain],
    config: SynthesisConfig | None = None,
    feature: FeatureConfig | None = None,
    *,
    rng: np.random.Generator,
) -> Library:
    """Paint every class once for each site and count its moments.

    Parameters
    ----------
    sites : sequence of SiteStain
        Stains and scanners.
    config : SynthesisConfig, optional
        Sizes.
    feature : FeatureConfig, optional
        Scales of the features.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    Library
        ``library_side`` squared vectors for every class and site.

    Raises
    ------
    SynthesisError
        If the spacing of superpixels is below 4 px.

    Notes
    -----
    About 0.15 s for each site and class with the default sizes.
    """
    config, feature = config or Config().synthesis, feature or Config().feature
    spacing_px = um_to_px(config.spacing_um, config.mpp)
    scales = CountScales.of(feature, config.mpp)
    side = config.library_side + 2
    # one tessellation for all sites: otherwise the shape of superpixels would reveal the site
    tessellation = sample_tessellation(Size(side, side), spacing_px, rng=rng)
    tables, stains = [], []
    for site in sites:
        tiles = [
            paint(np.full(tessellation.labels.shape, tissue, np.uint8), mpp=config.mpp, site=site, rng=rng)
            for tissue in range(len(TISSUES))
        ]
        histogram = empty_histogram()
        for tile in tiles:
            bins, pixels = count_colours(tile, tessellation.labels > 0)
            histogram[bins] += pixels
        stains.append(estimate_stain(histogram))
        tables.append(np.stack([_count_tile(tile, tessellation, stains[-1], scales) for tile in tiles]))
    low, high = sorted((config.min_side, config.max_side))
    shapes = rng.integers(low, high, size=(_N_TESSELLATIONS, 2), endpoint=True)
    return Library(
        moments=np.stack(tables),
        stains=tuple(stains),
        sites=tuple(sites),
        tessellations=tuple(
            sample_tessellation(Size(int(h), int(w)), spacing_px, rng=rng, grain=config.grain) for h, w in shapes
        ),
        mpp=config.mpp,
    )


def shift_moments(moments: NDArray[np.int64], offset_px: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the moments of regions moved by whole pixels, exactly.

    Parameters
    ----------
    moments : int64 (N, M)
        Columns as in ``MOMENT_NAMES``.
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
    layout: Layout, tessellation: Tessellation, library: Library, *, site: int, slide_id: str, rng: np.random.Generator
) -> TissueGraph:
    """Return a tissue graph of a layout.

    Parameters
    ----------
    layout : Layout
        Classes, with as many rows and columns as the tessellation.
    tessellation : Tessellation
        Tessellation of the layout.
    library : Library
        Moments to draw from.
    site : int
        Number of the site.
    slide_id : str
        Name of the slide.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    TissueGraph
        One node for each cell, row by row.
    """
    classes = layout.classes.ravel()
    drawn = library.moments[site, classes, rng.integers(0, library.moments.shape[2], len(classes))]
    moments = shift_moments(drawn, tessellation.centre_px)
    moments[:, _OUTER[:2]] = tessellation.outside
    return TissueGraph(
        slide_id=slide_id,
        mpp=library.mpp,
        size=tessellation.size,
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=tessellation.edge_index,
        boundary=tessellation.boundary,
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
    """Yield patients of a generative scenario.

    Parameters
    ----------
    n_patients : int
        Number of patients.
    library : Library
        Moments and tessellations to draw from.
    config : SynthesisConfig, optional
        Name of the scenario, and fraction of patients with a second slide.
    rng : numpy.random.Generator
        Random numbers. Every patient draws from a child generator of its own, so that the first patients of a longer
        cohort are those of a shorter one.
    cohort : str
        Part of the patients' names, so that no two cohorts have a name in common.

    Yields
    ------
    SimulatedPatient
        Sites are drawn uniformly. They decide the stain and, in scenarios with a site effect, the hazard.

    Raises
    ------
    SynthesisError
        If the scenario is unknown.

    Notes
    -----
    About 5 ms a slide of 300 regions.
    """
    config = config or Config().synthesis
    scenario = find_scenario(config.scenario)
    for number, own in enumerate(rng.spawn(n_patients)):
        patient = f"{PREFIX}-{config.scenario}-{cohort}-{number:06d}"
        site = int(own.integers(library.n_sites))
        n_slides = 1 + int(own.random() < config.second_slide_fraction)
        tessellations = [
            library.tessellations[index] for index in own.integers(len(library.tessellations), size=n_slides)
        ]
        planted = scenario.plant(tessellations, site_effect=site_effect(site, library.n_sites), rng=own)
        outcome = sample_outcome(scenario, planted, rng=own)
        slides = []
        for index, (layout, tessellation) in enumerate(zip(planted.layouts, tessellations, strict=True)):
            slide_id = f"{patient}-{index + 1}"
            graph = draw_graph(layout, tessellation, library, site=site, slide_id=slide_id, rng=own)
            slides.append(SimulatedSlide(slide_id=slide_id, layout=layout, tessellation=tessellation, graph=graph))
        yield SimulatedPatient(
            patient=patient,
            site=site,
            stain=library.sites[site],
            slides=tuple(slides),
            outcome=outcome,
            measures=planted.measures,
        )


def _count_tile(
    tile: NDArray[np.uint8], tessellation: Tessellation, stain: StainBasis, scales: CountScales
) -> NDArray[np.int64]:
    """Return the moments of the cells that do not touch the tile's border, int64 (V, M), relative to their centres."""
    whole = Box.whole(tessellation.size)
    _, moments = count_moments(
        tile, tessellation.labels, window=whole, core=whole, size=tessellation.size, stain=stain, scales=scales
    )
    inner = (
        np.arange(tessellation.rows * tessellation.columns)
        .reshape(tessellation.rows, tessellation.columns)[1:-1, 1:-1]
        .ravel()
    )
    centred = shift_moments(moments, -tessellation.centre_px)[inner]
    centred[:, _OUTER] = 0
    return centred
