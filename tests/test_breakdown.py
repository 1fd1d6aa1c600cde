"""Recalls and Scores of slices by hand, from predictions.csv alone; the figure; the command."""

import csv
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from auscult.analysis import breakdown as module
from auscult.analysis.breakdown import Breakdown, breakdown, table, tenths
from auscult.analysis.breakdown_figure import caption, figure
from auscult.errors import AuscultError
from auscult.statistics import wilson

from .scored_runs import CLASSES, make_run


def with_quality(run: Path) -> Path:
    """The run as a later version writes it: the quality falls from cycle to cycle, and one cycle has none."""
    file = run / "predictions.csv"
    head, *rows = file.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    said = [[*c[:6], "" if i == 5 else f"{1 - i / 1000:.3f}", *c[6:]] for i, c in enumerate(cells)]
    head = head.replace("end_s,", "end_s,quality,")
    file.write_text("\n".join([head, *(",".join(c) for c in said)]) + "\n")
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("breakdown")
    made = [make_run(folder / "a" / f"s{seed}", "good", seed, 2.0) for seed in (0, 1)]
    return [with_quality(run) for run in [*made, make_run(folder / "b", "poor", 0, 0.1)]]


@pytest.fixture(scope="module")
def found(runs: list[Path]) -> Breakdown:
    return breakdown(runs)


def rows_of(run: Path, part: str = "inter") -> list[dict[str, str]]:
    return [r for r in csv.DictReader(io.StringIO((run / "predictions.csv").read_text())) if r["part"] == part]


def test_seeds_of_a_recipe_are_one_system(found: Breakdown) -> None:
    assert [(s.name, s.seeds) for s in found.systems] == [("good", (0, 1)), ("poor", (0,))]
    assert found.part == "inter" and found.task.name == "4-class", "the first part, the task of most classes"
    assert not found.remarks


def test_recalls_by_hand(found: Breakdown, runs: list[Path]) -> None:
    for line in found.of("good", "class", "recall"):
        shares = []
        for run in runs[:2]:
            own = [r["predicted"] == line.group for r in rows_of(run) if r["truth"] == line.group]
            shares.append(np.mean(own))
        n = len(own)
        assert line.value == pytest.approx(np.mean(shares)) and line.spread == pytest.approx(np.std(shares, ddof=1))
        assert line.counts[0] == n and line.interval == wilson(np.mean(shares) * n, n)
    assert [line.group for line in found.of("poor", "class", "recall")] == list(CLASSES)


@pytest.mark.parametrize("by", ["quality", "duration"])
def test_scores_of_tenths_by_hand(found: Breakdown, runs: list[Path], by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations are all 1 s, so a stable sort leaves the order of recording and time: that of the file."""
    assert all(line.few and np.isnan(line.interval[0]) for line in found.of("poor", by, "Score")), "4 or 5 cycles"
    monkeypatch.setattr(module, "FEW", 1)
    found = breakdown(runs)
    rows = [r for r in rows_of(runs[2]) if by == "duration" or r["quality"]]
    if by == "quality":
        rows.sort(key=lambda r: float(r["quality"]))
    groups = np.array_split(np.arange(len(rows)), 10)
    for line, group in zip(found.of("poor", by, "Score"), groups, strict=True):
        own = [rows[i] for i in group]
        normal = [r for r in own if r["truth"] == "normal"]
        abnormal = [r for r in own if r["truth"] != "normal"]
        assert line.counts == (len(own), len(normal), len(abnormal))
        sides = [
            np.mean([r["truth"] == r["predicted"] for r in side]) if side else np.nan for side in (normal, abnormal)
        ]
        assert line.value == pytest.approx(np.mean(sides), nan_ok=True)
        if not np.isnan(line.interval[0]):  # few cycles
            assert line.interval[0] <= line.value <= line.interval[1]
    ends = [line.ends for line in found.of("poor", by, "Score")]
    assert all(low <= high for low, high in ends) and ends == sorted(ends)


def test_tenths_are_equal_and_ordered() -> None:
    value = np.random.default_rng(0).normal(size=103)
    value[7] = np.nan
    groups = tenths(value)
    assert len(groups) == 10 and {len(g) for g in groups} == {10, 11} and 7 not in np.concatenate(groups)
    for low, high in pairwise(groups):
        assert value[low].max() <= value[high].min()


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


def test_the_table_holds_every_line(found: Breakdown) -> None:
    rows = list(csv.DictReader(io.StringIO(table(found))))
    assert len(rows) == len(found.lines) == 2 * (4 + 2 * 10 * 3)
    first = found.lines[0]
    assert rows[0]["seeds"] == "0 1" and float(rows[0]["value"]) == pytest.approx(first.value, rel=1e-5)


def test_without_quality_the_figure_says_so(tmp_path: Path) -> None:
    old = breakdown([make_run(tmp_path / "old", "good", 0)])
    assert not old.of("good", "quality", "Score") and old.of("good", "duration", "Score")
    assert "no audio quality" in caption(old) and "(c)" not in caption(old)


def test_the_figure_is_readable_in_print(found: Breakdown) -> None:
    drawn = figure(found)
    FigureCanvasAgg(drawn).draw()
    texts = [t for t in drawn.findobj(Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= 7
    for t in texts:
        box = t.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.x1 and 0 <= box.y0 <= box.y1 <= drawn.bbox.y1, t.get_text()
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in drawn.axes)


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    from auscult.cli.analysis import breakdown as command

    assert command(*runs, out=tmp_path, task="grouped", part="intra") == 0
    assert {f.name for f in tmp_path.iterdir()} == {f"breakdown.{e}" for e in ("csv", "md", "pdf", "png")}
    rows = list(csv.DictReader((tmp_path / "breakdown.csv").read_text().splitlines()))
    assert {r["part"] for r in rows} == {"intra"} and {r["task"] for r in rows} == {"grouped"}


def test_errors_say_what_to_do(runs: list[Path], tmp_path: Path) -> None:
    from auscult.cli.analysis import breakdown as command

    with pytest.raises(AuscultError, match="--out FOLDER"):
        command(*runs)
    with pytest.raises(AuscultError, match=r"no part named 'inner'\. Did you mean 'inter'"):
        breakdown(runs, part="inner")
    with pytest.raises(AuscultError, match="no task named"):
        breakdown(runs, task="5-class")
    with pytest.raises(AuscultError, match=r"no scored run \(scores_icbhi.json\)"):
        breakdown(runs, on="icbhi")
    other = make_run(tmp_path / "other", "good", 3)
    file = other / "predictions.csv"
    file.write_text(file.read_text().replace("inter0,", "inter9,"))
    with pytest.raises(AuscultError, match="other cycles"):
        breakdown([runs[0], other])


def test_resamples_without_one_side_have_no_score() -> None:
    """Three patients, one of them with the only abnormal cycles, all found: every Score that exists is 1."""
    counts = np.array([[[5, 5, 0], [5, 5, 0], [0, 0, 4], [0, 0, 4]]])
    assert module.score_ends(counts, "icbhi") == (1.0, 1.0)
