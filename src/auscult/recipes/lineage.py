"""Systems that Patch-Mix CL, SG-SCL and Lung-SRAD compare themselves with: Patch-Mix (CE), SG-SCL, DAT and CNN6.

The first three are `ast` with another objective and, as in their code, unweighted cross-entropy. Scores quoted are
Sp / Se / Score on ICBHI, the best epoch on the test set; ours choose the epoch on patients held out of the training
part.

SG-SCL and DAT look at the stethoscope: they need a data set with several, so ICBHI or synthetic, not SPRSound.

Source: Bae et al. 2023 (Patch-Mix CL); Kim et al. 2024 (SG-SCL, with DAT and CNN6 among its rows) and its public code;
Kong et al. 2020 (PANNs).
"""

from dataclasses import replace

from ..models import Cnn6, LinearHead
from ..objectives import DAT, SGSCL, CrossEntropy, PatchMixCE
from ..optim import Adam
from ..signal.clip import Clip
from ..signal.specaugment import SpecAugment
from ..signal.spectrogram import Input
from .ast import ast
from .dass import dass_nano
from .recipe import Recipe

NANO_CE = CrossEntropy(weighting="sqrt_inverse")
SHARED_MASKS = Input(normalise="audioset", specaugment=SpecAugment(share="batch"))


def patch_mix_ce() -> Recipe:
    """Single patches mixed, cross-entropy with both labels: ``auscult train patch_mix_ce``.

    Paper: Score 59.46, five seeds. Here: not measured yet.
    """
    return replace(ast(), name="patch_mix_ce", objective=PatchMixCE())


def sg_scl() -> Recipe:
    """Two views under masks that a batch shares, clips of one stethoscope alike: ``auscult train sg_scl``.

    Paper: 79.87 / 43.55 / 61.71, five seeds. Here: not measured yet.
    """
    return replace(ast(), name="sg_scl", input=SHARED_MASKS, objective=SGSCL())


def dat() -> Recipe:
    """Features that cannot tell the stethoscope, with the paper's ramp: ``auscult train dat``.

    ``--set objective.ramp=false`` is the public code. Not measured yet.
    """
    objective = DAT(device_head=LinearHead(layer_norm=True))
    return replace(ast(), name="dat", input=SHARED_MASKS, objective=objective)


def cnn6() -> Recipe:
    """CNN6 from random weights, 8 s of 128 mel bins: ``auscult train cnn6``.

    The learning rate, batch and class weights are those of SG-SCL's code, which starts from AudioSet weights and trains
    400 epochs; epochs and amplitude are ours. Not measured yet.
    """
    return Recipe(
        name="cnn6",
        clip=Clip(amplitude="int16"),
        input=Input(normalise="mel"),
        backbone=Cnn6(),
        objective=CrossEntropy(weighting="inverse"),
        optimizer=Adam(lr=1e-3, weight_decay=1e-6),
        epochs=100,
        batch_size=64,
    )


def sg_scl_nano() -> Recipe:
    """`dass_nano` with the contrast of `sg_scl`; not for SPRSound. ``auscult train sg_scl_nano``. Not measured yet."""
    return replace(dass_nano(), name="sg_scl_nano", objective=SGSCL(cross_entropy=NANO_CE))


def dat_nano() -> Recipe:
    """`dass_nano` with the adversary of `dat`; not for SPRSound. ``auscult train dat_nano``. Not measured yet."""
    return replace(dass_nano(), name="dat_nano", objective=DAT(cross_entropy=NANO_CE))


def cnn6_nano() -> Recipe:
    """CNN6 of a quarter of the width, for two CPU cores: `dass_nano` in all but the backbone. Not measured yet."""
    return replace(dass_nano(), name="cnn6_nano", backbone=Cnn6(width=16))
