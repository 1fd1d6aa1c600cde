"""Adapters and LoRA: silent at the start, the only parts that learn, and no obstacle to published weights."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auscult.config import from_dict, override, to_dict
from auscult.models import Adapter, AdapterSpec, Ast, LinearHead, Lora, parameter_count
from auscult.models.ast import AST
from auscult.models.transfer import load_backbone
from auscult.optim import AdamW
from auscult.recipes import recipe

from .published import saved

SMALL = Ast(size="nano", frames=60, n_mels=64)
EACH = {
    "adapter": Adapter(width=5),
    "after mlp": Adapter(width=3, beside=("mlp",), train_norms=False),
    "lora": Lora(rank=2, alpha=6.0),
}
SOUND = torch.randn(3, 1, 64, 60, generator=torch.Generator().manual_seed(8))


def made(adapter: AdapterSpec | None) -> AST:
    torch.manual_seed(7)
    return replace(SMALL, adapter=adapter).build()


def woken(adapter: AdapterSpec) -> AST:
    """With parts that do not begin silent."""
    model = made(adapter)
    for p in model.adapters.parameters():
        nn.init.normal_(p, std=0.2)
    return model


@pytest.mark.parametrize("name", EACH)
def test_silent_at_the_start_and_alone_in_learning(name: str) -> None:
    model = made(EACH[name])
    before = {n: p.clone() for n, p in model.named_parameters()}
    assert torch.equal(model(SOUND), made(None)(SOUND))
    optimizer = AdamW(lr=0.01).build(model)
    for _ in range(2):  # what stands before a zero moves from the second step on
        optimizer.zero_grad()
        model(SOUND).square().sum().backward()
        optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    norms = {n for n in before if "layernorm" in n} if name == "adapter" else set()
    assert moved == {n for n in before if n.startswith("adapters.")} | norms
    assert not torch.equal(model(SOUND), made(None)(SOUND))


def by_hand(model: AST, adapter: AdapterSpec) -> Tensor:
    """`encode` written out, with the branches where they belong and LoRA added to the weights."""
    tokens = model.patchify(SOUND).flatten(2).transpose(1, 2)
    own = [t.expand(3, -1, -1) for t in (model.embeddings.cls_token, model.embeddings.distillation_token)]
    x = torch.cat([*own, tokens], 1) + model.embeddings.position_embeddings
    for layer, added in zip(model.layers, model.adapters, strict=True):
        attention = layer.attention
        weights = {n: getattr(attention, f"{n}_proj").weight for n in "qkv"}
        if isinstance(adapter, Lora):
            for short, long in (("q", "query"), ("v", "value")):
                weights[short] = weights[short] + 3.0 * added[long].b.weight @ added[long].a.weight
        h = layer.layernorm_before(x)
        q, k, v = (F.linear(h, weights[n], getattr(attention, f"{n}_proj").bias) for n in "qkv")
        q, k, v = (t.unflatten(-1, (3, 32)).transpose(1, 2) for t in (q, k, v))
        mixed = torch.softmax(q @ k.transpose(2, 3) / 32**0.5, -1) @ v
        x = x + attention.o_proj(mixed.transpose(1, 2).flatten(2)) + branch(added, "attention", h)
        h = layer.layernorm_after(x)
        x = x + layer.mlp.fc2(F.gelu(layer.mlp.fc1(h))) + branch(added, "mlp", h)
    return model.layernorm(x)[:, :2].mean(1)


def branch(added: nn.ModuleDict, place: str, h: Tensor) -> Tensor:
    if place not in added:
        return torch.zeros_like(h)
    part = added[place]
    return F.gelu(h @ part.down.weight.T + part.down.bias) @ part.up.weight.T + part.up.bias


@pytest.mark.parametrize("name", EACH)
def test_equals_the_layers_written_out(name: str) -> None:
    hooked, plain = woken(EACH[name]), made(None)
    plain.load_state_dict({n: t for n, t in hooked.state_dict().items() if not n.startswith("adapters.")})
    plain.adapters = hooked.adapters  # held, not attached
    ours, theirs = hooked(SOUND), by_hand(plain, EACH[name])
    assert torch.allclose(ours, theirs, atol=1e-4)
    learning = list(hooked.adapters.parameters())
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), learning) for y in (ours, theirs)), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize("name", EACH)
def test_names_of_the_backbone_stay_and_weights_load(name: str, tmp_path: Path) -> None:
    plain, model = made(None), woken(EACH[name])
    names = list(model.state_dict())
    assert [n for n in names if not n.startswith("adapters.")] == list(plain.state_dict())
    torch.manual_seed(99)
    start = SMALL.build().state_dict()
    report = load_backbone(model, saved({f"backbone.{n}": t for n, t in start.items()}, tmp_path / "a.pth"))
    assert report.share == 1 and set(report.missing) == {n for n in names if n.startswith("adapters.")}
    assert all(torch.equal(model.state_dict()[n], t) for n, t in start.items())
    again = made(EACH[name])
    report = load_backbone(again, saved(model.state_dict(), tmp_path / "b.safetensors"))
    assert not report.missing and torch.equal(again(SOUND), model(SOUND))


def test_a_copy_has_parts_of_its_own() -> None:
    model = woken(Adapter(width=2))
    other = copy.deepcopy(model)
    before = model(SOUND)
    for p in other.adapters.parameters():
        nn.init.zeros_(p)
    assert torch.equal(model(SOUND), before) and not torch.equal(other(SOUND), before)


def test_what_learns_at_base_size() -> None:
    """LungAdapter 2.83 % and about 2.45 M; AST with adapters .45 M; LoRA .30 M."""
    head = parameter_count(LinearHead(layer_norm=True).build(768, 4))
    adapters = {
        Adapter(): 24 * (2 * 768 * 64 + 64 + 768) + 25 * 2 * 768,
        Lora(): 12 * 2 * 2 * 768 * 8,
        Adapter(width=24, beside=("mlp",), train_norms=False): 451_872,
    }
    with torch.device("meta"):
        assert {a: parameter_count(Ast(adapter=a).build()) for a in adapters} == adapters
        whole = parameter_count(Ast().build())
    assert adapters[Lora()] == 294_912
    assert 0.0280 < (adapters[Adapter()] + head) / whole < 0.0284


def test_a_recipe_may_name_one() -> None:
    lora = override(recipe("ast"), ["backbone.adapter=lora"])
    assert lora.backbone == replace(recipe("ast").backbone, adapter=Lora())
    small = override(recipe("lung_adapter"), ["backbone.adapter.beside=mlp", "backbone.adapter.width=4"])
    assert small.backbone.adapter == Adapter(width=4, beside=("mlp",))  # type: ignore[attr-defined]
    for made in (lora, small, override(small, ["backbone.adapter=none"])):
        assert from_dict(type(made), to_dict(made)) == made


def test_settings_that_cannot_be() -> None:
    for settings in ({"width": 0}, {"beside": ()}, {"beside": ("mlp", "mlp")}):
        with pytest.raises(ValueError, match="needed"):
            Adapter(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rank=0"):
        Lora(rank=0)
