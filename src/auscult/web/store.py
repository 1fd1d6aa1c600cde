"""Recordings the page knows: uploads in a private temporary folder, and those of a folder, which are only read.

A recording is named by an id that the server makes. A file name is something to show, never a path: what is uploaded
lies under its id, and a folder is looked through once, by the server.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..analysis.spreadsheet import printable
from ..runs import unwritten
from ..signal.io import AUDIO_SUFFIXES
from .guard import Refused
from .room import Room

State = Literal["waiting", "queued", "running", "done", "failed", "cancelled"]
PREFIX = "auscult-serve-"
LONGEST_NAME = 200
MOST_FILES = 20_000


@dataclass(kw_only=True, eq=False)
class Entry:
    """One recording.

    Args:
        id: what addresses name it by.
        name: to show.
        source: where it comes from.
        path: what is decoded.
        work: private folder for what is made of it.
        stamp: of a file of the folder: path, size and time of change, hashed; finds its review without reading it.
        sha256: of the content; None before it was read.
        state: of its analysis.
        progress: of its analysis, 0 to 1.
        error: code and message where it failed.
        analysis: what came of it; see `analysis.py`.
    """

    id: str
    name: str
    source: Literal["upload", "folder"]
    path: Path
    work: Path
    stamp: str | None = None
    sha256: str | None = None
    state: State = "waiting"
    progress: float = 0.0
    error: dict[str, str] | None = None
    analysis: dict[str, Any] | None = field(default=None, repr=False)


class Store:
    """All recordings.

    Args:
        folder: whose recordings are listed; None for uploads only.

    Raises:
        AuscultError: E_DISK.
    """

    def __init__(self, folder: Path | None = None) -> None:
        remove_leftovers()
        try:
            self.root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        except OSError as error:
            raise unwritten(Path(error.filename or tempfile.gettempdir()), error) from error
        self.folder, self.room = folder, Room(self.root)
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self.scan()

    def scan(self) -> None:
        """Looks through the folder again: new files come, those that have gone and were not analysed go."""
        if self.folder is None:
            return
        found = {entry.id: entry for entry in map(self._of_folder, audio_files(self.folder)) if entry is not None}
        with self._lock:
            for id in [e.id for e in self._entries.values() if e.source == "folder" and e.state == "waiting"]:
                del self._entries[id]
            self._entries = found | self._entries

    def _of_folder(self, path: Path) -> Entry | None:
        assert self.folder is not None
        try:
            facts = path.stat()
        except OSError:
            return None
        relative = path.relative_to(self.folder)
        id = token(os.fsencode(relative))
        stamp = token(os.fsencode(path.resolve()), str((facts.st_size, facts.st_mtime_ns)).encode())
        name = printable(relative.as_posix())
        return Entry(id=id, name=name, source="folder", path=path, work=self.root / id, stamp=stamp)

    def upload(self, name: str) -> Entry:
        """A place for a new upload; it is listed after `add`.

        Raises:
            Refused: 507 for a full disk.
        """
        id = secrets.token_hex(12)
        work = self.root / id
        try:
            work.mkdir(mode=0o700)
        except OSError as error:
            raise Refused(507, "E_DISK", f"the upload could not be kept: {error.strerror}. Free space.") from error
        return Entry(id=id, name=shown_name(name), source="upload", path=work / "upload", work=work)

    def add(self, entry: Entry) -> None:
        """Lists an upload that has come in whole."""
        with self._lock:
            self._entries[entry.id] = entry

    def all(self) -> list[Entry]:
        """Every recording, in the order they came; those of the folder by name."""
        with self._lock:
            return list(self._entries.values())

    def get(self, id: str) -> Entry:
        """The recording of an id.

        Raises:
            Refused: 404.
        """
        with self._lock:
            entry = self._entries.get(id)
        if entry is None:
            raise Refused(404, "E_NOT_FOUND", "there is no such recording any more; add the file again.")
        return entry

    def remove(self, entry: Entry) -> None:
        """Forgets a recording and what was made of it; a file of the folder stays where it is."""
        with self._lock:
            self._entries.pop(entry.id, None)
        shutil.rmtree(entry.work, ignore_errors=True)
        self.room.left(entry.id)

    def close(self) -> None:
        """Removes all uploads and what was made of recordings."""
        shutil.rmtree(self.root, ignore_errors=True)


def audio_files(folder: Path) -> Iterable[Path]:
    """Audio files under a folder, by name; hidden ones are left out, linked folders not entered."""
    found: list[Path] = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (name for name in sorted(files) if not name.startswith("."))
        found += [path for name in visible if (path := Path(where, name)).suffix.lower() in AUDIO_SUFFIXES]
        if len(found) >= MOST_FILES:
            return found[:MOST_FILES]
    return found


def token(*parts: bytes) -> str:
    """A name made of a hash of `parts`."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def shown_name(raw: str) -> str:
    r"""The last part of a file name as a person reads it; never a path.

    >>> shown_name("../../etc/passwd"), shown_name("C:\\a\\b.wav"), shown_name("a\0b\n.wav"), shown_name("/")
    ('passwd', 'b.wav', 'a\\x00b\\n.wav', 'recording')
    """
    last = raw.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return printable(last.strip())[:LONGEST_NAME] or "recording"


def remove_leftovers() -> None:
    """Removes what a server of this user left behind when it was killed."""
    if os.name != "posix":  # elsewhere a process cannot be asked whether it lives without harm
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if (
                pid.isdigit()
                and folder.lstat().st_uid == os.getuid()
                and not folder.is_symlink()
                and not alive(int(pid))
            ):
                shutil.rmtree(folder, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process runs (POSIX)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
