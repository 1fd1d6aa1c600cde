"""A second of the fuzzer: it runs, it counts, and it would see what comes up."""

import os
import random
from pathlib import Path

import pytest

from .fuzz import Target, mutated, once, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs an alarm")


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    counts, findings = run(1.5, 0, "icbhi,weights", tmp_path)  # half a second each in turn
    assert not findings and all(told["refused"] > 0 for told in counts.values())


def test_what_comes_up_is_told(tmp_path: Path) -> None:
    target = Target("broken", "a", lambda path: path.read_bytes().decode(), [b"text"])
    assert once(target, tmp_path / "a", b"text") == "accepted"
    assert once(target, tmp_path / "a", b"\xff").startswith("UnicodeDecodeError")


def test_mutations_repeat_by_seed_and_differ() -> None:
    made = [[mutated(random.Random(seed), [b"0\t1\t0\t0\n"]) for seed in range(50)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 30
