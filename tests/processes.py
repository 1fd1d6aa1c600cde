"""`auscult study` in a process of its own, to be killed or left to work beside this one."""

import subprocess
import sys
import time
from collections.abc import Callable

PROGRAM = "import sys; from auscult.cli.study import study; from cyclopts import App; a = App(); a.default(study); a()"


def start_study(*words: str) -> subprocess.Popen[str]:
    """Starts the command with these words; its output is kept for `communicate`."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 100.0) -> None:
    """Looks often until it is done; fails when the process ends before, or takes too long."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"not done after {limit_s} s"
        time.sleep(0.005)
