"""Processes that are killed on purpose, quickly: one process imports and compiles everything, then forks for each.

Linux and other POSIX systems; the process that forks has one thread.
"""

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 300.0
SOME_FAILED = 3  # exit code of a command that has met a bad recording


def warm(folder: Path) -> Path:
    """Compiles what a training and a prediction compile, in this process; gives a small corpus in `folder`."""
    from auscult.evaluate import evaluate
    from auscult.train import train

    from .small import small_corpus, small_recipe

    corpus = small_corpus(folder / "corpus")
    os.environ["AUSCULT_CACHE"] = str(folder / "cache")
    evaluate(train(small_recipe("epochs=1"), "synthetic", corpus, folder / "warm"))
    return corpus


class After:
    """So many seconds from now on."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.due = seconds, time.monotonic() + seconds

    def __call__(self) -> bool:
        return time.monotonic() >= self.due

    def __str__(self) -> str:
        return f"after {self.seconds:.3f} s"


class Writing:
    """Whether the n-th file is being written in a folder, since so many seconds.

    Args:
        folder: looked at with all below it.
        number: counted from 1, of the files that were seen while they had their temporary name.
        seconds: after that.
    """

    def __init__(self, folder: Path, number: int, seconds: float) -> None:
        self.folder, self.number, self.seconds = folder, number, seconds
        self.seen: set[int] = set()
        self.due = 0.0

    def __str__(self) -> str:
        return f"{self.seconds:.3f} s into file {self.number}"

    def __call__(self) -> bool:
        if not self.due:
            for file in self.folder.rglob(".*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    self.seen.add(file.stat().st_ino)
            if len(self.seen) >= self.number:
                self.due = time.monotonic() + self.seconds
        return bool(self.due) and time.monotonic() >= self.due


class Child:
    """A fork of this process that does some work, in a group of its own, and says nothing but into a file.

    Args:
        work: what it does; an int that it gives is the exit code.
        log: where its output goes.
    """

    def __init__(self, work: Callable[[], object], log: Path) -> None:
        assert not Path("/proc/self/task").exists() or len(list(Path("/proc/self/task").iterdir())) == 1
        self.log, self.started = log, time.monotonic()
        self.usage: resource.struct_rusage | None = None  # after `wait`: it begins with the memory of this process
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_work(work, log))
        with contextlib.suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(self.pid, self.pid)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code, less than 0 for a signal."""
        deadline = time.monotonic() + limit_s
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.usage = usage
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"more than {limit_s} s: {self.said()}")
            time.sleep(0.002)

    def killed_when(self, ready: Callable[[], bool]) -> bool:
        """Kills it, and what it has started, as soon as it is so; False where it had ended before."""
        while True:
            due = ready()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                assert os.waitstatus_to_exitcode(status) in (0, SOME_FAILED), self.said()
                return False
            if due:
                break
            time.sleep(0.001)
        os.killpg(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert code in (0, SOME_FAILED, -signal.SIGKILL), self.said()
        return code < 0

    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")


def _work(work: Callable[[], object], log: Path) -> int:
    """In the child: the exit code."""
    code = 1
    try:
        os.setpgid(0, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        result = work()
        code = result if isinstance(result, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code
