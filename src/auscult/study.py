"""A study: rows of recipes x seeds, one run folder each, made or gone on with by any number of processes at once.

    plan.json                  what is compared, on what
    ROW/sSEED/                 a run folder, scored
    ROW/sSEED.lock             held by the process that works on that run
    study.json  study.md       the table, by `auscult study`

All rows of seed 0 come first, then those of seed 1: a study that was stopped can be read.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .config import fingerprint, override, to_dict
from .data.material import read
from .errors import AuscultError
from .recipes import RecipeSpec, recipe
from .recipes.studies import Study
from .runs import Run, read_json, write_json
from .train import train

OF_ALL_RUNS = ("E_DATA", "E_DISK")  # what is wrong with the data or the disk would stop every run of the study


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A row with its settings applied; see `recipes.studies.Row`."""

    name: str
    recipe: RecipeSpec
    settings: tuple[str, ...]
    paper: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained: `rows` x seeds 0 .. `seeds` - 1, on one data set.

    Args:
        paper: what the papers' scores of the rows were measured on.
        command: the words that start this study, for the record.
    """

    study: str
    rows: tuple[PlannedRow, ...]
    dataset: str
    seeds: int
    partial: bool = False
    paper: str = ""
    command: str = ""

    def asked(self, row: PlannedRow, seed: int) -> dict[str, Any]:
        """What recipe.json of a run of this study says; a folder that says otherwise holds another run."""
        return {"recipe": to_dict(row.recipe), "dataset": self.dataset, "seed": seed, "partial": self.partial}

    def in_order(self) -> list[tuple[int, PlannedRow]]:
        """Every run as (seed, row), in the order of work."""
        return [(seed, row) for seed in range(self.seeds) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run: ``kept`` as it was, ``trained`` and scored, ``failed``, or left to another process."""

    row: str
    seed: int
    what: Literal["kept", "trained", "failed", "elsewhere"]
    message: str = ""
    seconds: float = 0.0


def plan(
    study: Study, dataset: str, seeds: int, settings: Sequence[str] = (), *, partial: bool = False, command: str = ""
) -> Plan:
    """A study on a data set.

    Args:
        settings: ``key=value`` settings for every row, after its own.

    Raises:
        AuscultError: E_SETTING.
    """
    if seeds < 1:
        raise AuscultError("E_SETTING", f"seeds={seeds}; at least 1 is needed, 3 or more to know a spread.")
    rows = []
    for row in study.rows:
        laid_over = (*row.settings, *settings)
        made = override(recipe(row.recipe), laid_over)
        rows.append(PlannedRow(name=row.name, recipe=made, settings=laid_over, paper=row.paper))
    return Plan(
        study=study.name,
        rows=tuple(rows),
        dataset=dataset,
        seeds=seeds,
        partial=partial,
        paper=study.paper,
        command=command,
    )


def run_folder(out: Path, row: str, seed: int) -> Run:
    """The run of a row and a seed in the study's folder."""
    return Run(out / row / f"s{seed}")


def run_study(
    plan: Plan, data: Path, out: Path, score: Callable[[Run], object], tell: Callable[[Outcome], object]
) -> list[Outcome]:
    """Trains and scores every run of `plan` that is not finished and that no other process works on.

    Finished runs are kept, half-finished ones gone on with. A run that fails is told and left; the others go on.

    Args:
        data: folder of the data set.
        out: folder of the study.
        score: writes scores.json and predictions.csv into the folder of a trained run.
        tell: called after each run.

    Raises:
        AuscultError: before any training, E_RUN where a folder holds another run, E_SETTING for an unknown data set;
            at any time E_DATA and E_DISK, which no run would survive.
    """
    corpus = read(plan.dataset, data)
    for seed, row in plan.in_order():
        check_same(run_folder(out, row.name, seed), plan.asked(row, seed))
    about = {"classes": corpus.classes, "tasks": [asdict(task) for task in corpus.tasks]}
    write_json(out / "plan.json", plan_dict(plan) | about)
    outcomes = []
    for seed, row in plan.in_order():
        outcomes.append(one_run(plan, row, seed, data, run_folder(out, row.name, seed), score))
        tell(outcomes[-1])
    return outcomes


