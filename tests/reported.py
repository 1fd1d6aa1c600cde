"""The evaluation of an untrained model on a tiny synthetic corpus, for the tests of what is printed and written."""

from pathlib import Path

import pytest

from auscult.analysis.results import Results, collect
from auscult.config import override
from auscult.data.synthetic import Synthetic, make
from auscult.evaluate import evaluate
from auscult.recipes import recipe
from auscult.runs import environment, write_json

from .untrained import untrained_run


def make_results(folder: Path) -> Results:
    """What was found in a run folder with random weights and two records of a training that never was."""
    corpus = make(folder / "corpus", Synthetic(patients=4, recordings=1, cycles=5))
    tiny = override(recipe("dass_nano"), ["clip.length_s=1.0", "selection=last", "validation=0"])
    run = untrained_run(folder / "run", tiny, corpus)
    write_json(run.folder / "environment.json", environment())
    for epoch in (1, 2):
        run.log({"epoch": epoch, "loss": {"ce": 1.0 / epoch}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUSCULT_CACHE", str(folder / "cache"))
        return collect(run, *evaluate(run))
