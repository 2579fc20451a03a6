"""The service on a socket: where it may listen, and its end."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path

from wsigraph.config import Config
from wsigraph.errors import ServiceError
from wsigraph.service.security.auth import Tokens

_BACKLOG = 512


def check_exposure(host: str, tokens: Tokens) -> None:
    """Check that a service that others can reach demands a token.

    Parameters
    ----------
    host : str
        Where it is to listen.
    tokens : Tokens
        Who may ask.

    Raises
    ------
    ServiceError
        If it lies beyond loopback and there is no token.
    """
    if len(tokens) or is_loopback(host):
        return
    raise ServiceError(
        f"--host {host} can be reached from other machines, which takes a token: make one with 'wsigraph serve "
        "--token-file FILE --new-token NAME:ROLE' and start with --token-file FILE. Tokens travel in the clear without "
        "TLS: keep --host 127.0.0.1 and put a proxy that ends TLS in front, e.g. 'caddy reverse-proxy --from "
        "slides.example.org --to 127.0.0.1:8008'"
    )


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(
    data: Path,
    config: Config,
    *,
    model: Path | None,
    host: str,
    port: int,
    tokens: Tokens,
    serves_associated: bool,
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted.

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
        Port; 0 takes one that is free.
    tokens : Tokens
        Who may ask.
    serves_associated : bool
        Whether labels and macro images are served.
    say : callable
        Told the address once it listens.

    Raises
    ------
    ServiceError
        If the address cannot be had, or `data` is no directory.
    """
    import uvicorn

    from wsigraph.service.app import create_app
    from wsigraph.service.context import open_house

    opened = _bind(host, port)
    house = open_house(data, config, model=model, tokens=tokens, serves_associated=serves_associated)
    app = create_app(house, hosts=() if len(tokens) else (host,))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5)
    )
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{opened.getsockname()[1]}/ serves {data}; end it with Ctrl-C")
    server.run(sockets=[opened])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise ServiceError(
            f"--host {host} --port {port} cannot be had ({error.strerror}); another program may listen there, give "
            "another --port"
        ) from None
    return opened
