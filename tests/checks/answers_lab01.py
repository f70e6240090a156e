"""Answers to the exercises of lab 1: right ones, and wrong ones with a part of each message."""

import re
from collections import Counter

from labkit.data.readers import tokenize


def read_lines(text):
    captions = {}
    for line in text.splitlines():
        key, caption = line.split("\t")
        captions.setdefault(key.split("#")[0], []).append(caption)
    return captions


def last_wins(text):
    return {key: captions[-1] for key, captions in read_lines(text).items()}


def split_at_marks(text):
    for line in text.splitlines():
        name, rest = line.split("#")
    return {name: rest}


def captions_of(data):
    captions = {image["id"]: [] for image in data["images"]}
    for one in data["annotations"]:
        captions[one["image_id"]].append(one["caption"])
    return captions


def side_by_side(data):
    pairs = zip(data["images"], data["annotations"], strict=True)
    return {image["id"]: [one["caption"]] for image, one in pairs}


def split_words(caption):
    return re.findall(r"\w+(?:-\w+)*", caption.lower())


def unknown_share(train, held_out, min_count):
    counts = Counter(word for text in train for word in tokenize(text))
    words = [word for text in held_out for word in tokenize(text)]
    return sum(counts[word] < min_count for word in words) / len(words)


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
    ("1.1", last_wins, "a later one replaces an earlier one"),
    ("1.1", lambda text: {line.split("\t")[0]: 0 for line in text.splitlines()}, "has the keys"),
    ("1.1", split_at_marks, "A caption may contain a #"),
    (
        "1.1",
        lambda text: {key.split(".")[0]: texts for key, texts in read_lines(text).items()},
        "may contain another dot",
    ),
    ("1.1", lambda text: list(read_lines(text)), "should be a dict, not a list"),
    ("1.2", side_by_side, "are not in the order of the images"),
    ("1.2", lambda data: {k: v for k, v in captions_of(data).items() if v}, "an empty list"),
    ("1.2", lambda data: {n["id"]: [n["caption"]] for n in data["annotations"]}, "annotation's"),
    ("1.2", lambda data: {str(k): v for k, v in captions_of(data).items()}, "not text"),
    ("1.3", lambda caption: caption.lower().split(), "punctuation sticks to the words"),
    ("1.3", lambda caption: caption.split(), "capitals and punctuation"),
    ("1.3", lambda caption: re.findall(r"\w+", caption.lower()), "t-shirt is split in two"),
    ("1.3", lambda caption: re.findall(r"[\w-]+", caption.lower()), "a hyphen on its own"),
    ("1.3", lambda caption: re.split(r"\W+", caption.lower()), "t-shirt is split in two"),
    ("1.3", lambda caption: re.split(r"[^\w-]+", caption.lower()), "an empty word"),
    ("1.3", lambda caption: " ".join(split_words(caption)), "a list of words"),
    ("1.3", lambda caption: split_words(caption)[:2], "your list is ['a', 'man']"),
    ("1.4", lambda train, rest, least: unknown_share(rest, rest, least), "use the training"),
    ("1.4", lambda train, rest, least: unknown_share(train, rest, least + 1), ">=, not >"),
    ("1.4", lambda train, rest, least: unknown_share(train, rest, 1), "do not use min_count"),
    ("1.4", lambda train, rest, least: unknown_share(train, rest, 2), "do not use min_count"),
    ("1.4", lambda train, rest, least: 1.0, "the share is 1"),
    ("1.4", of_captions, "the share of captions"),
    ("1.4", of_distinct, "a word that occurs twice is lost twice"),
    ("1.4", lambda *given: 1 - unknown_share(*given), "words that are known"),
    ("1.5", lambda lengths, share: sorted(lengths)[int(share * len(lengths)) - 1], "keeps too few"),
    ("1.5", lambda lengths, share: sum(lengths) / len(lengths), "the mean length"),
    ("1.5", lambda lengths, share: shortest_cut(lengths, share) + 1, "<=, not <"),
    ("1.5", lambda lengths, share: share * max(lengths), "one long caption"),
]
