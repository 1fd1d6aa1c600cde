"""What a checkpoint gives to a backbone: names, shapes, coverage; and our forward against the public model's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.errors import AuscultError
from auscult.models import Dass
from auscult.models.transfer import compare, load_backbone

from .golden.make_vmamba import CLASSES
from .published import GOLDEN, LAYOUTS, SHAPES, as_dass, plain, saved, tiny

QUICK = "dass"  # the other layouts run with the slow tests


@pytest.mark.parametrize("layout", [n if n == QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LAYOUTS])
def test_our_forward_equals_the_public_definition(layout: str, tmp_path: Path) -> None:
    arrange, file = LAYOUTS[layout]
    backbone, whole = tiny(), tiny(CLASSES)
    for model in (backbone, whole):
        report = load_backbone(model, saved(arrange(plain()), tmp_path / file))
        assert report.share == 1 and not report.missing + report.unexpected + report.misfits
        assert len(report.matched) == len(model.state_dict())
    x = torch.from_numpy(GOLDEN["input"])
    with torch.no_grad():
        ours = {"patches": backbone.patchify(x), "features": backbone(x), "logits": whole(x)}
    for name, found in ours.items():
        wrong_by = np.abs(found.numpy() - GOLDEN[name]).max()
        assert wrong_by < 1e-5, f"{name} differ by {wrong_by}"


def test_the_golden_arrays_feel_every_weight() -> None:
    """A forward that ignored a weight, or two directions in the wrong order, would not pass for equal."""
    x = torch.from_numpy(GOLDEN["input"])
    model = tiny(CLASSES)
    for name in SHAPES:
        changed = plain()
        changed[name] = changed[name].flip(0) if "x_proj" in name or "Ds" in name else changed[name] * 0.9 + 0.01
        model.load_state_dict(compare(model, changed, "")[1])
        with torch.no_grad():
            assert np.abs(model(x).numpy() - GOLDEN["logits"]).max() > 2e-5, name


@pytest.mark.parametrize("size", ["small", "medium"])
def test_a_checkpoint_of_published_size_is_covered_but_for_its_head(size: str) -> None:
    with torch.device("meta"):
        model = Dass(size=size).build()
        published = as_dass(Dass(size=size).build(classes=527).state_dict())
    assert published["module.v.layers.0.blocks.0.mlp.fc1.weight"].shape == (384, 96, 1, 1)
    report, _ = compare(model, published, size)
    assert report.share == 1 and len(report.matched) == len(published) - 2
    assert report.dropped == ("classifier.head.weight (527, 768)", "classifier.head.bias (527,)")
    assert len(report.reshaped) == 4 * {"small": 14, "medium": 26}[size]


def test_a_head_of_another_task_is_dropped_by_name(tmp_path: Path) -> None:
    model = tiny(4)
    start = model.classifier["head"].weight.clone()
    report = load_backbone(model, saved(as_dass(plain()), tmp_path / "a.pth"))
    assert report.share == 1
    assert set(report.dropped) == {"classifier.head.weight (5, 128)", "classifier.head.bias (5,)"}
    assert set(report.missing) == {"classifier.head.weight", "classifier.head.bias"}
    assert torch.equal(model.classifier["head"].weight, start)


def test_a_wrong_file_says_what_was_found_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    other = saved({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(2)}, tmp_path / "resnet.pth")
    with pytest.raises(AuscultError, match=r"E_RUN.*fills 0\.0%.*missing: patch_embed.*not in the backbone: conv1"):
        load_backbone(model, other, allow_partial=True)
    wider = {n: torch.zeros(2 * s[0], *s[1:]) for n, s in SHAPES.items()}
    with pytest.raises(AuscultError, match=r"wrong shape: patch_embed\.0\.weight \(16, 1, 3, 3\) instead of \(8, 1"):
        load_backbone(model, saved(wider, tmp_path / "wide.pth"))
    assert "misfits" in capsys.readouterr().err
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_under_95_percent_is_refused_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = {n: t for n, t in plain().items() if not n.startswith("layers.3.blocks")}
    file = saved(part | {"extra": torch.zeros(1)}, tmp_path / "part.pth")
    with pytest.raises(AuscultError, match="95% are needed"):
        load_backbone(tiny(), file)
    model = tiny()
    start = model.layers[3].blocks[0].op.Ds.clone()
    report = load_backbone(model, file, allow_partial=True)
    assert 0.3 < report.share < 0.95
    assert report.missing and all(n.startswith("layers.3.blocks") for n in report.missing)
    assert report.unexpected == ("extra",)
    assert torch.equal(model.layers[3].blocks[0].op.Ds, start)
    assert torch.equal(model.layers[0].blocks[0].op.Ds, part["layers.0.blocks.0.op.Ds"])
    text = capsys.readouterr().err
    assert "missing 18: layers.3.blocks.0.norm.weight" in text and "unexpected 1: extra" in text


def test_every_tensor_and_every_parameter_is_in_one_list() -> None:
    found = as_dass(plain()) | {"odd": torch.zeros(1)}
    del found["module.v.layers.0.blocks.0.norm.bias"]
    found["module.v.layers.1.blocks.0.op.Ds"] = torch.zeros(3)
    found["module.v.layers.2.blocks.0.op.Ds"] = torch.zeros(256, dtype=torch.int64)
    model = tiny()
    report, _ = compare(model, found, "x")
    assert len(report.matched) + len(report.unexpected) + len(report.misfits) + len(report.dropped) == len(found)
    assert set(report.matched) | set(report.missing) == set(model.state_dict())
    assert report.misfits == (
        "layers.1.blocks.0.op.Ds (3,) instead of (128,)",
        "layers.2.blocks.0.op.Ds (256,) of torch.int64 instead of (256,)",
    )


def test_half_precision_is_widened_and_nan_and_doubles_are_refused(tmp_path: Path) -> None:
    model = tiny()
    load_backbone(model, saved({n: t.half() for n, t in plain().items()}, tmp_path / "half.safetensors"))
    assert model.state_dict()["layers.0.blocks.0.op.Ds"].dtype == torch.float32
    bad = plain()
    bad["layers.0.blocks.0.op.Ds"][3] = torch.nan
    with pytest.raises(AuscultError, match=r"layers\.0\.blocks\.0\.op\.Ds holds NaN"):
        load_backbone(model, saved(bad, tmp_path / "nan.pth"))
    twice = plain() | {"module.patch_embed.0.bias": torch.zeros(8)}
    with pytest.raises(AuscultError, match=r"patch_embed\.0\.bias twice"):
        load_backbone(model, saved(twice, tmp_path / "twice.pth"))
