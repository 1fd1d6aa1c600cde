"""What a benchmark leaves: a document that is JSON, tables, the page made of them, and the command that does it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from auscult.bench import (
    document,
    frontend,
    grids,
    length,
    model,
    networks,
    peaks,
    predict,
    report,
    scan,
    timing,
    train_step,
)
from auscult.bench.setting import Setting
from auscult.cli.bench import bench, seconds_list
from auscult.errors import AuscultError
from auscult.runs import write_json

DOCS = Path(__file__).resolve().parents[1] / "docs"
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


@pytest.fixture(scope="module")
def documents(small_and_undone: None) -> dict[str, Any]:
    """Every benchmark once, tiny."""
    return {
        "scan": scan.measure(TINY, with_first_call=False),
        "model": model.measure(TINY, with_memory=False),
        "train-step": train_step.measure(TINY, passes=3, cycles=100, optimizer=True, with_memory=False),
        "frontend": frontend.measure(Setting(seconds=0.5, threads=1, rounds=2)),
        "predict": predict.measure(TINY, files=1),
        "length": length.measure(TINY, lengths=(0.2, 0.4), with_memory=False),
    }


def test_every_document_is_json_says_its_command_and_prints(documents: dict[str, Any]) -> None:
    for name, found in documents.items():
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["bench"] == name and found["command"].startswith(f"auscult bench {name} --")
        assert found["machine"]["versions"]["torch"] == torch.__version__ and len(found["load"]) == 2
        rows = [row for rows in found.get("races", {}).values() for row in rows]
        assert not [row["name"] for row in rows if row["wrong"]]
        for grid in grids.of(found):
            assert all(len(row) == len(grid.head) for row in grid.rows)


def test_what_documents_hold(documents: dict[str, Any]) -> None:
    assert [r["name"] for r in documents["model"]["races"]["forward"]] == ["ours", "ours, torch scan"]
    step = documents["train-step"]
    rows = step["races"]["forward + backward"]
    assert [r["name"] for r in rows] == [networks.OURS, networks.CHUNKED, networks.CHECKPOINT, networks.WHOLE]
    assert rows[0]["epoch_s"] == pytest.approx(100 * rows[0]["min_ms"] / 1e3)
    forward = documents["model"]["floors"]["forward"]["gflop"]
    assert step["floors"]["forward + backward"]["gflop"] == pytest.approx(9 * forward)
    assert "--passes 3 --optimizer --cycles 100 --no-memory" in step["command"]
    names = [r["name"] for r in documents["scan"]["races"]["forward"]]
    assert names[0] == documents["scan"]["machine"]["scan"] and "chunked" in names
    assert set(documents["length"]["slopes"]) == {"ours"} and len(documents["length"]["points"]) == 2
    parts = {r["name"]: r["clip_ms"] for r in documents["frontend"]["races"]["parts"]}
    assert documents["frontend"]["totals"]["first epoch, from the file"] == pytest.approx(
        sum(parts.values()) - parts["decode"]
    )
    assert documents["predict"]["realtime"] == pytest.approx(20 * documents["predict"]["files_per_s"])


def test_a_folder_of_the_user_is_not_in_the_command() -> None:
    text = document.command("model", TINY, {"vmamba": True, "ast": False, "no-memory": True})
    assert text == (
        "auscult bench model --size nano --seconds 0.2 --batch 1 --threads 1 --precision fp32 --device cpu --rounds 2 "
        "--vmamba PATH --no-memory"
    )


def test_numbers_have_three_digits() -> None:
    values = [123456.0, 999.6, 57.25, 3.14159, 0.99, 0.001234, 0.0, None]
    assert [grids.number(v) for v in values] == ["123456", "1000", "57.2", "3.14", "0.990", "0.00123", "0", "-"]


# ------------------------------------------------------------------------------------------------ the page


def test_the_page_is_made_of_the_documents(documents: dict[str, Any]) -> None:
    found = json.loads(json.dumps(documents["model"]))
    rows = found["races"]["forward"]
    rows[0]["min_ms"], rows[1]["wrong"] = 57.2, True
    rival = dict(rows[0], name=networks.VMAMBA, min_ms=497.0, ratio=8.69, ratio_low=8.5, ratio_high=9.0)
    rows.append(rival)
    text = report.page([found, documents["length"]])
    assert text == report.page([found, documents["length"]])
    assert "| public VMamba | 8.69 x (8.50-9.00) |" in text and "| WRONG |" in text
    assert found["command"] in text and documents["length"]["command"] in text
    assert "## Selective scan" not in text and "**B**" not in text


def test_the_scan_is_set_beside_the_network_it_belongs_to(documents: dict[str, Any]) -> None:
    share = report.scan_shares([documents["scan"], documents["model"]])
    part = documents["scan"]["races"]["forward"][0]["min_ms"]
    whole = documents["model"]["races"]["forward"][0]["min_ms"]
    assert [row[-1] for row in share.rows] == [f"{100 * part / whole:.0f} %"]
    other = json.loads(json.dumps(documents["scan"]))
    other["setting"]["threads"] = 7
    assert not report.scan_shares([other, documents["model"]]).rows


def test_the_page_in_docs_is_what_its_files_make() -> None:
    files = sorted((DOCS / "performance").glob("*.json"))
    if not files:
        pytest.skip("nothing has been measured yet: docs/performance holds no JSON")
    assert (DOCS / "performance.md").read_text() == report.page([document.read(file) for file in files])


# ------------------------------------------------------------------------------------------------ the command


def call(*words: str) -> Any:
    return bench(words, exit_on_error=False, print_error=False, result_action="return_value")


def test_command_prints_writes_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "frontend.json", tmp_path / "page.md"
    assert call("frontend", "--seconds", "0.5", "--rounds", "1", "--json", str(file)) == 0
    shown = capsys.readouterr().out
    assert "filterbank" in shown and len(shown.splitlines()) < 30
    assert call("report", str(file), "--out", str(page)) == 0
    assert page.read_text() == report.page([document.read(file)])


@pytest.mark.parametrize(
    "words",
    [
        ("model", "--seconds", "0"),
        ("model", "--batch", "0"),
        ("scan", "--rounds", "0"),
        ("train-step", "--passes", "2"),
        ("length", "--lengths", "8"),
        ("length", "--lengths", "8,x"),
        ("predict", "--files", "0"),
        ("model", "--vmamba", "nowhere"),
        ("report",),
    ],
)
def test_a_bad_value_is_a_setting_error(words: tuple[str, ...]) -> None:
    with pytest.raises(AuscultError) as caught:
        call(*words)
    assert caught.value.code == "E_SETTING"


def test_settings_have_names_only_they_know() -> None:
    for bad in ({"size": "tiny"}, {"precision": "fp16"}, {"device": "gpu"}):
        with pytest.raises(AuscultError, match="There are"):
            Setting(**bad)  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(AuscultError, match="no CUDA device"):
            Setting(device="cuda")
    assert seconds_list("8,30.5") == [8.0, 30.5]


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "other.json", {"bench": "nix"})
    for name in ("other.json", "missing.json"):
        with pytest.raises(AuscultError, match="no file of format 1"):
            document.read(tmp_path / name)
