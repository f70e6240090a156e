"""Train a decoder in several processes from the files of `labkit export --to webdataset`.

    labkit export stores/scenes scenes-tars --to webdataset
    torchrun --nproc-per-node 2 benchmarks/from_export.py scenes-tars --epochs 3

Several folders, of stores that were prepared on several machines, make one set of samples.
webdataset reads the files, which may as well lie behind URLs. labkit gives the decoder, the
vocabulary and the objective, and PyTorch's DistributedDataParallel takes the mean of the gradients
(gloo on CPUs, NCCL on GPUs). In an epoch each tar file is read by one process, so there must be at
least as many files as processes, and several times as many where the processes are to be equally
busy. Each epoch shuffles the files, and each process its samples within a buffer: a weaker shuffle
than labkit's own. Whether every sample came exactly once is compared after each epoch.
"""

import argparse
import hashlib
import json
import random
from pathlib import Path

import torch
import webdataset as wds
from torch.nn.parallel import DistributedDataParallel

from labkit import Decoder, ModelConfig, TrainingConfig, Vocabulary
from labkit.distributed import ProcessGroup, init_distributed
from labkit.model.decoder import pad_captions
from labkit.training.objective import Objective

BUFFER = 1000  # samples among which a process shuffles


def number(content: bytes) -> int:
    """Make a number of 56 bits that stands for the content."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest())


def images_and_words(tars: list[str]) -> tuple[int, list[str]]:
    """Count the images with captions, and make the vocabulary's words; features are not decoded."""
    files = wds.WebDataset(tars, shardshuffle=False, nodesplitter=None,
                           select_files=lambda name: name.endswith(".json"))  # fmt: skip
    captions = [some for sample in files if (some := json.loads(sample["json"])["captions"])]
    texts = [caption for some in captions for caption in some]
    return len(captions), list(Vocabulary.build(texts, min_count=1).words)


def batches(tars: list[str], epoch: int, group: ProcessGroup, size: int) -> wds.WebDataset:
    """Give this process its share of an epoch, in lists of (features (L, D), record)."""
    order = random.Random(epoch)  # the same on every process
    tars = order.sample(tars, len(tars))
    files = wds.WebDataset(tars, shardshuffle=False, nodesplitter=wds.split_by_node)
    samples = files.decode().to_tuple("npy", "json")
    samples = samples.select(lambda sample: sample[1]["captions"])
    samples = samples.shuffle(BUFFER, rng=random.Random(f"{epoch} {group.rank}"))
    return samples.batched(size, collation_fn=list)


def train(asked: argparse.Namespace, group: ProcessGroup) -> None:
    """Train, and print each epoch's loss."""
    tars = sorted(str(path) for folder in asked.tars for path in Path(folder).glob("*.tar"))
    if len(tars) < group.world_size:
        raise SystemExit(f"{len(tars)} tar files for {group.world_size} processes: take fewer "
                         "processes, or prepare with smaller shards")  # fmt: skip
    count, words = group.broadcast(group.is_main and images_and_words(tars))
    vocabulary = Vocabulary(tuple(words))
    first = next(iter(wds.WebDataset(tars[:1], shardshuffle=False, nodesplitter=None).decode()))
    config = ModelConfig(vocab_size=len(vocabulary), encoder_dim=first["npy"].shape[1])
    with group.seeded(0):  # the same weights on every process
        decoder = Decoder(config).to(group.device)
    torch.manual_seed(group.rank)  # another dropout on each
    model, objective = DistributedDataParallel(decoder), Objective(TrainingConfig())
    optimizer = torch.optim.AdamW(model.parameters(), lr=asked.learning_rate)
    for epoch in range(asked.epochs):
        nll, spoken, seen = 0.0, 0, []
        with model.join():  # a process with fewer batches takes part until the last is done
            for batch in batches(tars, epoch, group, asked.batch // group.world_size):
                features, records = zip(*batch, strict=True)
                texts = [one["captions"][epoch % len(one["captions"])] for one in records]
                captions = pad_captions([vocabulary.encode(text, 24) for text in texts])
                a = torch.stack([torch.from_numpy(one) for one in features]).float()
                loss = objective(model(a.to(group.device), captions.to(group.device)))
                optimizer.zero_grad()
                (loss.total / loss.words).backward()
                optimizer.step()
                nll, spoken = nll + loss.nll, spoken + loss.words
                seen += [number(one["id"].encode()) for one in records]
        nll, spoken = group.all_reduce_sum(nll, spoken)
        shares = group.gather(torch.tensor([len(seen)])).tolist()
        ids = group.gather(torch.tensor(seen)).tolist()
        if not len(ids) == len(set(ids)) == count:
            raise SystemExit(f"{count} images, and {len(ids)} came, {len(set(ids))} different ones")
        weights = b"".join(one.detach().cpu().numpy().tobytes() for one in decoder.parameters())
        alike = len(set(group.gather(torch.tensor([number(weights)])).tolist())) == 1
        if group.is_main:
            row = {"epoch": epoch + 1, "loss": round(nll / spoken, 4), "images": shares}
            print(json.dumps(row | {"weights_alike": alike}), flush=True)


def main() -> None:
    """Read the command line; torchrun starts this in each process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tars", nargs="+", help="folders that labkit export made")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64, help="images of a step, of all processes")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    asked = parser.parse_args()
    train(asked, init_distributed())


if __name__ == "__main__":
    main()
