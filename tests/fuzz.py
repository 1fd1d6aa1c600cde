"""Mutated files through the decode guard and every parser: nothing but `AuscultError` may come out.

    python -m tests.fuzz --seconds 60 --seed 1 --only decode,weights --keep FOLDER

Half of the time goes to decoding, the rest to the parsers in turn. A file that brings up anything else, or takes more
than ten seconds, is kept in the folder and printed; it then becomes a case of `tests/hostile`. Exit code 1 if there is
one.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from auscult.errors import AuscultError
from auscult.models.weights import Weights, load_weights, save_weights
from auscult.signal.io import Told, blocks

from .hostile.annotations import READERS, notes
from .hostile.checkpoints import weights_files
from .hostile.sound_files import FORMATS, sounds
from .hostile.sounds import RATE, encoded, tone

LIMIT_S = 10
BURST_S = 0.5
LARGEST = 40_000  # bytes of a file to mutate: small ones go through quickly
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 32, 33, 127, 128, 254, 255)
WORDS = (
    *(b"nan", b"inf", b"-1", b"0", b"1e999", b"1e-999", b"9" * 400, b"\t", b"\n", b"\r\n", b"\0", b'"', b"'", b","),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"null", b"true", b"[]", b"{}", b"[" * 3000, b"<exists>", b"=1"),
    *(b"RIFF", b"data", b"fmt ", b"LIST", b"fLaC", b"OggS", b"FORM", b"SSND", b"ds64", b"ID3", b"\xff\xff\xff\xff"),
    *(b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"Normal", b"Poor Quality", b"train", b"test", b"__metadata__", b"F32"),
)  # fmt: skip


class Target(NamedTuple):
    """What gets the files."""

    name: str
    file: str
    read: Callable[[Path], object]
    seeds: list[bytes]


class Late(BaseException):
    """A call takes too long; no `except Exception` may swallow it."""


def mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds with one to eight changes; most changes lie in its first bytes, where headers are."""
    raw = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 5, 8))):
        span = len(raw) if draw.random() < 0.5 else min(len(raw), 128)
        at = draw.randrange(span + 1)
        size = draw.choice((1, 1, 2, 4, 8, 64, 1024))
        match draw.randrange(9):
            case 0 if at < len(raw):
                raw[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(raw):
                raw[at] = draw.choice(NUMBERS)
            case 2:
                del raw[at : at + size]
            case 3:
                raw[at:at] = draw.randbytes(size)
            case 4:
                raw[at : at + size] = raw[(start := draw.randrange(len(raw) + 1)) : start + size]
            case 5:
                other = draw.choice(seeds)
                raw[at:] = other[draw.randrange(len(other) + 1) :][:LARGEST]
            case 6:
                raw[at:at] = draw.choice(WORDS)
            case 7:
                word = draw.choice(WORDS)
                raw[at : at + len(word)] = word
            case _:
                del raw[at:]
    return bytes(raw)


def targets(folder: Path) -> list[Target]:
    """The decode guard first, then every parser; their seeds are the hostile corpus."""
    small = [encoded(tone(0.3), RATE, *format) for format in FORMATS]
    small += [one.content for one in sounds() if isinstance(one.content, bytes)]
    found = [Target("decode", "a.wav", decode, [raw for raw in small if len(raw) <= LARGEST])]
    for kind, (name, read) in READERS.items():
        seeds = [note.content for note in notes() if note.kind == kind and len(note.content) <= LARGEST]
        found.append(Target(kind, name, read, seeds or found[1].seeds))
    good = folder / "good.safetensors"
    save_weights(
        good, Weights(state={"w": torch.ones(2, 2)}, recipe={"clip": {}, "input": {}}, classes=("a", "b"), facts={})
    )
    whole = good.read_bytes()
    cases = [case.content for case in weights_files(good, folder)]
    found.append(
        Target("weights", "a.safetensors", load_weights, [whole] * 9 + [c for c in cases if len(c) <= LARGEST])
    )
    return found


def decode(path: Path) -> int:
    """All blocks of a recording."""
    return sum(map(len, blocks(path, Told())))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What libraries print about damaged files goes nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def once(target: Target, path: Path, raw: bytes) -> str:
    """``accepted``, ``refused``, or what came up."""
    path.write_bytes(raw)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        target.read(path)
        return "accepted"
    except AuscultError:
        return "refused"
    except Late:
        return f"more than {LIMIT_S} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="names of targets, with commas")
    options.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    asked = options.parse_args()

    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, late)
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder, quiet():
        counts, findings = run(asked.seconds, asked.seed, asked.only, Path(folder))
    for (name, what), raw in findings.items():
        asked.keep.mkdir(parents=True, exist_ok=True)
        file = asked.keep / f"{name}-{abs(hash(raw)):x}"
        file.write_bytes(raw)
        print(f"{name}: {what} by {file}")
    for name in counts:
        told = counts[name]
        print(
            f"{name:10} {sum(told.values()):>10,} executions, {told['refused']:>10,} refused, {told['other']} uncaught"
        )
    parsers = sum(sum(told.values()) for name, told in counts.items() if name != "decode")
    print(f"seed {asked.seed}: {sum(counts.get('decode', Counter()).values()):,} decode, {parsers:,} parser executions")
    return 1 if findings else 0


def run(
    seconds: float, seed: int, only: str, folder: Path
) -> tuple[dict[str, Counter[str]], dict[tuple[str, str], bytes]]:
    """Executions by target and outcome, and one file for each thing that came up."""
    draw, chosen = random.Random(seed), targets(folder)
    if only:
        chosen = [target for target in chosen if target.name in only.split(",")]
    counts: dict[str, Counter[str]] = {target.name: Counter() for target in chosen}
    findings: dict[tuple[str, str], bytes] = {}
    until, turn = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        rest = chosen[1:] or chosen
        target = chosen[0] if turn % 2 == 0 else rest[turn // 2 % len(rest)]
        place = folder / target.name
        place.mkdir(exist_ok=True)
        burst = min(until, time.monotonic() + BURST_S)
        while time.monotonic() < burst:
            raw = mutated(draw, target.seeds)
            what = once(target, place / target.file, raw)
            known = what in ("accepted", "refused")
            counts[target.name][what if known else "other"] += 1
            if not known:
                findings.setdefault((target.name, what[:60]), raw)
        turn += 1
    return counts, findings


if __name__ == "__main__":
    sys.exit(main())
