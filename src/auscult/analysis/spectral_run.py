"""The spectral analysis of a run: its model at a few test clips, the curves, and the files that show them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from ..models.dass import DASS, Dass
from ..models.smoothing import Smoothing
from ..progress import track
from ..recipes import Recipe
from ..runs import Run, commit, read_json, write_text
from ..signal.clip import Clip
from ..signal.spectrogram import normalise
from ..version import __version__
from .spectral_layers import Curve, Layer, ast_layers, dass_layers, measure, random_ast, smoothing_of
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
    ast: bool = False,
    clips: int = 4,
    part: str | None = None,
    data: Path | None = None,
    selection: str | None = None,
    skip: bool = False,
) -> Spectrum:
    """Measures a run's model, and AST-base with random weights beside it, at the same clips of a test part.

    Args:
        clips: how many, evenly spaced over the part.
        part: name of a test part; the first without it.
        data: folder of the data set, if it has moved since training.
        skip: D belongs to the matrix of DASS.

    Raises:
        AuscultError: E_RUN for a run that is no DASS, or has no weights; E_SETTING, E_DATA.
    """
    if clips < 1:
        raise AuscultError("E_SETTING", f"--clips {clips}; 1 or more is needed.")
    settings = run.settings()
    model, weights = load_model(run, selection)
    recipe = from_dict(Recipe, weights.recipe)
    backbone = dass_of(model, run)
    corpus = read(settings["dataset"], data or Path(settings["data"]))
    check_classes(corpus, weights)
    rival = random_ast(Clip().frames) if ast else None
    part, cycles = pick(corpus, recipe, clips, part)
    own = cast(Dass, recipe.backbone).smoothing
    smoothing = smoothing_of(backbone, own)
    name = f"DASS {cast(Dass, recipe.backbone).size}"

    def layers() -> Iterator[Sequence[Layer]]:
        for cycle in track(cycles, "spectra", len(cycles)):
            found = dass_layers(backbone, model.front(features(corpus, cycle, recipe.clip)), smoothing, name)
            if rival is not None:
                x = normalise(features(corpus, cycle, Clip()), "audioset")
                found += ast_layers(rival, x, smoothing, AST_NAME)
            yield found

    with torch.inference_mode():
        made = measure(layers(), smoothing, skip)
    return Spectrum(
        curves=made,
        smoothing=smoothing,
        own=own is not None,
        clips=tuple(f"{printable(c.recording)} {c.start_s:.2f} to {c.end_s:.2f} s" for c in cycles),
        facts=facts(run, settings, weights.facts, f"{corpus.name}, part {part}"),
        skip=skip,
    )


def dass_of(model: Classifier, run: Run) -> DASS:
    """The backbone, if it is one with mixing matrices.

    Raises:
        AuscultError: E_RUN.
    """
    if not isinstance(model.backbone, DASS):
        raise AuscultError(
            "E_RUN",
            f"{run.folder} holds a {type(model.backbone).__name__}; spectra are drawn for a trained DASS. Give the "
            "folder of such a run, for instance of the recipe lung_srad.",
        )
    return model.backbone


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
    """Writes the figures as PNG and PDF, their captions, and the table; gives their places."""
    from .spectral_figure import caption, direction_caption, direction_figure, layer_figure, save

    made = []
    for name, figure, words in (
        ("spectral", layer_figure(spectrum), caption(spectrum)),
        ("spectral_directions", direction_figure(spectrum), direction_caption(spectrum)),
    ):
        made += save(figure, out / name)
        write_text(out / f"{name}.md", f"{words}\n\nClips: {'; '.join(spectrum.clips)}.\n")
        made.append(out / f"{name}.md")
    write_text(out / "spectral.csv", table(spectrum.curves))
    return [*made, out / "spectral.csv"]
