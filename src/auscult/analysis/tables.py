"""Tables for the terminal: confusion matrices, named scores, predictions. Plain where the output is no terminal."""

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..metrics import Scores

if TYPE_CHECKING:
    from ..prediction import Prediction
    from .results import Results

FORMULAS = {"icbhi": "Score = (Se + Sp) / 2", "sprsound": "Score = (AS + HS) / 2"}
LEGEND = {
    "icbhi": "formula icbhi: Score = (Se + Sp) / 2",
    "sprsound": "formula sprsound: Score = (AS + HS) / 2, AS and HS the arithmetic and harmonic mean of Se and Sp",
}
INTERVAL = "[low, high]: 95 % interval of the Score, patients resampled"
WIDE = 4  # classes whose probabilities fit side by side on 80 columns
SOURCES = {
    "given": "breaths as given",
    "annotation": "breaths from the annotation file",
    "segmented": "breaths found in the sound",
    "windows": "windows of one length: a window may hold more than one breath, or none",
    "whole": "the recording in one pass",
}
SHORT_COLUMNS: dict[str, Literal["left", "right"]] = {
    "start s": "right",
    "end s": "right",
    "predicted": "left",
    "p": "right",
    "next": "left",
    "p next": "right",
}


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; a dash where there is none.

    >>> percent(0.5), percent(float("nan"))
    ('50.00', '-')
    """
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def spread(mean_and_std: Sequence[float | None]) -> str:
    """Mean and deviation of fractions, in %.

    >>> spread([0.5, 0.01]), spread([0.5, None]), spread([None, None])
    ('50.00 ± 1.00', '50.00', '-')
    """
    mean, deviation = mean_and_std
    return percent(mean) + ("" if deviation is None else f" ± {percent(deviation)}")


def broken(name: str) -> str:
    """A class name on several lines, parted at spaces and plus signs: seven classes fit into 80 columns."""
    return escape(name.replace(" ", "\n").replace("+", "+\n"))


def empty_table() -> Table:
    """A table without columns or lines: seven classes fit into 80 columns, and a pipe gets what a terminal gets."""
    return Table(box=None, pad_edge=False)


def show(console: Console, title: str, table: Table) -> None:
    """Prints a table under its title; a title may be wider than its table."""
    console.print(title, style="bold", highlight=False, markup=False)
    console.print(table)


def confusion_table(confusion: NDArray[np.int64], classes: Sequence[str]) -> Table:
    """Rows are the truth, columns the prediction, the last column the row's total."""
    table = empty_table()
    table.add_column("truth")
    for name in (*classes, "total"):
        table.add_column(broken(name), justify="right")
    for name, row in zip(classes, confusion, strict=True):
        table.add_row(broken(name), *map(str, row), str(row.sum()))
    return table


def score_table(scores: Iterable[Scores], intervals: dict[str, tuple[float, float]]) -> Table:
    """One row a task: its name, its formula, the integers behind Sp and Se, and its Score with the interval."""
    scores = list(scores)
    official = any(s.AS is not None for s in scores)
    table = empty_table()
    table.add_column("task", min_width=12)
    table.add_column("formula", no_wrap=True)
    for name in ("Sp", "Se", *(("AS", "HS") if official else ()), "Score"):
        table.add_column(name, justify="right", no_wrap=True)
    for s in scores:
        low, high = intervals.get(s.task, (math.nan, math.nan))
        interval = "" if math.isnan(low) else f"\n\\[{100 * low:.1f}, {100 * high:.1f}]"
        means = (percent(s.AS), percent(s.HS)) if official else ()
        table.add_row(
            escape(s.task),
            s.formula,
            f"{percent(s.Sp)}\n{s.normal_correct}/{s.normal}",
            f"{percent(s.Se)}\n{s.abnormal_correct}/{s.abnormal}",
            *means,
            f"{percent(s.Score)}{interval}",
        )
    return table


