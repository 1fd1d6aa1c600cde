"""A prediction as a figure, as a table and in a notebook."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

import auscult
from auscult.errors import AuscultError
from auscult.prediction import Prediction


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    file = tmp_path_factory.mktemp("sound") / "<b>.wav"
    t = np.arange(9 * 8000) / 8000
    noise = np.random.default_rng(0).normal(0, 0.1, len(t)) * np.sin(np.pi * t / 3) ** 2
    soundfile.write(file, noise, 8000)
    return auscult.load(device="cpu").predict(file, cycles=[(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)])


def test_the_figure_has_both_axes_and_every_breath(found: Prediction) -> None:
    figure = found.plot()
    assert isinstance(figure, Figure)
    above, below = figure.axes
    assert (above.get_ylabel(), below.get_xlabel()) == ("frequency in Hz", "time in s")
    assert sum(c.label in text.get_text() for text in below.texts for c in found.cycles[:1]) == 3
    assert [p.get_x() for p in below.patches[::2]] == [0.0, 3.0, 6.0]
    assert [p.get_height() for p in below.patches[1::2]] == [c.p_abnormal for c in found.cycles]


def test_a_figure_of_an_hour_is_refused(found: Prediction) -> None:
    from dataclasses import replace

    with pytest.raises(AuscultError, match="auscult serve"):
        replace(found, duration_s=3600.0).plot()


def test_pandas_and_notebook(found: Prediction) -> None:
    frame = found.to_pandas()
    assert list(frame.index.names) == ["recording", "start_s", "end_s"] and len(frame) == 3
    html = found._repr_html_()
    assert html.count("<tr>") == 4 and "Research use only" in html
    assert "&lt;b&gt;.wav" in html and "<b>.wav" not in html and "<script" not in html


def test_json_reads_back(found: Prediction, tmp_path: Path) -> None:
    import json

    found.save(tmp_path / "a.json")
    assert Prediction.from_dict(json.loads((tmp_path / "a.json").read_text())) == found
