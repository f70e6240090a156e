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
# **What you will learn.** What the model has to predict in a training step, why padding must not
# count, what the paper's doubly stochastic term does and does not do, how to find out quickly
# whether a model can learn at all, and what must be saved so that a training run that was killed
# can resume as if nothing had happened.
#
# **Time.** About 75 minutes, of which your machine needs one.
#
# **Before you start.** Lab 4, where you build the decoder.
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
# We draw 300 scenes and turn them into a feature store, in a temporary folder that is removed at
# the end. The function `prepare` is what the command `labkit prepare` calls.

# %%
import tempfile
from pathlib import Path

from labkit.data.readers import DataReport
from labkit.features.prepare import SCENE_ENCODER, prepare

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "store"

# %%
records = labkit.make_scenes(300, seed=0)
source = {"source": "scenes", "count": 300}
report = DataReport()  # would list the pictures that cannot be read
prepare(records, path, SCENE_ENCODER, source, report, progress=False)
store = labkit.FeatureStore(path, "train")
references = [text for texts in store.captions for text in texts]
vocabulary = labkit.Vocabulary.build(references, min_count=1)
print(len(store), "scenes,", len(references), "captions;", len(vocabulary), "words")

# %% [markdown]
# ## Teacher forcing
#
# The model gives the probability of the *next* word. So a single caption asks it many questions. At
# each step the model is given the words of the reference so far, no matter what it would have
# generated itself. This is called *teacher forcing*.

# %%
from itertools import pairwise

ids = vocabulary.encode("a small red star")
for previous, target in pairwise(vocabulary.words[i] for i in ids):
    print(f"input {previous:6} target {target}")

# %% [markdown]
# Four words give five targets, because the model has to predict the end of the caption, too. The
# inputs and the targets are the same sequence, shifted by one. All five predictions can be computed
# at once, because none of them depends on the result of another.
#
# A training step takes a batch of captions. An *epoch* ends when every caption has been used once.
#
# **Exercise 5.1.** COCO's train2014 has 82,783 photographs with 414,113 captions. A sample is a
# caption with its photograph, and a batch has 100 samples. How many steps does an epoch have?

# %%
steps = ...

