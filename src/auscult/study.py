"""A study: rows of recipes x seeds, one run folder each, made or gone on with by any number of processes at once.

    plan.json                  what is compared, on what
    ROW/sSEED/                 a run folder, scored by its recipe's own choice of the epoch, on its own split
      selections/NAME/         the same files for the epoch of another selection
      splits/clean/            the same files for the test of another split
    ROW/sSEED.lock             held by the process that works on that run
    strict/ROW/sSEED/          the row trained once more, without the patients that the strict split moves to the test
    study.json  study.md       the table, by `auscult study`

All rows of seed 0 come first, then those of seed 1: a study that was stopped can be read. Those of the strict split
come last.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .config import fingerprint, override, to_dict
from .data.material import read
from .data.splits import KINDS, kinds_apart
from .errors import AuscultError, unknown
from .recipes import RecipeSpec, recipe
from .recipes.spec import Selection
from .recipes.studies import Row, Study
from .runs import Run, read_json, scores_in, unwritten, write_json
from .train import train

OF_ALL_RUNS = ("E_DATA", "E_DISK")  # what is wrong with the data or the disk would stop every run of the study
SELECTIONS: tuple[Selection, ...] = get_args(Selection)
SPLITS = ("official", "clean")  # shown unless others are asked for: they need no training of their own
STRICT = "strict"
FILES = ("scores.json", "predictions.csv", "report.html")


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A row with its settings applied; see `recipes.studies.Row`. Its name is the place of its runs in the study."""

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
        splits: whose scores stand side by side; the first is official.
        strict: the rows once more, trained with the strict split.
    """

    study: str
    rows: tuple[PlannedRow, ...]
    dataset: str
    seeds: int
    partial: bool = False
    paper: str = ""
    command: str = ""
    splits: tuple[str, ...] = SPLITS
    strict: tuple[PlannedRow, ...] = ()

    def asked(self, row: PlannedRow, seed: int) -> dict[str, Any]:
        """What recipe.json of a run of this study says; a folder that says otherwise holds another run."""
        return {"recipe": to_dict(row.recipe), "dataset": self.dataset, "seed": seed, "partial": self.partial}

    def in_order(self) -> list[tuple[int, PlannedRow]]:
        """Every run as (seed, row), in the order of work."""
        return [(seed, row) for rows in (self.rows, self.strict) for seed in range(self.seeds) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run: ``kept`` as it was, ``trained`` and scored, only ``scored``, ``failed``, or left to another
    process; ``started`` where that is not known yet."""

    row: str
    seed: int
    what: Literal["kept", "trained", "scored", "failed", "elsewhere", "started"]
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to score a run: by the epoch of a selection, on the test of a split; `folder` is for its files."""

    selection: str
    split: str
    folder: Path

    @property
    def scored(self) -> bool:
        """Whether its files are there, and of one evaluation."""
        told = scores_in(self.folder)
        if told is None or not all((self.folder / name).exists() for name in FILES):
            return False
        return (told["facts"]["selection"], told["split"]) == (self.selection, self.split)


def plan(
    study: Study,
    dataset: str,
    seeds: int,
    settings: Sequence[str] = (),
    *,
    partial: bool = False,
    command: str = "",
    splits: Sequence[str] = SPLITS,
    best_on_test: bool = False,
) -> Plan:
    """A study on a data set.

    Args:
        settings: ``key=value`` settings for every row, after its own, or ``ROW:key=value`` for one.
        splits: whose scores stand side by side: official, and clean or strict; strict is trained for.
        best_on_test: keep the epoch that is best on the test too, for a column of its own; costs an evaluation of the
            test an epoch.

    Raises:
        AuscultError: E_SETTING.
    """
    if seeds < 1:
        raise AuscultError("E_SETTING", f"seeds={seeds}; at least 1 is needed, 3 or more to know a spread.")
    for kind in splits:
        if kind not in KINDS:
            raise unknown("split", kind, KINDS)
    more = ("also_best_on_test=true",) if best_on_test else ()
    for_row = settings_of_rows([row.name for row in study.rows], settings)
    rows = tuple(planned(row, row.name, (*for_row[row.name], *more)) for row in study.rows)
    own = sorted({row.recipe.split for row in rows} - {"official"})
    if own and STRICT in splits:
        raise AuscultError(
            "E_SETTING", f"--splits {','.join(splits)}: rows have split={', '.join(own)} of their own; leave one out."
        )
    strict = [planned(row, f"{STRICT}/{row.name}", (*for_row[row.name], f"split={STRICT}")) for row in study.rows]
    return Plan(
        study=study.name,
        rows=rows,
        dataset=dataset,
        seeds=seeds,
        partial=partial,
        paper=study.paper,
        command=command,
        splits=tuple(kind for kind in KINDS if kind == "official" or kind in splits),
        strict=tuple(strict) if STRICT in splits else (),
    )


def settings_of_rows(names: Sequence[str], settings: Sequence[str]) -> dict[str, list[str]]:
    """Row -> its settings, in order: those for all, and those that begin with its name.

    Raises:
        AuscultError: E_SETTING for a row that is none of `names`.

    >>> settings_of_rows(["dass_nano", "trees"], ["validation=0.1", "dass_nano:epochs=8"])
    {'dass_nano': ['validation=0.1', 'epochs=8'], 'trees': ['validation=0.1']}
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    for setting in settings:
        one, colon, _ = setting.partition("=")[0].partition(":")
        if colon and one not in found:
            raise unknown("row", one, names)
        for name in [one] if colon else names:
            found[name].append(setting[len(one) + 1 :] if colon else setting)
    return found


