"""``njit`` for the package's kernels: numba's, with a place for compiled code wherever the package is installed.

numba keeps compiled code in ``NUMBA_CACHE_DIR``, beside the sources, or in the user's cache directory, whichever it can
write first, and refuses to decorate a function where it can write none: a package directory that is read-only and a
user without a home would end every command. Here such a function is cached in a directory of the user's own under the
temporary one, or, where that cannot be trusted, compiled anew by every process.

Compiled code is unpickled when it is loaded, so that whoever can write the directory can run code as this user. It is
therefore used only if it belongs to this user, is open to nobody else, and lies where nobody else can put another in
its place. Every process finds it by the same rule, and nothing is put into the environment.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

from wsigraph import compilation

_PREFIX = "wsigraph-kernels-"
_PRIVATE = 0o700
_NO_PLACE = "cannot cache function"
_lock = threading.Lock()

if TYPE_CHECKING:
    # to a type checker a kernel is what numba says
    from numba import njit as njit
else:

    def njit(**options: Any) -> Any:
        """Return numba's decorator of the same name, which does not fail for want of a place to keep compiled code.

        Parameters
        ----------
        **options
            As for ``numba.njit``.

        Returns
        -------
        callable
            Decorator.
        """

        def decorate(function: Callable[..., Any]) -> Any:
            try:
                return _forgiving(numba.njit(**options)(function))
            except RuntimeError as error:
                # numba has no class of its own for this
                if _NO_PLACE not in str(error):
                    raise
            return _elsewhere(function, options)

        return decorate


def temporary_place() -> Path | None:
    """Return the user's own directory for compiled code under the temporary one; made where missing.

    Returns
    -------
    Path or None
        None where there is no such directory that only this user can write.
    """
    try:
        place = Path(tempfile.gettempdir()).resolve() / f"{_PREFIX}{os.geteuid()}"
        place.mkdir(mode=_PRIVATE, exist_ok=True)
        return place if _is_private(place) else None
    except OSError:
        return None


def cache_place() -> Path | None:
    """Return where this process keeps the compiled code of the package's kernels.

    Returns
    -------
    Path or None
        Directory of this module's kernels, ``__pycache__`` where code lies beside the sources; None where every process
        compiles anew or, under ``NUMBA_DISABLE_JIT``, none compiles.
    """

    @njit(cache=True)
    def kernel() -> None:
        """Never called, hence never compiled."""

    # under NUMBA_DISABLE_JIT a kernel is a plain function
    path = kernel.stats.cache_path if hasattr(kernel, "stats") else None
    return None if path is None else Path(path)


def is_temporary(place: Path) -> bool:
    """Return whether a directory of `cache_place` lies in that of `temporary_place`."""
    return f"{_PREFIX}{os.geteuid()}" in place.parts


def _elsewhere(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    place = temporary_place()
    if place is not None:
        # other code of this process keeps its own place
        with _lock:
            config: Any = numba.config
            usual, config.CACHE_DIR = config.CACHE_DIR, str(place)
            try:
                return _forgiving(numba.njit(**options)(function))
            except RuntimeError as error:
                if _NO_PLACE not in str(error):
                    raise
            finally:
                config.CACHE_DIR = usual
    return numba.njit(**{**options, "cache": False})(function)


def _forgiving(kernel: Any) -> Any:
    """Return a kernel that runs also where its compiled code can be neither read nor kept, e.g. on a full disk.

    It reports its compilation to `wsigraph.compilation`.
    """
    if not hasattr(kernel, "_cache"):
        # under NUMBA_DISABLE_JIT numba returns the function itself
        return kernel
    cache = kernel._cache
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*signature: Any) -> Any:
        try:
            stored = load(*signature)
        except OSError:
            stored = None
        if stored is None:
            # numba compiles next, and saves what it has compiled
            compilation.begin()
        return stored

    def save_overload(*compiled: Any) -> None:
        try:
            save(*compiled)
        except OSError:
            # what was compiled serves this process
            cache.disable()
        finally:
            compilation.end()

    cache.load_overload, cache.save_overload = load_overload, save_overload
    return kernel


def _is_private(place: Path) -> bool:
    """Return whether a directory is this user's alone, and nobody else can replace it or a directory above it."""
    user, status = os.geteuid(), place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or stat.S_IMODE(status.st_mode) & 0o077:
        return False
    for above in place.parents:
        status = above.stat()
        is_open = bool(status.st_mode & 0o022) and not status.st_mode & stat.S_ISVTX
        if is_open or status.st_uid not in (0, user):
            return False
    return True
