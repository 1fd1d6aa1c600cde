"""`auscult bench predict`: whole recordings through `auscult.load(run).predict`, files and audio seconds a second."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from ..config import to_dict
from ..data.icbhi import CLASSES
from ..errors import AuscultError
from ..models.scan import force
from ..models.weights import Weights, save_weights
from ..predict import Model, load
from ..recipes import recipe
from .document import document
from .setting import Setting, prepare
from .timing import Clock, Contestant, race

RECORDING_S, NATIVE_HZ = 20.0, 44100
TOLERANCE = 2e-3  # of probabilities, which are rounded to four decimals


def measure(setting: Setting, *, run: Path | None = None, files: int = 8) -> dict[str, Any]:
    """Times the prediction of a folder of synthetic recordings of 20 s, each decoded, cut into windows and classified.

    Args:
        run: a run folder or weights file; None takes the untrained network of the recipe of `setting.size`.
        files: recordings.

    Raises:
        AuscultError: E_SETTING without a file; as `auscult.load`.
    """
    if files < 1:
        raise AuscultError("E_SETTING", f"--files {files}; 1 or more is needed.")
    state = prepare(setting)
    with tempfile.TemporaryDirectory() as folder:
        paths = _recordings(Path(folder), files)
        model = load(run or untrained(Path(folder), setting.size), device=setting.device)
        whole = Contestant(
            name="predict",
            work=lambda: [model.predict(path) for path in paths],
            error=_error(model, paths[0]),
            tolerance=TOLERANCE,
        )
        rows = race([whole], setting.rounds, Clock(threads=setting.threads, device=setting.device), "predict")
    seconds = rows[0]["min_ms"] / 1e3 if "min_ms" in rows[0] else None
    return document(
        "predict",
        setting,
        state,
        options={"run": run is not None, "files": files},
        races={"folder": rows},
        recipe=model.recipe["name"],
        files_per_s=files / seconds if seconds else None,
        realtime=files * RECORDING_S / seconds if seconds else None,
        notes=[f"recordings of {RECORDING_S:g} s at {NATIVE_HZ} Hz, windows of {model.clip.length_s:g} s"],
    )


def untrained(folder: Path, size: str) -> Path:
    """A weights file of the recipe `dass_<size>` as it is before training."""
    settings = recipe(f"dass_{size}")
    torch.manual_seed(0)
    weights = Weights(
        state=settings.build_model(len(CLASSES)).state_dict(),
        recipe=to_dict(settings),
        classes=CLASSES,
        facts={"dataset": "icbhi", "seed": 0},
    )
    save_weights(folder / "untrained.safetensors", weights)
    return folder / "untrained.safetensors"


def _recordings(folder: Path, files: int) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.wav" for number in range(files)]
    for path in paths:
        noise = generator.normal(0, 0.1, round(RECORDING_S * NATIVE_HZ))
        soundfile.write(path, noise, NATIVE_HZ, "PCM_16")
    return paths


def _error(model: Model, path: Path) -> float:
    """Largest difference of a probability from the same recording on the definition of the scan."""
    with force("reference"):
        exact = model.predict(path)
    found = model.predict(path)
    pairs = zip(exact.cycles, found.cycles, strict=True)
    return max(abs(a.probabilities[k] - b.probabilities[k]) for a, b in pairs for k in exact.classes)
