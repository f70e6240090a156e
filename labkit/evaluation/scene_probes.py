"""Do the maps explain the word? What `labkit probe` asks a trained model, of drawn scenes.

An object is removed, or a step is made to look at another one. Each effect has its control, for a
word may also change because anything changed: another object is removed, or the step looks at its
own object.
"""

from collections.abc import Sequence
from functools import partial

import torch

from labkit.data import scenes as drawn
from labkit.data.scenes import is_true, make_scenes
from labkit.data.vocabulary import SPECIAL
from labkit.evaluation.probes import Probe, Row, answered, one_thread, rows_of
from labkit.evaluation.removals import BOTH, WORDS, SceneProbe
from labkit.model.captioner import Captioner
from labkit.model.captions import Caption

LOOKS = {  # whether a step looks at another object, and how many steps before it do, too
    "another object": (True, 0),
    "another object, three steps before too": (True, 3),
    "control: its own object": (False, 0),
}
Pairs = list[tuple[float, int]]  # values, each with the number of its scene


def probe_scenes(
    captioner: Captioner, count: int = 200, seed: int = 0, split: str = "dev", progress: bool = True
) -> list[Row]:
    """Ask what the words of a model come from, on drawn scenes.

    Args:
        captioner: A model of drawn scenes.
        count: The number of scenes.
        seed: Their seed.
        split: Their split.
        progress: Show progress bars, if standard error is a terminal.

    Returns:
        The table. A loss is that of log p.
    """
    scenes = make_scenes(count, seed, split, pixels=captioner.encoder.config.size)
    questions = [captions_true, Probe.own_words, pointing, made_to_look, steered, removed, gone,
                 elsewhere, ranked]  # fmt: skip
    with one_thread() as threads:
        probe = SceneProbe(captioner, scenes, threads, progress)
        return answered([partial(one, probe) for one in questions], progress)


def knows_only_scenes(captioner: Captioner) -> bool:
    """Whether a model has no words but those of `labkit.data.scenes`."""
    return drawn.WORDS.issuperset(captioner.vocabulary.words[len(SPECIAL) :])


def captions_true(probe: SceneProbe) -> list[Row]:
    """Ask whether it needs its weights, its contexts, its first state to write true captions."""
    def judge(captions: Sequence[Caption]) -> list[float]:
        texts = map(probe.text, captions)
        return [float(is_true(*pair)) for pair in zip(texts, probe.things, strict=True)]

    return probe.captions_under(judge, "captions that are true", "true captions lost", "share")


def pointing(probe: SceneProbe) -> list[Row]:
    """Ask whether it looks at what it names."""
    points = [(probe.points_at(one, one.thing), one.scene) for one in probe.named]
    return rows_of("the largest weight lies on the object named", "share", {"shape word": points})


def made_to_look(probe: SceneProbe) -> list[Row]:
    """Ask whether a word names the object that its step is made to look at."""
    found = {}
    for case, (elsewhere, before) in LOOKS.items():
        for word in WORDS:
            found[f"{word} word, {case}"] = _names_what_it_sees(probe, word, elsewhere, before)
    return rows_of("the word names the object that its step is made to look at", "share", found)


def _names_what_it_sees(probe: SceneProbe, word: str, elsewhere: bool, before: int) -> Pairs:
    """For each named object, and each other one with another word: is what it saw named."""
    def value(scene: int, thing: int) -> str:
        return getattr(probe.things[scene][thing], word)

    cases = [
        (one, j) for one in probe.named for j in one.others
        if value(one.scene, j) != value(one.scene, one.thing)
    ]  # fmt: skip
    scenes = [one.scene for one, _ in cases]
    targets = [(one.scene, j if elsewhere else one.thing) for one, j in cases]
    last = torch.tensor([one.word + WORDS[word] for one, _ in cases], dtype=torch.long)
    t = torch.arange(probe.config.max_length)
    read = probe.read(
        probe.a[scenes], [probe.captions[n].words for n in scenes],
        weights=torch.tensor([probe.centre(*target) for target in targets]),
        at=(last[:, None] - before <= t) & (t <= last[:, None]),  # (cases, T)
    )  # fmt: skip
    said = [probe.vocabulary.words[one.best[k]] for one, k in zip(read, last, strict=True)]
    return [(one == value(*target), target[0]) for one, target in zip(said, targets, strict=True)]


