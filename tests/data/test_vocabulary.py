"""Words to ids and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.data.readers import tokenize
from labkit.data.vocabulary import BOS, EOS, PAD, SPECIAL, UNK, Vocabulary

CAPTIONS = ["A dog runs .", "A dog , a cat", "The man's cat sat"]


def test_most_frequent_first_then_alphabetical():
    words = Vocabulary.build(CAPTIONS, min_count=1).words
    assert words == (*SPECIAL, "a", "cat", "dog", "'s", "man", "runs", "sat", "the")


def test_the_order_of_the_captions_does_not_matter():
    assert Vocabulary.build(CAPTIONS, 1) == Vocabulary.build(CAPTIONS[::-1], 1)


def test_min_count():
    assert Vocabulary.build(CAPTIONS, min_count=2).words == (*SPECIAL, "a", "cat", "dog")
    assert "dog" not in Vocabulary.build([*CAPTIONS, "a a"]).words
    with pytest.raises(ValueError, match="occurs 9 times"):
        Vocabulary.build(CAPTIONS, min_count=9)


def test_encode_and_decode():
    vocabulary = Vocabulary.build(CAPTIONS, min_count=2)
    ids = vocabulary.encode("A DOG bites a cat!")
    assert ids == [BOS, 4, 6, UNK, 4, 5, EOS]
    assert vocabulary.decode(ids) == "a dog <unk> a cat"
    assert vocabulary.encode("") == [BOS, EOS]


def test_a_long_caption_is_cut_and_still_ends():
    vocabulary = Vocabulary.build(CAPTIONS, min_count=1)
    assert vocabulary.encode("a dog runs", max_length=2) == vocabulary.encode("a dog")
    assert vocabulary.encode("a dog runs", max_length=3) == vocabulary.encode("a dog runs")


def test_decode_stops_at_the_end_and_skips_padding():
    vocabulary = Vocabulary.build(CAPTIONS, min_count=1)
    assert vocabulary.decode([PAD, BOS, 4, PAD, 6, EOS, 5, 999]) == "a dog"
    assert vocabulary.decode([]) == ""
    for wrong in (-1, len(vocabulary)):
        with pytest.raises(ValueError, match=f"id {wrong} "):
            vocabulary.decode([4, wrong])


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1).filter(lambda c: any(map(tokenize, c))))
def test_every_known_caption_comes_back_as_its_words(captions):
    vocabulary = Vocabulary.build(captions, min_count=1)
    for caption in captions:
        ids = vocabulary.encode(caption)
        assert UNK not in ids
        assert vocabulary.decode(ids) == " ".join(tokenize(caption))
        assert vocabulary.encode(vocabulary.decode(ids)) == ids


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary.build([*CAPTIONS, "un café"], min_count=1)
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert Vocabulary.load(path).encode("café") == vocabulary.encode("café")
    assert [p.name for p in tmp_path.iterdir()] == ["vocabulary.json"]
    assert "café" in json.loads(path.read_text(encoding="utf-8"))["words"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"words": ["a"]}', '{"words": 3}', '{"words": [[]]}', '{"words": "abcd"}'],
)
def test_load_refuses_what_is_no_vocabulary(tmp_path, content):
    path = tmp_path / "words.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"words\.json is not a vocabulary"):
        Vocabulary.load(path)


def test_load_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "none.json")


@pytest.mark.parametrize("words", [("a",), (*SPECIAL, "a", "a"), (*SPECIAL, "a", 3)])
def test_a_vocabulary_has_each_word_once_after_the_four(words):
    with pytest.raises(ValueError, match="each word once"):
        Vocabulary(words)
