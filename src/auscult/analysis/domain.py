"""What must stand beside a score on a data set that the model has not learned from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.material import Material
from ..evaluate import Evaluation
from ..models.weights import Weights
from ..out_of_domain import Domain

FEW = 10  # cycles of a class below which its recall says next to nothing


def domain_dict(domain: Domain) -> dict[str, Any]:
    """The part of scores.json that says what the model was trained on and how the classes were read."""
    labels = domain.labels
    named = (*domain.model_classes, *domain.data_classes)
    return {
        "trained_on": domain.trained_on,
        "label_map": {
            "name": labels.name,
            "version": labels.version,
            "source": labels.source,
            "labels": {name: labels.labels[name] for name in named},
        },
        "cycles_as_published": domain.cycles,
    }


def cautions(
    stuff: Material, weights: Weights, evaluations: Sequence[Evaluation], domain: Domain, partly_trained: bool
) -> list[str]:
    """What a reader must know before comparing these scores with others.

    Args:
        partly_trained: the model has learned from the recordings that were there, not from all of its training part.
    """
    labels, corpus = domain.labels, stuff.corpus
    found = [
        f"Out of domain: trained on {domain.trained_on}, scored on {corpus.name}.",
        f"Label map {labels.name}, version {labels.version}: "
        f"{labels.words(tuple(dict.fromkeys((*domain.model_classes, *domain.data_classes)))) or 'names stay'}. "
        f"Source: {labels.source}.",
    ]
    if partly_trained:
        found.append(f"The model was trained with --partial: on a part of {domain.trained_on}, not on all of it.")
    if not stuff.heard:
        found.append(f"{weights.recipe['name']} heard nothing: it knows annotations and file names alone.")
    if weights.facts.get("selection") == "best_on_test":
        found.append(
            f"The epoch was chosen on the test set of {domain.trained_on}; that of {corpus.name} chose nothing."
        )
    for e in evaluations:
        found += part_cautions(stuff, e, domain)
    return found


def part_cautions(stuff: Material, e: Evaluation, domain: Domain) -> list[str]:
    """What is thin about a part: classes that are left out, missing or rare, and recordings without audio."""
    corpus, found = stuff.corpus, []
    if left := domain.left_out(e.part):
        counts = ", ".join(f"{n} {name}" for name, n in left.items())
        found.append(f"Part {e.part}: cycles that the map leaves out are not scored: {counts}.")
    if thin := thin_classes(e, corpus.classes, domain.cycles[e.part]):
        found.append(f"Part {e.part}: {thin}")
    if corpus.name == "sprsound" and e.part != "inter":
        found.append(
            f"Published scores from ICBHI to SPRSound are on part inter alone (1429 events); one on part {e.part} is "
            "not comparable with them."
        )
    ought = [stem for stem, part in corpus.recordings.items() if part == e.part]
    here = sum(stem in corpus.audio for stem in ought)
    if here < len(ought):
        found.append(partial_part(corpus.name, e.part, here, len(ought)))
    return found


def thin_classes(e: Evaluation, classes: Sequence[str], published: dict[str, int]) -> str:
    """The warning that a part says little about some classes; empty where it has enough of each.

    Source: SPRSound inter has one event with both sounds, and no rhonchi and no stridor; of 389 abnormal events 305 are
    wheezes, so what is read there as the ICBHI Score is nearly one of wheeze against normal.
    """
    counts = dict(zip(classes, e.confusion.sum(axis=1).tolist(), strict=True))
    none = [name for name, n in published.items() if n == 0]
    rare = [f"{n} {name}" for name, n in counts.items() if n < FEW]
    if not (none or rare):
        return ""
    said = [f"no {' and no '.join(none)} cycle"] if none else []
    said += [f"only {', '.join(rare)}"] if rare else []
    abnormal = dict(list(counts.items())[1:])
    name, most = max(abnormal.items(), key=lambda item: item[1])
    total = int(np.sum(list(abnormal.values())))
    share = f"; {most} of {total} abnormal cycles are {name}, so Se is nearly its recall" if 2 * most > total else ""
    return f"{', '.join(said)}{share}."


def partial_part(name: str, part: str, here: int, ought: int) -> str:
    """How much of a part was scored."""
    if name == "icbhi":
        return f"ICBHI-sc, {here} of {ought} recordings of part {part}: this is not an ICBHI score."
    return f"{here} of {ought} recordings of part {part} of {name}: this is not a score on the whole part."
