"""Training: teacher forcing, free-running scores after each epoch, checkpoints that survive a kill.

All that a step depends on stands in the checkpoint, so a run that was killed and resumed has the
same curve as one that was not. An epoch is saved before it is scored: nothing that fails afterwards
can lose it. What the run's folder holds: `labkit.training.run_folder`.
"""

import math
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from labkit.data.readers import tokenize
from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import evaluate
from labkit.evaluation.metrics import start_meteor
from labkit.evaluation.teacher_forced import word_loss
from labkit.files import keep_freed_memory
from labkit.model import checkpoint
from labkit.model.decoder import Decoder, pad_captions
from labkit.model.generation import GenerationConfig
from labkit.store.loader import Batch, Loader
from labkit.store.shards import FeatureStore, source_of
from labkit.training.config import TrainingConfig, decoder_config, read_config, defaults_for, with_precision
from labkit.training.objective import Objective
from labkit.training.run_folder import RunFolder
from labkit.training.schedule import (
    DevSplit,
    DivergedError,
    Schedule,
    TrainState,
    check_finite,
    with_splits,
)


class Trainer:
    """One run: started from a store, or resumed from its folder.

    Args:
        store: folder of a feature store; of its splits one is learned from, and another, if there
            is one, chooses the epoch: see `TrainingConfig`.
        out: the run's folder.
        config: what is asked for.
        resume: resume from the checkpoint in ``out``; without one, start.
        group: this process among those that train together.
        progress: show a bar, where the standard error is a terminal.

    Attributes:
        notes: what should be known of this training, a sentence each.

    Raises:
        FileExistsError: ``out`` holds a run, and ``resume`` is False; or files of another kind; or
            another process is training there.
        ValueError: the run in ``out`` was made with another store or other settings, or the store
            has no such split.
    """

    def __init__(
        self, store: str | Path, out: str | Path, config: TrainingConfig | None = None,
        resume: bool = False, group: ProcessGroup | None = None, progress: bool = True,
    ):  # fmt: skip
        self.group, self.progress = group or ProcessGroup(), progress
        self.folder = RunFolder(out, self.group)
        self.out = self.folder.path
        self.config = config = with_precision(with_splits(store, config or defaults_for(source_of(store))))
        self.folder.claim(resume)
        self.train = FeatureStore(store, config.train_split)
        self.judge = DevSplit(store, config.dev_split)
        self.dev, self.notes = self.judge.store, [*self.judge.notes]
        keep_freed_memory()
        if self.dev is not None and self.group.is_main:
            start_meteor()  # it takes its time, and is not waited for
        told = [caption for captions in self.train.captions for caption in captions]
        self.vocabulary = Vocabulary.build(told, config.min_count)
        self.cut = sum(len(tokenize(caption)) > config.max_words for caption in told)
        if self.cut:
            limit = f"{config.max_words} words"
            self.notes.append(f"{self.cut} captions are longer than {limit}: the rest is cut")
        self.encoded = [
            [self.vocabulary.encode(caption, config.max_words) for caption in captions]
            for captions in self.train.captions
        ]
        with self.group.seeded(config.seed):  # every process begins with the same weights
            shape = decoder_config(config, len(self.vocabulary), self.train.dim)
            self.decoder = Decoder(shape).to(self.group.device)
        self.average = AveragedModel(self.decoder, multi_avg_fn=self._average)
        self.optimizer = torch.optim.AdamW(
            self.decoder.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.loader = self.make_loader()
        self.steps = self.loader.steps()  # of an epoch
        self.schedule = Schedule(config, self.steps)
        self.objective = Objective(config.doubly_stochastic, config.target, config.smoothing, config)
        self.state = TrainState()
        if self.folder.begin(self._facts(), self.vocabulary, resume):
            self.state = self.folder.restore(self.decoder, self.average, self.optimizer)
        self.model: nn.Module = self.decoder
        if self.group.world_size > 1:
            self.model = DistributedDataParallel(self.decoder)

    def _facts(self) -> dict:
        """What config.json says of the run."""
        return {
            "train": asdict(self.config),
            "decoder": asdict(self.decoder.config),
            "encoder": self.train.encoder,
            "store": self.train.fingerprint,
            "data": str(self.train.root.resolve()),
            "cut": self.cut,
        }

    def run(self) -> TrainState:
        """Train to the end, or until `patience` epochs brought nothing better.

        Raises:
            DivergedError: the loss or its gradient is no number any more. The checkpoint and the
                model are of before.
            FileExistsError: another process is training in the run's folder.
        """
        at = self.state
        with self.folder.alone():
            while not self.schedule.over(at):
                self._train_epoch()
                self.save()  # before it is scored: `position` says that it is not yet
                self._score_epoch()
                at.epoch, at.position = at.epoch + 1, 0
                self.save()
                self.group.once(partial(self.folder.draw, at.rows, self.config.attention))
        return at

    @property
    def ending(self) -> str:
        """Why the training ended, and which epoch was kept."""
        return self.schedule.ending(self.state)

    def _train_epoch(self) -> None:
        config, at = self.config, self.state
        bar = tqdm(
            total=self.steps, unit="step", desc=f"epoch {at.epoch + 1}",
            disable=None if self.progress and self.group.is_main else True,
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
        """Learn from one batch; returns the loss per word, the batch's on all processes.

        Raises:
            DivergedError: the loss or its gradient is no number; nothing was learned from it.
        """
        at = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(at.step)
        self.decoder.attention.progress = at.step / self.schedule.total
        self.optimizer.zero_grad(set_to_none=True)
        # what a step draws at random is a function of seed, step and process: alike when resumed
        with self.group.seeded((self.config.seed * 1_000_003 + at.step) * 1_009 + self.group.rank):
            loss, nll, words = self.loss(batch)
            loss.backward()
        limit = self.config.clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.decoder.parameters(), limit)  # alike on all processes
        check_finite(nll / words, float(norm), at)
        self.optimizer.step()
        self.average.update_parameters(self.decoder)
        at.step += 1
        at.nll, at.words = at.nll + nll, at.words + int(words)
        return nll / words

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
        a = batch.features.to(self.group.device)[[row for row, _ in pairs]]  # (C, L, D)
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=bf16):
            told = self.model(a, captions.to(self.group.device))
        mine = self.objective(told)
        nll, words = self.group.all_reduce_sum(mine.nll * share, mine.words * share)
        self.decoder.attention.note(-nll / words)
        return mine.total * (share * self.group.world_size / words), nll, words

    def make_loader(self) -> Loader:
        """The training split in this run's order, this process's share."""
        return Loader(
            self.train, self.config.batch_size, self.config.seed,
            dtype=torch.bfloat16 if self.config.precision == "bf16" else torch.float32,
            rank=self.group.rank, world=self.group.world_size, readers=self.config.readers,
            captions=self.config.captions,
        )  # fmt: skip

    def _average(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        """Move the average towards the weights; faster at first, while they still change much."""
        decay = min(self.config.ema_decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _log(self) -> None:
        at = self.state
        row = {"epoch": at.epoch, "step": at.step, "loss": round(at.nll / at.words, 4)}
        at.rows.append(row)
        at.nll, at.words = 0.0, 0

    def _score_epoch(self) -> None:
        """Score the epoch on the dev split; keep its weights if they are the best so far."""
        at, found = self.state, None
        row = {"epoch": at.epoch + 1, "step": at.step}
        if self.dev is not None:
            scores = self.group.broadcast(self._scores())
            row |= {name: round(value, 4) for name, value in scores.items()}
            found = self.judge.rank(scores)
        at.rows.append(row)
        if at.judge(found, counts=at.step > self.schedule.warmup_ratio):
            self.group.once(self._keep)

    def _scores(self) -> dict[str, float]:
        """Caption the dev split greedily, and take the loss of its human captions; for rank 0."""
        model, config = self.average.module.eval(), self.config
        loss = word_loss(model, self.vocabulary, self.dev, config.max_words, self.group)
        try:
            found = evaluate(
                model, self.vocabulary, self.dev, GenerationConfig(beam=1), self.group, progress=False
            )
        except ChildProcessError as error:  # a Java program
            saved = f"epoch {self.state.epoch + 1} is saved, --resume scores it"
            raise ChildProcessError(f"{error}; {saved}") from error
        if not self.group.is_main:
            return {}
        scores = {k: v for k, v in found.as_dict().items() if isinstance(v, float)}
        return scores | {"dev_loss": loss}

    def _keep(self) -> None:
        tensors = {name: value.half() for name, value in self.average.module.state_dict().items()}
        if not all(value.isfinite().all() for value in tensors.values()):
            raise DivergedError(
                "training stopped: the weights have grown too large to be kept in half precision: "
                "start another run with a lower learning_rate"
            )
        checkpoint.save(self.folder.model, tensors, {"epoch": self.state.kept})

    def save(self) -> None:
        """Write the checkpoint and the log."""
        tensors = checkpoint.state_of(self.decoder, self.average, self.optimizer)
        self.group.once(partial(self.folder.save, tensors, asdict(self.state)))


def train(
    store: str | Path, out: str | Path, given: dict | None = None, resume: bool = False,
    group: ProcessGroup | None = None, progress: bool = True,
) -> Trainer:  # fmt: skip
    """Train a captioner, or resume a training. It is said on standard error how it ended.

    Args:
        store: folder of a feature store.
        out: the run's folder.
        given: what is asked for other than recommended, names of `TrainingConfig`. When a run is
            resumed, what is not given is as it was.
        resume: resume from the last checkpoint in ``out``, or start if there is none.
        group: this process among those that train together.
        progress: show a bar, where the standard error is a terminal.

    Raises:
        FileExistsError, ValueError: see `Trainer` and `Trainer.run`.
    """
    path = Path(out) / "config.json"
    config = read_config(path) if resume and path.exists() else defaults_for(source_of(store))
    training = Trainer(store, out, replace(config, **(given or {})), resume, group, progress)
    say = partial(print, file=sys.stderr) if training.group.is_main else lambda line: None
    for note in training.notes:
        say(note)
    training.run()
    say(training.ending)
    return training
