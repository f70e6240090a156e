"""Synthetic scenes: their captions are true, altered captions are false."""

import hashlib
import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from labkit.data.readers import tokenize
from labkit.data.scenes import (
    COLOURS,
    MOST_CAPTIONS,
    RELATIONS,
    SHAPES,
    SIZES,
    Phrase,
    Thing,
    draw,
    holds,
    is_true,
    make_scene,
    make_scenes,
    objects_right,
    phrase_ending,
    read_caption,
    things_of,
    write_caption,
)

GOLDEN = "6d734709596e9a3d"
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

RED = Thing("small", "red", "circle", 0.2, 0.5, 0.2)
BLUE = Thing("large", "blue", "square", 0.7, 0.55, 0.3)
TWIN = Thing("small", "red", "circle", 0.9, 0.1, 0.16)


@pytest.fixture(scope="module")
def scenes():
    """A hundred scenes with small pictures: (things, captions, boxes) of each."""
    return [(things_of(r.facts), r.captions, r.boxes) for r in make_scenes(100, pixels=8)]


def all_of(things, phrase: Phrase) -> list[Thing]:
    return [thing for thing in things if phrase.fits(thing)]


# ------------------------------------------------------------------------------------ the scenes


def test_scenes_are_the_same_everywhere():
    """Captions, boxes and things; not the pixels, where versions of Pillow may differ."""
    records = make_scenes(20, seed=0, split="test", pixels=8)
    content = json.dumps([[r.id, r.captions, r.boxes, r.facts] for r in records])
    assert hashlib.sha256(content.encode()).hexdigest()[:16] == GOLDEN
    assert records[0].captions[0] == "a blue star is right of a small purple cross"


def test_a_scene_depends_on_seed_split_and_number_alone():
    few, many = make_scenes(3, pixels=16), make_scenes(6, pixels=16)
    for one, other in zip(few, many, strict=False):
        assert one.id == other.id and one.captions == other.captions
        assert one.boxes == other.boxes and one.facts == other.facts
        assert np.array_equal(one.image, other.image)
    larger = make_scenes(3, captions=8, pixels=32)
    assert [r.facts for r in larger] == [r.facts for r in few]
    assert [r.captions[:5] for r in larger] == [r.captions for r in few]


def test_splits_and_seeds_hold_other_scenes():
    sets = [("train", 0), ("dev", 0), ("test", 0), ("train", 1)]
    records = [r for split, seed in sets for r in make_scenes(50, seed, split, pixels=8)]
    assert len({r.id for r in records}) == len({json.dumps(r.facts) for r in records}) == 200
    assert [r.split for r in records[::50]] == ["train", "dev", "test", "train"]


def test_records_are_whole(scenes):
    (record,) = make_scenes(1, pixels=40)
    assert record.image.shape == (40, 40, 3) and record.image.dtype == np.uint8
    assert json.loads(json.dumps(record.facts)) == record.facts
    for things, captions, boxes in scenes:
        assert 2 <= len(things) <= 4
        assert len(captions) == len(set(captions)) == len(boxes) == 5
        for caption, word_boxes in zip(captions, boxes, strict=True):
            assert len(word_boxes) == len(tokenize(caption)) == len(caption.split())


def test_all_kinds_of_shapes_occur_within_the_picture(scenes):
    things = [thing for things, _, _ in scenes for thing in things]
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.size for thing in things} == set(SIZES)
    for thing in things:
        low, high = SIZES[thing.size]
        assert low - 1e-4 <= thing.side <= high + 1e-4
        x0, y0, x1, y1 = thing.box
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        assert x1 - x0 == pytest.approx(thing.side, abs=1e-4)
        assert y1 - y0 == pytest.approx(thing.side, abs=1e-4)


def test_rounding_leads_no_box_outside():
    thing = replace(RED, x=0.0999, y=0.9001)
    assert thing.box == (0, pytest.approx(0.8001), pytest.approx(0.1999), 1)


def test_shapes_overlap_and_none_is_mostly_hidden(scenes):
    def mask(thing):
        return draw([replace(thing, colour="black")], shade=255, pixels=60)[..., 0] < 128

    overlapping = 0
    for things, _, _ in scenes:
        masks = [mask(thing) for thing in things]
        for k, below in enumerate(masks):
            above = np.any([np.zeros_like(below), *masks[k + 1 :]], 0)
            hidden = (below & above).sum() / below.sum()
            assert hidden < 0.5
            overlapping += hidden > 0
    assert overlapping > 20


def test_making_scenes_ends():
    for k in range(3000):
        assert len(make_scene(random.Random(k))) >= 2


