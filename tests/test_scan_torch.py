"""The scan inside torch: compiled, exported, wrapped for several processes; long and wide maps; the cache on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from auscult.models.scan import chunked, cpu, force, ss2d

from .test_scan import FORMS, NAMES, error, make, outcome


@pytest.mark.parametrize("name", ["cpu", "chunked"])
def test_long_sequences(name: str) -> None:
    inputs = make((1, 256, 256, 4, 1))  # 65,536 steps
    inputs[3] -= 3  # small steps: states live long
    single = [t.float() for t in inputs]
    _, *expected = outcome(chunked.scan, [t.double() for t in single])
    _, *found = outcome(FORMS[name], single)
    assert error(found[0], expected[0]) <= 1e-5
    for which, ours, theirs in zip(NAMES, found[1:], expected[1:], strict=True):
        assert error(ours, theirs) <= 1e-4, which


@pytest.mark.parametrize("name", ["cpu", "chunked"])
def test_a_batch_of_64_is_64_batches_of_one(name: str) -> None:
    u, x, *parameters = make((64, 3, 11, 24, 2), dtype=torch.float32)
    together = FORMS[name](u, x, *parameters)
    alone = torch.cat([FORMS[name](u[i : i + 1], x[i : i + 1], *parameters) for i in range(64)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cpu", "chunked"])
def test_inputs_beyond_reason_give_no_nan(name: str) -> None:
    u, x, weight, bias, A, D = make((2, 5, 33, 20, 2), "extreme", torch.float32)
    for scale in (0.0, 1e-30, 1e4):
        _, *found = outcome(FORMS[name], [u * scale, x * min(scale, 1e3), weight, bias, A * 1e3, D])
        assert all(t.isfinite().all() for t in found)


MACHINERY = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
from auscult.models.dass import DASS
from auscult.models.scan import force
torch.manual_seed(0)
model, sound = DASS((16, 24, 32, 40), (1, 1, 1, 1), 0.0, classes=3), torch.randn(2, 1, 32, 50)
def gradients(forward):
    return torch.autograd.grad(forward(sound).square().sum(), list(model.parameters()))
def agree(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
if sys.argv[1] == "compile":
    with force("cpu"):
        plain, keys = gradients(model), list(model.state_dict())
        agree(gradients(torch.compile(model, backend="aot_eager", fullgraph=True)), plain)
        torch._dynamo.reset()
        model.compile_encode("aot_eager")
        agree(gradients(model), plain)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0 and list(model.state_dict()) == keys
if sys.argv[1] == "export":
    model.eval()
    columns = torch.export.Dim.AUTO
    with torch.no_grad(), force("cpu"):
        program = torch.export.export(model, (sound,), dynamic_shapes=({3: columns},))
        for frames in (50, 37, 131):
            other = torch.randn(2, 1, 32, frames)
            agree([program.module()(other)], [model(other)])
    with torch.no_grad():
        agree([torch.export.export(model, (sound,)).module()(sound)], [model(sound)])
if sys.argv[1] == "wrap":
    torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=0, world_size=1)
    expected = gradients(model)
    DistributedDataParallel(model)(sound).square().sum().backward()
    agree([p.grad for p in model.parameters()], expected)
    torch.distributed.destroy_process_group()
"""


SLOW = [pytest.param(verb, marks=pytest.mark.slow) for verb in ("compile", "export")]  # ONNX exports it in every run


@pytest.mark.parametrize("verb", [*SLOW, "wrap"])
def test_torch_takes_the_operator_as_it_is(verb: str, tmp_path: Path) -> None:
    # in a process of its own: here the shapes of arguments are checked at run time, which a tracer cannot follow
    command = [sys.executable, "-c", MACHINERY, verb, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


SCAN_ONCE = """
import sys, torch
from auscult.models.scan import cpu, reference
inputs = [torch.randn(s, generator=torch.Generator().manual_seed(0)).requires_grad_() for s in
          [(1, 5, 7, 16), (1, 5, 7, 4, 3), (4, 1, 16), (4, 16), (4, 16), (4, 16)]]
def run(form):
    y = form(*inputs[:4], -inputs[4].exp(), inputs[5])
    return [y.detach(), *torch.autograd.grad(y.sum(), inputs)]
for found, expected in zip(run(cpu.scan), run(reference.scan)):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
"""


def start(cache: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-W", "error", "-c", SCAN_ONCE], env=environment)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert [process.wait() for process in both] == [0, 0]
    kept = {f.name: f.read_bytes() for f in tmp_path.rglob("*.nb*")}
    assert kept
    assert start(tmp_path).wait() == 0
    assert kept == {f.name: f.read_bytes() for f in tmp_path.rglob("*.nb*")}, "the third start compiled nothing"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cache_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert start(tmp_path / "file" / "folder").wait() == 0
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert start(locked).wait() == 0


def test_the_operators_are_registered_once() -> None:
    assert torch.ops.auscult.ss2d.default is not None
    inputs = make((1, 3, 4, 8, 1), dtype=torch.float32)
    torch.testing.assert_close(torch.ops.auscult.ss2d(*inputs, False)[0], cpu.scan(*inputs))
    with force("cpu"):
        torch.testing.assert_close(ss2d(*inputs), cpu.scan(*inputs))
