"""`auscult serve` under load: parallel uploads of every kind, slow clients, and a page that wants its answers.

    python -m tests.serve_load --uploads 100 --slow 20

starts a server with the model of the package, and prints what was measured. Exit code 1 where an answer is wrong, a
result is not that of its file alone, the page had to do without an answer, the server and its worker held 1 GB or
more, or something is left behind.
"""

import argparse
import io
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import auscult
from auscult.compute import tune
from auscult.errors import AuscultError
from auscult.predict import Model
from auscult.web.analysis import analyse

from .hostile import OK
from .hostile.sound_files import sounds
from .serve_clients import GONE, Slow, Upload, send
from .serve_process import Scales, Server, serving
from .serve_visitor import Timed, visit, wrong

MOST_MB = 1e9 / 2**20
FORMATS = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("WAV", "FLOAT"))


@dataclass
class Report:
    """What came of it.

    Args:
        mistakes: in words; none where all is well.
        answers: how often each answer came.
        times: of the page.
    """

    mistakes: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    times: list[Timed] = field(default_factory=list)
    peak_mb: float = 0.0
    weight: str = ""
    seconds: float = 0.0
    busy: int = 0

    def told(self) -> str:
        """The figures, one a line."""
        kinds = sorted({kind for kind, _, _ in self.times})
        page = [("all", [s for _, s, _ in self.times]), *((k, [s for n, s, _ in self.times if n == k]) for k in kinds)]
        lines = [
            f"uploads: {dict(sorted(self.answers.items()))}, {self.busy} times busy; {self.seconds:.0f} s",
            f"server and worker {self.weight}",
            *(f"page, {kind}: {latencies(seconds)}" for kind, seconds in page),
            *(f"WRONG {mistake}" for mistake in self.mistakes),
        ]
        return "\n".join(lines)


def latencies(seconds: list[float]) -> str:
    """Median, 99th percentile and worst in ms."""
    p50, p99, worst = (1000 * float(np.quantile(seconds, q)) for q in (0.5, 0.99, 1.0))
    return f"{len(seconds)} requests, p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms"


def good(number: int, longer_s: float = 0.0) -> Upload:
    """Breathing noise that no other number gives: its length, rate and format differ too."""
    rate, seconds = (8000, 16000, 44100)[number % 3], 2.0 + number % 17 + longer_s
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(number).normal(0, 0.1, len(t)) * (0.2 + np.sin(np.pi * t / 1.7) ** 2)
    kind, subtype = FORMATS[number % 4]
    buffer = io.BytesIO()
    soundfile.write(buffer, noise.clip(-1, 1).astype(np.float32), rate, subtype, format=kind)
    return Upload(f"load {number}.wav", buffer.getvalue(), (OK,), chunked=number % 5 == 0)


