"""A service on a socket, for tests that come to it as a browser does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from wsigraph.service.app import create_app
from wsigraph.service.context import ServiceContext
from wsigraph.service.guarded_http import guarded_protocol
from wsigraph.service.security.client_connection import TrustedProxies


@contextmanager
def serving(service: ServiceContext, *, port: int = 0, **options: Any) -> Iterator[str]:
    """Serve on a socket; gives the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        port = listening.getsockname()[1]
        limits = service.config.service
        protocol = guarded_protocol(limits, TrustedProxies(limits.trusted_proxies))
        app = create_app(service, **options)
        config = uvicorn.Config(app, http=protocol, ws="none", proxy_headers=False, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(30)
