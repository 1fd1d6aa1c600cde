"""Is this a recording of breathing that can be judged? Accepted, poor (record again), or cannot say.

Three steps. Plain limits refuse what is no breathing at all: silence, steady noise, hum, speech, music, clicks, clipped
sound. Then two things fitted on recordings of breathing (`analysis/verdict_fit.py`, kept in verdict.json): a line
between those that listeners of SPRSound called good and those they called poor, and a distance beyond which a sound is
unlike all of them. No sound to refuse took part in the fit.

All is measured up to 2 kHz in frames of 64 ms, so a file says the same at 4 kHz and at 48 kHz. What a device does to
the spectrum as a whole (its tilt, its level) counts for nothing except where nothing is left.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

from ..config import fingerprint
from ..errors import AuscultError
from .bandwidth import bandwidth, running_median

Kind = Literal["accept", "poor", "cannot_say"]

FRAME_S, HOP_S = 0.064, 0.016
LOW_HZ, HIGH_HZ = 60.0, 2000.0  # below is handling and offset; at 4 kHz there is nothing above
BLOCK = 64  # frames transformed at once
TINY = 1e-20

MIN_S = 1.0
RHYTHM_S = 5.0  # shorter than this the rhythm of breathing cannot be measured well enough for the line
UNLIKE_S = 2.0  # and shorter than this not well enough for the distance
MIN_BANDWIDTH_HZ = 500.0  # SPRSound, filtered at 1 kHz, has 775 Hz or more
QUIET_DB = -64.0  # of the frames that are not empty; 2 of 1772 good training recordings of SPRSound are fainter
EMPTY_DB, EMPTY_DEPTH_DB = -88.0, 60.0  # an empty frame: a few steps of 16 bit, or this far below the loud ones
EMPTY_SHARE = 0.6
CLIPPED_SHARE = 0.25  # the loudest recordings of ICBHI have 0.19 and are still listened to
STEADY_DB = (
    2.2  # Gaussian noise has 2.1 at most whatever its spectrum, breathing in SPRSound's training part 2.4 at least
)
LINE_DB = 12.0  # a spectral line: a peak this far above the median of 140 Hz around it
LINES, LINES_SHARE = (
    3,
    0.3,
)  # a wheeze is one or two lines; good training recordings have 0.31 at most, with wheezes 0.11
TONE_SHARE = 0.9  # and a wheeze pauses: they have 0.46 at most
UNHEARD, UNLIKE = "breathing can hardly be heard", "unlike any recording of breathing known here"
BURST = 12.0  # kurtosis within loud frames: noise 3, breathing below 9


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a recording is good for.

    Args:
        kind: ``accept``; ``poor``: record again; ``cannot_say``: unlike every recording the verdict was made with.
        reasons: in words for a clinician; none for ``accept``.
        measures: name -> number, with the unit in the name; those that could be measured.
    """

    kind: Kind
    reasons: tuple[str, ...]
    measures: dict[str, float]


def judge(waveform: Float[np.ndarray, "S"], sample_rate: int) -> Verdict:
    """The verdict on a recording, or on a piece of a long one.

    Under 5 s the line between good and poor is left out, under 2 s the distance too: the rhythm of breathing is no
    longer in it. Pieces under 1.5 s of good recordings are often called noise.

    Args:
        waveform: mono, full scale 1, at the rate of its file.
        sample_rate: of the waveform, in Hz.

    >>> judge(np.zeros(40000), 8000).reasons
    ('silent',)
    """
    found = measure(waveform, sample_rate)
    reasons = refusals(found)
    if reasons or found["duration_s"] < UNLIKE_S:
        return Verdict(kind="poor" if reasons else "accept", reasons=reasons, measures=found)
    boundary = fitted()
    found |= boundary.place(found)
    if found["duration_s"] >= RHYTHM_S and found["poor_score"] > boundary.poor_above:
        return Verdict(kind="poor", reasons=(UNHEARD,), measures=found)
    if found["distance"] > boundary.unlike_above:
        return Verdict(kind="cannot_say", reasons=(UNLIKE,), measures=found)
    return Verdict(kind="accept", reasons=(), measures=found)


def refusals(found: dict[str, float]) -> tuple[str, ...]:
    """The plain limits that the measures of a recording break, in words."""
    if found["duration_s"] < MIN_S:
        return ("too short",)
    if "level_db" not in found:
        return ("silent",)
    broken = {
        "too quiet": found["level_db"] < QUIET_DB,
        "clipped": found["clipped_share"] > CLIPPED_SHARE,
        "mostly silence": found["empty_share"] > EMPTY_SHARE,
        f"nothing above {found['bandwidth_hz']:.0f} Hz": found["bandwidth_hz"] < MIN_BANDWIDTH_HZ,
        "speech or music, not breathing": found["lines_share"] > LINES_SHARE,
        "a tone, not breathing": found["lines_share"] <= LINES_SHARE and found["line_share"] > TONE_SHARE,
        "clicks, not breathing": found["burst"] > BURST,
        "mostly noise": found["colour_db"] < STEADY_DB and found["line_share"] <= 0.5,
        "a steady hum": found["colour_db"] < STEADY_DB and found["line_share"] > 0.5,
    }
    return tuple(words for words, true in broken.items() if true)


