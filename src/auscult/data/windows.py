"""Unlabelled windows around annotated cycles, for a teacher to speak of and a student to hear.

Source: Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent" (CVPR), section 3: the
teacher is asked about the very crop that the student sees. The ranges below are a choice of this package.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .cycles import UNLABELLED, Cycle

STRETCH = (0.5, 1.5)  # a window's length over its cycle's: half a breath, to a breath and half of the next
SHIFT = 0.5  # of a cycle's length, either way: a window still begins nearer to its own cycle's start than to the next
SHORTEST_S = 0.2  # less is hardly a sound; annotated breaths of ICBHI are 0.2 s or longer
TRIES = 20  # draws for a window that is long enough; a cycle far shorter than SHORTEST_S has none
DECIMALS = 4  # of the times, in seconds: a tenth of a millisecond


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Where windows lie, in terms of a list of cycles.

    Args:
        rows: (M,) of the cycle that each was drawn around.
        times: (M, 2) start and end within its recording, seconds.
    """

    rows: NDArray[np.int64]
    times: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def check(self, cycles: int) -> None:
        """Refuses windows that cannot be those of so many cycles, for they may come from any file.

        Raises:
            ValueError
        """
        places = self.rows.ndim == 1 and self.times.shape == (len(self.rows), 2) and len(self.rows) > 0
        if not (places and 0 <= self.rows.min() <= self.rows.max() < cycles):
            raise ValueError(f"windows of shape {self.times.shape} around some of {cycles} cycles cannot be")
        start, end = self.times.T
        if not ((start >= 0) & (start < end) & (end < np.inf)).all():
            raise ValueError("a window does not start before it ends")

    def cycles(self, cycles: Sequence[Cycle]) -> tuple[Cycle, ...]:
        """The windows as cycles of the same recordings, with the label `UNLABELLED`.

        Args:
            cycles: those that `rows` means.
        """
        places = zip(self.rows.tolist(), self.times.tolist(), strict=True)
        return tuple(replace(cycles[row], start_s=a, end_s=b, label=UNLABELLED) for row, (a, b) in places)


def windows_around(cycles: Sequence[Cycle], rows: Sequence[int], count: int, seed: int = 0) -> Windows:
    """`count` windows around each cycle in `rows`, the same for the same arguments.

    The length is the cycle's, times a factor drawn log-uniformly from `STRETCH`; the start is the cycle's, moved by up
    to `SHIFT` of its length either way. A window is cut to what lies between 0 and the last annotated end of its
    recording; where less than `SHORTEST_S` is left it is drawn again, and after `TRIES` draws left out.

    Args:
        cycles: all those of a corpus.
        rows: which of them are to have windows.
        count: 0 or more.
    """
    last: dict[str, float] = {}
    for cycle in cycles:
        last[cycle.recording] = max(cycle.end_s, last.get(cycle.recording, 0.0))
    rng = np.random.default_rng(seed)
    found = [
        (row, *window)
        for row in rows
        for _ in range(count)
        if (window := _draw(cycles[row], last[cycles[row].recording], rng)) is not None
    ]
    table = np.array(found, np.float64).reshape(-1, 3)
    return Windows(rows=table[:, 0].astype(np.int64), times=table[:, 1:])


def _draw(cycle: Cycle, last_s: float, rng: np.random.Generator) -> tuple[float, float] | None:
    for _ in range(TRIES):
        length = cycle.duration_s * np.exp(rng.uniform(*np.log(STRETCH)))
        start = cycle.start_s + cycle.duration_s * rng.uniform(-SHIFT, SHIFT)
        a, b = round(max(start, 0.0), DECIMALS), round(min(start + length, last_s), DECIMALS)
        if b - a >= SHORTEST_S:
            return float(a), float(b)
    return None
