"""The dev split chooses the epoch that is kept.

An epoch is better than another if its CIDEr on the dev split is higher or, where that is equal, if
its loss there is lower. CIDEr weighs words by how rare they are among the references, so of a few
images it says little: with fewer than `ENOUGH` the loss alone decides. Without captions to compare
with, no epoch is better than another: all are trained, and the last is kept. A run that learns from
a reward is judged by its mean there, and needs captions only if the reward reads them.
"""

from pathlib import Path
from statistics import fmean

from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import caption_split, evaluate
from labkit.evaluation.teacher_forced import word_loss
from labkit.model.config import GenerationConfig
from labkit.model.decoder import Decoder
from labkit.store.shards import FeatureStore, splits
from labkit.training.rewards import Cider, Reward, images_of

ENOUGH = 50  # images with captions from which on CIDEr decides


class DevSplit:
    """The split of a store that chooses the epoch.

    Args:
        store: Folder of a feature store.
        name: Its split; None if there is none.
        reward: What a model learns from in the place of references; then its mean decides.

    Attributes:
        store: The split; None if there is none, or nothing that an epoch could be judged by.
        notes: What a user should know about it, a sentence each.
    """

    def __init__(self, store: str | Path, name: str | None, reward: Reward | None = None):
        self.reward = reward
        self.store = None if name is None else FeatureStore(store, name)
        self.notes: list[str] = []
        self._images = 0 if self.store is None else sum(map(bool, self.store.captions))
        if self.store is None:
            there = ", ".join(splits(store))
            self.notes.append(f"the store has no dev split (it has {there}), so no epoch is scored "
                              "and the last is kept: set dev_split")  # fmt: skip
        elif self._images == 0 and (reward is None or isinstance(reward, Cider)):
            self.store = None
            self.notes.append(f"the split {name} has no captions, so no epoch is scored and the "
                              "last is kept")  # fmt: skip
        elif self._images < ENOUGH and reward is None:
            images = f"{self._images} image{'s' * (self._images > 1)}"
            self.notes.append(f"the split {name} has captions of {images}, too few for CIDEr to "
                              "decide: the epoch of the lowest loss on them is kept")  # fmt: skip

    def score(
        self, model: Decoder, vocabulary: Vocabulary, config: GenerationConfig, group: ProcessGroup
    ) -> dict[str, float]:
        """Caption the split greedily, and compute the loss of its references, if there are any.

        Args:
            model: In evaluation mode.
            vocabulary: Its words.
            config: How the run captions; with one beam here. References are cut to its max_length.
            group: The processes that share the work.

        Returns:
            The scores by name, the mean "reward", and "dev_loss" in nats per word, as far as there
            are; the same on every process.

        Raises:
            ChildProcessError: A Java program of the metrics failed.
        """
        limit, config = config.max_length, config.updated({"num_beams": 1})
        assert self.store is not None
        if self._images:
            loss = word_loss(model, vocabulary, self.store, limit, group)
            found = evaluate(model, vocabulary, self.store, config, group, progress=False)
            scores = {k: v for k, v in found.as_dict().items() if isinstance(v, float)}
            scores["dev_loss"], texts = loss, [found.captions[image] for image in self.store.ids]
        else:
            words = caption_split(model, self.store, config, group, progress=False)
            scores, texts = {}, [vocabulary.decode(one.words) for one in words]
        if self.reward is not None:
            scores["reward"] = fmean(self.reward(texts, images_of(self.store)))
        return group.broadcast(scores)

    def rank(self, scores: dict[str, float]) -> list[float]:
        """What an epoch is judged by, the more the better."""
        if self.reward is not None:
            return [scores["reward"], scores.get("cider", 0.0)]
        return [scores["cider"]] * (self._images >= ENOUGH) + [-scores["dev_loss"]]

    def describe(self, best: list[float] | None) -> str:
        """Say in words what `rank` gave for the epoch that is kept."""
        if best is None:
            return "no score"
        if self.reward is not None:
            return f"a mean reward of {best[0]:.3f} (greedy)"
        if len(best) > 1:
            return f"CIDEr {best[0]:.3f} (greedy)"
        return f"a loss of {-best[0]:.3f} nats per word"