def combine(verdicts: Sequence[tuple[Verdict, float]]) -> Verdict:
    """The verdict on a recording from those on its pieces, each with its seconds: what most of the time has.

    One piece keeps its own. Of several the measures are means over time, the reasons all those of the winning kind.
    """
    if len(verdicts) == 1:
        return verdicts[0][0]
    seconds: dict[str, float] = {}
    for verdict, length_s in verdicts:
        seconds[verdict.kind] = seconds.get(verdict.kind, 0.0) + length_s
    kind = max(seconds, key=lambda name: (seconds[name], name == "accept"))
    same = [v for v, _ in verdicts if v.kind == kind]
    names = [name for name in same[0].measures if all(name in v.measures for v in same)]
    measures = {name: float(np.mean([v.measures[name] for v in same])) for name in names}
    reasons = tuple(dict.fromkeys(reason for v in same for reason in v.reasons))
    return Verdict(kind=kind, reasons=reasons, measures=measures)  # type: ignore[arg-type]


def measure(waveform: Float[np.ndarray, "S"], sample_rate: int) -> dict[str, float]:
    """What the verdict rests on. Of silence, or under 1 s, only what there is.

    ``level_db`` is the mean power from 60 Hz to 2 kHz; ``swing_low_db`` and ``swing_db`` how far the level from 100 to
    300 Hz and from 300 Hz to 1 kHz goes up and down (10 to 90 %); ``colour_db`` how much the shape of the spectrum
    changes from one eighth of a second to the next; ``line_share`` how many frames have a spectral line and
    ``lines_share`` how many loud ones have three or more; ``burst`` the kurtosis within loud frames; ``breath_db``,
    ``heart_db`` and ``syllable_db`` how deep the level goes up and down at 0.12 to 1.2 Hz, 1.2 to 3 Hz and 3 to 9 Hz.
    Loud frames are the louder two fifths.
    """
    found = {"duration_s": len(waveform) / sample_rate}
    if found["duration_s"] < MIN_S:
        return found
    found["clipped_share"] = clipped_share(waveform)
    frames = short_time(waveform, sample_rate)
    level = decibels(frames.band(LOW_HZ, HIGH_HZ))
    heard = level >= max(EMPTY_DB, np.percentile(level, 95) - EMPTY_DEPTH_DB)
    found["empty_share"] = 1 - float(heard.mean())
    width = bandwidth(waveform, sample_rate)
    if width is None or heard.sum() < 8:
        return found
    frames = Frames(frames.power[heard], frames.burst[heard], frames.hz)
    found |= {"level_db": float(decibels(frames.band(LOW_HZ, HIGH_HZ).mean())), "bandwidth_hz": width}
    return found | swings(frames) | colours(frames)


class Frames(NamedTuple):
    """Power density in 1/Hz and kurtosis of each frame, and the frequencies of the bins."""

    power: Float[np.ndarray, "T K"]
    burst: Float[np.ndarray, "T"]
    hz: Float[np.ndarray, "K"]

    def band(self, low_hz: float | int, high_hz: float | int) -> Float[np.ndarray, "T"]:
        """The power of each frame from one frequency to another; full scale is 1."""
        inside = (self.hz >= low_hz) & (self.hz < high_hz)
        return self.power[:, inside].sum(axis=1) * self.hz[1]


