"""Training: teacher forcing, free-running scores after each epoch, checkpoints that survive a kill.

A run is a folder:

    config.json              what was asked for, and what model, encoder and store it is about
    vocabulary.json          the words
    metrics.jsonl            a line every few steps ("loss") and one after each epoch (the scores)
    loss.png                 the same as a picture
    model.safetensors        the best epoch's weights: what evaluation and captioning use
    checkpoint.safetensors   all that going on needs

The checkpoint is one file, renamed into place: a kill leaves the old one or the new one. All that
a step depends on stands in it, so a run that was killed and resumed has the same curve as one
that was not.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from labkit import checkpoint
from labkit.captions import tokenize
from labkit.decoder import Decoder, pad_captions
from labkit.evaluation import Decoding, evaluate
from labkit.figures import loss_curves
from labkit.files import keep_freed_memory, read_json, whole, write_json
from labkit.loader import Batch, Loader
from labkit.metrics import start_meteor
from labkit.objective import Objective
from labkit.settings import TrainConfig, compare, decoder_config, recommended, settle
from labkit.shards import FeatureStore, splits
from labkit.team import Team
from labkit.vocabulary import Vocabulary


@dataclass
class Standing:
    """Where a training stands; all of it goes into the checkpoint."""

    epoch: int = 0
    position: int = 0  # samples of this epoch that were delivered
    step: int = 0
    surprise: float = 0.0  # sum of -log p(y_t) since the last line of the log
    words: int = 0  # the words of that sum
    best: float = -1.0  # the best epoch's CIDEr
    waited: int = 0  # epochs since then
    rows: list[dict] = field(default_factory=list)  # metrics.jsonl


class Training:
    """One run: begun from a store, or taken up again from its folder.

    Args:
        store: folder of a feature store with a split "train"; its split "dev" is scored.
        out: the run's folder.
        config: what is asked for.
        resume: go on from the checkpoint in ``out``; without one, begin.
        team: this process among those that train together.
        progress: show a bar, where the standard error is a terminal.

    Raises:
        FileExistsError: ``out`` holds a run, and ``resume`` is False.
        ValueError: the run in ``out`` was made with another store or other settings.
    """

    def __init__(
        self, store: str | Path, out: str | Path, config: TrainConfig | None = None,
        resume: bool = False, team: Team | None = None, progress: bool = True,
    ):  # fmt: skip
        self.out, self.team, self.progress = Path(out), team or Team(), progress
        self.train = FeatureStore(store, "train")
        self.config = config = settle(config or recommended(self.train.source))
        self.dev = FeatureStore(store, "dev") if "dev" in splits(store) else None
        keep_freed_memory()
        if self.dev is not None and self.team.leads:
            start_meteor()  # it takes its time, and is not waited for
        told = [caption for captions in self.train.captions for caption in captions]
        self.vocabulary = Vocabulary.build(told, config.min_count)
        self.cut = sum(len(tokenize(caption)) > config.max_words for caption in told)
        self.encoded = [
            [self.vocabulary.encode(caption, config.max_words) for caption in captions]
            for captions in self.train.captions
        ]
        torch.manual_seed(config.seed)  # every process begins with the same weights
        self.decoder = Decoder(decoder_config(config, len(self.vocabulary), self.train.dim))
        self.decoder.to(self.team.device)
        self.average = AveragedModel(self.decoder, multi_avg_fn=self._average)
        self.optimizer = torch.optim.AdamW(
            self.decoder.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.loader = self.make_loader()
        self.steps = self.loader.steps()  # of an epoch
        self.objective = Objective(config.doubly, config.target, config.smoothing, config)
        self.standing = Standing()
        self._begin(resume)
        if resume and self._checkpoint.exists():
            self._restore()
        self.model: nn.Module = self.decoder
        if self.team.world > 1:
            self.model = DistributedDataParallel(self.decoder)

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def _begin(self, resume: bool) -> None:
        """Write what the run is, or see that it is the same run."""
        facts = {
            "train": asdict(self.config),
            "decoder": asdict(self.decoder.config),
            "encoder": self.train.encoder,
            "store": self.train.fingerprint,
            "data": str(self.train.root.resolve()),
            "cut": self.cut,
        }
        facts = json.loads(json.dumps(facts))
        path = self.out / "config.json"
        if path.exists():
            if not resume:
                raise FileExistsError(
                    f"{self.out} holds a run: go on with --resume, or name another folder"
                )
            compare(read_json(path), facts, path)
        self.team.wait()
        if self.team.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            self.vocabulary.save(self.out / "vocabulary.json")
            write_json(path, facts)

    def run(self) -> Standing:
        """Train to the end, or until `patience` epochs brought nothing better."""
        at = self.standing
        while at.epoch < self.config.epochs and at.waited < self.config.patience:
            self._train_epoch()
            self._score_epoch()
            at.epoch, at.position = at.epoch + 1, 0
            self.save()
        return at

    def _train_epoch(self) -> None:
        config, at = self.config, self.standing
        bar = tqdm(
            total=self.steps, unit="step", desc=f"epoch {at.epoch + 1}",
            disable=None if self.progress and self.team.leads else True,
        )  # fmt: skip
        self.model.train()
        with bar:
            bar.update(at.position // config.batch_size)
            for batch in self.loader.epoch(at.epoch, start=at.position):
                self.train_step(batch)
                at.position = min(at.position + config.batch_size, self.loader.samples())
                bar.update()
                if at.step % config.log_every == 0:
                    self._log()
                    bar.set_postfix(loss=f"{at.rows[-1]['loss']:.3f}")
                if at.step % config.save_every == 0:
                    self.save()
        if at.words:  # the last steps of the epoch
            self._log()

    def train_step(self, batch: Batch) -> float:
        """Learn from one batch; returns the loss per word, the batch's on all processes."""
        at = self.standing
        # What a step draws by lot is a function of seed, step and process: the same when resumed.
        torch.manual_seed((self.config.seed * 1_000_003 + at.step) * 1_009 + self.team.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(at.step)
        self.decoder.attention.progress = at.step / (self.config.epochs * self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss, surprise, words = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), self.config.clip)
        self.optimizer.step()
        self.average.update_parameters(self.decoder)
        at.step += 1
        at.surprise, at.words = at.surprise + surprise, at.words + int(words)
        return surprise / words

    def loss(self, batch: Batch) -> tuple[Tensor, float, float]:
        """The batch's loss per word; with it the surprise and words of all processes.

        DistributedDataParallel takes the mean of the processes' gradients. The loss here is this
        process's sum, divided by the words of all and multiplied by the number of processes: so
        that mean is the gradient of one process that has the whole batch, however the words fall.
        """
        share = float(batch.weight[0])  # 0 where this process fills up a step it has no sample in
        rows = [self.encoded[i] for i in batch.indices.tolist()]
        pairs = zip(batch.rows.tolist(), batch.captions.tolist(), strict=True)
        pairs = [pair for pair in pairs for _ in range(self.config.samples)]  # side by side
        captions = pad_captions([rows[row][number] for row, number in pairs])
        a = batch.features.to(self.team.device)[[row for row, _ in pairs]]  # (C, L, D)
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=bf16):
            told = self.model(a, captions.to(self.team.device))
        mine = self.objective(told)
        surprise, words = self.team.total(mine.surprise * share, mine.words * share)
        self.decoder.attention.note(-surprise / words)
        return mine.total * (share * self.team.world / words), surprise, words

    def learning_rate(self, step: int) -> float:
        """A line up to the highest rate, then a cosine down to nothing at the last step."""
        total = self.config.epochs * self.steps
        rise = min(1.0, (step + 1) / self.config.warmup)
        return self.config.learning_rate * rise * (1 + math.cos(math.pi * step / total)) / 2

    def make_loader(self) -> Loader:
        """The training split in this run's order, this process's share."""
        return Loader(
            self.train, self.config.batch_size, self.config.seed,
            dtype=torch.bfloat16 if self.config.precision == "bf16" else torch.float32,
            rank=self.team.rank, world=self.team.world, readers=self.config.readers,
            captions=self.config.captions,
        )  # fmt: skip

    def _average(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        """Move the average towards the weights; faster at first, while they still change much."""
        decay = min(self.config.averaging, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _log(self) -> None:
        at = self.standing
        row = {"epoch": at.epoch, "step": at.step, "loss": round(at.surprise / at.words, 4)}
        at.rows.append(row)
        at.surprise, at.words = 0.0, 0

    def _score_epoch(self) -> None:
        """Tell the dev split greedily; keep the weights if they are the best so far."""
        at, row = self.standing, {"epoch": self.standing.epoch + 1, "step": self.standing.step}
        score = 0.0
        if self.dev is not None and any(self.dev.captions):
            model = self.average.module.eval()
            found = evaluate(
                model, self.vocabulary, self.dev, Decoding(beam=1), self.team, progress=False
            )
            scores = {k: v for k, v in found.as_dict().items() if isinstance(v, float)}
            row |= {name: round(value, 4) for name, value in scores.items()}
            score = found.scores.cider
        better = score > at.best or self.dev is None
        at.best, at.waited = (score, 0) if better else (at.best, at.waited + 1)
        at.rows.append(row)
        if better and self.team.leads:
            tensors = {k: v.half() for k, v in self.average.module.state_dict().items()}
            checkpoint.save(self.out / "model.safetensors", tensors, {"epoch": at.epoch + 1})

    def save(self) -> None:
        """Write the checkpoint, then the files that show how it went."""
        if self.team.leads:
            tensors = checkpoint.state_of(self.decoder, self.average, self.optimizer)
            checkpoint.save(self._checkpoint, tensors, asdict(self.standing))
            with whole(self.out / "metrics.jsonl") as part:
                part.write_text("".join(json.dumps(row) + "\n" for row in self.standing.rows))
            with whole(self.out / "loss.png") as part:
                loss_curves({self.config.attention: self.standing.rows}).savefig(part)
        self.team.wait()

    def _restore(self) -> None:
        tensors, standing = checkpoint.load(self._checkpoint)
        checkpoint.restore(tensors, self.decoder, self.average, self.optimizer)
        self.standing = Standing(**standing)


def train(
    store: str | Path, out: str | Path, given: dict | None = None, resume: bool = False,
    team: Team | None = None, progress: bool = True,
) -> Training:  # fmt: skip
    """Train a captioner, or go on with one.

    Args:
        store: folder of a feature store.
        out: the run's folder.
        given: what is asked for other than recommended, names of `TrainConfig`. When a run is
            taken up, what is not given is as it was.
        resume: go on from the last checkpoint in ``out``, or begin if there is none.
        team: this process among those that train together.
        progress: show a bar, where the standard error is a terminal.

    Raises:
        FileExistsError, ValueError: see `Training`.
    """
    path = Path(out) / "config.json"
    if resume and path.exists():
        config = TrainConfig(**read_json(path)["train"])
    else:
        config = recommended(FeatureStore(store, "train").source)
    training = Training(store, out, replace(config, **(given or {})), resume, team, progress)
    if training.cut and training.team.leads:
        limit = f"{training.config.max_words} words"
        print(f"{training.cut} captions are longer than {limit}: the rest is cut", file=sys.stderr)
    training.run()
    return training
