"""The shift report by hand, from predictions.csv alone; its figure; the commands."""

import csv
import io
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from auscult.analysis.row_checks import with_checks
from auscult.analysis.shift import (
    AGES,
    BANDWIDTHS,
    Group,
    Line,
    Shift,
    System,
    by_measure,
    group_lines,
    grouped,
    tenths,
)
from auscult.analysis.shift_figure import caption, figure
from auscult.analysis.shift_run import run_shifts, shift, table, write_run_shift
from auscult.analysis.study_counts import Scored, read_predictions
from auscult.analysis.verify import verify
from auscult.errors import AuscultError
from auscult.metrics import Task
from auscult.runs import read_json
from auscult.statistics import multiplicities, wilson

from .scored_runs import CLASSES, make_run

NEW = ("quality", "site", "age_years", "sex", "bandwidth_hz")
TWO = Task(name="two", classes=("normal", "abnormal"), mapping=(0, 1))
Row = dict[str, str]


def extended(run: Path) -> Path:
    """The run as this version writes it; the quality falls from cycle to cycle, and some cells are not known."""
    file = run / "predictions.csv"
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    for i, row in enumerate(rows):
        patient, stem = int(row["patient"][1:]), int(row["recording"][-1])
        row |= {"quality": "" if i == 5 else f"{1 - i / 1000:.3f}", "site": ("Al", "Tc")[stem % 2]}
        row |= {"sex": ("male", "female", "")[patient % 3], "bandwidth_hz": f"{(900.0, 2000.0, 8000.0)[stem % 3]}"}
        row |= {"age_years": "" if patient == 7 else f"{5.5 * patient}", "device": "Meditron"}
    names = [name for name in rows[0] if name not in (*NEW, "check")]
    order = [*names[:6], *NEW, *names[6:]]
    file.write_text(
        with_checks("".join(",".join(row) + "\n" for row in [order, *([r[n] for n in order] for r in rows)]))
    )
    told = (run / "scores.json").read_text()
    (run / "scores.json").write_text(re.sub(r',\s+"predictions_sha256": "\w+"', "", told))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shift")
    made = [make_run(folder / "a" / f"s{seed}", "good", seed, 2.0) for seed in (0, 1)]
    return [extended(run) for run in [*made, make_run(folder / "b", "poor", 0, 0.1)]]


@pytest.fixture(scope="module")
def found(runs: list[Path]) -> Shift:
    return shift(runs)


def rows_of(run: Path, part: str = "inter") -> list[Row]:
    return [r for r in csv.DictReader(io.StringIO((run / "predictions.csv").read_text())) if r["part"] == part]


def by_hand(rows: list[Row]) -> dict[str, float]:
    """Sp, Se and Score of the 4-class task."""
    sides = [[r for r in rows if (r["truth"] == "normal") == normal] for normal in (True, False)]
    sp, se = (np.mean([r["truth"] == r["predicted"] for r in side]) if side else np.nan for side in sides)
    return {"Sp": float(sp), "Se": float(se), "Score": float((sp + se) / 2)}


def test_seeds_of_a_recipe_are_one_system(found: Shift) -> None:
    assert [(s.name, s.seeds) for s in found.systems] == [("good", (0, 1)), ("poor", (0,))]
    assert found.part == "inter" and found.task.name == "4-class", "the first part, the task of most classes"
    assert not found.remarks


def test_recalls_by_hand(found: Shift, runs: list[Path]) -> None:
    for line in found.of("good", "class", "recall"):
        shares, own = [], []
        for run in runs[:2]:
            own = [r for r in rows_of(run) if r["truth"] == line.group]
            shares.append(np.mean([r["predicted"] == line.group for r in own]))
        assert line.value == pytest.approx(np.mean(shares)) and line.spread == pytest.approx(np.std(shares, ddof=1))
        assert line.counts[:2] == (len(own), len({r["patient"] for r in own}))
        assert line.interval == wilson(np.mean(shares) * len(own), len(own))
    assert [line.group for line in found.of("poor", "class", "recall")] == list(CLASSES)


