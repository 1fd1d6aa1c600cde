"""A real `auscult serve` in a process of its own, and someone who sends it files."""

import http.cookiejar
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import OK

if TYPE_CHECKING:
    from .through import Row

LIMIT_S = 120.0


class Served:
    """A server, and what it answers.

    Args:
        model: a weights file.
        folder: whose recordings it lists.
        state: where it keeps reviews.
    """

    def __init__(self, model: Path, folder: Path, state: Path) -> None:
        words = ["serve", str(folder), "--model", str(model), "--port", "0", "--state", str(state), "--no-open"]
        self.log = state.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "auscult", *words], stderr=log, stdout=log)
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def __enter__(self) -> "Served":
        deadline = time.monotonic() + LIMIT_S
        while (found := re.search(r"open (http://\S+) in a browser", self.log.read_text())) is None:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.opener.open(found[1], timeout=LIMIT_S).close()
        parts = urllib.parse.urlsplit(found[1])
        self.address = f"{parts.scheme}://{parts.netloc}/api"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_S)

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        request = urllib.request.Request(f"{self.address}{path}", data=body)
        request.add_header("content-type", "application/octet-stream")
        try:
            with self.opener.open(request, timeout=LIMIT_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def upload(self, content: bytes) -> tuple[str, float]:
        """The answer to a file, and seconds until it came."""
        began = time.monotonic()
        status, told = self.ask("/recordings?name=a.wav", content)
        if status != 202:
            return told["code"], time.monotonic() - began
        return self._until(told["id"]), time.monotonic() - began

    def listed(self) -> dict[str, str]:
        """Name -> id of the recordings of the folder."""
        return {one["name"]: one["id"] for one in self.ask("/recordings")[1]["recordings"] if one["source"] == "folder"}

    def analysed(self, id: str) -> tuple[str, float]:
        """The answer to a recording of the folder."""
        began = time.monotonic()
        status, told = self.ask(f"/recordings/{id}/analyse", b"")
        return (self._until(id) if status == 202 else told["code"]), time.monotonic() - began

    def _until(self, id: str) -> str:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            told = self.ask(f"/recordings/{id}")[1]
            if told["state"] == "done":
                return OK
            if told["state"] == "failed":
                return told["error"]["code"]
            time.sleep(0.02)
        return f"nothing within {LIMIT_S:.0f} s"

    def judged(self, row: "Row") -> "Row":
        """The row with the memory of the server and its worker; neither may have ended."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")  # each with those that it has started
        children = [pid for thread in threads for pid in thread.read_text().split()]
        for name, pid in (("server", str(self.process.pid)), *(("worker", pid) for pid in children)):
            line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
            row.mb = max(row.mb, (int(line.split()[1]) / 1024, name))
        if self.process.poll() is not None or "Traceback" in self.log.read_text():
            row.wrong.append(self.log.read_text()[-600:])
        row.folder = True  # its time is that of a clock on a busy machine
        return row
