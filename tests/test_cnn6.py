"""CNN6 against a copy written straight from the paper's table, and against its published size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auscult.config import from_dict
from auscult.errors import AuscultError
from auscult.models import Cnn6, parameter_count
from auscult.models.cnn6 import CNN6


def slowly(model: CNN6, x: Tensor) -> Tensor:
    """Table 2 of PANNs in evaluation: batch norm by its formula, means by loops over the pooled map."""
    for block in (model.conv_block1, model.conv_block2, model.conv_block3, model.conv_block4):
        x = F.conv2d(x, block.conv1.weight, padding=2)
        bn = block.bn1
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        x = (x - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]
        x = x * (x > 0)
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        x = sum(x[:, :, i : 2 * rows : 2, j : 2 * columns : 2] for i in (0, 1) for j in (0, 1)) / 4
    over_time = [x[:, :, :, t].mean(dim=2) for t in range(x.shape[3])]
    pooled = torch.stack(over_time).max(dim=0).values + sum(over_time) / len(over_time)
    return (pooled @ model.fc1.weight.T + model.fc1.bias).relu()


def test_outputs_and_gradients_by_a_slow_copy() -> None:
    torch.manual_seed(0)
    model = Cnn6(width=2).build().double()
    for _ in range(3):
        model.train()(torch.randn(4, 1, 32, 70, dtype=torch.float64))  # running statistics that are not 0 and 1
    x = torch.randn(2, 1, 35, 71, dtype=torch.float64)
    found, expected = model.eval()(x), slowly(model, x)
    assert found.shape == (2, model.features) and found.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-12)
    weight, learnt = torch.randn_like(found), list(model.parameters())
    gradients = torch.autograd.grad((found * weight).sum(), learnt)
    for g, e in zip(gradients, torch.autograd.grad((expected * weight).sum(), learnt), strict=True):
        assert torch.allclose(g, e, atol=1e-10)


def test_the_published_size_and_names() -> None:
    with torch.device("meta"):
        model = Cnn6().build()
    assert model.features == 512
    names = {n for n, _ in model.named_parameters()}
    assert {"conv_block1.conv1.weight", "conv_block4.bn1.bias", "fc1.weight"} <= names
    published = 4_837_455  # with the norm of 64 mel bins and the 527 classes of AudioSet
    assert parameter_count(model) == published - 2 * 64 - 527 * (512 + 1)


@pytest.mark.parametrize(("bins", "frames"), [(1, 1), (64, 3), (17, 400)])
def test_any_length(bins: int, frames: int) -> None:
    model = Cnn6(width=2).build().eval()
    x = torch.randn(2, 1, bins, frames)
    patches = model.patchify(x)
    assert patches.shape == (2, 2, max(1, bins // 2), max(1, frames // 2))
    assert torch.equal(model.encode(patches), model(x)) and model(x).isfinite().all()


def test_dropout_in_training_only_and_as_set() -> None:
    x = torch.randn(3, 1, 32, 40)
    model = Cnn6(width=2).build()
    assert torch.equal(model.eval()(x), model(x)) and not torch.equal(model.train()(x), model(x))
    still = Cnn6(width=2, block_dropout=0.0, dropout=0.0).build().train()
    assert torch.equal(still(x), still(x))
    for wrong in ({"width": 0}, {"dropout": 1.0}):
        with pytest.raises(AuscultError, match=f"{next(iter(wrong))}="):
            from_dict(Cnn6, wrong)
