"""Compiled code finds a place to be kept, or does without one, wherever the package is installed."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wsigraph.kernels import _is_private

ROOT = Path(__file__).parents[1]
USER = 65534
KERNEL = """from wsigraph.kernels import njit

@njit(nogil=True, cache=True)
def double(x):
    return 2 * x
"""
IS_ROOT = os.geteuid() == 0
USER = 65534 if IS_ROOT else os.geteuid()
# read-only bits do not bind root: its tests become nobody, who may read all (the interpreter may lie in root's home)
AS_USER = (
    [
        *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all,+dac_read_search"),
        *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
    ]
    if IS_ROOT
    else []
)


@pytest.fixture(scope="module", autouse=True)
def _able() -> None:
    if IS_ROOT and subprocess.run([*AS_USER, sys.executable, "-c", ""], check=False).returncode:
        pytest.skip("root cannot become another user here")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a copy of the package that nobody but root can write."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "wsigraph", folder / "wsigraph", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    return folder


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Return a directory that everybody may write, as /tmp is, for the temporary files of a process."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    folder.chmod(0o1777)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    return folder


def run(installed: Path, temporary: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run python as a user who has no home and cannot write the package."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    return subprocess.run(
        [*AS_USER, sys.executable, *arguments],
        env={**kept, "HOME": "/nonexistent", "PYTHONPATH": str(installed), "TMPDIR": str(temporary), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("named", [None, "/proc/nowhere"])
def test_a_read_only_package_and_no_home_leave_every_command(
    installed: Path, temporary: Path, named: str | None
) -> None:
    environment = {} if named is None else {"NUMBA_CACHE_DIR": named}
    done = run(installed, temporary, "-m", "wsigraph", "doctor", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [text for text in done.stdout.splitlines() if "compiled kernels" in text]
    own = temporary / f"wsigraph-kernels-{USER}"
    assert line.startswith("note")
    assert str(own) in line
    assert "NUMBA_CACHE_DIR" in line
    assert own.stat().st_uid == USER
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_workers_find_what_was_compiled(installed: Path, temporary: Path) -> None:
    program = """
import multiprocessing
from tests_kernel import double

def hits(_=None):
    double(1.0)
    return sum(double.stats.cache_hits.values()), sum(double.stats.cache_misses.values()), double.stats.cache_path

if __name__ == "__main__":
    print(*hits())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.map(hits, [0])[0])
"""
    folder = temporary / "program"
    folder.mkdir(mode=0o755)
    (folder / "tests_kernel.py").write_text(KERNEL)
    (folder / "main.py").write_text(program)
    done = run(installed, temporary, str(folder / "main.py"))
    assert done.returncode == 0, done.stderr
    here, there = (line.split() for line in done.stdout.splitlines())
    assert here[:2] == ["0", "1"]
    assert there[:2] == ["1", "0"]
    assert here[2] == there[2]
    assert here[2].startswith(str(temporary / f"wsigraph-kernels-{USER}"))


@pytest.mark.parametrize("trap", ["of root", "open", "link", "file", "no sticky bit"])
def test_no_place_that_others_can_write_is_trusted(installed: Path, temporary: Path, trap: str) -> None:
    if trap == "of root" and not IS_ROOT:
        pytest.skip("only root can leave a directory of its own there")
    own, elsewhere = temporary / f"wsigraph-kernels-{USER}", temporary / "elsewhere"
    if trap == "link":
        elsewhere.mkdir(mode=0o700)
        os.chown(elsewhere, USER, USER)
        own.symlink_to(elsewhere)
    elif trap == "file":
        own.touch()
    elif trap == "no sticky bit":
        temporary.chmod(0o777)
    else:
        own.mkdir()
        own.chmod(0o777)
        if trap == "open":
            os.chown(own, USER, USER)
    asked = ("-c", "from wsigraph.kernels import cache_place; print(cache_place())")
    done = run(installed, temporary, *asked)
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr
    assert not [path for path in temporary.rglob("*") if path.suffix in (".nbi", ".nbc")]


def test_a_place_that_fills_up_or_closes_stops_no_kernel(installed: Path, temporary: Path) -> None:
    program = """
import resource, signal, sys
from tests_kernel import double
# the directory can be written, and holds no byte more: as a full disk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(double(2))
"""
    (temporary / "tests_kernel.py").write_text(KERNEL)
    (temporary / "main.py").write_text(program)
    done = run(installed, temporary, str(temporary / "main.py"))
    assert (done.returncode, done.stdout.strip()) == (0, "4"), done.stderr


def test_a_directory_of_ones_own_is_private_and_an_open_one_is_not(tmp_path: Path) -> None:
    place = tmp_path / "kernels"
    place.mkdir(mode=0o700)
    assert _is_private(place.resolve())
    place.chmod(0o770)
    assert not _is_private(place.resolve())


@pytest.mark.parametrize("path", sorted((ROOT / "wsigraph").rglob("*.py")), ids=lambda path: path.name)
def test_kernels_are_decorated_by_our_own_njit(path: Path) -> None:
    if path == ROOT / "wsigraph" / "kernels.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba"), path
        assert not (isinstance(node, ast.Import) and any(each.name.split(".")[0] == "numba" for each in node.names))


def test_without_compilation_commands_run(installed: Path, temporary: Path) -> None:
    """As a developer sets it to step through a kernel: numba then returns plain functions."""
    done = run(installed, temporary, "-m", "wsigraph", "doctor", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (temporary / "tests_kernel.py").write_text(KERNEL)
    (temporary / "main.py").write_text("from tests_kernel import double; print(double(2))")
    done = run(installed, temporary, str(temporary / "main.py"), NUMBA_DISABLE_JIT="1")
    assert done.stdout == "4\n", done.stderr
