"""The JSON of the regions of a job, for the OpenAPI document. `serializers` makes the values."""

from __future__ import annotations

from pydantic import BaseModel


class FeatureValue(BaseModel):
    """A feature of a region.

    Attributes
    ----------
    feature, name, unit, group : str
        Key, label, unit and group of the feature.
    value : float or None
        Its value.
    percentile : float or None
        Percentile among the training regions.
    level : str
        The percentile as a word, such as ``very_low`` or ``typical``.
    attribution : float or None
        Attribution to the target of the job.
    """

    feature: str
    name: str
    unit: str
    group: str
    value: float | None
    percentile: float | None
    level: str
    attribution: float | None


class Neighbour(BaseModel):
    """A neighbour of a region.

    Attributes
    ----------
    node : int
        Number of the neighbour.
    boundary_um, distance_um : float
        Length of the shared boundary, and distance of the centroids.
    tissue_cluster : str or None
        Nearest tissue cluster.
    area_mm2 : float
        Its area.
    attribution, fraction : float or None
        Its attribution, absolute and as a fraction.
    """

    node: int
    boundary_um: float
    distance_um: float
    tissue_cluster: str | None
    area_mm2: float
    attribution: float | None
    fraction: float | None


class RegionTarget(BaseModel):
    """Attribution of a region to one target.

    Attributes
    ----------
    target, unit : str
        The target and its unit.
    attribution, fraction : float
        Absolute, and divided by the sum of the absolute attributions of all regions.
    rank : int
        1 for the most important region.
    """

    target: str
    unit: str
    attribution: float
    fraction: float
    rank: int


class CropBox(BaseModel):
    """The part of the slide that the image of a region shows, level-0 px."""

    x: int
    y: int
    width: int
    height: int


class RegionFacts(BaseModel):
    """One region.

    Attributes
    ----------
    node : int
        Number of the region.
    x_mm, y_mm : float
        Centroid.
    area_mm2, area_fraction : float
        Its area, and as a fraction of the tissue.
    tissue_cluster, broad_tissue_cluster : str or None
        Nearest tissue cluster, and the broader one that holds it.
    neighbourhood : int or None
        Cluster of the neighbourhood.
    attribution, fraction : float or None
        Attribution to the target of the job.
    cut_change : float or None
        Change of the output without messages from its neighbours.
    features, neighbours, targets : list
        Features, neighbours, and attributions to all targets.
    crop : CropBox
        What ``crop.jpeg`` shows.
    """

    node: int
    x_mm: float
    y_mm: float
    area_mm2: float
    area_fraction: float
    tissue_cluster: str | None
    broad_tissue_cluster: str | None
    neighbourhood: int | None
    attribution: float | None
    fraction: float | None
    cut_change: float | None
    features: list[FeatureValue]
    neighbours: list[Neighbour]
    targets: list[RegionTarget]
    crop: CropBox


class TargetValues(BaseModel):
    """Attributions of all regions to one target.

    Attributes
    ----------
    target, unit : str
        The target and its unit.
    attribution : list of float
        One value for each region.
    order : list of int
        Regions, most important first.
    """

    target: str
    unit: str
    attribution: list[float]
    order: list[int]


class ClusterValues(BaseModel):
    """Tissue clusters: their names, and the cluster of each region."""

    names: list[str]
    of: list[int]


class FeatureValues(BaseModel):
    """One feature of all regions."""

    feature: str
    name: str
    unit: str
    group: str
    values: list[float]


class RegionOutlines(BaseModel):
    """Outlines of all regions, and the values to colour them by.

    Attributes
    ----------
    job_id, slide_id : str
        The job and its slide.
    level, coarsest_level : int
        Zoom level of these outlines, and the coarsest one.
    tolerance_um : float
        Largest distance from the outline that was traced.
    mpp : float
        Pixel size of level 0, um/px.
    width, height : int
        Size of level 0, px.
    n_regions : int
        Number of regions.
    outlines : list
        A list of polygons for every region. A polygon is a list of rings, the outer one first. A ring is a flat list: x
        and y of its first point in level-0 px, then the steps to each next point.
    targets, tissue_clusters, features, area_mm2, centre
        Values of the regions; left out with ``values=false``.
    """

    job_id: str
    slide_id: str
    level: int
    coarsest_level: int
    tolerance_um: float
    mpp: float
    width: int
    height: int
    n_regions: int
    outlines: list[list[list[list[int]]]]
    targets: list[TargetValues] = []
    tissue_clusters: ClusterValues | None = None
    features: list[FeatureValues] = []
    area_mm2: list[float] = []
    centre: list[list[int]] = []
