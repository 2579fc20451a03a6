"""How a slide gets its id, the name of its directory of results.

The id of a slide is the name of its file or folder without the suffix. Two cases need more than that. A name that
cannot be a folder on every file system has its forbidden characters replaced, and a digest of the whole name appended,
so that ``a:b`` and ``a?b`` stay apart. Slides of one folder tree that would have the same id, or ids that differ in
case alone, are named after their path below that tree, for example ``ward_1__slide.svs``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ID_BYTES_MAX = 200
"""Most UTF-8 bytes of a slide id; file systems allow 255 for a name, and results append suffixes."""

_UNSAFE = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f\ud800-\udfff]')
_DIGEST_DIGITS = 8
_ATTEMPTS_MAX = 8  # a second one is needed only where a file is named after the digest of another's path


def default_slide_id(path: Path) -> str:
    """Return the id of a slide from its file name alone.

    Parameters
    ----------
    path : Path
        Slide file or folder. Suffixes are left out; ``.ome.tiff`` counts as one. A folder keeps its suffix, unless it
        is ``.zarr``.

    Returns
    -------
    str
        A name for which `is_folder_name` holds. Different names give different ids, if the suffix is not all that
        differs.
    """
    full = path.resolve() if path.name in ("", "..") else path
    if full.is_dir() and full.suffix.lower() != ".zarr":
        return _safe(full.name)
    return _safe(full.with_suffix("").stem if full.stem.lower().endswith(".ome") else full.stem)


def distinct_slide_ids(paths: Sequence[Path], root: Path) -> list[str]:
    """Return an id for each slide of a folder tree; no two are equal, in upper or lower case.

    Parameters
    ----------
    paths : sequence of Path
        Slides below `root`, none twice.
    root : Path
        Folder in which they were searched for.

    Returns
    -------
    list of str
        Ids in the order of `paths`: `default_slide_id` where no other slide has it, else the parts of the path below
        `root` joined by two underscores. They do not depend on the order of `paths`.
    """
    ids = [default_slide_id(path) for path in paths]
    shared = _repeated(ids)
    ids = [
        _safe("__".join(path.relative_to(root).parts) or slide_id) if _folded(slide_id) in shared else slide_id
        for path, slide_id in zip(paths, ids, strict=True)
    ]
    for attempt in range(_ATTEMPTS_MAX):
        shared = _repeated(ids)
        if not shared:
            break
        ids = [
            _with_digest(slide_id, path.relative_to(root).as_posix() + "\0" * attempt)
            if _folded(slide_id) in shared
            else slide_id
            for path, slide_id in zip(paths, ids, strict=True)
        ]
    return ids


def is_folder_name(name: str) -> bool:
    """Return whether a slide with this id can have a folder of its own on any file system."""
    return not (
        not name.strip()
        or name.startswith(".")
        or name.endswith(".")
        or _UNSAFE.search(name)
        or len(name.encode()) > ID_BYTES_MAX
    )


def _safe(name: str) -> str:
    return name if is_folder_name(name) else _with_digest(name, name)


def _with_digest(name: str, whole: str) -> str:
    """Return a folder name of `name` that ends in a digest of `whole`."""
    readable = _UNSAFE.sub("_", name).strip(".").strip() or "slide"
    digest = hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    bytes_max = ID_BYTES_MAX - _DIGEST_DIGITS - 1
    return f"{readable.encode()[:bytes_max].decode(errors='ignore')}~{digest}"


def _repeated(ids: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(_folded(slide_id) for slide_id in ids).items() if count > 1}


def _folded(name: str) -> str:
    """Return what file systems compare that ignore case and Unicode composition, as those of macOS and Windows do."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
