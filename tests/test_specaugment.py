"""SpecAugment against a loop in plain Python that uses the same draws, and its draws against the law they come from."""

import math

import pytest
import torch

from auscult.config import from_dict, to_dict
from auscult.errors import AuscultError
from auscult.signal.specaugment import SpecAugment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(n: int = 6, frames: int = 200, bins: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, frames, bins, generator=generator(seed)) + 2


def slow_masks(x: torch.Tensor, spec: SpecAugment, seed: int) -> torch.Tensor:
    """Clip by clip, mask by mask, slice assignment; the whole batch at once where the masks are shared."""
    x = x.clone()
    groups = [x] if spec.share == "batch" else [x[i : i + 1] for i in range(len(x))]
    frequency, time = spec.draw(len(groups), x.shape[1], x.shape[2], generator(seed))
    for i, group in enumerate(groups):
        for start, width in zip(frequency.start[i].tolist(), frequency.width[i].tolist(), strict=True):
            group[:, :, start : start + width] = group.mean() if spec.fill == "mean" else 0.0
        for start, width in zip(time.start[i].tolist(), time.width[i].tolist(), strict=True):
            group[:, start : start + width, :] = group.mean() if spec.fill == "mean" else 0.0
    return x


@pytest.mark.parametrize("share", ["clip", "batch"])
@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("masks", [0, 1, 2, 3])
def test_equals_the_loop(share: str, fill: str, masks: int) -> None:
    spec = from_dict(SpecAugment, {"share": share, "fill": fill, "masks": masks})
    x = clips()
    for seed in range(5):
        assert torch.allclose(spec(x, generator(seed)), slow_masks(x, spec, seed), atol=1e-5)


@pytest.mark.parametrize("share", ["clip", "batch"])
@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("masks", [0, 1, 2, 3])
def test_slices_and_masks_give_the_same(share: str, fill: str, masks: int) -> None:
    """Overlapping masks too: at 3 of 48 bins in 64 and 3 of 160 frames in 200 nearly all meet."""
    spec = from_dict(SpecAugment, {"share": share, "fill": fill, "masks": masks})
    for seed in range(20):
        x = clips(seed=seed).double()
        bands = spec.draw(1 if share == "batch" else len(x), 200, 64, generator(seed))
        torch.testing.assert_close(spec.by_slices(x, *bands), spec.by_masks(x, *bands), rtol=0, atol=1e-12)
        single = spec.by_slices(x.float(), *bands)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single, spec.by_masks(x.float(), *bands), rtol=0, atol=5e-6)


def test_slices_take_a_transposed_map_and_an_empty_batch() -> None:
    spec, turned = SpecAugment(gate="always"), clips(bins=200, frames=64).transpose(1, 2)
    torch.testing.assert_close(spec(turned, generator()), spec(turned.contiguous(), generator()))
    assert spec(clips()[:0], generator()).shape == (0, 200, 64)


def test_a_gradient_goes_through_the_masks_and_through_their_means() -> None:
    """Where the normalisation learns, its gradient is that of finite differences."""
    spec = SpecAugment(gate="always", frequency_mask=4, time_mask=4)
    x = clips(2, 6, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: spec(x, generator(2)), x)
    with torch.no_grad():
        assert not spec(x, generator(2)).requires_grad


def test_returns_a_copy_in_every_case() -> None:
    x = clips()
    before = x.clone()
    for spec in (SpecAugment(gate="always"), SpecAugment(masks=0), SpecAugment(share="batch")):
        spec(x, generator())[:] = 0
        assert torch.equal(x, before)


def test_widths_and_starts_follow_the_law() -> None:
    frequency, time = SpecAugment(gate="always").draw(20000, 798, 128, generator())
    for bands, size, limit in ((frequency, 128, 48), (time, 798, 160)):
        assert bands.width.shape == bands.start.shape == (20000, 2)
        assert bands.width.min() == 0 and bands.width.max() == limit - 1
        assert bands.width.double().mean() == pytest.approx((limit - 1) / 2, rel=0.02)
        end = bands.start + bands.width
        assert bands.start.min() == 0 and end.max() == size  # both ends can be reached, and nothing lies outside
        share = bands.start / (size - bands.width)
        assert share.mean() == pytest.approx(0.5, abs=0.01)
        assert share.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)


def test_the_lineage_gate_opens_with_probability_phi_1() -> None:
    frequency, time = SpecAugment(frequency_mask=1000, time_mask=1000).draw(40000, 798, 128, generator(3))
    opened = (frequency.width.sum(dim=1) + time.width.sum(dim=1)) > 0
    phi = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert opened.double().mean() == pytest.approx(phi, abs=0.006)  # three standard errors
    assert torch.all(time.width[~opened] == 0)  # the gate spares a clip from all masks or from none


def test_always_spares_nobody() -> None:
    frequency, time = SpecAugment(gate="always", frequency_mask=1000, time_mask=1000).draw(5000, 798, 128, generator())
    assert torch.all(frequency.width.sum(dim=1) + time.width.sum(dim=1) > 0)


def test_clips_have_their_own_masks_unless_shared() -> None:
    x = torch.arange(8 * 300 * 128, dtype=torch.float64).reshape(8, 300, 128) % 997 + torch.arange(8)[:, None, None]
    own = (SpecAugment(gate="always")(x, generator()) != x).flatten(1)
    assert any(not torch.equal(own[0], mask) for mask in own[1:])
    shared = SpecAugment(gate="always", share="batch")(x, generator())
    changed = (shared - x).abs() > 1e-9
    rows, columns = changed[0].all(dim=1), changed[0].all(dim=0)
    for i in range(8):
        assert changed[i].all(dim=1).tolist() == rows.tolist() and changed[i].all(dim=0).tolist() == columns.tolist()


def test_the_fill_is_the_mean_of_the_clip() -> None:
    x = torch.zeros(2, 10, 4)
    x[1] = 5.0
    x[:, 0] += 1.0
    spec = SpecAugment(gate="always", masks=1, frequency_mask=0, time_mask=10**9)  # one mask over all frames
    assert torch.allclose(spec(x, generator()), torch.tensor([0.1, 5.1])[:, None, None].expand(2, 10, 4))
    shared = SpecAugment(gate="always", masks=1, frequency_mask=0, time_mask=10**9, share="batch")
    assert torch.allclose(shared(x, generator()), torch.full((2, 10, 4), 2.6))


@pytest.mark.parametrize(("frames", "bins"), [(1, 1), (20, 8), (159, 47)])
def test_masks_wider_than_the_clip_are_clipped(frames: int, bins: int) -> None:
    x = clips(4, frames, bins)
    for seed in range(20):
        masked = SpecAugment(gate="always")(x, generator(seed))
        assert masked.shape == x.shape and torch.all(masked.isfinite())


def test_same_seed_same_masks_and_the_global_generator_serves_without_one() -> None:
    x, spec = clips(), SpecAugment()
    assert torch.equal(spec(x, generator(5)), spec(x, generator(5)))
    assert not torch.equal(spec(x, generator(5)), spec(x, generator(6)))
    torch.manual_seed(5)
    assert torch.equal(spec(x), spec(x, generator(5)))


def test_settings_round_trip_and_are_checked() -> None:
    assert from_dict(SpecAugment, to_dict(SpecAugment(masks=3))) == SpecAugment(masks=3)
    with pytest.raises(AuscultError, match="masks=-1"):
        from_dict(SpecAugment, {"masks": -1})
    with pytest.raises(AuscultError, match="lineage, always"):
        from_dict(SpecAugment, {"gate": "sometimes"})
