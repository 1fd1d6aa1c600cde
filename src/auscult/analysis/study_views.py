"""What other selections of the epoch and other splits would say: views of a study's runs, beside its main table.

Each is a small record: which selection, which split, its rows with the integers of their runs. One with cycles of its
own has `parts` too; the others have those of the study.
"""

from pathlib import Path
from typing import Any

from ..runs import Run
from ..study import SELECTIONS, STRICT, View, run_folder
from .study_reader import Reader, finished_runs


def views(out: Path, plan: dict[str, Any], rows: list[dict[str, Any]], reader: Reader) -> list[dict[str, Any]]:
    """Every view that has a run, selections first.

    Args:
        plan: plan.json.
        rows: of the record, with the runs that are finished.
        reader: that has read those; other selections have to be scored on the same cycles.
    """
    made = [selection_view(out, rows, name, reader) for name in SELECTIONS]
    made += [split_view(out, plan, rows, kind, reader) for kind in plan.get("splits", ())[1:]]
    return [view for view in made if any(row["runs"] for row in view["rows"])]


def selection_view(out: Path, rows: list[dict[str, Any]], name: str, reader: Reader) -> dict[str, Any]:
    """The runs that choose another epoch by themselves, at the epoch of this selection."""
    found = []
    for row in rows:
        own = row["recipe"]
        folders = {} if own["selection"] == name else places(out, row, f"selections/{name}")
        views = {seed: View(selection=name, split=own["split"], folder=folder) for seed, folder in folders.items()}
        found.append({"name": row["name"], "runs": read(views, reader)})
    return {"selection": name, "split": None, "rows": found}


def split_view(
    out: Path, plan: dict[str, Any], rows: list[dict[str, Any]], kind: str, reader: Reader
) -> dict[str, Any]:
    """The runs' own epoch on the test of another split; for ``strict`` those that were trained for it."""
    own, found = Reader(reader.classes, reader.tasks), []
    for row in plan.get(STRICT, ()) if kind == STRICT else rows:
        if kind == STRICT:
            runs = {seed: own.read(run) for seed, run in finished_runs(out, plan, row).items()}
        else:
            selection, folders = row["recipe"]["selection"], places(out, row, f"splits/{kind}")
            runs = read({s: View(selection=selection, split=kind, folder=f) for s, f in folders.items()}, own)
        found.append({"name": row["name"].removeprefix(f"{STRICT}/"), "runs": runs})
    return {"selection": None, "split": kind, "parts": own.parts, "rows": found}


def places(out: Path, row: dict[str, Any], where: str) -> dict[str, Path]:
    """Seed -> that folder of the run, for every finished run of a row."""
    return {seed: run_folder(out, row["name"], int(seed)).folder / where for seed in row["runs"]}


def read(views: dict[str, View], reader: Reader) -> dict[str, Any]:
    """Seed -> what the files of a view say, for those that are scored."""
    return {seed: reader.scored(Run(view.folder)) for seed, view in views.items() if view.scored}
