"""Processes of this machine that score recordings: a recording that ends its process costs that recording only.

They speak JSON lines, no pickle (`web.worker`). Each is `cli.worker`: it loads the model once, computes with one
thread, so that the results are the same bits with any number of them, and ends when this process does.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from .analysis.spreadsheet import printable
from .errors import AuscultError
from .scoring import Line, Scoring, Task, failed
from .web.worker import Gone, ProcessWorker, Request

COMMAND = [sys.executable, "-P", "-m", "auscult.cli.worker"]  # -P: a file in the working folder is no module
AHEAD = 2  # recordings a worker that are asked for and not answered
HELD = 64  # the same where answers are wanted in order, and a long recording holds back those behind it
TRIES = 3  # a worker that ends so often before it is ready will never be


class Place(Protocol):
    """Where a worker process is: on this machine, or on one of a cluster."""

    def ask(self, request: Request) -> dict[str, Any]:
        """The answer. Raises AuscultError, `Gone` when the process has ended, `Lost` when the place has."""

    @property
    def alive(self) -> bool:
        """Whether it can be asked, as far as that is known without asking."""

    def kill(self) -> None:
        """Ends it at once; from any thread."""

    def end(self) -> str:
        """Ends it and gives back what it held; in words how the process ended, where it had."""


class Lost(Exception):
    """A place that went away, a whole machine for instance: nothing to do with what it was asked."""


class Here:
    """A place on this machine.

    Args:
        settings: added to the environment of the process.
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.worker = ProcessWorker(COMMAND, dict(os.environ) | settings)
        self.kill = self.worker.kill

    def ask(self, request: Request) -> dict[str, Any]:
        """See `Place`."""
        return self.worker.ask(request, lambda share: None)

    @property
    def alive(self) -> bool:
        """See `Place`."""
        return self.worker.process.poll() is None

    def end(self) -> str:
        """See `Place`."""
        self.worker.close()
        code = self.worker.process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Workers:
    """As many processes as asked for, started when they are needed; a context manager, which ends them.

    Args:
        scoring: what each builds once.
        count: of processes.
        sha256: of the model's weights: a worker that loads others is refused.
        start: gives a new place.
    """

    def __init__(self, scoring: Scoring, count: int, sha256: str, start: Callable[[], Place] | None = None) -> None:
        self.scoring, self.count, self.sha256 = scoring, count, sha256
        self._start = start or partial(Here, settings())
        self._idle: queue.SimpleQueue[Place] = queue.SimpleQueue()
        self._running: set[Place] = set()
        self._closed = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed = True
            for place in self._running:
                place.kill()
        self._threads.shutdown(cancel_futures=True)
        for place in self._running:
            place.end()

    def lines(self, tasks: Iterable[Task], in_order: bool = False) -> Iterator[Line]:
        """A line for each recording, as they come, or in the order of the recordings.

        Raises:
            AuscultError: E_RUN when no worker can be started any more.
        """
        limit = self.count * (HELD if in_order else AHEAD)
        asked: list[Future[Line]] = []
        for task in tasks:
            asked.append(self._threads.submit(self._line, *task))
            if len(asked) >= limit:
                yield from answered(asked, in_order)
        while asked:
            yield from answered(asked, in_order)

    def _line(self, file: Path, sha256: str) -> Line:
        for _ in range(TRIES):
            place = self._free()
            try:
                line = place.ask({"file": str(file), "sha256": sha256})
            except Lost:
                how = self._end(place)
                continue
            except Gone:
                how = self._end(place)
                break
            self._idle.put(place)
            return line
        shown = printable(str(file))
        words = f"the process that worked on {shown!r} ended with {how}; --resume tries it again."
        return {"recording": shown, "sha256": sha256} | failed(AuscultError("E_RUN", words))

    def _free(self) -> Place:
        """A worker that waits for a recording; each thread has one at most, so there are never more than `count`."""
        with contextlib.suppress(queue.Empty):
            while True:
                place = self._idle.get_nowait()
                if place.alive:
                    return place
                self._end(place)  # killed while it waited: no recording is to blame
        for _ in range(TRIES):
            place = self._started()
            try:
                loaded = place.ask(asdict(self.scoring))["sha256"]
            except (Gone, Lost):
                how = self._end(place)
                continue
            if loaded != self.sha256:
                raise AuscultError(
                    "E_RUN", "the model was replaced while it was used. Start again, with another --out."
                )
            return place
        raise AuscultError(
            "E_RUN",
            f"a worker process ended with {how} before its first recording, {TRIES} times in a row. What is done is "
            "kept: --resume goes on; with fewer --workers less memory is needed.",
        )

    def _started(self) -> Place:
        with self._lock:
            if self._closed:
                raise CancelledError
            place = self._start()
            self._running.add(place)
        return place

    def _end(self, place: Place) -> str:
        """Ends a worker that is gone, or does not keep to the language; how it ended, in words."""
        how = place.end()
        with self._lock:
            self._running.discard(place)
        return how


def answered(asked: list[Future[Line]], in_order: bool) -> Iterator[Line]:
    """Takes those that are answered out of the list, and waits for one where none is."""
    wait(asked[:1] if in_order else asked, return_when=FIRST_COMPLETED)
    for future in [future for future in asked if future.done()]:
        if in_order and future is not asked[0]:
            return
        asked.remove(future)
        yield future.result()


def settings() -> dict[str, str]:
    """What the environment of a worker has more: one thread, and this process's route of matrix products."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if (torch := sys.modules.get("torch")) is None:  # the model that was loaded here needs none, so theirs does not
        return one
    return one | {"AUSCULT_MATMUL": "onednn" if torch.get_float32_matmul_precision() == "medium" else "default"}
