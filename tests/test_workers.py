"""Worker processes: the same lines in whatever number, a death costs one recording, none outlives its parent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from auscult import workers as module
from auscult.cli.app import run
from auscult.cli.journal import Journal
from auscult.cli.prediction import MANY
from auscult.errors import AuscultError
from auscult.scoring import Line, Scoring, Task
from auscult.workers import AHEAD, HELD, Workers

from . import folder, kill_predict
from .small import small_weights

COMMAND = [sys.executable, "-m", "auscult", "predict"]
CHILD = """
import json, os, sys, time
print(json.dumps({"done": {"sha256": "of the model"}}), flush=True) if sys.stdin.readline() else sys.exit()
for asked in sys.stdin:
    task = json.loads(asked)
    name = task["file"]
    if "killed" in name: os.kill(os.getpid(), 9)
    if "segfault" in name: os.kill(os.getpid(), 11)
    if "mistake" in name: sys.exit(7)
    if "babble" in name: print("no JSON", flush=True)
    if "slow" in name: time.sleep(0.6)
    print(json.dumps({"done": {"recording": name, "sha256": task["sha256"], "pid": os.getpid()}}), flush=True)
"""


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that load no model."""
    monkeypatch.setattr(module, "COMMAND", [sys.executable, "-S", "-c", CHILD])


def made(names: list[str], count: int, in_order: bool = False) -> list[Line]:
    tasks: list[Task] = [(Path(name), f"sha of {name}") for name in names]
    with Workers(Scoring(), count, "of the model") as some:
        return list(some.lines(tasks, in_order))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_recording_gets_one_line(pretended: None, count: int) -> None:
    names = [f"{i}.wav" for i in range(40)]
    lines = made(names, count)
    assert sorted(line["recording"] for line in lines) == sorted(names)
    assert all(line["sha256"] == f"sha of {line['recording']}" for line in lines)
    assert len({line["pid"] for line in lines}) <= count


def test_lines_in_order_wait_for_the_slow_one(pretended: None) -> None:
    names = ["slow.wav", *(f"{i}.wav" for i in range(40))]
    assert [line["recording"] for line in made(names, 2, in_order=True)] == names
    assert made(names, 2)[0]["recording"] != "slow.wav"


@pytest.mark.parametrize("in_order", [False, True])
def test_recordings_are_taken_a_few_at_a_time(pretended: None, in_order: bool) -> None:
    taken = 0

    def endless() -> Iterator[Task]:
        nonlocal taken
        while True:
            taken += 1
            yield Path(f"{taken}.wav"), ""

    with Workers(Scoring(), 2, "of the model") as some:
        lines = some.lines(endless(), in_order)
        for _ in range(5):
            next(lines)
        assert 5 <= taken <= 5 + 2 * (HELD if in_order else AHEAD)


@pytest.mark.parametrize(
    ("name", "how"),
    [("killed", "SIGKILL"), ("segfault", "SIGSEGV"), ("mistake", "exit code 7"), ("babble", "SIGKILL")],
)
def test_a_death_costs_the_recording_it_was_on(pretended: None, name: str, how: str) -> None:
    names = [f"{i}.wav" for i in range(20)]
    for place in (0, 7, 21):
        names.insert(place, f"{name} {place}.wav")
    lines = {line["recording"]: line for line in made(names, 2)}
    assert set(lines) == set(names)
    for recording, line in lines.items():
        assert ("error" in line) == recording.startswith(name)
        if "error" in line:
            code, message = line["error"]
            assert code == "E_RUN" and repr(recording) in message and f"ended with {how};" in message


def test_one_that_dies_while_it_waits_costs_nothing(pretended: None) -> None:
    with Workers(Scoring(), 1, "of the model") as some:
        before = next(some.lines([(Path("a.wav"), "")]))
        os.kill(before["pid"], 9)
        time.sleep(0.1)
        after = next(some.lines([(Path("b.wav"), "")]))
    assert after["pid"] != before["pid"]


def test_workers_that_never_get_ready_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", [sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(AuscultError, match=r"E_RUN.*SIGKILL before its first recording, 3 times in a row"):
        made(["a.wav", "b.wav", "c.wav"], 2)


def test_a_model_that_was_replaced_is_refused(pretended: None) -> None:
    with pytest.raises(AuscultError, match="the model was replaced"), Workers(Scoring(), 1, "of another") as some:
        next(some.lines([(Path("a.wav"), "")]))


def test_all_are_gone_after_the_block(pretended: None) -> None:
    with Workers(Scoring(), 2, "of the model") as some:
        lines = some.lines((Path(f"{i} slow.wav"), "") for i in range(1000))
        pids = {next(lines)["pid"] for _ in range(4)}
        started = time.monotonic()
    assert time.monotonic() - started < 5 and len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_recording_whose_process_died_is_done_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {}, resume=False)
    for name, code in (("a", "E_RUN"), ("b", "E_FORMAT"), ("c", "E_RUN"), ("c", "E_FORMAT")):
        journal.add({"recording": name, "sha256": "1", "error": [code, "x"]})
    assert journal.done(Path("a"), "1")
    journal.close()
    again = Journal(tmp_path, {}, resume=True)
    assert [again.done(Path(name), "1") for name in "abc"] == [False, True, True]
    again.close()


