"""The local page's server: who may ask, what may be sent, what is kept, and that a file can harm nothing but itself."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

import auscult
from auscult.cli.serve import listening
from auscult.errors import AuscultError
from auscult.predict import Model
from auscult.web import guard, session, store
from auscult.web.store import PREFIX, Store, remove_leftovers

from .web_parts import BASE, RAW, Held, breath, page, tiny_weights, until, upload

OWN_FILES = {"upload", "listen.wav", "outline.npy"}
HOSTILE = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows\\system32\\x.wav",
    "C:\\CON",
    "CON",
    "aux.wav",
    "a\0b.wav",
    "x" * 4096,
    "<script>alert(1)</script>.wav",
    "-rf.wav",
    "=1+1.wav",
    "a\nb\r\nset-cookie: x.wav",
    "\N{RIGHT-TO-LEFT OVERRIDE}vaw.exe",
    ".",
    "..",
    "",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return auscult.load(tiny_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors"), device="cpu")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return breath(tmp_path_factory.mktemp("sound") / "a.wav", 2.0).read_bytes()


@pytest.fixture
def client(model: Model, tmp_path: Path) -> Iterator[TestClient]:
    """Nothing is analysed here: what is uploaded stays queued or running."""
    begun: list[str] = []
    go = threading.Semaphore(0)
    with page(model, tmp_path / "state", max_bytes=100_000, start=lambda: Held(begun, go)) as client:
        yield client


def root(client: TestClient) -> Path:
    return client.app.state.session.store.root  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/info", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("GET", "/static/..%2fapp.py", {}, 404),
        ("GET", "/static/%2e%2e/app.py", {}, 404),
        ("GET", "/static/nothing.js", {}, 404),
        ("GET", "/docs", {}, 404),
        ("GET", "/openapi.json", {}, 404),
        ("DELETE", "/api/info", {}, 405),
        ("GET", "/api/recordings/unknown", {}, 404),
        ("GET", "/api/info", {"host": "evil.com"}, 421),
        ("POST", "/api/pages", {"origin": "http://evil.com"}, 403),
        ("POST", "/api/recordings", {}, 415),
    ],
)
def test_every_answer_keeps_strangers_out(
    client: TestClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == status
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'" and "unsafe" not in str(policy)
    assert {name: answer.headers[name] for name in guard.HEADERS} == guard.HEADERS
    if status >= 400:
        told = answer.json()
        assert set(told) == {"code", "message"} and told["code"].startswith("E_")


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8765", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.com:8765", "[::1]:8765", ""]
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/recordings", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "E_HOST")


def test_localhost_is_a_host_too(client: TestClient) -> None:
    assert client.get("/api/info", headers={"host": "localhost:8765"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.com"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://127.0.0.1:80"},
        {"origin": "http://localhost:8765"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": BASE, "sec-fetch-site": "cross-site"},
    ],
)
def test_another_site_can_send_nothing(client: TestClient, sound: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/api/recordings?name=a.wav", content=sound, headers=RAW | headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "E_ORIGIN")
    assert client.get("/api/recordings").json() == {"recordings": []} and not list(root(client).iterdir())
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert client.post("/api/recordings?name=a.wav", content=sound, headers=RAW | own).status_code == 202


def test_a_link_elsewhere_opens_the_page_and_nothing_else(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/", headers=link | {"sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/api/recordings", headers=link).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""])
def test_what_a_form_can_send_is_no_upload(client: TestClient, sound: bytes, kind: str) -> None:
    answer = client.post("/api/recordings", content=sound, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "E_TYPE")


def asked(client: TestClient, headers: dict[str, str], messages: list[dict[str, Any]]) -> tuple[int, int]:
    """Status, and how many parts of the body the server took, of an upload at the level of ASGI."""
    taken, sent = 0, []
    cookies = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    raw = [(k.encode(), v.encode()) for k, v in ({"host": "127.0.0.1:8765"} | cookies | RAW | headers).items()]
    scope = {"type": "http", "method": "POST", "path": "/api/recordings", "query_string": b"", "headers": raw}

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        if taken > len(messages):
            await anyio.sleep_forever()
        return messages[taken - 1]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def call() -> None:
        await client.app(scope | {"http_version": "1.1", "root_path": "", "scheme": "http"}, receive, send)

    assert client.portal is not None
    client.portal.call(call)
    return (sent[0]["status"] if sent else 0), taken


def part(size: int, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


@pytest.mark.parametrize("length", ["100001", "9" * 18, "9" * 30, "-1", "+5", "0x10", "\u00b2"])
def test_a_body_that_says_it_is_too_large_is_not_read(client: TestClient, length: str) -> None:
    assert asked(client, {"content-length": length}, [part(1000)] * 1000) == (413, 0)
    assert not list(root(client).iterdir())


@pytest.mark.parametrize("headers", [{}, {"content-length": "10"}, {"transfer-encoding": "chunked"}])
def test_a_body_is_counted_whatever_it_says(client: TestClient, headers: dict[str, str]) -> None:
    """100,000 bytes are allowed: the 101st part of 1,000 is the last that is taken."""
    assert asked(client, headers, [part(1000)] * 1000) == (413, 101)
    assert not list(root(client).iterdir())
    assert asked(client, headers, [part(1000)] * 99 + [part(1000, more=False)]) == (202, 100)


def test_other_bodies_are_small(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SMALL_BYTES", 50)
    answer = client.put("/api/recordings/x/review", content=b"x" * 51)
    assert (answer.status_code, answer.json()["code"]) == (413, "E_TOO_LARGE")


def test_an_upload_that_breaks_off_leaves_nothing(client: TestClient) -> None:
    assert asked(client, {}, [part(1000), {"type": "http.disconnect"}]) == (0, 2)
    assert not list(root(client).iterdir()) and client.get("/api/recordings").json() == {"recordings": []}


def test_a_sender_that_stalls_is_given_up(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALL_S", 0.05)
    assert asked(client, {}, [part(1000)]) == (408, 2)
    assert not list(root(client).iterdir())


def test_a_full_disk_is_said(client: TestClient, sound: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.web.room.SPARE", 2**80)
    answer = client.post("/api/recordings", content=sound, headers=RAW)
    assert (answer.status_code, answer.json()["code"]) == (507, "E_DISK")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_is_shown_and_never_a_path(client: TestClient, sound: bytes, name: str) -> None:
    told = client.get(f"/api/recordings/{upload(client, sound, name)}").json()
    assert 0 < len(told["name"]) <= 200 and not set(told["name"]) & set("\0\n\r/")
    assert told["id"].isalnum()
    assert {file.name for file in root(client).rglob("*") if file.is_file()} <= OWN_FILES
    assert [folder.name for folder in root(client).iterdir()] == [told["id"]]


def test_one_at_a_time_in_order_and_cancelled(model: Model, sound: bytes, tmp_path: Path) -> None:
    begun: list[str] = []
    go = threading.Semaphore(0)
    with page(model, tmp_path, start=lambda: Held(begun, go)) as client:
        ids = [upload(client, sound, f"{i}.wav") for i in range(5)]
        until(client, ids[0], "running")
        states = [row["state"] for row in client.get("/api/recordings").json()["recordings"]]
        assert states == ["running", "queued", "queued", "queued", "queued"]
        assert client.post(f"/api/recordings/{ids[2]}/cancel").json()["state"] == "cancelled"
        assert client.post(f"/api/recordings/{ids[0]}/cancel").json()["state"] == "cancelled"
        until(client, ids[1], "running")
        assert client.get(f"/api/recordings/{ids[1]}").json()["progress"] == 0.5
        assert client.delete(f"/api/recordings/{ids[1]}").status_code == 204
        assert client.get(f"/api/recordings/{ids[1]}").status_code == 404
        assert not (root(client) / ids[1]).exists()
        until(client, ids[3], "running")
        assert client.post(f"/api/recordings/{ids[2]}/analyse").json()["state"] == "queued"
        for id in (ids[3], ids[4], ids[2]):
            until(client, id, "running")
            go.release()
            until(client, id, "done")
    assert begun == [ids[0], ids[1], ids[3], ids[4], ids[2]]
    assert client.app.state.session.jobs._thread.is_alive() is False  # type: ignore[attr-defined]


def test_uploads_go_when_the_last_page_has_closed(
    client: TestClient, sound: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = client.app.state.session  # type: ignore[attr-defined]
    id = upload(client, sound)
    first, second = (client.post("/api/pages").json()["page"] for _ in range(2))
    client.post(f"/api/pages/{first}/close")
    monkeypatch.setattr(session, "LEFT_S", 0.0)
    here.sweep()
    assert client.get(f"/api/recordings/{id}").status_code == 200  # the second page is open
    client.post(f"/api/pages/{second}/close")
    reloaded = client.post("/api/pages").json()["page"]
    here.sweep()
    assert client.get(f"/api/recordings/{id}").status_code == 200
    client.post(f"/api/pages/{reloaded}/close")
    monkeypatch.setattr(session, "LEFT_S", 60.0)
    here.sweep()
    assert client.get(f"/api/recordings/{id}").status_code == 200
    monkeypatch.setattr(session, "LEFT_S", 0.0)
    here.sweep()
    assert client.get("/api/recordings").json() == {"recordings": []} and not list(root(client).iterdir())


def test_nothing_is_left_at_the_end(model: Model, sound: bytes, tmp_path: Path) -> None:
    before = threading.active_count()
    with page(model, tmp_path / "state", start=lambda: Held([], threading.Semaphore(0))) as client:
        until(client, upload(client, sound), "running")
        where = root(client)
        assert where.stat().st_mode & 0o777 == 0o700
    assert not where.exists() and not (tmp_path / "state").exists()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:  # those of the client's loop take a moment
        time.sleep(0.01)
    assert threading.active_count() <= before, threading.enumerate()


@pytest.mark.skipif(os.name != "posix", reason="a process cannot be asked there")
def test_what_a_killed_server_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"{PREFIX}{ended.pid}-x", f"{PREFIX}{os.getpid()}-x", f"{PREFIX}notes", "other"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "upload").write_bytes(b"x")
    (tmp_path / f"{PREFIX}{ended.pid}-link").symlink_to(tmp_path / "other")
    remove_leftovers()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names[1:], f"{PREFIX}{ended.pid}-link"])
    assert (tmp_path / "other" / "upload").exists()


def test_a_folder_is_only_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("deep/b.wav", "a.wav", ".c.wav", ".hidden/d.wav"):
        breath(tmp_path / name, 0.5)
    (tmp_path / "a.txt").write_text("no sound")
    made = Store(tmp_path)
    try:
        assert [(e.name, e.source, e.state) for e in made.all()] == [
            ("a.wav", "folder", "waiting"),
            ("deep/b.wav", "folder", "waiting"),
        ]
        first = made.all()[0]
        made.remove(first)
        assert (tmp_path / "a.wav").exists()
        made.scan()
        assert {e.id for e in made.all()} >= {first.id}
        (tmp_path / "a.wav").unlink()
        made.scan()
        assert [e.name for e in made.all()] == ["deep/b.wav"]
    finally:
        made.close()


def test_it_listens_on_this_machine_only() -> None:
    with listening(0) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        listener.listen()
        with pytest.raises(AuscultError, match=f"--port {port}"):
            listening(port)
    with pytest.raises(AuscultError, match="--port 99999"):
        listening(99999)
