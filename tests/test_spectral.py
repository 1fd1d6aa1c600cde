"""Mixing matrices against impulses through the scan's definition, responses against dense Fourier matrices."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from torch import Tensor, nn
from torch.nn import functional as F

from auscult.analysis import spectral_figure, spectral_layers, spectral_run
from auscult.analysis.spectral import (
    DIRECTIONS,
    MERGED,
    PAPER,
    Mixing,
    Reading,
    diagonal,
    mixing_matrices,
    parameters_of,
    put_back,
    read,
    row_means,
    scaled,
    smooth,
)
from auscult.analysis.spectral_layers import VERSIONS, ast_layers, dass_layers, smoothing_of
from auscult.analysis.spectral_run import Spectrum
from auscult.config import to_dict
from auscult.errors import AuscultError
from auscult.models import Backbone, Classifier, Dass, Smoothing
from auscult.models.dass import SS2D
from auscult.models.scan import reference
from auscult.models.weights import Weights, save_weights
from auscult.runs import Run, environment, write_json

from .small import small_corpus, small_recipe

H, W = 5, 9  # 45 places: more than the matrix forms pair by pair


@pytest.fixture
def op() -> SS2D:
    """A scan whose step sizes, A and D differ between channels, in float64."""
    torch.manual_seed(0)
    made = SS2D(6).double().requires_grad_(False)
    made.A_logs.normal_()
    made.Ds.normal_()
    made.dt_projs_bias.uniform_(-2, 1)
    return made


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, H, W, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def impulses(op: SS2D, x: Tensor, only: int | None, skip: bool) -> Tensor:
    """The slow twin: column j is the scan's answer to a one at place j in every channel, mean over channels."""
    u = F.silu(op.conv2d(op.in_proj(x)))
    dbc = F.linear(u, op.x_proj_weight.flatten(0, 1)).unflatten(-1, (4, -1))
    D = op.Ds.view(4, -1) * (1.0 if skip else 0.0)
    for k in range(4):
        if only not in (None, k):
            dbc[..., k, -1] = 0  # C: this direction says nothing
            D = D.index_fill(0, torch.tensor(k), 0)
    columns = []
    for j in range(H * W):
        impulse = torch.zeros(1, H * W, 6, dtype=x.dtype)
        impulse[:, j] = 1
        weight, A = op.dt_projs_weight.transpose(1, 2), -op.A_logs.exp().view(4, -1)
        answer = reference.scan(impulse.view(1, H, W, 6), dbc, weight, op.dt_projs_bias, A, D)
        columns.append(answer.mean(-1).flatten())
    return torch.stack(columns, 1)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("direction", [None, 0, 1, 2, 3])
def test_a_column_is_the_answer_to_an_impulse(op: SS2D, x: Tensor, direction: int | None, skip: bool) -> None:
    found = mixing_matrices(parameters_of(op, x), Mixing(skip=skip))
    name = MERGED if direction is None else DIRECTIONS[direction]
    torch.testing.assert_close(found[name], impulses(op, x, direction, skip), rtol=1e-9, atol=1e-12)


def test_with_one_channel_the_matrix_does_what_the_layer_does() -> None:
    torch.manual_seed(2)
    op, seen = SS2D(1).double(), []
    op.merged.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x = torch.randn(1, H, W, 1, dtype=torch.float64)
    with torch.no_grad():
        op(x)
        u = F.silu(op.conv2d(op.in_proj(x))).flatten()
        matrix = mixing_matrices(parameters_of(op, x), Mixing(skip=True))[MERGED]
    torch.testing.assert_close(matrix @ u, seen[0].flatten())


def published(op: SS2D, x: Tensor) -> Tensor:
    """The published matrix step by step: w = exp(cumsum), C w times B / w, wrong view for columns, sum, min-max."""
    p = parameters_of(op, x)
    L, total = H * W, torch.zeros(H * W, H * W, dtype=x.dtype)
    for k in range(4):
        walked = [reference._walk(t[k][None], k)[0] for t in (p.delta, p.B[..., None], p.C[..., None])]
        w = (walked[0] * p.A[k]).cumsum(0).exp()
        m = ((walked[2] * w) @ (walked[1] / w.clamp(min=1e-20)).T).tril() / w.shape[1]
        m = m.flip(0, 1) if k >= 2 else m
        total += m.view(H, W, H, W).permute(1, 0, 3, 2).reshape(L, L) if k % 2 else m
    return (total - total.min()) / (total.max() - total.min())


