"""Sounds that are no recording of breathing: silence, noise, hum, tones, speech, music, clicks, clipped sound.

All are made here from a kind and a seed, the same each time. Speech is a source-filter synthesis: a glottal wave with
a falling, wavering pitch through formants that glide from syllable to syllable, with fricatives, bursts, nasals and
pauses. Music is notes with overtones and envelopes, in melody, chords and bass, with drums.

Source: Rosenberg 1971 (glottal pulse); Klatt 1980 (cascade of resonators); Peterson and Barney 1952 (vowel formants).
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.signal import lfilter, resample_poly, sosfilt

Wave = NDArray[np.float64]
Generator = np.random.Generator

RATES_HZ = (4000, 8000, 10000, 16000, 22050, 44100, 48000)
INNER_HZ = 16000  # speech and music are made at this rate
COLOURS = {"white": 0.0, "pink": -1.0, "brown": -2.0, "blue": 1.0, "violet": 2.0}  # power goes with f ** this
# first three formants of a man's vowels in Hz; a fourth lies at 3.5 kHz
VOWELS = (
    (270, 2290, 3010),
    (390, 1990, 2550),
    (530, 1840, 2480),
    (660, 1720, 2410),
    (730, 1090, 2440),
    (570, 840, 2410),
    (440, 1020, 2240),
    (300, 870, 2240),
    (640, 1190, 2390),
    (490, 1350, 1690),
)
BANDWIDTHS_HZ = (70, 100, 140, 250)
STEP_S = 0.01  # formants move this often
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))


class Sound(NamedTuple):
    """One sound to refuse: its kind, its waveform (float32, full scale 1) and its sample rate in Hz."""

    kind: str
    waveform: NDArray[np.float32]
    sample_rate: int


def make(kind: str, seed: int, sample_rate: int | None = None, seconds: float | None = None) -> Sound:
    """The sound of a kind and a seed; rate (4 to 48 kHz) and length (3 to 6 s) are drawn unless they are given."""
    generator = np.random.default_rng([list(KINDS).index(kind), seed])
    drawn_rate, drawn_s = int(generator.choice(RATES_HZ)), generator.uniform(3, 6)
    rate = sample_rate or drawn_rate
    wave = KINDS[kind](generator, rate, round((seconds or drawn_s) * rate))
    return Sound(kind, to_16_bit(wave), rate)


def make_all(each: int, first_seed: int = 0) -> Iterator[Sound]:
    """`each` sounds of every kind."""
    for kind in KINDS:
        for seed in range(first_seed, first_seed + each):
            yield make(kind, seed)


def to_16_bit(wave: Wave) -> NDArray[np.float32]:
    """As a 16-bit file holds it; what is over full scale is clipped."""
    return (np.clip(np.round(wave * 2**15), -(2**15), 2**15 - 1) / 2**15).astype(np.float32)


def level(wave: Wave, db: float) -> Wave:
    """The wave with this RMS against full scale, but a peak of 0.99 at most."""
    gain = 10 ** (db / 20) / (np.sqrt(np.mean(wave**2)) + 1e-12)
    return wave * min(gain, 0.99 / (np.abs(wave).max() + 1e-12))


def coloured(generator: Generator, samples: int, slope: float) -> Wave:
    """Gaussian noise of RMS 1 whose power goes with f ** slope; nothing below 20 Hz of 44.1 kHz, in proportion."""
    return filtered(generator, samples, lambda f: np.maximum(f, 1e-3) ** (slope / 2))


def filtered(generator: Generator, samples: int, response: Callable[[Wave], Wave]) -> Wave:
    """Gaussian noise of RMS 1 of this response, given at frequencies from 0 to 1, half the rate."""
    size = next_fast_len(samples, real=True)
    spectrum = np.fft.rfft(generator.standard_normal(size))
    wave = np.fft.irfft(spectrum * response(np.linspace(0, 1, len(spectrum))), size)[:samples]
    return wave / wave.std()


def silence(generator: Generator, rate: int, samples: int) -> Wave:
    """Nothing, a constant, or the last bit flickering."""
    constant = generator.choice([0.0, 0.0, 0.02, -0.3])
    flicker = generator.choice([0.0, 0.4, 0.8]) / 2**15
    return constant + flicker * generator.standard_normal(samples)


def noise(generator: Generator, rate: int, samples: int) -> Wave:
    """Steady noise of a colour, from faint to loud."""
    slope = generator.choice(list(COLOURS.values()))
    return level(coloured(generator, samples, slope), generator.uniform(-75, -8))


def shaped_noise(generator: Generator, rate: int, samples: int) -> Wave:
    """Steady noise through a low-pass or a band-pass such as a device has: an untouched stethoscope."""
    low, high, order = generator.uniform(20, 120), generator.uniform(200, 1800), generator.integers(1, 5)
    top = rate / 2
    wave = filtered(
        generator, samples, lambda f: f * top / (f * top + low) / np.sqrt(1 + (f * top / high) ** (2 * order))
    )
    return level(wave, generator.uniform(-60, -15))


def hum(generator: Generator, rate: int, samples: int) -> Wave:
    """Mains hum of 50 or 60 Hz with overtones over faint noise."""
    t = np.arange(samples) / rate
    mains, parts = generator.choice([50, 60]), np.zeros(samples)
    for n in range(1, generator.integers(3, 20)):
        if n * mains < rate / 2:
            parts += generator.uniform(0.1, 1) / n * np.sin(2 * np.pi * n * mains * t + generator.uniform(0, 6))
    faint = 10 ** (generator.uniform(-60, -30) / 20) * coloured(generator, samples, -1)
    return level(parts / parts.std() + faint, generator.uniform(-45, -10))


def tones(generator: Generator, rate: int, samples: int) -> Wave:
    """A test tone, a sweep, a siren, or the on and off of a telephone."""
    t = np.arange(samples) / rate
    top = min(rate / 2.5, 3000)
    kind, base = generator.integers(4), generator.uniform(150, top / 2)
    if kind == 0:
        wave = np.sin(2 * np.pi * base * t)
    elif kind == 1:
        wave = np.sin(2 * np.pi * np.cumsum(np.geomspace(100, top, samples)) / rate)
    elif kind == 2:
        wave = np.sin(
            2 * np.pi * np.cumsum(base * (1 + 0.5 * np.sin(2 * np.pi * generator.uniform(0.3, 4) * t))) / rate
        )
    else:
        wave = (np.sin(2 * np.pi * 440 * t) + np.sin(2 * np.pi * 480 * t)) * (t % 1.5 < generator.uniform(0.3, 1.2))
    return level(wave, generator.uniform(-35, -6)) + 10 ** (-65 / 20) * generator.standard_normal(samples)


def clicks(generator: Generator, rate: int, samples: int) -> Wave:
    """Clicks, regular or at random, over silence or faint steady noise."""
    wave = np.zeros(samples)
    count = max(3, round(samples / rate * generator.uniform(1, 12)))
    regular = generator.random() < 0.5
    places = np.linspace(0, samples - 1, count).astype(int) if regular else generator.integers(0, samples, count)
    wave[places] = generator.uniform(0.3, 1, count) * generator.choice([-1, 1], count)
    ring_hz, decay_s = generator.uniform(200, 0.4 * rate), generator.uniform(3e-4, 4e-3)
    t = np.arange(round(8 * decay_s * rate) + 1) / rate
    wave = np.convolve(wave, np.exp(-t / decay_s) * np.cos(2 * np.pi * ring_hz * t))[:samples]
    faint = 10 ** (generator.uniform(-90, -50) / 20) * generator.standard_normal(samples)
    return 0.9 * generator.uniform(0.1, 1) * wave / np.abs(wave).max() + faint


def clipped(generator: Generator, rate: int, samples: int) -> Wave:
    """Noise that comes and goes as breath does, recorded far too loud: a good part of it stands at full scale."""
    top, high = rate / 2, generator.uniform(200, 500)
    wave = filtered(generator, samples, lambda f: f * top / (f * top + 80) / (1 + (f * top / high) ** 3))
    t = np.arange(samples) / rate
    wave *= 0.15 + np.abs(np.sin(np.pi * generator.uniform(0.2, 0.6) * t)) ** 2
    return generator.uniform(1.5, 8) * wave / wave.std()


def speech(generator: Generator, rate: int, samples: int) -> Wave:
    """Somebody talks into the microphone: a man, a woman or a child, in a quiet or less quiet room."""
    talk = talking(generator, math.ceil(samples / rate * INNER_HZ))
    wave = to_rate(talk, rate, samples)
    room = 10 ** (-generator.uniform(20, 60) / 20) * coloured(generator, samples, -1)
    return level(wave / wave.std() + room, generator.uniform(-35, -12))


def music(generator: Generator, rate: int, samples: int) -> Wave:
    """A band: melody, chords and bass on one scale, with or without drums."""
    size = math.ceil(samples / rate * INNER_HZ)
    beat_s, root = 60 / generator.uniform(70, 160), generator.integers(40, 58)
    scale = SCALES[generator.integers(len(SCALES))]
    wave = generator.uniform(0.3, 1) * melody(generator, size, beat_s, root + 24, scale)
    wave += generator.uniform(0, 1) * chords(generator, size, beat_s, root + 12, scale)
    wave += generator.uniform(0, 1) * melody(generator, size, 2 * beat_s, root - 12, scale)
    wave += generator.choice([0, 0.5, 1.0]) * drums(generator, size, beat_s)
    return level(to_rate(wave, rate, samples), generator.uniform(-35, -12))


KINDS: dict[str, Callable[[Generator, int, int], Wave]] = {
    "silence": silence,
    "noise": noise,
    "shaped noise": shaped_noise,
    "hum": hum,
    "tones": tones,
    "clicks": clicks,
    "clipped": clipped,
    "speech": speech,
    "music": music,
}


def to_rate(wave: Wave, rate: int, samples: int) -> Wave:
    """From the inner rate to another."""
    common = math.gcd(rate, INNER_HZ)
    return resample_poly(wave, rate // common, INNER_HZ // common)[:samples]


def talking(generator: Generator, samples: int) -> Wave:
    """Sentences of syllables at the inner rate, at 3 to 6 syllables a second."""
    voice_hz = generator.choice([110, 125, 200, 220, 280]) * generator.uniform(0.85, 1.15)
    stretch = 1.0 if voice_hz < 160 else generator.uniform(1.1, 1.3)  # shorter vocal tract, higher formants
    pace = generator.uniform(3, 6)
    steps = samples // round(STEP_S * INNER_HZ) + 1
    pitch, voiced, rough = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    formants = np.tile([500.0, 1500.0, 2500.0, 3500.0], (steps, 1))
    at = 0
    while at < steps:
        count = generator.integers(3, 12)
        for number in range(count):
            length = max(8, round(generator.uniform(0.7, 1.4) / pace / STEP_S))
            span = slice(at, min(at + length, steps))
            syllable(generator, pitch, voiced, rough, formants, span, stretch)
            pitch[span] = voice_hz * (1.15 - 0.3 * number / count) * generator.uniform(0.93, 1.07)
            at += length
            if at >= steps:
                break
        at += round(generator.uniform(0.15, 0.8) / STEP_S)  # a pause
    return vocal_tract(generator, samples, pitch, voiced, rough, smooth(formants, 7))


def syllable(
    generator: Generator, pitch: Wave, voiced: Wave, rough: Wave, formants: Wave, span: slice, stretch: float
) -> None:
    """Writes one syllable: nothing, a fricative, a burst or a nasal, then a vowel or a diphthong."""
    size = span.stop - span.start
    start = round(size * generator.uniform(0, 0.35))
    vowel, second = generator.integers(len(VOWELS), size=2)
    path = np.linspace(0, generator.choice([0, 0, 1]), size)[:, None]
    formants[span, :3] = stretch * ((1 - path) * VOWELS[vowel] + path * VOWELS[second])
    hill = np.sin(np.pi * (np.arange(size - start) + 0.7) / (size - start + 0.4)) ** 0.5
    voiced[span.start + start : span.stop] = generator.uniform(0.5, 1) * hill
    onset = generator.integers(4)
    if onset == 1:
        rough[span.start : span.start + start] = generator.uniform(0.05, 0.4)
    elif onset == 2 and start:
        rough[span.start + start - 1] = generator.uniform(0.3, 1)
    elif onset == 3:
        voiced[span.start : span.start + start] = 0.25
        formants[span.start : span.start + start] = (280, 1000, 2200, 3500)


def vocal_tract(generator: Generator, samples: int, pitch: Wave, voiced: Wave, rough: Wave, formants: Wave) -> Wave:
    """Glottal wave and frication through four resonators whose state goes on from step to step."""
    hop = round(STEP_S * INNER_HZ)
    times = np.arange(samples) / hop
    grid = np.arange(len(pitch))
    held = np.interp(times, grid[pitch > 0], smooth(pitch[pitch > 0, None], 9)[:, 0])
    jitter = 1 + 0.01 * np.interp(times, grid, generator.standard_normal(len(grid)))
    phase = np.cumsum(held * jitter) / INNER_HZ % 1
    glottis = np.where(phase < 0.4, 0.5 * (1 - np.cos(np.pi * phase / 0.4)), 0.0)
    glottis = np.where((phase >= 0.4) & (phase < 0.56), np.cos(0.5 * np.pi * (phase - 0.4) / 0.16), glottis)
    flow = np.diff(glottis, prepend=0) * np.interp(times, grid, voiced)
    breath = generator.standard_normal(samples) * np.interp(times, grid, voiced)
    source = flow + 0.002 * breath
    wave, state = np.zeros(samples), np.zeros((4, 2))
    for i in range(0, samples, hop):
        wave[i : i + hop], state = sosfilt(resonators(formants[i // hop]), source[i : i + hop], zi=state)
    hiss = lfilter([1, -0.9], [1], generator.standard_normal(samples)) * np.interp(times, grid, rough)
    return wave / wave.std() + 0.5 * hiss


def resonators(formants_hz: Wave) -> Wave:
    """Second-order sections of resonators with gain 1 at 0 Hz. Shape: (4, 6)."""
    radius = np.exp(-np.pi * np.array(BANDWIDTHS_HZ) / INNER_HZ)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * np.minimum(formants_hz, 7000) / INNER_HZ), radius**2
    zero = np.zeros(4)
    return np.stack([1 + a1 + a2, zero, zero, zero + 1, a1, a2], axis=1)


def smooth(rows: Wave, width: int) -> Wave:
    """A running mean down each column. Shape: as `rows`."""
    padded = np.pad(rows, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, np.full(width, 1 / width), "valid") for column in padded.T], axis=1)


def note(generator: Generator, midi: float, seconds: float, overtones: Wave, decay_s: float) -> Wave:
    """One note at the inner rate: overtones that die away, high ones faster."""
    t = np.arange(round(seconds * INNER_HZ)) / INNER_HZ
    base = 440 * 2 ** ((midi - 69) / 12)
    wave = np.zeros_like(t)
    for n, amplitude in enumerate(overtones, start=1):
        if n * base < 0.45 * INNER_HZ:
            wave += amplitude * np.sin(2 * np.pi * n * base * t) * np.exp(-t * n**0.5 / decay_s)
    ends = np.minimum(1, np.minimum(t, seconds - t) / 0.008)
    return wave * ends


def melody(generator: Generator, samples: int, beat_s: float, root: int, scale: tuple[int, ...]) -> Wave:
    """One voice that walks up and down a scale."""
    wave, at, place = np.zeros(samples), 0, int(generator.integers(len(scale)))
    overtones = generator.uniform(0.2, 1, 8) / np.arange(1, 9) ** generator.uniform(0.5, 1.5)
    decay_s = generator.choice([0.2, 0.6, 3.0])
    while at < samples:
        length = beat_s * generator.choice([0.25, 0.5, 1, 2])
        place = int(np.clip(place + generator.integers(-2, 3), 0, 2 * len(scale) - 1))
        sound = note(
            generator, root + scale[place % len(scale)] + 12 * (place // len(scale)), length, overtones, decay_s
        )
        if generator.random() > 0.1:
            wave[at : at + len(sound)] += sound[: samples - at]
        at += len(sound)
    return wave


def chords(generator: Generator, samples: int, beat_s: float, root: int, scale: tuple[int, ...]) -> Wave:
    """Three notes at a time, a new chord every two or four beats."""
    wave, at = np.zeros(samples), 0
    overtones = generator.uniform(0.2, 1, 6) / np.arange(1, 7)
    while at < samples:
        length, step = beat_s * generator.choice([2, 4]), int(generator.integers(len(scale)))
        for third in (0, 2, 4):
            tone = scale[(step + third) % len(scale)] + 12 * ((step + third) // len(scale))
            sound = note(generator, root + tone, length, overtones, 3.0)
            wave[at : at + len(sound)] += 0.5 * sound[: samples - at]
        at += round(length * INNER_HZ)
    return wave


def drums(generator: Generator, samples: int, beat_s: float) -> Wave:
    """Bass drum, snare and hi-hat in four-four time."""
    wave = np.zeros(samples)
    t = np.arange(round(0.25 * INNER_HZ)) / INNER_HZ
    bass = np.sin(2 * np.pi * (50 * t + 8 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.08)
    snare = generator.standard_normal(len(t)) * np.exp(-t / 0.05) + np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.06)
    hat = np.diff(generator.standard_normal(len(t)), prepend=0) * np.exp(-t / 0.02)
    for number, start_s in enumerate(np.arange(0, samples / INNER_HZ, beat_s / 2)):
        at = round(start_s * INNER_HZ)
        hit = 0.2 * hat + (bass if number % 4 == 0 else 0.5 * snare if number % 4 == 2 else 0)
        wave[at : at + len(t)] += hit[: samples - at]
    return wave
