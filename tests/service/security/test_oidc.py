"""Sign-in through an OpenID Connect provider: with a kept provider, and every wrong answer of a hostile one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import TOKENS, bearer, make_context, settings, tokens, write_slide
from tests.service.security.hostile_issuer import CLIENT, SUBJECT, Issuer, hostile_issuer
from tests.service.serving import serving
from wsigraph.errors import ConfigError, NotSignedIn, Unavailable
from wsigraph.service.app import create_app
from wsigraph.service.security.oidc import CALLBACK, OidcClient, read_roles
from wsigraph.service.server import check_exposure

PAGE = "http://127.0.0.1/"
_PROVIDER = "oidc-provider@9.13.3"
_ROLES = "service.oidc_roles=['pathologists=run', 'slide admins=admin', 'students=read']"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_slide(tmp_path / "data" / "s.tiff", 300, 400)
    return tmp_path / "data"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with hostile_issuer() as made:
        yield made


def wanted(issuer: str, page: str = PAGE) -> list[str]:
    return [
        f"service.oidc_issuer={issuer}", f"service.oidc_client_id={CLIENT}", f"service.public_url={page}", _ROLES,
    ]  # fmt: skip


@pytest.fixture
def client(data: Path, issuer: Issuer) -> Iterator[TestClient]:
    context = make_context(data, *wanted(issuer.url), tokens=tokens())
    with TestClient(create_app(context), base_url="http://127.0.0.1", follow_redirects=False) as made:
        yield made


def begin(client: TestClient, issuer: Issuer) -> dict[str, str]:
    """Begin a sign-in; return what the service asks the provider for."""
    answer = client.get("/v1/session/oidc")
    assert answer.status_code == 303
    address = answer.headers["location"]
    assert address.startswith(f"{issuer.url}/auth?")
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    issuer.nonce = query["nonce"]
    return query


def come_back(client: TestClient, state: str, **more: str) -> httpx.Response:
    return client.get("/v1/session/oidc/callback", params={"code": "c", "state": state, **more})


def refused(answer: httpx.Response, text: str, status: int = 401) -> None:
    assert (answer.status_code, text in answer.json()["detail"]) == (status, True), answer.text
    assert "wsigraph-session" not in str(answer.headers)


def test_a_sign_in_gives_the_highest_role_of_the_groups(client: TestClient, issuer: Issuer) -> None:
    issuer.claims = {"groups": ["students", "pathologists", "cooks"]}
    assert client.get("/v1/slides").status_code == 401
    assert client.get("/v1/session/methods").json() == {"token": True, "oidc": True}
    query = begin(client, issuer)
    assert (query["response_type"], query["code_challenge_method"], query["redirect_uri"]) == (
        "code",
        "S256",
        PAGE + CALLBACK,
    )
    answer = come_back(client, query["state"], iss=issuer.url)
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    cookies = answer.headers.get_list("set-cookie")
    assert any(
        cookie.startswith("wsigraph-session=") and "HttpOnly" in cookie and "strict" in cookie.lower()
        for cookie in cookies
    )
    # the code was redeemed with the secret of the challenge, and neither it nor a token is in an answer
    assert len(issuer.forms[0]["code_verifier"]) >= 43
    assert issuer.id_token()[:40] not in str(answer.headers)
    who = client.get("/v1/session").json()
    assert (who["name"], who["role"]) == (f"oidc:{SUBJECT}", "run")
    assert who["sign_out_url"].startswith(f"{issuer.url}/end?client_id={CLIENT}")
    assert client.get("/v1/slides").status_code == 200
    own = {"Origin": "http://127.0.0.1"}
    assert client.delete("/v1/session", headers=own).status_code == 204
    assert client.get("/v1/slides").status_code == 401
    lines = (client.app.state.service.state / "audit.log").read_text()  # type: ignore[attr-defined]
    assert f'"principal": "oidc:{SUBJECT}", "address": "testclient", "method": "GET", "path": "/{CALLBACK}"' in lines
    # tokens go on beside it
    assert client.get("/v1/slides", headers=bearer("read")).status_code == 200


def test_groups_may_be_in_the_user_info_of_the_same_account(client: TestClient, issuer: Issuer) -> None:
    issuer.info = {"groups": "students"}
    assert come_back(client, begin(client, issuer)["state"]).status_code == 303
    assert client.get("/v1/session").json()["role"] == "read"
    job = {"slide_id": "s", "kind": "predict"}
    assert client.post("/v1/jobs", json=job, headers={"Origin": "http://127.0.0.1"}).status_code == 403
    issuer.info = {"groups": "slide admins", "sub": "eve"}
    refused(come_back(client, begin(client, issuer)["state"]), "another account")


def change_claims(**claims: Any) -> Callable[[Issuer], None]:
    return lambda issuer: issuer.claims.update(claims)


def change(**values: Any) -> Callable[[Issuer], None]:
    return lambda issuer: [setattr(issuer, name, value) for name, value in values.items()] and None


HOSTILE: dict[str, Callable[[Issuer], None]] = {
    "wrong nonce": change_claims(nonce="another"),
    "no nonce": change_claims(nonce=None),
    "expired": change_claims(exp=int(time.time()) - 3600),
    "not yet valid": change_claims(nbf=int(time.time()) + 3600),
    "no end": change_claims(exp=None),
    "another issuer": change_claims(iss="https://other.example"),
    "another client": change_claims(aud="other"),
    "no client": change_claims(aud=None),
    "given to another client": change_claims(aud=[CLIENT, "other"], azp="other"),
    "two clients and no party": change_claims(aud=["other", "more"]),
    "no account": change_claims(sub=None),
    "algorithm none": change(algorithm="none"),
    "the public key as a secret": change(algorithm="HS256"),
    "another key": change(signs_with_another_key=True),
    "another access token": change_claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_wrong_id_token_is_refused(issuer: Issuer, hostile: Callable[[Issuer], None]) -> None:
    issuer.claims = {"groups": ["slide admins"]}
    client = OidcClient(settings(*wanted(issuer.url)).service)
    for change_answer in (None, hostile):
        address, browser = client.begin()
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        issuer.nonce = query["nonce"]
        back = {"state": query["state"], "code": "c"}
        if change_answer is None:
            # without the change the same answer is accepted
            assert client.finish(back, browser).role == "admin"
        else:
            change_answer(issuer)
            with pytest.raises(NotSignedIn, match="ID token of the provider is not valid"):
                client.finish(back, browser)


def test_a_sign_in_is_used_once_by_the_browser_that_began_it(client: TestClient, issuer: Issuer) -> None:
    issuer.claims = {"groups": ["students"]}
    refused(come_back(client, "a-guess"), "was not begun by this browser")
    refused(client.get("/v1/session/oidc/callback"), "was not begun by this browser")
    state = begin(client, issuer)["state"]
    mine = dict(client.cookies)
    client.cookies.clear()
    # a link that an attacker sends: the victim's browser has no secret of this sign-in, and its use ends it
    refused(come_back(client, state), "was not begun by this browser")
    client.cookies.update(mine)
    refused(come_back(client, state), "was not begun by this browser")
    state = begin(client, issuer)["state"]
    assert come_back(client, state).status_code == 303
    client.cookies.update(mine)
    refused(come_back(client, state), "was not begun by this browser")


def test_what_the_provider_refuses_is_refused(client: TestClient, issuer: Issuer) -> None:
    issuer.claims = {"groups": ["slide admins"]}
    refused(come_back(client, begin(client, issuer)["state"], iss="https://other.example"), "from another provider")
    refused(come_back(client, begin(client, issuer)["state"], error="access_denied"), "access_denied")
    issuer.redirects = True
    refused(come_back(client, begin(client, issuer)["state"]), "answers 307", 503)
    issuer.redirects = False
    for groups in ([], ["cooks"], None, {"slide admins": 1}, "slide admins, cooks"):
        issuer.claims = {"groups": groups}
        refused(come_back(client, begin(client, issuer)["state"]), "no group of the account", 403)
    issuer.claims = {"groups": ["students"], "sub": "a\nb"}
    refused(come_back(client, begin(client, issuer)["state"]), "has no claim")
    lines = (client.app.state.service.state / "audit.log").read_text()  # type: ignore[attr-defined]
    assert '"path": "/v1/session/oidc/callback", "status": 403' in lines
    assert "code=" not in lines


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"authorization_endpoint": "http://other.example/auth"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
    ],
)
def test_a_provider_without_tls_or_of_another_name_is_refused(issuer: Issuer, metadata: dict[str, Any]) -> None:
    issuer.metadata = metadata
    with pytest.raises(Unavailable, match="provider"):
        OidcClient(settings(*wanted(issuer.url)).service).begin()


def test_open_sessions_outlive_the_provider(client: TestClient, issuer: Issuer) -> None:
    issuer.claims = {"groups": ["students"]}
    assert come_back(client, begin(client, issuer)["state"]).status_code == 303
    oidc = client.app.state.service.oidc  # type: ignore[attr-defined]
    asked = []
    oidc._json = lambda *address, **_: asked.append(address) or _away()
    oidc._clock = lambda: time.monotonic() + 2 * 3600
    for _ in range(3):
        who = client.get("/v1/session")
        assert (who.status_code, who.json()["role"], who.json()["sign_out_url"]) == (200, "read", None)
        assert client.get("/v1/session/oidc").status_code == 503
    # a provider that does not answer is not asked by every request
    assert len(asked) == 1


def _away() -> dict[str, Any]:
    raise Unavailable("the provider does not answer")


def test_cookies_are_secure_behind_a_proxy_with_tls(data: Path, issuer: Issuer) -> None:
    context = make_context(data, *wanted(issuer.url, "https://slides.example/"), tokens=tokens())
    app = create_app(context)
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as browser:
        (cookie,) = browser.get("/v1/session/oidc").headers.get_list("set-cookie")
        assert "Secure" in cookie


def test_a_session_of_the_provider_expires_and_its_name_is_no_token(client: TestClient, issuer: Issuer) -> None:
    issuer.claims = {"groups": ["slide admins"], "sub": "x" * 300}
    assert come_back(client, begin(client, issuer)["state"]).status_code == 303
    name = client.get("/v1/session").json()["name"]
    assert name.startswith("oidc:")
    assert len(name) <= 64
    sessions = client.app.state.service.sessions  # type: ignore[attr-defined]
    sessions._clock = lambda: time.monotonic() + 13 * 3600
    assert client.get("/v1/session").status_code == 401


def test_a_service_with_a_provider_and_no_token_serves_nobody_else(data: Path, issuer: Issuer) -> None:
    context = make_context(data, *wanted(issuer.url))
    with TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        for path in ("/v1/slides", "/v1/slides/s/thumbnail.jpeg", "/v1/jobs", "/v1/session"):
            assert client.get(path).status_code == 401, path
            assert client.get(path, headers=bearer("admin")).status_code == 401, path
        assert client.post("/v1/session", json={"token": TOKENS["admin"]}).status_code == 401
        assert client.get("/v1/session/methods").json() == {"token": False, "oidc": True}
    check_exposure("0.0.0.0", tokens=type(tokens())(), has_provider=True)


def test_settings_that_are_not_safe_are_refused(data: Path, tmp_path: Path) -> None:
    safe = wanted("https://login.example.org", "https://slides.example.org/")
    open_secret = tmp_path / "secret"
    open_secret.write_text("s")
    open_secret.chmod(0o644)
    for override, text in (
        ("service.oidc_issuer=http://login.example.org", "expected an https"),
        ("service.public_url=http://slides.example.org/", "expected an https"),
        ("service.public_url=https://slides.example.org", "a slash at its end"),
        ("service.public_url=null", "expected an https"),
        ("service.oidc_client_id=''", "needs service.oidc_client_id"),
        ("service.oidc_roles=[]", "nobody has a role"),
        ("service.oidc_roles=['pathologists=owner']", "expected GROUP=ROLE"),
        (f"service.oidc_client_secret_file={open_secret}", "chmod 600"),
        ("service.oidc_client_secret_file=/nonexistent", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=text):
            OidcClient(settings(*safe, override).service)
    assert read_roles(("ou=lab,dc=example=run",)) == (("ou=lab,dc=example", "run"),)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of oidc-provider, and that of the page it is registered for."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm is not installed")
    words = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), _PROVIDER]
    if subprocess.run(words, capture_output=True, timeout=240, check=False).returncode:
        pytest.skip("npm cannot install oidc-provider")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        page = f"http://127.0.0.1:{free.getsockname()[1]}/"
    issuer = f"http://127.0.0.1:{port}"
    script = Path(__file__).parent / "oidc_provider.mjs"
    asked = {"issuer": issuer, "port": port, "page": page, "callback": page + CALLBACK, "client": CLIENT}
    with subprocess.Popen(
        [node, script, tmp_path / "node_modules", json.dumps(asked)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        yield issuer, page
        process.terminate()


def sign_in_there(browser: httpx.Client, address: str, account: str) -> str:
    """Fill in the provider's own pages as a person does; return the address that it sends the browser back to."""
    import re

    answer = browser.get(address)
    for _ in range(12):
        if answer.is_redirect:
            target = urljoin(str(answer.url), answer.headers["location"])
            if f"/{CALLBACK}" in target:
                return target
            answer = browser.get(target)
            continue
        assert answer.status_code == 200, answer.text
        action = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
        prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
        assert action is not None, answer.text
        assert prompt is not None, answer.text
        form = {"prompt": prompt[1], "login": account, "password": "any"}
        answer = browser.post(urljoin(str(answer.url), action[1]), data=form)
    raise AssertionError("the provider does not send the browser back")


