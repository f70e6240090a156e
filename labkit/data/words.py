"""A caption as text: its words, what HTML made of it, its writing, left and right in a mirror."""

import html
import re
import unicodedata
from collections.abc import Iterable

import regex

_ENTITY = regex.compile(r"&(?:#\d+|#[xX][\da-fA-F]+|[A-Za-z][A-Za-z\d]*);")

# Unicode's rules (UAX #29): a letter keeps its marks and invisible joiners; a sign of Chinese or of
# Hiragana is a word. Other than there, words are not divided at scripts that are written without
# spaces, such as Thai, and are divided at full stops.
_SIGN = r"[\p{Han}\p{Hiragana}]\p{M}*"
_LETTER = r"[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}]]"
_RUN = rf"{_LETTER}(?:{_LETTER}|\p{{M}}|\p{{Join_Control}}+(?={_LETTER}))*"
_JOINED = r"{0}(?:-{0}|'(?!s\b){0})*|'s\b"
_WORD = regex.compile(f"(?V1){_SIGN}|{_JOINED.format(_RUN)}")
_ASCII_WORD = re.compile(_JOINED.format(r"[a-z\d]+"))  # the same, and four times as fast
_SIGNS = regex.compile(_SIGN)
_LETTERS, _LATIN = regex.compile(r"\p{L}"), regex.compile(r"\p{Latin}")
# Soft hyphens, marks of direction and the like; not those that join or part letters.
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200b-\u200d]]")

# Before these, "left" and "right" are no directions,
_EXACTLY = (
    "about|above|across|after|against|along|alongside|around|at|away|back|before|behind|below|beside|"
    "between|by|down|here|in|inside|into|near|next|now|off|on|onto|out|outside|over|past|there|"
    "through|toward|towards|under|underneath|until|up|where"
)
_FITTING = "amount|angles?|angled|answer|kind|moment|place|size|spot|thing|time|triangles?|way"
_GONE = (
    "alone|behind|empty|home|it|open|out|over|overs|school|the|them|town|unattended|untouched|work|"
    "his|her|him|its|their"
)
# but after these they are.
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
    """Split a caption into lower-cased words, without punctuation.

    A word is letters and digits with their marks, as Unicode's rules for words have it, with
    hyphens and apostrophes inside ("t-shirt", "don't"). The ending 's stands alone, as in
    Flickr8k's own files and in the tokenizer of the metrics, so "man's" and "man 's" are the same
    two words. HTML's entities are the signs that they stand for. Each sign of Chinese and of
    Hiragana is a word; of Thai, Lao, Khmer and Burmese, which write no spaces, all that stands
    between two spaces. Joined by spaces, the words give the same words again.
    """
    text = _without_html(caption)
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    text = text.replace("\u2019", "'").replace("\u0130", "i")  # the capital i of Turkish
    return _WORD.findall(text.lower())


def plain(caption: str) -> str:
    """Give a caption as it was meant: single spaces, and signs where HTML's entities stood."""
    return " ".join(_without_html(caption).split())


def _without_html(text: str) -> str:
    """Put signs for entities, such as &quot; and &#39;, also for those that were escaped twice."""
    while (once := _ENTITY.sub(lambda match: html.unescape(match.group()), text)) != text:
        text = once
    return text


def spaced(text: str) -> str:
    """Make a caption ready for a tokenizer that goes by spaces: signs of Chinese apart, in NFC."""
    return " ".join(_SIGNS.sub(r" \g<0> ", unicodedata.normalize("NFC", text)).split())


def latin_share(captions: Iterable[str]) -> float:
    """Tell what share of the letters of captions are Latin; 1 where there is no letter."""
    letters = latin = 0
    for text in captions:
        letters += len(_LETTERS.findall(text))
        latin += len(_LATIN.findall(text))
    return latin / letters if letters else 1.0


def mirrored(caption: str) -> str:
    """Exchange left and right, where they are directions: not in "right away" or "left alone"."""
    return _SIDE.sub(_other_side, caption)


def _other_side(match: regex.Match) -> str:
    side = match.group()
    if match["other"]:
        return side
    other = "right" if side.lower() == "left" else "left"
    return other.capitalize() if side[0].isupper() else other
