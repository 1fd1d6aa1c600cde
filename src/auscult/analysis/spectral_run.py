"""The spectral analysis of a run: its model at a few test clips, the curves, and the files that show them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..config import from_dict
from ..data.cycles import Corpus, Cycle
from ..data.material import only, read
from ..data.splits import split
from ..data.store import recording_features
from ..errors import AuscultError, unknown
from ..evaluate import check_classes, load_model
from ..models import Classifier
from ..models.ast import AST
from ..models.dass import DASS, Dass
from ..models.smoothing import Smoothing
from ..progress import track
from ..recipes import Recipe
from ..runs import Run, commit, read_json, write_text
from ..signal.clip import Clip
from ..signal.spectrogram import normalise
from ..version import __version__
from .ast_attention import attentions
from .spectral_layers import (
    Curve,
    Layer,
    ast_layers,
    attention_layers,
    dass_layers,
    measure,
    random_ast,
    smoothing_of,
)
from .spreadsheet import csv_text, printable

HEADER = (
    "model",
    "group",
    "layer",
    "rows",
    "columns",
    "direction",
    "smoothed",
    "version",
    "axis",
    "band",
    "cycles_per_patch",
    "response",
    "drawn",
)
AST_NAME = "AST base, random weights"
Source = Callable[[Corpus, Cycle], list[Layer]]


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Everything the figure shows and says.

    Args:
        smoothing: what was applied for the curves after smoothing.
        own: the model was trained with it, at that place.
        clips: each clip in words.
        facts: sentences on the run: recipe, data, epoch, commit.
        skip: D belongs to the matrices.
    """

    curves: list[Curve]
    smoothing: Smoothing
    own: bool
    clips: tuple[str, ...]
    facts: str
    skip: bool


def analyse(
    run: Run,
    *,
    beside: Run | None = None,
    ast: bool = False,
    clips: int = 4,
    part: str | None = None,
    data: Path | None = None,
    selection: str | None = None,
    skip: bool = False,
) -> Spectrum:
    """Measures a run's model, a DASS or an AST, and perhaps another beside it, at the same clips of a test part.

    Args:
        beside: a run of an AST of the same data set, beside a DASS.
        ast: AST-base with random weights beside it.
        clips: how many, evenly spaced over the part.
        part: name of a test part; the first without it.
        data: folder of the data set, if it has moved since training.
        skip: D belongs to the matrix of DASS.

    Raises:
        AuscultError: E_RUN for a run that is neither DASS nor AST, or has no weights; E_SETTING, E_DATA.
    """
    if clips < 1:
        raise AuscultError("E_SETTING", f"--clips {clips}; 1 or more is needed.")
    settings = run.settings()
    model, weights = load_model(run, selection)
    recipe = from_dict(Recipe, weights.recipe)
    corpus = read(settings["dataset"], data or Path(settings["data"]))
    check_classes(corpus, weights)
    smoothing, own = smoothing_for(model, recipe, run)
    part, cycles = pick(corpus, recipe, clips, part)
    sources = [layers_of(model, recipe, smoothing)]
    said = facts(run, settings, weights.facts, f"{corpus.name}, part {part}")
    if beside is not None:
        source, more = rival(beside, model, corpus, smoothing, f"{corpus.name}, part {part}")
        sources.append(source)
        said = f"{said} Beside it: {more}"
    if ast:
        sources.append(random_layers(smoothing))

    def layers() -> Iterator[Sequence[Layer]]:
        for cycle in track(cycles, "spectra", len(cycles)):
            yield [layer for source in sources for layer in source(corpus, cycle)]

    with torch.inference_mode():
        made = measure(layers(), smoothing, skip)
    return Spectrum(
        curves=made,
        smoothing=smoothing,
        own=own,
        clips=tuple(f"{printable(c.recording)} {c.start_s:.2f} to {c.end_s:.2f} s" for c in cycles),
        facts=said,
        skip=skip,
    )


def smoothing_for(model: Classifier, recipe: Recipe, run: Run) -> tuple[Smoothing, bool]:
    """The smoothing to draw, and whether the model was trained with it; an AST never was.

    Raises:
        AuscultError: E_RUN for a backbone without mixing matrices.
    """
    if isinstance(model.backbone, DASS):
        own = cast(Dass, recipe.backbone).smoothing
        return smoothing_of(model.backbone, own), own is not None
    if isinstance(model.backbone, AST):
        last = len(model.backbone.layers) - 1
        blocks = tuple(b for b in Smoothing().blocks if b <= last) or (last,)
        return replace(Smoothing(), blocks=blocks), False
    raise AuscultError(
        "E_RUN",
        f"{run.folder} holds a {type(model.backbone).__name__}; spectra are drawn for a trained DASS or AST. Give the "
        "folder of such a run, for instance of the recipe lung_srad.",
    )


