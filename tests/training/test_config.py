"""Settings: as typed, as recommended, as kept."""

import json
from contextlib import suppress
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labkit.model.attention import HardConfig
from labkit.model.decoder import ModelConfig, ModelOptions
from labkit.training.config import (
    RECIPES,
    SCENES,
    TrainingConfig,
    compare,
    decoder_config,
    parse_settings,
    read_config,
    read_recipe,
    defaults_for,
)
from labkit.training.schedule import Schedule


def test_settings_are_read_with_their_types():
    texts = ["epochs=3", "learning_rate=2e-3", "one_coin=True", "reward=to_go", "soft_share=0"]
    found = parse_settings(texts)
    assert found == {
        "epochs": 3, "learning_rate": 0.002, "one_coin": True, "reward": "to_go", "soft_share": 0.0,
    }  # fmt: skip
    assert type(found["epochs"]) is int and type(found["soft_share"]) is float
    assert TrainingConfig(**found).reward == "to_go"


def test_every_setting_can_be_typed():
    config = asdict(replace(SCENES, train_split="train2017", dev_split="val"))
    assert parse_settings([f"{name}={value}" for name, value in config.items()]) == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch=3", "no setting 'epoch': choose from attention, averaging"),
        ("epochs=many", "epochs is a whole number from 1 to 1,000,000, not 'many'"),
        ("epochs=1.5", "epochs is a whole number .* not '1.5'"),
        ("dropout=", "dropout is a share from 0 to less than 1, not ''"),
        ("warmup=300", "warmup is a share from 0 to 1, not 300.0"),
        ("one_coin=1", "one_coin is true or false, not '1'"),
        ("captions=none", "captions is one, all or pairs, not 'none'"),
        ("dev_split=", "dev_split is a name, not ''"),
        ("seed", "seed is a whole number from 0 .* not ''"),
    ],
)
def test_what_cannot_be_read_is_named(text, says):
    with pytest.raises(ValueError, match=says):
        parse_settings([text])


SHARES = ("soft_share", "sum_share", "warmup")
PARTS = ("averaging", "smoothing", "dropout", "word_dropout", "feature_dropout")
SIZES = ("reduced", "embedding", "hidden", "scorer")
COUNTED = (*SIZES, "samples", "places", "epochs", "batch_size", "min_count", "max_words",
           "patience", "log_every", "save_every")  # fmt: skip
NUMBERS = ("lambda_r", "lambda_e", "doubly", "target", "clip", "weight_decay")
BAD = (
    {name: ["-0.1", "1.01", "2"] for name in SHARES}
    | {name: ["-0.1", "1", "2"] for name in PARTS}
    | {name: ["0", "-1", "1.5", "True", "9" * 12, "9" * 5000] for name in COUNTED}
    | {name: ["-1", "1e30", "1e400"] for name in NUMBERS}
    | {name: ["0", "-1", "1e30"] for name in ("temperature", "temperature_end", "learning_rate")}
    | {name: ["-1", "1.5", "9" * 12] for name in ("unrepeated", "consensus", "readers")}
    | {"seed": ["-1", "1.5", str(2**63)]}
    | {name: ["", "foo", "Soft"] for name in ("attention", "reward", "baseline", "cooling")}
    | {name: ["", "foo", "none"] for name in ("captions", "precision")}
    | {"one_coin": ["", "1", "yes"], "train_split": [""], "dev_split": [""]}
)


def test_each_setting_has_its_range():
    assert set(BAD) == {f.name for f in fields(TrainingConfig)}
    for name, texts in BAD.items():
        fractions = type(getattr(TrainingConfig(), name)) is float
        for text in [*texts, *(("nan", "inf", "-inf", "x") if fractions else ())]:
            with pytest.raises(ValueError, match=rf"^{name} is ") as error:
                parse_settings([f"{name}={text}"])
            assert len(str(error.value)) < 120 and "\n" not in str(error.value)


def test_a_wrong_type_is_refused_wherever_it_comes_from():
    for name in {f.name for f in fields(TrainingConfig)} - {"train_split", "dev_split"}:
        for value in (None, "1", [1], True) if name != "one_coin" else (None, "1", [1], 1):
            with pytest.raises(ValueError, match=f"^{name} is "):
                replace(TrainingConfig(), **{name: value})
    with pytest.raises(ValueError, match="no setting 'hiden': choose from"):
        replace(TrainingConfig(), hiden=3)
    with pytest.raises(ValueError, match="the setting feature is missing"):
        ModelConfig(10)
    assert type(TrainingConfig(dropout=0).dropout) is float


MEANT = """soft_share=0 lambda_r=0 lambda_r=2 lambda_e=0 lambda_e=2 temperature=2 temperature_end=2
sum_share=0 warmup=0 weight_decay=0 weight_decay=2 clip=0 clip=2 averaging=0 doubly=0 doubly=2
target=0 target=2 smoothing=0 dropout=0 word_dropout=0 feature_dropout=0 unrepeated=0 consensus=0
seed=0 seed=999999999999 readers=0"""


