"""Who may drive the studio: hosts, origins, the page's token, logins, sizes. A page of two functions is served: one for
programs, and one that only the page may call."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import pytest
from starlette.testclient import TestClient

from app.serving.place import Place
from app.serving.server import guarded
from app.serving.sessions import Session
from detdiffusion import bounds
from detdiffusion.errors import ConfigError

HERE = "http://127.0.0.1:7860"
JOIN, TOKEN = "/gradio_api/queue/join", "x-studio-token"
PUBLIC, PRIVATE = "answer", "act"


def answer() -> str:
    return "yes"


def make_page() -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as page:
        box = gr.Textbox()
        box.change(lambda text: text, box, box, queue=False, api_name=PRIVATE, api_visibility="private")
        gr.api(answer, api_name=PUBLIC, queue=False)
    return page.queue(api_open=False)


@contextmanager
def serving(place: Place) -> Iterator[TestClient]:
    app = guarded(make_page(), place, ssr_mode=False, run_history=False)
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        yield client


@pytest.fixture(scope="module")
def studio() -> Iterator[TestClient]:
    with serving(Place("127.0.0.1", 7860)) as client:
        yield client


def number(client: TestClient, name: str) -> int:
    functions = client.get("/config").json()["dependencies"]
    return next(int(one["id"]) for one in functions if one["api_name"] == name)


def token(client: TestClient) -> str:
    found = re.search(r'set\("x-studio-token", "([\w-]+)"\)', client.get("/").text)
    assert found
    return found[1]


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/openapi.json"])
@pytest.mark.parametrize(
    "host", ["evil.example:7860", "127.0.0.1.evil.example", "localhost.", "", "evil.example@127.0.0.1"]
)
def test_another_name_for_this_machine_gets_nothing(studio: TestClient, path: str, host: str) -> None:
    for method in ("GET", "OPTIONS", "POST"):
        answer = studio.request(method, path, headers={"host": host, "origin": f"http://{host}"})
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_this_machine_by_its_own_names(studio: TestClient, host: str) -> None:
    assert studio.get("/", headers={"host": host}).status_code == 200


ELSEWHERE = (
    "http://evil.example",
    "http://localhost:9000",
    "http://127.0.0.1:7861",
    "file://127.0.0.1:7860",
    "null",
    "x",
)


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_pages_of_other_origins_may_neither_change_nor_read(studio: TestClient, origin: str) -> None:
    headers = {"origin": origin, TOKEN: token(studio)}
    call = {"data": [], "fn_index": number(studio, PUBLIC), "session_hash": "a"}
    file = {"files": ("a.txt", b"x")}
    answers = [
        studio.get("/config", headers=headers),
        studio.options("/config", headers={**headers, "access-control-request-method": "POST"}),
        studio.post(JOIN, json=call, headers=headers),
        studio.post(f"/gradio_api/run/{PUBLIC}", json=call, headers=headers),
        studio.post("/gradio_api/upload", files=file, headers=headers),
        studio.post("/gradio_api/cancel", json={}, headers=headers),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)


def test_what_a_browser_says_of_another_site(studio: TestClient) -> None:
    for site in ("cross-site", "same-site"):
        assert studio.get("/gradio_api/file=x.png", headers={"sec-fetch-site": site}).status_code == 403
        followed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
        assert studio.get("/", headers=followed).status_code == 200  # a link to the studio
    assert studio.get("/").headers["x-frame-options"] == "SAMEORIGIN"


def test_programs_call_public_endpoints_alone(studio: TestClient) -> None:
    public, private = number(studio, PUBLIC), number(studio, PRIVATE)
    assert studio.post(f"/gradio_api/run/{PUBLIC}", json={"data": []}).json()["data"] == ["yes"]
    assert studio.post(f"/gradio_api/call/{PUBLIC}", json={"data": []}).status_code == 200
    assert studio.post(JOIN, json={"data": [], "fn_index": public, "session_hash": "b"}).status_code == 200
    body = {"data": ["x"], "session_hash": "c"}
    twice = json.dumps({**body, "fn_index": public})[:-1] + f', "fn_index": {private}}}'
    refused = [
        studio.post(JOIN, json={**body, "fn_index": private}),
        studio.post(JOIN, json={**body, "fn_index": str(private)}),
        studio.post(JOIN, json={**body, "fn_index": True}),
        studio.post(JOIN, json=body),
        studio.post(JOIN, json=[body]),
        studio.post(JOIN, content=twice, headers={"content-type": "application/json"}),
        studio.post(JOIN, content=b"[" * 100_000),
        studio.post(JOIN, json={**body, "fn_index": private}, headers={TOKEN: "guessed"}),
        studio.post(f"/gradio_api/run/{PRIVATE}", json=body),
        studio.post(f"/gradio_api/run/{PUBLIC}", json={**body, "fn_index": private}),
        studio.post(f"/gradio_api/api/{PUBLIC}/", json={**body, "fn_index": private}),
        studio.post(f"/gradio_api/call/{PRIVATE}", json=body),
        studio.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}),
    ]
    assert {answer.status_code for answer in refused} == {403}
    assert "reload" in refused[0].json()["detail"]


def test_the_page_calls_everything_with_its_token(studio: TestClient) -> None:
    headers = {TOKEN: token(studio), "origin": HERE, "sec-fetch-site": "same-origin"}
    body = {"data": ["typed"], "fn_index": number(studio, PRIVATE), "session_hash": "d"}
    assert studio.post(f"/gradio_api/run/{PRIVATE}", json=body, headers=headers).json()["data"] == ["typed"]
    assert studio.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
        ("GET", "/gradio_api/dev/reload"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/process_recording"),
        ("PUT", "/gradio_api/queue/join"),
        ("TRACE", "/"),
    ],
)
def test_what_nobody_needs_is_not_there(studio: TestClient, method: str, path: str) -> None:
    assert studio.request(method, path).status_code in (404, 405)


def test_bodies_are_bounded_before_they_are_parsed(studio: TestClient) -> None:
    headers = {TOKEN: token(studio), "content-type": "application/json"}
    large = b'{"data": ["' + b"x" * bounds.BODY_BYTES + b'"]}'
    assert studio.post(JOIN, content=large, headers=headers).status_code == 413
    pieces = (b"x" * 1_000_000 for _ in range(11))  # without a length that could be looked at
    assert studio.post(JOIN, content=pieces, headers=headers).status_code == 413
    file = {"files": ("a.bin", b"x" * bounds.BODY_BYTES)}
    assert studio.post("/gradio_api/upload", files=file, headers={TOKEN: headers[TOKEN]}).status_code == 413


def test_sessions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PAGE_SESSIONS", 8)
    page = make_page()
    with TestClient(
        guarded(page, Place("127.0.0.1", 7860), ssr_mode=False, run_history=False), base_url=HERE
    ) as client:
        call = number(client, PUBLIC)
        for session in range(20):
            body = {"data": [], "fn_index": call, "session_hash": f"session-{session}"}
            assert client.post(JOIN, json=body).status_code == 200
            told = client.get(f"/gradio_api/queue/data?session_hash=session-{session}").text
            assert '"data":["yes"]' in told.replace(" ", "")
    queue = page._queue
    kept = (queue.pending_messages_per_session, queue.pending_event_ids_session, queue.event_analytics)
    assert [len(one) <= 8 for one in kept] == [True] * 3
    sessions = list(page.state_holder.session_data.values())
    assert len(sessions) == 8 and all(isinstance(one, Session) for one in sessions)
    assert [len(one.config_values) for one in sessions] == [0] * 8, "no second form of the page, and no values"


def test_without_login_only_the_login_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LOGIN_SECONDS", 0.2)
    with serving(Place("127.0.0.1", 7860, (("ada", "right"),))) as studio:
        assert "auth_required" in studio.get("/").text
        asked = ["config", "gradio_api/info", "gradio_api/openapi.json", "gradio_api/heartbeat/x", "gradio_api/app_id"]
        answers = [studio.get(f"/{path}") for path in (*asked, "gradio_api/queue/data?session_hash=x")]
        posted = ["reset", "cancel", "upload", "queue/join", f"run/{PUBLIC}", "mcp/"]
        answers += [studio.post(f"/gradio_api/{path}", json={}) for path in posted]
        assert {answer.status_code for answer in answers} == {401}
        spent = []
        for _ in range(bounds.LOGIN_TRIES + 2):
            began = time.monotonic()
            assert studio.post("/login", data={"username": "ada", "password": "wrong"}).status_code == 400
            spent.append(time.monotonic() - began)
        assert spent[-1] >= 0.2 > spent[0]
        assert studio.post("/login", data={"username": "ada", "password": "right"}).status_code == 200
        assert studio.get("/config").status_code == 200
        assert studio.post(f"/gradio_api/run/{PUBLIC}", json={"data": []}).json()["data"] == ["yes"]
        assert studio.post(f"/gradio_api/run/{PRIVATE}", json={"data": ["x"]}).status_code == 403


def test_a_proxy_shows_the_studio_under_a_name_of_its_own() -> None:
    place = Place("127.0.0.1", 7860, names=("studio.example.org",), root_path="/tools/studio")
    with serving(place) as studio:
        proxied = {"host": "studio.example.org", "origin": "https://studio.example.org", "x-forwarded-proto": "https"}
        assert studio.post(f"/gradio_api/run/{PUBLIC}", json={"data": []}, headers=proxied).status_code == 200
        as_itself = {"origin": "https://studio.example.org"}  # where the proxy names itself in the Host
        assert studio.post(f"/gradio_api/run/{PUBLIC}", json={"data": []}, headers=as_itself).status_code == 200
        assert "/tools/studio" in studio.get("/", headers={"host": "studio.example.org"}).text
        assert studio.get("/", headers={"host": "other.example.org"}).status_code == 400


def test_places() -> None:
    assert Place("192.168.0.7", 1).hosts() == ["localhost", "127.0.0.1", "[::1]", "192.168.0.7"]
    assert {"0.0.0.0", "127.0.0.1"} <= set(Place("0.0.0.0", 1).hosts())
    assert "*.gradio.live" not in Place("127.0.0.1", 1).hosts()
    for names, path in ((("http://x",), ""), (("*",), ""), (("x:1",), ""), ((), "studio"), ((), "/a b")):
        with pytest.raises(ConfigError, match="needs to be"):
            Place("127.0.0.1", 1, names=names, root_path=path)
