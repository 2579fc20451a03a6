"""The client of a request: its network address behind proxies, and the moment it leaves."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from wsigraph.errors import ConfigError
from wsigraph.service.request_context import RequestContext

_MAX_HOPS = 16


class TrustedProxies:
    """Proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed. No other client's are read.

    Parameters
    ----------
    networks : iterable of str
        Addresses or networks, for example ``10.0.0.0/8``.

    Raises
    ------
    ConfigError
        If one is neither.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        try:
            self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]
        except ValueError as error:
            raise ConfigError(f"service.trusted_proxies: {error}; give addresses or networks") from None

    def __contains__(self, address: object) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client_address(self, scope: Scope, headers: Headers) -> str:
        """Return the address of the client: the last one in ``X-Forwarded-For`` that is no trusted proxy.

        A client can put any address before that one, so those are not believed.
        """
        address = str((scope.get("client") or ("", 0))[0])
        if address not in self:
            return address
        hops = [hop.strip() for value in headers.getlist("x-forwarded-for") for hop in value.split(",")]
        for hop in reversed(hops[-_MAX_HOPS:]):
            if not _is_address(hop):
                break
            address = hop
            if hop not in self:
                break
        return address

    def scheme(self, scope: Scope, headers: Headers) -> str:
        """Return ``https`` if the client came over TLS, to this service or to a trusted proxy."""
        address = str((scope.get("client") or ("", 0))[0])
        forwarded = headers.get("x-forwarded-proto", "") if address in self else ""
        return forwarded if forwarded in ("http", "https") else str(scope["scheme"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class ClientWatch:
    """Reads the messages of a client, and notes in the request when it leaves.

    The messages of the body are passed on. After the last one, a task waits for the end of the connection.

    Parameters
    ----------
    receive : ASGI receive
        Messages of the client.
    request : RequestContext
        The request.
    """

    def __init__(self, receive: Receive, request: RequestContext) -> None:
        self._receive = receive
        self._request = request
        self._first: Message | None = None
        self._is_whole = False
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Read the first message of a request without body, so that the watch begins at once."""
        self._first = await self._next()

    async def receive(self) -> Message:
        """Return the next message."""
        if self._first is not None:
            message, self._first = self._first, None
            return message
        if self._is_whole:
            await self._left.wait()
            return {"type": "http.disconnect"}
        return await self._next()

    async def wait_until_left(self) -> None:
        """Wait until the client has left. Only for a request whose body was read."""
        await self._left.wait()

    def end(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._note()
        elif not message.get("more_body", False):
            self._is_whole = True
            self._task = asyncio.create_task(self._watch())
        return message

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._note()

    def _note(self) -> None:
        self._is_whole = True
        self._left.set()
        self._request.leave()
