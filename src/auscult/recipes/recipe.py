"""The recipe: one frozen dataclass holds everything that decides what a run learns."""

from dataclasses import field
from pathlib import Path
from typing import Literal

from torch import nn

from ..config import ADDED, spec
from ..data.material import Material, material, with_cycles
from ..errors import AuscultError
from ..models import BackboneSpec, Classifier, Dass, HeadSpec, LinearHead
from ..models.pretrained import locate
from ..objectives import CrossEntropy, ObjectiveSpec
from ..optim import AdamW, Cosine, OptimizerSpec
from ..runs import Run
from ..signal.clip import Clip
from ..signal.spectrogram import Input
from .spec import RecipeSpec, Selection


@spec("recipe")
class Recipe(RecipeSpec):
    """What to train, on what, and which epoch to keep. Saved as JSON in the run folder, and in every weights file.

    Args:
        name: the recipe's name in `RECIPES`.
        clip: waveform to stored fbank; its fingerprint names the feature store.
        input: stored fbank to network input.
        weights: what the backbone starts from: a name of `auscult weights list`, or a checkpoint file. None: random.
        partial_weights: take `weights` that fill less than 95 % of the backbone.
        sampler: ``shuffle`` sees each cycle once an epoch; ``balanced`` draws N cycles with weight 1/n_class.
        drop_last: leave out the last short batch of an epoch, as the lineage does.
        precision: ``bf16`` autocasts forward and loss; the scan's state stays in fp32. No loss scaler either way.
        clip_grad: largest gradient norm; None leaves it alone.
        moving_average: share of the weights from before a step that is mixed back in after it (Patch-Mix CL and its
            descendants: 0.5, which halves every step); 0 leaves the step alone.
        split: ``official``, ``clean`` (shared patients dropped from test), ``strict`` (moved from train to test), or
            ``device:NAME``, which leaves one device out of training and tests on it; see `data.splits.split`.
        validation: fraction of the training cycles, whole patients, kept for choosing the epoch.
        validation_seed: which patients those are; kept apart from the run's seed, so that seeds differ in nothing else.
        selection: which epoch is the model. ``validation`` is the honest one; ``best_on_test`` exists only to reproduce
            the literature, costs an evaluation an epoch, and is labelled wherever its number appears. The weights of
            the last epoch are kept in any case, and those chosen by validation where there is a validation part.
        also_best_on_test: keep those of the epoch that is best on the test set too, for the column that the literature
            prints; they are never what the recipe is scored by.
        selection_task: the task whose Score chooses, by name; None takes the data set's main task.
        compile: run the backbone's `encode` through torch.compile with this backend while training. ``inductor`` needs
            a C++ compiler on a processor, and gains nothing there (docs/performance.md); ``aot_eager`` is for finding
            faults.
    """

    name: str
    clip: Clip = Clip()
    input: Input = Input()
    backbone: BackboneSpec = Dass()
    weights: str | None = field(default=None, metadata=ADDED)
    partial_weights: bool = field(default=False, metadata=ADDED)
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
    split: str = "official"
    validation: float = 0.2
    validation_seed: int = 0
    selection: Selection = "validation"
    selection_task: str | None = None
    moving_average: float = field(default=0.0, metadata=ADDED)
    also_best_on_test: bool = field(default=False, metadata=ADDED)
    compile: Literal["none", "inductor", "aot_eager"] = field(default="none", metadata=ADDED)

    def __post_init__(self) -> None:
        self.check_choice()
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs={self.epochs} and batch_size={self.batch_size} must be at least 1")
        if not 0 <= self.moving_average < 1:
            raise ValueError(f"moving_average={self.moving_average}; a share in [0, 1) is needed")
        if self.clip.buckets_s and self.input.frames is not None:
            raise ValueError(
                f"input.frames={self.input.frames} would stretch each of clip.buckets_s by another factor; "
                "set input.frames=none, or leave the buckets out"
            )

    def check_processes(self, count: int) -> None:
        if not 1 <= count <= self.batch_size:
            raise AuscultError(
                "E_SETTING",
                f"{count} processes for a batch of {self.batch_size} clips; 1 to {self.batch_size} can share it.",
            )

    def prepare(self, run: Run) -> None:
        """Fetches, or misses, the weights that a run starts from."""
        if self.weights is not None and not run.checkpoint.exists():
            locate(self.weights)

    def material(
        self, dataset: str, data: Path, *, split: str | None = None, partial: bool = False, training: bool = False
    ) -> Material:
        """Filterbanks of every cycle; for training what the objective asks for too: audio quality, more cycles."""
        stuff = material(
            dataset,
            data,
            self.clip,
            split or self.split,
            self.validation,
            self.validation_seed,
            partial=partial,
            quality=self.objective.quality_asked if training else None,
        )
        extra = self.objective.extra_cycles(stuff.corpus.cycles) if training else ()
        if extra and self.sampler == "balanced":
            raise AuscultError(
                "E_SETTING",
                f"sampler=balanced draws by class, and {len(extra)} windows that the objective brings have none; set "
                "sampler=shuffle, or make the teacher's file without --windows.",
            )
        return with_cycles(stuff, self.clip, extra)

    def fit(self, stuff: Material, run: Run, seed: int, resume: bool) -> None:
        """Trains the network, or goes on from its checkpoint."""
        from ..train import Trainer  # which knows this class

        Trainer(self, stuff, run, seed).fit(resume)

    def build_model(self, classes: int) -> Classifier:
        """The untrained model for K = `classes`."""
        backbone = self.backbone.build()
        if self.clip.buckets_s and not backbone.any_length:
            raise AuscultError(
                "E_SETTING", f"{type(backbone).__name__} takes clips of one length only; leave out clip.buckets_s."
            )
        head: nn.Module = self.head.build(backbone.features, classes)
        return Classifier(self.input.build(self.clip), backbone, head)