def planned(row: Row, name: str, settings: Sequence[str]) -> PlannedRow:
    """A row under that name, with settings after its own."""
    laid_over = (*row.settings, *settings)
    return PlannedRow(name=name, recipe=override(recipe(row.recipe), laid_over), settings=laid_over, paper=row.paper)


def run_folder(out: Path, row: str, seed: int) -> Run:
    """The run of a row and a seed in the study's folder."""
    return Run(out / row / f"s{seed}")


def own_view(run: Run, recipe: RecipeSpec) -> View:
    """How a run is scored in the first place, as `auscult evaluate` does."""
    return View(selection=recipe.selection, split=recipe.split, folder=run.folder)


def other_views(plan: Plan, row: PlannedRow, run: Run) -> list[View]:
    """What else a run that is scored can be scored on: other selections there are weights for, then other splits.

    A row of the strict split is there for one column only. Where patients held out for validation took the place of a
    test that is not there, nothing else can be scored: they have chosen the other epoch.
    """
    own = own_view(run, row.recipe)
    if row in plan.strict or not own.scored or "validation" in read_json(run.folder / FILES[0])["parts"]:
        return []
    others = [name for name in SELECTIONS if name != own.selection and run.weights(name).exists()]
    views = [View(selection=name, split=own.split, folder=run.folder / "selections" / name) for name in others]
    if own.split == "official" and "clean" in plan.splits:
        views.append(View(selection=own.selection, split="clean", folder=run.folder / "splits" / "clean"))
    return views


def run_study(
    plan: Plan, data: Path, out: Path, score: Callable[[Run, View], object], tell: Callable[[Outcome], object]
) -> list[Outcome]:
    """Trains and scores every run of `plan` that is not finished and that no other process works on.

    Finished runs are kept, half-finished ones gone on with. A run that fails is told and left; the others go on.

    Args:
        data: folder of the data set.
        out: folder of the study.
        score: scores a trained run in one way and writes `FILES` into the folder of that view.
        tell: called when a run starts, and when it ends or is left.

    Raises:
        AuscultError: before any training, E_RUN where a folder holds another run, E_SETTING for an unknown data set;
            at any time E_DATA and E_DISK, which no run would survive.
    """
    return carry_out(begin(plan, data, out), data, out, score, tell)


