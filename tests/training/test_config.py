"""Settings: three configurations, as typed, as recommended, as saved."""

import inspect
import json
import os
import pydoc
from contextlib import suppress
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labkit.model.config import GenerationConfig, ModelConfig
from labkit.training.config import (
    CONFIGS,
    FROM_DATA,
    PHOTOS,
    SCENES,
    Settings,
    TrainingConfig,
    defaults_for,
    flat,
    read_settings,
    resolve,
)
from labkit.training.recipes import RECIPES, parse_settings, read_recipe
from labkit.training.run_folder import compare_runs
from labkit.training.schedule import Schedule

MODEL = ModelConfig(vocab_size=9, encoder_dim=4)
DEFAULTS = {
    name: value
    for config in (MODEL, TrainingConfig(), GenerationConfig())
    for name, value in asdict(config).items()
    if name not in FROM_DATA
}
OPTIONAL = {  # None by default
    "train_split", "dev_split", "length_penalty", "attention_mode", "start", "caption_reward",
}  # fmt: skip


# ------------------------------------------------------------------------ the three configurations


def test_no_field_stands_in_two_configurations():
    names = [field.name for config in CONFIGS for field in fields(config)]
    assert len(names) == len(set(names)) > 45
    assert {config.__name__ for config in CONFIGS} == {
        "ModelConfig", "TrainingConfig", "GenerationConfig",
    }  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_help_shows_the_meaning_of_every_field(config):
    text = pydoc.plain(pydoc.render_doc(config))
    head = text[text.index("Attributes:") :]
    for field in fields(config):
        (line,) = [line for line in head.splitlines() if f"    {field.name}: " in line]
        meaning = line.split(": ", 1)[1]
        assert len(meaning) > 20 and meaning.endswith(")."), line  # the range, and the default
    assert "FieldInfo" not in str(inspect.signature(config))


def test_the_reference_gives_range_and_default():
    assert "(a share from 0 to less than 1; by default 0.999)" in TrainingConfig.__doc__
    assert "(one, all or pairs; by default pairs)" in TrainingConfig.__doc__
    assert "(a whole number from 1 to 100; by default 5)" in GenerationConfig.__doc__


def test_an_override_goes_into_its_own_configuration():
    """Each field changed alone changes one configuration, and nothing else of it."""
    base = resolve(PHOTOS)
    changed = {
        "attention": "gumbel", "baseline": "learned", "cooling": "linear", "one_coin": True,
        "first_state": "learned", "scores_see_word": True, "gate": False,
        "captions": "one", "reward": "to_go", "precision": "fp32", "train_split": "train2017",
        "dev_split": "val", "attention_mode": "expectation",
        "length_penalty": 0.5, "places": 3, "start": "scenes-soft", "caption_reward": "truth",
        "caption_baseline": "none", "samples": 5,
    }  # fmt: skip
    base = replace(base, training=replace(base.training, precision="bf16", samples=2))
    for name, default in DEFAULTS.items():
        value = changed.get(name)
        if value is None:
            value = default / 2 if isinstance(default, float) and default else default or 0
            value = value + 1 if type(default) is int else value
            value = 0.25 if value == default else value
        if name == "kl_weight":  # it needs two others: see the rules between settings
            continue
        found = resolve(base, {name: value})
        parts = [base.model_config(9, 4), base.training, base.generation]
        now = [found.model_config(9, 4), found.training, found.generation]
        differ = [one for one, other in zip(now, parts, strict=True) if one != other]
        (own,) = differ
        assert own == replace(parts[now.index(own)], **{name: value}), name


def test_a_model_config_gets_its_sizes_from_the_data():
    found = resolve(PHOTOS, {"attention": "gumbel", "temperature": 2.0, "hidden_dim": 77})
    assert found.model == {"attention": "gumbel", "temperature": 2.0, "hidden_dim": 77}
    model = found.model_config(vocab_size=10, encoder_dim=20)
    assert model == ModelConfig(
        vocab_size=10, encoder_dim=20, attention="gumbel", temperature=2.0, hidden_dim=77
    )  # fmt: skip
    assert found.as_dict()["training"] == asdict(found.training)


