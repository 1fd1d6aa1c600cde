# ruff: noqa: E501
"""At least 60 annotation files with the answer that each must get, and the reader of each kind."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from auscult import formats
from auscult.cli.journal import Journal
from auscult.data import icbhi, own, sprsound
from auscult.prediction import Prediction

from . import OK
from .sounds import wav

ASKED = {"model_sha256": "0"}
LINE: dict[str, Any] = {
    "recording": "a.wav",
    "sha256": "1",
    "prediction": {
        "recording": "a.wav", "cycles": [], "cycles_from": "windows", "classes": ["normal", "crackle"],
        "duration_s": 1.0, "native_rate_hz": 8000, "bandwidth_hz": None, "said": "cannot say", "p_abnormal": None,
        "why": "", "notes": [], "verdict": {"kind": "accept", "reasons": [], "measures": {}},
    },
}  # fmt: skip


class Note(NamedTuple):
    """A file of a kind, and its answer: `OK` or a code."""

    kind: str
    name: str
    content: bytes
    answer: str


def own_table(path: Path) -> object:
    """The corpus of a folder that `path` is the recordings.csv of; the folder gets three recordings."""
    for name in ("anna_1", "anna_2", "bert_1"):
        if not (path.parent / f"{name}.wav").exists():
            (path.parent / f"{name}.wav").write_bytes(b"")
            (path.parent / f"{name}.txt").write_text("0\t1\t0\t0\n")
    return own.read(path.parent)


def journal(path: Path) -> object:
    """What a resumed prediction takes from its journal."""
    found = Journal(path.parent, ASKED, resume=True)
    try:
        return [
            Prediction.from_dict(line["prediction"]) for line in found.lines([("a.wav", "1")]) if "prediction" in line
        ]
    finally:
        found.close()


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{kind: (f"x{formats.ENDINGS[kind]}", lambda path, kind=kind: formats.read(kind, path)) for kind in formats.KINDS},  # type: ignore[misc]
    "by name": ("x.txt", formats.kind_of),
    "sprsound": ("65058931_3.4_1_p2_1086.json", sprsound.read_annotation),
    "split": ("ICBHI_challenge_train_test.txt", icbhi.read_split),
    "people": ("ICBHI_Challenge_demographic_information.txt", icbhi.read_demographics),
    "own": (own.TABLE, own_table),
    "journal": ("journal.jsonl", journal),
}
"""Kind -> the name that its file must have, and what reads it."""


def notes() -> list[Note]:
    """Every file; no (kind, name) twice."""
    return [*_of_icbhi(), *_of_formats(), *_of_sprsound(), *_of_tables(), *_of_journals()]


def _each(kind: str, answer: str, **contents: str | bytes) -> Iterator[Note]:
    for name, content in contents.items():
        yield Note(kind, name, content if isinstance(content, bytes) else content.encode(), answer)


def _of_icbhi() -> Iterator[Note]:
    line = "0.5\t1.5\t0\t1\n"
    yield from _each(
        "icbhi", OK, plain=line, bom="\ufeff" + line, crlf=line.replace("\n", "\r\n"), blank_end=line + "\n \n",
        no_newline=line.strip(), gap=line + "5\t6\t1\t1\n", rounding=line + "1.4995\t2\t0\t0\n", exponent="5e-1\t15E-1\t0\t1\n",
    )  # fmt: skip
    yield from _each(
        "icbhi", "E_ANNOTATION", empty=b"", blank="\n\n", overlap=line + "1.4\t2\t0\t0\n", repeated=line * 2,
        unsorted="3\t4\t0\t0\n" + line, start_is_end="1\t1\t0\t0\n", start_after_end="2\t1\t0\t0\n",
        negative="-1\t1\t0\t0\n", nan="nan\t1\t0\t0\n", infinite="0\tinf\t0\t0\n", huge="0\t1e400\t0\t0\n",
        comma="0,5\t1,5\t0\t1\n", flag_2="0\t1\t0\t2\n", flag_word="0\t1\tyes\tno\n", flag_float="0\t1\t0.0\t1.0\n",
        three="0\t1\t0\n", five="0\t1\t0\t0\t0\n", spaces="0 1 0 0\n", header="start\tend\tcrackle\twheeze\n" + line,
        utf16=line.encode("utf-16"), latin1=b"0\t1\t0\t0 \xe9\n", nul=b"0\t1\t0\t0\0\n", binary=bytes(range(256)),
        underscore="1_0\t2_0\t0\t0\n", arabic="\u0660\t\u0661\t0\t0\n", hexadecimal="0x0\t0x1\t0\t0\n",
        blank_between=line + "\n" + "2\t3\t0\t0\n", old_mac=line.replace("\n", "\r") * 2, long_line="1" * 100_000, wav=wav(),
    )  # fmt: skip


def _of_formats() -> Iterator[Note]:
    rows = [formats.Row(0.5, 1.5, "crackle", 0.9), formats.Row(2, 3, "normal")]
    for kind in formats.KINDS:
        whole = formats.write(kind, rows, "x.wav", 4.0)
        yield from _each(kind, OK, written=whole)
        yield from _each(
            kind, "E_ANNOTATION", cut=whole[:-14], nothing=b"", zeros=bytes(100), random=bytes(range(255, 0, -1))
        )
    yield from _each(
        "audacity", "E_ANNOTATION", no_label="0\t1\n", lone_band="\\\t0\t100\n", empty_label="0\t1\t\n",
        escape="0\t1\t\x1b[31m\n", overlap="0\t2\ta\n1\t3\tb\n",
    )  # fmt: skip
    head = "Begin Time (s)\tEnd Time (s)\tLabel\n"
    yield from _each("raven", OK, quoted=head + '0\t1\t"a ""b"""\n', formula=head + "0\t1\t'=cmd\n")
    yield from _each(
        "raven", "E_ANNOTATION", no_label_column="Begin Time (s)\tEnd Time (s)\n0\t1\n", short_row=head + "0\n",
        open_quote=head + '0\t1\t"a\n2\t3\tb\n', long_field=head + "0\t1\t" + "a" * 200_000, sure="Confidence\t" + head + "7\t0\t1\ta\n",
    )  # fmt: skip
    grid = formats.write("textgrid", rows, "x.wav", 4.0)
    yield from _each("textgrid", OK, utf16=grid.encode("utf-16"), crlf=grid.replace("\n", "\r\n"))
    yield from _each(
        "textgrid", "E_ANNOTATION", many=grid.replace("size = 2", "size = 999999999"), half_utf16=grid.encode("utf-16")[:-1],
        no_tiers=grid.replace("<exists>", "<absent>"), below_0=grid.replace("xmin = 0.5", "xmin = -1"),
        quotes=b'"' * 1001, other_object='"ooTextFile" "Pitch" 0 1 <exists> 0',
    )  # fmt: skip


