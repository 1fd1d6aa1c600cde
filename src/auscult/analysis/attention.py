"""Where a trained AST looks: attention from the tokens its head reads to the patches of the spectrogram.

Attention says what a layer mixes, not why a class was chosen (Jain & Wallace 2019). Two readings are drawn: the last
layer alone, and all layers as one with the paths beside the attention counted (rollout).

Source: Gong et al. 2021, section 2.1, for the tokens; Abnar & Zuidema 2020, "Quantifying attention flow in
transformers", section 3, for the rollout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..config import from_dict
from ..data.cycles import Cycle
from ..errors import AuscultError
from ..evaluate import evaluate, load_model
from ..models import Classifier
from ..models.ast import AST, PATCH, Ast
from ..models.ast_positions import OWN
from ..recipes import Recipe
from ..runs import Run, write_text
from ..signal.mel import frame_hop
from .ast_attention import attentions
from .spectral_run import facts, features
from .spreadsheet import csv_text

HEADER = ("truth", "recording", "start_s", "end_s", "row", "column", "mel_bin", "time_s", "last_layer", "all_layers")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One cycle of a class and what the model looks at there.

    Args:
        cycle: where it comes from.
        truth: its class.
        predicted: what the model says.
        p: probability of the true class, the highest of the class's cycles.
        spectrogram: (F, T) the input of the network, low frequencies first.
        last: (H, W) attention of the last layer to each patch, in units of an even spread over all tokens.
        rollout: (H, W) of all layers.
        own: share of the last layer's attention that stays on the tokens that are no patch.
    """

    cycle: Cycle
    truth: str
    predicted: str
    p: float
    spectrogram: NDArray[np.float32]
    last: NDArray[np.float32]
    rollout: NDArray[np.float32]
    own: float


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Everything the figure shows.

    Args:
        examples: one a class that the part has.
        recipe: of the run.
        frame_s: seconds from one column of the input to the next.
        facts: the run, in a line.
    """

    examples: tuple[Example, ...]
    recipe: Recipe
    frame_s: float
    facts: str


def attend(
    run: Run, *, part: str | None = None, data: Path | None = None, selection: str | None = None, device: str = "cpu"
) -> Attention:
    """The attention of a run's AST at one cycle of each class: the one whose class the model is surest of.

    Args:
        part: name of a part; the first test part that has audio without it.
        data: folder of the data set, if it has moved since training.
        device: where the part is scored.

    Raises:
        AuscultError: E_RUN for a run that is no AST; E_SETTING, E_DATA.
    """
    model, weights = load_model(run, selection)
    backbone = ast_of(model, run)
    stuff, _, (scored, *_) = evaluate(
        run, data=data, selection=selection, parts=(part,) if part else None, device=device
    )
    recipe = from_dict(Recipe, weights.recipe)
    corpus = stuff.corpus
    cycles = [corpus.cycles[row] for row in scored.rows]
    chosen = surest(np.array([c.label for c in cycles]), scored.probabilities)
    examples = []
    for label, place in chosen.items():
        with torch.inference_mode():
            x = model.front(features(corpus, cycles[place], recipe.clip))
            last, rolled, own = maps(backbone, x)
        p = scored.probabilities[place]
        examples.append(
            Example(
                cycle=cycles[place],
                truth=corpus.classes[label],
                predicted=corpus.classes[int(p.argmax())],
                p=float(p[label]),
                spectrogram=x[0, 0].numpy(),
                last=last,
                rollout=rolled,
                own=own,
            )
        )
    where = f"{corpus.name}, part {scored.part}"
    return Attention(
        examples=tuple(examples),
        recipe=recipe,
        frame_s=column_s(recipe),
        facts=facts(run, run.settings(), weights.facts, where),
    )


def ast_of(model: Classifier, run: Run) -> AST:
    """The backbone, if it is one with attention.

    Raises:
        AuscultError: E_RUN.
    """
    if not isinstance(model.backbone, AST):
        raise AuscultError(
            "E_RUN",
            f"{run.folder} holds a {type(model.backbone).__name__}, which has no attention; give the folder of a run "
            "of an AST, for instance of the recipe ast_nano.",
        )
    return model.backbone


def surest(truth: NDArray[np.int64], p: NDArray[np.float32]) -> dict[int, int]:
    """Class -> the cycle of that class with the highest probability of it; classes without a cycle are left out.

    >>> surest(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], np.float32))
    {0: 0, 1: 2}
    """
    own = p[np.arange(len(truth)), truth]
    return {k: int(np.where(truth == k, own, -1).argmax()) for k in np.unique(truth).tolist()}


def column_s(recipe: Recipe) -> float:
    """Seconds from one column of the network's input to the next; the stretch to another length makes them shorter."""
    clip, made = recipe.clip, recipe.input
    hop_s = frame_hop(clip.sample_rate) / clip.sample_rate
    stretched = made.frames is not None and made.fit == "stretch"
    return hop_s * clip.frames / made.frames if stretched and made.frames else hop_s