def test_a_configuration_is_an_override_of_all_its_fields():
    training, generation = TrainingConfig(epochs=2, precision="fp32"), GenerationConfig(num_beams=2)
    for one in (training, {"training": training, "generation": generation}):
        found = resolve(SCENES, flat(one))
        assert found.training == training != SCENES.training
    assert found.generation == generation and found.model == SCENES.model
    assert flat(None) == {} and flat({"epochs": 2}) == {"epochs": 2}
    for one in (MODEL, {"model": MODEL}):
        with pytest.raises(TypeError, match="the data decides some fields of a ModelConfig: give"):
            flat(one)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"epoch": 3}, "^there is no setting 'epoch': choose from attention, attention_dim, "),
        ({"vocab_size": 3}, "^there is no setting 'vocab_size': choose from "),
        ({"epochs": 3, "hiden_dim": 9}, "^there is no setting 'hiden_dim': choose from "),
        ({"num_beams": 0}, "^num_beams is a whole number from 1 to 100, not 0$"),
        ({"caption_reward": "cider", "samples": 1}, "^caption_baseline = others needs several"),
        ({"caption_reward": "cider", "samples": 2, "kl_weight": 0.1}, "^kl_weight .* name one"),
        ({"kl_weight": 0.1}, "^kl_weight is of learning from a reward: name one"),
        ({"baseline": "others"}, "^baseline = others needs several samples .* set samples=2$"),
    ],
    ids=str,
)
def test_what_cannot_be_resolved_gets_one_sentence(overrides, says):
    with pytest.raises(ValueError, match=says) as error:
        resolve(PHOTOS, overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_auto_is_decided_once(monkeypatch, precision):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("labkit.training.config.bf16_is_fast", lambda: precision == "bf16")
    found = resolve(PHOTOS)
    assert found.training.precision == precision
    monkeypatch.setattr("labkit.training.config.bf16_is_fast", lambda: precision != "bf16")
    assert resolve(found) == found  # a resumed run keeps what was decided


# ------------------------------------------------------------------------------- as a user types


def test_settings_are_read_with_their_types():
    texts = ["epochs=3", "learning_rate=2e-3", "one_coin=True", "reward=to_go", "soft_share=0"]
    found = parse_settings(texts)
    assert found == {
        "epochs": 3, "learning_rate": 0.002, "one_coin": True, "reward": "to_go", "soft_share": 0.0,
    }  # fmt: skip
    assert type(found["epochs"]) is int and type(found["soft_share"]) is float
    assert resolve(PHOTOS, found).training.reward == "to_go"


def test_every_setting_can_be_typed():
    values = DEFAULTS | {
        "train_split": "train2017", "dev_split": "val", "length_penalty": 0.5,
        "attention_mode": "argmax", "start": "scenes-soft", "caption_reward": "mine.py:f",
    }  # fmt: skip
    assert parse_settings([f"{name}={value}" for name, value in values.items()]) == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch=3", "no setting 'epoch': choose from attention, attention_dim"),
        ("epochs=many", "epochs is a whole number from 1 to 1,000,000, not 'many'"),
        ("epochs=1.5", "epochs is a whole number .* not '1.5'"),
        ("dropout=", "dropout is a share from 0 to less than 1, not ''"),
        ("warmup_ratio=300", "warmup_ratio is a share from 0 to 1, not 300.0"),
        ("one_coin=1", "one_coin is true or false, not '1'"),
        ("captions=none", "captions is one, all or pairs, not 'none'"),
        ("dev_split=", "dev_split is a name, not ''"),
        ("seed", "'seed' has no value: write NAME=VALUE"),
    ],
)
def test_what_cannot_be_read_is_named(text, says):
    with pytest.raises(ValueError, match=says):
        parse_settings([text])


