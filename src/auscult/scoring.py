"""One recording becomes one line, wherever that is done: in this process, in a worker's, on another machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .analysis.spreadsheet import printable
from .errors import AuscultError

if TYPE_CHECKING:
    from .predict import Model

How = Literal["auto", "segment", "windows", "whole"]
Line = dict[str, Any]
Task = tuple[Path, str]
"""A recording and the sha256 of its content."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is asked of every recording, in plain values that go to another process as JSON.

    Args:
        model: a name, a run folder or a weights file; None for the model in the package.
        selection: which epoch's weights of a run.
        precision: of products and convolutions.
        calibrated: see `predict.load`.
        how: where the breaths come from.
        annotations: folder of annotation files.
    """

    model: str | None = None
    selection: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    calibrated: bool | None = None
    how: How = "auto"
    annotations: str | None = None

    def build(self) -> "Scorer":
        """Loads the model.

        Raises:
            AuscultError: E_RUN, or E_SETTING where the model cannot take recordings so.
        """
        from .predict import load

        model = load(self.model, selection=self.selection, precision=self.precision, calibrated=self.calibrated)
        if self.how == "whole":
            model.check_any_length()
        return Scorer(self, model)


class Scorer:
    """A loaded model that makes a line of the journal of each recording.

    Args:
        asked: how.
        model: that was loaded for it.
    """

    def __init__(self, asked: Scoring, model: "Model") -> None:
        self.asked = asked
        self.model = model
        self._annotations = Path(asked.annotations) if asked.annotations else None

    def line(self, file: Path, sha256: str) -> Line:
        """What becomes of one recording: its prediction, or its error."""
        told: Line = {"recording": printable(str(file)), "sha256": sha256}
        try:
            made = self.model.predict(file, annotations=self._annotations, how=self.asked.how)
            return told | {"prediction": made.to_dict()}
        except AuscultError as error:
            return told | failed(error)


def failed(error: AuscultError) -> Line:
    """The part of a line that says why there is no prediction."""
    return {"error": [error.code, printable(error.message)]}
