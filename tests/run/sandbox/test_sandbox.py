"""What code inside the sandbox can still do: every attack is tried for real, in a process that entered it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wsigraph.run.sandbox.sandbox import slide_paths, support

ATTACKS = {
    "reads another slide": "open(other).read()",
    "lists the directory beside": "os.listdir(os.path.dirname(other))",
    "reads a file of the machine": "open('/etc/passwd').read()",
    "reads the memory of the service": "open(f'/proc/{parent}/mem','rb').read(1)",
    "reads the environment of the service": "open(f'/proc/{parent}/environ','rb').read()",
    "writes to the slide": "open(slide,'ab')",
    "truncates the slide": "os.truncate(slide, 0)",
    "writes to the temporary directory": "open(os.path.join(tempfile.gettempdir(),'attack'),'w')",
    "writes to the package": "open(os.path.join(os.path.dirname(wsigraph.__file__),'attack.py'),'w')",
    "links to a secret among the results": "os.symlink('/etc/passwd', os.path.join(results,'prediction.json'))",
    "makes a pipe among the results": "os.mkfifo(os.path.join(results,'pipe'))",
    "makes a socket among the results": "os.mknod(os.path.join(results,'socket'), 0o140600)",
    "moves a result out": "open(os.path.join(results,'a'),'w'); os.rename(os.path.join(results,'a'), other)",
    "runs a program": "os.execv('/bin/sh',['sh','-c','true'])",
    "starts a program": "subprocess.run(['/bin/true'])",
    "connects by TCP": "socket.create_connection(('127.0.0.1', port), 1)",
    "listens on TCP": "socket.socket().bind(('127.0.0.1', 0))",
    "sends UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "connects to a local socket": "socket.socket(socket.AF_UNIX).connect(local)",
    "speaks to the kernel": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "kills the service": "os.kill(parent, 15)",
    "traces the service": "libc_call(101, 16, parent, 0, 0)",
    "makes a namespace": "libc_call(272, 0x10000000)",
    "mounts": "libc_call(165, b'none', b'/', b'tmpfs', 0, None)",
    "makes a ring of requests": "libc_call(425, 8, ctypes.create_string_buffer(120))",
    "becomes root again": "os.setuid(0)",
    "takes more memory": "bytearray(3 * 10**9)",
}
_CODE = """
    import ctypes, json, os, socket, subprocess, sys, tempfile
    from pathlib import Path
    import wsigraph
    from wsigraph.run.sandbox.sandbox import Limits, enter
    slide, other, results, port, local, parent = json.loads(sys.argv[1])
    def libc_call(*arguments):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(*arguments) < 0:
            raise OSError(ctypes.get_errno(), 'refused')
    libc_call(39)
    tempfile.gettempdir()
    enter(Limits(read=(Path(slide),), write=(Path(results),), memory_bytes=2 * 10**9))
    assert open(slide).read() == 'slide'
    os.mkdir(os.path.join(results, 'd'))
    open(os.path.join(results, 'd', 'f'), 'w').write('result')
    os.rename(os.path.join(results, 'd', 'f'), os.path.join(results, 'd', 'g'))
    outcome = {}
    for name, code in json.loads(sys.argv[2]).items():
        try:
            exec(code)
        except (OSError, MemoryError) as error:
            outcome[name] = type(error).__name__
        else:
            outcome[name] = ''
    print(json.dumps([outcome, os.getuid(), os.getgroups()]))
"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int, list[int], Path]:
    """Run all attacks in one process; gives what each met, the user, the groups, and the directory of the secrets."""
    folder = tmp_path_factory.mktemp("sandbox")
    slide, other, results = folder / "slide.svs", folder / "other.svs", folder / "results"
    slide.write_text("slide")
    other.write_text("other")
    results.mkdir()
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        local.bind(str(folder / "socket"))
        local.listen()
        aims = [str(slide), str(other), str(results), tcp.getsockname()[1], str(folder / "socket"), os.getpid()]
        attacks = {
            name: code for name, code in ATTACKS.items() if "libc_call" not in code or os.uname().machine == "x86_64"
        }
        asked = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("the sandbox signalled its parent"))
        try:
            finished = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(_CODE), json.dumps(aims), json.dumps(attacks)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGTERM, asked)
    assert finished.returncode == 0, finished.stderr
    outcome, user, groups = json.loads(finished.stdout)
    return outcome, user, groups, folder


def test_this_machine_offers_the_whole_sandbox() -> None:
    # where the project is developed the kernel has it, so that nothing below passes because it was left out
    assert support().missing == ()
    assert support().landlock >= 6


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_from_inside_is_refused(attacked: tuple[dict[str, str], int, list[int], Path], name: str) -> None:
    outcome = attacked[0]
    if name not in outcome:
        pytest.skip("the number of this system call is known for x86-64 only")
    assert outcome[name] in ("PermissionError", "MemoryError"), name


def test_nothing_was_changed_outside(attacked: tuple[dict[str, str], int, list[int], Path]) -> None:
    folder = attacked[3]
    assert (folder / "slide.svs").read_text() == "slide"
    assert (folder / "other.svs").read_text() == "other"
    assert (folder / "results" / "d" / "g").read_text() == "result"
    assert not (folder / "results" / "prediction.json").is_symlink()


def test_root_becomes_another_user(attacked: tuple[dict[str, str], int, list[int], Path]) -> None:
    _, user, groups, folder = attacked
    if os.getuid() != 0:
        assert user == os.getuid()
        return
    assert (user, groups) == (65534, [])
    assert (folder / "results" / "d").stat().st_uid == 65534


def test_a_slide_of_several_files_may_read_its_own_directory(tmp_path: Path) -> None:
    assert slide_paths(tmp_path / "a.svs", is_upload=False) == (tmp_path / "a.svs",)
    assert slide_paths(tmp_path / "a.mrxs", is_upload=False) == (tmp_path,)
    assert slide_paths(tmp_path / "a.ome.tif", is_upload=False) == (tmp_path,)
    assert slide_paths(tmp_path / "slide.dcm", is_upload=True) == (tmp_path / "slide.dcm",)
    assert slide_paths(tmp_path, is_upload=False) == (tmp_path,)