# %%
check("5.1", steps)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
steps = -(-414_113 // 100)  # rounded up: the last batch is smaller
print(f"{steps:,} steps")
check("5.1", steps)

# %% [markdown]
# ## Padding
#
# Captions differ in length, but a tensor is rectangular. So the shorter captions are padded with
# `<pad>`, whose id is 0.

# %%
from labkit.data.vocabulary import PAD
from labkit.model.decoder import pad_captions

first = [vocabulary.encode(texts[0]) for texts in store.captions[:8]]
captions = pad_captions(first)
print("shape", tuple(captions.shape), "of which",
      f"{(captions == PAD).double().mean():.2f} is padding")

# %% [markdown]
# Here is a decoder, and everything it predicts for this batch: $\log p$ of each word of the
# vocabulary at each step, and the attention weights. The function `predict` keeps going after a
# caption has ended. Many programs do the same, because it is simpler.

# %%
def new_decoder(seed=0):
    torch.manual_seed(seed)
    sizes = {"feature_dim": 64, "embed_dim": 64, "hidden_dim": 128, "attention_dim": 64}
    off = {"dropout": 0.0, "word_dropout": 0.0, "feature_dropout": 0.0}
    data = {"vocab_size": len(vocabulary), "encoder_dim": store.dim}
    return labkit.Decoder(labkit.ModelConfig(**data, **sizes, **off))

# %%
def predict(decoder, a, captions):
    """Return log p (B, T, V) and alpha (B, T, L), also for padding."""
    (image, state), log_ps, alphas = decoder.init_state(a), [], []
    for words in captions[:, :-1].T:  # (B,) each
        log_p, state, attention = decoder.step(words[:, None], image, state)
        log_ps.append(log_p[:, 0])
        alphas.append(attention.alpha[:, 0])
    return torch.stack(log_ps, 1), torch.stack(alphas, 1)

# %%
decoder = new_decoder()
a = torch.from_numpy(store.read(range(8))).float()  # (B, L, D)
log_p, alpha = predict(decoder, a, captions)
print("log p", tuple(log_p.shape), "alpha", tuple(alpha.shape))

# %% [markdown]
# **Exercise 5.2.** Write `word_loss(log_p, captions)`: the mean of $-\log p$ of the words of the
# references, over all words in the batch. `<eos>` counts as a word, `<pad>` does not, and `<bos>`
# is never a target.
#
# <details><summary>Hint</summary>
#
# The targets are `captions[:, 1:]`. `log_p.gather(2, targets[..., None])[..., 0]` picks the
# $\log p$ of the target at each step.
#
# </details>

# %%
def word_loss(log_p, captions):
    """Return the loss per word: log p is (B, T, V), captions (B, T + 1)."""
    ...

# %%
check("5.2", word_loss)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def word_loss(log_p, captions):
    targets = captions[:, 1:]
    nll = -log_p.gather(2, targets[..., None])[..., 0]  # (B, T)
    mask = targets != PAD
    return nll[mask].mean()

check("5.2", word_loss)

# %% [markdown]
# `labkit`'s decoder never computes any padding: `decoder(a, captions)` packs the words of all
# captions one after the other, without gaps. That saves time, and there is no mask to forget. Is it
# the same loss?

# %%
from labkit.training.objective import Objective

plain = labkit.TrainingConfig(doubly_stochastic=0.0, label_smoothing=0.0)
objective = Objective(plain)  # the plain loss; more below
loss = objective(decoder(a, captions))
per_word, mine = loss.total / loss.words, word_loss(log_p, captions)
print("the same loss:", torch.allclose(per_word, mine, atol=1e-5))

# %% [markdown]
# What should the loss of an untrained model be? The model knows nothing, so each of the $V$ words
# should have a probability of about $1 / V$. Then the loss is $\log V$. This takes one line to
# check, and it finds many mistakes.

# %%
import math

log_v = math.log(len(vocabulary))
print(f"log V is {log_v:.1f}")
print("the loss is close to it:", abs(per_word.item() / log_v - 1) < 0.1)

# %% [markdown]
# <details><summary>Quiz: a program forgets the mask. Its loss is much lower than that of a correct
# program. Is its model better?</summary>
#
# No. After `<eos>` comes padding, and after padding comes more padding: the model learns that in no
# time. Each of these easy predictions counts as a word and pulls the mean down. The longer the
# longest caption in a batch, the better the loss looks.
#
# </details>
#
# ## The doubly stochastic term
#
# At each step the weights sum to 1 over the regions. The paper adds a term that asks for something
# in the other direction: over all words of a caption, each region should get the same attention.
#
# $$R = \sum_{i=1}^{L} \Bigl(1 - \sum_{t=1}^{T} \alpha_{ti}\Bigr)^2$$
#
# The sum over $t$ runs over the $T$ steps of the caption, including the one for `<eos>`. Here, too,
# padding must not count.
#
# **Exercise 5.3.** Write `penalty(alpha, captions, target=1.0)`. Sum the squares over all regions
# and all captions in the batch, with `target` in place of the 1 above, and divide by the number of
# words in the batch. That is how `labkit` scales the term.

# %%
def penalty(alpha, captions, target=1.0):
    """Return R per word, from alpha (B, T, L) and captions (B, T + 1)."""
    ...

# %%
check("5.3", penalty)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def penalty(alpha, captions, target=1.0):
    mask = (captions[:, 1:] != PAD)[..., None]  # (B, T, 1)
    received = (alpha * mask).sum(1)  # (B, L), summed over the words
    return (target - received).square().sum() / mask.sum()

check("5.3", penalty)

# %%
config = labkit.TrainingConfig(doubly_stochastic=1.0, label_smoothing=0.0)
both = Objective(config)(decoder(a, captions))
theirs = (both.total - loss.total) / loss.words
mine = penalty(alpha, captions)
print("the same term:", torch.allclose(theirs, mine, rtol=1e-3))

# %% [markdown]
# Every program scales this term differently. Some take the mean over the regions, some over the
# captions. So the factors $\lambda$ of two programs cannot be compared directly. The module
# `labkit/training/objective.py` explains how to convert them.
#
# ### What does the 1 do?
#
# All the weights of a caption of $T$ words sum to $T$. So each of the $L$ regions gets $T / L$ on
# average. With 10 words and 49 regions that is 0.2, and 1 is out of reach. For this reason, one
# well-known program has $16 / 196$ in place of the 1: captions of 16 steps, 196 regions.
#
# **Exercise 5.4.** The weights come from scores, through a softmax. Take the gradient of `penalty`
# with respect to these scores, once with the target $16/196$ and once with the target 1. What is
# the ratio of their lengths, the first divided by the second? Guess a number. Then measure it
# below.

# %%
factor = ...

# %%
check("5.4", factor)

# %% [markdown]
# Now measure it.

# %%
def penalty_gradient(target):
    """Return the gradient of the penalty with respect to the scores."""
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(*alpha.shape, generator=rng, dtype=torch.double)
    scores.requires_grad_()
    penalty(scores.softmax(-1), captions, target).backward()
    return scores.grad

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
factor = (penalty_gradient(16 / 196).norm() / penalty_gradient(1.0).norm()).item()
print(f"{factor:.3f}")
check("5.4", factor)

# %% [markdown]
# The ratio is 1, and the two gradients are equal in every component. Why? Write $s_i$ for the
# attention that region $i$ gets over all words, and $\tau$ for the target. Then
#
# $$\sum_i (\tau - s_i)^2 = L \tau^2 - 2 \tau \sum_i s_i + \sum_i s_i^2 .$$
#
# The first part is a constant. So is the second, because $\sum_i s_i = T$, whatever the model does.
# Only $\sum_i s_i^2$ can be made smaller, and it is smallest when all $s_i$ are equal. So the term
# asks for *even* attention, and the target only changes the value that is printed.

# %%
same = torch.allclose(penalty_gradient(1.0), penalty_gradient(16 / 196), rtol=1e-6, atol=0)
print("the same gradient:", same)
uneven = torch.eye(49)[None, : alpha.shape[1]]  # each word looks at its own region
even = torch.full_like(uneven, 1 / 49)
for target in (1.0, 16 / 196):
    more = penalty(uneven, captions[:1], target)
    less = penalty(even, captions[:1], target)
    print(f"target {target:.2f}: even weights cost {more - less:.2f} less")

# %% [markdown]
# ### What does the mask do?
#
# The same well-known program counts padding steps as if they were words. Does that, too, change
# nothing but a constant? No. Let us try it on a small example: one caption of 3 words, padded to 8
# steps, and 8 regions. At the start all 3 words look at region 0. We minimise the penalty and
# nothing else, and all weights can be chosen freely.

# %%
def minimise_penalty(mask):
    """Return the words' attention to each region, after 300 steps."""
    scores = torch.zeros(8, 8)  # (T, L)
    scores[:3, 0] = 3.0
    scores.requires_grad_()
    for _ in range(300):
        received = (scores.softmax(-1) * mask[:, None]).sum(0)  # (L,)
        (grad,) = torch.autograd.grad((1 - received).square().sum(), scores)
        scores.data -= 0.1 * grad
    return scores[:3].softmax(-1).sum(0).detach()

# %%
words_only = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])
masked, unmasked = minimise_penalty(words_only), minimise_penalty(torch.ones(8))
print(f"attention of the words to region 0: {masked[0]:.1f} with the mask, "
      f"{unmasked[0]:.1f} without")

