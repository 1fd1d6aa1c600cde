"""`auscult compare`: systems of several seeds, on the same patients, against computations by cycle and by hand."""

import io
import itertools
import json
import math
import shutil
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from cyclopts import App
from rich.console import Console

from auscult.analysis.compare import Scope, compare
from auscult.analysis.compare_table import markdown, print_comparison
from auscult.cli.compare import compare as command
from auscult.errors import AuscultError
from auscult.statistics import holm, p_value
from auscult.variance import difference, resolvable, seed_error, spread

from .scored_runs import CLASSES, make_run, make_study

SKILLS = {"plain": 0.3, "better": 1.5, "same": 0.3}
MAIN = Scope(part="inter", task="4-class")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("compare") / "study", SKILLS, seeds=3)


def cycles(run: Path, part: str = "inter") -> list[tuple[str, str, str]]:
    """Patient, truth and most probable class of each cycle, read by hand."""
    head, *rows = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()]
    read = [dict(zip(head, row, strict=True)) for row in rows]
    return [
        (r["patient"], r["truth"], max(CLASSES, key=lambda c: float(r[f"p_{c}"]))) for r in read if r["part"] == part
    ]


def score(rows: list[tuple[str, str, str]]) -> float:
    """(Se + Sp) / 2 of the four classes, counted by hand."""
    sides = [[t == p for _, t, p in rows if (t == "normal") == normal] for normal in (True, False)]
    return sum(sum(side) / len(side) for side in sides) / 2


def test_scores_and_differences_are_those_counted_by_hand(study: Path) -> None:
    known = compare([study], MAIN)
    by_hand = {name: [score(cycles(study / name / f"s{s}")) for s in range(3)] for name in SKILLS}
    assert [line["system"] for line in known["scores"]] == list(SKILLS), "in the order of the study"
    for line in known["scores"]:
        found = by_hand[line["system"]]
        assert (line["seeds"], line["Score"]) == (3, pytest.approx(np.mean(found), abs=1e-12))
        assert line["seed_std"] == pytest.approx(np.std(found, ddof=1), abs=1e-12)
    assert [(line["system"], line["against"]) for line in known["differences"]] == [
        ("better", "plain"),
        ("same", "plain"),
    ]
    for line in known["differences"]:
        change = np.mean(by_hand[line["system"]]) - np.mean(by_hand["plain"])
        seeds = math.sqrt(sum(np.var(by_hand[n], ddof=1) / 3 for n in (line["system"], "plain")))
        assert line["difference"] == pytest.approx(change, abs=1e-12)
        assert line["seed_error"] == pytest.approx(seeds, abs=1e-12)
        smallest = 2.8015852 * math.hypot(line["patient_std"], seeds)
        assert line["resolvable"] == pytest.approx(smallest, rel=1e-6)
        assert line["resolved"] is bool(abs(change) >= smallest)
    better, same = known["differences"]
    assert better["resolved"] and better["p"] < 0.01 and not same["resolved"] and same["p"] > 0.05
    assert better["interval_95"][0] > 0 > same["interval_95"][0]
    assert [line["p_holm"] for line in (better, same)] == [pytest.approx(2 * better["p"]), same["p"]]


def test_all_pairs_and_all_tasks(study: Path) -> None:
    known = compare([study], Scope(all=True))
    pairs = [(line["system"], line["against"]) for line in known["differences"]]
    assert pairs == [("better", "plain"), ("same", "plain"), ("same", "better")] * 4
    places = {(line["part"], line["task"]) for line in known["scores"]}
    assert places == set(itertools.product(("inter", "intra"), ("4-class", "grouped")))
    for name in ("task", "part"):
        with pytest.raises(AuscultError, match=f"E_SETTING: no {name} named 'x'"):
            compare([study], Scope(**{name: "x"}))


