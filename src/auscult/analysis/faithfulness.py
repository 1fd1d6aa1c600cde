"""Does a saliency map show what the model used? Taking away and giving back, and where annotators heard something.

Deletion replaces the most salient cells first and watches the probability of the explained class fall; insertion starts
with all of them replaced and brings the most salient back first. A good map has a small area under the first curve and
a large one under the second; the difference of the two is 0 for an order drawn by chance, and the reverse order has the
same with the other sign.

Source: Petsiuk et al. 2018 (RISE), section 3.3, deletion and insertion; Schulz et al. 2020, section 4, their
difference; Zhang et al. 2018, section 4.2, the pointing game.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ..statistics import drawn_patients, percentile_ends, resampled

STEPS = 20  # of a curve, each a twentieth of the cells


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Probability of the explained class while cells are replaced, and while they come back. Shape: (B, STEPS + 1)."""

    deletion: NDArray[np.float32]
    insertion: NDArray[np.float32]

    @property
    def gain(self) -> NDArray[np.float64]:
        """Area under insertion minus area under deletion, one a clip; 0 by chance."""
        return area(self.insertion) - area(self.deletion)


def area(curve: Float[np.ndarray, "B N"]) -> NDArray[np.float64]:
    """Area under curves over the share of cells, from 0 to 1, by trapezia.

    >>> area(np.array([[0.0, 0.5, 1.0]])).tolist()
    [0.5]
    """
    return np.trapezoid(curve.astype(np.float64), dx=1 / (curve.shape[1] - 1), axis=1)


def curves(
    model: nn.Module,
    fbank: Float[Tensor, "B T F"],
    members: Bool[Tensor, "B K"],
    order: Float[Tensor, "B T F"],
    replacement: Float[Tensor, "B T F"],
    steps: int = STEPS,
) -> Curves:
    """Deletion and insertion curves of clips.

    Args:
        model: filterbanks to logits (B, K), in evaluation mode.
        members: the explained classes; their probabilities are added.
        order: the largest goes, or comes back, first; of equals, the earlier one.
        replacement: what stands in for cells that are away.
    """
    cells = fbank[0].numel()
    places = order.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(places).scatter_(1, places, torch.arange(cells, device=places.device).expand_as(places))
    rank = rank.view_as(fbank)
    found: list[list[Tensor]] = [[], []]
    with torch.inference_mode():
        for step in range(steps + 1):
            chosen = rank < round(cells * step / steps)
            for rows, kept in zip(found, (~chosen, chosen), strict=True):
                p = torch.softmax(model(torch.where(kept, fbank, replacement)).float(), dim=1)
                rows.append((p * members).sum(dim=1))
    deletion, insertion = (torch.stack(rows, dim=1).cpu().numpy() for rows in found)
    return Curves(deletion=deletion, insertion=insertion)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Saliency of one recording against its annotation.

    Args:
        mass: share of the saliency that lies inside abnormal cycles.
        time: share of the time that does.
        mass_of_cycles: the same among annotated cycles only: pauses, in which nobody breathes, are left out.
        time_of_cycles: share of the abnormal in the time of the annotated cycles.
        hit: 1 where the most salient moment lies inside an abnormal cycle.
    """

    mass: float
    time: float
    mass_of_cycles: float
    time_of_cycles: float
    hit: float


def overlap(
    over_time: Float[np.ndarray, "T"], abnormal: Bool[np.ndarray, "T"], cycles: Bool[np.ndarray, "T"]
) -> Overlap:
    """How saliency summed over frequency lies on an annotation.

    Args:
        abnormal: moments inside an abnormal cycle.
        cycles: moments inside any annotated cycle, the abnormal among them.

    >>> overlap(np.array([1.0, 3.0, 0.0, 4.0]), np.arange(4) == 1, np.arange(4) < 2)
    Overlap(mass=0.375, time=0.25, mass_of_cycles=0.75, time_of_cycles=0.5, hit=0.0)
    """

    def share(part: NDArray[np.bool_], weight: NDArray[np.floating]) -> float:
        """Of `weight` in `part` inside abnormal cycles; without any weight nothing is pointed at: the share of time."""
        total = float(weight[part].sum())
        return float(weight[part & abnormal].sum()) / total if total else float(abnormal[part].mean())

    everywhere, even = np.ones_like(abnormal), np.ones(len(abnormal))
    return Overlap(
        mass=share(everywhere, over_time),
        time=share(everywhere, even),
        mass_of_cycles=share(cycles, over_time),
        time_of_cycles=share(cycles, even),
        hit=float(abnormal[over_time.argmax()]),
    )


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over cycles or recordings with its 95 % interval over patients; NaN ends with fewer than two patients."""

    value: float
    low: float
    high: float
    n: int
    patients: int


def patient_mean(
    values: Sequence[float] | NDArray[np.floating], patients: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Mean:
    """Mean of `values` with a percentile bootstrap interval that resamples patients, not cycles.

    >>> patient_mean([1.0, 1.0, 1.0], ["a", "a", "b"])
    Mean(value=1.0, low=1.0, high=1.0, n=3, patients=2)
    """
    x, (names, code) = np.asarray(values, np.float64), np.unique(patients, return_inverse=True)
    sums = np.stack([np.bincount(code, x, len(names)), np.bincount(code, minlength=len(names))])
    low = high = float("nan")
    if len(names) > 1:
        total, count = resampled(sums, drawn_patients(len(names), resamples, seed))
        low, high = percentile_ends(total / count, 0.95)
    return Mean(value=float(x.mean()), low=low, high=high, n=len(x), patients=len(names))
