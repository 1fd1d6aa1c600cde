"""Published weights by name: fetched once, checked, and where a run starts; and `auscult weights`."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cyclopts import App

from auscult.cli.weights import weights
from auscult.config import from_dict, override, to_dict
from auscult.errors import AuscultError
from auscult.models import BACKBONES, Dass
from auscult.models import pretrained as module
from auscult.models.convert import read_checkpoint
from auscult.models.pretrained import PRETRAINED, cached, fetch_pretrained, locate, start_from
from auscult.models.transfer import Report
from auscult.models.weights import Weights, save_weights
from auscult.predict import load
from auscult.recipes import Recipe, recipe
from auscult.runs import read_json
from auscult.train import train

from .published import as_dass, plain, saved, tiny
from .small import small_corpus, small_recipe
from .test_download import Server, no_proxy, server  # noqa: F401  (fixtures)


@pytest.fixture
def published(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:  # noqa: F811
    """A server on this machine that has `tiny`, whose sha256 is not published."""
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    file = saved(as_dass(plain()), tmp_path / "tiny.pth")
    server.files["tiny.zip"] = file.read_bytes()  # the server cuts what ends in .zip
    entry = replace(PRETRAINED["dass_medium_v2"], url=f"{server.url}/tiny.zip")
    monkeypatch.setitem(module.PRETRAINED, "tiny", entry)
    return server


def test_fetched_once_resumed_and_loaded(published: Server, capsys: pytest.CaptureFixture[str]) -> None:
    published.cuts = 2
    model = tiny()
    report = start_from(model, "tiny")
    assert report.share == 1 and report.sha256 == hashlib.sha256(published.files["tiny.zip"]).hexdigest()
    asked = [asked for _, asked in published.log]
    assert asked[0] is None and len(asked) == 3 and all(a.startswith("bytes=") for a in asked[1:] if a)
    assert "is trusted from now on" in capsys.readouterr().err
    start_from(model, "tiny")
    assert len(published.log) == 3, "fetched again"


def test_goes_on_where_an_earlier_run_stopped(published: Server) -> None:
    part = cached("tiny").with_name(cached("tiny").name + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(published.files["tiny.zip"][:1000])
    fetch_pretrained("tiny")
    assert [asked for _, asked in published.log] == ["bytes=1000-"]
    assert cached("tiny").read_bytes() == published.files["tiny.zip"]


def test_another_file_than_at_first_is_refused_and_removed(published: Server) -> None:
    first = fetch_pretrained("tiny")
    record = first.with_name(f"{first.name}.sha256")
    assert record.read_text() == f"{hashlib.sha256(first.read_bytes()).hexdigest()}  {first.name}\n"
    first.unlink()
    right, published.files["tiny.zip"] = published.files["tiny.zip"], b"other"
    with pytest.raises(AuscultError, match=r"E_RUN.*remove .*\.sha256"):
        fetch_pretrained("tiny")
    assert list(first.parent.iterdir()) == [record]
    published.files["tiny.zip"] = right
    assert fetch_pretrained("tiny").read_bytes() == right


def test_a_damaged_file_in_the_cache_is_fetched_again(published: Server) -> None:
    file = fetch_pretrained("tiny")
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    assert fetch_pretrained("tiny").read_bytes() == published.files["tiny.zip"]


def test_a_published_sha256_is_held_to(published: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.PRETRAINED, "tiny", replace(PRETRAINED["tiny"], sha256="0" * 64))
    with pytest.raises(AuscultError, match=r"E_RUN.*0000"):
        fetch_pretrained("tiny")
    assert list(cached("tiny").parent.iterdir()) == []


def test_404_no_network_and_no_address(published: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    del published.files["tiny.zip"]
    with pytest.raises(AuscultError, match=r"E_RUN.*answers 404.*found through https://github.com/Saurabhbhati"):
        fetch_pretrained("tiny")
    monkeypatch.setitem(module.PRETRAINED, "tiny", replace(PRETRAINED["tiny"], url="http://127.0.0.1:9/tiny.pth"))
    with pytest.raises(AuscultError, match=r"E_RUN.*no connection.*put it at"):
        fetch_pretrained("tiny")
    with pytest.raises(AuscultError, match=r"E_RUN.*no direct address.*releases"):
        fetch_pretrained("dass_medium_v1")


def test_a_file_put_there_by_hand(published: Server, tmp_path: Path) -> None:
    file = cached("dass_medium_v1")
    file.parent.mkdir(parents=True)
    file.write_bytes(published.files["tiny.zip"])
    assert start_from(tiny(), "dass_medium_v1").share == 1
    file.write_bytes(b"other")
    with pytest.raises(AuscultError, match="another sha256 than at first"):
        fetch_pretrained("dass_medium_v1")


def test_names_and_paths_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AuscultError, match=r"E_SETTING.*Did you mean 'dass_medium_v2'"):
        locate("dass_medium_v22")
    with pytest.raises(AuscultError, match=r"E_RUN.*weights list"):
        locate(tmp_path / "no.pth")


def test_the_table_is_whole() -> None:
    for name, entry in PRETRAINED.items():
        assert from_dict(BACKBONES[entry.backbone], {"size": entry.size})
        assert cached(name).suffix in (".pth", ".pt", ".safetensors"), name
        assert entry.page.startswith("https://") and entry.what, name
        assert entry.url is None or entry.url.startswith("https://")
        assert entry.sha256 is None or len(entry.sha256) == 64


def test_a_run_starts_from_weights_and_prediction_does_not_need_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    corpus = small_corpus(tmp_path / "corpus")
    torch.manual_seed(1)
    start = Dass(size="nano").build().state_dict()
    file = saved({f"module.v.{n}": t for n, t in start.items()}, tmp_path / "start.pth")
    settings = small_recipe("epochs=1", "optimizer.lr=1e-12", f"weights={file}", "selection=last")
    run = train(settings, "synthetic", corpus, tmp_path / "run", seed=3)
    made = read_checkpoint(run.weights("last"))
    assert all(torch.allclose(made[f"backbone.{n}"], t, atol=1e-6) for n, t in start.items())
    kept = read_json(run.folder / "start.json")
    assert kept["share"] == 1 and kept["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    assert load(run.folder).recipe["weights"] == str(file)
    with pytest.raises(AuscultError, match="is not a file"):
        train(settings, "synthetic", corpus, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_another_run_can_be_the_start(tmp_path: Path) -> None:
    nano = recipe("dass_nano")
    torch.manual_seed(2)
    state = nano.build_model(4).state_dict()
    file = tmp_path / "last.safetensors"
    save_weights(file, Weights(state=state, recipe=to_dict(nano), classes=("a", "b", "c", "d"), facts={}))
    backbone = nano.backbone.build()
    report: Report = start_from(backbone, file)
    assert report.share == 1 and not report.unexpected
    assert all(torch.equal(t, state[f"backbone.{n}"]) for n, t in backbone.state_dict().items())


def test_recipes_from_before_still_load_and_stay_what_they_were() -> None:
    old = to_dict(recipe("dass_nano"))
    assert "weights" not in old and "partial_weights" not in old
    assert from_dict(Recipe, old) == recipe("dass_nano")
    changed = override(recipe("dass_nano"), ["weights=dass_small_v2"])
    assert from_dict(Recipe, to_dict(changed)).weights == "dass_small_v2"
    assert override(changed, ["weights=none"]) == recipe("dass_nano")


# ------------------------------------------------------------------------------------------------ the commands
def call(*words: str) -> int:
    """As the whole command line calls it."""
    app = App(name="auscult", print_error=False, exit_on_error=False, result_action="return_value")
    app.command(weights)
    return app(["weights", *words])


def test_list_and_fetch(published: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    shown = capsys.readouterr().out
    assert all(name in shown and entry.what in shown for name, entry in PRETRAINED.items())
    assert "medium; fetched;" not in shown and "the first download is trusted" in shown
    assert call("fetch", "tiny") == 0
    assert capsys.readouterr().out == f"{cached('tiny')}  sha256 {read_sha(cached('tiny'))}\n"
    assert call("list") == 0
    assert "medium; fetched;" in capsys.readouterr().out


def read_sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_convert_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    state = {f"module.v.{n}": t for n, t in Dass(size="nano").build(classes=527).state_dict().items()}
    file, out = saved(state, tmp_path / "a.pth"), tmp_path / "b.safetensors"
    assert call("convert", str(file), str(out)) == 0
    shown = capsys.readouterr().out
    assert "module.v.layers.0.blocks.0.op.Ds  float32  (128,)" in shown
    assert read_sha(file) in shown and read_sha(out) in shown
    assert call("check", str(out), "--size", "nano") == 0
    assert "148 of 148 tensors of the backbone, 100.0% of its numbers" in capsys.readouterr().out
    with pytest.raises(AuscultError, match=r"E_RUN.*wrong shape"):
        call("check", str(out), "--size", "medium")
    assert "misfits" in capsys.readouterr().out
    part = saved({n: t for n, t in state.items() if "layers.3" not in n}, tmp_path / "part.pth")
    with pytest.raises(AuscultError, match=r"E_RUN.*--allow-partial"):
        call("check", str(part), "--size", "nano")
    assert call("check", str(part), "--size", "nano", "--allow-partial") == 0
    for words, message in ((("--size", "tiny"), "no DASS size"), (("--backbone", "das"), "Did you mean 'dass'")):
        with pytest.raises(AuscultError, match=f"E_SETTING.*{message}"):
            call("check", str(out), *words)
