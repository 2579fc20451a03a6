"""The HTTP server: checks the address it listens on, and runs until it is interrupted."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from wsigraph.config import Config
from wsigraph.errors import ServiceError
from wsigraph.service.security.auth import Tokens, is_loopback_name

_BACKLOG = 512
_SHUTDOWN_S = 5


def check_exposure(host: str, tokens: Tokens, *, has_provider: bool = False) -> None:
    """Check that a service that other machines can reach requires a token.

    Parameters
    ----------
    host : str
        Address to listen on.
    tokens : Tokens
        Valid tokens.
    has_provider : bool, optional
        Whether browsers sign in through an OpenID Connect provider.

    Raises
    ------
    ServiceError
        If the address is not loopback and there is no token.
    """
    if len(tokens) or has_provider or is_loopback_name(host):
        return
    raise ServiceError(
        f"--host {host} can be reached from other machines, which requires a token: make one with 'wsigraph serve "
        "--token-file FILE --new-token NAME:ROLE' and start with --token-file FILE. Without TLS, tokens are "
        "sent in clear text: keep --host 127.0.0.1 and put a proxy that ends TLS in front, e.g. 'caddy reverse-proxy "
        "--from slides.example.org --to 127.0.0.1:8008'"
    )


def run_server(
    data: Path,
    config: Config,
    *,
    model: Path | None,
    host: str,
    port: int,
    tokens: Tokens,
    serves_associated: bool,
    report: Callable[[str], None],
    root_path: str = "",
    hosts: Collection[str] = (),
    results: Collection[Path] = (),
) -> None:
    """Run the service until it is interrupted.

    Parameters
    ----------
    data : Path
        Directory of slides.
    config : Config
        Settings.
    model : Path or None
        Model bundle.
    host : str
        Address to listen on.
    port : int
        Port; 0 for any free port.
    tokens : Tokens
        Valid tokens.
    serves_associated : bool
        Whether labels and macro images are served.
    report : callable
        Called with one line of text when the server listens.
    root_path : str, optional
        Path prefix under which a proxy shows the service.
    hosts : collection of str, optional
        Further names under which the service is reached without a token, for example that of a proxy.
    results : collection of Path, optional
        Directories of runs whose results are served.

    Raises
    ------
    ServiceError
        If the address is not available, or `data` is not a directory.
    """
    import uvicorn

    from wsigraph.service.app import create_app
    from wsigraph.service.context import open_context
    from wsigraph.service.guarded_http import guarded_protocol
    from wsigraph.service.path_prefix import check_prefix
    from wsigraph.service.run_import import import_run
    from wsigraph.service.security.client_connection import TrustedProxies
    from wsigraph.service.service_log import log_config

    prefix = check_prefix(root_path)
    proxies = TrustedProxies(config.service.trusted_proxies)
    listener = _bind(host, port)
    context = open_context(data, config, model=model, tokens=tokens, serves_associated=serves_associated)
    for directory in results:
        imported = import_run(context, directory)
        left_out = f", {len(imported.not_served)} not in {data}" if imported.not_served else ""
        report(f"{directory}: results of {len(imported.job_ids)} slides are served{left_out}")
    app = create_app(context, hosts=() if len(tokens) or context.oidc else (host, *hosts), root_path=prefix)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=guarded_protocol(config.service, proxies),
            ws="none",
            # the middleware reads the headers of trusted proxies; uvicorn would believe every process of this machine
            proxy_headers=False,
            log_level="warning",
            log_config=log_config(),
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )
    url_host = f"[{host}]" if ":" in host else host
    report(f"http://{url_host}:{listener.getsockname()[1]}/ serves {data}; stop it with Ctrl-C")
    compiling = _compile_kernels(config)
    try:
        server.run(sockets=[listener])
    finally:
        if compiling is not None:
            compiling.kill()
            compiling.wait()


def _compile_kernels(config: Config) -> subprocess.Popen[bytes] | None:
    """Compile what jobs in sandboxes on this machine only read; see `wsigraph.run.batch.compile_kernels`."""
    if not config.service.sandbox or config.cluster.kind not in ("local", "threads"):
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "wsigraph.run.batch.compile_kernels", "10"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # an interrupt at the terminal is for the service, which then ends this process
        start_new_session=True,
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServiceError(
            f"--host {host} --port {port} is not available ({error.strerror}); another program may use the port, give "
            "another --port"
        ) from None
    return listener
