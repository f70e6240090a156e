"""What a captioner learns to say from a reward, and what it stops saying: drawn scenes.

    python benchmarks/rewards.py table --out DIR [--seeds 3] [--steps 240]
    python benchmarks/rewards.py variance --out DIR [--draws 100]
    python benchmarks/rewards.py share --out DIR
    python benchmarks/rewards.py metrics --out DIR
    python benchmarks/rewards.py learned --out DIR

Each run starts from `scenes-soft` and learns from one reward: 25 fresh scenes a step, four sampled
captions of each, the recommended settings of `labkit.training.run`. "table" measures each run on
400 scenes that no run has learned from, by greedy captions and by one sampled caption of each; it
writes DIR/rewards.json and DIR/rewards.md. A run that is finished in DIR is not repeated. About one
minute for each run on one thread, and half a minute to measure it.

"variance" measures how much the estimated gradient varies from sample to sample, for one batch: the
variances of all its numbers, summed, over those without a baseline. It does so at the start, and at
the run that learned from truth in DIR; it writes DIR/variance.json and DIR/variance.md. The last
column is the mean squared length of the gradient of log p of captions that are not true, over that
of true ones. About six minutes.

"share" says what part of a step each reward takes, and how much faster CIDEr-D is than
pycocoevalcap's, which gives the same numbers: medians of 20 steps after three that do
not count.

"metrics" scores a reference of each scene against the scene's others, as it is, and with one word
changed so that it is no longer true: a colour that the scene does not have, or the opposite
relation.

"learned" asks whether a run says less or sees better. It compares the true captions of runs with
those of the start that is made to say as little or as much, scene by scene; it counts the relations
that are told, and samples that name one shape; and it measures where the runs look while they read
the references.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from time import perf_counter
from typing import Any

import torch
from pycocoevalcap.cider.cider import Cider as PycocoCider

from labkit import Captioner, FeatureStore, prepare_scenes
from labkit.data.scenes import COLOURS, RELATIONS, is_true, read_caption, things_of
from labkit.evaluation.metrics import score, tokenized
from labkit.evaluation.pointing_game import scene_scores, score_scenes, told
from labkit.files import read_json, write_json
from labkit.model.decoder import Decoder
from labkit.model.generation import greedy, sample
from labkit.store.loader import Batch
from labkit.training.config import resolve
from labkit.training.reward_trainer import RewardTrainer
from labkit.training.rewards import REWARDS, Cider, ImageFacts, images_of, read_reward, truth
from labkit.training.rollout import Sampler, advantage, reward_loss
from labkit.training.run import starting_point

START, HELD_OUT, EARLY, MAX = "scenes-soft", 400, 20, 24
OWN = Path(__file__).with_name("own_rewards.py")
SILENT = [*RELATIONS, "is", "there"]  # if "is" were allowed, it would begin what it cannot end
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
COMPARED = ("none", "greedy", "others")  # "group" divides, too: its gradient has another length
RUNS: dict[str, dict[str, Any]] = {
    "truth": {"caption_reward": "truth"},
    "truth, greedy baseline": {"caption_reward": "truth", "caption_baseline": "greedy"},
    "truth, group baseline": {"caption_reward": "truth", "caption_baseline": "group"},
    "truth, KL 0.2": {"caption_reward": "truth", "kl_weight": 0.2},
    "true, with a relation": {"caption_reward": "relate"},
    "true and complete": {"caption_reward": "complete"},
    "facts": {"caption_reward": "facts"},
    "facts, KL 0.02": {"caption_reward": "facts", "kl_weight": 0.02},
    "CIDEr": {"caption_reward": "cider"},
}
COLUMNS = {
    "true": "true", "relations": "relation", "pointing": "points right", "words": "words",
    "sizes": "sizes", "cider": "CIDEr", "sampled_true": "true, sampled",
    "sampled_relations": "relation, sampled", "sampled_sizes": "sizes, sampled",
}  # fmt: skip


def folder(name: str) -> str:
    """The name of a run as a file's name."""
    return name.replace(", ", "-").replace(" ", "-")


