"""`auscult serve` under a small load; the large one is ``python -m tests.serve_load``."""

import sys
from pathlib import Path

import pytest

from .hostile import OK
from .serve_clients import GONE
from .serve_load import measure
from .web_parts import tiny_weights

# so that what stands still is given up while the test looks
SETTINGS = {
    "guard.STALL_S": 2.0,
    "connection.IDLE_S": 2.0,
    "connection.UNREAD_S": 2.0,
    "app.MAX_BYTES": 2**22,
    "room.AT_ONCE": 8,
}


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="weighs processes in /proc")
def test_every_answer_is_right_under_load(tmp_path: Path) -> None:
    report = measure(16, 4, tmp_path, tiny_weights(tmp_path / "tiny.safetensors"), SETTINGS)
    assert not report.mistakes, report.told()
    assert {"E_TOO_LARGE", "E_TOKEN", GONE} <= set(report.answers) and report.answers[OK] >= 6
    assert 100 < report.peak_mb < 1000 and len(report.times) > 20
