"""Lung-SRAD and its ablations: rows 2 to 6 of Table 2, the method as released, and the sweeps of Figure 3.

Row 1 is `dass` in dass.py. Without an ending a recipe is the paper's DASS medium; ``_small`` is DASS small; ``_nano``
is ours for CPUs: it keeps all of `dass_nano` that makes it learn from random weights (docs/log.md), its class weights
and its lack of a moving average among them, and adds the method. Scores quoted are Sp / Se / Score on ICBHI, the
best epoch on the test set, mean of five seeds; ours choose the epoch on patients held out of the training part.

Each runs with ``auscult train NAME --dataset icbhi --data DIR``; ``--set selection=best_on_test --set validation=0``
repeats the protocol of the literature.

Source: Lung-SRAD (Shridhar et al. 2026), sections 3 and 4; equation by equation in docs/papers/lung_srad.md.
"""

from dataclasses import replace

from ..models import Dass, Smoothing
from ..objectives import CrossEntropy, PatchMix
from .dass import dass, dass_nano, dass_small
from .recipe import Recipe

NANO_CE = CrossEntropy(weighting="sqrt_inverse")


def dass_smooth() -> Recipe:
    """Row 2, spectral-aware regularisation: ``auscult train dass_smooth``.

    Paper: 76.72 / 47.72 / 62.22. Here: not measured yet.
    """
    return replace(dass(), name="dass_smooth", backbone=Dass(size="medium", smoothing=Smoothing()))


def dass_smooth_small() -> Recipe:
    """`dass_smooth` with DASS small: ``auscult train dass_smooth_small``. Not measured yet."""
    return replace(dass_small(), name="dass_smooth_small", backbone=Dass(size="small", smoothing=Smoothing()))


def dass_smooth_nano() -> Recipe:
    """`dass_smooth` with DASS nano: ``auscult train dass_smooth_nano``. Not measured yet."""
    return replace(dass_nano(), name="dass_smooth_nano", backbone=Dass(size="nano", smoothing=Smoothing()))


def dass_smooth_astmix() -> Recipe:
    """Row 3, row 2 with patches mixed at random as for a transformer: ``auscult train dass_smooth_astmix``.

    The paper's number could not be recovered. Here: not measured yet.
    """
    return replace(dass_smooth(), name="dass_smooth_astmix", objective=PatchMix(axes=("token",)))


def dass_smooth_astmix_small() -> Recipe:
    """`dass_smooth_astmix` with DASS small: ``auscult train dass_smooth_astmix_small``. Not measured yet."""
    return replace(dass_smooth_small(), name="dass_smooth_astmix_small", objective=PatchMix(axes=("token",)))


def dass_smooth_astmix_nano() -> Recipe:
    """`dass_smooth_astmix` with DASS nano: ``auscult train dass_smooth_astmix_nano``. Not measured yet."""
    objective = PatchMix(axes=("token",), cross_entropy=NANO_CE)
    return replace(dass_smooth_nano(), name="dass_smooth_astmix_nano", objective=objective)


def dass_smooth_freq() -> Recipe:
    """Row 4, row 2 with Patch-Mix along frequency alone: ``auscult train dass_smooth_freq``.

    Paper: Score 63.18. Here: not measured yet.
    """
    return replace(dass_smooth(), name="dass_smooth_freq", objective=PatchMix(axes=("freq",)))


def dass_smooth_freq_small() -> Recipe:
    """`dass_smooth_freq` with DASS small: ``auscult train dass_smooth_freq_small``. Not measured yet."""
    return replace(dass_smooth_small(), name="dass_smooth_freq_small", objective=PatchMix(axes=("freq",)))


def dass_smooth_freq_nano() -> Recipe:
    """`dass_smooth_freq` with DASS nano: ``auscult train dass_smooth_freq_nano``. Not measured yet."""
    objective = PatchMix(axes=("freq",), cross_entropy=NANO_CE)
    return replace(dass_smooth_nano(), name="dass_smooth_freq_nano", objective=objective)


def dass_smooth_time() -> Recipe:
    """Row 5, row 2 with Patch-Mix along time alone: ``auscult train dass_smooth_time``.

    Paper: Score 62.83. Here: not measured yet.
    """
    return replace(dass_smooth(), name="dass_smooth_time", objective=PatchMix(axes=("time",)))


