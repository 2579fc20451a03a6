"""The state of one slide while its steps are carried out: open file, settings, model and the records made so far."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph import __version__
from wsigraph.config import Config, section_hash

if TYPE_CHECKING:
    from wsigraph.config.coarsening import CoarseningConfig
    from wsigraph.exchange.feature_slide import FeatureFile
    from wsigraph.explanation.reference import Reference
    from wsigraph.explanation.request import ExplanationRequest
    from wsigraph.graph.coarsening.embed import Embedding
    from wsigraph.model.bundle import ModelBundle
    from wsigraph.slide.damage import BadTile
    from wsigraph.slide.reader import Slide
    from wsigraph.slide.roi import Roi
    from wsigraph.store.directory import SlideDirectory

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total) from the calling thread."""


@dataclass(eq=False, kw_only=True)
class SlideRun:
    """What the steps of one slide read and write.

    Attributes
    ----------
    slide : Slide
        The open slide.
    directory : SlideDirectory
        ``OUT/<slide_id>``, where the records are stored.
    settings : Config
        All settings.
    bundle : ModelBundle or None
        The model; None if no step needs one.
    request : ExplanationRequest or None
        What to explain; None if nothing is explained.
    reference : Reference or None
        Training cohort of the model, if it is stored beside the model.
    progress : callable or None
        Called with (step, done, total).
    records : dict of str to record
        What each step has made or loaded, by the name of the step.
    bad_tiles : tuple of BadTile
        Tiles that did not decode and were read as white.
    roi, tissue_mask : Roi or None
        Regions of the user that limit the tissue, and a mask that replaces it.
    mark : str
        Warning that every output carries if the slide is no H&E section and was used all the same.
    features : FeatureFile or None
        Tiles and features of an encoder.
    has_slide : bool
        Whether there are pixels; if not, the tiles of `features` are the nodes.
    """

    slide: Slide
    directory: SlideDirectory
    settings: Config
    bundle: ModelBundle | None = None
    request: ExplanationRequest | None = None
    reference: Reference | None = None
    progress: Progress | None = None
    records: dict[str, Any] = field(default_factory=dict)
    bad_tiles: tuple[BadTile, ...] = ()
    roi: Roi | None = None
    tissue_mask: Roi | None = None
    mark: str = ""
    features: FeatureFile | None = None
    has_slide: bool = True

    @property
    def tiles(self) -> FeatureFile | None:
        """The feature file whose tiles are the nodes, because there is no slide."""
        return None if self.has_slide else self.features

    @property
    def model(self) -> ModelBundle:
        """The model; only steps that are carried out with a model ask for it."""
        if self.bundle is None:
            raise AssertionError("this step needs a model and none was loaded")
        return self.bundle

    @cached_property
    def coarsening(self) -> tuple[CoarseningConfig, Embedding]:
        """Settings and embedding of the coarsening: those of the model where it brings its own."""
        from wsigraph.graph.coarsening.embed import load_embedding
        from wsigraph.model.coarsening_space import as_trained

        options = self.settings.coarsening
        if self.bundle is None:
            return options, load_embedding(options.weights)
        own = self.bundle.coarsening(options, self.slide.info.sha256)
        return own or (as_trained(options, self.bundle, self.records["graph"]), load_embedding(options.weights))

    def input_digest(self, name: str) -> dict[str, str]:
        """Return the digest of one input of a step.

        Parameters
        ----------
        name : str
            ``slide``, ``tiles``, ``features``, ``roi``, ``tissue_mask``, ``embedding``, ``model``, ``reference``, or
            the name of an earlier step, whose record is meant.

        Returns
        -------
        dict of str to str
            One digest by its name in a record's header; empty for features, a reference, regions or a mask that do not
            exist.

        Raises
        ------
        StoreError
            If the record of the earlier step is missing.
        ModelError
            If the embedding cannot be read.
        """
        match name:
            case "slide":
                info = self.slide.info
                origin = [] if info.plane is None else [list(info.origin)]  # earlier versions read the whole plane
                icc = ["icc"] if info.is_icc_applied else []
                plane = [f"z {info.z}"] if info.n_z > 1 else []
                plane += [f"window {info.window[0]} {info.window[1]}"] if info.window else []
                return {"slide": digest_of([info.slide_id, info.sha256, info.reader, info.mpp, *origin, *icc, *plane])}
            case "tiles" | "features":
                tiles = self.tiles if name == "tiles" else self.features
                return {} if tiles is None else {name: digest_of(tiles.identity)}
            case "roi" | "tissue_mask":
                regions = self.roi if name == "roi" else self.tissue_mask
                return {} if regions is None else {name: regions.digest}
            case "embedding":
                return {"embedding": self.coarsening[1].embedding_id}
            case "model":
                return {"model": self.model.model_id}
            case "reference":
                return {} if self.reference is None else {"reference": self.reference.reference_id}
            case _:
                return self.directory.digest(name)

    def config_digest(self, name: str) -> str:
        """Return the digest of the settings that shape a step.

        Parameters
        ----------
        name : str
            A section of the settings, ``section.key`` for one value, or ``question`` for what is explained.

        Returns
        -------
        str
            SHA-256, in hexadecimal digits.
        """
        if name == "question":
            return self._question_digest()
        if name == "coarsening":
            # the weights count by their content, which is the input "embedding"
            return section_hash(self.coarsening[0].model_copy(update={"weights": None}))
        section, _, key = name.partition(".")
        options = getattr(self.settings, section)
        return digest_of(getattr(options, key)) if key else section_hash(options)

    def _question_digest(self) -> str:
        from wsigraph.store import canonical_json

        request, options = self.request, self.settings.explanation
        if request is None:
            raise AssertionError("this step explains and nothing was requested")
        # the site only matters to its own reference input: for the others an explanation need not be made again
        site = request.site if request.thorough or options.reference == "site" else None
        return hashlib.sha256(canonical_json([request.target, request.thorough, site]).encode()).hexdigest()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def load_model(model: Path | str | None, settings: Config) -> tuple[ModelBundle, Path]:
    """Return the model of a run and its directory.

    Parameters
    ----------
    model : Path, str or None
        Model bundle; by default the one in `settings`, else the shipped demonstration model.
    settings : Config
        ``model.path`` names a bundle.

    Returns
    -------
    (ModelBundle, Path)
        The model and the directory it was read from.

    Raises
    ------
    ModelError
        If the bundle is damaged or of another feature schema.
    """
    from wsigraph.model.bundle import SHIPPED, load_bundle

    directory = Path(model or settings.model.path or SHIPPED)
    return load_bundle(directory), directory


