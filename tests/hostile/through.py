"""The hostile files through the commands, each in a process of its own, with what it took.

    python -m tests.hostile --through prepare,train,predict,load,serve

Exit code 1 for a traceback, a crash, a code that is not one of the twelve, more than 500 MB or more than 10 s of a
processor for a file. The processes are forks of one that has imported everything (Linux).
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from auscult.cli.app import run
from auscult.errors import Code

from ..small import SETTINGS
from ..web_parts import breath, tiny_weights
from ..zygote import Child, warm
from . import OK
from .checkpoints import weights_files
from .folders import KINDS
from .predicting import memory_mb
from .serving import Served
from .sound_files import sounds, write

MOST_MB, MOST_S = 500, 10
CODES = get_args(Code)


@dataclass
class Row:
    """What a command did with the files.

    Args:
        answers: code -> files; `OK` for those that were used.
        mb: the most memory, and of what.
        s: the most time of a processor, and of what.
        wrong: what must not be.
    """

    command: str
    files: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    mb: tuple[float, str] = (0.0, "")
    s: tuple[float, str] = (0.0, "")
    wrong: list[str] = field(default_factory=list)
    folder: bool = False

    def took(self, name: str, child: Child, codes: tuple[int, ...]) -> str:
        """Waits for a process that works on `name`; gives what it said."""
        code, spent = child.wait(), child.usage
        assert spent is not None
        self.mb = max(self.mb, (spent.ru_maxrss / 1024, name))
        self.s = max(self.s, (spent.ru_utime + spent.ru_stime, name))
        said = child.said()
        if code not in codes or "Traceback" in said or "Error:" in said:
            self.wrong.append(f"{name!r} ends with {code}: {said[-500:]}")
        return said

    def judge(self) -> None:
        """The limits of a file; a folder of hundreds may take longer."""
        if self.mb[0] > MOST_MB or (self.s[0] > MOST_S and not self.folder):
            self.wrong.append(f"{self.mb} MB, {self.s} s")
        self.wrong += [f"{code} is not one of the codes" for code in self.answers if code not in (OK, *CODES)]

    def text(self) -> str:
        """A line of the table."""
        codes = ", ".join(f"{count} {code}" for code, count in sorted(self.answers.items()))
        took = f"{self.mb[0]:.0f} MB ({self.mb[1]!r:.40}), {self.s[0]:.1f} s ({self.s[1]!r:.40})"
        return f"{self.command:16} {self.files:4} files: {codes}; at most {took}; {len(self.wrong)} wrong"


def command(words: list[str], folder: Path) -> Child:
    """A command in a process."""
    return Child(lambda: run(words), folder / "said.txt")


def codes_in(text: str) -> Counter[str]:
    """How often each code begins a line, or follows a file's name in it."""
    found = [word.strip(":") for line in text.splitlines() for word in line.split() if word.startswith("E_")]
    return Counter(found)


def prepare(folder: Path) -> Iterator[Row]:
    """`auscult prepare --all` of each kind of folder."""
    for kind in KINDS:
        row = Row(f"prepare {kind}", folder=True)
        words = ["prepare", kind, "--data", str(made(folder, kind)), "--all"]
        said = row.took(kind, command(words, folder), (3,))
        problems = [line.split() for line in said.splitlines() if line.startswith("  E_")]
        row.files, row.answers = audio_in(folder / kind), Counter(words[0] for words in problems)
        yield row


def train(folder: Path) -> Iterator[Row]:
    """`auscult train --partial` on each kind of folder, from decoding to weights."""
    for kind in KINDS:
        row = Row(f"train {kind}", folder=True)
        out = folder / f"run {kind}"
        words = ["train", "dass_nano", "--dataset", kind, "--data", str(made(folder, kind)), "--partial"]
        words += ["--out", str(out), *(w for setting in (*SETTINGS, "epochs=1") for w in ("--set", setting))]
        said = row.took(kind, command(words, folder), (0,))
        if not (out / "weights" / "last.safetensors").exists():
            row.wrong.append(f"no weights: {said[-300:]}")
        row.files = audio_in(folder / kind)
        row.answers = codes_in("".join(line for line in said.splitlines(True) if line.startswith("skipped")))
        yield row


