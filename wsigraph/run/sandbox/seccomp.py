"""System calls that a process gives up for good: sockets of every kind, and reaching into other processes.

Landlock refuses TCP only. A filter of the kernel's (seccomp) also refuses UDP, the sockets of other services in the
file system, and io_uring, which would do the same without a system call. The calls fail with EACCES; nothing is killed.
Known for x86-64 and 64-bit ARM.

References
----------
Drewry, "seccomp filter", Linux kernel documentation, userspace-api/seccomp_filter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
# classic BPF: load a word; jump if equal, if greater or equal; return
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32 = 0x40000000
# socket, connect, bind, listen, ptrace, process_vm_readv, process_vm_writev, mount, umount2, unshare, setns, keyctl,
# bpf, perf_event_open, userfaultfd, execve, execveat; from io_uring_setup on, numbers are the same everywhere
_ANYWHERE = (425, 426, 427, 438, 440, 448)
_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 49, 50, 101, 310, 311, 165, 166, 272, 308, 250, 321, 298, 323, 59, 322)),
    "aarch64": (0xC00000B7, (198, 203, 200, 201, 117, 270, 271, 40, 39, 97, 268, 219, 280, 241, 282, 221, 281)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def is_known() -> bool:
    """Return whether the numbers of system calls of this machine are known here."""
    return sys.platform == "linux" and platform.machine() in _CALLS


def give_up_calls() -> None:
    """Refuse these system calls to the calling thread, and to every thread and process that it starts from now on.

    Raises
    ------
    OSError
        If the kernel refuses the filter.
    """
    architecture, calls = _CALLS[platform.machine()]
    refused = (*calls, *_ANYWHERE)
    n = len(refused)
    # after a jump, the two numbers say how many instructions to skip if the test holds, and if not
    program = [
        _instruction(_LOAD, 0, 0, _AT_ARCHITECTURE),
        _instruction(_EQUAL, 1, 0, architecture),
        _instruction(_RETURN, 0, 0, _KILL),
        _instruction(_LOAD, 0, 0, _AT_NUMBER),
        _instruction(_AT_LEAST, n + 1, 0, _X32),
        *(_instruction(_EQUAL, n - index, 0, call) for index, call in enumerate(refused)),
        _instruction(_RETURN, 0, 0, _ALLOW),
        _instruction(_RETURN, 0, 0, _ERRNO | errno.EACCES),
    ]
    filter_ = _Program(len(program), b"".join(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
