"""One's own recordings: a folder of audio files, each with an annotation of its breaths beside it.

The classes are those of ICBHI. An annotation has the stem of its recording; it is ICBHI txt, Audacity labels, a Raven
table or a Praat TextGrid, so that what the page or `auscult predict` exports is taken as it is::

    DIR/anna/left.wav                      patient anna: the sub-folder
    DIR/anna/left.txt                      ICBHI txt, or Audacity labels
    DIR/bert_1.flac                        patient bert: the stem up to its first _
    DIR/bert_1.Table.1.selections.txt      also .icbhi.txt, .audacity.txt, .raven.txt, .TextGrid
    DIR/recordings.csv                     may say more: recording,patient,part,device,site,age_years,sex

Without a column `part` of train and test nobody is marked for the test; then patients held out of training are scored.
"""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from .. import formats
from ..errors import AuscultError, unknown
from ..formats.text import bad_annotation, decoded, lines, parse_time, printable, shown
from ..metrics import Task
from .cycles import Corpus, Cycle, Problem, audio_files, contents, require_folder

CLASSES = formats.icbhi.LABELS
TASKS = (
    Task(name="own 4-class", classes=CLASSES, mapping=(0, 1, 2, 3)),
    Task(name="own 2-class from 4-class", classes=("normal", "abnormal"), mapping=(0, 1, 1, 1)),
)
TABLE = "recordings.csv"
COLUMNS = ("recording", "patient", "part", "device", "site", "age_years", "sex")
PARTS = ("train", "test")
SEXES = {"": None, "male": "male", "female": "female"}
UNKNOWN = "unknown"  # device or site that nobody has named
ENDINGS = (".table.1.selections.txt", *(ending.lower() for ending in formats.ENDINGS.values()), ".txt")
WRITTEN_BY_US = ".auscult"  # may stand between stem and ending
ADVICE = "Give a folder of recordings, each with an annotation of the same stem beside it; see docs/own_recordings.md."


@dataclass(frozen=True, kw_only=True)
class About:
    """What a row of recordings.csv says of a recording; None where it says nothing."""

    patient: str | None = None
    part: str = "train"
    device: str = UNKNOWN
    site: str = UNKNOWN
    age_years: float | None = None
    sex: str | None = None


@dataclass
class _Found:
    """What is in the folder: name of a recording -> its audio, and its annotations; see `_find`."""

    audio: dict[str, Path]
    annotations: dict[str, list[Path]]
    problems: list[Problem] = field(default_factory=list)

    def skip(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path=printable(str(path)), code="E_DATA", message=message))


def read(folder: Path) -> Corpus:
    """The recordings of a folder and its sub-folders; a recording's name is its path in it, without the ending.

    A file that cannot be used is reported and left out. All files are parsed here, no audio is opened.

    Raises:
        AuscultError: E_DATA, for a folder that is missing or has no usable recording, a recordings.csv that cannot be
            trusted, or a patient who would be in train and in test; E_ANNOTATION for an age in it that is no number.
    """
    folder = Path(folder)
    require_folder(folder, "own", ADVICE)
    found = _find(folder)
    annotated = sorted(found.audio.keys() & found.annotations.keys())
    about = _read_table(folder / TABLE, found, annotated)
    cycles: list[Cycle] = []
    recordings: dict[str, str] = {}
    patients: dict[str, str] = {}
    for name in annotated:
        said = about.get(name, About())
        recordings[name], patients[name] = said.part, said.patient or _patient(name)
        try:
            rows = read_breaths(found.audio[name], found.annotations[name])
        except AuscultError as error:
            path = str(found.annotations[name][0])
            found.problems.append(Problem(path=path, code=error.code, message=error.message))
            continue
        cycles += [_cycle(name, patients[name], said, *row) for row in rows]
    _require_cycles(folder, cycles, found)
    corpus = Corpus(
        name="own",
        classes=CLASSES,
        cycles=tuple(cycles),
        audio={name: found.audio[name] for name in annotated},
        recordings=recordings,
        tasks=TASKS,
        test_parts=("test",) if "test" in recordings.values() else (),
        problems=tuple(found.problems),
        recording_patients=patients,
    )
    _refuse_shared(corpus, folder / TABLE)
    return corpus


