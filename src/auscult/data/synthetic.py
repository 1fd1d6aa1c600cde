"""A synthetic corpus in the layout of ICBHI 2017: what `auscult demo` and the tests learn from. It has no real patient.

Everything is made by formula from a seed: the same settings give the same files, byte for byte. It is there to show
that the whole path works, from files to scores. A score on it says nothing about real lungs.

Each patient has a breath rate, a timbre, a heart rate, a stethoscope and a disease; the disease says how often a cycle
has crackles, wheezes or both. Knocks, rubs and bits of voice fall on all classes alike, so that neither "any click" nor
"any tone" gives the answer, and the adventitious sounds range from plain to barely audible.

Source: layout and class proportions: Rocha et al. 2019 (ICBHI 2017). The sounds' sources: `synthetic_sounds`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from ..config import spec, to_dict
from ..errors import AuscultError, unknown
from ..metrics import Task
from . import icbhi
from .cycles import Corpus
from .synthetic_patients import DISEASES, Breath, Patient, breaths, draw_patient, labels, render
from .synthetic_sounds import DEVICES, Wave

SITES = ("Tc", "Al", "Ar", "Pl", "Pr", "Ll", "Lr")
TASKS = (
    Task(name="synthetic 4-class", classes=icbhi.CLASSES, mapping=(0, 1, 2, 3)),
    Task(name="synthetic 2-class from 4-class", classes=("normal", "abnormal"), mapping=(0, 1, 1, 1)),
)
FIRST_PATIENT = 301  # ICBHI's own end at 226: no synthetic patient can be taken for a real one
DATABASE = "ICBHI_final_database"
SPLIT = "ICBHI_challenge_train_test.txt"
DIAGNOSES = "ICBHI_Challenge_diagnosis.csv"
DEMOGRAPHICS = "ICBHI_Challenge_demographic_information.txt"
NOTE = "README.txt"
README = """Synthetic breath sounds, made by formula by the Python package auscult (auscult.data.synthetic).

