"""The sharpness of runs: each model's own training loss on a sample of its training cycles, in files to compare."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..batch import Batch
from ..config import from_dict, to_dict
from ..data.loader import CycleDataset, Loader
from ..data.sampling import EpochSampler
from ..errors import AuscultError
from ..evaluate import check_classes, load_model, weights_file
from ..models import Classifier
from ..objectives import CrossEntropy, ObjectiveSpec
from ..objectives.cross_entropy import class_weights
from ..progress import say, track
from ..recipes import Recipe
from ..runs import Run, write_text
from .sharpness import Eigenvalue, Landscape, along, filter_normalised, hessian_product, largest_eigenvalue
from .spreadsheet import csv_text, printable

BATCH = 64
HEADER = (
    "run",
    "recipe",
    "seed",
    "epoch",
    "optimizer",
    "loss_is",
    "cycles",
    "loss",
    "weight_norm",
    "gradient_norm",
    "largest_eigenvalue",
    "residual",
    "hessian_products",
    "converged",
)
CURVES_HEADER = ("run", "recipe", "direction", "number", "distance", "loss", "rise")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, equal for all runs that are compared.

    Args:
        cycles: drawn from the training cycles, as the recipe's sampler draws them.
        seed: of cycles and directions.
        rhos: distances up the gradient: SAM's worst-case rise to first order, in units of the weights.
        directions: how many random ones.
        reach: farthest distance along them; 1 moves each filter by its own length.
        points: on either side.
        radius: of the differences that make a Hessian product, in units of the weights. For a trained DASS nano 1e-4
            to 1e-3 give one eigenvalue within 2 in 10,000, and 0.027 gives twice as much.
        products: Hessian products at most, for either sign of the eigenvalue.

    Raises:
        AuscultError: E_SETTING, for a number of nothing.
    """

    cycles: int = 256
    seed: int = 0
    rhos: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    directions: int = 5
    reach: float = 0.5
    points: int = 6
    radius: float = 1e-3
    products: int = 30

    def __post_init__(self) -> None:
        counts = (self.cycles, self.directions, self.points, self.products)
        if min(counts) < 1 or not self.rhos or min(*self.rhos, self.reach, self.radius) <= 0:
            raise AuscultError(
                "E_SETTING",
                f"cycles, directions, points, products = {counts} must be 1 or more; rhos={self.rhos}, "
                f"reach={self.reach:g} and radius={self.radius:g} more than 0.",
            )

    @property
    def distances(self) -> list[float]:
        """Along a random direction, from -reach to reach."""
        return [self.reach * i / self.points for i in range(-self.points, self.points + 1)]


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """What was measured of one run.

    Args:
        loss_is: which loss, in words.
        cycles: the sample's size.
        uphill: loss at each of `Settings.rhos` up the gradient.
        random: loss along each random direction.
    """

    run: str
    recipe: dict[str, Any]
    facts: dict[str, Any]
    loss_is: str
    cycles: int
    loss: float
    weight_norm: float
    gradient_norm: float
    eigenvalue: Eigenvalue
    uphill: list[float]
    random: list[list[float]]


def measure_all(
    runs: Sequence[Run], settings: Settings, *, data: Path | None = None, selection: str | None = None
) -> list[Sharpness]:
    """`measure` for each run, once all are known to have weights.

    Raises:
        AuscultError: E_SETTING without a run; else as `measure`.
    """
    if not runs:
        raise AuscultError("E_SETTING", "name one or more run folders, for instance one with SAM and one without.")
    for run in runs:
        weights_file(run, selection)
    return [measure(run, settings, data=data, selection=selection) for run in runs]


def measure(run: Run, settings: Settings, *, data: Path | None = None, selection: str | None = None) -> Sharpness:
    """Measures one run.

    Args:
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.

    Raises:
        AuscultError: E_RUN, E_DATA, E_SETTING; E_RUN too for weights whose loss is no number.
    """
    model, weights = load_model(run, selection)
    asked = run.settings()
    recipe = from_dict(Recipe, weights.recipe)
    stuff = recipe.material(asked["dataset"], data or Path(asked["data"]), partial=asked["partial"])
    check_classes(stuff.corpus, weights)
    criterion = cross_entropy_of(recipe.objective)
    batches = sample(stuff.dataset("train"), recipe.sampler, settings)
    loss = Terms(model, batches, class_weights(stuff.counts("train"), criterion.weighting), criterion.label_smoothing)
    landscape = Landscape([p for p in model.parameters() if p.requires_grad], loss)
    say(f"{run.folder}: sharpness over {landscape.here.numel():,} weights, {loss.cycles} cycles")
    found = around(landscape, settings, str(run.folder))
    words = f"cross-entropy, weights {criterion.weighting}, smoothing {criterion.label_smoothing:g}"
    return Sharpness(
        run=printable(str(run.folder)),
        recipe=weights.recipe,
        facts=weights.facts,
        loss_is=f"{words}; cycles drawn by {recipe.sampler}",
        cycles=loss.cycles,
        **found,
    )


