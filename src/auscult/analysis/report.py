"""report.html: one file that needs no network, with every number of an evaluation and where it came from."""

from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from ..config import flat, from_dict, to_dict
from ..data.material import Material
from ..evaluate import Evaluation
from ..models.weights import Weights
from ..recipes import Recipe, RecipeSpec
from . import RESEARCH_ONLY
from .examples import RANGE_DB, confident_errors, spectrogram
from .figures import STYLE, curve_figures, svg
from .markup import document, folded, image, listed, text, warnings
from .report_tables import part_tables, patients_of_classes, shift_rows
from .results import BEST_ON_TEST, Results

if TYPE_CHECKING:
    from .embedding import Embedding


def page(results: Results, shifts: str = "", extra: str = "") -> str:
    """The report as HTML text.

    Args:
        shifts: content of shift.csv.
        extra: HTML of what follows the parts.
    """
    title = f"{results.settings['recipe']['name']} on {results.stuff.corpus.name}"
    blocks = [
        warnings([RESEARCH_ONLY]),
        warnings(results.notes),
        facts(results),
        *(part_section(results, e, shifts) for e in results.evaluations),
        extra,
        curves(results),
        origin(results),
    ]
    return document(title, "\n".join(block for block in blocks if block))


def facts(results: Results) -> str:
    """What was scored, and which weights."""
    found = results.weights.facts
    best = f" ({BEST_ON_TEST})" if found.get("selection") == "best_on_test" else ""
    return listed(
        {
            "data set": results.where(),
            "recipe": results.settings["recipe"]["name"],
            "seed": found.get("seed"),
            "epoch": found.get("epoch"),
            "epoch selected by": f"{found.get('selection')}{best}",
            "run": results.run,
        }
    )


def part_section(results: Results, e: Evaluation, shifts: str) -> str:
    """Scores, confusion matrix, recalls, shifts and examples of one part."""
    corpus = results.stuff.corpus
    cycles = [corpus.cycles[row] for row in e.rows]
    names = [c.patient for c in cycles]
    patients = patients_of_classes([c.label for c in cycles], names, len(corpus.classes))
    intervals = {task: found for (part, task), found in results.intervals.items() if part == e.part}
    blocks = [
        f"<h2>Part {text(e.part)}: {len(e.rows)} cycles of {len(set(names))} patients</h2>",
        *part_tables(e.scores, intervals, e.confusion, corpus.classes, patients),
        shift_rows(shifts, e.part, corpus.tasks[0].name),
        errors(results.stuff, results.weights, e),
    ]
    return "\n".join(block for block in blocks if block)


def errors(stuff: Material, weights: Weights, e: Evaluation) -> str:
    """Spectrograms of the most confident errors; nothing for what hears no sound, or makes no error."""
    recipe = from_dict(RecipeSpec, weights.recipe)
    found = confident_errors(e, stuff.corpus)
    if not isinstance(recipe, Recipe) or not found:
        return ""
    figures = []
    for error in found:
        drawn = spectrogram(stuff.features.row(error.row), recipe.clip, error.cycle)
        label = f"spectrogram of a cycle, time against frequency: {error.words()}"
        figures.append(f"<figure>{image(drawn, label)}<figcaption>{text(error.words())}</figcaption></figure>")
    return f"""<h3>The most confident errors</h3>
<p><small>One a patient, the most confident first. Colour: level from {-RANGE_DB:.0f} dB (dark) to the loudest point
of the cycle (bright), on the frequency scale of the model.</small></p>
<div class="figures">
{"".join(figures)}
</div>"""


def embedding_section(found: "Embedding", part: str) -> str:
    """The t-SNE of a part: by class, and by device or site."""
    from .embedding_figure import TITLES, caption, scatter

    name, values = found.fact
    by_class = [found.classes[t] for t in found.truth]
    figures = []
    for title, said, names in (("true class", by_class, found.classes), (TITLES[name], values, sorted(set(values)))):
        with rc_context(STYLE):
            figure = Figure(figsize=(4.6, 5.2), layout="constrained")
            axes = figure.subplots()
            scatter(axes, found, said, names)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False, fontsize=8)
            label = f"t-SNE of the model's features, marks by {title}"
            figures.append(f"<figure>{image(svg(figure), label)}<figcaption>By {title}.</figcaption></figure>")
    return f"""<h2>Features of part {text(part)}</h2>
<p><small>{text(caption(found))}</small></p>
<div class="wide figures">
{"".join(figures)}
</div>"""


def curves(results: Results) -> str:
    """How the run trained; not beside scores on a data set that it did not train on."""
    if not results.history or results.domain is not None:
        return ""
    task = results.settings["recipe"]["selection_task"] or results.stuff.corpus.tasks[0].name
    drawn = curve_figures(results.history, task, results.weights.facts.get("epoch"))
    figures = "".join(f"<figure>{image(figure, label)}</figure>" for label, figure in drawn)
    return f'<h2>Training</h2>\n<div class="wide figures">\n{figures}\n</div>'


def origin(results: Results) -> str:
    """Every setting of the recipe, and where the run took place, folded."""
    where = {k: v for k, v in results.environment.items() if k != "versions"}
    where |= results.environment.get("versions", {})
    settings = flat(to_dict(from_dict(RecipeSpec, results.settings["recipe"]), every=True))
    rest = {k: v for k, v in results.settings.items() if k != "recipe"}
    return "\n".join(
        [
            "<h2>Where the numbers come from</h2>",
            folded(f"Recipe: all {len(settings)} settings", listed(settings | flat(rest))),
            folded("Environment of the training", listed({k: "none" if v is None else v for k, v in where.items()})),
        ]
    )
