"""What a run learns from and is judged on: a corpus whose audio can be used, its features, and a split of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import AuscultError, unknown
from ..progress import say, track
from ..signal.clip import Clip
from ..signal.quality import Quality
from . import DATASETS
from .cycles import UNLABELLED, Corpus, Cycle, Problem
from .loader import CycleDataset
from .quality_store import Graded, Scale, grade
from .splits import Split, split
from .store import Features, features

SHOWN_PROBLEMS = 5


@dataclass(frozen=True, kw_only=True)
class Material:
    """A corpus ready to train and evaluate on; `split` holds usable rows only.

    Args:
        quality: audio quality of every cycle; None where nobody asked for it.
        heard: False where nothing here was made of audio, which then need not be there.
    """

    corpus: Corpus
    features: Features
    split: Split
    kind: str
    quality: Graded | None = None
    heard: bool = True

    def dataset(self, part: str) -> CycleDataset:
        """The cycles of ``train``, ``validation`` or a test part."""
        scores = None if self.quality is None else self.quality.scores
        return CycleDataset(self.corpus, self.features, self.rows(part), scores)

    def rows(self, part: str) -> list[int]:
        """Rows of the corpus in ``train``, ``validation`` or a test part."""
        own = {"train": self.split.train, "validation": self.split.validation}
        parts = own | self.split.tests
        if part not in parts:
            raise unknown("part", part, parts)
        return parts[part]

    def counts(self, part: str) -> list[int]:
        """Labelled cycles of each class in a part."""
        labels = [self.corpus.cycles[row].label for row in self.rows(part)]
        known = [label for label in labels if label != UNLABELLED]
        return np.bincount(known, minlength=len(self.corpus.classes)).tolist()


def read(dataset: str, data: Path) -> Corpus:
    """Reads the data set of that name.

    Raises:
        AuscultError: E_SETTING for an unknown name, E_DATA for a folder that is not laid out as published.
    """
    if dataset not in DATASETS:
        raise unknown("data set", dataset, DATASETS)
    return DATASETS[dataset](data)


def material(
    dataset: str,
    data: Path,
    clip: Clip,
    kind: str,
    validation: float,
    validation_seed: int,
    *,
    partial: bool = False,
    quality: Quality | None = None,
) -> Material:
    """Reads a data set, makes or finds its features, and splits it.

    Args:
        partial: go on with the recordings that are there when others have no audio; what is missing is said.
        quality: measure the audio quality of every cycle too, for an objective that asks for it.

    Raises:
        AuscultError: E_DATA when audio is missing and `partial` is False, or a part that is needed is empty.
    """
    whole = read(dataset, data)
    missing = whole.missing_audio
    if missing and not partial:
        raise AuscultError(
            "E_DATA",
            f"{len(missing)} of {len(whole.recordings)} recordings of {dataset} have no audio in {data}, "
            f"for instance {missing[0]}. Complete the copy (`auscult prepare {dataset} --data {data}` lists them), or "
            "pass --partial to use the recordings that are there; such a result is not one on the whole data set.",
        )
    corpus = whole.with_audio() if missing else whole
    made = features(corpus, clip, progress=Bar(f"features of {corpus.name}"))
    problems = (*corpus.problems, *made.problems)
    tell(problems)
    usable = replace(corpus, problems=problems)
    rows = only(made.usable, split(corpus, kind, validation, validation_seed))
    stuff = Material(corpus=usable, features=made, split=rows, kind=kind)
    return stuff if quality is None else with_quality(stuff, quality)


def with_quality(stuff: Material, how: Quality | Scale) -> Material:
    """The same material with audio quality scores; training cycles that have none are left out.

    Args:
        how: a scale that is there already, or settings whose scale the training cycles make.
    """
    corpus = stuff.corpus
    graded = grade(corpus, how, stuff.split.train, Bar(f"audio quality of {corpus.name}"))
    known = {problem.path for problem in corpus.problems}
    tell(tuple(problem for problem in graded.problems if problem.path not in known))
    train = [row for row in stuff.split.train if np.isfinite(graded.scores[row])]
    return replace(stuff, quality=graded, split=replace(stuff.split, train=train))


def with_cycles(stuff: Material, clip: Clip, extra: Sequence[Cycle]) -> Material:
    """The same material with more cycles behind those of the corpus, to train on; the other parts stay what they are.

    Only cycles of recordings that have training rows are trained on, so no patient who is held out or tested is heard.
    """
    if not extra:
        return stuff
    before, split = len(stuff.corpus.cycles), stuff.split
    learned = {stuff.corpus.cycles[row].recording for row in split.train}
    corpus = replace(stuff.corpus, cycles=(*stuff.corpus.cycles, *extra))
    made = features(corpus, clip, progress=Bar(f"features of {corpus.name} and {len(extra)} windows"))
    known = {problem.path for problem in corpus.problems}
    problems = tuple(problem for problem in made.problems if problem.path not in known)
    tell(problems)
    more = [before + i for i, cycle in enumerate(extra) if cycle.recording in learned]
    rows = only(made.usable, replace(split, train=[*split.train, *more]))
    corpus = replace(corpus, problems=(*corpus.problems, *problems))
    return replace(stuff, corpus=corpus, features=made, split=rows)


def only(usable: np.ndarray, whole: Split) -> Split:
    """The split without the rows that have no features."""

    def keep(rows: list[int]) -> list[int]:
        return [row for row in rows if usable[row]]

    tests = {part: keep(rows) for part, rows in whole.tests.items()}
    return replace(whole, train=keep(whole.train), validation=keep(whole.validation), tests=tests)


def tell(problems: tuple[Problem, ...]) -> None:
    """Says which files were skipped, and why."""
    for problem in problems[:SHOWN_PROBLEMS]:
        say(f"skipped {problem.path}: {problem.code}: {problem.message}")
    if len(problems) > SHOWN_PROBLEMS:
        say(f"skipped {len(problems) - SHOWN_PROBLEMS} more files; `auscult prepare` lists them all")


class Bar:
    """Turns (done, total) calls into the progress display of `track`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.shown: object = None

    def __call__(self, done: int, total: int) -> None:
        if self.shown is None:
            self.shown = iter(track(range(total), self.label, total))
        next(self.shown, None)  # type: ignore[call-overload]
        if done == total:
            next(self.shown, None)  # type: ignore[call-overload]
