"""TLS certificates of a cluster, and the checks before it is started or joined.

A dask port runs any code that it receives. Therefore processes of this machine and SLURM jobs communicate over TLS with
a certificate that is made for the run, and threads use no port at all. In a local run the key is passed in memory,
through pipes. For SLURM it is stored until the end of the run in a directory that other users cannot read. An existing
scheduler is joined with certificates from the settings.

Each certificate is also its own certificate authority, so whoever holds one can act as any node: keep them private.
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
    """Check the requirements of a cluster before any work.

    Parameters
    ----------
    config : ClusterConfig
        The kind of cluster and its certificates.

    Raises
    ------
    ClusterError
        If a certificate or key cannot be read, if other users can read the key, or if SLURM is requested and its
        commands are not found.
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
    """Check that the commands of SLURM are installed.

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
    """Log a warning if the cluster is used without TLS."""
    if config.is_insecure:
        where = "SLURM jobs" if config.kind == "slurm" else config.kind
        _log.warning(
            "warning: cluster.insecure is set: %s without TLS; whoever reaches the port of the scheduler or a worker "
            "can run code as you",
            where,
        )


def given_certificates(config: ClusterConfig) -> Security | None:
    """Return the certificates of the settings; None if the settings have none."""
    if config.tls_ca_file is None or config.tls_cert_file is None:
        return None
    return _of_files(
        Path(config.tls_ca_file), Path(config.tls_cert_file), Path(config.tls_key_file or config.tls_cert_file)
    )


def make_certificate() -> Security:
    """Return a new certificate for this run, held in memory."""
    from distributed import Security

    security: Security = Security.temporary()
    return security


@contextmanager
def for_slurm(config: ClusterConfig) -> Iterator[Security | None]:
    """Yield the certificates of a SLURM run, as files that its jobs read.

    Parameters
    ----------
    config : ClusterConfig
        Certificates of the settings are used; otherwise new ones are made, readable to the user alone, and removed at
        the end of the block.

    Yields
    ------
    Security or None
        None if the settings allow a cluster without TLS.

    Raises
    ------
    ClusterError
        If ``cluster.slurm_shared_dir`` cannot be written.
    """
    if config.is_insecure or config.tls_ca_file is not None:
        yield given_certificates(config)
        return
    shared = Path(config.slurm_shared_dir or Path.cwd())
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=shared))
    except OSError as error:
        raise ClusterError(
            f"the certificates of this run cannot be written into {shared} ({error.strerror}); set "
            "cluster.slurm_shared_dir to a directory that the jobs can read"
        ) from None
    try:
        yield _written(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def planned_for_slurm(config: ClusterConfig) -> Security | None:
    """Return what `for_slurm` would yield, without making files; the name of their directory is a placeholder."""
    if config.is_insecure or config.tls_ca_file is not None:
        return given_certificates(config)
    return _in_folder(Path(config.slurm_shared_dir or Path.cwd()) / f"{_PREFIX}RUN")


def private_scratch() -> str:
    """Return a directory for scratch files of the workers that other users can neither read nor write.

    Returns
    -------
    str
        The same for every run of one user, so that the next run clears what a killed run has left.

    Notes
    -----
    The default of dask, ``dask-scratch-space``, is shared by all users. Whoever creates it first can replace the files
    that workers swap out, and reading such a file back runs code.
    """
    import dask

    parent = Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir())
    folder = parent / f"wsigraph-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        status = folder.lstat()
        if not folder.is_symlink() and status.st_uid == os.getuid() and not status.st_mode & _NOT_OWNER:
            return str(folder)
        # it belongs to another user, or others can access it
        return tempfile.mkdtemp(prefix="wsigraph-", dir=parent)
    return str(folder)


_PREFIX = ".wsigraph-tls-"
_NAMES = ("ca.pem", "cert.pem", "key.pem")


def _written(folder: Path) -> Security:
    """Make a certificate and write it into a private folder."""
    security = make_certificate()
    tls = security.get_tls_config_for_role("worker")
    for name, content in zip(_NAMES, (tls["ca_file"], tls["cert"], tls["key"]), strict=True):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(content)
    return _in_folder(folder)


def _in_folder(folder: Path) -> Security:
    return _of_files(*(folder / name for name in _NAMES))


def _of_files(ca: Path, cert: Path, key: Path) -> Security:
    """Return the certificates of all roles; paths are absolute, because workers may start in another directory."""
    from wsigraph.run.cluster_nodes import JobSecurity

    roles = ("client", "scheduler", "worker")
    own = {
        f"tls_{role}_{what}": str(path.absolute()) for role in roles for what, path in (("cert", cert), ("key", key))
    }
    return JobSecurity(require_encryption=True, tls_ca_file=str(ca.absolute()), **own)  # type: ignore[no-untyped-call]