def uploads(count: int, cap: int) -> list[Upload]:
    """So many: 55 % good, 25 % from the hostile corpus, the rest at the limits, broken off, or from strangers."""
    hostile = [Upload(s.name, s.content, s.answers) for s in sounds() if isinstance(s.content, bytes)]
    hostile = hostile[:: max(1, len(hostile) // max(1, count // 4))]
    odd = [
        Upload("at the cap.wav", cap, ("E_FORMAT",)),
        Upload("past the cap.wav", cap + 1, ("E_TOO_LARGE",), early=True),
        Upload("past the cap in chunks.wav", cap + 1, ("E_TOO_LARGE",), chunked=True),
        Upload("at the cap in chunks.wav", cap, ("E_FORMAT",), chunked=True),
        *(Upload(f"broken off {i}.wav", good(i).content, (GONE,), early=True) for i in range(max(1, count // 20))),
        *(
            Upload(f"a stranger's {i}.wav", good(i).content, ("E_TOKEN",), cookie=False)
            for i in range(max(1, count // 20))
        ),
    ]
    made = [*hostile[: count // 4], *odd]
    return [*map(good, range(count - len(made))), *made]


def alone(model: Model, upload: Upload, folder: Path) -> dict[str, Any] | str:
    """The prediction and the sound of one file with nothing else around, or the code of its error."""
    assert isinstance(upload.content, bytes)
    folder.mkdir()
    (folder / "upload").write_bytes(upload.content)
    try:
        found = analyse(model, folder / "upload", folder, lambda share: None)
    except AuscultError as error:
        return error.code
    return json.loads(json.dumps(found)) | {"audio": (folder / "listen.wav").read_bytes()}


def same(server: Server, told: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether the server tells of a recording what is known of its file alone."""
    found = expected["prediction"] | {"recording": told["name"]}
    _, audio = server.ask("GET", f"/api/recordings/{told['id']}/audio")
    facts = ("duration_s", "said", "p_abnormal", "doubt", "notes", "bandwidth_hz", "verdict", "why")
    shown = told | {"verdict": told["verdict"]}
    return (
        shown["prediction"] == found
        and audio == expected["audio"]
        and all(shown[name] == expected[name] for name in facts)
    )


def settled(server: Server, limit_s: float) -> None:
    """Waits until nothing is queued any more."""
    deadline = time.monotonic() + limit_s
    while any(r["state"] in ("queued", "running") for r in server.ask("GET", "/api/recordings")[1]["recordings"]):
        assert time.monotonic() < deadline, f"not analysed after {limit_s} s"
        time.sleep(0.3)


def load(server: Server, some: list[Upload], slow: int, report: Report, limit_s: float, pause_s: float) -> dict:
    """All at once; gives each upload's id where it was taken."""
    refused, first = send(
        server, good(10_002, longer_s=120), report
    )  # longer than what the buffers of a connection hold
    assert not refused, refused
    settled(server, limit_s)
    context = multiprocessing.get_context("spawn")
    stop, told = context.Event(), context.Queue()
    page = context.Process(target=visit, args=(server.port, server.cookie, pause_s, stop, told))
    taken: dict[int, tuple[str, str]] = {}

    def run(number: int) -> None:
        taken[number] = send(server, some[number], report)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(some))]
    crawling = [Slow(server, number, first) for number in range(slow)]
    page.start()
    for thread in [*crawling, *threads]:
        thread.start()
    for thread in [*threads, *crawling]:
        thread.join()
    settled(server, limit_s)
    stop.set()
    report.times = told.get(timeout=60)
    page.join()
    report.mistakes += [f"slow client: {one.mistake}" for one in crawling if one.mistake]
    report.mistakes += [f"the page's {one}" for one in wrong(report.times)]
    server.ask("DELETE", f"/api/recordings/{first}")
    return taken


def compare(server: Server, some: list[Upload], taken: dict, model: Model, folder: Path, report: Report) -> None:
    """Every answer against what it has to be, and every result against that of its file alone."""
    for number, upload in enumerate(some):
        code, id = taken[number]
        if id:
            told = server.ask("GET", f"/api/recordings/{id}")[1]
            code = OK if told["state"] == "done" else told["error"]["code"]
            if code == OK and not same(server, told, alone(model, upload, folder / str(number))):  # type: ignore[arg-type]
                report.mistakes.append(f"{upload.name}: not what its file gives alone")
            server.ask("DELETE", f"/api/recordings/{id}")
        report.answers[code] += 1
        if code not in upload.answers:
            report.mistakes.append(f"{upload.name}: {code} instead of {upload.answers}")


def measure(
    count: int, slow: int, folder: Path, weights: Path | None = None, settings: Mapping[str, object] | None = None
) -> Report:
    """Starts a server, loads it, and looks at everything.

    Args:
        weights: of a model; None for the one in the package.
        settings: see `serving`.
    """
    report, settings = Report(), dict(settings or {})
    cap = int(str(settings.get("app.MAX_BYTES", 2**30)))
    some = uploads(count, cap)
    tune()
    model = auscult.load(weights)
    with serving(folder, weights, settings) as server:
        with Scales(server.process.pid) as scales:
            started = time.monotonic()
            taken = load(server, some, slow, report, 1800, 0.7 if weights is None else 0.05)
            report.seconds = time.monotonic() - started
        report.peak_mb, report.weight = scales.peak_mb, scales.told()
        if scales.peak_mb >= MOST_MB:
            report.mistakes.append(f"{scales.peak_mb:.0f} MiB")
        compare(server, some, taken, model, folder, report)
        left = server.kept() or server.ask("GET", "/api/recordings")[1]["recordings"]
        report.mistakes += [f"still there: {left}"] if left else []
        _, again = send(server, good(10_004), report)
        settled(server, 60)
        if not again or server.ask("GET", f"/api/recordings/{again}")[1]["state"] != "done":
            report.mistakes.append("it does not work any more")
    said = [line for line in server.said if "Traceback" in line or "Error" in line]
    report.mistakes += [f"said {said}"] if said else []
    report.mistakes += [f"left behind: {path}" for path in server.temporary.iterdir()]
    return report


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.serve_load")
    parser.add_argument("--uploads", type=int, default=100)
    parser.add_argument("--slow", type=int, default=20)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(words.uploads, words.slow, Path(folder))
    print(report.told())
    return 1 if report.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
