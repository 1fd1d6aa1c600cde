"""AST and its line of systems: fine-tuning, Patch-Mix CL, and fine-tuning through adapters.

All take 8 s of 128 mel bins at the 798 frames there are, AudioSet's normalisation and AudioSet's weights, whose
positions are scrambled as in the code behind every published number of this line (``--set backbone.position=correct``
sets them right). ``_nano`` is ours for CPUs. Scores quoted are Sp / Se / Score on ICBHI, the best epoch on the test
set; ours choose the epoch on patients held out of the training part.

Each runs with ``auscult train NAME --dataset icbhi --data DIR``; ``--set selection=best_on_test --set validation=0``
repeats the protocol of the literature.

Source: Gong et al. 2021 (AST); Bae et al. 2023 (Patch-Mix CL), whose code has the settings the line shares.
"""

from dataclasses import replace

from ..models import Adapter, Ast, LinearHead, Lora
from ..objectives import CrossEntropy, PatchMix
from ..optim import Adam, AdamW
from ..signal.spectrogram import Input
from .dass import dass_nano
from .recipe import Recipe

LINEAGE = Ast(position="lineage", layer_norm_eps=1e-6)


def ast() -> Recipe:
    """AST fine-tuning with weighted cross-entropy, the baseline of the line: ``auscult train ast``.

    Paper: Score 59.55. Here: not measured yet.
    """
    return Recipe(
        name="ast",
        input=Input(normalise="audioset"),
        backbone=LINEAGE,
        weights="ast_audioset",
        head=LinearHead(layer_norm=True),
        objective=CrossEntropy(weighting="inverse"),
        optimizer=Adam(lr=5e-5, weight_decay=1e-6),
        batch_size=8,
        moving_average=0.5,
    )


def patch_mix_cl() -> Recipe:
    """Patch-Mix CL, single patches mixed and contrasted: ``auscult train patch_mix_cl``.

    Paper: 81.66 / 43.07 / 62.37, five seeds; run again by others 61.49, and 59.59 in the last epoch. Here: not measured
    yet.
    """
    objective = PatchMix(axes=("token",), tau=0.06, target="released", train_projector=True)
    return replace(ast(), name="patch_mix_cl", objective=objective)


def lung_adapter() -> Recipe:
    """LungAdapter, a frozen AST with parallel bottlenecks: ``auscult train lung_adapter``.

    Layout, learning rate and plain cross-entropy are ours, since only the abstract is public. Paper: 80.43 / 44.37 /
    62.40; run again by others 60.89. Here: not measured yet.
    """
    return replace(
        ast(),
        name="lung_adapter",
        backbone=replace(LINEAGE, adapter=Adapter()),
        objective=CrossEntropy(),
        optimizer=Adam(lr=5e-4, weight_decay=1e-6),
    )


def ast_adapter() -> Recipe:
    """A frozen AST with one small bottleneck a layer, beside the MLP, 0.45 M numbers: ``auscult train ast_adapter``.

    The size is that of the line's plain adapter, the layout is ours. Run by others: 59.56. Here: not measured yet.
    """
    adapter = Adapter(width=24, beside=("mlp",), train_norms=False)
    return replace(lung_adapter(), name="ast_adapter", backbone=replace(LINEAGE, adapter=adapter))


def ast_lora() -> Recipe:
    """A frozen AST with LoRA of rank 8 on query and value, 0.295 M numbers: ``auscult train ast_lora``.

    Run by others: 60.71. Here: not measured yet.
    """
    return replace(lung_adapter(), name="ast_lora", backbone=replace(LINEAGE, adapter=Lora()))


def ast_nano() -> Recipe:
    """AST nano from random initialisation, for two CPU cores: `dass_nano` in all but backbone, head and rate.

    Without the batch norm before the head it stayed at chance on synthetic sounds, and it learnt faster at twice the
    rate. ``auscult train ast_nano``. Not in a paper. Here: not measured yet.
    """
    return replace(
        dass_nano(),
        name="ast_nano",
        backbone=Ast(size="nano", frames=398, n_mels=64),
        head=LinearHead(layer_norm=True, normalise=True),
        optimizer=AdamW(lr=1e-3, weight_decay=0.05, decay_norms=False),
    )


def patch_mix_cl_nano() -> Recipe:
    """`patch_mix_cl` with AST nano: ``auscult train patch_mix_cl_nano``. Not measured yet."""
    objective = PatchMix(
        axes=("token",),
        tau=0.06,
        target="released",
        train_projector=True,
        cross_entropy=CrossEntropy(weighting="sqrt_inverse"),
    )
    return replace(ast_nano(), name="patch_mix_cl_nano", objective=objective)
