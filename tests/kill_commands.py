"""Every command that writes, killed at random moments: the last good state stays, and the next call gives the same.

    python -m tests.kill_commands --n 10 --only export,teach

Half of the moments are drawn from the time a command takes, half from its writes. After each kill every file under its
own name is the old one, the new one, or whole; then the command is called again, its results must be those of one that
nobody killed, byte for byte, and nothing else may lie there. Exit code 1 where that is not so.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from auscult.cli.app import run

from .commands import CASES, Case, Place, damaged, files
from .zygote import After, Child, Writing

WRITES, WRITE_S = 6, 0.02


class Killer:
    """Kills one command again and again.

    Args:
        place: where it works.
        name: of a case.
        draw: the moments.
    """

    def __init__(self, place: Place, name: str, draw: random.Random) -> None:
        self.place, self.name, self.draw = place, name, draw
        self.case: Case = CASES[name]
        self.kills = self.writing = 0
        self.left: set[str] = set()
        self.wrong: list[str] = []
        place.fresh(self.case)
        self.before = files(place.out)
        child, self.said = self.start(), ""
        code = child.wait()
        assert code == self.case.code, child.said()
        self.took_s, self.wanted = time.monotonic() - child.started, files(place.out)
        self.said = child.said()

    def start(self, *more: str) -> Child:
        """The command, in a process."""
        words = [*self.case.words(self.place), *more]
        return Child(lambda: run(words), self.place.folder / "said.txt")

    def trial(self) -> None:
        """One kill, and what comes after."""
        moment: After | Writing
        while True:
            self.place.fresh(self.case)
            if self.draw.random() < 0.5:
                moment = Writing(self.place.out, self.draw.randint(1, WRITES), self.draw.uniform(0, WRITE_S))
            else:
                moment = After(self.draw.uniform(0, self.took_s))
            if self.start().killed_when(moment):
                break
        self.kills += 1
        partial = [p.name for p in self.place.out.rglob(".*.tmp")]
        self.writing += bool(partial)
        if found := damaged(self.place.out, self.before, self.wanted):
            self.wrong.append(f"{self.name} killed {moment}: {', '.join(found)} is not whole")
        self.goes_on(str(moment))

    def goes_on(self, moment: str) -> None:
        """Calls it again."""
        child = self.start(*self.case.again)
        code, found = child.wait(), files(self.place.out)
        self.left |= {name for name in found if name.endswith(".tmp")}
        if code != self.case.code:
            self.wrong.append(f"{self.name} killed {moment}: the next call ends with {code}: {child.said()[-300:]}")
        elif found != self.wanted:
            names = [n for n in {*found, *self.wanted} if found.get(n) != self.wanted.get(n)]
            self.wrong.append(f"{self.name} killed {moment}: the next call gives another {', '.join(sorted(names))}")
        elif not self.wanted and child.said() != self.said:
            self.wrong.append(f"{self.name} killed {moment}: the next call says {child.said()[-300:]}")


def kill(n: int, seed: int, only: list[str], folder: Path) -> list[Killer]:
    """`n` kills of every command."""
    place, done = Place(folder), []
    for name in only:
        killer = Killer(place, name, random.Random(f"{seed} {name}"))
        for _ in range(n):
            killer.trial()
        done.append(killer)
        line = (
            f"{name:9} {killer.kills} kills in {killer.took_s:.1f} s each, {killer.writing} while a file was written, "
        )
        print(line + f"{len(killer.wrong)} wrong, left behind: {', '.join(killer.left) or 'nothing'}", flush=True)
        print("".join(f"  {line}\n" for line in killer.wrong), end="", flush=True)
    return done


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.kill_commands")
    options.add_argument("--n", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default=",".join(CASES), help="names of commands, with commas")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="auscult-kill-") as folder:
        done = kill(asked.n, asked.seed, asked.only.split(","), Path(folder))
    wrong = sum(len(killer.wrong) for killer in done)
    print(f"{sum(killer.kills for killer in done)} kills of {len(done)} commands, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