@pytest.mark.parametrize("speed", [-4.0, 1.0])
def test_the_published_reading_follows_the_published_steps(op: SS2D, x: Tensor, speed: float) -> None:
    """With large steps the clamp bites: w passes 1e-20 within the map."""
    op.dt_projs_bias += speed
    matrix, L = published(op, x), H * W
    k = torch.arange(L, dtype=torch.float64)
    fourier = torch.exp(-2j * torch.pi * torch.outer(k, k) / L)
    expected = (fourier @ matrix.to(fourier.dtype) @ torch.linalg.inv(fourier)).abs().mean(1)
    mixing, reading = PAPER
    found = read(mixing_matrices(parameters_of(op, x), mixing)[MERGED], (H, W), reading)["sequence"]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-8)
    same = torch.equal(
        *(mixing_matrices(parameters_of(op, x), replace(mixing, clamp=c))[MERGED] for c in (1e-20, None))
    )
    assert same == (speed < 0)


def test_the_published_order_is_right_for_square_maps_alone() -> None:
    for shape, right in (((4, 4), True), ((4, 6), False)):
        assert torch.equal(put_back(shape, 1), put_back(shape, 1, swapped=True)) is right
        assert torch.equal(put_back(shape, 3), put_back(shape, 3, swapped=True)) is right
        assert torch.equal(put_back(shape, 0), put_back(shape, 0, swapped=True))


def test_a_decay_below_every_float_leaves_finite_numbers(op: SS2D, x: Tensor) -> None:
    op.dt_projs_bias += 300
    for matrix in mixing_matrices(parameters_of(op.float(), x.float()), Mixing()).values():
        assert matrix.isfinite().all() and matrix.diagonal().abs().min() > 0


