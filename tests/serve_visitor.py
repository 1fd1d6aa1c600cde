"""What an open page asks of `auscult serve` while others load it, timed: the list, its files, results."""

import http.client
import json
import time
from multiprocessing.synchronize import Event
from typing import Any

STATIC = ("app.js", "style.css", "recording.js", "timeline.js", "icon.svg")
ALLOWED = {"list": {200}, "page": {200}, "static": {200}}  # what concerns one recording may have gone: 404
Timed = tuple[str, float, int]  # what was asked, seconds, status; 0 for no answer


def visit(port: int, cookie: str, pause_s: float, stop: Event, told: Any) -> None:
    """Asks until it is told to stop; puts a list of `Timed` into the queue `told`."""
    times: list[Timed] = []

    def ask(kind: str, path: str) -> bytes:
        started = time.perf_counter()
        content, status = b"", 0
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", path, headers={"Cookie": cookie})
            answer = connection.getresponse()
            content, status = answer.read(), answer.status
            connection.close()
        except OSError:
            pass
        times.append((kind, time.perf_counter() - started, status))
        return content if status == 200 else b""

    while not stop.is_set():
        listed = json.loads(ask("list", "/api/recordings") or b'{"recordings": []}')["recordings"]
        ask("page", "/")
        ask("static", f"/static/{STATIC[len(times) % len(STATIC)]}")
        done = [one["id"] for one in listed if one["state"] == "done"]
        if done:
            one = f"/api/recordings/{done[len(times) % len(done)]}"
            for kind, rest in (("result", ""), ("review", "/review"), ("peaks", "/peaks?width=500")):
                ask(kind, one + rest)
            ask("picture", f"{one}/spectrogram?end=5&width=500")
            ask("audio", f"{one}/audio")
        stop.wait(pause_s)
    told.put(times)


def wrong(times: list[Timed]) -> list[Timed]:
    """Requests that were not answered as a page needs it."""
    return [one for one in times if one[2] not in ALLOWED.get(one[0], {200, 404})]
