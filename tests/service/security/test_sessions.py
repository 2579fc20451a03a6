"""Sessions of browsers, tokens that change while the service runs, and what answers and logs say of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import TOKENS, bearer, make_context, tokens, write_slide
from tests.service.finished import Finished
from tests.service.serving import serving
from wsigraph.service.app import create_app
from wsigraph.service.context import ServiceContext
from wsigraph.service.routes.jobs import RESULTS
from wsigraph.service.security.auth import Principal, digest, read_tokens
from wsigraph.service.security.sessions import COOKIE, SECURE_COOKIE, Sessions
from wsigraph.service.service_log import RequestFormatter, log_config
from wsigraph.service.shown_names import show_safely


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_slide(tmp_path / "data" / "s.tiff", 300, 400)
    return tmp_path / "data"


def signing_in(service: ServiceContext, url: str) -> TestClient:
    return TestClient(create_app(service), base_url=url)


def test_the_cookie_is_a_random_number_that_ends_with_the_session(data: Path) -> None:
    with signing_in(make_context(data, tokens=tokens()), "http://slides.example") as client:
        own = {"Origin": "http://slides.example"}
        signed = [client.post("/v1/session", json={"token": TOKENS["run"]}, headers=own) for _ in range(2)]
        values = [response.headers["set-cookie"].partition("=")[2].partition(";")[0] for response in signed]
        assert values[0] != values[1]
        assert TOKENS["run"] not in "".join(response.headers["set-cookie"] for response in signed)
        copied = {"Cookie": f"{COOKIE}={values[1]}"}
        assert client.get("/v1/session").json()["role"] == "run"
        assert client.delete("/v1/session", headers=own).status_code == 204
        # a copy that someone kept is worth nothing
        assert client.get("/v1/session", headers=copied).status_code == 401
        # the other browser's session goes on
        assert client.get("/v1/session", headers={"Cookie": f"{COOKIE}={values[0]}"}).status_code == 200


def test_under_tls_the_cookie_is_bound_to_the_host(data: Path) -> None:
    with signing_in(make_context(data, tokens=tokens()), "https://slides.example") as client:
        cookie = client.post("/v1/session", json={"token": TOKENS["read"]}).headers["set-cookie"]
        assert cookie.startswith(f"{SECURE_COOKIE}=")
        assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "domain" not in cookie.lower()
        value = cookie.partition("=")[2].partition(";")[0]
        assert client.get("/v1/session").status_code == 200
        # a cookie without the prefix may come from another host or from a page without TLS
        client.cookies.clear()
        assert client.get("/v1/session", headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401


def test_sessions_expire() -> None:
    now = 0.0
    sessions = Sessions(60.0, clock=lambda: now)
    session_id = sessions.begin("token")
    now = 59.0
    assert sessions.owner(session_id) == digest("token")
    now = 60.0
    assert sessions.owner(session_id) is None
    assert sessions.owner("guess") is None


def test_tokens_follow_their_file(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    lines = {role: f"{role}:{role}:{digest(TOKENS[role])}\n" for role in ("read", "run")}
    path.write_text("".join(lines.values()))
    path.chmod(0o600)
    known = read_tokens(path)
    known.add(Principal(name="token", role="admin"), TOKENS["admin"])
    with signing_in(make_context(data, tokens=known), "http://slides.example") as client:

        def change(text: str) -> None:
            path.write_text(text)
            os.utime(path, (0, len(text)))
            known._look_at = 0.0

        assert client.post("/v1/session", json={"token": TOKENS["run"]}).status_code == 200
        assert client.get("/v1/session").status_code == 200
        change(lines["read"])
        # the token and the session that began with it are gone
        assert client.get("/v1/session").status_code == 401
        assert client.get("/v1/slides", headers=bearer("run")).status_code == 401
        assert client.get("/v1/slides", headers=bearer("read")).status_code == 200
        assert client.get("/v1/slides", headers=bearer("admin")).status_code == 200
        change("a line that is no token\n")
        assert client.get("/v1/slides", headers=bearer("read")).status_code == 200
        assert "the tokens stay as they were" in caplog.text
        change("".join(lines.values()))
        assert client.get("/v1/slides", headers=bearer("run")).status_code == 200


def test_no_answer_names_a_path_of_the_machine(explained: TestClient, finished: Finished) -> None:
    place = f"/v1/jobs/{finished.job_id}"
    answers = {name: explained.get(f"{place}/results/{name}") for name in RESULTS}
    for path in ("", "/facts", "/regions", "/overlay", "/regions/0"):
        answers[path] = explained.get(f"{place}{path}")
    for path in ("/v1/slides", f"/v1/slides/{finished.slide_id}", "/v1/ready", "/v1/openapi.json", "/v1/metrics"):
        answers[path] = explained.get(path)
    for name, answer in answers.items():
        for private in (str(finished.data), str(finished.data.parent), str(Path(__file__).parents[3])):
            assert private.encode() not in answer.content, name
    assert json.loads(answers["run.json"].content)["slide"] == f"{finished.slide_id}.svs"


def test_routes_in_messages_stay_and_paths_do_not(data: Path) -> None:
    service = make_context(data)
    try:
        for text, shown in (
            ("start it with POST /v1/jobs", "start it with POST /v1/jobs"),
            (f"cannot read {data}/a/b.svs", "cannot read a/b.svs"),
            ("cannot write '/srv/models/x.json': no space", "cannot write 'x.json': no space"),
            ("image/jpeg at 0.5 um/px, https://example.org/a/b", "image/jpeg at 0.5 um/px, https://example.org/a/b"),
        ):
            assert service.without_paths(text) == shown
    finally:
        service.close()


def test_misleading_characters_of_names_are_shown_by_their_code(data: Path) -> None:
    name = "report\u202effit.evs.tiff"
    write_slide(data / name, 300, 400)
    with TestClient(create_app(make_context(data)), base_url="http://127.0.0.1") as client:
        created = client.post("/v1/uploads", json={"name": f"a\u2066b\u200b{name}", "size": 9})
        assert created.status_code == 201
        refused = client.post("/v1/uploads", json={"name": "a\u202e.exe", "size": 9})
        for answer in (client.get("/v1/slides"), refused):
            assert not {"\u202e", "\u2066", "\u200b"} & set(answer.text)
        assert "report<U+202E>ffit.evs.tiff" in {slide["name"] for slide in client.get("/v1/slides").json()["slides"]}
    assert show_safely("Präparat 7 日本語 עברית.svs") == "Präparat 7 日本語 עברית.svs"


def test_a_body_in_chunks_that_is_too_large_is_413(data: Path) -> None:
    service = make_context(data)
    with serving(service) as url, httpx.Client(base_url=url) as client:
        headers = {"Content-Type": "application/json"}
        response = client.post("/v1/jobs", content=(b" " * 1000 for _ in range(200)), headers=headers)
        assert (response.status_code, response.json()["title"]) == (413, "TooLarge")
        upload = client.post("/v1/uploads", json={"name": "a.svs", "size": 10**9}).json()["upload_id"]
        many = (bytes(10**6) for _ in range(80))
        part = client.patch(f"/v1/uploads/{upload}", content=many, headers={"Upload-Offset": "0"})
        assert part.status_code == 413


def test_log_lines_have_time_and_request(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import logging.config
    import re

    service = make_context(data)
    app = create_app(service)

    @app.get("/v1/fails")
    def fail() -> None:
        logging.getLogger("wsigraph.service").error("no\nroom for %s", "a\u202eb")

    assert log_config()["formatters"]["line"]["()"].endswith(RequestFormatter.__name__)
    logging.config.dictConfig(log_config())
    try:
        with TestClient(app, base_url="http://127.0.0.1") as client:
            request_id = client.get("/v1/fails").headers["x-request-id"]
            client.get("/v1/slides/s")
    finally:
        for name in ("uvicorn", "wsigraph"):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
            logging.getLogger(name).setLevel(logging.NOTSET)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "room for" in line]
    pattern = rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z ERROR \[{request_id}\] wsigraph\.service: no<U\+000A>room for a<U\+202E>b"
    assert re.fullmatch(pattern, line), line
    audited = [json.loads(line) for line in (service.state / "audit.log").read_text().splitlines()]
    assert len(audited[-1]["request"]) == 12
