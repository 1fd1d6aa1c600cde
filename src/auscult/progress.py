"""One way to show progress: a bar on a terminal, a plain line now and then elsewhere, always on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
PLAIN_EVERY_S = 15.0
_silent = False
_display: list[Callable[[str], object]] = []  # the last one shows what is being done, in the place of bars


def say(text: str) -> None:
    """A line for the person watching; stdout stays free for results."""
    if not _silent:
        print(text, file=sys.stderr, flush=True)


def be_silent() -> None:
    """From now on this process shows nothing: another one speaks for it."""
    global _silent
    _silent = True


@contextlib.contextmanager
def shown_by(display: Callable[[str], object]) -> Iterator[None]:
    """While the block runs `track` tells this display how far it is, and draws no bar of its own beside it."""
    _display.append(display)
    try:
        yield
    finally:
        _display.pop()


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yields `items` while showing how far it is; the bar goes when it is done.

    Args:
        label: what is being done, for instance ``epoch 3/12``.
        total: how many there are; None asks ``len(items)``.
    """
    total = len(items) if total is None else total  # type: ignore[arg-type]
    if _silent:
        yield from items
        return
    if _display:
        for done, item in enumerate(items, start=1):
            yield item
            _display[-1](f"{label}: {done} of {total}")
        return
    if not sys.stderr.isatty():
        yield from _plain(items, label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=label)


def _plain(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= PLAIN_EVERY_S and done < total:
            last = time.monotonic()
            say(f"  {label}: {done} of {total}")
