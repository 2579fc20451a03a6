"""Opens what a slide's steps read: the slide, its feature file, or both; and checks that they suit the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.errors import ConfigError, MissingMpp, ModelError, StoreError

if TYPE_CHECKING:
    from wsigraph.config import Config, SlideConfig
    from wsigraph.exchange.feature_slide import FeatureFile
    from wsigraph.model.bundle import ModelBundle
    from wsigraph.slide.reader import Slide

_HOW_TO_GIVE = "give its feature file with --features FILE, or in the column features of a manifest"


@contextmanager
def open_inputs(
    path: Path | str | None,
    settings: Config,
    *,
    features: Path | str | None = None,
    tile_px: int | None = None,
    mpp: float | None = None,
    missing_mpp: float | None = None,
    slide_id: str | None = None,
    max_mpx: float = 0.0,
) -> Iterator[tuple[Slide, FeatureFile | None]]:
    """Open a slide, a feature file in its place, or both.

    Parameters
    ----------
    path : Path, str or None
        Slide file or folder; None for a feature file alone.
    settings : Config
        Settings of the slide and of the working pixel size.
    features : Path, str or None
        Feature file.
    tile_px : int or None
        Side of a tile in level-0 pixels, where the feature file does not state it.
    mpp : float or None
        Pixel size, um/px: overrules a slide; of a feature file alone it counts where the file states none.
    missing_mpp : float or None
        Pixel size where nothing else states one.
    slide_id : str or None
        Name of the slide; that of its file where left out.
    max_mpx : float
        Largest number of pixels of level 0, Mpx; 0 is unlimited.

    Yields
    ------
    tuple of (Slide, FeatureFile or None)
        Open until the block ends.

    Raises
    ------
    StoreError
        If neither is given, or the feature file does not read.
    SlideError
        If the slide does not read or has no pixel size.
    RecordError
        If the features do not belong to the slide.
    """
    if path is None and features is None:
        raise StoreError(f"slide {slide_id!r} has neither a slide nor a feature file; name one of them")
    if path is None:
        from wsigraph.exchange.feature_slide import open_features, slide_of_tiles

        tiles = open_features(str(features), settings, mpp=mpp or missing_mpp, tile_px=tile_px)
        with slide_of_tiles(tiles, slide_id) as slide:
            yield slide, tiles
        return
    with _open_slide(path, settings.slide, mpp, missing_mpp, slide_id, max_mpx) as slide:
        if features is None:
            yield slide, None
            return
        from wsigraph.exchange.feature_slide import open_features

        yield slide, open_features(features, settings, slide=slide, tile_px=tile_px)


def _open_slide(
    path: Path | str,
    options: SlideConfig,
    mpp: float | None,
    missing_mpp: float | None,
    slide_id: str | None,
    max_mpx: float,
) -> Slide:
    from wsigraph.slide.open_slide import open_slide

    if mpp is None and missing_mpp is not None:
        try:
            return open_slide(path, options, slide_id=slide_id, max_mpx=max_mpx)
        except MissingMpp:
            mpp = missing_mpp
    return open_slide(path, options, mpp=mpp, slide_id=slide_id, max_mpx=max_mpx)


def refuse_regions(path: Path | str | None, roi: Path | str | None, tissue_mask: Path | str | None) -> None:
    """Refuse regions of a feature file without its slide.

    Parameters
    ----------
    path : Path, str or None
        The slide; None for a feature file alone.
    roi, tissue_mask : Path, str or None
        Files of regions.

    Raises
    ------
    ConfigError
        If regions are given without a slide: they are drawn on pixels, and would be ignored.
    """
    if path is None and (roi is not None or tissue_mask is not None):
        raise ConfigError(
            "regions are given for a feature file without its slide, and they are drawn on pixels; give the slide as "
            "well, or leave out the regions"
        )


def check_features(bundle: ModelBundle | None, settings: Config, *, has_slide: bool, has_features: bool) -> Config:
    """Check before any work that a model can read what will be there, and choose its encoder if that is installed.

    Parameters
    ----------
    bundle : ModelBundle or None
        The model, if a step needs one.
    settings : Config
        Settings.
    has_slide, has_features : bool
        What is given of the slide.

    Returns
    -------
    Config
        The settings, with the model's encoder where it can be computed and nothing else is chosen.

    Raises
    ------
    ConfigError
        If an encoder is chosen beside a feature file.
    ModelError
        If the model reads features that will not be there.
    """
    from wsigraph import registry
    from wsigraph.model.columns import NodeColumns

    chosen = settings.feature.encoder
    if has_features and chosen is not None:
        raise ConfigError(
            f"feature.encoder is {chosen!r} and a feature file is given, expected one of them; leave out --encoder"
        )
    if bundle is None:
        return settings
    columns, encoder = NodeColumns.of(bundle.card.config), bundle.card.encoder
    if columns.needs_features and not has_slide:
        raise ModelError(
            f"model {bundle.card.name!r} reads features that are measured in pixels, and a feature file is given "
            "alone; give the slide as well, or a model that was trained on feature files (--model DIR)"
        )
    if not columns.needs_encoding or has_features or chosen == encoder:
        return settings
    if chosen is not None or encoder not in registry.names(registry.ENCODERS):
        given = "no features are given" if chosen is None else f"encoder {chosen!r} is chosen"
        remedy = f"leave out --encoder, or {_HOW_TO_GIVE}" if chosen else _HOW_TO_GIVE
        raise ModelError(f"model {bundle.card.name!r} reads features of encoder {encoder!r}, and {given}; {remedy}")
    feature = settings.feature.model_copy(update={"encoder": encoder})
    return settings.model_copy(update={"feature": feature})
