"""Synthetic patients: who they are, how they breathe, and one recording of them as their stethoscope hears it.

Levels of crackles, wheezes and distractors are drawn against the loudness of the patient's breath, so that some are
plain and some barely audible.

Source: Pasterkamp, Kraman and Wodicka 1997, "Respiratory sounds: advances beyond the stethoscope" (fine crackles late
in inspiration, coarse ones early in it and in expiration; wheezes mostly in expiration).
"""

from dataclasses import dataclass

import numpy as np

from .synthetic_sounds import (
    COARSE,
    DEVICES,
    FINE,
    CrackleWidths,
    Wave,
    add,
    bins,
    breath_response,
    crackle,
    decibels,
    friction,
    heart_beat,
    hill,
    knock,
    shaped_noise,
    through_device,
    voice,
    wheeze,
)

# For each diagnosis the shares of normal, crackle, wheeze and both; dealt out in this order, so the first has all four.
DISEASES: dict[str, tuple[float, float, float, float]] = {
    "COPD": (0.32, 0.24, 0.20, 0.24),
    "Bronchiectasis": (0.40, 0.50, 0.00, 0.10),
    "Asthma": (0.45, 0.05, 0.40, 0.10),
    "Healthy": (1.00, 0.00, 0.00, 0.00),
    "Pneumonia": (0.45, 0.40, 0.05, 0.10),
}
BREATH_DB = -36.0  # RMS of inspiration at its height against full scale, for the average patient, before the device


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What stays the same over all recordings of one patient."""

    number: int
    part: str
    device: str
    disease: str
    age: int
    sex: str
    bmi: float
    breath_s: float
    loudness: float  # amplitude of inspiration at its height
    expiration: float  # amplitude of expiration against inspiration
    corner_hz: float
    order: float
    heart_s: float
    heart_db: float  # peak against the amplitude of inspiration
    widths: CrackleWidths
    wheeze_hz: float


@dataclass(frozen=True, kw_only=True)
class Breath:
    """One cycle: inspiration from `start_s` to `turn_s`, expiration to `rest_s`, a pause to `end_s`, and its class."""

    start_s: float
    turn_s: float
    rest_s: float
    end_s: float
    label: int


def draw_patient(generator: np.random.Generator, number: int, part: str, device: str, disease: str) -> Patient:
    """A patient with the given device and disease; the rest is drawn."""
    widths = FINE if generator.random() < 0.5 else COARSE
    stretch = generator.uniform(0.85, 1.15)
    return Patient(
        number=number,
        part=part,
        device=device,
        disease=disease,
        age=int(generator.integers(20, 86)),
        sex="F" if generator.random() < 0.5 else "M",
        bmi=float(generator.uniform(19, 35)),
        breath_s=generator.uniform(1.8, 3.8),
        loudness=decibels(BREATH_DB + generator.uniform(-5, 5)),
        expiration=generator.uniform(0.35, 0.75),
        corner_hz=generator.uniform(180, 420),
        order=generator.uniform(1.3, 2.2),
        heart_s=60 / generator.uniform(58, 105),
        heart_db=generator.uniform(-6, 8),
        widths=CrackleWidths(initial_s=widths.initial_s * stretch, two_cycle_s=widths.two_cycle_s * stretch),
        wheeze_hz=generator.uniform(150, 650),
    )


def labels(generator: np.random.Generator, patient: Patient, count: int) -> list[int]:
    """`count` classes in random order, in the proportions of the patient's disease (largest remainders)."""
    wanted = count * np.array(DISEASES[patient.disease])
    quota = np.floor(wanted).astype(int)
    short = np.argsort(quota - wanted, kind="stable")[: count - int(quota.sum())]
    quota[short] += 1
    return [int(label) for label in generator.permutation(np.repeat(np.arange(4), quota))]


def breaths(generator: np.random.Generator, patient: Patient, classes: list[int]) -> list[Breath]:
    """One cycle after the other, the first after a short lead-in. Times are whole milliseconds, as annotated."""
    made, now = [], float(generator.uniform(0.1, 0.5))
    for label in classes:
        length = float(np.clip(patient.breath_s * np.exp(generator.normal(0, 0.12)), 1.5, 4.5))
        inspiration, expiration = generator.uniform(0.36, 0.44), generator.uniform(0.36, 0.46)
        marks = [now, now + inspiration * length, now + (inspiration + expiration) * length, now + length]
        start, turn, rest, end = (round(m, 3) for m in marks)
        made.append(Breath(start_s=start, turn_s=turn, rest_s=rest, end_s=end, label=label))
        now = end
    return made


def _span(breath: Breath, inspiration: bool) -> tuple[float, float]:
    return (breath.start_s, breath.turn_s) if inspiration else (breath.turn_s, breath.rest_s)


