"""A small model, sounds and workers for the tests of the local page."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from fastapi.testclient import TestClient

from auscult.predict import Model
from auscult.web.analysis import analyse
from auscult.web.app import create_app
from auscult.web.worker import Gone, Request

from .small import small_weights

RATE = 4000
SMALL = ("clip.length_s=1.0", "clip.sample_rate=4000", "clip.n_mels=32")
BASE = "http://127.0.0.1:8765"
RAW = {"content-type": "application/octet-stream"}


def tiny_weights(file: Path) -> Path:
    """An untrained model of 1 s clips at 4 kHz."""
    return small_weights(file, *SMALL)


def breath(file: Path, seconds: float = 3.5, rate: int = 8000, seed: int = 0) -> Path:
    """Noise that comes and goes."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.1, len(t)) * (0.2 + np.sin(np.pi * t) ** 2)
    soundfile.write(file, noise, rate, "PCM_16", format="WAV")
    return file


class Inline:
    """A worker in the thread of the jobs: the real analysis without a process."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def ask(self, request: Request, told: Callable[[float], None]) -> dict[str, Any]:
        return analyse(self.model, Path(request["path"]), Path(request["folder"]), told)

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass


class Held:
    """A worker that works until it is let go or killed, and never finds anything."""

    def __init__(self, begun: list[str], go: threading.Semaphore) -> None:
        self.begun, self.go, self.killed = begun, go, False

    def ask(self, request: Request, told: Callable[[float], None]) -> dict[str, Any]:
        self.begun.append(Path(request["folder"]).name)
        told(0.5)
        self.go.acquire()
        if self.killed:
            raise Gone
        return {"sha256": "0" * 64, "prediction": {"cycles": []}, "duration_s": 1.0}

    def kill(self) -> None:
        self.killed = True
        self.go.release()

    def close(self) -> None:
        pass


@contextmanager
def page(model: Model, state: Path, **options: Any) -> Iterator[TestClient]:
    """A client of a running application; its worker is `Inline` unless told otherwise."""
    app = create_app(model, source=None, state_dir=state, **({"start": lambda: Inline(model)} | options))
    with TestClient(app, base_url=BASE) as client:
        assert client.get(app.state.key.address).status_code == 200
        yield client


def upload(client: TestClient, content: bytes | Iterator[bytes], name: str = "breath.wav") -> str:
    """Uploads; gives the id."""
    answer = client.post("/api/recordings", params={"name": name}, content=content, headers=RAW)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def until(client: TestClient, id: str, *states: str) -> dict[str, Any]:
    """The recording as soon as it is in one of the states."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = client.get(f"/api/recordings/{id}").json()
        if told["state"] in states:
            return told
        time.sleep(0.01)
    raise AssertionError(f"{told['state']} instead of {states}: {told}")
