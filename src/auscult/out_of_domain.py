"""Scores on a data set that the model has not learned from: ICBHI -> SPRSound, and back.

The classes of the model and those of the data set are mapped to the classes of one label map (`data.label_maps`);
probabilities of classes that become one are added.

Source: QLung (arXiv 2606.11915), table 2: trained on ICBHI, scored on the 1429 events of SPRSound inter.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .config import from_dict
from .data.cycles import Corpus
from .data.label_maps import DEFAULT, LabelMap, label_map
from .data.material import Material
from .data.splits import Split
from .errors import AuscultError
from .evaluate import Evaluation, evaluate_part, graded, load_trained
from .models.weights import Weights
from .recipes import RecipeSpec
from .recipes.table import TableRecipe
from .runs import Run


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What lies between the model and the data.

    Args:
        trained_on: data set the model has learned from.
        labels: the map.
        model_classes: classes of the model.
        data_classes: classes of the data set it is scored on.
        cycles: part -> class of the data set -> how many of its cycles the part has, those left out among them.
    """

    trained_on: str
    labels: LabelMap
    model_classes: tuple[str, ...]
    data_classes: tuple[str, ...]
    cycles: dict[str, dict[str, int]]

    def left_out(self, part: str) -> dict[str, int]:
        """Class -> cycles of a part that the map leaves out; without those that have none."""
        return {name: n for name, n in self.cycles[part].items() if n and not self.labels.labels[name]}


class MergedClasses(nn.Module):
    """A model that speaks of the classes of a map.

    The probability of a class is the sum of those that become it, over the sum of all that are not left out:
    logits are added as log(exp(a) + exp(b)).

    Args:
        model: (B, T, F) to logits (B, K).
        places: for each of its classes the index of the map's class; None leaves it out.
        classes: how many classes the map has; one that no class of the model becomes has probability 0.

    Shape: (B, T, F) -> (B, classes).
    """

    def __init__(self, model: nn.Module, places: Sequence[int | None], classes: int) -> None:
        super().__init__()
        self.model = model
        self.groups = [[i for i, place in enumerate(places) if place == k] for k in range(classes)]

    def forward(self, fbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B K"]:
        logits = self.model(fbank).float()
        return torch.stack([logits[:, own].logsumexp(dim=-1) for own in self.groups], dim=-1)


def evaluate_on(
    run: Run,
    dataset: str,
    data: Path,
    *,
    labels: str = DEFAULT,
    selection: str | None = None,
    parts: tuple[str, ...] | None = None,
    partial: bool = False,
    device: str = "cpu",
) -> tuple[Material, Weights, list[Evaluation], Domain]:
    """Scores the model of a run on another data set, over the classes of a label map.

    Args:
        dataset: name of the other data set.
        data: its folder.
        labels: name of the map.
        selection: which epoch's weights; None takes the recipe's own choice.
        parts: parts to score; None takes the test parts that share no patient with the training part of the data set,
            as the literature does. Its training part may be scored too: the model has not seen it.
        partial: use the recordings that are there when others have no audio.

    Raises:
        AuscultError: E_SETTING, E_DATA, E_RUN.
    """
    model, weights = load_trained(run, selection)
    if weights.facts["dataset"] == dataset:
        raise AuscultError("E_SETTING", f"{run.folder} was trained on {dataset}; leave --on out to score it there.")
    chosen = label_map(labels)
    said = chosen.places(weights.classes, "the model")
    found = untrained_material(from_dict(RecipeSpec, weights.recipe), weights, dataset, data, partial)
    wanted = parts or default_parts(found)
    counts = {part: counted(found, part) for part in wanted}
    domain = Domain(
        trained_on=weights.facts["dataset"],
        labels=chosen,
        model_classes=weights.classes,
        data_classes=found.corpus.classes,
        cycles=counts,
    )
    stuff = relabelled(graded(found, weights), chosen)
    merged = MergedClasses(model, said, len(chosen.classes)).to(device)
    return stuff, weights, [evaluate_part(merged, stuff, part, device) for part in wanted], domain


def untrained_material(recipe: RecipeSpec, weights: Weights, dataset: str, data: Path, partial: bool) -> Material:
    """The data set as published, prepared as the recipe prepares its own; nobody is held out, as nothing is chosen.

    Raises:
        AuscultError: E_SETTING for a table of numbers that the data set cannot fill.
    """
    plain = replace(cast(Any, recipe), split="official", validation=0.0, selection="last")
    stuff = plain.material(dataset, data, partial=partial)
    if isinstance(plain, TableRecipe) and list(plain.columns.names(stuff.corpus)) != list(weights.facts["columns"]):
        raise AuscultError(
            "E_SETTING",
            f"the baseline {plain.name} knows the columns {', '.join(weights.facts['columns'])}; {dataset} has "
            f"{', '.join(plain.columns.names(stuff.corpus))}. Only a baseline of the same columns can be scored there.",
        )
    return stuff


def default_parts(stuff: Material) -> tuple[str, ...]:
    """Test parts of patients that the data set's own training part does not have, as far as they have audio.

    A data set without any test part is scored as a whole: the model has seen none of it.

    Raises:
        AuscultError: E_DATA where there is none.
    """
    tests = stuff.split.tests
    if not stuff.corpus.test_parts:
        return (stuff.corpus.train_part,)
    found = tuple(part for part, rows in tests.items() if rows and part not in stuff.corpus.seen_parts)
    if not found:
        raise AuscultError(
            "E_DATA",
            f"no cycle of the test parts ({', '.join(tests)}) of {stuff.corpus.name} has audio. The model has seen "
            "none of this data set, so its training part can be scored too: --part train.",
        )
    return found


def counted(stuff: Material, part: str) -> dict[str, int]:
    """Class -> cycles of a part, zeros among them."""
    found = Counter(stuff.corpus.cycles[row].label for row in stuff.rows(part))
    return {name: found[i] for i, name in enumerate(stuff.corpus.classes)}


def relabelled(stuff: Material, labels: LabelMap) -> Material:
    """The same material in the classes of a map; the parts have lost the cycles that the map leaves out.

    Raises:
        AuscultError: E_SETTING for a class that the map does not name.
    """
    corpus = stuff.corpus
    places = labels.places(corpus.classes, corpus.name)
    kept = [places[cycle.label] is not None for cycle in corpus.cycles]
    # a cycle that is left out keeps its row, which the features go by; its label -1 is an error wherever it is used
    new = tuple(replace(c, label=-1 if (p := places[c.label]) is None else p) for c in corpus.cycles)
    mapped: Corpus = replace(corpus, cycles=new, classes=labels.classes, tasks=labels.tasks, published=None)

    def keep(rows: list[int]) -> list[int]:
        return [row for row in rows if kept[row]]

    own = stuff.split
    split = Split(
        train=keep(own.train),
        validation=keep(own.validation),
        tests={part: keep(rows) for part, rows in own.tests.items()},
    )
    return replace(stuff, corpus=mapped, split=split)
