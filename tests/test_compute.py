"""Routes of matrix products: kept only when exact, and the fused forms equal to their two steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from auscult import compute
from auscult.errors import AuscultError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path))
    monkeypatch.delenv("AUSCULT_MATMUL", raising=False)
    compute.route.cache_clear()
    yield
    compute.route.cache_clear()
    torch.set_float32_matmul_precision(before)


def found(**changes: float) -> compute.Route:
    facts = {"error": 5e-7, "default_error": 5e-7, "gain": 2.0} | changes
    name = "onednn" if facts["error"] <= compute.EXACT and facts["gain"] >= compute.GAIN else "default"
    return compute.Route(name=name, **facts)


def test_measuring_leaves_the_setting_and_finds_float32_errors() -> None:
    before = torch.get_float32_matmul_precision()
    route = compute.measure()
    assert torch.get_float32_matmul_precision() == before
    assert route.default_error < 2e-6
    assert route.name in ("default", "onednn")
    assert route.name == "default" or (route.error <= compute.EXACT and route.gain >= compute.GAIN)


def test_bfloat16_inside_is_refused_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = F.linear

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if torch.get_float32_matmul_precision() == "medium":
            return linear(a.bfloat16(), b.bfloat16()).float()
        for _ in range(20):
            linear(a, b)
        return linear(a, b)

    monkeypatch.setattr(F, "linear", rounded)
    route = compute.measure()
    assert route.error > 1e-4
    assert route.name == "default"


def test_the_finding_is_kept_and_obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compute, "measure", found)
    assert compute.tune().name == "onednn"
    assert torch.get_float32_matmul_precision() == "medium"
    assert len(list(tmp_path.glob("matmul-*.json"))) == 1
    compute.route.cache_clear()
    monkeypatch.setattr(compute, "measure", lambda: found(gain=0.5))
    assert compute.tune().name == "onednn"  # from the file
    monkeypatch.setenv("AUSCULT_MATMUL", "default")
    assert compute.tune().name == "default"
    assert torch.get_float32_matmul_precision() == "highest"


def test_an_unknown_route_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_MATMUL", "onednm")
    with pytest.raises(AuscultError, match="Did you mean 'onednn'"):
        compute.tune()


def test_without_a_cache_it_is_measured_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(compute, "measure", found)
    assert compute.route() == found()


@pytest.mark.parametrize("bias", [True, False])
def test_fused_products_equal_their_two_steps(bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = nn.Linear(24, 40, bias=bias)
    x, other = torch.randn(2, 3, 5, 24, generator=generator), torch.randn(2, 3, 5, 40, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(compute.linear_gelu(layer, x), F.gelu(layer(x)), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(compute.linear_add(layer, x, other), other + layer(x), rtol=1e-5, atol=1e-6)


def test_fused_products_are_for_plain_layers_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    layer, x = Doubled(8, 8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(compute.linear_gelu(layer, x), F.gelu(layer(x)))
        torch.testing.assert_close(compute.linear_add(layer, x, x), x + layer(x))
    plain = nn.Linear(8, 8)
    assert compute.linear_gelu(plain, x).requires_grad
    assert compute.linear_add(plain, x, x).requires_grad


def test_another_torch_without_the_private_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    compute._fused_works.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    layer, x = nn.Linear(8, 8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(compute.linear_gelu(layer, x), F.gelu(layer(x)))
    assert not compute._fused_works()
    compute._fused_works.cache_clear()
