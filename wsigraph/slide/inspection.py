"""What a slide file states of itself, also where its pixel size is missing or absurd; no pixel is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsigraph.config import SlideConfig
from wsigraph.records import Level
from wsigraph.slide import files, objective
from wsigraph.slide import mpp as pixel_size
from wsigraph.slide.description import FileDescription
from wsigraph.slide.icc import profile_name
from wsigraph.slide.opening import open_reader

_IDENTIFYING = ("label", "macro")


def inspect(
    path: str | Path,
    *,
    mpp: float | None = None,
    reader: str | None = None,
    with_digest: bool = True,
    options: SlideConfig | None = None,
) -> dict[str, Any]:
    """Return what a slide file states of itself, as JSON values.

    Parameters
    ----------
    path : str or Path
        Slide file, an OME-Zarr folder, or a folder that holds one DICOM series.
    mpp : float, optional
        Level-0 pixel size in um/px; wins over what the file states.
    reader : str, optional
        Reader plugin to use.
    with_digest : bool, optional
        Whether to read the whole file for its digest; ``sha256`` is None otherwise.
    options : SlideConfig, optional
        Settings of the slide: focal plane, and the window by which 16-bit RGB is read.

    Returns
    -------
    dict
        path, reader, vendor, size (width and height in px), bounds (None, or x, y, width and height of the scanned area
        on the plane, and plane_width and plane_height, level-0 px; size and levels are those of the area), levels
        (width, height, downsample, tile_width, tile_height, mpp), mpp in um/px as given or as the file states it,
        mpp_source, file_mpp, mpp_problem (None, or why the pixel size will be refused), objective_power (None where the
        file states none), focal_planes, window (the levels of 16-bit RGB that become 0 and 255, or None), icc (name of
        the colour profile, or None), associated, identifying_images (those that usually show the patient's label),
        warnings, sha256, bytes.

    Raises
    ------
    UnreadableSlide
        If there is no such file or no reader opens it; a `TruncatedSlide` if it ends before the data that it indexes.
    MissingMpp
        If the given `mpp` is outside 0.05 to 20 um.
    PluginError
        If `reader` is unknown or does not load.
    """
    named, settings = Path(path), options or SlideConfig()
    located = files.locate(named)
    parts = files.slide_files(located)
    reader_name, slide_reader = open_reader(located, reader, settings.z, settings.window)
    description = slide_reader.description
    slide_reader.close()
    stated, source, warnings = description.mpp, description.mpp_source, description.warnings
    problem = pixel_size.find_problem(str(named), description)
    if mpp is not None:
        stated, source, concerns = pixel_size.settle_mpp(str(named), description, mpp)
        problem, warnings = None, warnings + concerns
    elif stated is not None and problem is None:
        warnings += objective.contradiction(description.objective_power, stated)
    finest = description.levels[0].size
    return {
        "path": str(named),
        "reader": reader_name,
        "vendor": description.vendor,
        "size": {"width": finest.width, "height": finest.height},
        "bounds": _bounds_values(description),
        "levels": [_level_values(level, None if problem else stated) for level in description.levels],
        "mpp": stated,
        "mpp_source": source,
        "file_mpp": description.mpp,
        "mpp_problem": problem,
        "objective_power": description.objective_power,
        "focal_planes": description.n_z,
        "window": None if description.window is None else list(description.window),
        "icc": profile_name(description.icc) or None,
        "associated": list(description.associated),
        "identifying_images": [name for name in description.associated if name.lower() in _IDENTIFYING],
        "warnings": list(warnings),
        "sha256": files.slide_digest(located) if with_digest else None,
        "bytes": sum(part.stat().st_size for part in parts),
    }


def _bounds_values(description: FileDescription) -> dict[str, int] | None:
    bounds, plane = description.bounds, description.plane
    if bounds is None or plane is None:
        return None
    return {
        "x": bounds.x0,
        "y": bounds.y0,
        "width": bounds.width,
        "height": bounds.height,
        "plane_width": plane.width,
        "plane_height": plane.height,
    }


def _level_values(level: Level, mpp: float | None) -> dict[str, Any]:
    return {
        "width": level.size.width,
        "height": level.size.height,
        "downsample": float(level.downsample),
        "tile_width": level.tile.width,
        "tile_height": level.tile.height,
        "mpp": None if mpp is None else mpp * float(level.downsample),
    }
