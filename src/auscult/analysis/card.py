"""The model card of a run, made from its files: the items of TRIPOD+AI that they can fill, and a list of the others.

Source: Collins et al. 2024, "TRIPOD+AI statement", BMJ 385:e078378, checklist items 1 to 27.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..config import flat, from_dict, to_dict
from ..data.cycles import Corpus, Cycle
from ..data.material import read
from ..data.splits import split
from ..errors import AuscultError
from ..evaluate import weights_file
from ..metrics import Scores
from ..models.weights import Weights, load_weights
from ..recipes import Recipe, RecipeSpec
from ..runs import Run, read_json
from ..statistics import wilson
from .card_words import ABOUT_DATA, LIMITS, NOT_KNOWN, UNFILLED, USE
from .report_tables import patients_of_classes
from .results import BEST_ON_TEST
from .study_counts import Scored, read_predictions
from .study_table import grid, signed
from .tables import LEGEND, percent
from .verify_run import said_scores, tasks_of

Row = Sequence[str]
FILES = ("scores.json", "predictions.csv")
NUMBERS = ("value", "difference", "difference_low_95", "difference_high_95")  # of a line of shift.csv
DISPERSED = ("device", "site", "age", "sex")  # groups of people and of how they were recorded, in shift.csv


def card(run: Run, data: Path | None = None) -> str:
    """The card as Markdown.

    Args:
        run: a scored run folder.
        data: folder of the data set, if it has moved since training; only annotations are read.

    Raises:
        AuscultError: E_RUN for a folder that `auscult evaluate` has not scored.
    """
    settings = run.settings()
    if not all((run.folder / name).is_file() for name in FILES):
        raise AuscultError("E_RUN", f"{run.folder} is not scored yet; `auscult evaluate {run.folder}` does it.")
    told = read_json(run.folder / FILES[0])
    weights_at = weights_file(run, told["facts"]["selection"])
    weights = load_weights(weights_at)
    recipe = from_dict(RecipeSpec, weights.recipe)
    scored = read_predictions(run.folder / FILES[1], told["classes"])
    corpus = annotations(settings["dataset"], data or Path(settings["data"]))
    sections = [
        head(recipe, told),
        section("Intended use", "3b, 4", USE),
        section("Data", "5a, 6a", about_data(told, settings)),
        section("Participants", "20a, 20b, 21", participants(corpus, recipe, scored, settings)),
        section("Outcome", "8a", outcome(told)),
        section("What the model sees", "7, 9b, 12b", inputs(recipe)),
        section("Sample size and missing data", "10, 11", missing(corpus)),
        section("Model", "12a, 12c, 22", model(recipe, weights)),
        section("Class imbalance", "13", imbalance(recipe)),
        section("Output", "15, 12g", outputs(told)),
        section("Performance", "12e, 23a", performance(told, scored)),
        section("Fairness and heterogeneity", "14, 23b", fairness(run, told)),
        section("Training against evaluation data", "16, 20c", differences(told)),
        section("Limitations", "26", limitations(told)),
        section("Availability", "18e, 18f, 22", availability(run, weights_at, settings)),
        section("What this card cannot say", "", unfilled(corpus)),
    ]
    return "\n\n".join(sections) + "\n"


def section(title: str, items: str, body: str) -> str:
    """A heading with the numbers of the items that its text is about."""
    return f"## {title}{f' [{items}]' * bool(items)}\n\n{body}"


def annotations(dataset: str, data: Path) -> Corpus | None:
    """The annotated data set; None where its folder is not on this machine."""
    return read(dataset, data) if data.is_dir() else None


def head(recipe: RecipeSpec, told: dict[str, Any]) -> str:
    """Title, what this is, and how far it may be trusted."""
    title = f"# Model card: {recipe.name} on {told['dataset']}, seed {told['facts']['seed']}"
    return (
        f"{title}\n\n**{told['note']}** A model that classifies single breath sounds of a stethoscope recording, "
        f"developed and evaluated on {told['dataset']} [1]. Made by `auscult card` from the files of one run. Numbers "
        "in brackets are items of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378); what the files do not hold is "
        "listed at the end."
    )


def about_data(told: dict[str, Any], settings: dict[str, Any]) -> str:
    """Where the recordings come from, and how they were parted."""
    words = ABOUT_DATA.get(told["dataset"], NOT_KNOWN)
    partial = " Recordings without audio were left out (`--partial`)." if settings["partial"] else ""
    return (
        f"{words} Split: {told['split']}; whole patients of the training part were held out for validation.{partial}"
        if settings["recipe"]["validation"]
        else f"{words} Split: {told['split']}; nobody was held out for validation.{partial}"
    )


def participants(corpus: Corpus | None, recipe: RecipeSpec, scored: dict[str, Scored], settings: dict[str, Any]) -> str:
    """Who is in each part."""
    if corpus is None:
        lines = [[part, *scored_people(found)] for part, found in scored.items()]
        table = grid(["part", "patients", "cycles", "cycles by class"], lines)
        return f"{table}\n\nThe folder of the data set is not here: nothing on those it was trained on (`--data`)."
    here = corpus.with_audio() if settings["partial"] else corpus
    parts = split(here, recipe.split, recipe.validation, recipe.validation_seed)
    rows = {"train": parts.train, "validation": parts.validation, **parts.tests}
    lines = [[part, *people([here.cycles[i] for i in own], corpus)] for part, own in rows.items() if own]
    columns = ["part", "patients", "recordings", "cycles", "of each class", "age in years", "sex", "devices"]
    order = f"Classes: {', '.join(corpus.classes)}. Age: median of the patients (lowest to highest)."
    return f"{grid(columns, lines)}\n\n{order} Counted from the annotations of the `{recipe.split}` split."


def scored_people(found: Scored) -> Row:
    """What predictions.csv knows of those of a part."""
    classes = np.bincount(found.truth, minlength=found.probabilities.shape[1])
    return [str(len(set(found.patient.tolist()))), str(len(found.key)), " / ".join(map(str, classes))]


def people(cycles: Sequence[Cycle], corpus: Corpus) -> Row:
    """Patients, recordings, cycles, classes, ages, sexes and devices of some cycles."""
    one = {c.patient: c for c in cycles}
    ages = sorted(c.age_years for c in one.values() if c.age_years is not None)
    shown = f"{np.median(ages):.1f} ({ages[0]:.1f} to {ages[-1]:.1f})" if ages else "not known"
    if 0 < len(ages) < len(one):
        shown += f", of {len(ages)}"
    counts = np.bincount([c.label for c in cycles], minlength=len(corpus.classes))
    return [
        str(len(one)),
        str(len({c.recording for c in cycles})),
        str(len(cycles)),
        " / ".join(map(str, counts)),
        shown,
        tally([c.sex or "not known" for c in one.values()]),
        ", ".join(sorted({c.device for c in cycles})),
    ]


def tally(values: Sequence[str]) -> str:
    """How often each value is there.

    >>> tally(["male", "female", "male"])
    '1 female, 2 male'
    """
    return ", ".join(f"{values.count(value)} {value}" for value in sorted(set(values)))


def outcome(told: dict[str, Any]) -> str:
    """What is predicted, and what is scored."""
    tasks = [f"{t.name} ({', '.join(t.classes)}; formula {t.formula})" for t in tasks_of(told)]
    return (
        f"The label that annotators gave to one cycle: {', '.join(told['classes'])}. It describes a sound, it is no "
        f"diagnosis. Scored as: {'; '.join(tasks)}."
    )


def inputs(recipe: RecipeSpec) -> str:
    """What is made of a recording, or what else the model knows."""
    if not isinstance(recipe, Recipe):
        columns = {k: v for k, v in flat(to_dict(recipe, every=True)).items() if k.startswith("columns")}
        return f"One row of numbers a cycle, no network: {', '.join(f'{k} = {v}' for k, v in columns.items())}."
    c = recipe.clip
    lengths = ", ".join(f"{s:g}" for s in c.buckets_s or (c.length_s,))
    return (
        f"The audio of one annotated cycle, resampled to {c.sample_rate} Hz, brought to {lengths} s ({c.pad} padding, "
        f"longer ones cut), as {c.n_mels} log-mel bins of 25 ms frames every 10 ms ({c.filterbank}). Nothing else: no "
        "age, no sex, no history."
    )


def missing(corpus: Corpus | None) -> str:
    """What was not there."""
    words = "All usable cycles of the data set were taken; no sample size was calculated."
    if corpus is None:
        return f"{words} How much is missing cannot be counted without the folder of the data set."
    ages = sum(c.age_years is None for c in corpus.cycles)
    sexes = sum(c.sex is None for c in corpus.cycles)
    return (
        f"{words} On this machine {len(corpus.missing_audio)} of {len(corpus.recordings)} recordings have no audio and "
        f"{len(corpus.problems)} files cannot be read; they are left out, nothing is imputed. The age of the patient "
        f"is not known for {ages} of {len(corpus.cycles)} cycles, the sex for {sexes}."
    )


def model(recipe: RecipeSpec, weights: Weights) -> str:
    """What was trained, how the epoch was chosen, and how large it is."""
    parameters = sum(t.numel() for t in weights.state.values())
    found = weights.facts
    best = f" ({BEST_ON_TEST})" if found["selection"] == "best_on_test" else ""
    lines = [
        f"Recipe `{recipe.name}`, {parameters:,} stored numbers. Epoch {found['epoch']} of {recipe.epochs}, selected "
        f"by {found['selection']}{best}; seed {found['seed']}."
    ]
    if isinstance(recipe, Recipe):
        start = recipe.weights or "random weights"
        lines.append(f"Starts from {start}. Every setting is listed under Availability.")
    return " ".join(lines)


def imbalance(recipe: RecipeSpec) -> str:
    """What was done about rare classes; probabilities are not put right afterwards."""
    settings = flat(to_dict(recipe, every=True))
    found = {k: v for k, v in settings.items() if k == "sampler" or k.rpartition(".")[2] == "weighting"}
    listed = ", ".join(f"`{k} = {v}`" for k, v in found.items()) or "no setting"
    return (
        f"{listed}. With weights or balanced sampling the probabilities are those of a world where rare classes are "
        "more frequent; they are not set right afterwards."
    )


def outputs(told: dict[str, Any]) -> str:
    """What the model says, and how it becomes a decision."""
    grouped = [t.name for t in tasks_of(told) if t.decide == "group"]
    group = f" In {', '.join(grouped)} the probabilities of a group of classes are added first." if grouped else ""
    return (
        f"A probability for each of {len(told['classes'])} classes; the decision is the most probable one, with no "
        f"threshold of its own.{group}"
    )


def performance(told: dict[str, Any], scored: dict[str, Scored]) -> str:
    """Scores of every task with their intervals, recall of every class, for each part."""
    blocks = []
    for part, found in told["parts"].items():
        own = scored[part]
        patients = patients_of_classes(own.truth, own.patient.tolist(), len(told["classes"]))
        title = f"**Part {part}**: {len(own.key)} cycles of {len(set(own.patient.tolist()))} patients."
        scores = [score_line(said_scores(s), s["interval_95"]) for s in found["scores"].values()]
        columns = ["task", "Sp %", "Se %", "Score %", "95 % interval of the Score"]
        recalls = list(recall_lines(found["confusion"], told["classes"], patients))
        blocks += [title, grid(columns, scores), grid(["class", "recall %", "patients", "95 % interval"], recalls)]
    formulas = {s["formula"] for found in told["parts"].values() for s in found["scores"].values()}
    legend = "; ".join(LEGEND[name] for name in LEGEND if name in formulas)
    blocks.append(f"{legend}. Intervals of Scores resample patients, those of recalls (Wilson) take cycles as apart.")
    return "\n\n".join(blocks)


def score_line(s: Scores, ends: Sequence[float | None]) -> Row:
    """One task, with its integers."""
    low, high = (math.nan if end is None else end for end in ends)
    shown = "-" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}"
    sp, se = f"{percent(s.Sp)} ({s.normal_correct}/{s.normal})", f"{percent(s.Se)} ({s.abnormal_correct}/{s.abnormal})"
    return [s.task, sp, se, percent(s.Score), shown]


def recall_lines(confusion: list[list[int]], classes: list[str], patients: list[int]) -> Iterator[Row]:
    """One line a class."""
    for i, name in enumerate(classes):
        found, total = confusion[i][i], sum(confusion[i])
        low, high = wilson(found, total)
        shown = f"{100 * low:.1f} to {100 * high:.1f}" if total else "-"
        yield [name, f"{percent(found / total if total else None)} ({found}/{total})", str(patients[i]), shown]


def fairness(run: Run, told: dict[str, Any]) -> str:
    """The main task's Score of groups of people, from shift.csv; what is not there is said."""
    file = run.folder / "shift.csv"
    main = tasks_of(told)[0].name
    rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))) if file.is_file() else []
    lines = []
    for r in rows:
        if r["by"] in DISPERSED and (r["task"], r["measure"]) == (main, "Score"):
            value, *rest = (float(r[name] or "nan") for name in NUMBERS)
            difference, low, high = ("-" if math.isnan(v) else signed(v) for v in rest)
            shown = [percent(value), difference, "-" if low == "-" else f"{low} to {high}"]
            lines.append([r["part"], f"{r['by']}: {r['group']}", r["cycles"], r["patients"], *shown])
    if not lines:
        return "Not known: the run has no shift.csv with groups; `auscult evaluate` writes one where the data set can."
    columns = ["part", "group", "cycles", "patients", f"Score %, {main}", "minus the rest", "95 % interval"]
    return (
        f"{grid(columns, lines)}\n\nIntervals resample patients; one in twenty leaves 0 out by chance. No step of the "
        "training made these groups equal."
    )


