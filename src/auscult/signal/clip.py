"""From a recording and the times of a breathing cycle to a clip of fixed length, or of a few, and its filterbank.

Source: the pipeline of Moummad & Farrugia (2023, SCL) and Bae et al. (2023, Patch-Mix), same in most later work:
fade the whole recording, cut the cycle, repeat it to 8 s, fade the end, Kaldi filterbank. No band-pass filter.
"""

import math
from collections.abc import Sequence
from dataclasses import field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from ..config import ADDED, spec
from ..errors import AuscultError
from .mel import frame_count, log_mel
from .pad import cyclic, fade, zero

if TYPE_CHECKING:
    from torch import Tensor

MAX_LENGTH_S, MAX_MELS = 600.0, 1024  # a recipe may come from a stranger, and memory follows both
ENDLESS = 2**62  # samples: a recording that no cycle runs past


@spec("clip")
class Clip:
    """Everything that shapes a stored feature; the fingerprint of this spec names the store.

    Args:
        sample_rate: Hz; recordings are loaded at this rate.
        length_s: length of a clip in seconds. The code of PAFA uses 5.
        pad: ``"cyclic"`` repeats a short cycle, ``"zero"`` centres it in zeros. A longer cycle keeps its beginning.
        recording_fade_s: linear fade at both ends of the recording, 1000 samples at 16 kHz.
        tail_fade_s: linear fade at the end of a repeated cycle. A cut or zero-padded cycle has none, as in the code.
        n_mels: mel bins of the filterbank.
        amplitude: full scale of the samples the filterbank sees. ``"unit"`` is 1, as in the code of the lineage: the
            filterbank's floor (an energy of 1.19e-7) then swallows quiet recordings, 64 % of the values of SPRSound.
            ``"int16"`` is 32768, Kaldi's own convention: nothing but digital silence meets the floor.
        buckets_s: lengths in seconds, ascending, the last one `length_s`. A cycle is repeated (or padded) to the
            shortest that holds it instead of to `length_s`, so a network reads less of the same sound twice. Empty for
            one length. Ours: the lineage knows one length only. Not with ``Input(normalise="mel")``: its batch norm
            would see cycles of one length at a time while training (docs/log.md).
        filterbank: ``"kaldi"``, or ``"efficientat"``, the front end of the networks of `models/mobilenet.py`: 32 kHz
            only, and a floor of 1e-5, which swallows more of a quiet recording.

    Raises:
        ValueError: a rate or length that leaves no frame, over 10 minutes or 1024 bins, a negative fade, no mel bin,
            buckets in another order, or a rate that the filterbank does not know.

    >>> Clip().samples, Clip().frames
    (128000, 798)
    """

    sample_rate: int = 16000
    length_s: float = 8.0
    pad: Literal["cyclic", "zero"] = "cyclic"
    recording_fade_s: float = 0.0625
    tail_fade_s: float = 0.0625
    n_mels: int = 128
    amplitude: Literal["unit", "int16"] = "unit"
    buckets_s: tuple[float, ...] = field(default=(), metadata=ADDED)
    filterbank: Literal["kaldi", "efficientat"] = field(default="kaldi", metadata=ADDED)

    def __post_init__(self) -> None:
        if not 1_000 <= self.sample_rate <= 384_000:
            raise ValueError(f"sample_rate={self.sample_rate} Hz; 1,000 to 384,000 are allowed")
        if self.filterbank == "efficientat":
            from .efficientat import SAMPLE_RATE  # not at the top: needs torch, which Kaldi's filterbank can do without

            if self.sample_rate != SAMPLE_RATE:
                raise ValueError(f"filterbank=efficientat needs sample_rate={SAMPLE_RATE}, not {self.sample_rate}")
        if not (math.isfinite(self.length_s) and self.frames >= 1):
            raise ValueError(f"length_s={self.length_s}; a clip needs at least one frame of 0.025 s")
        if self.length_s > MAX_LENGTH_S or self.n_mels > MAX_MELS:
            limits = f"{MAX_LENGTH_S:g} s and {MAX_MELS} bins at most are allowed"
            raise ValueError(f"length_s={self.length_s:g} and n_mels={self.n_mels}; {limits}")
        for name, value in (("recording_fade_s", self.recording_fade_s), ("tail_fade_s", self.tail_fade_s)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}; 0 s or more is needed")
        if self.n_mels < 1:
            raise ValueError(f"n_mels={self.n_mels}; 1 or more is needed")
        self._check_buckets()

    def _check_buckets(self) -> None:
        if not self.buckets_s:
            return
        rising = all(a < b for a, b in pairwise(self.buckets_s))
        if not (rising and self.buckets_s[-1] == self.length_s and self.frames_of(self.buckets[0]) >= 1):
            listed = ",".join(f"{length_s:g}" for length_s in self.buckets_s)
            raise ValueError(
                f"buckets_s={listed}; lengths in seconds from short to long are needed, each at least one frame of "
                f"0.025 s and the last one length_s={self.length_s:g}"
            )

    @property
    def samples(self) -> int:
        """Samples of a clip, of the longest where there are buckets."""
        return round(self.length_s * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames of the filterbank of such a clip."""
        return self.frames_of(self.samples)

    def frames_of(self, samples: int) -> int:
        """Frames of the filterbank of a clip of so many samples."""
        if self.filterbank == "efficientat":
            from .efficientat import mel_frame_count

            return mel_frame_count(samples)
        return frame_count(samples, self.sample_rate)

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths a clip can have, in samples."""
        return tuple(round(length_s * self.sample_rate) for length_s in self.buckets_s) or (self.samples,)

    def bucket(self, start_s: float, end_s: float) -> int:
        """Samples of the clip that `cut` makes of a cycle: the shortest bucket that holds it, else the longest.

        It follows from the annotated times alone, so it is known before any audio is read.

        >>> clip = Clip(buckets_s=(2.0, 4.0, 8.0))
        >>> [clip.bucket(1.0, 1.0 + length_s) / 16000 for length_s in (0.4, 2.0, 2.1, 30.0)]
        [2.0, 2.0, 4.0, 8.0]
        """
        first, last = self._span(start_s, end_s, ENDLESS)
        return next((samples for samples in self.buckets if last - first <= samples), self.samples)

    def by_bucket(self, times: Sequence[tuple[float, float]]) -> list[list[int]]:
        """Positions of the cycles `times`, those of one bucket together, shortest bucket first."""
        found: dict[int, list[int]] = {samples: [] for samples in self.buckets}
        for position, (start_s, end_s) in enumerate(times):
            found[self.bucket(start_s, end_s)].append(position)
        return [positions for positions in found.values() if positions]

    def _span(self, start_s: float, end_s: float, samples: int) -> tuple[int, int]:
        """The first sample of a cycle and the one behind its last, by truncation, in a recording of so many samples."""
        if not (0 <= start_s < end_s < math.inf):
            where = f"a cycle from {start_s} s to {end_s} s"
            raise AuscultError("E_ANNOTATION", f"{where}; 0 <= start < end is needed. Correct the annotation.")
        first, last = (int(min(time_s * self.sample_rate, samples)) for time_s in (start_s, end_s))
        return first, last

    def fade_recording(self, waveform: Float[np.ndarray, "S"]) -> Float[np.ndarray, "S"]:
        """A whole recording with its two ends faded; do this once, before cutting cycles."""
        n = round(self.recording_fade_s * self.sample_rate)
        return fade(waveform, n, n)

    def cut(self, waveform: Float[np.ndarray, "S"], start_s: float, end_s: float) -> Float[np.ndarray, "S_out"]:
        """The cycle from `start_s` to `end_s` as float32 of ``samples`` samples, or of its `bucket`.

        Times become samples by truncation, and a cycle that runs past the recording ends with it, as in the code.

        Args:
            waveform: a recording at `sample_rate`, faded by `fade_recording`.

        Raises:
            AuscultError: E_ANNOTATION, for times that are not finite, negative, in the wrong order, or that hold no
                sample of this recording.
        """
        samples = self.bucket(start_s, end_s)
        first, last = self._span(start_s, end_s, len(waveform))
        cycle = waveform[first:last].astype(np.float32)
        if len(cycle) == 0:
            where = f"a cycle from {start_s} s to {end_s} s"
            length = f"a recording of {len(waveform) / self.sample_rate:.3f} s"
            raise AuscultError("E_ANNOTATION", f"{where} holds no sample of {length}. Correct the annotation.")
        if self.pad == "zero":
            return zero(cycle, samples)
        return cyclic(cycle, samples, round(self.tail_fade_s * self.sample_rate))

    def fbank(self, waveform: "Tensor") -> "Tensor":
        """Log-mel filterbank of clips, before any normalisation. Shape: (B, S) -> (B, T, F)."""
        scaled = waveform * self.full_scale
        if self.filterbank == "efficientat":
            from .efficientat import log_mel as efficientat_log_mel

            return efficientat_log_mel(scaled, self.n_mels)
        from .fbank import fbank

        return fbank(scaled, self.sample_rate, self.n_mels)

    def log_mel(self, waveforms: Float[np.ndarray, "B S"]) -> Float[np.ndarray, "B T F"]:
        """`fbank` of clips as arrays; without torch where the filterbank is Kaldi's."""
        if self.filterbank == "efficientat":
            import torch

            return self.fbank(torch.from_numpy(waveforms)).numpy()
        return log_mel(waveforms * np.float32(self.full_scale), self.sample_rate, self.n_mels)

    @property
    def full_scale(self) -> float:
        """What a sample of 1 becomes before the filterbank; see `amplitude`."""
        return 32768.0 if self.amplitude == "int16" else 1.0
