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
# # Lab 5: training
#
# **What you will learn.** What a training step asks of the model, why padding must not count, what
# the paper's doubly stochastic term does and does not do, how to find out quickly whether a model can
# learn at all, and what must be kept so that a killed training goes on as if nothing had happened.
#
# **Time.** About 75 minutes, of which the machine takes one.
#
# **Before you start.** Lab 4, where the decoder is built.
#
# **The question.** The loss goes down. How do you know that the model learns what it should?

# %%
import torch

import labkit
from labkit.checks import check

torch.set_num_threads(1)  # for the same numbers on every machine

# %% [markdown]
# ## Something to learn from
#
# We draw 300 scenes, and turn them into a feature store. It lies in a folder that is removed at the
# end. `prepare` is what `labkit prepare` calls.

# %%
import tempfile
from pathlib import Path

from labkit.captions import DataReport
from labkit.preparing import SCENE_ENCODER, prepare

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "store"

# %%
records = labkit.make_scenes(300, seed=0)
source = {"source": "scenes", "count": 300}
report = DataReport()  # would be told of pictures that cannot be read
prepare(records, path, SCENE_ENCODER, source, report, progress=False)
store = labkit.FeatureStore(path, "train")
told = [text for texts in store.captions for text in texts]
vocabulary = labkit.Vocabulary.build(told, min_count=1)
print(len(store), "scenes,", len(told), "captions;", len(vocabulary), "words")

# %% [markdown]
# ## Teacher forcing
#
# The model gives the probability of the *next* word. So a caption is not one question but many. At
# each step the model is given the person's words so far, whatever it would have said itself. That is
# called teacher forcing.

# %%
from itertools import pairwise

ids = vocabulary.encode("a small red star")
for given, asked in pairwise(vocabulary.words[i] for i in ids):
    print(f"given {given:6} asked for {asked}")

# %% [markdown]
# Four words make five questions, since the end has to be told, too. The row that goes in and the row
# that is asked for are the same row, moved by one. All five questions can be put at once, because
# none of them depends on an answer.
#
# A training step takes a batch of captions, and an *epoch* is over when each was taken once.
#
# **Exercise 5.1.** COCO's train2014 has 82,783 photographs with 414,113 captions. A sample is a
# caption with its photograph, and a batch has 100 samples. How many steps has an epoch?

# %%
steps = ...

