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
# # Lab 11: learning from a reward
#
# **What you will learn.** How a model learns what to say when it is told only what its captions are
# worth. You write a reward, a baseline and a loss, and train with them. Then you find out what the
# model did for its reward, how much of the gain came from saying less, and what a fact must pay so
# that it is still told.
#
# **Time.** About 60 minutes, of which your machine needs two.
#
# **Before you start.** Lab 6. You do not need labs 9 and 10.
#
# **The question.** In lab 6 nobody told the model where to look. It sampled a region, and the
# region became more likely if the next word was likely. Can a model learn in the same way what to
# *say*?

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import torch

import labkit
from labkit.checks import check

torch.set_num_threads(1)
start = labkit.Captioner.from_pretrained("scenes-soft")
vocabulary = start.vocabulary
print(len(vocabulary), "words")

# %% [markdown]
# ## Why a reward?
#
# So far each model has learned from references, one word at a time (lab 5). To this loss all words
# matter alike. A model that says *left* in place of *right* loses one word of ten, though its
# caption is false.
#
# On drawn scenes we can ask for what we want: a caption is true of its scene, or it is not. This
# judge cannot be bribed, and never errs. But its verdict comes at the end of the caption, and has
# no gradient. What can a model learn from it?
#
# We need new scenes to learn from, and others to see what was learned. This takes some seconds,
# most of them for the annotation vectors.

# %%
from labkit.data.scenes import is_true, read_caption, things_of


def draw(count, split):
    """The annotation vectors (N, L, D) of new scenes, and the list of shapes of each."""
    scenes = labkit.make_scenes(count, seed=11, split=split, captions=1)
    pictures = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2)
    with torch.no_grad():
        vectors = torch.cat([start.encoder(some) for some in pictures.split(50)])
    return vectors, [things_of(scene.facts) for scene in scenes]


# %%
learn_from, their_things = draw(2500, "train")
held_out, things = draw(300, "test")
print("to learn from:", tuple(learn_from.shape), "held out:", tuple(held_out.shape))

# %% [markdown]
# ## Look first
#
# `Sampler` samples K captions of each of N pictures, word by word, and keeps the gradient of
# $\log p$ of each word. Here are four captions of one scene.

# %%
from labkit.training.rollout import Sampler


def texts_of(rollout):
    """The N K captions as texts, those of a picture side by side."""
    return [vocabulary.decode(words) for words in rollout.captions()]


torch.manual_seed(0)
rollout = Sampler(start.decoder)(held_out[:1], 4, 24)  # K = 4, at most 24 words
print(tuple(rollout.log_p.shape), "log p of each word: (N, K, T)")

# %% tags=["nbval-ignore-output"]
for text in texts_of(rollout):
    print(f"{is_true(text, things[0])!s:5} {text}")

# %% [markdown]
# The captions differ, and some are true. That is all that learning needs: what is true should
# become more likely, what is false less.
#
# **Exercise 11.1.** Write the reward: `truth(caption, things)` is 1 if the whole caption is true of
# a scene with these shapes, else 0. You may use `is_true`.

# %%
def truth(caption, things):  # a string, a list of shapes -> 1 or 0
    ...


# %%
check("11.1", truth)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def truth(caption, things):
    return float(is_true(caption, things))


check("11.1", truth)

# %% [markdown]
# How many captions earn it now? We ask for the greedy captions, which one would publish, and for
# sampled ones, which the model learns from.

# %%
def greedy_of(decoder):
    with torch.no_grad():
        captions = labkit.greedy(decoder, held_out)
    return [vocabulary.decode(caption.words) for caption in captions]


def samples_of(decoder):
    """Four captions of each held-out scene."""
    torch.manual_seed(2)
    with torch.no_grad():
        return texts_of(Sampler(decoder)(held_out, 4, 24))


# %%
four_each = [some for some in things for _ in range(4)]


def share_true(texts, scenes):
    return np.mean([truth(text, some) for text, some in zip(texts, scenes, strict=True)])