def test_of_the_values_that_were_tried_the_bad_ones_are_refused(shared):
    lines = (shared / "data" / "cases" / "fuzzed_settings.txt").read_text().splitlines()
    texts, taken = [line.split()[0] for line in lines], []
    for text in texts:
        with suppress(ValueError):
            TrainingConfig(**parse_settings([text]))
            taken.append(text)
    assert len(texts) > 150 and sorted(taken) == sorted(MEANT.split())


def test_the_reference_tells_each_setting():
    lines = "".join(cls.__doc__ for cls in (HardConfig, ModelOptions, TrainingConfig))
    for field in fields(TrainingConfig):
        assert f"    {field.name}: " in lines, field.name
    assert "(a share from 0 to less than 1; by default 0.999)" in lines


@pytest.mark.parametrize(("config", "steps", "warmup"), [
    (TrainingConfig(), 300, 300),  # of an epoch: 6,000 photographs of five captions
    *((replace(TrainingConfig(), **read_recipe(file.stem)), 1200, 300)  # and four views of each
      for file in RECIPES.glob("*.toml")),
    (SCENES, 600, 200),  # 6,000 scenes
    (replace(TrainingConfig(), epochs=30), 5, 25),  # 100 photographs
    (replace(TrainingConfig(), warmup_ratio=0), 5, 0),
])  # fmt: skip
def test_the_warm_up_is_a_share_of_the_run(config, steps, warmup_ratio):
    course = Schedule(config, steps)
    assert course.warmup_ratio == warmup_ratio
    rates = [course.rate(step) for step in range(course.total)]
    assert all(0 < rate <= config.learning_rate for rate in rates)
    assert abs(int(np.argmax(rates)) - warmup_ratio) <= 0.1 * course.total


def test_the_decoder_gets_all_that_it_shares():
    config = TrainingConfig(attention="gumbel", temperature=2.0, hidden=77, places=3)
    decoder = decoder_config(config, vocabulary=10, feature=20)
    assert (decoder.vocabulary, decoder.feature) == (10, 20)
    shared = {f.name for f in fields(ModelConfig)} - {"vocabulary", "feature"}
    assert {"temperature", "hidden", "places", "attention"} <= shared
    assert all(getattr(decoder, name) == getattr(config, name) for name in shared)


def test_scenes_have_settings_of_their_own():
    assert defaults_for({"source": "scenes", "count": 3}) == SCENES != TrainingConfig()
    assert defaults_for({"source": "flickr8k"}) == TrainingConfig()


@pytest.mark.parametrize("recipe", [file.stem for file in RECIPES.glob("*.toml")])
def test_the_recipes_of_the_package_can_be_followed(recipe):
    found = read_recipe(recipe)
    assert replace(TrainingConfig(), **found).attention == found["attention"]


def test_a_recipe_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flickr8k-soft").write_text("epochs = 2  # few\none_coin = true\nhidden = 64\n")
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
def test_what_is_wrong_with_a_recipe_is_told(tmp_path, text, says):
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
    assert TrainingConfig(**found).samples == 2
    with pytest.raises(ValueError, match="samples to be 2"):
        TrainingConfig(**read_recipe(tmp_path / "mine.toml"))


KEPT = {"train": asdict(SCENES), "decoder": {"vocab_size": 9}, "encoder": {"name": "x"},
        "store": "0f", "data": "somewhere", "cut": 0}  # fmt: skip
ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3)
    | some.dictionaries(some.sampled_from(sorted(KEPT["train"])) | some.text(max_size=3), inner),
)


@settings(max_examples=150, deadline=None)
@given(some.sampled_from([(), ("train",), *(("train", name) for name in KEPT["train"]),
                          ("decoder",), ("encoder",), ("store",)]), ANYTHING)  # fmt: skip
def test_a_spoiled_config_gets_one_sentence(tmp_path_factory, place, value):
    """No traceback of another kind, and nothing that is out of range is taken."""
    facts = json.loads(json.dumps(KEPT))
    inner = facts
    for name in place[:-1]:
        inner = inner[name]
    facts = value if not place else facts
    if place:
        inner[place[-1]] = value
    path = tmp_path_factory.mktemp("run") / "config.json"
    path.write_text(json.dumps(facts))
    with suppress(ValueError):
        config = read_config(path)
        TrainingConfig(**asdict(config))
        compare(facts, KEPT, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(path)


def test_where_a_config_is_wrong_is_said(tmp_path):
    path = tmp_path / "config.json"
    for train, says in (
        ({"warmup_ratio": 300}, "warmup is a share from 0 to 1, not 300"),
        ({"colour": "red"}, "no setting 'colour'"),
        ({"dropout": float("nan")}, "dropout is a share"),
        (["epochs"], "of another version"),
    ):
        path.write_text(json.dumps({"train": train}))
        with pytest.raises(ValueError, match=rf"config\.json.*{says}"):
            read_config(path)