# %% [markdown]
# At the start region 0 got 2.2 of the total of 3. An even share would be $3/8$, about 0.4, and with
# the mask the words get there. Without it they stop at 0.7, however long you continue. By then the
# padding steps look at the other regions instead, and the sum over all steps is even. The penalty
# is satisfied, although the attention of the words themselves is not even.
#
# ## Can it learn anything at all?
#
# Before a long training run, try a short one. Take a single batch and let the model memorise it. A
# model that cannot do even that has a bug. Eight pictures, one caption each:

# %%
adam = torch.optim.Adam(decoder.parameters(), 5e-3)
losses = []
for _ in range(120):
    adam.zero_grad()
    loss = objective(decoder(a, captions))
    (loss.total / loss.words).backward()
    adam.step()
    losses.append(loss.nll / loss.words)

# %%
print("from above 3 to below 0.1:", losses[0] > 3, losses[-1] < 0.1)
generated = labkit.greedy(decoder.eval(), a)
exact = [[*caption.words] == ids[1:-1]
         for caption, ids in zip(generated, first, strict=True)]
print("captions reproduced exactly:", sum(exact), "of", len(exact))

# %% [markdown]
# <details><summary>Quiz: in a program with a bug, the loss on this one batch falls to 0 within ten
# steps. What may be wrong?</summary>
#
# Perhaps the targets were not shifted by one. Then the model is asked for the very word that it has
# just been given, and only has to copy it. A loss that falls too fast is as suspicious as one that
# does not fall.
#
# </details>
#
# ## A training run
#
# Now all 300 scenes. The function `train` is what `labkit train` calls. It makes a `Trainer`, which
# sets up the store, the loader, the decoder and the optimiser, and writes a run folder. We use the
# class itself first, to take the loop apart. These settings make the run small.