def layers_of(model: Classifier, recipe: Recipe, smoothing: Smoothing) -> Source:
    """What gives the layers of a trained DASS or AST at a cycle."""
    backbone = model.backbone

    def source(corpus: Corpus, cycle: Cycle) -> list[Layer]:
        x = model.front(features(corpus, cycle, recipe.clip))
        if isinstance(backbone, DASS):
            return dass_layers(backbone, x, smoothing, f"DASS {cast(Dass, recipe.backbone).size}")
        trained = cast(AST, backbone)
        name = f"AST {trained.settings.size}, trained"
        return attention_layers(attentions(trained, x), trained.settings.grid, smoothing, name)

    return source


def rival(beside: Run, model: Classifier, corpus: Corpus, smoothing: Smoothing, where: str) -> tuple[Source, str]:
    """What gives the layers of a trained AST that stands beside a DASS, and its run in a line.

    Raises:
        AuscultError: E_SETTING where the first is no DASS; E_RUN where this one is no AST or knows other classes.
    """
    if not isinstance(model.backbone, DASS):
        raise AuscultError("E_SETTING", "--beside draws an AST beside a DASS; give the run of the DASS first.")
    other, weights = load_model(beside)
    check_classes(corpus, weights)
    if not isinstance(other.backbone, AST):
        raise AuscultError(
            "E_RUN", f"{beside.folder} holds a {type(other.backbone).__name__}; --beside needs a run of an AST."
        )
    source = layers_of(other, from_dict(Recipe, weights.recipe), smoothing)
    return source, facts(beside, beside.settings(), weights.facts, where)


def random_layers(smoothing: Smoothing) -> Source:
    """What gives the layers of AST-base with random weights."""
    model = random_ast(Clip().frames)

    def source(corpus: Corpus, cycle: Cycle) -> list[Layer]:
        return ast_layers(model, normalise(features(corpus, cycle, Clip()), "audioset"), smoothing, AST_NAME)

    return source


def pick(corpus: Corpus, recipe: Recipe, clips: int, part: str | None) -> tuple[str, list[Cycle]]:
    """The part, and cycles evenly spaced over it that have audio and the full length of a clip.

    Raises:
        AuscultError: E_SETTING for an unknown part, E_DATA when none of its cycles has audio.
    """
    audible = np.array([cycle.recording in corpus.audio for cycle in corpus.cycles])
    tests = only(audible, split(corpus, recipe.split, recipe.validation, recipe.validation_seed)).tests
    if part is not None and part not in tests:
        raise unknown("test part", part, tests)
    name = part or next((name for name, rows in tests.items() if rows), next(iter(tests)))
    longest = recipe.clip.samples
    found = [corpus.cycles[row] for row in tests[name]]
    found = [c for c in found if recipe.clip.bucket(c.start_s, c.end_s) == longest]
    if not found:
        raise AuscultError("E_DATA", f"no cycle of part {name!r} of {corpus.name} has audio and fills a clip.")
    places = np.linspace(0, len(found) - 1, min(clips, len(found))).round().astype(int)
    return name, [found[i] for i in places]


def features(corpus: Corpus, cycle: Cycle, clip: Clip) -> Tensor:
    """The filterbank of one cycle, (1, T, F), as the feature store holds it."""
    return torch.from_numpy(np.stack(recording_features(corpus.audio[cycle.recording], [cycle], clip))).float()


def facts(run: Run, settings: dict[str, Any], found: dict[str, Any], where: str) -> str:
    """What was analysed, in a line."""
    file = run.folder / "environment.json"
    trained = read_json(file).get("commit") if file.exists() else None
    return (
        f"Run {printable(run.folder.resolve().name)}: recipe {settings['recipe']['name']}, seed {found.get('seed')}, "
        f"epoch {found.get('epoch')} (selected by {found.get('selection')}), trained at commit {trained or 'unknown'}, "
        f"analysed with auscult {__version__} at commit {commit() or 'unknown'} on {where}."
    )


def table(curves: Sequence[Curve]) -> str:
    """Every point of every curve as CSV; `drawn` is in dB relative to band 0, in the versions `paper...` in [0, 1]."""
    rows = (
        [
            *(c.model, c.group, c.number, *c.shape, c.direction, int(c.smoothed), c.version, c.axis),
            *(band, *(float(f"{value:.6g}") for value in point)),
        ]
        for c in curves
        for band, point in enumerate(zip(c.frequency, c.response, c.drawn, strict=True))
    )
    return csv_text(HEADER, rows)


def write(out: Path, spectrum: Spectrum) -> list[Path]:
    """Writes the figures as PNG and PDF, their captions, and the table; gives their places.

    Attention has no directions: for an AST alone there is one figure.
    """
    from .spectral_figure import caption, direction_caption, direction_figure, has_directions, layer_figure, save

    made = []
    drawn = [("spectral", layer_figure(spectrum), caption(spectrum))]
    if has_directions(spectrum):
        drawn.append(("spectral_directions", direction_figure(spectrum), direction_caption(spectrum)))
    for name, figure, words in drawn:
        made += save(figure, out / name)
        write_text(out / f"{name}.md", f"{words}\n\nClips: {'; '.join(spectrum.clips)}.\n")
        made.append(out / f"{name}.md")
    write_text(out / "spectral.csv", table(spectrum.curves))
    return [*made, out / "spectral.csv"]
