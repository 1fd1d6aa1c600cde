"""Benchmarks: contestants alternate, a wrong one gets no time, ratios and floors are what a hand makes of them."""

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from auscult.bench import ast, length, memory, model, networks, peaks, rivals, scan, timing, vmamba, work
from auscult.bench.setting import Setting
from auscult.bench.timing import Clock, Contestant, Sample, race, summary
from auscult.errors import AuscultError
from auscult.models.scan import reference

TINY = Setting(size="nano", seconds=0.2, threads=1, rounds=2)


@pytest.fixture(autouse=True, scope="module")
def small_and_undone() -> Iterator[None]:
    """Small peaks and short samples, as no test looks at speed; and the process as it was before."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peaks, "SIDE", 64)
        patch.setattr(peaks, "COPY_BYTES", 2**16)
        patch.setattr(peaks, "SAMPLES", 1)
        patch.setattr(timing, "SAMPLE_S", 0.001)
        yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def counted(name: str, calls: list[str], **options: Any) -> Contestant:
    return Contestant(name=name, work=lambda: calls.append(name), tolerance=1e-5, **{"error": 0.0, **options})


def test_contestants_alternate() -> None:
    calls: list[str] = []
    racers = [counted(n, calls, at_most=most) for n, most in (("a", 3), ("b", 1), ("c", 3))]
    rows = race(racers, 3, Clock(threads=2))
    assert "".join(calls) == "abc" + "ac" + "ac"
    assert [(row["name"], row["rounds"]) for row in rows] == [("a", 3), ("b", 1), ("c", 3)]


def test_quick_work_is_repeated_within_a_sample() -> None:
    calls: list[str] = []
    race([counted("a", calls)], 1, Clock(threads=2))
    assert len(calls) > 100


@pytest.mark.parametrize("error", [2e-5, math.nan, math.inf])
def test_a_wrong_contestant_gets_no_time(error: float) -> None:
    calls: list[str] = []
    rows = race([counted("right", [], at_most=1), counted("wrong", calls, error=error)], 1, Clock(threads=2))
    assert not calls and rows[1]["wrong"] and "min_ms" not in rows[1]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert not rows[0]["wrong"] and rows[0]["ratio"] == 1


def test_without_ours_there_is_no_ratio() -> None:
    rows = race([counted("ours", [], error=1.0), counted("b", [], at_most=1)], 1, Clock(threads=2))
    assert "ratio" not in rows[0] and rows[1]["ratio"] is None and rows[1]["min_ms"] > 0


def test_ratio_is_that_of_minima_and_its_range_that_of_rounds() -> None:
    ours = [Sample(0.1, 1.0), Sample(0.2, 0.95), Sample(0.1, 1.0)]
    row = summary([Sample(0.6, 0.5), Sample(0.4, 1.0)], ours)
    assert (row["min_ms"], row["median_ms"]) == pytest.approx((400, 500))
    assert row["ratio"] == pytest.approx(4) and row["busy"] == 0.5
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((2, 6))
    assert timing.idle(row, 2) and not timing.idle(row, 1) and not timing.idle(summary(ours, ours), 2)


def test_one_thread_is_timed_by_the_processor_and_waiting_is_seen() -> None:
    event = threading.Event()
    wait: Callable[[], object] = lambda: event.wait(0.05)  # noqa: E731
    assert Clock(threads=1).sample(wait).seconds < 0.04
    found = Clock(threads=2).sample(wait)
    assert found.seconds >= 0.05 and found.busy < 0.5


# ------------------------------------------------------------------------------------------------ work and floors


def test_flops_by_hand() -> None:
    frames = 98
    total = 2 * 9 * (16 * 64 * 49) + 2 * 9 * 16 * 32 * (32 * 25)  # the stem's two convolutions
    for place, m in enumerate(grid := work.maps("nano", frames)):
        positions, dim = m.rows * m.columns, m.channels
        linear = 2 * dim * dim + 2 * dim * 4 * dim + dim * 4 * (m.rank + 2)  # in, out, MLP, x
        total += m.depth * positions * 2 * (linear + 9 * dim + 4 * m.rank * dim)  # depthwise 3x3, step sizes
        if place < 3:
            after = grid[place + 1]
            total += 2 * 9 * dim * after.channels * after.rows * after.columns
    total += 2 * 192 * networks.CLASSES
    assert work.forward_flops(networks.dass("nano"), frames) == total
    assert [(m.rows, m.columns) for m in grid] == [(32, 25), (16, 13), (8, 7), (4, 4)]


def test_products_are_the_linear_layers_of_the_blocks() -> None:
    weights = [
        p
        for n, p in networks.dass("nano").named_parameters()
        if "blocks" in n and n.endswith(("proj.weight", "fc1.weight", "fc2.weight", "x_proj_weight"))
    ]
    made = {(inner, columns): 0 for _, (_, inner, columns) in work.products("nano", 98, 2)}
    for times, (_, inner, columns) in work.products("nano", 98, 2):
        made[inner, columns] += times
    for p in weights:
        made[p.shape[-1], p.numel() // p.shape[-1]] -= 1
    assert set(made.values()) == {0}
    assert work.products("nano", 98, 2)[0] == (2, (2 * 32 * 25, 32, 32))


def test_a_floor_takes_the_fastest_route_that_is_exact() -> None:
    gemm = [
        {"precision": "fp32", "gflops": 100.0, "error": 2e-7},
        {"precision": "fp32", "gflops": 400.0, "error": 1e-3},
        {"precision": "bf16", "gflops": 800.0, "error": 3e-3},
    ]
    found = model.floor({"min_ms": 50.0}, 4e9, {"gemm": gemm}, "fp32")
    assert (found["peak_gflops"], found["floor_ms"], found["share"]) == (100.0, 40.0, 0.8)
    assert model.floor({}, 4e9, {"gemm": gemm}, "bf16") == {
        "gflop": 4.0,
        "peak_gflops": 800.0,
        "floor_ms": 5.0,
        "share": None,
    }


def test_peaks_leave_the_route_as_it_was() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    found = peaks.peaks(TINY)
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert [g["precision"] for g in found["gemm"]] == ["fp32", "fp32", "bf16"]
    assert found["gemm"][0]["error"] < 1e-5 < found["gemm"][2]["error"] < 1e-1
    assert found["copy_gb_s"] > 0 and found["own_shapes_gflops"] > 0


def test_slope() -> None:
    assert length.slope([(1, 3), (2, 12), (8, 192)]) == pytest.approx(2)
    assert length.slope([(1, 3), (2, -1)]) is None
    points = [{"seconds": s, "rows": [{"name": "ours", "min_ms": 7 * s, "per_clip_mb": 5.0}]} for s in (8, 30, 60)]
    assert length.slopes(points, "ours") == pytest.approx({"time": 1, "memory": 0}, abs=1e-9)


# ------------------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize("train", [False, True])
def test_a_wrong_scan_is_found(train: bool) -> None:
    def unmerged(*inputs: torch.Tensor) -> torch.Tensor:
        return reference.scan(*inputs[:5], 0 * inputs[5])

    def nan(*inputs: torch.Tensor) -> torch.Tensor:
        return reference.scan(*inputs) * math.nan

    assert scan._error(unmerged, TINY, train) > 1e-2
    assert math.isnan(scan._error(nan, TINY, train))
    assert scan._error(reference.scan, TINY, train) < (1e-4 if train else 1e-5)


def test_a_network_with_other_decay_rates_is_wrong() -> None:
    definition = networks.Definition(TINY)
    network = networks.build(networks.CHUNKED, TINY)
    assert definition.output_error(network) < 1e-5 and definition.gradient_error(network) < 1e-4
    with torch.no_grad():
        network.module.layers[0].blocks[0].op.A_logs += 0.5
    assert definition.output_error(network) > 1e-5 and definition.gradient_error(network) > 1e-4


def test_three_passes_give_the_same_gradients_apart_and_together() -> None:
    definition = networks.Definition(TINY, passes=3)
    for name in (networks.OURS, networks.WHOLE, networks.CHECKPOINT):
        assert definition.gradient_error(networks.build(name, TINY)) < 1e-4
    x = torch.arange(2 * 4.0).view(2, 1, 1, 4)
    assert networks.mixed(x, 3).flatten().tolist() == [0, 1, 6, 7, 4, 5, 2, 3]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_mambapy_does_the_whole_job(precision: str) -> None:
    pytest.importorskip("mambapy")
    setting = Setting(size="nano", seconds=0.2, precision=precision)
    assert scan._error(rivals.mambapy(), setting, train=False) < scan.OUTPUT_TOLERANCE[precision]
    assert scan._error(rivals.mambapy(), setting, train=True) < scan.GRADIENT_TOLERANCE[precision]


def test_the_scan_of_the_public_code_does_the_whole_job() -> None:
    folder = os.environ.get("AUSCULT_VMAMBA")
    if folder is None:
        pytest.skip("set AUSCULT_VMAMBA to a clone of VMamba")
    setting = Setting(size="nano", seconds=0.2)
    theirs = networks.build(networks.VMAMBA, setting, Path(folder))
    assert networks.Definition(setting).output_error(theirs) < 1e-5
    assert networks.Definition(setting).gradient_error(theirs) < 1e-4
    assert scan._error(rivals.public_vmamba(Path(folder)), setting, train=True) < 1e-4


def test_public_code_is_patched_for_the_cpu_and_nothing_is_left_behind(tmp_path: Path) -> None:
    models = tmp_path / "classification" / "models"
    models.mkdir(parents=True)
    (models / "csm_triton.py").write_text(
        "import torch\n"
        "class CrossScanF(torch.autograd.Function):\n"
        "    @staticmethod\n"
        "    def forward(ctx, x, *rest): return 2 * x\n"
        "CrossMergeF = CrossScanF\n"
        "def cross_scan_fn(x, *rest):\n"
        "    with torch.cuda.device(x.device): return x\n"
        "cross_merge_fn = cross_scan_fn\n"
    )
    (models / "vmamba.py").write_text(
        "import warnings\n"
        "from timm.models.layers import DropPath, trunc_normal_\n"
        "from fvcore.nn import FlopCountAnalysis, flop_count\n"
        "from .csm_triton import cross_scan_fn, cross_merge_fn\n"
        "from .mamba2.ssd_minimal import selective_scan_chunk_fn\n"
        "warnings.warn('no kernel')\n"
    )
    module = vmamba.load(tmp_path)
    assert module.cross_scan_fn(torch.ones(2)).tolist() == [2, 2]
    assert "torch form on a CPU" in vmamba.patched(module) and "no kernel" in vmamba.patched(module)
    left = {name: m for name, m in sys.modules.items() if name.split(".")[0] in ("timm", "fvcore")}
    assert not [name for name, m in left.items() if getattr(m, "__file__", None) is None]
    with pytest.raises(AuscultError, match="clone VMamba"):
        vmamba.load(tmp_path / "classification")


def test_ast_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ast.tokens(798), ast.tokens(998)) == (950, 1190)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AuscultError, match="pip install transformers"):
        ast.AST(798)
    with pytest.raises(AuscultError, match="pip install mambapy"):
        rivals.mambapy()


# ------------------------------------------------------------------------------------------------ memory


def test_memory_of_a_clip_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "child", lambda job: {"peak_mb": 500 + 60 * job["setting"]["batch"]})
    assert memory.per_clip("ours", "forward", TINY, None)["per_clip_mb"] == 60


def test_a_child_process_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_SCAN", "chunked")  # compiles nothing
    job = {"task": "forward", "name": networks.OURS, "setting": vars(TINY), "vmamba": None, "options": {}}
    assert 50 < memory.child(job)["peak_mb"] < 5000
    with pytest.raises(AuscultError, match=r"(?s)failed in its own process: .*KeyError"):
        memory.child({"task": "nix"})