# %%
from labkit.training.config import SCENES, resolve
from labkit.training.trainer import Trainer

runs = Path(folder.name)
small = {"epochs": 4, "batch_size": 30, "feature_dim": 64, "embed_dim": 64,
         "hidden_dim": 128, "attention_dim": 64, "dropout": 0.0, "warmup_ratio": 0.1,
         "learning_rate": 5e-3, "ema_decay": 0.9, "precision": "fp32",
         "log_every": 10, "save_every": 10}

# %%
settings = resolve(SCENES, small)  # those for scenes, with ours in their place
trainer = Trainer(path, runs / "watched", settings, progress=False)
loader = trainer.make_loader()
print(f"{loader.num_samples} samples, {len(loader)} steps per epoch")

# %% [markdown]
# While the model trains we want to see more than the training loss. We use forty other scenes for
# this. After each epoch we measure three things on them:
#
# - the loss on captions that the model has not been trained on, in *nats*, because the logarithm is
#   the natural one;
# - the *entropy* of the attention maps: $\log 49 = 3.9$ if a word looks at all regions equally, 0 if
#   it looks at a single one;
# - *pointing*: of the words that name a shape, the share whose largest weight lies on that shape.

# %%
from labkit.data.photos import to_input

others = labkit.make_scenes(40, seed=1, split="dev")
encoder = labkit.load_encoder(SCENE_ENCODER, bf16=False)
pixels = [torch.from_numpy(to_input(s.image, 112)) for s in others]
with torch.no_grad():
    unseen = encoder(torch.stack(pixels))
texts = [s.captions[0] for s in others]
ids = [vocabulary.encode(text) for text in texts]

# %%
from labkit.evaluation.attention_maps import map_scores
from labkit.evaluation.pointing_game import pointing_known

boxes = [s.boxes[0] for s in others]  # for each word, the box of what it names

# %%
@torch.no_grad()
def measure(decoder):
    output = decoder.eval()(unseen, pad_captions(ids))
    maps = [output.alpha[n, : len(i) - 2] for n, i in enumerate(ids)]
    hits, named = pointing_known(texts, boxes, maps, (7, 7))
    loss = objective(output)
    per_word = loss.nll / loss.words
    return (per_word, map_scores(maps).entropy, hits / named), maps

