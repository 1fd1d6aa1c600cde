"""Lung-SRAD with QLung's margin and angular classifier, with sharpness-aware minimisation, with both.

Published by nobody. Objectives, heads and optimisers compose: the margin stands beside the cross-entropy on Patch-Mix's
clean clips, and SAM looks twice at whatever is minimised. ``_nano`` is ours for CPUs, as in lung_srad.py.
"""

from dataclasses import replace

from ..models import AngularHead
from ..objectives import PatchMix, QLung
from ..optim import Sam
from .lung_srad import NANO_CE, lung_srad, lung_srad_nano
from .recipe import Recipe


def lung_srad_qlung() -> Recipe:
    """`lung_srad` with QLung: ``auscult train lung_srad_qlung``. Not measured yet."""
    objective = PatchMix(axes=("time", "freq"), cross_entropy=QLung())
    return replace(lung_srad(), name="lung_srad_qlung", head=AngularHead(), objective=objective)


def lung_srad_sam() -> Recipe:
    """`lung_srad` with SAM: ``auscult train lung_srad_sam``. Not measured yet."""
    return replace(lung_srad(), name="lung_srad_sam", optimizer=Sam(base=lung_srad().optimizer))


def lung_srad_qlung_sam() -> Recipe:
    """`lung_srad` with QLung and SAM: ``auscult train lung_srad_qlung_sam``. Not measured yet."""
    return replace(lung_srad_qlung(), name="lung_srad_qlung_sam", optimizer=Sam(base=lung_srad().optimizer))


def lung_srad_qlung_nano() -> Recipe:
    """`lung_srad_nano` with QLung: ``auscult train lung_srad_qlung_nano``. Not measured yet."""
    objective = PatchMix(axes=("time", "freq"), cross_entropy=QLung(cross_entropy=NANO_CE))
    return replace(lung_srad_nano(), name="lung_srad_qlung_nano", head=AngularHead(), objective=objective)


def lung_srad_sam_nano() -> Recipe:
    """`lung_srad_nano` with SAM: ``auscult train lung_srad_sam_nano``. Not measured yet."""
    return replace(lung_srad_nano(), name="lung_srad_sam_nano", optimizer=Sam(base=lung_srad_nano().optimizer))


def lung_srad_qlung_sam_nano() -> Recipe:
    """`lung_srad_nano` with QLung and SAM: ``auscult train lung_srad_qlung_sam_nano``. Not measured yet."""
    recipe = lung_srad_qlung_nano()
    return replace(recipe, name="lung_srad_qlung_sam_nano", optimizer=Sam(base=recipe.optimizer))
