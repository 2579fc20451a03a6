"""The feature files that an argument names, and which of them belongs to which slide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from wsigraph.errors import SlidesNotFound
from wsigraph.slide.discover import DiscoveredSlide, is_glob, split_glob
from wsigraph.slide.slide_id import distinct_slide_ids

SUFFIXES = frozenset({".h5", ".hdf5", ".pt", ".pth"})
"""Suffixes of feature files, lower case."""
_ONLY_COORDINATES = "_patches.h5"
"""TRIDENT writes the coordinates alone into files of such names."""


def is_feature_file(path: Path | str) -> bool:
    """Return whether a name is that of a feature file."""
    return Path(path).suffix.lower() in SUFFIXES


def named_feature_files(text: str) -> list[DiscoveredSlide]:
    """Return the feature files that one argument names.

    Parameters
    ----------
    text : str
        A file, a folder that is searched with its subfolders, or a glob such as ``'features/*.h5'``.

    Returns
    -------
    list of DiscoveredSlide
        Sorted by path; ids are the names without suffix, distinct.

    Raises
    ------
    SlidesNotFound
        If there is none.
    """
    path = Path(text)
    if path.is_dir():
        root, paths = path, [one for one in path.rglob("*") if is_feature_file(one) and one.is_file()]
    elif is_glob(text):
        root, pattern = split_glob(text)
        paths = [one for one in root.glob(pattern) if is_feature_file(one)]
    else:
        root, paths = path.parent, [path]
    if len(paths) > 1 or path not in paths:
        paths = [one for one in paths if not one.name.endswith(_ONLY_COORDINATES) and not one.name.startswith(".")]
    if not paths:
        raise SlidesNotFound(
            f"{text} holds no feature file; looked for files ending in {', '.join(sorted(SUFFIXES))}, in subfolders too"
        )
    paths.sort()
    ids = distinct_slide_ids(paths, root)
    return [DiscoveredSlide(path=one, slide_id=slide_id) for one, slide_id in zip(paths, ids, strict=True)]


def features_of_slides(text: str, slide_ids: Iterable[str]) -> Mapping[str, Path]:
    """Return the feature file of each of several slides.

    Parameters
    ----------
    text : str
        As for `named_feature_files`.
    slide_ids : iterable of str
        The slides.

    Returns
    -------
    mapping of str to Path
        By the name of the slide. A single file of a single slide may have any name.

    Raises
    ------
    SlidesNotFound
        If a slide has no file of its name.
    """
    files = {one.slide_id: one.path for one in named_feature_files(text)}
    wanted = list(slide_ids)
    if len(files) == 1 and len(wanted) == 1:
        return {wanted[0]: next(iter(files.values()))}
    lacking = [name for name in wanted if name not in files]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise SlidesNotFound(
            f"{text} holds no feature file for {len(lacking)} of {len(wanted)} slides "
            f"({', '.join(lacking[:5])}{more}), expected files of the same names; rename them, or name them in the "
            "column features of a manifest"
        )
    return {name: files[name] for name in wanted}
