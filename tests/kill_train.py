"""Trainings that are killed at random moments, and gone on with: the end is that of one nobody stopped, bit for bit.

    python -m tests.kill_train --n 200 --seed 0

Every trial is a process that gets SIGKILL at a moment drawn from the time a training takes, one in three while a file
that was drawn is being written; one in four is killed once more while it goes on, one in eight makes its features too.
Compared are the bytes of the checkpoint and of all weights,
the probabilities of the test cycles, metrics.jsonl but for the seconds, and the names of all files. Exit code 1 where
one differs.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .zygote import After, Child, Writing, warm

EPOCHS = "epochs=3"
KINDS: dict[str, tuple[str, ...]] = {
    "cross-entropy": (),
    "SAM, balanced": ("optimizer=sam", "sampler=balanced", "clip_grad=1"),
    "Patch-Mix CL": ("objective=patch_mix", "objective.axes=token", "moving_average=0.5"),
    "Lung-SRAD": ("objective=patch_mix", "optimizer=sam", "also_best_on_test=true"),
    "distillation": ("objective=distil",),
}
SHARES = {"again": 0.25, "cold": 0.125, "aimed": 0.33}
WRITES = 8  # files that a training writes, nearly
WRITE_S = 0.02  # that writing one takes, nearly


@dataclass
class Tally:
    """What was met: kills by where they fell, and trials that ended otherwise."""

    kills: int = 0
    writing: int = 0
    where: Counter[str] = field(default_factory=Counter)
    late: int = 0
    wrong: list[str] = field(default_factory=list)


class Bench:
    """A place for trials.

    Args:
        folder: to work in.
        seed: of the moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.draw, self.tally = folder, seed, random.Random(), Tally()
        self.corpus = warm(folder)
        self.recipes = {kind: self._recipe(settings) for kind, settings in KINDS.items()}
        self.whole: dict[tuple[str, bool], tuple[float, Any]] = {}

    def _recipe(self, settings: tuple[str, ...]) -> Any:
        from .small import small_recipe

        if "objective=distil" in settings:
            settings += (f"objective.teacher={self._teacher()}",)
        return small_recipe(EPOCHS, *settings)

    def _teacher(self) -> Path:
        from auscult.runs import Run
        from auscult.teach import teach

        file = self.folder / "teacher.safetensors"
        teach([Run(self.folder / "warm")], file)
        return file

    def start(self, kind: str, cold: bool, out: Path) -> Child:
        """A process that trains, or goes on, and then tells what came of it."""

        def work() -> None:
            from auscult.progress import be_silent
            from auscult.train import train

            be_silent()
            if cold:
                os.environ["AUSCULT_CACHE"] = str(out / "cache")
            run = out / "run"
            train(self.recipes[kind], "synthetic", self.corpus, run, seed=3, resume=run.exists())
            (out / "told.json").write_text(json.dumps(told(run)))

        return Child(work, self.folder / "said.txt")

    def uninterrupted(self, kind: str, cold: bool) -> tuple[float, Any]:
        """Seconds of a training that nobody stops, and what comes of it."""
        if (kind, cold) not in self.whole:
            out = self.folder / f"whole {kind} {cold}"
            out.mkdir()
            child = self.start(kind, cold, out)
            assert child.wait() == 0, child.said()
            self.whole[kind, cold] = time.monotonic() - child.started, read(out)
        return self.whole[kind, cold]

    def trial(self, number: int) -> None:
        """Kills a training once or more, goes on with it, compares."""
        self.draw.seed(f"{self.seed} {number}")  # so that a part of the trials can be had by itself
        kind = list(KINDS)[number % len(KINDS)]
        cold = self.draw.random() < SHARES["cold"]
        took_s, wanted = self.uninterrupted(kind, cold)
        out, left = self.folder / "trial", 2 if self.draw.random() < SHARES["again"] else 1
        moments: list[str] = []
        while left:
            if not moments:
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
            moment = self.moment(took_s / (len(moments) + 1), out)
            moments.append(str(moment))
            if self.start(kind, cold, out).killed_when(moment):
                left -= 1
                self.look(out)
            else:  # it was quicker than the one that nobody stopped
                self.tally.late += 1
                moments.clear()
        child = self.start(kind, cold, out)
        code = child.wait()
        found = read(out) if code == 0 else child.said()
        if found != wanted:
            self.tally.wrong.append(f"trial {number}, {kind}, killed {', '.join(moments)}: {difference(found, wanted)}")

    def moment(self, took_s: float, out: Path) -> "After | Writing":
        """When to kill."""
        if self.draw.random() < SHARES["aimed"]:
            return Writing(out, self.draw.randint(1, WRITES), self.draw.uniform(0, WRITE_S))
        return After(self.draw.uniform(0, took_s))

    def look(self, out: Path) -> None:
        """What a kill has left: every file under its own name is whole."""
        from auscult.checkpoint import load_state
        from auscult.models.weights import load_weights
        from auscult.runs import Run

        run, tally = Run(out / "run"), self.tally
        tally.kills += 1
        tally.writing += any(out.rglob(".*.tmp"))
        for file in run.folder.glob("weights/[!.]*"):
            load_weights(file)
        if run.checkpoint.exists():
            tally.where[f"after epoch {load_state(run.checkpoint)['epoch']}"] += 1
        else:
            tally.where["before the first checkpoint" if run.exists else "before the run folder"] += 1


def told(folder: Path) -> dict[str, Any]:
    """What must be the same."""
    from auscult.evaluate import evaluate
    from auscult.runs import Run

    run = Run(folder)
    _, _, evaluations = evaluate(run)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [{k: v for k, v in r.items() if k not in ("seconds", "wait_s")} for r in run.history()]
    return {
        "files": [str(p.relative_to(folder)) for p in files],
        "sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.suffix == ".safetensors"},
        "probabilities": [hashlib.sha256(e.probabilities.tobytes()).hexdigest() for e in evaluations],
        "log": lines,
    }


def read(out: Path) -> Any:
    """What the process told."""
    return json.loads((out / "told.json").read_text())


def difference(found: Any, wanted: Any) -> str:
    """In a line."""
    if not isinstance(found, dict):
        return str(found)
    return "; ".join(f"{k}: {found[k]} instead of {wanted[k]}" for k in wanted if found[k] != wanted[k])[:600]


def kill(numbers: range, seed: int, folder: Path) -> Tally:
    """The trials of these numbers; a line on stderr every ten."""
    bench, began = Bench(folder, seed), time.monotonic()
    for done, number in enumerate(numbers, start=1):
        bench.trial(number)
        if done % 10 == 0:
            spent = time.monotonic() - began
            print(f"{done} trials, {len(bench.tally.wrong)} wrong, {spent:.0f} s", file=sys.stderr, flush=True)
    return bench.tally


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.kill_train")
    options.add_argument("--n", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--first", type=int, default=0, help="number of the first trial")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="auscult-kill-") as folder:
        tally = kill(range(asked.first, asked.first + asked.n), asked.seed, Path(folder))
    print(f"{asked.n - len(tally.wrong)} of {asked.n} trainings ended as if nobody had stopped them")
    print(
        f"kill -9: {tally.kills}, {tally.writing} of them while a file was written ({tally.late} moments came too late)"
    )
    for where, count in sorted(tally.where.items()):
        print(f"  {where}: {count}")
    print("\n".join(tally.wrong))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
