"""AST against transformers' own, on the same weights; its grids of positions against maps made by hand."""

import inspect
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auscult.batch import Batch
from auscult.cli.weights import check
from auscult.errors import AuscultError
from auscult.models import Adapter, Ast, Classifier, LinearHead, ast, parameter_count
from auscult.models.adapters import Bottleneck
from auscult.models.ast import AST
from auscult.models.ast_positions import for_grid
from auscult.models.pretrained import PRETRAINED, cached, start_from
from auscult.models.transfer import compare, load_backbone
from auscult.objectives import PatchMix

from .published import saved

FRAMES, MELS, CLASSES = 1024, 128, 7  # the grid of AudioSet: 12 x 101
MINI = ast.Size(24, 2, 3)
SMALL = Ast(size="nano", frames=60, n_mels=64)  # 5 x 5 patches


@pytest.fixture(autouse=True)
def mini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ast.SIZES, "mini", MINI)


@cache
def theirs() -> nn.Module:
    """A small AST of Hugging Face for AudioSet's grid, all of whose numbers are random."""
    from transformers import ASTConfig, ASTForAudioClassification

    size = MINI
    shape = {"hidden_size": size.features, "num_hidden_layers": size.layers, "num_attention_heads": size.heads}
    config = ASTConfig(**shape, intermediate_size=4 * size.features, num_labels=CLASSES)
    model = ASTForAudioClassification(config).eval()
    draw = torch.Generator().manual_seed(3)
    for p in model.parameters():
        p.data = 0.1 * torch.randn(p.shape, generator=draw) + (p.ndim == 1)
    return model


def as_published(folder: Path) -> Path:
    """As Hugging Face's hub has it; transformers writes the old names."""
    theirs().save_pretrained(folder)
    return folder / "model.safetensors"


def as_original() -> dict[str, Tensor]:
    """As the AST authors publish: DataParallel, a timm DeiT with the heads of ImageNet, query, key and value in one."""
    found: dict[str, Tensor] = {f"module.v.{name}": torch.zeros(3, 24) for name in ("head.weight", "head_dist.weight")}
    state = {n.removeprefix("audio_spectrogram_transformer."): t for n, t in theirs().state_dict().items()}
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "layers.": "blocks.",
        "attention.o_proj": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "classifier.layernorm": "mlp_head.0",
        "classifier.dense": "mlp_head.1",
        "layernorm.": "norm.",
    }
    for name, t in state.items():
        if ".k_proj" in name or ".v_proj" in name:
            continue
        if ".q_proj" in name:
            t = torch.cat([state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
        name = name.replace("attention.q_proj", "attn.qkv")
        for old, new in names.items():
            name = name.replace(old, new)
        found[f"module.{name}" if name.startswith("mlp_head") else f"module.v.{name}"] = t
    return found


def layouts(folder: Path) -> dict[str, Path]:
    return {"hub": as_published(folder), "original": saved(as_original(), folder / "audioset.pth")}


def ours(**settings: Any) -> AST:
    torch.manual_seed(0)
    return Ast(**{"size": "mini", "frames": FRAMES, "n_mels": MELS} | settings).build().eval()


@pytest.mark.parametrize("layout", ["hub", "original"])
def test_features_logits_and_gradients_are_those_of_transformers(layout: str, tmp_path: Path) -> None:
    model, reference = ours(), theirs()
    report = load_backbone(model, layouts(tmp_path)[layout])
    assert report.share == 1 and not report.missing + report.unexpected + report.misfits
    assert len(report.matched) == len(model.state_dict())
    x = torch.randn(2, FRAMES, MELS, generator=torch.Generator().manual_seed(1))
    features = model(x.transpose(1, 2)[:, None])
    body = reference.audio_spectrogram_transformer
    whole = body(x)
    assert (features - whole.pooler_output).abs().max() < 1e-4
    assert (reference.classifier(features) - reference(x).logits).abs().max() < 1e-4
    model.settings = replace(model.settings, pooling="mean")
    assert (model(x.transpose(1, 2)[:, None]) - whole.last_hidden_state.mean(1)).abs().max() < 1e-4
    wanted = torch.autograd.grad(whole.pooler_output.square().sum(), list(body.parameters()))
    found = torch.autograd.grad(features.square().sum(), list(model.parameters()))
    by_name = dict(zip([n for n, _ in body.named_parameters()], wanted, strict=True))
    for (name, _), gradient in zip(model.named_parameters(), found, strict=True):
        scale = by_name[name].abs().max().clamp_min(1e-3)
        assert (gradient - by_name[name]).abs().max() < 1e-4 * scale + 1e-4, name


@pytest.mark.slow
def test_by_name_and_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path))
    entry = replace(PRETRAINED["ast_audioset_original"], size="mini", url=None)
    monkeypatch.setitem(PRETRAINED, "little", entry)
    cached("little").parent.mkdir()
    saved(as_original(), cached("little"))
    assert start_from(ours(frames=798), "little").share == 1
    assert check("little") == 0
    wanted = "39 of 39 tensors of the backbone, 100.0% of its numbers"
    assert wanted in capsys.readouterr().out
    assert check(str(cached("little")), backbone="ast", size="mini") == 0
    assert wanted in capsys.readouterr().out
    with pytest.raises(AuscultError, match="wrong shape"):
        check(str(cached("little")), backbone="ast")


