"""Parts of a page: one file that loads nothing, runs nothing and reads well on paper, on a wide and a narrow screen."""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

# Eleven steps from white to dark blue, a tenth of a row each: order survives print in grey and colour-blind eyes. Every
# step keeps a contrast of 4.5 with its text, dark up to the sixth, white from there on (WCAG 2.1, 1.4.3).
SHADES = (
    *("#ffffff", "#e9f1f9", "#d1e2f2", "#b5d2ea", "#8fc0e0", "#6aaed6", "#4d96c9"),
    *("#2675b3", "#1c64a6", "#124988", "#08306b"),
)
FIRST_WITH_WHITE_TEXT = 7
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; border-bottom: 1px solid #d0d7de; padding-bottom: .25rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
.warning { background: #fff4d6; border-left: 4px solid #9a6700; padding: .6rem .9rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid #0550ae; outline-offset: 2px; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #57606a; font-size: .85rem; padding-bottom: .3rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #d0d7de; vertical-align: top; }
th { font-weight: 600; }
tbody th, th small { font-weight: 400; }
.scroll tbody tr > :first-child { position: sticky; left: 0; background: #fff; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
td.number small { display: block; white-space: normal; min-width: 8em; }
td.score { font-weight: 600; }
td svg, th svg { display: block; }
.confusion td, .confusion th { padding: .35rem .45rem; text-align: center; border: 1px solid #d0d7de;
  line-height: 1.2; }
.confusion tbody th { text-align: left; }
.confusion td { print-color-adjust: exact; -webkit-print-color-adjust: exact; min-width: 2.6rem; }
.confusion td small { color: inherit; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: .75rem 0; }
dt { color: #57606a; }
dd { margin: 0; overflow-wrap: anywhere; }
small, figcaption { color: #57606a; font-size: .85rem; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 0 1.5rem; }
.wide.figures { grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
.figures figure { margin: .5rem 0; }
details { border-bottom: 1px solid #d0d7de; padding: .5rem 0; }
summary { cursor: pointer; font-weight: 600; }
code { font-size: .9em; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .9rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  table { font-size: .8rem; } caption, small, figcaption { font-size: .8rem; } td small, th small { font-size: .7rem; }
  th, td { padding: .3rem .45rem .3rem 0; } td.number { white-space: normal; }
  .confusion td, .confusion th { padding: .25rem .15rem; } .confusion td { min-width: 1.9rem; }
  .confusion th { font-size: .7rem; }
}
@media print { body { margin: 0; max-width: none; } figure, tr { break-inside: avoid; } .scroll { overflow: visible; } }
""" + "".join(
    f".s{i} {{ background: {shade}; color: {'#fff' if i >= FIRST_WITH_WHITE_TEXT else '#1b1f24'}; }}\n"
    for i, shade in enumerate(SHADES)
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the page itself loads and runs nothing


def document(title: str, body: str) -> str:
    """A whole page around its body.

    Args:
        title: as plain text.
        body: HTML.
    """
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
<main>
<h1>{text(title)}</h1>
{body}
</main>
</body>
</html>
"""


def text(value: Any) -> str:
    """Any value as text that HTML shows as it is."""
    return html.escape(str(value))


def warnings(sentences: Sequence[str]) -> str:
    """What must be known before a number is used, each in its own box."""
    return "".join(f'<p class="warning">{text(sentence)}</p>\n' for sentence in sentences)


def listed(facts: Mapping[str, Any]) -> str:
    """Names and values under one another."""
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>\n" for name, value in facts.items())
    return f"<dl>\n{rows}</dl>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, name: str = "") -> str:
    """A table of HTML cells; the first of a row names it. It scrolls by itself where the screen is too narrow.

    Args:
        head: HTML of the header cells.
        rows: HTML cells, or whole ``<td>`` elements.
        caption: what it shows, as plain text; it names the group that scrolls too.
        name: class of the table.
    """
    right = [cell.startswith('<td class="number"') for cell in rows[0]] if rows else [False] * len(head)
    kinds = (' class="number"' if numbers else "" for numbers in right)
    top = "".join(f'<th scope="col"{kind}>{cell}</th>' for cell, kind in zip(head, kinds, strict=True))
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(map(_cell, row[1:]))}</tr>\n' for row in rows)
    named = f' class="{name}"' if name else ""
    return f"""{scrolling(caption)}<table{named}><caption>{text(caption)}</caption>
<thead><tr>{top}</tr></thead>
<tbody>
{body}</tbody></table></div>"""


def _cell(content: str) -> str:
    return content if content.startswith("<td") else f"<td>{content}</td>"


def number(content: str) -> str:
    """A cell that is read from the right."""
    return f'<td class="number">{content}</td>'


def scrolling(name: str) -> str:
    """The start of a region that scrolls, with a finger, a wheel or the arrow keys."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{text(name)}">'


def folded(summary: str, body: str) -> str:
    """What is there for those who ask."""
    return f"<details><summary>{text(summary)}</summary>\n{body}\n</details>"


def image(drawn: str, label: str) -> str:
    """An SVG inside the page, as an image: it can run nothing, and its names do not meet those of other figures."""
    data = base64.b64encode(drawn.encode()).decode()
    return f'<img alt="{text(label)}" src="data:image/svg+xml;base64,{data}">'


class Axis:
    """A horizontal axis for marks in the cells of a table.

    The numbers stand beside each mark, so the drawings are hidden from screen readers. Being text of a few lines they
    come out the same everywhere, and `auscult verify` can hold them to the numbers.

    Args:
        low: value at the left end.
        high: value at the right end.
        ticks: values that the head of the column shows.
        line: value at which a line runs down the column; None for none.
        width: in pixels.
    """

    def __init__(self, low: float, high: float, ticks: Sequence[float], line: float | None = None, width: int = 170):
        self.low, self.high, self.ticks, self.line, self.width = low, high, ticks, line, width

    @classmethod
    def around(cls, values: Sequence[float], step: float, *, zero: bool = True) -> "Axis":
        """An axis that holds all values that are numbers, with at most six ticks at multiples of a round step.

        Args:
            step: between ticks, where that is enough; else 2, 5, 10 ... times as much.
            zero: hold 0 too, and draw a line there.

        >>> Axis.around([-0.012, 0.034, float("nan")], 0.01).ticks
        [-0.02, 0.0, 0.02, 0.04]
        """
        known = [v for v in values if math.isfinite(v)] + ([0.0] if zero else [])
        low, high = min(known, default=0.0), max(known, default=0.0)
        for wide in (step * times for times in (1, 2, 5, 10, 20, 50, 100)):
            first, last = math.floor(low / wide), max(math.ceil(high / wide), math.floor(low / wide) + 1)
            if last - first <= 5:
                break
        ticks = [round(i * wide, 6) for i in range(first, last + 1)]
        return cls(ticks[0], ticks[-1], ticks, 0.0 if zero else None)

    def place(self, value: float) -> float:
        """Pixels from the left; some are free at either end, for the number at the last tick."""
        return 13 + (self.width - 26) * (value - self.low) / ((self.high - self.low) or 1)

    def head(self) -> str:
        """Ticks with their values in %, for the head of the column."""
        marks = "".join(
            f'<path d="M{self.place(t):.1f} 14v4" stroke="#57606a"/>'
            f'<text x="{self.place(t):.1f}" y="11" text-anchor="middle">{round(100 * t, 6):g}</text>'
            for t in self.ticks
        )
        content = f'<g font-size="11" font-weight="400" fill="#57606a">{marks}</g>'
        return self._svg(18, content, 'role="img" aria-label="the same, drawn"')

    def mark(self, value: float, low: float, high: float) -> str:
        """A point with its interval; empty without a value."""
        if not math.isfinite(value):
            return ""
        rule = "" if self.line is None else f'<path d="M{self.place(self.line):.1f} 0v18" stroke="#8c959f"/>'
        bar = ""
        if math.isfinite(low) and math.isfinite(high):
            bar = f'<path d="M{self.place(low):.1f} 9H{self.place(high):.1f}" stroke="#1c64a6" stroke-width="3"/>'
        return self._svg(18, f'{rule}{bar}<circle cx="{self.place(value):.1f}" cy="9" r="4.5" fill="#08306b"/>')

    def _svg(self, height: int, content: str, reader: str = 'aria-hidden="true"') -> str:
        size = f'width="{self.width}" height="{height}" viewBox="0 0 {self.width} {height}"'
        return f'<svg {size} {reader} focusable="false">{content}</svg>'
