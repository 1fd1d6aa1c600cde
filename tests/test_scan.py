"""The three forms of the selective scan against its definition in float64, and against formulas of their own."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from numba import carray, njit
from torch import Tensor

from auscult.errors import AuscultError
from auscult.models import scan
from auscult.models.scan import chunked, cpu, force, kernels, reference, ss2d, threads

FORMS: dict[str, Callable[..., Tensor]] = {"reference": reference.scan, "chunked": chunked.scan, "cpu": cpu.scan}
NAMES = ("u", "x", "dt_weight", "dt_bias", "A", "D_skip")
SHAPES = [  # batch, rows, columns, channels, rank
    (1, 1, 1, 8, 1),
    (2, 1, 40, 8, 1),
    (3, 33, 1, 40, 3),
    (2, 5, 5, 24, 2),
    (1, 4, 8, 96, 6),
    (1, 7, 13, 64, 4),
    (5, 3, 9, 20, 2),
    (1, 8, 25, 33, 3),
    (2, 13, 6, 50, 5),
    (1, 17, 16, 16, 1),
    (1, 3, 11, 96, 5),
    (1, 3, 23, 100, 6),
]


def make(shape: tuple[int, ...], spread: str = "usual", dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Inputs of the size that training meets, or of the largest that it could."""
    batch, rows, columns, channels, rank = shape
    generator = torch.Generator().manual_seed(sum(shape))

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    bias, rate = normal(4, channels) - 2, normal(4, channels).exp()
    if spread == "extreme":
        bias = torch.rand(4, channels, generator=generator, dtype=torch.float64) * 50 - 20
        rate = torch.rand(4, channels, generator=generator, dtype=torch.float64) * 60
    x = normal(batch, rows, columns, 4, rank + 2)
    inputs = [normal(batch, rows, columns, channels), x, normal(4, rank, channels) * rank**-0.5, bias, -rate]
    return [t.float().to(dtype) for t in (*inputs, normal(4, channels))]


@cache
def defined(shape: tuple[int, ...], spread: str) -> tuple[Tensor, ...]:
    """The weight on the output, the output and the six gradients of the definition, in float64."""
    return outcome(reference.scan, make(shape, spread))


