"""From a run folder to scores: probabilities per cycle, one confusion matrix a part, every task's named scores."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .config import from_dict, to_dict
from .data.cycles import Corpus
from .data.loader import CycleDataset, eval_loader
from .data.material import Material, with_quality
from .data.quality_store import scale_in
from .data.splits import DEVICE, check_kind
from .errors import AuscultError
from .metrics import Scores, confusion_matrix, scores, task_confusion
from .models import Classifier
from .models.weights import Weights, check_fits, load_into, load_weights
from .progress import track
from .recipes import RECIPES, RecipeSpec
from .runs import Run, weights_file
from .signal.quality import Quality

EVAL_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model makes of one part.

    Args:
        part: ``test``, ``inter``, ``intra``, ``validation``.
        rows: rows of the corpus, in the order of `probabilities`.
        probabilities: (N, K) over the data set's own classes.
        confusion: (K, K) counts, rows = truth.
        scores: one a task.
    """

    part: str
    rows: list[int]
    probabilities: NDArray[np.float32]
    confusion: NDArray[np.int64]
    scores: tuple[Scores, ...]


def probabilities(
    model: nn.Module, dataset: CycleDataset, device: torch.device | str = "cpu", show: str | None = None
) -> NDArray[np.float32]:
    """Class probabilities of every cycle in fp32, in the order of `dataset`; (0, 0) without one. Shape: (N, K).

    Args:
        show: what the progress display says; None for no display.
    """
    model.eval()
    loader, found = eval_loader(dataset, EVAL_BATCH, device), []
    with torch.inference_mode():
        for batch in track(loader, show, len(loader)) if show else loader:
            found.append(torch.softmax(model(batch.fbank).float(), dim=-1).cpu())
    if not found:
        return np.zeros((0, 0), np.float32)
    p = torch.cat(found).numpy()
    ordered = np.empty_like(p)
    ordered[[i for positions in loader.batches for i in positions]] = p  # each length of clip has its own batches
    return ordered


def task_scores(truth: NDArray[np.int64], p: NDArray[np.float32], corpus: Corpus) -> list[Scores]:
    """Scores of every task of the data set."""
    return [scores(task_confusion(truth, p, task), task) for task in corpus.tasks]


def load_trained(source: Run | Path, selection: str | None = None) -> tuple[nn.Module, Weights]:
    """What a run, or a weights file, holds, whatever its recipe has trained; in evaluation mode.

    Args:
        selection: ``last``, ``validation`` or ``best_on_test``; None takes the one the recipe asked for.

    Raises:
        AuscultError: E_RUN when the weights are missing or damaged.
    """
    file = weights_file(source, selection)
    weights = load_weights(file)
    shown = str(source.folder if isinstance(source, Run) else source)
    if not familiar(weights.recipe):
        check_fits(_untrained(file, weights, "meta"), weights.state, shown)  # before anything is allocated
    model = _untrained(file, weights, "cpu")
    load_into(model, weights.state, shown)
    return model.eval(), weights


def familiar(told: dict[str, Any]) -> bool:
    """Whether a recipe in a weights file has the network of one of this package, whose size is known.

    Any other is first built without memory, which imports torch._dynamo: 140 MB.
    """
    parts = ("backbone", "head")
    own = (to_dict(make()) for make in RECIPES.values())
    return any(all(told.get(part) == recipe.get(part) for part in ("kind", *parts)) for recipe in own)


def _untrained(file: Path, weights: Weights, device: str) -> nn.Module:
    """The model that the recipe in a weights file describes; whoever wrote it may have written anything."""
    try:
        with torch.device(device):
            return from_dict(RecipeSpec, weights.recipe).build_model(len(weights.classes))
    except AuscultError as error:
        raise AuscultError("E_RUN", f"{file} has a recipe that makes no model: {error.message}") from error
    except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise AuscultError("E_RUN", f"{file} has a recipe that makes no model: {str(error)[:200]}.") from error


def load_model(source: Run | Path, selection: str | None = None) -> tuple[Classifier, Weights]:
    """`load_trained` for those who have recordings: the network of a `Recipe`.

    Raises:
        AuscultError: E_SETTING for a run that needs the cycles of a data set, as one of `TableRecipe` does.
    """
    model, weights = load_trained(source, selection)
    if not isinstance(model, Classifier):
        raise AuscultError(
            "E_SETTING",
            f"{source.folder if isinstance(source, Run) else source} holds the baseline {weights.recipe['name']}: it "
            "takes no recording, it needs the cycles of a data set. `auscult evaluate` scores it on them; take a run "
            "of a network here.",
        )
    return model, weights