def breath_noise(generator: np.random.Generator, patient: Patient, cycles: list[Breath], samples: int) -> Wave:
    """The breath alone: inspiration louder and brighter than expiration, rest between them. Shape: (samples,)."""
    rate_hz = DEVICES[patient.device].rate_hz
    hz = bins(samples, rate_hz)
    track = np.zeros(samples)
    for inspiration, level, corner in ((True, 1.0, 1.0), (False, patient.expiration, 0.8)):
        noise = shaped_noise(generator, samples, breath_response(hz, corner * patient.corner_hz, patient.order))
        for breath in cycles:
            first, last = (round(t * rate_hz) for t in _span(breath, inspiration))
            shape = hill(last - first, generator.uniform(0.8, 1.2)) * generator.uniform(0.8, 1.2)
            track[first:last] += level * patient.loudness * shape * noise[first:last]
    return track


def add_crackles(generator: np.random.Generator, patient: Patient, breath: Breath, track: Wave, db: float) -> None:
    """3 to 12 crackles: fine ones late in inspiration; coarse ones early in it and in expiration."""
    rate_hz = DEVICES[patient.device].rate_hz
    fine = patient.widths.two_cycle_s < 0.5 * (FINE.two_cycle_s + COARSE.two_cycle_s)
    level = patient.loudness * decibels(db + generator.uniform(8, 22)) * generator.choice([-1, 1])
    for _ in range(int(generator.integers(4, 13) if fine else generator.integers(3, 9))):
        inspiration = fine or generator.random() < 0.5
        start, end = _span(breath, inspiration)
        low, high = (0.5, 0.95) if fine else (0.1, 0.5) if inspiration else (0.1, 0.8)
        at = (start + generator.uniform(low, high) * (end - start)) * rate_hz
        sound = crackle(rate_hz, patient.widths, (at - int(at)) / rate_hz)
        add(track, sound, int(at), level * decibels(generator.uniform(-5, 0)))


def add_wheezes(generator: np.random.Generator, patient: Patient, breath: Breath, track: Wave, db: float) -> None:
    """One or two wheezes of 100 ms and more, three in four of them in expiration."""
    rate_hz = DEVICES[patient.device].rate_hz
    for _ in range(int(generator.integers(1, 3))):
        inspiration = generator.random() < 0.25
        start, end = _span(breath, inspiration)
        duration_s = generator.uniform(0.1, min(0.9, 0.9 * (end - start)))
        at_s = generator.uniform(start, end - duration_s)
        overtones = tuple(generator.uniform(0.05, 0.5, size=generator.integers(0, 3)))
        tone_hz = float(np.clip(patient.wheeze_hz * np.exp(generator.normal(0, 0.2)), 130, 850))
        tone = wheeze(rate_hz, duration_s, tone_hz, generator.uniform(-0.2, 0.2), generator.uniform(0, 8), overtones)
        add(track, tone, round(at_s * rate_hz), patient.loudness * decibels(db + generator.uniform(-12, 4)))


def add_distractors(
    generator: np.random.Generator, patient: Patient, breath: Breath, track: Wave, chance: float
) -> None:
    """Sounds that mean nothing: a knock, a rub, a bit of voice, each with `chance`, whatever the class of the cycle."""
    rate_hz = DEVICES[patient.device].rate_hz
    for sound, low_db, high_db in ((knock, 4, 18), (friction, 4, 16), (voice, -16, 0)):
        if generator.random() < chance:
            at = round(generator.uniform(breath.start_s, breath.end_s - 0.3) * rate_hz)
            gain = patient.loudness * decibels(generator.uniform(low_db, high_db))
            add(track, sound(generator, rate_hz), at, gain)


def add_heart(generator: np.random.Generator, patient: Patient, track: Wave) -> None:
    """Heart beats over the whole track, with a little variation from beat to beat."""
    rate_hz = DEVICES[patient.device].rate_hz
    beat = heart_beat(rate_hz, 0.3 * patient.heart_s + 0.05, generator.uniform(0.9, 1.1))
    at_s, gain = -generator.uniform(0, patient.heart_s), patient.loudness * decibels(patient.heart_db)
    while at_s * rate_hz < track.size:
        add(track, beat, round(at_s * rate_hz), gain * generator.uniform(0.85, 1.15))
        at_s += patient.heart_s * generator.uniform(0.96, 1.04)


def render(
    generator: np.random.Generator, patient: Patient, cycles: list[Breath], adventitious_db: float, distractors: float
) -> Wave:
    """One recording as its device hears it, within -1..1 and never clipped. Shape: (S,) at the device's rate."""
    device = DEVICES[patient.device]
    # Whole tenths of a second: sizes with small factors, for which the Fourier transforms are fast.
    samples = int(np.ceil((cycles[-1].end_s + generator.uniform(0.1, 0.5)) * 10)) * device.rate_hz // 10
    track = breath_noise(generator, patient, cycles, samples)
    for breath in cycles:
        if breath.label & 1:
            add_crackles(generator, patient, breath, track, adventitious_db)
        if breath.label & 2:
            add_wheezes(generator, patient, breath, track, adventitious_db)
        add_distractors(generator, patient, breath, track, distractors)
    add_heart(generator, patient, track)
    heard = through_device(generator, track, device)
    return heard * min(1.0, 0.95 / float(np.abs(heard).max()))
