"""docs/performance.md, made from the JSON files of `auscult bench`, so that no figure is typed by hand."""

from collections.abc import Sequence
from typing import Any

from . import grids, networks
from .grids import Grid, number

HEAD = """\
# Performance

Made by `auscult bench report` from the files in [performance/](performance); every figure below was measured by the \
command beside its table.

All contestants of a table run in one process, in rounds A, B, C, A, B, C. One thread is timed by the processor's own \
clock, several threads by the wall clock. A ratio is one of minima, with the range of single rounds behind it. Each \
contestant is first compared with the definition: the step-by-step scan in float64 (for AST, AST itself in float64). \
Out of tolerance it is WRONG and gets no time. A "!" marks a run whose threads spent over a tenth of their time \
waiting: others used the machine.
"""
MACHINES = "## Machines\n"
TEXTS = {
    "model": "The floor is the time of the matrix products and convolutions alone, at the best rate "
    "this machine reached for a large product of the same precision with the same threads.",
    "train-step": "Forward and backward, with the gradients of all weights. Three passes are the cost of Lung-SRAD: "
    "the clean clip and two mixed views of its patches, patches embedded once, the two views in one batch.",
    "scan": "The four-direction selective scan of all blocks, with the step sizes made and the directions merged. The "
    "first name is the form taken by itself; `chunked` is plain torch, taken where nothing compiled works.",
    "length": "One clip in one pass. The exponent is the slope of a line through the logarithms: 1 is linear. "
    "* is computed from one layer of AST, twelve times.",
    "frontend": "From a recording to a masked batch. A clip bears the whole cost of decoding its recording.",
    "predict": "Whole recordings through the Python API, from the file to the probabilities.",
}
NAMES = {
    "model": "Forward pass",
    "train-step": "Training step",
    "scan": "Selective scan",
    "length": "Long recordings",
    "frontend": "Front end",
    "predict": "Prediction",
}
COMPILED = """\
### What a prebuilt C kernel would add

The scan is compiled on the user's machine by numba, once, and kept on disk; no compiler needs to be there. A C kernel \
shipped in the wheel would be another path to build and to test for every system and instruction set. \
It can save no more than the scan's share of the whole:
"""

NO_GPU = """\
## On a GPU

No GPU was at hand: the Triton scan was compared with the definition in Triton's interpreter and compiled for sm_90, \
and nothing about its speed is known. These commands measure it, the last a training step; the files they write belong \
beside the others:

```
pytest -m gpu
auscult bench scan --device cuda --size medium --batch 64 --precision bf16 --json docs/performance/gpu-scan.json
auscult bench train-step --device cuda --size medium --batch 64 --precision bf16 --passes 3 --cycles 5270 \\
    --json docs/performance/gpu-step.json
```
"""


def page(documents: Sequence[dict[str, Any]]) -> str:
    """The page. Documents of one benchmark stand in the order given."""
    machines = _machines(documents)
    parts = [HEAD, _ratios(documents), _machine_part(machines)]
    for bench, name in NAMES.items():
        chosen = [d for d in documents if d["bench"] == bench]
        if chosen:
            parts.append(f"## {name}\n\n{TEXTS[bench]}\n")
            parts += [_section(d, machines) for d in chosen]
        if bench == "scan" and (shares := scan_shares(documents)).rows:
            parts.append(f"{COMPILED}\n{shares.markdown()}")
    if all(d["setting"]["device"] == "cpu" for d in documents):
        parts.append(NO_GPU)
    return "\n".join(part for part in parts if part)


def _machines(documents: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Machine, versions and state -> a letter."""
    found: dict[str, str] = {}
    for d in documents:
        found.setdefault(_machine(d), chr(ord("A") + len(found)))
    return found


def _machine(document: dict[str, Any]) -> str:
    return "\n".join(f"  {line}  " for line in grids.machine_lines(document))


def _machine_part(machines: dict[str, str]) -> str:
    return MACHINES + "".join(f"\n* **{letter}**\n{lines}\n" for lines, letter in machines.items())


def _section(document: dict[str, Any], machines: dict[str, str]) -> str:
    lines = [f"### {grids.title(document)}\n", f"```\n{document['command']}\n```\n"]
    lines.append(f"Machine {machines[_machine(document)]}; {grids.moment(document)}.\n")
    for grid in grids.of(document):
        lines += [f"{grid.title}\n" if grid.title != grids.title(document) else "", grid.markdown()]
    if document.get("notes"):
        lines.append("".join(f"* {note}\n" for note in document["notes"]))
    return "\n".join(line for line in lines if line)


def _ratios(documents: Sequence[dict[str, Any]]) -> str:
    """The first table: how many times slower every rival is."""
    rows = []
    for d in documents:
        if d["bench"] == "length":
            rows += [
                [f"DASS-{d['setting']['size']}, {p['seconds']:g} s, {d['setting']['precision']}", *_rival(row)]
                for p in d["points"]
                for row in p["rows"][1:]
                if row.get("ratio")
            ]
        elif d["bench"] in grids.COMPARED:
            rows += [
                [f"{grids.title(d)}: {what}", *_rival(row)]
                for what, race in d["races"].items()
                for row in race[1:]
                if row.get("ratio") and row["name"] in RIVALS
            ]
    if not rows:
        return ""
    return "## Ratios\n\n" + Grid(title="", head=["measured", "beside", "its time / ours"], rows=rows).markdown()


RIVALS = (networks.VMAMBA, networks.VMAMBA_HALF, networks.AST_BASE, "mambapy")


def _rival(row: dict[str, Any]) -> list[str]:
    mark = f" ({row['note']})" if row.get("note") else ""
    return [row["name"] + mark, grids.ratio(row)]


def scan_shares(documents: Sequence[dict[str, Any]]) -> Grid:
    """How much of a network's time is its scan, where both were measured alike: the bound of any faster scan."""
    rows = []
    for network in documents:
        if network["bench"] not in ("model", "train-step") or network["options"].get("passes", 1) != 1:
            continue
        for scan in documents:
            if scan["bench"] == "scan" and _alike(scan, network):
                for what, race in network["races"].items():
                    whole, part = race[0].get("min_ms"), scan["races"][what][0].get("min_ms")
                    if whole and part:
                        share = f"{100 * part / whole:.0f} %"
                        rows.append([f"{grids.title(network)}: {what}", number(part), number(whole), share])
    return Grid(title="", head=["measured", "scan ms", "whole ms", "share"], rows=rows)


def _alike(a: dict[str, Any], b: dict[str, Any]) -> bool:
    keys = ("size", "seconds", "batch", "threads", "precision", "device")
    return all(a["setting"][k] == b["setting"][k] for k in keys)
