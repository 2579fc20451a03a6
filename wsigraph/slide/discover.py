"""The slides in a folder: the one search that every command and the service use.

A file is a slide if its suffix is one that an installed reader declares (`SlideReader.suffixes`). Files and folders
that make one slide together are grouped by the readers' rules (`wsigraph.slide.series`). Hidden entries are skipped,
and so is what wsigraph wrote itself: the directory of records of a slide, its zarr stores and the masks of synthetic
images. Whether a file really is a slide, its reader decides when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Any, TypeVar

from wsigraph import registry
from wsigraph.errors import PluginError, SlidesNotFound
from wsigraph.slide.opening import reader_names
from wsigraph.slide.series import SeriesRule
from wsigraph.slide.slide_id import distinct_slide_ids
from wsigraph.store.directory import SLIDE_FILE
from wsigraph.store.header import KEY

_SYNTHETIC = "synthetic"
_MASK = "-mask.png"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideFormats:
    """What the installed readers say of the files they open.

    Attributes
    ----------
    suffixes : frozenset of str
        Suffixes of slide files, lower case with the dot.
    rules : tuple of SeriesRule
        Formats of several files.
    broken : tuple of str
        Why a reader plugin is not counted in: it does not load, or what it declares is malformed.
    """

    suffixes: frozenset[str]
    rules: tuple[SeriesRule, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredSlide:
    """A slide in a folder.

    Attributes
    ----------
    path : Path
        What to open: a file, or the folder of a DICOM series or OME-Zarr.
    slide_id : str
        Name of its results, distinct among the slides found together.
    """

    path: Path
    slide_id: str


def slide_formats() -> SlideFormats:
    """Return the suffixes and series rules that all installed readers declare."""
    suffixes: set[str] = set()
    rules: dict[str, SeriesRule] = {}
    broken: list[str] = []
    for name in reader_names():
        try:
            own_suffixes, own_rules = _declared(name, registry.load(registry.READERS, name))
        except PluginError as error:
            broken.append(str(error))
            continue
        suffixes |= own_suffixes
        rules |= {rule.name: rule for rule in own_rules}
    return SlideFormats(suffixes=frozenset(suffixes), rules=tuple(rules.values()), broken=tuple(broken))


def discover_slides(
    folder: Path,
    *,
    pattern: str | None = None,
    recursive: bool = False,
    formats: SlideFormats | None = None,
) -> list[DiscoveredSlide]:
    """Return the slides in a folder.

    Parameters
    ----------
    folder : Path
        Where to search. A folder that is a slide itself is the one result.
    pattern : str, optional
        Glob below `folder`, for example ``"*/*.svs"``. A pattern that ends in a suffix takes every file that matches;
        one that does not (``"ward */*"``) takes folders that are slides, and files with a slide's suffix.
    recursive : bool
        Whether to search subfolders too. Only for searches without `pattern`.
    formats : SlideFormats, optional
        From `slide_formats`, which is called where this is left out.

    Returns
    -------
    list of DiscoveredSlide
        Sorted by path. A DICOM series is its folder, or its first instance if the folder holds other slides too.

    Raises
    ------
    SlidesNotFound
        If `folder` is not a folder, cannot be read, or holds no slide. The message lists the suffixes looked for.
    """
    if not folder.is_dir():
        raise SlidesNotFound(f"{folder} is not a folder; give one that holds slides")
    search = FolderSearch(slide_formats() if formats is None else formats)
    try:
        if pattern is None:
            paths = sorted(search.slides(folder, recursive=recursive))
        else:
            paths = search.collapse(_matches(folder, pattern, search.formats), folder)
    except OSError as error:
        raise SlidesNotFound(f"{error.filename or folder} cannot be read: {error.strerror}; check its rights") from None
    except (ValueError, NotImplementedError) as error:
        raise SlidesNotFound(
            f"pattern {pattern!r} is not a glob below a folder ({error}); give one such as '*/*.svs'"
        ) from None
    if not paths:
        raise SlidesNotFound(_nothing_found(folder, pattern, search.formats, recursive=recursive))
    ids = distinct_slide_ids(paths, folder)
    return [DiscoveredSlide(path=path, slide_id=slide_id) for path, slide_id in zip(paths, ids, strict=True)]


def is_glob(text: str) -> bool:
    """Return whether a command-line argument is a glob and not the name of a file that exists."""
    return has_magic(text) and not Path(text).exists()


def split_glob(text: str) -> tuple[Path, str]:
    """Return the folder below which a glob searches, and the pattern below it."""
    parts = Path(text).parts
    n_fixed = next(index for index, part in enumerate(parts) if has_magic(part))
    return Path(*parts[:n_fixed]), str(Path(*parts[n_fixed:]))


def discover_glob(text: str, *, formats: SlideFormats | None = None) -> list[DiscoveredSlide]:
    """Return the slides that a glob from the command line matches, for example ``'slides/*/*.svs'``.

    Parameters
    ----------
    text : str
        The glob, relative to the working directory or absolute.
    formats : SlideFormats, optional
        From `slide_formats`, which is called where this is left out.

    Returns
    -------
    list of DiscoveredSlide
        Sorted by path.

    Raises
    ------
    SlidesNotFound
        If nothing matches.
    """
    folder, pattern = split_glob(text)
    return discover_slides(folder, pattern=pattern, formats=formats)


@dataclass(slots=True, kw_only=True)
class _Folder:
    """The visible entries of one folder."""

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    parts: set[Path] = field(default_factory=set)


class FolderSearch:
    """A search by suffixes and series rules.

    Parameters
    ----------
    formats : SlideFormats
        What to look for.
    follow_links : bool
        Whether to search folders that are symbolic links; circles are recognised.
    skip_unreadable : bool
        Whether to pass over folders and files that cannot be read in place of raising OSError.
    max_depth : int, optional
        Levels of subfolders to search; all where left out.
    """

    def __init__(
        self,
        formats: SlideFormats,
        *,
        follow_links: bool = True,
        skip_unreadable: bool = False,
        max_depth: int | None = None,
    ) -> None:
        self.formats = formats
        self._follow_links = follow_links
        self._skip_unreadable = skip_unreadable
        self._max_depth = max_depth

    def slides(self, folder: Path, *, recursive: bool) -> Iterator[Path]:
        """Yield the slides of a folder, in no particular order.

        Raises
        ------
        OSError
            If a folder, or a file that may belong to a series, cannot be read.
        """
        if self.is_slide_folder(folder):
            yield folder
        elif not _is_own_output(folder):
            yield from self._search(folder, recursive, ())

    def collapse(self, paths: Iterable[Path], root: Path) -> list[Path]:
        """Return the slides among paths below a root: one path for each series, no parts, nothing hidden.

        Raises
        ------
        OSError
            If a file that may belong to a series cannot be read.
        """
        chosen: set[Path] = set()
        parts: set[Path] = set()
        series: dict[tuple[Path, str], Path] = {}
        for path in sorted(set(paths)):
            inside = path.relative_to(root)
            above = [root / parent for parent in inside.parents if parent.parts]
            if (
                any(part.startswith(".") for part in inside.parts)
                or any(_is_own_output(parent) or self.is_slide_folder(parent) for parent in (root, *above))
                or not (path.is_file() or (path.is_dir() and not _is_own_output(path) and self._is_slide(path)))
            ):
                continue
            series_id = self._series_id(path) if path.is_file() else None
            if series_id is None:
                chosen.add(path)
                parts.update(self._parts(path))
            else:
                series.setdefault((path.parent, series_id), path)
        whole = {path for path in chosen - parts if not _is_mask(path) and parts.isdisjoint(path.parents)}
        return sorted({*whole, *(path.parent if self._is_slide(path.parent) else path for path in series.values())})

    def is_slide_folder(self, folder: Path) -> bool:
        """Return whether a rule says that a folder is a slide, such as an OME-Zarr folder; DICOM series aside."""
        tests = (rule.is_slide_folder for rule in self.formats.rules if rule.is_slide_folder is not None)
        return folder.is_dir() and any(self._call(test, folder, default=False) for test in tests)

    def _is_slide(self, folder: Path) -> bool:
        return self.is_slide_folder(folder) or list(self.slides(folder, recursive=False)) == [folder]

    def _search(self, folder: Path, recursive: bool, above: tuple[Path, ...]) -> Iterator[Path]:
        place = folder.resolve()
        if place in above:  # a link back up
            return
        entries = self._entries(folder)
        series: dict[str, Path] = {}
        n_single = 0
        for path in entries.files:
            if path.suffix.lower() not in self.formats.suffixes or path in entries.parts or _is_mask(path):
                continue
            series_id = self._series_id(path)
            if series_id is not None:
                series.setdefault(series_id, path)
            else:
                n_single += 1
                yield path
        yield from [folder] if len(series) == 1 and not n_single else series.values()
        if self._max_depth is not None and len(above) >= self._max_depth:
            recursive = False
        for path in entries.folders:
            if path in entries.parts or _is_own_output(path):
                continue
            if self.is_slide_folder(path):
                yield path
            elif recursive or self._holds_series(path):
                yield from self._search(path, recursive, (*above, place))

    def _entries(self, folder: Path) -> _Folder:
        content = _Folder()
        nothing: list[Path] = []
        for path in self._call(lambda place: sorted(place.iterdir()), folder, default=nothing):
            if path.name.startswith("."):
                continue
            if self._call(Path.is_dir, path, default=False):
                if self._follow_links or not path.is_symlink():
                    content.folders.append(path)
            elif self._call(Path.is_file, path, default=False):  # a named pipe would block whoever opens it
                content.files.append(path)
                content.parts.update(self._parts(path))
        return content

    def _parts(self, path: Path) -> tuple[Path, ...]:
        listings = (rule.parts for rule in self._rules_for(path) if rule.parts is not None)
        nothing: Iterable[Path] = ()
        return tuple(part for parts in listings for part in self._call(parts, path, default=nothing))

    def _series_id(self, path: Path) -> str | None:
        identify = next((rule.series_id for rule in self._rules_for(path) if rule.series_id is not None), None)
        return None if identify is None else self._call(identify, path, default=None)

    def _rules_for(self, path: Path) -> Iterator[SeriesRule]:
        suffix = path.suffix.lower()
        return (rule for rule in self.formats.rules if suffix in rule.suffixes)

    def _call(self, function: Callable[[Path], _T], path: Path, *, default: _T) -> _T:
        """Return what a function that looks at a file returns, or `default` where the search tolerates errors."""
        try:
            return function(path)
        except OSError:
            if self._skip_unreadable:
                return default
            raise

    def _holds_series(self, folder: Path) -> bool:
        suffixes = {suffix for rule in self.formats.rules if rule.series_id is not None for suffix in rule.suffixes}
        return any(path.suffix.lower() in suffixes for path in self._entries(folder).files)


def _declared(name: str, reader: Any) -> tuple[frozenset[str], tuple[SeriesRule, ...]]:
    """Return what a reader class declares; a class without the attributes declares nothing."""
    suffixes: Any = getattr(reader, "suffixes", frozenset())
    rules: Any = getattr(reader, "series", ())
    if isinstance(suffixes, str) or not all(isinstance(one, str) and one.startswith(".") for one in suffixes):
        raise PluginError(f"reader {name!r} declares suffixes {suffixes!r}, expected a set such as {{'.npy'}}")
    if not all(isinstance(rule, SeriesRule) for rule in rules):
        raise PluginError(f"reader {name!r} declares series {rules!r}, expected a tuple of SeriesRule")
    return frozenset(suffix.lower() for suffix in suffixes), tuple(rules)


def _matches(folder: Path, pattern: str, formats: SlideFormats) -> Iterator[Path]:
    suffix = Path(pattern).suffix
    takes_all = bool(suffix) and not has_magic(suffix)
    return (
        path for path in folder.glob(pattern) if takes_all or path.suffix.lower() in formats.suffixes or path.is_dir()
    )


def _is_own_output(folder: Path) -> bool:
    """Return whether wsigraph wrote a folder: the records of a slide, or a zarr store of a record."""
    try:
        stored = json.loads((folder / SLIDE_FILE).read_bytes())
        if stored["header"]["record"] == "SlideInfo":
            return True
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no such file, or one of another program
    try:
        attributes = json.loads((folder / "zarr.json").read_bytes())["attributes"]
        return KEY in attributes or _SYNTHETIC in attributes
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _is_mask(path: Path) -> bool:
    """Return whether a picture shows the mask of a synthetic image, NAME-mask.png beside NAME.zarr."""
    return path.name.endswith(_MASK) and path.with_name(path.name.removesuffix(_MASK) + ".zarr").is_dir()


def _nothing_found(folder: Path, pattern: str | None, formats: SlideFormats, *, recursive: bool) -> str:
    if pattern is not None:
        return f"{folder} holds no slide that matches {pattern!r}; check the pattern"
    where = "or its subfolders " if recursive else ""
    groups = " or a ".join(sorted(rule.name for rule in formats.rules if rule.is_slide_folder or rule.series_id))
    message = (
        f"{folder} {where}holds no slide; looked for files ending in {', '.join(sorted(formats.suffixes))}"
        + (f", and for a folder that is a {groups}" if groups else "")
        + ("" if recursive else "; search subfolders with --recursive")
        + "; give other files by name or as a glob"
    )
    return "; ".join([message, *formats.broken])
