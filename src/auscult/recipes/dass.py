"""DASS trained with plain cross-entropy: the fine-tuning row of Lung-SRAD's tables, and its small sibling for CPUs."""

from ..models import Dass
from ..objectives import CrossEntropy
from ..optim import AdamW, Cosine
from ..signal.clip import Clip
from ..signal.specaugment import SpecAugment
from ..signal.spectrogram import Input
from .recipe import Recipe


def dass() -> Recipe:
    """Row 1 of Table 2 (DASS fine-tuning): DASS medium, AudioSet weights, 8 s, 1024 frames, 50 epochs of batch 16.

    ``auscult train dass --dataset icbhi --data DIR``. Paper: 74.68 / 47.43 / 61.06 (Sp / Se / Score, ICBHI, the best
    epoch on the test set; five seeds). Here: not measured yet.
    """
    return Recipe(
        name="dass",
        input=Input(frames=1024),
        backbone=Dass(size="medium"),
        weights="dass_medium_v2",
        moving_average=0.5,
    )


def dass_small() -> Recipe:
    """`dass` with DASS small.

    ``auscult train dass_small --dataset icbhi --data DIR``. Not in the paper. Here: not measured yet.
    """
    return Recipe(
        name="dass_small",
        input=Input(frames=1024),
        backbone=Dass(size="small"),
        weights="dass_small_v2",
        moving_average=0.5,
    )


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
