"""The commands that write, small: what each is called with, what stood there before, and what must come of it."""

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from auscult.cli.app import run
from auscult.train import train

from .small import SETTINGS, small_recipe
from .web_parts import breath, tiny_weights
from .zygote import warm

Words = list[str]
TIMES = re.compile(rb'"(seconds|wait_s|train_s)": [\d.]+|\| \d+ \||<td>\d+ min</td>|[\d.]+ s<')
OWN = ("environment.json", "plan.json")  # the machine and the command; nothing is compared with them
LOGS = (".jsonl", ".tmp")


class Place:
    """What the commands read, in `folder`; they write into `out`, which each trial makes anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self.corpus = warm(folder)
        self.run, self.other = folder / "warm", folder / "warm2"
        train(small_recipe("epochs=1"), "synthetic", self.corpus, self.other, seed=1)
        self.sounds = folder / "sounds"
        self.sounds.mkdir()
        for number in range(4):
            breath(self.sounds / f"{number}.wav", seed=number)
        (self.sounds / "bad.wav").write_bytes(b"no sound")
        self.scored = folder / "scored"
        shutil.copytree(self.run, self.scored)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert run(["evaluate", str(self.scored), "--selection", "last"]) == 0
        self.tiny = tiny_weights(folder / "tiny.safetensors")
        self.pickle = folder / "a.pth"
        torch.save({"w": torch.arange(60_000.0), "b": torch.ones(3)}, self.pickle)

    def fresh(self, case: "Case") -> None:
        """The state before the command."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        if case.cold:
            os.environ["AUSCULT_CACHE"] = str(self.out / "cache")
        else:
            os.environ["AUSCULT_CACHE"] = str(self.folder / "cache")
        case.before(self)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command.

    Args:
        words: of the command line.
        again: what the next call has more, to go on.
        before: makes what stands there before.
        cold: makes its features too.
        code: that it ends with.
    """

    words: Callable[[Place], Words]
    again: Words
    before: Callable[[Place], object] = lambda place: None
    cold: bool = False
    code: int = 0


def _settings(*more: str) -> Words:
    return [word for setting in (*SETTINGS, *more) for word in ("--set", setting)]


def _train(place: Place) -> Words:
    words = ["train", "dass_nano", "--dataset", "synthetic", "--data", str(place.corpus), "--seed", "3"]
    return [*words, "--out", str(place.out / "run"), *_settings("epochs=2")]


def _study(place: Place) -> Words:
    words = ["study", "dass_nano", "--dataset", "synthetic", "--data", str(place.corpus), "--seeds", "2"]
    return [*words, "--out", str(place.out / "study"), *_settings("epochs=1")]


def _scored(place: Place) -> None:
    """A run that was evaluated by another selection."""
    shutil.copytree(place.scored, place.out / "run")


def _copy(name: str) -> Callable[[Place], object]:
    return lambda place: shutil.copy(place.tiny, place.out / name)


CASES: dict[str, Case] = {
    "prepare": Case(words=lambda p: ["prepare", "synthetic", "--data", str(p.corpus)], again=[]),
    "train": Case(words=_train, again=["--resume"], cold=True),
    "study": Case(words=_study, again=[]),
    "evaluate": Case(words=lambda p: ["evaluate", str(p.out / "run")], again=[], before=_scored),
    "predict": Case(
        words=lambda p: [
            *("predict", str(p.sounds), "--model", str(p.tiny)),
            *("--out", str(p.out / "found"), "--format", "csv,json,jsonl,icbhi"),
        ],
        again=["--resume"],
        code=3,
    ),
    "segment": Case(
        words=lambda p: ["segment", str(p.sounds), "--out", str(p.out / "cut")], again=["--overwrite"], code=3
    ),
    "export": Case(
        words=lambda p: ["export", str(p.run), str(p.out / "model.safetensors")],
        again=[],
        before=_copy("model.safetensors"),
    ),
    "teach": Case(
        words=lambda p: ["teach", str(p.run), str(p.other), "--out", str(p.out / "teacher.safetensors")],
        again=[],
        before=_copy("teacher.safetensors"),
    ),
    "convert": Case(
        words=lambda p: ["weights", "convert", str(p.pickle), str(p.out / "a.safetensors")],
        again=[],
        before=_copy("a.safetensors"),
    ),
}


def files(folder: Path) -> dict[str, bytes]:
    """Every file by its place, hidden ones too; how long things took is left out."""
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and not _of_this_call(p)]
    return {str(p.relative_to(folder)): TIMES.sub(b"", p.read_bytes()) for p in found}


def _of_this_call(file: Path) -> bool:
    return file.name in OWN or file.suffix == ".lock" or "tensorboard" in file.parts


def damaged(folder: Path, before: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """Files under their own names that are neither whole nor what they were."""
    wrong = []
    for name, content in files(folder).items():
        if name.endswith(LOGS) or content in (before.get(name), wanted.get(name)):
            continue
        if not _readable(folder / name):
            wrong.append(name)
    return wrong


def _readable(file: Path) -> bool:
    """A file that only a stopped command leaves, for instance the checkpoint of an earlier epoch."""
    try:
        match file.suffix:
            case ".json":
                json.loads(file.read_bytes())
            case ".npy":
                np.load(file)
            case ".safetensors":
                with safe_open(file, framework="pt") as handle:
                    return bool(handle.keys())
            case _:
                return False
    except Exception:
        return False
    return True
