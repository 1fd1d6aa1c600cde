"""The disk is full at the n-th write, for every n: one plain line, the old files intact, then the same result.

    python -m tests.full_disk --only train,export --most 1000
    python -m tests.full_disk --tmpfs --only train

Every command is run with room for n writes, n = 0, 1, 2, ... until it has room enough; of a command with more than
`--most` writes (each tensor of a weights file is one) so many are tried, evenly. A write is a file made, a call of the
system, a sync, a rename, a new folder. It must end with code 1 and one line with E_DISK that names a file;
what lies under its own name must be the old file, the new one, or whole; and the next call, with room, must give what
one without trouble gives. With --tmpfs the disk is a real one of so many kilobytes (root, Linux). Exit code 1 where
that is not so.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from auscult.cli.app import run
from auscult.models import convert
from auscult.unpickle import rewrite

from .commands import CASES, Case, Place, damaged, files
from .disk import Disk, full

Words = list[str]
SIZES = 24
convert._in_a_process = rewrite  # a process of its own would not see the hook


def called(words: Words) -> tuple[int, str]:
    """Exit code, and what was said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = run(words)
    return code, said.getvalue()


class Filler:
    """Fills the disk under one command.

    Args:
        place: where it works.
        name: of a case.
    """

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.name = place, name
        self.case: Case = CASES[name]
        self.wrong: list[str] = []
        self.tried = 0
        place.fresh(self.case)
        self.before = files(place.out)
        with full(Disk(place.out)) as disk:
            code, said = called(self.case.words(place))
        assert code == self.case.code, said
        self.writes, self.wanted = disk.used, files(place.out)

    def trial(self, what: str, block: Callable[[], contextlib.AbstractContextManager[object]]) -> bool:
        """The command while the block fills the disk, then again; False where there was room enough."""
        self.place.fresh(self.case)
        with block():
            code, said = called(self.case.words(self.place))
            if code == self.case.code and "E_DISK" not in said:
                self.same(what, "with room enough")
                return False
            self.tried += 1
            self.refused(what, code, said)
        if found := damaged(self.place.out, self.before, self.wanted):
            self.wrong.append(f"{what}: {', '.join(found)} is not whole")
        code, said = called([*self.case.words(self.place), *self.case.again])
        if code != self.case.code:
            self.wrong.append(f"{what}: the next call ends with {code}: {said[-400:]}")
        else:
            self.same(what, "the next call")
        return True

    def refused(self, what: str, code: int, said: str) -> None:
        """One line that says all."""
        lines = [line for line in said.splitlines() if line.startswith("error ")]
        fine = len(lines) == 1 and lines[0].startswith("error E_DISK: ") and "No space left" in lines[0]
        named = any(str(folder) in "".join(lines) for folder in (self.place.out, self.place.out.resolve()))
        if code != 1 or not fine or not named or "Traceback" in said:
            self.wrong.append(f"{what}: ends with {code} and says {said[-400:]!r}")

    def same(self, what: str, when: str) -> None:
        """Compares with one without trouble."""
        found = files(self.place.out)
        names = sorted(n for n in {*found, *self.wanted} if found.get(n) != self.wanted.get(n))
        if names:
            self.wrong.append(f"{what}: {when} gives another {', '.join(names)}")


@contextlib.contextmanager
def small_disk(place: Place, kilobytes: int) -> Iterator[None]:
    """A file system of its own over `place.out`, so small; afterwards its files lie in the folder itself."""
    out, held = place.out, place.folder / "held"
    out.rename(held)
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "auscult", str(out)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{held}/.", str(out)], check=True)
        yield
        subprocess.run(["rm", "-rf", str(held)], check=True)
        subprocess.run(["cp", "-a", str(out), str(held)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)
        out.rmdir()
        held.rename(out)


def fill(filler: Filler, most: int) -> None:
    """Room for 0, 1, 2 ... writes, or `most` numbers of them."""
    for room in sorted({filler.writes * i // most for i in range(most)}):
        filler.trial(f"{filler.name} with room for {room} writes", lambda room=room: full(Disk(filler.place.out, room)))  # type: ignore[misc]


def fill_really(filler: Filler) -> None:
    """Disks of many sizes, up to what the files need together, and some more for the old ones beside the new."""
    most = sum(4 + len(content) // 1024 for content in filler.wanted.values())
    least = sum(4 + len(content) // 1024 for content in filler.before.values()) + 8
    for size in sorted({least + (most - least) * i // SIZES for i in range(SIZES + 1)}):
        filler.trial(
            f"{filler.name} on a disk of {size} kB",
            lambda size=size: small_disk(filler.place, size),  # type: ignore[misc]
        )


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.full_disk")
    options.add_argument("--only", default=",".join(name for name in CASES if name != "prepare"))
    options.add_argument("--most", type=int, default=80)
    options.add_argument("--tmpfs", action="store_true")
    asked = options.parse_args()
    wrong = tried = 0
    with tempfile.TemporaryDirectory(prefix="auscult-full-") as folder:
        place = Place(Path(folder))
        for name in asked.only.split(","):
            filler = Filler(place, name)
            if asked.tmpfs:
                fill_really(filler)
            else:
                fill(filler, asked.most)
            wrong, tried = wrong + len(filler.wrong), tried + filler.tried
            print(f"{name:9} {filler.writes} writes, {filler.tried} full disks, {len(filler.wrong)} wrong", flush=True)
            print("".join(f"  {line}\n" for line in filler.wrong), end="", flush=True)
    print(f"{tried} full disks, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
