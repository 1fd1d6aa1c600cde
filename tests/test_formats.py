"""Formats of annotations: round trips, outside readers (crowsetta, praatio, pandas), the official files, bad input."""

import os
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.data.label_maps import label_map
from auscult.errors import AuscultError
from auscult.formats import ENDINGS, READERS, WRITERS, Row, icbhi, kind_of, read, write
from auscult.formats.row import label_problem
from auscult.formats.text import printable

ROWS = [
    Row(0.036, 0.579, "normal", 0.91),
    Row(0.579, 2.45, "Coarse Crackle", 0.8344),
    Row(3.0, 4.1234567, "Wheeze+Crackle", 1.0),
    Row(4.5, 19.999, "Rhonchi"),
]
FREE = ("audacity", "raven", "textgrid")  # that hold any label


def saved(folder: Path, kind: str, text: str) -> Path:
    path = folder / f"x{ENDINGS[kind]}"
    path.write_bytes(text.encode())
    return path


# --- what is written ---


def test_the_columns_are_those_of_the_conventions() -> None:
    flags = write("icbhi", ROWS, "x.wav", 20.0)
    assert flags == "0.036\t0.579\t0\t0\n0.579\t2.45\t1\t0\n3\t4.123457\t1\t1\n4.5\t19.999\t0\t1\n"
    assert write("audacity", ROWS, "x.wav", 20.0).splitlines()[1] == "0.579000\t2.450000\tCoarse Crackle 0.83"
    table = [line.split("\t") for line in write("raven", ROWS, "a/x.wav", 20.0).splitlines()]
    assert table[0][:7] == [
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
    ]
    assert table[0][7:] == ["Label", "Confidence", "Begin Path"]
    assert table[2][3:5] + table[2][7:] == ["0.579000", "2.450000", "Coarse Crackle", "0.8344", "a/x.wav"]
    assert table[4][8] == ""
    assert 'name = "breath"' in (grid := write("textgrid", ROWS, "x.wav", 20.0)) and 'name = "label"' in grid


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_are_written_in_order_of_time(kind: str) -> None:
    assert write(kind, ROWS[::-1], "x.wav", 20.0) == write(kind, ROWS, "x.wav", 20.0)


def test_labels_become_flags_as_the_label_map_has_it() -> None:
    chosen = label_map("qlung")
    for label, meant in chosen.labels.items():
        crackle, wheeze = icbhi.flags(label) or (None, None)
        assert (crackle, wheeze) == {"normal": (0, 0), "crackle": (1, 0), "wheeze": (0, 1), "both": (1, 1)}[meant]
    assert icbhi.FLAGS.keys() == {label.lower() for label in chosen.labels}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row(1.0, 1.0, "crackle"), "start must be before its end"),
        (Row(1.0, 1.0000001, "crackle"), "start must be before its end"),
        (Row(-0.1, 1.0, "crackle"), "from 0 on"),
        (Row(0.0, float("nan"), "crackle"), "nan s"),
        (Row(0.0, float("inf"), "crackle"), "inf s"),
        (Row(0.0, 1.0, "crackle", 1.5), "confidence 1.5"),
        (Row(0.0, 1.0, "crackle", float("nan")), "confidence nan"),
        (Row(0.0, 1.0, "two\nlines"), "'two\\nlines'"),
        (Row(0.0, 1.0, "a\tb"), "'a\\tb'"),
        (Row(0.0, 1.0, " crackle"), "' crackle'"),
        (Row(0.0, 1.0, "crackle 0.83"), "'crackle 0.83'"),
        (Row(0.0, 1.0, ""), "''"),
    ],
)
@pytest.mark.parametrize("kind", WRITERS)
def test_rows_that_no_format_can_hold_are_refused(kind: str, row: Row, said: str) -> None:
    with pytest.raises(AuscultError, match="E_ANNOTATION") as error:
        write(kind, [row], "x.wav", 20.0)
    assert said in error.value.message


def test_what_one_format_cannot_hold_is_refused_by_it_alone() -> None:
    cough, overlap = [Row(0, 1, "cough")], [Row(0, 1, "crackle"), Row(0.5, 2, "wheeze")]
    with pytest.raises(AuscultError, match=r"'cough' cannot be written as ICBHI txt.*normal, crackle"):
        write("icbhi", cough, "x.wav", 2.0)
    with pytest.raises(AuscultError, match=r"from 0\.5 s to 2 s overlaps the one before"):
        write("textgrid", overlap, "x.wav", 2.0)
    assert all(write(kind, cough, "x.wav", 2.0) for kind in FREE)
    assert all(write(kind, overlap, "x.wav", 2.0) for kind in WRITERS if kind != "textgrid")


