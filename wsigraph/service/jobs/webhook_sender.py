"""Sends webhooks: signed, only to allowed hosts, and again with growing pauses until the receiver takes them.

The host of an address must be in the settings. Its name is resolved for each attempt, every address that it has must be
public or in an allowed network, and the connection goes to the address that was checked, so that a name which changes
its address in between leads nowhere else. Redirects are not followed, and what the receiver answers is not read.

References
----------
Standard Webhooks 1.0 (headers ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``), standardwebhooks.com.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx

from wsigraph.config import ServiceConfig
from wsigraph.errors import ConfigError, NotAllowed, StoreError, Unavailable, WsigraphError
from wsigraph.service.jobs.webhook_store import DELIVERED, FAILED, PENDING, DueWebhook, WebhookStore

_TIME_S, _CLAIM_S, _POLL_S, _CLEAN_S, _END_S = 10.0, 60.0, 1.0, 600.0, 2.0
_TOTAL_S = 20.0
"""Longest time for one attempt, s: `_TIME_S` begins again with every byte that a slow receiver sends."""
_FIRST_WAIT_S, _LAST_WAIT_S = 5.0, 3600.0
_MIN_SECRET_BYTES, _MAX_URL = 24, 500
_PORTS = {"http": 80, "https": 443}
_THREADS = 8
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_log = logging.getLogger("wsigraph.service")


class WebhookSender:
    """Sends the webhooks of ended jobs in a thread.

    Parameters
    ----------
    store : WebhookStore
        The webhooks.
    config : ServiceConfig
        Allowed hosts and networks, the secret, and the number of attempts.
    first_wait_s : float, optional
        Pause after the first attempt, s. Each further one is twice as long, up to an hour.

    Raises
    ------
    ConfigError
        If hosts are allowed and there is no usable secret, or a network is not one.
    """

    def __init__(self, store: WebhookStore, config: ServiceConfig, first_wait_s: float = _FIRST_WAIT_S) -> None:
        self._store, self._config, self._first_wait_s = store, config, first_wait_s
        self._networks = _read_networks(config.webhook_networks)
        self._secret = _read_secret(config.webhook_secret_file) if config.webhook_hosts else b""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wsigraph-webhooks", daemon=True)
        self._threads = ThreadPoolExecutor(_THREADS, "wsigraph-webhook")

    def check(self, url: str) -> None:
        """Check the address of a webhook before it is stored.

        Raises
        ------
        NotAllowed
            If the settings do not allow it.
        """
        split_allowed(url, self._config.webhook_hosts)

    def add(self, job_id: str, url: str) -> None:
        """Tell an address when a job ends.

        Raises
        ------
        StoreError
            If the database does not answer.
        """
        self._store.add(job_id, url)

    def start(self) -> None:
        """Start to send, also what an earlier run of the service has left."""
        if self._config.webhook_hosts:
            self._thread.start()

    def close(self) -> None:
        """Stop. Webhooks that were not delivered stay in the database."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        clean_at, busy = 0.0, set[Future[None]]()
        while not self._stopping.wait(_POLL_S):
            try:
                if time.monotonic() > clean_at:
                    self._store.remove_orphans()
                    clean_at = time.monotonic() + _CLEAN_S
                # a slow receiver keeps one thread, and the others go on
                busy = {attempt for attempt in busy if not attempt.done()}
                if len(busy) < _THREADS:
                    due = self._store.claim(_CLAIM_S, at_most=_THREADS - len(busy))
                    busy |= {self._threads.submit(self._try, webhook) for webhook in due}
            except StoreError as error:
                _log.warning("webhooks wait: %s", error)
            except Exception:  # noqa: BLE001  (the thread must go on, and the webhooks are in the database)
                _log.exception("webhooks are not sent at the moment")

    def _try(self, webhook: DueWebhook) -> None:
        """Try to deliver a webhook; what goes wrong with the database is logged, and the webhook stays in it."""
        try:
            self.deliver(webhook)
        except StoreError as error:
            _log.warning("webhooks wait: %s", error)
        except Exception:  # noqa: BLE001  (nobody waits for this thread, and the webhook is in the database)
            _log.exception("webhook %s was not sent", webhook.webhook_id)

    def deliver(self, webhook: DueWebhook) -> None:
        """Try to deliver a webhook once, and store how that ended.

        Raises
        ------
        StoreError
            If the database does not answer. The webhook is then sent again, with the same identifier.
        """
        try:
            self._send(webhook)
        except (WsigraphError, ValueError) as error:
            # a name that cannot be encoded is a ValueError
            is_last = webhook.attempts + 1 >= self._config.webhook_tries
            wait_s = min(self._first_wait_s * 2.0**webhook.attempts, _LAST_WAIT_S)
            again = "given up" if is_last else f"tried again in {wait_s:g} s"
            _log.warning("webhook %s of job %s: %s; %s", webhook.webhook_id, webhook.job.job_id, error, again)
            self._store.record(webhook.webhook_id, FAILED if is_last else PENDING, wait_s)
        else:
            self._store.record(webhook.webhook_id, DELIVERED)

    def _send(self, webhook: DueWebhook) -> None:
        # the settings may have changed since it was stored
        parts = split_allowed(webhook.url, self._config.webhook_hosts)
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        address, is_public = resolve(host, port, self._networks)
        if is_public and parts.scheme != "https":
            raise NotAllowed(f"the webhook of host {host!r} has a public address, expected https")
        body = serialize_event(webhook)
        headers = {"Content-Type": "application/json", "Host": parts.netloc, "User-Agent": "wsigraph"}
        headers |= sign(self._secret, webhook.webhook_id, int(time.time()), body)
        literal = f"[{address}]" if ":" in address else address
        url = f"{parts.scheme}://{literal}:{port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        try:
            status = asyncio.run(asyncio.wait_for(_post(url, body, headers, host), _TOTAL_S))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Unavailable(f"host {host!r} does not answer ({type(error).__name__})") from None
        if not 200 <= status < 300:
            raise Unavailable(f"host {host!r} answers {status}, expected 200 to 299")


