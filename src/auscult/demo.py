"""`auscult demo`: the whole path on synthetic breath sounds, from files to a report, in a few minutes."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from .analysis import RESEARCH_ONLY
from .analysis.results import collect, write
from .analysis.tables import cycle_table, print_results, show
from .config import override
from .data.cycles import Corpus, Cycle
from .data.synthetic import Synthetic, make
from .errors import AuscultError
from .evaluate import evaluate
from .network import default_device
from .predict import load
from .progress import say
from .recipes import recipe
from .runs import Run, write_json
from .train import train

RECIPE = "demo"
SETTINGS: tuple[str, ...] = ()
CORPUS = Synthetic(patients=36, adventitious_db=8.0)
MARKER = "demo.json"  # says that this folder is ours to replace


def demo(out: Path, seed: int = 0) -> Run:
    """Makes the synthetic corpus, trains `RECIPE` on it, prints scores and one recording breath by breath.

    Args:
        out: corpus, run and report go here; an earlier demo there is replaced.

    Raises:
        AuscultError: E_SETTING when `out` holds anything but an earlier demo.
    """
    clear(out)
    with features_in(out / "features"):
        return _demo(out, seed)


@contextlib.contextmanager
def features_in(folder: Path) -> Iterator[None]:
    """Keeps the demo's features in its own folder: deleting that folder leaves nothing behind."""
    before = os.environ.get("AUSCULT_CACHE")
    os.environ["AUSCULT_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("AUSCULT_CACHE")
        if before is not None:
            os.environ["AUSCULT_CACHE"] = before


def _demo(out: Path, seed: int) -> Run:
    say(f"auscult demo. {RESEARCH_ONLY} The sounds are synthetic: scores say nothing about real lungs.")
    write_json(out / MARKER, {"recipe": RECIPE, "settings": SETTINGS, "seed": seed})
    say(f"1/4 synthetic breath sounds in the layout of ICBHI: {out / 'corpus'}")
    make(out / "corpus", replace(CORPUS, seed=seed))
    say(f"2/4 training {RECIPE} from nothing: {out / 'run'}")
    run = train(override(recipe(RECIPE), SETTINGS), "synthetic", out / "corpus", out / "run", seed=seed)
    say("3/4 scores on patients the model has never heard")
    stuff, weights, evaluations = evaluate(run, device=default_device())
    results = collect(run, stuff, weights, evaluations)
    console = Console()
    print_results(results, console)
    report = write(out, results)
    say("4/4 one test recording, breath by breath")
    console.print()
    show_recording(run, stuff.corpus, console)
    console.print(f"\nreport: {report}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"{RESEARCH_ONLY}", highlight=False)
    return run


def clear(out: Path) -> None:
    """Removes an earlier demo, whole or stopped half way; never anything else.

    Raises:
        AuscultError: E_SETTING.
    """
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file()):
        raise AuscultError("E_SETTING", f"--out {out} exists and is no earlier demo; name another folder.")
    for name in ("corpus", "features", "run"):
        if (out / name).is_dir():
            shutil.rmtree(out / name)


def show_recording(run: Run, corpus: Corpus, console: Console) -> None:
    """Classifies the test recording with the most classes, and prints truth and prediction side by side."""
    stem, cycles = richest(corpus)
    prediction = load(run.folder).predict(corpus.audio[stem])
    truth = [corpus.classes[c.label] for c in cycles]
    show(console, prediction.recording, cycle_table(prediction, truth))
    right = sum(c.label == t for c, t in zip(prediction.cycles, truth, strict=True))
    console.print(f"{right} of {len(truth)} cycles of this recording are right", highlight=False)


def richest(corpus: Corpus) -> tuple[str, list[Cycle]]:
    """The test recording in which most classes occur, and its cycles in order of time."""
    found: dict[str, list[Cycle]] = {}
    for cycle in corpus.cycles:
        if cycle.part in corpus.test_parts and cycle.recording in corpus.audio:
            found.setdefault(cycle.recording, []).append(cycle)
    stem = max(sorted(found), key=lambda name: len({c.label for c in found[name]}))
    return stem, sorted(found[stem], key=lambda c: c.start_s)
