"""One recording through decoder and model, and the result as JSON: what the worker process does."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..predict import Model
from ..prediction import Prediction
from ..runs import file_sha256, without_nan
from . import listening

DECODED = 0.1  # share of the work that is done when the recording is decoded


def analyse(model: Model, path: Path, folder: Path, told: Callable[[float], None]) -> dict[str, Any]:
    """Decodes into `folder`, then predicts.

    Args:
        told: gets the share that is done, 0 to 1.

    Returns:
        ``sha256`` of the file, and what `as_json` gives.

    Raises:
        AuscultError: for what cannot be decoded or predicted.
    """
    duration_s = listening.make(path, folder, model.clip.sample_rate)
    told(DECODED)
    prediction = model.predict(path, progress=lambda s: told(min(1.0, DECODED + (1 - DECODED) * s / duration_s)))
    return {"sha256": file_sha256(path), **as_json(prediction)}


def as_json(found: Prediction) -> dict[str, Any]:
    """What the page is told of a prediction; the only place here that knows its fields."""
    p = np.array([list(c.probabilities.values()) for c in found.cycles]).reshape(-1, len(found.classes))
    told = {
        "prediction": found.to_dict(),
        "duration_s": found.duration_s,
        "native_rate_hz": found.native_rate_hz,
        "bandwidth_hz": found.bandwidth_hz,
        "notes": found.notes,
        "verdict": asdict(found.verdict),
        "said": found.said,
        "why": found.why,
        "p_abnormal": found.p_abnormal,
        "doubt": doubt(p, found.said == "cannot say"),
    }
    return without_nan(told)


def doubt(p: np.ndarray, unsure: bool) -> float:
    """How much a recording asks for a listener: 0 where every breath is sure of its class, 1 where none is at all.

    The mean over breaths of 1 - max(p), over its largest value 1 - 1/K. A recording that the model would not judge
    comes before every one that it judged.

    Args:
        p: (N, K) probabilities of the breaths.
        unsure: the model would not say normal or abnormal.

    >>> doubt(np.array([[1.0, 0.0], [0.5, 0.5]]), False), doubt(np.array([[1.0, 0.0], [0.5, 0.5]]), True)
    (0.25, 0.75)
    """
    breaths, classes = p.shape
    mean = float((1 - p.max(axis=1)).mean()) * classes / max(1, classes - 1) if breaths else 1.0
    return round(mean / 2 + (0.5 if unsure else 0.0), 4)
