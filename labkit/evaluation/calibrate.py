"""How often is a caption with this score wrong? Measured on a split, fitted by a logistic curve.

What is wrong? On drawn scenes, a caption that is not wholly true. On photographs nobody knows the
truth, but there are the captions of several people. There a caption is called wrong if most of its
words are in none of them. Only words with content count, without their endings; all words for
people are one word. So a true detail that nobody mentions does not make a caption wrong, and
neither does one wrong detail. How strict is the rule? Human captions, each against the others of
its image, tell. It knows English.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import mannwhitneyu

from labkit.data.scenes import is_true, things_of
from labkit.data.words import tokenize
from labkit.evaluation.evaluate import caption_split, images_for
from labkit.files import outputs, write_json
from labkit.model.calibration import FILE, Calibration
from labkit.model.captioner import Captioner, decoding_of
from labkit.store.shards import FeatureStore


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PEOPLE = _words("""
    person people man woman boy girl child kid guy lady someone adult male female toddler baby
    infant teen teenager youth crowd group family team player rider racer biker cyclist bicyclist
    skier snowboarder skateboarder skater surfer swimmer climber hiker runner walker kayaker worker
    gentleman couple friend individual spectator fan audience bride groom performer
""")
EMPTY = _words("""
    a an the this that these some many several few his her their its another other no and or of very
    it he she they them him is are was were be being has have had in on at with while who which near
    by next from through over under along down into onto behind beside between across against for as
    to around outside inside above below during after before there up out off
""")  # without content
IRREGULAR = {"men": "man", "women": "woman", "children": "child", "babies": "baby",
             "ladies": "lady", "families": "family", "mice": "mouse", "geese": "goose"}  # fmt: skip
FOLDS = 10
LEAST = 10  # captions of either kind, for a curve that means anything


@dataclass(frozen=True)
class Reliability:
    """How well a calibration tells wrong captions from right ones, on its own split.

    `calibrate` judges each caption by a curve that was fitted without its tenth of the split.

    Attributes:
        captions: The number of captions.
        wrong: The share that was wrong.
        people_wrong: The share of human captions that the rule calls wrong, each against the others
            of its image; None on drawn scenes.
        auc: How often a wrong caption is trusted less than a right one, of all pairs; .5 is chance.
        brier: The mean squared error of the share predicted for each caption.
        brier_constant: The same, if the share of all is predicted for each.
        predicted: For tenths of the captions, the most trusted first, the mean share predicted.
        observed: For each of these tenths the share that was wrong.
    """

    captions: int
    wrong: float
    people_wrong: float | None
    auc: float
    brier: float
    brier_constant: float
    predicted: list[float]
    observed: list[float]


def stems(caption: str) -> list[str]:
    """Give the words with content of an English caption, without their endings.

    Example:
        >>> from labkit.evaluation.calibrate import stems
        >>> stems("Two boys are running with the dogs")
        ['two', 'person', 'run', 'dog']
    """
    return [_stem(word) for word in tokenize(caption) if word not in EMPTY]


def is_wrong(caption: str, references: Sequence[str]) -> bool:
    """Whether most of a caption's words with content are in none of the references.

    A caption without such a word is wrong.

    Example:
        >>> from labkit.evaluation.calibrate import is_wrong
        >>> people = ["a cat sleeps on a couch", "an orange cat is lying there"]
        >>> is_wrong("a boy in a red shirt", people), is_wrong("a cat on a red couch", people)
        (True, False)
    """
    known = {word for text in references for word in stems(text)}
    found = [word in known for word in stems(caption)]
    return 2 * sum(found) < len(found) or not found


def wrong_captions(store: FeatureStore, captions: Sequence[str]) -> list[bool]:
    """Which captions of a store's images are wrong, see the module.

    Args:
        store: The images, with what is known of them.
        captions: A caption for each image.
    """
    if _drawn(store):
        known = zip(captions, store.facts, strict=True)
        return [not is_true(caption, things_of(facts)) for caption, facts in known]
    pairs = zip(captions, store.captions, strict=True)
    return [is_wrong(caption, references) for caption, references in pairs]


def people_wrong(store: FeatureStore) -> float | None:
    """The share of a store's human captions that are wrong by those of the others."""
    found = [
        is_wrong(text, [*texts[:n], *texts[n + 1 :]])
        for texts in ([] if _drawn(store) else store.captions)
        if len(texts) > 1
        for n, text in enumerate(texts)
    ]
    return sum(found) / len(found) if found else None


def fit(x: np.ndarray, wrong: np.ndarray) -> tuple[float, np.ndarray]:
    """Fit p(wrong) = sigma(intercept + x slopes) by maximum likelihood.

    Args:
        x: (N, F), what is known of each caption: its score, and the evidence for its words.
        wrong: (N,), 1 or 0.

    Returns:
        The intercept, and the slopes (F,).
    """
    mean, width = x.mean(0), x.std(0).clip(1e-6)
    standard = (x - mean) / width

    def loss(w: np.ndarray) -> float:
        logit = w[0] + standard @ w[1:]
        fits = (np.logaddexp(0, logit) - wrong * logit).mean()
        return float(fits + 1e-4 * np.square(w[1:]).sum())

    found = minimize(loss, np.zeros(1 + x.shape[1])).x
    slopes = found[1:] / width
    return float(found[0] - slopes @ mean), slopes


