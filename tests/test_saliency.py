"""Saliency finds the one place a toy looks at, equals finite differences, folds repetitions; faithfulness by hand."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from torch import Tensor, nn

import auscult
from auscult.analysis import attribution as attribution_module
from auscult.analysis.attribution import METHODS, attribution, log_odds, reference
from auscult.analysis.faithfulness import Overlap, area, curves, overlap, patient_mean
from auscult.analysis.saliency import Placing, frame_centres, frequencies, on_cycle, placing, saliency
from auscult.analysis.saliency_figure import figure
from auscult.analysis.saliency_run import CHANCE, LOUDNESS, Faithfulness, measure
from auscult.cli.analysis import saliency as command
from auscult.errors import AuscultError
from auscult.models import Backbone, Classifier
from auscult.recipes import Recipe, recipe
from auscult.runs import Run
from auscult.signal.clip import Clip
from auscult.signal.spectrogram import Input

from .small import small_corpus, small_recipe
from .test_completeness import SMALLEST
from .toys import Small
from .untrained import untrained_run

CLIP = Clip(sample_rate=8000, length_s=2.0, n_mels=32)
BINS, FRAMES = slice(10, 14), slice(110, 130)  # what the toy hears; 1.1 to 1.3 s: 0.1 to 0.3 s of a cycle of 0.5 s


class Place(Backbone):
    """The mean of some cells; all other cells are nothing to it."""

    features = 1

    def patchify(self, x: Tensor) -> Tensor:
        return x[:, :, BINS, FRAMES]

    def encode(self, patches: Tensor) -> Tensor:
        return patches.mean(dim=(2, 3))


def toy(input: Input | None = None) -> Classifier:
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    return Classifier((input or Input(normalise="audioset")).build(CLIP), Place(), head).eval()


def fbanks(n: int = 3, frames: int = 198, bins: int = 32) -> Tensor:
    return 3 * torch.randn(n, frames, bins, generator=torch.Generator().manual_seed(1)) - 4


def one_of(n: int, classes: int, chosen: int) -> Tensor:
    return nn.functional.one_hot(torch.full((n,), chosen), classes).bool()


def loaded(model: Classifier) -> SimpleNamespace:
    """As much of `predict.Model` as saliency asks for."""

    def classify(stored: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(stored).float()).softmax(1).numpy()

    return SimpleNamespace(
        light=False, classifier=model, clip=CLIP, classes=("normal", "crackle"), device="cpu", classify=classify
    )


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(size=round(seconds * CLIP.sample_rate)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_saliency_lies_where_the_toy_listens(method: str) -> None:
    """The toy hears 1.1 to 1.3 s of the clip: the third repetition of a cycle of 0.5 s that begins at 1 s."""
    if method != "gradient":
        pytest.importorskip("captum")
    found = saliency(loaded(toy()), noise(3.0), 1.0, 1.5, class_index=1, method=method)  # type: ignore[arg-type]
    assert found.values.shape == (len(found.times_s), len(found.frequencies_hz)) == (50, 32)
    assert found.values.dtype == np.float32 and (found.values >= 0).all() and found.label == "crackle"
    assert (found.start_s, found.end_s) == (1.0, 1.5)
    bins, times = np.arange(32), found.times_s
    t, f = np.unravel_index(int(found.values.argmax()), found.values.shape)
    if method == "occlusion":  # whose rectangles of 0.1 s and 8 bins reach over the edges
        assert 1.0 < times[t] < 1.4 and 3 <= f <= 20
    else:
        there = ((times > 1.08) & (times < 1.34))[:, None] & ((bins >= 9) & (bins <= 14))
        assert found.values[there].sum() > 0.99 * found.values.sum() and there.mean() < 0.1


def test_the_predicted_class_is_explained_where_none_is_named() -> None:
    model, sound = loaded(toy()), noise(3.0)
    named = [saliency(model, sound, 1.0, 1.5, class_index=k) for k in (0, 1)]
    said = int(model.classify(np.asarray(CLIP.fbank(torch.from_numpy(CLIP.cut(sound, 1.0, 1.5))[None]))).argmax())
    np.testing.assert_array_equal(saliency(model, sound, 1.0, 1.5).values, named[said].values)
    assert not np.array_equal(named[0].values, named[1].values)


@pytest.mark.parametrize("rule", ["clip", "audioset", "mel"])
def test_the_gradient_equals_finite_differences(rule: str) -> None:
    """Through normalisation too: with "clip" every cell changes the mean and deviation of all others."""
    torch.manual_seed(0)
    backbone = Small()
    model = Classifier(Input(normalise=rule, frames=20).build(Clip(n_mels=12)), backbone, nn.Linear(10, 4)).eval()  # type: ignore[arg-type]
    x, members = fbanks(2, 16, 12), torch.tensor([[True, False, False, False], [False, True, True, True]])
    found, apart = attribution(model, x, members), x - reference(model, x)
    for t, f in itertools.product(range(0, 16, 5), range(0, 12, 4)):
        step = torch.zeros_like(x)
        step[:, t, f] = 0.05
        with torch.no_grad():
            slope = (log_odds(model(x + step), members) - log_odds(model(x - step), members)) / 0.1
        torch.testing.assert_close(found[:, t, f], slope * apart[:, t, f], atol=2e-4, rtol=2e-2)
    assert found.abs().max() > 1e-3, "or the tolerance hides all"


def test_log_odds_of_one_class_and_of_a_group() -> None:
    p = torch.tensor([[0.2, 0.5, 0.3]])
    for members in ([True, False, False], [False, True, True]):
        inside = p[0][torch.tensor(members)].sum()
        assert log_odds(p.log(), torch.tensor([members])).item() == pytest.approx((inside / (1 - inside)).log().item())


def slow_to_cycle(place: Placing, clip: np.ndarray) -> np.ndarray:
    rows = []
    for column_s in place.columns_s:
        heard = [place.offset_s + column_s + r * place.cycle_s for r in range(100 if place.repeated else 1)]
        heard = [t for t in heard if t <= place.clip_s]
        at = [[np.interp(t, place.centres_s, clip[:, f]) for f in range(clip.shape[1])] for t in heard]
        rows.append(np.mean(at, axis=0) if at else np.zeros(clip.shape[1]))
    return np.array(rows)


@pytest.mark.parametrize("pad", ["cyclic", "zero"])
@pytest.mark.parametrize("seconds", [0.13, 0.5, 1.337, 2.0, 3.1])
def test_repetitions_are_averaged(seconds: float, pad: str) -> None:
    clip = Clip(sample_rate=8000, length_s=2.0, n_mels=3, pad=pad)  # type: ignore[arg-type]
    place = placing(clip, 0.7, 0.7 + seconds, 198)
    values = np.random.default_rng(0).normal(size=(198, 3))
    np.testing.assert_allclose(place.to_cycle(values), slow_to_cycle(place, values), atol=1e-9)
    assert abs(len(place.columns_s) - 100 * seconds) <= 1 and place.columns_s[-1] < seconds
    there = place.to_clip(np.ones((len(place.columns_s), 3)))
    heard_s = min(seconds, 2.0) if pad == "zero" else 2.0
    assert there.mean() == pytest.approx(heard_s / 2.0, abs=0.02), "zeros around the cycle are no part of it"


def test_a_moment_of_a_cycle_is_found_again_in_every_repetition() -> None:
    place = placing(CLIP, 0.0, 0.5, 198)
    pulse = np.zeros((50, 1))
    pulse[30] = 1.0
    clip = place.to_clip(pulse)
    at = frame_centres(CLIP, 198)[clip[:, 0] > 0]
    np.testing.assert_allclose(at % 0.5, 0.305, atol=0.01)
    assert {int(t / 0.5) for t in at} == {0, 1, 2, 3}
    back = place.to_cycle(clip)
    assert abs(int(back.argmax()) - 30) <= 1 and back[[*range(28), *range(33, 50)]].max() == 0
    once = np.where(np.arange(198)[:, None] < 50, clip, 0)
    np.testing.assert_allclose(place.to_cycle(once).sum(), back.sum() / 4, rtol=0.3)


def test_axes_of_both_filterbanks() -> None:
    efficient = Clip(sample_rate=32000, length_s=1.0, n_mels=16, filterbank="efficientat")
    for clip in (CLIP, efficient):
        wave = torch.zeros(1, clip.samples)
        at, tone = clip.samples // 2, 1000.0
        span = torch.arange(at - 200, at + 200)
        wave[0, span] = torch.sin(2 * torch.pi * tone * span / clip.sample_rate)
        loud = clip.fbank(wave)[0]
        centre_s = frame_centres(clip, len(loud))[int(loud.logsumexp(1).argmax())]
        assert abs(centre_s - at / clip.sample_rate) < 0.02
        hz = frequencies(clip)
        assert abs(int(loud.amax(0).argmax()) - int(np.abs(hz - tone).argmin())) <= 1


@pytest.mark.parametrize("name", SMALLEST)
def test_every_backbone(name: str) -> None:
    if name == "ast":
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = SMALLEST[name].build()
    model = Classifier(Input().build(), backbone, nn.Linear(backbone.features, 4)).eval()
    x = fbanks(2, 60, 64)
    with torch.inference_mode():  # as within `Model.classify`
        found = attribution(model, x, one_of(2, 4, 2))
    place = placing(Clip(n_mels=64, length_s=0.62), 0.0, 0.25, 60)
    for values in (on_cycle(one, place) for one in found.numpy()):
        assert values.shape == (25, 64) and values.dtype == np.float32
        assert np.isfinite(values).all() and (values >= 0).all() and values.max() > 0
    assert all(p.grad is None for p in model.parameters())


def test_captum_agrees_where_the_log_odds_are_straight() -> None:
    pytest.importorskip("captum")
    model, x, members = toy(), fbanks(), one_of(3, 2, 1)
    line = attribution(model, x, members)
    torch.testing.assert_close(attribution(model, x, members, "integrated_gradients"), line, atol=1e-5, rtol=1e-4)


def test_a_perfect_attribution_beats_chance() -> None:
    model, x, members = toy(), fbanks(), one_of(3, 2, 1)
    rest = reference(model, x).expand_as(x)
    best = attribution(model, x, members)
    good, back = (curves(model, x, members, order, rest) for order in (best, -best))
    dice = curves(model, x, members, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)), rest)
    assert (good.gain > 0.05).all() and (np.abs(dice.gain) < 0.02).all()
    np.testing.assert_allclose(good.gain, -back.gain, atol=0.02)
    p = [model(one).softmax(1)[:, 1].detach().numpy() for one in (x, rest)]
    np.testing.assert_allclose(good.deletion[:, [0, -1]], np.stack(p, axis=1), atol=1e-6)
    np.testing.assert_allclose(good.insertion[:, [-1, 0]], np.stack(p, axis=1), atol=1e-6)
    np.testing.assert_allclose(area(good.deletion), [np.trapezoid(c, np.linspace(0, 1, 21)) for c in good.deletion])


def test_curves_equal_a_slow_twin() -> None:
    model, x, members = toy(), fbanks(1), one_of(1, 2, 0)
    order, rest = torch.rand(x.shape), torch.zeros_like(x)
    found = curves(model, x, members, order, rest, steps=4)
    places = sorted(range(x.numel()), key=lambda i: -float(order.flatten()[i]))
    for step in range(5):
        away, back = x.clone().flatten(), rest.clone().flatten()
        for i in places[: round(x.numel() * step / 4)]:
            away[i], back[i] = rest.flatten()[i], x.flatten()[i]
        for curve, clip in ((found.deletion, away), (found.insertion, back)):
            assert curve[0, step] == pytest.approx(model(clip.view_as(x)).softmax(1)[0, 0].item(), abs=1e-6)


def test_overlap_by_hand() -> None:
    weight, abnormal = np.array([5.0, 1.0, 2.0, 2.0]), np.array([False, True, True, False])
    found = overlap(weight, abnormal, np.array([False, True, True, True]))
    assert found == Overlap(mass=0.3, time=0.5, mass_of_cycles=0.6, time_of_cycles=2 / 3, hit=0.0)
    nothing = overlap(np.zeros(4), abnormal, np.ones(4, bool))
    assert nothing.mass == nothing.time == 0.5, "no saliency points nowhere: as good as chance"


def test_intervals_resample_patients() -> None:
    """Two patients, one all 1 and one all 0: the mean of a resample is 0, of one of each, or 1, however many cycles."""
    found = patient_mean([1.0] * 50 + [0.0] * 50, ["a"] * 50 + ["b"] * 50)
    assert (found.value, found.low, found.high, found.n, found.patients) == (0.5, 0.0, 1.0, 100, 2)
    assert np.isnan(patient_mean([1.0, 0.0], ["a", "a"]).low)


def small_cnn() -> Recipe:
    return replace(small_recipe("selection=last"), backbone=SMALLEST["cnn6"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("saliency")
    return untrained_run(folder / "run", small_cnn(), small_corpus(folder / "corpus"), seed=4)


@pytest.fixture(scope="module")
def found(run: Run) -> Faithfulness:
    return measure(run, 6, part="train")


def test_measures_of_a_run(found: Faithfulness) -> None:
    rows = found.rows()
    assert list(rows) == ["gradient", LOUDNESS, CHANCE]
    assert rows["gradient"]["gain"].n == len(found.patients) == 6
    assert rows["gradient"]["gain"].value == pytest.approx(found.curves["gradient"].gain.mean())
    loud = rows["gradient"]["gain"].value - rows[LOUDNESS]["gain"].value
    assert rows["gradient"]["gain_over_loudness"].value == pytest.approx(loud)
    own = rows["gradient"]["mass"].value - rows[CHANCE]["mass"].value
    assert rows["gradient"]["mass_over_chance"].value == pytest.approx(own)
    assert found.example is not None and len(found.example.seconds) == len(found.example.values)
    assert (np.diff(found.example.seconds) > 0).all(), "windows follow each other"
    assert {c.label > 0 for c in found.example.cycles} == {False, True}
    assert [e.predicted for e in found.examples] == ["wheeze", "both"], "seed 4 says these two"


def test_the_figure_is_readable(found: Faithfulness) -> None:
    drawn = figure(found)
    FigureCanvasAgg(drawn).draw()
    texts = [t for t in drawn.findobj(Text) if t.get_text() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 7
    words = [t.get_text() for t in texts]
    assert words.count("Hz") == len(found.examples) + 1
    assert words.count("time in the cycle in s") == 2 * len(found.examples)
    assert "time in the recording in s" in words


def test_the_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(run.folder, out=tmp_path, cycles=2, part="train") == 0
    assert {f.name for f in tmp_path.iterdir()} == {f"saliency.{e}" for e in ("json", "md", "pdf", "png")}
    (told,) = json.loads((tmp_path / "saliency.json").read_text())["runs"]
    assert told["measures"]["gradient"]["deletion"]["n"] == 2 and len(told["curves"]["gradient"]["deletion"]) == 21
    assert "insertion - deletion" in capsys.readouterr().out


def test_saliency_of_a_loaded_run(run: Run) -> None:
    model = auscult.load(run.folder)
    sound = sorted(Path(run.settings()["data"]).rglob("*.wav"))[0]
    found = saliency(model, sound, 0.0, 0.4)
    assert found.label in model.classes and found.values.shape == (40, 32) and found.values.max() > 0


def test_errors_say_what_to_do(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuscultError, match="a Forest has no gradient"):
        attribution(recipe("trees_logmel").build_model(2), fbanks(), one_of(3, 2, 0))  # type: ignore[arg-type]
    with pytest.raises(AuscultError, match="no saliency method named 'gradcam'"):
        attribution(toy(), fbanks(), one_of(3, 2, 0), "gradcam")  # type: ignore[arg-type]
    with pytest.raises(AuscultError, match="class_index=2; the model has classes 0 to 1"):
        saliency(loaded(toy()), noise(1.0), 0.0, 0.5, class_index=2)
    monkeypatch.setattr(attribution_module, "find_spec", lambda _: None)
    with pytest.raises(AuscultError, match=r"pip install 'auscult\[explain\]'"):
        attribution(toy(), fbanks(), one_of(3, 2, 0), "occlusion")
    with pytest.raises(AuscultError, match="name the runs"):
        command(out=tmp_path)
    with pytest.raises(AuscultError, match="cycles=1"):
        measure(run, 1)
    sure = untrained_run(tmp_path / "normal", small_cnn(), Path(run.settings()["data"]), seed=1)
    with pytest.raises(AuscultError, match="of 18 cycles of part 'train' the model calls 0 abnormal"):
        measure(sure, 2, part="train")