def dass_smooth_time_small() -> Recipe:
    """`dass_smooth_time` with DASS small: ``auscult train dass_smooth_time_small``. Not measured yet."""
    return replace(dass_smooth_small(), name="dass_smooth_time_small", objective=PatchMix(axes=("time",)))


def dass_smooth_time_nano() -> Recipe:
    """`dass_smooth_time` with DASS nano: ``auscult train dass_smooth_time_nano``. Not measured yet."""
    objective = PatchMix(axes=("time",), cross_entropy=NANO_CE)
    return replace(dass_smooth_nano(), name="dass_smooth_time_nano", objective=objective)


def lung_srad() -> Recipe:
    """Row 6, Lung-SRAD with the gradients of the paper's text: ``auscult train lung_srad``.

    Paper: 79.53 / 49.42 / 64.48. Here: not measured yet.
    """
    return replace(dass_smooth(), name="lung_srad", objective=PatchMix(axes=("time", "freq")))


def lung_srad_small() -> Recipe:
    """`lung_srad` with DASS small: ``auscult train lung_srad_small``. Not measured yet."""
    return replace(dass_smooth_small(), name="lung_srad_small", objective=PatchMix(axes=("time", "freq")))


def lung_srad_nano() -> Recipe:
    """`lung_srad` with DASS nano: ``auscult train lung_srad_nano``. Not measured yet."""
    objective = PatchMix(axes=("time", "freq"), cross_entropy=NANO_CE)
    return replace(dass_smooth_nano(), name="lung_srad_nano", objective=objective)


def lung_srad_released() -> Recipe:
    """Lung-SRAD with the gradients of the public code, the other way round: ``auscult train lung_srad_released``.

    Paper: which of the two made 79.53 / 49.42 / 64.48 is not said. Here: not measured yet.
    """
    return replace(dass_smooth(), name="lung_srad_released", objective=PatchMix(target="released"))


def lung_srad_released_small() -> Recipe:
    """`lung_srad_released` with DASS small: ``auscult train lung_srad_released_small``. Not measured yet."""
    return replace(dass_smooth_small(), name="lung_srad_released_small", objective=PatchMix(target="released"))


def lung_srad_released_nano() -> Recipe:
    """`lung_srad_released` with DASS nano: ``auscult train lung_srad_released_nano``. Not measured yet."""
    objective = PatchMix(target="released", cross_entropy=NANO_CE)
    return replace(dass_smooth_nano(), name="lung_srad_released_nano", objective=objective)


SWEEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "tau": (
        ("objective.tau=0.06",),
        ("objective.tau=0.1",),
        ("objective.tau=0.2",),
        ("objective.tau=0.3",),
        ("objective.tau=0.5",),
    ),
    "kernel": (
        ("backbone.smoothing.kernel=3",),
        ("backbone.smoothing.kernel=5",),
        ("backbone.smoothing.kernel=7",),
        ("backbone.smoothing.kernel=9",),
    ),
    "sigma": (
        ("backbone.smoothing.sigma=1",),
        ("backbone.smoothing.sigma=2",),
        ("backbone.smoothing.sigma=3",),
        ("backbone.smoothing.sigma=4",),
        ("backbone.smoothing.sigma=5",),
    ),
    "stage": (
        ("backbone.smoothing.stage=0", "backbone.smoothing.blocks=0,1"),
        ("backbone.smoothing.stage=1", "backbone.smoothing.blocks=0,1"),
        ("backbone.smoothing.stage=2", "backbone.smoothing.blocks=2,3"),
        ("backbone.smoothing.stage=3", "backbone.smoothing.blocks=0,1"),
    ),
    "stage_nano": (
        ("backbone.smoothing.stage=0", "backbone.smoothing.blocks=0"),
        ("backbone.smoothing.stage=1", "backbone.smoothing.blocks=0"),
        ("backbone.smoothing.stage=2", "backbone.smoothing.blocks=2,3"),
        ("backbone.smoothing.stage=3", "backbone.smoothing.blocks=0"),
    ),
}
"""The sweeps of Figure 3, each point the settings to lay over a `lung_srad` recipe. The best values (tau 0.2, kernel 5,
sigma 3, stage 2) are the paper's; the others are ours, since its figure gives no numbers (0.06 is Patch-Mix CL's). DASS
nano has one block where the others have two: ``stage_nano``."""
