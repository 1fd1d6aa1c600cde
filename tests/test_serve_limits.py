"""What the local page's server does not wait for, and what does not fit in."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import auscult
from auscult.predict import Model
from auscult.web import connection, guard, listening, room
from auscult.web.guard import Refused
from auscult.web.room import Room

from .web_browser import served
from .web_parts import RAW, Held, breath, page, tiny_weights, until, upload


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return auscult.load(tiny_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors"), device="cpu")


@pytest.fixture
def client(model: Model, tmp_path: Path) -> Iterator[TestClient]:
    go = threading.Semaphore(0)
    with page(model, tmp_path / "state", start=lambda: Held([], go)) as client:
        yield client


@pytest.fixture(scope="module")
def port(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server with real connections."""
    with served(model, tmp_path_factory.mktemp("state"), threading.Event()) as address:
        ports.append(address)
        yield int(address.split(":")[2].partition("/")[0])


ports: list[str] = []


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TICK_S", 0.05)
    monkeypatch.setattr(connection, "IDLE_S", 0.5)
    monkeypatch.setattr(connection, "UNREAD_S", 0.5)


@contextlib.contextmanager
def opened(port: int, first: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as here:
        here.sendall(first)
        yield here


def ended(here: socket.socket, limit_s: float = 20.0) -> bool:
    """Whether the server ends the connection within the time."""
    poll = select.poll()
    poll.register(here, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(1000 * limit_s))


def head(port: int, path: str, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n".encode()


def test_a_silent_connection_is_ended(port: int) -> None:
    with opened(port) as here, opened(port, b"GET / HTTP/1.1\r\nX-Slow: ") as slow:
        assert ended(here) and ended(slow)


def test_a_connection_that_is_used_stays(port: int) -> None:
    with opened(port) as here:
        for _ in range(10):
            here.sendall(head(port, "/api/pages"))
            time.sleep(0.1)
        assert here.recv(100_000).startswith(b"HTTP/1.1 403") and not ended(here, 0)


def test_a_body_that_was_refused_is_not_listened_to_for_ever(port: int) -> None:
    with opened(port, head(port, "/api/recordings", "Content-Length: 1000000\r\n")) as here:
        assert here.recv(12) == b"HTTP/1.1 403"
        deadline = time.monotonic() + 20
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and not ended(here, 0.05):
                here.send(b"x")
        assert ended(here, 0)


def test_the_one_that_is_idle_longest_makes_place(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST", 2)
    monkeypatch.setattr(connection, "IDLE_S", 20.0)
    with opened(port) as first, opened(port) as second:
        time.sleep(0.2)
        with opened(port) as third:
            assert ended(first, 5) and not ended(second, 0) and not ended(third, 0)


def test_a_body_that_trickles_is_refused(port: int, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALL_S", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as opener:
        opener.sendall(f"GET {ports[0][ports[0].index('/?') :]} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        told = opener.recv(100_000).decode().partition("set-cookie: ")[2].partition(";")[0]
    words = f"Cookie: {told}\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000\r\n"
    with opened(port, head(port, "/api/recordings", words)) as here:
        started = time.monotonic()
        while not select.select([here], [], [], 0.1)[0] and time.monotonic() < started + 20:
            here.send(b"x")  # never silent for as long as 0.5 s
        assert here.recv(12) == b"HTTP/1.1 408"


def test_only_so_many_uploads_come_in_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "AT_ONCE", 2)
    here = Room(tmp_path)
    with (
        here.coming("a", 1),
        here.coming("b", 1),
        pytest.raises(Refused, match="later") as refused,
        here.coming("c", 1),
    ):
        pass
    assert (refused.value.status_code, refused.value.code) == (429, "E_BUSY")
    with here.coming("c", 1):
        pass


def test_room_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 100)
    here = Room(tmp_path)
    with pytest.raises(KeyError), here.coming("broken off", 90):
        raise KeyError
    with here.coming("a", 60):
        here.grown("a", 50)  # the 60 that it said count, once
    with pytest.raises(Refused, match="together"), here.coming("b", 41):
        pass
    with pytest.raises(Refused, match="together"), here.coming("b", 0):
        for size in range(0, 100, 10):
            here.grown("b", size)
    assert size == 50
    here.left("a")
    with here.coming("b", 100):
        pass


def test_uploads_that_do_not_fit_are_refused_and_nothing_is_left(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST", 2)
    ids = [upload(client, b"x" * 1000) for _ in range(2)]
    answer = client.post("/api/recordings", content=b"x", headers=RAW)
    assert (answer.status_code, answer.json()["code"]) == (429, "E_FULL")
    client.delete(f"/api/recordings/{ids[0]}")
    monkeypatch.setattr(room, "MOST_BYTES", 1999)
    for content in (b"x" * 1000, iter([b"x" * 500] * 2)):
        answer = client.post("/api/recordings", content=content, headers=RAW)
        assert (answer.status_code, answer.json()["code"]) == (507, "E_FULL")
    assert len(list(client.app.state.session.store.root.iterdir())) == 1  # type: ignore[attr-defined]
    upload(client, b"x" * 999)


def test_a_recording_of_days_is_refused(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LONGEST_S", 3.0)
    with page(model, tmp_path / "state") as client:
        short, long = (breath(tmp_path / f"{s}.wav", s).read_bytes() for s in (2.5, 3.5))
        assert until(client, upload(client, short), "done", "failed")["state"] == "done"
        told = until(client, upload(client, long), "done", "failed")
        assert told["error"]["code"] == "E_SETTING" and "shorter" in told["error"]["message"]


def test_decoding_leaves_the_disk_some_room(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "SPARE", 2**80)
    with page(model, tmp_path / "state") as client:
        told = until(client, upload(client, breath(tmp_path / "a.wav", 2.0).read_bytes()), "done", "failed")
    assert told["error"]["code"] == "E_DISK"


def test_pictures_never_take_all_threads(model: Model, tmp_path: Path) -> None:
    """With every turn to draw taken, the list is still answered."""
    with page(model, tmp_path / "state") as client:
        id = upload(client, breath(tmp_path / "a.wav", 2.0).read_bytes())
        until(client, id, "done")
        here = client.app.state.session  # type: ignore[attr-defined]
        assert client.portal is not None
        for turns in (here.drawing, here.explaining):
            for number in range(turns.total_tokens):
                client.portal.call(turns.acquire_on_behalf_of, number)
        asked = [
            threading.Thread(target=client.get, args=(f"/api/recordings/{id}/spectrogram",), daemon=True)
            for _ in range(50)
        ]
        for thread in asked:
            thread.start()
        deadline = time.monotonic() + 20
        while here.drawing.statistics().tasks_waiting < len(asked) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.get("/api/recordings").status_code == 200
        for turns in (here.drawing, here.explaining):
            for number in range(turns.total_tokens):
                client.portal.call(turns.release_on_behalf_of, number)
        for thread in asked:
            thread.join(30)
        assert not any(thread.is_alive() for thread in asked)
