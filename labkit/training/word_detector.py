"""Learn which words an image calls for, from a trained model and its captions.

Each word of the vocabulary is a question of its own: which share of the image's captions has it?
`labkit.model.word_detector` has the equation. The model itself does not change.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm, trange

from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import images_for
from labkit.files import outputs
from labkit.model.captioner import Captioner
from labkit.model.decoder import Decoder
from labkit.model.word_detector import FILE, WordDetector, pool
from labkit.store.shards import FeatureStore

BATCH, EPOCHS, RATE, DROPOUT = 100, 30, 2e-3, 0.5
WARMUP = 1 / 12  # of all steps
AT_ONCE = 100  # images read at a time
RAREST = 1e-5  # the least share of captions that a word is taken to have


@dataclass(frozen=True)
class Detected:
    """How well the words of images are detected.

    Attributes:
        words: How many words a caption can have.
        images: The number of images learned from, their views included.
        loss: Nats an image, on the split that chose the epoch, of all words together.
        loss_constant: The same, if each word has its share of the training captions.
        epoch: The epoch that was kept.
        candidates: Among how many captions the model chooses by minimum Bayes risk; below 2 it asks
            no detector.
    """

    words: int
    images: int
    loss: float
    loss_constant: float
    epoch: int
    candidates: int


def fit_word_detector(
    run: str | Path, out: str | Path, store: str | Path | None = None, overwrite: bool = False,
    train_split: str | None = None, dev_split: str | None = None, seed: int = 0,
    progress: bool = True,
) -> Detected:  # fmt: skip
    """Fit a word detector to a trained model, and write detector.safetensors.

    In the folder of a model, that file makes `labkit.Captioner` weigh its candidates by their words
    as well, where it chooses by minimum Bayes risk.

    Args:
        run: The run's folder, or the name of a model that comes with the package.
        out: The folder to write to; the run's own, as a rule.
        store: The store's folder; None uses the one that the run was trained on.
        overwrite: Replace an existing file.
        train_split: The images to learn from; None is the run's.
        dev_split: The images that choose the epoch; None is the run's.
        seed: Of the first weights, the order and dropout.
        progress: Show a progress bar, if standard error is a terminal.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is False.
        ValueError: A split has no captions, no store is known, or its features come from another
            encoder.
    """
    outputs(Path(out) / FILE, overwrite=overwrite)
    captioner = Captioner.from_pretrained(run, without=["calibration", "detector"])
    dev = images_for(captioner, store, dev_split or captioner.dev_split)
    train = images_for(captioner, dev.root, train_split or captioner.train_split)
    with tqdm(unit="image", desc="read", disable=not progress or None) as bar:
        mine, judge = (_Split.of(images, captioner, bar) for images in (train, dev))
    with ProcessGroup().seeded(seed):
        detector, loss, epoch = _learn(captioner.decoder, mine, judge, progress)
    detector.save(Path(out))
    prior, share = detector.log_prior, judge.mean()
    constant = -(share * prior + (1 - share) * (-prior.exp()).log1p()).sum().item()
    candidates = captioner.generation.mbr_candidates
    return Detected(len(prior), len(mine.x), loss, constant, epoch, candidates)


def _learn(
    decoder: Decoder, mine: "_Split", judge: "_Split", progress: bool
) -> tuple[WordDetector, float, int]:
    """Learn from one split, and return the detector of the epoch that is best on the other.

    Returns:
        The detector, its loss on the other split, and the epoch.
    """
    share = mine.mean()  # of the captions that have each word, (V,)
    M = nn.Linear(2 * decoder.config.feature_dim, decoder.config.embed_dim, bias=False)
    b = nn.Parameter(share.logit())
    detector = WordDetector(decoder, M.weight, b, share.log())
    optimizer = torch.optim.AdamW([M.weight, b], RATE)
    steps = EPOCHS * math.ceil(len(mine.x) / BATCH)
    schedule = LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARMUP * steps), 1) * (1 - step / steps)
    )
    best, kept, epoch_kept = math.inf, detector, 0
    for epoch in trange(1, EPOCHS + 1, unit="epoch", desc="learn", disable=not progress or None):
        for rows in torch.randperm(len(mine.x)).split(BATCH):
            optimizer.zero_grad()
            mine.loss(detector, rows, DROPOUT).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            loss = judge.all_losses(detector)
        if loss < best:
            weight, bias = M.weight.detach().clone(), b.detach().clone()
            best, kept, epoch_kept = loss, WordDetector(decoder, weight, bias, share.log()), epoch
    return kept, best, epoch_kept


@dataclass(frozen=True)
class _Split:
    """A split's images: what the detector sees of each, and which words its captions have.

    Attributes:
        x: (N, 2D), see `labkit.model.word_detector.pool`.
        words: For each image the ids of its captions' words, and the share that has each.
        size: V.
    """

    x: Tensor
    words: list[tuple[Tensor, Tensor]]
    size: int

    @classmethod
    def of(cls, images: FeatureStore, captioner: Captioner, bar: tqdm) -> "_Split":
        used = [n for n, texts in enumerate(images.captions) if texts]
        if not used:
            raise ValueError(f"{images.root}: {images.split} has no captions to learn words from")
        # one tensor: small ones between large ones that come and go would keep the memory of these
        x, words = torch.empty(len(used), 2 * captioner.decoder.config.feature_dim), []
        for start in range(0, len(used), AT_ONCE):
            rows = used[start : start + AT_ONCE]
            a = torch.from_numpy(images.read(rows))
            x[start : start + AT_ONCE] = pool(captioner.decoder, a)
            bar.update(len(rows))
        for n in used:
            texts = images.captions[n]
            found = Counter(word for text in texts for word in {*captioner.vocabulary.encode(text)})
            ids, counts = torch.tensor([*found]), torch.tensor([*found.values()])
            words.append((ids, counts / len(texts)))
        return cls(x, words, len(captioner.vocabulary))

    def shares(self, rows: Sequence[int]) -> Tensor:
        """The share of each image's captions that has each word, (n, V)."""
        table = torch.zeros(len(rows), self.size)
        for line, row in zip(table, rows, strict=True):
            ids, shares = self.words[row]
            line[ids] = shares
        return table

    def mean(self) -> Tensor:
        """The share of all captions that has each word, (V,); never quite 0 or 1."""
        total = sum(self.shares(rows).sum(0) for rows in _parts(len(self.x)))
        return (torch.as_tensor(total) / len(self.x)).clamp(RAREST, 1 - RAREST)

    def loss(self, detector: WordDetector, rows: Tensor, p: float = 0.0) -> Tensor:
        """Nats an image, the mean over some images; ``p`` of what is seen of them is dropped."""
        logits = detector.logits(dropout(self.x[rows], p))
        shares = self.shares(rows.tolist())
        return binary_cross_entropy_with_logits(logits, shares, reduction="sum") / len(rows)

    def all_losses(self, detector: WordDetector) -> float:
        """Nats an image, the mean over all."""
        total = sum(
            self.loss(detector, torch.tensor(rows)).item() * len(rows)
            for rows in _parts(len(self.x))
        )
        return total / len(self.x)


def _parts(count: int) -> list[range]:
    return [range(n, min(n + BATCH, count)) for n in range(0, count, BATCH)]
