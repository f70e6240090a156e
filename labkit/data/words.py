"""A caption as text: its words, HTML entities, script, and the swap of left and right."""

import html
import re
import unicodedata
from collections.abc import Iterable

import regex

MOST_ESCAPES = 8  # times that a text may have been escaped as HTML
_ENTITY = regex.compile(r"&(?:#\d+|#[xX][\da-fA-F]+|[A-Za-z][A-Za-z\d]*);")

# Unicode's word boundaries (UAX #29): a letter keeps its marks and invisible joiners; a Chinese or
# Hiragana character is a word. Unlike there, words in scripts without spaces, such as Thai, are not
# divided further, and full stops divide words.
_SIGN = r"[\p{Han}\p{Hiragana}]\p{M}*"
_LETTER = r"[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}]]"
_RUN = rf"{_LETTER}(?:{_LETTER}|\p{{M}}|\p{{Join_Control}}+(?={_LETTER}))*"
_JOINED = r"{0}(?:-{0}|'(?!s\b){0})*|'s\b"
_WORD = regex.compile(f"(?V1){_SIGN}|{_JOINED.format(_RUN)}")
_ASCII_WORD = re.compile(_JOINED.format(r"[a-z\d]+"))  # the same, but four times as fast
_SIGNS = regex.compile(_SIGN)
_LETTERS, _LATIN = regex.compile(r"\p{L}"), regex.compile(r"\p{Latin}")
# Soft hyphens, direction marks and the like, but not those that join or separate letters.
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200b-\u200d]]")

# Before these words, "left" and "right" are not directions,
_EXACTLY = (
    "about|above|across|after|against|along|alongside|around|at|away|back|before|behind|below|"
    "beside|between|by|down|here|in|inside|into|near|next|now|off|on|onto|out|outside|over|past|"
    "there|through|toward|towards|under|underneath|until|up|where"
)
_FITTING = "amount|angles?|angled|answer|kind|moment|place|size|spot|thing|time|triangles?|way"
_GONE = (
    "alone|behind|empty|home|it|open|out|over|overs|school|the|them|town|unattended|untouched|work|"
    "his|her|him|its|their"
)
# except after these.
_SIDE_FOLLOWS = (
    "a|and|at|bottom|down|far|from|front|hard|her|his|its|lower|my|of|on|or|our|rear|sharp|sharply|"
    "the|their|to|top|upper|with|your|"
    r"(?:bank|bear|cut|fac|go|head|lean|mov|point|shift|steer|swerv|swing|turn|veer)\w*"
)
_NO_SIDE = (
    r"(?:all|just|quite)[ -]right\b",
    r"(?<!\b(?:on|the) )right away\b",
    rf"right[ -](?=(?:{_FITTING}|side up|of[ -]way)\b)",
    rf"(?<!\b(?:{_SIDE_FOLLOWS}) |'s )right (?=(?:{_EXACTLY})\b)",
    r"(?:minutes|much|nothing|seconds|time) left\b",
    r"(?:are|be|been|being|get|gets|got|is|was|were) left(?! of\b|[ -]hand)\b",
    r"(?:had|has|have|having) left(?=$|[.,;]| (?:a|an|after|by|for|in|on|to|with)\b)",
    rf"(?<!\b(?:{_SIDE_FOLLOWS}) |'s )left[ -](?=(?:{_GONE})\b)",
)  # fmt: skip
_SIDE = regex.compile(
    rf"\b(?:(?P<other>{'|'.join(_NO_SIDE)})|(?:left|right)(?=\b|most|hand))", regex.IGNORECASE
)


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words, without punctuation.

    A word consists of letters and digits with their marks, following Unicode's word boundaries,
    with hyphens and apostrophes inside ("t-shirt", "don't"). The ending 's is a word of its own, as
    in Flickr8k's own files and in the metrics' tokenizer, so "man's" and "man 's" are the same two
    words. HTML entities are decoded. Each Chinese or Hiragana character is a word. Thai, Lao, Khmer
    and Burmese, written without spaces, are split at spaces only. Joined by spaces, the words
    tokenize to themselves.
    """
    text = _without_html(caption)
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    text = text.replace("\u2019", "'").replace("\u0130", "i")  # the Turkish capital i with a dot
    return _WORD.findall(text.lower())


def plain(caption: str) -> str:
    """Return a caption with single spaces and decoded HTML entities."""
    return " ".join(_without_html(caption).split())


def _without_html(text: str) -> str:
    """Decode HTML entities, such as &quot; and &#39;, including those that were escaped twice."""
    for _ in range(MOST_ESCAPES):  # a longer chain was made to take time
        if (once := _ENTITY.sub(lambda match: html.unescape(match.group()), text)) == text:
            break
        text = once
    return text


def spaced(text: str) -> str:
    """Prepare a caption for a tokenizer that splits at spaces: separate Chinese characters, NFC."""
    return " ".join(_SIGNS.sub(r" \g<0> ", unicodedata.normalize("NFC", text)).split())


def latin_share(captions: Iterable[str]) -> float:
    """Return the share of Latin letters among all letters of captions; 1 if there are none."""
    letters = latin = 0
    for text in captions:
        letters += len(_LETTERS.findall(text))
        latin += len(_LATIN.findall(text))
    return latin / letters if letters else 1.0


def swap_left_right(caption: str) -> str:
    """Swap left and right where they are directions: not in "right away" or "left alone"."""
    return _SIDE.sub(_other_side, caption)


def _other_side(match: "regex.Match[str]") -> str:
    side = match.group()
    if match["other"]:
        return side
    other = "right" if side.lower() == "left" else "left"
    return other.capitalize() if side[0].isupper() else other
