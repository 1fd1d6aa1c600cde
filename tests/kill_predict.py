"""`auscult predict` on a folder, killed at random moments: `--resume` must lose nothing and do nothing twice.

    python -m tests.kill_predict --n 20 --workers 2
    python -m tests.kill_predict --n 20 --workers 2 --engine ray

In each round the command itself gets SIGKILL when a random number of recordings is done; in every second round one of
its workers got it before. Nothing may be left running. Then the command runs to its end with `--resume`, and its files
must be, byte for byte, those of a prediction in one process that was left alone. Exit code 1 where it is not so.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import folder

ORPHANS_END_S = 20.0
LIMIT_S = 900.0
WORKERS = b"auscult.cli.worker", b"ray::Holder"
# Ray's own: helpers, before and after they have set their titles, and a worker that was just starting. They end by
# themselves, up to some minutes later, when they have given up looking for what started them.
LATE = (
    b"ray::DashboardAgent",
    b"ray::RuntimeEnvAgent",
    b"/dashboard/agent.py",
    b"/runtime_env/agent/main.py",
    b"/workers/default_worker.py",
)


class Killed(NamedTuple):
    """What one round came to.

    Args:
        done: recordings in the journal when the command was killed.
        again: of these the ones whose worker was killed, which are to be done again.
    """

    done: int
    again: int


def lines(out: Path) -> list[dict]:
    """The whole lines of a journal, without the first."""
    journal = out / "journal.jsonl"
    raw = journal.read_bytes() if journal.exists() else b""
    return [json.loads(line) for line in raw.splitlines(keepends=True)[1:] if line.endswith(b"\n")]


def family(pid: int) -> list[int]:
    """The processes below a process (Linux)."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *family(child)]
    return found


def words_of(pid: int) -> bytes:
    """Its command line; nothing where it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen]:
    """The command, which is gone when the block is left.

    Raises:
        AssertionError: where it had ended by itself, and not as it should.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as job,
    ):
        try:
            yield job
        finally:
            job.kill()
        if job.wait() > 0:  # by itself
            said.seek(0)
            assert job.returncode == 3, said.read().decode()


def until(job: subprocess.Popen, out: Path, count: int) -> None:
    """Waits until so many recordings are in the journal, or the command has ended."""
    deadline = time.monotonic() + LIMIT_S
    journal = out / "journal.jsonl"
    while job.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > count):
        assert time.monotonic() < deadline, "nothing moves"
        time.sleep(0.01)


def one_round(command: list[str], out: Path, total: int, worker_too: bool, draw: np.random.Generator) -> Killed | None:
    """Starts the command and kills it, and one of its workers before that where asked; None where it had ended.

    Raises:
        AssertionError: where a process is left.
    """
    first, last = sorted(draw.integers(0, total - 1, 2))
    with started(command) as job:
        if worker_too:
            until(job, out, max(int(first), 1))
            workers = [pid for pid in family(job.pid) if any(name in words_of(pid) for name in WORKERS)]
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(draw.choice(workers)), signal.SIGKILL)
        until(job, out, int(last))
        time.sleep(draw.uniform(0, 0.05) if last else draw.uniform(0, 5))  # while it starts, too
        words = {pid: words_of(pid) for pid in family(job.pid)}
        ours = {pid: told for pid, told in words.items() if not any(name in told for name in LATE)}
        if job.poll() is not None:
            return None
        job.send_signal(signal.SIGKILL)
        job.wait()
    deadline = time.monotonic() + ORPHANS_END_S
    while left := [pid for pid in ours if alive(pid)]:
        assert time.monotonic() < deadline, (
            f"these outlive the one that started them: {[(ours[pid], words_of(pid)) for pid in left]}"
        )
        time.sleep(0.05)
    there = lines(out)
    return Killed(len(there), sum(line.get("error", [""])[0] == "E_RUN" for line in there))


def check_resumed(command: list[str], out: Path, whole: dict[str, bytes], total: int) -> int:
    """Runs the command to its end and compares; the recordings that were done again for their worker's death.

    Raises:
        AssertionError: where something was lost, done twice, or came out differently.
    """
    before = lines(out)
    code = subprocess.run(command, capture_output=True).returncode
    assert code == 3, code
    after = lines(out)
    assert after[: len(before)] == before, "a line that was written is gone"
    deaths = [line for line in after if line.get("error", [""])[0] == "E_RUN"]
    final = [(line["recording"], line["sha256"]) for line in after if line not in deaths]
    assert len(final) == len(set(final)) == total, f"{len(final)} lines for {total} recordings"
    folder.same(folder.outputs(out), whole)
    return len(deaths)


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.kill_predict")
    options.add_argument("--n", type=int, default=20)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--engine", choices=("local", "ray"), default="local")
    options.add_argument("--recordings", type=int, default=60)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--model", default=None)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return run(asked, Path(name))


def run(asked: argparse.Namespace, place: Path) -> int:
    """All rounds; the exit code."""
    draw, made = np.random.default_rng(asked.seed), folder.make(place / "sounds", asked.recordings, 0.1)
    model = ["--model", asked.model] if asked.model else []
    alone = [sys.executable, "-m", "auscult", "predict", str(made.path), *model, "--format", folder.FORMATS]
    command = [*alone, "--workers", str(asked.workers), "--engine", asked.engine, "--resume", "--out"]
    assert subprocess.run([*alone, "--out", str(place / "whole")], capture_output=True).returncode == 3
    whole = folder.outputs(place / "whole")
    kills = deaths = number = 0
    while kills < asked.n:
        number += 1
        out = place / f"round {number}"
        killed = one_round([*command, str(out)], out, asked.recordings, kills % 2 == 1, draw)
        if killed is None:
            continue  # it was quicker
        kills += 1
        deaths += check_resumed([*command, str(out)], out, whole, asked.recordings)
        print(
            f"{kills}: killed with {killed.done} done, {killed.again} of them by a killed worker: resumed", flush=True
        )
    print(
        f"{kills} of {asked.n} killed predictions ({asked.engine}, {asked.workers} workers) resumed: 0 lost, 0 twice, "
        f"the same bytes; {deaths} recordings were done again because their worker was killed"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
