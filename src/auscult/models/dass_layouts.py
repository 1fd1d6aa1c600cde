"""The layouts in which DASS and VMamba are published, as names and shapes of our DASS.

Source: the checkpoints of Bhati et al. 2024 (DASS) and their Hugging Face copies (modeling_dass.py); vmamba.py.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from .layouts import OURS, Given, rename

PREFIXES = ("module.", "v.", "dass.", OURS)  # DataParallel, the DASS class, its Hugging Face class
STEM = "patch_embed.0.weight"
# From the Hugging Face copies of DASS and the one-file vmamba.py to the names of the checkpoints.
NAMES = (
    (r"^patch_embeddings\.projection\.0\.", "patch_embed.0."),
    (r"^patch_embeddings\.projection\.1\.", "patch_embed.2."),
    (r"^patch_embeddings\.projection\.3\.", "patch_embed.5."),
    (r"^patch_embeddings\.projection\.4\.", "patch_embed.7."),
    (r"\.downsample\.down\.", ".downsample.1."),
    (r"\.downsample\.norm\.", ".downsample.3."),
    (r"\.(x_proj|dt_projs)\.weight$", r".\1_weight"),
    (r"^norm\.", "classifier.norm."),
    (r"^head\.", "classifier.head."),
)


def translate(model: nn.Module, found: dict[str, Tensor]) -> Iterator[Given]:
    """The tensors of a file for a `DASS`.

    1x1 convolutions (O, I, 1, 1) become linear weights (O, I); the stem of a network for colour images is summed over
    its three channels, which is what that network answers to a grey image.

    Source: stem and head as in the code of Bhati et al. 2024 (DASS), src/models/ast_models.py.
    """
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    for published, tensor in found.items():
        name = rename(published, PREFIXES, NAMES)
        yield Given(published, name, reshape(name, tensor, shapes[name]) if name in shapes else tensor)


def reshape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`tensor` in our shape where it is the same thing in another one."""
    have = tuple(tensor.shape)
    if len(have) == 4 and have == (*shape, 1, 1):
        return tensor.reshape(shape)  # a 1x1 convolution is a linear layer
    if name.endswith(("x_proj_weight", "dt_projs_weight")) and have == (shape[0] * shape[1], *shape[2:]):
        return tensor.reshape(shape)  # four directions in one grouped layer
    if name == STEM and have[1:2] == (3,) and (have[0], 1, *have[2:]) == shape:
        return tensor.sum(dim=1, keepdim=True)
    return tensor
