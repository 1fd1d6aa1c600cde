"""Clients of `auscult serve` that send uploads of every kind, and some that are slow on purpose."""

import contextlib
import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from .serve_process import Server

GONE = "gone"  # the client left before the answer
PART = 2**18
AGAIN_S = 0.2
TRIES = 600


class Upload(NamedTuple):
    """What is sent.

    Args:
        content: bytes, or how many zeros.
        answers: codes that are right.
        chunked: without its length.
        early: nothing is sent after the first part.
        cookie: whether it holds the key.
    """

    name: str
    content: bytes | int
    answers: tuple[str, ...]
    chunked: bool = False
    early: bool = False
    cookie: bool = True

    @property
    def size(self) -> int:
        return self.content if isinstance(self.content, int) else len(self.content)

    def parts(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        if isinstance(self.content, bytes):
            yield from (self.content[at : at + PART] for at in range(0, len(self.content), PART))
            return
        zeros = bytes(PART)
        for at in range(0, self.content, PART):
            yield zeros[: self.content - at]


def send(server: Server, upload: Upload, report: Any) -> tuple[str, str]:
    """Uploads, again and again while the server says that it is busy; gives the code of a refusal and the id, or "".

    Args:
        report: counts in `busy` how often that was.
    """
    for _ in range(TRIES):
        status, answer = once(server, upload)
        if status == 202:
            return "", answer["id"]
        if answer.get("code") != "E_BUSY":
            return answer.get("code", f"status {status}"), ""
        report.busy += 1
        time.sleep(AGAIN_S)
    return "E_BUSY", ""


def once(server: Server, upload: Upload) -> tuple[int, dict[str, Any]]:
    """Status and answer of one try."""
    with contextlib.closing(server.connect(timeout=300)) as connection:
        begin(connection, server, upload)
        try:
            for part in upload.parts():
                if select.select([connection.sock], [], [], 0)[0]:
                    break  # it answers before the end
                connection.send(b"%x\r\n%b\r\n" % (len(part), part) if upload.chunked else part)
                if upload.early:
                    break
            else:
                connection.send(b"0\r\n\r\n" if upload.chunked else b"")
        except OSError:
            pass  # refused and closed; the answer is still there to be read
        if upload.early and GONE in upload.answers:
            return 0, {"code": GONE}
        try:
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, {"code": f"{type(error).__name__} {error}"}


def begin(connection: http.client.HTTPConnection, server: Server, upload: Upload) -> None:
    """The header of an upload."""
    connection.putrequest("POST", f"/api/recordings?name={quote(upload.name, errors='surrogateescape')}")
    connection.putheader("Content-Type", "application/octet-stream")
    if upload.cookie:
        connection.putheader("Cookie", server.cookie)
    # who breaks off says more than it sends
    length = upload.size + (2 * PART if upload.early else 0)
    connection.putheader(*(("Transfer-Encoding", "chunked") if upload.chunked else ("Content-Length", str(length))))
    connection.endheaders()


class Slow(threading.Thread):
    """A client that keeps its connection busy with next to nothing, until the server ends it.

    Args:
        number: which kind: a header or a body that comes byte by byte, a reader that does not read, or silence.
        recording: whose sound is asked for and not read.
    """

    def __init__(self, server: Server, number: int, recording: str, patience_s: float = 150.0) -> None:
        super().__init__(daemon=True)
        self.server, self.recording, self.patience_s = server, recording, patience_s
        self.kind = ("header", "body", "reader", "silent")[number % 4]
        self.mistake = ""

    def run(self) -> None:
        deadline = time.monotonic() + self.patience_s
        with socket.socket() as here:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            here.connect(("127.0.0.1", self.server.port))
            here.sendall(self.first())
            if self.kind == "reader" and (begun := here.recv(12, socket.MSG_PEEK)) != b"HTTP/1.1 200":
                self.mistake = f"reader got {begun!r}"
                return
            while time.monotonic() < deadline:
                if self.ended(here):
                    return
                if self.kind in ("header", "body"):
                    with contextlib.suppress(OSError):
                        here.send(b"x")
                time.sleep(0.2)
        self.mistake = f"{self.kind} kept open for {self.patience_s} s"

    def first(self) -> bytes:
        """What is sent at once."""
        host = f"Host: 127.0.0.1:{self.server.port}\r\nCookie: {self.server.cookie}\r\n"
        if self.kind == "reader":
            return f"GET /api/recordings/{self.recording}/audio HTTP/1.1\r\n{host}\r\n".encode()
        if self.kind == "body":
            kind = "Content-Type: application/octet-stream\r\nContent-Length: 1000000"
            return f"POST /api/recordings HTTP/1.1\r\n{host}{kind}\r\n\r\n".encode()
        return f"GET / HTTP/1.1\r\n{host}X-Slow: ".encode() if self.kind == "header" else b""

    def ended(self, here: socket.socket) -> bool:
        """Whether the server has ended the connection; what it sent before is left lying."""
        poll = select.poll()
        poll.register(here, select.POLLRDHUP)
        return bool(poll.poll(0))
