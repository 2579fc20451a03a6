"""The viewer's one foreign part, OpenSeadragon: fetched once, checked against a pinned digest, kept beside its licence.

It is not in the repository. `wsigraph viewer` or the build of a wheel takes the package from the registry that npm is
set up for, or from a file; what the package holds is believed only if the whole of it has the pinned digest. Without
it the viewer shows a slide's thumbnail in place of the slide.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from wsigraph.errors import PluginError

NAME, VERSION = "openseadragon", "6.1.1"
SHA512 = "g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw=="
"""Integrity of the package as npm states it, base64."""
VENDOR = Path(__file__).parent / "viewer" / "vendor"
"""Where it lies."""
FILES = {
    "openseadragon.min.js": "package/build/openseadragon/openseadragon.min.js",
    "openseadragon.LICENSE.txt": "package/LICENSE.txt",
}
"""What is kept of the package, and where it lies inside."""
_MARK = "openseadragon.version"
_NPM_S = 90.0


def is_installed(folder: Path = VENDOR) -> bool:
    """Return whether the pinned version is in place."""
    mark = folder / _MARK
    if not all((folder / name).is_file() for name in FILES) or not mark.is_file():
        return False
    return mark.read_text(encoding="utf-8").strip() == VERSION


def install(package: Path | None = None, folder: Path = VENDOR) -> list[Path]:
    """Put OpenSeadragon in place.

    Parameters
    ----------
    package : Path, optional
        The package as a file (``openseadragon-6.1.1.tgz``); fetched with npm where left out.
    folder : Path, optional
        Where to.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    PluginError
        If it cannot be had, or is not the one that is pinned.
    """
    if package is not None:
        try:
            content = package.read_bytes()
        except OSError as error:
            raise PluginError(f"{package} cannot be read ({error.strerror}); expected {NAME}-{VERSION}.tgz") from None
        return unpack(content, folder)
    return unpack(fetch(), folder)


def fetch() -> bytes:
    """Return the package from the registry that npm is set up for.

    Returns
    -------
    bytes
        Not checked yet.

    Raises
    ------
    PluginError
        If there is no npm or it does not get the package.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise PluginError(
            f"npm is not installed, and without it {NAME} {VERSION} has to be given as a file: "
            f"wsigraph viewer {NAME}-{VERSION}.tgz"
        )
    with tempfile.TemporaryDirectory() as work:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--silent", "--ignore-scripts", "--fetch-retries=1"]
        try:
            done = subprocess.run(command, cwd=work, capture_output=True, timeout=_NPM_S, check=False)  # noqa: S603 - all words are ours
        except (OSError, subprocess.TimeoutExpired):
            raise PluginError(f"npm did not fetch {NAME} {VERSION} in time; give the package as a file") from None
        found = list(Path(work).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            raise PluginError(
                f"npm did not fetch {NAME} {VERSION} (exit {done.returncode}); check its registry, or give the package "
                f"as a file: wsigraph viewer {NAME}-{VERSION}.tgz"
            )
        return found[0].read_bytes()


def unpack(package: bytes, folder: Path = VENDOR) -> list[Path]:
    """Check a package and keep what the viewer needs of it.

    Parameters
    ----------
    package : bytes
        A gzipped tar archive.
    folder : Path, optional
        Where to; made where missing.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    PluginError
        If it is not the one that is pinned, or cannot be written.
    """
    met = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if met != SHA512:
        raise PluginError(
            f"the package has the digest sha512-{met[:16]}..., expected sha512-{SHA512[:16]}... of {NAME} {VERSION}; "
            "it is another version or was altered"
        )
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
            for name, inside in FILES.items():
                member = archive.extractfile(inside)
                if member is None:
                    raise PluginError(f"the package holds no {inside}")
                (folder / name).write_bytes(member.read())
                written.append(folder / name)
        # last, so that half of it never counts
        (folder / _MARK).write_text(f"{VERSION}\n", encoding="utf-8")
    except OSError as error:
        raise PluginError(f"{folder} cannot be written ({error.strerror}); run this as whoever installed it") from None
    return written
