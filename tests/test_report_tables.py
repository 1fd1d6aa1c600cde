"""The tables and figures of report.html: exact numbers, honest axes, and `auscult verify` holds them to the files."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.analysis.examples import centres_hz, confident_errors, narrowed, shown_frames, spectrogram
from auscult.analysis.markup import FIRST_WITH_WHITE_TEXT, SHADES, Axis
from auscult.analysis.report_tables import confusion_rows, patients_of_classes, recall_rows, shift_rows
from auscult.analysis.verify import verify
from auscult.data.cycles import Corpus, Cycle
from auscult.evaluate import Evaluation
from auscult.metrics import Task
from auscult.signal.clip import Clip

from .scored_runs import make_run

SHIFT = """\
system,seeds,part,task,by,group,from,to,cycles,patients,measure,value,difference,difference_low_95,difference_high_95,flagged
toy,0,inter,4-class,device,A<b>,,,30,6,Score,0.5,-0.123456,-0.2,-0.05,yes
toy,0,inter,4-class,device,A<b>,,,30,6,Sp,0.9,0.1,,,
toy,0,inter,4-class,duration,1,0.4,1.25,5,2,Score,0.75,,,,
toy,0,inter,grouped,device,A<b>,,,30,6,Score,0.6,0.1,,,
toy,0,intra,4-class,device,A<b>,,,30,6,Score,0.7,0.1,,,
"""


def words(html: str) -> list[str]:
    """The text of every row of a table."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).replace("&lt;", "<").replace("&gt;", ">").split()) for row in rows]


