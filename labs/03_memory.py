# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 3: 33 GB on a small machine
#
# **What you will learn.** How much memory the features of a data set need, four loaders that deliver
# them to the training process, what each one costs, and why the order of the samples matters.
#
# **Time.** About 60 minutes, of which your machine needs one.
#
# **Before you start.** Lab 0. An *annotation vector* is what the encoder computes for one region of
# a photograph; lab 2 explains more. The ideas behind this lab are in the
# [chapter on memory](../book/memory.md).
#
# **The question.** A data set takes 33 GB, and 4 GB of memory are free. How can a machine learn
# from all of it without waiting for the disk, and learn just as well?

# %%
import numpy as np
import torch

from labkit.checks import check

torch.set_num_threads(1)  # so that the numbers are the same on every machine

# %% [markdown]
# ## First the arithmetic
#
# The encoder is never trained, so each photograph needs to go through it only once. Its annotation
# vectors are stored, and training reads them from there. That saves much time. What does it cost?
#
# COCO's train2014 has 82,783 photographs. The paper represents each of them by $14 \times 14 = 196$
# regions of 512 numbers. A number in float32 takes 4 bytes.

# %%
images, regions, numbers = 82_783, 196, 512
size = images * regions * numbers * 4
print(f"{size:,} bytes, or {size / 1e9:.1f} GB")

# %% [markdown]
# A typical laptop has 8 or 16 GB of memory. So the features do not fit. What can we save?
#
# The features come from a network whose numbers are not exact anyway. Half the bits are enough:
# float16 keeps about three decimal digits. Let us see what it loses.

# %%
half = size // 2
print(f"{half / 1e9:.1f} GB in float16")
x = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
error = np.abs(x.astype(np.float16) - x) / np.abs(x)
print("every relative error is below a thousandth:", error.max() < 1e-3)

# %% [markdown]
# **Exercise 3.1.** Your machine has 4 GB of free memory, that is, $4 \cdot 10^9$ bytes. The
# features of how many whole photographs fit into it, with 196 regions of 512 numbers each, in
# float16?

# %%
how_many = ...

# %%
check("3.1", how_many)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
how_many = 4 * 10**9 // (196 * 512 * 2)
print(f"{how_many:,} photographs")
check("3.1", how_many)

# %% [markdown]
# ## Nine files
#
# This book grew out of a student lab of 2017, which trained this model on a machine that was too
# small ([the chapter on old code](../book/old-code.md)). It faced the same 33 GB. Its solution was
# to split the features into nine files of 10,000 photographs each, and to keep one file in memory
# at a time. `labkit` calls such a file a *shard*. On the command line, `labkit split 82783` shows
# how large the files are. It calls this function:

# %%
from labkit.store.export import shard_sizes

shards = shard_sizes(82_783, 10_000)
print(len(shards), "files:", shards)

# %% [markdown]
# One such file is still large.

# %%
for name, size in {"float32": 4, "float16": 2}.items():
    print(f"{name}: {10_000 * regions * numbers * size / 1e9:.1f} GB")

# %% [markdown]
# **Exercise 3.2.** Photographs are counted from 0, files are counted from 0, and so are the rows of
# a file. Write `place_of`, which returns the file and the row in which a photograph is stored.
#
# <details><summary>Hint</summary>
#
# `divmod(17, 5)` returns `(3, 2)`: 17 is three times 5, with a remainder of 2.
#
# </details>

# %%
def place_of(image, per_shard):
    """Return the number of the file, and the row in it."""
    ...

