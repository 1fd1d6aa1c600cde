"""Models by name, and what a model needs beside its weights to speak of a recording: threshold, temperature, limits.

The models in the package lie in ``auscult/weights``. docs/model.md says how they were made, with their scores.
"""

import math
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .calibration import Calibration
from .errors import AuscultError

DEFAULT = "auscult-nano"
MODELS = {DEFAULT: "auscult_nano.safetensors"}
KEY = "choice"  # in the facts of a weights file


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What a threshold of P(abnormal) achieves on the breaths of the validation patients; fractions of 1."""

    threshold: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How probabilities become words.

    Args:
        temperature: logits are divided by it.
        threshold: a breath is abnormal where P(abnormal) is at least this.
        recording: a recording is abnormal where the mean P(abnormal) of its breaths is at least this.
        unsure: nothing is said of a recording whose mean lies between these two.
        points: of the validation patients, by rising threshold; for a slider.
        measured: what was measured on which cycles, for the card.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    recording: float = 0.5
    unsure: tuple[float, float] = (0.5, 0.5)
    points: tuple[OperatingPoint, ...] = ()
    measured: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for the facts of a weights file."""
        return asdict(self)

    @classmethod
    def of(cls, calibration: Calibration) -> "Choice":
        """That of a calibrated run: one threshold for breaths and recordings."""
        t = calibration.threshold
        return cls(temperature=calibration.temperature, threshold=t, recording=t, unsure=(t, t))

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Choice":
        """The inverse of `to_dict`.

        Raises:
            LookupError, TypeError, ValueError: for what `to_dict` would not make.
        """
        points = tuple(OperatingPoint(**point) for point in told["points"])
        made = cls(**(told | {"points": points, "unsure": tuple(told["unsure"])}))
        shares = (made.threshold, made.recording, *made.unsure)
        if not (0 < made.temperature < math.inf and len(made.unsure) == 2 and all(0 <= s <= 1 for s in shares)):
            raise ValueError(f"temperature {made.temperature} and thresholds {shares}")
        return made


def choice_in(facts: dict[str, Any]) -> Choice | None:
    """What `auscult export` has put beside the weights; None for weights as training leaves them.

    Raises:
        AuscultError: E_RUN for one that cannot be.
    """
    if KEY not in facts:
        return None
    try:
        return Choice.from_dict(facts[KEY])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise AuscultError(
            "E_RUN", f"the weights have thresholds that cannot be used: {error}. Export again."
        ) from error


def find(model: str | Path | None) -> Path:
    """The weights file, or the run folder, that a model means: a name, a path, or None for the model in the package.

    Raises:
        AuscultError: E_RUN where there is none.
    """
    name = str(model or DEFAULT)
    if name in MODELS and not Path(name).exists():
        return Path(str(files(__package__) / "weights" / MODELS[name]))
    if not Path(name).exists():
        raise AuscultError(
            "E_RUN",
            f"no model {name!r}: it is neither a run folder nor a weights file nor one of {', '.join(MODELS)}. "
            "`auscult train` makes a run; without --model the one in the package is used.",
        )
    return Path(name)
