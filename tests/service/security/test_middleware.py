"""Who gets in: tokens and roles, hosts and foreign pages, rates and sizes, and what browsers are told."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.cli.command import command
from tests.service.contexts import TOKENS, bearer, make_context, tokens
from wsigraph.config import load
from wsigraph.errors import ServiceError, TooMany
from wsigraph.service.app import create_app
from wsigraph.service.security.auth import ADMIN, Principal, Tokens, new_token, read_tokens
from wsigraph.service.security.rate_limit import RateLimiter
from wsigraph.service.server import check_exposure

JOB = {"slide_id": "CMU-1-Small-Region"}


@pytest.fixture(scope="module")
def guarded(data: Path) -> Iterator[TestClient]:
    """A client of a service with tokens."""
    with TestClient(
        create_app(make_context(data, tokens=tokens()), hosts=()), base_url="http://slides.example"
    ) as client:
        yield client


def test_without_a_token_nothing_of_a_patient_is_told(guarded: TestClient) -> None:
    open_ones = {"/v1/health", "/v1/ready", "/v1/openapi.json", "/", "/v1/session/methods"}
    paths = guarded.get("/v1/openapi.json").json()["paths"]
    assert len(paths) > 15
    filled = {"slide_id": "x", "job_id": "0" * 20, "upload_id": "0" * 20, "name": "prediction.json"}
    for path, methods in paths.items():
        address = re.sub(r"\{(\w+)\}", lambda found: filled.get(found[1], "1"), path)
        for method in methods:
            response = guarded.request(method, address)
            if path in open_ones:
                assert response.status_code in (200, 503), path
            elif (method, path) == ("delete", "/v1/session"):
                assert response.status_code == 204
            elif (method, path) == ("post", "/v1/session"):
                assert response.status_code == 422
            elif path.startswith("/v1/session/oidc"):
                # this service has no provider
                assert response.status_code == 404, path
            else:
                assert response.status_code == 401, (method, path, response.text)
                assert response.headers["www-authenticate"] == "Bearer"


def test_roles_reach_as_far_as_they_should(guarded: TestClient) -> None:
    assert guarded.get("/v1/slides", headers=bearer("read")).status_code == 200
    assert guarded.post("/v1/jobs", json=JOB, headers=bearer("read")).status_code == 403
    assert guarded.post("/v1/uploads", json={"name": "a.svs", "size": 9}, headers=bearer("read")).status_code == 403
    mine = guarded.post("/v1/jobs", json=JOB, headers=bearer("run"))
    assert mine.status_code == 201
    assert mine.json()["owner"] == "one-who-may-run"
    job_id = mine.json()["job_id"]
    assert guarded.delete(f"/v1/jobs/{job_id}", headers=bearer("read")).status_code == 403
    assert guarded.delete(f"/v1/jobs/{job_id}", headers=bearer("admin")).json()["state"] == "cancelled"


def test_one_s_job_is_not_another_s_to_cancel(data: Path) -> None:
    known = tokens()
    known.add(Principal(name="another", role="run"), "t" * 40)
    with TestClient(create_app(make_context(data, tokens=known))) as client:
        job = client.post("/v1/jobs", json={**JOB, "kind": "explain"}, headers=bearer("run")).json()
        refused = client.delete(f"/v1/jobs/{job['job_id']}", headers={"Authorization": f"Bearer {'t' * 40}"})
        assert (refused.status_code, refused.json()["title"]) == (403, "NotAllowed")
        client.delete(f"/v1/jobs/{job['job_id']}", headers=bearer("run"))


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Basic abc", f"Bearer {TOKENS['read'][:-1]}", "Bearer ü"]
)
def test_a_wrong_token_is_refused(guarded: TestClient, header: str) -> None:
    response = guarded.get("/v1/slides", headers={"Authorization": header.encode()})
    assert response.status_code == 401
    assert response.json()["title"] == "NotSignedIn"


def test_a_browser_signs_in_and_only_its_own_pages_change_anything(data: Path) -> None:
    with TestClient(create_app(make_context(data, tokens=tokens())), base_url="http://slides.example") as client:
        assert client.post("/v1/session", json={"token": "no" * 20}).status_code == 401
        signed = client.post("/v1/session", json={"token": TOKENS["run"]})
        assert signed.json() == {"name": "one-who-may-run", "role": "run", "sign_out_url": None}
        cookie = signed.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/v1/slides").status_code == 200
        for foreign in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}, {}):
            assert client.post("/v1/jobs", json=JOB, headers=foreign).status_code == 403, foreign
        own = client.post("/v1/jobs", json=JOB, headers={"Origin": "http://slides.example"})
        assert own.status_code in (200, 201)
        client.delete("/v1/session", headers={"Origin": "http://slides.example"})
        assert client.get("/v1/slides").status_code == 401


def test_without_tokens_foreign_pages_and_made_up_hosts_are_kept_out(data: Path) -> None:
    with TestClient(create_app(make_context(data), hosts=("127.0.0.1",)), base_url="http://127.0.0.1:8008") as client:
        assert client.get("/v1/slides").status_code == 200
        assert client.get("/v1/slides", headers={"Host": "localhost:8008"}).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "", "10.0.0.1", "[::1"):
            assert client.get("/v1/slides", headers={"Host": host}).status_code == 421, host
        response = client.post("/v1/jobs", json=JOB, headers={"Origin": "http://evil.example"})
        assert response.status_code == 403


def test_no_other_site_may_read_frame_or_load_anything(client: TestClient) -> None:
    for path in ("/", "/v1/slides", "/v1/nothing", "/v1/slides/broken"):
        response = client.get(path, headers={"Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in response.headers
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"


PLACES = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "..%5c..",
    "....//",
    "%00",
    "a%00.svs",
    "/etc/passwd",
    "C:%5Cboot.ini",
    ".wsigraph",
]


@pytest.mark.parametrize("place", PLACES)
def test_no_name_from_outside_reaches_the_file_system(client: TestClient, place: str) -> None:
    for address in (
        f"/v1/slides/{place}", f"/v1/slides/{place}/thumbnail.jpeg", f"/v1/jobs/{place}",
        f"/v1/jobs/{'0' * 20}/results/{place}", f"/v1/uploads/{place}", f"/viewer/{place}", f"/{place}",
    ):  # fmt: skip
        response = client.get(address)
        assert response.status_code in (404, 405, 422), address
        assert "root:" not in response.text


def test_a_body_that_is_too_long_is_not_read(client: TestClient) -> None:
    response = client.post("/v1/jobs", content=b"x" * 70_000, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["title"]) == (413, "TooLarge")

    def unannounced() -> Iterator[bytes]:
        for _ in range(70):
            yield b"x" * 1000

    assert client.post("/v1/jobs", content=unannounced()).status_code in (400, 413)


def test_rates_are_limited_by_client_and_recover() -> None:
    now = 0.0
    limits = load(overrides=["service.requests_burst=3", "service.requests_per_s=2", "service.tiles_burst=5"]).service
    rate_limiter = RateLimiter(limits, clock=lambda: now)
    for _ in range(3):
        rate_limiter.take("a", "/v1/slides")
    with pytest.raises(TooMany, match="more than 2 requests a second"):
        rate_limiter.take("a", "/v1/slides")
    rate_limiter.take("b", "/v1/slides")
    rate_limiter.take("a", "/v1/slides/x/tiles/1/0_0.jpeg")
    now = 0.5
    rate_limiter.take("a", "/v1/slides")
    with pytest.raises(TooMany):
        rate_limiter.take("a", "/v1/slides")


def test_a_client_that_asks_too_often_is_told_when_to_come_back(data: Path) -> None:
    narrow = make_context(data, "service.requests_burst=4", "service.requests_per_s=0.01", tokens=tokens())
    with TestClient(create_app(narrow)) as client:
        met = [client.get("/v1/slides", headers=bearer("read")).status_code for _ in range(6)]
        assert met == [200, 200, 200, 200, 429, 429]
        assert client.get("/v1/slides", headers=bearer("run")).status_code == 200
        # guessing counts by address
        guesses = [client.get("/v1/slides", headers={"Authorization": f"Bearer {n}"}) for n in range(6)]
        assert [each.status_code for each in guesses] == [401] * 4 + [429] * 2
        assert guesses[-1].headers["retry-after"]


def test_changes_refusals_and_looks_at_patients_are_noted(data: Path) -> None:
    noted = make_context(data, tokens=tokens())
    with TestClient(create_app(noted)) as client:
        client.get("/v1/slides/CMU-1-Small-Region", headers=bearer("read"))
        # ten minutes of tiles of one slide are one line
        for tile in ("0/0_0", "1/0_0", "2/0_0"):
            client.get(f"/v1/slides/CMU-1-Small-Region/tiles/{tile}.jpeg", headers=bearer("read"))
        client.post("/v1/jobs", json=JOB, headers=bearer("read"))
        client.get("/v1/slides", headers={"Authorization": "Bearer wrong"})
    path = data / ".wsigraph" / "audit.log"
    lines = [json.loads(line) for line in path.read_text().splitlines()][-4:]
    met = [(each["principal"], each["method"], each["path"], each["status"]) for each in lines]
    assert met == [
        ("one-who-may-read", "GET", "/v1/slides/CMU-1-Small-Region", 200),
        ("one-who-may-read", "GET", "/v1/slides/CMU-1-Small-Region/tiles/0/0_0.jpeg", 200),
        ("one-who-may-read", "POST", "/v1/jobs", 403),
        ("", "GET", "/v1/slides", 401),
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(token in path.read_text() for token in TOKENS.values())


def test_a_token_is_printed_once_and_kept_as_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = new_token(path, "ward-7:run")
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = read_tokens(path)
    assert known.principal(token) == Principal(name="ward-7", role="run")
    assert known.principal(token + "x") is None
    with pytest.raises(ServiceError, match="has a token named 'ward-7' already"):
        new_token(path, "ward-7:admin")
    with pytest.raises(ServiceError, match="expected NAME:ROLE"):
        new_token(path, "ward-8:root")


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("", 0o600, "holds no token"),
        ("ward:run:abc\n", 0o600, "line 1: expected NAME:ROLE:SHA256"),
        (f"# one\nward:boss:{'0' * 64}\n", 0o600, "line 2"),
        (f"ward:run:{'0' * 64}\n", 0o666, "is writable by other users"),
    ],
)
def test_a_faulty_token_file_is_refused(tmp_path: Path, text: str, mode: int, message: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ServiceError, match=message):
        read_tokens(path)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ServiceError, match="expected at least 32"):
        Tokens().add(Principal(name="x", role=ADMIN), "swordfish")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "slides.example.org"])
def test_beyond_loopback_a_token_is_demanded(host: str) -> None:
    with pytest.raises(ServiceError, match=r"requires a token.*TLS.*caddy"):
        check_exposure(host, Tokens())
    check_exposure(host, tokens())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    check_exposure(host, Tokens())


def test_the_command_ends_at_once_where_it_would_be_open_to_all(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        command("serve", "--data", tmp_path, "--host", "0.0.0.0"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "requires a token" in done.stderr
    assert "TLS" in done.stderr