def test_run_folders_a_study_and_its_record_say_the_same(study: Path, tmp_path: Path) -> None:
    runs = [study / name / f"s{seed}" for name in SKILLS for seed in range(3)]
    shutil.copytree(study / "plain", tmp_path / "elsewhere")
    made = [compare(inputs, MAIN) for inputs in ([study], runs, [study / "study.json"])]
    moved = compare([tmp_path / "elsewhere", study / "better", study / "same"], MAIN)
    for known in (*made[1:], moved):
        for name in ("scores", "differences", "systems", "parts", "split"):
            assert known[name] == made[0][name]
    again = compare([*runs, study / "plain"], MAIN)
    assert again["scores"] == made[0]["scores"], "a run that is named twice is one run"


def test_seeds_that_only_one_system_has_count_too(study: Path) -> None:
    known = compare([study / "plain" / "s0", study / "plain" / "s1", study / "better" / "s2"], MAIN)
    one, two = known["scores"]
    assert (one["seeds"], two["seeds"], two["seed_std"]) == (2, 1, None)
    (line,) = known["differences"]
    assert line["seed_error"] is None and line["resolvable"] == pytest.approx(2.8015852 * line["patient_std"])
    assert "One seed only" in markdown(known) and ": better." in markdown(known)


def test_one_system_alone_has_a_spread_and_no_difference(study: Path) -> None:
    known = compare([study / "plain"], MAIN)
    assert known["differences"] == [] and known["scores"][0]["patient_std"] > 0
    assert "minus" not in markdown(known).partition("Resolvable")[2]


def test_what_is_too_small_is_said_in_words(study: Path) -> None:
    known = compare([study], MAIN)
    (line,) = [line for line in markdown(known).splitlines() if line.startswith("Smaller than")]
    same = known["differences"][1]
    assert f"same minus plain ({100 * same['difference']:+.2f} of {100 * same['resolvable']:.2f})" in line
    assert "better minus" not in line


def test_what_cannot_be_compared(study: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(study / "better" / "s0", tmp_path / "copy"))
    with pytest.raises(AuscultError, match="same recipe with seed 0; leave one out"):
        compare([study / "better", copy])
    lines = (copy / "predictions.csv").read_text().splitlines(keepends=True)
    (copy / "predictions.csv").write_text("".join(lines[:-1]))
    with pytest.raises(AuscultError, match=r"scored on different cycles|do not agree"):
        compare([study / "plain", copy])
    for key, value in (("split", "clean"), ("dataset", "icbhi")):
        told = json.loads((study / "better" / "s0" / "scores.json").read_text())
        (copy / "scores.json").write_text(json.dumps(told | {key: value}))
        with pytest.raises(AuscultError, match=f"was scored on {key} {value}"):
            compare([study / "plain", copy])
    (tmp_path / "empty").mkdir()
    with pytest.raises(AuscultError, match="holds no scored run"):
        compare([tmp_path / "empty"])
    with pytest.raises(AuscultError, match=r"give one study\.json alone"):
        compare([study / "study.json", study])
    with pytest.raises(AuscultError, match=r"is no study\.json"):
        compare([copy / "scores.json"])


def test_systems_of_one_name_are_told_apart(study: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "plain", 7)
    told = json.loads((run / "scores.json").read_text())
    told["recipe"]["fingerprint"] = "0123456789ab"
    (run / "scores.json").write_text(json.dumps(told))
    known = compare([study / "plain", run], MAIN)
    assert [system["name"] for system in known["systems"]][1] == "plain (last, 012345)"


