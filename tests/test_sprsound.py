"""The SPRSound reader: small folders written here, and the published counts on the real files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from auscult.data import sprsound
from auscult.data.cycles import Cycle
from auscult.errors import AuscultError

EVENTS = [
    {"start": "5182", "end": "7542", "type": "Wheeze+Crackle"},
    {"start": "2499", "end": "4277", "type": "Normal"},
    {"start": 8000, "end": 8500.5, "type": "Stridor"},
]
GOOD = {"record_annotation": "CAS & DAS", "event_annotation": EVENTS}
STEMS = {
    "train": ("65058931_3.4_1_p2_1086", "65058931_3.4_1_p1_1087"),
    "inter": ("65106469_0.7_0_p1_4119",),
    "intra": ("65058931_3.6_1_p4_1200",),
}


def write(folder: Path, layout: sprsound.Layout) -> Path:
    """Four recordings with audio; the second is Poor Quality."""
    for part, stems in STEMS.items():
        place = folder / getattr(layout, part)
        audio = folder / layout.audio[part != "train"]
        place.mkdir(parents=True)
        audio.mkdir(parents=True, exist_ok=True)
        for i, stem in enumerate(stems):
            poor = {"record_annotation": "Poor Quality", "event_annotation": []}
            (place / f"{stem}.json").write_text(json.dumps(poor if i else GOOD))
            soundfile.write(audio / f"{stem}.wav", np.zeros(9 * 8000, np.float32), 8000)
    return folder


def annotation(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "65058931_3.4_1_p2_1086.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("layout", sprsound.LAYOUTS)
def test_reads_every_layout(tmp_path: Path, layout: sprsound.Layout) -> None:
    corpus = sprsound.read(write(tmp_path, layout))
    assert len(corpus.cycles) == 9
    assert corpus.cycles[0] == Cycle(
        recording="65058931_3.4_1_p2_1086",
        patient="65058931",
        device="Yunting model II",
        site="p2",
        start_s=2.499,
        end_s=4.277,
        label=0,
        part="train",
        age_years=3.4,
        sex="female",
    )
    assert [c.label for c in corpus.cycles[:3]] == [0, 6, 3]
    assert corpus.cycles[2].end_s == pytest.approx(8.5005)
    assert sorted(corpus.recordings.values()) == ["inter", "intra", "train", "train"]
    assert (corpus.missing_audio, corpus.problems) == ([], ())
    assert corpus.shared_patients("inter") == set()
    assert corpus.shared_patients("intra") == {"65058931"}


def test_poor_quality_is_a_recording_without_cycles(tmp_path: Path) -> None:
    corpus = sprsound.read(write(tmp_path, sprsound.LAYOUTS[0]))
    assert corpus.recordings["65058931_3.4_1_p1_1087"] == "train"
    assert "65058931_3.4_1_p1_1087" not in {cycle.recording for cycle in corpus.cycles}


def test_tasks_map_the_seven_classes() -> None:
    names = {task.name: dict(zip(sprsound.CLASSES, task.mapping, strict=True)) for task in sprsound.TASKS}
    four = names["SPRSound 4-class"]
    assert [four[c] for c in ("Normal", "Rhonchi", "Wheeze", "Stridor")] == [0, 2, 2, 2]
    assert [four[c] for c in ("Coarse Crackle", "Fine Crackle", "Wheeze+Crackle")] == [1, 1, 3]
    formulas = {task.name: task.formula for task in sprsound.TASKS}
    assert formulas == {
        "SPRSound task 1-1": "sprsound",
        "SPRSound task 1-2": "sprsound",
        "SPRSound 4-class": "icbhi",
        "SPRSound 2-class from 4-class": "icbhi",
    }


def test_the_other_key_is_read(tmp_path: Path) -> None:
    path = annotation(tmp_path, {"recording_annotation": "CAS", "event_annotation": EVENTS[:1]})
    assert sprsound.read_annotation(path) == [(5.182, 7.542, 6)]


def test_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert len(sprsound.read_annotation(annotation(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()))) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b'{"record_annotation": ' + b"9" * 5000 + b"}", "not readable as JSON"),
        ([], "holds a list"),
        (GOOD | {"record_annotation": "Fine"}, "record_annotation is 'Fine'"),
        ({"event_annotation": EVENTS}, "record_annotation is None"),
        (GOOD | {"event_annotation": None}, "a list of events is needed"),
        (GOOD | {"event_annotation": []}, "0 events in a CAS & DAS recording"),
        (GOOD | {"record_annotation": "Poor Quality"}, "3 events in a Poor Quality recording"),
        (GOOD | {"event_annotation": [7]}, "event 1: 7"),
        (GOOD | {"event_annotation": [{"start": 1, "end": 2}]}, "start, end and type are needed"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"type": "Cough"}]}, "event 1: type is 'Cough'"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"type": ["Normal"]}]}, "event 1: type is ['Normal']"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"start": "7,5"}]}, "has a comma"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"start": float("nan")}]}, "is no number"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"start": True}]}, "milliseconds are needed"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"start": None}]}, "milliseconds are needed"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"start": -1}]}, "is negative"),
        (GOOD | {"event_annotation": [EVENTS[0] | {"end": "5182"}]}, "start must be before end"),
        (GOOD | {"event_annotation": [*EVENTS, EVENTS[0]]}, "repeats event 1"),
        (
            GOOD | {"event_annotation": [*EVENTS, EVENTS[0] | {"start": 7000, "end": 7900}]},
            "event 4: start 7 s is before",
        ),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    path = annotation(tmp_path, content)
    with pytest.raises(AuscultError) as error:
        sprsound.read_annotation(path)
    assert error.value.code == "E_ANNOTATION"
    assert said in error.value.message
    assert path.name in error.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Normal", "CAS", "12", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["record_annotation", "event_annotation", "start", "end", "type"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(content=JSON | st.binary(max_size=40))
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = annotation(tmp_path_factory.getbasetemp(), content)
    try:
        sprsound.read_annotation(path)
    except AuscultError as error:
        assert error.code == "E_ANNOTATION"


def test_a_bad_file_or_name_is_skipped_and_reported(tmp_path: Path) -> None:
    folder = write(tmp_path, sprsound.LAYOUTS[0])
    (folder / "train_json" / "65058931_3.4_1_p2_1086.json").write_text("{")
    (folder / "train_json" / "65058931_3.4_2_p2_1088.json").write_text(json.dumps(GOOD))
    (folder / "train_wav" / "1.wav").touch()
    corpus = sprsound.read(folder)
    assert len(corpus.cycles) == 6
    assert sorted((p.code, Path(p.path).name) for p in corpus.problems) == [
        ("E_ANNOTATION", "65058931_3.4_1_p2_1086.json"),
        ("E_ANNOTATION", "65058931_3.4_2_p2_1088.json"),
        ("E_DATA", "1.wav"),
    ]


def test_a_recording_in_two_parts_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, sprsound.LAYOUTS[0])
    (folder / sprsound.LAYOUTS[0].inter / "65058931_3.4_1_p2_1086.json").write_text(json.dumps(GOOD))
    with pytest.raises(AuscultError, match=r"E_DATA.*also in part train"):
        sprsound.read(folder)


def test_other_layout_says_where_the_data_set_is(tmp_path: Path) -> None:
    (tmp_path / "train_json").mkdir()
    for place, said in ((tmp_path, "found train_json"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(AuscultError) as error:
            sprsound.read(place)
        assert error.value.code == "E_DATA"
        assert said in error.value.message
        assert "github.com/SJTU-YONGFU-RESEARCH-GRP/SPRSound" in error.value.message


@pytest.mark.data
def test_published_counts(data_dir: Path) -> None:
    corpus = sprsound.read(data_dir / "sprsound")
    assert corpus.problems == ()
    assert corpus.missing_audio == []
    expected = {
        "train": (1949, 251, [5159, 39, 452, 15, 49, 912, 30]),
        "inter": (355, 41, [1040, 0, 305, 0, 3, 80, 1]),
        "intra": (379, 162, [688, 14, 108, 2, 14, 175, 3]),
    }
    for part, (recordings, patients, events) in expected.items():
        assert list(corpus.recordings.values()).count(part) == recordings
        assert len(corpus.patients_of(part)) == patients
        assert np.bincount([c.label for c in corpus.cycles if c.part == part], minlength=7).tolist() == events
    assert len(corpus.shared_patients("inter")) == 0
    assert len(corpus.shared_patients("intra")) == 162
    four = np.array(corpus.tasks[2].mapping)
    inter = [c.label for c in corpus.cycles if c.part == "inter"]
    assert np.bincount(four[inter]).tolist() == [1040, 83, 305, 1]
