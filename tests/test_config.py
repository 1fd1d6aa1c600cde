import json
import pickle
from dataclasses import replace

import pytest

from auscult.config import fingerprint, from_dict, override, to_dict
from auscult.errors import AuscultError
from auscult.models import Backbone, Dass
from auscult.objectives import CrossEntropy
from auscult.recipes import RECIPES, Recipe, RecipeSpec, recipe
from auscult.signal.augment import GainNoise


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    made = recipe(name)
    assert from_dict(RecipeSpec, json.loads(json.dumps(to_dict(made)))) == made
    assert made.name == name


def test_override_reaches_every_kind_of_value() -> None:
    changed = override(
        recipe("dass_nano"),
        [
            "epochs=3",
            "optimizer.lr=2e-4",
            "drop_last=false",
            "clip_grad=none",
            "backbone.size=small",
            "input.specaugment=none",
            "clip.pad=zero",
        ],
    )
    assert changed.epochs == 3 and changed.optimizer.lr == 2e-4 and changed.drop_last is False
    assert changed.clip_grad is None and changed.backbone == Dass(size="small", drop_path=None)
    assert changed.input.specaugment is None and changed.clip.pad == "zero"


@pytest.mark.parametrize("text", ["[2,3,8]", "2,3,8", "(2, 3, 8.0)", " [2 , 3,8] "])
def test_override_reads_several_numbers(text: str) -> None:
    settings = ["clip.length_s=8", f"clip.buckets_s={text}"]
    changed = override(recipe("dass_nano"), settings)
    assert changed.clip.buckets_s == (2.0, 3.0, 8.0)
    assert override(changed, ["clip.buckets_s=[]"]).clip.buckets_s == ()
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(changed)))) == changed


def test_a_setting_added_later_changes_nothing_while_it_has_its_default() -> None:
    """Fingerprints and saved recipes are those of the version before `clip.buckets_s`."""
    assert fingerprint(recipe("dass_small").clip) == "9b44c246411f"
    saved = to_dict(recipe("dass_small"))
    assert "buckets_s" not in saved["clip"] and from_dict(Recipe, saved) == recipe("dass_small")
    assert "buckets_s" in to_dict(recipe("dass_small"), every=True)["clip"]


def test_buckets_and_a_stretch_to_one_length_exclude_each_other() -> None:
    with pytest.raises(AuscultError, match=r"input\.frames=1024 would stretch each of clip\.buckets_s"):
        override(recipe("dass_small"), ["clip.buckets_s=[2,8]"])
    assert override(recipe("dass_small"), ["clip.buckets_s=[2,8]", "input.frames=none"]).clip.buckets_s


def test_buckets_need_a_backbone_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = override(recipe("dass_nano"), ["clip.length_s=8", "clip.buckets_s=[2,8]"])
    monkeypatch.setattr(Backbone, "any_length", False)
    with pytest.raises(AuscultError, match=r"DASS takes clips of one length only; leave out clip\.buckets_s"):
        changed.build_model(4)


def test_override_reaches_a_part_of_what_was_none() -> None:
    made = override(recipe("dass_nano"), ["input.augment=gain_noise", "input.augment.gain=0.6"])
    assert made.input.augment == GainNoise(gain=0.6)


def test_override_puts_another_kind_with_its_defaults() -> None:
    assert override(recipe("dass_nano"), ["objective=cross_entropy"]).objective == CrossEntropy()
    again = override(replace(recipe("dass_nano"), input=override(recipe("dass_nano").input, ["specaugment=none"])), [])
    assert override(again, ["input.specaugment=specaugment"]).input.specaugment is not None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epoch=3", "Did you mean 'epochs'?"),
        ("optimizer.learning=3", "no setting in optimizer named 'learning'"),
        ("epochs", "write key=value"),
        ("epochs=ten", "a number of type int"),
        ("epochs=2.5", "a number of type int"),
        ("epochs=0", "at least 1"),
        ("epochs.x=1", "single value"),
        ("drop_last=yes", "allowed: true, false"),
        ("precision=fp16", "allowed: fp32, bf16"),
        ("backbone.size=tiny", "no DASS size named 'tiny'"),
        ("backbone=linear", "no kind for backbone named 'linear'"),
        ("objective=cross_entropi", "Did you mean 'cross_entropy'?"),
        ("validation=1.5", "a fraction"),
        ("validation=0", "selection=last"),
        ("clip.sample_rate=none", "cannot|number"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(setting: str, said: str) -> None:
    with pytest.raises(AuscultError) as caught:
        override(recipe("dass_nano"), [setting])
    assert caught.value.code == "E_SETTING"
    assert any(part in str(caught.value) for part in said.split("|")), str(caught.value)


def test_fingerprint_tells_settings_apart() -> None:
    one, two = recipe("dass_nano"), override(recipe("dass_nano"), ["optimizer.lr=0.002"])
    assert fingerprint(one) == fingerprint(recipe("dass_nano")) != fingerprint(two)
    assert len(fingerprint(one)) == 12


def test_a_part_of_a_spec_that_was_just_named_can_be_set() -> None:
    from auscult.recipes import recipe

    made = override(recipe("dass_nano"), ["optimizer=sam", "optimizer.rho=0.1", "optimizer.base.lr=1e-4"])
    assert (made.optimizer.rho, made.optimizer.base.lr) == (0.1, 1e-4)  # type: ignore[attr-defined]


def test_an_error_comes_back_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(AuscultError("E_RUN", "it ended.")))
    assert (error.code, error.message, str(error)) == ("E_RUN", "it ended.", "E_RUN: it ended.")
