"""``wsigraph doctor``: check the installation and show how to fix what does not work."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import typer

from wsigraph.cli.failure import EXIT_ERROR, Debug, ends_plainly

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


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was checked, its state, and the fix if it needs one."""

    subject: str
    state: str
    fix: str = ""
    is_fault: bool = False


@ends_plainly
def doctor(debug: Debug = False) -> None:
    """Check versions, readers, encoders, model and GPU, and show how to fix what is missing.

    The exit code is 1 if something that every prediction needs does not work.
    """
    findings = [finding for check in _CHECKS for finding in check()]
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "FAULT" if finding.is_fault else "note " if finding.fix else "ok   "
        print(f"{mark} {finding.subject:<{width}}  {finding.state}" + (f"; {finding.fix}" if finding.fix else ""))
    n_faults = sum(finding.is_fault for finding in findings)
    print(f"{n_faults} faults" if n_faults else "no fault: wsigraph predict will work")
    if n_faults:
        raise typer.Exit(EXIT_ERROR)


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
    from wsigraph import registry
    from wsigraph.errors import PluginError

    for name in registry.names(registry.READERS):
        try:
            registry.load(registry.READERS, name)
            yield Finding(f"reader {name}", "loads")
        except PluginError as error:
            is_own = name in ("tiled_tiff", "openslide", "image")
            yield Finding(f"reader {name}", str(error), _REINSTALL if is_own else "uninstall or repair it", is_own)
    groups = (
        (registry.NUCLEI, "nuclei"),
        (registry.STAIN_NORMALISERS, "stain normaliser"),
        (registry.POOLINGS, "pooling"),
        (registry.SURVIVAL_HEADS, "survival head"),
    )
    for group, kind in groups:
        for name in registry.names(group):
            try:
                registry.load(group, name)
                yield Finding(f"{kind} {name}", "loads")
            except PluginError as error:
                yield Finding(f"{kind} {name}", str(error), "uninstall or repair it")
    for name in registry.names(registry.ENCODERS):
        try:
            encoder = registry.load(registry.ENCODERS, name)()
            yield Finding(f"encoder {name}", f"loads, {encoder.dimension} features at {encoder.mpp:g} um/px")
        except PluginError as error:
            # an encoder is optional, and its message says what to install
            yield Finding(f"encoder {name}", str(error), "only needed for --encoder")


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


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_versions, _kernels, _plugins, _extras, _model, _machine)
