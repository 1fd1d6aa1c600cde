"""The Gaussian against an explicit sum over a 5 x 5 neighbourhood, and in place inside DASS."""

import math

import pytest
import torch
from torch import Tensor, nn

from auscult.config import from_dict, override, to_dict
from auscult.errors import AuscultError
from auscult.models import Dass, Smoothing
from auscult.models.smoothing import GaussianSmoothing, gaussian, install

PLACES = ["merged", "after_out_norm", "op_output", "block_output"]


def smooth_slowly(x: Tensor, taps: int, sigma: float) -> Tensor:
    """Equation 5 in float64, one tap of the two-dimensional kernel at a time; x is (B, H, W, C)."""
    reach = (taps - 1) // 2
    raw = {i: math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)}
    total = sum(raw.values())
    rows, columns = x.shape[1:3]
    out = torch.zeros_like(x, dtype=torch.float64)
    for h in range(rows):
        for w in range(columns):
            for i, a in raw.items():
                for j, b in raw.items():
                    if 0 <= h + i < rows and 0 <= w + j < columns:
                        out[:, h, w] += a * b / total**2 * x[:, h + i, w + j].double()
    return out


@pytest.mark.parametrize(("taps", "sigma"), [(1, 1.0), (3, 0.7), (5, 3.0), (7, 2.0)])
@pytest.mark.parametrize("shape", [(2, 4, 9, 3), (1, 8, 5, 2), (1, 1, 6, 1)])
def test_it_is_the_sum_over_the_neighbourhood(taps: int, sigma: float, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    slow = x.detach().double().requires_grad_()
    found, expected = GaussianSmoothing(shape[-1], taps, sigma)(x), smooth_slowly(slow, taps, sigma)
    assert torch.allclose(found.double(), expected, atol=1e-6)
    back = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found.backward(back)
    expected.backward(back.double())
    assert torch.allclose(x.grad.double(), slow.grad, atol=1e-6)


def test_published_values() -> None:
    # the middle is 0.22255; it is printed as .2226
    assert gaussian(5, 3.0).tolist() == pytest.approx([0.1782, 0.2105, 0.2226, 0.2105, 0.1782], abs=6e-5)
    frequency = torch.tensor([0, 0.125, 0.25, 0.375, 0.5])
    waves = torch.exp(2j * torch.pi * frequency[:, None] * torch.arange(-2, 3))
    response = (waves * gaussian(5, 3.0)).sum(dim=1).abs()
    assert response.tolist() == pytest.approx([1, 0.520, 0.134, 0.075, 0.158], abs=1e-3)


def test_a_constant_stays_inside_and_fades_at_the_borders() -> None:
    gain = GaussianSmoothing(1, 5, 3.0)(torch.ones(1, 8, 64, 1))[0, :, :, 0]
    expected = [0.611, 0.822, 1, 1, 1, 1, 0.822, 0.611]
    assert gain[:, 32].tolist() == pytest.approx(expected, abs=1e-3)
    assert gain[4, :3].tolist() == pytest.approx(expected[:3], abs=1e-3)
    assert gain[0, 0].item() == pytest.approx(0.611**2, abs=1e-3)


def test_channels_do_not_mix_and_memory_keeps_its_order() -> None:
    x = torch.zeros(1, 8, 8, 4)
    x[..., 2] = 1
    y = GaussianSmoothing(4, 5, 3.0)(x)
    assert y.is_contiguous()
    assert not y[..., [0, 1, 3]].any() and y[..., 2].all()


def models(at: str) -> tuple[nn.Module, nn.Module]:
    """DASS nano without and with smoothing, the same weights."""
    plain, smooth = (Dass(size="nano", drop_path=0.0).build(classes=4) for _ in range(2))
    install(smooth, Smoothing(at=at))
    smooth.load_state_dict(plain.state_dict())
    return plain, smooth


@pytest.mark.parametrize("at", PLACES)
def test_names_stay_and_it_works_in_evaluation_too(at: str) -> None:
    torch.manual_seed(0)
    plain, smooth = models(at)
    assert list(plain.state_dict()) == list(smooth.state_dict())
    assert len(list(plain.parameters())) == len(list(smooth.parameters()))
    x = torch.randn(2, 1, 64, 100)
    for training in (True, False):
        assert not torch.allclose(plain.train(training)(x), smooth.train(training)(x), atol=1e-4)
    assert torch.allclose(smooth.train()(x), smooth.eval()(x), atol=1e-5)
    assert str(smooth).count("GaussianSmoothing(kernel=5, sigma=3.0)") == 2


@pytest.mark.parametrize("at", PLACES)
def test_it_sits_where_it_says(at: str) -> None:
    """What leaves the slot is the blurred version of what a model without smoothing has there, in the first block."""
    torch.manual_seed(0)
    plain, smooth = models(at)
    seen = {}
    for name, model in (("plain", plain), ("smooth", smooth)):
        block = model.layers[2].blocks[2]
        slot = getattr(block if at == "block_output" else block.op, at)
        slot.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args[0], out)}))
        with torch.no_grad():
            model(torch.randn(1, 1, 64, 100, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(seen["plain"][0], seen["plain"][1])
    assert torch.allclose(seen["smooth"][0], seen["plain"][0], atol=1e-6)
    assert torch.allclose(seen["smooth"][1].double(), smooth_slowly(seen["plain"][1], 5, 3.0), atol=1e-5)
    found = [name for name, m in smooth.named_modules() if isinstance(m, GaussianSmoothing)]
    end = at if at == "block_output" else f"op.{at}"
    assert found == [f"layers.2.blocks.{block}.{end}" for block in (2, 3)]


@pytest.mark.parametrize(("size", "depth"), [("nano", 4), ("small", 8), ("medium", 20)])
def test_a_block_that_is_not_there_says_which_are(size: str, depth: int) -> None:
    with torch.device("meta"):
        model = Dass(size=size).build()
    with pytest.raises(AuscultError, match=f"stage 2 of this model has {depth} blocks, 0 to {depth - 1}"):
        install(model, Smoothing(blocks=(2, depth)))
    with pytest.raises(AuscultError, match="stages are 0 to 3"):
        install(model, Smoothing(stage=4))
    with pytest.raises(AuscultError, match="stage 3 of this model has"):
        install(model, Smoothing(stage=3))
    install(model, Smoothing(blocks=(depth - 1,)))
    with pytest.raises(ValueError, match="taken already"):
        install(model, Smoothing(blocks=(depth - 1,)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kernel": 4}, "an odd number"),
        ({"kernel": -1}, "an odd number"),
        ({"sigma": 0.0}, "more than 0"),
        ({"blocks": ()}, "one block or more"),
        ({"blocks": (2, 2)}, "each named once"),
    ],
)
def test_settings_that_make_no_kernel(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Smoothing(**settings)


def test_settings_are_saved_and_set_from_the_command_line() -> None:
    smooth = Dass(size="nano", smoothing=Smoothing())
    assert from_dict(Dass, to_dict(smooth)) == smooth
    changed = override(smooth, ["smoothing.sigma=2", "smoothing.blocks=1", "smoothing.at=op_output"])
    assert changed.smoothing == Smoothing(sigma=2.0, blocks=(1,), at="op_output")
    assert override(Dass(), ["smoothing=gaussian"]).smoothing == Smoothing()
    assert override(smooth, ["smoothing=none"]).smoothing is None
    modules = Dass(size="nano", smoothing=Smoothing()).build().modules()
    assert sum(isinstance(m, GaussianSmoothing) for m in modules) == 2


def test_it_follows_the_model_to_other_numbers() -> None:
    module = GaussianSmoothing(3, 5, 3.0)
    x = torch.randn(1, 4, 6, 3, dtype=torch.bfloat16)
    assert module(x).dtype == torch.bfloat16
    assert module.double()(x.double()).dtype == torch.float64
