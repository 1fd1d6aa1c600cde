"""Attention of an AST by hand, the example of each class, the figures and commands on a run of an AST."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from auscult.analysis.ast_attention import attentions
from auscult.analysis.attention import Attention, attend, column_s, edges, maps, rollout, surest
from auscult.analysis.attention_figure import caption, figure
from auscult.analysis.spectral_figure import caption as spectral_caption
from auscult.analysis.spectral_run import Spectrum
from auscult.analysis.spectral_run import analyse as spectra
from auscult.analysis.spectral_run import write as write_spectra
from auscult.cli.analysis import attention as command
from auscult.config import override
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.models.adapters import Adapter, Lora
from auscult.models.ast import Ast
from auscult.recipes import Recipe, recipe
from auscult.runs import Run
from auscult.signal.mel import mel_matrix, mel_row

from .small import small_corpus, small_recipe
from .untrained import untrained_run

pytest.importorskip("transformers")
SETTINGS = ("clip.length_s=0.6", "clip.n_mels=32", "backbone.frames=58", "backbone.n_mels=32", "selection=last")


def small_ast() -> Recipe:
    return override(recipe("ast_nano"), SETTINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attention")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return untrained_run(folder / "ast", small_ast(), small_corpus(folder / "corpus"))


@pytest.fixture(scope="module")
def dass(folder: Path, run: Run) -> Run:
    return untrained_run(folder / "dass", small_recipe("selection=last"), folder / "corpus")


@pytest.fixture(scope="module")
def alone(run: Run) -> Spectrum:
    return spectra(run, clips=1)


@pytest.fixture(scope="module")
def found(run: Run) -> Attention:
    return attend(run)


@pytest.mark.parametrize("adapter", [None, Adapter(width=4), Lora(rank=2)])
def test_attention_equals_its_equation(adapter: Adapter | Lora | None) -> None:
    """softmax(Q K^T / sqrt(d)) of the first layer, whose input is known; nothing of the model is changed by looking."""
    torch.manual_seed(0)
    backbone = Ast(size="nano", frames=48, n_mels=36, adapter=adapter).build().eval()
    x = torch.randn(1, 1, 36, 48)
    with torch.inference_mode():
        before = backbone(x)
        found = attentions(backbone, x)
        parts = backbone.embeddings
        patches = backbone.patchify(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([parts.cls_token, parts.distillation_token, patches], 1) + parts.position_embeddings
        layer = backbone.layers[0]
        z = layer.layernorm_before(tokens)
        heads = found[0].shape[0]
        q, k = (
            f(z)[0].unflatten(1, (heads, -1)).transpose(0, 1) for f in (layer.attention.q_proj, layer.attention.k_proj)
        )
        slow = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
        torch.testing.assert_close(found[0], slow, atol=1e-5, rtol=1e-4)
        assert len(found) == len(backbone.layers)
        torch.testing.assert_close(backbone(x), before, atol=0, rtol=0)
    assert not any(layer.attention._forward_hooks for layer in backbone.layers) or isinstance(adapter, Adapter)


def test_rollout_by_hand() -> None:
    one, two = (torch.softmax(torch.randn(3, 5, 5), dim=-1) for _ in range(2))
    mixed = [0.5 * np.mean(m.numpy(), axis=0) + 0.5 * np.eye(5) for m in (one, two)]
    np.testing.assert_allclose(rollout([one, two]).numpy(), mixed[1] @ mixed[0], atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls_dist", "mean"])
def test_maps_lie_as_the_patches_do(pooling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that grows with the token's number grows along a row of the map first, then from row to row."""
    backbone = Ast(size="nano", frames=48, n_mels=36, pooling=pooling).build()
    rows, columns = backbone.settings.grid
    tokens = rows * columns + 2
    made = torch.zeros(2, tokens, tokens)
    made[:] = torch.arange(tokens) / sum(range(tokens))
    made[:, 2:] = 1 / tokens  # what patches look at
    monkeypatch.setattr("auscult.analysis.attention.attentions", lambda *_: [made])
    last, _, own = maps(backbone, torch.zeros(1, 1, 36, 48))
    assert last.shape == (rows, columns) and (np.diff(last.ravel()) > 0).all()
    of_own = tokens * np.arange(tokens) / sum(range(tokens))
    looked = of_own if pooling == "cls_dist" else (2 * of_own + (tokens - 2)) / tokens
    np.testing.assert_allclose(last.ravel(), looked[2:], rtol=1e-5)
    assert own == pytest.approx(looked[:2].sum() / tokens, rel=1e-4)


