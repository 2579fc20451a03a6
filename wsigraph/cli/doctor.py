"""``wsigraph doctor``: check the installation and show how to fix what does not work."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import typer

from wsigraph.cli.failure import EXIT_ERROR, Debug, ends_plainly
from wsigraph.cli.options import AsJson

_LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "scikit-image",
    "zarr",
    "dask",
    "distributed",
    "cryptography",
    "tifffile",
    "imagecodecs",
    "openslide-python",
    "openslide-bin",
    "torch",
    "torch-geometric",
    "captum",
    "lifelines",
    "pandas",
    "matplotlib",
    "scikit-learn",
    "safetensors",
    "pyarrow",
    "pydantic",
    "typer",
    "rich",
)
_EXTRAS = {
    "service": ("fastapi", "httpx", "prometheus-client", "sqlalchemy", "uvicorn"),
    "postgres": ("psycopg",),
    "diffusion": ("diffusers",),
    "slurm": ("dask-jobqueue",),
    "exchange": ("anndata", "h5py", "networkx"),
    "dashboard": ("bokeh",),
}
_OWN_CACHE = "set NUMBA_CACHE_DIR to a directory that only you can write"
_REINSTALL = "install again: pip install -c constraints.txt ."
_FREE_BYTES = 2e9
"""With less space free, a note is printed."""
_WIDTH, _N_INTERVALS = 8, 4
"""Channels of a node and intervals of time with which poolings and survival heads are called."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was checked, its state, and the fix if it needs one."""

    subject: str
    state: str
    fix: str = ""
    is_fault: bool = False

    @property
    def status(self) -> str:
        """``fault``, ``note`` where something is missing that not every prediction needs, or ``ok``."""
        return "fault" if self.is_fault else "note" if self.fix else "ok"


