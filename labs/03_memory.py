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
# # Lab 3: 33 GB through a small door
#
# **What you will learn.** How much memory the features of a data set take, four ways to feed them to
# a training, what each way costs, and why the order of the samples is not free to choose.
#
# **Time.** About 60 minutes, of which the machine takes one.
#
# **Before you start.** Lab 0. An *annotation vector* is what the encoder says of one region of a
# photograph; Lab 2 tells more. The ideas of this lab stand in the
# [chapter on memory](../book/memory.md).
#
# **The question.** A data set takes 33 GB, and 4 GB of memory are free. How does a machine learn from
# it without waiting for the disk, and without learning worse?

# %%
import numpy as np
import torch

from labkit.checks import check

torch.set_num_threads(1)  # for the same numbers on every machine

# %% [markdown]
# ## First the arithmetic
#
# The encoder is never trained, so each photograph needs to go through it only once. Its annotation
# vectors are kept, and the training reads these. That saves much time. What does it cost?
#
# COCO's train2014 has 82,783 photographs. The paper gives each of them $14 \times 14 = 196$ regions
# of 512 numbers. A number in float32 takes 4 bytes.

# %%
images, regions, numbers = 82_783, 196, 512
size = images * regions * numbers * 4
print(f"{size:,} bytes, or {size / 1e9:.1f} GB")

# %% [markdown]
# A common laptop has 8 or 16 GB of memory. So the features do not fit. What can be saved?
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
# **Exercise 3.1.** Your machine has 4 GB of free memory, that is $4 \cdot 10^9$ bytes. How many
# whole photographs fit, with 196 regions of 512 numbers each, in float16?

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
# This book grew from a student lab of 2017, which trained this model on a machine that was too small
# ([the chapter on old code](../book/old-code.md)). It met this wall with 33 GB. Its way out was to cut the features into nine files
# of 10,000 photographs each, and to keep one file in memory at a time. `labkit` calls such a file a
# *shard*. On the command line, `labkit split 82783` tells how the files come out. It
# asks this function:

# %%
from labkit.export import shard_sizes

shards = shard_sizes(82_783, 10_000)
print(len(shards), "files:", shards)

# %% [markdown]
# One such file is still large.

# %%
for name, each in {"float32": 4, "float16": 2}.items():
    print(f"{name}: {10_000 * regions * numbers * each / 1e9:.1f} GB")

# %% [markdown]
# **Exercise 3.2.** Photographs are counted from 0, files are counted from 0, and so are the rows of
# a file. Write `place_of`, which says in which file and in which row a photograph stands.
#
# <details><summary>Hint</summary>
#
# `divmod(17, 5)` gives `(3, 2)`: 17 is three times 5, and 2 remain.
#
# </details>

# %%
def place_of(image, per_shard):
    """Give the number of the file, and the row in it."""
    ...

