"""What a copy of a data set holds: counts against the published ones, shared patients, missing audio, bad files."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile
from rich import box
from rich.console import Console
from rich.table import Table

from ..errors import AuscultError
from ..signal.io import MAX_RATE_HZ, MIN_RATE_HZ, decode
from .cycles import Corpus, Cycle, Problem, check_against_audio

FIRST = 5
HEADER_LENGTH_S = 3600.0  # a header that claims more is not believed
LONG_S = 8.0  # the clip length of the field: longer cycles lose their end


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Patients of a test part who are also in train, with their cycles on either side.

    `published_as_seen` is true for a part that is made of such patients on purpose.
    """

    patients: tuple[str, ...]
    train_cycles: int
    test_cycles: int
    published_as_seen: bool


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Lengths of the cycles of a part in seconds; `long` counts those above 8 s."""

    shortest_s: float
    mean_s: float
    median_s: float
    longest_s: float
    long: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """A corpus in numbers; `render` prints it.

    Args:
        recordings: part -> recordings that ought to exist.
        cycles: part -> cycles of each class.
        by_device: (part, device) -> cycles of each class.
        patients: part -> patients with a recording in it.
        shared: test part -> patients also in train.
        durations: part -> lengths of its cycles; a part without cycles is not in it.
        differences: sentences on what differs from the published counts; None without published counts.
        missing: recordings without audio.
        problems: files that were skipped.
    """

    name: str
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    recordings: dict[str, int]
    cycles: dict[str, tuple[int, ...]]
    by_device: dict[tuple[str, str], tuple[int, ...]]
    patients: dict[str, int]
    shared: dict[str, Shared]
    durations: dict[str, Durations]
    differences: tuple[str, ...] | None
    missing: tuple[str, ...]
    problems: tuple[Problem, ...]


def describe(corpus: Corpus, problems: Iterable[Problem] = ()) -> Description:
    """Counts a corpus, audio or not.

    Args:
        corpus: as read; of `Corpus.with_audio` only the cycles with audio are counted.
        problems: more of them, for instance those of `check_audio`.
    """
    by_part = {part: [cycle for cycle in corpus.cycles if cycle.part == part] for part in corpus.parts}
    cycles = {part: _counts(rows, corpus.classes) for part, rows in by_part.items()}
    found = Counter(corpus.recordings.values())
    recordings = {part: found[part] for part in corpus.parts}
    devices = {(part, d): [c for c in by_part[part] if c.device == d] for part in by_part for d in corpus.devices}
    return Description(
        name=corpus.name,
        classes=corpus.classes,
        parts=corpus.parts,
        recordings=recordings,
        cycles=cycles,
        by_device={key: _counts(rows, corpus.classes) for key, rows in devices.items()},
        patients={part: len(corpus.patients_of(part)) for part in corpus.parts},
        shared={part: _shared(corpus, part, by_part) for part in corpus.test_parts},
        durations={part: _durations(rows) for part, rows in by_part.items() if rows},
        differences=_differences(corpus, recordings, cycles),
        missing=tuple(corpus.missing_audio),
        problems=(*corpus.problems, *problems),
    )


def check_audio(corpus: Corpus) -> list[Problem]:
    """Opens the header of every audio file and compares its length with the annotations.

    A file whose header is sound is not decoded here: one that breaks later is found when its features are made.
    """
    problems = []
    by_recording = {name: list(rows) for name, rows in groupby(_sorted(corpus.cycles), key=lambda c: c.recording)}
    for recording, path in sorted(corpus.audio.items()):
        try:
            check_against_audio(by_recording.get(recording, []), duration_s(path))
        except AuscultError as error:
            problems.append(Problem(path=str(path), code=error.code, message=error.message))
    return problems


def duration_s(path: Path) -> float:
    """Length of an audio file in seconds: by its header where that is believable, else by decoding it.

    Raises:
        AuscultError: as `signal.io.decode`.
    """
    if path.is_file():  # opening a pipe would wait for ever
        try:
            with path.open("rb") as file:  # soundfile itself cannot open every file name
                info = soundfile.info(file)
            if MIN_RATE_HZ <= info.samplerate <= MAX_RATE_HZ and 0 < info.frames <= HEADER_LENGTH_S * info.samplerate:
                return float(info.frames / info.samplerate)
        except (soundfile.LibsndfileError, OSError):
            pass  # `decode` says what is wrong with the file
    return decode(path).length_s


def render(
    description: Description,
    console: Console,
    *,
    full: bool = False,
    more: str = "auscult.data.describe.render(..., full=True) lists all",
) -> None:
    """Prints a description; without lines and colours where the output is no terminal.

    Args:
        full: name every recording without audio and every problem, not just the first 5.
        more: where the full lists are, said when they are cut.
    """
    d, limit, style = description, None if full else FIRST, box.SIMPLE if console.is_terminal else None
    _lines(console, [f"{d.name}: recordings, patients and cycles by class"])
    console.print(_class_table(d, style))
    _lines(console, [*_verdict(d), *_shared_lines(d)])
    devices = {device for _, device in d.by_device}
    if len(devices) > 1:
        _lines(console, ["", "cycles by device"])
        console.print(_device_table(d, style))
    else:
        _lines(console, [f"device of all cycles: {', '.join(devices) or 'none'}"])
    _lines(console, ["", "cycle durations in s"])
    console.print(_duration_table(d, style))
    _lines(console, ["", *_missing_lines(d, limit, more), *_problem_lines(d, limit, more)])


def _lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _counts(cycles: Iterable[Cycle], classes: tuple[str, ...]) -> tuple[int, ...]:
    found = Counter(cycle.label for cycle in cycles)
    return tuple(found[label] for label in range(len(classes)))


def _sorted(cycles: Iterable[Cycle]) -> list[Cycle]:
    return sorted(cycles, key=lambda cycle: (cycle.recording, cycle.start_s))


def _shared(corpus: Corpus, part: str, by_part: dict[str, list[Cycle]]) -> Shared:
    patients = corpus.shared_patients(part)
    return Shared(
        patients=tuple(sorted(patients)),
        train_cycles=sum(cycle.patient in patients for cycle in by_part[corpus.train_part]),
        test_cycles=sum(cycle.patient in patients for cycle in by_part[part]),
        published_as_seen=part in corpus.seen_parts,
    )


def _durations(cycles: list[Cycle]) -> Durations:
    lengths = np.array([cycle.duration_s for cycle in cycles])
    return Durations(
        shortest_s=float(lengths.min()),
        mean_s=float(lengths.mean()),
        median_s=float(np.median(lengths)),
        longest_s=float(lengths.max()),
        long=int((lengths > LONG_S).sum()),
    )


def _differences(
    corpus: Corpus, recordings: dict[str, int], cycles: dict[str, tuple[int, ...]]
) -> tuple[str, ...] | None:
    published = corpus.published
    if published is None:
        return None
    lines = []
    for part in corpus.parts:
        if recordings[part] != published.recordings[part]:
            lines.append(f"{part}: {recordings[part]} recordings, published {published.recordings[part]}")
        for name, here, there in zip(corpus.classes, cycles[part], published.cycles[part], strict=True):
            if here != there:
                lines.append(f"{part}: {here} {name} cycles, published {there}")
    return tuple(lines)


def _table(columns: Iterable[str], style: box.Box | None, names: int = 1) -> Table:
    table = Table(box=style, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < names else "right", overflow="fold")
    return table


def _class_table(d: Description, style: box.Box | None) -> Table:
    """Parts side by side: seven classes side by side would not fit a terminal."""
    table = _table(("", *d.parts), style)
    table.add_row("recordings", *(str(d.recordings[part]) for part in d.parts))
    table.add_row("patients", *(str(d.patients[part]) for part in d.parts))
    table.add_row("cycles", *(str(sum(d.cycles[part])) for part in d.parts))
    for label, name in enumerate(d.classes):
        table.add_row(f"  {name}", *(str(d.cycles[part][label]) for part in d.parts))
    return table


def _device_table(d: Description, style: box.Box | None) -> Table:
    table = _table(("part", "device", "cycles", *d.classes), style, names=2)
    for (part, device), counts in d.by_device.items():
        table.add_row(part, device, str(sum(counts)), *map(str, counts))
    return table


def _duration_table(d: Description, style: box.Box | None) -> Table:
    table = _table(("part", "shortest", "mean", "median", "longest", "above 8 s"), style)
    for part, t in d.durations.items():
        times = (t.shortest_s, t.mean_s, t.median_s, t.longest_s)
        table.add_row(part, *(f"{s:.2f}" for s in times), str(t.long))
    return table


def _verdict(d: Description) -> list[str]:
    if d.differences is None:
        return [f"{d.name} has no published counts to compare with"]
    if not d.differences:
        return ["matches the published counts"]
    return ["differs from the published counts", *(f"  {line}" for line in d.differences)]


def _shared_lines(d: Description) -> list[str]:
    lines = []
    for part, shared in d.shared.items():
        count = len(shared.patients)
        if count == 0:
            lines.append(f"no patient is both in {d.parts[0]} and in {part}")
            continue
        names = f" ({', '.join(shared.patients)})" if count <= FIRST else ""
        cycles = f"{shared.train_cycles} {d.parts[0]} and {shared.test_cycles} {part} cycles"
        purpose = ", on purpose" if shared.published_as_seen else "; the clean and strict splits part them"
        patients = "1 patient is" if count == 1 else f"{count} patients are"
        lines.append(f"{patients} both in {d.parts[0]} and in {part}{names}: {cycles}{purpose}")
    return lines


def _missing_lines(d: Description, limit: int | None, more: str) -> list[str]:
    total = sum(d.recordings.values())
    if not d.missing:
        return [f"audio: all {total} recordings are here"]
    shown = [f"  {name}" for name in d.missing[:limit]]
    rest = [f"  and {len(d.missing) - len(shown)} more; {more}"] if len(d.missing) > len(shown) else []
    return [f"no audio for {len(d.missing)} of {total} recordings; their cycles cannot be used:", *shown, *rest]


def _problem_lines(d: Description, limit: int | None, more: str) -> list[str]:
    if not d.problems:
        return ["problems: none"]
    codes = ", ".join(f"{count} {code}" for code, count in sorted(Counter(p.code for p in d.problems).items()))
    shown = [f"  {p.code}  {p.path}: {p.message}" for p in d.problems[:limit]]
    rest = [f"  and {len(d.problems) - len(shown)} more; {more}"] if len(d.problems) > len(shown) else []
    return [f"problems: {len(d.problems)} files are not used ({codes})", *shown, *rest]