def outcome(form: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    inputs = [t.clone().requires_grad_() for t in inputs]
    y = form(*inputs)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return weight, y.detach(), *torch.autograd.grad(y, inputs, weight)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


@pytest.mark.parametrize("spread", ["usual", "extreme"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_float32_agrees_with_the_definition(name: str, shape: tuple[int, ...], spread: str) -> None:
    _, y, *gradients = outcome(FORMS[name], make(shape, spread, torch.float32))
    _, y_expected, *expected = defined(shape, spread)
    assert y.dtype == torch.float32
    assert error(y, y_expected) <= 1e-5
    for which, found, gradient in zip(NAMES, gradients, expected, strict=True):
        assert error(found, gradient) <= 1e-4, which


@pytest.mark.parametrize("name", FORMS)
def test_a_single_impulse_decays_along_all_four_ways(name: str) -> None:
    rows, columns, row, column, delta, rate = 5, 7, 2, 3, 0.3, 0.7
    u = torch.zeros(1, rows, columns, 16)
    u[0, row, column] = 1
    x = torch.zeros(1, rows, columns, 4, 3)
    x[..., 1:] = torch.tensor([2.0, 3.0])  # B and C
    bias = torch.full((4, 16), float(np.log(np.expm1(delta))))
    y = FORMS[name](u, x, torch.ones(4, 1, 16), bias, torch.full((4, 16), -rate), torch.zeros(4, 16))
    h, w = np.mgrid[:rows, :columns]
    by_row, by_column = (h - row) * columns + w - column, (w - column) * rows + h - row
    expected = sum(
        np.where(d >= 0, 6 * delta * np.exp(-rate * delta * np.abs(d)), 0)
        for d in (by_row, by_column, -by_row, -by_column)
    )
    np.testing.assert_allclose(y[0, :, :, 5].numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", FORMS)
def test_merging_the_four_copies_counts_each_position_four_times(name: str) -> None:
    inputs = make((2, 3, 5, 24, 2), dtype=torch.float32)
    inputs[1][..., -2] = 0  # B
    inputs[5] = torch.full((4, 24), 0.25)
    torch.testing.assert_close(FORMS[name](*inputs), inputs[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", [reference.scan, chunked.scan])
def test_gradients_agree_with_finite_differences(form: Callable[..., Tensor]) -> None:
    inputs = [t.requires_grad_() for t in make((1, 6, 3, 2, 1))]  # 18 steps: two chunks
    assert torch.autograd.gradcheck(form, inputs)


@pytest.mark.parametrize("chunks, steps", [(1, 1), (1, 7), (5, 1), (24, 3), (26, 2), (130, 4), (700, 1)])
def test_linear_scan_both_ways(chunks: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(chunks)
    decay, drive = torch.rand(2, 2, chunks * steps, 3, generator=generator, dtype=torch.float64)
    h, states = torch.zeros(2, 3, dtype=torch.float64), []
    for step in range(chunks * steps):
        h = decay[:, step] * h + drive[:, step]
        states.append(h)
    expected = torch.stack(states, 1)
    one, other = (t.unflatten(1, (chunks, steps)).clone() for t in (decay, drive))
    torch.testing.assert_close(chunked.linear_scan_(one, other).flatten(1, 2), expected)
    one, other = (t.flip(1).unflatten(1, (chunks, steps)).clone() for t in (decay, drive))
    torch.testing.assert_close(chunked.linear_scan_(one, other, reverse=True).flatten(1, 2).flip(1), expected)


@pytest.mark.parametrize("save", [True, False])
def test_the_operator_keeps_torchs_rules(save: bool) -> None:
    inputs = [t.requires_grad_(save) for t in make((2, 3, 13, 20, 3), dtype=torch.float32)]
    torch.library.opcheck(cpu.forward_op, (*inputs, save))


def test_the_operator_refuses_other_types() -> None:
    with pytest.raises(ValueError, match=r"takes float32, not torch\.float64"):
        cpu.forward_op(*make((1, 2, 2, 8, 1)), False)


def test_the_backward_operator_keeps_torchs_rules() -> None:
    inputs = make((2, 3, 13, 20, 3), dtype=torch.float32)
    y, states = cpu.forward_op(*inputs, True)
    torch.library.opcheck(cpu.backward_op, (torch.ones_like(y), states, *inputs))


@pytest.mark.parametrize("name", ["chunked", "cpu"])
def test_export_keeps_the_values(name: str) -> None:
    class Scan(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return ss2d(*inputs)

    inputs = tuple(make((1, 4, 9, 16, 1), dtype=torch.float32))
    with force(name):
        program = torch.export.export(Scan(), inputs)
        assert any("auscult" in str(node.target) for node in program.graph.nodes) == (name == "cpu")
    torch.testing.assert_close(program.module()(*inputs), reference.scan(*inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["chunked", "cpu"])
def test_arrays_may_lie_anyhow_in_memory(name: str) -> None:
    inputs = make((2, 5, 7, 24, 2), dtype=torch.float32)
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in inputs]
    assert not strided[0].is_contiguous()
    for plain, other in zip(outcome(FORMS[name], inputs), outcome(FORMS[name], strided), strict=True):
        torch.testing.assert_close(plain, other)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    inputs = [t.to(dtype) for t in make((2, 5, 9, 24, 2))]
    with force(name):
        found = ss2d(*inputs)
    _, expected, *_ = outcome(reference.scan, [t.double() for t in inputs])
    assert found.dtype == dtype
    assert error(found, expected) <= torch.finfo(dtype).eps  # of the largest value, where one rounding is half of it


@pytest.mark.parametrize("name", FORMS)
def test_autocast_changes_nothing(name: str) -> None:
    inputs = make((2, 5, 9, 24, 2), dtype=torch.float32)
    with force(name):
        plain = ss2d(*inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(ss2d(*inputs), plain)


@pytest.mark.parametrize("which", range(6))
def test_a_nan_stays_visible(which: int) -> None:
    inputs = make((1, 3, 13, 20, 2), dtype=torch.float32)
    inputs[which][(0,) * inputs[which].ndim] = torch.nan
    assert torch.equal(cpu.scan(*inputs).isnan(), reference.scan(*inputs).isnan())
    assert cpu.scan(*inputs).isnan().any()


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 9, 40, 96, 6), (3, 4, 13, 192, 12)], ids=str)
def test_the_kernel_repeats_bit_for_bit(shape: tuple[int, ...], set_threads: Callable[[int], None]) -> None:
    inputs, found = make(shape, dtype=torch.float32), {}
    for number in (1, 2):
        set_threads(number)
        first, second = outcome(cpu.scan, inputs), outcome(cpu.scan, inputs)
        assert torch.get_num_threads() == number
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        found[number] = first
    assert torch.equal(found[1][1], found[2][1])


def test_the_kernel_may_be_called_from_several_threads() -> None:
    inputs = make((2, 5, 9, 24, 2), dtype=torch.float32)
    expected, found = cpu.scan(*inputs), {}

    def work(number: int) -> None:
        found[number] = [cpu.scan(*inputs) for _ in range(20)]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    assert all(torch.equal(y, expected) for results in found.values() for y in results)


@pytest.mark.parametrize("channels", [1, 8, 16, 24, 33, 96, 97, 100, 384, 769])
@pytest.mark.parametrize("samples", [1, 32])
def test_blocks_fit_the_scratch_and_keep_threads_busy(samples: int, channels: int) -> None:
    for number in (1, 2, 16):
        width = cpu.block_width(samples, channels, number)
        assert 1 <= width <= min(channels, cpu.WIDEST)
        most = samples * -(-channels // cpu.LANES)
        assert samples * -(-channels // width) >= min(number, most) // 2


def test_auto_takes_what_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUSCULT_SCAN", raising=False)
    assert scan.choose(torch.zeros(1, 20, 20, 8)) == "cpu"
    assert scan.choose(torch.zeros(1, 20, 20, 8, dtype=torch.bfloat16)) == "cpu"
    assert scan.choose(torch.zeros(1, 20, 20, 8, dtype=torch.float64)) == "chunked"
    assert scan.choose(torch.zeros(1, 2, 2, 8, dtype=torch.float64)) == "reference"
    assert scan.choose(torch.zeros(1, 20, 20, 8, device="meta")) == "chunked"


def test_a_name_is_obeyed_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.zeros(1, 2, 2, 8)
    monkeypatch.setenv("AUSCULT_SCAN", "chunked")
    assert scan.choose(u) == "chunked"
    with force("reference"):
        assert scan.choose(u) == "reference"
        with force("auto"):
            assert scan.choose(u) == "cpu"
    assert scan.choose(u) == "chunked"
    with pytest.raises(AuscultError, match=r"no scan named 'chunk'\. Did you mean 'chunked'"), force("chunk"):
        pass
    monkeypatch.setenv("AUSCULT_SCAN", "tpu")
    with pytest.raises(AuscultError, match="There are: auto, chunked, cpu, gpu, reference"):
        scan.choose(u)
    with pytest.raises(AuscultError, match="on meta"), force("cpu"):
        scan.choose(u.to("meta"))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AUSCULT_SCAN", raising=False)
    scan._checked.cache_clear()
    yield
    scan._checked.cache_clear()


@pytest.mark.usefixtures("unchecked")
def test_a_kernel_that_errs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "scan", lambda *inputs: chunked.scan(*inputs) * 1.001)
    u = torch.zeros(1, 20, 20, 8)
    with pytest.warns(RuntimeWarning, match="differs from its definition by 2.0e-03"):
        assert scan.choose(u) == "chunked"
    assert scan.choose(u) == "chunked"  # and does not warn twice


@pytest.mark.usefixtures("unchecked")
def test_a_kernel_that_does_not_run_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*inputs: Tensor) -> Tensor:
        raise OSError("no room")

    monkeypatch.setattr(cpu, "scan", fail)
    with pytest.warns(RuntimeWarning, match=r"does not run \(OSError: no room\)"):
        assert scan.choose(torch.zeros(1, 20, 20, 8)) == "chunked"


@pytest.mark.usefixtures("unchecked")
def test_without_numba_the_torch_form_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert scan.choose(torch.zeros(1, 20, 20, 8)) == "chunked"


def test_numba_is_imported_only_when_used() -> None:
    code = "import sys, auscult.models.scan; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_kernel_that_cannot_be_kept_is_compiled_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    scope: dict[str, Callable[..., None]] = {"carray": carray, "np": np}
    exec(
        "def double(data):\n  a = carray(data, (3,), np.float32)\n  for i in range(3):\n    a[i] *= 2", scope
    )  # no file
    values = np.ones(3, np.float32)
    with caplog.at_level("INFO"):
        threads.on_threads(kernels.compiled(scope["double"]).address, values.ctypes.data, 1)
    assert values.tolist() == [2, 2, 2]
    assert "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.parametrize("pool", [True, False])
def test_every_task_is_done_once_on_any_threads(pool: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make((7, 3, 9, 40, 2), dtype=torch.float32)
    expected = outcome(reference.scan, inputs)
    if not pool:
        monkeypatch.setattr(threads, "_gomp", lambda: None)
    for number in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        for ours, theirs in zip(outcome(cpu.scan, inputs), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="where the libraries of a process can be read")
def test_no_second_pool_of_threads_is_loaded() -> None:
    code = (
        "import torch; from auscult.models.scan import ss2d\n"
        "ss2d(*(torch.randn(s) for s in [(2,9,9,96),(2,9,9,4,3),(4,1,96),(4,96),(4,96),(4,96)]))\n"
        "names = {line.split()[-1] for line in open('/proc/self/maps') if 'omp' in line and '.so' in line}\n"
        "assert not [n for n in names if 'omppool' in n or 'workqueue' in n], names\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_functions_of_the_kernel_are_close_to_numpy() -> None:
    values = np.linspace(-126, 0, 20001, dtype=np.float32)
    np.testing.assert_allclose(_apply(kernels._exp2, values), np.exp2(values.astype(np.float64)), rtol=2e-7)
    values = np.linspace(1e-6, 1, 20001, dtype=np.float32)
    np.testing.assert_allclose(_apply(kernels._log1p, values), np.log1p(values.astype(np.float64)), rtol=2e-7)


def _apply(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    @njit
    def loop(values: np.ndarray) -> np.ndarray:
        out = np.empty_like(values)
        for i in range(values.size):
            out[i] = function(values[i])
        return out

    return loop(values)