def steered(probe: SceneProbe) -> list[Row]:
    """Ask whether a caption begins with the object that all its steps are made to look at."""
    scenes = [n for n, _ in probe.removals]
    places = torch.tensor([probe.centre(*one) for one in probe.removals])
    found = {
        "made to look": probe.caption(probe.a[scenes], weights=places),
        "control: not made to look": [probe.captions[n] for n in scenes],
    }
    cases = {
        case: [(probe.says(one, *removal, first=True), removal[0])
               for removal, one in zip(probe.removals, captions, strict=True)]
        for case, captions in found.items()
    }  # fmt: skip
    question = "the first phrase names the object that all steps are made to look at"
    return rows_of(question, "share", cases)


def removed(probe: SceneProbe) -> list[Row]:
    """Ask what a word loses without its object, and which part of the model misses it."""
    rows = []
    for word in WORDS:
        cases = {
            f"its own, for {what}": [
                (probe.loss(one, one.thing, word, what), one.scene) for one in probe.named
            ]
            for what in probe.losses
        }
        cases[f"control: another, for {BOTH}"] = [
            (probe.loss(one, j, word), one.scene) for one in probe.named for j in one.others
        ]
        rows += rows_of(f"lost by the {word} word when an object is removed", "nats", cases)
    return rows


def gone(probe: SceneProbe) -> list[Row]:
    """Ask whether the caption of a scene without an object still names it."""
    captions = dict(zip(probe.removals, probe.caption(probe.without), strict=True))
    cases: dict[str, Pairs] = {"its own": [], "control: another": []}
    for one in probe.named:
        for j in (one.thing, *one.others):
            still = probe.says(captions[one.scene, j], one.scene, one.thing)
            case = "its own" if j == one.thing else "control: another"
            cases[case].append((not still, one.scene))
    return rows_of("an object is not named any more when one is removed", "share", cases)


def elsewhere(probe: SceneProbe) -> list[Row]:
    """Ask whether another object matters where the largest weight lies on it."""
    pairs = [
        (one, next((j for j in one.others if probe.points_at(one, j)), None))
        for one in probe.named if not probe.points_at(one, one.thing)
    ]  # fmt: skip
    looked = [(one, j) for one, j in pairs if j is not None]
    away = {one for one, _ in looked}
    shares = [(one in away, one.scene) for one in probe.named]
    rows = rows_of("the largest weight lies on another object", "share", {"shape word": shares})
    cases = {
        "the one it points at": [(probe.loss(one, j), one.scene) for one, j in looked],
        "the one it names": [(probe.loss(one, one.thing), one.scene) for one, _ in looked],
    }
    question = "lost by a shape word that points at another object, when one is removed"
    return rows + rows_of(question, "nats", cases)


def ranked(probe: SceneProbe) -> list[Row]:
    """Ask whether the map prefers the object whose removal costs the word most."""
    cases: dict[str, Pairs] = {
        "most weight": [], "ceiling: the one it names": [], "control: the largest": [],
        "chance": [],
    }  # fmt: skip
    for one in probe.named:
        things = sorted((one.thing, *one.others))
        costly = max(things, key=lambda j: probe.loss(one, j))
        heaviest = max(things, key=lambda j: probe.map_of(one)[probe.cells(one, j)].sum())
        largest = max(things, key=lambda j: probe.things[one.scene][j].side)
        found = heaviest == costly, one.thing == costly, largest == costly, 1 / len(things)
        for pairs, value in zip(cases.values(), found, strict=True):
            pairs.append((value, one.scene))
    return rows_of("the object whose removal costs the shape word most", "share", cases)
