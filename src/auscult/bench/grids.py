"""The tables of a document, once for the terminal and once for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..analysis.tables import empty_table
from ..analysis.tables import show as print_table
from .timing import idle

NONE = "-"
WAITED = "! its threads spent over a tenth of their time waiting: others used the machine"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text: the first column is left-aligned, the others are right-aligned."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown, without the title."""
        rule = [":---", *["---:"] * (len(self.head) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in (self.head, rule, *self.rows)) + "\n"


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, no exponent; a dash for nothing.

    >>> number(0.01234), number(12.345), number(12345.6), number(None)
    ('0.0123', '12.3', '12346', '-')
    """
    if value is None:
        return NONE
    size = abs(value)
    if size >= 10 ** (digits - 1) or size == 0:
        return f"{value:.0f}"
    decimals = digits - 1
    while size < 1 and decimals < 9:
        size, decimals = size * 10, decimals + 1
    return f"{value:.{decimals - (1 if size >= 10 else 0)}f}"


def error(row: dict[str, Any]) -> str:
    """How far from the definition."""
    return "NaN" if row.get("error") is None else f"{row['error']:.0e}"


def ratio(row: dict[str, Any]) -> str:
    """How many times the first's time, with the range of single rounds."""
    if row.get("ratio") is None:
        return NONE
    text = f"{number(row['ratio'])} x"
    if row.get("ratio_low") is not None and (row["ratio_low"], row["ratio_high"]) != (1, 1):  # itself
        text += f" ({number(row['ratio_low'])}-{number(row['ratio_high'])})"
    return text


def of(found: dict[str, Any]) -> list[Grid]:
    """All tables of a document."""
    return [
        *(_race(found, what, rows) for what, rows in found.get("races", {}).items() if found["bench"] in COMPARED),
        *MAKERS.get(found["bench"], lambda _: [])(found),
    ]


def _race(found: dict[str, Any], what: str, rows: Sequence[dict[str, Any]]) -> Grid:
    memory = {cell["name"]: cell["per_clip_mb"] for cell in found.get("memory", {}).get(what, [])}
    epochs = any(row.get("epoch_s") is not None for row in rows)
    head = ["contestant", "error", "min ms", "median", "/ ours (rounds)"]
    head += ["MB/clip"] * bool(memory) + ["epoch s"] * epochs
    cells = []
    for row in rows:
        wait = " !" if idle(row, found["setting"]["threads"]) else ""
        times = ["WRONG", NONE] if row["wrong"] else [number(row["min_ms"]) + wait, number(row["median_ms"])]
        more = [number(memory.get(row["name"]))] * bool(memory)
        more += [number(row.get("epoch_s"))] * epochs
        cells.append([row["name"], error(row), *times, ratio(row), *more])
    return Grid(title=f"{title(found)}: {what}", head=head, rows=cells)


def title(found: dict[str, Any]) -> str:
    """What was measured, in a line."""
    s = found["setting"]
    threads = f"{s['threads']} thread{'s' * (s['threads'] > 1)}"
    where = f"{s['device']}, {threads}" if s["device"] == "cpu" else s["device"]
    passes = found["options"].get("passes", 1)
    kind = {
        "scan": f"scan of all blocks of DASS-{s['size']}, {s['seconds']:g} s, batch {s['batch']}, {s['precision']}",
        "model": f"DASS-{s['size']}, {s['seconds']:g} s, batch {s['batch']}, {s['precision']}",
        "train-step": f"DASS-{s['size']}, {s['seconds']:g} s, batch {s['batch']}, {s['precision']}"
        + (f", {passes} passes" if passes > 1 else ""),
        "frontend": f"front end, {s['seconds']:g} s clips",
        "predict": f"prediction, {found.get('recipe')}",
        "length": f"one clip of growing length, DASS-{s['size']}, {s['precision']}",
    }[found["bench"]]
    return f"{kind}, {where}"


def floors(found: dict[str, Any]) -> Grid:
    """Share of the floor that the matrix products set."""
    rows = []
    for what, f in found["floors"].items():
        time = next((r.get("min_ms") for r in found["races"][what]), None)
        share = NONE if f["share"] is None else f"{100 * f['share']:.0f} %"
        rows.append([what, number(f["gflop"]), number(f["peak_gflops"]), number(f["floor_ms"]), number(time), share])
    head = ["share of the floor", "GFLOP", "peak GFLOP/s", "floor ms", "ours ms", "share"]
    return Grid(title="matrix products at the measured peak, nothing else", head=head, rows=rows)


def peaks(found: dict[str, Any]) -> Grid:
    """Measured peaks of the machine."""
    p = found["peaks"]
    rows = [[f"{g['route']}, {g['side']}³", f"{number(g['gflops'])} GFLOP/s", f"{g['error']:.0e}"] for g in p["gemm"]]
    rows.append(["the network's own linear layers", f"{number(p['own_shapes_gflops'])} GFLOP/s", ""])
    rows.append(["copy", f"{number(p['copy_gb_s'])} GB/s", ""])
    return Grid(title="measured peaks", head=["peak", "rate", "error"], rows=rows)


def _network(found: dict[str, Any]) -> list[Grid]:
    return [floors(found), peaks(found)]


def _scan(found: dict[str, Any]) -> list[Grid]:
    first = found["races"]["forward"][0]
    rows = [["elements, four directions", f"{found['elements'] * found['setting']['batch'] / 1e6:.1f} million"]]
    if "min_ms" in first:
        elements = found["elements"] * found["setting"]["batch"]
        rows.append([f"{first['name']}, forward", f"{number(1e6 * first['min_ms'] / elements)} ns an element"])
    for what, moved in found["traffic"].items():
        time = found["races"][what][0].get("min_ms")
        share = f", {100 * moved / time / found['copy_gb_s'] / 1e6:.0f} % of a copy's rate" if time else ""
        rows.append([f"bytes that must move, {what}", f"{number(moved / 1e6)} MB{share}"])
    rows.append(["copy", f"{number(found['copy_gb_s'])} GB/s"])
    if found["first_call"]:
        rows.append(["first call, nothing compiled", f"{number(found['first_call']['empty_cache_s'])} s of CPU"])
        rows.append(["first call of a later process", f"{number(found['first_call']['cached_s'])} s of CPU"])
    return [Grid(title="beside it", head=["what", "measured"], rows=rows)]


def _frontend(found: dict[str, Any]) -> list[Grid]:
    rows = []
    for row in found["races"]["parts"]:
        rows.append([row["name"], error(row), "WRONG" if row["wrong"] else number(row["clip_ms"])])
    rows += [[f"sum: {name}", "", number(value)] for name, value in found["totals"].items()]
    rows.append(["target, from the file", "", number(found["target_ms"])])
    return [Grid(title=title(found), head=["part", "error", "ms a clip"], rows=rows)]


def _predict(found: dict[str, Any]) -> list[Grid]:
    row = found["races"]["folder"][0]
    head = ["what", "error", "files a second", "times real time"]
    values = ["WRONG", NONE] if row["wrong"] else [number(found["files_per_s"]), number(found["realtime"])]
    return [Grid(title=title(found), head=head, rows=[["auscult.load(run).predict", error(row), *values]])]


def _length(found: dict[str, Any]) -> list[Grid]:
    names = list(found["slopes"])
    head = ["clip s", "AST tokens"] + [f"{n} {what}" for n in names for what in ("ms", "MB")]
    head += ["AST / ours"] * (len(names) > 1)
    rows = []
    for point in found["points"]:
        by_name = {row["name"]: row for row in point["rows"]}
        cells = [f"{point['seconds']:g}", str(point["tokens"])]
        for name in names:
            row = by_name[name]
            mark = " *" if row["note"] else ""
            time = "WRONG" if row["wrong"] else number(row["min_ms"]) + mark
            cells += [time, number(row.get("per_clip_mb"))]
        if len(names) > 1:
            cells.append(f"{number(by_name[names[1]]['ratio'])} x" if by_name[names[1]].get("ratio") else NONE)
        rows.append(cells)
    exponents = ["exponent", ""]
    for name in names:
        exponents += [number(found["slopes"][name][what]) for what in ("time", "memory")]
    rows.append(exponents + [""] * (len(names) > 1))
    return [Grid(title=title(found), head=head, rows=rows)]


COMPARED = ("scan", "model", "train-step")
MAKERS = {
    "scan": _scan,
    "model": _network,
    "train-step": _network,
    "frontend": _frontend,
    "predict": _predict,
    "length": _length,
}


def machine_lines(found: dict[str, Any]) -> list[str]:
    """The machine, in a few lines."""
    m = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    where = f"{m['gpu']}, " if m["gpu"] else ""
    return [
        f"{where}{m['processor']}, {m['cores']} cores, {' '.join(m['instructions']) or 'instruction sets unknown'}",
        f"Python {m['python']}, {versions}",
        f"fp32 products: {m['products']}; malloc: {m['malloc']}; scan taken: {m['scan']}",
    ]


def moment(found: dict[str, Any]) -> str:
    """When and from which commit, and how busy the machine was before and after."""
    m = found["machine"]
    before, after = (NONE if load is None else f"{load:g}" for load in found["load"])
    return f"auscult {m['auscult']}, commit {m['commit']}, {m['date']}; load average {before} before, {after} after"


def show(found: dict[str, Any], console: Console) -> None:
    """Prints the tables of a document, the machine and the notes."""
    for grid in of(found):
        table = empty_table()
        for place, name in enumerate(grid.head):
            table.add_column(escape(name), justify="right" if place else "left")
        for row in grid.rows:
            table.add_row(*map(escape, row))
        print_table(console, grid.title, table)
    waited = any(idle(row, found["setting"]["threads"]) for rows in found.get("races", {}).values() for row in rows)
    lines = [*machine_lines(found), moment(found), *(f"note: {note}" for note in found.get("notes", []))]
    for line in [*lines, *[WAITED] * waited]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
