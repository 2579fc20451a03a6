"""Another user of this machine, who tries to have code run and to read what is not theirs.

``python -m tests.cli.intruder MARK PORTS PATHS`` takes the rights of ``nobody`` and prints as JSON what it got: answers
of ports, and files that it could read. MARK is a file that every command it gets carried out writes to. The libraries
are imported before the rights are dropped, because they may lie where nobody may read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import sys
import warnings
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler, Security
from distributed.core import rpc
from distributed.protocol.pickle import dumps

NOBODY = 65534
_WAIT_S = 3
_HTTP_PATHS = ("/", "/status", "/metrics", "/health", "/info/main/workers.html", "/json/identity.json")


def become_nobody() -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.environ["HOME"] = "/nonexistent"
    os.chdir("/")


async def _ask(address: str, security: Security, command: str) -> list[str]:
    """Ask a scheduler, worker or nanny who it is, and have it carry out a command."""
    got = []
    task = {"function": dumps(os.system), "args": dumps((command,)), "kwargs": dumps({}), "wait": True}
    for operation, fields in (("identity", {}), ("run_function", task), ("run", task)):
        async with rpc(address, connection_args=security.get_connection_args("client"), timeout=_WAIT_S) as there:
            try:
                await asyncio.wait_for(getattr(there, operation)(**fields), _WAIT_S)
                got.append(f"{address}: {operation}")
            except (OSError, TimeoutError):
                continue
            except Exception as error:  # noqa: BLE001  (an error that came from there is an answer)
                got.append(f"{address}: {operation}: {error!r}")
    return got


async def _connect(address: str, security: Security, command: str) -> list[str]:
    """Join as a client and submit a task."""
    try:
        async with Client(address, security=security, timeout=_WAIT_S, asynchronous=True) as client:
            await asyncio.wait_for(client.submit(os.system, command, pure=False), _WAIT_S)
            return [f"{address}: a client's task"]
    except (OSError, TimeoutError):
        return []
    except Exception as error:  # noqa: BLE001  (as above: a worker does not understand a client, but it answers)
        return [f"{address}: {error!r}"]


def _hear(port: int) -> list[str]:
    """Speak HTTP, in the clear and over TLS without a certificate, and wait for any byte."""
    got = []
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    for context in (None, anybody):
        for path in _HTTP_PATHS:
            try:
                with socket.create_connection(("127.0.0.1", port), _WAIT_S) as plain:
                    stream = plain if context is None else context.wrap_socket(plain)
                    stream.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
                    # a port of Dask greets whoever connects; a refusal of TLS is no answer
                    answer = stream.recv(4096)
            except OSError:
                continue
            if answer and answer[0] != 0x15:
                got.append(f"{port}: {'tls' if context else 'plain'} {path}: {answer[:40]!r}")
    return got


async def attack(ports: list[int], command: str, foreign: Security) -> list[str]:
    """Return what the ports gave away, also to a certificate of another maker."""
    ways = [("tcp", Security(require_encryption=False)), ("tls", foreign)]
    tries: list[Any] = []
    for port in ports:
        for scheme, security in ways:
            address = f"{scheme}://127.0.0.1:{port}"
            tries += [_ask(address, security, command), _connect(address, security, command)]
        tries.append(asyncio.to_thread(_hear, port))
    return [each for got in await asyncio.gather(*tries) for each in got]


async def rehearse(foreign: Security) -> None:
    """Attack schedulers of our own, so that all modules are imported while their files can still be read."""
    for scheme, security in (("tcp", Security(require_encryption=False)), ("tls", foreign)):
        options: Any = {"protocol": scheme, "security": security, "host": "127.0.0.1", "port": 0, "dashboard": False}
        async with Scheduler(**options) as scheduler:
            assert await _ask(scheduler.address, security, "true")
            await _connect(scheduler.address, security, "true")


def readable(paths: list[Path]) -> list[str]:
    """Return every file at or below the paths that opens."""
    found = []
    for root in paths:
        files = [root, *(Path(at) / name for at, _, names in os.walk(root) for name in names)]
        for file in files:
            try:
                with file.open("rb") as stream:
                    stream.read(1)
                found.append(str(file))
            except OSError:
                continue
    return found


def main(mark: str, ports: str, paths: str) -> None:
    """Try everything as nobody."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    foreign = Security.temporary()
    asyncio.run(rehearse(foreign))
    become_nobody()
    answers = asyncio.run(attack(json.loads(ports), f"id -u >> {mark}", foreign))
    print(json.dumps({"answers": answers, "read": readable([Path(path) for path in json.loads(paths)])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
