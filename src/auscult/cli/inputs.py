"""Which files a command line means, and where its results may go."""

import os
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path

from ..analysis.spreadsheet import printable
from ..errors import AuscultError

Missing = tuple[str, str, str]
LONGEST = 220  # bytes of a name, without ending; file systems allow 255, and a file has a longer name until it is whole


def expand(paths: Iterable[Path]) -> tuple[list[Path], list[Missing]]:
    """Files named by files, folders (searched to the bottom) and patterns, each once, in a fixed order.

    Returns:
        The files, and a row (path, code, message) for each folder or pattern that names none. A file that does not
        exist is among the files: decoding it says so.
    """
    found: dict[str, Path] = {}
    missing: list[Missing] = []
    for path in paths:
        files = _files(path)
        found |= {real(file): file for file in files if real(file) not in found}
        if not files:
            what = "is a folder without audio files" if path.is_dir() else "matches no file"
            shown = printable(str(path))
            missing.append((shown, "E_NOT_A_FILE", f"{shown!r} {what}."))
    return list(found.values()), missing


def real(path: Path) -> str:
    """The path without links; a loop of links, which `Path.resolve` meets with a RuntimeError, stays as it is."""
    return os.path.realpath(path)


def _files(path: Path) -> list[Path]:
    from ..signal.io import AUDIO_SUFFIXES

    if path.is_dir():
        visible = (p for p in path.rglob("*") if not any(n.startswith(".") for n in p.relative_to(path).parts))
        return sorted(p for p in visible if p.suffix.lower() in AUDIO_SUFFIXES)
    if not path.exists() and has_magic(str(path)):
        named = glob(str(path), recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        return sorted(p for p in map(Path, named) if not p.is_dir())
    return [path]


def mirrored(files: Sequence[Path]) -> list[Path]:
    """Where what is made of each file goes, without ending: the tree below the folder that all of them share.

    >>> [str(p) for p in mirrored([Path("a/x.wav"), Path("a/b/x.flac"), Path("a/b/x.wav")])]
    ['x', 'b/x', 'b/x-2']
    """
    if not files:
        return []
    whole = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100  (a link keeps its own name)
    top = Path(os.path.commonpath([file.parent for file in whole]))
    found: dict[Path, None] = {}
    for file in whole:
        stem = place = shortened(file.relative_to(top).with_suffix(""))
        number = 1
        while place in found:
            number += 1
            place = stem.with_name(f"{stem.name}-{number}")
        found[place] = None
    return list(found)


def shortened(path: Path) -> Path:
    """The path with a name that can have an ending; a character that the cut splits is left out."""
    name = os.fsencode(path.name)
    return path if len(name) <= LONGEST else path.with_name(name[:LONGEST].decode(errors="ignore"))


def check_out(out: Path, files: Iterable[Path], overwrite: bool) -> None:
    """Refuses a results folder that has content, is no folder, or holds recordings.

    Raises:
        AuscultError: E_SETTING, E_DISK when it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise AuscultError("E_SETTING", f"--out {out} is a file; name a folder.")
    if any(Path(real(file)).parent == Path(real(out)) for file in files):
        raise AuscultError("E_SETTING", f"--out {out} holds recordings; results never go beside them. Name another.")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise AuscultError(
            "E_SETTING", f"--out {out} is not empty; name another folder, or pass --overwrite or --resume."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AuscultError("E_DISK", f"cannot make the folder {out}: {error.strerror}. Choose another.") from error
