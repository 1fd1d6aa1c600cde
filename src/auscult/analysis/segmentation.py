"""How well breathing cycles are found by themselves, beside windows of fixed length, against the annotated ones.

Only the annotated span of a recording is looked at, from the start of its first cycle to the end of its last; the rest
is cut off before the segmenter sees it, for nobody said what is there, and in rebuilt recordings it is silence that
would give the first boundary away. A boundary within the tolerance of either end of the span does not count, neither an
annotated nor a found one: every method would have it for nothing.

Patients of the training part are scored by the network that has not seen them (see `signal.breathing`), those of other
parts by all five. The length of fixed windows is chosen in the same way, on the patients of the other folds.

Source: Rocha et al. 2019 for the annotations; tolerance and one-to-one matching as boundary retrieval of MIREX
structural segmentation (Turnbull et al. 2007), which uses 0.5 s too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ..data import Corpus, Cycle
from ..errors import AuscultError
from ..progress import track
from ..runs import write_text
from ..signal.breathing import FOLDS, fold
from ..signal.io import decode
from ..signal.segment import segment
from ..statistics import multiplicities, percentile_ends
from .spreadsheet import csv_text
from .tables import empty_table

Interval = tuple[float, float]
Segmenter = Callable[["Annotated"], list[Interval]]

TOLERANCE_S = 0.5
WINDOWS_S = tuple(round(0.1 * tenth, 1) for tenth in range(10, 61))  # lengths among which the best is chosen
PLAIN_S = (2.0, 3.0, 4.0, 8.0)  # shown too; the last is a usual clip
LENGTHS_S = (*WINDOWS_S, PLAIN_S[-1])
JOIN_S = 0.002  # a rebuilt recording may lack samples at a join, and has zeros there
MEASURES = ("precision", "recall", "f1", "iou")
SEGMENTED, BY_F1, BY_IOU = "segmented", "windows, best F1", "windows, best IoU"
HEADER = ("system", "part", "recordings", "patients", "boundaries", "measure", "value", "low_95", "high_95")
DIFFERENCE = ("difference", "difference_low_95", "difference_high_95")


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotated:
    """The annotated span of a recording; times count from its start.

    Args:
        recording: its name.
        patient: its patient.
        part: ``train`` or a test part.
        unseen: the fold to segment it with; None takes all networks.
        waveform: samples of the span.
        sample_rate: in Hz.
        cycles: the annotated ones.
        length_s: of the span.
    """

    recording: str
    patient: str
    part: str
    unseen: int | None
    waveform: NDArray[np.float32]
    sample_rate: int
    cycles: tuple[Interval, ...]
    length_s: float

    @property
    def starts(self) -> NDArray[np.float64]:
        """Where the cycles begin, in s."""
        return np.array([start for start, _ in self.cycles])


def annotated(corpus: Corpus, parts: Sequence[str] | None = None) -> Iterator[Annotated]:
    """The recordings of a data set that have audio and two cycles or more: one alone has no boundary to be found.

    Args:
        parts: only these.
    """
    by_recording: dict[str, list[Cycle]] = {}
    for cycle in corpus.cycles:
        by_recording.setdefault(cycle.recording, []).append(cycle)
    trained = corpus.patients_of(corpus.train_part)
    for recording, cycles in sorted(by_recording.items()):
        first, part = cycles[0], corpus.recordings[recording]
        if recording not in corpus.audio or len(cycles) < 2 or (parts is not None and part not in parts):
            continue
        sound = decode(corpus.audio[recording])
        whole = bridged(sound.waveform, [c.end_s for c in cycles], sound.sample_rate)
        start_s, end_s = first.start_s, min(cycles[-1].end_s, sound.length_s)
        yield Annotated(
            recording=recording,
            patient=first.patient,
            part=part,
            unseen=fold(first.patient) if first.patient in trained else None,
            waveform=whole[round(start_s * sound.sample_rate) : round(end_s * sound.sample_rate)],
            sample_rate=sound.sample_rate,
            cycles=tuple((c.start_s - start_s, c.end_s - start_s) for c in cycles),
            length_s=end_s - start_s,
        )


def bridged(waveform: NDArray[np.float32], joins_s: Sequence[float], sample_rate: int) -> NDArray[np.float32]:
    """The waveform with a line drawn over up to 8 zeros within 2 ms (or 8 samples) of a join.

    Recordings rebuilt from their cycles lack a sample or three at some joins; the click says where the boundary is.
    """
    mended, reach = waveform.copy(), max(8, round(JOIN_S * sample_rate))
    for join in (round(t * sample_rate) for t in joins_s):
        around = np.arange(max(0, join - reach), min(len(waveform), join + reach))
        zero = waveform[around] == 0
        if 0 < zero.sum() <= 8:
            mended[around[zero]] = np.interp(around[zero], around[~zero], waveform[around[~zero]])
    return mended


def matched(truth: NDArray[np.float64], found: NDArray[np.float64], tolerance_s: float = TOLERANCE_S) -> int:
    """The largest number of pairs of a true and a found time no more than `tolerance_s` apart, each time used once.

    Both are in order; then taking the earliest pair that is possible is best.
    """
    pairs = i = j = 0
    while i < len(truth) and j < len(found):
        if abs(truth[i] - found[j]) <= tolerance_s:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif truth[i] < found[j]:
            i += 1
        else:
            j += 1
    return pairs


def overlaps(truth: Sequence[Interval], found: Sequence[Interval]) -> NDArray[np.float64]:
    """Intersection over union of each true cycle with the found one it is paired with; 0 without one. Shape: (N,).

    Pairs are one to one, chosen so that the sum is largest.
    """
    from scipy.optimize import linear_sum_assignment

    iou = np.zeros(len(truth))
    if truth and found:
        a, b = np.array(truth), np.array(found)
        both = np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0])
        shared = np.maximum(both, 0)
        each = shared / (np.ptp(a, axis=1)[:, None] + np.ptp(b, axis=1) - shared)
        rows, columns = linear_sum_assignment(each, maximize=True)
        iou[rows] = each[rows, columns]
    return iou


def counts(one: Annotated, cycles: Sequence[Interval]) -> NDArray[np.float64]:
    """Boundaries matched, annotated and found, sum of the overlaps, and annotated cycles. Shape: (5,)."""
    truth, found = _inner(one.starts, one), _inner(np.array([start for start, _ in cycles]), one)
    iou = overlaps(one.cycles, cycles)
    return np.array([matched(truth, found), len(truth), len(found), iou.sum(), len(iou)])


def _inner(times: NDArray[np.float64], one: Annotated) -> NDArray[np.float64]:
    return times[(times > TOLERANCE_S) & (times < one.length_s - TOLERANCE_S)]


def measures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Precision, recall, F1 and mean overlap from sums of `counts` (5, ...); 0 where nothing was found or is true."""
    hit, truth, found, iou, cycles = sums
    parts = [hit / np.maximum(found, 1), hit / np.maximum(truth, 1), 2 * hit / np.maximum(truth + found, 1)]
    return np.stack([*parts, iou / np.maximum(cycles, 1)])