def test_the_fewest_captions_a_scene_can_have():
    """Two like shapes that stand in no relation still have as many as are promised."""
    near = Thing("small", "red", "circle", 0.4, 0.4, 0.15)
    for other in (replace(near, x=0.49, y=0.49), replace(near, x=0.8)):
        rng = random.Random(0)
        texts = {write_caption([near, other], rng)[0] for _ in range(2000)}
        assert len(texts) >= MOST_CAPTIONS
    assert len(make_scenes(1, captions=MOST_CAPTIONS)[0].captions) == MOST_CAPTIONS
    with pytest.raises(ValueError, match="at most 8 captions, not 9"):
        make_scenes(1, captions=MOST_CAPTIONS + 1)


# ------------------------------------------------------------------------------------ the pixels


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_surrounds_its_shape_closely(shape):
    thing = Thing("large", "red", shape, 0.45, 0.6, 0.34)
    pixels = 100
    painted = np.any(draw([thing], shade=128, pixels=pixels) != 128, -1)
    rows, columns = np.nonzero(painted)
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    for edge, box_edge, sign in zip(found, thing.box, (1, 1, -1, -1), strict=True):
        inside = sign * (edge - box_edge * pixels)  # how far the paint stays within the box
        assert -1 <= inside <= 0.1 * thing.side * pixels + 1


def test_paint_of_a_colour_lies_in_the_boxes_of_that_colour():
    for record in make_scenes(30, seed=2):
        edges = (np.arange(112) + 0.5) / 112
        for name, colour in COLOURS.items():
            inside = np.zeros((112, 112), bool)
            for thing in things_of(record.facts):
                if thing.colour == name:
                    x0, y0, x1, y1 = thing.box
                    inside |= ((edges >= y0 - 0.01) & (edges <= y1 + 0.01))[:, None] & (
                        (edges >= x0 - 0.01) & (edges <= x1 + 0.01)
                    )
            painted = (record.image == colour).all(-1)
            assert not (painted & ~inside).any()
            assert painted.any() == inside.any()


def test_later_shapes_lie_on_top():
    below, above = RED, replace(BLUE, x=0.2, y=0.5)
    assert tuple(draw([below, above])[56, 22]) == COLOURS["blue"]
    assert tuple(draw([above, below])[56, 22]) == COLOURS["red"]


# ---------------------------------------------------------------------------------- the captions


def test_relations():
    assert [relation for relation in RELATIONS if holds(relation, RED, BLUE)] == ["left"]
    assert [relation for relation in RELATIONS if holds(relation, BLUE, RED)] == ["right"]
    assert [relation for relation in RELATIONS if holds(relation, TWIN, BLUE)] == ["right", "above"]
    nearly = replace(RED, x=RED.x + 0.09)
    assert not any(holds(relation, RED, nearly) for relation in RELATIONS)


def test_every_caption_is_true_and_of_the_grammar(scenes):
    for things, captions, _ in scenes:
        for caption in captions:
            phrases, links = read_caption(caption)
            assert len(phrases) == 2 and len(links) == 1
            assert all(all_of(things, phrase) for phrase in phrases)
            assert is_true(caption, things)


def test_all_forms_occur(scenes):
    captions = [caption for _, captions, _ in scenes for caption in captions]
    for part in ("there is", " and ", " is left of ", " is above ", *OPPOSITE, "small", "large"):
        assert sum(part in caption for caption in captions) > 10, part
    assert any(phrase.size is None for c in captions for phrase in read_caption(c)[0])


def test_articles(scenes):
    captions = [caption for _, captions, _ in scenes for caption in captions]
    articles = [pair for c in captions for pair in re.findall(r"\b(an?) (\w)", c)]
    assert {first for article, first in articles if article == "an"} == {"o"}
    assert not [first for article, first in articles if article == "a" and first in "aeiou"]


def test_each_word_has_the_box_of_the_shape_it_speaks_of(scenes):
    for things, captions, boxes in scenes:
        for caption, word_boxes in zip(captions, boxes, strict=True):
            words = tokenize(caption)
            for k, word in enumerate(words):
                named = word in SHAPES or word in COLOURS or word in SIZES or word in ("a", "an")
                assert (word_boxes[k] is not None) == named
                if word in SHAPES:
                    fitting = all_of(things, phrase_ending(words, k))
                    assert word_boxes[k] in [thing.box for thing in fitting]
                    start = max(i for i in range(k) if words[i] in ("a", "an"))
                    assert set(word_boxes[start : k + 1]) == {word_boxes[k]}


