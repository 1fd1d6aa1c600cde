"""From a recording to class probabilities of its breaths; the CLI, the page and the Python API all go through here.

    model = auscult.load()
    prediction = model.predict("101_1b1_Al_sc_Meditron.wav")
    prediction.save("101.csv")

Features are made as the feature store makes them, float16 step included, so a cycle gets the probabilities here that it
gets in `evaluate`: the same in torch, within 1e-3 without (`light`, which a small DASS takes: no 200 MB and no two
seconds for importing torch). A long recording goes through in pieces, so memory does not grow with its length.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from jaxtyping import Float16, Float32
from numpy.typing import NDArray

from . import breaths
from .analysis.spreadsheet import printable, probability
from .blas import one_thread
from .box import Choice, choice_in, find
from .breaths import Found, How
from .calibration import FILE, read_calibration
from .config import from_dict
from .data.quality_store import scale_in, waveform_quality
from .errors import AuscultError
from .light import network as light
from .prediction import Interval, PredictedCycle, Prediction, Source
from .progress import say
from .runs import weights_file
from .signal import io
from .signal.bandwidth import bandwidth
from .signal.clip import Clip
from .signal.pad import fade
from .signal.quality import SAMPLE_RATE
from .signal.segment import segment
from .signal.stream import FINEST_HZ, Stream
from .signal.verdict import Verdict, combine, judge
from .weightsfile import Told, read_told

if TYPE_CHECKING:
    from .models import Classifier

PIECE_S = 60.0  # of a long recording at once; a shorter one is one piece
CONTEXT_S = 10.0  # at the end of a piece: whether a breath ends there only the next piece tells
NO_BREATH = "no breath was found"
UNSURE = "P(abnormal) {p:.2f} lies between {low:.2f} (normal) and {high:.2f} (abnormal)"
Precision = Literal["fp32", "bf16"]


class Network(Protocol):
    """What makes numbers of clips: `light.network.LightNetwork`, or `network.TorchNetwork` for all that one cannot."""

    batch: int

    @property
    def device(self) -> str:
        """torch's name of where it runs."""

    @property
    def precision(self) -> Precision:
        """Of its products and convolutions."""

    @property
    def one_length(self) -> str | None:
        """Why it takes clips of one length only; None where it takes any."""

    def features(self, clips: Float32[np.ndarray, "B S"]) -> Float16[np.ndarray, "B T F"]:
        """The filterbanks of clips, as `data.store` keeps them."""

    def logits(self, stored: Float16[np.ndarray, "B T F"]) -> Float32[np.ndarray, "B K"]:
        """One number a class."""


@dataclass(kw_only=True)
class Heard:
    """What a recording has told so far, piece by piece."""

    cycles: list[PredictedCycle] = field(default_factory=list)
    verdicts: list[tuple[Verdict, float]] = field(default_factory=list)
    bandwidth_hz: float | None = None
    done_s: float = 0.0  # where the last breath ends


