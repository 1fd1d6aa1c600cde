"""Features in the order of the part, the plane, neighbours by hand, the figure and the command."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from auscult.analysis import embedding as module
from auscult.analysis.embedding import Embedding, alike, embed, on_a_plane, standardised
from auscult.analysis.embedding_figure import caption, figure
from auscult.data.cycles import Cycle
from auscult.errors import AuscultError
from auscult.evaluate import evaluate
from auscult.runs import Run

from .small import small_corpus, small_recipe
from .untrained import untrained_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("embedding")
    return untrained_run(folder / "run", small_recipe("selection=last"), small_corpus(folder / "corpus"))


@pytest.fixture(scope="module")
def found(run: Run) -> Embedding:
    return embed(run, part="train")


def test_the_head_says_what_the_evaluation_says(run: Run, found: Embedding) -> None:
    stuff, _, (scored,) = evaluate(run, parts=("train",))
    assert found.predicted.tolist() == scored.probabilities.argmax(axis=1).tolist()
    assert found.cycles == tuple(stuff.corpus.cycles[row] for row in scored.rows)
    assert found.truth.tolist() == [c.label for c in found.cycles]


def test_features_keep_the_order_where_clips_have_several_lengths() -> None:
    class Loader:
        batches = ([2, 0], [1])

        def __len__(self) -> int:
            return 2

        def __iter__(self):
            return iter([type("B", (), {"fbank": torch.tensor([[float(i)] for i in b])}) for b in self.batches])

    class Model(torch.nn.Module):
        front = backbone = torch.nn.Identity()

        def head(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(x[:, 0].long(), 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "eval_loader", lambda *_: Loader())
        x, said = module.features_of(Model(), None, "cpu")  # type: ignore[arg-type]
    assert x[:, 0].tolist() == [0, 1, 2] == said.tolist()


def test_standardised_features() -> None:
    x = np.random.default_rng(0).normal(5, 3, (40, 4)).astype(np.float32)
    x[:, 2] = 7
    z = standardised(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), [1, 1, 0, 1], atol=1e-12)


def test_the_plane_is_the_same_for_the_same_seed_and_keeps_far_groups_apart() -> None:
    x = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
    x[30:] += 12
    first, perplexity = on_a_plane(x, seed=3)
    assert perplexity == pytest.approx(59 / 3)
    np.testing.assert_array_equal(first, on_a_plane(x, seed=3)[0])
    distance = np.linalg.norm(first[:, None] - first[None], axis=-1) + np.diag([np.inf] * 60)
    assert ((distance.argmin(axis=1) < 30) == (np.arange(60) < 30)).all()


def cycle(recording: str, patient: str, device: str, label: int) -> Cycle:
    rest = {"site": "Al", "start_s": 0.0, "end_s": 1.0, "part": "test"}
    return Cycle(recording=recording, patient=patient, device=device, label=label, **rest)


def test_neighbours_by_hand() -> None:
    """On a line at 0, 1, 3, 7; the first two are of one recording, so the nearest of either is the third."""
    cycles = [cycle("a", "p", "d", 0), cycle("a", "p", "d", 1), cycle("b", "p", "e", 0), cycle("c", "q", "e", 1)]
    found = alike(np.array([[0.0], [1.0], [3.0], [7.0]], np.float32), cycles, ["n", "c"])
    nearest = [2, 2, 1, 2]
    assert found["class"][0] == np.mean([c.label == cycles[j].label for c, j in zip(cycles, nearest, strict=True)])
    assert found["patient"] == (0.75, pytest.approx((1 / 2 + 1 / 2 + 2 / 3 + 0) / 4))
    assert found["device"] == (0.25, pytest.approx((0 + 0 + 1 / 3 + 1 / 3) / 4))
    assert "site" not in found, "there is one site"


def test_the_second_panel_shows_devices_where_there_are_several(found: Embedding) -> None:
    several = replace(found, cycles=tuple(replace(c, device=str(i % 2)) for i, c in enumerate(found.cycles)))
    single = replace(found, cycles=tuple(replace(c, device="x") for c in found.cycles))
    assert several.fact[0] == "device" and single.fact[0] == "site"


def test_the_figure_is_readable_in_print(found: Embedding) -> None:
    drawn = figure(found)
    FigureCanvasAgg(drawn).draw()
    texts = [t for t in drawn.findobj(Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= 7
    for t in texts:
        box = t.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.x1 and 0 <= box.y0 <= box.y1 <= drawn.bbox.y1, t.get_text()
    words = {t.get_text() for t in texts}
    for i, name in enumerate(found.classes):
        assert f"{name} ({(found.truth == i).sum()})" in words, "each class with its cycles"
    marks = [(line.get_color(), line.get_marker()) for line in drawn.axes[0].get_lines()]
    assert len({c for c, _ in marks}) == len({m for _, m in marks}) == 4, "told apart by colour and by shape"
    assert "abc123" in caption(found) and "by chance" in caption(found)


def test_the_command(run: Run, tmp_path: Path) -> None:
    from auscult.cli.analysis import embedding as command

    assert command(run.folder, out=tmp_path, part="train", seed=1) == 0
    assert {f.name for f in tmp_path.iterdir()} == {f"embedding.{e}" for e in ("csv", "md", "pdf", "png")}
    rows = list(csv.DictReader((tmp_path / "embedding.csv").read_text().splitlines()))
    assert {r["truth"] for r in rows} == {"normal", "crackle", "wheeze", "both"}


def test_errors_say_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuscultError, match="no part named 'inter'"):
        embed(run, part="inter")
    monkeypatch.setattr(module, "FEWEST", 1000)
    with pytest.raises(AuscultError, match="1000 or more are needed"):
        embed(run, part="train")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(AuscultError, match=r"pip install 'auscult\[train\]'"):
        embed(run)