def test_the_boxes_of_a_relation_stand_in_it(scenes):
    checked = 0
    for things, captions, boxes in scenes:
        for caption, word_boxes in zip(captions, boxes, strict=True):
            (link,) = read_caption(caption)[1]
            if link:
                ends = [k for k, word in enumerate(tokenize(caption)) if word in SHAPES]
                pair = [next(t for t in things if t.box == word_boxes[k]) for k in ends]
                assert holds(link, *pair)
                checked += 1
    assert checked > 100


def test_another_colour_is_false(scenes):
    for things, captions, _ in scenes:
        absent = sorted(set(COLOURS) - {thing.colour for thing in things})
        for caption in captions:
            for colour in re.findall("|".join(COLOURS), caption):
                assert not is_true(caption.replace(colour, absent[0]), things)


def test_exchanged_colours_are_false():
    """What a bag of words cannot see: which colour belongs to which shape."""
    assert is_true("a red circle and a blue square", [RED, BLUE])
    assert not is_true("a blue circle and a red square", [RED, BLUE])
    assert not is_true("a large red circle and a small blue square", [RED, BLUE])


def test_opposite_and_swapped_relations_are_false(scenes):
    checked = 0
    for things, captions, _ in scenes:
        for caption in captions:
            phrases, (link,) = read_caption(caption)
            if link and all(len(all_of(things, phrase)) == 1 for phrase in phrases):
                text = RELATIONS[link]
                assert not is_true(caption.replace(text, OPPOSITE[text]), things)
                first, second = re.split(rf" (?:is )?{text} ", caption.removeprefix("there is "))
                assert is_true(f"{second} {OPPOSITE[text]} {first}", things)
                assert not is_true(f"{second} {text} {first}", things)
                checked += 1
    assert checked > 100


def test_two_phrases_need_two_shapes():
    assert not is_true("a red circle and a red circle", [RED, BLUE])
    assert is_true("a red circle and a red circle", [RED, BLUE, TWIN])
    assert is_true("a red circle", [RED, BLUE])
    assert not is_true("a red circle and a red circle and a red circle", [RED, BLUE, TWIN])


def test_of_several_that_fit_one_pair_is_enough():
    caption = "a red circle right of a blue square"
    assert not is_true(caption, [RED, BLUE])
    assert is_true(caption, [RED, BLUE, TWIN])  # the twin is right of it


def test_a_chain_of_relations():
    caption = "a small circle"
    assert read_caption(caption) is None
    caption = "a red circle left of a blue square and a small red circle"
    expected = [Phrase(None, "red", "circle"), Phrase(None, "blue", "square")]
    assert read_caption(caption) == ([*expected, Phrase("small", "red", "circle")], ["left", None])
    assert is_true(caption, [RED, BLUE, TWIN]) and not is_true(caption, [RED, BLUE])


def test_what_is_not_of_the_grammar_is_not_true():
    for caption in (
        "",
        "there is",
        "red circle",
        "a red",
        "a red small circle",
        "a red circle and",
        "a red circle is",
        "a red circle left a blue square",
        "a red circle a blue square",
        "a red circle and a blue square left",
        "a red circle of a blue square",
        "the red circle",
        "a circle red",
    ):
        assert read_caption(caption) is None, caption
        assert not is_true(caption, [RED, BLUE]), caption
    assert is_true("There is a red circle, left of a blue square.", [RED, BLUE])


# ---------------------------------------------------------------------------------- objects right


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a small red circle and a large blue square", (2, 2)),
        ("a red circle and a red square", (1, 2)),
        ("a large red circle", (0, 1)),
        ("a circle and a red and blue square", (1, 2)),
        ("circle red circle", (1, 2)),
        ("red circle circle", (1, 2)),
        ("red circle square", (1, 2)),
        ("small circle", (0, 1)),
        ("a red red circle", (1, 1)),
        ("red and small", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_objects_right(caption, expected):
    assert objects_right(caption, [RED, BLUE]) == expected


def test_objects_of_true_captions_are_right(scenes):
    for things, captions, _ in scenes:
        assert all(objects_right(caption, things) == (2, 2) for caption in captions)


def test_phrase_ending():
    words = ["a", "small", "red", "circle"]
    assert phrase_ending(words, 3) == Phrase("small", "red", "circle")
    assert phrase_ending(words[2:], 1) == Phrase(None, "red", "circle")
    assert [phrase_ending(words, k) for k in (0, 1, 2, 4)] == [None] * 4
    assert phrase_ending(["circle", "red"], 0) is None