def cross_validated(x: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Tell the share of each caption by a curve that was fitted without its tenth: (N,)."""
    fold, predicted = np.arange(len(x)) % FOLDS, np.empty(len(x))
    for k in range(FOLDS):
        intercept, slopes = fit(x[fold != k], wrong[fold != k])
        predicted[fold == k] = expit(intercept + x[fold == k] @ slopes)
    return predicted


def reliability(
    predicted: np.ndarray, wrong: np.ndarray, people: float | None = None
) -> Reliability:
    """Compare what was predicted with what was observed, see `Reliability`.

    Args:
        predicted: (N,) the share predicted for each caption.
        wrong: (N,), 1 or 0; both occur.
        people: The share of human captions that are wrong.
    """
    bad, good = predicted[wrong == 1], predicted[wrong == 0]
    share = float(wrong.mean())
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(FOLDS, len(predicted)))
    auc = float(mannwhitneyu(bad, good).statistic / bad.size / good.size)
    return Reliability(
        len(predicted), share, people, auc,
        float(((predicted - wrong) ** 2).mean()), share * (1 - share),
        [float(predicted[part].mean()) for part in parts],
        [float(wrong[part].mean()) for part in parts],
    )  # fmt: skip


def calibrate(
    run: str | Path, out: str | Path, store: str | Path | None = None, split: str | None = None,
    overwrite: bool = False, progress: bool = True,
) -> Reliability:  # fmt: skip
    """Caption a split, see which captions are wrong, and write calibration.json.

    In the folder of a model, that file makes `Captioner` say of each caption how often such a
    caption is wrong.

    Args:
        run: The run's folder, or the name of a model that comes with the package.
        out: The folder to write to; the run's own, as a rule.
        store: The store's folder; None uses the one that the run was trained on.
        split: The split; None uses the one that chose the run's epoch, or dev.
        overwrite: Replace an existing file.
        progress: Show a progress bar, if standard error is a terminal.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is False.
        ValueError: The split has no references, no store is known, its features come from another
            encoder, or fewer than ten captions are wrong, or right.
    """
    path = Path(out) / FILE
    outputs(path, overwrite=overwrite)
    captioner, images, x, wrong = _judged(run, store, split, progress, calibrated=False)
    if min(wrong.sum(), len(wrong) - wrong.sum()) < LEAST:
        raise ValueError(
            f"{int(wrong.sum())} of {len(wrong)} captions are wrong: a curve needs {LEAST} of "
            "either kind, so caption a larger split"
        )
    intercept, slopes = fit(x, wrong)
    calibration = Calibration(
        intercept=intercept, slope=float(slopes[0]), evidence=float(sum(slopes[1:])),
        captions=len(wrong), wrong=float(wrong.mean()), decoding=_decoding(captioner),
        weights=captioner.checksum(),
    )  # fmt: skip
    write_json(path, asdict(calibration), new=not overwrite)
    return reliability(cross_validated(x, wrong), wrong, people_wrong(images))


def check_calibration(
    run: str | Path, store: str | Path | None = None, split: str | None = None,
    progress: bool = True,
) -> Reliability:  # fmt: skip
    """Does a model's calibration hold for other images? Nothing is fitted or written.

    Args:
        run: As in `calibrate`, as the following.
        store: Another store, prepared with the same encoder.
        split: The split.
        progress: Show a progress bar, if standard error is a terminal.

    Raises:
        ValueError: As in `calibrate`; or the model has no calibration, or all captions are wrong,
            or all right.
    """
    captioner, images, x, wrong = _judged(run, store, split, progress, calibrated=True)
    curve = captioner.calibration
    if curve is None or curve.decoding != _decoding(captioner):
        raise ValueError(f"{run} has no calibration to check: make one without --check")
    if len(set(wrong)) < 2:
        raise ValueError(f"all {len(wrong)} captions are {'wrong' if wrong[0] else 'right'}: "
                         "caption a larger split")  # fmt: skip
    predicted = np.array([curve.share_wrong(*one) for one in x.tolist()])
    return reliability(predicted, wrong, people_wrong(images))


def _judged(
    run: str | Path, store: str | Path | None, split: str | None, progress: bool, calibrated: bool
) -> tuple[Captioner, FeatureStore, np.ndarray, np.ndarray]:
    """Caption a split.

    Returns:
        The captioner; the images; what is known of each caption, (N, 1), or (N, 2) where a word
        detector has its say: the score and the evidence; and which captions are wrong, (N,).
    """
    captioner = Captioner.from_pretrained(run, without=[] if calibrated else ["calibration"])
    images = images_for(captioner, store, split or captioner.dev_split)
    if not _drawn(images) and not all(images.captions):
        raise ValueError(f"{images.root}: {images.split} has images without captions: none can be "
                         "judged")  # fmt: skip
    found = caption_split(captioner.decoder, images, captioner.generation, progress=progress,
                          detector=captioner.detector)  # fmt: skip
    texts = [captioner.vocabulary.decode(one.words) for one in found]
    wrong = np.array(wrong_captions(images, texts), dtype=float)
    known = [[one.score, one.evidence or 0.0] for one in found]
    helped = any(one.evidence is not None for one in found)
    return captioner, images, np.array(known)[:, : 1 + helped], wrong


def _decoding(captioner: Captioner) -> str:
    return decoding_of(captioner.generation, captioner.decoder, captioner.detector)


def _drawn(store: FeatureStore) -> bool:
    return store.source.get("source") == "scenes"


@cache
def _stem(word: str) -> str:
    """Take the endings of the plural and of verbs from a word (Porter's second stemmer)."""
    word = IRREGULAR.get(word, word)
    if word in PEOPLE or word.removesuffix("s") in PEOPLE:  # the stem of "friendly" is "friend"
        return "person"
    return _stemmer().stemWord(word)


@cache
def _stemmer() -> Any:
    from snowballstemmer import stemmer  # only photographs need it

    return stemmer("english")
