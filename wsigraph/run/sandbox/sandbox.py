"""The sandbox of a process that opens slides.

A file that takes over its decoder then has a process that can read the slide and the installed package, write the
results of its own job, and nothing else: no other file, no network, no other program, no other process. Memory, number
of threads and open files are limited. Where the service runs as root, the process becomes ``nobody`` and keeps one
right, to open files regardless of their owner; Landlock still says which.

What the kernel lacks is left out, and `support` says so, for the log and ``wsigraph doctor``.
"""

from __future__ import annotations

import ctypes
import logging
import os
import site
import struct
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsigraph.run.sandbox import landlock, seccomp

_log = logging.getLogger("wsigraph.service")
_PR_SET_KEEPCAPS, _PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 8, 1, 4
_CAPSET, _CAPABILITY_VERSION = {"x86_64": 126, "aarch64": 91}, 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_SIGKILL = 9
_NOBODY = 65534
_N_FILES = 4096
_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/fonts", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu",
    "/sys/fs/cgroup", "/dev/null", "/dev/urandom",
)  # fmt: skip
_FOLDER_SUFFIXES = frozenset({".dcm", ".vms", ".vmu", ".ndpis", ".vsi", ".mrxs", ".ome"})
"""Formats of several files, which may read the directory that they are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a process in a sandbox may use.

    Attributes
    ----------
    read : tuple of Path
        Files and directories it may read, besides the package and the system's libraries.
    write : tuple of Path
        Directories it may change.
    memory_bytes : int
        Memory of its own, bytes.
    cpu_s : int
        Processor time, s; 0 is unlimited.
    """

    read: tuple[Path, ...]
    write: tuple[Path, ...] = ()
    memory_bytes: int = 0
    cpu_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What this kernel offers.

    Attributes
    ----------
    landlock : int
        Version of Landlock, 0 if there is none.
    seccomp : bool
        Whether system calls can be refused.
    missing : tuple of str
        What is not restricted, in words; empty if everything is.
    """

    landlock: int
    seccomp: bool
    missing: tuple[str, ...]

    def describe(self) -> str:
        """Return one line for a log."""
        if not self.missing:
            return f"slides are opened in a sandbox (Landlock ABI {self.landlock}, seccomp)"
        return (
            f"slides are opened in a sandbox that does not restrict {', '.join(self.missing)}: this kernel has "
            + (f"Landlock ABI {self.landlock}" if self.landlock else "no Landlock")
            + ("" if self.seccomp else " and no seccomp filter for this processor")
        )


def support() -> Support:
    """Return what a sandbox restricts on this machine."""
    version, has_seccomp = landlock.abi(), seccomp.is_known()
    gaps = ("files",) if not version else landlock.missing(version)
    # with seccomp no socket can be made at all
    gaps = tuple(gap for gap in gaps if gap != "TCP") if has_seccomp else (*gaps, "UDP and local sockets")
    return Support(landlock=version, seccomp=has_seccomp, missing=gaps)


def log_support(*, runs_jobs_in_sandbox: bool) -> None:
    """Log what a sandbox restricts on this machine: a warning where that is not everything.

    Parameters
    ----------
    runs_jobs_in_sandbox : bool
        Whether ``service.sandbox`` is on.
    """
    state = support()
    _log.log(logging.WARNING if state.missing else logging.INFO, "%s", state.describe())
    if not runs_jobs_in_sandbox:
        _log.warning("jobs run outside the sandbox (service.sandbox=false): serve only slides that you trust")


def slide_paths(path: Path, *, is_upload: bool) -> tuple[Path, ...]:
    """Return what a process may read in order to open a slide.

    Parameters
    ----------
    path : Path
        The slide; links to it have been followed.
    is_upload : bool
        Whether it was uploaded, and so must be one file.

    Returns
    -------
    tuple of Path
        The file or folder; for a format of several files, the directory that they are in.
    """
    if is_upload or path.is_dir():
        return (path,)
    is_one_of_several = path.suffix.lower() in _FOLDER_SUFFIXES or ".ome." in path.name.lower()
    return (path.parent,) if is_one_of_several else (path,)


def enter(limits: Limits) -> None:
    """Put the calling process into a sandbox, for good. It must have one thread only.

    Parameters
    ----------
    limits : Limits
        What it may use.

    Raises
    ------
    OSError
        If the kernel offers a restriction and refuses to apply it.
    """
    _limit_resources(limits)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    state = support()
    if state.landlock:
        # without Landlock the right to open every file would be the right to open every file
        if os.geteuid() == 0:
            _become_nobody(libc, _DAC_OVERRIDE if limits.write else _DAC_READ_SEARCH)
        landlock.restrict((*_package_paths(), *limits.read), limits.write)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if state.seccomp:
        seccomp.give_up_calls()


def end_with_parent() -> None:
    """Have the kernel kill this process when the process that forked it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _limit_resources(limits: Limits) -> None:
    try:
        import resource
    except ImportError:
        return
    if limits.memory_bytes:
        # private memory alone: address space also counts files that are mapped and memory that is only reserved
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    if limits.cpu_s:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = min(_N_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _become_nobody(libc: ctypes.CDLL, right: int) -> None:
    """Give up root, except one right over files."""
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    bits = 1 << right
    data = struct.pack("=IIIIII", bits, bits, 0, 0, 0, 0)
    number = _CAPSET.get(os.uname().machine)
    # without the call the rights are lost as well, by the next execve; only an unknown processor comes here
    if number is not None and libc.syscall(number, header, data):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _package_paths() -> Iterable[Path]:
    """Return what Python, the package and its libraries read."""
    import wsigraph
    from wsigraph.kernels import cache_place

    paths = {Path(wsigraph.__file__).parent, Path(sys.prefix), Path(sys.base_prefix) / "lib", *map(Path, _SYSTEM)}
    paths |= {Path(entry) for entry in (*site.getsitepackages(), *sysconfig.get_paths().values())}
    paths |= {Path(entry) for entry in sys.path if entry and Path(entry).is_dir() and _holds_packages(Path(entry))}
    if (kernels := cache_place()) is not None:
        paths.add(kernels)
    return paths


def _holds_packages(path: Path) -> bool:
    """Return whether a directory of Python's search path is one of installed packages, not a user's own directory."""
    return path.name in ("site-packages", "dist-packages")