def plan_dict(plan: Plan) -> dict[str, Any]:
    """A plan as JSON; each row with its whole recipe and the fingerprint of it."""
    rows = [
        {
            "name": row.name,
            "settings": row.settings,
            "paper": row.paper,
            "fingerprint": fingerprint(row.recipe),
            "recipe": to_dict(row.recipe),
        }
        for row in plan.rows
    ]
    return {name: getattr(plan, name) for name in ("study", "dataset", "seeds", "partial", "paper", "command")} | {
        "rows": rows
    }


def one_run(plan: Plan, row: PlannedRow, seed: int, data: Path, run: Run, score: Callable[[Run], object]) -> Outcome:
    """Brings one run to its end, unless it is there already or another process has it."""
    started = time.monotonic()
    lock = run.folder.with_name(f"{run.folder.name}.lock")
    try:
        if finished(run):
            return Outcome(row=row.name, seed=seed, what="kept")
        with claimed(lock) as mine:
            if not mine:
                return Outcome(row=row.name, seed=seed, what="elsewhere", message=f"process {holder(lock)} works on it")
            if not finished(run):  # another process may have ended it since the look above
                (run.folder / "scores.json").unlink(missing_ok=True)  # those of an earlier epoch
                train(row.recipe, plan.dataset, data, run.folder, seed=seed, resume=True, partial=plan.partial)
                score(run)
    except AuscultError as error:
        if error.code in OF_ALL_RUNS:
            raise
        return Outcome(row=row.name, seed=seed, what="failed", message=str(error))
    return Outcome(row=row.name, seed=seed, what="trained", seconds=time.monotonic() - started)


@contextlib.contextmanager
def claimed(lock: Path) -> Iterator[bool]:
    """Whether the lock is ours while the block runs.

    The system holds the lock for the process, not the file: it ends with the process, killed or not, whatever the file
    says. The file stays; taking it away would let two processes hold two files of one name.

    Raises:
        AuscultError: E_DISK when the file cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a", encoding="utf-8")
    except OSError as error:
        raise AuscultError("E_DISK", f"cannot make {lock}: {error.strerror}. Choose another --out.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        else:
            mine = True
            handle.truncate(0)
            handle.write(f"{os.getpid()}\n")
            handle.flush()
        yield mine


def holder(lock: Path) -> str:
    """The process that wrote its number into a lock, for people to read."""
    return lock.read_text(encoding="utf-8", errors="replace").strip() or "unknown"


def finished(run: Run) -> bool:
    """Whether a run has all its epochs, and the scores of the epoch its own recipe chooses."""
    files = [run.folder / "scores.json", run.folder / "predictions.csv"]
    if not run.exists or not all(file.exists() for file in files):
        return False
    asked, scored, records = run.settings()["recipe"], read_json(files[0]), run.history()
    whole = bool(records) and records[-1]["epoch"] == asked["epochs"]
    return whole and (scored["facts"]["selection"], scored["split"]) == (asked["selection"], asked["split"])


def check_same(run: Run, asked: dict[str, Any]) -> None:
    """Refuses a folder that holds another run.

    Raises:
        AuscultError: E_RUN, naming each setting that differs.
    """
    if not run.exists:
        return
    changed = differences(run.settings(), asked)
    if changed:
        raise AuscultError(
            "E_RUN", f"{run.folder} holds another run: {'; '.join(changed)}. Choose another --out, or delete it."
        )


def differences(before: Any, asked: Any, where: str = "") -> list[str]:
    """What differs between two JSON-ready values, setting by setting; keys that `asked` has no word on are left out.

    >>> differences({"recipe": {"epochs": 3, "name": "a"}, "data": "x"}, {"recipe": {"epochs": 1, "name": "a"}})
    ['recipe.epochs is 3, asked is 1']
    """
    if isinstance(before, dict) and isinstance(asked, dict):
        # inside a recipe a key of one side only is a difference; at the top, `asked` is a part of recipe.json
        names = list(asked) + ([name for name in before if name not in asked] if where else [])
        return [
            line
            for name in names
            for line in differences(before.get(name), asked.get(name), f"{where}.{name}".lstrip("."))
        ]
    return [] if before == asked else [f"{where} is {before!r}, asked is {asked!r}"]
