"""Training: teacher forcing, free-running scores after each epoch, checkpoints that survive a kill.

All that a step depends on stands in the checkpoint, so a killed and resumed run has the same curve
as one that was not. An epoch is saved before it is scored. See `labkit.training.run_folder`, too.
"""

import math
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from labkit.data.vocabulary import Vocabulary
from labkit.data.words import tokenize
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import compare_encoders
from labkit.evaluation.meteor import start_meteor
from labkit.files import keep_freed_memory
from labkit.model import checkpoint
from labkit.model.captioner import Captioner
from labkit.model.decoder import Decoder, pad_captions
from labkit.model.draws import Draws
from labkit.store.loader import Batch, Loader
from labkit.store.shards import FeatureStore, source_of
from labkit.training import schedule
from labkit.training.config import Settings, defaults_for, resolve
from labkit.training.dev_split import DevSplit
from labkit.training.objective import Objective
from labkit.training.processes import Stopping, draws_of_captions
from labkit.training.run_folder import RunFolder
from labkit.training.schedule import DivergedError, Schedule, TrainState, check_finite, with_splits


class Trainer:
    """One run: started from a store, or resumed from its folder. `labkit.train` runs it.

    Args:
        store: Folder of a feature store, with a split to learn from and perhaps a dev split.
        run: The run's folder.
        settings: The three configurations; those recommended for the store if None.
        resume: Resume from the checkpoint in ``run``; without one, start.
        group: This process among those that train together.
        progress: Show a bar, where the standard error is a terminal.

    Attributes:
        start: The model that it started from, if any.
        settings: The settings in force; `config` is their training part.
        decoder: What is trained; `average` is the moving average of its weights, which is kept.
        state: Where the training stands; `state.rows` is its log.
        notes: What a user should know, a sentence each.

    Raises:
        FileExistsError: ``run`` holds a run, and ``resume`` is False; or files of another kind; or
            another process is training there.
        ValueError: The run in ``run`` was made with another store or other settings, or the store
            has no such split.
    """

    def __init__(
        self, store: str | Path, run: str | Path, settings: Settings | None = None,
        resume: bool = False, group: ProcessGroup | None = None, progress: bool = True,
    ):  # fmt: skip
        self.store, self.group, self.progress = store, group or ProcessGroup(), progress
        self.stopping = Stopping(self.group)
        self.folder = RunFolder(run, self.group)
        settings = resolve(settings or defaults_for(source_of(store)))
        self.settings = settings = with_splits(store, settings)
        self.config = config = settings.training
        self.folder.claim(resume)
        self.train = FeatureStore(store, str(config.train_split))
        self.start = None if config.start is None else Captioner.from_pretrained(config.start)
        if self.start is not None:
            compare_encoders(self.train, self.start)
        self.judge = self.make_judge()
        self.dev, self.notes = self.judge.store, [*self.judge.notes]
        keep_freed_memory()
        self._encode_captions()
        if self.dev is not None and any(self.dev.captions) and self.group.is_main:
            start_meteor([*self.vocabulary.words, *chain(*self.dev.captions)])  # and do not wait
        with self.group.seeded(config.seed):  # every process begins with the same weights
            self.decoder = self.make_decoder().to(self.group.device)
        average = schedule.ema_of_weights(config.ema_decay)
        self.average = AveragedModel(self.decoder, multi_avg_fn=average)
        self.optimizer = torch.optim.AdamW(
            self.decoder.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay,
            fused=True,
        )  # fmt: skip
        self.loader = self.make_loader()
        self.schedule = Schedule(config, len(self.loader))
        self.objective = Objective(config)
        self.state = TrainState()
        if self.folder.begin(self._facts(), self.vocabulary, resume):
            self.state = self.folder.restore(self.decoder, self.average, self.optimizer)
            self.loader.load_state_dict(self.state.loader)
        self.model = self.make_model()
        if self.group.world_size > 1:  # samples may leave weights unused, such as argmax's scores
            unused = bool(config.caption_reward)
            self.model = DistributedDataParallel(self.model, find_unused_parameters=unused)

    def _encode_captions(self) -> None:
        """Make the vocabulary, or take the start's; and all training captions as word ids."""
        texts = [caption for captions in self.train.captions for caption in captions]
        limit, count = self.settings.generation.max_length, self.config.min_count
        self.vocabulary = self.start.vocabulary if self.start else Vocabulary.build(texts, count)
        self.cut = sum(len(tokenize(caption)) > limit for caption in texts)
        if self.cut:
            self.notes.append(f"{self.cut} captions are longer than {limit} words: the rest is cut")
        self.encoded = [
            [self.vocabulary.encode(caption, limit) for caption in captions]
            for captions in self.train.captions
        ]

    def make_decoder(self) -> Decoder:
        """The decoder as it starts.

        Raises:
            ValueError: The settings ask for another model than the start is.
        """
        decoder = Decoder(self.settings.model_config(len(self.vocabulary), self.train.dim))
        if self.start is not None:
            other = self.start.decoder
            try:
                decoder.load_state_dict(other.state_dict())
                if decoder.config.first_state != other.config.first_state:  # it has the same sizes
                    raise RuntimeError
            except RuntimeError:
                raise ValueError(
                    f"the settings ask for another model than {self.start.name}, from which it is "
                    "to start: leave out those of its mechanism and its sizes"
                ) from None
        return decoder

    def make_judge(self) -> DevSplit:
        """What chooses the epoch."""
        return DevSplit(self.store, self.config.dev_split)

    def make_model(self) -> nn.Module:
        """The module whose forward pass the loss comes from."""
        return self.decoder

    def _facts(self) -> dict[str, Any]:
        """What config.json says of the run."""
        return self.settings.as_dict() | {
            "model": asdict(self.decoder.config),
            "encoder": self.train.encoder,
            "store": self.train.fingerprint,
            "data": str(self.train.root.resolve()),
            "cut": self.cut,
            "start_weights": self.start and checkpoint.checksum(self.start.decoder.state_dict()),
        }

    def run(self) -> TrainState:
        """Train to the end, or until `patience` epochs brought nothing better.

        Raises:
            DivergedError: The loss or its gradient is not finite. The checkpoint and the model are
                those of before.
            FileExistsError: Another process is training in the run's folder.
            SystemExit: SIGTERM asked to stop. The last step is saved.
        """
        at = self.state
        show = partial(self.folder.show, at.rows, self.decoder.config.attention)
        with self.folder.alone():
            self.group.once(show)  # a kill may have come between the checkpoint and the log
            while not self.schedule.over(at):
                if self.loader.epoch == at.epoch:  # else it was trained, and is yet to be scored
                    self._train_epoch()
                self._score_epoch()
                at.epoch += 1
                self.save()
                self.group.once(show)
        return at

    def _train_epoch(self) -> None:
        config, at = self.config, self.state
        bar = tqdm(
            total=len(self.loader), initial=self.loader.position // config.batch_size, unit="step",
            desc=f"epoch {at.epoch + 1}",
            disable=None if self.progress and self.group.is_main else True,
        )  # fmt: skip
        self.model.train()
        with bar, self.stopping.noted():
            for batch in self.loader:
                self.train_step(batch)
                bar.update()
                if at.step % config.log_every == 0:
                    self._log()
                    bar.set_postfix(loss=f"{at.rows[-1]['loss']:.3f}")
                if self.stopping.agreed or at.step % config.save_every == 0:
                    self.save()
                if self.stopping.agreed:
                    self.stopping.leave(f"step {at.step}")
            if at.words:  # the last steps of the epoch
                self._log()
            self.save()

    def train_step(self, batch: Batch) -> float:
        """Learn from one batch; returns the loss per word, in nats, of all processes' batches.

        Raises:
            DivergedError: The loss or its gradient is not finite; nothing was learned from it.
        """
        at = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(at.step)
        self.decoder.attention.progress = at.step / self.schedule.total
        self.optimizer.zero_grad(set_to_none=True)
        # what a step samples is a function of seed and step; 1,009 keeps it as in earlier versions
        self.decoder.attention.draws = self.draws(batch)
        with self.group.seeded((self.config.seed * 1_000_003 + at.step) * 1_009):
            loss, nll, words = self.loss(batch)
            loss.backward()
        limit = self.config.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.decoder.parameters(), limit)  # equal on all processes
        check_finite(nll / words, float(norm), at)
        self.optimizer.step()
        self.average.update_parameters(self.decoder)
        at.step += 1
        at.nll, at.words = at.nll + nll, at.words + int(words)
        return nll / words

    def loss(self, batch: Batch) -> tuple[Tensor, float, float]:
        """The batch's loss per word; with it the sum of -log p and the words of all processes.

        DistributedDataParallel takes the mean of the processes' gradients. The loss here is this
        process's sum, divided by the words of all and multiplied by the number of processes. So
        that mean is the gradient of one process with the whole batch, however the words fall.
        """
        share = float(batch.weight[0])  # 0 where this process has no sample in a step
        rows = [self.encoded[i] for i in batch.indices.tolist()]
        chosen = zip(batch.rows.tolist(), batch.caption_numbers.tolist(), strict=True)
        pairs = [pair for pair in chosen for _ in range(self.config.samples)]  # side by side
        captions = pad_captions([rows[row][number] for row, number in pairs])
        device, bf16 = self.group.device, self.config.precision == "bf16"
        a = batch.features.to(device)  # (N, L, D)
        images = torch.tensor([row for row, _ in pairs], device=device)  # of each caption
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = self.model(a, captions.to(device), images=images)
        mine = self.objective(output)
        nll, words = self.stopping.sum(mine.nll * share, mine.words * share)
        self.decoder.attention.update_baseline(-nll / words)
        return mine.total * (share * self.group.world_size / words), nll, words

    def draws(self, batch: Batch) -> Draws | None:
        """With several processes, which random numbers are this one's."""
        return draws_of_captions(self.loader, batch, self.encoded, self.config.samples)

    def make_loader(self, dtype: torch.dtype | None = None, captions: str | None = None) -> Loader:
        """The training split in this run's order, this process's share."""
        config = self.config
        usual = torch.bfloat16 if config.precision == "bf16" else torch.float32
        return Loader(
            self.train, config.batch_size, config.seed, dtype or usual, self.group.rank,
            self.group.world_size, config.num_workers, captions or config.captions,
        )  # fmt: skip

    def _log(self) -> None:
        at = self.state
        at.rows.append({"epoch": at.epoch, "step": at.step, "loss": round(at.nll / at.words, 4)})
        at.nll, at.words = 0.0, 0

    def _score_epoch(self) -> None:
        """Score the epoch on the dev split; keep its weights if they are the best so far."""
        at, found = self.state, None
        row: dict[str, Any] = {"epoch": at.epoch + 1, "step": at.step}
        if self.dev is not None:
            model = cast(Decoder, self.average.module.eval())
            config = self.settings.generation
            try:
                scores = self.judge.score(model, self.vocabulary, config, self.group)
            except ChildProcessError as error:
                saved = f"epoch {at.epoch + 1} is saved, --resume scores it"
                raise ChildProcessError(f"{error}; {saved}") from error
            row |= {name: round(value, 4) for name, value in scores.items()}
            found = self.judge.rank(scores)
        at.rows.append(row)
        if at.judge(found, counts=at.step > self.schedule.warmup_steps):
            self.group.once(self._keep)

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
        self.state.loader = self.loader.state_dict()
        tensors = checkpoint.state_of(self.decoder, self.average, self.optimizer)
        self.group.once(partial(self.folder.save, tensors, asdict(self.state)))
