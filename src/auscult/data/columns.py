"""One row of numbers a cycle, for classifiers that hear nothing, or only a summary.

What is known about a cycle without a second of audio (how long it is, with what, where and on whom it was recorded)
already says much about its class: a score means little until it is compared with the score of such a shortcut.

A row is kept as a filterbank of one frame, so that splits, loaders, scores and files are those of every other model.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..config import spec
from ..signal.clip import Clip
from .cycles import Corpus, Cycle
from .material import Material, material, read, tell
from .splits import split
from .store import Features

Fact = Literal["duration", "device", "site", "age", "sex"]
NUMBERS: dict[str, Callable[[Cycle], float | None]] = {"duration": lambda c: c.duration_s, "age": lambda c: c.age_years}
NAMES: dict[str, Callable[[Cycle], str | None]] = {
    "device": lambda c: c.device,
    "site": lambda c: c.site,
    "sex": lambda c: c.sex,
}
STATISTICS = ("mean", "std", "p10", "p25", "p50", "p75", "p90")


class ColumnsSpec:
    """Base of every spec of columns."""

    def material(
        self, dataset: str, data: Path, kind: str, validation: float, validation_seed: int, *, partial: bool = False
    ) -> Material:
        """A corpus, split, with a row of numbers for every cycle; see `data.material.material`."""
        raise NotImplementedError(f"{type(self).__name__} has no material()")

    def names(self, corpus: Corpus) -> tuple[str, ...]:
        """Names of the columns."""
        raise NotImplementedError(f"{type(self).__name__} has no names()")


@spec("facts")
class Facts(ColumnsSpec):
    """What the annotations say about a cycle; no audio is read, and none need be there.

    Args:
        facts: ``duration`` of the cycle in seconds; ``device``; ``site`` on the chest, of this recording, as its file
            name says (not the one site a patient of the metadata table that some of the literature uses); ``age`` in
            years and ``sex`` of the patient. A name becomes a column of 0 and 1 for each that the corpus has; an age
            that is not known is NaN.
    """

    facts: tuple[Fact, ...] = ("duration",)

    def __post_init__(self) -> None:
        if not self.facts or len(set(self.facts)) < len(self.facts):
            raise ValueError(f"facts={','.join(self.facts)}; at least one is needed, each once")

    def material(
        self, dataset: str, data: Path, kind: str, validation: float, validation_seed: int, *, partial: bool = False
    ) -> Material:
        """Every annotated cycle; with `partial` only those that have audio, as a network would use."""
        whole = read(dataset, data)
        corpus = whole.with_audio() if partial else whole
        tell(corpus.problems)
        rows = split(corpus, kind, validation, validation_seed)
        return Material(corpus=corpus, features=as_features(self.rows(corpus)), split=rows, kind=kind, heard=False)

    def names(self, corpus: Corpus) -> tuple[str, ...]:
        """``duration``, or ``device=Meditron`` and so on."""
        return tuple(name for fact in self.facts for name, _ in columns_of(fact, corpus.cycles))

    def rows(self, corpus: Corpus) -> Float[np.ndarray, "N C"]:
        """The numbers of every cycle."""
        return np.array([values for fact in self.facts for _, values in columns_of(fact, corpus.cycles)], np.float32).T


def columns_of(fact: Fact, cycles: Sequence[Cycle]) -> list[tuple[str, list[float]]]:
    """Name and values of the columns that a fact becomes."""
    if fact in NUMBERS:
        known = [NUMBERS[fact](cycle) for cycle in cycles]
        return [(fact, [float("nan") if value is None else value for value in known])]
    said = [NAMES[fact](cycle) for cycle in cycles]
    there = sorted({name for name in said if name is not None})
    return [(f"{fact}={name}", [float(one == name) for one in said]) for name in there]


@spec("logmel_statistics")
class LogmelStatistics(ColumnsSpec):
    """Mean, standard deviation and percentiles over time of each mel bin, of the cycle itself without its repetitions.

    Args:
        clip: waveform to filterbank, as in `Recipe`; the same clip shares its feature store. Of a cycle longer than the
            clip the end is not summarised.
        duration: the length of the cycle in seconds as a column too. A network can see it in the repetitions.
    """

    clip: Clip = Clip(sample_rate=8000, length_s=4.0, n_mels=64, amplitude="int16")
    duration: bool = True

    def __post_init__(self) -> None:
        if self.clip.pad != "cyclic":
            raise ValueError(f"clip.pad={self.clip.pad}; cyclic is needed, which leaves the cycle at the beginning")

    def material(
        self, dataset: str, data: Path, kind: str, validation: float, validation_seed: int, *, partial: bool = False
    ) -> Material:
        """The material of a network, its filterbanks summarised."""
        stuff = material(dataset, data, self.clip, kind, validation, validation_seed, partial=partial)
        return replace(stuff, features=as_features(self.rows(stuff.corpus, stuff.features), stuff.features))

    def names(self, corpus: Corpus) -> tuple[str, ...]:
        """``mean of bin 0`` and so on; the same for every corpus."""
        names = tuple(f"{name} of bin {i}" for name in STATISTICS for i in range(self.clip.n_mels))
        return (*names, "duration") if self.duration else names

    def rows(self, corpus: Corpus, features: Features) -> Float[np.ndarray, "N C"]:
        """The statistics of every cycle."""
        lengths = [self.frames(cycle) for cycle in corpus.cycles]
        made = np.stack([statistics(features.row(row)[:length]) for row, length in enumerate(lengths)])
        duration_s = np.array([[cycle.duration_s] for cycle in corpus.cycles], np.float32)
        return np.hstack([made, duration_s]) if self.duration else made

    def frames(self, cycle: Cycle) -> int:
        """Frames that lie wholly within a cycle, before it repeats; at least one."""
        first, last = (int(time_s * self.clip.sample_rate) for time_s in (cycle.start_s, cycle.end_s))
        return max(1, self.clip.frames_of(last - first))


def statistics(fbank: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "C"]:
    """Each of `STATISTICS` of all bins, one statistic after another."""
    x = fbank.astype(np.float32)
    return np.concatenate([x.mean(0), x.std(0), *np.percentile(x, (10, 25, 50, 75, 90), axis=0)]).astype(np.float32)


def as_features(rows: Float[np.ndarray, "N C"], of: Features | None = None) -> Features:
    """Rows of numbers as filterbanks of one frame, in memory.

    Args:
        of: what they were made of; says which cycles are usable. None: all are.
    """
    return Features(
        fbank=rows,
        frames=np.ones(len(rows), np.int64),
        usable=np.ones(len(rows), bool) if of is None else of.usable,
        problems=() if of is None else of.problems,
        file=None,
    )
