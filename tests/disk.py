"""A disk that is full from the n-th write on, for this process: everything below one folder."""

import builtins
import contextlib
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

WORDS = os.strerror(errno.ENOSPC)
OPEN = "/proc/self/fd/{}"  # a link to the file that is open


class Disk:
    """Counts what is written below a folder: files opened anew, writes to the system, syncs, renames, new folders.

    Args:
        root: the folder.
        room: so many of them succeed; every one after them fails until `free`. None: all do.
    """

    def __init__(self, root: Path, room: int | None = None) -> None:
        self.root, self.room = str(root.resolve()) + os.sep, room
        self.used = 0
        self.lock = threading.Lock()

    def use(self, path: Any = None) -> bool:
        """Takes one; False where the disk is full."""
        if path is not None and not os.path.realpath(os.fsdecode(path)).startswith(self.root):
            return True
        with self.lock:
            self.used += 1
            return self.room is None or self.used <= self.room

    def take(self, path: Any = None) -> None:
        """Takes one, or raises as the system does."""
        if not self.use(path):
            raise OSError(errno.ENOSPC, WORDS, None if path is None else os.fspath(path))

    @property
    def failed(self) -> bool:
        """Whether a write has failed."""
        return self.room is not None and self.used > self.room


class File(io.FileIO):
    """A file on the disk; the write that fails has brought half of its bytes."""

    disk: Disk

    def write(self, data: Any, /) -> int:
        if self.disk.use():
            return super().write(data) or 0
        super().write(memoryview(data).cast("B")[: len(memoryview(data).cast("B")) // 2])
        raise OSError(errno.ENOSPC, WORDS)


def opened(disk: Disk, true: Callable[..., Any]) -> Callable[..., Any]:
    """`open` whose files count what they write."""

    def open(  # the signature of the builtin
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
        newline: Any = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        ours = not isinstance(file, int) and os.path.realpath(os.fsdecode(file)).startswith(disk.root)
        if not ours or not set(mode) & set("wax+") or opener is not None:
            return true(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not Path(os.fsdecode(file)).exists():
            disk.take(file)
        raw = File(os.fspath(file), mode.replace("b", "").replace("t", ""))
        raw.disk = disk
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)

    return open


@contextlib.contextmanager
def full(disk: Disk) -> Iterator[Disk]:
    """While the block runs this process writes to `disk`."""
    true: dict[str, Any] = {
        name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "rename", "mkdir")
    }

    def os_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT and not Path(os.fsdecode(path)).exists():
            disk.take(path)
        return true["open"](path, flags, *rest, **named)

    def fsync(handle: Any) -> None:
        disk.take(OPEN.format(handle if isinstance(handle, int) else handle.fileno()))
        true["fsync"](handle)

    def twice(name: str) -> Callable[..., Any]:
        def moved(source: Any, to: Any, **named: Any) -> Any:
            disk.take(to)
            return true[name](source, to, **named)

        return moved

    def mkdir(path: Any, *rest: Any, **named: Any) -> None:
        if not Path(os.fsdecode(path)).exists():
            disk.take(path)
        true["mkdir"](path, *rest, **named)

    def sound_write(self: soundfile.SoundFile, data: Any) -> None:
        if not disk.use(self.name):
            raise soundfile.LibsndfileError(2, "System error.")
        sound(self, data)

    sound = soundfile.SoundFile.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened(disk, io.open))
        patch.setattr(builtins, "open", io.open)
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", twice("replace"))
        patch.setattr(os, "rename", twice("rename"))
        patch.setattr(os, "mkdir", mkdir)
        patch.setattr(soundfile.SoundFile, "write", sound_write)
        patch.setattr(np.lib.format, "isfileobj", lambda file: False)  # else numpy writes past the file object
        yield disk