# %%
check("3.2", place_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def place_of(image, per_shard):
    return divmod(image, per_shard)


print("the last photograph stands in file, row", place_of(82_782, 10_000))
check("3.2", place_of)

# %% [markdown]
# ## A store to measure with
#
# We make a store of the right shape, a hundredth of COCO: 828 images of 200 KB each, 100 in a file.
# Beside it we make one of a quarter of that: 207 images, 25 in a file. So both have nine files, as COCO
# had in 2017. What is in the features does not matter for memory, so they are noise. All of it lies in a folder that is removed at the end.

# %%
import tempfile
from pathlib import Path

from labkit import StoreWriter

folder = tempfile.TemporaryDirectory()
noise = np.random.default_rng(0).standard_normal((196, 512))
noise = noise.astype(np.float16)

# %%
def write_store(name, images, per_shard):
    root = Path(folder.name) / name
    with StoreWriter(root, 196, 512, encoder={"name": "noise"}, source={"images": images},
                     images_per_shard=per_shard) as store:
        for number in range(images):
            features = noise + np.float16(number % 7)
            store.add("train", f"image-{number}", features, ["noise"])
    return root

# %%
small = write_store("small", 207, 25)
large = write_store("large", 828, 100)
files = sorted(large.glob("train-*.npy"))
print(len(files), "files; the first holds", np.load(files[0]).shape)

# %% [markdown]
# A shard is an ordinary `.npy` file, so `np.load` opens it. Beside it lies a `.jsonl` with the
# captions and a checksum for each image. `manifest.json` says what belongs to the store. It is
# written last: a store with a manifest is complete.
#
# `FeatureStore` reads one split of a store. It looks at every image's checksum when it reads it.

# %%
from labkit import FeatureStore

store = FeatureStore(large, "train")
two = store.read([0, 827])
print(len(store), "images; two of them:", two.shape, two.dtype)

# %% [markdown]
# ## Four ways
#
# All four deliver each image once in an epoch, in batches, as float32.

# %%
from labkit.strategies import STRATEGIES

for name, way in STRATEGIES.items():
    print(f"{name:14}", way.__name__)

# %% [markdown]
# - **In memory**: everything is read before the first batch.
# - **One shard**: one file is in memory at a time, as in 2017.
# - **Memory-mapped**: the system pretends that the files are arrays in memory. It reads a page when
#   somebody touches it, and forgets it when memory runs short.
# - **Streamed**: `labkit`'s own reader. A few processes read single images, in any order, into
#   the memory of a few batches. That memory is used again and again.
#
# **Guess first.** Which way takes the least memory? Which one grows with the data? Which is fastest?
#
# ## Measuring memory
#
# "How much memory does this program take" has no simple answer. The system keeps pages of files in
# memory that nobody needs right now, and takes them back when it likes. So `labkit.memory` tells
# apart what is a process's *own*, what it *shares* with other processes, and what is *mapped* from files.
# The first two count here, of the process and of those it has started.
#
# Each way is measured in a process of its own. Otherwise it could use memory that another one has
# left behind. The batch is only 10, since the store is only a hundredth of COCO: with 40, the batches
# would be all that one sees.

# %%
BEGIN = """
import json, sys, time, torch
from labkit import FeatureStore
from labkit.memory import memory_now, peak_memory
from labkit.strategies import STRATEGIES
torch.set_num_threads(1)
name, *roots = sys.argv[1:]
before, found = memory_now().own, []
"""

# %%
MEMORY = """
for root in roots:
    with peak_memory(every=0.01) as peak:
        way = STRATEGIES[name](FeatureStore(root, "train"), 10)
        for epoch in range(3):
            for batch in way.epoch(epoch):
                pass
    found.append((peak.own + peak.shared - before) / 2**20)
    way = batch = None
"""

# %% [markdown]
# Another process takes the time of three epochs, without looking at the memory. The best of
# the three counts: whatever else runs on the machine can only make it slower.

# %%
SPEED = """
way = STRATEGIES[name](FeatureStore(roots[-1], "train"), 10)
for epoch in (1, 2, 3):
    begin = time.perf_counter()
    images = sum(len(batch.indices) for batch in way.epoch(epoch))
    found.append(images / (time.perf_counter() - begin))
"""
END = "print(json.dumps(found))"

# %%
import json
import os
import subprocess
import sys


def measure(name, work, **variables):
    program = [sys.executable, "-c", BEGIN + work + END, name, small, large]
    done = subprocess.run(program, env={**os.environ, **variables},
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)

# %% [markdown]
# One trap is left. When an array is deleted, the system's C library may keep the room for the next
# one, and the process looks larger than what it uses. On Linux a variable makes it give large arrays
# back at once. That costs time, so only the memory is measured with it.

# %%
found = {}
for name in STRATEGIES:  # two processes each
    memory = measure(name, MEMORY, MALLOC_MMAP_THRESHOLD_="100000")
    found[name] = [*memory, max(measure(name, SPEED))]

# %% tags=["nbval-ignore-output"]
print("                  207 images   828 images    images/s")
for name, (little, much, speed) in found.items():
    print(f"{name:14} {little:9.0f} MiB {much:8.0f} MiB {speed:10,.0f}")

# %% [markdown]
# Your numbers differ from these, but the question is another one: which way needs more memory when
# there is more data?

# %%
for name, (little, much, _) in found.items():
    print(f"{name:14} grows with the data: {much - little > 15}")

# %% [markdown]
# One shard grows because the nine files of more data are larger files. With files of a fixed size it
# would not.

# %%
import matplotlib.pyplot as plt

# %% mystnb={"figure": {"caption": "Each way from the small store to the large one, whose files are four times as large: peak of the memory that is own or shared, and images a second.", "name": "fig:four-ways"}, "image": {"alt": "Two bar charts of four ways to feed a training. Left: memory of the small and the large store. In memory and one shard grow, memory-mapped and streamed stay. Right: images a second, all of them thousands."}} tags=["nbval-ignore-output"]
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
# Which is fastest? Look at your bars, and beware. The files were just written, so the system still holds
# them in memory, and no way waits for a disk. That is the best case for a mapped file. `benchmarks/loader.py`
# measures the other case, too.
#
# What happens at full size? One shard becomes a hundred times larger, and in the moment of change
# the old one and the new one are both in memory. The streamed way keeps two batches, one for each of its
# readers, whatever the size of the store.

# %%
image = 196 * 512 * 2  # bytes in float16; a batch is in float32
full = {"in memory": 82_783 * image, "one shard": 2 * 10_000 * image,
        "streamed": 2 * 40 * 2 * image}
for name, size in full.items():
    print(f"{name:10} {size / 1e9:6.2f} GB")

# %% [markdown]
# The memory-mapped way is missing there on purpose. Its own memory is small, and the system may keep
# as much of the files as there is room for. That is a fine way, too. It checks no checksums, and it
# does not read ahead: when a page is not in memory, the training waits.
#
# Two commands repeat this on your machine with more care, from the project's folder.
# `python benchmarks/loader.py` also empties the system's cache before the first epoch, since a training
# on 16 GB reads from the disk and not from memory. `python benchmarks/full_size.py --data FOLDER` does it
# at COCO's size under a limit of memory, and writes 17 GB into that folder.
#
# <details><summary>Quiz: a batch of 10 is 4 MB, and the streamed way keeps two. Yet it took more.
# Where does the rest go?</summary>
#
# Its readers are processes, made by `fork`: each begins as a copy of the one that made it. The copy costs
# nothing until one of the two writes to a piece of that memory. Then there are two pieces. Every Python
# object that is looked at is also written to, since Python counts in it how often it is used. That grows
# with the program and with the captions, not with the features.
#
# The memory-mapped way makes a new tensor for each batch, and another on the way from float16 to float32.
# What is freed does not all go back to the system at once.
#
# </details>
#
# ## The order of the samples
#
# A file at a time means: a batch holds images of one file only. A perfect shuffle mixes all files.

# %%
for name in ("one shard", "streamed"):
    batch = next(iter(STRATEGIES[name](store, 40).epoch(0)))
    files = set(batch.indices // 100)
    print(f"{name:10} a batch of 40 is from {len(files)} files")

# %% [markdown]
# Does it matter? If the images stand in the files in random order, a file is as good a sample as any
# other. If they are sorted, it is not. And collections often are sorted: class by class, day by day,
# film by film.
#
# Let us try. We draw 450 scenes and pretend that they lie in nine files. Once they stand as drawn.
# Once they are sorted by the colour of the largest thing, which most captions begin with.

# %%
from labkit.preparing import prepare_scenes

prepare_scenes(Path(folder.name) / "scenes", 450, progress=False)
scenes, unseen = (FeatureStore(Path(folder.name) / "scenes", split)
                  for split in ("train", "test"))
print(len(scenes), "scenes to learn from,", len(unseen), "to test on")

# %%
from labkit.scenes import things_of


def first_colour(number):
    things = things_of(scenes.facts[number])
    return max(things, key=lambda thing: thing.side).colour


as_drawn = np.arange(450)
by_colour = np.array(sorted(range(450), key=first_colour))

# %% [markdown]
# Now the two shuffles. `Order(n, seed, epoch)` is `labkit`'s own: a shuffle that is a formula, so it
# can be asked for any of its positions and takes no memory.

# %%
from labkit.order import Order

for epoch in (0, 1):
    print(Order(10, seed=0, epoch=epoch)(np.arange(10)))

# %%
def perfect(stored, seed, epoch):
    return stored[Order(450, seed, epoch)(np.arange(450))]


def within_files(stored, seed, epoch):
    files = Order(9, seed, epoch)(np.arange(9))
    rows = [50 * file + Order(50, seed, 9 * epoch + file)(np.arange(50))
            for file in files]  # another order for each file and epoch
    return stored[np.concatenate(rows)]

# %% [markdown]
# A small decoder learns from the features. Here is all that it needs: the words as numbers, and the
# loss of some captions. Lab 5 explains this loss.

# %%
from labkit import Decoder, DecoderConfig, Vocabulary
from labkit.decoder import pad_captions
from labkit.objective import Objective

words = Vocabulary.build([c for told in scenes.captions for c in told], 1)
features = torch.from_numpy(scenes.read(range(450))).float()
captions = [[words.encode(c) for c in told] for told in scenes.captions]
objective = Objective(doubly=0.0, smoothing=0.0)

# %%
def new_decoder(seed):
    torch.manual_seed(seed)
    sizes = {"reduced": 64, "embedding": 64, "hidden": 128, "scorer": 64}
    off = {"dropout": 0.0, "word_dropout": 0.0, "feature_dropout": 0.0}
    return Decoder(DecoderConfig(len(words), scenes.dim, **sizes, **off))


def loss_of(decoder, a, told):
    loss = objective(decoder(a, pad_captions(told)))
    return loss.total / loss.words

# %%
def train(order, stored, seed, epochs=2, batch=15):
    decoder = new_decoder(seed)
    adam = torch.optim.Adam(decoder.parameters(), 3e-3)
    for epoch in range(epochs):
        for chosen in order(stored, seed, epoch).reshape(-1, batch):
            adam.zero_grad()
            told = [captions[i][epoch] for i in chosen]
            loss_of(decoder, features[chosen], told).backward()
            adam.step()
    return decoder

# %% [markdown]
# The unseen scenes judge. Three seeds each, because one training proves nothing.

# %%
test_features = torch.from_numpy(unseen.read(range(len(unseen)))).float()
test_words = [words.encode(c) for told in unseen.captions for c in told]


@torch.no_grad()
def unseen_loss(decoder):
    rows = test_features.repeat_interleave(5, 0)  # five captions each
    return loss_of(decoder, rows, test_words).item()

# %%
ways = {"perfect": (perfect, as_drawn),
        "in files, as drawn": (within_files, as_drawn),
        "in files, sorted": (within_files, by_colour)}
losses = {}
for name, way in ways.items():
    some = [unseen_loss(train(*way, seed)) for seed in range(3)]
    losses[name] = np.array(some)

# %% tags=["nbval-ignore-output"]
for name, some in losses.items():
    print(f"{name:19} {some.mean():.3f}  of", some.round(3))

# %%
means = {name: some.mean() for name, some in losses.items()}
print("sorted files are worse than a perfect shuffle:",
      means["in files, sorted"] > means["perfect"] + 0.02)
print("and worse than files as drawn:",
      means["in files, sorted"] > means["in files, as drawn"] + 0.02)

# %% [markdown]
# So shuffling within files does no harm that one sees, as long as the files themselves are a random
# cut. COCO's photographs are not sorted by what they show, so the lab of 2017 probably came to little
# harm. It was lucky. A perfect shuffle does not need luck.
#
# ## Why: the noise of a gradient
#
# A batch gives an estimate of the gradient over all images. How far is it off? We take the squared
# distance from the true gradient, in the mean over some batches. We divide it by the squared length of
# the true one.

# %%
decoder = train(perfect, as_drawn, seed=0, epochs=1)


def gradient(chosen):
    decoder.zero_grad()
    told = [captions[i][0] for i in chosen]
    loss_of(decoder, features[chosen], told).backward()
    return torch.cat([p.grad.flatten() for p in decoder.parameters()])

# %%
exact = gradient(as_drawn)
dice = np.random.default_rng(0)


def noise_of(batch, from_one_file):
    draws = [dice.integers(0, 50, batch) + 50 * file if from_one_file
             else dice.integers(0, 450, batch) for file in range(9)]
    off = [(gradient(by_colour[d]) - exact).square().sum() for d in draws]
    return (sum(off) / len(off) / exact.square().sum()).item()

# %%
batches = [10, 40, 100]
of_all = [noise_of(batch, from_one_file=False) for batch in batches]
of_one = [noise_of(batch, from_one_file=True) for batch in batches]

# %% mystnb={"figure": {"caption": "The noise of a batch's gradient against the size of the batch. Drawn from all images it falls as one over the size. Drawn from one sorted file it stays high.", "name": "fig:gradient-noise"}, "image": {"alt": "Two falling lines on logarithmic axes. The noise of batches from all images falls steadily from batch 10 to batch 100. The noise of batches from one sorted file lies above it and flattens."}} tags=["nbval-ignore-output"]
figure, panel = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
panel.loglog(batches, of_all, "o-", label="from all images")
panel.loglog(batches, of_one, "s--", label="from one sorted file")
panel.set(xlabel="batch", ylabel="noise of the gradient")
panel.set(xticks=batches, xticklabels=batches)
panel.set(yticks=[0.03, 0.1, 0.3, 1.0], yticklabels=[0.03, 0.1, 0.3, 1.0])
panel.minorticks_off()
panel.legend()
plt.show()

# %%
print("at a batch of 100, a sorted file is noisier, more than 3 times:",
      of_one[-1] > 3 * of_all[-1])

# %% [markdown]
# A larger batch averages away what differs from image to image. It cannot average away what all
# images of the file have in common.
#
# ## Batch 100 against 40
#
# The lab of 2017 sent 100 photographs at once through the encoder, and then only 40, to save memory.
# What does that change? The encoder is not trained, and it treats each photograph by itself. So the
# features stay what they were, and only memory is saved.
#
# In training the same change does more. An epoch has more steps, and each step sees less.

# %%
first_layer = 64 * 224 * 224 * 4  # VGG's, bytes for one photograph
for batch in (100, 40):
    size, steps = batch * first_layer / 1e9, -(-82_783 // batch)
    print(f"batch {batch:3}: to encode, {size:.2f} GB for one layer;"
          f" to train, {steps:5,} steps an epoch")

# %%
ratio = of_all[1] / of_all[2]
print("batch 40 has more noise than batch 100:", 1.5 < ratio < 4)

# %% [markdown]
# The noise falls as one over the batch, so theory says $100 / 40 = 2.5$ times as much noise in each
# step. But there are 2.5 times as many steps. With a smaller learning rate each step moves less, so the
# noise of several steps averages out. So the batch is no mere question of memory: change it, and look at
# the learning rate again.
#
# <details><summary>Quiz: what takes more memory in training, the features of a batch or what the
# decoder keeps for the gradient?</summary>
#
# What the decoder keeps. For each word it keeps a layer of the attention model: $A$ numbers for each of
# $L$ regions. Lab 4 builds this layer. With 196 regions, $A = 256$ and 12 words that is 600,000 numbers a
# caption, against 100,000 for the features.
#
# </details>
#
# ## Several processes
#
# With two processes, each should do half of every batch. Together they must take each sample exactly
# once, and the order should not change with the number of processes. `Loader` is the streamed way; it
# takes `rank`, the number of this process, and `world`, how many there are.

# %%
from labkit import Loader


def first_batch(**team):
    return next(iter(Loader(store, 40, **team).epoch(0))).indices


# %%
one, other = (first_batch(rank=rank, world=2) for rank in (0, 1))
print(len(one), "and", len(other), "images")
print("together those of one process:",
      set(one) | set(other) == set(first_batch()))

# %% [markdown]
# **Exercise 3.3.** Write `share_of`: which samples does a process take in a step? `order` is an array
# of all samples in this epoch's order. `batch` counts the samples of a step over all processes. The
# last step is short, and `batch` need not be a multiple of `world`. Every sample must come exactly once.
# Any fair way to share will do.

# %%
def share_of(order, step, batch, rank, world):
    """Give the samples of process `rank` in step `step`."""
    ...

# %%
check("3.3", share_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def share_of(order, step, batch, rank, world):
    together = order[step * batch : (step + 1) * batch]
    return together[rank::world]


for rank in range(3):
    print("process", rank, "takes", share_of(np.arange(11), 1, 6, rank, 3))
check("3.3", share_of)

# %% [markdown]
# ## Stopped, and gone on with
#
# A training of hours will be stopped some day. Which image comes next? The order is a formula of seed
# and epoch, so two numbers say it all: the epoch, and how many samples of it were delivered.

# %%
loader = Loader(scenes, 40, seed=3)
batches = loader.epoch(1)
taken = [next(batches).indices for _ in range(3)]
batches.close()  # stopped here
text = json.dumps(loader.state())
print("a state of a few lines:", len(text) < 300)
print("epoch", loader.state()["epoch"], "position", loader.state()["position"])

# %% [markdown]
# The readers were ahead: they had already read images that nobody was given. They do not count. The
# state says what was *delivered*.
#
# Another loader takes the state over. It may even have another batch size.

# %%
again = Loader(scenes, 100, seed=3)
start = again.resume(json.loads(text))
rest = [batch.indices for batch in again.epoch(*start)]
everything = np.concatenate(taken + rest)
print([len(some) for some in rest])
print("each image once:", sorted(everything) == list(range(450)))

# %%
whole = [batch.indices for batch in Loader(scenes, 50, seed=3).epoch(1)]
print("in the same order:", (np.concatenate(whole) == everything).all())

# %% [markdown]
# A state of another store is refused, because its positions would mean other images. The *fingerprint* is
# a checksum of a whole store.

# %%
try:
    Loader(store, 40, seed=3).resume(json.loads(text))
except ValueError as error:
    print(str(error).partition(": ")[2])

# %% [markdown]
# **Exercise 3.4.** Write the state yourself. A training has done `steps` steps since it began, with
# `batch` samples a step, on a store of `samples` samples. The last step of each epoch is short. Give
# the epoch, counted from 0, and the position in it, in samples. At the end of an epoch, give the next
# epoch at position 0.

# %%
def state_after(steps, batch, samples):
    """Give (epoch, position)."""
    ...

# %%
check("3.4", state_after)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def state_after(steps, batch, samples):
    in_an_epoch = -(-samples // batch)  # rounded up
    epoch, step = divmod(steps, in_an_epoch)
    return epoch, step * batch


print("50 steps of 40 on 828 images:", state_after(50, 40, 828))
check("3.4", state_after)

# %% [markdown]
# Last, the folder goes.

# %%
folder.cleanup()

# %% [markdown]
# ## Summary
#
# - COCO's features take 33 GB in float32, and half of that in float16.
# - All in memory is simple where it fits. One file at a time takes two files of memory. Mapped and
#   streamed reading take the same memory for any amount of data.
# - A perfect shuffle needs no luck. Shuffling within files is as good only if the files are a random
#   cut of the data.
# - A smaller batch takes less memory, more steps, and has noisier gradients.
# - An order that is a formula makes two things simple: several processes, and going on after a stop.
#
# **To think on.** The features could be kept in 8 bits a number, and all of COCO in 8 GB. What would
# you measure to find out whether that is good enough?
