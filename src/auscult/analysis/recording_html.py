"""A prediction in a notebook: what is said of the recording, and a row a breath."""

from html import escape

from ..prediction import Prediction
from . import RESEARCH_ONLY
from .tables import spoken

ROWS = 60


def recording_html(prediction: Prediction) -> str:
    """HTML without style or script of its own."""
    head = "".join(f"<th>{escape(name)}</th>" for name in ("start s", "end s", "predicted", *prediction.classes))
    rows = ""
    for c in prediction.cycles[:ROWS]:
        cells = [f"{c.start_s:.2f}", f"{c.end_s:.2f}", c.label, *(f"{p:.2f}" for p in c.probabilities.values())]
        rows += "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    more = len(prediction.cycles) - ROWS
    rest = f"<p>and {more} more breaths; to_pandas() has all</p>" if more > 0 else ""
    said = "".join(f"<div>{escape(line)}</div>" for line in spoken(prediction))
    return (
        f"<div><b>{escape(prediction.recording)}</b></div>{said}<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{rest}<p><i>{RESEARCH_ONLY}</i></p>"
    )