class Model:
    """A trained model, ready for recordings.

    Args:
        network: what computes.
        told: what the weights file says of itself.
        file: where the weights lie.
        choice: its temperature and thresholds; None takes the probabilities as they come.
    """

    def __init__(self, network: Network, told: Told, file: Path, choice: Choice | None = None) -> None:
        self.network = network
        self.device, self.precision = network.device, network.precision
        self.calibrated = choice is not None
        self.choice = choice or Choice()
        self.recipe = told.recipe
        self.classes = told.classes
        self.facts = told.facts
        self.clip = from_dict(Clip, told.recipe["clip"])
        self.file = file
        self.sha256 = told.sha256
        self.scale = scale_in(told.facts)

    @property
    def light(self) -> bool:
        """Whether it does without torch."""
        return isinstance(self.network, light.LightNetwork)

    @cached_property
    def classifier(self) -> "Classifier":
        """The network in torch, in evaluation mode: for gradients, and for whoever looks inside."""
        from .network import TorchNetwork, load_network

        own = self.network
        return (own if isinstance(own, TorchNetwork) else load_network(self.file, None, "cpu", "fp32")).classifier

    def predict(
        self,
        path: str | Path,
        cycles: Sequence[Interval] | Literal["whole"] | None = None,
        annotations: Path | None = None,
        *,
        how: How = "auto",
        progress: Callable[[float], None] | None = None,
    ) -> Prediction:
        """Classifies the breaths of one recording.

        Args:
            path: an audio file.
            cycles: (start_s, end_s) of each breath; None leaves it to `how`. ``"whole"`` gives the entire recording to
                the network at once, neither cut nor repeated, in time and memory linear in its length; 1 s to 1 h.
            annotations: folder of annotation files, instead of the recording's own.
            how: ``auto`` takes an annotation file beside the recording, else finds the breaths (`signal.segment`), else
                windows of the clip's length, one after another; ``segment`` and ``windows`` look at no annotation.
            progress: called with the seconds that are done; what it raises ends the work.

        Raises:
            AuscultError: for a file that cannot be decoded, or cycles that do not fit it; for ``"whole"`` a recording
                too short or too long, or a model of one length.
        """
        if isinstance(cycles, str) and cycles != "whole":
            raise ValueError(f"cycles={cycles!r}; a list of (start_s, end_s), 'whole' or None is needed")
        with one_thread():
            if cycles == "whole" or how == "whole":
                return self._whole(path)
            found = breaths.known(Path(path), cycles, how, annotations)
            made = self._in_pieces(path, found, progress)
            if found.source == "segmented" and not made.cycles:
                made = self._in_pieces(path, Found(cycles=None, source="windows"), progress)
            return made

    def _in_pieces(self, path: str | Path, found: Found, progress: Callable[[float], None] | None) -> Prediction:
        heard = Heard()
        with Stream(path, self._rates()) as stream:
            while stream.fill(self._needed_s(found, heard, stream.start_s)):
                if stream.finished and found.cycles is not None:
                    breaths.check_end(found.cycles, stream.end_s)
                times = self._times(found, heard, stream)
                self._hear(stream, times, heard)
                if times:
                    heard.done_s = times[-1][1]
                if not stream.finished:
                    stream.drop(self._dispensable_s(found, heard, stream))
                if progress is not None:
                    progress(stream.end_s)
            duration_s, notes, native = stream.end_s, stream.notes, stream.native_rate
        if found.source == "windows":
            rest_s = breaths.windows(duration_s, self.clip.length_s)[1]
            notes += (f"last {rest_s:.2f} s not used",) if rest_s else ()
        return self._prediction(path, heard, found.source, duration_s, native, notes)

    def _rates(self) -> set[int]:
        return {self.clip.sample_rate} | ({SAMPLE_RATE} if self.scale is not None else set())

    def _needed_s(self, found: Found, heard: Heard, start_s: float) -> float:
        """How much has to be held: a piece, or the annotated breath that is longer."""
        pending = [] if found.cycles is None else found.cycles[len(heard.cycles) :]
        return max(PIECE_S, pending[0][1] - start_s + CONTEXT_S) if pending else PIECE_S

    def _times(self, found: Found, heard: Heard, stream: Stream) -> list[Interval]:
        """The breaths that lie in what is held and are not done yet."""
        limit_s = np.inf if stream.finished else stream.end_s - CONTEXT_S
        if found.cycles is not None:
            pending = found.cycles[len(heard.cycles) :]
        elif found.source == "windows":
            end_s = stream.end_s if stream.finished else int(limit_s / self.clip.length_s) * self.clip.length_s
            pending = breaths.windows(end_s, self.clip.length_s)[0][len(heard.cycles) :]
        else:
            shift = stream.start_s
            local = segment(stream.waveform(stream.rate), stream.rate)
            pending = [(start + shift, end + shift) for start, end in local if start + shift >= heard.done_s - 1e-6]
        keep = next((i for i, (_, end_s) in enumerate(pending) if end_s > limit_s), len(pending))
        return pending[:keep]

    def _dispensable_s(self, found: Found, heard: Heard, stream: Stream) -> float:
        """Up to where nobody will ask again."""
        if found.cycles is not None:
            pending = found.cycles[len(heard.cycles) :]
            return min(pending[0][0] if pending else np.inf, stream.end_s - CONTEXT_S)
        if found.source == "windows":
            return len(heard.cycles) * self.clip.length_s
        return max(heard.done_s, stream.end_s - 2 * CONTEXT_S)

    def _hear(self, stream: Stream, times: Sequence[Interval], heard: Heard) -> None:
        """Classifies breaths, and measures the piece they lie in."""
        native, shift = stream.waveform(stream.rate), stream.start_s
        heard.verdicts.append((judge(native, stream.rate), len(native) / stream.rate))
        top = bandwidth(native, stream.rate)
        heard.bandwidth_hz = max((hz for hz in (heard.bandwidth_hz, top) if hz is not None), default=None)
        if not times:
            return
        waveform = stream.waveform(self.clip.sample_rate)
        n = round(self.clip.recording_fade_s * self.clip.sample_rate)
        faded = fade(waveform, n if shift == 0 else 0, n if stream.finished else 0)
        local = [breaths.within(interval, shift, self.clip.sample_rate) for interval in times]
        p = self.probabilities(faded, local)
        quality: list[float | None] = [None] * len(local)
        if self.scale is not None:
            here = [breaths.within(interval, shift, SAMPLE_RATE) for interval in times]
            measured = waveform_quality(stream.waveform(SAMPLE_RATE), here)
            quality = [probability(score) for score in self.scale.scores(measured)]
        heard.cycles += map(self._cycle, times, p, quality)

    def _whole(self, path: str | Path) -> Prediction:
        self.check_any_length()
        recording = io.load(path, self.clip.sample_rate)
        breaths.check_whole(recording.length_s)
        fine = io.load(path, min(recording.native_rate, FINEST_HZ))
        p = self.classify(self.network.features(self.clip.fade_recording(recording.waveform)[None]))
        times = (0.0, recording.length_s)
        quality = None
        if self.scale is not None:
            measured = waveform_quality(io.load(path, SAMPLE_RATE).waveform, [times])
            quality = probability(self.scale.scores(measured)[0])
        heard = Heard(
            cycles=[self._cycle(times, p[0], quality)],
            verdicts=[(judge(fine.waveform, fine.sample_rate), recording.length_s)],
            bandwidth_hz=bandwidth(fine.waveform, fine.sample_rate),
        )
        return self._prediction(path, heard, "whole", recording.length_s, recording.native_rate, recording.notes)

    def check_any_length(self) -> None:
        """Refuses a model that cannot take a whole recording.

        Raises:
            AuscultError: E_SETTING.
        """
        reason = self.network.one_length
        if reason is None:
            return
        raise AuscultError("E_SETTING", f"{self.file} cannot take a whole recording: {reason}. Predict by cycles.")

    def _prediction(
        self, path: str | Path, heard: Heard, source: Source, duration_s: float, native: int, notes: tuple[str, ...]
    ) -> Prediction:
        made: dict[str, Any] = {
            "recording": printable(os.fspath(path)),
            "cycles": tuple(heard.cycles),
            "cycles_from": source,
            "classes": self.classes,
            "duration_s": round(duration_s, 4),
            "native_rate_hz": native,
            "bandwidth_hz": heard.bandwidth_hz,
            "verdict": combine(heard.verdicts),
            "notes": notes,
        }
        p = mean_abnormal(heard.cycles)
        why = self._why_not(made["verdict"], p)
        said = "cannot say" if why or p is None else "abnormal" if p >= self.choice.recording else "normal"
        return Prediction(said=said, p_abnormal=p, why=why, **made)  # type: ignore[arg-type]

    def _why_not(self, verdict: Verdict, p: float | None) -> str:
        """Why nothing can be said of a recording; empty where something can."""
        if verdict.kind != "accept":
            return "; ".join(verdict.reasons) or verdict.kind.replace("_", " ")
        if p is None:
            return NO_BREATH
        low, high = self.choice.unsure
        return UNSURE.format(p=p, low=low, high=high) if low < p < high else ""

    def probabilities(self, faded: NDArray[np.float32], cycles: Sequence[Interval]) -> NDArray[np.float32]:
        """Class probabilities of cycles of a recording whose ends are faded. Shape: (N, K)."""
        p, size = np.zeros((len(cycles), len(self.classes)), np.float32), self.network.batch
        for bucket in self.clip.by_bucket(cycles):
            for some in (bucket[first : first + size] for first in range(0, len(bucket), size)):
                cut = np.stack([self.clip.cut(faded, *cycles[i]) for i in some])
                p[some] = self.classify(self.network.features(cut))
        return p

    def classify(self, stored: NDArray[np.float16]) -> NDArray[np.float32]:
        """Class probabilities of filterbanks (B, T, F) as the feature store holds them. Shape: (B, K)."""
        z = self.network.logits(stored) / np.float32(self.choice.temperature)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def _cycle(self, times: Interval, p: NDArray[np.float32], quality: float | None) -> PredictedCycle:
        named = {name: probability(value) for name, value in zip(self.classes, p, strict=True)}
        times_s = {name: round(float(t), 4) for name, t in zip(("start_s", "end_s"), times, strict=True)}
        label = self.classes[int(p.argmax())]
        said = bool(1 - float(p[0]) >= self.choice.threshold) if self.calibrated else None
        return PredictedCycle(**times_s, label=label, probabilities=named, quality=quality, abnormal=said)