@ends_plainly
def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Check versions, plugins, model, GPU, disk space and optional tools, and show how to fix what is missing.

    The exit code is 1 if something that every prediction needs does not work.
    """
    findings = [finding for check in _CHECKS for finding in check()]
    n_faults = sum(finding.is_fault for finding in findings)
    if as_json:
        rows = [
            {"subject": finding.subject, "status": finding.status, "state": finding.state, "fix": finding.fix}
            for finding in findings
        ]
        print(json.dumps({"faults": n_faults, "findings": rows}))
    else:
        _print_findings(findings, n_faults)
    if n_faults:
        raise typer.Exit(EXIT_ERROR)


def _print_findings(findings: list[Finding], n_faults: int) -> None:
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "FAULT" if finding.is_fault else f"{finding.status:<5}"
        print(f"{mark} {finding.subject:<{width}}  {finding.state}" + (f"; {finding.fix}" if finding.fix else ""))
    print(f"{n_faults} faults" if n_faults else "no fault: wsigraph predict will work")


def _versions() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from wsigraph import __version__

    yield Finding("wsigraph", __version__)
    python = platform.python_version()
    is_known = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield Finding("python", python, "" if is_known else "install Python 3.11 to 3.14", is_fault=not is_known)
    for name in _LIBRARIES:
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, "absent", _REINSTALL, is_fault=True)


def _plugins() -> Iterator[Finding]:
    """Yield whether each plugin loads and can be called as wsigraph calls it."""
    from wsigraph import registry

    optional = "only needed if you ask for it"
    for name in registry.names(registry.READERS):
        is_needed = name in ("tiled_tiff", "openslide", "image")
        finding = _plugin(f"reader {name}", registry.READERS, name, _refuse_absent, optional)
        yield replace(finding, fix=_REINSTALL, is_fault=True) if is_needed and finding.fix else finding
    groups: tuple[tuple[str, str, tuple[int, ...]], ...] = (
        (registry.NUCLEI, "nuclei", ()),
        (registry.STAIN_NORMALISERS, "stain normaliser", ()),
        (registry.POOLINGS, "pooling", (_WIDTH,)),
        (registry.SURVIVAL_HEADS, "survival head", (_WIDTH, _N_INTERVALS)),
    )
    for group, kind, arguments in groups:
        for name in registry.names(group):
            yield _plugin(f"{kind} {name}", group, name, partial(_call, arguments), optional)
    for name in registry.names(registry.ENCODERS):
        yield _plugin(f"encoder {name}", registry.ENCODERS, name, _call_encoder, "only needed for --encoder")


def _plugin(subject: str, group: str, name: str, call: Callable[[Any], str], optional: str) -> Finding:
    """Return whether a plugin loads, and the answer of `call`; `optional` is the advice if it cannot be called."""
    from wsigraph import registry
    from wsigraph.errors import PluginError

    try:
        plugin = registry.load(group, name)
    except PluginError as error:
        return Finding(subject, str(error), "uninstall or repair it")
    try:
        return Finding(subject, call(plugin))
    except PluginError as error:
        # its message says what to install
        is_absent = isinstance(error.__cause__ or error.__context__, ModuleNotFoundError)
        return Finding(subject, f"{'not installed' if is_absent else 'cannot be called'}: {error}", optional)
    except Exception as error:  # noqa: BLE001 - whatever the code of others raises
        text = f"cannot be called: {type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(subject, text, f"uninstall or repair it, {optional}")


def _call(arguments: tuple[int, ...], plugin: Any) -> str:
    plugin(*arguments)
    return "can be called"


def _call_encoder(plugin: Any) -> str:
    encoder = plugin()
    return f"loads, {encoder.dimension} features at {encoder.mpp:g} um/px"


def _refuse_absent(reader: Any) -> str:
    """Call a reader with a file that does not exist, which it refuses unless something that it needs is missing."""
    from wsigraph.errors import PluginError

    try:
        reader(Path(f"absent-{secrets.token_hex(8)}"))
    except (PluginError, ImportError):
        raise
    except Exception:  # noqa: BLE001 - readers of others refuse it with errors of their own
        return "can be called"
    return "can be called"


def _extras() -> Iterator[Finding]:
    """Yield which optional dependencies are installed; no prediction needs them."""
    from importlib.metadata import PackageNotFoundError, version

    for extra, packages in _EXTRAS.items():
        absent = []
        for name in packages:
            try:
                version(name)
            except PackageNotFoundError:
                absent.append(name)
        state = f"lacks {', '.join(absent)}" if absent else "installed"
        yield Finding(f"extra {extra}", state, f"pip install 'wsigraph[{extra}]' if you want it" if absent else "")


def _model() -> Iterator[Finding]:
    from wsigraph.errors import ModelError
    from wsigraph.graph.coarsening.embed import load_embedding
    from wsigraph.model.bundle import SHIPPED, load_bundle

    try:
        bundle = load_bundle(SHIPPED)
        yield Finding("model", f"{bundle.card.name} ({bundle.model_id}): {bundle.card.notice}")
    except ModelError as error:
        yield Finding("model", str(error), _REINSTALL, is_fault=True)
    try:
        yield Finding("coarsening", f"embedding {load_embedding().embedding_id}")
    except ModelError as error:
        yield Finding("coarsening", str(error), _REINSTALL, is_fault=True)


def _machine() -> Iterator[Finding]:
    import torch

    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", f"{n_cores} allowed to this process")
    if torch.cuda.is_available():
        yield Finding("gpu", torch.cuda.get_device_name())
        return
    is_cpu_build = torch.version.cuda is None
    state = "none: this torch is a CPU build" if is_cpu_build else "none found"
    fix = "install a CUDA build of torch" if is_cpu_build else "check the driver with nvidia-smi"
    yield Finding("gpu", f"{state}; nothing in wsigraph predict needs one", f"if there is one, {fix}")


def _disk() -> Iterator[Finding]:
    places: tuple[tuple[str, Callable[[], Path | str], str], ...] = (
        ("temporary directory", tempfile.gettempdir, "free some space, or set TMPDIR to another directory"),
        ("current directory", Path.cwd, "free some space, or write elsewhere with --out"),
    )
    for subject, place, fix in places:
        try:
            path = place()
            free_bytes = shutil.disk_usage(path).free
        except OSError as error:
            yield Finding(subject, f"cannot be used ({error.strerror or error})", fix)
            continue
        is_writable = os.access(path, os.W_OK | os.X_OK)
        state = f"{free_bytes / 1e9:.1f} GB free in {path}" + ("" if is_writable else ", which you cannot write")
        yield Finding(subject, state, "" if is_writable and free_bytes >= _FREE_BYTES else fix)


def _tools() -> Iterator[Finding]:
    from wsigraph.service.openseadragon import VERSION, is_installed

    sbatch = shutil.which("sbatch")
    if sbatch:
        yield Finding("sbatch", sbatch)
    else:
        yield Finding(
            "sbatch", "not in PATH; only --cluster slurm needs it", "if this is a SLURM cluster, load its module"
        )
    if is_installed():
        yield Finding("OpenSeadragon", VERSION)
    else:
        yield Finding("OpenSeadragon", "not installed: the viewer shows thumbnails", "install it with: wsigraph viewer")


def _kernels() -> Iterator[Finding]:
    from wsigraph.kernels import cache_place, is_temporary

    place, name = cache_place(), "compiled kernels"
    if place is None:
        state = (
            "not cached, so every process compiles them again: none of NUMBA_CACHE_DIR, the package, the user's "
            "cache and the temporary directory is both writable and safe from other users"
        )
        yield Finding(name, state, _OWN_CACHE)
    elif is_temporary(place):
        yield Finding(name, f"cached in {place.parent} as long as temporary files are kept", _OWN_CACHE)
    elif place.name == "__pycache__":
        yield Finding(name, f"cached beside the sources, in {place.parent}")
    else:
        yield Finding(name, f"cached in {place.parent}")


def _sandbox() -> Iterator[Finding]:
    from wsigraph.run.sandbox.sandbox import support

    state = support()
    fix = "" if not state.missing else "run wsigraph serve on Linux 6.12 or later, or only with slides that you trust"
    yield Finding("sandbox", state.describe(), fix)


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _versions,
    _kernels,
    _plugins,
    _extras,
    _tools,
    _model,
    _machine,
    _sandbox,
    _disk,
)
