"""The most confident errors of a part, and the spectrogram of each: what the model heard when it was most wrong."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

from ..data.cycles import Corpus, Cycle
from ..evaluate import Evaluation
from ..signal import efficientat
from ..signal.clip import Clip
from ..signal.mel import LOW_HZ, frame_count, frame_hop, mel_centres
from .figures import STYLE, svg

COUNT = 6
COLUMNS = 240  # of a drawing; longer cycles are averaged to so many
RANGE_DB = 60.0
DB = 10 / np.log(10)  # a step of 1 in the natural log of an energy
TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)
COLOURS = colormaps["magma"].resampled(32)  # few colours: a quarter of the bytes


@dataclass(frozen=True, kw_only=True)
class Error:
    """One cycle that was classified wrongly.

    Args:
        row: of the corpus.
        predicted: name of the class.
        probability: of that class.
        of_truth: probability of the class of the truth.
    """

    row: int
    cycle: Cycle
    truth: str
    predicted: str
    probability: float
    of_truth: float

    def words(self) -> str:
        """What happened, and where to hear it."""
        c = self.cycle
        return (
            f"{self.truth}, predicted {self.predicted} with {self.probability:.2f} (the truth with {self.of_truth:.2f})"
            f": {c.recording}, {c.start_s:.2f} to {c.end_s:.2f} s"
        )


def confident_errors(e: Evaluation, corpus: Corpus, count: int = COUNT) -> list[Error]:
    """The errors with the highest probability of a wrong class, at most one a patient."""
    truth = np.array([corpus.cycles[row].label for row in e.rows])
    said, places = e.probabilities.argmax(axis=1), np.arange(len(e.rows))
    sure = np.where(said == truth, -1.0, e.probabilities[places, said])
    found: dict[str, Error] = {}
    for i in np.argsort(-sure, kind="stable"):
        if sure[i] < 0 or len(found) == count:
            break
        cycle = corpus.cycles[e.rows[i]]
        error = Error(
            row=e.rows[i],
            cycle=cycle,
            truth=corpus.classes[truth[i]],
            predicted=corpus.classes[said[i]],
            probability=float(sure[i]),
            of_truth=float(e.probabilities[i, truth[i]]),
        )
        found.setdefault(cycle.patient, error)
    return list(found.values())


def centres_hz(clip: Clip) -> Float[np.ndarray, "F"]:
    """Centre of every mel bin of a stored filterbank."""
    if clip.filterbank == "efficientat":
        return mel_centres(clip.n_mels, efficientat.LOW_HZ, efficientat.HIGH_HZ)
    return mel_centres(clip.n_mels, LOW_HZ, clip.sample_rate / 2)


def shown_frames(fbank: Float[np.ndarray, "T F"], clip: Clip, duration_s: float) -> Float[np.ndarray, "t F"]:
    """The frames that lie within the cycle, without its repetitions; with padding by zeros the whole clip."""
    whole = frame_count(int(duration_s * clip.sample_rate), clip.sample_rate)
    return fbank if clip.pad == "zero" else fbank[: max(1, whole)]


def narrowed(fbank: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "t F"]:
    """Energies averaged over neighbouring frames until they are few enough to draw; in the same log."""
    group = -(-len(fbank) // COLUMNS)
    pieces = np.array_split(np.exp(fbank.astype(np.float64)), -(-len(fbank) // group))
    return np.log(np.stack([piece.mean(axis=0) for piece in pieces]))


def spectrogram(fbank: Float[np.ndarray, "T F"], clip: Clip, cycle: Cycle) -> str:
    """A cycle as SVG: time in s, as in the recording, and frequency in Hz on the mel scale of the model.

    Args:
        fbank: natural log of mel energies of its clip, as stored.
    """
    shown = shown_frames(fbank, clip, cycle.duration_s)
    length_s = len(shown) * frame_hop(clip.sample_rate) / clip.sample_rate
    level = DB * narrowed(shown).T
    start = 0.0 if clip.pad == "zero" else cycle.start_s
    centres = centres_hz(clip)
    ticks = [hz for hz in TICKS_HZ if centres[0] <= hz <= centres[-1]]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.imshow(
            level - level.max(),
            origin="lower",
            aspect="auto",
            interpolation="none",
            cmap=COLOURS,
            vmin=-RANGE_DB,
            vmax=0,
            extent=(start, start + length_s, -0.5, len(centres) - 0.5),
        )
        axes.set_yticks(np.interp(ticks, centres, np.arange(len(centres))), [str(hz) for hz in ticks])
        axes.set_xlabel("time in the clip (s)" if clip.pad == "zero" else "time in the recording (s)")
        axes.set_ylabel("frequency (Hz)")
        return svg(figure)
