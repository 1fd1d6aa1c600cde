"""Gradient-boosted decision trees as a module: fitted elsewhere, kept as plain arrays, asked with a few lookups.

The arrays have one shape for one recipe, so a run of trees is stored, checked and loaded as that of any network, and
nothing runs when it is read.

Source: Friedman 2001, "Greedy function approximation: a gradient boosting machine"; Ke et al. 2017 (LightGBM), whose
histograms scikit-learn's HistGradientBoostingClassifier follows.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import spec
from ..errors import AuscultError


@spec("trees")
class Trees:
    """Gradient-boosted trees: every round adds one tree a class. How many rounds is `epochs` of the recipe.

    Args:
        learning_rate: share of each tree that is added.
        leaves: largest number of leaves of a tree.
        leaf_cycles: cycles a leaf must hold at least.
        columns_share: share of the columns that each split looks at, drawn anew from the run's seed; with 1 nothing is
            drawn, and every seed gives the same trees.
        l2: penalty on the values of the leaves.
    """

    learning_rate: float = 0.1
    leaves: int = 8
    leaf_cycles: int = 20
    columns_share: float = 1.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        if self.leaves < 2 or self.leaf_cycles < 1 or self.l2 < 0:
            raise ValueError(
                f"leaves={self.leaves}, leaf_cycles={self.leaf_cycles}, l2={self.l2}; at least 2, 1 and 0 are needed"
            )
        if not (0 < self.learning_rate <= 1 and 0 < self.columns_share <= 1):
            raise ValueError(
                f"learning_rate={self.learning_rate}, columns_share={self.columns_share}; shares in (0, 1] are needed"
            )

    def build(self, rounds: int, classes: int) -> "Forest":
        """Trees that say nothing yet."""
        return Forest(rounds, classes, self.leaves)


class Forest(nn.Module):
    """R rounds of K trees of at most N nodes; the logits are the sum of the leaves a cycle falls into.

    Node 0 is the root; a leaf points at itself. A number that is not known (NaN) goes left where `unknown_left` says.

    Args:
        rounds: R.
        classes: K.
        leaves: of a tree, at most; N = 2 leaves - 1.
    """

    def __init__(self, rounds: int, classes: int, leaves: int) -> None:
        super().__init__()
        shape = (rounds, classes, 2 * leaves - 1)
        self.column: Tensor
        self.threshold: Tensor
        self.left: Tensor
        self.right: Tensor
        self.unknown_left: Tensor
        self.value: Tensor
        self.start: Tensor
        self.columns: Tensor
        self.register_buffer("column", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("left", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("right", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("unknown_left", torch.zeros(shape, dtype=torch.bool))
        self.register_buffer("value", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("start", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("columns", torch.zeros((), dtype=torch.int64))

    def forward(self, fbank: Float[Tensor, "B 1 C"]) -> Float[Tensor, "B K"]:
        """Logits of rows of C numbers; -inf for a class that training never saw."""
        return self.after_rounds(fbank)[:, -1]

    def after_rounds(self, fbank: Float[Tensor, "B 1 C"]) -> Float[Tensor, "B R K"]:
        """The logits after each round.

        Raises:
            AuscultError: E_RUN for rows of another number of columns than the trees were fitted on.
        """
        x = fbank.flatten(1).double()
        if x.shape[1] != int(self.columns):
            raise AuscultError(
                "E_RUN",
                f"the trees were fitted on {int(self.columns)} columns, these cycles have {x.shape[1]}; they are of "
                "another data set, or its annotations have changed.",
            )
        return self.start + self.value.flatten()[self.leaf(x)].view(len(x), *self.value.shape[:2]).cumsum(1)

    def leaf(self, x: Float[Tensor, "B C"]) -> Tensor:
        """Where in the flat arrays the leaf of each cycle in each of the R K trees is. Shape: (B, R K)."""
        rounds, classes, nodes = self.value.shape
        root = torch.arange(rounds * classes, device=x.device) * nodes
        column, threshold, unknown_left = self.column.flatten(), self.threshold.flatten(), self.unknown_left.flatten()
        left, right = self.left.flatten(), self.right.flatten()
        at = root.expand(len(x), -1)
        for _ in range(nodes // 2):  # no leaf is deeper
            number = x.gather(1, column[at])
            goes_left = torch.where(number.isnan(), unknown_left[at], number <= threshold[at])
            below = root + torch.where(goes_left, left[at], right[at])
            if torch.equal(below, at):
                break
            at = below
        return at

    def plant(self, number: int, label: int, nodes: dict[str, Any]) -> None:
        """Sets the tree of a round and a class from arrays over its nodes, named as the buffers."""
        for name, values in nodes.items():
            held = getattr(self, name)[number, label]
            held[: len(values)] = torch.as_tensor(values, dtype=held.dtype)

    def keep(self, rounds: int) -> dict[str, Tensor]:
        """The state of the first `rounds` rounds, the trees of the others saying nothing."""
        state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        state["value"][rounds:] = 0
        return state