def windows_of(length_s: float) -> Segmenter:
    """Windows of one length, one after another from the start of the annotated span; the last is what remains."""

    def windows(one: Annotated) -> list[Interval]:
        edges = [*np.arange(0, one.length_s, length_s), one.length_s]
        return [(a, b) for a, b in pairwise(edges) if b > a]

    return windows


def segmented(one: Annotated) -> list[Interval]:
    """By the segmenter, without the network that knows the patient."""
    return segment(one.waveform, one.sample_rate, fold=one.unseen)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One system on one part.

    Args:
        system: its name.
        values: of `MEASURES`.
        ends: (2, 4) lower and upper ends of the 95 % intervals over patients.
        difference: the system minus ``segmented``, with the ends: (3, 4); None for that itself.
        note: lengths that were chosen.
    """

    system: str
    values: NDArray[np.float64]
    ends: NDArray[np.float64]
    difference: NDArray[np.float64] | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What was measured on one part of a data set; ``segmented`` first."""

    part: str
    recordings: int
    patients: int
    boundaries: int
    lines: tuple[Line, ...]

    def title(self, dataset: str) -> str:
        """What was measured, in a line."""
        counts = f"{self.recordings} recordings, {self.patients} patients, {self.boundaries} boundaries"
        return f"{dataset}, part {self.part}: {counts}, in %"

    def line(self, system: str) -> Line:
        """The line of a system."""
        return next(line for line in self.lines if line.system == system)


def parts_with_audio(corpus: Corpus) -> list[str]:
    """The parts of which there is an annotated recording with audio."""
    here = {cycle.part for cycle in corpus.cycles if cycle.recording in corpus.audio}
    return [part for part in corpus.parts if part in here]


