"""Who may have code run: certificates of a cluster, and the checks before it is started or joined.

A port of dask carries out whatever it is sent. So processes of this machine and the jobs of SLURM talk over TLS with a
certificate made for the run, which only they hold, and threads without any port. Of a local run the key is passed in
memory, through pipes; for SLURM it lies in a directory closed to other users, until the run ends. A scheduler that is
somebody else's is joined with certificates that are given.

Each certificate is also its own authority, so whoever holds one may act for all: none of them is for others' eyes.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.config.runtime import ClusterConfig
from wsigraph.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Security

_log = logging.getLogger("wsigraph.run.cluster")
_OTHERS, _NOT_OWNER = 0o007, 0o077


def check_cluster(config: ClusterConfig) -> None:
    """Check what a cluster needs before anything else is done.

    Parameters
    ----------
    config : ClusterConfig
        What to work on.

    Raises
    ------
    ClusterError
        If a certificate or key does not read, or others may read the key; or if SLURM is asked for where its commands
        are not found.
    """
    for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
        path = getattr(config, name)
        if path is None:
            continue
        try:
            with Path(path).open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
        except OSError as error:
            raise ClusterError(f"cluster.{name} {path} does not read ({error.strerror}); check the path") from None
        holds_key = name == "tls_key_file" or (name == "tls_cert_file" and config.tls_key_file is None)
        if holds_key and mode & _OTHERS:
            raise ClusterError(f"cluster.{name} {path} holds a key and is open to other users; run: chmod 600 {path}")
    if config.kind == "slurm":
        check_slurm()


def check_slurm() -> None:
    """Check that SLURM's commands are there.

    Raises
    ------
    ClusterError
        If jobs cannot be submitted or cancelled from here.
    """
    missing = [name for name in ("sbatch", "scancel") if shutil.which(name) is None]
    if missing:
        raise ClusterError(
            f"--cluster slurm needs {' and '.join(missing)}, not found on PATH; run it where jobs are submitted (a "
            "login node of the cluster, perhaps after 'module load slurm'), or give --cluster local"
        )


def warn_if_insecure(config: ClusterConfig) -> None:
    """Tell the user each time that a cluster without TLS is used."""
    if config.is_insecure:
        where = "SLURM jobs" if config.kind == "slurm" else config.kind
        _log.warning(
            "warning: cluster.insecure is set: %s without TLS; whoever reaches the scheduler's or a worker's port runs "
            "code as you",
            where,
        )


def given(config: ClusterConfig) -> Security | None:
    """Return the certificates of the settings; None where they name none."""
    if config.tls_ca_file is None or config.tls_cert_file is None:
        return None
    return _of_files(
        Path(config.tls_ca_file), Path(config.tls_cert_file), Path(config.tls_key_file or config.tls_cert_file)
    )


def made() -> Security:
    """Return a certificate made for this run, in memory."""
    from distributed import Security

    security: Security = Security.temporary()
    return security


@contextmanager
def for_slurm(config: ClusterConfig) -> Iterator[Security | None]:
    """Yield the certificates of a run on SLURM as files that its jobs read.

    Parameters
    ----------
    config : ClusterConfig
        Certificates that are given win; else some are made, for the user alone, and removed at the end of the block.

    Yields
    ------
    Security or None
        None where the settings do without.

    Raises
    ------
    ClusterError
        If ``cluster.slurm_shared_dir`` cannot be written.
    """
    if config.is_insecure or config.tls_ca_file is not None:
        yield given(config)
        return
    shared = Path(config.slurm_shared_dir or Path.cwd())
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=shared))
    except OSError as error:
        raise ClusterError(
            f"the certificates of this run cannot be written into {shared} ({error.strerror}); set "
            "cluster.slurm_shared_dir to a directory that the jobs see"
        ) from None
    try:
        yield _written(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def planned_for_slurm(config: ClusterConfig) -> Security | None:
    """Return what `for_slurm` would yield, making nothing; the directory's name is only known later."""
    if config.is_insecure or config.tls_ca_file is not None:
        return given(config)
    return _in_folder(Path(config.slurm_shared_dir or Path.cwd()) / f"{_PREFIX}RUN")


def private_scratch() -> str:
    """Return a directory for the workers' scratch files that other users can neither read nor write.

    Returns
    -------
    str
        Always the same for one user, so that what a killed run leaves is cleared by the next.

    Notes
    -----
    Dask's own, ``dask-scratch-space``, is common to all users: who makes it first may put other files in the place of
    those that workers swap out, and what is swapped in again is run.
    """
    import dask

    parent = Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir())
    folder = parent / f"wsigraph-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        found = folder.lstat()
        if not folder.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & _NOT_OWNER:
            return str(folder)
        # somebody else's, or open to others
        return tempfile.mkdtemp(prefix="wsigraph-", dir=parent)
    return str(folder)


_PREFIX = ".wsigraph-tls-"
_NAMES = ("ca.pem", "cert.pem", "key.pem")


def _written(folder: Path) -> Security:
    """Make a certificate and write it into a folder of the user's own."""
    security = made()
    tls = security.get_tls_config_for_role("worker")
    for name, content in zip(_NAMES, (tls["ca_file"], tls["cert"], tls["key"]), strict=True):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(content)
    return _in_folder(folder)


def _in_folder(folder: Path) -> Security:
    return _of_files(*(folder / name for name in _NAMES))


def _of_files(ca: Path, cert: Path, key: Path) -> Security:
    """Return files as the certificates of every role, as absolute paths because workers may start elsewhere."""
    from distributed import Security

    roles = ("client", "scheduler", "worker")
    own = {
        f"tls_{role}_{what}": str(path.absolute()) for role in roles for what, path in (("cert", cert), ("key", key))
    }
    return Security(require_encryption=True, tls_ca_file=str(ca.absolute()), **own)