def predict(folder: Path) -> Iterator[Row]:
    """`auscult predict FILE` for every sound."""
    row, model = Row("predict FILE"), tiny_weights(folder / "tiny.safetensors")
    alone = [sound for sound in sounds() if sound.name != "link to the folder.wav"]  # which means all of the folder
    for path, sound in write(folder / "sounds", alone).items():
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        said = row.took(
            sound.name, command(["predict", path, "--model", str(model), "--out", str(out)], folder), (0, 1)
        )
        answer = answer_in(out, said)
        row.files += 1
        row.answers[answer] += 1
        if answer not in sound.answers:
            row.wrong.append(f"{sound.name!r}: {answer} instead of {sound.answers}")
    yield row


def answer_in(out: Path, said: str) -> str:
    """`OK` or the code of a prediction of one file."""
    tables = [out / name for name in ("recordings.csv", "errors.csv")]
    if not all(table.exists() for table in tables):
        return next(iter(codes_in(said)), "nothing")
    good, bad = (list(csv.reader(table.open(newline="", encoding="utf-8")))[1:] for table in tables)
    return OK if good and not bad else bad[0][1] if bad else "nothing"


def load(folder: Path) -> Iterator[Row]:
    """`auscult predict --model FILE` for every weights file."""
    row, good = Row("predict --model"), tiny_weights(folder / "tiny.safetensors")
    sound, file = breath(folder / "breath.wav"), folder / "case.safetensors"
    for case in weights_files(good, folder):
        file.write_bytes(case.content)
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        said = row.took(
            case.name, command(["predict", str(sound), "--model", str(file), "--out", str(out)], folder), (0, 1)
        )
        answer = answer_in(out, said)
        row.files += 1
        row.answers[answer] += 1
        if answer != case.answer:
            row.wrong.append(f"{case.name!r}: {answer} instead of {case.answer}: {said[-300:]}")
    yield row


def serve(folder: Path) -> Iterator[Row]:
    """One `auscult serve`: every file uploaded, and every file of a folder opened."""
    model = tiny_weights(folder / "tiny.safetensors")
    place = folder / "served"
    listed = write(place, sounds())
    with Served(model, place, folder / "state") as server:
        row = Row("serve, uploads")
        for sound in sounds():
            if isinstance(sound.content, bytes):
                row.files += 1
                keep(row, sound.name, server.upload(sound.content), sound.answers)
        yield server.judged(row)
        row, by_name = Row("serve FOLDER"), {str(Path(path).relative_to(place)): one for path, one in listed.items()}
        for name, id in server.listed().items():
            row.files += 1
            sound = by_name.get(name)
            keep(row, name, server.analysed(id), sound.answers if sound else (OK, *CODES))
        keep(row, "a good one at last", server.upload(breath(folder / "breath.wav").read_bytes()), (OK,))
        yield server.judged(row)


def keep(row: Row, name: str, told: tuple[str, float], answers: tuple[str, ...]) -> None:
    """Counts an answer."""
    answer, seconds = told
    row.answers[answer] += 1
    row.s = max(row.s, (seconds, name))
    if answer not in answers:
        row.wrong.append(f"{name!r}: {answer} instead of {answers}")


def made(folder: Path, kind: str) -> Path:
    """The folder of that kind, made once."""
    place = folder / kind
    return place if place.exists() else KINDS[kind](place)


def audio_in(folder: Path) -> int:
    """Entries that look like recordings."""
    return sum(p.suffix.lower() in (".wav", ".flac", ".mp3", ".ogg", ".caf") for p in folder.rglob("*"))


COMMANDS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "prepare": prepare,
    "train": train,
    "predict": predict,
    "load": load,
    "serve": serve,
}


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.hostile")
    options.add_argument("--through", default=",".join(COMMANDS))
    asked = options.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="auscult-hostile-") as name:
        warm(Path(name))
        os.environ["AUSCULT_CACHE"] = f"{name}/features"
        print(f"before any file: {memory_mb('VmRSS'):.0f} MB (torch and what else was imported)", flush=True)
        for one in asked.through.split(","):
            for row in COMMANDS[one](Path(name)):
                row.judge()
                rows.append(row)
                print(row.text(), flush=True)
                print("".join(f"  {line}\n" for line in row.wrong), end="", flush=True)
    seen = sorted({code for row in rows for code in row.answers} - {OK})
    print(f"{sum(row.files for row in rows)} files, {len(seen)} codes: {', '.join(seen)}")
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