SELECT: dict[str, Callable[[Row], str]] = {
    "site": lambda r: r["site"],
    "sex": lambda r: r["sex"],
    "age": lambda r: next((n for n, low, high in AGES if r["age_years"] and low <= float(r["age_years"]) < high), ""),
    "bandwidth": lambda r: next(n for n, low, high in BANDWIDTHS if low < float(r["bandwidth_hz"]) <= high),
}


@pytest.mark.parametrize("by", SELECT)
@pytest.mark.parametrize("measure", ["Score", "Sp", "Se"])
def test_groups_and_their_rest_by_hand(found: Shift, runs: list[Path], by: str, measure: str) -> None:
    rows, of = rows_of(runs[2]), SELECT[by]
    lines = found.of("poor", by, measure)
    assert {line.group for line in lines} == {of(r) for r in rows} - {""} and len(lines) > 1
    for line in lines:
        own, rest = ([r for r in rows if of(r) and (of(r) == line.group) == inside] for inside in (True, False))
        value, other = by_hand(own)[measure], by_hand(rest)[measure]
        assert line.counts[:2] == (len(own), len({r["patient"] for r in own}))
        assert (line.value, line.rest) == (pytest.approx(value), pytest.approx(other)), (
            "cycles not known are in neither"
        )
        assert line.difference == pytest.approx(value - other)


