"""The process that decodes and predicts, one recording at a time: a file that crashes it costs that file only.

It speaks JSON lines, no pickle: a request on standard input, then on standard output ``{"progress": 0.5}`` as often as
it likes and at last ``{"done": ...}`` or ``{"error": {"code", "message"}}``. Cancelling is killing it. It ends when its
standard input does, so it never outlives the server for long.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..errors import AuscultError

EVERY_S = 0.2  # progress is told no more often
Request = dict[str, Any]


class Gone(Exception):
    """The process has ended, by itself or by `Worker.kill`."""


class Worker(Protocol):
    """What `jobs.Jobs` needs."""

    def ask(self, request: Request, told: Callable[[float], None]) -> dict[str, Any]:
        """The answer; `told` gets progress. Raises AuscultError for the file's sake, and `Gone`."""

    def kill(self) -> None:
        """Ends it at once; from any thread."""

    def close(self) -> None:
        """Ends it and gives back what it held; after this nothing may be asked."""


class ProcessWorker:
    """A worker in a process of its own.

    Args:
        command: that starts it.
        environment: of the process; None for that of this one.
    """

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        pipe = subprocess.PIPE
        # in a group of its own: Ctrl-C is for this process, which ends that one
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, process_group=0)

    def ask(self, request: Request, told: Callable[[float], None]) -> dict[str, Any]:
        """See `Worker`."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(line(request))
            self.process.stdin.flush()
        except OSError as error:
            raise Gone from error
        for answer in self.process.stdout:
            try:
                said = json.loads(answer)
            except ValueError as error:
                raise Gone from error  # killed while it wrote
            if "progress" in said:
                told(said["progress"])
            elif "error" in said:
                raise AuscultError(said["error"]["code"], said["error"]["message"])
            else:
                return said["done"]
        raise Gone

    def kill(self) -> None:
        """See `Worker`."""
        self.process.kill()

    def close(self) -> None:
        """See `Worker`."""
        self.process.kill()
        # closes the pipes and waits; a request that met a dead process may still be in its pipe
        with contextlib.suppress(BrokenPipeError), self.process:
            pass


def command(source: str | Path | None) -> list[str]:
    """The command of a worker for the model that `auscult.load(source)` gives."""
    # -P: a file in the working folder must not pass for a module
    return [sys.executable, "-P", "-m", "auscult.web.worker", *([] if source is None else [str(source)])]


def line(value: Any) -> bytes:
    """JSON on one line, in ASCII: names of odd bytes go through."""
    return json.dumps(value).encode("ascii") + b"\n"


def serve(work: Callable[[Request, Callable[[float], None]], Any], asked: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until there are no more."""

    def answer(value: dict[str, Any]) -> None:
        answers.write(line(value))
        answers.flush()

    for request in asked:
        last = 0.0

        def told(share: float) -> None:
            nonlocal last
            if time.monotonic() - last > EVERY_S:
                last = time.monotonic()
                answer({"progress": round(share, 3)})

        try:
            answer({"done": work(json.loads(request), told)})
        except AuscultError as error:
            answer({"error": {"code": error.code, "message": error.message}})
        except Exception:
            traceback.print_exc()
            words = "this file met a mistake in the program; the terminal that runs the server says which."
            answer({"error": {"code": "E_SERVER", "message": words}})


def main(source: str | None = None) -> None:
    """Serves the model of `source` on standard input and output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    from ..blas import tune_torch
    from ..predict import Model, load
    from .analysis import analyse
    from .memory import give_back, keep_little

    keep_little()

    def made() -> Model | AuscultError:
        try:
            loaded = load(source)
            tune_torch()
            return loaded
        except AuscultError as error:
            return error

    def work(request: Request, told: Callable[[float], None]) -> dict[str, Any]:
        if isinstance(model, AuscultError):
            raise model
        try:
            return analyse(model, Path(request["path"]), Path(request["folder"]), told)
        finally:
            give_back()

    model = made()
    with answers:
        serve(work, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
