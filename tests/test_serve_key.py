"""The key to the local page: who has not opened its address gets nothing, and nobody can read the address."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import auscult
from auscult.predict import Model
from auscult.web.app import create_app
from auscult.web.guard import HEADERS
from auscult.web.key import LOOK, Key, same

from .browsers import chromium
from .web_browser import served
from .web_parts import BASE, RAW, Held, tiny_weights

LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return auscult.load(tiny_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors"), device="cpu")


@pytest.fixture
def stranger(model: Model, tmp_path: Path) -> Iterator[TestClient]:
    """A client that has no key."""
    go = threading.Semaphore(0)
    app = create_app(model, source=None, state_dir=tmp_path / "state", start=lambda: Held([], go))
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield client


def key(client: TestClient) -> Key:
    return client.app.state.key  # type: ignore[attr-defined, no-any-return]


def test_without_the_key_nothing_is_answered(stranger: TestClient) -> None:
    paths = stranger.app.openapi()["paths"]  # type: ignore[attr-defined]
    asked = [(method.upper(), path) for path, methods in paths.items() for method in methods if path != "/"]
    assert len(asked) > 15
    for method, path in [*asked, ("GET", "/nothing"), ("OPTIONS", "/api/info"), ("HEAD", "/api/info"), ("HEAD", "/")]:
        answer = stranger.request(method, path.format(id="x", page="x", name="app.js"), headers=RAW)
        assert answer.status_code == 403, (method, path)
        assert method == "HEAD" or answer.json()["code"] == "E_TOKEN"
        assert "token=" not in answer.text
    assert not list(stranger.app.state.session.store.root.iterdir())  # type: ignore[attr-defined]


def test_only_the_look_of_the_page_is_for_everybody(stranger: TestClient) -> None:
    assert stranger.get(LOOK, headers=RAW).headers["content-type"].startswith("text/css")
    assert LOOK in stranger.get("/", headers=RAW).text
    for method, path in (("POST", LOOK), ("GET", f"{LOOK}/"), ("GET", "/static/app.js"), ("GET", "/static/../app.py")):
        assert stranger.request(method, path, headers=RAW).status_code == 403, path


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=%00", "?token=\u00e9", "?token[]=x", "?Token=x"])
def test_the_page_says_what_to_do(stranger: TestClient, query: str) -> None:
    answer = stranger.get(f"/{query}")
    assert answer.status_code == 403 and "terminal" in answer.text and key(stranger).token not in answer.text
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS and "set-cookie" not in answer.headers


def test_the_address_gives_a_cookie_for_this_page_alone(stranger: TestClient) -> None:
    answer = stranger.get(key(stranger).address)
    told = answer.headers["set-cookie"]
    assert {part.strip().lower() for part in told.split(";")[1:]} == {"httponly", "path=/", "samesite=strict"}
    assert key(stranger).token not in told + answer.text and len(key(stranger).token) >= 43
    assert stranger.get("/api/recordings").status_code == 200
    assert "<script" in stranger.get("/").text
    assert stranger.get(f"/?token={key(stranger).token}x").status_code == 403  # a wrong one is said, cookie or not


def test_the_token_opens_the_page_and_nothing_else(stranger: TestClient) -> None:
    token = key(stranger).token
    assert stranger.get(f"/api/recordings?token={token}").status_code == 403
    assert stranger.post(f"/?token={token}").status_code == 403
    assert stranger.get("/api/recordings", headers={"cookie": f"auscult-8765={token}"}).status_code == 403
    assert stranger.get("/api/recordings", headers={"authorization": f"Bearer {token}"}).status_code == 403


@pytest.mark.parametrize("value", ["", "x", "\u00e9", "x" * 10_000])
def test_another_cookie_is_no_key(stranger: TestClient, value: str) -> None:
    cookie = f"a=b; auscult-8765={value}; auscult-8766={key(stranger)._value}"
    assert stranger.get("/api/info", headers={"cookie": cookie.encode()}).status_code == 403


def test_a_link_elsewhere_is_led_on_once(stranger: TestClient) -> None:
    """The browser keeps the strict cookie back for it; for what our page leads to it does not."""
    answer = stranger.get("/", headers=LINK)
    assert answer.status_code == 200 and 'http-equiv="refresh" content="0; url=/"' in answer.text
    assert "set-cookie" not in answer.headers
    assert stranger.get("/", headers=LINK | {"sec-fetch-site": "same-origin"}).status_code == 403
    assert stranger.get(key(stranger).address, headers=LINK).headers["set-cookie"]


def test_two_servers_have_two_keys() -> None:
    first, second = Key(8765), Key(8765)
    assert len({first.token, second.token, first._value, second._value}) == 4


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_the_address_is_left_in_a_file_of_this_user(tmp_path: Path) -> None:
    made = Key(8765)
    uri = made.leave_at(tmp_path / "open.html")
    assert uri == (tmp_path / "open.html").as_uri() and made.address in (tmp_path / "open.html").read_text()
    assert stat.S_IMODE((tmp_path / "open.html").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        made.leave_at(tmp_path / "open.html")


@pytest.mark.browser
def test_a_browser_is_let_in_by_the_file_and_a_link_and_not_without(model: Model, tmp_path: Path) -> None:
    """The strict cookie comes along although a file, and then a page elsewhere, led to the page."""
    with chromium() as browser, served(model, tmp_path / "state", threading.Event()) as address:
        made = Key(8765)
        made.port, made.token = int(address.split(":")[2].partition("/")[0]), address.partition("token=")[2]
        page = browser.new_context().new_page()
        page.set_default_timeout(20_000)
        page.goto(address.partition("?")[0])
        assert "needs its key" in page.inner_text("h1")
        page.goto(made.leave_at(tmp_path / "open.html"))
        page.wait_for_selector("#drop-hint:not(:empty)")
        assert page.url == address.partition("?")[0] and page.evaluate("document.cookie") == ""
        page.route("http://elsewhere.test/", lambda route: route.fulfill(content_type="text/html", body=link))
        link = f"<a href={address.partition('?')[0]}>there</a>"
        page.goto("http://elsewhere.test/")
        page.click("a")
        page.wait_for_selector("#drop-hint:not(:empty)")


def test_secrets_are_compared_whatever_they_hold() -> None:
    assert same("\u00e9", "\u00e9") and not same("\u00e9", "e") and not same("", "x")
