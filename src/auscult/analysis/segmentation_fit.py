"""Fits the five networks that say where a breathing cycle may begin: `signal/breathing.safetensors` is made by this.

`auscult analyse segmentation icbhi --data DIR --sprsound DIR --fit FILE` takes a quarter of an hour on one core.
Network k learns from the patients of the training parts whose number is not k modulo 5. The target of a frame is a bell
of 0.15 s around each annotated start. SPRSound, drawn anew each epoch, adds children and short breaths.

Material is made more various by stretching time (breathing rate), scaling and shifting the levels (loudness against the
noise, which decides how far breaths stand out), noise, and hiding some bands. Noise and heart beats without a breath
are made for it, so that it can say that there is none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Corpus
from ..progress import say, track
from ..signal.breathing import BANDS, DILATIONS, FOLDS, FRAME_S, HOP, band_levels, fold, save_networks
from ..signal.breathing import RATE as SAMPLE_RATE
from .segmentation import annotated

WIDTH, TAPS, DROPOUT = 24, 5, 0.2
EPOCHS, WARM, BATCH, RATE, DECAY = 100, 3, 16, 3e-3, 1e-2
CROP = 256  # frames: 16 s
BELL_S = 0.15
STRETCH = 0.25  # largest logarithm
EXTRA = 2  # recordings of SPRSound for each of ICBHI, in an epoch
NOISES = 24  # made for an epoch
SHORTEST_S = 2.0


@dataclass(frozen=True, eq=False)
class Example:
    """A recording to learn from: levels (T, 16) as `band_levels` gives them, and where cycles begin, in s."""

    patient: str
    levels: NDArray[np.float32]
    starts: NDArray[np.float64]


class Network(nn.Module):
    """What `breathing.convolve` computes, with a gradient: (B, T, 16) levels and (B, T) mask to (B, T) logits."""

    def __init__(self) -> None:
        super().__init__()
        widths = [BANDS, *(WIDTH for _ in DILATIONS)]
        self.layers = nn.ModuleList(
            nn.Conv1d(have, WIDTH, TAPS, padding=d * (TAPS // 2), dilation=d)
            for have, d in zip(widths, DILATIONS, strict=False)
        )
        self.sum = nn.Linear(WIDTH, 1)
        nn.init.constant_(self.sum.bias, -3.0)  # few frames are the first of a cycle

    def forward(self, levels: Tensor, mask: Tensor) -> Tensor:
        x, inside = levels.transpose(1, 2), mask[:, None]
        for place, layer in enumerate(self.layers):
            y = F.relu(layer(F.dropout(x, DROPOUT, self.training and place > 0))) * inside
            x = y + x if place else y
        return self.sum(x.transpose(1, 2))[..., 0]

    def arrays(self) -> list[NDArray[np.float32]]:
        """The weights as `breathing.convolve` takes them, of one network."""
        state = self.state_dict()
        arrays = []
        for place in range(len(DILATIONS)):
            arrays += [state[f"layers.{place}.weight"].permute(2, 1, 0), state[f"layers.{place}.bias"]]
        return [a.numpy().copy() for a in (*arrays, state["sum.weight"][0], state["sum.bias"][0])]


def examples(corpus: Corpus) -> list[Example]:
    """The training part of a data set, spans of 2 s or more."""
    return [
        Example(one.patient, band_levels(one.waveform, one.sample_rate), one.starts)
        for one in annotated(corpus, [corpus.train_part])
        if one.length_s >= SHORTEST_S
    ]


def fit(icbhi: Corpus, sprsound: Corpus, file: Path, *, epochs: int = EPOCHS, seed: int = 0) -> None:
    """Fits all five networks and writes them."""
    main, extra = examples(icbhi), examples(sprsound)
    fitted = []
    for k in range(FOLDS):
        some, more = ([e for e in all_ if fold(e.patient) != k] for all_ in (main, extra))
        network, loss = fit_one(some, more, f"network {k + 1} of {FOLDS}", epochs, seed)
        say(f"network {k + 1} of {FOLDS}: loss {loss:.4f}")
        fitted.append(network.arrays())
    save_networks(file, [np.stack(layer) for layer in zip(*fitted, strict=True)])


def fit_one(
    main: Sequence[Example], extra: Sequence[Example], label: str, epochs: int, seed: int
) -> tuple[Network, float]:
    """One network, and the mean loss of its last epoch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    losses: list[float] = []
    for epoch in track(range(epochs), label):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (epoch + 1) / WARM) * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        drawn = [extra[i] for i in rng.choice(len(extra), min(len(extra), EXTRA * len(main)), replace=False)]
        made = [noise(rng) for _ in range(NOISES)]
        losses = [step(network, batch, optimizer) for batch in batches([*main, *drawn, *made], rng)]
    return network.eval(), float(np.mean(losses))


