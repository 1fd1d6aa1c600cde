"""Baselines that a deep result must beat to mean anything: what the annotations alone give away, and plain trees.

None of them is from a paper. Their settings were fixed on held-out training patients of SPRSound.
"""

from ..data.columns import Facts, LogmelStatistics
from ..models.trees import Trees
from .table import TableRecipe


def shortcut_duration() -> TableRecipe:
    """How long a cycle is, and nothing else; no audio is read."""
    return TableRecipe(name="shortcut_duration", columns=Facts(facts=("duration",)))


def shortcut_device() -> TableRecipe:
    """What a cycle was recorded with, and nothing else; no audio is read."""
    return TableRecipe(name="shortcut_device", columns=Facts(facts=("device",)))


def shortcut_demographics() -> TableRecipe:
    """Age and sex of the patient and the place on the chest, and nothing else; no audio is read."""
    return TableRecipe(name="shortcut_demographics", columns=Facts(facts=("age", "sex", "site")))


def shortcut_all() -> TableRecipe:
    """Duration, device, site, age and sex together; no audio is read."""
    return TableRecipe(name="shortcut_all", columns=Facts(facts=("duration", "device", "site", "age", "sex")))


def trees_logmel() -> TableRecipe:
    """Gradient-boosted trees on statistics of the log-mel filterbank: what can be had from audio without a network."""
    return TableRecipe(
        name="trees_logmel",
        columns=LogmelStatistics(),
        classifier=Trees(leaves=4, columns_share=0.1),
        epochs=200,
        weighting="inverse",
    )
