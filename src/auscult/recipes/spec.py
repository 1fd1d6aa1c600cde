"""What a study, an evaluation and a run folder ask of a recipe, whatever it trains."""

from pathlib import Path
from typing import Literal

from torch import nn

from ..data.material import Material
from ..data.splits import check_kind
from ..errors import AuscultError
from ..runs import Run

Selection = Literal["last", "validation", "best_on_test"]


class RecipeSpec:
    """Base of every recipe spec: names the split, the choice of the epoch, and how to gather, build and fit."""

    name: str
    epochs: int
    split: str
    validation: float
    validation_seed: int
    selection: Selection
    selection_task: str | None
    also_best_on_test: bool

    def check_choice(self) -> None:
        """Refuses a split or a choice of the epoch that cannot be; every recipe calls it when it is made.

        Raises:
            ValueError: a share out of range, or ``selection=validation`` without a validation part.
            AuscultError: E_SETTING for an unknown split.
        """
        check_kind(self.split)
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation={self.validation}; a fraction of the training cycles in [0, 1) is needed")
        if self.selection == "validation" and self.validation == 0:
            raise ValueError("selection=validation needs validation > 0; or set selection=last")

    def check_processes(self, count: int) -> None:
        """Refuses a number of processes that cannot train this together.

        Raises:
            AuscultError: E_SETTING.
        """
        if count > 1:
            raise AuscultError("E_SETTING", f"{self.name} is no network: one process trains it; leave out --processes.")

    def prepare(self, run: Run) -> None:
        """Gets, or misses, what the recipe starts from, before any time is spent."""

    def material(
        self, dataset: str, data: Path, *, split: str | None = None, partial: bool = False, training: bool = False
    ) -> Material:
        """What a run of this recipe learns from and is judged on.

        Args:
            split: instead of the recipe's own.
            partial: use the recordings that are there when others have no audio.
            training: with what only training needs.
        """
        raise NotImplementedError(f"{type(self).__name__} has no material()")

    def build_model(self, classes: int) -> nn.Module:
        """The untrained model for K = `classes`: a `Batch`'s ``fbank`` to logits (B, K)."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model()")

    def fit(self, stuff: Material, run: Run, seed: int, resume: bool) -> None:
        """Trains and leaves weights and metrics.jsonl in the run folder."""
        raise NotImplementedError(f"{type(self).__name__} has no fit()")
