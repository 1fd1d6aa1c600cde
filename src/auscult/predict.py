"""From a recording to class probabilities of its breathing cycles; the CLI and the Python API both go through here.

    model = auscult.load("runs/mine")
    prediction = model.predict("101_1b1_Al_sc_Meditron.wav")
    prediction.save("101.csv")

Cycles come from the caller, or from an annotation file beside the recording; else the recording is cut into windows of
the clip's length, one after another; or it goes through the network whole, in one pass. Features are made as the
feature store makes them, float16 step included, so a cycle gets the same probabilities here as in `evaluate`.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .analysis import RESEARCH_ONLY
from .analysis.spreadsheet import csv_text, printable, probability
from .calibration import Calibration, read_calibration
from .config import from_dict
from .data import icbhi, sprsound
from .data.cycles import END_TOLERANCE_S
from .data.quality_store import scale_in, waveform_quality
from .data.store import DTYPE, cycle_features
from .errors import AuscultError
from .evaluate import load_model, weights_file
from .models import Classifier
from .models.weights import Weights, digest
from .recipes import Recipe
from .runs import write_json, write_text
from .signal import io
from .signal.quality import SAMPLE_RATE

BATCH = 32
MIN_WINDOW_S = 1.0  # a shorter rest at the end is no breath; it would be repeated to fill the clip
MAX_WHOLE_S = 3600.0  # memory grows in proportion: 10 minutes take 0.3 GB with nano, 1.7 GB with small
READERS = {".txt": icbhi.read_annotation, ".json": sprsound.read_annotation}
Interval = tuple[float, float]
Precision = Literal["fp32", "bf16"]
Source = Literal["given", "annotation", "windows", "whole"]


@dataclass(frozen=True, kw_only=True)
class PredictedCycle:
    """One breathing cycle, or window, and what the model makes of it.

    Args:
        start_s: start within the recording, seconds.
        end_s: end within the recording, seconds.
        label: the most probable class.
        probabilities: class -> probability.
        quality: audio quality score in [0, 1], on the scale of the training cycles; None where training measured none.
        abnormal: P(abnormal) reaches the threshold of a calibrated model; None for another.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: dict[str, float]
    quality: float | None = None
    abnormal: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model makes of one recording.

    Args:
        recording: the path as given, odd bytes escaped.
        cycles: in order of time.
        cycles_from: ``given`` by the caller, an ``annotation`` file, ``windows`` of fixed length, or ``whole``: one
            interval from beginning to end.
        classes: names of the classes in the order of the model.
        duration_s: length of the recording, seconds.
        native_rate_hz: sample rate of the file.
        notes: what a listener should know: ``truncated``, ``silent``, ``clipped`` and the like.
    """

    recording: str
    cycles: tuple[PredictedCycle, ...]
    cycles_from: Source
    classes: tuple[str, ...]
    duration_s: float
    native_rate_hz: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"note": RESEARCH_ONLY}

    def rows(self) -> list[list[Any]]:
        """One row a cycle; the columns are those of `Model.header`."""
        return [
            [
                *(self.recording, c.start_s, c.end_s, self.cycles_from, c.label, *c.probabilities.values()),
                *(() if c.abnormal is None else (c.abnormal,)),
                *(() if c.quality is None else (c.quality,)),
            ]
            for c in self.cycles
        ]

    def counts(self) -> list[int]:
        """Cycles of each predicted class, in the order of `classes`."""
        return [sum(c.label == name for c in self.cycles) for name in self.classes]

    def save(self, path: str | Path) -> None:
        """Writes the cycles as ``.csv``, or everything as ``.json``.

        Raises:
            AuscultError: E_SETTING for another ending, E_DISK.
        """
        path = Path(path)
        if path.suffix == ".csv":
            measured = any(c.quality is not None for c in self.cycles)
            write_text(path, csv_text(header(self.classes, measured), self.rows()))
        elif path.suffix == ".json":
            write_json(path, self.to_dict())
        else:
            raise AuscultError("E_SETTING", f"cannot save to {str(path)!r}; its name must end in .csv or .json.")


def header(classes: Sequence[str], quality: bool = False, calibrated: bool = False) -> list[str]:
    """Columns of predictions.csv."""
    columns = ["recording", "start_s", "end_s", "cycles_from", "predicted", *(f"p_{name}" for name in classes)]
    return [*columns, *(["abnormal"] if calibrated else []), *(["quality"] if quality else [])]


class Model:
    """A trained model, ready for recordings.

    Args:
        classifier: in evaluation mode.
        weights: what it was loaded from; carries recipe, class names and facts.
        file: where the weights lie.
        device: where it runs.
        precision: ``fp32``, or ``bf16`` for products and convolutions: quicker where the processor has it, and
            probabilities then differ in the second or third digit.
        calibration: its temperature and threshold; None takes the probabilities as they come.
    """

    def __init__(
        self,
        classifier: Classifier,
        weights: Weights,
        file: Path,
        device: str,
        precision: Precision = "fp32",
        calibration: Calibration | None = None,
    ) -> None:
        self.precision = precision
        self.calibration = calibration
        self.temperature = 1.0 if calibration is None else calibration.temperature
        self.classifier = classifier.to(device).eval()
        self.classes = weights.classes
        self.facts = weights.facts
        self.recipe = from_dict(Recipe, weights.recipe)
        self.clip = self.recipe.clip
        self.file = file
        self.device = device
        self.sha256 = digest(weights.state)
        self.scale = scale_in(weights.facts)

    @property
    def header(self) -> list[str]:
        """Columns of predictions.csv."""
        return header(self.classes, self.scale is not None, self.calibration is not None)

    def predict(
        self,
        path: str | Path,
        cycles: Sequence[Interval] | Literal["whole"] | None = None,
        annotations: Path | None = None,
    ) -> Prediction:
        """Classifies the breathing cycles of one recording.

        Args:
            path: an audio file.
            cycles: (start_s, end_s) of each cycle; None looks for an annotation file, then takes windows. ``"whole"``
                gives the entire recording to the network at once, neither cut nor repeated, in time and memory linear
                in its length; 1 s to 1 h.
            annotations: folder of annotation files, instead of the recording's own.

        Raises:
            AuscultError: for a file that cannot be decoded, or cycles that do not fit it; for ``"whole"`` a recording
                too short or too long, or a model of one length.
        """
        if isinstance(cycles, str):
            if cycles != "whole":
                raise ValueError(f"cycles={cycles!r}; a list of (start_s, end_s), 'whole' or None is needed")
            return self._whole(path)
        found, source = find_cycles(Path(path), cycles, annotations)
        recording = io.load(path, self.clip.sample_rate)
        duration_s, notes = recording.length_s, recording.notes
        if source == "windows":
            found, rest_s = windows(duration_s, self.clip.length_s)
            notes += (f"last {rest_s:.2f} s not used",) if rest_s else ()
        check_end(found, duration_s)
        p = self.probabilities(self.clip.fade_recording(recording.waveform), found)
        return self._prediction(path, recording, found, source, p, notes)

    def _whole(self, path: str | Path) -> Prediction:
        self.check_any_length()
        recording = io.load(path, self.clip.sample_rate)
        check_whole(recording.length_s)
        faded = torch.from_numpy(self.clip.fade_recording(recording.waveform))
        p = self.classify(self.clip.fbank(faded[None]).numpy().astype(DTYPE))
        return self._prediction(path, recording, [(0.0, recording.length_s)], "whole", p, recording.notes)

    def check_any_length(self) -> None:
        """Refuses a model that cannot take a whole recording.

        Raises:
            AuscultError: E_SETTING.
        """
        backbone, frames = self.classifier.backbone, self.recipe.input.frames
        if not backbone.any_length:
            reason = f"the backbone {type(backbone).__name__} knows one length only"
        elif frames is not None:
            reason = f"its input is stretched to {frames} frames, which would squeeze a long recording in time"
        else:
            return
        raise AuscultError("E_SETTING", f"{self.file} cannot take a whole recording: {reason}. Predict by cycles.")

    def _prediction(
        self,
        path: str | Path,
        recording: io.Recording,
        found: Sequence[Interval],
        source: Source,
        p: NDArray[np.float32],
        notes: tuple[str, ...],
    ) -> Prediction:
        return Prediction(
            recording=printable(os.fspath(path)),
            cycles=tuple(map(self._cycle, found, p, self.quality(path, recording, found))),
            cycles_from=source,
            classes=self.classes,
            duration_s=round(recording.length_s, 4),
            native_rate_hz=recording.native_rate,
            notes=notes,
        )

    def probabilities(self, faded: NDArray[np.float32], cycles: Sequence[Interval]) -> NDArray[np.float32]:
        """Class probabilities of cycles of a recording whose ends are faded. Shape: (N, K)."""
        p = np.zeros((len(cycles), len(self.classes)), np.float32)
        for bucket in self.clip.by_bucket(cycles):
            for some in (bucket[first : first + BATCH] for first in range(0, len(bucket), BATCH)):
                p[some] = self.classify(cycle_features(faded, [cycles[i] for i in some], self.clip))
        return p

    def classify(self, stored: NDArray[np.float16]) -> NDArray[np.float32]:
        """Class probabilities of filterbanks (B, T, F) as the feature store holds them. Shape: (B, K)."""
        low = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=low):
            logits = self.classifier(torch.from_numpy(stored).to(self.device).float())
            return torch.softmax(logits.float() / self.temperature, dim=-1).cpu().numpy()

    def quality(self, path: str | Path, recording: io.Recording, cycles: Sequence[Interval]) -> list[float | None]:
        """The audio quality score of each cycle; None where training measured none.

        Args:
            recording: what `path` holds, at any rate; it is decoded again where that is not 16 kHz.
        """
        if self.scale is None:
            return [None] * len(cycles)
        waveform = recording.waveform
        if recording.sample_rate != SAMPLE_RATE:
            waveform = io.load(path, SAMPLE_RATE).waveform
        return [probability(score) for score in self.scale.scores(waveform_quality(waveform, cycles))]

    def _cycle(self, times: Interval, p: NDArray[np.float32], quality: float | None) -> PredictedCycle:
        named = {name: probability(value) for name, value in zip(self.classes, p, strict=True)}
        times_s = {name: round(float(t), 4) for name, t in zip(("start_s", "end_s"), times, strict=True)}
        label = self.classes[int(p.argmax())]
        said = None if self.calibration is None else bool(1 - float(p[0]) >= self.calibration.threshold)
        return PredictedCycle(**times_s, label=label, probabilities=named, quality=quality, abnormal=said)


def load(
    run_or_weights: str | Path,
    *,
    selection: str | None = None,
    device: str | None = None,
    precision: Precision = "fp32",
    calibrated: bool = False,
) -> Model:
    """The model of a run folder or of a weights file.

    Args:
        selection: ``last``, ``validation`` or ``best_on_test``; None takes the recipe's own.
        device: torch's name of one; None takes the GPU where there is one.
        precision: of products and convolutions; see `Model`.
        calibrated: with calibration.json of the run folder, which `auscult analyse calibration` makes.

    Raises:
        AuscultError: E_RUN when there is no run, its weights are missing or damaged, or no calibration fits them.
    """
    source = Path(run_or_weights)
    classifier, weights = load_model(source, selection)
    chosen = read_calibration(source, digest(weights.state)) if calibrated else None
    return Model(classifier, weights, weights_file(source, selection), device or default_device(), precision, chosen)


def predict(
    run_or_weights: str | Path, path: str | Path, cycles: Sequence[Interval] | Literal["whole"] | None = None
) -> Prediction:
    """`load` and `Model.predict` in one; for more than one recording, load once."""
    return load(run_or_weights).predict(path, cycles)


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def windows(duration_s: float, length_s: float) -> tuple[list[Interval], float]:
    """Windows of `length_s`, one after another, and the rest in seconds that is too short to be one.

    The last window may be shorter, down to 1 s; a recording shorter than that is one window.

    >>> windows(10.0, 4.0), windows(8.5, 4.0)
    (([(0.0, 4.0), (4.0, 8.0), (8.0, 10.0)], 0.0), ([(0.0, 4.0), (4.0, 8.0)], 0.5))
    """
    whole = int(duration_s / length_s)
    found = [(i * length_s, (i + 1) * length_s) for i in range(whole)]
    rest_s = duration_s - whole * length_s
    if not found or rest_s >= MIN_WINDOW_S:
        return [*found, (whole * length_s, duration_s)], 0.0
    return found, rest_s


def find_cycles(
    path: Path, given: Sequence[Interval] | None, annotations: Path | None
) -> tuple[list[Interval], Source]:
    """Where the cycles of a recording are, and who says so; empty for windows.

    Raises:
        AuscultError: E_ANNOTATION for an annotation file that cannot be trusted.
    """
    if given is not None:
        return [(float(start), float(end)) for start, end in given], "given"
    for suffix, read in READERS.items():
        file = (annotations or path.parent) / f"{path.stem}{suffix}"
        if file.is_file() and file != path:
            try:
                return [(start, end) for start, end, _ in read(file)], "annotation"
            except OSError as error:
                raise AuscultError("E_ANNOTATION", f"{file} cannot be read: {error.strerror}.") from error
    return [], "windows"


def check_end(cycles: Sequence[Interval], duration_s: float) -> None:
    """Refuses cycles that end more than 50 ms after the recording.

    Raises:
        AuscultError: E_ANNOTATION.
    """
    for start_s, end_s in cycles:
        if end_s > duration_s + END_TOLERANCE_S:
            raise AuscultError(
                "E_ANNOTATION",
                f"the cycle from {start_s:g} s ends at {end_s:g} s, the audio at {duration_s:.3f} s; the audio is cut "
                "short or the annotation belongs to another recording.",
            )


def check_whole(duration_s: float) -> None:
    """Refuses recordings that one pass cannot take.

    Raises:
        AuscultError: E_TOO_SHORT under 1 s, E_FORMAT over an hour.
    """
    if duration_s < MIN_WINDOW_S:
        raise AuscultError(
            "E_TOO_SHORT", f"the recording lasts {duration_s:.2f} s; in one pass {MIN_WINDOW_S:g} s are needed."
        )
    if duration_s > MAX_WHOLE_S:
        raise AuscultError(
            "E_FORMAT",
            f"the recording lasts {duration_s:.0f} s; one pass takes {MAX_WHOLE_S:g} s at most, its memory grows with "
            "the length. Cut it into shorter files, or predict by cycles or windows.",
        )


class _Callable(ModuleType):
    """Lets ``auscult.predict(run, path)`` work although ``auscult.predict`` is this module too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        return predict(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
