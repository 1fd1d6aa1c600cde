"""Praat TextGrids: a tier `breath` with the number of each breath, a tier `label` with its label and confidence.

Both of Praat's text forms are read, long and short, in UTF-8 or UTF-16. Praat itself reads numbers, texts in double
quotes and flags such as `<exists>`, and passes over all other words; so does the reader here.

Source: Praat manual, "TextGrid file formats".
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import AuscultError
from .row import Row, in_order, label_and_confidence, with_confidence
from .text import NUMBER, OVERLAP_TOLERANCE_S, bad_annotation, content, decoded, parse_time, seconds

BREATH, LABEL = "breath", "label"
INTERVALS, POINTS = "IntervalTier", "TextTier"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TOKEN = re.compile(r'"(?:[^"]|"")*"|![^\n]*|"|[^\s"]+')
Interval = tuple[float, float, str]


def write_text(rows: Sequence[Row], recording: str, duration_s: float) -> str:
    """Rows as a TextGrid in the long form; an overlap of up to 1 ms goes to the earlier breath.

    Raises:
        AuscultError: E_ANNOTATION for rows that overlap more: the intervals of a tier cannot.
    """
    end_s = max([duration_s, *(row.end_s for row in rows)])
    tiers = {BREATH: [str(i + 1) for i in range(len(rows))], LABEL: [with_confidence(row) for row in rows]}
    text = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    text += f"xmin = 0\nxmax = {seconds(end_s)}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    for number, (name, words) in enumerate(tiers.items(), start=1):
        filled = _filled([(row.start_s, row.end_s, word) for row, word in zip(rows, words, strict=True)], end_s)
        text += f'    item [{number}]:\n        class = "{INTERVALS}"\n        name = "{name}"\n'
        text += f"        xmin = 0\n        xmax = {seconds(end_s)}\n        intervals: size = {len(filled)}\n"
        for i, (start, end, word) in enumerate(filled, start=1):
            text += (
                f"        intervals [{i}]:\n            xmin = {seconds(start)}\n            xmax = {seconds(end)}\n"
            )
            text += f"            text = {_quoted(word)}\n"
    return text


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _filled(intervals: Sequence[Interval], end_s: float) -> list[Interval]:
    """The intervals with empty ones between them: a tier has no gaps."""
    found: list[Interval] = []
    last = 0.0
    for start, end, text in intervals:
        if start < last - OVERLAP_TOLERANCE_S or end <= last:
            raise AuscultError(
                "E_ANNOTATION",
                f"the breath from {start:g} s to {end:g} s overlaps the one before, which ends at {last:g} s; the "
                "intervals of a TextGrid cannot. Part them, or choose another format.",
            )
        if start > last:
            found.append((last, start, ""))
        found.append((max(start, last), end, text))
        last = end
    if seconds(last) != seconds(end_s):
        found.append((last, end_s, ""))
    return found


def read_text(path: Path) -> list[Row]:
    """One row an interval with a text, of the tier `label`, or of the only interval tier.

    Raises:
        AuscultError: E_ANNOTATION, naming file, line, value and what is allowed.
    """
    tokens = _Tokens(path)
    tiers = {name: intervals for kind, name, intervals in tokens.tiers() if kind == INTERVALS}
    if LABEL not in tiers and len(tiers) != 1:
        named = ", ".join(map(repr, tiers)) or "none"
        raise bad_annotation(path, "", f"interval tiers: {named}", f"one with the name {LABEL!r} is needed")
    found = []
    for start, end, text, place in tiers.get(LABEL, next(iter(tiers.values()))):
        if text.strip():
            found.append((Row(start, end, *label_and_confidence(text, path, place)), place))
    return in_order(found, path)


class _Tokens:
    """Numbers, texts and flags of a TextGrid, one after another, each with its line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens = self._scan(_text(path))
        self._line = 1

    def _scan(self, text: str) -> Iterator[str]:
        seen = 0
        for found in _TOKEN.finditer(text):
            self._line += text.count("\n", seen, found.start())
            seen, token = found.start(), found.group()
            if token == '"':
                raise self.bad("a text without its second quote mark", "texts stand between double quotes")
            if token[0] in '"<' or NUMBER.fullmatch(token):
                yield token

    def bad(self, what: str, allowed: str) -> AuscultError:
        """An error at the token read last."""
        return bad_annotation(self.path, self.place, what, allowed)

    @property
    def place(self) -> str:
        """The line of the token read last."""
        return f"line {self._line}"

    def next(self, wanted: str) -> str:
        """The next token."""
        token = next(self._tokens, None)
        if token is None:
            raise self.bad("the file ends", f"{wanted} is needed here")
        return token

    def text(self, wanted: str) -> str:
        """The next token, a text, without its quotes."""
        token = self.next(wanted)
        if token[0] != '"':
            raise self.bad(f"{token[:40]!r}", f"{wanted} in double quotes is needed here")
        return token[1:-1].replace('""', '"')

    def time(self, wanted: str) -> float:
        """The next token, a time in seconds."""
        return parse_time(self.next(wanted), self.path, self.place, wanted)

    def count(self, wanted: str) -> int:
        """The next token, a whole number."""
        token = self.next(wanted)
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise self.bad(f"{wanted} is {token[:40]!r}", "a whole number is needed")
        return int(token)

    def tiers(self) -> Iterator[tuple[str, str, list[tuple[float, float, str, str]]]]:
        """(class, name, intervals) of each tier; an interval is start_s, end_s, text and its place."""
        head = [self.text("the file type"), self.text("the object class")]
        if head != ["ooTextFile", "TextGrid"]:
            raise self.bad(f"the file says {head[0][:20]!r}, {head[1][:20]!r}", "a TextGrid in text form is needed")
        self.time("xmin"), self.time("xmax")
        if (flag := self.next("<exists>")) != "<exists>":
            raise self.bad(f"{flag[:40]!r}", "<exists> is needed: a TextGrid without tiers holds nothing")
        for _ in range(self.count("the number of tiers")):
            kind = self.text("the class of a tier")
            if kind not in (INTERVALS, POINTS):
                raise self.bad(f"tier class {kind[:40]!r}", f"{INTERVALS} or {POINTS} is needed")
            name, *_ = self.text("the name of a tier"), self.time("xmin"), self.time("xmax")
            intervals = []
            for _ in range(self.count("the number of intervals")):
                start = self.time("start")
                end = self.time("end") if kind == INTERVALS else start
                intervals.append((start, end, self.text("a label"), self.place))
            yield kind, name, intervals


def _text(path: Path) -> str:
    raw = content(path)
    if not raw.startswith(UTF16):
        return decoded(path)
    try:
        return raw.decode("utf-16")
    except UnicodeDecodeError as error:
        raise bad_annotation(path, "", f"byte {error.start} is no UTF-16 text", "save it from Praat again") from error
