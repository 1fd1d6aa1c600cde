"""The one error type a user meets, each with a stable code, and the "did you mean" helper."""

import difflib
from collections.abc import Iterable
from typing import Literal

Code = Literal[
    "E_NOT_A_FILE",  # missing, a directory, a pipe, a device
    "E_FORMAT",  # no decoder knows it, or an absurd header
    "E_EMPTY",  # zero samples
    "E_TOO_SHORT",  # under 0.1 s
    "E_RATE",  # sample rate outside 1 kHz to 384 kHz
    "E_CORRUPT",  # starts well, then breaks
    "E_NONFINITE",  # NaN, Inf or absurdly large samples
    "E_ANNOTATION",  # an annotation file that cannot be trusted
    "E_DATA",  # a data set folder that is missing or laid out otherwise
    "E_SETTING",  # an unknown name, key or value
    "E_RUN",  # a run folder or weights file that cannot be used, or a process that died
    "E_DISK",  # nothing could be written
]


class AuscultError(Exception):
    """What went wrong with a user's input: the value, what is allowed, what to do next.

    Args:
        code: one of `Code`, stable between versions.
        message: one or two plain sentences.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message

    def __reduce__(self) -> "tuple[type[AuscultError], tuple[Code, str]]":
        return type(self), (self.code, self.message)  # else it cannot come back from another process

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


FEW = 30  # names that an error can list and still be read


def unknown(kind: str, value: str, allowed: Iterable[str]) -> AuscultError:
    """The error for a name that does not exist: says the nearest match, and what exists where that is short.

    >>> print(unknown("recipe", "das_nano", ["dass_nano", "dass_small"]))
    E_SETTING: no recipe named 'das_nano'. Did you mean 'dass_nano'? There are: dass_nano, dass_small.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(value, names, n=5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if len(names) <= FEW:
        return AuscultError("E_SETTING", f"no {kind} named {value!r}.{hint} There are: {', '.join(names)}.")
    others = f" Like it: {', '.join(near[1:])}." if near[1:] else ""
    return AuscultError("E_SETTING", f"no {kind} named {value!r}.{hint}{others} `auscult list` shows all {len(names)}.")