def rollout(layers: Sequence[Float[Tensor, "heads L L"]]) -> Float[Tensor, "L L"]:
    """All layers as one mixing matrix, each half attention, half its own residual path; mean over heads."""
    eye = torch.eye(layers[0].shape[-1])
    total = eye
    for layer in layers:
        total = (0.5 * layer.mean(dim=0) + 0.5 * eye) @ total
    return total


def maps(backbone: AST, x: Float[Tensor, "1 1 F T"]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """(H, W) of the last layer, of all layers, and the share of the last layer's attention on the two own tokens.

    Mean over heads and over the tokens whose features the head gets: the two own ones, or all of them with
    ``pooling="mean"``. 1 is what every token would get if all got the same.
    """
    layers = attentions(backbone, x)
    readers = slice(None) if backbone.settings.pooling == "mean" else slice(OWN)

    def on_the_map(matrix: Tensor) -> NDArray[np.float32]:
        looked = matrix[readers].mean(dim=0) * matrix.shape[0]
        return looked[OWN:].reshape(backbone.settings.grid).numpy()

    last = layers[-1].mean(dim=0)
    own = float(last[readers].mean(dim=0)[:OWN].sum())
    return on_the_map(last), on_the_map(rollout(layers)), own


def edges(patches: int, stride: int) -> NDArray[np.float64]:
    """Where the cells of patches begin and end, in rows or columns of the input: `stride` wide, around their centres.

    >>> edges(3, 10)
    array([ 3., 13., 23., 33.])
    """
    return PATCH / 2 + stride * (np.arange(patches + 1, dtype=np.float64) - 0.5)


def settings_of(found: Attention) -> Ast:
    """The backbone's settings; `attend` has made sure that it is an AST."""
    return cast(Ast, found.recipe.backbone)


def table(found: Attention) -> str:
    """Every patch of every example, as CSV; places are those of its centre."""
    stride = settings_of(found).stride
    rows = (
        [
            *(e.truth, e.cycle.recording, e.cycle.start_s, e.cycle.end_s, i, j),
            *(stride * i + PATCH / 2, round((stride * j + PATCH / 2) * found.frame_s, 4)),
            *(float(f"{m[i, j]:.6g}") for m in (e.last, e.rollout)),
        ]
        for e in found.examples
        for i, j in np.ndindex(e.last.shape)
    )
    return csv_text(HEADER, rows)


def write(out: Path, found: Attention) -> list[Path]:
    """Writes the figure as PNG and PDF, its caption, and the table; gives their places."""
    from .attention_figure import caption, figure
    from .spectral_figure import save

    made = save(figure(found), out / "attention")
    write_text(out / "attention.md", f"{caption(found)}\n")
    write_text(out / "attention.csv", table(found))
    return [*made, out / "attention.md", out / "attention.csv"]