# %%
before, samples_before = greedy_of(start.decoder), samples_of(start.decoder)
print(f"true: {share_true(before, things):.1f} of the greedy captions, "
      f"{share_true(samples_before, four_each):.1f} of those sampled")

# %% [markdown]
# ## The same estimator
#
# In lab 6 the choice was a region, $s_t \sim \alpha_t$. Now it is a word, $y_t \sim p(y_t)$.
#
# | | lab 6: where to look | this lab: what to say |
# |---|---|---|
# | the choice | the region $s_t$ | the word $y_t$ |
# | its probability | $\alpha_{t, s_t}$ | $p(y_t \mid y_1, \dots, y_{t-1}, a)$ |
# | the reward $R$ | $\log p$ of the caption | what the caption is worth |
# | the estimate | $(R - b)\, \partial \log p(s)$ | $(R - b)\, \partial \log p(y)$ |
#
# The estimate of the choice is the same: the derivation never asked what is chosen. One term of lab 6
# is missing. There the reward itself depended on the parameters, and here it does not.
#
# $b$ is the baseline. It may be anything that does not depend on the caption that it is subtracted
# for. Some scenes are easy, others hard, so each should have a baseline of its own. Is there one
# that costs nothing?
#
# We have K captions of each picture. For each of them, the *others* say what was to be expected.
#
# **Exercise 11.2.** Write `advantage(reward)`. `reward` has the shape $(N, K)$: K captions of each
# of N pictures. Subtract from each the mean reward of the K - 1 others of its picture.
#
# <details><summary>Hint</summary>
#
# The sum of the others is the sum of all, less its own.
#
# </details>

# %%
def advantage(reward):  # (N, K) -> (N, K)
    ...


# %%
check("11.2", advantage)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def advantage(reward):
    others = (reward.sum(1, keepdim=True) - reward) / (reward.shape[1] - 1)
    return reward - others


check("11.2", advantage)

# %% [markdown]
# <details><summary>Quiz: all four captions of a picture are true. What does the model learn from
# them? And if all four are false?</summary>
#
# Nothing, in both cases: all advantages are 0. A picture teaches something only if its captions
# differ in their worth.
#
# </details>
#
# **Exercise 11.3.** Write `loss(advantage, log_p, mask)`. A caption's $\log p$ is the sum over its
# words, and the loss is a sum over all captions. `log_p` and `mask` have the shape $(N, K, T)$. The
# captions differ in length: `mask` is 1 at each word, `<eos>` included, and 0 after it. What
# `log_p` holds there means nothing. No gradient may flow through the advantage.

# %%
def loss(advantage, log_p, mask):  # (N, K), (N, K, T), (N, K, T) -> ()
    ...


# %%
check("11.3", loss)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def loss(advantage, log_p, mask):
    return -(advantage.detach()[..., None] * log_p * mask).sum()


check("11.3", loss)

# %% [markdown]
# <details><summary>Quiz: why is <code>&lt;eos&gt;</code> in the sum, though nobody reads
# it?</summary>
#
# It is a choice like any other: to stop here. A caption that stops too early, or goes on until it
# says something false, did so because of this choice.
#
# </details>
#
# ## The run
#
# Each step takes 25 scenes that it has never seen, samples four captions of each, judges them, and
# takes one step of Adam. We keep what the model says of the held-out scenes, greedily, after every
# ten steps.

# %%
def learn(worth, steps=100):
    """Learn from a reward, a function of a caption and a scene's shapes.

    Returns the decoder, and its greedy captions after each ten steps.
    """
    torch.manual_seed(1)
    decoder = deepcopy(start.decoder).requires_grad_()
    sampler, adam = Sampler(decoder), torch.optim.Adam(decoder.parameters(), lr=3e-4)
    said = {0: greedy_of(decoder)}
    for step in range(steps):
        rows = range(25 * step, 25 * step + 25)
        rollout = sampler(learn_from[rows], 4, 24)
        pairs = zip(texts_of(rollout), np.repeat(rows, 4), strict=True)
        reward = torch.tensor([worth(text, their_things[n]) for text, n in pairs]).view(25, 4)
        adam.zero_grad()
        (loss(advantage(reward), rollout.log_p, rollout.mask) / reward.numel()).backward()
        adam.step()
        if (step + 1) % 10 == 0:
            said[step + 1] = greedy_of(decoder)
    return decoder, said


