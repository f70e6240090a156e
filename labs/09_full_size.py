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
# # Lab 9: full size
#
# **What you will learn.** The commands that train on all of COCO, with one graphics card or with
# several machines. What they cost, estimated from rates that you can measure. Why several processes
# learn the same as one.
#
# **Time.** About 30 minutes, of which your machine needs one.
#
# **Before you start.** Labs 3 and 5.
#
# **The question.** This book trains on 6,000 photographs. COCO's train2014 has 82,783, and more
# than 400,000 captions. What changes?

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import labkit
from labkit.checks import check

os.environ["OMP_NUM_THREADS"] = "1"
work = Path(tempfile.mkdtemp())
print("ready")

# %% [markdown]
# ## The commands
#
# They are the same as for the small data set, with another name in them. On a machine with a
# graphics card they use it automatically.
#
# ```
# labkit data coco data/coco
# labkit prepare coco data/coco --out stores/coco
# labkit train stores/coco --out runs/coco
# labkit evaluate runs/coco
# ```
#
# In the store, the split `train` is COCO's train2014, and `dev` is its val2014.
#
# With several graphics cards in one machine, here four:
#
# ```
# torchrun --nproc-per-node 4 -m labkit train stores/coco \
#     --out runs/coco
# ```
#
# With several machines, here two with four cards each, the store must be in a place that every
# machine can read. Run the same command on both. `FIRST_MACHINE` is the name or the address of one
# of them, and `RUN` is a name of your choice:
#
# ```
# torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id RUN \
#     --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 \
#     -m labkit train stores/coco --out runs/coco
# ```
#
# ## What does it cost?
#
# First, disk space. `labkit` stores features as half-precision numbers.
#
# **Exercise 9.1.** How many bytes do the features of 82,783 images take, with 49 regions of 1,280
# numbers for each image?

# %%
size = ...

# %%
check("9.1", size)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
size = 82_783 * 49 * 1280 * 2
check("9.1", size)

# %% [markdown]
# That is 10.4 GB: a small part of a disk, but more than the memory of many machines. Lab 3 explains
# why this does not matter.
#
# Next, time. Preparing the store means running the encoder, once for each image. Measure how many
# images per second your machine encodes.

# %% tags=["nbval-ignore-output"]
import time

import torch

encoder = labkit.load_encoder()
pixels = torch.zeros(32, 3, 224, 224, dtype=torch.uint8)
encoder(pixels)  # warm up
begin = time.perf_counter()
encoder(pixels)
rate = 32 / (time.perf_counter() - begin)
print(f"{rate:.0f} images per second")

# %% [markdown]
# **Exercise 9.2.** Write a function that returns how many hours `machines` machines need for
# `images` images, if each machine encodes `rate` images per second.

# %%
def hours(images, rate, machines):
    ...


# %%
check("9.2", hours)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def hours(images, rate, machines):
    return images / rate / machines / 3600


check("9.2", hours)

# %% tags=["nbval-ignore-output"]
print(f"encoding COCO here takes {hours(82_783, rate, 1):.1f} hours")

# %% [markdown]
# Training reads each caption once per epoch. An epoch on the small data set has 30,000 captions, on
# COCO 414,113: nearly fourteen times as many steps with the same batch size. So write down how long
# an epoch of `labkit train stores/flickr8k` takes, and multiply. (Do not use lab 5 for this: it has
# 1,500 captions and a much smaller decoder.) A graphics card computes a step of this model tens of
# times faster than two CPU cores. Measure before you believe any such number, including this one.
#
# ## Several processes, one training run
#
# Each process takes its share of every batch, and the gradients are averaged. There is a trap:
# captions differ in length, so the shares do not have the same number of words.
#
# **Exercise 9.3.** Two processes report their mean loss per word, each over its own words. What is
# the mean over *all* words? Write it for any number of processes.

# %%
def together(losses, words):  # for each process, its mean loss and its number of words
    ...


# %%
check("9.3", together)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def together(losses, words):
    pairs = zip(losses, words, strict=True)
    return sum(loss * count for loss, count in pairs) / sum(words)


check("9.3", together)

# %% [markdown]
# With the usual way, the mean of the means, each word of a process with short captions would count
# more. Then the result would depend on how many processes there are. `labkit` divides each sum by
# the number of words in the *whole* batch.
#
# ## A real run with two processes
#
# The run is small enough for two cores: 200 scenes and one epoch, first in a single process, then
# in two that communicate with each other. Random numbers must not make a difference, so dropout is
# off.

# %%
from labkit.features.prepare import prepare_scenes
from labkit.store.shards import FeatureStore

store = prepare_scenes(work / "store", 200, progress=False)
train = ["-m", "labkit", "train", str(store), "--epochs", "1"]
for setting in ("dropout=0", "precision=fp32", "log_every=2"):
    train += ["--set", setting]
print(len(FeatureStore(store, "train")), "scenes")


# %%
def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    print("succeeded" if done.returncode == 0 else done.stderr)


run(sys.executable, *train, "--out", str(work / "one"))
two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
run(sys.executable, *two, *train, "--out", str(work / "two"))

# %% [markdown]
# Compare the two curves.

# %%
import json


def losses(name):
    lines = (work / name / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["loss"] for row in rows if "loss" in row]


one, two = losses("one"), losses("two")
difference = max(abs(a - b) for a, b in zip(one, two, strict=True))
print("the same number of steps:", len(one) == len(two))
print("the losses differ by less than 0.01:", difference < 0.01)

# %% [markdown]
# The curves agree except for rounding: sums taken in a different order differ in their last digits.
#
# <details><summary>Quiz: with two processes and a batch size of 50, how many captions does each
# process see in a step?</summary>
#
# 25. The batch size counts the captions of all processes together. So the number of steps, the
# learning rate and the curve stay the same, and a step takes less time.
#
# </details>
#
# ## Summary
#
# - The commands for the full size are the same as for the small size.
# - Disk space is a product of four numbers. Time is a count divided by a rate, and a rate can be
#   measured in a minute.
# - Processes share each batch. The loss is weighted by words, so any number of processes learns the
#   same.
#
# **To think about.** With eight processes, a batch of 100 leaves each of them only a dozen
# captions, and the graphics cards wait. Suppose that you make the batch larger instead. What
# happens to the number of steps, and which learning rate suits the larger batch?
#
# **Next.** [Lab 10: do the maps explain the word?](10_do_the_maps_explain.ipynb)
