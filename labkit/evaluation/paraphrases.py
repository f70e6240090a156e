"""The part of METEOR's table of paraphrases that certain words can need: it loads in a moment.

The table has five million pairs of phrases, and METEOR reads them all before its first score: ten
seconds and half a gigabyte. A pair can match only texts that hold all words of both phrases, so for
a small vocabulary the scores are the same without the rest of the table.
"""

import re
from collections.abc import Iterable, Set
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip

MOST_WORDS = 600  # of more words the pairs are many, and METEOR may as well read the table
CHUNK = 1 << 22  # bytes
RUN = re.compile(r"[^\W\d_]+|\d+")
BRACKETS = frozenset(("lrb", "rrb", "lsb", "rsb", "lcb", "rcb"))
LINES = 3  # of a pair: its probability and its two phrases


def runs(texts: Iterable[str]) -> frozenset[str]:
    """Give the runs of letters and of digits in texts.

    METEOR may split a word, but only beside a sign or between a letter and a digit. The tokenizer
    splits "can't" into "ca" and "n't", and writes -lrb- for a bracket. So whatever phrases METEOR
    finds in a text, their runs are among these.

    Example:
        >>> from labkit.evaluation.paraphrases import runs
        >>> sorted(runs(["a dog's t-shirt"]) - runs([]))
        ['a', 'dog', 's', 'shirt', 't']
    """
    lowered = (text.lower().replace("n't", " n't") for text in texts)
    return BRACKETS.union(run for text in lowered for run in RUN.findall(text))


def write_part(table: Path, words: Set[str], out: IO[bytes]) -> None:
    """Write the pairs of a table that have no other words than these, in the table's own form.

    Args:
        table: METEOR's own, packed by gzip.
        words: Runs of letters and of digits, see `runs`.
        out: An open file; it is left open.
    """
    spelled, rest = [word.encode() for word in words], b""
    beginnings, endings = _threes(spelled), _threes(word[::-1] for word in spelled)
    fits = _Fitting(words).__getitem__
    unpack: Any = igzip.open  # declares no types
    with unpack(table) as packed, unpack(out, "wb") as part:
        while some := packed.read(CHUNK):
            text = rest + some
            letters = np.frombuffer(text, np.uint8)
            all_ends = np.flatnonzero(letters == ord("\n"))
            ends = all_ends[: len(all_ends) // LINES * LINES].reshape(-1, LINES)  # (pairs, 3)
            starts = np.concatenate([[0], ends[:-1, -1] + 1])[: len(ends)]
            pairs = np.column_stack([starts, ends])  # where a pair begins, and its lines end
            for line in (1, 2):  # its phrases
                pairs = pairs[beginnings[_numbers(letters, pairs[:, line], 1)]]
                pairs = pairs[endings[_numbers(letters, pairs[:, line + 1], -1)]]
            for start, first, _, end in pairs.tolist():
                if all(map(fits, text[first:end].split())):
                    part.write(text[start : end + 1])
            rest = text[ends[-1, -1] + 1 :] if len(ends) else text


class _Fitting(dict[bytes, bool]):
    """Whether a word, as the table spells it, has no other runs than those known."""

    def __init__(self, words: Set[str]):
        super().__init__()
        self.words = words

    def __missing__(self, word: bytes) -> bool:
        self[word] = self.words >= set(RUN.findall(word.decode()))
        return self[word]


def _numbers(letters: np.ndarray, ends: np.ndarray, step: int) -> np.ndarray:
    """Number the first three bytes after each end of a line, or the last three before it."""
    numbers = np.zeros(len(ends), np.int32)
    for k in (1, 2, 3):
        numbers = numbers << 8 | letters[np.minimum(ends + step * k, len(letters) - 1)]
    return numbers


def _threes(words: Iterable[bytes]) -> np.ndarray:
    """Which three bytes a phrase of these words may begin with, one place for each three.

    A phrase may be shorter: then the end of its line is among the three.
    """
    known = np.zeros((256, 256, 256), bool)
    byte = np.arange(256)
    letter, digit = (byte >= ord("a")) & (byte <= ord("z")), (byte >= 48) & (byte <= 57)
    known[~(letter | digit)] = known[:, byte > 127] = known[:, :, byte > 127] = True
    for word in words:
        start, after = word[:3], ~(digit if word.isdigit() else letter)
        known[(*start, after) if len(start) < 3 else (*start,)] = True
    return known.reshape(-1)
