"""Which cycles train, which are held out to choose the epoch, and which are the test.

The official ICBHI split has two patients on both sides (156 and 218): 120 of its 2756 test cycles, 57 of its 143 test
"both" cycles. It stays the default, because every published number uses it; ``clean`` and ``strict`` say what that
costs. The official split hides a change of devices too: ``device:NAME`` shows what a model makes of a device that it
never heard.

No test part is ever used to choose anything. The validation part is made of whole training patients.

Source: official split: Rocha et al. 2019 (ICBHI). Clean split: the corrected split file of M2D2 (2,636 test cycles).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import AuscultError, unknown
from .cycles import Corpus

KINDS = ("official", "clean", "strict")
DEVICE = "device:"  # before the name of the device that is left out
# Each order of the patients gives one candidate, the best is kept. Measured over 12 seeds, share 0.2: with 1 order the
# size misses by up to 3.4 % of train and a class by 16 % (ICBHI); with 64 by 0.9 % and 3.5 %, in 0.08 s.
ORDERS = 64


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of `Corpus.cycles`; `tests` has one list for each test part."""

    train: list[int]
    validation: list[int]
    tests: dict[str, list[int]]


def check_kind(kind: str) -> str:
    """`kind`, if it names a split; whether a data set has the device of ``device:NAME`` is known when it is read.

    Raises:
        AuscultError: E_SETTING.
    """
    if kind not in KINDS and not (kind.startswith(DEVICE) and kind != DEVICE):
        raise unknown("split", kind, [*KINDS, f"{DEVICE}NAME"])
    return kind


def kinds_apart(corpus: Corpus) -> bool:
    """Whether ``clean`` and ``strict`` are other splits than ``official``: whether a patient is shared; see `split`."""
    return any(corpus.shared_patients(part) for part in set(corpus.test_parts).difference(corpus.seen_parts))


def split(corpus: Corpus, kind: str = "official", validation: float = 0.2, seed: int = 0) -> Split:
    """Divides the cycles of a corpus into train, validation and test rows.

    Four kinds. A *shared* patient has recordings both in train and in a test part, audio or not.

    - ``official``: the parts as published.
    - ``clean``: the test cycles of shared patients are left out. ICBHI: 4142 train, 2636 test cycles.
    - ``strict``: the train cycles of shared patients move to the test part, so that nothing is lost and nobody is on
      both sides. ICBHI: 4025 train, 2873 test cycles.
    - ``device:NAME``: one device is left out. Train: the cycles of the training part from all other devices, without
      those of patients who are tested. Test: the cycles of the test part from this device, all of them. What else the
      two parts hold goes nowhere. ICBHI, train and test cycles: AKGC417L 1632 and 1836, Litt3200 4066 and 461,
      Meditron 3132 and 459; LittC2SE has no test cycle.

    A test part in `Corpus.seen_parts` is there to measure patients seen in training (``intra`` of SPRSound, where all
    162 patients are in train). Its patients do not count as shared in any kind: ``clean`` would empty it, ``strict``
    would take two thirds of the training cycles.

    Args:
        kind: see above.
        validation: share of the training cycles to hold out, 0 to below 1; 0 gives an empty part. Patients are held
            out whole, so the share is met as closely as their sizes allow.
        seed: another seed holds out other patients; 0 or more.

    Raises:
        AuscultError: E_SETTING, for an unknown kind, a device that cannot be left out, a share or seed out of range, or
            too few patients to hold one out.
    """
    check_kind(kind)
    if not 0 <= validation < 1:
        raise AuscultError("E_SETTING", f"validation={validation}; a share of 0 to below 1 is needed, such as 0.2.")
    if seed < 0:
        raise AuscultError("E_SETTING", f"seed={seed}; 0 or a positive whole number is needed.")
    rows: dict[str, list[int]] = {part: [] for part in corpus.parts}
    for row, cycle in enumerate(corpus.cycles):
        rows[cycle.part].append(row)
    train, tests = rows[corpus.train_part], {part: rows[part] for part in corpus.test_parts}
    for part in set(corpus.test_parts).difference(corpus.seen_parts):
        shared = corpus.shared_patients(part)
        if kind == "clean":
            tests[part] = _without(corpus, tests[part], shared)
        elif kind == "strict":
            staying = _without(corpus, train, shared)
            tests[part] = sorted({*tests[part], *train} - set(staying))
            train = staying
    if kind.startswith(DEVICE):
        train, tests = _leave_device_out(corpus, train, tests, kind.removeprefix(DEVICE))
    held_out = draw_patients(corpus, train, validation, seed)
    return Split(
        train=_without(corpus, train, held_out),
        validation=[row for row in train if corpus.cycles[row].patient in held_out],
        tests=tests,
    )


