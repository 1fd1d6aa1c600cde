"""SPRSound: respiratory sounds of children, 8 kHz, with respiratory events; the BioCAS 2022 challenge release.

Each recording has a JSON file of the same name: `patient_age_gender_site_number`. The test recordings come in two
parts: ``inter`` (patients not in train) and ``intra`` (patients that are all in train, on purpose).

Source: Zhang et al. 2022, "SPRSound: Open-Source SJTU Paediatric Respiratory Sound Database", IEEE TBioCAS 16(5);
Zhang et al. 2022, "Grand Challenge on Respiratory Sound Classification", IEEE BioCAS.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import AuscultError
from ..formats.text import bad_annotation, check_times, content, parse_time
from ..metrics import Task
from .cycles import Corpus, Cycle, Problem, Published, contents, find_audio, require_folder

CLASSES = ("Normal", "Rhonchi", "Wheeze", "Stridor", "Coarse Crackle", "Fine Crackle", "Wheeze+Crackle")
RECORD_CLASSES = ("Normal", "CAS", "DAS", "CAS & DAS", "Poor Quality")
DEVICE = "Yunting model II"  # the one stethoscope of the data set, says its README
_FOUR = ("normal", "crackle", "wheeze", "both")
_TWO = ("normal", "abnormal")
_ABNORMAL = (0, 1, 1, 1, 1, 1, 1)
# 4-class: stridor and rhonchi count as wheeze, the mapping of the ICBHI -> SPRSound protocol of QLung (2026).
TASKS = (
    Task(name="SPRSound task 1-1", classes=_TWO, mapping=_ABNORMAL, formula="sprsound", decide="group"),
    Task(name="SPRSound task 1-2", classes=CLASSES, mapping=(0, 1, 2, 3, 4, 5, 6), formula="sprsound"),
    Task(name="SPRSound 4-class", classes=_FOUR, mapping=(0, 2, 2, 2, 1, 1, 3)),
    Task(name="SPRSound 2-class from 4-class", classes=_TWO, mapping=_ABNORMAL),
)
PUBLISHED = Published(
    recordings={"train": 1949, "inter": 355, "intra": 379},
    cycles={
        "train": (5159, 39, 452, 15, 49, 912, 30),
        "inter": (1040, 0, 305, 0, 3, 80, 1),
        "intra": (688, 14, 108, 2, 14, 175, 3),
    },
)
ADVICE = (
    "It is published at https://github.com/SJTU-YONGFU-RESEARCH-GRP/SPRSound: "
    "`git clone --depth 1 https://github.com/SJTU-YONGFU-RESEARCH-GRP/SPRSound`, then give that folder."
)


class Layout(NamedTuple):
    """Where a release keeps its files: JSON folder of each part, and the folders with audio."""

    train: str
    inter: str
    intra: str
    audio: tuple[str, str]


LAYOUTS = (
    Layout(  # the release of the challenge
        "train_json",
        "test_json/inter_test_json",
        "test_json/intra_test_json",
        ("train_wav", "test_wav"),
    ),
    Layout(  # the repository by challenge
        "BioCAS2022/train2022_json",
        "BioCAS2022/test2022_json/inter_test_json",
        "BioCAS2022/test2022_json/intra_test_json",
        ("BioCAS2022/train2022_wav", "BioCAS2022/test2022_wav"),
    ),
    Layout(  # the repository by kind of task
        "Classification/train_classification_json",
        "Classification/valid_classification_json/2022/inter_test_json",
        "Classification/valid_classification_json/2022/intra_test_json",
        ("Classification/train_classification_wav", "Classification/valid_classification_wav/2022"),
    ),
)


class Name(NamedTuple):
    """What a file name says. `age_years` is a decimal number; `gender` is male or female; `site` is p1 to p4."""

    patient: str
    age_years: float
    gender: str
    site: str
    number: int


def parse_name(path: Path) -> Name:
    """The five parts of a file name.

    >>> parse_name(Path("65058931_3.4_1_p2_1086.json"))
    Name(patient='65058931', age_years=3.4, gender='female', site='p2', number=1086)

    Raises:
        AuscultError: E_ANNOTATION.
    """
    found = re.fullmatch(r"(\d+)_(\d+(?:\.\d+)?)_([01])_(p[1-4])_(\d+)", path.stem, re.ASCII)
    if found is None:
        allowed = "patient_age_gender_site_number is needed, for instance 65058931_3.4_1_p2_1086"
        raise bad_annotation(path, "", f"the name {path.stem!r} cannot be read", allowed)
    patient, age, gender, site, number = found.groups()
    return Name(patient, float(age), ("male", "female")[int(gender)], site, int(number))


def read(folder: Path) -> Corpus:
    """The SPRSound corpus of the BioCAS 2022 release, in any of the layouts it was published in.

    Poor Quality recordings have no events: they are recordings of the corpus, without cycles.

    Raises:
        AuscultError: E_DATA, for a folder that is missing or laid out otherwise.
    """
    folder = Path(folder)
    require_folder(folder, "sprsound", ADVICE)
    layout = _layout(folder)
    cycles: list[Cycle] = []
    problems: list[Problem] = []
    recordings: dict[str, str] = {}
    for part in PUBLISHED.recordings:
        for path in sorted((folder / getattr(layout, part)).glob("[!.]*.json")):
            if path.stem in recordings:
                message = f"{path} is also in part {recordings[path.stem]}; a recording belongs to one part. {ADVICE}"
                raise AuscultError("E_DATA", message)
            recordings[path.stem] = part
            try:
                cycles += _cycles(path, part)
            except AuscultError as error:
                problems.append(Problem(path=str(path), code=error.code, message=error.message))
    audio = {stem: path for place in layout.audio for stem, path in find_audio(folder / place).items()}
    strangers = sorted(audio.keys() - recordings.keys())
    return Corpus(
        name="sprsound",
        classes=CLASSES,
        cycles=tuple(cycles),
        audio={stem: path for stem, path in audio.items() if stem in recordings},
        recordings=recordings,
        tasks=TASKS,
        test_parts=("inter", "intra"),
        problems=tuple(problems + [_stranger(audio[stem]) for stem in strangers]),
        seen_parts=("intra",),
        published=PUBLISHED,
        recording_patients={stem: stem.split("_")[0] for stem in recordings},
    )


def read_annotation(path: Path) -> list[tuple[float, float, int]]:
    """(start_s, end_s, class index) of each event, in order of time; none for a Poor Quality recording.

    Files give milliseconds as text or number, in any order. The key of the recording's label is `record_annotation`
    in the files and `recording_annotation` in the data set's README; both are read.

    Raises:
        AuscultError: E_ANNOTATION, naming file, event, value and what is allowed.
    """
    data = _json(path)
    label = data.get("record_annotation", data.get("recording_annotation"))
    events = data.get("event_annotation")
    if label not in RECORD_CLASSES:
        raise bad_annotation(path, "", f"record_annotation is {label!r:.60}", f"one of {', '.join(RECORD_CLASSES)}")
    if not isinstance(events, list):
        raise bad_annotation(path, "", f"event_annotation is {events!r:.60}", "a list of events is needed")
    if (label == "Poor Quality") == bool(events):
        allowed = "Poor Quality recordings have no event, all others at least one"
        raise bad_annotation(path, "", f"{len(events)} events in a {label} recording", allowed)
    rows = sorted((*_event(event, path, f"event {i}"), f"event {i}") for i, event in enumerate(events, start=1))
    check_times([row[:2] for row in rows], [row[3] for row in rows], path)
    return [row[:3] for row in rows]


def _event(event: Any, path: Path, place: str) -> tuple[float, float, int]:
    if not isinstance(event, dict) or not {"start", "end", "type"} <= event.keys():
        raise bad_annotation(path, place, f"{event!r:.60}", "start, end and type are needed")
    times = []
    for column in ("start", "end"):
        value = event[column]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise bad_annotation(path, place, f"{column} is {value!r:.60}", "milliseconds are needed")
        times.append(parse_time(str(value), path, place, column) / 1000)
    if event["type"] not in CLASSES:
        raise bad_annotation(path, place, f"type is {event['type']!r:.60}", f"one of {', '.join(CLASSES)}")
    return times[0], times[1], CLASSES.index(event["type"])


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(content(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits, too deep
        raise bad_annotation(path, "", f"not readable as JSON ({error})", "a JSON object is needed") from error
    if not isinstance(data, dict):
        raise bad_annotation(path, "", f"holds a {type(data).__name__}", "a JSON object is needed")
    return data


def _cycles(path: Path, part: str) -> list[Cycle]:
    name = parse_name(path)
    origin: dict[str, Any] = {"recording": path.stem, "patient": name.patient, "device": DEVICE, "site": name.site}
    origin |= {"part": part, "age_years": name.age_years, "sex": name.gender}
    return [Cycle(start_s=start, end_s=end, label=label, **origin) for start, end, label in read_annotation(path)]


def _layout(folder: Path) -> Layout:
    for layout in LAYOUTS:
        if all((folder / getattr(layout, part)).is_dir() for part in PUBLISHED.recordings):
            return layout
    looked = "; ".join(f"{layout.train}, {layout.inter}, {layout.intra}" for layout in LAYOUTS)
    raise AuscultError(
        "E_DATA", f"no SPRSound release under {folder}: looked for {looked}; found {contents(folder)}. {ADVICE}"
    )


def _stranger(path: Path) -> Problem:
    message = f"{path.name} has no annotation of its name; it is not used. Move it out of the folder."
    return Problem(path=str(path), code="E_DATA", message=message)