# %%
check("5.1", steps)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
steps = -(-414_113 // 100)  # rounded up: the last step is short
print(f"{steps:,} steps")
check("5.1", steps)

# %% [markdown]
# ## Padding
#
# Captions are not equally long, but a tensor is a rectangle. So the shorter ones are filled up with
# `<pad>`, which is number 0.

# %%
from labkit.decoder import pad_captions
from labkit.vocabulary import PAD

first = [vocabulary.encode(texts[0]) for texts in store.captions[:8]]
captions = pad_captions(first)
print("shape", tuple(captions.shape), "of which",
      f"{(captions == PAD).double().mean():.2f} is padding")

# %% [markdown]
# Here is a decoder, and its answers to all questions of this batch: $\log p$ of each word of the
# vocabulary at each step, and the weights of the attention. `answers` goes on after a caption has ended,
# as many programs do, because that is simpler.

# %%
def new_decoder(seed=0):
    torch.manual_seed(seed)
    sizes = {"reduced": 64, "embedding": 64, "hidden": 128, "scorer": 64}
    off = {"dropout": 0.0, "word_dropout": 0.0, "feature_dropout": 0.0}
    shape = len(vocabulary), store.dim
    return labkit.Decoder(labkit.DecoderConfig(*shape, **sizes, **off))

# %%
def answers(decoder, a, captions):
    """Give log p (B, T, V) and alpha (B, T, L), for padding, too."""
    (seen, state), log_ps, alphas = decoder.look_at(a), [], []
    for words in captions[:, :-1].T:  # (B,) each
        log_p, state, glance = decoder.step(words[:, None], seen, state)
        log_ps.append(log_p[:, 0])
        alphas.append(glance.alpha[:, 0])
    return torch.stack(log_ps, 1), torch.stack(alphas, 1)

# %%
decoder = new_decoder()
a = torch.from_numpy(store.read(range(8))).float()  # (B, L, D)
log_p, alpha = answers(decoder, a, captions)
print("log p", tuple(log_p.shape), "alpha", tuple(alpha.shape))

# %% [markdown]
# **Exercise 5.2.** Write `word_loss(log_p, captions)`: the mean of $-\log p$ of the words that the
# persons wrote, over all words of the batch. `<eos>` is a word, `<pad>` is not, and `<bos>` is never
# asked for.
#
# <details><summary>Hint</summary>
#
# The words that are asked for are `captions[:, 1:]`. `log_p.gather(2, asked[..., None])[..., 0]`
# takes from each row the number of the word that is asked for.
#
# </details>

# %%
def word_loss(log_p, captions):
    """Give the loss a word: log p is (B, T, V), captions (B, T + 1)."""
    ...

# %%
check("5.2", word_loss)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def word_loss(log_p, captions):
    asked = captions[:, 1:]
    surprise = -log_p.gather(2, asked[..., None])[..., 0]  # (B, T)
    there = asked != PAD
    return surprise[there].mean()

check("5.2", word_loss)

# %% [markdown]
# `labkit`'s decoder computes no padding at all: `decoder(a, captions)` lays the words of all captions
# in one row, without gaps. So it saves the time, and cannot forget the mask. Is it the same loss?

# %%
from labkit.objective import Objective

objective = Objective(doubly=0.0, smoothing=0.0)  # no extras: see below
loss = objective(decoder(a, captions))
a_word, mine = loss.total / loss.words, word_loss(log_p, captions)
print("the same loss:", torch.allclose(a_word, mine, atol=1e-5))

# %% [markdown]
# What should an untrained model's loss be? It knows nothing, so each of the $V$ words should have
# about the probability $1 / V$. Then the loss is $\log V$. This costs one line to check, and it
# finds many mistakes.

# %%
import math

log_v = math.log(len(vocabulary))
print(f"log V is {log_v:.1f}")
print("the loss is near it:", abs(a_word.item() / log_v - 1) < 0.1)

# %% [markdown]
# <details><summary>Quiz: a program forgets the mask. Its loss is much lower than that of a correct
# one. Is its model better?</summary>
#
# No. After `<eos>` comes padding, and after padding comes padding: that is learned in no time. Each
# of these easy answers counts as a word, and pulls the mean down. The longer the longest caption of
# a batch, the better the loss seems.
#
# </details>
#
# ## The doubly stochastic term
#
# The weights of each step sum to 1 over the regions. The paper adds a term that asks for something in
# the other direction: over all words of a caption, each region should get the same attention.
#
# $$R = \sum_{i=1}^{L} \Bigl(1 - \sum_{t=1}^{T} \alpha_{ti}\Bigr)^2$$
#
# The sum over $t$ is over the $T$ steps of the caption, that of `<eos>` included. Padding must not count
# here either.
#
# **Exercise 5.3.** Write `penalty(alpha, captions, target=1.0)`. Sum the squares over all regions and
# all captions of the batch, with `target` in place of the 1 above, and divide by the number of words
# of the batch. That is `labkit`'s scaling.

# %%
def penalty(alpha, captions, target=1.0):
    """Give R a word, from alpha (B, T, L) and captions (B, T + 1)."""
    ...

# %%
check("5.3", penalty)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def penalty(alpha, captions, target=1.0):
    there = (captions[:, 1:] != PAD)[..., None]  # (B, T, 1)
    got = (alpha * there).sum(1)  # (B, L), over the words
    return (target - got).square().sum() / there.sum()

check("5.3", penalty)

# %%
both = Objective(doubly=1.0, smoothing=0.0)(decoder(a, captions))
theirs = (both.total - loss.total) / loss.words
mine = penalty(alpha, captions)
print("the same term:", torch.allclose(theirs, mine, rtol=1e-3))

# %% [markdown]
# Everybody scales this term in another way. Some take the mean over the regions, some over the
# captions. So the factors $\lambda$ of two programs do not compare. `labkit/objective.py` says how to
# convert them.
#
# ### What does the 1 do?
#
# All weights of a caption of $T$ words sum to $T$. So the $L$ regions get $T / L$ each in the mean.
# With 10 words and 49 regions that is 0.2, and 1 is out of reach. One well-known program therefore
# has $16 / 196$ in place of the 1: captions of 16 steps, 196 regions.
#
# **Exercise 5.4.** The weights come from scores, by a softmax. How many times as long is the gradient of
# `penalty` to these scores with the target $16/196$ as with the target 1? Guess a number. Below you
# measure it.

# %%
factor = ...

# %%
check("5.4", factor)

# %% [markdown]
# Now measure it.

# %%
def push(target):
    """Give the gradient of the penalty to the scores."""
    dice = torch.Generator().manual_seed(0)
    scores = torch.randn(*alpha.shape, generator=dice, dtype=torch.double)
    scores.requires_grad_()
    penalty(scores.softmax(-1), captions, target).backward()
    return scores.grad

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
factor = (push(16 / 196).norm() / push(1.0).norm()).item()
print(f"{factor:.3f}")
check("5.4", factor)

# %% [markdown]
# It is 1, and the gradients are the same number by number. Why? Write $s_i$ for what region $i$ gets
# over all words, and $\tau$ for the target. Then
#
# $$\sum_i (\tau - s_i)^2 = L \tau^2 - 2 \tau \sum_i s_i + \sum_i s_i^2 .$$
#
# The first part is a constant. So is the second, because $\sum_i s_i = T$, whatever the model does.
# Only $\sum_i s_i^2$ can be made smaller. It is smallest when all $s_i$ are equal. So the term asks
# for *evenness*, and the target only changes the number that is printed.

# %%
same = torch.allclose(push(1.0), push(16 / 196), rtol=1e-6, atol=0)
print("the same gradient:", same)
uneven = torch.eye(49)[None, : alpha.shape[1]]  # each word has its place
even = torch.full_like(uneven, 1 / 49)
for target in (1.0, 16 / 196):
    more = penalty(uneven, captions[:1], target)
    less = penalty(even, captions[:1], target)
    print(f"target {target:.2f}: even weights cost {more - less:.2f} less")

# %% [markdown]
# ### What does the mask do?
#
# The same program counts padding as if it were words. Is that a constant, too? No. Let us play it
# through: one caption of 3 words, filled up to 8 steps, and 8 regions. In the beginning all 3 words
# look at region 0. We make nothing but the penalty small, and may choose all weights freely.

# %%
def played(mask):
    """Give the words' attention to each region, after 300 steps."""
    scores = torch.zeros(8, 8)  # (T, L)
    scores[:3, 0] = 3.0
    scores.requires_grad_()
    for _ in range(300):
        got = (scores.softmax(-1) * mask[:, None]).sum(0)  # (L,)
        (slope,) = torch.autograd.grad((1 - got).square().sum(), scores)
        scores.data -= 0.1 * slope
    return scores[:3].softmax(-1).sum(0).detach()

# %%
words_only = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])
masked, unmasked = played(words_only), played(torch.ones(8))
print(f"region 0 gets of the words' attention: masked {masked[0]:.1f}, "
      f"unmasked {unmasked[0]:.1f}")

