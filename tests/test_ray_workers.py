"""Places in a cluster: a lost one costs no recording, a recording that ends its process only itself; tables as here."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from auscult.errors import AuscultError
from auscult.ray_workers import Elsewhere, Holder
from auscult.scoring import Line, Scoring
from auscult.web.worker import Gone, Request
from auscult.workers import TRIES, Lost, Workers

from . import folder
from .small import small_weights


class Pretended:
    """A place whose answers are as told: a line, or an exception."""

    alive = True

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    def ask(self, request: Request) -> dict[str, Any]:
        if "file" not in request:
            return {"sha256": "of the model"}
        answer = self.answers.pop(0)
        if isinstance(answer, type):
            raise answer
        return {"recording": request["file"], "sha256": request["sha256"]}

    def kill(self) -> None:
        pass

    def end(self) -> str:
        return "a loss"


def made(*answers: Any) -> Line:
    queued = list(answers)
    with Workers(Scoring(), 1, "of the model", lambda: Pretended(queued)) as some:
        return next(some.lines([(Path("a.wav"), "1")]))


def test_a_lost_place_costs_no_recording() -> None:
    assert (
        made("line")
        == made(Lost, "line")
        == made(*[Lost] * (TRIES - 1), "line")
        == {"recording": "a.wav", "sha256": "1"}
    )
    assert made(*[Lost] * TRIES, "never")["error"][0] == "E_RUN"
    assert "ended with a loss" in made(Gone, "never")["error"][1]


def test_a_place_in_the_cluster_says_how_it_went() -> None:
    class ActorError(Exception):
        pass

    told: list[Any] = [{"done": {"a": 1}}, {"gone": "SIGSEGV"}, {"error": ("E_RUN", "x")}, ActorError()]

    def get(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    actor = SimpleNamespace(ask=SimpleNamespace(remote=lambda request: told.pop(0)))
    ray = SimpleNamespace(
        remote=lambda **options: lambda kind: SimpleNamespace(remote=lambda *words: actor),
        get=get,
        kill=lambda one: None,
        exceptions=SimpleNamespace(RayActorError=ActorError, OutOfMemoryError=ActorError),
    )
    place = Elsewhere(ray, {}, "/")
    assert place.ask({"file": "a"}) == {"a": 1}
    with pytest.raises(Gone):
        place.ask({"file": "a"})
    assert place.end() == "SIGSEGV"
    with pytest.raises(AuscultError, match="E_RUN: x"):
        place.ask({"file": "a"})
    with pytest.raises(Lost):
        place.ask({"file": "a"})
    assert "ActorError" in place.end()


def test_a_machine_without_the_folder_says_so(tmp_path: Path) -> None:
    answer = Holder({}, str(tmp_path / "none")).ask({})
    assert answer["error"][0] == "E_SETTING" and "Use one that all machines share" in answer["error"][1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_tables_of_a_cluster_are_those_of_this_process(tmp_path: Path) -> None:
    weights = small_weights(tmp_path / "tiny.safetensors", "clip.length_s=0.7", "clip.n_mels=32")
    sounds = folder.make(tmp_path / "sounds", 30, 0.2)
    call: list[str | Path] = [sounds.path, "--model", weights, "--format", "csv,json,jsonl,audacity", "--out"]
    folder.check(sounds, tmp_path / "here", folder.predict([*call, tmp_path / "here"]).code)
    ray = folder.predict([*call, tmp_path / "ray", "--engine", "ray", "--workers", "2"])
    folder.check(sounds, tmp_path / "ray", ray.code)
    folder.same(folder.outputs(tmp_path / "here"), folder.outputs(tmp_path / "ray"))