# %% [markdown]
# Now the training loop, written out so that we can measure between two epochs. The method
# `train_step` does what you have seen above: teacher forcing, the loss, its gradient, one step of
# the optimiser.

# %%
history = [measure(trainer.decoder)]
for _ in range(4):
    trainer.decoder.train()
    for batch in loader:  # one epoch; the next one has another order
        trainer.train_step(batch)
    history.append(measure(trainer.decoder))
curves, maps = zip(*history, strict=True)

# %% tags=["nbval-ignore-output"]
print("epoch  loss  entropy  pointing")
for epoch, (loss, entropy, points) in enumerate(curves):
    print(f"{epoch:5} {loss:5.2f} {entropy:8.2f} {points:9.2f}")

# %%
before, after = curves[0], curves[-1]
print("the loss falls by more than half:", after[0] < before[0] / 2)
print("the maps become sharper:         ", after[1] < before[1] - 0.3)
print("and move onto the shapes:        ", after[2] > before[2] + 0.2)

# %% mystnb={"figure": {"caption": "Four epochs on 300 scenes, measured on other scenes. The loss falls first. Then the maps become sharper and move onto the shapes that the words name.", "name": "fig:reading-training"}, "image": {"alt": "Three small line charts against the epoch: the loss falls steeply and then flattens, the entropy of the maps falls, the share of words that point at their shape rises."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
names = ("loss (nats per word)", "entropy of the maps", "pointing")
for k, panel in enumerate(panels):
    panel.plot([values[k] for values in curves], "o-")
    panel.set(title=names[k], xlabel="epoch", xticks=range(5))
plt.show()

# %% [markdown]
# Nobody showed the model where the shapes are. It has learned to look at them because that makes
# the next word easier to predict. Here is the same caption before the first epoch and after the
# last. The brightest region of each map is drawn in white, however small its weight is. That is why
# the maps from before training show pale spots, although their weights are nearly even.

# %%
from labkit.data.scenes import SHAPES

number = 3
words = texts[number].split()
named = [k for k, word in enumerate(words) if word in SHAPES]
strip = torch.cat([maps[k][number][named] for k in (0, -1)])
print(texts[number])

# %% mystnb={"figure": {"caption": "Where the model looked for two words of a caption, before and after training.", "name": "fig:before-after"}, "image": {"alt": "A drawn scene, then four maps over it. The two of the untrained model are alike: grey, with pale spots away from the shapes. The two of the trained model are dark except for the named shape and its surroundings."}} tags=["nbval-ignore-output"]
titles = [f"{words[k]}, {when}"
          for when in ("before", "after") for k in named]
image = others[number].image
labkit.attention_strip(image, titles, strip.view(-1, 7, 7))

# %% [markdown]
# ## Killed
#
# A training run that takes hours will be killed sooner or later: the power fails, somebody needs
# the machine, memory runs out. We do it on purpose. First comes a run that is left alone. Then we
# start the same run in a second process, and kill it as soon as it has written a checkpoint. It
# gets no chance to clean up. (`train` also prints what you should know about the run, and how it ended:
# this store has no dev split, so the last epoch is kept.)

# %%
short = small | {"epochs": 2, "warmup_ratio": 0.2}  # logs a line every 10 steps
full = labkit.train(path, runs / "uninterrupted", short, progress=False)
log = full.state.rows
print(f"{full.state.step} steps, {len(log)} lines in the log")

# %%
PROGRAM = """
import json, sys, torch
from labkit import train
torch.set_num_threads(1)
store, run, overrides = sys.argv[1:]
train(store, run, json.loads(overrides), progress=False)
"""

# %%
import json
import subprocess
import sys
import time