# %% [markdown]
# In the beginning it got 2.2 of 3. Even would be $3/8$, about 0.4, and with the mask the words get
# there. Without it they stop at 0.7, however long one goes on. By then the padding looks at the other
# regions in their place, and the sum over all steps is even. The penalty is content, though the
# words' own attention is not even.
#
# ## Can it learn anything at all?
#
# Before a long training, try a short one. Take one batch and learn it by heart. A model that cannot
# do even that has a mistake in it. Eight pictures, one caption each:

# %%
adam = torch.optim.Adam(decoder.parameters(), 5e-3)
losses = []
for _ in range(120):
    adam.zero_grad()
    loss = objective(decoder(a, captions))
    (loss.total / loss.words).backward()
    adam.step()
    losses.append(loss.surprise / loss.words)

# %%
print("from above 3 to below 0.1:", losses[0] > 3, losses[-1] < 0.1)
told = labkit.greedy(decoder.eval(), a)
known = [[*caption.words] == ids[1:-1]
         for caption, ids in zip(told, first, strict=True)]
print("captions told by heart:", sum(known), "of", len(known))

# %% [markdown]
# <details><summary>Quiz: in a program with a mistake, the loss of the one batch falls to 0 within ten
# steps. What may be wrong?</summary>
#
# Perhaps the words that are asked for were not moved by one. Then the model is asked for the word
# that it has just been given. It only has to copy. A loss that falls too fast is as suspicious as one
# that does not fall.
#
# </details>
#
# ## A training
#
# Now all 300 scenes. `Training` is what `labkit train` calls: it has the store, the loader, the
# decoder and the optimiser, and writes a folder. These settings make it small.

# %%
from dataclasses import replace

from labkit.settings import SCENES
from labkit.training import Training, train

runs = Path(folder.name)
small = {"epochs": 4, "batch_size": 30, "reduced": 64, "embedding": 64,
         "hidden": 128, "scorer": 64, "dropout": 0.0, "warmup": 20,
         "learning_rate": 5e-3, "averaging": 0.9, "precision": "fp32",
         "log_every": 10, "save_every": 10}