No real patient is in these files. They only share the layout of the ICBHI 2017 Respiratory Sound Database, which is
another thing and by other people. A score on them says nothing about real lungs. synthetic.json holds the settings that
made them; the same settings make the same files.
"""
ADVICE = "`auscult demo` makes a synthetic corpus; in Python: auscult.data.synthetic.make(folder)."
MARKER = "synthetic.json"  # the settings; also the sign that `make` may write over a folder


@spec("synthetic")
class Synthetic:
    """How much to make, and how hard.

    Args:
        patients: at least 2; each is wholly in train or wholly in test.
        recordings: per patient, each with `cycles` breathing cycles. At least 5 cycles per patient in all, so that all
            four classes are on both sides.
        devices: dealt to the patients in turn, on both sides of the split.
        train_fraction: share of the patients in train; each side keeps at least one.
        adventitious_db: added to the level of every crackle and wheeze; lower is harder, -200 takes them away.
        distractors: chance per cycle of each of knock, rub and voice, whatever the class.
    """

    seed: int = 0
    patients: int = 24
    recordings: int = 5
    cycles: int = 8
    devices: tuple[str, ...] = tuple(DEVICES)
    train_fraction: float = 0.6
    adventitious_db: float = 0.0
    distractors: float = 0.25

    def __post_init__(self) -> None:
        for name in self.devices:
            if name not in DEVICES:
                raise unknown("synthetic device", name, DEVICES)
        if not self.devices:
            raise ValueError(f"devices is empty; name some of {', '.join(DEVICES)}")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}; 0 or more is needed")
        if self.patients < 2 or min(self.recordings, self.cycles) < 1 or self.recordings * self.cycles < 5:
            raise ValueError(
                f"patients={self.patients}, recordings={self.recordings}, cycles={self.cycles}; "
                "at least 2 patients and 5 cycles each are needed for all classes on both sides"
            )
        if not 0 < self.train_fraction < 1 or not 0 <= self.distractors <= 1:
            raise ValueError(
                f"train_fraction={self.train_fraction}, distractors={self.distractors}; fractions of 1 are needed"
            )


DEFAULT = Synthetic()


def recordings(settings: Synthetic) -> Iterator[tuple[Patient, str, list[Breath], Wave]]:
    """The corpus, one recording at a time: its patient, the stem of its file name, its cycles and its waveform (S,).

    Each patient has a generator of their own, and devices and diseases are dealt in turn on each side of the split.
    """
    first_test = min(max(round(settings.train_fraction * settings.patients), 1), settings.patients - 1)
    for index in range(settings.patients):
        part, seat = ("train", index) if index < first_test else ("test", index - first_test)
        device, disease = settings.devices[seat % len(settings.devices)], list(DISEASES)[seat % len(DISEASES)]
        generator = np.random.default_rng([settings.seed, index])
        patient = draw_patient(generator, FIRST_PATIENT + index, part, device, disease)
        classes = labels(generator, patient, settings.recordings * settings.cycles)
        for number in range(settings.recordings):
            site = str(generator.choice(SITES))
            cycles = breaths(generator, patient, classes[number * settings.cycles : (number + 1) * settings.cycles])
            waveform = render(generator, patient, cycles, settings.adventitious_db, settings.distractors)
            yield patient, f"{patient.number}_1b{number + 1}_{site}_sc_{patient.device}", cycles, waveform


def make(folder: Path, settings: Synthetic = DEFAULT) -> Path:
    """Writes the corpus under `folder` and returns `folder`. Earlier files of `make` there are replaced.

    Raises:
        AuscultError: E_DATA, where the folder holds such files that `make` did not write; E_DISK, where nothing can
            be written.
    """
    folder = Path(folder)
    try:
        _clear(folder)
        (folder / DATABASE).mkdir(parents=True, exist_ok=True)
        (folder / MARKER).write_text(json.dumps(to_dict(settings), indent=2) + "\n")
        patients: dict[int, Patient] = {}
        split = []
        for patient, stem, cycles, waveform in recordings(settings):
            patients[patient.number] = patient
            split.append(f"{stem}\t{patient.part}\n")
            samples = np.round(waveform * 32767).astype(np.int16)
            soundfile.write(folder / DATABASE / f"{stem}.wav", samples, DEVICES[patient.device].rate_hz, "PCM_16")
            (folder / DATABASE / f"{stem}.txt").write_text("".join(map(_row, cycles)))
        (folder / SPLIT).write_text("".join(split))
        (folder / DIAGNOSES).write_text("ID,CLASS\n" + "".join(f"{p.number},{p.disease}\n" for p in patients.values()))
        (folder / DEMOGRAPHICS).write_text(
            "\n" + "".join(f"{p.number} {p.age} {p.sex} {p.bmi:.2f} NA NA\n" for p in patients.values())
        )
        (folder / NOTE).write_text(README)
    except (OSError, soundfile.SoundFileError) as error:
        raise AuscultError(
            "E_DISK", f"cannot write the synthetic corpus to {folder}: {error}. Choose another folder."
        ) from error
    return folder


def _row(breath: Breath) -> str:
    return f"{breath.start_s:.3f}\t{breath.end_s:.3f}\t{breath.label & 1}\t{breath.label >> 1}\n"


def _clear(folder: Path) -> None:
    """Removes an earlier corpus, so that no stale recording joins the new one; never files of somebody else."""
    if not (folder / MARKER).is_file():
        names = (DATABASE, SPLIT, DIAGNOSES, DEMOGRAPHICS, NOTE)
        there = [name for name in names if (folder / name).exists()]
        if there:
            raise AuscultError(
                "E_DATA", f"{folder} holds {', '.join(there)}, which are not synthetic. Choose an empty folder."
            )
    elif (folder / DATABASE).is_dir():
        for path in (folder / DATABASE).iterdir():
            path.unlink()


def read(folder: Path) -> Corpus:
    """The corpus that `make` wrote, as the ICBHI reader sees it, under its own name and with its own tasks.

    Raises:
        AuscultError: E_DATA, where the folder holds no synthetic corpus; else as the ICBHI reader.
    """
    return icbhi.read_folder(Path(folder), name="synthetic", tasks=TASKS, advice=ADVICE)
