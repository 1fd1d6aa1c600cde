"""A study that is killed at five random moments ends with the table of one that nobody stopped."""

import random
import re
import signal
import time
from pathlib import Path

import pytest

from auscult.analysis.verify import verify

from .processes import start_study, wait_until
from .small import SETTINGS, small_corpus

NAMES = ("dass_nano", "dass_smooth_nano")
KILLS = 5


def begun_at(out: Path) -> int:
    """When the last process began the work; 0 where none has."""
    return (out / "plan.json").stat().st_mtime_ns if (out / "plan.json").exists() else 0


def words(corpus: Path, out: Path) -> list[str]:
    laid_over = (*SETTINGS, "epochs=4")
    made = [*NAMES, "--dataset", "synthetic", "--data", str(corpus), "--seeds", "1", "--out", str(out)]
    return [*made, "--best-on-test", *(word for setting in laid_over for word in ("--set", setting))]


def without_times(file: Path) -> str:
    """study.json without how long the runs took, study.md without the minutes."""
    text = re.sub(r'"train_s": [\d.]+', "", file.read_text())
    return re.sub(r"\(by validation\) \| \d+ \|", "", text)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_kills_at_random_moments_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    corpus = small_corpus(tmp_path / "data")
    whole, out = tmp_path / "whole", tmp_path / "killed"
    process = start_study(*words(corpus, whole))
    wait_until(lambda: begun_at(whole) > 0, process)
    began = time.monotonic()
    said = process.communicate()[1]
    assert process.returncode == 0, said
    took_s = time.monotonic() - began

    generator = random.Random(6)
    for _ in range(KILLS):
        before = begun_at(out)
        process = start_study(*words(corpus, out))
        wait_until(lambda before=before: begun_at(out) > before, process)  # type: ignore[misc]
        time.sleep(generator.uniform(0.0, 0.25) * took_s)  # so short that the five cannot come to the end
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it came to the end before it was killed"
    assert not (out / "study.json").exists()

    process = start_study(*words(corpus, out))
    said = process.communicate()[1]
    assert process.returncode == 0, said
    for name in ("study.json", "study.md"):
        assert without_times(out / name) == without_times(whole / name)
    assert not verify(out).wrong
