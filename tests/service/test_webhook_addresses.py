"""Addresses of webhooks: which are taken, and which a name may lead to."""

from __future__ import annotations

import pytest

from wsigraph.errors import NotAllowed
from wsigraph.service.jobs.webhook_sender import resolve, split_allowed


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "2130706433", "0x7f000001", "127.1", "::1", "::", "fe80::1", "fd00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_no_address_inside_is_reached(host: str) -> None:
    with pytest.raises(NotAllowed, match="not public"):
        resolve(host, 443, ())


def test_only_allowed_hosts_are_taken() -> None:
    hosts = ("ward.example", "ris.example:8443", "[2001:db8::1]:443")
    for url in (
        "https://ward.example/a?b=1",
        "https://WARD.example",
        "https://ris.example:8443/",
        "https://[2001:db8::1]/",
    ):
        assert split_allowed(url, hosts).scheme == "https"
    for url in (
        "https://ward.example.evil.org/", "https://evil.org/ward.example", "https://ward.example:8443/",
        "http://ward.example/", "https://ris.example/", "https://user@ward.example/", "https://ward.example@evil.org/",
        "https://ward.example\\@evil.org/", "file:///etc/passwd", "gopher://ward.example/", "ward.example", "", "https://",
        "https://ward.example/\r\nX: y", "https://ward.example/#a", "https://ward.example:99999/", "https://wärd.example/",
        "https://[::1", "https://ward.example./", "https://ward.example/" + "a" * 600,
    ):  # fmt: skip
        with pytest.raises(NotAllowed):
            split_allowed(url, hosts)


def test_addresses_are_tried_in_the_order_of_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["34.1.1.1", "2606:4700::1"]
    entries = [(0, 0, 0, "", (address, 443)) for address in addresses]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: entries)
    assert resolve("ward.example", 443, ()) == ("34.1.1.1", True)
    entries.append((0, 0, 0, "", ("10.0.0.1", 443)))
    with pytest.raises(NotAllowed, match="not public"):
        resolve("ward.example", 443, ())