def differences(told: dict[str, Any]) -> str:
    """What parts the evaluated from those learned from."""
    return (
        f"Both are of {told['dataset']}, {told['split']} split. No score here is on people recorded by others; "
        "`auscult evaluate --on` makes one."
    )


def limitations(told: dict[str, Any]) -> str:
    """The run's own notes, then those of the data set, then those of every model here."""
    sentences = [*told["notes"], *LIMITS.get(told["dataset"], ()), *LIMITS["all"]]
    return "\n".join(f"* {sentence}" for sentence in sentences)


def availability(run: Run, weights_at: Path, settings: dict[str, Any]) -> str:
    """What is needed to make it again."""
    where = read_json(run.folder / "environment.json")
    told = [
        ["weights", f"`{weights_at.relative_to(run.folder)}`, sha256 `{sha256(weights_at.read_bytes()).hexdigest()}`"],
        ["auscult", f"{where.get('auscult', 'unknown')}, commit {where.get('commit') or 'unknown'}; Apache-2.0"],
        ["trained on", f"{where.get('gpu') or where.get('processor')}, Python {where.get('python')}"],
        ["versions", ", ".join(f"{k} {v}" for k, v in where.get("versions", {}).items())],
        ["command", f"`{where.get('command', 'unknown')}`"],
    ]
    recipe = json.dumps(settings["recipe"], indent=1)
    return f"{grid(['what', 'which'], told)}\n\nThe recipe:\n\n```json\n{recipe}\n```"


def unfilled(corpus: Corpus | None) -> str:
    """Items that no file of a run holds."""
    listed = [f"* {items}: {what}" for items, what in UNFILLED.items()]
    if corpus is None:
        listed.append("* 20a, 20b, 20c: those of the training part, whose annotations are not on this machine")
    words = "Items of TRIPOD+AI that the files of a run do not hold; they are the authors' to write:"
    return "\n".join([words, "", *listed])