@pytest.mark.slow
def test_a_kept_provider_signs_accounts_in(provider: tuple[str, str], data: Path, tmp_path: Path) -> None:
    """Needs npm and its registry; run by name."""
    issuer, page = provider
    secret = tmp_path / "client-secret"
    secret.touch(mode=0o600)
    secret.write_text("a-secret-of-the-client\n")
    context = make_context(data, *wanted(issuer, page), f"service.oidc_client_secret_file={secret}")
    with serving(context, port=urlsplit(page).port) as url:
        for account, role in (("ann", "run"), ("bob", None), ("eve", "admin")):
            with httpx.Client(base_url=url, follow_redirects=False) as browser:
                begun = browser.get("/v1/session/oidc")
                back = sign_in_there(browser, begun.headers["location"], account)
                finished = browser.get(back)
                if role is None:
                    refused(finished, "no group of the account", 403)
                    continue
                assert (finished.status_code, finished.headers["location"]) == (303, page), finished.text
                who = browser.get("/v1/session").json()
                assert (who["name"], who["role"]) == (f"oidc:{account}", role)
                assert browser.get("/v1/slides").json()["total"] == 1
                # its code and state are used up
                assert browser.get(back).status_code == 401
                assert browser.delete("/v1/session", headers={"Origin": url}).status_code == 204
                assert browser.get("/v1/slides").status_code == 401
                ending = browser.get(who["sign_out_url"])
                assert ending.status_code == 200
                assert "logout" in ending.text.lower()