@pytest.mark.parametrize("sizes", [(H * W,), (H, W)])
def test_responses_are_those_of_dense_fourier_matrices(sizes: tuple[int, ...]) -> None:
    matrix = torch.randn(H * W, H * W, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    fourier = torch.ones(1, 1, dtype=torch.complex128)
    for n in sizes:
        k = torch.arange(n, dtype=torch.float64)
        fourier = torch.kron(fourier, torch.exp(-2j * torch.pi * torch.outer(k, k) / n))
    response = fourier @ matrix.to(fourier.dtype) @ torch.linalg.inv(fourier)
    torch.testing.assert_close(diagonal(matrix, sizes).flatten(), response.diagonal())
    torch.testing.assert_close(row_means(matrix, sizes).flatten(), response.abs().mean(1))
    if len(sizes) == 1:
        torch.testing.assert_close(row_means(matrix, sizes, 7), response.abs().mean(1)[:7])


def test_smoothing_acts_on_what_leaves() -> None:
    generator = torch.Generator().manual_seed(4)
    matrix, x = torch.randn(47, 47, generator=generator), torch.randn(47, generator=generator)
    settings = Smoothing()
    found = smooth(matrix, (H, W), settings, special=2) @ x
    leaves = matrix @ x
    expected = settings.build(1)(leaves[2:].view(1, H, W, 1)).flatten()
    torch.testing.assert_close(found, torch.cat([leaves[:2], expected]))


def test_flattening_makes_peaks_that_the_map_does_not_have() -> None:
    """A Gaussian over the map falls along both axes; in one line its response peaks at multiples of the rows."""
    rows, columns = 8, 32
    blur = smooth(torch.eye(rows * columns), (rows, columns), Smoothing(kernel=5, sigma=1.0))
    both = read(blur, (rows, columns), Reading())
    assert all((np.diff(both[axis]) < 0).all() for axis in ("time", "frequency"))
    for over in ("diagonal", "rows"):
        line = read(blur, (rows, columns), Reading(flatten=True, over=over))["sequence"]
        for k in (rows, 2 * rows, 3 * rows):
            assert line[k] > 2 * line[k - rows // 2] and line[k] > 2 * line[k + rows // 2]


def test_a_reading_s_settings_change_it() -> None:
    matrix = torch.rand(H * W + 2, H * W + 2, generator=torch.Generator().manual_seed(5))
    plain = read(matrix, (H, W), Reading(flatten=True), special=2)["sequence"]
    assert len(plain) == H * W // 2 + 1
    for change in ({"over": "rows"}, {"range": True}, {"log": True}, {"special": True}):
        changed = read(matrix, (H, W), Reading(flatten=True, **change), special=2)["sequence"]
        assert len(changed) == (len(plain) + 1 if "special" in change else len(plain))
        assert not np.allclose(changed[:10], plain[:10])
    assert len(read(matrix, (H, W), Reading(flatten=True, bands=6), special=2)["sequence"]) == 6
    with pytest.raises(ValueError, match="flatten"):
        Reading(bands=6)
    assert scaled(np.full(3, 2.0), "range").tolist() == [0, 0, 0]


def test_layers_see_what_enters_them() -> None:
    torch.manual_seed(0)
    model = Dass(size="nano", smoothing=Smoothing(blocks=(1,))).build().eval()
    with torch.inference_mode():
        layers = dass_layers(model, torch.randn(1, 1, 32, 58), smoothing_of(model, Smoothing(blocks=(1,))), "DASS")
    assert [(layer.group, layer.number, layer.shape) for layer in layers[:3]] == [
        ("stage 0", 0, (8, 15)),
        ("stage 1", 0, (4, 8)),
        ("stage 2", 0, (2, 4)),
    ]
    assert [layer.number for layer in layers if layer.smoothed] == [1] and len(layers) == 7
    assert smoothing_of(model, None) == Smoothing()
    assert not any(module._forward_pre_hooks for module in model.modules()), "the hooks are gone"


def test_attention_keeps_the_mean_and_leaves_its_two_tokens_out() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        hidden_size=12, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8, max_length=60, num_mel_bins=40
    )
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    with torch.inference_mode():
        layers = ast_layers(transformers.ASTModel(config).eval(), torch.randn(1, 60, 40), Smoothing(), "AST")
    assert [layer.number for layer in layers if layer.smoothed] == [2, 3]
    matrix = layers[0].matrices(Mixing())[MERGED]
    assert layers[0].shape == (3, 5) and len(matrix) == 3 * 5 + 2
    torch.testing.assert_close(matrix.sum(1), torch.ones(17))
    found = {c.version: c for c in spectral_layers.curves(layers[0], Smoothing(), False) if not c.smoothed}
    assert found["paper"].tokens == 17 and found["flattened"].tokens == 15
    assert not np.allclose(found["paper"].drawn, found["paper_log"].drawn)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An untrained model on a tiny corpus."""
    folder = tmp_path_factory.mktemp("spectral")
    made, tiny = Run(folder / "run"), small_recipe("selection=last", "validation=0")
    corpus = small_corpus(folder / "corpus")
    asked = {"recipe": to_dict(tiny), "dataset": "synthetic", "seed": 0, "partial": False, "data": str(corpus)}
    write_json(made.recipe_file, asked)
    write_json(made.folder / "environment.json", environment() | {"commit": "abc123"})
    torch.manual_seed(0)
    state, classes = tiny.build_model(4).state_dict(), ("normal", "crackle", "wheeze", "both")
    facts = {"dataset": "synthetic", "seed": 0, "epoch": 2, "selection": "last"}
    save_weights(made.weights("last"), Weights(state=state, recipe=to_dict(tiny), classes=classes, facts=facts))
    return made


@pytest.fixture(scope="module")
def spectrum(run: Run) -> Spectrum:
    return spectral_run.analyse(run, clips=2)


def test_every_layer_version_and_direction_is_in_the_table(spectrum: Spectrum) -> None:
    rows = list(csv.DictReader(io.StringIO(spectral_run.table(spectrum.curves))))
    found = {(r["group"], r["layer"], r["direction"], r["smoothed"], r["version"], r["axis"]) for r in rows}
    assert {version for *_, version, _ in found} == set(VERSIONS)
    each = len(DIRECTIONS) + 2  # merged before and after smoothing
    assert len(found) == 7 * (2 * each + each + each + 2) == len(spectrum.curves)
    for r in rows:
        assert float(r["response"]) >= 0 and np.isfinite(float(r["drawn"]))
        assert r["band"] != "0" or r["version"].startswith("paper") or float(r["drawn"]) == 0
    assert {float(r["cycles_per_patch"]) for r in rows if r["axis"] == "frequency" and r["rows"] == "8"} == {
        0.0,
        0.125,
        0.25,
        0.375,
        0.5,
    }


def test_curves_are_means_over_clips(run: Run) -> None:
    one, two = (spectral_run.analyse(run, clips=n) for n in (1, 2))
    assert one.clips == two.clips[:1] and len(two.clips) == 2
    layers = []
    original = spectral_run.dass_layers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectral_run, "dass_layers", lambda *a: layers.append(original(*a)) or layers[-1])
        spectral_run.analyse(run, clips=2)
    with torch.inference_mode():
        single = [spectral_layers.curves(clip[0], two.smoothing, False)[0].response for clip in layers]
    np.testing.assert_allclose(two.curves[0].response, (single[0] + single[1]) / 2)
    assert not np.allclose(single[0], single[1], rtol=1e-3), "step sizes depend on the clip"


def test_figures_are_readable_in_print(spectrum: Spectrum) -> None:
    for figure in (spectral_figure.layer_figure(spectrum), spectral_figure.direction_figure(spectrum)):
        assert figure.get_figwidth() * 2.54 == pytest.approx(18) and figure.get_figheight() * 2.54 < 24
        texts = [t for t in figure.findobj(Text) if t.get_text()]
        assert len(texts) > 40 and min(t.get_fontsize() for t in texts) >= 7
        FigureCanvasAgg(figure).draw()
        for t in texts:
            box = t.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0, f"cut: {t.get_text()!r}"


def test_the_caption_says_what_was_done(spectrum: Spectrum) -> None:
    words = spectral_figure.caption(spectrum)
    for needed in (
        "multiple of the number of rows",
        "K=5, sigma=3",
        "without D",
        "abc123",
        "dass_nano",
        *spectrum.clips,
    ):
        assert needed in words
    assert "AST" not in words, "it is not in the figure"
    assert "with D" in spectral_figure.caption(replace(spectrum, skip=True))
    elsewhere = replace(spectrum, smoothing=Smoothing(at="block_output"))
    assert "has it at block_output" in spectral_figure.caption(elsewhere) and "has it at" not in words
    assert "and 1 more" in spectral_figure.caption(replace(spectrum, clips=("a", "b", "c")))


def test_d_moves_nothing_but_weighs_on_every_frequency(run: Run, spectrum: Spectrum) -> None:
    with_d = spectral_run.analyse(run, clips=2, skip=True)
    wanted = {"version": "honest", "axis": "time", "direction": MERGED, "smoothed": False, "number": 0}
    for plain, more in zip(spectrum.curves, with_d.curves, strict=True):
        if plain.is_of(**wanted):
            assert more.drawn.min() > plain.drawn.min(), "D is 1 at the start: nearer to a filter that lets all through"


def test_the_command_writes_figures_captions_and_a_table(run: Run, tmp_path: Path) -> None:
    from auscult.cli.analysis import analyse

    assert (
        analyse(["spectral", str(run.folder), "--clips", "1", "--out", str(tmp_path)], result_action="return_value")
        == 0
    )
    endings = {"png": b"\x89PNG", "pdf": b"%PDF", "md": b"Response"}
    for name in ("spectral", "spectral_directions"):
        for ending, start in endings.items():
            assert (tmp_path / f"{name}.{ending}").read_bytes().startswith(start)
    assert "Clips: " in (tmp_path / "spectral.md").read_text()
    assert len(list(tmp_path.iterdir())) == 7


def test_errors_say_what_to_do(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuscultError, match="holds a Backbone; spectra are drawn for a trained DASS or AST"):
        spectral_run.smoothing_for(Classifier(nn.Identity(), Backbone(), nn.Identity()), small_recipe(), run)
    with pytest.raises(AuscultError, match="--clips 0"):
        spectral_run.analyse(run, clips=0)
    with pytest.raises(AuscultError, match="no test part named 'tets'"):
        spectral_run.analyse(run, part="tets")
    with pytest.raises(AuscultError, match="E_RUN"):
        spectral_run.analyse(Run(tmp_path))
    monkeypatch.setattr(spectral_layers, "find_spec", lambda _: None)
    with pytest.raises(AuscultError, match=r"pip install 'auscult\[bench\]'"):
        spectral_run.analyse(run, ast=True)
