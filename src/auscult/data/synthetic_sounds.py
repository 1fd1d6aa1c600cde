"""The physics of one sound: breath noise, heart beats, crackles, wheezes, handling noises, and the device in between.

Every function gives a short waveform of shape (S,) at the sample rate it is asked for. Nothing here knows of patients,
labels or files. Randomness comes from the generator that is passed in.

The figures are those by which clinicians tell the sounds apart; the formulas are simulations, not recordings.

Source: American Thoracic Society 1977 and Vannuccini et al. 2000, "Capturing and preprocessing of respiratory sounds"
(widths of crackles); Kiyokawa et al. 2001, "Auditory detection of simulated crackles in breath sounds" (their formula);
Pasterkamp, Kraman and Wodicka 1997, "Respiratory sounds: advances beyond the stethoscope" (spectra, wheezes).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CrackleWidths:
    """Initial deflection width (to the first zero crossing) and two-cycle duration (to the fourth), in seconds."""

    initial_s: float
    two_cycle_s: float


FINE = CrackleWidths(initial_s=0.7e-3, two_cycle_s=5e-3)
COARSE = CrackleWidths(initial_s=1.5e-3, two_cycle_s=10e-3)


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a stethoscope does to a sound.

    Args:
        rate_hz: sample rate of its files.
        low_hz, high_hz: -3 dB points of its band; above `high_hz` the response falls by 48 dB per octave.
        gain_db: level of its recordings.
        noise_db: its own noise over the whole band, before the gain, against full scale.
        noise_slope: the noise power falls as 1 / f ** noise_slope; 0 is white, 1 pink, 2 brown.
    """

    rate_hz: int
    low_hz: float
    high_hz: float
    gain_db: float
    noise_db: float
    noise_slope: float


# ICBHI's four devices by name; their bands and noises are invented, but as far apart as those of the real recordings.
DEVICES: dict[str, Device] = {
    "AKGC417L": Device(rate_hz=10000, low_hz=30, high_hz=3000, gain_db=0, noise_db=-62, noise_slope=0.0),
    "LittC2SE": Device(rate_hz=4000, low_hz=50, high_hz=1000, gain_db=4, noise_db=-66, noise_slope=1.0),
    "Litt3200": Device(rate_hz=4000, low_hz=20, high_hz=1500, gain_db=8, noise_db=-68, noise_slope=0.5),
    "Meditron": Device(rate_hz=8000, low_hz=20, high_hz=2200, gain_db=-4, noise_db=-58, noise_slope=1.5),
}


def crackle(rate_hz: int, widths: CrackleWidths, offset_s: float = 0.0) -> Wave:
    """One crackle: two cycles that widen as they go, with a smooth envelope. Peak about 1. Shape: (S,).

    With u = t / two_cycle_s in 0..1: ``sin(4 pi u**a) * (1 + cos(2 pi (sqrt(u) - 1/2))) / 2``, where ``a`` puts the
    first zero crossing at `initial_s`. The crackle begins `offset_s` (below one sample) after the first sample.

    >>> crackle(8000, FINE).shape
    (41,)

    Source: Kiyokawa et al. 2001, simulated crackle.
    """
    if not 0 < widths.initial_s < widths.two_cycle_s:
        raise ValueError(f"a crackle needs 0 < initial_s < two_cycle_s, not {widths}")
    count = math.ceil((offset_s + widths.two_cycle_s) * rate_hz) + 1
    u = np.clip((np.arange(count) / rate_hz - offset_s) / widths.two_cycle_s, 0.0, 1.0)
    power = math.log(0.25) / math.log(widths.initial_s / widths.two_cycle_s)
    return np.sin(4 * np.pi * u**power) * 0.5 * (1 + np.cos(2 * np.pi * (np.sqrt(u) - 0.5)))


def wheeze(
    rate_hz: int,
    duration_s: float,
    fundamental_hz: float,
    drift: float = 0.0,
    vibrato_hz: float = 0.0,
    overtones: tuple[float, ...] = (),
) -> Wave:
    """One wheeze: a tone with harmonics, slow drift and soft ends, RMS about 1 in its middle. Shape: (S,).

    Args:
        drift: the fundamental goes from ``1 - drift / 2`` to ``1 + drift / 2`` times `fundamental_hz`.
        vibrato_hz: peak deviation of a wavering at 3 Hz on top of the drift.
        overtones: amplitudes of the second, third, ... harmonic against the first. Those above Nyquist are left out.

    >>> wheeze(8000, 0.25, 400.0).shape
    (2000,)

    Source: Pasterkamp et al. 1997: sinusoidal, 100 to 1000 Hz, at least 80 to 100 ms.
    """
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    frequency = fundamental_hz * (1 + drift * (t / duration_s - 0.5)) + vibrato_hz * np.sin(2 * np.pi * 3 * t)
    phase = 2 * np.pi * np.cumsum(frequency) / rate_hz
    highest = float(frequency.max(initial=fundamental_hz))
    partials = [(n, a) for n, a in enumerate((1.0, *overtones), start=1) if n * highest < 0.5 * rate_hz]
    tone = sum((a * np.sin(n * phase) for n, a in partials), np.zeros_like(t))
    rms = math.sqrt(sum(a * a for _, a in partials) / 2) or 1.0
    return tone / rms * soft_ends(t.size, rate_hz, min(0.04, duration_s / 3))


