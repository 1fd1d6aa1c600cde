"""A recipe of another kind: boosted trees on one row of numbers a cycle, in the protocol of all the others."""

from dataclasses import field
from pathlib import Path

from ..config import ADDED, spec
from ..data.columns import ColumnsSpec, Facts
from ..data.material import Material
from ..models.trees import Forest, Trees
from ..objectives.cross_entropy import Weighting
from ..runs import Run
from .spec import RecipeSpec, Selection


@spec("table_recipe")
class TableRecipe(RecipeSpec):
    """What to fit on which numbers. Splits, validation patients, scores and files are those of `Recipe`.

    Probabilities are the softmax of the summed trees, which minimise the cross-entropy of the classes of the data set;
    tasks decide by them as they do by a network's. With a weighting they are those of a world where the rare classes
    are more frequent: with ``inverse``, all alike.

    Args:
        name: the recipe's name in `RECIPES`.
        columns: the numbers.
        classifier: what learns from them.
        epochs: rounds of boosting, one tree a class each; every file that counts epochs counts rounds.
        weighting: of the classes in the cross-entropy: none, inverse or sqrt_inverse class frequency.
        split: as in `Recipe`.
        validation: as in `Recipe`: the networks beside it do not learn from these patients either.
        validation_seed: as in `Recipe`.
        selection: as in `Recipe`; with ``last`` the validation patients choose nothing.
        selection_task: as in `Recipe`.
        also_best_on_test: as in `Recipe`.
    """

    name: str
    columns: ColumnsSpec = Facts()
    classifier: Trees = Trees()
    epochs: int = 50
    weighting: Weighting = "sqrt_inverse"
    split: str = "official"
    validation: float = 0.2
    validation_seed: int = 0
    selection: Selection = "last"
    selection_task: str | None = None
    also_best_on_test: bool = field(default=False, metadata=ADDED)

    def __post_init__(self) -> None:
        self.check_choice()
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}; at least 1 round is needed")

    def material(
        self, dataset: str, data: Path, *, split: str | None = None, partial: bool = False, training: bool = False
    ) -> Material:
        kind = split or self.split
        return self.columns.material(dataset, data, kind, self.validation, self.validation_seed, partial=partial)

    def build_model(self, classes: int) -> Forest:
        """Trees that say nothing yet, for K = `classes`."""
        return self.classifier.build(self.epochs, classes)

    def fit(self, stuff: Material, run: Run, seed: int, resume: bool) -> None:
        from ..table import fit  # which knows this class

        fit(self, stuff, run, seed)
