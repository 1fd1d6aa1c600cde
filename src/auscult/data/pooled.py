"""ICBHI 2017 and SPRSound as one data set of four classes: what the model in the package learns from.

The folder holds both, each as its own reader wants it::

    DIR/icbhi/      see `icbhi`
    DIR/sprsound/   see `sprsound`

The classes of SPRSound become those of ICBHI by the label map ``qlung`` (`label_maps`). A patient belongs to one data
set, so nobody is on both sides that was not before; official parts stay what they were.
"""

from dataclasses import replace
from pathlib import Path

from ..errors import AuscultError
from ..metrics import Task
from . import icbhi, sprsound
from .cycles import Corpus, Cycle, Problem, require_folder
from .label_maps import label_map

MAP = "qlung"
_TWO = ("normal", "abnormal")
TASKS = (
    Task(name="SPRSound task 1-1", classes=_TWO, mapping=(0, 1, 1, 1), formula="sprsound", decide="group"),
    Task(name="4-class", classes=icbhi.CLASSES, mapping=(0, 1, 2, 3)),
    Task(name="2-class from 4-class", classes=_TWO, mapping=(0, 1, 1, 1)),
)
PARTS = {"sprsound": {"inter": "inter", "intra": "intra"}, "icbhi": {"test": "icbhi_test"}}
ADVICE = "It needs a folder `icbhi` and a folder `sprsound` in it, each with its data set."


def read(folder: Path) -> Corpus:
    """Both corpora as one; the test parts are ``inter`` and ``intra`` of SPRSound and ``icbhi_test``.

    Raises:
        AuscultError: E_DATA, for a folder that is missing, or where one of the two is laid out otherwise.
    """
    folder = Path(folder)
    require_folder(folder, "pooled", ADVICE)
    both = [_as_four(sprsound.read(folder / "sprsound")), _as_four(icbhi.read(folder / "icbhi"))]
    twice = sorted(both[0].recordings.keys() & both[1].recordings.keys())
    if twice:
        raise AuscultError(
            "E_DATA", f"{len(twice)} recordings are in both data sets, for instance {twice[0]}. {ADVICE}"
        )
    cycles: list[Cycle] = []
    problems: list[Problem] = []
    audio: dict[str, Path] = {}
    recordings: dict[str, str] = {}
    patients: dict[str, str] = {}
    for corpus in both:
        cycles += corpus.cycles
        problems += corpus.problems
        audio |= corpus.audio
        recordings |= corpus.recordings
        patients |= corpus.recording_patients
    return Corpus(
        name="pooled",
        classes=icbhi.CLASSES,
        cycles=tuple(cycles),
        audio=audio,
        recordings=recordings,
        tasks=TASKS,
        test_parts=("inter", "intra", "icbhi_test"),
        problems=tuple(problems),
        seen_parts=("intra",),
        recording_patients=patients,
    )


def _as_four(corpus: Corpus) -> Corpus:
    """A corpus in the classes and parts of this one; its name stands before each patient's."""
    places, parts = label_map(MAP).places(corpus.classes, corpus.name), PARTS[corpus.name]
    kept: list[Cycle] = []
    for cycle in corpus.cycles:
        place = places[cycle.label]
        if place is not None:
            part, patient = parts.get(cycle.part, cycle.part), f"{corpus.name} {cycle.patient}"
            kept.append(replace(cycle, label=place, part=part, patient=patient))
    return replace(
        corpus,
        cycles=tuple(kept),
        recordings={stem: parts.get(part, part) for stem, part in corpus.recordings.items()},
        recording_patients={stem: f"{corpus.name} {name}" for stem, name in corpus.recording_patients.items()},
    )
