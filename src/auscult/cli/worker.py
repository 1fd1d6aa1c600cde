"""One of the processes of `workers`: ``python -m auscult.cli.worker``. Recordings on standard input, lines on output.

The first request is what to build; it is answered when the model is loaded.
"""

import json
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any

ORPHANED = 1


def main() -> None:
    """Answers until the end of standard input, which is the end of the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=read, args=(asked,), daemon=True).start()
    from ..blas import tune_torch
    from ..errors import AuscultError
    from ..progress import be_silent
    from ..scoring import Scoring
    from ..web.worker import line
    from .process import prepare_memory

    def answer(value: dict[str, Any]) -> None:
        answers.write(line(value))
        answers.flush()

    be_silent()
    scoring = Scoring(**asked.get())
    prepare_memory()
    try:
        scorer = scoring.build()
    except AuscultError as error:
        answer({"error": {"code": error.code, "message": error.message}})
        return
    tune_torch()
    answer({"done": {"sha256": scorer.model.sha256}})
    while True:
        task = asked.get()
        answer({"done": scorer.line(Path(task["file"]), task["sha256"])})


def read(asked: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Takes requests while the model works, so that the end of the other process is seen amid a recording."""
    with open(0, "rb", buffering=0) as requests:  # a buffered reader would hold a lock at the end
        for request in requests:
            asked.put(json.loads(request))
    os._exit(ORPHANED)


if __name__ == "__main__":
    main()