@pytest.mark.parametrize("do", [lambda: write("csv", ROWS, "x", 20.0), lambda: read("csv", "x")])
def test_an_unknown_format_is_refused(do: Callable[[], object]) -> None:
    with pytest.raises(AuscultError, match=r"no format named 'csv'.*There are: audacity, icbhi, raven, textgrid"):
        do()


# --- round trips ---

TIMES = st.lists(st.integers(0, 10**10), min_size=2, max_size=12, unique=True).map(sorted)
STARTS = st.sampled_from(
    ["=1+1", "+x", "-x", "@x", "'=x", "''=x", '"', '""', '"a" b', 'a"b', "\\", "! x", "<x>", "x 0.8"]
)
LABELS = STARTS | st.text(min_size=1, max_size=8).filter(lambda text: label_problem(text) is None)
NAMES = st.text(max_size=12) | st.sampled_from(
    ["=a.wav", "+a", "-a", "@a", "a\tb", "a\nb", 'a"b', "é \u2028", "\udcff"]
)


@st.composite
def rows(draw: st.DrawFn, labels: st.SearchStrategy[str]) -> list[Row]:
    """Breaths that do not overlap, to the microsecond, some of them touching."""
    edges = [t / 1e6 for t in draw(TIMES)]
    step = draw(st.sampled_from([1, 2]))
    pairs = list(pairwise(edges))[::step]
    chance = st.none() | st.integers(0, 100).map(lambda n: n / 100)
    return [Row(start, end, draw(labels), draw(chance)) for start, end in pairs]


@settings(deadline=None)  # the first example imports pandas
@given(rows=rows(LABELS), name=NAMES, kind=st.sampled_from(FREE))
def test_any_label_and_name_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], name: str, kind: str
) -> None:
    text = write(kind, rows, name, 20.0)
    path = saved(tmp_path_factory.getbasetemp(), kind, text)
    assert read(kind, path) == rows
    assert write(kind, read(kind, path), name, 20.0) == text
    assert kind_of(path) == kind
    if kind == "raven":
        cells = outside_table(path)
        assert cells[-1] == {**cells[-1], "Selection": str(len(rows)), "Begin Time (s)": f"{rows[-1].start_s:.6f}"}
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells[-1].values())
        assert cells[-1]["Begin Path"].removeprefix("./") == printable(name).removeprefix("./")


def outside_table(path: Path) -> list[dict[str, str]]:
    """A table as pandas sees it, every cell as text."""
    import pandas

    table = pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False, lineterminator="\n")
    return table.to_dict("records")  # type: ignore[return-value]


@settings(deadline=None)
@given(rows=rows(st.sampled_from(icbhi.LABELS)))
def test_icbhi_flags_and_times_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = saved(tmp_path_factory.getbasetemp(), "icbhi", write("icbhi", rows, "x.wav", 20.0))
    assert read("icbhi", path) == [Row(row.start_s, row.end_s, row.label) for row in rows]


def test_other_labels_come_back_as_those_of_icbhi(tmp_path: Path) -> None:
    back = read("icbhi", saved(tmp_path, "icbhi", write("icbhi", ROWS, "x.wav", 20.0)))
    assert [row.label for row in back] == ["normal", "crackle", "both", "wheeze"]


@pytest.mark.data
def test_official_files_are_the_same_byte_for_byte(data_dir: Path) -> None:
    files = sorted((data_dir / "icbhi" / "ICBHI_final_database").glob("*.txt"))
    assert len(files) == 920
    for path in files:
        assert write("icbhi", read("icbhi", path), path.stem, 20.0).encode() == path.read_bytes(), path.name
        assert kind_of(path) == "icbhi"


# --- outside readers ---


@pytest.fixture(scope="module")
def crowsetta() -> object:
    with warnings.catch_warnings():
        return pytest.importorskip("crowsetta")


