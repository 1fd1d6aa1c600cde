"""How much may be uploaded: at once, in number and in bytes. More is refused in plain words, before it is kept."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .guard import Refused

AT_ONCE = 32  # uploads that come in; the page sends one after another
MOST = 1000  # uploads that are kept until the page is closed or they are removed
MOST_BYTES = 2**33  # of all uploads together
SPARE = 2**28  # bytes that an upload must leave free on the disk


class Room:
    """Counts uploads.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._coming = 0
        self._bytes: dict[str, int] = {}

    @contextmanager
    def coming(self, id: str, said: int) -> Iterator[None]:
        """While an upload comes in. Where that ends with an error its room is given back.

        Args:
            said: its length as far as it is known, bytes.

        Raises:
            Refused: 429 for too many, 507 for too much.
        """
        with self._lock:
            if self._coming >= AT_ONCE:
                raise Refused(429, "E_BUSY", f"{AT_ONCE} uploads come in at this moment; send it again a little later.")
            if len(self._bytes) >= MOST:
                raise Refused(429, "E_FULL", f"{MOST} uploads are kept here; remove some, or close the page.")
            self._coming += 1
            self._bytes[id] = 0
        try:
            self.grown(id, said)
            yield
        except BaseException:
            self.left(id)
            raise
        finally:
            with self._lock:
                self._coming -= 1

    def grown(self, id: str, to: int) -> None:
        """An upload takes so many bytes; what was set aside for it before counts once.

        Raises:
            Refused: 507.
        """
        with self._lock:
            more = max(0, to - self._bytes[id])
            if sum(self._bytes.values()) + more > MOST_BYTES:
                words = f"uploads may take {MOST_BYTES / 2**30:g} GiB together; remove some, or close the page."
                raise Refused(507, "E_FULL", words)
            if shutil.disk_usage(self.folder).free < more + SPARE:
                raise Refused(507, "E_DISK", "the disk of the temporary folder is nearly full; free some space.")
            self._bytes[id] += more

    def left(self, id: str) -> None:
        """An upload is removed; nothing happens for what is none."""
        with self._lock:
            self._bytes.pop(id, None)
