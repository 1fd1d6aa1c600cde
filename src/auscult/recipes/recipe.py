"""The recipe: one frozen dataclass holds everything that decides what a run learns."""

from typing import Literal

from torch import nn

from ..config import spec
from ..models import BackboneSpec, Classifier, Dass, HeadSpec, LinearHead
from ..objectives import CrossEntropy, ObjectiveSpec
from ..optim import AdamW, Cosine, OptimizerSpec
from ..signal.clip import Clip
from ..signal.spectrogram import Input

Selection = Literal["last", "validation", "best_on_test"]


@spec("recipe")
class Recipe:
    """What to train, on what, and which epoch to keep. Saved as JSON in the run folder, and in every weights file.

    Args:
        name: the recipe's name in `RECIPES`.
        clip: waveform to stored fbank; its fingerprint names the feature store.
        input: stored fbank to network input.
        sampler: ``shuffle`` sees each cycle once an epoch; ``balanced`` draws N cycles with weight 1/n_class.
        drop_last: leave out the last short batch of an epoch, as the lineage does.
        precision: ``bf16`` autocasts forward and loss; the scan's state stays in fp32. No loss scaler either way.
        clip_grad: largest gradient norm; None leaves it alone.
        split: ``official``, ``clean`` (shared patients dropped from test) or ``strict`` (moved).
        validation: fraction of the training cycles, whole patients, kept for choosing the epoch.
        validation_seed: which patients those are; kept apart from the run's seed, so that seeds differ in nothing else.
        selection: which epoch is the model. ``validation`` is the honest one; ``best_on_test`` exists only to reproduce
            the literature, costs an evaluation an epoch, and is labelled wherever its number appears.
        selection_task: the task whose Score chooses, by name; None takes the data set's main task.
    """

    name: str
    clip: Clip = Clip()
    input: Input = Input()
    backbone: BackboneSpec = Dass()
    head: HeadSpec = LinearHead()
    objective: ObjectiveSpec = CrossEntropy()
    optimizer: OptimizerSpec = AdamW()
    schedule: Cosine = Cosine()
    epochs: int = 50
    batch_size: int = 16
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    drop_last: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    clip_grad: float | None = None
    split: Literal["official", "clean", "strict"] = "official"
    validation: float = 0.2
    validation_seed: int = 0
    selection: Selection = "validation"
    selection_task: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs={self.epochs} and batch_size={self.batch_size} must be at least 1")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation={self.validation}; a fraction of the training cycles in [0, 1) is needed")
        if self.selection == "validation" and self.validation == 0:
            raise ValueError("selection=validation needs validation > 0; or set selection=last")

    def build_model(self, classes: int) -> Classifier:
        """The untrained model for K = `classes`."""
        backbone = self.backbone.build()
        head: nn.Module = self.head.build(backbone.features, classes)
        return Classifier(self.input.build(self.clip.n_mels), backbone, head)
