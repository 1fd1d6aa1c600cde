"""How the verdict of `signal/verdict.py` falls on the recordings of a data set, by part and by what they hold."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from ..data.cycles import Corpus
from ..errors import AuscultError
from ..progress import track
from ..signal import io
from ..signal.verdict import Verdict, judge
from .tables import empty_table

ANY, NORMAL, NONE = "any annotated breath", "every breath normal", "no annotated breath"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The verdicts on the recordings of one group.

    Args:
        part: of the data set.
        group: `ANY`, `NORMAL`, ``with`` and a class, or `NONE`, which is SPRSound's Poor Quality. A recording belongs
            to the group of each class it holds.
        kinds: accept, poor, cannot_say -> recordings.
        reasons: in words -> recordings.
    """

    part: str
    group: str
    kinds: Counter[str]
    reasons: Counter[str]

    @property
    def recordings(self) -> int:
        """How many there are."""
        return self.kinds.total()


def verdicts(corpus: Corpus) -> dict[str, Verdict]:
    """Recording -> verdict, for those whose audio is here and can be read."""
    found = {}
    for stem, path in track(sorted(corpus.audio.items()), f"judging {corpus.name}"):
        try:
            recording = io.decode(path)
        except AuscultError:
            continue  # `auscult prepare` says what is wrong with it
        found[stem] = judge(recording.waveform, recording.native_rate)
    return found


def rates(corpus: Corpus, found: dict[str, Verdict]) -> list[Rate]:
    """The rates of every group of every part, groups without recordings left out."""
    labels: dict[str, set[int]] = {stem: set() for stem in found}
    for cycle in corpus.cycles:
        if cycle.recording in labels:
            labels[cycle.recording].add(cycle.label)
    named = [(group, stem) for stem in found for group in groups(corpus, labels[stem])]
    rows = []
    for part in corpus.parts:
        for group in (ANY, NORMAL, *(f"with {name}" for name in corpus.classes[1:]), NONE):
            of = [found[stem] for its, stem in named if its == group and corpus.recordings[stem] == part]
            kinds: Counter[str] = Counter(v.kind for v in of)
            if of:
                rows.append(
                    Rate(part=part, group=group, kinds=kinds, reasons=Counter(r for v in of for r in v.reasons))
                )
    return rows


def groups(corpus: Corpus, labels: set[int]) -> Iterator[str]:
    """The groups of a recording with breaths of these labels."""
    if not labels:
        yield NONE
        return
    yield ANY
    if labels == {0}:
        yield NORMAL
    yield from (f"with {corpus.classes[label]}" for label in sorted(labels - {0}))


def rate_table(rows: list[Rate]) -> Table:
    """One row a group: recordings, the share of each verdict in %, and the three most frequent reasons."""
    table = empty_table()
    for name in ("part", "recordings"):
        table.add_column(name)
    for name in ("number", "accept", "poor", "cannot say"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reasons")
    for row in rows:
        shares = [f"{100 * row.kinds[kind] / row.recordings:.1f}" for kind in ("accept", "poor", "cannot_say")]
        reasons = ", ".join(f"{words} {n}" for words, n in row.reasons.most_common(3))
        table.add_row(row.part, row.group, str(row.recordings), *shares, reasons)
    return table
