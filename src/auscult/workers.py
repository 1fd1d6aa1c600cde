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
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from .analysis.spreadsheet import printable
from .errors import AuscultError
from .scoring import Line, Scoring, Task, failed
from .web.worker import Gone, ProcessWorker

COMMAND = [sys.executable, "-P", "-m", "auscult.cli.worker"]  # -P: a file in the working folder is no module
AHEAD = 2  # recordings a worker that are asked for and not answered
HELD = 64  # the same where answers are wanted in order, and a long recording holds back those behind it
STARTS = 3  # a worker that ends so often before it is ready will never be


class Workers:
    """As many processes as asked for, started when they are needed; a context manager, which ends them.

    Args:
        scoring: what each builds once.
        count: of processes.
        sha256: of the model's weights: a worker that loads others is refused.
    """

    def __init__(self, scoring: Scoring, count: int, sha256: str) -> None:
        self.scoring, self.count, self.sha256 = scoring, count, sha256
        self._environment = environment()
        self._idle: queue.SimpleQueue[ProcessWorker] = queue.SimpleQueue()
        self._running: set[ProcessWorker] = set()
        self._closed = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed = True
            for worker in self._running:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._running:
            worker.close()

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
        worker = self._free()
        try:
            line = worker.ask({"file": str(file), "sha256": sha256}, _unheard)
        except Gone:
            shown = printable(str(file))
            words = f"the process that worked on {shown!r} ended with {self._end(worker)}; --resume tries it again."
            return {"recording": shown, "sha256": sha256} | failed(AuscultError("E_RUN", words))
        self._idle.put(worker)
        return line

    def _free(self) -> ProcessWorker:
        """A worker that waits for a recording; each thread has one at most, so there are never more than `count`."""
        with contextlib.suppress(queue.Empty):
            while True:
                worker = self._idle.get_nowait()
                if worker.process.poll() is None:
                    return worker
                self._end(worker)  # killed while it waited: no recording is to blame
        how = ""
        for _ in range(STARTS):
            worker = self._started()
            try:
                loaded = worker.ask(asdict(self.scoring), _unheard)["sha256"]
            except Gone:
                how = self._end(worker)
                continue
            if loaded != self.sha256:
                raise AuscultError(
                    "E_RUN", "the model was replaced while it was used. Start again, with another --out."
                )
            return worker
        raise AuscultError(
            "E_RUN",
            f"a worker process ended with {how} before its first recording, {STARTS} times in a row. What is done is "
            "kept: --resume goes on; with fewer --workers less memory is needed.",
        )

    def _started(self) -> ProcessWorker:
        with self._lock:
            if self._closed:
                raise Gone
            worker = ProcessWorker(COMMAND, self._environment)
            self._running.add(worker)
        return worker

    def _end(self, worker: ProcessWorker) -> str:
        """Ends a worker that is gone, or does not keep to the language; how it ended, in words."""
        worker.close()
        with self._lock:
            self._running.discard(worker)
        code = worker.process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def answered(asked: list[Future[Line]], in_order: bool) -> Iterator[Line]:
    """Takes those that are answered out of the list, and waits for one where none is."""
    wait(asked[:1] if in_order else asked, return_when=FIRST_COMPLETED)
    for future in [future for future in asked if future.done()]:
        if in_order and future is not asked[0]:
            return
        asked.remove(future)
        yield future.result()


def environment() -> dict[str, str]:
    """The environment of a worker: one thread, and this process's route of matrix products."""
    import torch

    route = "onednn" if torch.get_float32_matmul_precision() == "medium" else "default"
    return dict(os.environ) | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "AUSCULT_MATMUL": route}


def _unheard(share: float) -> None:
    """Progress within a recording, which nobody shows here."""