def test_the_command(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.default(command)
    call = [str(study / "plain"), str(study / "better"), "--part", "inter", "--task", "4-class"]
    assert app([*call, "--all", "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    known = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert known["scope"] == {"task": "4-class", "part": "inter", "all": True}
    assert f"{100 * known['differences'][0]['difference']:+.2f}" in out and "Research use only" in out
    assert "compare.md" in err and (tmp_path / "out" / "compare.md").read_text() == markdown(known)
    head, row = (tmp_path / "out" / "compare.csv").read_text().splitlines()
    said = dict(zip(head.split(","), row.split(","), strict=True))
    assert (said["system"], float(said["p"])) == ("better", known["differences"][0]["p"])
    with pytest.raises(AuscultError, match="name the runs"):
        app([])


def test_columns_fit_a_terminal(study: Path) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    print_comparison(compare([study], MAIN), console)
    text = console.export_text()
    assert "differences from plain, points" in text and "…" not in text


def closed_test(p: list[float], i: int) -> float:
    """Holm's p-value by its definition as a closed test: the largest Bonferroni p-value of all sets with test i."""
    others = [j for j in range(len(p)) if j != i]
    sets = [(i, *more) for n in range(len(p)) for more in itertools.combinations(others, n)]
    return max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets)


def test_holm_is_the_closed_test() -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        p = generator.choice([0.001, 0.01, 0.02, 0.03, 0.04, 0.2, 0.7], size=generator.integers(1, 6)).tolist()
        assert holm(p) == pytest.approx([closed_test(p, i) for i in range(len(p))])
    assert holm([]) == []
    assert holm([0.02, math.nan, 0.01])[::2] == [0.02, 0.02] and math.isnan(holm([0.02, math.nan, 0.01])[1])


def test_p_is_small_just_where_the_interval_leaves_0_out() -> None:
    generator = np.random.default_rng(1)
    for shift in np.linspace(-4, 4, 81):
        drawn = generator.normal(shift, 1, 999)
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert (p_value(drawn) < 0.05) == (low > 0 or high < 0) or min(abs(low), abs(high)) < 0.01
        tails = (1 + sum(d <= 0 for d in drawn), 1 + sum(d >= 0 for d in drawn))
        assert p_value(drawn) == min(1, 2 * min(tails) / 1000)
    assert p_value(np.zeros(9)) == 1 and math.isnan(p_value(np.zeros(0)))


def test_the_resolvable_difference_is_found_four_times_in_five() -> None:
    smallest = resolvable(0.03, 0.04)
    tries = np.random.default_rng(2).normal(smallest, 0.05, 20_000)
    assert np.mean(np.abs(tries) > 1.96 * 0.05) == pytest.approx(0.8, abs=0.01)
    assert resolvable(0.03, 0.04, power=0.5) == pytest.approx(0.05 * NormalDist().inv_cdf(0.975))


def test_spread_tells_seeds_from_patients() -> None:
    """Seeds that agree on patients who differ have patient variance only; and the other way round."""
    easy, hard = np.array([4, 4, 4, 4]), np.array([0, 4, 0, 4])
    patients = np.stack([np.stack([easy, hard] * 10, axis=1)] * 3)
    found = spread(patients, "icbhi")
    assert found.seed_std == 0 and found.mean == 0.5 and found.seeds == 3
    # each draw is a share of easy patients: binomial, standard deviation sqrt(1/4 / 20)
    assert found.patient_std == pytest.approx(math.sqrt(0.25 / 20), rel=0.05)
    seeds = np.stack([np.tile([[right], [4], [right], [4]], 20) for right in (1, 2, 3)])
    found = spread(seeds, "icbhi")
    assert found.patient_std == pytest.approx(0, abs=1e-12) and found.seed_std == pytest.approx(0.25)
    assert math.isnan(spread(seeds[:1], "icbhi").seed_std) and math.isnan(spread(seeds[:, :, :1], "icbhi").patient_std)
    assert math.isnan(seed_error(np.array([0.5]), np.array([0.5, 0.6])))


def test_a_difference_without_patients_to_draw_has_no_interval() -> None:
    one = np.ones((2, 4, 1), dtype=np.int64)
    found = difference(one, one, "icbhi")
    assert found.difference == 0 and all(math.isnan(v) for v in (found.low, found.high, found.p, found.patient_std))
