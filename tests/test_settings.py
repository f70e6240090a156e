"""Settings: as typed, as recommended, as kept."""

from dataclasses import asdict, fields, replace

import pytest

from labkit.decoder import DecoderConfig
from labkit.settings import (
    RECIPES,
    SCENES,
    TrainConfig,
    decoder_config,
    parse_settings,
    read_recipe,
    recommended,
)


def test_settings_are_read_with_their_types():
    texts = ["epochs=3", "learning_rate=2e-3", "one_coin=True", "reward=to_go", "soft_share=0"]
    found = parse_settings(texts)
    assert found == {
        "epochs": 3, "learning_rate": 0.002, "one_coin": True, "reward": "to_go", "soft_share": 0.0,
    }  # fmt: skip
    assert type(found["epochs"]) is int and type(found["soft_share"]) is float
    assert TrainConfig(**found).reward == "to_go"


def test_every_setting_can_be_typed():
    config = asdict(SCENES)
    assert parse_settings([f"{name}={value}" for name, value in config.items()]) == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch=3", "no setting 'epoch': choose from attention, averaging"),
        ("epochs=many", "epochs is a whole number, not 'many'"),
        ("epochs=1.5", "epochs is a whole number"),
        ("dropout=", "dropout is a number, not ''"),
        ("one_coin=1", "one_coin is true or false, not '1'"),
        ("seed", "seed is a whole number, not ''"),
    ],
)
def test_what_cannot_be_read_is_named(text, says):
    with pytest.raises(ValueError, match=says):
        parse_settings([text])


def test_the_decoder_gets_all_that_it_shares():
    config = TrainConfig(attention="gumbel", temperature=2.0, hidden=77, places=3)
    decoder = decoder_config(config, vocabulary=10, feature=20)
    assert (decoder.vocabulary, decoder.feature) == (10, 20)
    shared = {f.name for f in fields(DecoderConfig)} - {"vocabulary", "feature"}
    assert {"temperature", "hidden", "places", "attention"} <= shared
    assert all(getattr(decoder, name) == getattr(config, name) for name in shared)


def test_scenes_have_settings_of_their_own():
    assert recommended({"source": "scenes", "count": 3}) == SCENES != TrainConfig()
    assert recommended({"source": "flickr8k"}) == TrainConfig()


@pytest.mark.parametrize("recipe", [file.stem for file in RECIPES.glob("*.toml")])
def test_the_recipes_of_the_package_can_be_followed(recipe):
    found = read_recipe(recipe)
    assert replace(TrainConfig(), **found).attention == found["attention"]


def test_a_recipe_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flickr8k-soft").write_text("epochs = 2  # few\none_coin = true\nhidden = 64\n")
    assert read_recipe("flickr8k-soft") == {"epochs": 2, "one_coin": True, "hidden": 64}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 3", r"mine\.toml: there is no setting 'epoch'"),
        ("epochs = 1.5", r"mine\.toml: epochs is a whole number, not '1\.5'"),
        ("epochs 3", r"mine\.toml: .*line 1"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told(tmp_path, text, says):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_recipe(tmp_path / "mine.toml")
    with pytest.raises(FileNotFoundError, match="or one of flickr8k-hard, flickr8k-soft"):
        read_recipe("mine")
