"""Slides of a command, named one by one or by a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsigraph.cli.failure import say

if TYPE_CHECKING:
    from wsigraph.config import Config

_MANY_ROIS = "name the regions of several slides in the column roi of a manifest"

FromManifest = Annotated[
    str | None,
    typer.Option("--manifest", metavar="FILE", help="Take slides, names and pixel sizes from a manifest (CSV)."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSlide:
    """A slide to work on.

    Attributes
    ----------
    path : str or None
        Slide file or folder; None for a feature file alone.
    slide_id : str or None
        Name in a manifest; if None, the name of the file is used.
    mpp : float or None
        Pixel size that overrides the one in the file, um/px.
    site : str or None
        Hospital or scanner site, from the manifest.
    roi, tissue_mask : str or None
        Files of regions that limit the tissue, and that replace it.
    features : str or None
        Feature file.
    organ : str or None
        Organ of the section, from the manifest.
    """

    path: str | None
    slide_id: str | None
    mpp: float | None
    site: str | None = None
    roi: str | None = None
    tissue_mask: str | None = None
    features: str | None = None
    organ: str | None = None

    @property
    def label(self) -> str:
        """Name of the slide in messages."""
        return self.slide_id or self.path or str(self.features)

    @property
    def pixels(self) -> str:
        """Slide file or folder; StoreError if there is a feature file alone, which has no pixels."""
        if self.path is None:
            from wsigraph.errors import StoreError

            raise StoreError(
                f"{self.label} is a feature file without a slide, and this command reads pixels; give the slide"
            )
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The slides of one command.

    Attributes
    ----------
    slides : tuple of NamedSlide
        In the order given.
    is_single : bool
        Whether one slide was named by itself. Its error ends the command, and its result is not in a list.
    """

    slides: tuple[NamedSlide, ...]
    is_single: bool


def select_slides(
    named: Sequence[str] | None,
    manifest: str | None,
    mpp: float | None,
    settings: Config | None = None,
    *,
    roi: str | None = None,
    tissue_mask: str | None = None,
    features: str | None = None,
) -> Selection:
    """Return the slides of a command.

    Parameters
    ----------
    named : sequence of str or None
        Slides on the command line, folders that hold slides, and globs.
    manifest : str or None
        Value of ``--manifest``, in their place. Its warnings are printed.
    mpp : float or None
        Value of ``--mpp``; the pixel size of a row of the manifest overrides it.
    settings : Config, optional
        Settings that name the stages; by default the built-in ones.
    roi, tissue_mask : str, optional
        Values of ``--roi`` and ``--tissue-mask``, for a single slide; a manifest has a column ``roi``.
    features : str, optional
        Value of ``--features``: files of the slides, or in their place; a manifest has a column ``features``.

    Returns
    -------
    Selection
        The slides.
    """
    if features is not None and not named:
        if manifest is not None:
            raise typer.BadParameter("--features and --manifest: name the feature files in its column features")
        return _features_alone(features, mpp)
    if (manifest is None) == (not named):
        raise typer.BadParameter("give slides, feature files with --features, or a manifest with --manifest")
    if manifest is None:
        groups = [_named_slides(text, mpp) for text in named or ()]
        slides = tuple(slide for group in groups for slide in group)
        if roi is not None or tissue_mask is not None:
            if len(slides) != 1:
                raise typer.BadParameter(f"--roi and --tissue-mask are of one slide, not {len(slides)}; {_MANY_ROIS}")
            slides = (replace(slides[0], roi=roi, tissue_mask=tissue_mask),)
        slides = _with_features(slides, features)
        return Selection(slides=slides, is_single=len(slides) == 1 and slides[0].slide_id is None)
    if roi is not None or tissue_mask is not None:
        raise typer.BadParameter(f"--roi and --tissue-mask are of one slide; {_MANY_ROIS}")
    return _from_manifest(manifest, mpp, settings)


def _from_manifest(manifest: str, mpp: float | None, settings: Config | None) -> Selection:
    """Return the slides of a manifest."""
    from wsigraph.cli.progress import progress_line
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.config import Config

    stage_names = (settings or Config()).model.stage_names
    with progress_line(manifest) as progress:
        read = read_manifest(manifest, stage_names=stage_names, requires=("path",), progress=progress)
    for warning in read.warnings:
        say(f"{manifest}: {warning}")
    rows = [row for row in read.rows if row.source is not None]
    slides = tuple(
        NamedSlide(
            path=str(row.path) if row.path else None,
            slide_id=row.slide_id,
            mpp=row.mpp or mpp,
            site=row.site,
            roi=str(row.roi) if row.roi else None,
            features=str(row.features) if row.features else None,
            organ=row.organ,
        )
        for row in rows
    )
    return Selection(slides=slides, is_single=False)


def _features_alone(features: str, mpp: float | None) -> Selection:
    """Return feature files in place of slides."""
    from wsigraph.exchange.feature_files import named_feature_files

    files = named_feature_files(features)
    slides = tuple(NamedSlide(path=None, slide_id=file.slide_id, mpp=mpp, features=str(file.path)) for file in files)
    return Selection(slides=slides, is_single=[str(file.path) for file in files] == [str(Path(features))])


def _with_features(slides: tuple[NamedSlide, ...], features: str | None) -> tuple[NamedSlide, ...]:
    """Return slides with their feature files."""
    if features is None:
        return slides
    from wsigraph.exchange.feature_files import features_of_slides
    from wsigraph.slide.reader import default_slide_id

    names = [slide.slide_id or default_slide_id(Path(str(slide.path))) for slide in slides]
    files = features_of_slides(features, names)
    return tuple(replace(slide, features=str(files[name])) for slide, name in zip(slides, names, strict=True))


def _named_slides(text: str, mpp: float | None) -> list[NamedSlide]:
    """Return the slides that one argument names: a slide, a folder with its subfolders, or a glob."""
    path = Path(text)
    if not path.is_dir() and not any(sign in text for sign in "*?["):
        return [NamedSlide(path=text, slide_id=None, mpp=mpp)]
    from wsigraph.slide.named_slides import named_slides

    slides = named_slides(text)
    if [slide.path for slide in slides] == [path]:
        return [NamedSlide(path=text, slide_id=None, mpp=mpp)]
    return [NamedSlide(path=str(slide.path), slide_id=slide.slide_id, mpp=mpp) for slide in slides]


def refuse_equal_names(slides: Sequence[NamedSlide]) -> None:
    """Raise StoreError if two files would write into the same directory."""
    from wsigraph.errors import StoreError
    from wsigraph.slide.reader import default_slide_id

    paths: dict[str, str] = {}
    for slide in slides:
        source = str(slide.path or slide.features)
        name = slide.slide_id or default_slide_id(Path(source))
        if name in paths:
            raise StoreError(
                f"{paths[name]} and {source} would both write to {name}/, expected files with different names; "
                "run them separately with different --out, or name them in a manifest"
            )
        paths[name] = source
