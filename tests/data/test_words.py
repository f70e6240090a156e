"""Captions as text, in many languages and as other programs garble it."""

import gzip
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.data.words import _WORD, latin_share, plain, spaced, swap_left_right, tokenize


@pytest.mark.parametrize(
    "caption, words",
    [
        ("Tom &amp; Jerry say &quot;hi&quot;", "tom jerry say hi"),
        ("the dog&#39;s ball, the dog&rsquo;s ball", "the dog 's ball the dog 's ball"),
        ("caf&eacute; &#x63;at", "café cat"),
        ("twice &amp;amp; escaped &amp;quot;so&amp;quot;", "twice escaped so"),
        ("AT&T; R&D &c. a & b; &nosuch; 5&6;", "at t r d c a b nosuch 5 6"),
        ("fish&copychips &notin", "fish copychips notin"),  # what has no ; is no entity
        ("a&nbsp;dog co&shy;operates", "a dog cooperates"),
    ],
)
def test_entities_of_html_are_no_words(caption, words):
    assert tokenize(caption) == words.split()
    assert tokenize(plain(caption)) == words.split()


def test_a_plain_caption_has_the_signs_that_were_meant():
    assert plain(' Tom  &amp;\t"Jerry" &lt;3&nbsp; x') == 'Tom & "Jerry" <3 x'
    assert plain("&amp;quot;so&amp;quot;") == '"so"'
    assert plain("R&D & AT&T") == "R&D & AT&T"


@pytest.mark.parametrize(
    "caption, words",
    [
        ("एक कुत्ता घास पर दौड़ता है।", "एक कुत्ता घास पर दौड़ता है"),
        ("একটি কুকুর দৌড়াচ্ছে", "একটি কুকুর দৌড়াচ্ছে"),
        ("ஒரு நாய் ஓடுகிறது", "ஒரு நாய் ஓடுகிறது"),
        ("เด็ก ผู้ชาย วิ่ง", "เด็ก ผู้ชาย วิ่ง"),
        ("كَلْبٌ يَجْرِي، هنا", "كَلْبٌ يَجْرِي هنا"),
        ("כֶּלֶב רָץ בַּדֶּשֶׁא", "כֶּלֶב רָץ בַּדֶּשֶׁא"),
        ("سگی می\u200cدود", "سگی می\u200cدود"),  # a joiner within a Persian word
        ("İstanbul'da bir köpek, I\u0307yi", "istanbul'da bir köpek iyi"),
        ("Ein Mädchen läuft über die Straße", "ein mädchen läuft über die straße"),
        ("Собака бежит й", "собака бежит й"),
        ("Chó nằm trên cỏ", "chó nằm trên cỏ"),
        ("x̂ q̃ cafe\u0301", "x̂ q̃ café"),  # a mark that no letter has of its own
        ("一只狗 在草地上跑。", "一 只 狗 在 草 地 上 跑"),
        ("犬がボールで遊ぶ", "犬 が ボール で 遊 ぶ"),
        ("개가 달린다", "개가 달린다"),
        ("\u200f\u202bكلب\u202c a\u200edog \ufeffcat\u200bdog", "كلب adog cat dog"),
        ("👩‍👧 a ❤️ dog", "a dog"),
    ],
)
def test_words_keep_their_marks_in_every_writing(caption, words):
    expected = [unicodedata.normalize("NFC", word) for word in words.split(" ")]
    assert tokenize(caption) == expected
    assert tokenize(unicodedata.normalize("NFD", caption)) == expected


@given(st.text())
def test_the_words_joined_give_the_same_words(text):
    words = tokenize(text)
    assert tokenize(" ".join(words)) == words
    assert all(word and not word.isspace() for word in words)


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_gives_what_the_long_one_gives(text):
    if "&" not in text:
        assert tokenize(text) == _WORD.findall(text.lower())


def test_real_english_captions_have_the_words_they_had(shared):
    lines = (shared / "data/flickr8k/Flickr8k_text/Flickr8k.token.txt").read_text("utf-8")
    captions = lines.splitlines()
    with gzip.open(shared / "data/flickr30k_text/captions.tsv.gz", "rt", encoding="utf-8") as file:
        captions += [line for line in file if "&" in line]
    word = re.compile(r"[^\W_]+(?:-[^\W_]+|'(?!s\b)[^\W_]+)*|'s\b")  # as it was
    other = 0
    for text in captions:
        text = text.split("\t")[-1]
        before = word.findall(unicodedata.normalize("NFC", text).replace("\u2019", "'").lower())
        if tokenize(text) != before:
            assert tokenize(text) == [one for one in before if one not in ("amp", "nbsp", "quot")]
            other += 1
    assert other == 77  # all of them with an entity, in Flickr30k


def test_how_much_is_latin():
    assert latin_share(["a dog", "ein Hündchen läuft", "123 !"]) == 1
    assert latin_share([]) == latin_share(["12"]) == 1
    assert latin_share(["собака", "כלב", "狗", "كلب"]) == 0
    assert latin_share(["dogs", "собака"]) == pytest.approx(0.4)


def test_signs_are_set_apart_for_the_metrics():
    assert spaced("一只狗 runs") == "一 只 狗 runs"
    assert spaced("a  cafe\u0301 in Ürgüp") == "a café in Ürgüp"


DIRECTIONS = [
    ("a man on the left and a dog on the right", "a man on the right and a dog on the left"),
    ("The car turned right into a street", "The car turned left into a street"),
    ("a skier turns left in the snow", "a skier turns right in the snow"),
    ("Left-handed, rightmost, Lefthand", "Right-handed, leftmost, Righthand"),
    ("a red circle is left of a square", "a red circle is right of a square"),
    ("she raised her left hand behind him", "she raised her right hand behind him"),
    ("he has left and right gloves", "he has right and left gloves"),
    ("The man on the right behind a dog", "The man on the left behind a dog"),
    ("the dog on the left out of the water", "the dog on the right out of the water"),
    ("a dog to the right of the way home", "a dog to the left of the way home"),
    ("a boy looks left, a girl right", "a boy looks right, a girl left"),
    ("takes a right at the light", "takes a left at the light"),
    ("in the upper right in blue", "in the upper left in blue"),
]
NO_DIRECTIONS = [
    "All right, the dog is fine",
    "a dog left alone in a car",
    "A bus that left behind a trail",
    "they go right away",
    "a dog stands right next to a ball",
    "a plane right above the houses",
    "right in front of her",
    "he looks right at the camera",
    "people who have left the beach",
    "A child was left in a car",
    "a man left his bike",
    "waits for the right moment",
    "a box right side up",
    "a triangle with a right angle",
    "a car that yields the right of way",
    "with two seconds left",
    "bright lights, leftover rice, left-over rice and rights",
]


@pytest.mark.parametrize("caption, other", DIRECTIONS)
def test_directions_are_swapped_and_swapped_back(caption, other):
    assert swap_left_right(caption) == other
    assert swap_left_right(other) == caption


@pytest.mark.parametrize("caption", NO_DIRECTIONS)
def test_what_is_no_direction_is_not_swapped(caption):
    assert swap_left_right(caption) == caption
    assert swap_left_right(caption.upper()) == caption.upper()
