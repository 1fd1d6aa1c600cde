"""The command line as a person meets it: quick help, one line on errors, exit codes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auscult.cli.app import run
from auscult.cli.inputs import expand
from auscult.cli.training import fresh
from auscult.config import override, to_dict
from auscult.data.synthetic import Synthetic, make
from auscult.demo import clear
from auscult.errors import AuscultError
from auscult.models.weights import Weights, save_weights
from auscult.recipes import RECIPES, recipe

HEAVY = ("torch", "numba", "matplotlib", "scipy", "soundfile")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of 1 s clips."""
    file = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    torch.manual_seed(0)
    tiny = override(recipe("dass_nano"), ["clip.length_s=1.0"])
    classes = ("normal", "crackle", "wheeze", "both")
    save_weights(file, Weights(state=tiny.build_model(4).state_dict(), recipe=to_dict(tiny), classes=classes, facts={}))
    return file


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two good recordings, one in a subfolder with a name that is a formula, and one bad file."""
    folder = tmp_path / "sounds"
    (folder / "deep").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(folder / "a.wav", noise, 8000)
    soundfile.write(folder / "deep" / "=b.wav", noise, 8000)
    (folder / "bad.wav").write_bytes(b"this is no sound")
    (folder / "notes.txt").write_text("not a recording")
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"], ["trian"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys; from auscult.cli.app import run; code = run(sys.argv[1:]); "
        f"print('HEAVY', code, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"HEAVY {2 if words == ['trian'] else 0} []"


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, auscult; dir(auscult); print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["trian"], 2, 'Did you mean "train"'),
        (["train", "das_nano", "--dataset", "icbhi", "--data", "x"], 2, "Did you mean 'dass_nano'"),
        (["train", "dass_nano", "--dataset", "icbi", "--data", "x"], 2, "Did you mean 'icbhi'"),
        (["train", "dass_nano", "--dataset", "icbhi", "--data", "x"], 1, "does not exist"),
        (["train", "dass_nano", "--dataset", "icbhi", "--data", "x", "--set", "epoch=3"], 2, "Did you mean 'epochs'"),
        (["train", "dass_nano", "--dataset", "icbhi", "--data", "x", "--set", "epochs"], 2, "write key=value"),
        (["train", "dass_nano", "--dataset", "icbhi", "--data", "x", "--resume"], 2, "needs --out"),
        (["train", "dass_nano", "--dataset", "icbhi"], 2, "--data"),
        (["train", "dass_nano", "--dataset", "icbhi", "--dta", "x"], 2, "Did you mean --data"),
        (["prepare", "icbhi", "--data", "nowhere"], 1, "auscult download icbhi"),
        (["prepare", "icbi", "--data", "nowhere"], 2, "Did you mean 'icbhi'"),
        (["download", "icbi", "--to", "x"], 2, "Did you mean 'icbhi'"),
        (["evaluate", "nowhere"], 1, "auscult train"),
        (["evaluate", "nowhere", "--split", "oficial"], 2, "Did you mean 'official'"),
        (["predict", "--model", "nowhere", "a.wav"], 1, "auscult train"),
        (["predict", "--model", "nowhere"], 2, "no recording given"),
        (["predict", "--model", "nowhere", "a.wav", "--annotations", "none"], 2, "not a folder"),
        (["list", "recipe"], 2, '"recipes"'),
    ],
)
def test_errors_are_one_line_with_advice(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(words) == code
    out, err = capsys.readouterr()
    assert out == "" and said in err
    assert len(err.splitlines()) == 1 and err.startswith("error E_") and "Traceback" not in err


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "recipes"]) == 0
    out = capsys.readouterr().out
    for name, make_recipe in RECIPES.items():
        first = (make_recipe.__doc__ or "").splitlines()[0]
        assert any(name in line and first in line for line in out.splitlines())


def test_prepare_tells_a_whole_copy_from_one_with_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = make(tmp_path / "corpus", Synthetic(patients=2, recordings=1, cycles=5))
    assert run(["prepare", "synthetic", "--data", str(corpus)]) == 0
    lost = next(corpus.rglob("*.wav"))
    lost.unlink()
    assert run(["prepare", "synthetic", "--data", str(corpus)]) == 3
    assert lost.stem in capsys.readouterr().out


def test_predict_goes_on_after_a_bad_file(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert run(["predict", "--model", str(weights), str(sounds), "--out", str(out)]) == 3
    assert sorted(p.name for p in out.iterdir()) == [
        "errors.csv",
        "journal.jsonl",
        "predictions.csv",
        "recordings.csv",
        "run.json",
    ]
    (bad,) = rows(out / "errors.csv")
    assert bad["recording"].endswith("bad.wav") and bad["code"] == "E_FORMAT"
    assert [row["cycles"] for row in rows(out / "recordings.csv")] == ["2", "2"]
    assert len(rows(out / "predictions.csv")) == 4
    record = json.loads((out / "run.json").read_text())
    assert record["state"] == "finished" and (record["recordings"], record["errors"]) == (2, 1)
    assert "Research use only" in record["note"] and "Research use only" in capsys.readouterr().err
    assert sorted(p.name for p in sounds.iterdir()) == ["a.wav", "bad.wav", "deep", "notes.txt"]


def test_exit_codes_of_predict(weights: Path, sounds: Path, tmp_path: Path) -> None:
    call = ["predict", "--model", str(weights), "--out", str(tmp_path / "results"), "--overwrite"]
    assert run([*call, str(sounds / "a.wav")]) == 0
    assert run([*call, str(sounds / "bad.wav"), str(sounds / "missing.wav")]) == 1
    assert run([*call, str(sounds / "*.wav")]) == 3
    assert run([*call, str(sounds / "*.flac")]) == 1
    (row,) = rows(tmp_path / "results" / "errors.csv")
    assert row["code"] == "E_NOT_A_FILE" and "matches no file" in row["message"]


def test_predict_whole_recordings(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(sounds / "short.wav", np.zeros(4000), 8000)
    call = ["predict", "--model", str(weights), str(sounds), "--cycles", "whole", "--out", str(tmp_path / "results")]
    assert run(call) == 3
    made = rows(tmp_path / "results" / "predictions.csv")
    assert [(r["start_s"], r["end_s"], r["cycles_from"]) for r in made] == [("0.0", "2.0", "whole")] * 2
    codes = {Path(r["recording"]).name: r["code"] for r in rows(tmp_path / "results" / "errors.csv")}
    assert codes == {"bad.wav": "E_FORMAT", "short.wav": "E_TOO_SHORT"}
    assert json.loads((tmp_path / "results" / "run.json").read_text())["cycles"] == "whole"
    assert "windows" not in capsys.readouterr().err
    assert run([*call, "--overwrite", "--annotations", str(sounds)]) == 2
    assert "leave out --annotations or --cycles" in capsys.readouterr().err


def test_a_recording_named_as_a_formula_is_text_in_the_csv(
    weights: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sounds / "deep")
    assert run(["predict", "--model", str(weights), "=b.wav", "--out", str(tmp_path / "results")]) == 0
    assert {row["recording"] for row in rows(tmp_path / "results" / "predictions.csv")} == {"'=b.wav"}


def test_results_never_go_over_or_beside_anything(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["predict", "--model", str(weights), str(sounds / "a.wav"), "--out"]
    assert run([*call, str(sounds), "--overwrite"]) == 2
    assert "never go beside" in capsys.readouterr().err
    assert run([*call, str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert run([*call, str(sounds / "notes.txt")]) == 2
    assert (sounds / "notes.txt").read_text() == "not a recording"


def test_json_is_all_there_is_on_stdout(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["predict", "--model", str(weights), str(sounds), "--format", "json", "--out", "-"]
    assert run(call) == 3
    found = json.loads(capsys.readouterr().out)
    assert len(found["predictions"]) == 2 and found["errors"][0]["code"] == "E_FORMAT"
    assert {c["label"] for p in found["predictions"] for c in p["cycles"]} <= {"normal", "crackle", "wheeze", "both"}


def test_a_recording_named_twice_is_read_once(sounds: Path) -> None:
    files, missing = expand([sounds / "a.wav", sounds, sounds / "deep" / ".." / "a.wav"])
    assert [f.name for f in files] == ["a.wav", "bad.wav", "=b.wav"] and not missing


@pytest.mark.skipif(os.name != "posix", reason="file names of other systems are text")
def test_a_name_that_is_no_text_is_no_obstacle(
    weights: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = sounds / os.fsdecode(b"caf\xe9 [red]\n.wav")
    (sounds / "a.wav").rename(odd)
    assert run(["predict", "--model", str(weights), str(odd), "--out", str(tmp_path / "results")]) == 0
    assert "[red]" in capsys.readouterr().out
    assert "\\n.wav" in rows(tmp_path / "results" / "recordings.csv")[0]["recording"]


def test_what_is_done_is_kept_when_a_long_job_is_stopped(
    weights: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from auscult.predict import Model

    whole, seen = Model.predict, []

    def stopped(self: Model, path: Path, **options: object) -> object:
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return whole(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "predict", stopped)
    assert run(["predict", "--model", str(weights), str(sounds), "--out", str(tmp_path / "results")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped"
    assert len(rows(tmp_path / "results" / "recordings.csv")) == 1
    assert json.loads((tmp_path / "results" / "run.json").read_text())["state"] == "stopped"


def test_a_default_run_folder_is_always_new(tmp_path: Path) -> None:
    for expected in ("r", "r-2", "r-3"):
        folder = fresh(tmp_path, "r")
        assert folder.name == expected
        folder.mkdir()


def test_the_demo_replaces_a_demo_and_nothing_else(tmp_path: Path) -> None:
    earlier, other = tmp_path / "demo", tmp_path / "other"
    for folder in (earlier, other):
        (folder / "run").mkdir(parents=True)
    (earlier / "demo.json").write_text("{}")
    clear(earlier)
    assert not (earlier / "run").exists()
    with pytest.raises(AuscultError, match="no earlier demo"):
        clear(other)
    assert (other / "run").exists()


def test_the_demo_from_sounds_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from auscult import demo

    monkeypatch.setattr(demo, "SETTINGS", ("epochs=1", "clip.length_s=1.0"))
    monkeypatch.setattr(demo, "CORPUS", Synthetic(patients=6, recordings=1, cycles=5))
    monkeypatch.setenv("AUSCULT_CACHE", "left alone")
    assert run(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    for said in (
        "synthetic 4-class",
        "Score",
        "truth",
        "predicted",
        "report.html",
        "Research use only, not a medical device.",
    ):
        assert said in out
    assert "Score" in (tmp_path / "demo" / "report.html").read_text()
    assert os.environ["AUSCULT_CACHE"] == "left alone" and not Path("left alone").exists()
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    call = ["evaluate", str(tmp_path / "demo" / "run"), "--split", "clean", "--out", str(tmp_path / "again")]
    assert run(call) == 0
    assert "clean split" in capsys.readouterr().out
    assert (tmp_path / "again" / "scores.json").exists()
    assert run(["evaluate", str(tmp_path / "demo" / "run"), "--selection", "best_on_test"]) == 1
    assert "there are: last, validation" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["load", "predict", "Recipe"])
def test_public_names_are_found_in_a_fresh_process(name: str) -> None:
    code = f"import auscult; assert callable(auscult.{name})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
