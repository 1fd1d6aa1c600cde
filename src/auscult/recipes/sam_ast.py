"""SAM-AST and its ablation, and sharpness-aware minimisation on DASS.

The paper's recipes have its clips (8 s, repeated, no fades), its features (those of AST's feature extractor: 798 frames
filled up to 1024 with zeros), its gain and noise, and no SpecAugment. Scores quoted are Sp / Se / Score on ICBHI of two
classes, made of predictions of four; ours are scored as `Task` "ICBHI 2-class from 4-class" beside the four-class ones.
The paper keeps the best epoch on the test set: ``--set selection=best_on_test --set validation=0 --set
selection_task="ICBHI 2-class from 4-class"``. Ours chooses the epoch on patients held out of the training part.

Source: SAM-AST (arXiv 2512.22564) and its public code; step by step in docs/papers/sam_ast.md.
"""

from dataclasses import replace

from ..models import Ast, LinearHead
from ..objectives import CrossEntropy
from ..optim import AdamW, Cosine, Sam
from ..signal.augment import GainNoise
from ..signal.clip import Clip
from ..signal.spectrogram import Input
from .dass import dass, dass_nano
from .recipe import Recipe


def ast_ce() -> Recipe:
    """AST with plain cross-entropy, the ablation's first row: ``auscult train ast_ce --dataset icbhi --data DIR``.

    The paper's number could not be recovered. Here: not measured yet.
    """
    return Recipe(
        name="ast_ce",
        clip=Clip(recording_fade_s=0.0, tail_fade_s=0.0),
        input=Input(normalise="audioset", frames=1024, fit="zero", specaugment=None, augment=GainNoise()),
        backbone=Ast(frames=1024, pooling="mean"),
        weights="ast_audioset",
        head=LinearHead(dropout=0.3),
        objective=CrossEntropy(label_smoothing=0.1),
        optimizer=AdamW(lr=1e-5, weight_decay=1e-4),
        schedule=Cosine(floor=1.0),  # constant
        epochs=20,
        batch_size=8,
        drop_last=False,
    )


def ast_wrs() -> Recipe:
    """`ast_ce` with weighted random sampling, the second row: ``auscult train ast_wrs``.

    The paper's number could not be recovered. Here: not measured yet.
    """
    return replace(ast_ce(), name="ast_wrs", sampler="balanced")


def sam_ast() -> Recipe:
    """`ast_wrs` with SAM, the paper's method: ``auscult train sam_ast``.

    Masks, gain and noise are the same in both passes; the public code draws dropout anew. Paper: 67.89 / 68.31 / 68.10,
    two classes, one run, the best epoch on the test set. Here: not measured yet.
    """
    return replace(ast_wrs(), name="sam_ast", optimizer=Sam(base=ast_wrs().optimizer, rho=0.05))


def sam_ast_correct() -> Recipe:
    """`sam_ast` whose clips go on with themselves where the extractor has zeros: ``auscult train sam_ast_correct``.

    What the paper's text asks for ("avoids artificial silence"). Here: not measured yet.
    """
    filled = replace(sam_ast().input, fit="repeat")
    return replace(sam_ast(), name="sam_ast_correct", input=filled)


def wrs_dass_nano() -> Recipe:
    """`dass_nano` with weighted random sampling in place of class weights: ``auscult train wrs_dass_nano``.

    Not in the paper. Here: not measured yet.
    """
    return replace(dass_nano(), name="wrs_dass_nano", objective=CrossEntropy(), sampler="balanced")


def sam_dass_nano() -> Recipe:
    """`wrs_dass_nano` with SAM over its AdamW: ``auscult train sam_dass_nano``. Twice the price of a step.

    Not in the paper. Here: not measured yet.
    """
    plain = wrs_dass_nano()
    return replace(plain, name="sam_dass_nano", optimizer=Sam(base=plain.optimizer))


def asam_dass_nano() -> Recipe:
    """`sam_dass_nano` with ASAM, whose paper's radius is 0.5: ``auscult train asam_dass_nano``.

    Not in the paper. Here: not measured yet.
    """
    plain = wrs_dass_nano()
    return replace(plain, name="asam_dass_nano", optimizer=Sam(base=plain.optimizer, rho=0.5, adaptive=True))


def sam_dass() -> Recipe:
    """`dass` with SAM over its AdamW: ``auscult train sam_dass``. Not in the paper. Here: not measured yet."""
    return replace(dass(), name="sam_dass", optimizer=Sam(base=dass().optimizer))


RHOS: tuple[tuple[str, ...], ...] = (
    ("optimizer.rho=0.01",),
    ("optimizer.rho=0.02",),
    ("optimizer.rho=0.05",),
    ("optimizer.rho=0.1",),
    ("optimizer.rho=0.2",),
)
"""Sweep of the radius, each point the settings to lay over a recipe with SAM; the paper has 0.05 alone."""
