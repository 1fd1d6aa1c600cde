"""The process that decodes and predicts: it may crash, hang or be cancelled, and the server goes on."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import auscult
from auscult.errors import AuscultError
from auscult.predict import Model
from auscult.web.store import PREFIX
from auscult.web.worker import Gone, ProcessWorker

from .web_parts import breath, page, tiny_weights, until, upload


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return auscult.load(weights, device="cpu")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return breath(tmp_path_factory.mktemp("sound") / "a.wav", 2.0).read_bytes()


def program(text: str) -> ProcessWorker:
    """A worker that says what a short program says."""
    return ProcessWorker([sys.executable, "-c", "import json, os, sys, time\nask = sys.stdin.readline\n" + text])


def ask(worker: ProcessWorker) -> Any:
    with contextlib.closing(worker):
        return worker.ask({"path": "x\udcff"}, lambda share: shares.append(share))


shares: list[float] = []


def test_a_worker_process_answers() -> None:
    shares.clear()
    text = "x = json.loads(ask())\nprint('{\"progress\": 0.25}')\nprint(json.dumps({'done': {'path': x['path']}}))"
    assert ask(program(text)) == {"path": "x\udcff"} and shares == [0.25]
    with pytest.raises(AuscultError, match="no samples") as caught:
        ask(program("ask(); print(json.dumps({'error': {'code': 'E_EMPTY', 'message': 'no samples'}}))"))
    assert caught.value.code == "E_EMPTY"


@pytest.mark.parametrize(
    "text", ["ask(); os._exit(3)", "ask(); os.abort()", "ask(); print('no json'); time.sleep(60)", "sys.exit()"]
)
def test_a_worker_process_that_dies_is_noticed(text: str) -> None:
    worker = program(text)
    with pytest.raises(Gone):
        ask(worker)
    assert worker.process.returncode is not None


def test_a_crash_costs_one_file(model: Model, sound: bytes, tmp_path: Path) -> None:
    programs = iter(
        ["ask(); os.abort()", "ask(); print(json.dumps({'error': {'code': 'E_FORMAT', 'message': 'x'}}))\nask()"]
    )
    with page(model, tmp_path, start=lambda: program(next(programs))) as client:
        first, second = upload(client, sound), upload(client, sound)
        assert until(client, first, "failed")["error"]["code"] == "E_CRASH"
        assert until(client, second, "failed")["error"]["code"] == "E_FORMAT"


def test_cancelling_kills_the_process(model: Model, sound: bytes, tmp_path: Path) -> None:
    made: list[ProcessWorker] = []

    def start() -> ProcessWorker:
        made.append(program("ask(); time.sleep(600)"))
        return made[-1]

    with page(model, tmp_path, start=start) as client:
        id = upload(client, sound)
        until(client, id, "running")
        client.post(f"/api/recordings/{id}/cancel")
        client.app.state.session.jobs.leave(client.app.state.session.store.get(id))  # type: ignore[attr-defined]
        assert made[0].process.returncode is not None
    assert all(worker.process.returncode is not None for worker in made)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there a process is ended without a word")
def test_the_whole_server_comes_and_goes(weights: Path, sound: bytes, tmp_path: Path) -> None:
    """`auscult serve` as a process: it says where it is, its worker analyses, and it leaves nothing behind."""
    call = f"serve(model={str(weights)!r}, port=0, open_browser=False, state=Path({str(tmp_path / 'state')!r}))"
    code = f"from pathlib import Path\nfrom auscult.cli.serve import serve\n{call}"
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "OMP_NUM_THREADS": "1"}
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr is not None
        try:
            address = next(line for line in server.stderr if "http://127.0.0.1:" in line).split()[1]
            with httpx.Client(base_url=address.partition("/?")[0]) as client:
                client.get(address)
                id = upload(client, sound)
                assert until(client, id, "done", "failed")["state"] == "done"
            assert len(list((tmp_path / "tmp").glob(f"{PREFIX}*/*/listen.wav"))) == 1
        finally:
            server.send_signal(signal.SIGHUP)
    assert not list((tmp_path / "tmp").glob(f"{PREFIX}*"))