def test_the_surest_cycle_of_each_class() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50).astype(np.float32)
    truth = np.random.default_rng(1).integers(0, 2, 50)
    assert surest(truth, p) == {k: max(np.flatnonzero(truth == k), key=lambda i: p[i, k]) for k in (0, 1)}


def test_examples_are_those_of_the_evaluation(run: Run, found: Attention) -> None:
    stuff, _, (scored,) = evaluate(run)
    assert [e.truth for e in found.examples] == list(stuff.corpus.classes)
    for label, e in enumerate(found.examples):
        rows = [i for i, row in enumerate(scored.rows) if stuff.corpus.cycles[row].label == label]
        assert e.p == pytest.approx(float(scored.probabilities[rows, label].max()))
        assert e.cycle.label == label and e.last.shape == e.rollout.shape == small_ast().backbone.grid


def test_axes() -> None:
    """Frequencies where the filters peak; seconds of a stretched, a filled and a plain input; cells around centres."""
    matrix = mel_matrix(16000, 512, 64, 20.0, 8000.0)
    for hz in (500.0, 2000.0, 6000.0):
        line = matrix[round(hz * 512 / 16000)]
        assert abs(mel_row(hz, 16000, 64) - 0.5 - (line @ np.arange(64)) / line.sum()) < 0.3
    plain = override(recipe("ast_nano"), SETTINGS)
    assert column_s(plain) == 0.01
    assert column_s(override(plain, ["input.frames=116"])) == pytest.approx(0.005)
    assert column_s(override(plain, ["input.frames=116", "input.fit=zero"])) == 0.01
    cells = edges(3, 10)
    assert ((cells[:-1] + cells[1:]) / 2).tolist() == [8, 18, 28], "16 wide patches every 10 have their centres there"


def test_the_figure_is_readable_in_print(found: Attention) -> None:
    drawn = figure(found)
    FigureCanvasAgg(drawn).draw()
    texts = [t for t in drawn.findobj(Text) if t.get_text() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 7
    ticks = [t for axes in drawn.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())]  # some not drawn
    for t in texts:
        if t in ticks:
            continue
        box = t.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.x1 and 0 <= box.y0 <= box.y1 <= drawn.bbox.y1, t.get_text()
    words = [t.get_text() for t in texts]
    assert words.count("Hz") == 4 and words.count("time in s") == 3
    assert "class and the distillation token" in caption(found) and "abc123" in caption(found)


def test_the_command(run: Run, tmp_path: Path) -> None:
    assert command(run.folder, out=tmp_path) == 0
    assert {f.name for f in tmp_path.iterdir()} == {f"attention.{e}" for e in ("csv", "md", "pdf", "png")}
    rows = list(csv.DictReader((tmp_path / "attention.csv").read_text().splitlines()))
    assert len(rows) == 4 * np.prod(small_ast().backbone.grid)


def test_spectra_of_an_ast(alone: Spectrum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("auscult.analysis.spectral_figure.save", lambda _, stem: drawn.append(stem.name) or [])
    write_spectra(tmp_path, alone)
    assert drawn == ["spectral"], "attention has no directions"
    assert {c.model for c in alone.curves} == {"AST nano, trained"} and {c.number for c in alone.curves} == {0, 1, 2, 3}
    words = spectral_caption(alone)
    assert "layer 2 and 3, which AST does not have" in words and "DASS: the four" not in words


def test_spectra_of_an_ast_beside_a_dass(dass: Run, run: Run, alone: Spectrum) -> None:
    both = spectra(dass, beside=run, clips=1)
    assert {c.model for c in both.curves} == {"DASS nano", "AST nano, trained"}
    wanted = {"number": 1, "version": "honest", "axis": "time", "smoothed": False}
    (one,) = [c for c in both.curves if c.model.startswith("AST") and c.is_of(**wanted)]
    (two,) = [c for c in alone.curves if c.is_of(**wanted)]
    np.testing.assert_array_equal(one.response, two.response)
    assert "Beside it: Run ast" in both.facts


def test_errors_say_what_to_do(dass: Run, run: Run) -> None:
    with pytest.raises(AuscultError, match="holds a DASS, which has no attention"):
        attend(dass)
    with pytest.raises(AuscultError, match="give the run of the DASS first"):
        spectra(run, beside=run)
    with pytest.raises(AuscultError, match="--beside needs a run of an AST"):
        spectra(dass, beside=dass)
