"""One tree of settings, rendered one to one as ``configs/*.yaml``.

Every stage owns one section, named like its package. Values are frozen; an unknown key is an error that names its
path and the nearest key there is. The order is: defaults, then files in the order given, then ``--set`` overrides.
There are no environment variables and no globals. The sections of ``wsigraph.runtime`` are left out of every hash: they
may change how fast an answer comes, never the answer.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from wsigraph.errors import ConfigError
from wsigraph.geometry import MPP_MAX, MPP_MIN
from wsigraph.runtime import BatchConfig, ClusterConfig, RuntimeConfig, Section


class SlideConfig(Section):
    """What is put up with in a slide file."""

    max_bad_tile_fraction: float = Field(
        0.01, ge=0.0, le=1.0, description="share of a level's tiles that may fail to decode; those are left white"
    )


class TissueConfig(Section):
    """Where there is tissue, and what its stains are."""

    mpp: float = Field(4.0, ge=MPP_MIN, le=MPP_MAX, description="spacing of the tissue lattice, um")
    min_optical_density: float = Field(
        0.03, ge=0.0, le=1.0, description="least mean optical density above the glass of any tissue"
    )
    min_saturation: float = Field(
        0.02, ge=0.0, le=1.0, description="least spread of optical density between channels of any tissue"
    )
    close_um: float = Field(24.0, ge=0.0, le=1000.0, description="gaps narrower than this are bridged, um")
    min_area_um2: float = Field(40000.0, ge=0.0, description="smaller pieces are debris, um2")
    max_hole_um2: float = Field(250000.0, ge=0.0, description="smaller holes (lumina, fat) count as tissue, um2")
    mask_ink: bool = Field(True, description="leave pen ink out of the tissue")
    mask_edge: bool = Field(True, description="leave coverslip edges and bubble rims out of the tissue")
    mask_blur: bool = Field(True, description="leave out-of-focus areas out of the tissue")
    mask_fold: bool = Field(False, description="leave folds out of the tissue; they are written down either way")
    ink_min_area_um2: float = Field(40000.0, ge=0.0, description="smaller spots of strange colour are not ink, um2")
    ink_margin_um: float = Field(8.0, ge=0.0, le=1000.0, description="ink is widened by this much, um")
    edge_min_length_um: float = Field(350.0, ge=50.0, le=1e5, description="shorter grey lines are no edge, um")
    edge_max_width_um: float = Field(40.0, ge=4.0, le=500.0, description="wider grey strips are no edge, um")
    edge_min_optical_density: float = Field(
        0.06, ge=0.01, le=2.0, description="least optical density by which an edge is darker than both its sides"
    )
    blur_max_ratio: float = Field(
        0.25, ge=0.0, le=4.0, description="out of focus has less detail than this share of that at twice the scale"
    )
    blur_max_share: float = Field(
        0.6, ge=0.0, le=1.0, description="and less than this share of what the slide's own tissue typically has"
    )
    blur_cell_um: float = Field(64.0, ge=16.0, le=1024.0, description="side of the cells in which focus is judged, um")
    blur_min_area_um2: float = Field(40000.0, ge=0.0, description="smaller blurred areas are taken as tissue, um2")
    fold_min_ratio: float = Field(
        1.6, ge=1.0, le=10.0, description="least density of a fold against the tissue on both its sides"
    )
    fold_min_length_um: float = Field(300.0, ge=20.0, le=1e5, description="shorter dark strips are no fold, um")
    fold_max_width_um: float = Field(120.0, ge=8.0, le=2000.0, description="wider dark strips are no fold, um")
    section_gap_um: float = Field(
        500.0, ge=0.0, le=1e5, description="pieces of tissue nearer than this are one cross-section, um"
    )
    section_min_fraction: float = Field(
        0.05, ge=0.0, le=1.0, description="smaller groups, as a share of the largest, join the nearest cross-section"
    )
    stain: Literal["macenko", "reference"] = Field(
        "macenko", description="estimate the stains from the slide, or take the reference vectors"
    )
    stain_window_um: float = Field(64.0, ge=16.0, le=1024.0, description="side of a stain sample window, um")
    stain_windows: int = Field(512, ge=1, le=65536, description="most windows sampled for the stains")


class SuperpixelConfig(Section):
    """How tissue is cut into superpixels."""

    mpp: float = Field(1.0, ge=MPP_MIN, le=MPP_MAX, description="working pixel size, um")
    spacing_um: float = Field(30.0, ge=4.0, le=2000.0, description="distance between superpixel seeds, um")
    smoothing_um: float = Field(1.2, ge=0.0, le=8.0, description="spread of the smoothing before clustering, um")
    compactness: float = Field(
        30.0, gt=0.0, le=200.0, description="weight of position over colour, Lab levels a spacing; last round half"
    )
    iterations: int = Field(5, ge=1, le=20, description="rounds of moving the centres")
    min_area_um2: float = Field(180.0, ge=0.0, description="smaller pieces join a neighbour, um2")


class FeatureConfig(Section):
    """What is measured in each superpixel."""

    encoder: str | None = Field(None, description="encoder plugin, or null for interpretable features alone")
    nuclei: str | None = Field(None, description="nucleus detector plugin, or null for the built-in spot count")
    texture_offset_um: float = Field(2.0, gt=0.0, le=32.0, description="distance of co-occurring pixels, um")
    nucleus_min_area_um2: float = Field(12.0, ge=0.0, description="smaller dark spots are no nucleus, um2")
    nucleus_max_diameter_um: float = Field(24.0, gt=0.0, le=128.0, description="larger dark spots are no nucleus, um")
    nucleus_scale_um: float = Field(
        5.0, gt=0.0, le=32.0, description="radius of the background a nucleus stands out from, um"
    )


class CoarseningConfig(Section):
    """How neighbouring superpixels become one region."""

    space: Literal["features", "encoding"] | None = Field(
        None, description="compare neighbours by the learned embedding, or by encodings; null takes what is there"
    )
    weights: str | None = Field(None, description="embedding weights file, or null for the shipped ones")
    granularity: float = Field(
        1.75,
        gt=0.0,
        le=100.0,
        description="merging scale k, in medians of the embedding distance between the slide's own neighbours; "
        "without effect under a budget",
    )
    nodes_per_mm2: float | None = Field(
        None, gt=0.0, description="regions a mm2 of tissue to merge down to, whatever k that takes, or null"
    )
    ratio: float | None = Field(
        None, ge=1.0, description="superpixels a region to merge down to, likewise, or null; at most one of the two"
    )
    max_area_um2: float = Field(4.0e6, gt=0.0, description="no region grows beyond this, um2")


class ModelConfig(Section):
    """Which model reads the graph, and how one is trained."""

    path: str | None = Field(None, description="model bundle directory, or null for the shipped demonstration model")
    stage_names: tuple[str, ...] = Field(
        ("I", "II", "III", "IV"), min_length=2, description="stages from best to worst"
    )
    task: Literal["both", "stage", "survival"] = Field("both", description="what is learned and predicted")
    survival_head: Literal["hazard", "cox"] = Field("hazard", description="hazards of intervals, or proportional")
    layers: int = Field(3, ge=0, le=16, description="attention layers between neighbouring regions")
    heads: int = Field(4, ge=1, le=32, description="attention heads a layer")
    channels: int = Field(16, ge=1, le=256, description="channels a head")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="share of activations dropped in training")
    region_dropout: float = Field(
        0.3, ge=0.0, lt=1.0, description="most regions left out of a graph in training; each graph draws its share"
    )
    time_intervals: int = Field(8, ge=1, le=100, description="intervals of the discrete-time hazard")
    stage_weight: float = Field(0.5, ge=0.0, le=100.0, description="weight of the stage loss against the survival loss")
    learning_rate: float = Field(3e-3, gt=0.0, le=1.0, description="peak step of AdamW")
    weight_decay: float = Field(1e-2, ge=0.0, le=10.0, description="decoupled weight decay of AdamW")
    epochs: int = Field(60, ge=1, le=10000, description="most passes over the training part")
    warmup_epochs: int = Field(3, ge=0, le=1000, description="passes over which the step rises; it falls afterwards")
    patience: int = Field(15, ge=1, le=10000, description="passes without a better validation loss before stopping")
    batch_graphs: int = Field(16, ge=1, le=4096, description="graphs a batch; each holds an event where events suffice")
    accumulate: int = Field(1, ge=1, le=1024, description="batches whose gradients are summed for one step")
    validation_fraction: float = Field(
        0.2, gt=0.0, lt=1.0, description="share of the patients that decides when to stop; never trained on"
    )
    miscoverage: float = Field(0.1, gt=0.0, lt=0.5, description="share of stages that may lie outside stage sets")


class SynthesisConfig(Section):
    """What simulated tissue looks like."""

    law: Literal["composition", "spatial", "interface", "site", "null"] = Field(
        "composition", description="how simulated tissue decides stage and survival, or that it does not"
    )
    second_slide_fraction: float = Field(
        0.2, ge=0.0, le=1.0, description="share of the patients that have two slides instead of one"
    )
    glass_um: float = Field(200.0, ge=0.0, le=1e4, description="empty glass around the tissue of a painted slide, um")
    mpp: float = Field(1.0, ge=MPP_MIN, le=4.0, description="pixel size of painted tissue, um")
    spacing_um: float = Field(30.0, ge=10.0, le=200.0, description="distance between neighbouring superpixels, um")
    grain: int = Field(3, ge=1, le=32, description="superpixels along the side of a region of one tissue class")
    min_side: int = Field(10, ge=2, le=1000, description="fewest regions along a side of a slide's tissue")
    max_side: int = Field(14, ge=2, le=1000, description="most regions along a side of a slide's tissue")
    sites: int = Field(6, ge=1, le=1000, description="hospitals, each with its own stain and scanner")
    library_side: int = Field(
        14, ge=2, le=200, description="superpixels along a side of a tile painted for the library"
    )


class ExplanationConfig(Section):
    """Why the model reads what it reads, and how that is tested."""

    baseline: Literal["kind", "site", "draws", "mean"] = Field("kind", description="what a slide is compared with")
    steps: int = Field(50, ge=2, le=10000, description="steps of the integral, up to 16 times as many where needed")
    max_gap: float = Field(0.01, gt=0.0, le=1.0, description="largest gap, as a share of the difference explained")
    random_orders: int = Field(100, ge=0, le=10000, description="random orders that the curves compare with")
    top_regions: int = Field(6, ge=1, le=50, description="regions that are told of and shown")
    seed: int = Field(0, ge=0, description="decides donors and random orders")


class ReportConfig(Section):
    """What the pictures and outlines look like."""

    thumbnail_px: int = Field(1600, ge=200, le=8000, description="longer side of the slide picture, px")
    outline_mpp: float = Field(2.0, ge=MPP_MIN, le=64.0, description="spacing at which outlines are traced, um")
    outline_tolerance_um: float = Field(3.0, ge=0.0, le=100.0, description="outlines may move by this much, um")
    outline_max_px: int = Field(
        6000, ge=200, le=30000, description="most cells along a side of the outline lattice; its spacing grows beyond"
    )
    map_feature: str | None = Field(
        "nuclear_density", description="feature that colours the regions in report.png, or null for their mean colour"
    )
    measurements: tuple[str, ...] = Field(
        (
            "nuclear_density",
            "hematoxylin_mean",
            "eosin_mean",
            "nuclear_area_mean",
            "texture_entropy",
            "white_fraction",
            "circularity",
            "outside_fraction",
            "nuclear_fraction",
            "nuclear_eccentricity_mean",
            "lightness_mean",
            "perimeter_um",
        ),
        description="features given with each region in report.geojson, the most wanted first",
    )
    geojson_max_mb: float = Field(
        20.0, gt=0.0, le=10000.0, description="report.geojson leaves out measurements, the last first, above this, MB"
    )


class Config(Section):
    """All settings; each field is one file in ``configs/``."""

    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    slide: SlideConfig = Field(default_factory=SlideConfig)
    tissue: TissueConfig = Field(default_factory=TissueConfig)
    superpixel: SuperpixelConfig = Field(default_factory=SuperpixelConfig)
    feature: FeatureConfig = Field(default_factory=FeatureConfig)
    coarsening: CoarseningConfig = Field(default_factory=CoarseningConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    synthesis: SynthesisConfig = Field(default_factory=SynthesisConfig)
    explanation: ExplanationConfig = Field(default_factory=ExplanationConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    batch: BatchConfig = Field(default_factory=BatchConfig)


def load(files: Iterable[Path] = (), overrides: Iterable[str] = ()) -> Config:
    """Return the settings from defaults, files and overrides, later ones winning.

    Parameters
    ----------
    files : iterable of Path
        A section file (``superpixel.yaml`` holds that section's keys), an overlay of several sections (any other
        name; its keys are sections), or a directory of section files.
    overrides : iterable of str
        ``"section.key=value"``; the value is read as YAML.

    Returns
    -------
    Config
        Frozen settings.

    Raises
    ------
    ConfigError
        If a file does not read, a key is unknown or a value out of range; the message names the path.
    """
    tree: dict[str, dict[str, Any]] = {}
    for file in files:
        for path in _section_files(Path(file)):
            _merge(tree, _read_yaml(path), str(path))
    for override in overrides:
        _merge(tree, _parse_override(override), f"--set {override}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_first_fault(error)) from None


def section_hash(section: Section) -> str:
    """Return the SHA-256 of a section's canonical JSON, the identity of its values."""
    text = json.dumps(section.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def render(section: str, values: Section | None = None) -> str:
    """Return one section as commented YAML.

    Parameters
    ----------
    section : str
        Field of `Config`.
    values : Section, optional
        Values to render; the defaults where left out.

    Returns
    -------
    str
        The text of ``configs/<section>.yaml``.
    """
    kind = type(getattr(Config(), section))
    shown = values if values is not None else kind()
    lines = [f"# {(kind.__doc__ or '').strip().splitlines()[0]}"]
    for name, info in kind.model_fields.items():
        value = json.loads(json.dumps(getattr(shown, name)))
        text = yaml.safe_dump({name: value}, default_flow_style=False, allow_unicode=True).strip()
        lines += ["", f"# {info.description}{_bounds(info.metadata)}", text]
    return "\n".join(lines) + "\n"


def write(directory: Path) -> list[Path]:
    """Write every section's defaults as ``<section>.yaml`` below `directory` and return the paths.

    Raises
    ------
    ConfigError
        If the directory cannot be written.
    """
    paths = [directory / f"{section}.yaml" for section in Config.model_fields]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.write_text(render(path.stem), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}; choose another directory") from None
    return paths


def _bounds(metadata: Iterable[Any]) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [
        f"{sign} {getattr(bound, key):g}" for bound in metadata for key, sign in signs.items() if hasattr(bound, key)
    ]
    return f" ({', '.join(found)})" if found else ""


def _section_files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [path / f"{section}.yaml" for section in Config.model_fields if (path / f"{section}.yaml").is_file()]
        if not found:
            raise ConfigError(f"directory {path} holds no section file; expected e.g. superpixel.yaml")
        return found
    return [path]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"configuration file {path} does not read: {' '.join(str(error).split())}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"configuration file {path} holds {type(values).__name__}, expected keys and values")
    return {path.stem: values} if path.stem in Config.model_fields else values


def _parse_override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"--set {text}: expected section.key=value, e.g. superpixel.spacing_um=40")
    try:
        return {section: {key: yaml.safe_load(value)}}
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value {value!r} does not read as YAML") from None


def _merge(tree: dict[str, dict[str, Any]], values: Mapping[Any, Any], origin: str) -> None:
    for section, keys in values.items():
        if section not in Config.model_fields:
            raise ConfigError(
                f"{origin}: unknown section {str(section)!r}{_nearest(str(section), Config.model_fields)}"
            )
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{origin}: section {section!r} holds {keys!r}, expected keys and values")
        known = type(getattr(Config(), section)).model_fields
        for key in keys:
            if key not in known:
                raise ConfigError(f"{origin}: unknown key '{section}.{key}'{_nearest(str(key), known, f'{section}.')}")
        tree.setdefault(section, {}).update(keys)


def _nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{prefix}{close[0]}'?"
    return f"; expected one of {', '.join(names)}"


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    path = ".".join(str(part) for part in fault["loc"])
    return f"configuration key '{path}' is {fault['input']!r}: {fault['msg'].lower()}"
