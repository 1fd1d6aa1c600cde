"""The Triton form of the scan: interpreted on the processor, compiled for a GPU, and run on one where there is one."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.errors import AuscultError
from auscult.models import scan
from auscult.models.scan import chunked, gpu, reference

from .test_scan import NAMES, defined, error, make, outcome

pytest.importorskip("triton", reason="triton is not installed")
CUDA = torch.cuda.is_available()
with mock.patch.dict(os.environ, {} if CUDA else {"TRITON_INTERPRET": "1"}):  # read when kernels are defined
    from auscult.models.scan import gpu_kernels

on_cpu = pytest.mark.skipif(CUDA, reason="with a CUDA device the kernels are compiled, not interpreted")
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="needs a CUDA device")]
SHAPES = [  # batch, rows, columns, channels, rank
    (1, 1, 1, 8, 1),
    (2, 1, 7, 16, 1),
    (1, 33, 1, 16, 3),
    (1, 4, 8, 33, 6),
    (1, 5, 13, 20, 2),
    (2, 3, 11, 18, 5),
    (1, 2, 3, 18, 15),
    (1, 3, 2, 64, 17),
    (1, 5, 7, 16, 48),
]


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs kernels on the processor, with scans and sums by whole arrays: triton goes value by value, in seconds.

    As on a GPU, the scan joins stretches of any length, so the functions that join must be associative.
    """
    from triton.runtime import interpreter

    def join(self: Any, inputs: tuple[Any, ...]) -> list[Any]:
        def pack(arrays: list[np.ndarray]) -> list[Any]:
            return [self.to_tensor(a, t.dtype) for a, t in zip(arrays, inputs, strict=True)]

        have, step = [np.moveaxis(t.handle.data, self.axis, 0) for t in inputs], 1
        while step < len(have[0]):
            joined = self.combine_fn.fn(*pack([np.roll(a, step, 0) for a in have]), *pack(have))
            have = [np.concatenate((a[:step], j.handle.data[step:])) for a, j in zip(have, joined, strict=True)]
            step *= 2
        return pack([np.ascontiguousarray(np.moveaxis(a, 0, self.axis)) for a in have])

    def add(self: Any, inputs: tuple[Any, ...]) -> list[Any]:
        assert self.combine_fn is gpu_kernels._plus
        return [self.to_tensor(t.handle.data.sum(self.axis), t.dtype) for t in inputs]

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(interpreter.ScanOps, "generic_scan", join)
    monkeypatch.setattr(interpreter.ReduceOps, "generic_reduce", add)


def check(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], y: float = 1e-5, gradient: float = 1e-4) -> None:
    for which, a, b in zip(("y", *NAMES), found[1:], expected[1:], strict=True):
        assert error(a.cpu(), b.cpu()) <= (y if which == "y" else gradient), which


@on_cpu
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("spread", ["usual", "extreme"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_agrees_with_the_definition(shape: tuple[int, ...], spread: str) -> None:
    found = outcome(gpu.scan, make(shape, spread, torch.float32))
    assert all(t.isfinite().all() and t.dtype == torch.float32 for t in found)
    check(found, defined(shape, spread))


@on_cpu
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_with_float32_parameters(dtype: torch.dtype) -> None:
    u, x, *parameters = make((1, 5, 8, 10, 3), dtype=torch.float32)
    inputs = [u.to(dtype), x.to(dtype), *parameters]
    found = outcome(gpu.scan, inputs)
    expected = outcome(lambda *inputs: reference.scan(*inputs).to(dtype), [t.double() for t in inputs])
    assert [t.dtype for t in found[1:]] == [dtype, dtype, dtype, *[torch.float32] * 4]
    eps = torch.finfo(dtype).eps
    check(found, expected, eps, eps)
    for ours, theirs in zip(found[4:], expected[4:], strict=True):  # never rounded to half
        assert error(ours, theirs) <= 1e-5


@on_cpu
@pytest.mark.usefixtures("interpreted")
def test_other_types_and_layouts() -> None:
    inputs = make((1, 3, 11, 10, 2), dtype=torch.float32)
    plain = outcome(gpu.scan, inputs)
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in inputs]
    assert not strided[0].is_contiguous()
    assert all(torch.equal(a, b) for a, b in zip(plain, outcome(gpu.scan, strided), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, outcome(gpu.scan, inputs), strict=True))  # and repeats
    inputs[0] = inputs[0].requires_grad_()
    gpu.scan(*inputs).sum().backward()  # a gradient of stride 0
    assert error(inputs[0].grad, _gradient_of_the_sum(inputs)) <= 1e-5
    double = gpu.scan(*(t.detach().double() for t in inputs))
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), plain[1])


