"""The tables of report.html that follow from predictions.csv; `auscult verify` makes them again."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..metrics import Scores
from ..statistics import wilson
from .markup import Axis, number, scrolling, table, text
from .study_table import signed
from .tables import LEGEND, percent

SCORES = "Scores of each task"
CONFUSION = "Confusion matrix: cycles, % of the true class"
RECALL = "Recall of each class, and its interval"
RECALL_AXIS = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1))


def part_tables(
    scores: Iterable[Scores],
    intervals: dict[str, tuple[float, float]],
    confusion: NDArray[np.int64],
    classes: Sequence[str],
    patients: Sequence[int],
) -> tuple[str, str, str]:
    """Scores, confusion matrix and recalls of a part.

    Args:
        intervals: task name -> 95 % interval of the Score.
        confusion: (K, K) counts, rows = truth.
        patients: (K,) how many patients have a cycle of each class.
    """
    return score_rows(scores, intervals), confusion_rows(confusion, classes), recall_rows(confusion, classes, patients)


def patients_of_classes(truth: Sequence[int] | NDArray[np.int64], patient: Sequence[str], classes: int) -> list[int]:
    """How many patients have a cycle of each class.

    >>> patients_of_classes([0, 0, 1], ["a", "b", "b"], 3)
    [2, 1, 0]
    """
    pairs = set(zip(map(int, truth), map(str, patient), strict=True))
    return [sum(label == k for label, _ in pairs) for k in range(classes)]


def score_rows(scores: Iterable[Scores], intervals: dict[str, tuple[float, float]]) -> str:
    """The score table, with the integers behind each number."""
    scores = list(scores)
    official = any(s.AS is not None for s in scores)
    columns = ("Sp %", "Se %", *(("AS %", "HS %") if official else ()), "Score %", "95 % interval")
    head = "".join(f'<th class="number">{name}</th>' for name in columns)
    body = "".join(score_row(s, intervals.get(s.task, (math.nan, math.nan)), official) for s in scores)
    legend = "; ".join(LEGEND[name] for name in LEGEND if any(s.formula == name for s in scores))
    return f"""{scrolling(SCORES)}<table>
<thead><tr><th>task</th><th>formula</th>{head}</tr></thead>
<tbody>
{body}</tbody></table></div>
<p><small>Sp: normal cycles found; Se: abnormal cycles whose exact class is found; {text(legend)}. The interval of the
Score resamples patients.</small></p>"""


def score_row(s: Scores, interval: tuple[float, float], official: bool) -> str:
    """One task."""
    low, high = interval
    shown = "-" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}"
    means = [percent(s.AS), percent(s.HS)] if official else []
    cells = [
        f"{percent(s.Sp)}<br><small>{s.normal_correct} of {s.normal}</small>",
        f"{percent(s.Se)}<br><small>{s.abnormal_correct} of {s.abnormal}</small>",
        *means,
    ]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    score = f'<td class="number score">{percent(s.Score)}</td><td class="number">{shown}</td>'
    return f"<tr><td>{text(s.task)}</td><td>{text(s.formula)}</td>{numbers}{score}</tr>\n"


def confusion_rows(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """The confusion matrix; a cell is as dark as its share of the true class."""
    rows = []
    for name, counts in zip(classes, confusion.tolist(), strict=True):
        total = sum(counts)
        rows.append([f"{text(name)}<br><small>n = {total}</small>", *(confusion_cell(n, total) for n in counts)])
    head = ["true class, down;<br>predicted, across", *(text(name).replace("+", "+<wbr>") for name in classes)]
    return table(head, rows, caption=CONFUSION, name="confusion")


def confusion_cell(count: int, total: int) -> str:
    """A count and its share of the row."""
    share = count / total if total else 0.0
    shown = f"{100 * share:.0f} %" if total else "-"
    return f'<td class="s{round(10 * share)}">{count}<br><small>{shown}</small></td>'


def recall_rows(confusion: NDArray[np.int64], classes: Sequence[str], patients: Sequence[int]) -> str:
    """How much of each class is found."""
    rows = []
    for i, name in enumerate(classes):
        found, total = int(confusion[i, i]), int(confusion[i].sum())
        recall, (low, high) = found / total if total else math.nan, wilson(found, total)
        ends = f"{100 * low:.1f} to {100 * high:.1f}" if total else "-"
        of = f"{percent(recall)}<br><small>{found} of {total}</small>"
        cells = [number(of), number(str(patients[i])), number(ends), RECALL_AXIS.mark(recall, low, high)]
        rows.append([text(name), *cells])
    head = ["class", "recall %", "patients", "95 % interval", RECALL_AXIS.head()]
    return f"""{table(head, rows, caption=RECALL)}
<p><small>Recall: share of the cycles of a class that are found; the interval is Wilson's, for independent cycles. Those
of one patient resemble each other, so the truth is wider, the more so the fewer patients there are.</small></p>"""


def shift_rows(shifts: str, part: str, task: str) -> str:
    """Score of each group of cycles against the rest, from the content of shift.csv; empty where it has none.

    Args:
        task: the one that is shown; the file has them all.
    """
    lines = [r for r in csv.DictReader(io.StringIO(shifts)) if r["measure"] == "Score"]
    lines = [r for r in lines if (r["part"], r["task"]) == (part, task)]
    if not lines:
        return ""
    columns = ("difference", "difference_low_95", "difference_high_95")
    values = [[float(r[name] or "nan") for name in columns] for r in lines]
    axis = Axis.around([v for row in values for v in row], 0.05)
    rows = []
    for r, (difference, low, high) in zip(lines, values, strict=True):
        ends = f"{signed(low)} to {signed(high)}" if math.isfinite(low) else "-"
        shown = signed(difference) + (" *" if r["flagged"] else "") if math.isfinite(difference) else "-"
        numbers = [r["cycles"], r["patients"], percent(float(r["value"] or "nan")), shown, ends]
        rows.append([group_name(r), *map(number, numbers), axis.mark(difference, low, high)])
    head = ["group", "cycles", "patients", "Score %", "minus the rest", "95 % interval", axis.head()]
    return f"""<h3>Where it is better and worse: {text(task)}</h3>
{table(head, rows, caption="Each group of cycles against the rest, in points")}
<p><small>The interval resamples patients; none where a side has fewer than 10 cycles or 5 patients. *: it leaves 0
out, as one in twenty does by chance. Every task, and Sp and Se: shift.csv.</small></p>"""


def group_name(line: dict[str, str]) -> str:
    """What a group is, with its range where it is a tenth."""
    name = f"{line['by']}: {line['group']}"
    if not line["group"].isdigit() or not line["from"]:
        return text(name)
    ends = f"{float(line['from']):.2f} to {float(line['to']):.2f}{' s' if line['by'] == 'duration' else ''}"
    return f"{text(line['by'])}, tenth {text(line['group'])} <small>({ends})</small>"


def checkable(table: str) -> str:
    """The head and rows of a table; what stands around them may change between versions."""
    return table[table.index("<thead>") : table.index("</tbody>") + len("</tbody>")]
