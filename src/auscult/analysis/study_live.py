"""What a terminal shows while a study runs: rows x seeds with the state of every run.

All of it is read from the files of the run folders, so the runs of other processes are shown too. Files that have not
changed are not read again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import AuscultError
from ..progress import shown_by
from ..recipes import RecipeSpec
from ..runs import Run
from ..study import FILES, Outcome, Plan, finished, run_folder
from .study_columns import marked
from .study_files import main_scores
from .tables import empty_table, percent

LEGEND = "Score in %, first test part. e3/12: epochs done, and Score of validation patients."
WAITING = "waiting"


class Board:
    """The table of a study that is being worked on.

    Args:
        plan: of the study, as `study.begin` gives it.
        out: its folder.
    """

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan, self.out = plan, out
        self.failed: set[tuple[str, int]] = set()
        self.now = ""  # the run that this process works on
        self.step = ""  # what it does there
        self.read: dict[Path, tuple[tuple[object, ...], str]] = {}  # run folder: its files' times, its state

    def tell(self, outcome: Outcome) -> None:
        """Notes what became of a run."""
        started = outcome.what == "started"
        self.now, self.step = (f"{outcome.row} s{outcome.seed}" if started else ""), ""
        if outcome.what == "failed":
            self.failed.add((outcome.row, outcome.seed))

    def show(self, step: str) -> None:
        """Notes what is being done; `progress.track` calls it."""
        self.step = step

    def __rich__(self) -> Group:
        """The table as it is now, what it means, and what is being done."""
        doing = f"{self.now}: {self.step}" if self.now and self.step else self.now or self.step
        return Group(self.table(), Text(LEGEND, style="dim"), Text(doing))

    def table(self) -> Table:
        """Rows x seeds."""
        table = empty_table()
        table.add_column("row", overflow="fold")
        for seed in range(self.plan.seeds):
            table.add_column(f"seed {seed}", justify="right", no_wrap=True)
        for row in (*self.plan.rows, *self.plan.strict):
            states = [self.state(row.name, seed, row.recipe) for seed in range(self.plan.seeds)]
            table.add_row(Text(row.name + marked(row.recipe.selection)), *map(Text, states))
        return table

    def state(self, row: str, seed: int, recipe: RecipeSpec) -> str:
        """Of one run: ``waiting``, its epochs and validation Score, its Score, or ``failed``."""
        if (row, seed) in self.failed:
            return "failed"
        run = run_folder(self.out, row, seed)
        files = (run.recipe_file, run.metrics, *(run.folder / name for name in FILES[:2]))
        times = tuple(map(changed_at, files))
        before, state = self.read.get(run.folder, ((), WAITING))
        if times != before:
            with contextlib.suppress(AuscultError):  # a file went between two looks: what was known stays for a second
                self.read[run.folder] = times, self.look(run, recipe)
            _, state = self.read.get(run.folder, ((), state))
        return state

    def look(self, run: Run, recipe: RecipeSpec) -> str:
        """The state of a run that has not failed, from its files."""
        if not run.exists:
            return WAITING
        if finished(run):
            return main_scores(run)[0][2]
        records = run.history()
        if not records:
            return f"e0/{recipe.epochs}"
        done = f"e{records[-1]['epoch']}/{recipe.epochs}"
        found = records[-1].get("validation")
        if found is None:
            return done
        return f"{done} {percent(found[recipe.selection_task or next(iter(found))]['Score'])}"


def changed_at(file: Path) -> object:
    """When a file was changed, and its size; None without one."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def live(board: Board) -> Iterator[None]:
    """Shows the board on stderr while the block runs, where that is a terminal; lines that are said go above it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with Live(get_renderable=lambda: board, console=console, refresh_per_second=1), shown_by(board.show):
        yield