def read_breaths(audio: Path, annotations: list[Path]) -> list[tuple[float, float, int]]:
    """(start_s, end_s, index of the class) of each breath of a recording.

    Labels of SPRSound become crackle and wheeze by `formats.icbhi.FLAGS`.

    Raises:
        AuscultError: E_ANNOTATION, also where a recording has more than one annotation.
    """
    if len(annotations) > 1:
        names = ", ".join(path.name for path in annotations)
        raise AuscultError(
            "E_ANNOTATION", f"{audio} has {len(annotations)} annotations: {names}. Keep one, move the others away."
        )
    path = annotations[0]
    kind = formats.kind_of(path)
    if kind is None:
        first = next(iter(lines(path)), "")
        allowed = "ICBHI txt, Audacity labels or a Raven table is needed, with tabs between the columns"
        raise bad_annotation(path, "line 1", f"{shown(first)} is of no known format", allowed)
    found = []
    for row in formats.read(kind, path):
        flags = formats.icbhi.flags(row.label)
        if flags is None:
            allowed = f"one of {', '.join(formats.icbhi.FLAGS)} is needed"
            raise bad_annotation(path, f"breath at {row.start_s:g} s", f"label {shown(row.label)}", allowed)
        found.append((row.start_s, row.end_s, flags[0] + 2 * flags[1]))
    return found


def _cycle(name: str, patient: str, said: About, start_s: float, end_s: float, label: int) -> Cycle:
    return Cycle(
        recording=name,
        patient=patient,
        device=said.device,
        site=said.site,
        start_s=start_s,
        end_s=end_s,
        label=label,
        part=said.part,
        age_years=said.age_years,
        sex=said.sex,
    )


def _patient(name: str) -> str:
    first, _, rest = name.partition("/")
    return first if rest else name.partition("_")[0] or name