def _of_sprsound() -> Iterator[Note]:
    event = {"start": "100", "end": "900", "type": "Normal"}

    def told(label: Any = "Normal", events: Any = (event,)) -> str:
        return json.dumps({"record_annotation": label, "event_annotation": events})

    yield from _each("sprsound", OK, plain=told(), numbers=told(events=[event | {"start": 100, "end": 900.5}]))
    yield from _each(
        "sprsound", "E_ANNOTATION", no_json="{", empty=b"", list="[]", null="null", label=told("Fine"), label_list=told([]),
        label_object=told({}), no_events=told(events=[]), events_object=told(events={}), event_text=told(events=["a"]),
        no_type=told(events=[{"start": 0, "end": 1}]), type=told(events=[event | {"type": "Cough"}]),
        type_list=told(events=[event | {"type": ["Normal"]}]), nan=told(events=[event | {"start": float("nan")}]),
        infinite=told(events=[event | {"end": float("inf")}]), true=told(events=[event | {"start": True}]),
        negative=told(events=[event | {"start": -5}]), backward=told(events=[event | {"end": 5}]),
        twice=told(events=[event, event]), poor_with_events=told("Poor Quality"), deep="[" * 100_000,
        digits='{"a": ' + "9" * 5000 + "}", lone_half='{"record_annotation": "\\ud800"}', utf16=told().encode("utf-16"),
        big=told(events=[event | {"end": 10**400}]), nul=b"\0" * 50,
    )  # fmt: skip


