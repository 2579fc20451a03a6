"""Landlock: the Linux kernel restricts a process to some files, for good, without any privilege.

The C library has no functions for it, so the three system calls are made by number. A ruleset names the rights that it
handles; what no rule grants is refused. Rights that an older kernel does not know are left out; `missing` says which.

References
----------
Salaün, "Landlock: unprivileged access control", Linux kernel documentation, userspace-api/landlock, ABI 7.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_ABI = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FS_RIGHTS = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: 1 << 15}
_TCP_RIGHTS = {4: 0b11}
_SCOPES = {6: 0b11}
_READ = _READ_FILE | _READ_DIR
# no links, sockets, pipes or devices: who opens the results later would follow them
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_ENTRIES = {2: "moving files", 3: "truncation", 4: "TCP", 5: "device controls", 6: "signals and abstract sockets"}


def abi() -> int:
    """Return the version of Landlock in this kernel; 0 if there is none or it is turned off."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_ABI)))


def missing(version: int) -> tuple[str, ...]:
    """Return what a version of Landlock does not restrict, in words."""
    return tuple(name for since, name in _ENTRIES.items() if version < since)


def restrict(read: Iterable[Path], write: Iterable[Path]) -> None:
    """Restrict the calling thread, and every thread and process that it starts from now on.

    No program can be executed any more, TCP is refused (since ABI 4), and processes outside cannot be signalled (6).

    Parameters
    ----------
    read : iterable of Path
        Files and directories that may be read. What does not exist is left out.
    write : iterable of Path
        Directories in which regular files and directories may be made, changed and removed.

    Raises
    ------
    OSError
        If the kernel has no Landlock or refuses the rules.
    """
    version = abi()
    fs, tcp, scopes = (_known(rights, version) for rights in (_FS_RIGHTS, _TCP_RIGHTS, _SCOPES))
    attributes = struct.pack("=QQQ", fs, tcp, scopes)
    # an older kernel refuses a structure that is longer than it knows, unless the rest is zero
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for paths, rights in ((read, _READ), (write, _WRITE)):
            for path in paths:
                _allow(ruleset, path, rights & fs)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            _raise()
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            rights &= _OF_FILES
        _call(_ADD_RULE, ctypes.c_int(ruleset), _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _known(rights: dict[int, int], version: int) -> int:
    return sum(bits for since, bits in rights.items() if version >= since)


def _call(*arguments: object) -> int:
    result = int(_libc().syscall(*arguments))
    return result if result >= 0 else _raise()


def _raise() -> int:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
