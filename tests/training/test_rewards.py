"""Rewards of captions: what each pays for, and CIDEr-D against pycocoevalcap's own."""

import random

import pytest
from pycocoevalcap.cider.cider import Cider as Theirs

from labkit import make_scenes
from labkit.data.scenes import things_of
from labkit.evaluation.metrics import score_each, tokenized
from labkit.training.rewards import (
    REWARDS,
    Cider,
    ImageFacts,
    facts,
    full_path,
    read_reward,
    truth,
)

SCENES = make_scenes(30, seed=4)
IMAGES = [ImageFacts(scene.captions, scene.facts) for scene in SCENES]


def test_truth_pays_for_what_is_true_alone():
    (one, other), image = things_of(SCENES[0].facts)[:2], IMAGES[0]
    right = f"a {one.colour} {one.shape} and a {other.colour} {other.shape}"
    wrong = f"a {one.colour} {one.shape} and a {one.size} {one.colour} {one.shape}"
    if one.colour == other.colour and one.shape == other.shape:
        pytest.fail("choose another scene")
    assert truth([right, wrong, "", right + " and"], [image] * 4) == [1, 0, 0, 0]
    assert truth([scene.captions[0] for scene in SCENES], IMAGES) == [1] * len(SCENES)


def test_facts_pay_for_each_fact_of_a_true_caption():
    image = IMAGES[0]
    full = [text for text in image.references if any(word in text for word in ("left", "above"))]
    one = things_of(image.facts)[0]
    short, sized = f"a {one.colour} {one.shape}", f"a {one.size} {one.colour} {one.shape}"
    false = "small" if one.size == "large" else "large"
    texts = [short, sized, f"a {false} {one.colour} {one.shape}", ""]
    assert facts(texts, [image] * 4) == pytest.approx([0.2, 0.4, 0, 0])
    for text in full:
        sizes = text.count("large") + text.count("small")
        assert facts([text], [image]) == pytest.approx([(2 + sizes + 1) / 5])


def test_cider_is_pycocoevalcaps_to_six_digits():
    rng = random.Random(0)
    corpus = {str(n): list(scene.captions) for n, scene in enumerate(SCENES)}
    corpus["0"] = ["A man's dog, isn't it?", "two dogs -- one (brown) runs", "a dog"]
    texts = [text for some in corpus.values() for text in some]
    words = " ".join(texts[3:]).split()
    given = {}
    for image in corpus:
        mixed = " ".join(rng.choices(words, k=rng.randrange(9)))
        given[image] = mixed if rng.randrange(4) == 0 else rng.choice(texts[3:])
    theirs = Theirs().compute_score(*tokenized(corpus, {k: [v] for k, v in given.items()}))[1]
    ours = Cider(list(corpus.values()))
    images = [ImageFacts(some, {}) for some in corpus.values()]
    assert ours(list(given.values()), images) == pytest.approx(list(theirs), abs=1e-6)
    assert ours(["a dog"], [ImageFacts([], {})]) == [0]


def test_cider_knows_references_that_are_not_in_its_corpus():
    """The frequencies stay those of the corpus: the dev split does not change what is rare."""
    other = ImageFacts(["a zebra -- it's small", "a small zebra runs"], {})
    both = Cider([image.references for image in IMAGES])
    once = both(["a small zebra"], [other])
    assert once[0] > 1 and both(["a small zebra"], [other]) == once
    assert both(["a small red circle"], IMAGES[:1]) == Cider(
        [image.references for image in IMAGES]
    )(["a small red circle"], IMAGES[:1])


def test_cider_and_meteor_are_added_as_shares_of_one():
    reward = read_reward("cider+meteor", IMAGES)
    captions = [scene.captions[0] for scene in SCENES]
    references = {str(n): list(image.references) for n, image in enumerate(IMAGES)}
    meteor = score_each(references, dict(zip(references, captions, strict=True)))["meteor"]
    cider = read_reward("cider", IMAGES)(captions, IMAGES)
    wanted = [one / 10 + other for one, other in zip(cider, meteor, strict=True)]
    assert reward(captions, IMAGES) == pytest.approx(wanted)