SHARES = ("soft_share", "sum_share", "warmup_ratio")
PARTS = ("ema_decay", "label_smoothing", "dropout", "word_dropout", "feature_dropout",
         "context_dropout")
SIZES = ("feature_dim", "embed_dim", "hidden_dim", "attention_dim")
COUNTED = (*SIZES, "samples", "places", "epochs", "batch_size", "min_count", "max_length",
           "patience", "log_every", "save_every", "num_beams")  # fmt: skip
NUMBERS = ("lambda_r", "lambda_e", "doubly_stochastic", "doubly_target", "max_grad_norm",
           "weight_decay", "length_penalty", "kl_weight")  # fmt: skip
CHOICES = ("attention", "reward", "baseline", "cooling", "first_state", "caption_baseline")
SWITCHES = ("one_coin", "scores_see_word", "gate")
FROM_0 = ("no_repeat_ngram_size", "mbr_candidates", "num_workers")
BAD = (
    {name: ["-0.1", "1.01", "2"] for name in SHARES}
    | {name: ["-0.1", "1", "2"] for name in PARTS}
    | {name: ["0", "-1", "1.5", "True", "9" * 12, "9" * 5000] for name in COUNTED}
    | {name: ["-1", "1e30", "1e400"] for name in NUMBERS}
    | {name: ["0", "-1", "1e30"] for name in ("temperature", "temperature_end", "learning_rate")}
    | {name: ["-1", "1.5", "9" * 12] for name in FROM_0}
    | {"seed": ["-1", "1.5", str(2**63)]}
    | {name: ["", "foo", "Soft"] for name in CHOICES}
    | {name: ["", "foo", "none"] for name in ("captions", "precision")}
    | {name: ["", "1", "yes"] for name in SWITCHES}
    | {"attention_mode": ["", "foo", "one"]}
    | {name: [""] for name in ("train_split", "dev_split", "start", "caption_reward")}
)


def test_each_setting_has_its_range():
    assert set(BAD) == set(DEFAULTS)
    for name, texts in BAD.items():
        fractions = type(DEFAULTS[name]) is float or name == "length_penalty"
        for text in [*texts, *(("nan", "inf", "-inf", "x") if fractions else ())]:
            with pytest.raises(ValueError, match=rf"^{name} is ") as error:
                parse_settings([f"{name}={text}"])
            assert len(str(error.value)) < 120 and "\n" not in str(error.value)


def test_a_wrong_type_is_refused_wherever_it_comes_from():
    for name in set(DEFAULTS) - OPTIONAL:
        for value in (None, "1", [1], True) if name not in SWITCHES else (None, "1", [1], 1):
            with pytest.raises(ValueError, match=f"^{name} is "):
                resolve(PHOTOS, {name: value})
            config = next(c for c in (MODEL, TrainingConfig(), GenerationConfig())
                          if hasattr(c, name))  # fmt: skip
            with pytest.raises(ValueError, match=f"^{name} is "):
                replace(config, **{name: value})
    with pytest.raises(ValueError, match="no setting 'hiden': choose from"):
        replace(TrainingConfig(), hiden=3)
    with pytest.raises(ValueError, match="the setting encoder_dim is missing"):
        ModelConfig(vocab_size=10)
    assert type(replace(MODEL, dropout=0).dropout) is float


