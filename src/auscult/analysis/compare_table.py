"""A comparison as Markdown, as columns for the terminal and as files; made from its record alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..runs import write_text
from . import RESEARCH_ONLY
from .spreadsheet import csv_text
from .study_record import dumps
from .study_table import grid, points, signed
from .tables import empty_table, percent, show

FILES = ("compare.json", "compare.csv", "compare.md")
SCORES = ("system", "seeds", "Score", "± one seed", "± patients")
DIFFERENCES = ("system", "minus", "Score, difference", "95 % interval", "p", "p (Holm)", "± seeds", "resolvable")
SHORT = ("system", "minus", "Score", "[low, high]", "p", "p Holm", "± seeds", "resolvable")  # on 80 columns
CSV = ("system", "against", "part", "task", "difference", "low", "high", "p", "p_holm", "patient_std", "seed_error")
READ = (
    "In %, differences in points of Score. ± one seed: standard deviation of the Score of a run over seeds; "
    "± patients: that of a run when patients are resampled. The interval and p are over patients, drawn {resamples} "
    "times, the same for both systems: they are about these trained runs. p is two-sided; Holm's correction is over "
    "the differences of one part and task. ± seeds: standard error of the difference from the seeds. Resolvable: the "
    "smallest true difference that a test at 5 % finds with a chance of 80 %, patients and seeds counted."
)


def markdown(known: dict[str, Any]) -> str:
    """The whole comparison: systems, scores, differences, warnings."""
    about = [[s["name"], f"`{s['recipe']}` ({s['fingerprint']})", seeds(s)] for s in known["systems"]]
    blocks = [grid(["system", "recipe", "seeds"], about), READ.format(resamples=known["resamples"])]
    blocks += [f"**Note.** {note}" for note in (*known["notes"], *alone(known))]
    for part, task in places(known):
        blocks += [f"**{title(known, part, task)}**", grid(SCORES, score_rows(known, part, task))]
        found = difference_rows(known, part, task)
        blocks += [grid(DIFFERENCES, found)] if found else []
        blocks += warning(known, part, task)
    return "\n\n".join(blocks) + "\n"


def print_comparison(known: dict[str, Any], console: Console) -> None:
    """The same in columns."""
    for part, task in places(known):
        show_columns(console, f"{title(known, part, task)}, %", SCORES, score_rows(known, part, task))
        found = difference_rows(known, part, task)
        if found:
            one = len({row[1] for row in found}) == 1  # then its name stands in the title, and all fits 80 columns
            rows = [row[:1] + row[2:] for row in found] if one else found
            name = f"differences from {found[0][1]}, points" if one else "differences, points"
            show_columns(console, name, SHORT[:1] + SHORT[2:] if one else SHORT, rows)
        for line in warning(known, part, task):
            console.print(line, style="yellow", highlight=False, markup=False)
        console.print()
    read = READ.format(resamples=known["resamples"])
    for line in (read, *(f"note: {note}" for note in (*known["notes"], *alone(known))), RESEARCH_ONLY):
        console.print(line, highlight=False, markup=False)


def show_columns(console: Console, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table under its title: names to the left, numbers to the right."""
    table = empty_table()
    for column in head:
        if column in ("system", "minus"):
            table.add_column(column, overflow="fold")
        else:
            table.add_column(escape(column), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    show(console, name, table)


def places(known: dict[str, Any]) -> list[tuple[str, str]]:
    """Every part and task, in order."""
    return list(dict.fromkeys((line["part"], line["task"]) for line in known["scores"]))


def title(known: dict[str, Any], part: str, task: str) -> str:
    """What a block is about."""
    about = known["parts"][part]
    where = f"{known['dataset']}, {known['split']} split, part {part}"
    return f"{where} ({about['cycles']} cycles of {about['patients']} patients), {task}"


def seeds(system: dict[str, Any]) -> str:
    """``0, 1, 2``."""
    return ", ".join(map(str, system["seeds"]))


def score_rows(known: dict[str, Any], part: str, task: str) -> list[list[str]]:
    """Cells of `SCORES`."""
    return [
        [s["system"], str(s["seeds"]), percent(s["Score"]), percent(s["seed_std"]), percent(s["patient_std"])]
        for s in of_place(known["scores"], part, task)
    ]


def difference_rows(known: dict[str, Any], part: str, task: str) -> list[list[str]]:
    """Cells of `DIFFERENCES`."""
    rows = []
    for line in of_place(known["differences"], part, task):
        change, interval, seed_error = points(line | {"std_over_seeds": line["seed_error"]})
        tests = [p_text(line["p"]), p_text(line["p_holm"])]
        rows.append(
            [line["system"], line["against"], change, interval, *tests, seed_error, percent(line["resolvable"])]
        )
    return rows


def of_place(lines: Sequence[dict[str, Any]], part: str, task: str) -> list[dict[str, Any]]:
    """The lines of one part and task."""
    return [line for line in lines if (line["part"], line["task"]) == (part, task)]


def p_text(p: float | None) -> str:
    """A p-value with three decimals.

    >>> p_text(0.0123), p_text(0.0001), p_text(None)
    ('0.012', '<0.001', '-')
    """
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def warning(known: dict[str, Any], part: str, task: str) -> list[str]:
    """In words, which differences are smaller than what can be resolved; nothing where none is."""
    small = [
        f"{line['system']} minus {line['against']} ({signed(line['difference'])} of {percent(line['resolvable'])})"
        for line in of_place(known["differences"], part, task)
        if line["resolvable"] is not None and not line["resolved"]
    ]
    return [f"Smaller than this test set can resolve with these seeds: {'; '.join(small)}."] if small else []


def alone(known: dict[str, Any]) -> list[str]:
    """Systems with one seed, whose spread over seeds nobody knows."""
    single = [system["name"] for system in known["systems"] if len(system["seeds"]) == 1]
    said = "One seed only, so what other seeds would change is not counted in the resolvable difference"
    return [f"{said}: {', '.join(single)}."] if single else []


def files(known: dict[str, Any]) -> dict[str, str]:
    """Name and text of every file of a comparison."""
    rows = [
        [line[k] for k in CSV[:5]] + line["interval_95"] + [line[k] for k in (*CSV[7:], "resolvable", "resolved")]
        for line in known["differences"]
    ]
    return dict(
        zip(FILES, (dumps(known), csv_text([*CSV, "resolvable", "resolved"], rows), markdown(known)), strict=True)
    )


def write_comparison(out: Path, known: dict[str, Any]) -> None:
    """Writes compare.json, compare.csv and compare.md."""
    for name, text in files(known).items():
        write_text(out / name, text)
