"""How faithful the saliency of runs is: curves on cycles of a part, and overlap with what annotators marked there.

Curves are of cycles that the model calls abnormal: what is replaced becomes the average sound, which most models call
normal anyway. For the overlap whole recordings, cut into windows of the clip's length whatever is annotated, are
explained for "abnormal" against "normal", window after window.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ..breaths import windows
from ..config import from_dict
from ..data.cycles import Cycle
from ..data.loader import CycleDataset, eval_loader
from ..data.material import Material
from ..data.store import cycle_features
from ..errors import AuscultError
from ..evaluate import check_classes, load_model, probabilities
from ..models import Classifier
from ..progress import track
from ..recipes import Recipe
from ..runs import Run
from ..signal import io
from ..signal.clip import Clip
from .attribution import AT_ONCE, Method, attribution, reference
from .faithfulness import Curves, Mean, Overlap, area, curves, overlap, patient_mean
from .saliency import Placing, on_cycle, placing
from .spectral_run import facts

LOUDNESS, CHANCE = "loudest first", "chance"
BY_CHANCE = {"mass": "time", "mass_of_cycles": "time_of_cycles", "hit": "time"}  # what an even spread would have
EXAMPLES = 3
FEWEST = 2  # cycles


@dataclass(frozen=True, kw_only=True)
class Example:
    """A cycle and its saliency, as drawn.

    Args:
        cycle: where it is from.
        truth: its class.
        predicted: the class the model calls it, which is explained.
        p: of that class.
        clip: (T, F) log-mel of the cycle itself.
        values: (T, F) saliency.
    """

    cycle: Cycle
    truth: str
    predicted: str
    p: float
    clip: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """A recording, its saliency for "abnormal" and its annotation.

    Args:
        cycles: annotated in it.
        seconds: (T,) middle of each column.
        clip: (T, F) log-mel.
        values: (T, F) saliency.
        found: how well they agree.
    """

    cycles: tuple[Cycle, ...]
    seconds: NDArray[np.float64]
    clip: NDArray[np.float32]
    values: NDArray[np.float32]
    found: Overlap


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What one run gives.

    Args:
        run: its folder.
        part: whose cycles they are.
        curves: order -> its curves; the methods, then the loudest first, then chance.
        patients: of the cycles behind them.
        pointed: method, and the loudness, -> overlap of each recording.
        recording_patients: patients of those recordings.
        examples: cycles to draw, the surest of each class that the model calls them.
        example: a recording to draw; None where no recording holds both kinds of cycles.
        clip: of the recipe.
        facts: the run, in a line.
    """

    run: str
    part: str
    curves: dict[str, Curves]
    patients: tuple[str, ...]
    pointed: dict[str, list[Overlap]]
    recording_patients: tuple[str, ...]
    examples: tuple[Example, ...]
    example: Pointed | None
    clip: Clip
    facts: str

    def rows(self) -> dict[str, dict[str, Mean]]:
        """Order -> measure -> its mean with an interval. What chance has of an overlap is the share of the time."""
        loud = self.curves[LOUDNESS].gain
        made: dict[str, dict[str, Mean]] = {}
        for name, found in self.curves.items():
            values = {"deletion": area(found.deletion), "insertion": area(found.insertion), "gain": found.gain}
            values |= {} if name in (LOUDNESS, CHANCE) else {"gain_over_loudness": found.gain - loud}
            made[name] = {key: patient_mean(v, self.patients) for key, v in values.items()}
        for name, overlaps in self.pointed.items():
            for key, by_chance in BY_CHANCE.items() if overlaps else ():
                own, even = (np.array([getattr(o, k) for o in overlaps]) for k in (key, by_chance))
                made[name][key] = patient_mean(own, self.recording_patients)
                made[name][f"{key}_over_chance"] = patient_mean(own - even, self.recording_patients)
                made[CHANCE][key] = patient_mean(even, self.recording_patients)
        return made