def _gradient_of_the_sum(inputs: list[Tensor]) -> Tensor:
    exact = [t.detach().double().requires_grad_(i == 0) for i, t in enumerate(inputs)]
    return torch.autograd.grad(reference.scan(*exact).sum(), exact[0])[0]


@on_cpu
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("adjoint", [0, 1])
def test_states_are_chained_over_many_tiles(adjoint: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, channels = 9, 18
    generator = torch.Generator().manual_seed(adjoint)
    decays, states = torch.rand(2, 2, 4, tiles, channels, generator=generator)
    entering = torch.full_like(states, torch.nan)
    gpu._launch(
        "enter", states, (2, 2, 4), 1, decays, states, entering, tiles, D=18, STEPS=4, LANES=16, ADJOINT=adjoint
    )
    for k in range(4):
        order = range(tiles)[:: -1 if (k >= 2) != bool(adjoint) else 1]
        h = torch.zeros(2, channels)
        for tile in order:
            torch.testing.assert_close(entering[:, k, tile], h)
            h = decays[:, k, tile] * h + states[:, k, tile]


@on_cpu
def test_tritons_own_interpreter_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(gpu, "STEPS", 16)
    shape = (1, 1, 2, 4, 1)
    y = gpu.scan(*make(shape, "usual", torch.float32))
    assert error(y, defined(shape, "usual")[1]) <= 1e-5


@on_cpu
@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
def test_the_operators_keep_torchs_rules() -> None:
    inputs = make((1, 3, 11, 10, 1), dtype=torch.float32)
    torch.library.opcheck(gpu.forward_op, (*(t.clone().requires_grad_() for t in inputs), True))
    torch.library.opcheck(gpu.forward_op, (*inputs, False), test_utils="test_faketensor")
    y, states = gpu.forward_op(*inputs, True)
    torch.library.opcheck(gpu.backward_op, (torch.ones_like(y), states, *inputs))
    with pytest.raises(ValueError, match=r"not torch\.float64"):
        gpu.forward_op(*make((1, 2, 2, 8, 1)), False)


@on_cpu
def test_the_processor_takes_it_only_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.zeros(1, 2, 2, 8)
    monkeypatch.setenv("AUSCULT_SCAN", "gpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert scan.choose(u) == "gpu"
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(AuscultError, match=r"'gpu' was asked for a map on cpu.*TRITON_INTERPRET=1"):
        scan.choose(u)


@pytest.fixture
def unchecked() -> Iterator[None]:
    scan._checked.cache_clear()
    yield
    scan._checked.cache_clear()


@on_cpu
@pytest.mark.usefixtures("interpreted", "unchecked")
def test_the_check_passes_or_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scan._checked("gpu", "cpu", True)
    scan._checked.cache_clear()
    monkeypatch.setattr(gpu, "scan", lambda *inputs: chunked.scan(*inputs) * 1.001)
    with pytest.warns(RuntimeWarning, match="differs from its definition by 2.0e-03; taking the torch form"):
        assert not scan._checked("gpu", "cpu", True)
    assert not scan._checked("gpu", "cpu", True)


@on_cpu
@pytest.mark.usefixtures("unchecked")
def test_without_triton_the_torch_form_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not scan._checked("gpu", "cuda:0", True)


@pytest.mark.parametrize("channels", [1, 16, 18, 33, 48, 96, 100, 192, 384, 768])
def test_blocks_waste_little(channels: int) -> None:
    cut = gpu.tiling(channels, 100)
    assert cut.tiles * cut.steps >= 100 > (cut.tiles - 1) * cut.steps
    assert cut.lanes * (cut.blocks - 1) < channels <= cut.lanes * cut.blocks < channels + 16


COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from auscult.models.scan import gpu, gpu_kernels
channels, rank = {"small": (96, 6), "large": (768, 48)}[sys.argv[1]]
cut = gpu.tiling(channels, 800)
maps, sizes = {"u", "x", "dy", "y", "du", "value"}, ("rows", "columns", "tiles", "samples")
for name, flag in (("summarise", "ADJOINT"), ("enter", "ADJOINT"), ("outputs", "COLUMNS"), ("gradients", "COLUMNS")):
    kernel = getattr(gpu_kernels, name)
    values = {"D": channels, "R": rank, "STEPS": cut.steps, "LANES": cut.lanes, "PRECISION": gpu.PRECISION, flag: 1}
    values = {key: value for key, value in values.items() if key in kernel.arg_names}
    kinds = {n: "constexpr" if n in values else "i32" if n in sizes else "*bf16" if n in maps else "*fp32"
             for n in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(kernel.arg_names) if kinds[n][0] == "*"}
    source = ASTSource(kernel, kinds, constexprs=values, attrs=aligned)
    options = {"num_warps": cut.warps, "enable_fp_fusion": True}
    made = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    print(name, len(made.asm["cubin"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "large"])
def test_the_kernels_compile_for_a_gpu(size: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    program = subprocess.run(
        [sys.executable, "-c", COMPILE, size], env=environment, capture_output=True, text=True, check=False
    )
    assert program.returncode == 0, program.stderr
    assert len(program.stdout.splitlines()) == 4


def to_gpu(inputs: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.cuda().to(dtype if i < 2 else torch.float32) for i, t in enumerate(inputs)]


def outcome_on_gpu(form: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    inputs = [t.clone().requires_grad_() for t in inputs]
    y = form(*inputs)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = weight.to(y.device, y.dtype)
    return weight, y.detach(), *torch.autograd.grad(y, inputs, weight)


LARGE = [(16, 32, 200, 96, 6), (16, 16, 100, 192, 12), (16, 8, 50, 384, 24), (16, 4, 25, 768, 48), (3, 13, 77, 33, 3)]


class TestOnDevice:
    pytestmark = on_gpu

    @pytest.mark.parametrize("spread", ["usual", "extreme"])
    @pytest.mark.parametrize("shape", SHAPES + LARGE, ids=str)
    def test_float32_agrees(self, shape: tuple[int, ...], spread: str) -> None:
        inputs = to_gpu(make(shape, spread, torch.float32))
        check(outcome_on_gpu(gpu.scan, inputs), outcome_on_gpu(chunked.scan, [t.double() for t in inputs]))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("shape", LARGE, ids=str)
    def test_half_precision(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        inputs = to_gpu(make(shape, dtype=torch.float32), dtype)
        found = outcome_on_gpu(gpu.scan, inputs)
        assert found[1].dtype == found[2].dtype == dtype
        eps = torch.finfo(dtype).eps
        check(found, outcome_on_gpu(chunked.scan, [t.double() for t in inputs]), eps, 2 * eps)

    @pytest.mark.parametrize("shape", LARGE, ids=str)
    def test_repeats_bit_for_bit(self, shape: tuple[int, ...]) -> None:
        inputs = to_gpu(make(shape, dtype=torch.float32))
        first = outcome_on_gpu(gpu.scan, inputs)
        for _ in range(5):
            assert all(torch.equal(a, b) for a, b in zip(first, outcome_on_gpu(gpu.scan, inputs), strict=True))

    def test_ten_minutes(self) -> None:
        inputs = to_gpu(make((1, 32, 15000, 96, 6), dtype=torch.float32))
        with torch.no_grad():
            found = gpu.scan(*inputs)
            inputs = [t.double() for t in inputs]
            assert error(found.double(), chunked.scan(*inputs)) <= 1e-5

    def test_more_than_two_to_the_31_values(self) -> None:
        if torch.cuda.mem_get_info()[0] < 60 * 2**30:
            pytest.skip("needs 60 GiB of free memory")
        samples = math.ceil(2**31 / (480_000 * 96)) + 1
        one = to_gpu(make((1, 32, 15000, 96, 6), dtype=torch.float32), torch.bfloat16)
        with torch.no_grad():
            found = gpu.scan(*(t.expand(samples, *t.shape[1:]).contiguous() for t in one[:2]), *one[2:])
            assert torch.equal(found[-1], gpu.scan(*one)[0])

    def test_auto_takes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AUSCULT_SCAN", raising=False)
        assert scan.choose(torch.zeros(1, 20, 20, 8, device="cuda")) == "gpu"
        assert scan.choose(torch.zeros(1, 20, 20, 8, device="cuda", dtype=torch.bfloat16)) == "gpu"
        assert scan.choose(torch.zeros(1, 20, 20, 8, device="cuda", dtype=torch.float64)) == "chunked"
