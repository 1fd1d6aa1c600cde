"""Downloads one file, goes on where an earlier attempt was cut, and checks what arrived.

Data sets and published weights both come through here.
"""

import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pooch

from .errors import AuscultError, Code
from .progress import track

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20


def fetch(url: str, path: Path, checksum: str | None, elsewhere: str = "", code: Code = "E_DATA") -> Path:
    """Downloads one file, going on from `path`.part if an earlier download was cut.

    Args:
        url: its address.
        path: where it goes.
        checksum: ``md5:...`` or ``sha256:...``; None accepts any content. A file that is there and has it is not
            fetched again; one that arrives and has it not is removed.
        elsewhere: a second place to get the file, for the message.
        code: of the error.

    Raises:
        AuscultError: `code`.
    """
    log = pooch.get_logger()
    level = log.level
    try:
        if checksum is None:
            log.setLevel(logging.WARNING)  # its advice on checksums is for programmers
        pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=Resumable(path, elsewhere, code))
    except ValueError as error:  # pooch: wrong checksum; its sentence holds both, and it has removed the file
        raise AuscultError(
            code, f"{url}: {error} Run the same command again: it starts from the beginning. {elsewhere}".rstrip()
        ) from error
    finally:
        log.setLevel(level)
    return path


class Resumable:
    """A pooch downloader that keeps what has arrived in `path`.part and asks for the rest with a Range request.

    As long as the server sends something, a connection that breaks is opened again. The whole file is handed to pooch,
    which checks it.
    """

    def __init__(self, path: Path, elsewhere: str = "", code: Code = "E_DATA") -> None:
        self.part = path.with_name(path.name + ".part")
        self.elsewhere = elsewhere
        self.code: Code = code

    def __call__(self, url: str, output_file: str, caller: Any) -> None:
        """Called by pooch with a temporary name for the whole file; `caller` is part of its interface."""
        whole, reason = False, ""
        while not whole:
            before = self._size()
            try:
                whole, reason = self._more(url), "the server closed the connection"
            except urllib.error.HTTPError as error:
                whole, reason = error.code == 416 and before > 0, f"the server answers {error.code} {error.reason}"
                error.close()
            except urllib.error.URLError as error:
                reason = f"no connection ({error.reason})"
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                reason = f"the connection broke ({error or type(error).__name__})"
            if not whole and self._size() <= before:
                raise AuscultError(self.code, self._failure(url, reason))
        self.part.replace(output_file)

    def _more(self, url: str) -> bool:
        """Appends what the server sends; True when the file is whole by its announced length."""
        size = self._size()
        request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            start = size if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise http.client.HTTPException("the server sent another part than the one asked for")
            length = answer.headers.get("Content-Length")
            steps = -(-int(length or 0) // CHUNK_BYTES)
            with self.part.open("ab" if start else "wb") as out:
                for block in track(_blocks(answer), f"download {self.part.stem} (MiB)", steps):
                    out.write(block)
        return length is None or self._size() == start + int(length)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _failure(self, url: str, reason: str) -> str:
        kept = f"{self._size()} bytes are kept in {self.part}; run the same command again to go on from there"
        again = kept if self._size() else "check the network and run the same command again"
        return f"cannot download {url}: {reason}; {again}. {self.elsewhere}".rstrip()


def _blocks(answer: Any) -> Iterator[bytes]:
    """The body in blocks; any failure to read is one of the network, never to be taken for one of the disk."""
    try:
        while block := answer.read(CHUNK_BYTES):
            yield block
    except OSError as error:
        raise http.client.HTTPException(str(error) or type(error).__name__) from error
