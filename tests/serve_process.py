"""`auscult serve` in a process of its own: where it answers, what it weighs, what it leaves behind."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auscult.web.store import PREFIX

PROGRAM = """
import importlib, json, sys
from functools import partial
from pathlib import Path
settings, model, state = json.loads(sys.argv[1])
for name, value in settings.items():
    module, _, name = name.rpartition(".")
    setattr(importlib.import_module("auscult.web." + module), name, value)
from auscult.web import app
app.create_app = partial(app.create_app, max_bytes=app.MAX_BYTES)
from auscult.cli.serve import serve
serve(model=model, port=0, state=Path(state), open_browser=False)
"""


@dataclass
class Server:
    """A running server.

    Args:
        process: of the server; the worker is its child.
        address: with the token.
        temporary: its folder for temporary files.
    """

    process: subprocess.Popen[str]
    address: str
    temporary: Path
    cookie: str = ""
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", self.address[self.address.index("/?") :])
            self.cookie = connection.getresponse().headers["set-cookie"].partition(";")[0]

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].partition("/")[0])

    def connect(self, timeout: float = 120.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status, and the answer: JSON if it is that."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, {"Cookie": self.cookie} | headers)
            answer = connection.getresponse()
            content = answer.read()
            is_json = content and answer.headers.get("content-type") == "application/json"
            return answer.status, json.loads(content) if is_json else content

    def kept(self) -> list[str]:
        """Files of recordings in the temporary folder."""
        return [path.name for path in self.temporary.glob(f"{PREFIX}*/*/*")]


@contextlib.contextmanager
def serving(folder: Path, model: Path | None = None, settings: Mapping[str, object] | None = None) -> Iterator[Server]:
    """A server, and its end on SIGTERM.

    Args:
        folder: for its reviews and temporary files.
        model: weights; None for the model in the package.
        settings: constants of `auscult.web` that are changed, as ``guard.STALL_S``.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    told = json.dumps([dict(settings or {}), None if model is None else str(model), str(folder / "state")])
    environment = os.environ | {"TMPDIR": str(temporary)}
    words = [sys.executable, "-c", PROGRAM, told]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if "http://127.0.0.1:" in line:
                    break
            else:
                raise AssertionError("".join(said))
            reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
            reader.start()
            yield Server(process, said[-1].split()[1], temporary, said=said)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            reader.join(10)


class Scales:
    """Weighs a process and its children until it is told to stop (Linux).

    `peak_mb` is the most memory that all held at one time, MiB: what each has for itself, and every mapped file, as the
    libraries that they share, once. `each_mb` is the resident size of each alone.
    """

    def __init__(self, pid: int, every_s: float = 0.2) -> None:
        self.pid, self.every_s, self.peak_mb = pid, every_s, 0.0
        self.each_mb: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Scales":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            own, files = 0.0, dict[str, float]()
            for pid in family(self.pid):
                anonymous, mapped = held_mb(pid)
                self.each_mb[pid] = max(self.each_mb.get(pid, 0.0), anonymous + sum(mapped.values()))
                own += anonymous
                files |= {name: max(mb, files.get(name, 0.0)) for name, mb in mapped.items()}
            self.peak_mb = max(self.peak_mb, own + sum(files.values()))
            time.sleep(self.every_s)

    def told(self) -> str:
        """In words."""
        each = ", ".join(f"{'server' if pid == self.pid else 'worker'} {mb:.0f}" for pid, mb in self.each_mb.items())
        return f"at most {self.peak_mb:.0f} MiB at one time (resident size of each at its own peak: {each})"


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    # a thread of the server starts the worker, and it is the child of that thread
    found = [int(word) for task in children.parent.parent.glob("*/children") for word in _read(task).split()]
    return [pid, *found]


def held_mb(pid: int) -> tuple[float, dict[str, float]]:
    """What a process holds for itself, and of each mapped file; nothing for one that has ended."""
    own, files, name = 0, Counter[str](), ""
    for line in _read(Path(f"/proc/{pid}/smaps")).splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # a mapping: places, rights, offset, device, inode, path
            name = words[5] if len(words) > 5 and words[4] != "0" else ""
        elif words[0] == "Rss:" and name:
            files[name] += int(words[1])
        elif words[0] == "Rss:":
            own += int(words[1])
        elif words[0] == "Anonymous:" and name:  # pages of a file that were written to
            files[name] -= int(words[1])
            own += int(words[1])
    return own / 1024, {name: kb / 1024 for name, kb in files.items()}


def _read(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text()
    return ""
