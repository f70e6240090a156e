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
# **What you will learn.** The commands that train on all of COCO, with a graphics card or with several
# machines. What they cost, worked out on paper from rates that you can measure. Why several processes
# learn what one process learns.
#
# **Time.** About 30 minutes, of which the machine takes one.
#
# **Before you start.** Labs 3 and 5.
#
# **The question.** This book trains on 6,000 photographs. COCO's train2014 has 82,783, and more than
# 400,000 captions. What changes?

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
# They are those of the small data set, with another name. On a machine with a graphics card they use
# it by themselves.
#
# ```
# labkit data coco data/coco
# labkit prepare coco data/coco --out stores/coco
# labkit train stores/coco --out runs/coco
# labkit evaluate runs/coco
# ```
#
# In the store, `train` is COCO's train2014, and `dev` is its val2014.
#
# Several graphics cards in one machine, here four:
#
# ```
# torchrun --nproc-per-node 4 -m labkit train stores/coco \
#     --out runs/coco
# ```
#
# Several machines, here two with four cards each. The store must lie where each machine can read it.
# Run the same command on both. `FIRST_MACHINE` is the name or the address of one of them, and `RUN` is any
# name:
#
# ```
# torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id RUN \
#     --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 \
#     -m labkit train stores/coco --out runs/coco
# ```
#
# ## What does it cost?
#
# First the disk. `labkit` stores features as half precision numbers.
#
# **Exercise 9.1.** How many bytes do the features of 82,783 images take, at 49 regions of 1,280
# numbers each?

# %%
size = ...

# %%
check("9.1", size)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
size = 82_783 * 49 * 1280 * 2
check("9.1", size)

# %% [markdown]
# That is 10.4 GB: a small part of a disk, and more than the memory of many machines. Lab 3 says why
# this does not matter.
#
# Then the time. Measure the rate of your machine on a few pictures. It is the encoder that takes
# the time, and it runs once.

# %% tags=["nbval-ignore-output"]
import time

import torch

encoder = labkit.load_encoder()
pixels = torch.zeros(32, 3, 224, 224, dtype=torch.uint8)
encoder(pixels)  # warm up
begin = time.perf_counter()
encoder(pixels)
rate = 32 / (time.perf_counter() - begin)
print(f"{rate:.0f} images a second")

# %% [markdown]
# **Exercise 9.2.** Write a function that gives the hours that `machines` machines take for so many
# images, each at `rate` images a second.

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
# Training reads each caption once an epoch. An epoch of the small data set has 30,000 captions, one of
# COCO 414,113: nearly fourteen times as many steps at the same batch. So write down how long an
# epoch of `labkit train stores/flickr8k` took, and multiply. (Lab 5 is no measure for this: it has 1,500
# captions and a much smaller decoder.) A graphics card does a step of this model tens of times
# faster than two cores; measure before you believe any such number, this one too.
#
# ## Several processes, one training
#
# Each process takes its share of every batch, and the gradients are averaged. There is a trap. Captions
# differ in length, so the shares differ in words.
#
# **Exercise 9.3.** Two processes report the mean loss of a word over their own words. What is the mean
# over *all* words? Write it for any number of processes.

# %%
def together(losses, words):  # a number each, for each process
    ...


# %%
check("9.3", together)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def together(losses, words):
    pairs = zip(losses, words, strict=True)
    return sum(loss * count for loss, count in pairs) / sum(words)


check("9.3", together)

# %% [markdown]
# The usual way, the mean of the means, would make each word of a process with short captions count for
# more. Then the result would depend on how many processes there are. `labkit` divides each sum by
# the number of words of the *whole* batch.
#
# ## A real run of two
#
# Small enough for two cores: 200 scenes, one epoch, first by one process and then by two that talk
# to each other. Nothing random may differ, so dropout is off.

# %%
from labkit.preparing import prepare_scenes
from labkit.shards import FeatureStore

store = prepare_scenes(work / "store", 200, progress=False)
train = ["-m", "labkit", "train", str(store), "--epochs", "1"]
for setting in ("dropout=0", "precision=fp32", "log_every=2"):
    train += ["--set", setting]
print(len(FeatureStore(store, "train")), "scenes")


# %%
def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    print("went well" if done.returncode == 0 else done.stderr)


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
apart = max(abs(a - b) for a, b in zip(one, two, strict=True))
print("the same number of steps:", len(one) == len(two))
print("the curves agree to the second digit:", apart < 0.01)

# %% [markdown]
# They agree but for rounding: sums taken in another order differ in their last digits.
#
# <details><summary>Quiz: with two processes and a batch of 50, how many captions does each process see
# in a step?</summary>
#
# 25. The batch is that of all processes together. So the steps, the learning rate and the curve stay
# the same, and a step takes less time.
#
# </details>
#
# ## Summary
#
# - The commands at full size are those of the small size.
# - Disk is a product of four numbers. Time is a count over a rate, and a rate can be measured in a minute.
# - Processes share each batch; the loss is weighted by words, so any number of them learns the same.
#
# **To think on.** With eight processes a batch of 100 leaves each only a dozen captions, and the card
# waits. What happens to the number of steps, and to the learning rate that suits, if one makes
# the batch larger instead?
