"""The exercises of lab 1: reading captions, splitting them into words, and what is lost."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.checks import compare, exercise, first_problem, run
from labkit.data.readers import tokenize

LINES = """\
1001_ab.jpg#0\tA dog runs .
1001_ab.jpg#1\tA brown dog on the grass .
77_c.d.jpg#0\tThe player with the #7 on his shirt .
1001_ab.jpg#2\tThe dog is wet .
77_c.d.jpg#1\tA football player .
"""
PARTS = (
    "a line did not split into as many parts as you expected. A caption may contain a #, so split "
    "at the tab first. And if a text ends with a line break, splitting it at line breaks leaves an "
    "empty last line: splitlines() does not"
)
COCO: dict[str, list[dict[str, Any]]] = {
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
CAPTION = "A MAN in a T-shirt - and his dog (wet!) run; the man has 2 dogs."
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
    """Compare lists or dictionaries, and name the mistake, if there is one."""
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


def grouped(pairs: Sequence[tuple[Any, str]]) -> dict[Any, list[str]]:
    """Collect the captions of each name in a list."""
    lists: dict[Any, list[str]] = {}
    for name, caption in pairs:
        lists.setdefault(name, []).append(caption)
    return lists


@exercise("1.1", "Write `read_lines(text)`: map each photograph's name to a list of its captions.")
def read_lines(answer: Any) -> str | None:
    """Judge a function that reads Flickr8k.token.txt."""
    pairs = [(key, caption) for key, caption in (line.split("\t") for line in LINES.splitlines())]
    names = [(key.split("#")[0], caption) for key, caption in pairs]
    try:
        got = run(answer, LINES)
    except ValueError as error:
        if "unpack" not in str(error):
            raise
        return PARTS
    mistakes = {
        "each photograph has only one caption: a later one replaces an earlier one": dict(names),
        "each photograph has only its first caption": dict(reversed(names)),
        "the names still end with #0 and so on, so each caption gets a photograph of its own": (
            grouped(pairs)
        ),
        "the names still end with #0 and so on": dict(pairs),
        "a photograph's name ends with .jpg and may contain another dot: split only at the #": (
            grouped([(name.split(".")[0], caption) for name, caption in names])
        ),
        "the file's name ends with .jpg: keep that": (
            grouped([(name.removesuffix(".jpg"), caption) for name, caption in names])
        ),
        "the captions still end with a line break": (
            grouped([(name, f"{caption}\n") for name, caption in names])
        ),
        "you keep only a caption's first word: split at the tab, not at spaces": (
            grouped([(name, caption.split()[0]) for name, caption in names])
        ),
    }
    return same(got, grouped(names), "your dictionary", mistakes)


@exercise("1.2", "Write `captions_of(data)`: map each image's id to a list of its captions.")
def captions_of(answer: Any) -> str | None:
    """Judge a function that reads captions_train2017.json."""
    got = run(answer, json.loads(json.dumps(COCO)))
    ids = [image["id"] for image in COCO["images"]]
    pairs = [(one["image_id"], one["caption"]) for one in COCO["annotations"]]
    captions = [caption for _, caption in pairs]
    nothing: dict[Any, list[str]] = {i: [] for i in ids}
    right = nothing | grouped(pairs)
    own = [(one["id"], one["caption"]) for one in COCO["annotations"]]
    files = {image["id"]: image["file_name"] for image in COCO["images"]}
    mistakes = {
        "the annotations are not in the order of the images: use their image_id": (
            {i: [caption] for i, caption in zip(ids, captions, strict=True)}
        ),
        "the annotations are not in the order of the images, and an image has several captions": (
            dict(zip(ids, captions, strict=True))
        ),
        "you use the annotation's own id: the image's is image_id": grouped(own),
        "an image has several captions, but here a later one replaces an earlier one": dict(pairs),
        "an image without captions is missing: give it an empty list": grouped(pairs),
        "the keys are the names of files: we want the ids, which are numbers": (
            {files[i]: texts for i, texts in right.items()}
        ),
        "the ids are numbers, not text": {str(i): texts for i, texts in right.items()},
    }
    return same(got, right, "your dictionary", mistakes)


@exercise("1.3", "Write `split_words(caption)`: its words, in lower case, without punctuation.")
def split_words(answer: Any) -> str | None:
    """Judge a tokenizer."""
    got = run(answer, CAPTION)
    right, lower = tokenize(CAPTION), CAPTION.lower()
    plain = [word.strip(".,;!()") for word in lower.split() if word != "-"]
    mistakes = {
        "the words keep their capitals: The and the would be two words": (
            re.findall(r"\w+(?:-\w+)*", CAPTION)
        ),
        "punctuation sticks to the words: dogs and dogs. would be two words": lower.split(),
        "capitals and punctuation are still there": CAPTION.split(),
        "t-shirt is split in two: keep a hyphen inside a word": re.findall(r"\w+", lower),
        "a hyphen on its own is not a word": re.findall(r"[\w-]+", lower),
        "there is an empty word where the text ends": re.split(r"[^\w-]+", lower),
        "t-shirt is split in two, and there is an empty word": re.split(r"\W+", lower),
        "t-shirt loses its hyphen": [word.replace("-", "") for word in plain],
        "the numbers are gone: 2 is a word too": [word for word in right if not word.isdigit()],
        "each word appears once, but a caption may repeat a word": list(dict.fromkeys(right)),
        "this is one string: we want a list of words": " ".join(right),
        "punctuation leaves empty words or becomes words": (
            [word for word in re.split(r"([^\w-])", lower) if word.strip()]
        ),
    }
    return same(got, right, "your list", mistakes)


@exercise("1.4", "Write `unknown_share(train, held_out, min_count)`: the share of unknown words.")
def unknown_share(answer: Any) -> str | None:
    """Judge how many words of held-out captions are unknown."""
    got, more = (run(answer, TRAIN, HELD_OUT, least) for least in (2, 3))
    known = _known(TRAIN, 2)
    captions = [tokenize(caption) for caption in HELD_OUT]
    distinct = {word for words in captions for word in words}
    right = _share(HELD_OUT, known)
    mistakes = {
        "you build the vocabulary from the held-out captions: use the training captions": (
            _share(HELD_OUT, _known(HELD_OUT, 2))
        ),
        "a word that occurs exactly min_count times is known: >=, not >": (
            _share(HELD_OUT, _known(TRAIN, 3))
        ),
        "you do not use min_count": _share(HELD_OUT, _known(TRAIN, 1)),
        "you count each unknown word once: a word that occurs twice is lost twice": (
            len(distinct - known) / len(distinct)
        ),
        "this is the share of captions that lose a word; we want the share of words": (
            sum(not known.issuperset(words) for words in captions) / len(captions)
        ),
        "this is the share of unknown words in the training captions": _share(TRAIN, known),
        "this is the share of words that are known": 1 - right,
        "this is a number of words: divide it by the number of all words": (
            right * sum(map(len, captions))
        ),
        "this is a percentage: return a fraction between 0 and 1": 100 * right,
    }
    right3, always = _share(HELD_OUT, _known(TRAIN, 3)), {"you do not use min_count": right}
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


@exercise("1.5", "Write `shortest_cut(lengths, share)`: the least length that keeps this share.")
def shortest_cut(answer: Any) -> str | None:
    """Judge a maximum length for captions."""
    got, more = (run(answer, list(LENGTHS), share) for share in (0.8, 0.85))
    ordered = sorted(LENGTHS)
    mistakes = {
        "a caption of exactly this length stays complete: <=, not <": ordered[7] + 1,
        "with your length, fewer captions stay complete than the share requires": ordered[6],
        "this is longer than needed: with a smaller length that share stays complete, too": (
            ordered[8]
        ),
        "this is the mean length, which does not depend on the share": sum(ordered) / 10,
        "this is the share times the longest: one long caption should not count so much": (
            0.8 * ordered[-1]
        ),
        "sort the lengths first": LENGTHS[7],
    }
    fewer = {"8 of 10 is less than 0.85, so your length keeps too few captions": ordered[7]}
    return first_problem(
        compare(got, ordered[7], "the length", mistakes),
        compare(more, ordered[8], "the length for a share of 0.85", fewer),
    )
