"""Answers to the exercises of lab 1: right ones, and wrong ones with what is said of them."""

import re
from collections import Counter

from labkit.captions import tokenize


def read_lines(text):
    captions = {}
    for line in text.splitlines():
        key, caption = line.split("\t")
        captions.setdefault(key.split("#")[0], []).append(caption)
    return captions


def last_wins(text):
    return {key: told[-1] for key, told in read_lines(text).items()}


def split_at_marks(text):
    for line in text.splitlines():
        name, rest = line.split("#")
    return {name: rest}


def captions_of(data):
    captions = {image["id"]: [] for image in data["images"]}
    for note in data["annotations"]:
        captions[note["image_id"]].append(note["caption"])
    return captions


def side_by_side(data):
    pairs = zip(data["images"], data["annotations"], strict=True)
    return {image["id"]: [note["caption"]] for image, note in pairs}


def split_words(caption):
    return re.findall(r"\w+(?:-\w+)*", caption.lower())


def unknown_share(train, held_out, min_count):
    counts = Counter(word for text in train for word in tokenize(text))
    said = [word for text in held_out for word in tokenize(text)]
    return sum(counts[word] < min_count for word in said) / len(said)


def of_captions(train, held_out, min_count):
    return sum(unknown_share(train, [text], min_count) > 0 for text in held_out) / len(held_out)


def of_distinct(train, held_out, min_count):
    return unknown_share(train, [" ".join({w for t in held_out for w in tokenize(t)})], min_count)


def shortest_cut(lengths, share):
    return next(n for n in sorted(lengths) if sum(m <= n for m in lengths) >= share * len(lengths))


RIGHT = [
    ("1.1", read_lines),
    ("1.2", captions_of),
    ("1.3", split_words),
    ("1.4", unknown_share),
    ("1.5", shortest_cut),
]
WRONG = [
    ("1.1", last_wins, "a later one takes the place of an earlier one"),
    ("1.1", lambda text: {line.split("\t")[0]: 0 for line in text.splitlines()}, "has the keys"),
    ("1.1", split_at_marks, "A caption may hold a # of its own"),
    (
        "1.1",
        lambda text: {key.split(".")[0]: told for key, told in read_lines(text).items()},
        "may hold another dot",
    ),
    ("1.1", lambda text: list(read_lines(text)), "should be a dict, not a list"),
    ("1.2", side_by_side, "do not stand in the order of the images"),
    ("1.2", lambda data: {k: v for k, v in captions_of(data).items() if v}, "an empty list"),
    ("1.2", lambda data: {n["id"]: [n["caption"]] for n in data["annotations"]}, "annotation's"),
    ("1.2", lambda data: {str(k): v for k, v in captions_of(data).items()}, "not text"),
    ("1.3", lambda caption: caption.lower().split(), "punctuation sticks to the words"),
    ("1.3", lambda caption: caption.split(), "capitals and punctuation"),
    ("1.3", lambda caption: re.findall(r"\w+", caption.lower()), "t-shirt falls apart"),
    ("1.3", lambda caption: re.findall(r"[\w-]+", caption.lower()), "a hyphen that stands alone"),
    ("1.3", lambda caption: re.split(r"\W+", caption.lower()), "t-shirt falls apart"),
    ("1.3", lambda caption: re.split(r"[^\w-]+", caption.lower()), "an empty word"),
    ("1.3", lambda caption: " ".join(split_words(caption)), "a list of words"),
    ("1.3", lambda caption: split_words(caption)[:2], "your list is ['a', 'man']"),
    ("1.4", lambda train, rest, least: unknown_share(rest, rest, least), "of the training's"),
    ("1.4", lambda train, rest, least: unknown_share(train, rest, least + 1), ">=, not >"),
    ("1.4", lambda train, rest, least: unknown_share(train, rest, 1), "not used min_count"),
    ("1.4", lambda train, rest, least: unknown_share(train, rest, 2), "not used min_count"),
    ("1.4", lambda train, rest, least: 1.0, "the share is 1"),
    ("1.4", of_captions, "the share of captions"),
    ("1.4", of_distinct, "a word said twice is lost twice"),
    ("1.4", lambda *given: 1 - unknown_share(*given), "words that are known"),
    ("1.5", lambda lengths, share: sorted(lengths)[int(share * len(lengths)) - 1], "so many are"),
    ("1.5", lambda lengths, share: sum(lengths) / len(lengths), "the mean length"),
    ("1.5", lambda lengths, share: shortest_cut(lengths, share) + 1, "<=, not <"),
    ("1.5", lambda lengths, share: share * max(lengths), "one long caption"),
]