# %% [markdown]
# **Exercise 11.4.** Before you run it: what will this model do for its reward? Think of what can be
# false in *a small red star is left of a blue cross*. (*Left of* is a relation, as are *right of*,
# *above* and *below*.) Enter `True` or `False` for each guess.

# %%
guesses = {
    "fewer captions state a relation": ...,
    "captions become shorter": ...,
    "fewer shapes are given with their size": ...,
    "most captions name a single shape": ...,
    "captions of no words become common": ...,
}

# %% [markdown]
# Now run it, for about half a minute. The check comes after the curves.

# %%
taught, said = learn(truth)
after = said[100]
print("after 100 steps more captions are true:", share_true(after, things) > 0.7)

# %% [markdown]
# That is a success, is it not? Look at what it says.

# %% tags=["nbval-ignore-output"]
for n in range(6):
    print(f"before: {before[n]}\nafter:  {after[n]}\n")

# %% [markdown]
# `told` reads captions and gives three numbers, whether the captions are true or not: the share of
# captions that state a relation, the share of phrases that say a size, and the mean number of words.

# %%
from labkit.evaluation.pointing_game import told


def measures(texts):
    """The share of true captions, of relations and sizes that are told; the number of words."""
    return share_true(texts, things), *told([text.split() for text in texts])


def curves(said):
    *shares, words = np.array([measures(texts) for texts in said.values()]).T
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for values, name in zip(shares, ("true", "relation told", "size told"), strict=True):
        left.plot(list(said), values, marker=".", label=name)
    left.set(xlabel="step", ylabel="share", ylim=(-0.05, 1.05))
    figure.legend(loc="outside upper center", ncols=3)
    right.plot(list(said), words, marker=".", color="black")
    right.set(xlabel="step", ylabel="words per caption", ylim=(6, 12))
    plt.show()


# %% mystnb={"figure": {"caption": "Learning from truth: what the captions of 300 held-out scenes say, and how much of it is true.", "name": "fig:reward-truth"}, "image": {"alt": "Left: the share of true captions rises from 0.6 to 0.8. That of captions with a relation falls from 0.6 to 0 within ten steps. That of phrases with a size falls slowly from 1 to 0.7. Right: the number of words falls from about 10 to 9 at once, then slowly on."}} tags=["nbval-ignore-output"]
curves(said)

# %%
_, relations, sizes, words = np.array([measures(texts) for texts in said.values()]).T
print(f"relations: {relations[0]:.1f} at the start, {relations[2]:.1f} after 20 steps")
print("the sizes begin to go, too:", sizes[-1] < sizes[0] - 0.05)
print("shorter captions:", words[-1] < words[0] - 0.7)

# %%
check("11.4", guesses)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
guesses = {
    "fewer captions state a relation": True,
    "captions become shorter": True,
    "fewer shapes are given with their size": True,
    "most captions name a single shape": False,
    "captions of no words become common": False,
}
check("11.4", guesses)

# %% [markdown]
# After twenty steps fewer than one caption in a hundred states a relation. A relation can be false,
# and *and* cannot. Nobody asked the model to say anything, only to say nothing false.
#
# Its captions would be true more often still if they named one shape. Why do they not?

# %%
def phrases_in(text):
    phrases, _ = read_caption(text) or ([], [])
    return len(phrases)


single = sum(phrases_in(text) == 1 for text in samples_before)
print("samples of the start that name one shape: fewer than 1 in 100:", single < 12)