# %%
config = replace(SCENES, **small)
training = Training(path, runs / "watched", config, progress=False)
samples = training.make_loader().samples()
print(f"{samples} samples, {training.steps} steps an epoch")

# %% [markdown]
# While it trains we want to see more than a loss. Forty other scenes serve for that. Of these we
# take three things, each time after an epoch:
#
# - the loss on captions that it has not learned from, in *nats*, since the logarithm is the natural one;
# - the *entropy* of the maps: $\log 49 = 3.9$ if a word looks everywhere, 0 if at one place;
# - *pointing*: of the words that name a shape, how many look most at that shape.

# %%
from labkit.photos import to_input

others = labkit.make_scenes(40, seed=1, split="dev")
encoder = labkit.load_encoder(SCENE_ENCODER, bf16=False)
pixels = [torch.from_numpy(to_input(s.image, 112)) for s in others]
with torch.no_grad():
    unseen = encoder(torch.stack(pixels))
texts = [s.captions[0] for s in others]
ids = [vocabulary.encode(text) for text in texts]

# %%
from labkit.maps import map_scores
from labkit.pointing import pointing_known

boxes = [s.boxes[0] for s in others]  # for each word, what it speaks of

# %%
@torch.no_grad()
def look(decoder):
    told = decoder.eval()(unseen, pad_captions(ids))
    maps = [told.alpha[n, : len(i) - 2] for n, i in enumerate(ids)]
    hits, named = pointing_known(texts, boxes, maps, (7, 7))
    loss = objective(told)
    a_word = loss.surprise / loss.words
    return (a_word, map_scores(maps).entropy, hits / named), maps

# %% [markdown]
# And now the loop of an epoch, opened up, so that one can look between two epochs. `train_step` does
# what you have written above: teacher forcing, loss, gradient, a step of the optimiser.

# %%
seen = [look(training.decoder)]
for epoch in range(4):
    training.decoder.train()
    for batch in training.make_loader().epoch(epoch):
        training.train_step(batch)
    seen.append(look(training.decoder))
curves, maps = zip(*seen, strict=True)

# %% tags=["nbval-ignore-output"]
print("epoch  loss  entropy  pointing")
for epoch, (loss, entropy, points) in enumerate(curves):
    print(f"{epoch:5} {loss:5.2f} {entropy:8.2f} {points:9.2f}")

# %%
before, after = curves[0], curves[-1]
print("the loss falls by half:            ", after[0] < before[0] / 2)
print("the maps become sharper:           ", after[1] < before[1] - 0.3)
print("and they come to lie on the shapes:", after[2] > before[2] + 0.2)

# %% mystnb={"figure": {"caption": "Four epochs on 300 scenes, measured on others. The loss falls first. Then the maps become sharper, and come to lie on the shapes that the words name.", "name": "fig:reading-training"}, "image": {"alt": "Three small line charts against the epoch: the loss falls steeply and then flattens, the entropy of the maps falls, the share of words that point at their shape rises."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
names = ("loss (nats a word)", "entropy of the maps", "pointing")
for k, panel in enumerate(panels):
    panel.plot([values[k] for values in curves], "o-")
    panel.set(title=names[k], xlabel="epoch", xticks=range(5))
plt.show()

# %% [markdown]
# Nobody told the model where the shapes are. It has learned to look at them, because that makes the
# next word easier to tell. Here is the same caption before the first epoch and after the last. White is
# the brightest place of each map, however little weight it has. So the maps before the training show
# pale spots, though their weights are nearly even.

# %%
from labkit.scenes import SHAPES

number = 3
words = texts[number].split()
named = [k for k, word in enumerate(words) if word in SHAPES]
strip = torch.cat([maps[k][number][named] for k in (0, -1)])
print(texts[number])

# %% mystnb={"figure": {"caption": "Where two words of a caption looked: before the training, and after it.", "name": "fig:before-after"}, "image": {"alt": "A drawn scene, then four maps over it. The two of the untrained model are alike: grey, with pale spots away from the shapes. The two of the trained model are dark but for the named shape and its surroundings."}} tags=["nbval-ignore-output"]
titles = [f"{words[k]}, {when}"
          for when in ("before", "after") for k in named]
image = others[number].image
labkit.attention_strip(image, titles, strip.view(-1, 7, 7))

