"""The breathing cycles of a recording, found by themselves.

A small network (`breathing`) says for each 64 ms how likely an inspiration begins there. Breathing is regular, so of
all series of boundaries the one is taken whose boundaries are likely and whose cycles are about equally long; how long
is found by trying, from 1 s (an infant) to 6.5 s. The best series is exact: dynamic programming over boundaries.

Source: Ellis 2007, "Beat tracking by dynamic programming", J. New Music Research 36(1), for the idea and the penalty on
the logarithm of a length; the chain over lengths of segments is a semi-Markov model (Rabiner 1989, section IV.D).
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from ..blas import one_thread
from .breathing import FRAME_S, RATE, band_levels, boundary_logits
from .stream import Stream

Interval = tuple[float, float]

PERIODS_S = np.geomspace(1.0, 6.5, 14)
USUAL_S, USUAL_SPREAD = 2.6, 0.5  # of ICBHI's training cycles: median, and deviation of the logarithm
SPREAD = 0.5  # of the logarithm of cycle lengths around the period of a recording
THRESHOLD = -1.0  # log odds at which a boundary neither gains nor costs
SHORTEST_S, LONGEST_S = 0.7, 9.0  # of a whole cycle: 98 % of ICBHI's training cycles lie between
SHORTEST = round(SHORTEST_S / FRAME_S)
LONGEST = round(LONGEST_S / FRAME_S)
SILENT_SPAN = 2.0**-14  # two steps of 16 bit, as in `io`
SILENCE_S = 1.0  # of digital silence part a recording; a gate between breaths is shorter
SHORTEST_PIECE_S = 1.0
PIECE_S = 300.0  # of a long file at a time: breathing may change


def segment(waveform: Float[np.ndarray, "S"], sample_rate: int, *, fold: int | None = None) -> list[Interval]:
    """The breathing cycles of a recording: (start_s, end_s), in order, one ending where the next begins.

    A cycle runs from the start of an inspiration to the start of the next, as in ICBHI. As there, what the beginning
    and the end of the recording cut off a cycle counts as one, if 0.7 s to 9 s are left of it. Digital silence of a
    second or more belongs to no cycle.

    Args:
        waveform: one channel, any gain; 1 s to 10 min.
        sample_rate: of the waveform, in Hz; 4000 or more.
        fold: see `breathing`; None is right for every recording that is not of the training data.

    Returns:
        Empty where no breathing can be told: silence, steady noise, less than 1 s.

    >>> segment(np.zeros(20 * 4000), 4000)
    []
    """
    cycles: list[Interval] = []
    for first, end in sounding(waveform, sample_rate):
        levels = band_levels(waveform[first:end], sample_rate)
        inner = best_series(boundary_logits(levels, fold))
        cycles += _between((inner + 0.5) * FRAME_S, first / sample_rate, end / sample_rate)
    return cycles


def segment_file(path: str | Path) -> list[Interval]:
    """The breathing cycles of an audio file of any length, five minutes at a time in constant memory; see `segment`.

    Raises:
        AuscultError: as `io.decode`.
    """
    cycles: list[Interval] = []
    begin_s, joined = 0.0, False
    with one_thread(), Stream(path, rates=(RATE,)) as stream:
        while stream.fill(begin_s - stream.start_s + PIECE_S):
            first = round((begin_s - stream.start_s) * RATE)
            found = [(begin_s + a, begin_s + b) for a, b in segment(stream.waveform(RATE)[first:], RATE)]
            if joined and found and found[0][0] < begin_s + SHORTEST_S:
                found[0] = (begin_s, found[0][1])
            joined = not stream.finished and len(found) > 1
            cycles += found[:-1] if joined else found  # the last one was cut off here: it is looked at again
            begin_s = found[-1][0] if joined else stream.end_s
            stream.drop(begin_s)
    return cycles


def best_series(logits: Float32[np.ndarray, "T"]) -> Int[np.ndarray, "N"]:
    """The frames where cycles begin: of all series, over all periods, the one of the highest `_score`.

    A series scores logit - THRESHOLD for each boundary, what `_fit` says of each cycle's length, what `_cut` says of
    the rest at either end, and how usual its period is. Time is in proportion to T; no series is left out.
    """
    count, periods = len(logits), len(PERIODS_S)
    fit = _fit(np.arange(LONGEST, SHORTEST - 1, -1)[None] * FRAME_S)
    cut = _cut(np.arange(count + 1)[None] * FRAME_S)
    usual = -0.5 * (np.log(PERIODS_S / USUAL_S) / USUAL_SPREAD) ** 2
    best = np.full((periods, LONGEST + count), -np.inf)  # of series that end with this boundary; column 0 is no frame
    before = np.full((periods, count), -1)
    rows = np.arange(periods)
    for frame, gain in enumerate(logits.astype(np.float64) - THRESHOLD):
        chains = best[:, frame : frame + fit.shape[1]] + fit
        last = chains.argmax(axis=1)
        longer = chains[rows, last] > cut[:, frame]
        before[:, frame] = np.where(longer, frame - LONGEST + last, -1)
        best[:, LONGEST + frame] = gain + np.where(longer, chains[rows, last], cut[:, frame])
    whole = best[:, LONGEST:] + cut[:, count:0:-1] + usual[:, None]
    if not count or whole.max() <= (cut[:, count] + usual).max():
        return np.zeros(0, np.int64)
    period, frame = divmod(int(whole.argmax()), count)
    series = []
    while frame >= 0:
        series.append(frame)
        frame = int(before[period, frame])
    return np.array(series[::-1], np.int64)


def _fit(lengths_s: Float64[np.ndarray, "_ D"]) -> Float64[np.ndarray, "P D"]:
    """What whole cycles of these lengths score at each period: a normal distribution of the logarithm."""
    return -0.5 * (np.log(lengths_s / PERIODS_S[:, None]) / SPREAD) ** 2


def _cut(lengths_s: Float64[np.ndarray, "_ D"]) -> Float64[np.ndarray, "P D"]:
    """What the rests of cycles that an end cuts off score: as `_fit`, but being too short is no fault."""
    return _fit(np.maximum(lengths_s, PERIODS_S[:, None]))


def _between(inner: np.ndarray, start_s: float, end_s: float) -> list[Interval]:
    """Cycles between boundaries given from `start_s` on, and at both ends what is left of one, 0.7 s to 9 s."""
    if not len(inner):
        return []
    cycles = list(pairwise([start_s, *(float(t) + start_s for t in inner), end_s]))
    ends = (0, len(cycles) - 1)
    return [c for at, c in enumerate(cycles) if at not in ends or SHORTEST_S <= c[1] - c[0] <= LONGEST_S]


def sounding(waveform: Float[np.ndarray, "S"], sample_rate: int) -> list[tuple[int, int]]:
    """Pieces of a second or more between digital silences of a second or more, as (first, end) samples."""
    size = max(1, sample_rate // 20)
    blocks = -(-len(waveform) // size)
    whole = np.pad(waveform, (0, blocks * size - len(waveform)), mode="edge") if len(waveform) else waveform
    span = np.ptp(whole.reshape(blocks, size), axis=1) if blocks else np.zeros(0)
    edges = _runs(span < SILENT_SPAN)
    long = [(a, b) for a, b in edges if (b - a) * size >= SILENCE_S * sample_rate]
    ends = [0, *(edge * size for run in long for edge in run), len(waveform)]
    pieces = [(a, min(b, len(waveform))) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return [(a, b) for a, b in pieces if b - a >= SHORTEST_PIECE_S * sample_rate]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and end of each run of True."""
    steps = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True))
