"""EfficientAT's mn04 from its AudioSet weights, and the same network from random ones: what pre-training is worth.

SPRSound is sampled at 8 kHz: at the 32 kHz of these networks its spectrum above 4 kHz, 49 of the 128 mel bins, is
empty. It is quiet too: 82 % of the values lie on the front end's floor, and bringing every clip to one loudness first
(41 %) changed nothing for a linear classifier on the AudioSet features, so the authors' front end stays as it is.

Source: Schmid et al. 2023 (EfficientAT); how to fine-tune is ours, chosen on held-out training patients of SPRSound.
"""

from dataclasses import replace

from ..models import LinearHead, MobileNet
from ..objectives import CrossEntropy
from ..optim import AdamW, Cosine
from ..signal.clip import Clip
from ..signal.specaugment import SpecAugment
from ..signal.spectrogram import Input
from .recipe import Recipe


def mn04() -> Recipe:
    """mn04 fine-tuned from AudioSet: ``auscult train mn04 --dataset sprsound --data DIR``.

    Forward and backward take 65 s an epoch of SPRSound on one Zen 4 core.
    Here, clips of 2 s and 4 epochs: 86.70 ± 2.87 on SPRSound's task 1-1 inter, three seeds (docs/results.md).
    """
    return replace(mn04_scratch(), name="mn04", weights="mn04_audioset")


def mn04_scratch() -> Recipe:
    """`mn04` from random weights, all else equal: ``auscult train mn04_scratch --dataset sprsound --data DIR``.

    Here, clips of 2 s and 4 epochs: 46.90 ± 1.31 on SPRSound's task 1-1 inter, three seeds (docs/results.md).
    """
    return Recipe(
        name="mn04_scratch",
        clip=Clip(sample_rate=32000, length_s=4.0, filterbank="efficientat"),
        input=Input(normalise="efficientat", specaugment=SpecAugment(frequency_mask=16, time_mask=48)),
        backbone=MobileNet(size="mn04"),
        head=LinearHead(dropout=0.2),
        objective=CrossEntropy(weighting="sqrt_inverse"),
        optimizer=AdamW(lr=1e-3, weight_decay=0.01, decay_norms=False),
        schedule=Cosine(warmup_epochs=1, every="step"),
        epochs=10,
        batch_size=32,
    )