def load_explanation_inputs(
    request: ExplanationRequest | None, directory: Path, bundle: ModelBundle
) -> tuple[ExplanationRequest, Reference | None]:
    """Return what to explain and the training cohort of the model, and check the target before any work.

    Parameters
    ----------
    request : ExplanationRequest or None
        What to explain; risk if None.
    directory : Path
        Directory of the model.
    bundle : ModelBundle
        The model.

    Returns
    -------
    (ExplanationRequest, Reference or None)
        The reference is None if none is stored beside the model.

    Raises
    ------
    ConfigError
        If the model has no such output.
    ModelError
        If the reference belongs to another model.
    StoreError
        If the reference is damaged.
    """
    from wsigraph.explanation.members import explained_members
    from wsigraph.explanation.reference import load_reference
    from wsigraph.explanation.request import ExplanationRequest
    from wsigraph.explanation.target import Target

    request = request or ExplanationRequest()
    ends_days = [member.ends_days for member in explained_members(bundle)]
    Target.parse(request.target).check(ends_days, len(bundle.card.stage_names))
    return request, load_reference(directory, bundle)


def read_regions(path: Path | str | None, slide: Slide, settings: Config) -> Roi | None:
    """Return the regions of a file in the coordinates of ``report.origin``; None without a file."""
    if path is None:
        return None
    from wsigraph.slide.roi import read_roi

    return read_roi(path, slide, origin=settings.report.origin)


def open_directory(
    slide: Slide,
    out: Path | str,
    layout: Mapping[str, tuple[str, ...]],
    progress: Progress | None,
    *,
    redo: bool,
    resume_only: bool,
) -> SlideDirectory:
    """Return the directory of a slide below `out`; StoreError if it belongs to a slide of other bytes."""
    from wsigraph.store.directory import SlideDirectory

    directory = SlideDirectory(Path(out) / slide.info.slide_id, layout, progress)
    directory.refuse_clash(slide.info)
    if redo:
        directory.redo()
    if resume_only:
        directory.only_resume()
    return directory


def check_networks(settings: Config, *, here: bool = True) -> None:
    """Raise an error before the work, not in the middle of it, if the device is absent or the encoder does not load.

    Parameters
    ----------
    settings : Config
        Encoder and device.
    here : bool
        Whether the networks run on this machine; if not, its devices do not matter.
    """
    from wsigraph.graph.device import find_device

    device = find_device(settings.runtime.device) if here else "cpu"
    if settings.feature.encoder is not None:
        from wsigraph.graph.feature.encode import load_encoder

        load_encoder(settings.feature.encoder, device)


def describe_run(path: Path | str, settings: Config) -> dict[str, Any]:
    """Return what ``run.json`` notes beside the timings."""
    return {
        "slide": str(Path(path).absolute()),
        "wsigraph": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "runtime": settings.runtime.model_dump(mode="json"),
    }