def luminance(colour: str) -> float:
    """Source: WCAG 2.1, relative luminance."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_shade_is_readable_and_darker_than_the_one_before() -> None:
    light = [luminance(shade) for shade in SHADES]
    assert light == sorted(light, reverse=True) and len(set(light)) == 11
    for i, found in enumerate(light):
        text = 1.0 if i >= FIRST_WITH_WHITE_TEXT else luminance("#1b1f24")
        assert (max(found, text) + 0.05) / (min(found, text) + 0.05) >= 4.5


def test_confusion_matrix_and_recalls() -> None:
    confusion = np.array([[7, 1], [0, 0]])
    assert words(confusion_rows(confusion, ["a+b", "c"])) == [
        "true class, down; predicted, across a+ b c",
        "a+b n = 8 7 88 % 1 12 %",
        "c n = 0 0 - 0 -",
    ]
    assert 'class="s9">7' in confusion_rows(confusion, ["a+b", "c"])
    found = words(recall_rows(confusion, ["a", "c"], [3, 0]))
    # Wilson by hand: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) with p = 7/8, z = 1.96
    assert found[1:] == ["a 87.50 7 of 8 3 52.9 to 97.8", "c - 0 of 0 0 -"]
    assert patients_of_classes(np.array([0, 0, 0, 1]), np.array(["p", "p", "q", "q"]), 3) == [2, 1, 0]


def test_shifts_are_those_of_one_part_and_task() -> None:
    table = shift_rows(SHIFT, "inter", "4-class")
    assert words(table)[1:] == [
        "device: A<b> 30 6 50.00 -12.35 * -20.00 to -5.00",
        "duration, tenth 1 (0.40 to 1.25 s) 5 2 75.00 - -",
    ]
    assert shift_rows(SHIFT, "other", "4-class") == "" == shift_rows("", "inter", "4-class")


@pytest.mark.parametrize("values", [[0.0], [-0.004], [0.31, -0.22], [1.0, 0.2], [np.nan], []])
@pytest.mark.parametrize("zero", [True, False])
def test_an_axis_holds_what_is_drawn_on_it(values: list[float], zero: bool) -> None:
    axis = Axis.around(values, 0.01, zero=zero)
    known = [v for v in values if np.isfinite(v)] + [0.0] * zero
    assert 2 <= len(axis.ticks) <= 6 and np.ptp(np.diff(axis.ticks)) < 1e-9
    assert all(axis.low <= v <= axis.high for v in known)
    places = [axis.place(v) for v in (axis.low, *sorted(known), axis.high)]
    assert places == sorted(places) and places[0] >= 8 and places[-1] <= axis.width - 8


def test_verify_finds_a_changed_shift(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "toy", 0)
    (run / "shift.csv").write_text(SHIFT)
    page = (run / "report.html").read_text()
    parts = page.split("Recall: share", 1)
    whole = f"{parts[0]}{shift_rows(SHIFT, 'inter', '4-class')}Recall: share{parts[1]}"
    (run / "report.html").write_text(whole)
    assert not [m for m in verify(run).wrong if m.file.endswith("report.html")]
    (run / "report.html").write_text(whole.replace("-12.35 *", "-12.36 *"))
    (found,) = [m for m in verify(run).wrong if m.file.endswith("report.html")]
    assert "column 'minus the rest'" in found.place and found.found == "-12.36 *"


def errors_slowly(e: Evaluation, corpus: Corpus, count: int) -> list[tuple[int, float]]:
    """Row and probability, one loop after another."""
    best: dict[str, tuple[int, float]] = {}
    for row, p in zip(e.rows, e.probabilities, strict=True):
        said = max(range(len(p)), key=lambda k: p[k])
        if said != corpus.cycles[row].label:
            patient = corpus.cycles[row].patient
            if patient not in best or p[said] > best[patient][1]:
                best[patient] = (row, float(p[said]))
    return sorted(best.values(), key=lambda found: -found[1])[:count]


def test_the_most_confident_errors_one_a_patient() -> None:
    g = np.random.default_rng(0)
    cycles = tuple(
        Cycle(recording=f"r{i // 3}", patient=f"p{i // 9}", device="d", site="s", start_s=float(i), end_s=i + 1.0,
              label=int(g.integers(3)), part="test")
        for i in range(90)
    )  # fmt: skip
    task = Task(name="t", classes=("a", "b", "c"), mapping=(0, 1, 2))
    corpus = Corpus(
        name="toy", classes=("a", "b", "c"), cycles=cycles, audio={}, recordings={}, tasks=(task,), test_parts=("test",)
    )
    p = g.dirichlet(np.ones(3), 60).astype(np.float32)
    rows = g.permutation(90)[:60].tolist()
    e = Evaluation(part="test", rows=rows, probabilities=p, confusion=np.zeros((3, 3), np.int64), scores=())
    found = confident_errors(e, corpus, 4)
    assert [(error.row, error.probability) for error in found] == errors_slowly(e, corpus, 4)
    assert all(error.truth != error.predicted and error.of_truth < error.probability for error in found)
    right = replace(e, probabilities=np.eye(3, dtype=np.float32)[[cycles[row].label for row in rows]])
    assert confident_errors(right, corpus) == []


@pytest.mark.parametrize("clip", [Clip(sample_rate=8000, n_mels=64), Clip(sample_rate=32000, filterbank="efficientat")])
def test_a_tone_lies_where_the_axis_says(clip: Clip) -> None:
    centres = centres_hz(clip)
    for hz in (300.0, 1000.0, 3000.0):
        wave = torch.sin(2 * torch.pi * hz * torch.arange(clip.sample_rate) / clip.sample_rate)[None]
        loudest = int(clip.fbank(wave)[0].mean(dim=0).argmax())
        assert abs(centres[loudest] - hz) <= max(np.diff(centres)[max(loudest - 1, 0) : loudest + 1])


def test_only_the_cycle_itself_is_drawn() -> None:
    clip = Clip(sample_rate=8000, length_s=2.0, n_mels=64)
    fbank = np.random.default_rng(0).normal(size=(clip.frames, 64)).astype(np.float16)
    assert len(shown_frames(fbank, clip, 1.0)) == 98  # the last one begins at 0.97 s and takes 0.025 s
    assert (
        len(shown_frames(fbank, replace(clip, pad="zero"), 1.0)) == clip.frames == len(shown_frames(fbank, clip, 9.0))
    )
    np.testing.assert_allclose(narrowed(fbank), fbank.astype(float))
    long = np.tile(fbank[:1], (1000, 1))
    assert narrowed(long).shape == (200, 64) and np.allclose(narrowed(long), fbank[0].astype(float))
    cycle = Cycle(recording="r", patient="p", device="d", site="s", start_s=3.0, end_s=4.0, label=0, part="test")
    drawn = spectrogram(fbank, clip, cycle)
    assert "<!-- frequency (Hz) -->" in drawn and "<!-- time in the recording (s) -->" in drawn
    assert "<!-- 2000 -->" in drawn and "<!-- 3.2 -->" in drawn and len(drawn) < 80_000
