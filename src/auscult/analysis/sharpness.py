"""How sharp the minimum is where a training ended: curvature and loss around the weights.

A `Landscape` is a loss as a function of one flat vector of weights. Curvature needs gradients alone, so that operators
without a second derivative, like our scan, can be measured.

Source: Foret et al. 2021 (SAM), section 2, for the rise along the gradient and the largest eigenvalue as the measure of
sharpness; Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4, for the random directions;
Pearlmutter 1994, section 2, for Hessian products by differences.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Landscape:
    """A loss over the parameters of a module, which are as they were after every call.

    Args:
        parameters: the weights that span it; W numbers in all.
        terms: makes the loss anew as scalars whose sum it is, one a batch.

    Attributes:
        here: (W,) the weights at which it was made.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], terms: Callable[[], Iterable[Tensor]]) -> None:
        self.parameters = list(parameters)
        self.terms = terms
        self.here = torch.cat([p.detach().flatten() for p in self.parameters])

    def loss(self, at: Tensor) -> float:
        """The loss at the weights `at`, (W,)."""
        try:
            self._put(at)
            with torch.no_grad():
                return float(sum(float(term) for term in self.terms()))
        finally:
            self._put(self.here)

    def gradient(self, at: Tensor) -> Tensor:
        """The gradient at the weights `at`. Shape: (W,) -> (W,)."""
        total = torch.zeros_like(self.here)
        try:
            self._put(at)
            for term in self.terms():
                found = torch.autograd.grad(term, self.parameters, allow_unused=True)
                pairs = zip(found, self.parameters, strict=True)
                total += torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
        finally:
            self._put(self.here)
        return total

    @torch.no_grad()
    def _put(self, at: Tensor) -> None:
        for p, part in zip(self.parameters, at.split([p.numel() for p in self.parameters]), strict=True):
            p.copy_(part.view_as(p))


def hessian_product(landscape: Landscape, vector: Tensor, radius: float) -> Tensor:
    """The Hessian at `here` times a vector, from two gradients on both sides of it. Shape: (W,) -> (W,).

    Args:
        radius: distance to either side. The error grows with its square; where it is too small, rounding of float32
            shows instead.
    """
    step = vector * (radius / vector.norm())
    rise = landscape.gradient(landscape.here + step) - landscape.gradient(landscape.here - step)
    return rise * (vector.norm() / (2 * radius))


@dataclass(frozen=True, kw_only=True)
class Eigenvalue:
    """The end of a power iteration.

    Args:
        value: the eigenvalue, as a Rayleigh quotient.
        residual: |H v - value v| / |value|, with v of length 1; 0 is an eigenvector.
        products: Hessian products it took.
        converged: the last product changed the value by less than the tolerance.
    """

    value: float
    residual: float
    products: int
    converged: bool


def largest_eigenvalue(
    multiply: Callable[[Tensor], Tensor], start: Tensor, *, products: int = 30, tolerance: float = 1e-3
) -> Eigenvalue:
    """The largest eigenvalue, signed, of a symmetric matrix that is known by its products.

    Power iteration finds the eigenvalue of largest size. Where that is negative, the matrix is shifted by it, which
    leaves none below 0, and the iteration goes on.

    Args:
        start: (W,) any vector that is not orthogonal to what is sought.
        products: at most so many in each of the two iterations.
        tolerance: of the value, relative.
    """
    first = power_iteration(multiply, start, 0.0, products, tolerance)
    if first.value >= 0:
        return first
    again = power_iteration(multiply, start, first.value, products, tolerance)
    return Eigenvalue(
        value=again.value,
        residual=again.residual,
        products=first.products + again.products,
        converged=again.converged,
    )


def power_iteration(
    multiply: Callable[[Tensor], Tensor], start: Tensor, shift: float, products: int, tolerance: float
) -> Eigenvalue:
    """The eigenvalue of H that is farthest from `shift`."""
    v, value, residual, before = start / start.norm(), 0.0, 0.0, float("inf")
    for number in range(1, products + 1):
        product = multiply(v)
        value = float(v @ product)
        residual = float((product - value * v).norm()) / max(abs(value), 1e-30)
        if abs(value - before) <= tolerance * abs(value):
            return Eigenvalue(value=value, residual=residual, products=number, converged=True)
        before, moved = value, product - shift * v
        if float(moved.norm()) == 0:  # H is shift times the identity
            return Eigenvalue(value=value, residual=residual, products=number, converged=True)
        v = moved / moved.norm()
    return Eigenvalue(value=value, residual=residual, products=products, converged=False)


def filter_normalised(parameters: Sequence[nn.Parameter], generator: torch.Generator) -> Tensor:
    """A random direction, (W,), each of whose filters is as long as the filter of the weights.

    A filter is all that one index of the first axis holds. Biases, norms and other vectors stay: their direction is 0.
    """
    parts = []
    for p in parameters:
        drawn = torch.randn(p.shape, generator=generator).to(p)
        if p.ndim < 2:
            parts.append(torch.zeros_like(p).flatten())
            continue
        rows, own = drawn.flatten(1), p.detach().flatten(1)
        length = rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
        parts.append((rows * (own.norm(dim=1, keepdim=True) / length)).flatten())
    return torch.cat(parts)


def along(landscape: Landscape, direction: Tensor, distances: Sequence[float]) -> list[float]:
    """The loss at ``here + distance * direction`` for each distance."""
    return [landscape.loss(landscape.here + d * direction) for d in distances]