@pytest.mark.parametrize("layout", ["hub", "original"])
def test_every_published_tensor_is_in_one_list(layout: str, tmp_path: Path) -> None:
    from auscult.models.convert import read_checkpoint

    found = read_checkpoint(layouts(tmp_path)[layout]) | {"odd.weight": torch.zeros(1)}
    layers = MINI.layers
    report, _ = compare(ours(frames=798), found, layout)
    extra = 4 * layers if layout == "original" else 0  # one fused weight and bias a layer become three each
    assert (
        len(report.matched) + len(report.unexpected) + len(report.misfits) + len(report.dropped) == len(found) + extra
    )
    heads = ("head.0.weight (24,)", "head.0.bias (24,)", f"head.1.weight ({CLASSES}, 24)", f"head.1.bias ({CLASSES},)")
    imagenet = ("head.weight (3, 24)", "head.dist.weight (3, 24)") if layout == "original" else ()
    assert set(report.dropped) == {*heads, *imagenet}
    assert report.unexpected == ("odd.weight",) and report.share == 1 and not report.misfits
    assert "embeddings.position_embeddings (1, 1214, 24) -> (1, 950, 24)" in report.reshaped
    assert len(report.reshaped) == 1 + 6 * layers * (layout == "original")


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    found = as_original()
    name = "module.v.blocks.1.attn.qkv.weight"
    odd = found | {name: torch.zeros(73, 24)}
    report, _ = compare(ours(), odd, "x")
    assert (
        len(report.misfits) == 3 and "layers.1.attention.k_proj.weight (73, 24) instead of (24, 24)" in report.misfits
    )
    table = found | {"module.v.pos_embed": torch.zeros(1, 1215, 24)}
    report, _ = compare(ours(), table, "x")
    assert report.misfits == ("embeddings.position_embeddings (1, 1215, 24) instead of (1, 1214, 24)",)
    with pytest.raises(AuscultError, match=r"E_RUN.*wrong shape: embeddings\.cls_token"):
        load_backbone(Ast(size="tiny", frames=FRAMES).build(), saved(found, tmp_path / "a.pth"))


# ------------------------------------------------------------------------------------------------ positions
def numbered() -> Tensor:
    """AudioSet's table whose two numbers are the row and the column of each cell."""
    cells = [[f, t] for f in range(12) for t in range(101)]
    return torch.tensor([[[-1, -1], [-2, -2], *cells]]).float()


def test_correct_positions_are_the_middle_columns() -> None:
    table = for_grid(numbered(), 12, 79, "correct")
    assert table[0, :2].tolist() == [[-1, -1], [-2, -2]]
    for f in range(12):
        for t in range(79):
            assert table[0, 2 + 79 * f + t].tolist() == [f, 11 + t]
    assert torch.equal(for_grid(numbered(), 12, 101, "correct"), numbered())


def stretched(row: int, rows: int) -> float:
    """Where the middle of a row lies among the 12 rows there were."""
    return min(max((row + 0.5) * 12 / rows - 0.5, 0), 11)


@pytest.mark.parametrize("columns", [79, 101])
def test_lineage_positions_are_those_of_a_grid_read_the_wrong_way(columns: int) -> None:
    """The grid has as many rows as there are columns of patches, and 12 columns, 44 to 55 of 101."""
    table = for_grid(numbered(), 12, columns, "lineage")
    wanted = []
    for f in range(12):
        for t in range(columns):
            row, column = divmod(columns * f + t, 12)
            wanted.append([stretched(row, columns), 44 + column])
    assert torch.allclose(table[0, 2:], torch.tensor(wanted), atol=1e-5)
    assert table[0, :2].tolist() == [[-1, -1], [-2, -2]]


def test_fewer_mel_bins_keep_the_middle_rows_and_longer_clips_stretch() -> None:
    table = for_grid(numbered(), 5, 79, "correct")[0, 2:].unflatten(0, (5, 79))
    assert table[:, 0, 0].tolist() == [4, 5, 6, 7, 8]
    longer = for_grid(numbered(), 12, 202, "correct")[0, 2:].unflatten(0, (12, 202))
    assert longer[3, :5, 1].tolist() == [0, 0.25, 0.75, 1.25, 1.75] and (longer[3, :, 0] == 3).all()


