"""Requests of every kind to the local page's server: no 5xx but a full disk, no hang, no write where none belongs.

    python -m tests.serve_fuzz --requests 10000 --names 1000 --seed 1

The requests are those that schemathesis makes of the application's own description, right and wrong ones, half of them
about recordings that are there; the names are such as lead out of a folder, in every place where a name can stand.
Exit code 1 where anything comes up.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from fastapi.testclient import TestClient
from hypothesis.configuration import set_hypothesis_home_dir

import auscult
from auscult.web import guard

from .web_parts import RAW, breath, page, tiny_weights, until, upload

SLOW_S = 60.0  # on a busy machine; a hang takes for ever
TRIES = 20
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
PLACES = ("upload", "recording", "page", "static", "export", "review")
ENDS = (
    *("etc/passwd", "x.wav", "", ".", "..", "CON", "aux.wav", "NUL", "a\nb", "x" * 4096, "$HOME", "`x`", "x\0.wav"),
    *("reviews", "stamps/x", "\N{RIGHT-TO-LEFT OVERRIDE}vaw", ".ssh/authorized_keys", "x:ads", "con.wav.", "\r\n"),
)
_watched: list[list[str]] = []  # the hook of a process cannot be taken back; it writes to the last list


def watch(event: str, words: tuple[Any, ...]) -> None:
    """The audit hook: paths that are written."""
    if not _watched:
        return
    if event == "open" and isinstance(words[0], (str, bytes)) and words[2] & WRITES:
        _watched[-1].append(os.fsdecode(words[0]))
    elif event in CHANGES:
        folder = f"/proc/self/fd/{words[-1]}" if isinstance(words[-1], int) and words[-1] > 0 else ""
        _watched[-1] += [os.path.realpath(Path(folder, os.fsdecode(w))) for w in words if not isinstance(w, int)]


class Fuzz:
    """A server with two recordings, one that was analysed and one that could not be, and what came of the requests.

    Args:
        client: of the server.
        sound: a file that it takes.
    """

    def __init__(self, client: TestClient, sound: bytes) -> None:
        self.client, self.sound = client, sound
        self.statuses: Counter[int] = Counter()
        self.mistakes: list[str] = []
        self.refresh()
        self.ask("GET", f"/api/recordings/{self.ids[0]}/saliency?breath=0")  # compiled code is kept beside the package

    def refresh(self) -> None:
        """Uploads the recordings again where they have gone."""
        known = {one["id"] for one in self.client.get("/api/recordings").json()["recordings"]}
        if len(known) > 20:
            for id in known:
                self.client.delete(f"/api/recordings/{id}")
        self.ids = [upload(self.client, content) for content in (self.sound, b"no sound")]
        for id in self.ids:
            until(self.client, id, "done", "failed")

    def ask(self, method: str, path: str, **words: Any) -> None:
        """Sends a request and looks at the answer."""
        started = time.monotonic()
        try:
            answer = self.client.request(method, path, **words)
        except (httpx2.InvalidURL, ValueError, UnicodeError):
            self.statuses[0] += 1  # the client does not send this
            return
        seconds, shown = time.monotonic() - started, f"{method} {path[:200]} {str(words)[:300]}"
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != 507:
            self.mistakes.append(f"{answer.status_code}: {shown}")
        if seconds > SLOW_S:
            self.mistakes.append(f"{seconds:.1f} s: {shown}")
        if answer.headers.get("content-security-policy") != guard.HEADERS["content-security-policy"]:
            self.mistakes.append(f"without its headers: {shown}")
        if answer.status_code >= 400 and path != "/" and set(answer.json()) != {"code", "message"}:
            self.mistakes.append(f"no code: {shown}")

    def requests(self, count: int, seed: int) -> None:
        """Asks so many requests that schemathesis makes."""
        operations = list(described(self.client))
        for number, (operation, modes) in enumerate(operations):
            self._about(operation, modes, count // len(operations) + 1, seed + number)
            self.refresh()

    def _about(self, operation: Any, modes: list[Any], count: int, seed: int) -> None:
        import hypothesis
        from hypothesis import strategies as st
        from hypothesis.errors import FlakyStrategyDefinition

        draw, sent = random.Random(seed), 0

        def ask(case: Any) -> None:
            nonlocal sent
            sent += 1
            words = case.as_transport_kwargs(base_url="")
            path, known = words["url"], draw.choice([None, *self.ids])
            if known is not None and "{id}" in operation.path:
                path = operation.path.replace("{id}", known)
            kept = {name: words[name] for name in ("params", "json") if words.get(name) is not None}
            if isinstance(body := words.get("data"), (str, bytes)):
                kept["content"] = body
            self.ask(words["method"], path, headers=RAW if operation.path == "/api/recordings" else {}, **kept)

        cases, checks = st.one_of(*map(operation.as_strategy, modes)), list(hypothesis.HealthCheck)
        for again in range(TRIES):
            left = max(1, count - sent)
            limits = hypothesis.settings(max_examples=left, database=None, deadline=None, suppress_health_check=checks)
            try:
                hypothesis.seed(seed + 1000 * again)(limits(hypothesis.given(case=cases)(ask)))()
                return
            except* FlakyStrategyDefinition:  # schemathesis does not always make the same of the same choices
                pass

    def names(self, count: int, seed: int) -> None:
        """Asks with so many names in every place."""
        draw = random.Random(seed)
        for _ in range(count):
            name = traversal(draw)
            for place in PLACES:
                self.named(place, name)
        self.refresh()

    def named(self, place: str, name: str) -> None:
        """Asks with a name in one place; what can stand in a path does so as it is, and written in percent signs."""
        here, whole = f"/api/recordings/{self.ids[0]}", quote(name, safe="", errors="surrogateescape")
        if place == "upload":
            answer = self.client.post(f"/api/recordings?name={whole}", content=b"x", headers=RAW)
            self.statuses[answer.status_code] += 1
            self.client.delete(f"/api/recordings/{answer.json()['id']}")
        elif place == "export":
            self.ask("GET", f"{here}/export?format={whole}")
        elif place == "review":
            body = {"version": 0, "breaths": [{"start_s": 0, "end_s": 1, "label": name, "status": "added"}]}
            self.ask("PUT", f"{here}/review", json=body)
        else:
            before, after = {"recording": ("/api/recordings/", "/audio"), "page": ("/api/pages/", "/close")}.get(
                place, ("/static/", "")
            )
            method = "POST" if place == "page" else "GET"
            for written in (whole, quote(name, safe="/\\.:;", errors="surrogateescape")):
                self.ask(method, before + written + after)


def described(client: TestClient) -> Iterator[tuple[Any, list[Any]]]:
    """The operations of the application, and whether wrong values can be made for them."""
    import schemathesis
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_dict(client.app.openapi())  # type: ignore[attr-defined]
    for result in schema.get_all_operations():
        operation = result.ok()
        both = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
        yield operation, both if operation.path.count("{") or len(operation.query) else both[:1]


def traversal(draw: random.Random) -> str:
    """A name that leads somewhere else, or tries to."""
    up = draw.choice(("../", "..\\", "..;/", "....//", "%2e%2e%2f", "..%5c", "\uff0e\uff0e/", "..\0/", "./../", "..//"))
    start = draw.choice(("", "/", "//", "\\\\host\\", "C:\\", "C:", "file:///", "~/", "-", "\0", " ", "a/", ".%00/"))
    end = draw.choice(ENDS)
    return start + up * draw.randrange(12) + end


@contextmanager
def fuzzed(folder: Path) -> Iterator[tuple[Fuzz, list[str]]]:
    """A server to ask, and the list of paths outside its own two folders that were written meanwhile."""
    if not _watched:
        sys.addaudithook(watch)
    model = auscult.load(tiny_weights(folder / "tiny.safetensors"), device="cpu")
    sound = breath(folder / "a.wav", 2.0).read_bytes()
    outside: list[str] = []
    with page(model, folder / "state") as client:
        fuzz = Fuzz(client, sound)  # once before it is watched: modules are compiled at the first use
        set_hypothesis_home_dir(folder / "hypothesis")  # what it keeps is none of the server's
        places = (client.app.state.session.store.root, folder / "state", folder / "hypothesis")  # type: ignore[attr-defined]
        own = tuple(os.path.realpath(place) for place in places)
        written: list[str] = []
        _watched.append(written)
        try:
            yield fuzz, outside
        finally:
            _watched.append([])
            outside += [path for path in written if not os.path.realpath(path).startswith(own)]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.serve_fuzz")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, fuzzed(Path(folder)) as (fuzz, outside):
        fuzz.requests(words.requests, words.seed)
        fuzz.names(words.names, words.seed)
        files = sorted(path.name for path in Path(folder, "state").rglob("*") if path.is_file())
    print(f"{sum(fuzz.statuses.values())} requests: {dict(sorted(fuzz.statuses.items()))}")
    print(f"{len(outside)} writes outside, files of reviews: {files}")
    print("\n".join([*outside[:50], *fuzz.mistakes[:50]]))
    return 1 if outside or fuzz.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
