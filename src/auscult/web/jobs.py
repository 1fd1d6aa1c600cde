"""One analysis at a time, in the order they were asked for."""

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..errors import AuscultError
from .store import Entry
from .worker import Gone, Worker

ENDED = "the process that read this file ended without an answer; the file may be damaged. Others are not affected."
MISTAKE = "a mistake in the program came up; the terminal that runs the server says which."
log = logging.getLogger("auscult.web")


class Jobs:
    """The queue, and the thread that hands it to a worker.

    Args:
        start: makes a worker; called again after one has gone.
        shown: makes an error message fit to be seen: no path of this machine.
    """

    def __init__(self, start: Callable[[], Worker], shown: Callable[[str, Entry], str]) -> None:
        self._start, self._shown = start, shown
        self._waiting: deque[Entry] = deque()
        self._running: Entry | None = None
        self._worker: Worker | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="auscult-jobs", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queues a recording; one that is queued, running or done stays as it is."""
        with self._changed:
            if entry.state in ("queued", "running", "done"):
                return
            entry.state, entry.progress, entry.error = "queued", 0.0, None
            self._waiting.append(entry)
            self._changed.notify_all()

    def cancel(self, entry: Entry) -> None:
        """Takes a recording out of the queue, or stops the work on it."""
        with self._changed:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif self._running is not entry:
                return
            elif self._worker is not None:
                self._worker.kill()
            entry.state, entry.progress = "cancelled", 0.0
            self._changed.notify_all()

    def leave(self, entry: Entry) -> None:
        """Cancels, and waits until nothing works on the recording."""
        self.cancel(entry)
        with self._changed:
            self._changed.wait_for(lambda: self._running is not entry, timeout=10)

    def stop(self) -> None:
        """Ends the work and the thread."""
        with self._changed:
            self._stopped = True
            if self._worker is not None:
                self._worker.kill()
            self._changed.notify_all()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            while (entry := self._next()) is not None:
                self._do(entry)
        finally:
            if self._worker is not None:
                self._worker.close()

    def _next(self) -> Entry | None:
        with self._changed:
            if self._worker is None and not self._stopped:
                self._worker = self._start()  # before it is needed: it takes seconds to load a model
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return None
            self._running = self._waiting.popleft()
            self._running.state = "running"
            return self._running

    def _do(self, entry: Entry) -> None:
        assert self._worker is not None
        request = {"path": str(entry.path), "folder": str(entry.work)}
        found, error, gone = None, None, False
        try:
            found = self._worker.ask(request, lambda share: setattr(entry, "progress", share))
        except AuscultError as refused:
            error = {"code": refused.code, "message": self._shown(refused.message, entry)}
        except Gone:
            error, gone = {"code": "E_CRASH", "message": ENDED}, True
        except Exception:  # the queue must go on
            log.exception("the analysis of a recording failed")
            error = {"code": "E_SERVER", "message": MISTAKE}
        if gone:
            self._worker.close()
        with self._changed:
            if gone:
                self._worker = None
            if entry.state == "running":
                self._settle(entry, found, error)
            self._running = None
            self._changed.notify_all()

    def _settle(self, entry: Entry, found: dict | None, error: dict[str, str] | None) -> None:
        entry.error = error
        entry.state = "failed" if found is None else "done"
        if found is not None:
            entry.sha256 = found.pop("sha256")
            entry.analysis, entry.progress = found, 1.0