class Examiner:
    """Measures what a decoder says of scenes that no run learns from."""

    def __init__(self, store: Path):
        self.captioner = Captioner.from_pretrained(START)
        self.test = FeatureStore(store, "test")
        count = min(HELD_OUT, len(self.test))
        self.a = torch.from_numpy(self.test.read(range(count))).float()  # (400, L, D)
        self.images = images_of(self.test)[:count]
        self.scenes = [things_of(image.facts) for image in self.images]
        self.cider = Cider([image.references for image in self.images])

    def __call__(self, decoder: Decoder, suppress: Sequence[str] = ()) -> dict[str, float]:
        """Return the columns of the table."""
        decoder.eval()
        never = self.captioner.vocabulary.ids(suppress)
        drawn = torch.Generator().manual_seed(0)
        grid = tuple(self.captioner.encoder_facts["grid"])
        best = greedy(decoder, self.a, MAX, suppress_tokens=never)
        some = sample(decoder, self.a, MAX, generator=drawn, suppress_tokens=never)
        words = [self._words(one.words) for one in best]
        found = scene_scores(
            [*zip(words, (one.alpha for one in best), strict=True)], self.scenes, grid, (0, 0)
        )
        other = [self._words(one.words) for one in some]
        relations, sizes, _ = told(other)
        true = [is_true(" ".join(one), things)
                for one, things in zip(other, self.scenes, strict=True)]  # fmt: skip
        cider = self.cider([" ".join(one) for one in words], self.images)
        return {
            "true": found.captions_true, "relations": found.relations_told,
            "pointing": found.pointing, "words": found.words_told, "sizes": found.sizes_told,
            "cider": fmean(cider), "sampled_true": fmean(true), "sampled_relations": relations,
            "sampled_sizes": sizes,
        }  # fmt: skip

    def _words(self, ids: Sequence[int]) -> list[str]:
        return [self.captioner.vocabulary.words[word] for word in ids]


class Watched(RewardTrainer):
    """A run that is also measured early, before it ends."""

    examiner: Examiner
    early: dict[str, float] | None = None

    def train_step(self, batch: Batch) -> float:
        """Learn from one batch, and measure the weights after the twentieth."""
        cost = super().train_step(batch)
        if self.state.step == EARLY:
            self.early = self.examiner(self.average.module)
        return cost


def settings_of(store: Path, options: dict[str, Any], seed: int) -> Any:
    """A run's settings: one pass over the scenes."""
    given = {"start": START, "epochs": 1, "seed": seed, "save_every": 10_000, "num_workers": 0}
    given |= options
    if given["caption_reward"] in ("relate", "complete"):
        given["caption_reward"] = f"{OWN}:{given['caption_reward']}"
    return resolve(starting_point(store, given), given)


def make_table(out: Path, seeds: int, steps: int) -> None:
    """Train all, measure all, write the table."""
    store = prepare_scenes(out / "scenes", count=steps * 25, seed=1000)
    examiner = Examiner(store)
    start = examiner.captioner.decoder
    found = {
        "start": [examiner(start)],
        "start, relation words forbidden": [examiner(start, SILENT)],
        "start, 'and' forbidden": [examiner(start, ["and"])],
    }
    for seed in range(seeds):
        for name, options in RUNS.items():
            run = out / "runs" / f"{folder(name)}-{seed}"
            if not (run / "measured.json").exists():
                trainer = Watched(store, run, settings_of(store, options, seed), resume=True)
                trainer.examiner = examiner
                trainer.run()
                last = examiner(trainer.average.module)
                write_json(run / "measured.json", {"early": trainer.early, "last": last})
            scores = read_json(run / "measured.json")
            if name == "truth":
                found.setdefault(f"truth, {EARLY} steps", []).append(scores["early"])
            found.setdefault(name, []).append(scores["last"])
            report(out, found, steps)