def test_crowsetta_reads_audacity_labels(crowsetta: object, tmp_path: Path) -> None:
    path = saved(tmp_path, "audacity", write("audacity", ROWS, "x.wav", 20.0))
    found = crowsetta.formats.seq.AudSeq.from_file(path).to_seq(round_times=False)  # type: ignore[attr-defined]
    assert found.labels.tolist() == ["normal 0.91", "Coarse Crackle 0.83", "Wheeze+Crackle 1.00", "Rhonchi"]
    assert found.onsets_s.tolist() == [0.036, 0.579, 3.0, 4.5]
    assert found.offsets_s.tolist() == [0.579, 2.45, 4.123457, 19.999]


# crowsetta 5.1.2 renames columns in a way that pandas 3.1 is giving up
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.rename is deprecated")
def test_crowsetta_reads_raven_tables(crowsetta: object, tmp_path: Path) -> None:
    path = saved(tmp_path, "raven", write("raven", ROWS, "x.wav", 20.0))
    boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Label").to_bbox()  # type: ignore[attr-defined]
    assert [box.label for box in boxes] == [row.label for row in ROWS]
    assert [(box.onset, box.offset) for box in boxes] == [(row.start_s, round(row.end_s, 6)) for row in ROWS]
    assert {(box.low_freq, box.high_freq) for box in boxes} == {(0.0, 2000.0)}