def print_results(results: "Results", console: Console) -> None:
    """Everything `auscult evaluate` prints: for every part its confusion matrix and its scores, then the notes."""
    corpus, facts = results.stuff.corpus, results.weights.facts
    for e in results.evaluations:
        title = f"{results.where(e.part)}: cycles by truth (rows) and prediction"
        show(console, title, confusion_table(e.confusion, corpus.classes))
        console.print()
        intervals = {task: found for (part, task), found in results.intervals.items() if part == e.part}
        new = "" if results.domain is None else ", out of domain"
        show(console, f"scores in %, part {e.part}{new}", score_table(e.scores, intervals))
        console.print()
    lines = [LEGEND[formula] for formula in LEGEND if any(t.formula == formula for t in corpus.tasks)]
    if any(not math.isnan(low) for low, _ in results.intervals.values()):
        lines.append(INTERVAL)
    lines.append(f"epoch {facts.get('epoch')}, selected by {facts.get('selection')}")
    for line in (*lines, *(f"note: {note}" for note in results.notes)):
        console.print(line, highlight=False, markup=False)


def cycle_table(prediction: "Prediction", truth: Sequence[str] | None = None) -> Table:
    """One row a cycle: times in s, the truth where it is known, the predicted class, every class's probability.

    With more than four classes, and no truth to show, the two most probable stand there: all would not fit 80 columns.
    """
    if len(prediction.classes) > WIDE and truth is None:
        return short_cycle_table(prediction)
    table = empty_table()
    for name in ("start s", "end s"):
        table.add_column(name, justify="right")
    for name in (*(("truth",) if truth else ()), "predicted"):
        table.add_column(name)
    for name in prediction.classes:
        table.add_column(broken(name), justify="right")
    for i, c in enumerate(prediction.cycles):
        said = [truth[i], c.label] if truth else [c.label]
        times = [f"{c.start_s:.2f}", f"{c.end_s:.2f}"]
        table.add_row(*times, *map(escape, said), *(f"{p:.2f}" for p in c.probabilities.values()))
    return table


def short_cycle_table(prediction: "Prediction") -> Table:
    """One row a cycle: times in s, the two most probable classes and their probabilities."""
    table = empty_table()
    for name, justify in SHORT_COLUMNS.items():
        table.add_column(name, justify=justify)
    for c in prediction.cycles:
        (first, p), (second, q) = sorted(c.probabilities.items(), key=lambda item: -item[1])[:2]
        table.add_row(f"{c.start_s:.2f}", f"{c.end_s:.2f}", escape(first), f"{p:.2f}", escape(second), f"{q:.2f}")
    return table


def spoken(prediction: "Prediction") -> list[str]:
    """What is said of one recording, in a few lines."""
    p = "" if prediction.p_abnormal is None else f", mean P(abnormal) {prediction.p_abnormal:.2f}"
    lines = [f"{prediction.said}{p}" + (f": {prediction.why}" if prediction.why else "")]
    reasons = f" ({'; '.join(prediction.verdict.reasons)})" if prediction.verdict.reasons else ""
    lines.append(f"recording quality: {prediction.verdict.kind.replace('_', ' ')}{reasons}")
    top = "" if prediction.bandwidth_hz is None else f", sound up to {prediction.bandwidth_hz:,.0f} Hz"
    lines.append(
        f"{prediction.duration_s:.1f} s at {prediction.native_rate_hz:,} Hz{top}; {SOURCES[prediction.cycles_from]}"
    )
    return lines + [f"note: {note}" for note in prediction.notes]


def recording_table(predictions: Sequence["Prediction"]) -> Table:
    """One row a recording, by its file name: how many of its cycles fall into each class."""
    table = empty_table()
    table.add_column("recording", overflow="fold")
    table.add_column("said")
    table.add_column("breaths", justify="right")
    for name in predictions[0].classes:
        table.add_column(broken(name), justify="right")
    for p in predictions:
        table.add_row(escape(PurePath(p.recording).name), p.said, str(len(p.cycles)), *map(str, p.counts()))
    return table