def measure(
    run: Run,
    cycles: int,
    methods: Sequence[Method] = ("gradient",),
    *,
    part: str | None = None,
    data: Path | None = None,
    selection: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Faithfulness:
    """Faithfulness of the saliency of a run.

    Args:
        cycles: so many cycles that the model calls abnormal, and so many recordings with both kinds of cycles, drawn
            by `seed`; all where there are fewer.
        part: of the data set; the first test part with audio without it.

    Raises:
        AuscultError: E_RUN, E_DATA, E_SETTING; E_SETTING for a run of trees, which have no gradient.
    """
    if cycles < FEWEST or not methods:
        raise AuscultError("E_SETTING", f"cycles={cycles}, methods={len(methods)}; {FEWEST} and 1 or more are needed.")
    settings = run.settings()
    model, weights = load_model(run, selection)
    recipe = from_dict(Recipe, weights.recipe)
    stuff = recipe.material(settings["dataset"], data or Path(settings["data"]), partial=settings["partial"])
    check_classes(stuff.corpus, weights)
    name = part or next((name for name, rows in stuff.split.tests.items() if rows), "validation")
    g = np.random.default_rng(seed)
    dataset, called, p = abnormal_ones(model.to(device), stuff, name, cycles, g, device)
    found, examples = curves_of(model, recipe.clip, stuff, dataset, called, p, methods, g, device)
    drawn = mixed(stuff, name, cycles, g)
    pointed, example = overlaps_of(model, recipe.clip, stuff, drawn, methods, device)
    return Faithfulness(
        run=str(run.folder),
        part=name,
        curves=found,
        patients=tuple(stuff.corpus.cycles[row].patient for row in dataset.rows),
        pointed=pointed,
        recording_patients=tuple(own[0].patient for own in drawn),
        examples=examples,
        example=example,
        clip=recipe.clip,
        facts=facts(run, settings, weights.facts, f"{stuff.corpus.name}, part {name}"),
    )


def abnormal_ones(
    model: Classifier, stuff: Material, part: str, cycles: int, g: np.random.Generator, device: str
) -> tuple[CycleDataset, NDArray[np.int64], NDArray[np.float32]]:
    """Some cycles that the model calls abnormal, in batches of one length, what it calls them, and how surely.

    Raises:
        AuscultError: E_DATA where it calls fewer than two so.
    """
    whole = stuff.dataset(part)
    p = probabilities(model, whole, device, f"scoring {part}") if len(whole) else np.zeros((0, 1), np.float32)
    called = np.flatnonzero(p.argmax(axis=1) > 0) if len(p) else np.zeros(0, int)
    if len(called) < FEWEST:
        raise AuscultError(
            "E_DATA",
            f"of {len(whole)} cycles of part {part!r} the model calls {len(called)} abnormal; {FEWEST} or more are "
            "needed to see what speaks for it. Take another part, or a model that has learned more.",
        )
    drawn = g.permutation(called)[:cycles]
    drawn = drawn[np.argsort([whole.frames[i] for i in drawn], kind="stable")]
    dataset = CycleDataset(stuff.corpus, stuff.features, [whole.rows[i] for i in drawn])
    return dataset, p[drawn].argmax(axis=1), p[drawn].max(axis=1)


def curves_of(
    model: Classifier,
    clip: Clip,
    stuff: Material,
    dataset: CycleDataset,
    called: NDArray[np.int64],
    p: NDArray[np.float32],
    methods: Sequence[Method],
    g: np.random.Generator,
    device: str,
) -> tuple[dict[str, Curves], tuple[Example, ...]]:
    """Curves of every order, and the cycles to draw with the saliency of the first method."""
    found: dict[str, list[Curves]] = defaultdict(list)
    shown = surest(called, p)
    examples = []
    batches = eval_loader(dataset, AT_ONCE, device).batches
    classes = stuff.corpus.classes
    for places in track(list(batches), "deletion and insertion"):
        fbank = dataset[places].fbank.to(device)
        members = torch.nn.functional.one_hot(torch.from_numpy(called[places]), len(classes)).bool().to(device)
        cycles = [stuff.corpus.cycles[dataset.rows[i]] for i in places]
        where = [placing(clip, c.start_s, c.end_s, fbank.shape[1]) for c in cycles]
        replacement = reference(model, fbank).expand_as(fbank)
        by_chance = [g.random((len(w.columns_s), fbank.shape[2]), np.float32) for w in where]
        for name, values in (*orders(model, fbank, members, where, methods), (CHANCE, by_chance)):
            order = torch.from_numpy(np.stack([w.to_clip(v) for w, v in zip(where, values, strict=True)]))
            found[name].append(curves(model, fbank, members, order.to(device), replacement))
            if name == methods[0]:
                examples += [
                    Example(
                        cycle=cycles[i],
                        truth=classes[cycles[i].label],
                        predicted=classes[called[place]],
                        p=float(p[place]),
                        clip=where[i].to_cycle(fbank[i].cpu().numpy()).astype(np.float32),
                        values=values[i],
                    )
                    for i, place in enumerate(places)
                    if place in shown
                ]
    joined = {name: join(parts) for name, parts in found.items()}
    return joined, tuple(sorted(examples, key=lambda e: classes.index(e.predicted)))


def orders(
    model: Classifier,
    fbank: Float[Tensor, "B T F"],
    members: Bool[Tensor, "B K"],
    where: Sequence[Placing],
    methods: Sequence[Method],
) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    """Name and values on the cycles' own axes: each method, and how far from the average sound."""
    for method in methods:
        found = attribution(model, fbank, members, method).cpu().numpy()
        yield method, [on_cycle(values, w) for values, w in zip(found, where, strict=True)]
    apart = (fbank - reference(model, fbank)).abs().cpu().numpy()
    yield LOUDNESS, [w.to_cycle(values).astype(np.float32) for w, values in zip(where, apart, strict=True)]


def surest(called: NDArray[np.int64], p: NDArray[np.float32]) -> set[int]:
    """Places of the cycle that the model is surest of, for the classes with the most cycles."""
    names, counts = np.unique(called, return_counts=True)
    most = names[np.argsort(-counts, kind="stable")][:EXAMPLES]
    return {int(np.where(called == k, p, -1).argmax()) for k in most}


def join(parts: Sequence[Curves]) -> Curves:
    """Curves of batches as one."""
    return Curves(
        deletion=np.concatenate([c.deletion for c in parts]), insertion=np.concatenate([c.insertion for c in parts])
    )


def mixed(stuff: Material, part: str, limit: int, g: np.random.Generator) -> list[list[Cycle]]:
    """The cycles of each of some recordings that hold normal and abnormal ones."""
    by_recording: dict[str, list[Cycle]] = defaultdict(list)
    for row in stuff.rows(part):
        by_recording[stuff.corpus.cycles[row].recording].append(stuff.corpus.cycles[row])
    both = [own for own in by_recording.values() if all(by_kind(own))]
    return [both[i] for i in g.permutation(len(both))[:limit]]


def overlaps_of(
    model: Classifier,
    clip: Clip,
    stuff: Material,
    drawn: Sequence[list[Cycle]],
    methods: Sequence[Method],
    device: str,
) -> tuple[dict[str, list[Overlap]], Pointed | None]:
    """Overlap of every recording by each method and by loudness; and one with many cycles of both kinds, to draw."""
    found: dict[str, list[Overlap]] = {name: [] for name in (*methods, LOUDNESS)}
    example = None
    shown = max(drawn, key=lambda cycles: min(map(len, by_kind(cycles))), default=None)
    for cycles in track(drawn, "overlap with annotations"):
        waveform = io.load(stuff.corpus.audio[cycles[0].recording], clip.sample_rate).waveform
        made = window_saliencies(model, clip, waveform, len(stuff.corpus.classes), methods, device)
        for name, (seconds, sound, values) in made.items():
            abnormal, annotated = inside(seconds, by_kind(cycles)[1]), inside(seconds, cycles)
            found[name].append(overlap(values.sum(axis=1), abnormal, annotated))
            if example is None and cycles is shown:
                example = Pointed(
                    cycles=tuple(cycles), seconds=seconds, clip=sound, values=values, found=found[name][-1]
                )
    return found, example


def window_saliencies(
    model: Classifier,
    clip: Clip,
    waveform: NDArray[np.float32],
    classes: int,
    methods: Sequence[Method],
    device: str,
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]]:
    """Order -> middles of the columns in s, log-mel (T, F) and saliency for "abnormal" (T, F), over all windows."""
    duration_s = len(waveform) / clip.sample_rate
    times, _ = windows(duration_s, clip.length_s)
    faded = clip.fade_recording(waveform)
    found: dict[str, list[Any]] = defaultdict(list)
    for positions in clip.by_bucket(times):
        own = [times[i] for i in positions]
        fbank = torch.from_numpy(cycle_features(faded, own, clip)).to(device).float()
        where = [placing(clip, start_s, end_s, fbank.shape[1], duration_s) for start_s, end_s in own]
        members = (torch.arange(classes, device=device) > 0).expand(len(fbank), classes)
        sounds = [w.to_cycle(x).astype(np.float32) for w, x in zip(where, fbank.cpu().numpy(), strict=True)]
        seconds = [start_s + w.columns_s for (start_s, _), w in zip(own, where, strict=True)]
        for name, values in orders(model, fbank, members, where, methods):
            found[name] += zip(seconds, sounds, values, strict=True)
    made = {}
    for name in (*methods, LOUDNESS):
        columns = zip(*sorted(found[name], key=lambda window: float(window[0][0])), strict=True)
        made[name] = tuple(np.concatenate(parts) for parts in columns)
    return made  # type: ignore[return-value]


def by_kind(cycles: Sequence[Cycle]) -> tuple[list[Cycle], list[Cycle]]:
    """The normal cycles, and the abnormal ones."""
    return [c for c in cycles if not c.label], [c for c in cycles if c.label]


def inside(seconds: NDArray[np.float64], cycles: Sequence[Cycle]) -> NDArray[np.bool_]:
    """Which moments lie in one of the cycles."""
    found = np.zeros(len(seconds), bool)
    for c in cycles:
        found |= (seconds >= c.start_s) & (seconds < c.end_s)
    return found
