"""What a model makes of a recording: its breaths, its summary, and how that is shown and saved."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .analysis import RESEARCH_ONLY
from .analysis.spreadsheet import csv_text
from .errors import AuscultError
from .formats import WRITERS, Row
from .formats import write as formatted
from .runs import write_json, write_text
from .signal.verdict import Verdict

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Interval = tuple[float, float]
Source = Literal["given", "annotation", "segmented", "windows", "whole"]
Said = Literal["normal", "abnormal", "cannot say"]


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

    @property
    def p_abnormal(self) -> float:
        """1 - P(normal); the first class is normal."""
        return 1 - next(iter(self.probabilities.values()))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model makes of one recording. Research use only, not a medical device.

    Args:
        recording: the path as given, odd bytes escaped.
        cycles: in order of time.
        cycles_from: ``given`` by the caller, an ``annotation`` file, ``segmented`` by `signal.segment`, ``windows`` of
            fixed length, or ``whole``: one interval from beginning to end.
        classes: names of the classes in the order of the model.
        duration_s: length of the recording, seconds.
        native_rate_hz: sample rate of the file.
        bandwidth_hz: frequency above which nothing is left but the floor (`signal.bandwidth`); None for silence.
        verdict: whether the recording is good enough to judge, and why not.
        said: of the recording as a whole: ``normal``, ``abnormal``, or ``cannot say`` where it is too poor, or its
            probability between the two thresholds.
        p_abnormal: mean P(abnormal) of its breaths, weighted by their length; None without a breath.
        why: in words, where nothing can be said; empty otherwise.
        notes: what a listener should know: ``truncated``, ``silent``, ``clipped`` and the like.
    """

    recording: str
    cycles: tuple[PredictedCycle, ...]
    cycles_from: Source
    classes: tuple[str, ...]
    duration_s: float
    native_rate_hz: int
    bandwidth_hz: float | None
    verdict: Verdict
    said: Said
    p_abnormal: float | None
    why: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"note": RESEARCH_ONLY}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Prediction":
        """The inverse of `to_dict`, from JSON."""
        fields = {name: told[name] for name in cls.__dataclass_fields__}
        verdict = Verdict(**(told["verdict"] | {"reasons": tuple(told["verdict"]["reasons"])}))
        fields |= {"cycles": tuple(PredictedCycle(**cycle) for cycle in told["cycles"]), "verdict": verdict}
        return cls(**(fields | {"classes": tuple(told["classes"]), "notes": tuple(told["notes"])}))

    def counts(self) -> list[int]:
        """Cycles of each predicted class, in the order of `classes`."""
        return [sum(c.label == name for c in self.cycles) for name in self.classes]

    def rows(self) -> list[list[Any]]:
        """One row a cycle; the columns are those of `header`."""
        return [
            [
                *(self.recording, c.start_s, c.end_s, self.cycles_from, c.label, *c.probabilities.values()),
                *(() if c.abnormal is None else (c.abnormal,)),
                *(() if c.quality is None else (c.quality,)),
            ]
            for c in self.cycles
        ]

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a breath, by (recording, start_s, end_s); needs pandas: ``pip install 'auscult[tables]'``."""
        import pandas

        frame = pandas.DataFrame(self.rows(), columns=self.header())
        return frame.set_index(["recording", "start_s", "end_s"])

    def plot(self, sound: str | Path | None = None) -> "Figure":
        """Spectrogram and breaths on one time axis; needs matplotlib: ``pip install 'auscult[train]'``.

        Args:
            sound: the recording, when it is no longer where it was.
        """
        from .analysis.recording_figure import recording_figure

        return recording_figure(self, Path(sound or self.recording))

    def as_text(self, kind: str) -> str:
        """The breaths as ``icbhi``, ``audacity``, ``raven`` or ``textgrid``.

        Raises:
            AuscultError: E_SETTING for another kind, or classes that the format does not know.
        """
        rows = [
            Row(start_s=c.start_s, end_s=c.end_s, label=c.label, confidence=c.probabilities[c.label])
            for c in self.cycles
        ]
        return formatted(kind, rows, self.recording, self.duration_s)

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Writes the breaths as ``.csv``, everything as ``.json``, or one of the kinds of `formats`.

        Args:
            format: what to write; None goes by the ending: .csv, .json, .TextGrid.

        Raises:
            AuscultError: E_SETTING for another ending, E_DISK.
        """
        path = Path(path)
        kind = format or {".csv": "csv", ".json": "json", ".TextGrid": "textgrid"}.get(path.suffix)
        if kind == "csv":
            write_text(path, csv_text(self.header(), self.rows()))
        elif kind == "json":
            write_json(path, self.to_dict())
        elif kind in WRITERS:
            write_text(path, self.as_text(kind))
        else:
            known = ", ".join(("csv", "json", *WRITERS))
            raise AuscultError(
                "E_SETTING",
                f"cannot save to {str(path)!r}; it must end in .csv, .json or .TextGrid, or name a format: {known}.",
            )

    def header(self) -> list[str]:
        measured = any(c.quality is not None for c in self.cycles)
        return header(self.classes, measured, any(c.abnormal is not None for c in self.cycles))

    def _repr_html_(self) -> str:
        """The recording in a notebook: what is said of it, and a table of its breaths."""
        from .analysis.recording_html import recording_html

        return recording_html(self)


def header(classes: Sequence[str], quality: bool = False, calibrated: bool = False) -> list[str]:
    """Columns of predictions.csv."""
    columns = ["recording", "start_s", "end_s", "cycles_from", "predicted", *(f"p_{name}" for name in classes)]
    return [*columns, *(["abnormal"] if calibrated else []), *(["quality"] if quality else [])]


def summary_header(classes: Sequence[str]) -> list[str]:
    """Columns of recordings.csv."""
    first = ["recording", "said", "p_abnormal", "why", "verdict", "reasons", "duration_s", "native_rate_hz"]
    return [*first, "bandwidth_hz", "cycles_from", "cycles", *(f"n_{name}" for name in classes), "notes"]


def summary_row(p: Prediction) -> list[Any]:
    """A recording's row under `summary_header`."""
    told = "" if p.p_abnormal is None else round(p.p_abnormal, 4)
    return [
        *(p.recording, p.said, told, p.why, p.verdict.kind, "; ".join(p.verdict.reasons)),
        *(p.duration_s, p.native_rate_hz, "" if p.bandwidth_hz is None else round(p.bandwidth_hz), p.cycles_from),
        *(len(p.cycles), *p.counts(), "; ".join(p.notes)),
    ]
