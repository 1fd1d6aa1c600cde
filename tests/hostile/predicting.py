"""`auscult predict` over a folder in one process, with what each file costs.

    python -m tests.hostile.predicting FOLDER MODEL OUT COSTS.json

The peak of the memory is set back before each file (Linux), so that every file shows its own.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from auscult.cli.app import run
from auscult.predict import Model
from auscult.prediction import Prediction

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
Cost = dict[str, float | str]
costs: list[Cost] = []
predict = Model.predict


def memory_mb(name: str) -> float:
    """VmRSS, or VmHWM, the highest it was."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def measured(model: Model, path: Path, *rest: Any, **named: Any) -> Prediction:
    """`Model.predict`, weighed."""
    RESET.write_text("5")
    before, started, worked = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
    try:
        return predict(model, path, *rest, **named)
    finally:
        seconds, more = time.process_time() - worked, memory_mb("VmHWM") - before
        waited = time.perf_counter() - started
        cost: Cost = {"path": str(path), "seconds": seconds, "waited": waited, "more_mb": more, "base_mb": before}
        costs.append(cost)


def main(folder: str, model: str, out: str, file: str) -> int:
    """The exit code of the command."""
    Model.predict = measured  # type: ignore[method-assign, assignment]
    code = run(["predict", folder, "--model", model, "--out", out])
    Path(file).write_text(json.dumps(costs))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
