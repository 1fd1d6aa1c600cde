"""QLung and the five rows of its ablation, on AST as in the paper, and on DASS.

Without an ending a recipe is the paper's, AST base from AudioSet weights; ``_dass`` is DASS medium, ``_dass_nano`` ours
for CPUs: it keeps all of `dass_nano` that makes it learn from random weights (docs/log.md), its class weights among
them. The rows of the nano ablation are `dass_nano` and the four below. Scores quoted are those of ICBHI, the best epoch
on the test set, mean of five runs; ours choose the epoch on patients held out of the training part.

Each runs with ``auscult train NAME --dataset icbhi --data DIR``; ``--set selection=best_on_test --set validation=0``
repeats the protocol of the literature.

Source: QLung (arXiv 2606.11915), section 3 and its ablation. All else is that of its lineage, as in ast.py, but for the
unweighted cross-entropy. Equation by equation in docs/papers/qlung.md.
"""

from dataclasses import replace

from ..models import AngularHead
from ..objectives import CrossEntropy, QLung
from ..objectives.margins import FixedMargin, QualityMargin
from .ast import ast
from .dass import dass, dass_nano
from .lung_srad import NANO_CE
from .recipe import Recipe


def qlung_ce() -> Recipe:
    """Row 1, `ast` with plain cross-entropy: ``auscult train qlung_ce``. Paper: Score 59.55. Here: not measured yet."""
    return replace(ast(), name="qlung_ce", objective=CrossEntropy())


def qlung_fixed() -> Recipe:
    """Row 2, with a fixed angular margin: ``auscult train qlung_fixed``. Paper: Score 59.72. Here: not measured yet."""
    return replace(qlung_ce(), name="qlung_fixed", objective=QLung(margin=FixedMargin()))


def qlung_quality() -> Recipe:
    """Row 3, a margin by audio quality: ``auscult train qlung_quality``. Paper: Score 60.47. Here: not measured yet."""
    return replace(qlung_ce(), name="qlung_quality", objective=QLung(margin=QualityMargin()))


def qlung_imbalance() -> Recipe:
    """Row 4, by quality and class: ``auscult train qlung_imbalance``. Paper: Score 60.56. Here: not measured yet."""
    return replace(qlung_ce(), name="qlung_imbalance", objective=QLung())


def qlung() -> Recipe:
    """Row 5, QLung, with an angular classifier too: ``auscult train qlung``.

    Paper: 81.90 / 42.12 / 62.01 (Sp / Se / Score). Here: not measured yet.
    """
    return replace(qlung_imbalance(), name="qlung", head=AngularHead())


def qlung_dass() -> Recipe:
    """`qlung` on DASS medium, trained as `dass`: ``auscult train qlung_dass``. Not in the paper. Not measured yet."""
    return replace(dass(), name="qlung_dass", head=AngularHead(), objective=QLung())


def qlung_fixed_dass_nano() -> Recipe:
    """`qlung_fixed` with DASS nano: ``auscult train qlung_fixed_dass_nano``. Not measured yet."""
    objective = QLung(margin=FixedMargin(), cross_entropy=NANO_CE)
    return replace(dass_nano(), name="qlung_fixed_dass_nano", objective=objective)


def qlung_quality_dass_nano() -> Recipe:
    """`qlung_quality` with DASS nano: ``auscult train qlung_quality_dass_nano``. Not measured yet."""
    objective = QLung(margin=QualityMargin(), cross_entropy=NANO_CE)
    return replace(dass_nano(), name="qlung_quality_dass_nano", objective=objective)


def qlung_imbalance_dass_nano() -> Recipe:
    """`qlung_imbalance` with DASS nano: ``auscult train qlung_imbalance_dass_nano``. Not measured yet."""
    return replace(dass_nano(), name="qlung_imbalance_dass_nano", objective=QLung(cross_entropy=NANO_CE))


def qlung_dass_nano() -> Recipe:
    """`qlung` with DASS nano: ``auscult train qlung_dass_nano``. Not measured yet."""
    return replace(qlung_imbalance_dass_nano(), name="qlung_dass_nano", head=AngularHead())