# %% [markdown]
# The model that we started from hardly ever samples such a caption, so it is hardly ever rewarded.
# A reward can only make more likely what the model tries. This also protects us: we do not know
# what the model would do for its reward if it tried everything.
#
# ## How much of the gain is saying less?
#
# The share of true captions rose. Has the model learned to *see* better, or only to keep quiet?
# Take the captions of the model that we started from, which has learned nothing, and let them say
# less. How many are true then?
#
# **Exercise 11.5.** Write `say_less(caption)`: the same caption, with *and* in the place of its
# relation. A caption without a relation stays as it is. The relations are *left of*, *right of*,
# *above* and *below*, with or without an *is* before them. But a caption may also begin with *there
# is*: *there is a red star left of a blue cross*.
#
# <details><summary>Hint</summary>
#
# `re.sub(pattern, " and ", caption)` replaces what fits a pattern. In a pattern, `(one|other)` fits
# either of the two, and `( is)?` fits *is* or nothing.
#
# </details>

# %%
import re


def say_less(caption):  # a string -> a string
    ...


# %%
check("11.5", say_less)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def say_less(caption):
    return re.sub("( is)? (left of|right of|above|below) ", " and ", caption)


check("11.5", say_less)

# %%
quiet = [say_less(text) for text in before]
shares = [share_true(texts, things) for texts in (before, quiet, after)]
free = (shares[1] - shares[0]) / (shares[2] - shares[0])
print(f"more than a third of the gain is free: {free > 1 / 3}")
print(f"but not all of it: {shares[2] > shares[1] + 0.02}")

# %% tags=["nbval-ignore-output"]
for name, share in zip(("before", "before, without relations", "after"), shares, strict=True):
    print(f"{name:26} {share:.2f}")
print(f"of the gain, {free:.2f} is free")

# %% [markdown]
# More than half of the gain in our run needs no learning about pictures at all. What of the rest?
# There are fewer sizes, too. And one more thing has changed: what the samples are like.

# %% tags=["nbval-ignore-output"]
samples_after = samples_of(taught)
for name, texts in (("before", samples_before), ("after", samples_after)):
    print(f"{name:7} true, of those sampled: {share_true(texts, four_each):.2f}")

# %%
def different(texts):
    """How many of the four captions of a scene differ, on average."""
    return np.mean([len(set(texts[k : k + 4])) for k in range(0, len(texts), 4)])


print(f"different captions of four: {different(samples_before):.0f} before, "
      f"fewer after: {different(samples_after) < different(samples_before) - 0.5}")

# %% [markdown]
# The sampled captions gain far more than the greedy ones, because the model becomes sure of what it
# says. It is rewarded for the captions that it samples, so it learns to sample what its greedy
# captions would have said. If you only look at the mean reward during training, you see this, too,
# and take it for knowledge. Look at greedy captions of held-out scenes, and at all that they say.
#
# ## Mend the reward
#
# The model does what it is paid for. So pay for what you want. A caption of two shapes can tell
# five facts: two shapes, the size of each, and a relation. Let a true caption be worth the share of
# these facts that it tells.
#
# **Exercise 11.6.** Write `worth(caption, things, relation)`: the truth, times the share of facts
# told. A shape counts 1, and so does a size. The relation counts `relation`, so that a caption
# which tells everything gets $(4 + \mathtt{relation}) / (4 + \mathtt{relation}) = 1$. More than two
# shapes, two sizes and one relation are not paid.
#
# <details><summary>Hint</summary>
#
# `read_caption(caption)` returns the phrases and the links between them, or None if the caption
# does not follow the grammar. `phrase.size` is None if no size is told, and a link is None if it is
# *and*.
#
# </details>

# %%
def worth(caption, things, relation):  # a string, a list of shapes, a number -> 0 to 1
    ...


# %%
check("11.6", worth)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def worth(caption, things, relation):
    phrases, links = read_caption(caption) or ([], [])
    sizes = sum(phrase.size is not None for phrase in phrases)
    facts = min(len(phrases), 2) + min(sizes, 2) + relation * any(links)
    return truth(caption, things) * facts / (4 + relation)


check("11.6", worth)

# %% [markdown]
# **Predict.** Let the relation count 1, as each of the other facts. A caption without it loses a
# fifth of its reward. Will the relations stay? And the sizes? Write your guess down, then run.

