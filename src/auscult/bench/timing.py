"""Alternating rounds: every contestant once a round, so that a slow minute of the machine hits them all.

One thread is timed by the processor's own clock, which other programs do not move; several threads by the wall clock.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..progress import track

SAMPLE_S = 0.02  # a sample repeats its work until it takes at least so long
BUSY = 0.9  # share of the asked threads' time that must have been spent computing


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Something that can be timed, and how far it is from the definition of what it computes.

    Args:
        name: shown in tables; the first of a race is "ours".
        work: does the whole job once.
        error: largest difference from the definition, relative to its largest value.
        tolerance: the largest error that still counts as the same job.
        at_most: rounds after which it is left out, for work of many seconds.
        note: what a reader must know.
    """

    name: str
    work: Callable[[], object]
    error: float
    tolerance: float
    at_most: int | None = None
    note: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is out of tolerance; NaN is."""
        return not self.error <= self.tolerance


@dataclass(frozen=True)
class Sample:
    """Seconds of one repetition, and the share of the threads' wall time that was spent computing (NaN on a GPU)."""

    seconds: float
    busy: float


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How work is timed.

    Args:
        threads: 1 takes process time, more take wall time.
        device: ``cuda`` takes the events of its stream.
    """

    threads: int = 1
    device: str = "cpu"

    def sample(self, work: Callable[[], object], repeats: int = 1) -> Sample:
        """Times `repeats` repetitions."""
        if self.device == "cuda":
            return Sample(_cuda_seconds(work, repeats) / repeats, math.nan)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Sample((cpu if self.threads == 1 else wall) / repeats, cpu / wall / self.threads)

    def repeats(self, work: Callable[[], object]) -> int:
        """How often `work` fits into a sample; running it to find out warms it up."""
        self.sample(work)
        seconds = self.sample(work).seconds if self.device == "cuda" else 0.0
        while seconds == 0.0:
            seconds = self.sample(work).seconds  # process time may stand still for a tick
        return max(1, math.ceil(SAMPLE_S / seconds))


def _cuda_seconds(work: Callable[[], object], repeats: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def race(contestants: Sequence[Contestant], rounds: int, clock: Clock, label: str = "rounds") -> list[dict[str, Any]]:
    """Times all contestants that are right, in rounds A, B, C, A, B, C.

    Returns:
        One dictionary a contestant, in their order: name, error, tolerance, wrong, note and, if right, what `summary`
        makes of its times and those of the first.
    """
    able = [c for c in contestants if not c.wrong]
    repeats = {c.name: _repeats(c, clock) for c in able}
    samples: dict[str, list[Sample]] = {c.name: [] for c in able}
    for number in track(range(rounds), label):
        for c in able:
            if c.at_most is None or number < c.at_most:
                samples[c.name].append(clock.sample(c.work, repeats[c.name]))
    first = samples.get(contestants[0].name, [])
    rows = []
    for c in contestants:
        error = c.error if math.isfinite(c.error) else None  # NaN is no JSON
        row = {"name": c.name, "error": error, "tolerance": c.tolerance, "wrong": c.wrong, "note": c.note}
        rows.append(row | (summary(samples[c.name], first) if c.name in samples else {}))
    return rows


def _repeats(contestant: Contestant, clock: Clock) -> int:
    if contestant.at_most is not None:  # slow by its own word: one repetition, warmed up by its check
        return 1
    return clock.repeats(contestant.work)


def summary(samples: Sequence[Sample], first: Sequence[Sample]) -> dict[str, Any]:
    """Minimum and median in ms, and how many times longer than the first contestant.

    `ratio` is that of the minima; `ratio_low` and `ratio_high` are the smallest and largest of a single round. `busy`
    is the least share of the threads' time spent computing, None on a GPU. Without a first, ratios are None.
    """
    times = [s.seconds for s in samples]
    row: dict[str, Any] = {
        "rounds": len(times),
        "min_ms": 1e3 * min(times),
        "median_ms": 1e3 * statistics.median(times),
        "busy": None if math.isnan(samples[0].busy) else min(s.busy for s in samples),
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
    }
    if first:
        ratios = [s.seconds / f.seconds for s, f in zip(samples, first, strict=False)]  # as many as both have
        row["ratio"] = min(times) / min(f.seconds for f in first)
        row["ratio_low"], row["ratio_high"] = min(ratios), max(ratios)
    return row


def idle(row: dict[str, Any], threads: int) -> bool:
    """Whether a run on several threads waited: its time then says more about the machine than about the code."""
    return threads > 1 and row.get("busy") is not None and row["busy"] < BUSY
