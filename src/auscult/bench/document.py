"""The document of a benchmark: what was measured, where, and by which command."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import AuscultError
from ..runs import read_json
from . import machine
from .setting import Setting, State, load_average

FORMAT = 1


def document(bench: str, setting: Setting, state: State, *, options: dict[str, Any], **parts: Any) -> Any:
    """All of it, JSON-ready.

    Args:
        bench: name of the subcommand.
        state: what `prepare` gave.
        options: options beside those of `setting`; they stand in the command.
        parts: what was measured.
    """
    return {
        "bench": bench,
        "format": FORMAT,
        "command": command(bench, setting, options),
        "setting": asdict(setting),
        "options": options,
        "machine": machine.facts(setting, state),
        "load": [state.load, load_average()],
        **parts,
    }


def command(bench: str, setting: Setting, options: dict[str, Any]) -> str:
    """The command line that measures this again; folders are the reader's own, so they stand as PATH."""
    used = OPTIONS[bench]
    words = [
        f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"
        for name, value in asdict(setting).items()
        if name in used
    ]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name} PATH" if name in ("vmamba", "run") else f"--{name}")
        elif value is not False:
            words.append(f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}")
    return " ".join(["auscult bench", bench, *words])


NETWORK = ("size", "seconds", "batch", "threads", "precision", "device", "rounds")
OPTIONS = {
    "scan": NETWORK,
    "model": NETWORK,
    "train-step": NETWORK,
    "frontend": ("seconds", "threads", "rounds"),
    "predict": ("size", "threads", "device", "rounds"),
    "length": ("size", "threads", "precision", "device", "rounds"),
}


def read(path: Path) -> Any:
    """A document that `auscult bench ... --json` wrote.

    Raises:
        AuscultError: E_RUN when it is none.
    """
    found = read_json(path) if path.is_file() else None
    if not isinstance(found, dict) or found.get("bench") not in OPTIONS or found.get("format") != FORMAT:
        raise AuscultError("E_RUN", f"{path} is no file of format {FORMAT} written by `auscult bench ... --json`.")
    return found