def _of_tables() -> Iterator[Note]:
    yield from _each("split", OK, plain="101_1b1_Al_sc_Meditron\ttrain\r\n102_1b1_Ar_sc_Meditron\ttest\r\n")
    yield from _each(
        "split", "E_DATA", empty=b"", part="101_1b1_Al_sc_Meditron\tvalid\n", name="101\ttrain\n", latin1=b"\xe9\ttrain",
        twice="101_1b1_Al_sc_Meditron\ttrain\n" * 2, three="a_b_c_d_e train test\n",
    )  # fmt: skip
    yield from _each("people", OK, plain="\n101 3 F NA 19 99\n102 NA M 33 NA NA\n")
    yield from _each(
        "people", "E_ANNOTATION", sex="101 3 X\n", age="101 three F\n", twice="101 3 F\n101 3 F\n", minus="101 -3 F\n",
        nan="101 nan F\n", short="101\n", binary=bytes(range(128, 200)),
    )  # fmt: skip
    head = "recording,patient,part,device,site,age_years,sex\n"
    rows = "anna_1,anna,train,,,3,\nanna_2,anna,train,,,,female\nbert_1,bert,test,,,,\n"
    yield from _each(
        "own", OK, plain=head + rows, bom="\ufeff" + head + rows, quoted=head + rows.replace("bert,", '"bert",')
    )
    yield from _each(
        "own", "E_DATA", in_both=head + rows.replace("anna_2,anna,train", "anna_2,anna,test"), cut=head + rows[:30],
        twice=head + rows + "anna_1,anna,train,,,3,\n", part=head + rows.replace("test", "other"), quote=head + 'anna_1,"',
        sex=head + rows.replace("female", "f"), repeated_column="recording,recording\na,b\n", no_column="patient\nanna\n",
        field=head + "a" * 200_000, latin1=head.encode() + b"\xe9,,,,,,\n", nothing=b"",
    )  # fmt: skip
    yield from _each("own", "E_SETTING", column="recording,ward\nanna_1,3\n")
    yield from _each("own", "E_ANNOTATION", age=head + rows.replace(",3,", ",old,"))


def _of_journals() -> Iterator[Note]:
    asked, line = json.dumps(ASKED), json.dumps(LINE)
    yield from _each(
        "journal", OK, plain=f"{asked}\n{line}\n", cut=f"{asked}\n{line[:40]}", first_cut=asked, empty=b"", no_json="{{{\n",
        zeros=f"{asked}\n".encode() + bytes(512), error=f'{asked}\n{{"recording": "a.wav", "sha256": "1", "error": ["E_EMPTY", ""]}}\n',
        list=f"{asked}\n[1]\n", no_name=f'{asked}\n{{"x": 1}}\n', name_list=f'{asked}\n{{"recording": [], "sha256": {{}}}}\n',
        neither=f'{asked}\n{{"recording": "a.wav", "sha256": "1"}}\n',
        prediction_text=f'{asked}\n{{"recording": "a.wav", "sha256": "1", "prediction": "x"}}\n',
        half=f'{asked}\n{{"recording": "a.wav", "sha256": "1", "prediction": {{"recording": "a.wav"}}}}\n',
        verdict=asked + "\n" + line.replace('"measures"', '"others"') + "\n", deep=f"{asked}\n" + "[" * 100_000 + "\n",
        half_character=f"{asked}\n".encode() + b'{"recording": "\xff"}\n',
    )  # fmt: skip
    yield from _each("journal", "E_SETTING", of_another='{"model_sha256": "1"}\n')


def write(folder: Path, note: Note) -> Path:
    """The file in a folder of its own, under the name that its kind must have."""
    place = folder / f"{note.kind} {note.name}"
    place.mkdir(parents=True)
    path = place / READERS[note.kind][0]
    path.write_bytes(note.content)
    return path


def no_regular_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """For every kind a folder and a pipe under its name."""
    for kind, (name, _) in READERS.items():
        for what, make in (("folder", Path.mkdir), ("pipe", os.mkfifo)):
            place = folder / f"{kind} {what}"
            place.mkdir(parents=True)
            make(place / name)
            yield kind, place / name