# %% [markdown]
# ## Killed
#
# A training of hours will be killed some day: the power fails, somebody needs the machine, memory
# runs out. We do it on purpose. First a training that nobody disturbs, then the same in a second
# process, which is killed as soon as it has written a checkpoint. It gets no chance to tidy up.

# %%
short = small | {"epochs": 2}  # the log: a line for 10 steps, and for an epoch
whole = train(path, runs / "quiet", short, progress=False)
log = whole.standing.rows
print(f"{whole.standing.step} steps, {len(log)} lines in the log")

# %%
PROGRAM = """
import json, sys, torch
from labkit.training import train
torch.set_num_threads(1)
store, out, given = sys.argv[1:]
train(store, out, json.loads(given), progress=False)
"""

# %%
import json
import subprocess
import sys
import time

arguments = path, runs / "killed", json.dumps(short)
process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])
checkpoint = runs / "killed" / "checkpoint.safetensors"

# %%
while not checkpoint.exists() and process.poll() is None:
    time.sleep(0.02)
process.kill()  # the signal that cannot be caught, kill -9
print("ended by signal", -process.wait())

# %% [markdown]
# What is left? One file, in which all that matters stands. It was written beside its place and then
# renamed, so a kill leaves the old one or the new one, never half of one.

# %%
from collections import Counter

from labkit.checkpoint import load

tensors, facts = load(checkpoint)
print(Counter(name.partition(".")[0] for name in tensors))
print("in the middle:", 0 < facts["step"] < whole.standing.step)

# %% [markdown]
# - `model`: the weights.
# - `average`: a moving average of the weights. It is what is kept in the end.
# - `adam`: the optimiser's memory, two moments for each weight, and a count of steps.
# - The facts: the epoch, the position in it, and the lines of the log.
#
# Chance is not in it. What a step draws by lot is a function of the seed and of the step's number, so
# it is the same when the step is taken again.
#
# Before we go on, we take a copy of the folder. The copy loses `adam`.

# %%
import shutil

from labkit.checkpoint import save

shutil.copytree(runs / "killed", runs / "forgetful")
kept = {name: tensor for name, tensor in tensors.items()
        if not name.startswith("adam")}
save(runs / "forgetful" / checkpoint.name, kept, facts)

# %%
resumed = train(path, runs / "killed", resume=True, progress=False)
forgetful = train(path, runs / "forgetful", resume=True, progress=False)
print("resumed, the same log:     ", resumed.standing.rows == log)
print("without adam, the same log:", forgetful.standing.rows == log)

# %%
mine, theirs = resumed.decoder.state_dict(), whole.decoder.state_dict()
same = [torch.equal(mine[name], theirs[name]) for name in theirs]
print("the same weights, bit for bit:", all(same))

# %% mystnb={"figure": {"caption": "The loss of three trainings: one that nobody disturbed, one that was killed and resumed, and one that was resumed without the optimiser's memory. The undisturbed and the resumed one are the same line, so only one of them can be seen.", "name": "fig:resumed"}, "image": {"alt": "Loss against step. The curves of the undisturbed and the resumed training are one line. The curve of the training without Adam's moments leaves it where it was resumed."}} tags=["nbval-ignore-output"]
labkit.loss_curves({"undisturbed": log,
                    "without adam": forgetful.standing.rows,
                    "resumed": resumed.standing.rows})

# %% [markdown]
# The forgetful one does not fail. It goes on, and its loss looks as good as the other's. Nothing but
# the comparison shows that something was lost. This is why the test is *the same curve* and not
# *a curve that falls*.
#
# <details><summary>Quiz: a program keeps the weights, Adam's moments and the number of the epoch, and
# saves after each epoch. What is lost if it is killed?</summary>
#
# All steps since the last epoch ended. And the order of the next epoch, if it comes from a random
# stream whose state was not kept: then some curve comes out, but not the same one.
#
# </details>

# %%
folder.cleanup()

# %% [markdown]
# ## Summary
#
# - Training asks for each next word, given the person's words. Four words make five questions: the end
#   is asked for, too.
# - Padding is not a word: not in the loss, and not in the sums of attention.
# - The doubly stochastic term asks for even attention over a caption. Its target changes the number
#   that is printed, and no gradient. Counting padding does change the gradient.
# - Before a long training: is the first loss $\log V$, and can one batch be learned by heart?
# - A checkpoint is complete if the resumed curve is the same curve.
#
# **To think on.** The model learned to look at shapes without being told where they are. Suppose that
# all scenes had exactly one shape. Would it still learn to look at it?