async def _post(url: str, body: bytes, headers: dict[str, str], host: str) -> int:
    """Send a body and return the status of the answer, which is not read."""
    async with (
        httpx.AsyncClient(timeout=_TIME_S, trust_env=False, follow_redirects=False) as client,
        client.stream("POST", url, content=body, headers=headers, extensions={"sni_hostname": host}) as response,
    ):
        return response.status_code


def split_allowed(url: str, hosts: Sequence[str]) -> SplitResult:
    """Return the parts of the address of a webhook.

    Parameters
    ----------
    url : str
        Address.
    hosts : sequence of str
        Allowed hosts, NAME or NAME:PORT. A name alone allows the port of https.

    Returns
    -------
    SplitResult
        Scheme, host, port, path and query.

    Raises
    ------
    NotAllowed
        If it is not an address, or its host is not among `hosts`.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, host, port = SplitResult("", "", "", "", ""), "", 0
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= _MAX_URL
    if not is_plain or not host or not port or parts.fragment or "@" in parts.netloc:
        raise NotAllowed("the webhook is not an address of the form https://HOST/PATH, without user and fragment")
    name = f"[{host}]" if ":" in host else host
    allowed = {entry.lower() for entry in hosts}
    if f"{name}:{port}" not in allowed and not (name in allowed and port == _PORTS["https"]):
        raise NotAllowed(f"webhooks to {name}:{port} are not allowed; the operator can add it to service.webhook_hosts")
    return parts


def resolve(host: str, port: int, networks: Sequence[_Network]) -> tuple[str, bool]:
    """Return the address of a host to connect to.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        Port.
    networks : sequence of network
        Networks that are allowed although they are not public.

    Returns
    -------
    tuple of str, bool
        An address, and whether it is public.

    Raises
    ------
    NotAllowed
        If any address of the host is neither public nor in an allowed network.
    Unavailable
        If the name is not known.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"the name {host!r} is not known ({error})") from None
    # in the order of RFC 6724, in which addresses that this machine cannot reach come last
    resolved = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    are_public = []
    for text in resolved:
        address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
        is_allowed = any(address in network for network in networks if network.version == address.version)
        is_public = address.is_global and not address.is_multicast
        if not is_public and not is_allowed:
            raise NotAllowed(
                f"host {host!r} has the address {address}, which is not public; the operator can add its network to "
                "service.webhook_networks"
            )
        are_public.append(is_public and not is_allowed)
    return resolved[0], are_public[0]


def _unwrapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address inside an IPv6 one, which leads to the same place."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return inner
        if address in ipaddress.IPv6Network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def serialize_event(webhook: DueWebhook) -> bytes:
    """Return the body of a webhook: what ended and how. Details are for those who may read the job."""
    job = webhook.job
    data = {
        "job_id": job.job_id,
        "slide_id": job.slide_id,
        "kind": job.kind,
        "target": job.target or None,
        "state": job.state,
        "error": job.error or None,
        "ended_at": job.ended_at,
    }
    return json.dumps({"type": f"job.{job.state}", "timestamp": job.ended_at, "data": data}).encode()


def sign(secret: bytes, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that show who sent a body, and when.

    Parameters
    ----------
    secret : bytes
        Secret that the receiver has too.
    webhook_id : str
        Identifier of the event.
    timestamp : int
        Time, s since 1970. A receiver refuses old ones.
    body : bytes
        Body.

    Returns
    -------
    dict
        ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``: HMAC-SHA256 of "id.timestamp.body" in base64.
    """
    signed = hmac.digest(secret, f"{webhook_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def _read_networks(texts: Sequence[str]) -> tuple[_Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"service.webhook_networks: {error}, expected networks such as 10.1.0.0/16") from None


def _read_secret(path: str | None) -> bytes:
    if path is None:
        raise ConfigError("service.webhook_hosts needs service.webhook_secret_file, so that receivers can check events")
    try:
        if Path(path).stat().st_mode & 0o077:
            raise ConfigError(f"service.webhook_secret_file {path} can be read by other users; run: chmod 600 {path}")
        text = Path(path).read_text(encoding="utf-8").strip()
        # libraries of Standard Webhooks decode the secret, with the prefix and without
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except OSError as error:
        raise ConfigError(f"service.webhook_secret_file {path} cannot be read ({error})") from None
    except ValueError:
        raise ConfigError(
            f"service.webhook_secret_file {path} is not base64, expected what this prints: openssl rand -base64 32"
        ) from None
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigError(
            f"service.webhook_secret_file {path} has {len(secret)} bytes, expected at least {_MIN_SECRET_BYTES}; "
            "make it with: openssl rand -base64 32"
        )
    return secret