def report(out: Path, found: dict[str, list[dict]], steps: int) -> None:
    """Write the means over the seeds, and print them."""
    table = {
        name: {
            key: {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None}
            for key in COLUMNS
            for values in [[one[key] for one in runs]]
        }
        for name, runs in found.items()
    }
    write_json(out / "rewards.json", table)
    lines = [f"| reward | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in table.items():
        lines.append(f"| {name} | {' | '.join(cell(one) for one in row.values())} |")
    count = max(map(len, found.values()))
    said = (f"{steps} steps of 25 scenes and 4 captions of each, from {START}; measured on "
            f"{HELD_OUT} other scenes. Mean ± standard deviation over {count} runs.")  # fmt: skip
    lines += ["", said]
    (out / "rewards.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines), flush=True)


def cell(score: dict[str, float | None]) -> str:
    """A mean, and its spread if there is one: three digits at most."""
    digits = 2 if score["mean"] < 9.995 else 1
    mean = f"{score['mean']:.{digits}f}"
    return mean if score["std"] is None else f"{mean} ± {score['std']:.{digits}f}"


def make_variances(out: Path, draws: int) -> None:
    """Measure the estimators at two models, for three rewards, and write the table."""
    examiner = Examiner(out / "scenes")
    images, a = examiner.images[:25], examiner.a[:25]
    everything = images_of(FeatureStore(out / "scenes", "train"))
    rewards = {name: read_reward(name, everything) for name in ("truth", "facts", "cider")}
    models = {"start": START, "after truth": out / "runs" / "truth-0"}
    table: dict[str, dict[str, float]] = {}
    for model, place in models.items():
        captioner = Captioner.from_pretrained(place)
        decoder, vocabulary = captioner.decoder, captioner.vocabulary
        learned = [one for name, one in decoder.named_parameters() if one.requires_grad]
        best = [vocabulary.decode(one.words) for one in greedy(decoder, a, MAX)]
        sums: dict[tuple[str, str], Any] = {}
        for draw in range(1, draws + 1):
            torch.manual_seed(draw)
            rollout = Sampler(decoder)(a, 4, MAX)
            texts = [vocabulary.decode(words) for words in rollout.captions()]
            repeated = [image for image in images for _ in range(4)]
            for name, reward in rewards.items():
                paid = torch.tensor(reward(texts, repeated)).view(25, 4)
                expected = torch.tensor(reward(best, images))
                for kind in COMPARED:
                    loss = reward_loss(rollout, advantage(paid, kind, expected)) / paid.numel()
                    grads = torch.autograd.grad(loss, learned, retain_graph=True, allow_unused=True)
                    grad = torch.cat([g.flatten() for g in grads if g is not None]).double()
                    mean, squares = sums.setdefault((name, kind), [torch.zeros_like(grad), 0.0])
                    step = grad - mean
                    mean += step / draw
                    sums[name, kind][1] = squares + float(step @ (grad - mean))
        longer = false_over_true(decoder, a, images, vocabulary, learned)
        for name in rewards:
            base = sums[name, "none"][1]
            row = {kind: sums[name, kind][1] / base for kind in COMPARED[1:]}
            table[f"{name}, {model}"] = row | {"false_over_true": longer}
            write_json(out / "variance.json", table)
    lines = ["| reward, model | greedy | others | false over true |", "|---|---|---|---|"]
    for name, row in table.items():
        lines.append(f"| {name} | {' | '.join(f'{one:.2f}' for one in row.values())} |")
    (out / "variance.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def share_of_step(out: Path) -> None:
    """Print the share of a step that each reward takes, and CIDEr's time beside pycocoevalcap's."""
    examiner = Examiner(out / "scenes")
    decoder, vocabulary = examiner.captioner.decoder, examiner.captioner.vocabulary
    images = [image for image in examiner.images[:25] for _ in range(4)]
    everything = images_of(FeatureStore(out / "scenes", "train"))
    rewards = {name: read_reward(name, everything) for name in REWARDS}
    steps, times = [], {name: [] for name in [*rewards, "pycocoevalcap"]}
    for draw in range(23):
        torch.manual_seed(draw)
        began = perf_counter()
        rollout = Sampler(decoder)(examiner.a[:25], 4, MAX)
        reward_loss(rollout, torch.randn(25, 4)).backward()
        steps.append(perf_counter() - began)
        texts = [vocabulary.decode(words) for words in rollout.captions()]
        for name, reward in rewards.items():
            began = perf_counter()
            reward(texts, images)
            times[name].append(perf_counter() - began)
        began = perf_counter()
        references = {str(n): image.references for n, image in enumerate(images)}
        divided = tokenized(references, {str(n): [text] for n, text in enumerate(texts)})
        PycocoCider().compute_score(*divided)
        times["pycocoevalcap"].append(perf_counter() - began)
    step = median(steps[3:])
    print(f"sampling and learning: {step:.3f} s a step of 100 captions")
    for name in rewards:
        share = median(times[name][3:]) / (step + median(times[name][3:]))
        print(f"{name:13} {share:5.3f} of a step")
    ratio = median(times["pycocoevalcap"][3:]) / median(times["cider"][3:])
    print(f"CIDEr-D is {ratio:.0f} times as fast as pycocoevalcap with its tokenizer")


def score_falsehoods(out: Path) -> None:
    """Print what metrics give to captions that are true, and to those that one word makes false."""
    rows: dict[str, list[tuple[list[str], str]]] = {"true": [], "colour": [], "relation": []}
    for image in Examiner(out / "scenes").images:
        for number, caption in enumerate(image.references):
            others = [text for k, text in enumerate(image.references) if k != number]
            said = [word for word in caption.split() if word in OPPOSITE]
            if not said:
                continue
            there = {thing.colour for thing in things_of(image.facts)}
            colour = next(word for word in caption.split() if word in there)
            new = next(one for one in COLOURS if one not in there)
            wrong = {"true": caption, "colour": caption.replace(colour, new, 1),
                     "relation": caption.replace(said[0], OPPOSITE[said[0]])}  # fmt: skip
            if [is_true(text, things_of(image.facts)) for text in wrong.values()].count(True) > 1:
                continue  # two objects are alike
            for kind, text in wrong.items():
                rows[kind].append((others, text))
            break
    cider = Cider([others for others, _ in rows["true"]])
    print(f"{len(rows['true'])} captions, against four others: CIDEr, METEOR, BLEU-4")
    for kind, pairs in rows.items():
        references = {str(n): others for n, (others, _) in enumerate(pairs)}
        captions = {str(n): text for n, (_, text) in enumerate(pairs)}
        found = score(references, captions)
        images = [ImageFacts(others, {}) for others, _ in pairs]
        ciders = fmean(cider([text for _, text in pairs], images))
        print(f"{kind:9} {ciders:.2f} {found.meteor:.3f} {found.bleu4:.3f}")


def print_learned(out: Path) -> None:
    """Print what runs have learned beyond saying less, with standard errors over the scenes."""
    examiner = Examiner(out / "scenes")
    start, vocabulary = examiner.captioner.decoder, examiner.captioner.vocabulary

    def said(decoder: Decoder, suppress: Sequence[str] = ()) -> list[str]:
        found = greedy(decoder, examiner.a, MAX, suppress_tokens=vocabulary.ids(suppress))
        return [vocabulary.decode(one.words) for one in found]

    def runs(name: str) -> list[Decoder]:
        return [Captioner.from_pretrained(one).decoder
                for one in sorted((out / "runs").glob(f"{folder(name)}-[0-9]"))]  # fmt: skip

    for name, suppress in (("truth", SILENT), ("facts", SILENT), ("CIDEr", SILENT),
                           ("true and complete", ["and"])):  # fmt: skip
        texts = [said(decoder) for decoder in runs(name)]
        before = said(start, suppress)
        gained = torch.tensor([truth(some, examiner.images) for some in texts]).mean(0)
        gained -= torch.tensor(truth(before, examiner.images))  # of each scene
        error = gained.std() / len(gained) ** 0.5
        print(f"{name}: {gained.mean():+.3f} ± {error:.3f} true, over the start without "
              f"{', '.join(suppress)}")  # fmt: skip
        if name == "true and complete":
            mine = fmean(map(upright, texts))
            print(f"  above or below: {upright(before):.2f} of the start's relations, {mine:.2f}")
    single = total = 0
    for decoder in runs("truth"):
        for seed in range(5):
            drawn = sample(decoder, examiner.a, MAX, generator=torch.Generator().manual_seed(seed))
            phrases = [read_caption(vocabulary.decode(one.words)) for one in drawn]
            single += sum(found is not None and len(found[0]) == 1 for found in phrases)
            total += len(phrases)
    print(f"truth: {single} of {total} sampled captions name one shape")
    for name, decoders in {"the start": [start], "truth": runs("truth"), "facts": runs("facts"),
                           "true and complete": runs("true and complete")}.items():  # fmt: skip
        a = torch.from_numpy(examiner.test.read(range(len(examiner.test)))).float()
        points = [score_scenes(one, vocabulary, examiner.test, greedy(one, a, MAX), "expectation")
                  .pointing_human for one in decoders]  # fmt: skip
        print(f"{name}: points right at {fmean(points):.3f} of the object words of the references")


def upright(texts: Sequence[str]) -> float:
    """The share of relations that are above or below."""
    told = [word for text in texts for word in text.split() if word in OPPOSITE]
    return sum(word in ("above", "below") for word in told) / max(len(told), 1)


def false_over_true(decoder: Decoder, a, images, vocabulary, learned) -> float:
    """The mean squared length of d log p(y) of captions that are not true, over that of true ones.

    Of 400 sampled captions.
    """
    found: dict[float, list[float]] = {0.0: [], 1.0: []}
    for draw in range(16):
        torch.manual_seed(1000 + draw)
        rollout = Sampler(decoder)(a, 1, MAX)
        true = truth([vocabulary.decode(words) for words in rollout.captions()], images)
        for log_p, right in zip(rollout.log_p.sum((1, 2)), true, strict=True):
            grads = torch.autograd.grad(log_p, learned, retain_graph=True, allow_unused=True)
            found[right].append(sum(float((g**2).sum()) for g in grads if g is not None))
    return fmean(found[0.0]) / fmean(found[1.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["table", "variance", "share", "metrics", "learned"])
    parser.add_argument("--out", type=Path, required=True, help="a folder; what is done is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--draws", type=int, default=100)
    given = parser.parse_args()
    if min(given.seeds, given.steps, given.draws - 1) < 1:
        parser.error("--seeds and --steps must be at least 1, --draws at least 2")
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.what == "table":
        make_table(given.out, given.seeds, given.steps)
    elif given.what == "variance":
        make_variances(given.out, given.draws)
    elif given.what == "share":
        share_of_step(given.out)
    elif given.what == "metrics":
        score_falsehoods(given.out)
    else:
        print_learned(given.out)


if __name__ == "__main__":
    main()
