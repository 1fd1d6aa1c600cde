"""DASS in numpy, from the tensors of a weights file; `models.dass` has the sources and the shapes."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from .arithmetic import depthwise, gelu_, halved, layer_norm, linear, mlp, silu
from .scan import ss2d

Array = np.ndarray
DIRECTIONS, MLP_RATIO = 4, 4


class Dass:
    """The network, without a head.

    Args:
        tensors: by the published names, as `shapes` says.
        depths: blocks of each stage.
    """

    def __init__(self, tensors: Mapping[str, Array], depths: tuple[int, ...]) -> None:
        self.tensors = dict(tensors)
        self.depths = depths

    def __call__(self, x: Float[Array, "B F T"]) -> Float[Array, "B D"]:
        """Features of inputs."""
        x = self._halved("patch_embed.0", x[..., None])
        x = gelu_(self._norm("patch_embed.2", x))
        x = self._norm("patch_embed.7", self._halved("patch_embed.5", x))
        for stage, depth in enumerate(self.depths):
            for block in range(depth):
                x = self._block(f"layers.{stage}.blocks.{block}", x)
            if stage + 1 < len(self.depths):
                name = f"layers.{stage}.downsample"
                x = self._norm(f"{name}.3", self._halved(f"{name}.1", x))
        return self._norm("classifier.norm", x).mean(axis=(1, 2))

    def _block(self, name: str, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        x = x + self._ss2d(f"{name}.op", self._norm(f"{name}.norm", x))
        first, second = (self._pair(f"{name}.mlp.{layer}") for layer in ("fc1", "fc2"))
        x += mlp(self._norm(f"{name}.norm2", x), first, second)
        return x

    def _ss2d(self, name: str, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        own = {key: self.tensors[f"{name}.{key}"] for key in ("x_proj_weight", "dt_projs_weight", "A_logs", "Ds")}
        dim = x.shape[-1]
        u = silu(depthwise(linear(x, self.tensors[f"{name}.in_proj.weight"]), self.tensors[f"{name}.conv2d.weight"]))
        projected = linear(u, own["x_proj_weight"].reshape(-1, dim)).reshape(*u.shape[:3], DIRECTIONS, -1)
        y = ss2d(
            u,
            projected,
            own["dt_projs_weight"].transpose(0, 2, 1),
            self.tensors[f"{name}.dt_projs_bias"],
            -np.exp(own["A_logs"]).reshape(DIRECTIONS, dim),
            own["Ds"].reshape(DIRECTIONS, dim),
        )
        return linear(self._norm(f"{name}.out_norm", y), self.tensors[f"{name}.out_proj.weight"])

    def _pair(self, name: str) -> tuple[Array, Array]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    def _norm(self, name: str, x: Array) -> Array:
        return layer_norm(x, *self._pair(name))

    def _halved(self, name: str, x: Array) -> Array:
        return halved(x, *self._pair(name))


def shapes(dims: tuple[int, ...], depths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network, by name."""
    first = dims[0]
    made = layer("patch_embed.0", first // 2, 1, 3, 3) | layer("patch_embed.2", first // 2)
    made |= layer("patch_embed.5", first, first // 2, 3, 3) | layer("patch_embed.7", first)
    for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        for block in range(depth):
            made |= block_shapes(f"layers.{stage}.blocks.{block}", dim)
        if stage + 1 < len(dims):
            after, name = dims[stage + 1], f"layers.{stage}.downsample"
            made |= layer(f"{name}.1", after, dim, 3, 3) | layer(f"{name}.3", after)
    return made | layer("classifier.norm", dims[-1])


def block_shapes(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    """The tensors of one block."""
    rank, wide, scan = -(-dim // 16), MLP_RATIO * dim, f"{name}.op"
    made = layer(f"{name}.norm", dim) | layer(f"{name}.norm2", dim) | layer(f"{scan}.out_norm", dim)
    made |= layer(f"{name}.mlp.fc1", wide, dim) | layer(f"{name}.mlp.fc2", dim, wide)
    return made | {
        f"{scan}.x_proj_weight": (DIRECTIONS, rank + 2, dim),
        f"{scan}.dt_projs_weight": (DIRECTIONS, dim, rank),
        f"{scan}.dt_projs_bias": (DIRECTIONS, dim),
        f"{scan}.A_logs": (DIRECTIONS * dim, 1),
        f"{scan}.Ds": (DIRECTIONS * dim,),
        f"{scan}.in_proj.weight": (dim, dim),
        f"{scan}.conv2d.weight": (dim, 1, 3, 3),
        f"{scan}.out_proj.weight": (dim, dim),
    }


def layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    """A layer's weight, and its bias of the first length."""
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}