def score(corpus: Corpus, part: str, *, resamples: int = 2000, seed: int = 0) -> Segmentation:
    """The segmenter and fixed windows on one part of a data set.

    Args:
        part: which one; windows are chosen on patients of the training part.

    Raises:
        AuscultError: E_DATA where no recording of the part has audio, or none of the training part.
    """
    tested = list(annotated(corpus, [part]))
    trained = tested if part == corpus.train_part else list(annotated(corpus, [corpus.train_part]))
    if not tested or not trained:
        where = part if not tested else corpus.train_part
        raise AuscultError("E_DATA", f"{corpus.name}: no annotated recording of part {where} has audio here.")
    people = sorted({one.patient for one in tested})
    unseen = {one.patient: one.unseen for one in tested}
    every = window_counts(tested, people)
    learners = sorted({one.patient for one in trained})
    seen = every if trained is tested else window_counts(trained, learners)
    systems = {SEGMENTED: (by_patient(track(tested, "segmentation"), segmented, people), "")}
    for name, place in ((BY_F1, 2), (BY_IOU, 3)):
        lengths = best_lengths(seen, learners, place)
        own = [every[lengths[unseen[p]]][:, at] for at, p in enumerate(people)]
        used = sorted({lengths[unseen[p]] for p in people})
        systems[name] = (np.stack(own, axis=1), f"{'/'.join(f'{length:g}' for length in used)} s")
    systems |= {f"windows of {length:g} s": (every[length], "") for length in PLAIN_S}
    reference = systems[SEGMENTED][0]
    return Segmentation(
        part=part,
        recordings=len(tested),
        patients=len(people),
        boundaries=int(reference[1].sum()),
        lines=tuple(_line(n, c, note, reference, resamples, seed) for n, (c, note) in systems.items()),
    )


def by_patient(material: Iterable[Annotated], system: Segmenter, people: Sequence[str]) -> NDArray[np.float64]:
    """`counts` of a system, summed over the recordings of each patient. Shape: (5, P)."""
    place = {patient: at for at, patient in enumerate(people)}
    sums = np.zeros((5, len(people)))
    for one in material:
        sums[:, place[one.patient]] += counts(one, system(one))
    return sums


def window_counts(material: Sequence[Annotated], people: Sequence[str]) -> dict[float, NDArray[np.float64]]:
    """Window length -> `by_patient`."""
    return {length: by_patient(material, windows_of(length), people) for length in track(LENGTHS_S, "windows")}


def best_lengths(
    every: dict[float, NDArray[np.float64]], people: Sequence[str], measure: int
) -> dict[int | None, float]:
    """Fold -> the window length that is best on the training patients of all other folds; None: on all of them."""
    folds = np.array([fold(patient) for patient in people])
    held: tuple[int | None, ...] = (None, *range(FOLDS))
    kept = {k: folds >= 0 if k is None else folds != k for k in held}
    sums = {k: np.stack([every[length][:, some].sum(axis=1) for length in WINDOWS_S], 1) for k, some in kept.items()}
    return {k: WINDOWS_S[int(measures(sums[k])[measure].argmax())] for k in held}


def _line(
    name: str, own: NDArray[np.float64], note: str, reference: NDArray[np.float64], resamples: int, seed: int
) -> Line:
    times = multiplicities(own.shape[1], resamples, seed).T.astype(np.float64)
    drawn, base = measures(own @ times), measures(reference @ times)
    ends = np.array([percentile_ends(row, 0.95) for row in drawn]).T
    values, difference = measures(own.sum(axis=1)), None
    if name != SEGMENTED:
        apart = np.array([percentile_ends(row, 0.95) for row in drawn - base]).T
        difference = np.stack([values - measures(reference.sum(axis=1)), *apart])
    return Line(system=name, values=values, ends=ends, difference=difference, note=note)


def table(found: Segmentation) -> Table:
    """One row a system: precision, recall, F1 and overlap; below the last two the difference to ``segmented``."""
    made = empty_table()
    made.add_column("system")
    for name in ("P", "R", "F1", "mean IoU"):
        made.add_column(name, justify="right")
    for line in found.lines:
        precision, recall, *last = (f"{100 * v:.1f}" for v in line.values)
        cells = [f"{value} {_ends(line.ends[:, place])}" for place, value in enumerate(last, start=2)]
        if line.difference is not None:
            below = [f"{100 * line.difference[0, at]:+.1f} {_ends(line.difference[1:, at])}" for at in (2, 3)]
            cells = [f"{cell}\n{under}" for cell, under in zip(cells, below, strict=True)]
        made.add_row(f"{line.system}\n{line.note}", precision, recall, *cells)
    return made


def _ends(ends: NDArray[np.float64]) -> str:
    return f"\\[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def write(out: Path, found: Sequence[Segmentation]) -> Path:
    """Writes segmentation.csv: a row for each part, system and measure; gives its place."""
    rows = []
    for part in found:
        for line in part.lines:
            system = f"{line.system} ({line.note})" if line.note else line.system
            head = (system, part.part, part.recordings, part.patients, part.boundaries)
            for place, name in enumerate(MEASURES):
                apart = ("", "", "") if line.difference is None else line.difference[:, place].round(4).tolist()
                values = (line.values[place], *line.ends[:, place])
                rows.append((*head, name, *(round(float(v), 4) for v in values), *apart))
    write_text(out / "segmentation.csv", csv_text((*HEADER, *DIFFERENCE), rows))
    return out / "segmentation.csv"
