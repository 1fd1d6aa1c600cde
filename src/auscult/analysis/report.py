"""report.html: one file that needs no network, with every number of an evaluation and where it came from."""

import base64
import html
import math
from collections.abc import Iterable
from typing import Any

from ..evaluate import Evaluation
from ..metrics import Scores
from . import RESEARCH_ONLY
from .figures import confusion_figure, curves_figure
from .results import BEST_ON_TEST, Results
from .tables import LEGEND, percent

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; border-bottom: 1px solid #d0d7de; padding-bottom: .25rem; }
.warning { background: #fff4d6; border-left: 4px solid #9a6700; padding: .6rem .9rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #d0d7de; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.score { font-weight: 600; }
th { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: .75rem 0; }
dt { color: #57606a; }
dd { margin: 0; overflow-wrap: anywhere; }
small, figcaption { color: #57606a; font-size: .85rem; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { body { margin: 0; max-width: none; } figure { break-inside: avoid; } }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the page itself loads and runs nothing


def page(results: Results) -> str:
    """The report as HTML text."""
    title = f"{results.settings['recipe']['name']} on {results.stuff.corpus.name}"
    parts = "".join(part_section(results, e) for e in results.evaluations)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{text(title)} - auscult</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{text(title)}</h1>
<p class="warning"><strong>{text(RESEARCH_ONLY)}</strong></p>
{note_list(results)}
{facts(results)}
{parts}
{curves(results)}
</body>
</html>
"""


def text(value: Any) -> str:
    """Any value as text that HTML shows as it is."""
    return html.escape(str(value))


def note_list(results: Results) -> str:
    """What must be known before the scores are compared with others."""
    return "".join(f'<p class="warning">{text(note)}</p>\n' for note in results.notes)


def facts(results: Results) -> str:
    """Where the numbers come from."""
    found, where = results.weights.facts, results.environment
    best = f" ({BEST_ON_TEST})" if found.get("selection") == "best_on_test" else ""
    versions = ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items())
    listed = {
        "data set": results.where(),
        "recipe": results.settings["recipe"]["name"],
        "seed": found.get("seed"),
        "epoch": found.get("epoch"),
        "epoch selected by": f"{found.get('selection')}{best}",
        "run": results.run,
        "auscult": f"{where.get('auscult')}, commit {where.get('commit') or 'unknown'}",
        "trained on": f"{where.get('gpu') or where.get('processor')}, {where.get('threads')} threads",
        "python": f"{where.get('python')}; {versions}",
    }
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>\n" for name, value in listed.items())
    return f"<dl>\n{rows}</dl>"


def part_section(results: Results, e: Evaluation) -> str:
    """Scores and confusion matrix of one part."""
    corpus = results.stuff.corpus
    patients = len({corpus.cycles[row].patient for row in e.rows})
    intervals = {task: found for (part, task), found in results.intervals.items() if part == e.part}
    figure = image(confusion_figure(e.confusion, corpus.classes), f"confusion matrix of part {e.part}")
    return f"""<h2>Part {text(e.part)}: {len(e.rows)} cycles of {patients} patients</h2>
{score_rows(e.scores, intervals)}
<figure>{figure}<figcaption>Confusion matrix: cycles, and percentages of each true class.</figcaption></figure>
"""


def score_rows(scores: Iterable[Scores], intervals: dict[str, tuple[float, float]]) -> str:
    """The score table, with the integers behind each number."""
    scores = list(scores)
    official = any(s.AS is not None for s in scores)
    columns = ("Sp %", "Se %", *(("AS %", "HS %") if official else ()), "Score %", "95 % interval")
    head = "".join(f'<th class="number">{name}</th>' for name in columns)
    body = "".join(score_row(s, intervals.get(s.task, (math.nan, math.nan)), official) for s in scores)
    legend = "; ".join(LEGEND[name] for name in LEGEND if any(s.formula == name for s in scores))
    return f"""<div class="scroll"><table>
<thead><tr><th>task</th><th>formula</th>{head}</tr></thead>
<tbody>
{body}</tbody></table></div>
<p><small>Sp: normal cycles found; Se: abnormal cycles whose exact class is found; {text(legend)}. The interval of the
Score resamples patients.</small></p>"""


def score_row(s: Scores, interval: tuple[float, float], official: bool) -> str:
    """One task."""
    low, high = interval
    shown = "-" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}"
    means = [percent(s.AS), percent(s.HS)] if official else []
    cells = [
        f"{percent(s.Sp)}<br><small>{s.normal_correct} of {s.normal}</small>",
        f"{percent(s.Se)}<br><small>{s.abnormal_correct} of {s.abnormal}</small>",
        *means,
    ]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    score = f'<td class="number score">{percent(s.Score)}</td><td class="number">{shown}</td>'
    return f"<tr><td>{text(s.task)}</td><td>{text(s.formula)}</td>{numbers}{score}</tr>\n"


def curves(results: Results) -> str:
    """How the run trained; not beside scores on a data set that it did not train on."""
    if not results.history or results.domain is not None:
        return ""
    task = results.settings["recipe"]["selection_task"] or results.stuff.corpus.tasks[0].name
    drawn = curves_figure(results.history, task, results.weights.facts.get("epoch"))
    return f"<h2>Training</h2>\n<figure>{image(drawn, 'training curves')}</figure>"


def image(drawn: str, label: str) -> str:
    """An SVG inside the page, as an image: it can run nothing, and its names do not meet those of other figures."""
    data = base64.b64encode(drawn.encode()).decode()
    return f'<img alt="{text(label)}" src="data:image/svg+xml;base64,{data}">'