def soft_ends(samples: int, rate_hz: int, ramp_s: float) -> Wave:
    """A window of ones whose ends rise and fall as half a Hann window over `ramp_s`. Shape: (S,)."""
    ramp = min(samples // 2, round(ramp_s * rate_hz))
    window = np.ones(samples)
    rise = np.sin(0.5 * np.pi * (np.arange(ramp) + 0.5) / max(ramp, 1)) ** 2
    window[:ramp], window[samples - ramp :] = rise, rise[::-1]
    return window


def heart_beat(rate_hz: int, systole_s: float, pitch: float = 1.0) -> Wave:
    """One beat: the longer, lower first sound and, `systole_s` later, the second. Peak about 1. Shape: (S,).

    `pitch` scales its tones, which lie between 30 and 110 Hz when it is 1.
    """
    t = np.arange(round((systole_s + 0.16) * rate_hz)) / rate_hz

    def thump(centre_s: float, width_s: float, tones_hz: tuple[float, ...]) -> Wave:
        envelope = np.exp(-(((t - centre_s) / width_s) ** 2))
        tones = [np.cos(2 * np.pi * f * pitch * (t - centre_s)) for f in tones_hz]
        return envelope * sum(tones, np.zeros_like(t)) / len(tones)

    return thump(0.07, 0.032, (35.0, 55.0, 80.0)) + 0.7 * thump(0.07 + systole_s, 0.022, (55.0, 75.0, 110.0))


def shaped_noise(generator: np.random.Generator, samples: int, response: Wave) -> Wave:
    """Gaussian noise of RMS 1 whose spectrum follows `response`, given at the ``samples // 2 + 1`` bins of `bins`."""
    noise = np.fft.irfft(np.fft.rfft(generator.standard_normal(samples)) * response, samples)
    return noise / (noise.std() + 1e-12)


def bins(samples: int, rate_hz: int) -> Wave:
    """The frequencies of a real Fourier transform in Hz, the first bin nudged off zero. Shape: (samples // 2 + 1,)."""
    hz = np.fft.rfftfreq(samples, 1 / rate_hz).astype(np.float64)
    hz[0] = 0.5 * rate_hz / samples
    return hz


def breath_response(hz: Wave, corner_hz: float, order: float) -> Wave:
    """The spectrum of breath noise heard through the chest: from 80 Hz, and falling above `corner_hz`.

    Its amplitude falls by ``6 * order`` dB per octave well above the corner.

    Source: Pasterkamp et al. 1997: lung sounds 100 to 1000 Hz, a sharp fall above 100 to 200 Hz.
    """
    high_pass = 1 / np.sqrt(1 + (80.0 / hz) ** 6)
    return high_pass / np.sqrt(1 + (hz / corner_hz) ** (2 * order))


def hill(samples: int, lean: float) -> Wave:
    """Loudness over one breath phase: from zero over one smooth hill to zero. Shape: (samples,).

    `lean` below 1 puts the top early, above 1 late; 1 in the middle.
    """
    return np.sin(np.pi * ((np.arange(samples) + 0.5) / samples) ** lean) ** 1.5


def friction(generator: np.random.Generator, rate_hz: int) -> Wave:
    """The stethoscope rubs on skin or cloth: 40 to 250 ms of rough noise. Peak about 1. Shape: (S,)."""
    samples = round(generator.uniform(0.04, 0.25) * rate_hz)
    hz = bins(samples, rate_hz)
    noise = shaped_noise(generator, samples, 1 / np.sqrt(1 + (hz / generator.uniform(150, 500)) ** 2))
    return 0.35 * noise * np.hanning(samples)


def knock(generator: np.random.Generator, rate_hz: int) -> Wave:
    """Something touches the device: a click that starts at once and dies away in 3 to 15 ms. Peak about 1."""
    decay_s = generator.uniform(0.001, 0.005)
    t = np.arange(round(6 * decay_s * rate_hz)) / rate_hz
    ring = np.cos(2 * np.pi * generator.uniform(120, 700) * t)
    return np.exp(-t / decay_s) * (0.6 * ring + 0.4 * generator.standard_normal(t.size))


def voice(generator: np.random.Generator, rate_hz: int) -> Wave:
    """A syllable through the chest wall: 80 to 300 ms, 8 harmonics of a gliding voice. RMS about 1. Shape: (S,)."""
    duration_s, pitch_hz = generator.uniform(0.08, 0.3), generator.uniform(90, 240)
    formant_hz = generator.uniform(300, 800)
    numbers = np.arange(1, 9)
    weights = 1 / (1 + ((numbers * pitch_hz - formant_hz) / 200.0) ** 2)
    return wheeze(
        rate_hz, duration_s, pitch_hz, generator.uniform(-0.3, 0.3), overtones=tuple(weights[1:] / weights[0])
    )


def add(track: Wave, sound: Wave, at_sample: int, gain: float = 1.0) -> None:
    """Adds `sound` into `track` in place from `at_sample` on; what hangs over either end is cut off."""
    first, last = max(at_sample, 0), min(at_sample + sound.size, track.size)
    if first < last:
        track[first:last] += gain * sound[first - at_sample : last - at_sample]


def through_device(generator: np.random.Generator, sound: Wave, device: Device) -> Wave:
    """The sound as `device` records it: its band, its noise, its gain. Shape: (S,), as `sound`."""
    hz = bins(sound.size, device.rate_hz)
    band = 1 / np.sqrt((1 + (hz / device.high_hz) ** 16) * (1 + (device.low_hz / hz) ** 4))
    noise = shaped_noise(generator, sound.size, band * hz ** (-0.5 * device.noise_slope))
    heard = np.fft.irfft(np.fft.rfft(sound) * band, sound.size)
    return decibels(device.gain_db) * (heard + decibels(device.noise_db) * noise)


def decibels(db: float) -> float:
    """An amplitude ratio from decibels.

    >>> decibels(20.0)
    10.0
    """
    return float(10 ** (db / 20))
