"""Trackers beside metrics.jsonl: tensorboard where it is installed, the others that accelerate knows by name.

They only read what a run logs. Which one it was changes no result, so it is no part of the recipe.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from .config import flat
from .errors import AuscultError, unknown
from .progress import say
from .runs import FULL, Run, unwritten

NONE, DEFAULT = "none", "tensorboard"
PROJECT = "auscult"  # what a tracker that keeps many runs calls them


def chosen(name: str | None) -> str:
    """The name of a tracker that can be used; without a name tensorboard, or none where it is not installed.

    Raises:
        AuscultError: E_SETTING for an unknown one, or one that is not installed.
    """
    if name is None:
        return DEFAULT if find_spec(DEFAULT) else NONE
    if name == NONE:
        return NONE
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name not in LOGGER_TYPE_TO_CLASS:
        raise unknown("tracker", name, [NONE, *LOGGER_TYPE_TO_CLASS])
    if find_spec(name) is None:  # each is called by the module that it needs
        raise AuscultError(
            "E_SETTING",
            f"the tracker {name} is not installed; install it with: pip install {name.replace('_', '-')}. Or leave "
            "--track out: metrics.jsonl is written in any case.",
        )
    return name


@contextlib.contextmanager
def tracked(run: Run, name: str) -> Iterator[None]:
    """Sends every record that `run` logs to a tracker too, until the block is left.

    A tracker that fails on the way, with the network or the disk, is said and left out; the run goes on.
    Tensorboard's files lie in RUN/tensorboard: `tensorboard --logdir RUNS` shows all runs of a folder.

    Args:
        name: as `chosen` gives it.

    Raises:
        AuscultError: E_SETTING when the tracker does not start, E_DISK when it cannot write.
    """
    if name == NONE:
        yield
        return
    tracker, well = started(run, name), True

    def attempt(call: Callable[..., object], *words: Any, **named: Any) -> None:
        nonlocal well
        try:
            if well:
                call(*words, **named)
        except Exception as error:  # each tracker has errors of its own
            well = False
            say(f"the tracker {name} stopped: {error}; the training goes on without it")

    run.listeners.append(lambda record: attempt(tracker.log, numbers(record), step=record["epoch"]))
    with silent_threads(name):
        try:
            yield
        finally:
            run.listeners.pop()
            attempt(tracker.finish)


@contextlib.contextmanager
def silent_threads(module: str) -> Iterator[None]:
    """Threads of that module end without a traceback on the terminal; their error comes up at the next call."""
    before = threading.excepthook

    def hook(what: threading.ExceptHookArgs) -> None:
        if type(what.thread).__module__.partition(".")[0] != module:
            before(what)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def started(run: Run, name: str) -> Any:
    """A tracker of accelerate at work; those without a folder of their own get the settings of the run too."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    try:
        tracker = kind(name, str(run.folder)) if kind.requires_logging_directory else kind(PROJECT)
        tracker.start()
        if not kind.requires_logging_directory:
            tracker.store_init_configuration({"run": str(run.folder), **flat(run.settings())})
    except Exception as error:  # each tracker has errors of its own: no key, no server, no folder
        if isinstance(error, OSError) and error.errno in FULL:
            raise unwritten(run.folder / name, error) from error
        raise AuscultError("E_SETTING", f"the tracker {name} does not start: {error}. --track none goes on.") from error
    return tracker


def numbers(record: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Losses, scores, rates and times of a record of metrics.jsonl under names with slashes; no counts, no NaN.

    >>> numbers({"epoch": 1, "loss": {"ce": 0.5}, "test": {"Se": float("nan"), "normal": 3}, "lr": 0.1})
    {'loss/ce': 0.5, 'lr': 0.1}
    """
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, float) and math.isfinite(value):
            found[prefix + name] = value
    return found
