import errno
import json
import os
from pathlib import Path

import pytest
import torch

from auscult.checkpoint import load_state, save_state
from auscult.errors import AuscultError
from auscult.models.weights import Weights, digest, load_into, load_weights, save_weights
from auscult.runs import Run, environment, replacing, write_json, write_text


def test_state_survives_the_disk(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = {"epoch": 3, "best": None, "name": "x", "flag": True, "optimizer": optimizer.state_dict()}
    save_state(tmp_path / "c.safetensors", state)
    back = load_state(tmp_path / "c.safetensors")
    assert (back["epoch"], back["best"], back["name"], back["flag"]) == (3, None, "x", True)
    again = torch.optim.AdamW(layer.parameters(), lr=9.0)
    again.load_state_dict(back["optimizer"])
    assert again.param_groups[0]["lr"] == 0.1 and again.param_groups[0]["betas"] == [0.9, 0.999]
    for one, two in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert all(torch.equal(one[k], two[k]) for k in one)


def test_state_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"cannot hold a \w+Path"):
        save_state(tmp_path / "c", {"x": tmp_path})


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b'{"a": 1}'])
def test_a_foreign_checkpoint_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.safetensors"
    file.write_bytes(content)
    with pytest.raises(AuscultError, match="no checkpoint of auscult") as caught:
        load_state(file)
    assert caught.value.code == "E_RUN"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})
    with pytest.raises(AuscultError, match="No space left"), replacing(file) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert json.loads(file.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(AuscultError, match="cannot write") as caught:
        write_text(tmp_path / "x" / "y.txt", "")
    assert caught.value.code == "E_DISK"


def test_the_log_drops_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for epoch in (1, 2, 3):
        run.log({"epoch": epoch})
    with run.metrics.open("a") as handle:
        handle.write('{"epoch": 4, "lo')  # the power went
    assert [r["epoch"] for r in run.history()] == [1, 2, 3]
    run.rewind(2)
    assert [r["epoch"] for r in run.history()] == [1, 2]


def test_no_run_there(tmp_path: Path) -> None:
    assert not Run(tmp_path).exists
    with pytest.raises(AuscultError, match="does not exist"):
        Run(tmp_path).settings()


def test_environment_is_json() -> None:
    found = json.loads(json.dumps(environment()))
    assert found["versions"]["torch"] and found["threads"] >= 1 and found["processor"]


def weights(model: torch.nn.Module) -> Weights:
    facts = {"epoch": 2}
    return Weights(state=model.state_dict(), recipe={"kind": "recipe"}, classes=("normal", "crackle"), facts=facts)


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    one, two = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_weights(tmp_path / "w.safetensors", weights(one))
    back = load_weights(tmp_path / "w.safetensors")
    load_into(two, back.state, "w")
    assert torch.equal(one.weight, two.weight)
    assert (back.classes, back.facts, back.recipe) == (("normal", "crackle"), {"epoch": 2}, {"kind": "recipe"})


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_weights(file, weights(torch.nn.Linear(3, 2)))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(AuscultError, match="damaged"):
        load_weights(file)


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_weights(file, weights(torch.nn.Linear(3, 2)))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(AuscultError, match="no weights file"):
        load_weights(file)
    with pytest.raises(AuscultError, match="no weights file"):
        load_weights(tmp_path / "missing.safetensors")


def test_weights_of_another_model_name_the_keys() -> None:
    with pytest.raises(AuscultError) as caught:
        load_into(torch.nn.Linear(3, 2), torch.nn.Conv1d(3, 2, 1, bias=False).state_dict(), "x")
    assert "bias (missing)" in str(caught.value) and "weight (2, 3, 1) instead of (2, 3)" in str(caught.value)


def test_the_digest_sees_names_types_and_values() -> None:
    base = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert digest(base) == digest(dict(reversed(base.items())))
    others = [
        {"a": torch.ones(2), "b": torch.zeros(2)},
        {"a": torch.zeros(2, dtype=torch.float64), "b": torch.ones(2)},
        {"a": torch.zeros(1, 2), "b": torch.ones(2)},
    ]
    assert all(digest(o) != digest(base) for o in others)
