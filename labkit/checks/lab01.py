"""The exercises of lab 1: lines and lists of captions, words, and what a vocabulary loses."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.captions import tokenize
from labkit.checks import compare, exercise, first_problem, run

LINES = """\
1001_ab.jpg#0\tA dog runs .
1001_ab.jpg#1\tA brown dog on the grass .
77_c.d.jpg#0\tThe player with the #7 on his shirt .
1001_ab.jpg#2\tThe dog is wet .
77_c.d.jpg#1\tA football player .
"""
PARTS = (
    "a line did not fall into as many parts as you expect. A caption may hold a # of its own, so "
    "split at the tab first. And text that ends with a line break has an empty last line if you "
    "split it at line breaks: splitlines() gives none"
)
COCO = {
    "images": [
        {"id": 522418, "file_name": "000000522418.jpg"},
        {"id": 9, "file_name": "000000000009.jpg"},
        {"id": 318219, "file_name": "000000318219.jpg"},
    ],
    "annotations": [
        {"id": 31, "image_id": 9, "caption": "A plate of food."},
        {"id": 12, "image_id": 522418, "caption": "A woman cuts a cake."},
        {"id": 45, "image_id": 9, "caption": "Bread, fruit and broccoli."},
    ],
}
SAID = "A MAN in a T-shirt - and his dog (wet!) run; the man has 2 dogs."
TRAIN = [
    "a dog runs on the grass", "a dog and a cat", "the cat sleeps on the grass",
    "a zebra on the grass", "a dog sleeps", "the dog runs",
]  # fmt: skip
HELD_OUT = [
    "a zebra runs on the grass",
    "the walrus sleeps",
    "a dog runs",
    "a dog and a dog",
    "a walrus and a walrus",
]
LENGTHS = [9, 7, 11, 12, 7, 30, 10, 8, 9, 14]


def same(got: Any, right: Any, name: str, mistakes: Mapping[str, Any]) -> str | None:
    """Compare lists or dictionaries, and name the mistake."""
    for sentence, wrong in mistakes.items():
        if got == wrong:
            return sentence
    if type(got) is not type(right) and not isinstance(got, dict):
        return f"{name} should be a {type(right).__name__}, not a {type(got).__name__}"
    if got == right:
        return None
    if isinstance(right, dict) and set(got) != set(right):
        return f"{name} has the keys {list(got)}, but it should have {list(right)}"
    return f"{name} is {got!r}, but it should be {right!r}"


def gathered(pairs: Sequence[tuple[Any, str]]) -> dict[Any, list[str]]:
    """Put all captions of one name into a list."""
    lists: dict[Any, list[str]] = {}
    for name, caption in pairs:
        lists.setdefault(name, []).append(caption)
    return lists


@exercise("1.1", "Write `read_lines(text)`: for each photograph's name the list of its captions.")
def read_lines(answer: Any) -> str | None:
    """Flickr8k.token.txt."""
    pairs = [tuple(line.split("\t")) for line in LINES.splitlines()]
    names = [(key.split("#")[0], caption) for key, caption in pairs]
    try:
        got = run(answer, LINES)
    except ValueError as error:
        if "unpack" not in str(error):
            raise
        return PARTS
    mistakes = {
        "each photograph has one caption only: a later one takes the place of an earlier one": (
            dict(names)
        ),
        "each photograph has its first caption only": dict(reversed(names)),
        "the names still end with #0 and so on, so each caption is a photograph of its own": (
            gathered(pairs)
        ),
        "the names still end with #0 and so on": dict(pairs),
        "a photograph's name ends with .jpg, and may hold another dot: cut at the # alone": (
            gathered([(name.split(".")[0], caption) for name, caption in names])
        ),
        "the name of the file ends with .jpg: keep that": (
            gathered([(name.removesuffix(".jpg"), caption) for name, caption in names])
        ),
        "the captions still end with a line break": (
            gathered([(name, f"{caption}\n") for name, caption in names])
        ),
        "only a caption's first word is there: split at the tab, not at spaces": (
            gathered([(name, caption.split()[0]) for name, caption in names])
        ),
    }
    return same(got, gathered(names), "your dictionary", mistakes)


@exercise("1.2", "Write `captions_of(data)`: for each image's id the list of its captions.")
def captions_of(answer: Any) -> str | None:
    """captions_train2017.json."""
    got = run(answer, json.loads(json.dumps(COCO)))
    ids = [image["id"] for image in COCO["images"]]
    notes = [(note["image_id"], note["caption"]) for note in COCO["annotations"]]
    captions = [caption for _, caption in notes]
    right = {i: [] for i in ids} | gathered(notes)
    own = [(note["id"], note["caption"]) for note in COCO["annotations"]]
    files = {image["id"]: image["file_name"] for image in COCO["images"]}
    mistakes = {
        "the annotations do not stand in the order of the images: go by their image_id": (
            {i: [caption] for i, caption in zip(ids, captions, strict=True)}
        ),
        "the annotations do not stand in the order of the images, and an image has several": (
            dict(zip(ids, captions, strict=True))
        ),
        "you go by the annotation's own id: image_id is the image's": gathered(own),
        "an image has several captions: a later one takes the place of an earlier one": (
            dict(notes)
        ),
        "an image without captions is left out: give it an empty list": gathered(notes),
        "the keys are the names of files: we want the ids, which are numbers": (
            {files[i]: told for i, told in right.items()}
        ),
        "the ids are numbers, not text": {str(i): told for i, told in right.items()},
    }
    return same(got, right, "your dictionary", mistakes)


@exercise("1.3", "Write `split_words(caption)`: its words, in lower case, without punctuation.")
def split_words(answer: Any) -> str | None:
    """A tokenizer."""
    got = run(answer, SAID)
    right = tokenize(SAID)
    plain = [word.strip(".,;!()") for word in SAID.lower().split() if word != "-"]
    mistakes = {
        "the words keep their capitals: The and the would be two words": (
            re.findall(r"\w+(?:-\w+)*", SAID)
        ),
        "punctuation sticks to the words: dogs and dogs. would be two words": SAID.lower().split(),
        "capitals and punctuation are still there": SAID.split(),
        "t-shirt falls apart: a hyphen within a word stays": re.findall(r"\w+", SAID.lower()),
        "a hyphen that stands alone is no word": re.findall(r"[\w-]+", SAID.lower()),
        "an empty word is left where the text ends": re.split(r"[^\w-]+", SAID.lower()),
        "t-shirt falls apart, and an empty word is left": re.split(r"\W+", SAID.lower()),
        "t-shirt loses its hyphen": [word.replace("-", "") for word in plain],
        "the numbers are gone: 2 is a word too": [word for word in right if not word.isdigit()],
        "each word is there once, but a caption may say a word twice": list(dict.fromkeys(right)),
        "this is one text: we want a list of words": " ".join(right),
        "punctuation gives empty words or words of its own": (
            [word for word in re.split(r"([^\w-])", SAID.lower()) if word.strip()]
        ),
    }
    return same(got, right, "your list", mistakes)


@exercise("1.4", "Write `unknown_share(train, held_out, min_count)`: of all words held out.")
def unknown_share(answer: Any) -> str | None:
    """How many words of captions that were not counted are unknown."""
    got, more = (run(answer, TRAIN, HELD_OUT, least) for least in (2, 3))
    known = _known(TRAIN, 2)
    captions = [tokenize(caption) for caption in HELD_OUT]
    distinct = {word for words in captions for word in words}
    right = _share(HELD_OUT, known)
    mistakes = {
        "you count the words of the held-out captions: a vocabulary is made of the training's": (
            _share(HELD_OUT, _known(HELD_OUT, 2))
        ),
        "a word met exactly min_count times is known: >=, not >": (
            _share(HELD_OUT, _known(TRAIN, 3))
        ),
        "you have not used min_count": _share(HELD_OUT, _known(TRAIN, 1)),
        "you count each unknown word once: a word said twice is lost twice": (
            len(distinct - known) / len(distinct)
        ),
        "this is the share of captions that lose a word; we want the share of words": (
            sum(not known.issuperset(words) for words in captions) / len(captions)
        ),
        "this is the share of the training's words": _share(TRAIN, known),
        "this is the share of words that are known": 1 - right,
        "this is a number of words: divide by how many there are": (
            right * sum(map(len, captions))
        ),
        "these are percent: give a fraction of 1": 100 * right,
    }
    right3, always = _share(HELD_OUT, _known(TRAIN, 3)), {"you have not used min_count": right}
    return first_problem(
        compare(got, right, "the share", mistakes),
        compare(more, right3, "the share for min_count=3", always),
    )


def _known(captions: Sequence[str], min_count: int) -> set[str]:
    counts = Counter(word for caption in captions for word in tokenize(caption))
    return {word for word, count in counts.items() if count >= min_count}


def _share(captions: Sequence[str], known: set[str]) -> float:
    words = [word for caption in captions for word in tokenize(caption)]
    return sum(word not in known for word in words) / len(words)


@exercise("1.5", "Write `shortest_cut(lengths, share)`: the least length that keeps so many whole.")
def shortest_cut(answer: Any) -> str | None:
    """Where to cut captions."""
    got, more = (run(answer, list(LENGTHS), share) for share in (0.8, 0.85))
    ordered = sorted(LENGTHS)
    mistakes = {
        "a caption of exactly so many words stays whole: <=, not <": ordered[7] + 1,
        "your length keeps fewer captions whole than the share that was asked for": ordered[6],
        "these are more than needed: a shorter cut keeps that share whole, too": ordered[8],
        "this is the mean length, which says nothing of the share": sum(ordered) / 10,
        "this is the share times the longest: one long caption should not count so much": (
            0.8 * ordered[-1]
        ),
        "these lengths must be sorted first": LENGTHS[7],
    }
    fewer = {"8 of 10 are less than 0.85: so many are not enough": ordered[7]}
    return first_problem(
        compare(got, ordered[7], "the length", mistakes),
        compare(more, ordered[8], "the length for a share of 0.85", fewer),
    )