# %%
_, said_mended = learn(lambda text, some: worth(text, some, relation=1))
_, relations, sizes, _ = measures(said_mended[100])
print(f"relations: {relations:.1f}, sizes: {sizes:.1f}")

# %% mystnb={"figure": {"caption": "Learning from truth times the share of five facts, which count alike.", "name": "fig:reward-facts"}, "image": {"alt": "Left: the share of true captions rises from 0.6 to nearly 0.8. That of captions with a relation falls from 0.6 to 0 within twenty steps. That of phrases with a size stays at 1. Right: the number of words falls from about 10 to 9 and stays there."}} tags=["nbval-ignore-output"]
curves(said_mended)

# %% [markdown]
# The sizes stay. The relations go all the same. Is this a cheat again? No: we have set a price, and
# the model has done its sums. Let us do them, too.
#
# ## What must a fact pay?
#
# Take a caption that tells everything. It is worth 1 if it is true. Say less, and it is worth only
# 4/5 if it is true; but then it is true more often. How much more often? Ask the samples of the
# model at the start, since they are what it learns from: those that state a relation, as they are
# and without it. (Some of them leave out a size. We let this pass.)

# %%
def has_relation(text):
    _, links = read_caption(text) or ([], [])
    return any(links)


pairs = [pair for pair in zip(samples_before, four_each, strict=True) if has_relation(pair[0])]
p_told = np.mean([truth(text, some) for text, some in pairs])
p_untold = np.mean([truth(say_less(text), some) for text, some in pairs])
print("without the relation they are true more often:", p_untold > 1.3 * p_told)

# %% tags=["nbval-ignore-output"]
print(f"true: {p_told:.2f} with the relation, {p_untold:.2f} without")
print(f"expected reward: {p_told * 1:.2f} with the relation, {p_untold * 4 / 5:.2f} without")

# %% [markdown]
# So to leave the relation out is the better deal, and that could be known before the run.
#
# **Exercise 11.7.** Write `least_weight(told, untold)`. `told` is the share of captions that are
# true with their relation, `untold` the share of the same captions that are true without it. All of
# them name two shapes and both sizes. Return the weight `relation` at which both are worth the
# same. Above it, telling pays.
#
# <details><summary>Hint</summary>
#
# With the weight $w$, a true caption without the relation is worth $4 / (4 + w)$. Set the two
# expected rewards equal, and solve for $w$.
#
# </details>

# %%
def least_weight(told, untold):  # two shares -> a number
    ...


# %%
check("11.7", least_weight)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def least_weight(told, untold):
    return 4 * (untold / told - 1)


check("11.7", least_weight)

# %%
least = least_weight(p_told, p_untold)
print("more than 1:", least > 1, "and less than 4:", least < 4)

# %% tags=["nbval-ignore-output"]
print(f"the least weight: {least:.1f}")

# %% [markdown]
# **Predict** once more. Let the relation count 4, as much as all other facts together. What will
# the three curves do? Will more captions be true than at the start?

# %%
told_all, said_all = learn(lambda text, some: worth(text, some, relation=4))
_, relations, sizes, _ = measures(said_all[100])
print(f"relations stay: {relations > 0.9}, sizes stay: {sizes > 0.8}")

# %% mystnb={"figure": {"caption": "Learning from truth times the share of facts told, where the relation counts as much as all others.", "name": "fig:reward-weighed"}, "image": {"alt": "Left: the share of true captions stays a little below 0.6. That of captions with a relation rises from 0.6 to 1 within ten steps, and that of phrases with a size stays at 1. Right: the number of words rises from about 10 to 10.5 and falls a little."}} tags=["nbval-ignore-output"]
curves(said_all)

# %% [markdown]
# Which of the four models is best? That depends on what a caption is for. Here is the share of
# captions that are true, and the share of those that are true *and* tell all five facts.

# %%
def full(texts):
    """The share of captions that tell all five facts, and are true."""
    pairs = zip(texts, things, strict=True)
    return np.mean([worth(text, some, relation=1) > 0.99 for text, some in pairs])