def test_praatio_reads_text_grids_and_we_read_its_own(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    hostile = [*ROWS, Row(20.0, 21.0, 'é "quoted" ! <x> 3')]
    path = saved(tmp_path, "textgrid", write("textgrid", hostile, "x.wav", 25.5))
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    assert grid.tierNames == ("breath", "label") and grid.maxTimestamp == 25.5
    entries = grid.getTier("label").entries
    assert [(e.start, e.end) for e in entries] == [(row.start_s, round(row.end_s, 6)) for row in hostile]
    assert [e.label.replace('""', '"') for e in entries][-1] == hostile[-1].label
    assert [e.label for e in grid.getTier("breath").entries] == list("12345")
    for form in ("short_textgrid", "long_textgrid"):
        grid.save(str(path), form, includeBlankSpaces=True)
        assert [row.label for row in read("textgrid", path)] == [row.label for row in hostile]


# --- what others write ---


def test_audacity_frequencies_order_and_line_ends(tmp_path: Path) -> None:
    text = "\ufeff2.5\t3.25\twheeze\r\n\\\t100.0\t-1.0\r\n0.5\t2.5\t crackle 0.83 \r\n\\\t150.5\t1e3\r\n\r\n"
    path = saved(tmp_path, "audacity", text)
    assert read("audacity", path) == [Row(0.5, 2.5, "crackle", 0.83), Row(2.5, 3.25, "wheeze")]


def test_raven_views_and_annotation_column(tmp_path: Path) -> None:
    text = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
    text += "2\tWaveform 1\t2.5\t3.5\twheeze\n2\tSpectrogram 1\t2.5\t3.5\twheeze\n1\tSpectrogram 1\t0.5\t2.5\tcrackle\n"
    path = saved(tmp_path, "raven", text)
    assert read("raven", path) == [Row(0.5, 2.5, "crackle"), Row(2.5, 3.5, "wheeze")]
    path = tmp_path / "x.Table.1.selections.txt"
    path.write_text(text)
    assert kind_of(path) == "raven"


SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
4
<exists>
2
"TextTier"
"label"
0
4
1
2.5
"here"
"IntervalTier"
"my breaths"
0
4
3
0
1.5
""
1.5
2.5
"crackle
"
2.5 4 "häufig ""wheeze""" ! the end
'''


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_praats_short_form_and_encodings(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    (path := tmp_path / "x.TextGrid").write_bytes((mark + SHORT).encode(encoding))
    assert read("textgrid", path) == [Row(1.5, 2.5, "crackle"), Row(2.5, 4.0, 'häufig "wheeze"')]


# --- bad input ---

RAVEN = "Selection\tBegin Time (s)\tEnd Time (s)\tLabel\tConfidence\n"
GRID = write("textgrid", [Row(0.5, 1, "crackle")], "x.wav", 2.0)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("audacity", "0.5,1.0,crackle\n", "line 1: 1 columns in '0.5,1.0,crackle'; 3 are needed"),
        ("audacity", "0,5\t1,0\tcrackle\n", "line 1: start '0,5' has a comma; write decimals with a point"),
        ("audacity", "0\t1\tx\n1\tone\ty\n", "line 2: end 'one' is no number"),
        ("audacity", "1.0\t1.0\tcrackle\n", "line 1: start 1 s, end 1 s; start must be before end"),
        ("audacity", "-1.0\t1.0\tcrackle\n", "line 1: start '-1.0' is negative"),
        ("audacity", "0\t1\t\n", "line 1: the label is ''"),
        ("audacity", "0\t2\ta\n1\t3\tb\n", "line 2: start 1 s is before the end of line 1, 2 s"),
        ("audacity", "1\t3\tb\n0\t2\ta\n", "line 1: start 1 s is before the end of line 2, 2 s"),
        ("audacity", "\\\t1\t2\n", "line 1: frequencies ['1', '2']"),
        ("audacity", "0\t1\ta\n\\\t1\tx\n", "line 2: frequencies ['1', 'x']"),
        ("audacity", "", "holds no cycle"),
        ("raven", "Selection\tLabel\n1\tx\n", "line 1: the columns are 'Selection, Label'; Begin Time (s), End Time"),
        ("raven", "Begin Time (s)\tEnd Time (s)\n", "Label or Annotation are needed"),
        ("raven", RAVEN, "holds no cycle"),
        ("raven", RAVEN + "1\t0\t1\n", "line 2: 3 columns; 5 are needed"),
        ("raven", RAVEN + "1\t0\t1\tcrackle\t1.5\n", "line 2: Confidence is '1.5'; 0 to 1 is needed"),
        ("raven", RAVEN + "1\t0\t1\tcrackle\thigh\n", "line 2: Confidence 'high' is no number"),
        ("raven", RAVEN + "1\t0\t1\ta\t\n2\t0\t1\ta\t\n", "line 3: repeats line 2"),
        ("raven", RAVEN + '1\t0\t1\t"a\nb"\t\n', "line 3: the label is 'a\\nb'"),
        ("textgrid", "hello", "the file ends; the file type is needed here"),
        ("textgrid", GRID.replace("TextGrid", "PitchTier"), "line 2: the file says 'ooTextFile', 'PitchTier'"),
        ("textgrid", GRID.replace("<exists>", "<absent>"), "line 6: '<absent>'; <exists> is needed"),
        ("textgrid", GRID.replace('"IntervalTier"', '"Tier"'), "line 10: tier class 'Tier'"),
        ("textgrid", GRID.replace("size = 3", "size = 9999"), "start '\"IntervalTier\"' is no number"),
        ("textgrid", GRID.replace("size = 2", "size = 2.5"), "line 7: the number of tiers is '2.5'"),
        ("textgrid", GRID.replace('"crackle"', '"crackle'), "line 44: a text without its second quote mark"),
        ("textgrid", GRID[: len(GRID) // 2], "the file ends; start is needed here"),
        ("textgrid", GRID.replace('"label"', '"words"'), "interval tiers: 'breath', 'words'; one with the name"),
        ("textgrid", GRID.replace('"crackle"', '""'), "holds no cycle"),
        ("textgrid", GRID.replace("xmin = 0.5", "xmin = 1.5"), "start must be before end"),
    ],
)
def test_bad_files_name_place_and_value(tmp_path: Path, kind: str, text: str, said: str) -> None:
    path = saved(tmp_path, kind, text)
    with pytest.raises(AuscultError) as error:
        read(kind, path)
    assert error.value.code == "E_ANNOTATION"
    assert said in error.value.message and str(path) in error.value.message


CONTENT = st.binary(max_size=80) | st.text(alphabet='0123.,-e\t\n\r "\\!<>', max_size=80)


@settings(deadline=None)
@given(content=CONTENT, kind=st.sampled_from([*READERS]))
def test_any_content_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "x.txt"
    heads = {"textgrid": GRID[:300], "raven": RAVEN}
    path.write_bytes(content if isinstance(content, bytes) else (heads.get(kind, "") + content).encode())
    for do in (lambda: read(kind, path), lambda: kind_of(path)):
        try:
            do()
        except AuscultError as error:
            assert error.code == "E_ANNOTATION"


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_small_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(2**24 + 1)
    refused = {"pipe.txt": "no regular file", "large.txt": "16,777,217 bytes", "none.txt": "cannot be read"}
    for name, said in refused.items():
        with pytest.raises(AuscultError, match=f"E_ANNOTATION.*{said}"):
            read(kind, tmp_path / name)


def test_what_is_no_annotation_has_no_kind(tmp_path: Path) -> None:
    for text in ("", "Notes on the recordings\n", "101_1b1_Al_sc_Meditron\ttrain\n"):
        (path := tmp_path / "README.txt").write_text(text)
        assert kind_of(path) is None