arguments = path, runs / "killed", json.dumps(short)
process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments],
                           stderr=subprocess.DEVNULL)
checkpoint = runs / "killed" / "checkpoint.safetensors"

# %%
while not checkpoint.exists() and process.poll() is None:
    time.sleep(0.02)
process.kill()  # the signal that cannot be caught, kill -9
print("ended by signal", -process.wait())

# %% [markdown]
# What is left? One file that contains everything that matters. It was written under a temporary
# name and then renamed. So a kill leaves either the old file or the new one, never half a file.

# %%
from collections import Counter

from labkit.model.checkpoint import load

tensors, facts = load(checkpoint)
print(Counter(name.partition(".")[0] for name in tensors))
print("before the last step:", 0 < facts["step"] < full.state.step)

# %% [markdown]
# - `model`: the weights.
# - `average`: a moving average of the weights. This is what is kept in the end.
# - `adam`: the state of the optimiser, two moments for each weight, and a count of steps.
# - The facts: the epoch, the position in it, and the lines of the log.
#
# The state of a random number generator is not in it. The random numbers of a step are a function
# of the seed and of the step's number, so they are the same when the step is repeated.
#
# Before we resume, we make a copy of the folder, and remove `adam` from the copy.

# %%
import shutil

from labkit.model.checkpoint import save

shutil.copytree(runs / "killed", runs / "without-adam")
kept = {name: tensor for name, tensor in tensors.items()
        if not name.startswith("adam")}
save(runs / "without-adam" / checkpoint.name, kept, facts)

# %%
resumed = labkit.train(path, runs / "killed", resume=True, progress=False)
without_adam = labkit.train(path, runs / "without-adam", resume=True, progress=False)
print("resumed, the same log:     ", resumed.state.rows == log)
print("without adam, the same log:", without_adam.state.rows == log)

# %%
mine, theirs = resumed.decoder.state_dict(), full.decoder.state_dict()
same = [torch.equal(mine[name], theirs[name]) for name in theirs]
print("the same weights, bit for bit:", all(same))

# %% mystnb={"figure": {"caption": "The loss of three runs: one that was not interrupted, one that was killed and resumed, and one that was resumed without the state of the optimiser. The first two are the same line, so only one of them can be seen.", "name": "fig:resumed"}, "image": {"alt": "Loss against step. The curves of the uninterrupted and the resumed run are one line. The curve of the run without Adam's moments leaves this line where the run was resumed."}} tags=["nbval-ignore-output"]
labkit.loss_curves({"uninterrupted": log,
                    "without adam": without_adam.state.rows,
                    "resumed": resumed.state.rows})

# %% [markdown]
# The run without Adam's state does not fail. It continues, and its loss looks as good as the
# other's. Only the comparison shows that something was lost. This is why the test is *the same
# curve* and not *a curve that falls*.
#
# <details><summary>Quiz: a program saves the weights, Adam's moments and the number of the epoch,
# once after each epoch. What is lost if it is killed?</summary>
#
# All steps since the end of the last complete epoch. And also the order of the captions in the next
# epoch, if it comes from a random number generator whose state was not saved: then you get a curve,
# but not the same one.
#
# </details>

# %%
folder.cleanup()

# %% [markdown]
# ## Summary
#
# - In training, the model predicts each next word, given the words of the reference so far. Four
#   words give five targets, because the end is a target, too.
# - Padding is not a word: not in the loss, and not in the sums of the attention weights.
# - The doubly stochastic term asks for even attention over a caption. Its target changes the value
#   that is printed, but no gradient. Counting padding does change the gradient.
# - Before a long run: is the first loss close to $\log V$, and can the model memorise one batch?
# - A checkpoint is complete if the resumed run gives the same curve.
#
# **To think about.** The model learned to look at the shapes without being shown where they are.
# Suppose that all scenes had exactly one shape. Would it still learn to look at it?
#
# **Next.** [Lab 6: hard attention](06_hard_attention.ipynb)