def test_tenths_by_hand(found: Shift, runs: list[Path]) -> None:
    rows = sorted((r for r in rows_of(runs[2]) if r["quality"]), key=lambda r: float(r["quality"]))
    lines = found.of("poor", "quality", "Score")
    assert [line.group for line in lines] == [str(n) for n in range(1, 11)]
    for n, line in enumerate(lines):
        own = [r for i, r in enumerate(rows) if 10 * i // len(rows) == n]
        assert line.counts[0] == len(own)
        assert line.value == pytest.approx(by_hand(own)["Score"], nan_ok=True)
    ends = [line.ends for line in lines]
    assert all(low <= high for low, high in ends) and ends == sorted(ends)
    (alike,) = found.of("poor", "duration", "Score")
    assert alike.counts[0] == len(rows_of(runs[2])), "all last 1 s: they stay together"


def test_tenths_are_equal_and_ordered() -> None:
    value = np.random.default_rng(0).normal(size=103)
    value[7] = np.nan
    groups = list(tenths(value).values())
    assert len(groups) == 10 and {len(g) for g in groups} == {10, 11} and 7 not in np.concatenate(groups)
    for low, high in pairwise(groups):
        assert value[low].max() < value[high].min()
    assert tenths(np.full(3, np.nan)) == {}


def test_bands_have_no_gaps_and_do_not_overlap() -> None:
    age, rate = (
        np.array([0.2, 2.0, 11.99, 12.0, 18.0, 64.9, 65.0, np.nan]),
        np.array([1000.0, 1000.5, 2000.0, 4000.0, 8e3]),
    )
    ages, rates = ([(g.name, len(g.rows)) for g in grouped(by, v)] for by, v in (("age", age), ("bandwidth", rate)))
    assert ages == list(zip((n for n, _, _ in AGES), (1, 2, 1, 2, 1), strict=True))
    assert rates == list(zip((n for n, _, _ in BANDWIDTHS), (1, 2, 1, 1), strict=True))


def toy(seed: int = 0, patients: int = 20, gap: float = 0.0) -> tuple[System, Group]:
    """20 cycles a patient; the second half of the patients is a group that is right less often."""
    generator = np.random.default_rng(seed)
    patient = np.repeat([f"p{i:02}" for i in range(patients)], 20)
    truth = np.arange(len(patient)) % 2
    inside = np.arange(len(patient)) >= len(patient) // 2
    right = generator.random(len(patient)) < np.where(inside, 0.8 - gap, 0.8)
    p = np.eye(2, dtype=np.float32)[np.where(right, truth, 1 - truth)]
    blank, number = np.full(len(p), ""), np.full(len(p), np.nan)
    scored = Scored(
        key=[(name, float(i)) for i, name in enumerate(patient)], patient=patient, truth=truth, probabilities=p,
        predicted=p.argmax(axis=1), line=np.arange(len(p)), duration_s=number, quality=number, device=blank, site=blank,
        sex=blank, age_years=number, bandwidth_hz=number,
    )  # fmt: skip
    group = Group(by="site", name="x", rows=np.flatnonzero(inside), known=np.arange(len(p)))
    return System(name="toy", seeds=(0,), runs=(scored,)), group


def lines_of(system: System, group: Group) -> list[Line]:
    from auscult.analysis.shift import all_counts

    return list(group_lines(system, group, TWO, all_counts(system, group.known, TWO)))


def test_the_interval_of_a_difference_by_a_loop() -> None:
    system, group = toy()
    scored, inside = system.runs[0], np.isin(np.arange(400), group.rows)
    names, slow = np.unique(scored.patient), []
    right = scored.predicted == scored.truth
    for row in multiplicities(len(names), 2000, 0)[:300]:
        rows = np.concatenate(
            [np.repeat(np.flatnonzero(scored.patient == n), k) for n, k in zip(names, row, strict=True)]
        )
        score = [
            np.mean([right[rows][(inside[rows] == own) & (scored.truth[rows] == side)].mean() for side in (0, 1)])
            for own in (True, False)
        ]
        slow.append(score[0] - score[1])
    counts = [np.stack([patient_side(scored, rows)]) for rows in (group.rows, np.flatnonzero(~inside))]
    times = multiplicities(len(names), 2000, 0)[:300]
    quick = [by_measure(c, "icbhi", times)["Score"][0] for c in counts]
    assert quick[0] - quick[1] == pytest.approx(slow)
    low, high = lines_of(system, group)[0].difference_interval
    assert low < lines_of(system, group)[0].difference < high


def patient_side(scored: Scored, rows: np.ndarray) -> np.ndarray:
    """(4, P) by a loop."""
    names = np.unique(scored.patient)
    made = np.zeros((4, len(names)), np.int64)
    for row in rows:
        at, side = np.searchsorted(names, scored.patient[row]), 2 * scored.truth[row]
        made[side, at] += scored.predicted[row] == scored.truth[row]
        made[side + 1, at] += 1
    return made


def test_a_difference_is_flagged_when_there_is_one() -> None:
    assert all(line.flagged and line.difference < 0 for line in lines_of(*toy(gap=0.3)))
    by_chance = [line.flagged for seed in range(40) for line in lines_of(*toy(seed))[:1]]
    assert 0 <= sum(by_chance) <= 7, "about one in twenty; the percentile interval of few patients is a little narrow"


def test_few_cycles_or_patients_are_never_flagged() -> None:
    system, group = toy(patients=8, gap=0.7)
    assert not any(line.flagged for line in lines_of(system, group)), "4 patients"
    few = Group(by="site", name="x", rows=group.rows[::20], known=group.known)
    score, sp, se = lines_of(toy(gap=0.7)[0], Group(by="site", name="x", rows=few.rows, known=few.known))
    assert np.isnan(score.difference_interval[0]) and se.counts[3] == 0 and np.isnan(se.value) and not sp.flagged


def test_the_table_holds_every_line_of_every_part_and_task(runs: list[Path]) -> None:
    told = read_json(runs[0] / "scores.json")
    parts = read_predictions(runs[0] / "predictions.csv", told["classes"])
    file = write_run_shift(runs[0])
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert {(r["part"], r["task"]) for r in rows} == {
        (p, t) for p in ("inter", "intra") for t in ("4-class", "grouped")
    }
    first = next(run_shifts(told, parts)).lines[0]
    assert rows[0]["group"] == "all cycles" and float(rows[0]["value"]) == pytest.approx(first.value, rel=1e-5)
    assert float(rows[0]["value"]) == pytest.approx(told["parts"]["inter"]["scores"]["4-class"]["Score"], rel=1e-5)
    whole = {(r["part"], r["task"]): r for r in rows if r["by"] == "device" and r["measure"] == "Score"}
    assert all(r["group"] == "Meditron" and r["difference"] == "" == r["flagged"] for r in whole.values())
    assert not verify(runs[0]).wrong
    lines = file.read_text().splitlines()
    other = lines[9].replace(",inter,", ",intra,", 1)
    file.write_text("\n".join([*lines[:9], other, *lines[10:], ""]))
    (wrong,) = map(str, verify(runs[0]).wrong)
    assert f"{file}: line 10" in wrong
    file.unlink()


def test_a_changed_cell_of_a_new_column_is_found(runs: list[Path]) -> None:
    file = runs[1] / "predictions.csv"
    whole = file.read_text()
    for old, new in ((",Tc,", ",Al,"), (",male,", ",female,"), (",2000.0,", ",1000.0,"), (",5.5,", ",6.5,")):
        file.write_text(whole.replace(old, new, 1))
        assert any("the row was changed" in str(m) for m in verify(runs[1]).wrong)
    file.write_text(whole)


def test_files_of_an_earlier_version(tmp_path: Path) -> None:
    old = shift([make_run(tmp_path / "old", "good", 0)])
    assert {line.by for line in old.lines} == {"all", "class", "device", "duration"}
    (remark,) = old.remarks
    assert "chest site, age, sex, bandwidth, audio quality" in remark and remark in caption(old)
    assert "All cycles are of one device stethoscope and one duration." in caption(old)


def test_a_value_is_taken_from_the_run_that_knows_it(runs: list[Path], tmp_path: Path) -> None:
    deaf = make_run(tmp_path / "deaf", "deaf", 0)
    assert not shift([deaf, runs[0]]).remarks and shift([deaf, runs[0]]).of("deaf", "bandwidth", "Score")


def test_the_figure_is_readable_in_print(found: Shift) -> None:
    drawn = figure(found)
    FigureCanvasAgg(drawn).draw()
    texts = [t for t in drawn.findobj(Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= 7
    for t in texts:
        box = t.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.x1 and 0 <= box.y0 <= box.y1 <= drawn.bbox.y1, t.get_text()
    assert len(drawn.axes) == 3 and all(axes.get_xlabel() for axes in drawn.axes)


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    from auscult.cli.analysis import shift as command

    assert command(*runs, out=tmp_path, task="grouped", part="intra") == 0
    assert {f.name for f in tmp_path.iterdir()} == {f"shift.{e}" for e in ("csv", "md", "pdf", "png")}
    text = (tmp_path / "shift.csv").read_text()
    assert text == table([shift(runs, part="intra", task="grouped")])
    assert {(r["part"], r["task"]) for r in csv.DictReader(io.StringIO(text))} == {("intra", "grouped")}


def test_errors_say_what_to_do(runs: list[Path], tmp_path: Path) -> None:
    from auscult.cli.analysis import shift as command

    with pytest.raises(AuscultError, match="--out FOLDER"):
        command(*runs)
    with pytest.raises(AuscultError, match=r"no part named 'inner'\. Did you mean 'inter'"):
        shift(runs, part="inner")
    with pytest.raises(AuscultError, match="no task named"):
        shift(runs, task="5-class")
    with pytest.raises(AuscultError, match=r"no scored run \(scores_icbhi.json\)"):
        shift(runs, on="icbhi")
    other = make_run(tmp_path / "other", "good", 3)
    file = other / "predictions.csv"
    file.write_text(file.read_text().replace("inter0,", "inter9,"))
    with pytest.raises(AuscultError, match="other cycles"):
        shift([runs[0], other])


def test_wilson_against_its_equation() -> None:
    """The ends are where the normal test of the proportion just rejects: |p - e| = z sqrt(e (1 - e) / n)."""
    for k, n in ((3, 10), (81, 263), (0, 20), (9.5, 12)):
        for end in wilson(k, n):
            if 0 < end < 1:
                assert abs(k / n - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, abs=1e-7)
    assert [round(v, 4) for v in wilson(81, 263)] == [0.2553, 0.3662], "Newcombe 1998, table I, method 3"
    assert (
        wilson(0, 20)[0] == pytest.approx(0) and wilson(20, 20)[1] == pytest.approx(1) and np.isnan(wilson(0, 0)).all()
    )


def test_resamples_without_one_side_have_no_score() -> None:
    """Three patients, one of them with the only abnormal cycles, all found: every Score that exists is 1."""
    counts = np.array([[[5, 5, 0], [5, 5, 0], [0, 0, 4], [0, 0, 4]]])
    drawn = by_measure(counts, "icbhi", multiplicities(3, 2000, 0))["Score"]
    assert np.isnan(drawn).any() and set(drawn[~np.isnan(drawn)]) == {1.0}