def test_cider_and_meteor_of_images_without_references_are_nothing():
    """A batch may have none, if few images have captions."""
    bare = ImageFacts([], {})
    assert read_reward("cider+meteor", IMAGES)(["a dog", "a cat"], [bare, bare]) == [0, 0]


def test_a_function_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def short(caption, references, facts):\n"
        "    return len(references) / (1 + len(caption.split())) + len(facts['things'])\n"
    )
    reward = read_reward(f"{file}:short", IMAGES)
    assert reward(["a b", ""], IMAGES[:2]) == pytest.approx(
        [5 / 3 + len(IMAGES[0].facts["things"]), 5 + len(IMAGES[1].facts["things"])]
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("return float('nan')", "gives nan for the caption 'a b': a reward is a finite number"),
        ("return None", "gives None for the caption 'a b'"),
        ("return '1'", "gives '1' for the caption 'a b'"),
        ("return facts['size']", "fails with KeyError: 'size', for the caption 'a b'"),
        ("return 10**400", "fails with OverflowError"),
        ("raise SystemExit(0)", "fails with SystemExit: 0, for the caption 'a b'"),
        ("import numpy; return numpy.ones(1)", "gives array"),
        ("return (", r"mine\.py cannot be run: SyntaxError"),
        ("return 1\nraise SystemExit(0)", r"mine\.py cannot be run: SystemExit"),
    ],
)
def test_a_function_that_gives_no_number_is_named(tmp_path, code, says):
    file = tmp_path / "mine.py"
    file.write_text(f"def f(caption, references, facts):\n    {code}\n")
    with pytest.raises(ValueError, match=says):
        read_reward(f"{file}:f", IMAGES)(["a b"], IMAGES[:1])


@pytest.mark.parametrize(
    ("name", "images", "kind", "says"),
    [
        ("bleu", IMAGES, ValueError, "no reward 'bleu': choose truth, facts, cider, "),
        ("none.py:f", IMAGES, FileNotFoundError, "there is no file none.py"),
        ("truth", [ImageFacts(["a dog"], {})], ValueError, "the reward truth needs drawn scenes"),
        ("cider", [ImageFacts([], {})], ValueError, "the training split has none"),
    ],
)
def test_what_is_no_reward_is_said_in_a_sentence(name, images, kind, says):
    with pytest.raises(kind, match=says):
        read_reward(name, images)
    assert set(REWARDS) == {"truth", "facts", "cider", "cider+meteor"}


def test_a_file_without_the_function_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"mine\.py has no function 'f'"):
        read_reward(f"{tmp_path / 'mine.py'}:f", IMAGES)


@pytest.mark.parametrize("code", [
    "'a' in caption", "numpy.bool_(True)", "numpy.float32(1)", "numpy.array(1.0)", "torch.ones(())",
    "Fraction(1)", "Worth().number",
])  # fmt: skip
def test_any_single_number_is_a_reward(tmp_path, code):
    """The file may have blanks and other letters in its name, and dataclasses in it."""
    file = tmp_path / "my réward.py"
    file.write_text(
        "from __future__ import annotations\nimport numpy, torch\nfrom fractions import Fraction\n"
        "from dataclasses import dataclass\n@dataclass\nclass Worth:\n    number: int = 1\n"
        f"def f(caption, references, facts):\n    return {code}\n", encoding="utf-8"
    )  # fmt: skip
    found = read_reward(f"{file}:f", IMAGES)(["a b"], IMAGES[:1])
    assert found == [1.0] and type(found[0]) is float


def test_a_file_is_named_by_its_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py:f", "./mine.py:f", f"{tmp_path}/x/../mine.py:f"):
        assert full_path(name) == f"{tmp_path / 'mine.py'}:f"
    for name in ("truth", "bleu", "mine.py", "C:f"):
        assert full_path(name) == name
    with pytest.raises(FileNotFoundError, match=r"C:\\x\\r\.py$"):
        read_reward("C:\\x\\r.py:f", IMAGES)