def begin(plan: Plan, data: Path, out: Path) -> Plan:
    """Writes plan.json; gives the plan without the splits that are no other than the official one in this data set.

    Raises:
        AuscultError: as `run_study`, before any training.
    """
    corpus = read(plan.dataset, data)
    alike = not kinds_apart(corpus)
    if alike:
        plan = replace(plan, splits=("official",), strict=())
    for seed, row in plan.in_order():
        check_same(run_folder(out, row.name, seed), plan.asked(row, seed))
    about = {"classes": corpus.classes, "tasks": [asdict(task) for task in corpus.tasks], "splits_alike": alike}
    write_json(out / "plan.json", plan_dict(plan) | about)
    return plan


def carry_out(
    plan: Plan, data: Path, out: Path, score: Callable[[Run, View], object], tell: Callable[[Outcome], object]
) -> list[Outcome]:
    """The work of `run_study`, of a plan that was begun."""
    outcomes = []
    for seed, row in plan.in_order():
        outcomes.append(one_run(plan, row, seed, data, run_folder(out, row.name, seed), score, tell))
        tell(outcomes[-1])
    return outcomes


def plan_dict(plan: Plan) -> dict[str, Any]:
    """A plan as JSON; each row with its whole recipe and the fingerprint of it."""
    shown = ("study", "dataset", "seeds", "partial", "paper", "command", "splits")
    rows = {"rows": list(map(row_dict, plan.rows))} | (
        {"strict": list(map(row_dict, plan.strict))} if plan.strict else {}
    )
    return {name: getattr(plan, name) for name in shown} | rows


def row_dict(row: PlannedRow) -> dict[str, Any]:
    """A row as JSON."""
    about = {"name": row.name, "settings": row.settings, "paper": row.paper}
    return about | {"fingerprint": fingerprint(row.recipe), "recipe": to_dict(row.recipe)}


def one_run(
    plan: Plan,
    row: PlannedRow,
    seed: int,
    data: Path,
    run: Run,
    score: Callable[[Run, View], object],
    tell: Callable[[Outcome], object],
) -> Outcome:
    """Brings one run to its end, unless it is there already or another process has it."""
    started = time.monotonic()
    lock = run.folder.with_name(f"{run.folder.name}.lock")

    def outcome(what: Any, message: str = "") -> Outcome:
        return Outcome(row=row.name, seed=seed, what=what, message=message, seconds=time.monotonic() - started)

    try:
        if whole(plan, row, run):
            return outcome("kept")
        with claimed(lock) as mine:
            if not mine:
                return outcome("elsewhere", f"process {holder(lock)} works on it")
            if whole(plan, row, run):  # another process may have ended it since the look above
                return outcome("kept")
            tell(outcome("started"))
            trained = not finished(run)
            if trained:
                for name in FILES:  # those of an earlier epoch
                    (run.folder / name).unlink(missing_ok=True)
                train(row.recipe, plan.dataset, data, run.folder, seed=seed, resume=True, partial=plan.partial)
            own = own_view(run, row.recipe)
            if not own.scored:
                score(run, own)
            for view in other_views(plan, row, run):
                if not view.scored:
                    score(run, view)
    except AuscultError as error:
        if error.code in OF_ALL_RUNS:
            raise
        return outcome("failed", str(error))
    return outcome("trained" if trained else "scored")


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
        handle = lock.open("ab", buffering=0)
    except OSError as error:
        raise unwritten(lock, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
            handle.truncate(0)
            handle.write(b"%d\n" % os.getpid())
        except BlockingIOError:
            mine = False
        except OSError as error:
            raise unwritten(lock, error) from error
        yield mine


def holder(lock: Path) -> str:
    """The process that wrote its number into a lock, for people to read."""
    return lock.read_text(encoding="utf-8", errors="replace").strip() or "unknown"


def whole(plan: Plan, row: PlannedRow, run: Run) -> bool:
    """Whether nothing is left to do for a run: it is finished, and scored in every way that it can be."""
    views = [own_view(run, row.recipe), *other_views(plan, row, run)]
    return finished(run) and all(view.scored for view in views)


def finished(run: Run) -> bool:
    """Whether a run has all its epochs, and the scores of the epoch its own recipe chooses.

    Not whether they fit its predictions: a reader must find a pair that does not, and say so.
    """
    files = [run.folder / name for name in FILES[:2]]
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