NOW = {
    "warmup": "warmup_ratio",
    "clip": "max_grad_norm",
    "averaging": "ema_decay",
    "doubly": "doubly_stochastic",
    "target": "doubly_target",
    "smoothing": "label_smoothing",
    "readers": "num_workers",
    "unrepeated": "no_repeat_ngram_size",
    "consensus": "mbr_candidates",
    "reduced": "feature_dim",
    "embedding": "embed_dim",
    "hidden": "hidden_dim",
    "scorer": "attention_dim",
    "max_words": "max_length",
}  # what the settings that were tried are called now
MEANT = """soft_share=0 lambda_r=0 lambda_r=2 lambda_e=0 lambda_e=2 temperature=2 temperature_end=2
sum_share=0 warmup_ratio=0 weight_decay=0 weight_decay=2 max_grad_norm=0 max_grad_norm=2
ema_decay=0 doubly_stochastic=0 doubly_stochastic=2 doubly_target=0 doubly_target=2
label_smoothing=0 dropout=0 word_dropout=0 feature_dropout=0 no_repeat_ngram_size=0
mbr_candidates=0 seed=0 seed=999999999999 num_workers=0"""


def test_of_the_values_that_were_tried_the_bad_ones_are_refused(shared):
    lines = (shared / "data" / "cases" / "fuzzed_settings.txt").read_text().splitlines()
    pairs = [line.split()[0].partition("=") for line in lines]
    texts, accepted = [f"{NOW.get(name, name)}={value}" for name, _, value in pairs], []
    for text in texts:
        with suppress(ValueError):
            resolve(PHOTOS, parse_settings([text]))
            accepted.append(text)
    assert len(texts) > 150 and sorted(accepted) == sorted(MEANT.split())


# ----------------------------------------------------------------------------- as recommended


@pytest.mark.parametrize(("settings", "steps", "warmup_steps"), [
    (PHOTOS, 300, 300),  # of an epoch: 6,000 photographs of five captions
    *((resolve(PHOTOS, read_recipe(file.stem)), 1200, 300)  # and four versions of each
      for file in RECIPES.glob("flickr8k-*.toml")),
    (SCENES, 600, 200),  # 6,000 scenes
    (resolve(PHOTOS, {"epochs": 30}), 5, 25),  # 100 photographs
    (resolve(PHOTOS, {"warmup_ratio": 0}), 5, 0),
])  # fmt: skip
def test_the_warm_up_is_a_share_of_the_run(settings, steps, warmup_steps):
    schedule = Schedule(settings.training, steps)
    assert schedule.warmup_steps == warmup_steps
    rates = [schedule.rate(step) for step in range(schedule.total)]
    assert all(0 < rate <= settings.training.learning_rate for rate in rates)
    assert abs(int(np.argmax(rates)) - warmup_steps) <= 0.1 * schedule.total


def test_scenes_have_settings_of_their_own():
    assert defaults_for({"source": "scenes", "count": 3}) == SCENES != PHOTOS
    assert defaults_for({"source": "flickr8k"}) == PHOTOS
    assert PHOTOS.training == TrainingConfig() and SCENES.generation == GenerationConfig()
    assert SCENES.model_config(9, 4).hidden_dim == 256 != PHOTOS.model_config(9, 4).hidden_dim


@pytest.mark.parametrize("recipe", [file.stem for file in RECIPES.glob("*.toml")])
def test_the_recipes_of_the_package_can_be_followed(recipe):
    found = read_recipe(recipe)
    assert resolve(PHOTOS, found).model["attention"] == found["attention"]