def around(landscape: Landscape, settings: Settings, name: str) -> dict[str, Any]:
    """The numbers of `Sharpness` that the landscape gives."""
    here = landscape.here
    loss, gradient = landscape.loss(here), landscape.gradient(here)
    slope, size = float(gradient.norm()), float(here.norm())
    if not math.isfinite(loss + slope):
        raise AuscultError("E_RUN", f"{name}: the loss is {loss} and its slope {slope}; the weights are of no use.")
    generator = torch.Generator().manual_seed(settings.seed)
    start = torch.randn(here.shape, generator=generator).to(here)

    def multiply(vector: Tensor) -> Tensor:
        return hessian_product(landscape, vector, settings.radius)

    top = largest_eigenvalue(multiply, start, products=settings.products)
    up = gradient / max(slope, 1e-30)
    lines = []
    for _ in track(range(settings.directions), "random directions", settings.directions):
        direction = filter_normalised(landscape.parameters, generator)
        lines.append(along(landscape, direction, settings.distances))
    return {
        "loss": loss,
        "weight_norm": size,
        "gradient_norm": slope,
        "eigenvalue": top,
        "uphill": along(landscape, up, settings.rhos),
        "random": lines,
    }


def cross_entropy_of(objective: ObjectiveSpec) -> CrossEntropy:
    """The cross-entropy on clean clips that an objective has in it; a plain one where it has none."""
    if isinstance(objective, CrossEntropy):
        return objective
    inner = getattr(objective, "cross_entropy", None)
    return cross_entropy_of(inner) if isinstance(inner, ObjectiveSpec) else CrossEntropy()


def sample(dataset: CycleDataset, sampler: Any, settings: Settings) -> list[Batch]:
    """The first cycles of an epoch, in batches of one length."""
    drawn = list(EpochSampler(dataset.label.tolist(), sampler, settings.seed))[: settings.cycles]
    by_length: dict[int, list[int]] = {}
    for position in drawn:
        by_length.setdefault(dataset.frames[position], []).append(position)
    groups = [same[i : i + BATCH] for same in by_length.values() for i in range(0, len(same), BATCH)]
    return list(Loader(dataset, groups))


class Terms:
    """The recipe's cross-entropy over fixed batches in evaluation mode, without masks or dropout; one term a batch."""

    def __init__(self, model: Classifier, batches: Sequence[Batch], weight: Tensor, label_smoothing: float) -> None:
        self.model = model.eval()
        self.batches = batches
        self.weight = weight
        self.label_smoothing = label_smoothing
        self.total = sum(float(weight[batch.label].sum()) for batch in batches)
        self.cycles = sum(len(batch) for batch in batches)

    def __call__(self) -> Iterator[Tensor]:
        for batch in self.batches:
            logits = self.model(batch.fbank).float()
            summed = F.cross_entropy(
                logits, batch.label, self.weight, label_smoothing=self.label_smoothing, reduction="sum"
            )
            yield summed / self.total


def labels(found: Sequence[Sharpness]) -> list[str]:
    """A name for each run, equal for runs that differ in the seed alone: the recipe's, and what is set otherwise."""
    flat = [dict(flattened(one.recipe)) for one in found]
    made = []
    for one, own in zip(found, flat, strict=True):
        peers = [f for f in flat if f.get("name") == own.get("name")]
        differs = sorted(key for key in own if any(peer.get(key) != own[key] for peer in peers))
        made.append(", ".join([str(one.recipe["name"]), *(f"{key}={own[key]}" for key in differs)]))
    return made


def flattened(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """``a.b`` and the value there, for each end of nested dictionaries."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flattened(inner, f"{where}.{key}".strip("."))
    else:
        yield where, value


def table(found: Sequence[Sharpness]) -> str:
    """A row a run, as CSV."""
    return csv_text(HEADER, [row(one) for one in found])


def row(one: Sharpness) -> list[Any]:
    """One run's row of `table`."""
    top = one.eigenvalue
    numbers = (one.loss, one.weight_norm, one.gradient_norm, top.value, top.residual)
    return [
        *(one.run, one.recipe["name"], one.facts.get("seed"), one.facts.get("epoch")),
        *(optimizer(one.recipe), one.loss_is, one.cycles),
        *(float(f"{number:.6g}") for number in numbers),
        *(top.products, int(top.converged)),
    ]


def optimizer(recipe: dict[str, Any]) -> str:
    """The optimiser with all its settings, in a cell."""
    return " ".join(f"{key}={value}" for key, value in flattened(recipe["optimizer"]))


def curves(found: Sequence[Sharpness], settings: Settings) -> str:
    """Every point of every curve, as CSV; `rise` is above the loss of the weights themselves."""
    rows = []
    for one in found:
        lines = [("gradient", 0, settings.rhos, one.uphill)]
        lines += [("random", i, tuple(settings.distances), line) for i, line in enumerate(one.random)]
        for name, number, distances, losses in lines:
            for distance, loss in zip(distances, losses, strict=True):
                values = (float(f"{v:.6g}") for v in (distance, loss, loss - one.loss))
                rows.append([one.run, one.recipe["name"], name, number, *values])
    return csv_text(CURVES_HEADER, rows)


def write(out: Path, found: Sequence[Sharpness], settings: Settings) -> list[Path]:
    """Writes the tables, the figure as PNG and PDF, and its caption; gives their places."""
    from .sharpness_figure import caption, figure
    from .spectral_figure import save

    files = {"sharpness.csv": table(found), "sharpness_curves.csv": curves(found, settings)}
    files["sharpness.md"] = f"{caption(found, settings)}\n\nSettings: {to_dict(settings)}\n"
    for name, text in files.items():
        write_text(out / name, text)
    return [*(out / name for name in files), *save(figure(found, settings), out / "sharpness")]