def _find(folder: Path) -> _Found:
    """Audio and annotations by the name of the recording; says what has no partner."""
    found = _Found(audio={}, annotations={})
    for path in audio_files(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name.isprintable():
            found.audio[name] = path
        else:
            found.skip(path, "the name holds characters that cannot be printed; it is not used. Rename it.")
    for path in sorted(folder.rglob("*")):
        stem = _annotated_stem(path.name)
        if stem and not path.name.startswith(".") and not path.is_dir():
            found.annotations.setdefault((path.relative_to(folder).parent / stem).as_posix(), []).append(path)
    for name in sorted(found.audio.keys() - found.annotations.keys()):
        found.skip(found.audio[name], f"{name} has no annotation of its name beside it; it is not used. Add one.")
    for name in sorted(found.annotations.keys() - found.audio.keys()):
        for path in filter(_is_annotation, found.annotations[name]):
            found.skip(path, f"{path.name} has no recording of its name beside it; it is not used. Add it.")
    return found


def _annotated_stem(name: str) -> str:
    """The stem of the recording that a file would be the annotation of; empty for other files.

    >>> _annotated_stem("a_1.auscult.TextGrid"), _annotated_stem("a.Table.1.selections.txt"), _annotated_stem("a.csv")
    ('a_1', 'a', '')
    """
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
    return name[: -len(ending)].removesuffix(WRITTEN_BY_US) if ending else ""


def _is_annotation(path: Path) -> bool:
    """Whether a file without recording looks like an annotation: a README does not."""
    try:
        return formats.kind_of(path) is not None
    except AuscultError:
        return False


def _read_table(path: Path, found: _Found, annotated: list[str]) -> dict[str, About]:
    """Name of a recording -> what recordings.csv says; empty without that file.

    Raises:
        AuscultError: E_DATA, naming the line; E_ANNOTATION for an age that is no number.
    """
    if not path.exists():
        return {}
    reader = csv.reader(io.StringIO(decoded(path, "E_DATA"), newline=""), strict=True)
    about: dict[str, About] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        for cells in reader:
            if any(map(str.strip, cells)):
                place = f"line {reader.line_num}"
                name, said = _read_row(path, place, header, cells, found)
                if name in about:
                    raise _bad_table(path, place, f"{name} is there twice; each recording once")
                if name:
                    about[name] = said
    except csv.Error as error:
        raise _bad_table(
            path, f"line {reader.line_num}", f"{error}; commas between, names with commas quoted"
        ) from error
    without = [name for name in annotated if name not in about]
    if "part" in header and without:
        what = f"{len(without)} recordings have no row, for instance {without[0]}; with a column part each needs one"
        raise _bad_table(path, "", what)
    return about


def _check_header(path: Path, header: list[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            raise unknown(f"column of {path}", name, COLUMNS)
    if "recording" not in header or len(set(header)) < len(header):
        raise _bad_table(path, "line 1", f"columns {', '.join(header)}; recording is needed, and each once")


def _read_row(path: Path, place: str, header: list[str], cells: list[str], found: _Found) -> tuple[str, About]:
    """The name of a recording, empty for one that is not there, and what is said of it."""
    if len(cells) != len(header):
        raise _bad_table(path, place, f"{len(cells)} columns; {len(header)} are needed, as in the first line")
    said = dict(zip(header, map(str.strip, cells), strict=True))
    name = _named(said["recording"], found.audio, path, place)
    if not name:
        found.skip(path, f"{place}: there is no recording {shown(said['recording'])}; the row is not used.")
    if said.get("part", "train") not in PARTS:
        raise _bad_table(path, place, f"part {shown(said['part'])}; train or test is needed")
    if said.get("sex", "") not in SEXES:
        raise _bad_table(path, place, f"sex {shown(said['sex'])}; male, female or nothing is needed")
    age = said.get("age_years", "")
    return name, About(
        patient=said.get("patient") or None,
        part=said.get("part", "train"),
        device=said.get("device") or UNKNOWN,
        site=said.get("site") or UNKNOWN,
        age_years=parse_time(age, path, place, "age_years") if age else None,
        sex=SEXES[said.get("sex", "")],
    )


def _named(given: str, audio: dict[str, Path], path: Path, place: str) -> str:
    """The recording that a cell means: by its path in the folder, or by its file name alone; empty where there is none.

    Raises:
        AuscultError: E_DATA for a name that several recordings have.
    """
    given = given.replace("\\", "/")
    ways = [[n for n, p in audio.items() if given in (n, f"{n}{p.suffix}")]]
    ways.append([n for n, p in audio.items() if given in (p.stem, p.name)])
    names = sorted(ways[0] or ways[1])
    if len(names) > 1:
        raise _bad_table(path, place, f"{shown(given)} may be {' or '.join(names[:3])}; write the path in the folder")
    return names[0] if names else ""


def _bad_table(path: Path, place: str, what: str) -> AuscultError:
    return AuscultError("E_DATA", f"{path}{', ' if place else ''}{place}: {what}. Correct the file.")


def _require_cycles(folder: Path, cycles: list[Cycle], found: _Found) -> None:
    if cycles:
        return
    first = f" The first problem: {found.problems[0].message}" if found.problems else ""
    raise AuscultError("E_DATA", f"no recording in {folder} can be used; it holds {contents(folder)}.{first} {ADVICE}")


def _refuse_shared(corpus: Corpus, table: Path) -> None:
    shared = sorted(name for part in corpus.test_parts for name in corpus.shared_patients(part))
    if shared:
        some = f"{', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''}"
        raise _bad_table(table, "", f"{len(shared)} patients are in train and in test ({some}); each in one of them")
