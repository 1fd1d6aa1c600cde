"""ICBHI 2017: 920 recordings of 126 patients, 6898 breathing cycles, and the official 60/40 split.

The folder holds the official archive, unpacked, and the official split file::

    icbhi/ICBHI_final_database/101_1b1_Al_sc_Meditron.wav
    icbhi/ICBHI_final_database/101_1b1_Al_sc_Meditron.txt     start s, end s, crackle 0/1, wheeze 0/1
    icbhi/ICBHI_challenge_train_test.txt                      recording, train|test
    icbhi/ICBHI_Challenge_demographic_information.txt         patient, age, sex, ...; may be missing

The recordings may be in any format soundfile reads. Other recordings laid out in the same way are read with
`read_folder`.

Source: Rocha et al. 2019, "An open access database for the evaluation of respiratory sound classification algorithms",
Physiol. Meas. 40 035001.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .. import formats
from ..errors import AuscultError
from ..formats.text import bad_annotation, lines, parse_time
from ..metrics import Task
from .cycles import Corpus, Cycle, Problem, Published, contents, find_audio, require_folder

CLASSES = formats.icbhi.LABELS
TASKS = (
    Task(name="ICBHI 4-class", classes=CLASSES, mapping=(0, 1, 2, 3)),
    Task(name="ICBHI 2-class from 4-class", classes=("normal", "abnormal"), mapping=(0, 1, 1, 1)),
)
# Rocha et al. 2019 give 6898 cycles = 3642/1864/886/506 and 920 recordings; the counts of the two parts follow from
# the official split file.
PUBLISHED = Published(
    recordings={"train": 539, "test": 381},
    cycles={"train": (2063, 1215, 501, 363), "test": (1579, 649, 385, 143)},
)
DATABASE_FOLDERS = ("ICBHI_final_database/audio_and_txt_files", "ICBHI_final_database", "audio_and_txt_files", ".")
SPLIT_FILES = ("icbhi_challenge_train_test.txt", "official_split.txt")  # compared in lower case
DEMOGRAPHICS_FILES = ("icbhi_challenge_demographic_information.txt", "demographic_info.txt")  # in lower case
SEXES = {"M": "male", "F": "female", "NA": None}
ADVICE = "`auscult download icbhi` fetches the data set; or unpack ICBHI_final_database.zip there yourself."
# 91 recordings went round under the name of another device before the official split called them Meditron.
OLD_DEVICES = ("AKGC417L", "LittC2SE")


class Person(NamedTuple):
    """Age in years and sex, ``male`` or ``female``, of a patient; None where it is not known."""

    age_years: float | None = None
    sex: str | None = None


def read(folder: Path) -> Corpus:
    """The ICBHI corpus; all 920 recordings must be annotated, their audio may be missing.

    Raises:
        AuscultError: E_DATA, for a folder that is missing, laid out otherwise or does not hold the 920 recordings.
    """
    corpus = read_folder(folder, published=PUBLISHED)
    expected = sum(PUBLISHED.recordings.values())
    if len(corpus.recordings) != expected:
        raise AuscultError(
            "E_DATA", f"{folder} holds {len(corpus.recordings)} ICBHI recordings; there are {expected}. {ADVICE}"
        )
    return corpus


def read_folder(
    folder: Path,
    *,
    name: str = "icbhi",
    tasks: tuple[Task, ...] = TASKS,
    published: Published | None = None,
    advice: str = ADVICE,
) -> Corpus:
    """Any corpus laid out as ICBHI, of any size.

    Names have five parts, `patient_index_site_mode_device`. The names of annotations and split file must match one to
    one. A file that carries the old device name of the official `..._Meditron` is taken for it; nothing is renamed.

    Args:
        folder: holds the split file and the database folder, or is the database folder.
        name: name of the corpus.
        tasks: what is scored.
        published: counts to compare with in `describe`.
        advice: last sentence of error messages: how to get the data.

    Raises:
        AuscultError: E_DATA.
    """
    folder = Path(folder)
    require_folder(folder, name, advice)
    database = _database(folder, name, advice)
    parts = read_split(_split_file(folder, database, name, advice))
    annotations = {p.stem: p for p in database.iterdir() if _is_annotation(p)}
    stem_of = match(parts, annotations)
    _require_all(parts, annotations, stem_of, database, advice)
    audio_files = find_audio(database)
    audio_stem = match(parts, audio_files)
    people, unread = _people(folder, database)
    files = {stem: annotations[on_disk] for stem, on_disk in stem_of.items()}
    cycles, problems = _read_cycles(files, parts, people)
    strangers = sorted(audio_files.keys() - audio_stem.values())
    return Corpus(
        name=name,
        classes=CLASSES,
        cycles=tuple(cycles),
        audio={stem: audio_files[on_disk] for stem, on_disk in audio_stem.items()},
        recordings=parts,
        tasks=tasks,
        test_parts=("test",),
        problems=tuple(problems + unread + [_stranger(audio_files[stem]) for stem in strangers]),
        published=published,
        recording_patients={stem: stem.split("_")[0] for stem in parts},
    )


def read_split(path: Path) -> dict[str, str]:
    """Recording -> ``train`` or ``test``, from lines of a name and a part.

    Raises:
        AuscultError: E_DATA, naming the line.
    """
    parts: dict[str, str] = {}
    for number, line in enumerate(lines(path, "E_DATA"), start=1):
        words = line.split()
        if len(words) != 2 or words[1] not in ("train", "test") or len(words[0].split("_")) != 5:
            allowed = "a line is a recording such as 101_1b1_Al_sc_Meditron, a tab, and train or test"
            raise AuscultError("E_DATA", f"{path}, line {number}: {line[:80]!r}; {allowed}.")
        if words[0] in parts:
            raise AuscultError("E_DATA", f"{path}, line {number}: {words[0]} is there twice; each recording once.")
        parts[words[0]] = words[1]
    if not parts:
        raise AuscultError("E_DATA", f"{path} names no recording; one line for each is needed.")
    return parts


def read_annotation(path: Path) -> list[tuple[float, float, int]]:
    """(start_s, end_s, label) of each cycle; label = crackle + 2 wheeze.

    Byte order mark, Windows line ends and empty lines at the end are accepted.

    Raises:
        AuscultError: E_ANNOTATION, naming file, line, value and what is allowed.
    """
    return [(row.start_s, row.end_s, CLASSES.index(row.label)) for row in formats.read("icbhi", path)]


def read_demographics(path: Path) -> dict[str, Person]:
    """Patient -> age and sex, from lines of patient, age in years, sex, BMI, weight and height; ``NA`` is not known.

    Raises:
        AuscultError: E_ANNOTATION, naming file, line, value and what is allowed.
    """
    people: dict[str, Person] = {}
    for number, line in enumerate(lines(path), start=1):
        words, place = line.split(), f"line {number}"
        if not words:
            continue  # the published file begins with an empty line
        if len(words) < 3 or words[2] not in SEXES:
            allowed = "patient, age, M, F or NA, and more are needed, for instance 101 3 F NA 19 99"
            raise bad_annotation(path, place, f"{line[:40]!r} cannot be read", allowed)
        if words[0] in people:
            raise bad_annotation(path, place, f"patient {words[0][:40]} is there twice", "each patient once")
        age = None if words[1] == "NA" else parse_time(words[1], path, place, "age")
        people[words[0]] = Person(age, SEXES[words[2]])
    return people


def match(official: Iterable[str], found: Iterable[str]) -> dict[str, str]:
    """Official name -> name on disk, for those found under their name or under their old device name.

    The first four parts tell the 920 recordings apart, so a file left over whose device alone differs is the same
    recording. This covers the 91 names of the data set's own `filename_differences.txt`.

    >>> match(["101_1b1_Al_sc_Meditron", "102_1b1_Ar_sc_Meditron"], ["101_1b1_Al_sc_AKGC417L"])
    {'101_1b1_Al_sc_Meditron': '101_1b1_Al_sc_AKGC417L'}
    """
    official, found = list(official), set(found)
    left_over: dict[str, list[str]] = {}
    for stem in found.difference(official):
        place, _, device = stem.rpartition("_")
        if device in OLD_DEVICES:
            left_over.setdefault(place, []).append(stem)
    matched = {}
    for stem in official:
        place, _, device = stem.rpartition("_")
        old = left_over.get(place, [])
        if stem in found:
            matched[stem] = stem
        elif device == "Meditron" and len(old) == 1:
            matched[stem] = old[0]
    return matched


def _people(folder: Path, database: Path) -> tuple[dict[str, Person], list[Problem]]:
    """The demographic table, if there is one that can be read; nothing but the shortcuts and the reports need it."""
    path = _find(DEMOGRAPHICS_FILES, folder, database)
    if path is None:
        return {}, []
    try:
        return read_demographics(path), []
    except AuscultError as error:
        return {}, [Problem(path=str(path), code=error.code, message=error.message)]


def _find(names: tuple[str, ...], folder: Path, database: Path) -> Path | None:
    """The first file of these names, compared in lower case, in or beside the folders of a corpus."""
    places = dict.fromkeys((folder, database, database.parent))
    return next((p for place in places for p in sorted(place.iterdir()) if p.name.lower() in names), None)


def _read_cycles(
    files: dict[str, Path], parts: dict[str, str], people: dict[str, Person]
) -> tuple[list[Cycle], list[Problem]]:
    cycles: list[Cycle] = []
    problems: list[Problem] = []
    for stem, path in sorted(files.items()):
        patient, _, site, _, device = stem.split("_")
        try:
            rows = read_annotation(path)
        except AuscultError as error:
            problems.append(Problem(path=str(path), code=error.code, message=error.message))
            continue
        origin: dict[str, Any] = {"recording": stem, "patient": patient, "device": device, "site": site}
        origin |= {"part": parts[stem], **people.get(patient, Person())._asdict()}
        cycles += [Cycle(start_s=start, end_s=end, label=label, **origin) for start, end, label in rows]
    return cycles, problems


def _is_annotation(path: Path) -> bool:
    return path.suffix == ".txt" and not path.name.startswith(".") and len(path.stem.split("_")) == 5


def _database(folder: Path, name: str, advice: str) -> Path:
    for candidate in DATABASE_FOLDERS:
        database = folder / candidate
        if database.is_dir() and any(_is_annotation(p) for p in database.iterdir()):
            return database
    raise AuscultError(
        "E_DATA",
        f"no {name} annotations such as 101_1b1_Al_sc_Meditron.txt under {folder}: looked in "
        f"{', '.join(DATABASE_FOLDERS)}; found {contents(folder)}. {advice}",
    )


def _split_file(folder: Path, database: Path, name: str, advice: str) -> Path:
    path = _find(SPLIT_FILES, folder, database)
    if path is not None:
        return path
    places = dict.fromkeys((folder, database, database.parent))
    raise AuscultError(
        "E_DATA",
        f"no {name} split file: looked for ICBHI_challenge_train_test.txt or official_split.txt in "
        f"{', '.join(map(str, places))}; found {contents(folder)}. {advice}",
    )


def _require_all(
    parts: dict[str, str], annotations: dict[str, Path], stem_of: dict[str, str], database: Path, advice: str
) -> None:
    without = sorted(parts.keys() - stem_of.keys())
    extra = sorted(annotations.keys() - stem_of.values())
    if without or extra:
        raise AuscultError(
            "E_DATA",
            f"split file and annotations in {database} do not match: {len(without)} of {len(parts)} recordings have no "
            f"annotation{_some(without)}, {len(extra)} annotations are not in the split file{_some(extra)}. {advice}",
        )


def _stranger(path: Path) -> Problem:
    message = f"{path.name} is no recording of the split file; it is not used. Move it out of the folder."
    return Problem(path=str(path), code="E_DATA", message=message)


def _some(names: list[str], limit: int = 3) -> str:
    return f" ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})" if names else ""