def test_workers_ask_for_a_sensible_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "a.wav", "--workers", "0", "--out", str(tmp_path / "r")]) == 2
    assert "--workers 0: 1 or more" in capsys.readouterr().err


def test_the_real_worker_ends_with_its_parent_amid_a_recording(tmp_path: Path) -> None:
    """Its input ends while it waits for a pipe that nobody writes to: it is there when the input ends, and then not."""
    program = (
        "import os, sys, threading, queue; from auscult.cli import worker;"
        "threading.Thread(target=worker.read, args=(queue.SimpleQueue(),), daemon=True).start();"
        "print('busy', flush=True); os.read(int(sys.argv[1]), 1)"
    )
    reading, writing = os.pipe()
    words = [sys.executable, "-c", program, str(reading)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[reading]) as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == b"busy\n"
        child.stdin.write(b'{"file": "a"}\n')
        child.stdin.flush()
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(10) == 1
    os.close(reading)
    os.close(writing)


FORMATS = "csv,json,jsonl,icbhi,audacity,raven,textgrid"


@pytest.mark.parametrize("count", [MANY - 1, MANY])
def test_many_recordings_take_every_core_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int
) -> None:
    started: list[int] = []

    class Spied(Workers):
        def __init__(self, scoring: Scoring, count: int, sha256: str) -> None:
            super().__init__(scoring, count, sha256)
            started.append(count)

        def lines(self, tasks: Iterable[Task], in_order: bool = False) -> Iterator[Line]:
            for file, sha256 in tasks:
                yield {"recording": str(file), "sha256": sha256, "error": ["E_FORMAT", "pretended"]}

    monkeypatch.setattr(module, "Workers", Spied)
    monkeypatch.setattr("auscult.cli.prediction.cores", lambda: 3)
    for number in range(count):
        (tmp_path / f"{number}.wav").write_bytes(bytes([number]))
    assert run(["predict", str(tmp_path), "--out", str(tmp_path / "results")]) == 1
    assert started == ([3] if count >= MANY else [])


def test_a_small_folder_comes_out_the_same_in_this_process_and_two(tmp_path: Path) -> None:
    """`python -m tests.folder` with few recordings."""
    weights = small_weights(tmp_path / "tiny.safetensors", "clip.length_s=0.7", "clip.n_mels=32")
    made = folder.make(tmp_path / "sounds", 60, 0.2)
    call = ["predict", str(made.path), "--model", str(weights), "--format", FORMATS]
    found = []
    for words in ([], ["--workers", "2"]):
        out = tmp_path / "-".join(["out", *words])
        folder.check(made, out, run([*call, *words, "--out", str(out)]))
        found.append(folder.outputs(out))
    folder.same(*found)
    assert len(found[0]) == 5 + 4 * 48


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_commands_with_one_worker_and_two_print_and_write_the_same(tmp_path: Path) -> None:
    weights = small_weights(tmp_path / "tiny.safetensors", "clip.length_s=0.7", "clip.n_mels=32")
    made = folder.make(tmp_path / "sounds", 60, 0.2)
    call: list[str | Path] = [made.path, "--model", weights, "--format"]
    found = []
    for count in "12":
        out, printed = tmp_path / f"out {count}", tmp_path / f"printed {count}"
        folder.check(made, out, folder.predict([*call, FORMATS, "--workers", count, "--out", out]).code)
        assert folder.predict([*call, "jsonl", "--workers", count, "--out", "-"], printed).code == 3
        found.append(folder.outputs(out) | {"printed": printed.read_bytes()})
    folder.same(*found)
    printed_lines = [json.loads(line) for line in found[0]["printed"].splitlines()]
    kept = [json.loads(line) for line in found[0]["predictions.jsonl"].splitlines()]
    assert [line["prediction"] for line in printed_lines if "prediction" in line] == kept and len(printed_lines) == 60


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_leaves_tables_and_no_worker(tmp_path: Path) -> None:
    weights = small_weights(tmp_path / "tiny.safetensors", "clip.length_s=0.7", "clip.n_mels=32")
    made, out = folder.make(tmp_path / "sounds", 400, 0.0), tmp_path / "out"
    words = [str(made.path), "--model", str(weights), "--workers", "2", "--out", str(out)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*COMMAND, *words], stdout=quiet, stderr=subprocess.PIPE) as job:
        kill_predict.until(job, out, 5)
        workers = kill_predict.family(job.pid)
        job.send_signal(signal.SIGINT)
        said = job.communicate()[1].decode()
    assert job.returncode == 130 and "Traceback" not in said and said.endswith("stopped\n")
    assert len(workers) == 2 and not any(map(kill_predict.alive, workers))
    assert 4 <= len(folder.rows(out / "recordings.csv")) < 400  # the fifth may just have been written
    assert json.loads((out / "run.json").read_text())["state"] == "stopped"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_command_leaves_no_worker_and_resumes() -> None:
    """`python -m tests.kill_predict` with two rounds; a worker is killed, too, in the second."""
    words = [sys.executable, "-m", "tests.kill_predict", "--n", "2", "--workers", "2", "--recordings", "20"]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0 and "2 of 2 killed predictions" in done.stdout, done.stderr