def short_time(waveform: Float[np.ndarray, "S"], sample_rate: int) -> Frames:
    """Hann windows of 64 ms (a little more at odd rates) every 16 ms, up to 2 kHz.

    Kurtosis is that of the windowed sound from 60 Hz to 2 kHz, scaled so that Gaussian noise has 3 at any rate.
    """
    size, hop = fast_length(round(FRAME_S * sample_rate)), max(1, round(HOP_S * sample_rate))
    window = np.hanning(size + 1)[:-1].astype(np.float32)  # periodic; the one of scipy.signal costs 47 MB
    hz = np.arange(size // 2 + 1) * sample_rate / size
    hz = hz[hz <= HIGH_HZ]
    normal = 3 * np.mean(window**4) / np.mean(window**2) ** 2
    power, burst = [], []
    frames = sliding_window_view(waveform, size)[::hop]
    for first in range(0, len(frames), BLOCK):
        block = frames[first : first + BLOCK].astype(np.float32)
        spectrum = np.fft.rfft((block - block.mean(axis=1, keepdims=True)) * window, axis=1)[:, : len(hz)]
        power.append(np.abs(spectrum) ** 2 * (2 / (np.sum(window**2) * sample_rate)))
        square = np.fft.irfft(np.where(hz >= LOW_HZ, spectrum, 0), axis=1) ** 2
        square /= square.mean(axis=1, keepdims=True) + TINY
        burst.append(3 / normal * np.mean(square**2, axis=1))
    return Frames(np.concatenate(power).astype(np.float64), np.concatenate(burst).astype(np.float64), hz)


def fast_length(size: int) -> int:
    """The first number from `size` on that 2, 3 and 5 make up: a transform of that length is quick.

    >>> [fast_length(n) for n in (1, 7, 512, 2822)]
    [1, 8, 512, 2880]
    """
    rest = size
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return size if rest == 1 else fast_length(size + 1)


def clipped_share(waveform: Float[np.ndarray, "S"]) -> float:
    """Share of samples that stand, like the one after them, within 0.1 % of the highest or lowest value."""
    low, high = float(waveform.min()), float(waveform.max())
    edge = 1e-3 * (high - low)
    ends = (waveform >= high - edge) | (waveform <= low + edge)
    return float(np.mean(ends[1:] & ends[:-1]))


def swings(frames: Frames) -> dict[str, float]:
    """How the level goes up and down: how far, and how fast."""
    low, mid = decibels(frames.band(100, 300)), decibels(frames.band(300, 1000))
    wave = np.clip(mid - mid.mean(), -30, 30)
    window = np.hanning(len(wave))
    strength = np.abs(np.fft.rfft(wave * window)) ** 2 / (np.sum(window**2) * len(wave) / 2)
    hz = np.fft.rfftfreq(len(wave), HOP_S)
    found = {"swing_low_db": spread(low), "swing_db": spread(mid)}
    for name, first, last in (("breath", 0.12, 1.2), ("heart", 1.2, 3), ("syllable", 3, 9)):
        found[f"{name}_db"] = float(decibels(strength[(hz >= first) & (hz < last)].sum() + 0.01))
    return found


def colours(frames: Frames) -> dict[str, float]:
    """How the shape of the spectrum changes, and what stands out of it."""
    heard = frames.hz >= 100
    power = decibels(frames.power[:, heard])
    total = frames.power[:, heard].sum(axis=1)
    loud = total >= np.percentile(total, 60)
    above = power - running_median(power, 9)
    peak = (power[:, 1:-1] >= power[:, :-2]) & (power[:, 1:-1] >= power[:, 2:])
    lines = np.sum(peak & (above[:, 1:-1] > LINE_DB), axis=1)
    whole = len(power) // 8 * 8
    eighths = decibels(frames.power[:whole, heard].reshape(whole // 8, 8, -1).mean(axis=1))
    shape = eighths - eighths.mean(axis=1, keepdims=True)
    return {
        "colour_db": float(np.median(shape.std(axis=0))),
        "line_share": float(np.mean(lines >= 1)),
        "lines_share": float(np.mean(lines[loud] >= LINES)),
        "burst": float(np.median(frames.burst[loud])),
    }


def decibels(power: Any) -> Any:
    """10 log10 of a power, -200 at least."""
    return 10 * np.log10(np.maximum(power, TINY))


def spread(values: Float[np.ndarray, "T"]) -> float:
    """From the 10th to the 90th percentile."""
    low, high = np.percentile(values, [10, 90])
    return float(high - low)


MEASURES = ("breath_db", "heart_db", "syllable_db", "swing_low_db", "swing_db", "colour_db", "burst")


class Boundary(NamedTuple):
    """What was fitted: a line between good and poor, and the middle and shape of the good. See `verdict_fit`."""

    low: Float[np.ndarray, "M"]
    high: Float[np.ndarray, "M"]
    weights: Float[np.ndarray, "M"]
    bias: float
    poor_above: float
    centre: Float[np.ndarray, "M"]
    whitening: Float[np.ndarray, "M M"]
    unlike_above: float

    def place(self, found: dict[str, float]) -> dict[str, float]:
        """``poor_score``, the log odds of poor, and ``distance`` from the middle of the good (Mahalanobis)."""
        x = vector(found)
        score = np.clip(x, self.low, self.high) @ self.weights + self.bias
        return {"poor_score": float(score), "distance": float(np.linalg.norm(self.whitening @ (x - self.centre)))}


def vector(found: dict[str, float]) -> Float[np.ndarray, "M"]:
    """The fitted measures in order; kurtosis as its logarithm to base 2."""
    return np.array([np.log2(found[name]) if name == "burst" else found[name] for name in MEASURES])


@cache
def fitted() -> Boundary:
    """The boundary in the package.

    Raises:
        AuscultError: E_RUN, when the file was changed by hand.
    """
    kept = json.loads(files("auscult").joinpath("signal/verdict.json").read_text())
    if kept["fingerprint"] != fingerprint(kept["boundary"]) or kept["measures"] != list(MEASURES):
        raise AuscultError("E_RUN", "signal/verdict.json does not match its fingerprint. Install auscult again.")
    values: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in kept["boundary"].items()}
    return Boundary(**values)