def _leave_device_out(
    corpus: Corpus, train: list[int], tests: dict[str, list[int]], device: str
) -> tuple[list[int], dict[str, list[int]]]:
    """Train rows of the other devices, and test rows of this one; see `split`."""
    if device not in corpus.devices:
        raise unknown(f"device of {corpus.name}", device, corpus.devices)
    if len(corpus.devices) == 1:
        raise AuscultError(
            "E_SETTING", f"{corpus.name} has one device, {device}: without it nothing is left to learn from."
        )
    of_device = {part: [row for row in rows if corpus.cycles[row].device == device] for part, rows in tests.items()}
    if not any(of_device.values()):
        there = Counter(corpus.cycles[row].device for rows in tests.values() for row in rows)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(there.items())) or "none"
        raise AuscultError(
            "E_SETTING",
            f"no test cycle of {corpus.name} is from {device}, so it cannot be tested on. Devices with test cycles: "
            f"{listed}.",
        )
    unseen = [of_device[part] for part in tests if part not in corpus.seen_parts]
    tested = {corpus.cycles[row].patient for rows in unseen for row in rows}
    others = [row for row in _without(corpus, train, tested) if corpus.cycles[row].device != device]
    return others, of_device


def draw_patients(corpus: Corpus, train: list[int], share: float, seed: int) -> set[str]:
    """Patients to hold out so that their cycles are `share` of `train`, in each class and in all.

    Patients are tried in a random order; one joins if that brings the counts nearer to the target. Of a few such orders
    the nearest result is kept. Distance = chi-square: sum over the classes and over all cycles of (count - target)^2 /
    target, so that the rare classes weigh as much as the frequent ones.

    Source: a choice of this package; the literature has no validation part.

    Raises:
        AuscultError: E_SETTING, when no patient can be held out.
    """
    if share == 0:
        return set()
    names = sorted({corpus.cycles[row].patient for row in train})
    counts = np.zeros((len(names), len(corpus.classes) + 1))
    index = {name: i for i, name in enumerate(names)}
    for row in train:
        counts[index[corpus.cycles[row].patient], [corpus.cycles[row].label, -1]] += 1
    target = share * counts.sum(axis=0)
    generator = np.random.default_rng(seed)
    drawn = [_greedy(counts, target, generator.permutation(len(names))) for _ in range(ORDERS)]
    usable = [chosen for chosen in drawn if 0 < len(chosen) < len(names)]
    if not usable:
        raise AuscultError(
            "E_SETTING",
            f"validation={share} of {len(train)} training cycles of {len(names)} patients: no whole patient can be "
            "held out. Choose another share, or 0 to hold out none.",
        )
    best = min(usable, key=lambda chosen: _distance(counts[chosen].sum(axis=0), target))
    return {names[i] for i in best}


def _greedy(counts: NDArray[np.float64], target: NDArray[np.float64], order: NDArray[np.int64]) -> list[int]:
    chosen: list[int] = []
    total = np.zeros_like(target)
    for i in order.tolist():
        if _distance(total + counts[i], target) < _distance(total, target):
            chosen.append(i)
            total = total + counts[i]
    return chosen


def _distance(counts: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    present = target > 0
    return float((((counts - target)[present] ** 2) / target[present]).sum())


def _without(corpus: Corpus, rows: list[int], patients: set[str]) -> list[int]:
    return [row for row in rows if corpus.cycles[row].patient not in patients]
