"""Long recordings: in pieces they come out as in one, whatever the rate and wherever the breaths come from."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import auscult
from auscult import predict as module
from auscult.errors import AuscultError
from auscult.predict import Model
from auscult.signal import io
from auscult.signal.stream import Stream
from auscult.signal.verdict import Verdict, combine

from .small import small_weights

SECONDS = 75.3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    file = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    return auscult.load(small_weights(file, "clip.length_s=0.7", "clip.n_mels=32"), device="cpu")


@pytest.fixture(scope="module", params=[8000, 11025])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that comes and goes every three seconds."""
    rate = int(request.param)
    t = np.arange(int(SECONDS * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.1, len(t)) * np.abs(np.sin(np.pi * t / 3)) ** 2
    file = tmp_path_factory.mktemp("sound") / "long.wav"
    soundfile.write(file, noise, rate)
    return file


def test_a_stream_holds_what_load_gives(sound: Path) -> None:
    """At every rate the same samples at the same seconds, however often the beginning is dropped."""
    whole = {rate: io.load(sound, rate).waveform for rate in (4000, 8000)}
    kept: dict[int, list[np.ndarray]] = {rate: [] for rate in whole}
    with Stream(sound, whole) as stream:
        while stream.fill(10.0):
            until_s = stream.end_s if stream.finished else float(int(stream.end_s - 2.5))
            first = stream.start_s
            for rate, parts in kept.items():
                held = stream.waveform(rate)
                start = round(first * rate)
                assert np.array_equal(held[: rate // 2], whole[rate][start : start + rate // 2])
                parts.append(held if stream.finished else held[: int(until_s - first) * rate])
            stream.drop(until_s)
        assert stream.finished and stream.end_s == pytest.approx(SECONDS, abs=1e-3)
    for rate, parts in kept.items():
        assert np.array_equal(np.concatenate(parts), whole[rate])


@pytest.mark.parametrize("how", ["given", "windows"])
def test_pieces_come_out_as_one(model: Model, sound: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = np.cumsum(np.r_[0.0, np.random.default_rng(1).uniform(0.4, 4, 32)])
    given = [(float(a), float(b)) for a, b in pairwise(edges) if b < SECONDS]
    options = {"cycles": given} if how == "given" else {"how": "windows"}
    monkeypatch.setattr(module, "PIECE_S", 1e9)
    one = model.predict(sound, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "PIECE_S", 21.0)
    many = model.predict(sound, **options)  # type: ignore[arg-type]
    assert [(c.start_s, c.end_s) for c in one.cycles] == [(c.start_s, c.end_s) for c in many.cycles]
    assert len(one.cycles) > 20 and one.notes == many.notes
    for a, b in zip(one.cycles, many.cycles, strict=True):
        assert list(a.probabilities.values()) == pytest.approx(list(b.probabilities.values()), abs=2e-4)


def test_breaths_found_in_pieces_are_in_order_and_all_over(
    model: Model, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_S", 25.0)
    told: list[float] = []
    found = model.predict(sound, how="segment", progress=told.append)
    times = [(c.start_s, c.end_s) for c in found.cycles]
    assert all(a < b for a, b in times) and all(x[1] <= y[0] + 1e-3 for x, y in pairwise(times))
    assert found.cycles_from in ("segmented", "windows") and times[-1][1] > SECONDS - 15
    assert told == sorted(told) and len(told) > 2


def test_a_cycle_behind_the_end_is_refused(model: Model, sound: Path) -> None:
    with pytest.raises(AuscultError, match=r"ends at 90 s, the audio at 75\.3"):
        model.predict(sound, cycles=[(1.0, 2.0), (80.0, 90.0)])


def test_what_progress_raises_ends_the_work(model: Model, sound: Path) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict(sound, how="windows", progress=stop)


def test_the_verdict_on_pieces_is_that_of_most_of_the_time() -> None:
    good = Verdict(kind="accept", reasons=(), measures={"level_db": -20.0, "only_here": 1.0})
    bad = Verdict(kind="poor", reasons=("too quiet",), measures={"level_db": -60.0})
    assert combine([(good, 5.0)]) is good
    assert combine([(good, 60.0), (bad, 20.0)]).kind == "accept"
    both = combine([(good, 10.0), (bad, 60.0), (bad, 30.0)])
    assert (both.kind, both.reasons, both.measures) == ("poor", ("too quiet",), {"level_db": -60.0})