# %%
check("3.2", place_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def place_of(image, per_shard):
    return divmod(image, per_shard)


print("file and row of the last photograph:", place_of(82_782, 10_000))
check("3.2", place_of)

# %% [markdown]
# ## A store to measure with
#
# We make a store with the right shapes and a hundredth of COCO's size: 828 images of 200 KB each,
# 100 in a file. We also make one a quarter of that size: 207 images, 25 in a file. So both have
# nine files, as COCO had in 2017. The values of the features do not matter for memory, so we use
# noise. Everything is in a folder that is deleted at the end.

# %%
import tempfile
from pathlib import Path

from labkit import StoreWriter

folder = tempfile.TemporaryDirectory()
noise = np.random.default_rng(0).standard_normal((196, 512))
noise = noise.astype(np.float16)

# %%
def write_store(name, images, per_shard):
    store = Path(folder.name) / name
    with StoreWriter(store, 196, 512, encoder={"name": "noise"}, source={"images": images},
                     images_per_shard=per_shard) as writer:
        for number in range(images):
            features = noise + np.float16(number % 7)
            writer.add("train", f"image-{number}", features, ["noise"])
    return store

# %%
small = write_store("small", 207, 25)
large = write_store("large", 828, 100)
files = sorted(large.glob("train-*.npy"))
print(len(files), "files; the first holds", np.load(files[0]).shape)

# %% [markdown]
# A shard is an ordinary `.npy` file, so `np.load` opens it. Next to it is a `.jsonl` file with the
# captions and a checksum for each image. `manifest.json` lists what belongs to the store. It is
# written last, so a store with a manifest is complete.
#
# `FeatureStore` reads one split of a store. It verifies the checksum of each image that it reads.

# %%
from labkit import FeatureStore

store = FeatureStore(large, "train")
two = store.read([0, 827])
print(len(store), "images; two of them:", two.shape, two.dtype)

# %% [markdown]
# ## Four loaders
#
# All four deliver each image once per epoch, in batches, as float32.

# %%
from labkit.store.alternatives import LOADERS

for name, loader_class in LOADERS.items():
    print(f"{name:14}", loader_class.__name__)

# %% [markdown]
# - **In memory**: everything is read before the first batch.
# - **One shard**: one file is in memory at a time, as in 2017.
# - **Memory-mapped**: the system makes the files look like arrays in memory. It reads a page when
#   the program touches it, and drops it when memory runs short.
# - **Streamed**: `labkit`'s own loader. A few processes, its *workers*, read single images, in any
#   order, into the memory of a few batches. This memory is reused for the next batches.
#
# **Guess first.** Which loader takes the least memory? Which one grows with the data? Which is
# fastest?
#
# ## Measuring memory
#
# "How much memory does this program take?" has no simple answer. The system keeps pages of files in
# memory even when nobody needs them right now, and takes that memory back when it likes. So
# `labkit.store.memory` distinguishes a process's *own* memory, the memory that it *shares* with other
# processes, and pages *mapped* from files. Here we count the first two, for the process and for
# those that it started.
#
# Each loader is measured in a separate process. Otherwise it could use memory that another one left
# behind. The batch size is only 10, since the store is only a hundredth of COCO: with 40, you would
# see little else than the batches.

# %%
BEGIN = """
import json, sys, time, torch
from labkit import FeatureStore
from labkit.store.memory import memory_now, peak_memory
from labkit.store.alternatives import LOADERS
torch.set_num_threads(1)
name, *stores = sys.argv[1:]
before, found = memory_now().own, []
"""

# %%
MEMORY = """
for store in stores:
    with peak_memory(every=0.01) as peak:
        loader = LOADERS[name](FeatureStore(store, "train"), 10)
        for epoch in range(3):
            for batch in loader:
                pass
    found.append((peak.own + peak.shared - before) / 2**20)
    loader = batch = None
"""

# %% [markdown]
# A second process times three epochs, without looking at memory. The fastest of the three counts,
# because anything else that runs on the machine can only slow it down.

# %%
SPEED = """
loader = LOADERS[name](FeatureStore(stores[-1], "train"), 10)
for epoch in range(3):
    begin = time.perf_counter()
    images = sum(len(batch.indices) for batch in loader)
    found.append(images / (time.perf_counter() - begin))
"""
END = "print(json.dumps(found))"

# %%
import json
import os
import subprocess
import sys


def measure(name, code, **variables):
    program = [sys.executable, "-c", BEGIN + code + END, name, small, large]
    done = subprocess.run(program, env={**os.environ, **variables},
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)

# %% [markdown]
# One trap remains. When an array is deleted, the C library may keep its memory for the next one,
# and the process looks larger than it is. On Linux, an environment variable makes the library
# return large arrays to the system at once. That costs time, so we set it only when we measure
# memory.

# %%
found = {}
for name in LOADERS:  # two processes each
    memory = measure(name, MEMORY, MALLOC_MMAP_THRESHOLD_="100000")
    found[name] = [*memory, max(measure(name, SPEED))]

# %% tags=["nbval-ignore-output"]
print("                  207 images   828 images    images/s")
for name, (with_small, with_large, speed) in found.items():
    print(f"{name:14} {with_small:9.0f} MiB {with_large:8.0f} MiB {speed:10,.0f}")

# %% [markdown]
# Your numbers will differ from these. What matters is a different question: which loader needs more
# memory when there is more data?

# %%
for name, (with_small, with_large, _) in found.items():
    print(f"{name:14} grows with the data: {with_large - with_small > 15}")

# %% [markdown]
# One shard grows because more data in nine files means larger files. With files of a fixed size it
# would not grow.

# %%
import matplotlib.pyplot as plt

# %% mystnb={"figure": {"caption": "Each loader with the small store and with the large one, whose files are four times as large: peak of own and shared memory, and images per second.", "name": "fig:four-ways"}, "image": {"alt": "Two bar charts of four loaders. Left: memory with the small and the large store. In memory and one shard grow, memory-mapped and streamed stay the same. Right: images per second, all in the thousands."}} tags=["nbval-ignore-output"]
x, values = np.arange(len(found)), np.array(list(found.values()))
labels = [name.replace(" ", "\n").replace("-", "-\n") for name in found]
figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
panels[0].bar(x - 0.2, values[:, 0], 0.4, label="207 images")
panels[0].bar(x + 0.2, values[:, 1], 0.4, label="828 images")
panels[0].legend()
panels[1].bar(x, values[:, 2], color="tab:green")
panels[0].set(xticks=x, xticklabels=labels, title="own and shared memory (MiB)")
panels[1].set(xticks=x, xticklabels=labels, title="images/s")
plt.show()

# %% [markdown]
# Which is fastest? Look at your bars, but be careful. The files were just written, so the system
# still holds them in memory, and none of the loaders waits for a disk. That is the best case for a
# mapped file. `benchmarks/loader.py` measures the other case, too.
#
# What happens at full size? One shard becomes a hundred times larger, and at the moment of changing
# files the old one and the new one are both in memory. The streaming loader keeps two batches, one
# for each of its workers, however large the store is.

# %%
image = 196 * 512 * 2  # bytes in float16; a batch is in float32
full = {"in memory": 82_783 * image, "one shard": 2 * 10_000 * image,
        "streamed": 2 * 40 * 2 * image}
for name, size in full.items():
    print(f"{name:10} {size / 1e9:6.2f} GB")

# %% [markdown]
# The memory-mapped loader is left out here on purpose. Its own memory is small, and the system may
# keep as much of the files as there is room for. That is a good choice, too. But it verifies no
# checksums, and it does not read ahead: when a page is not in memory, training waits.
#
# Two commands repeat these measurements on your machine with more care. Run them in the project's
# folder. `python benchmarks/loader.py` also empties the system's cache before the first epoch,
# since training with 16 GB of features reads from the disk and not from memory.
# `python benchmarks/full_size.py --data FOLDER` measures at COCO's size under a memory limit, and
# writes 17 GB into that folder.
#
# <details><summary>Quiz: a batch of 10 is 4 MB, and the streaming loader keeps two. Yet it took
# more. Where does the rest go?</summary>
#
# Its workers are processes, created by `fork`: each begins as a copy of the process that made it.
# The copy costs nothing until one of the two writes to a piece of that memory. Then there are two
# copies of that piece. And merely looking at a Python object writes to it, since Python keeps count
# of how often each object is in use. This part grows with the program and with the captions, not
# with the features.
#
# The memory-mapped loader makes a new tensor for each batch, and another one when it converts from
# float16 to float32. Not all the memory that is freed goes back to the system at once.
#
# </details>
#
# ## The order of the samples
#
# One file at a time means that a batch holds images from one file only. A perfect shuffle mixes all
# files.

# %%
for name in ("one shard", "streamed"):
    batch = next(iter(LOADERS[name](store, 40)))
    files = set(batch.indices // 100)
    print(f"{name:10} a batch of 40 is from {len(files)} files")

# %% [markdown]
# Does it matter? If the images are in the files in random order, a file is as good a sample as any
# other. If they are sorted, it is not. And collections often are sorted: class by class, day by
# day, film by film.
#
# Let us try. We draw 450 scenes and pretend that they are in nine files. In one version they are in
# the order in which they were drawn. In the other they are sorted by the colour of the largest
# shape, with which most captions begin.

# %%
from labkit.features.prepare import prepare_scenes

prepare_scenes(Path(folder.name) / "scenes", 450, progress=False)
scenes, unseen = (FeatureStore(Path(folder.name) / "scenes", split)
                  for split in ("train", "test"))
print(len(scenes), "scenes to learn from,", len(unseen), "to test on")

# %%
from labkit.data.scenes import things_of


def first_colour(number):
    things = things_of(scenes.facts[number])
    return max(things, key=lambda thing: thing.side).colour


as_drawn = np.arange(450)
by_colour = np.array(sorted(range(450), key=first_colour))

# %% [markdown]
# Now the two shuffles. `ShuffledOrder(n, seed, epoch)` is `labkit`'s own: a shuffle that is a
# formula. It can be evaluated at any position, and takes no memory.

# %%
from labkit.store.shuffle import ShuffledOrder

for epoch in (0, 1):
    print(ShuffledOrder(10, seed=0, epoch=epoch)(np.arange(10)))

# %%
def perfect(stored, seed, epoch):
    return stored[ShuffledOrder(450, seed, epoch)(np.arange(450))]


def within_files(stored, seed, epoch):
    files = ShuffledOrder(9, seed, epoch)(np.arange(9))
    rows = [50 * file + ShuffledOrder(50, seed, 9 * epoch + file)(np.arange(50))
            for file in files]  # a different order for each file and epoch
    return stored[np.concatenate(rows)]

# %% [markdown]
# A small decoder learns from the features. Here is all that it needs: the captions as numbers, and
# the loss of a few captions. Lab 5 explains this loss.

# %%
from labkit import Decoder, ModelConfig, TrainingConfig, Vocabulary
from labkit.model.decoder import pad_captions
from labkit.training.objective import Objective

words = Vocabulary.build([text for five in scenes.captions for text in five], 1)
features = torch.from_numpy(scenes.read(range(450))).float()
captions = [[words.encode(text) for text in five] for five in scenes.captions]
objective = Objective(TrainingConfig(doubly_stochastic=0.0, label_smoothing=0.0))

# %%
def new_decoder(seed):
    torch.manual_seed(seed)
    sizes = {"feature_dim": 64, "embed_dim": 64, "hidden_dim": 128, "attention_dim": 64}
    off = {"dropout": 0.0, "word_dropout": 0.0, "feature_dropout": 0.0}
    return Decoder(ModelConfig(vocab_size=len(words), encoder_dim=scenes.dim, **sizes, **off))


def loss_of(decoder, a, references):
    loss = objective(decoder(a, pad_captions(references)))
    return loss.total / loss.words

# %%
def train(order, stored, seed, epochs=2, batch_size=15):
    decoder = new_decoder(seed)
    adam = torch.optim.Adam(decoder.parameters(), 3e-3)
    for epoch in range(epochs):
        for chosen in order(stored, seed, epoch).reshape(-1, batch_size):
            adam.zero_grad()
            references = [captions[i][epoch] for i in chosen]
            loss_of(decoder, features[chosen], references).backward()
            adam.step()
    return decoder

# %% [markdown]
# We judge by the loss on scenes that were not used in training. We use three seeds for each case,
# because a single run proves nothing.

# %%
test_features = torch.from_numpy(unseen.read(range(len(unseen)))).float()
test_captions = [words.encode(text) for five in unseen.captions for text in five]


@torch.no_grad()
def unseen_loss(decoder):
    rows = test_features.repeat_interleave(5, 0)  # five captions each
    return loss_of(decoder, rows, test_captions).item()

# %%
cases = {"perfect": (perfect, as_drawn),
         "in files, as drawn": (within_files, as_drawn),
         "in files, sorted": (within_files, by_colour)}
losses = {}
for name, case in cases.items():
    three = [unseen_loss(train(*case, seed)) for seed in range(3)]
    losses[name] = np.array(three)

# %% tags=["nbval-ignore-output"]
for name, three in losses.items():
    print(f"{name:19} {three.mean():.3f}, the mean of", three.round(3))

# %%
means = {name: three.mean() for name, three in losses.items()}
print("sorted files are worse than a perfect shuffle:",
      means["in files, sorted"] > means["perfect"] + 0.02)
print("and worse than files as drawn:",
      means["in files, sorted"] > means["in files, as drawn"] + 0.02)

# %% [markdown]
# So shuffling within files does no visible harm as long as the images were divided among the files
# at random. COCO's photographs are not sorted by what they show, so this probably did the lab of
# 2017 little harm. That was luck. A perfect shuffle does not need luck.
#
# ## Why? The noise of a gradient
#
# A batch gives an estimate of the gradient over all images. How large is its error? We take the
# squared distance from the true gradient, averaged over several batches, and divide it by the
# squared length of the true gradient.

# %%
decoder = train(perfect, as_drawn, seed=0, epochs=1)


def gradient(chosen):
    decoder.zero_grad()
    references = [captions[i][0] for i in chosen]
    loss_of(decoder, features[chosen], references).backward()
    return torch.cat([p.grad.flatten() for p in decoder.parameters()])

# %%
exact = gradient(as_drawn)
rng = np.random.default_rng(0)


def noise_of(batch_size, from_one_file):
    draws = [rng.integers(0, 50, batch_size) + 50 * file if from_one_file
             else rng.integers(0, 450, batch_size) for file in range(9)]
    errors = [(gradient(by_colour[d]) - exact).square().sum() for d in draws]
    return (sum(errors) / len(errors) / exact.square().sum()).item()

# %%
sizes = [10, 40, 100]
from_all = [noise_of(size, from_one_file=False) for size in sizes]
from_one = [noise_of(size, from_one_file=True) for size in sizes]

# %% mystnb={"figure": {"caption": "The noise of a batch's gradient against the size of the batch. If the batch is drawn from all images, the noise falls as one over the size. If it is drawn from one sorted file, the noise stays high.", "name": "fig:gradient-noise"}, "image": {"alt": "Two falling lines on logarithmic axes. The noise of batches from all images falls steadily from batch 10 to batch 100. The noise of batches from one sorted file lies above it and flattens."}} tags=["nbval-ignore-output"]
figure, panel = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
panel.loglog(sizes, from_all, "o-", label="from all images")
panel.loglog(sizes, from_one, "s--", label="from one sorted file")
panel.set(xlabel="batch size", ylabel="noise of the gradient")
panel.set(xticks=sizes, xticklabels=sizes)
panel.set(yticks=[0.03, 0.1, 0.3, 1.0], yticklabels=[0.03, 0.1, 0.3, 1.0])
panel.minorticks_off()
panel.legend()
plt.show()

# %%
print("with batches of 100, a sorted file has over 3 times the noise:",
      from_one[-1] > 3 * from_all[-1])

# %% [markdown]
# A larger batch averages out what differs from image to image. It cannot average out what all
# images in the file have in common.
#
# ## A batch of 100 or of 40
#
# The lab of 2017 first sent 100 photographs at a time through the encoder, and then only 40, to
# save memory. What does that change? The encoder is not trained, and it treats each photograph
# separately. So the features stay the same, and the only effect is that memory is saved.
#
# In training, the same change does more. An epoch has more steps, and each step sees fewer samples.

# %%
first_layer = 64 * 224 * 224 * 4  # VGG's, bytes for one photograph
for batch_size in (100, 40):
    size, steps = batch_size * first_layer / 1e9, -(-82_783 // batch_size)
    print(f"batch {batch_size:3}: encoding takes {size:.2f} GB for one layer;"
          f" training takes {steps:5,} steps per epoch")

# %%
ratio = from_all[1] / from_all[2]
print("batches of 40 have more noise than batches of 100:", 1.5 < ratio < 4)

# %% [markdown]
# The noise falls as one over the batch size, so theory predicts $100 / 40 = 2.5$ times as much
# noise in each step. But there are 2.5 times as many steps. With a smaller learning rate each step
# moves less, and the noise of several steps averages out. So the batch size affects more than
# memory: if you change it, reconsider the learning rate as well.
#
# <details><summary>Quiz: which takes more memory in training, the features of a batch or what the
# decoder keeps for the gradient?</summary>
#
# What the decoder keeps. For each word it keeps a layer of the attention model: $A$ numbers for
# each of $L$ regions. Lab 4 builds this layer. With 196 regions, $A = 256$ and 12 words, that is
# 600,000 numbers per caption. The features of a picture are 100,000 numbers.
#
# </details>
#
# ## Several processes
#
# With two processes, each should do half of every batch. Together they must take each sample
# exactly once, and the order should not depend on the number of processes. `Loader` is the class
# behind the streaming. It takes `rank`, the number of this process, and `world_size`, the number of
# processes.

# %%
from labkit import Loader


def first_batch(**process):
    return next(iter(Loader(store, 40, **process))).indices


# %%
first, second = (first_batch(rank=rank, world_size=2) for rank in (0, 1))
print(len(first), "and", len(second), "images")
print("together the same as one process:",
      set(first) | set(second) == set(first_batch()))

# %% [markdown]
# **Exercise 3.3.** Write `share_of`: which samples does a process take in a step? `order` is an
# array of all samples, in the order of this epoch. `batch_size` is the number of samples in a step,
# over all processes. The last step may be short, and `batch_size` need not be a multiple of
# `world_size`. Every sample must appear exactly once. You may divide a step in any fair way.

# %%
def share_of(order, step, batch_size, rank, world_size):
    """Return the samples of process `rank` in step `step`."""
    ...

# %%
check("3.3", share_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def share_of(order, step, batch_size, rank, world_size):
    together = order[step * batch_size : (step + 1) * batch_size]
    return together[rank::world_size]


for rank in range(3):
    print("process", rank, "takes", share_of(np.arange(11), 1, 6, rank, 3))
check("3.3", share_of)

# %% [markdown]
# ## Stopping and resuming
#
# A run that takes hours will be interrupted some day. Which image comes next? The order is a
# formula of the seed and the epoch, so two numbers are enough: the epoch, and how many of its
# samples have been delivered.

# %%
loader = Loader(scenes, 40, seed=3)
loader.set_epoch(1)
taken = []
for batch in loader:
    taken.append(batch.indices)
    if len(taken) == 3:
        break  # interrupted here

# %%
state = loader.state_dict()
text = json.dumps(state)
print("the state is short:", len(text) < 300)
print("epoch", state["epoch"], "position", state["position"])

# %% [markdown]
# The workers were ahead: they had already read images that were never delivered. These do not
# count. The state records what was *delivered*.
#
# Another loader resumes from this state. It may even have a different batch size.

# %%
resumed = Loader(scenes, 100, seed=3)
resumed.load_state_dict(json.loads(text))
rest = [batch.indices for batch in resumed]
everything = np.concatenate(taken + rest)
print([len(batch) for batch in rest])
print("each image once:", sorted(everything) == list(range(450)))

# %%
uninterrupted = Loader(scenes, 50, seed=3)
uninterrupted.set_epoch(1)
same = np.concatenate([batch.indices for batch in uninterrupted])
print("in the same order:", (same == everything).all())

# %% [markdown]
# A state from a different store is refused, because its positions would refer to other images. The
# *fingerprint* is a checksum of a whole store.

# %%
try:
    Loader(store, 40, seed=3).load_state_dict(json.loads(text))
except ValueError as error:
    print(str(error).partition(": ")[2])

# %% [markdown]
# **Exercise 3.4.** Compute the state yourself. A run has done `steps` steps since it began, with
# `batch_size` samples per step, on a store of `num_samples` samples. The last step of an epoch may
# be short. Return the epoch, counted from 0, and the position in it, in samples. At the end of an
# epoch, return the next epoch and position 0.

# %%
def state_after(steps, batch_size, num_samples):
    """Return (epoch, position)."""
    ...

# %%
check("3.4", state_after)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def state_after(steps, batch_size, num_samples):
    steps_per_epoch = -(-num_samples // batch_size)  # rounded up
    epoch, step = divmod(steps, steps_per_epoch)
    return epoch, step * batch_size


print("50 steps of 40 on 828 images:", state_after(50, 40, 828))
check("3.4", state_after)

# %% [markdown]
# Finally, we delete the folder.

# %%
folder.cleanup()

# %% [markdown]
# ## Summary
#
# - COCO's features take 33 GB in float32, and half of that in float16.
# - Keeping everything in memory is simple, if it fits. One file at a time needs memory for two
#   files. Memory-mapped and streamed reading need the same memory for any amount of data.
# - A perfect shuffle needs no luck. Shuffling within files is as good only if the images were
#   divided among the files at random.
# - Smaller batches need less memory, take more steps, and have noisier gradients.
# - An order that is a formula makes two things simple: sharing an epoch among several processes,
#   and resuming after an interruption.
#
# **To think about.** The features could be stored with 8 bits per number, and all of COCO in 8 GB.
# What would you measure to find out whether that is good enough?
#
# **Next.** [Lab 4: soft attention and the decoder](04_soft_attention.ipynb)