def test_a_recipe_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flickr8k-soft").write_text("epochs = 2  # few\none_coin = true\nhidden_dim = 64\n")
    assert read_recipe("flickr8k-soft") == {"epochs": 2, "one_coin": True, "hidden_dim": 64}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 3", r"mine\.toml: there is no setting 'epoch'"),
        ("epochs = 1.5", r"mine\.toml: epochs is a whole number from 1 to 1,000,000, not 1\.5"),
        ("epochs = '3'", r"mine\.toml: epochs is a whole number .* not '3'"),
        ("dropout = nan", r"mine\.toml: dropout is a share .* not nan"),
        ("[epochs]\nn = 3", r"mine\.toml: epochs is a whole number"),
        ("epochs 3", r"mine\.toml: .*line 1"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(tmp_path, text, says):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_recipe(tmp_path / "mine.toml")
    with pytest.raises(FileNotFoundError, match="or one of flickr8k-hard, flickr8k-soft"):
        read_recipe("mine")


def test_a_recipe_of_an_editor_that_marks_its_files(tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = 2\n", encoding="utf-8-sig")
    assert read_recipe(tmp_path / "mine.toml") == {"epochs": 2}


def test_rules_between_two_settings_wait_until_all_are_known(tmp_path):
    (tmp_path / "mine.toml").write_text('baseline = "others"\n')
    found = read_recipe(tmp_path / "mine.toml") | parse_settings(["samples=2"])
    assert resolve(PHOTOS, found).training.samples == 2
    with pytest.raises(ValueError, match="set samples=2"):
        resolve(PHOTOS, read_recipe(tmp_path / "mine.toml"))


# ---------------------------------------------------------------------------------- as saved

SAVED = SCENES.as_dict() | {
    "model": asdict(SCENES.model_config(9, 4)), "encoder": {"name": "x"}, "store": "0f",
    "data": "somewhere", "cut": 0,
}  # fmt: skip
PARTS_SAVED = ("model", "training", "generation")
PLACES = [(), *((part,) for part in (*PARTS_SAVED, "encoder", "store")),
          *((part, name) for part in PARTS_SAVED for name in SAVED[part])]  # fmt: skip
ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(sorted(DEFAULTS)) | some.text(max_size=3), inner)
    ),
)


def test_saved_settings_are_read_as_they_were(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SAVED))
    found = read_settings(path)
    assert (found.training, found.generation) == (SCENES.training, SCENES.generation)
    assert found.model_config(9, 4) == SCENES.model_config(9, 4)
    assert not FROM_DATA & found.model.keys()


def test_a_run_of_an_earlier_version_had_the_defaults_of_later_settings(tmp_path):
    old = json.loads(json.dumps(SAVED))
    del old["model"]["first_state"], old["training"]["lambda_e"]
    compare_runs(old, SAVED, tmp_path)
    now = SAVED | {"model": SAVED["model"] | {"first_state": "learned"}}
    with pytest.raises(ValueError, match="first_state = mean, not learned"):
        compare_runs(old, now, tmp_path)


@settings(max_examples=int(os.environ.get("SPOILED", "150")), deadline=None)
@given(some.sampled_from(PLACES), ANYTHING)
def test_a_damaged_config_gets_one_sentence(tmp_path_factory, place, value):
    """No traceback of another kind, and nothing out of range is accepted."""
    facts = json.loads(json.dumps(SAVED))
    inner = facts
    for name in place[:-1]:
        inner = inner[name]
    facts = value if not place else facts
    if place:
        inner[place[-1]] = value
    path = tmp_path_factory.mktemp("run") / "config.json"
    path.write_text(json.dumps(facts))
    with suppress(ValueError):
        found = read_settings(path)
        resolve(Settings({}, found.training, found.generation), found.model)
        compare_runs(facts, SAVED, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"config\.json"):
        read_settings(path)


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        ("training", {"warmup_ratio": 300}, "warmup_ratio is a share from 0 to 1, not 300"),
        ("training", {"colour": "red"}, "no setting 'colour'"),
        ("model", SAVED["model"] | {"dropout": float("nan")}, "dropout is a share"),
        ("model", {"encoder_dim": 4}, "the setting vocab_size is missing"),
        ("generation", {"num_beams": 0}, "num_beams is a whole number"),
        ("training", ["epochs"], "of another version: TrainingConfig"),
        ("generation", None, "of another version: GenerationConfig"),
    ],
    ids=str,
)  # fmt: skip
def test_where_a_config_is_wrong_is_said(tmp_path, part, value, says):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SAVED | {part: value}))
    with pytest.raises(ValueError, match=rf"config\.json.*{says}"):
        read_settings(path)


def test_fields_are_given_by_name():
    with pytest.raises(TypeError, match=r"^name the fields of GenerationConfig, .* num_beams=5$"):
        GenerationConfig(5)
