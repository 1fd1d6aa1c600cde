"""DASS trained with plain cross-entropy: the fine-tuning row of Lung-SRAD's tables, and its small sibling for CPUs."""

from ..models import Dass
from ..objectives import CrossEntropy
from ..optim import AdamW, Cosine
from ..signal.clip import Clip
from ..signal.specaugment import SpecAugment
from ..signal.spectrogram import Input
from .recipe import Recipe


def dass_nano() -> Recipe:
    """DASS nano from random initialisation, for two CPU cores: 4 s clips of 64 mel bins, a quarter of the usual map."""
    return Recipe(
        name="dass_nano",
        clip=Clip(sample_rate=8000, length_s=4.0, n_mels=64, amplitude="int16"),
        input=Input(normalise="mel", specaugment=SpecAugment(frequency_mask=12, time_mask=48)),
        backbone=Dass(size="nano"),
        objective=CrossEntropy(weighting="sqrt_inverse"),
        optimizer=AdamW(lr=5e-4, weight_decay=0.05, decay_norms=False),
        schedule=Cosine(warmup_epochs=1, every="step"),
        epochs=16,
        batch_size=32,
        clip_grad=2.0,
    )


def dass_small() -> Recipe:
    """DASS small with the fine-tuning constants of Lung-SRAD's public code."""
    return Recipe(name="dass_small", input=Input(frames=1024), backbone=Dass(size="small"))


def dass_medium() -> Recipe:
    """DASS medium, 8 s, per-clip normalisation, 1024 frames, 50 epochs of batch 16: Table 1, "DASS fine-tuning"."""
    return Recipe(name="dass_medium", input=Input(frames=1024), backbone=Dass(size="medium"))
