"""Where a trained model puts the cycles of a part: its features, laid out on a plane by t-SNE.

A t-SNE keeps neighbours, not distances: the size of a cluster and the gap between two mean nothing, and it finds
clusters in noise. What the features really hold is said in numbers beside it: of which class, device and
patient the nearest neighbour is, in the features themselves.

Source: van der Maaten & Hinton 2008; Kobak & Berens 2019 for the start from principal components.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ..config import from_dict
from ..data.cycles import Cycle
from ..data.loader import CycleDataset, eval_loader
from ..errors import AuscultError
from ..evaluate import EVAL_BATCH, check_classes, load_model
from ..models import Classifier
from ..progress import say, track
from ..recipes import Recipe
from ..runs import Run, write_text
from .spectral_run import facts
from .spreadsheet import csv_text

PERPLEXITY = 30.0  # as in scikit-learn; fewer where there are few cycles
FEWEST = 5  # cycles
HEADER = ("recording", "patient", "device", "site", "start_s", "end_s", "truth", "predicted", "x", "y")


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """What the figure shows.

    Args:
        cycles: of the part, in its order.
        classes: of the data set.
        truth: (N,) index of the class.
        predicted: (N,) what the head makes of the features.
        place: (N, 2) of each cycle, without a unit.
        alike: fact -> share of the cycles whose nearest neighbour among the features has the same, and that share if
            neighbours were drawn by chance.
        features: D.
        perplexity: of the t-SNE.
        seed: of the t-SNE.
        facts: the run, in a line.
    """

    cycles: tuple[Cycle, ...]
    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    place: NDArray[np.float64]
    alike: dict[str, tuple[float, float]]
    features: int
    perplexity: float
    seed: int
    facts: str

    @property
    def fact(self) -> tuple[str, list[str]]:
        """Name and values of the second panel's colours: the device, or the site where there is one device only."""
        device, site = [c.device for c in self.cycles], [c.site for c in self.cycles]
        return ("device", device) if len(set(device)) > 1 else ("site", site)


def embed(
    run: Run,
    *,
    part: str | None = None,
    data: Path | None = None,
    selection: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Embedding:
    """The features of a part's cycles by a run's model, and their t-SNE.

    Args:
        part: name of a part; the first test part that has audio without it.
        data: folder of the data set, if it has moved since training.
        seed: of the t-SNE.

    Raises:
        AuscultError: E_SETTING where scikit-learn is missing, E_RUN, E_DATA.
    """
    if find_spec("sklearn") is None:
        raise AuscultError("E_SETTING", "t-SNE needs scikit-learn; install it with: pip install 'auscult[train]'")
    settings = run.settings()
    model, weights = load_model(run, selection)
    recipe = from_dict(Recipe, weights.recipe)
    stuff = recipe.material(settings["dataset"], data or Path(settings["data"]), partial=settings["partial"])
    check_classes(stuff.corpus, weights)
    tests = stuff.split.tests
    name = part or next((name for name, rows in tests.items() if rows), "validation")
    dataset = stuff.dataset(name)
    if len(dataset) < FEWEST:
        raise AuscultError(
            "E_DATA", f"part {name!r} has {len(dataset)} cycles with audio; {FEWEST} or more are needed."
        )
    found, predicted = features_of(model.to(device), dataset, device)
    cycles = tuple(stuff.corpus.cycles[row] for row in dataset.rows)
    place, perplexity = on_a_plane(found, seed)
    return Embedding(
        cycles=cycles,
        classes=stuff.corpus.classes,
        truth=dataset.label.numpy(),
        predicted=predicted,
        place=place,
        alike=alike(found, cycles, stuff.corpus.classes),
        features=found.shape[1],
        perplexity=perplexity,
        seed=seed,
        facts=facts(run, settings, weights.facts, f"{stuff.corpus.name}, part {name}"),
    )


def features_of(
    model: Classifier, dataset: CycleDataset, device: str
) -> tuple[Float[np.ndarray, "N D"], NDArray[np.int64]]:
    """Features before the head, and what the head makes of them, in the order of the part."""
    model.eval()
    loader = eval_loader(dataset, EVAL_BATCH, device)
    found, said = [], []
    with torch.inference_mode():
        for batch in track(loader, "features", len(loader)):
            x = model.backbone(model.front(batch.fbank))
            found.append(x.float().cpu())
            said.append(model.head(x).argmax(dim=-1).cpu())
    order = np.argsort([i for positions in loader.batches for i in positions])
    return torch.cat(found).numpy()[order], torch.cat(said).numpy()[order]


def standardised(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Each feature with mean 0 and standard deviation 1; one that never changes is 0."""
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 1e-12, spread, np.inf)


def on_a_plane(x: Float[np.ndarray, "N D"], seed: int) -> tuple[Float[np.ndarray, "N 2"], float]:
    """t-SNE of standardised features, started from their principal components; and its perplexity."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    say(f"t-SNE of {len(x)} cycles")
    made = TSNE(init="pca", learning_rate="auto", perplexity=perplexity, random_state=seed)
    return made.fit_transform(standardised(x).astype(np.float32)).astype(np.float64), perplexity


def alike(
    x: Float[np.ndarray, "N D"], cycles: Sequence[Cycle], classes: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Share of cycles whose nearest neighbour is alike in class, device, site and patient, and that share by chance.

    A recording's other cycles are no neighbours: they sound alike for reasons that say nothing about the model.
    """
    z = standardised(x)
    square = (z**2).sum(axis=1)
    distance = square[:, None] + square[None] - 2 * z @ z.T
    recording = np.unique([c.recording for c in cycles], return_inverse=True)[1]
    distance[recording[:, None] == recording[None]] = np.inf
    known = np.isfinite(distance).any(axis=1)
    nearest = distance.argmin(axis=1)
    told = {
        "class": [classes[c.label] for c in cycles],
        "device": [c.device for c in cycles],
        "site": [c.site for c in cycles],
        "patient": [c.patient for c in cycles],
    }
    found = {}
    for name, values in told.items():
        code = np.unique(values, return_inverse=True)[1]
        if known.any() and code.max() > 0:
            allowed = np.isfinite(distance[known])
            same = (code[known][:, None] == code[None]) & allowed
            chance = float((same.sum(axis=1) / allowed.sum(axis=1)).mean())
            found[name] = float((code[nearest] == code)[known].mean()), chance
    return found


def table(found: Embedding) -> str:
    """Every cycle and its place, as CSV."""
    rows = (
        [
            *(c.recording, c.patient, c.device, c.site, c.start_s, c.end_s),
            *(found.classes[t], found.classes[p], *(float(f"{v:.6g}") for v in place)),
        ]
        for c, t, p, place in zip(found.cycles, found.truth, found.predicted, found.place, strict=True)
    )
    return csv_text(HEADER, rows)


def write(out: Path, found: Embedding) -> list[Path]:
    """Writes the figure as PNG and PDF, its caption, and the table; gives their places."""
    from .embedding_figure import caption, figure
    from .spectral_figure import save

    made = save(figure(found), out / "embedding")
    write_text(out / "embedding.md", f"{caption(found)}\n")
    write_text(out / "embedding.csv", table(found))
    return [*made, out / "embedding.md", out / "embedding.csv"]
