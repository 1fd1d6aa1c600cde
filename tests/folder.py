"""A folder of many short recordings, some of them bad, through `auscult predict` with 1 and with 2 workers.

    python -m tests.folder --n 10000 --bad 0.01 --workers 2

Every good recording must come to a result, every bad one to a row of errors.csv with a code that is right for it, the
exit code must be 3, and every output the same bytes. Exit code 1 where it is not so.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from auscult.analysis.spreadsheet import guard
from auscult.formats.text import printable

from .hostile import OK
from .hostile.sound_files import ODD_NAMES, Sound, refused, special
from .hostile.sounds import encoded

RATE = 4000
FORMATS = "csv,json,jsonl,audacity"
TOLD = ("journal.jsonl", "run.json")  # tell of the way to the results: the order, the time


class Folder(NamedTuple):
    """What was made.

    Args:
        path: where.
        seconds: of sound in the good recordings.
        good: their paths as tables show them.
        bad: the same for the others, with the codes that are right.
    """

    path: Path
    seconds: float
    good: list[str]
    bad: dict[str, tuple[str, ...]]


class Cost(NamedTuple):
    """A command that has ended: exit code, seconds it took and seconds of processor, all its processes together."""

    code: int
    wall_s: float
    cpu_s: float


def breathing(seconds: float, draw: np.random.Generator) -> np.ndarray:
    """Noise that comes and goes."""
    t = np.arange(round(seconds * RATE)) / RATE
    slow = 0.2 + np.sin(np.pi * t / draw.uniform(0.8, 1.2) + draw.uniform(0, np.pi)) ** 2
    return (0.1 * slow * draw.normal(size=len(t))).astype(np.float32)


def kinds() -> list[Sound]:
    """Bad files of every kind, without those that some libsndfile may accept and the one that is large."""
    return [one for one in (*refused(), *special()) if OK not in one.answers and "256 MiB" not in one.name]


def make(path: Path, n: int, bad: float, seed: int = 0) -> Folder:
    """Writes `n` recordings of 1 to 2 s; this share of them, at random places, is bad. Some names are nasty."""
    draw = np.random.default_rng(seed)
    wrong = set(draw.choice(n, round(n * bad), replace=False).tolist())
    some, odd = cycle(kinds()), iter(ODD_NAMES)
    good, refusals, seconds = [], {}, 0.0
    for number in range(n):
        folder = path / f"day {number // 100:03d}" / (f"{number:05d}" if number % 3 == 0 else "")
        folder.mkdir(parents=True, exist_ok=True)
        if number in wrong:
            kind = next(some)
            file = folder / f"{number:05d} {kind.name}"
            kind.content(file) if callable(kind.content) else file.write_bytes(kind.content)
            refusals[shown(file)] = kind.answers
            continue
        length = float(draw.uniform(1, 2))
        name = next(odd, None) if number % 3 == 0 else None
        file = folder / (os.fsdecode(name) if name else f"{number:05d}.wav")
        file.write_bytes(encoded(breathing(length, draw), RATE))
        good.append(shown(file))
        seconds += length
    return Folder(path, seconds, good, refusals)


def shown(path: Path) -> str:
    """The path as a table shows it."""
    return guard(printable(str(path)))


def predict(words: Sequence[str | Path], told: Path | None = None) -> Cost:
    """`auscult predict` as a command; what it prints goes to a file or nowhere.

    Raises:
        AssertionError: for a traceback.
    """
    command = [sys.executable, "-m", "auscult", "predict", *map(str, words)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile() as said:
        with told.open("wb") if told else open(os.devnull, "wb") as out:  # noqa: PTH123
            code = subprocess.run(command, stdout=out, stderr=said).returncode
        said.seek(0)
        words_said = said.read().decode(errors="replace")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Traceback" not in words_said, words_said
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(code, time.perf_counter() - started, cpu_s)


def outputs(out: Path) -> dict[str, bytes]:
    """Every file of a results folder but those that tell of the way to it."""
    files = (file for file in sorted(out.rglob("*")) if file.is_file())
    return {str(file.relative_to(out)): file.read_bytes() for file in files if file.name not in TOLD}


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check(folder: Folder, out: Path, code: int) -> None:
    """Looks at the results of one prediction.

    Raises:
        AssertionError: where they are not what they must be.
    """
    assert code == 3, code
    found = Counter(row["recording"] for row in rows(out / "recordings.csv"))
    assert found == Counter(folder.good), found - Counter(folder.good)
    assert {row["recording"] for row in rows(out / "predictions.csv")} == set(folder.good)
    errors = rows(out / "errors.csv")
    assert sorted(row["recording"] for row in errors) == sorted(folder.bad)
    wrong = [row for row in errors if row["code"] not in folder.bad[row["recording"]]]
    assert not wrong, wrong
    count = json.loads((out / "run.json").read_text())
    assert (count["recordings"], count["errors"], count["state"]) == (len(folder.good), len(folder.bad), "finished")
    assert not list(out.rglob("*.tmp"))


def same(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    """Compares two results folders byte by byte.

    Raises:
        AssertionError: naming the files that differ.
    """
    differ = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    assert not differ, differ


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.folder")
    options.add_argument("--n", type=int, default=10_000)
    options.add_argument("--bad", type=float, default=0.01)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--model", default=None)
    asked = options.parse_args()
    model = ["--model", asked.model] if asked.model else []
    with tempfile.TemporaryDirectory() as name:
        folder = make(Path(name) / "sounds", asked.n, asked.bad)
        print(f"{len(folder.good)} good recordings, {folder.seconds:.0f} s of sound, {len(folder.bad)} bad", flush=True)
        made = []
        for count in (1, asked.workers):
            out = Path(name) / f"workers {count}"
            cost = predict([folder.path, *model, "--format", FORMATS, "--workers", str(count), "--out", out])
            check(folder, out, cost.code)
            made.append(outputs(out))
            print(
                f"--workers {count}: {len(folder.good)} results, {len(folder.bad)} error rows, exit code {cost.code}, "
                f"{cost.wall_s:.0f} s, {cost.cpu_s:.0f} s of processor: {asked.n / cost.cpu_s:.1f} recordings and "
                f"{folder.seconds / cost.cpu_s:.1f} s of sound a second of processor",
                flush=True,
            )
        same(*made)
        print(f"{len(made[0])} output files are the same bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
