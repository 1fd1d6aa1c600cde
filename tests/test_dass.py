"""DASS against the published parameter counts, key list and grids, and against a channels-first twin."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auscult.errors import AuscultError
from auscult.models import Dass, parameter_count
from auscult.models.dass import DASS, SIZES, SS2D, VSSBlock
from auscult.models.scan import force


def published_keys(size: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the public checkpoints with a one-channel stem and 4 classes, written out by hand."""
    dims, depths = SIZES[size].dims, SIZES[size].depths
    c = dims[0]
    keys: dict[str, tuple[int, ...]] = {
        "patch_embed.0.weight": (c // 2, 1, 3, 3),
        "patch_embed.0.bias": (c // 2,),
        "patch_embed.2.weight": (c // 2,),
        "patch_embed.2.bias": (c // 2,),
        "patch_embed.5.weight": (c, c // 2, 3, 3),
        "patch_embed.5.bias": (c,),
        "patch_embed.7.weight": (c,),
        "patch_embed.7.bias": (c,),
        "classifier.norm.weight": (dims[3],),
        "classifier.norm.bias": (dims[3],),
        "classifier.head.weight": (4, dims[3]),
        "classifier.head.bias": (4,),
    }
    for i, (d, depth) in enumerate(zip(dims, depths, strict=True)):
        r = math.ceil(d / 16)
        block = {
            "norm.weight": (d,),
            "norm.bias": (d,),
            "op.x_proj_weight": (4, r + 2, d),
            "op.dt_projs_weight": (4, d, r),
            "op.dt_projs_bias": (4, d),
            "op.A_logs": (4 * d, 1),
            "op.Ds": (4 * d,),
            "op.out_norm.weight": (d,),
            "op.out_norm.bias": (d,),
            "op.in_proj.weight": (d, d),
            "op.conv2d.weight": (d, 1, 3, 3),
            "op.out_proj.weight": (d, d),
            "norm2.weight": (d,),
            "norm2.bias": (d,),
            "mlp.fc1.weight": (4 * d, d),
            "mlp.fc1.bias": (4 * d,),
            "mlp.fc2.weight": (d, 4 * d),
            "mlp.fc2.bias": (d,),
        }
        for j in range(depth):
            keys |= {f"layers.{i}.blocks.{j}.{name}": shape for name, shape in block.items()}
        if i < 3:
            keys |= {f"layers.{i}.downsample.1.weight": (2 * d, d, 3, 3), f"layers.{i}.downsample.1.bias": (2 * d,)}
            keys |= {f"layers.{i}.downsample.3.weight": (2 * d,), f"layers.{i}.downsample.3.bias": (2 * d,)}
    return keys


@pytest.mark.parametrize(("size", "count", "keys"), [("small", 29_482_276, 276), ("medium", 48_246_052, 492)])
def test_published_counts_and_names(size: str, count: int, keys: int) -> None:
    with torch.device("meta"):
        model = Dass(size=size).build(classes=4)
    assert parameter_count(model) == count
    found = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert len(found) == keys
    assert found == published_keys(size)
    assert not list(model.buffers())


def test_nano_is_about_a_million() -> None:
    assert 0.9e6 < parameter_count(Dass(size="nano").build(classes=4)) < 1.2e6


@pytest.mark.parametrize(("frames", "columns"), [(1024, 256), (798, 200)])
def test_grids_of_the_four_stages(frames: int, columns: int) -> None:
    model = Dass(size="nano").build().eval()
    grids = []
    for stage in model.layers:
        stage.register_forward_pre_hook(lambda _, args: grids.append(tuple(args[0].shape[1:3])))
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 128, frames)).shape == (1, model.features)
    assert grids == [(32 // 2**i, math.ceil(columns / 2**i)) for i in range(4)]


def test_drop_path_rises_linearly_to_the_size_s_rate() -> None:
    with torch.device("meta"):
        blocks = [m for m in Dass(size="medium").build().modules() if isinstance(m, VSSBlock)]
    assert len(blocks) == 26
    assert [b.drop_path.rate for b in blocks] == pytest.approx([0.012 * j for j in range(26)], abs=1e-6)


def channels_first(block: VSSBlock, x: Tensor) -> Tensor:
    """The block as the literature writes it: (B, C, H, W), four rotated copies, a loop over the sequence."""

    def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
        return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def conv1(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight[:, :, None, None], bias)

    def ss2d(op: SS2D, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        u = F.silu(F.conv2d(conv1(op.in_proj.weight, x), op.conv2d.weight, padding=1, groups=c))
        rows, columns = u.flatten(2), u.transpose(2, 3).flatten(2)
        xs = torch.stack([rows, columns, rows.flip(2), columns.flip(2)], dim=1)  # (B, 4, C, L)
        rank = op.dt_projs_weight.shape[2]
        r, bb, cc = torch.einsum("bkdl,kcd->bkcl", xs, op.x_proj_weight).split([rank, 1, 1], dim=2)
        delta = F.softplus(torch.einsum("bkrl,kdr->bkdl", r, op.dt_projs_weight) + op.dt_projs_bias[:, :, None])
        a, skip = -torch.exp(op.A_logs).view(4, c), op.Ds.view(4, c, 1)
        state, out = torch.zeros_like(xs[..., 0]), []
        for i in range(h * w):
            state = torch.exp(delta[..., i] * a) * state + delta[..., i] * bb[..., i] * xs[..., i]
            out.append(state * cc[..., i])
        y = torch.stack(out, dim=3) + skip * xs
        across = (y[:, 1] + y[:, 3].flip(2)).view(b, c, w, h).transpose(2, 3)
        merged = (y[:, 0] + y[:, 2].flip(2)).view(b, c, h, w) + across
        return conv1(op.out_proj.weight, norm(op.out_norm, merged))

    x = x + ss2d(block.op, norm(block.norm, x))
    mlp = block.mlp
    hidden = F.gelu(conv1(mlp.fc1.weight, norm(block.norm2, x), mlp.fc1.bias))
    return x + conv1(mlp.fc2.weight, hidden, mlp.fc2.bias)


@pytest.mark.parametrize("scan", ["reference", "chunked", "cpu"])
def test_a_block_equals_its_channels_first_twin(scan: str) -> None:
    torch.manual_seed(0)
    block = VSSBlock(32, drop_path=0.0)
    for p in block.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x = torch.randn(2, 5, 7, 32)
    with torch.no_grad(), force(scan):
        found = block(x)
    expected = channels_first(block.double(), x.double().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_patchify_then_encode_is_the_forward_pass() -> None:
    torch.manual_seed(0)
    model = Dass(size="nano").build().eval()
    x = torch.randn(2, 1, 64, 50)
    patches = model.patchify(x)
    assert patches.shape == (2, 32, 16, 13)
    assert torch.equal(model.encode(patches), model(x))


def test_a_clip_does_not_feel_its_batch() -> None:
    torch.manual_seed(0)
    model = Dass(size="nano").build(classes=4).eval()
    x = torch.randn(5, 1, 64, 61)
    with torch.no_grad():
        assert torch.allclose(model(x)[3], model(x[3:4])[0], atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = DASS((8, 16, 24, 32), (1, 1, 2, 1), 0.0, classes=3)
    F.cross_entropy(model(torch.randn(2, 1, 32, 40)), torch.tensor([0, 2])).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


def test_an_unknown_size_says_what_exists() -> None:
    with pytest.raises(AuscultError, match="Did you mean 'medium'"):
        Dass(size="mediun")


def test_checkpointing_changes_memory_and_nothing_else() -> None:
    sound = torch.randn(2, 1, 64, 70, generator=torch.Generator().manual_seed(0))
    found = []
    for checkpoint in (False, True):
        torch.manual_seed(1)
        model = Dass(size="nano", drop_path=0.4, checkpoint=checkpoint).build().train()
        kept: list[int] = []

        def count(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        torch.manual_seed(2)  # drop path: what is computed again must draw the same
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            y = model(sound).square().sum()
        y.backward()
        found.append((y.item(), [p.grad for p in model.parameters()], sum(kept)))
    assert found[0][0] == found[1][0]
    for plain, again in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(plain, again)
    assert found[1][2] < found[0][2] / 3
    assert list(Dass(size="nano", checkpoint=True).build().state_dict()) == list(Dass(size="nano").build().state_dict())


def test_evaluation_adds_inside_the_products_and_training_does_not() -> None:
    model = Dass(size="nano", drop_path=0.0).build()
    sound = torch.randn(1, 1, 64, 90, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(sound), model.train()(sound), rtol=1e-4, atol=1e-5)
