"""Training from a reward of whole captions, in the place of references."""

import torch
from torch import Tensor, nn

from labkit.evaluation.evaluate import evaluating
from labkit.model.draws import Draws
from labkit.model.generation import greedy
from labkit.store.loader import Batch, Loader
from labkit.training.dev_split import DevSplit
from labkit.training.processes import draws_of_images
from labkit.training.rewards import ImageFacts, check_scenes, images_of, read_reward
from labkit.training.rollout import Sampler, advantage, reward_loss
from labkit.training.trainer import Trainer


class RewardTrainer(Trainer):
    """A run that learns from a reward. See `Trainer`; a "loss" in its log is minus a mean reward.

    Each step samples captions of the next images of the training split. No reference is read,
    unless the reward does so. The epoch with the highest mean reward on the dev split is kept. It
    computes in float32.

    Several processes share the images of a step, and sample what one process would.

    Raises:
        FileNotFoundError, ValueError: See `labkit.training.rewards.read_reward`.
    """

    def make_judge(self) -> DevSplit:
        """What chooses the epoch: the reward."""
        self.images = images_of(self.train)
        name = self.config.caption_reward or ""
        self.reward = read_reward(name, self.images)
        judge = DevSplit(self.store, self.config.dev_split, self.reward)
        check_scenes(name, images_of(judge.store) if judge.store else [], "dev split")
        return judge

    def make_loader(self, dtype: torch.dtype | None = None, captions: str | None = None) -> Loader:
        """The images of the training split, in float32 and without a caption."""
        return super().make_loader(torch.float32, "none")

    def make_model(self) -> nn.Module:
        """The sampler of captions."""
        start = None
        if self.config.kl_weight and self.start is not None:
            start = self.start.decoder.to(self.group.device)
        return Sampler(self.decoder, start)

    def draws(self, batch: Batch) -> Draws | None:
        """With several processes, which random numbers are this one's."""
        return draws_of_images(self.loader, batch)

    def loss(self, batch: Batch) -> tuple[Tensor, float, float]:
        """The loss of the batch's samples; minus their rewards, and how many, of all processes."""
        config, share = self.config, float(batch.weight[0])
        images = [self.images[n] for n in batch.indices.tolist()]
        a = batch.features.float().to(self.group.device)  # (N, L, D)
        limit = self.settings.generation.max_length
        with evaluating(self.decoder):  # without dropout: its samples are the model's own
            found = self.model(a, config.samples, limit)
            best = None
            if config.caption_baseline == "greedy":
                best = self._worth([one.words for one in greedy(self.decoder, a, limit)], images)
        repeated = [image for image in images for _ in range(config.samples)]
        reward = self._worth(found.captions(), repeated).view(len(images), config.samples)
        advantages = advantage(reward, config.caption_baseline, best)  # (N, K)
        total = reward_loss(found, advantages, config.kl_weight)
        cost, count = -float(reward.sum()) * share, reward.numel() * share
        cost, count = self.stopping.sum(cost, count)
        return total * (share * self.group.world_size / count), cost, count

    def _worth(self, captions: list[list[int]], images: list[ImageFacts]) -> Tensor:
        texts = [self.vocabulary.decode(words) for words in captions]
        return torch.tensor(self.reward(texts, images), device=self.group.device)
