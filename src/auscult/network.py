"""The networks of `predict` in torch: every backbone, on every device."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float16, Float32

from .config import from_dict
from .data.store import DTYPE
from .evaluate import load_model
from .light.network import LARGEST
from .models import Classifier, scan
from .recipes import Recipe
from .runs import Run
from .signal.clip import Clip

BATCH = {"cpu": 8}  # breaths at once; a core gains nothing from more, and memory follows
MANY = 32  # on any other device
Precision = Literal["fp32", "bf16"]
Array = np.ndarray


class TorchNetwork:
    """A classifier ready for filterbanks.

    Args:
        classifier: in any mode; it is put in evaluation mode.
        clip: how its filterbanks are made.
        frames: its input's own, to which every clip is brought; None for as many as there are.
        device: where it runs.
        precision: of products and convolutions.
    """

    def __init__(
        self, classifier: Classifier, clip: Clip, frames: int | None, device: str, precision: Precision = "fp32"
    ) -> None:
        self.classifier = classifier.to(device).eval()
        self.clip = clip
        self.device, self.precision = device, precision
        self.batch = BATCH.get(device, MANY)
        self.light = sum(weight.numel() for weight in classifier.parameters()) <= LARGEST
        self.frames = frames

    @property
    def one_length(self) -> str | None:
        """Why it takes clips of one length only; None where it takes any."""
        if not self.classifier.backbone.any_length:
            return f"the backbone {type(self.classifier.backbone).__name__} knows one length only"
        if self.frames is not None:
            return f"its input is stretched to {self.frames} frames, which would squeeze a long recording in time"
        return None

    def features(self, clips: Float32[Array, "B S"]) -> Float16[Array, "B T F"]:
        """The filterbanks of clips, as `data.store` keeps them."""
        return self.clip.fbank(torch.from_numpy(clips)).numpy().astype(DTYPE)

    def logits(self, stored: Float16[Array, "B T F"]) -> Float32[Array, "B K"]:
        """One number a class."""
        kind, low = torch.device(self.device).type, self.precision == "bf16"
        with torch.inference_mode(), self._scan(), torch.autocast(kind, torch.bfloat16, enabled=low):
            made = self.classifier(torch.from_numpy(stored).to(self.device).float())
        return made.float().cpu().numpy()

    def _scan(self) -> AbstractContextManager[None]:
        """A light network on a processor takes the scan in plain torch, unless AUSCULT_SCAN says otherwise.

        The compiled one is a third quicker there, and costs 90 MB and, the first time, three seconds.
        """
        return scan.prefer("chunked") if self.light and self.device == "cpu" else nullcontext()


def load_network(source: Run | Path, selection: str | None, device: str | None, precision: Precision) -> TorchNetwork:
    """The network of a run or a weights file.

    Raises:
        AuscultError: as `evaluate.load_model`.
    """
    classifier, weights = load_model(source, selection)
    recipe = from_dict(Recipe, weights.recipe)
    return TorchNetwork(classifier, recipe.clip, recipe.input.frames, device or default_device(), precision)


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