def load(
    model: str | Path | None = None,
    *,
    selection: str | None = None,
    device: str | None = None,
    precision: Precision = "fp32",
    calibrated: bool | None = None,
) -> Model:
    """A model by name, of a run folder or of a weights file; the one in the package where none is named.

    Args:
        selection: ``last``, ``validation`` or ``best_on_test`` of a run; None takes the recipe's own.
        device: torch's name of one. None does without torch where the network is a small DASS, fp32 is asked for and
            AUSCULT_SCAN asks for no form of torch's scan; else it takes the GPU where there is one.
        precision: of products and convolutions; see `Model`.
        calibrated: with its temperature and thresholds, which `auscult analyse calibration` makes for a run folder and
            `auscult export` puts into a file; None takes them where they are.

    Raises:
        AuscultError: E_RUN when there is no run, its weights are missing or damaged, or no calibration fits them.
    """
    source = find(model)
    file = weights_file(source, selection)
    told = read_told(file)
    if device is None and precision == "fp32" and not os.environ.get("AUSCULT_SCAN") and light.takes(told):
        return Model(light.LightNetwork(file, told), told, file, choice_of(source, told, calibrated))
    from .network import load_network

    network = load_network(source, selection, device, precision)
    return Model(network, told, file, choice_of(source, told, calibrated))


def choice_of(source: Path, told: Told, calibrated: bool | None) -> Choice | None:
    """The temperature and thresholds of a model; see `load`."""
    found = None if calibrated is False else choice_in(told.facts)
    if found is not None or calibrated is False or (calibrated is None and not (source / FILE).is_file()):
        return found
    try:
        return Choice.of(read_calibration(source, told.sha256))
    except AuscultError as error:
        if calibrated:
            raise
        say(f"probabilities are not calibrated: {error.message}")
        return None


def predict(
    path: str | Path,
    model: str | Path | None = None,
    cycles: Sequence[Interval] | Literal["whole"] | None = None,
) -> Prediction:
    """`load` and `Model.predict` in one; for more than one recording, load once."""
    return load(model).predict(path, cycles)


def mean_abnormal(cycles: Sequence[PredictedCycle]) -> float | None:
    """Mean P(abnormal) of breaths, weighted by their length; None without one."""
    if not cycles:
        return None
    seconds = np.array([c.end_s - c.start_s for c in cycles])
    return float(np.average([c.p_abnormal for c in cycles], weights=seconds))


class _Callable(ModuleType):
    """Lets ``auscult.predict(path)`` work although ``auscult.predict`` is this module too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        return predict(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