def noise(rng: np.random.Generator) -> Example:
    """16 s without a breath: steady noise, white to brown, half of the time with heart beats in it."""
    from scipy.signal import lfilter

    seconds = np.arange(CROP * HOP) / SAMPLE_RATE
    sound = lfilter([1.0], [1.0, -rng.uniform(0, 0.98)], rng.normal(size=len(seconds)))
    if rng.random() < 0.5:
        beat, hz, width_s = rng.uniform(0.5, 1.1), rng.uniform(35, 90), rng.uniform(0.02, 0.05)
        second = rng.uniform(0.25, 0.4) * beat
        for at, gain in ((0.1, 1.0), (0.1 + second, rng.uniform(0.4, 1.0))):
            thump = np.exp(-((((seconds - at) % beat - beat / 2) / width_s) ** 2)) * np.sin(2 * np.pi * hz * seconds)
            sound += gain * 10 ** rng.uniform(-0.5, 1.5) * sound.std() * thump
    return Example("", band_levels(sound, SAMPLE_RATE), np.zeros(0))


def step(network: Network, batch: tuple[Tensor, Tensor, Tensor], optimizer: torch.optim.Optimizer) -> float:
    """One step on levels (B, T, 16), targets (B, T) and mask (B, T); gives the loss before it."""
    levels, target, mask = batch
    each = F.binary_cross_entropy_with_logits(network(levels, mask), target, reduction="none")
    loss = (each * mask).sum() / mask.sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def batches(material: Sequence[Example], rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Crops of all recordings, longer ones more often, in random order: levels, targets, mask."""
    whole = [e for e in material for _ in range(max(1, round(len(e.levels) / CROP)))]
    order = rng.permutation(len(whole))
    for first in range(0, len(order), BATCH):
        crops = [crop(stretched(whole[i], rng), rng) for i in order[first : first + BATCH]]
        levels, target, mask = (torch.from_numpy(np.stack(a)) for a in zip(*crops, strict=True))
        yield levels, target, mask


def stretched(example: Example, rng: np.random.Generator) -> Example:
    """The same breaths slower or faster, by linear interpolation between frames."""
    factor, count = float(np.exp(rng.uniform(-STRETCH, STRETCH))), len(example.levels)
    at = (np.arange(max(1, int(count * factor))) + 0.5) / factor - 0.5
    below = np.clip(np.floor(at), 0, count - 1).astype(int)
    share = np.clip(at - below, 0, 1)[:, None].astype(np.float32)
    above = np.minimum(below + 1, count - 1)
    levels = example.levels[below] * (1 - share) + example.levels[above] * share
    return Example(example.patient, levels, example.starts * factor)


def crop(
    example: Example, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """16 s of a recording, with 0 behind a shorter one; levels are varied as the file's first lines say."""
    first = int(rng.integers(0, max(1, len(example.levels) - CROP + 1)))
    levels = example.levels[first : first + CROP]
    kept = len(levels)
    varied = levels * rng.uniform(0.6, 1.4) + rng.normal(0, 0.15, BANDS) + rng.normal(0, 0.1, levels.shape)
    if rng.random() < 0.5:
        band = int(rng.integers(0, BANDS))
        varied[:, band : band + int(rng.integers(1, 5))] = 0
    behind = (0, CROP - kept)
    seconds = (first + np.arange(kept) + 0.5) * FRAME_S
    mask = np.pad(np.ones(kept, np.float32), behind)
    return np.pad(varied.astype(np.float32), (behind, (0, 0))), np.pad(bells(seconds, example.starts), behind), mask


def bells(seconds: NDArray[np.floating], starts: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 at each start, falling to 0.6 at 0.15 s from it; 0 without a start. Shape: (T,)."""
    nearest = np.abs(seconds[:, None] - starts).min(axis=1, initial=np.inf)
    return np.exp(-0.5 * (nearest / BELL_S) ** 2).astype(np.float32)