def test_loading_places_positions_as_the_settings_say_but_ours_stay(tmp_path: Path) -> None:
    table = theirs().state_dict()["audio_spectrogram_transformer.embeddings.position_embeddings"]
    for position in ("correct", "lineage"):
        model = ours(frames=798, position=position)
        load_backbone(model, saved(as_original(), tmp_path / "a.pth"))
        assert torch.equal(model.embeddings.position_embeddings, for_grid(table, 12, 79, position))
    model = ours(position="lineage")  # as many positions as AudioSet has, and yet in another order
    load_backbone(model, saved(as_original(), tmp_path / "a.pth"))
    kept = model.embeddings.position_embeddings.clone()
    assert not torch.allclose(kept, table)
    for prefix in ("backbone.", ""):
        load_backbone(model, saved({f"{prefix}{n}": t for n, t in model.state_dict().items()}, tmp_path / "b.pth"))
        assert torch.equal(model.embeddings.position_embeddings, kept)


# ------------------------------------------------------------------------------------------------ the backbone
def test_the_published_sizes() -> None:
    from transformers import ASTConfig, ASTModel

    with torch.device("meta"):
        counts = {
            size: parameter_count(Ast(size=size, frames=1024).build()) for size in ("nano", "tiny", "small", "base")
        }
        assert counts["base"] == ASTModel(ASTConfig()).num_parameters() == 86_187_264
        assert parameter_count(Ast().build()) == 86_187_264 - 264 * 768
    assert {n: round(c / 1e6, 1) for n, c in counts.items()} == {"nano": 0.6, "tiny": 5.6, "small": 21.9, "base": 86.2}


def test_the_same_seed_gives_the_same_start() -> None:
    torch.manual_seed(4)
    first = SMALL.build().state_dict()
    torch.manual_seed(4)
    second = SMALL.build().state_dict()
    assert all(torch.equal(t, second[n]) for n, t in first.items())
    assert all(t.std() > 0 for n, t in first.items() if "token" in n or "position" in n or n.endswith("proj.weight"))


@pytest.mark.parametrize("shape", [(64, 50), (64, 70), (80, 60), (8, 60)])
def test_another_grid_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(AuscultError, match=rf"E_SETTING.*64 mel bins and 60 frames.*has {shape[0]} and {shape[1]}"):
        SMALL.build()(torch.zeros(1, 1, *shape))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(AuscultError, match="Did you mean 'tiny'"):
        Ast(size="tinny")
    with pytest.raises(ValueError, match="frames=15"):
        Ast(frames=15)


def test_without_transformers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AuscultError, match=r"E_SETTING.*pip install 'auscult\[train\]'"):
        SMALL.build()


@pytest.mark.filterwarnings("default:The .grad attribute of a Tensor")  # torch's own, which it means to hide
def test_bf16_and_compiled_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = replace(SMALL, adapter=Adapter(width=4)).build(), torch.randn(2, 1, 64, 60)
    nn.init.normal_(model.adapters[1]["mlp"].up.weight)
    plain = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x)
    assert 0 < (rough - plain).abs().max() < 0.1
    for part, verb in ((AST, "encode"), (Bottleneck, "forward")):  # the checks of shapes are not for a compiler
        monkeypatch.setattr(part, verb, inspect.unwrap(getattr(part, verb)))
    model.compile_encode("eager")
    with torch.no_grad():
        assert torch.allclose(model(x), plain, atol=1e-5)


def test_patch_mix_of_tokens_reaches_every_part() -> None:
    torch.manual_seed(0)
    model = Classifier(Flip(), SMALL.build(), LinearHead(layer_norm=True).build(96, 4))
    objective = PatchMix(axes=("token",), target="released", train_projector=True, tau=0.06).build(96, [3, 2, 2, 1])
    label = torch.tensor([0, 1, 2, 3])
    losses = objective(
        model, Batch(fbank=torch.randn(4, 60, 64), label=label, patient=label, device=label, index=label)
    )
    assert set(losses) == {"ce", "token"}
    losses["token"].backward()
    used = [
        p.grad is not None and bool(p.grad.any()) for n, p in model.backbone.named_parameters() if "k_proj.b" not in n
    ]
    assert all(used) and all(p.grad is not None for p in objective.projector.parameters())


class Flip(nn.Module):
    """A front end that does nothing but turn."""

    def forward(self, fbank: Tensor) -> Tensor:
        return fbank.transpose(1, 2)[:, None]
