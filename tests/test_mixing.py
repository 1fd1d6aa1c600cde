"""How patches are mixed: widths, places, ratios, and the maps against a loop over clips."""

import numpy as np
import pytest
import torch

from auscult.objectives.mixing import draw, mixed

AXES = ["time", "freq", "token"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Fixed(np.random.Generator):
    """Draws what it is told."""

    def __init__(self, kept: float, start: int = 0) -> None:
        super().__init__(np.random.PCG64(0))
        self.kept, self.start, self.asked = kept, start, 0

    def beta(self, a: float, b: float) -> float:  # type: ignore[override]
        return self.kept

    def integers(self, high: int) -> int:  # type: ignore[override]
        self.asked = high
        return self.start

    def permutation(self, n: int) -> np.ndarray:  # type: ignore[override]
        return np.roll(np.arange(n), -1)


@pytest.mark.parametrize(
    ("axis", "grid", "drawn", "replaced", "of"),
    [
        ("time", (32, 256), 0.3, 179, 256),  # floor(256 x 0.7) = floor(179.2)
        ("freq", (32, 256), 0.3, 22, 32),  # floor(22.4)
        ("token", (32, 256), 0.3, 5734, 8192),  # floor(5734.4)
        ("time", (32, 200), 0.999, 0, 200),
        ("freq", (16, 100), 0.01, 15, 16),
        ("time", (16, 100), 0.0, 100, 100),
    ],
)
def test_lambda_is_what_the_rounded_width_leaves(
    axis: str, grid: tuple[int, int], drawn: float, replaced: int, of: int
) -> None:
    mix = draw(axis, 4, *grid, beta=1.0, rng=Fixed(drawn))
    assert mix.kept == 1 - replaced / of
    hit = torch.zeros(grid)
    hit[mix.where] = 1
    assert hit.sum() == replaced * {"time": grid[0], "freq": grid[1], "token": 1}[axis]


@pytest.mark.parametrize("axis", ["time", "freq"])
def test_a_band_begins_anywhere_it_fits(axis: str) -> None:
    source = Fixed(0.5, start=3)
    where = draw(axis, 4, 8, 8, beta=1.0, rng=source).where
    assert source.asked == 5, "starts 0 to 4 for a band of 4 in 8"
    assert where[1 if axis == "time" else 0] == slice(3, 7)
    starts = set()
    random = rng()
    for _ in range(400):
        mix = draw(axis, 4, 6, 6, beta=1.0, rng=random)
        band = mix.where[1 if axis == "time" else 0]
        starts |= {(band.start, band.stop)}
        assert 0 <= band.start <= band.stop <= 6 and mix.kept == 1 - (band.stop - band.start) / 6
    # a ratio below 1 in 6 x (1 - ratio) leaves widths 0 to 5, and every start of each is met
    assert starts == {(a, a + w) for w in range(6) for a in range(6 - w + 1)}


def test_ratios_follow_beta() -> None:
    random = rng()
    uniform = [draw("token", 2, 32, 256, 1.0, random).kept for _ in range(2000)]
    sharp = [draw("time", 2, 32, 4096, 8.0, random).kept for _ in range(2000)]
    assert np.var(uniform) == pytest.approx(1 / 12, rel=0.1)
    assert np.var(sharp) == pytest.approx(1 / (4 * 17), rel=0.1)  # of Beta(b, b): 1 / (4 (2 b + 1))


@pytest.mark.parametrize("axis", AXES)
def test_mixing_clip_by_clip(axis: str) -> None:
    patches = torch.randn(5, 3, 4, 7, requires_grad=True)
    mix = draw(axis, 5, 4, 7, beta=1.0, rng=Fixed(0.4, start=1))
    other = draw(axis, 5, 4, 7, beta=1.0, rng=rng(4))
    found = mixed(patches, [mix, other])
    slow = patches.detach().clone().requires_grad_()
    views = []
    for m in (mix, other):
        mask = torch.zeros(4, 7, dtype=torch.bool)
        mask[m.where] = True
        views += [torch.where(mask, slow[m.partner[i]], slow[i]) for i in range(5)]
    expected = torch.stack(views)
    assert torch.equal(found, expected)
    back = torch.randn_like(expected)
    found.backward(back)
    expected.backward(back)
    assert torch.allclose(patches.grad, slow.grad)


@pytest.mark.parametrize(("axis", "across"), [("time", (0, 1, 2)), ("freq", (0, 1, 3))])
def test_only_one_band_without_gaps_differs_from_the_clean_grid(axis: str, across: tuple[int, ...]) -> None:
    patches = torch.randn(4, 3, 12, 20)
    for seed in range(20):
        mix = draw(axis, 4, 12, 20, beta=1.0, rng=rng(seed))
        changed = (mixed(patches, [mix]) != patches).any(dim=across[1]).any(dim=0)  # (H, W)
        line = changed.any(dim=0 if axis == "time" else 1)
        touched = line.nonzero().flatten().tolist()
        assert touched == list(range(touched[0], touched[-1] + 1)) if touched else True
        moved = bool((mix.partner != torch.arange(4)).any())
        assert len(touched) == (round(len(line) * (1 - mix.kept)) if moved else 0)
        assert torch.equal(changed, line.expand_as(changed) if axis == "time" else line[:, None].expand_as(changed))


def test_mixed_maps_keep_the_memory_order_of_the_patches() -> None:
    patches = torch.randn(4, 6, 5, 3).permute(0, 3, 1, 2)
    views = mixed(patches, [draw("time", 4, 6, 5, 1.0, rng(1)), draw("freq", 4, 6, 5, 1.0, rng(2))])
    assert views.is_contiguous(memory_format=torch.channels_last)