ends = {"start": before, "truth": after, "five facts": said_mended[100], "weighed": said_all[100]}
gain = full(ends["weighed"]) - full(before)
print("more captions tell everything, and are true:", gain > 0.1)

# %% tags=["nbval-ignore-output"]
print("reward       true  relation  size  words  all five and true")
for name, texts in ends.items():
    row = "{:5.2f} {:9.2f} {:5.2f} {:6.1f}".format(*measures(texts))
    print(f"{name:11} {row} {full(texts):18.2f}")

# %% [markdown]
# The last model says *more* than the one that it started from, and errs about as often. The
# captions that tell everything and are true are nearly twice as many. Judged by the share of true
# captions, it would be the worst of the three that have learned. A reward, once it is learned from,
# is no good measure of what has been learned. Keep another.
#
# Is the last model honest, then? It must state a relation, but it may choose which. Often two are
# true: one shape is left of the other, and above it.

# %% tags=["nbval-ignore-output"]
from collections import Counter


def relations_in(texts):
    return Counter(link for text in texts for link in (read_caption(text) or ([], []))[1] if link)


for name in ("start", "weighed"):
    print(f"{name:8}", dict(relations_in(ends[name])))

# %% [markdown]
# At the start *above* and *below* were half of the relations. In our run they are now four of five.
# Nobody asked for that, either. Are these relations more often true, or were they only the first
# that paid? You can find out: ask for each relation how many captions of the start are true.
#
# Is this a cheat? It depends on what you wanted. The reward cannot know what you have not put into
# it.
#
# ## Going on
#
# Each of these needs a few changed lines of `learn`. Write your guess down before you run it.
#
# - **Another baseline.** Subtract the reward of the greedy caption of the picture: *self-critical*
#   training. It costs one more caption of each picture. Which pictures teach something now?
# - **Stay near the start.** `Sampler(decoder, start.decoder)` also gives `rollout.kl`, the
#   divergence from the start at each word, with its gradient. Add `0.1 * rollout.kl.sum()` to the
#   loss before it is divided, and learn from `truth`. Do the relations stay? What does it cost?
# - **A metric as the reward.** `Cider` in `labkit.training.rewards` scores a caption against the
#   references of its scene: draw the scenes with five captions, and keep them. In lab 7 CIDEr
#   hardly noticed when *left* became *right*. What will the model do with that?
# - **Pay for relations only.** Let a true caption be worth 1 if it states a relation, else 0. What
#   goes now?
#
# `labkit train` does all this with stores of any size, in the place of references:
#
# ```
# labkit train STORE --out RUN --from scenes-soft --reward truth
# ```
#
# ## What others found
#
# - Williams, *Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
#   Learning* (1992). The estimator, and its name: REINFORCE.
# - Ranzato et al., *Sequence Level Training with Recurrent Neural Networks* (2016). They learn from
#   BLEU and ROUGE what to say, by this estimator.
# - Rennie et al., *Self-Critical Sequence Training for Image Captioning* (2017). The baseline is
#   the greedy caption, the reward is CIDEr. Many captioners after it were trained this way.
# - Kool, van Hoof and Welling, *Buy 4 REINFORCE Samples, Get a Baseline for Free!* (2019). The
#   baseline of exercise 11.2.
#
# ## Summary
#
# - What teaches where to look also teaches what to say: the choice is the word, and the reward is
#   what the whole caption is worth. No gradient passes through the reward, so it may be any rule.
# - The other captions of the same picture are a baseline. It costs nothing, and does not know the
#   caption that it is subtracted for.
# - A model that is paid for truth says less. Whatever can be false and need not be said goes first,
#   within a few steps.
# - So measure what a caption tells beside whether it is true, and ask what the gain would be
#   without any learning.
# - A fact stays if it pays more than it risks. Both can be estimated before the run.
#
# **To think about.** People who describe a picture are not paid for each true fact, either. Why do
# they tell more than what they cannot get wrong?
#
# **Next.** This was the last lab. [What came out](../book/results.md) compares soft with hard
# attention on photographs.