def evaluate(
    run: Run,
    *,
    data: Path | None = None,
    selection: str | None = None,
    split: str | None = None,
    parts: tuple[str, ...] | None = None,
    device: str = "cpu",
) -> tuple[Material, Weights, list[Evaluation]]:
    """Scores the model of a run on the test parts of its data set.

    Args:
        data: folder of the data set, when it has moved since training.
        selection: which epoch's weights; None takes the recipe's own choice.
        split: ``official`` or ``clean`` instead of the recipe's; ``strict`` and ``device:NAME`` only for a run that was
            trained so.
        parts: parts to score; None takes every test part; where no test cycle has audio, the patients held out for
            validation, provided the weights are those of the last epoch, which they have not chosen. A data set that
            has no test part at all is scored so unless `selection` says otherwise, whatever the recipe's own choice.

    Raises:
        AuscultError: E_RUN, E_DATA, E_SETTING.
    """
    if split is not None:
        check_kind(split)
    model, weights = load_trained(run, selection)
    settings = run.settings()
    recipe = from_dict(RecipeSpec, weights.recipe)
    check_left_out(recipe, split)
    data = data or Path(settings["data"])
    stuff = recipe.material(settings["dataset"], data, split=split, partial=settings["partial"])
    check_classes(stuff.corpus, weights)
    stuff = graded(stuff, weights)
    wanted = parts or tuple(part for part, rows in stuff.split.tests.items() if rows)
    if not (wanted or selection or stuff.corpus.test_parts):
        model, weights = load_trained(run, "last")
    if not wanted and stuff.split.validation and weights.facts["selection"] == "last":
        wanted = ("validation",)  # patients that were held out and have chosen nothing
    if not wanted:
        raise nothing_to_score(stuff)
    return stuff, weights, [evaluate_part(model.to(device), stuff, part, device) for part in wanted]


def nothing_to_score(stuff: Material) -> AuscultError:
    """The error for a run whose test cycles are not here, if there are any."""
    names = ", ".join(stuff.corpus.test_parts)
    what = f"no cycle of the test parts ({names}) has audio" if names else f"{stuff.corpus.name} has no test part"
    if stuff.split.validation:
        how = "The patients held out of the training part can be, if they choose nothing: --selection last."
    else:
        how = "No patient was held out of the training part either; train with a validation share, such as 0.2."
    return AuscultError("E_DATA", f"{what}; nothing can be scored. {how}")


def graded(stuff: Material, weights: Weights) -> Material:
    """The same material with the audio quality of every cycle, which costs one decoding and is stored.

    Its scale is that of the training, where the run measured one; else the training cycles here make it, and where
    there are none either, or the run hears nothing, nothing is measured.
    """
    how = scale_in(weights.facts) or (Quality() if stuff.split.train and stuff.heard else None)
    return stuff if how is None else with_quality(stuff, how)


def check_left_out(recipe: RecipeSpec, split: str | None) -> None:
    """A run is tested on a device, or on patients that move to the test, only if it never heard them.

    Raises:
        AuscultError: E_SETTING.
    """
    if split is not None and split != recipe.split and (split == "strict" or split.startswith(DEVICE)):
        raise AuscultError(
            "E_SETTING",
            f"split={split} tests on cycles that a run trained with split={recipe.split} has heard; train one that has "
            f"not: --set split={split}.",
        )


def check_classes(corpus: Corpus, weights: Weights) -> None:
    """A model is scored only on the classes it was trained on, in their order."""
    if corpus.classes != weights.classes:
        raise AuscultError(
            "E_RUN",
            f"the model knows the classes {', '.join(weights.classes)}, the data set {corpus.name} has "
            f"{', '.join(corpus.classes)}.",
        )


def evaluate_part(model: nn.Module, stuff: Material, part: str, device: str = "cpu") -> Evaluation:
    """Scores a model on one part."""
    dataset = stuff.dataset(part)
    if not len(dataset):
        raise AuscultError("E_DATA", f"part {part!r} of {stuff.corpus.name} has no usable cycle; nothing to score.")
    p = probabilities(model, dataset, device, f"scoring {part}")
    truth = dataset.label.numpy()
    confusion = confusion_matrix(truth, p.argmax(axis=1), len(stuff.corpus.classes))
    made = tuple(task_scores(truth, p, stuff.corpus))
    return Evaluation(part=part, rows=dataset.rows, probabilities=p, confusion=confusion, scores=made)


def as_json(stuff: Material, weights: Weights, evaluations: list[Evaluation]) -> dict[str, Any]:
    """The content of scores.json."""
    return {
        "dataset": stuff.corpus.name,
        "classes": stuff.corpus.classes,
        "split": stuff.kind,
        "facts": weights.facts,
        "parts": {
            e.part: {"confusion": e.confusion.tolist(), "scores": {s.task: asdict(s) for s in e.scores}}
            for e in evaluations
        },
    }
