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
# # Lab 7: telling and scoring
#
# **What you will learn.** Three ways to get a caption out of a model, what BLEU counts, what METEOR
# and CIDEr add, why scores that are taken while a teacher helps say little, and how to judge a judge.
#
# **Time.** About 75 minutes, of which the machine takes less than one.
#
# **Before you start.** Lab 0. It helps to have done Lab 4.
#
# **The question.** Two captioners tell the same picture, and not alike. Which of them is better, and
# who decides?

# %%
import torch

import labkit
from labkit.checks import check
from labkit.metrics import start_meteor

torch.set_num_threads(1)  # for the same numbers on every machine
torch.set_grad_enabled(False)  # nothing is trained in this lab
start_meteor()  # a Java program reads its tables while you read on

# %% [markdown]
# ## A model and a hundred pictures
#
# We take the shipped model, and 100 drawn scenes that it has never seen. A scene is a good judge,
# because every fact of it is known: `is_true` says whether all that a caption tells is so.

# %%
from labkit.photos import to_input
from labkit.preparing import SCENE_ENCODER

captioner = labkit.load("scenes-soft")
decoder, vocabulary = captioner.decoder, captioner.vocabulary
scenes = labkit.make_scenes(100, seed=7, split="test")
encoder = labkit.load_encoder(SCENE_ENCODER, bf16=False)
pixels = [torch.from_numpy(to_input(s.image, 112)) for s in scenes]
a = encoder(torch.stack(pixels))  # (100, L, D)
print(tuple(a.shape))

# %%
import numpy as np

from labkit.scenes import is_true, things_of


def share_true(texts):
    """Of 100 captions, one a scene, the share that is true."""
    pairs = zip(texts, scenes, strict=True)
    return np.mean([is_true(t, things_of(s.facts)) for t, s in pairs])

# %% [markdown]
# ## One word
#
# The decoder does not tell captions. It answers one question: given a picture and the words so far,
# how likely is each next word? `look_at` prepares pictures and gives the first state. `step` takes
# the last word and the state, and gives $\log p$ of each next word, and the new state.
#
# Both work on $N$ pictures with $K$ captions each. Here both are 1.

# %%
from labkit.vocabulary import BOS, EOS

seen, state = decoder.look_at(a[:1])
log_p, state, glance = decoder.step(torch.tensor([[BOS]]), seen, state)
print(tuple(log_p.shape), "sums to", f"{log_p.exp().sum():.3f}")

# %%
likely = log_p[0, 0].topk(2).indices.tolist()
print("the likeliest first words:", [vocabulary.words[i] for i in likely])

# %% [markdown]
# To tell a caption, someone has to choose. Then the chosen word goes in, and the next question is
# asked. How to choose is not part of the model, and it matters a good deal.
#
# ## Greedy: the likeliest word each time
#
# **Exercise 7.1.** Write `tell_greedily`. It takes the decoder and one picture's features, (1, L, D),
# and gives the numbers of the words, without `<bos>` and `<eos>`. It stops at `<eos>`, and after 20
# words in any case.
#
# <details><summary>Hint</summary>
#
# `int(log_p.argmax())` is the number of the likeliest word. Put it into `torch.tensor([[word]])` for
# the next step. Do not forget to hand the new state on.
#
# </details>

# %%
def tell_greedily(decoder, a):
    """Give the numbers of the words of one caption."""
    ...

# %%
check("7.1", tell_greedily)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def tell_greedily(decoder, a):
    (seen, state), told = decoder.look_at(a), [BOS]
    while told[-1] != EOS and len(told) <= 20:
        last = torch.tensor([told[-1:]])
        log_p, state, _ = decoder.step(last, seen, state)
        told.append(int(log_p.argmax()))
    return [word for word in told if word not in (BOS, EOS)]

check("7.1", tell_greedily)

# %% [markdown]
# `labkit.greedy` does it for many pictures at once. It also never tells `<pad>`, `<bos>` or `<unk>`.

# %%
def texts_of(captions):
    return [vocabulary.decode(caption.words) for caption in captions]


greedy = texts_of(labkit.greedy(decoder, a))
for text in greedy[:3]:
    print(text)

# %% [markdown]
# ## Sampling: by lot
#
# Greedy always says the same. A person does not. `sample` draws each word by lot. The *temperature*
# bends the odds: below 1 the likely words become still likelier, above 1 all become more alike.

# %% tags=["nbval-ignore-output"]
dice = torch.Generator().manual_seed(0)
for temperature in (0.2, 1.0, 2.0):
    for caption in labkit.sample(decoder, a[:2], 20, temperature, dice):
        print(temperature, vocabulary.decode(caption.words))

# %%
true = {}
for temperature in (0.2, 1.0, 2.0):
    told = [texts_of(labkit.sample(decoder, a, 20, temperature, dice))
            for _ in range(3)]
    true[temperature] = np.mean([share_true(texts) for texts in told])
print("hotter is less true:", true[0.2] > true[1.0] > true[2.0])

# %% [markdown]
# Sampling shows what the model believes. For one good caption it is no good way. One unlucky word,
# and all that follows is told to fit it.
#
# ## Beam search: several beginnings at once
#
# Greedy has a fault, too. The likeliest first word may lead nowhere. Look at this small language.
# Each caption has two words, and this table is the whole model.

# %%
table = {
    "": {"a": 0.6, "the": 0.4},
    "a": {"dog": 0.35, "cat": 0.35, "bird": 0.3},
    "the": {"sun": 0.9, "moon": 0.1},
}

# %% [markdown]
# A beam search of width $k$ keeps the $k$ likeliest beginnings at each step, continues all of them,
# and again keeps the $k$ likeliest of all results.
#
# **Exercise 7.2.** How likely is the caption that greedy finds, and how likely is the one that a
# beam of width 2 finds? Give both, in this order.

# %%
found_by_greedy = ...
found_by_beam = ...

# %%
check("7.2", [found_by_greedy, found_by_beam])

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
found_by_greedy = 0.6 * 0.35  # a dog (or a cat)
found_by_beam = 0.4 * 0.9  # the sun
check("7.2", [found_by_greedy, found_by_beam])

# %% [markdown]
# Now the model. A caption's score here is $\log p$, the sum over its words and `<eos>`.

# %%
ways = {"greedy": labkit.greedy(decoder, a),
        "beam of 1": labkit.beam_search(decoder, a, 1, length_power=0),
        "beam of 5": labkit.beam_search(decoder, a, 5, length_power=0)}
print("a beam of 1 is greedy:",
      texts_of(ways["beam of 1"]) == texts_of(ways["greedy"]))

# %% tags=["nbval-ignore-output"]
for name, captions in ways.items():
    score = np.mean([caption.score for caption in captions])
    length = np.mean([len(caption.words) for caption in captions])
    print(f"{name:10} log p {score:.2f}, {length:.1f} words, "
          f"true {share_true(texts_of(captions)):.2f}")

# %%
def mean_of(number, name):
    return np.mean([number(caption) for caption in ways[name]])

names = ("greedy", "beam of 5")
score = [mean_of(lambda c: c.score, name) for name in names]
length = [mean_of(lambda c: len(c.words), name) for name in names]

# %%
print("the beam finds likelier captions:", score[1] > score[0])
print("and they are shorter:            ", length[1] < length[0])
print("and more of them are true:       ",
      share_true(texts_of(ways["beam of 5"])) > share_true(greedy) + 0.1)

# %% [markdown]
# Why shorter? Each word multiplies the probability by something below 1. So the likeliest caption is
# a short one. And why truer? Perhaps because it says less. Count the captions that join two things
# with *and*, and so do not tell how they lie to each other.

# %%
for name in names:
    joined = [" and " in text for text in texts_of(ways[name])]
    print(f"{name:10} {np.mean(joined):.1f} join with 'and'")

# %% [markdown]
# Who tells no relation cannot get it wrong. Ask that before you praise a search.
#
# `labkit` therefore divides $\log p$ by a power of the length, 0.7 unless you say otherwise. Nothing
# proves 0.7. It is a choice, and belongs beside every score.

# %%
told = texts_of(labkit.beam_search(decoder, a, 5))
words = sum(len(text.split()) for text in told) / len(told)
print("longer than without:", words > length[1])

# %% [markdown]
# <details><summary>Quiz: the beam of 5 finds likelier captions than greedy. Must a beam of 100 give
# better ones still?</summary>
#
# Likelier ones, nearly always. Better ones only as far as the model is right about what is likely.
# Try 10 and 50 on these scenes.
#
# </details>
#
# ## BLEU, by hand
#
# Most pictures have no list of facts. What there is are captions that people wrote, the *references*.
# So one counts how much of the told caption stands in them.
#
# A run of $n$ words is called an n-gram. The *precision* $p_n$ is the share of the told n-grams that
# stand in a reference. But *a a a a a* would have a precision of 1 as soon as one reference has an *a*.
# So an n-gram counts at most as often as it stands in the one reference that has most of it. This is
# called clipping.
#
# **Exercise 7.3.** Write `matches(told, references, n)`. It gives two counts: the told n-grams that
# are found, clipped, and all told n-grams. A caption is a list of words.
#
# <details><summary>Hint</summary>
#
# Start with `runs(told, n)`, below. For each run, look up its count in each reference and take the
# largest. A `Counter` gives 0 for what it has not met.
#
# </details>

# %%
from collections import Counter


def runs(words, n):
    """Count the runs of n words."""
    starts = range(len(words) - n + 1)
    return Counter(tuple(words[i:i + n]) for i in starts)

# %%
def matches(told, references, n):
    """Give (how many are found, how many there are)."""
    ...

# %%
check("7.3", matches)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def matches(told, references, n):
    mine, theirs = runs(told, n), [runs(words, n) for words in references]
    found = sum(min(count, max(counts[run] for counts in theirs))
                for run, count in mine.items())
    return found, sum(mine.values())

check("7.3", matches)

# %%
told, *both = (text.split() for text in (
    "a a a red circle", "a red circle and a star", "a circle"))
for n in (1, 2):
    print(f"runs of {n}: found and all are", matches(told, both, n))

# %% [markdown]
# One more trick has to be stopped. Who says only *a* has a precision of 1. So captions that are too
# short are punished. With $c$ words in all told captions, and $r$ words in the references that are
# nearest in length (the shorter one, if two are equally near):
#
# $$\mathrm{BLEU} = \min\left(1, e^{1 - r/c}\right) \left(p_1 \, p_2 \, p_3 \, p_4\right)^{1/4}$$
#
# All counts are summed over all captions *first*. $p_2$ is the number of found pairs in all captions,
# divided by the number of pairs in all captions. So BLEU belongs to a set of captions.
#
# **Exercise 7.4.** Write `bleu(told, references)`. `told` is a list of captions, `references` a list
# with a list of captions for each of them. A caption is a list of words.

# %%
def bleu(told, references):
    """Give BLEU-4 of a set of captions."""
    ...

# %%
check("7.4", bleu)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def bleu(told, references):
    counts, c, r = np.zeros((4, 2)), 0, 0
    for words, some in zip(told, references, strict=True):
        counts += [matches(words, some, n) for n in (1, 2, 3, 4)]
        near = min((abs(len(one) - len(words)), len(one)) for one in some)
        c, r = c + len(words), r + near[1]
    shares = counts[:, 0] / counts[:, 1]
    return min(1, np.exp(1 - r / c)) * shares.prod() ** (1 / 4)

check("7.4", bleu)

# %% [markdown]
# Is it the BLEU that everybody uses? `labkit.score` calls the code of the COCO challenge.

# %%
references = {s.id: list(s.captions) for s in scenes}
told = dict(zip(references, greedy, strict=True))
scores = labkit.score(references, told)

# %%
split = [[one.split() for one in some] for some in references.values()]
mine = bleu([text.split() for text in greedy], split)
print("the same BLEU-4:", abs(mine - scores.bleu4) < 1e-4)

# %% [markdown]
# ## METEOR, by example
#
# BLEU knows no synonyms. METEOR lays the two captions beside each other and links words: the same
# word, the same stem, a synonym. Then it looks at how much was linked, and in what order.
#
# Here are ten captions of one photograph that you have to imagine. A dog runs over a beach with a
# ball in its mouth. `imagined` holds four references, `people` the ten captions. All of it is made up for
# this lab, also the numbers beside the captions: what people think of each, from 1 to 4.

# %%
imagined = ["a brown dog runs along the beach with a ball",
            "a dog is running on the sand with a ball in its mouth",
            "a wet dog carries a ball along the shore",
            "a brown dog on a beach"]
people = {"a dog carrying a ball runs across the sand": 3.9,
          "a brown dog runs along the beach": 3.7,
          "a puppy sprints along the seashore": 3.3,
          "a dog on the beach": 3.2}

# %%
people |= {"a brown dog runs along the beach with a child": 2.3,
           "an animal outside": 2.1,
           "a white dog sleeps on the grass": 1.8,
           "a brown cat runs along the beach with a ball": 1.6,
           "a ball along the beach with a brown dog runs a": 1.4,
           "a man sits on a bench": 1.0}

# %%
from labkit.metrics import score_each

each = score_each({text: imagined for text in people},
                  {text: text for text in people})
print("people BLEU-1 BLEU-4 METEOR")
for k, (text, value) in enumerate(people.items()):
    row = [each[name][k] for name in ("bleu1", "bleu4", "meteor")]
    print(f"{value:6}", *(f"{x:6.2f}" for x in row), text)

# %% [markdown]
# Look at three lines.
#
# - *a puppy sprints along the seashore* is a good caption. BLEU-4 gives nothing, since no four words
#   of it stand in a reference. METEOR gives 0.16: it links *seashore*, but not *puppy* or *sprints*. The
#   white dog that sleeps on the grass, which is false, gets as much.
# - *a brown cat runs …* is wrong in the one word that matters. All three columns put it far above the
#   caption that people like best, in the first line.
# - *a ball along the beach with …* is no sentence. BLEU-1 does not notice, since it looks at single
#   words. METEOR takes something off for the order, and still puts it near the top.
#
# <details><summary>Quiz: why is the BLEU-4 of a single caption so often 0?</summary>
#
# It multiplies four precisions. If no run of four words is found, one of them is 0, and so is the
# product. Over a set of captions that hardly happens, because the counts are summed first.
#
# </details>
#
# ## CIDEr, by example
#
# To BLEU each word is worth the same. But *a* stands in every caption. It says nothing about *this*
# picture. CIDEr weighs an n-gram by the logarithm of (number of pictures) over (number of pictures
# whose references have it).

# %%
def weight(word):
    has = [any(word in one for one in some) for some in split]
    return np.log(len(has) / sum(has))


for word in ("a", "and", "large", "circle", "yellow"):
    print(f"{word:7} {weight(word):.2f}")

# %% [markdown]
# A caption becomes a list of such weights, and two captions are alike if their lists point the same
# way. So CIDEr rewards *yellow* and does not care about *a*. It depends on the set of pictures, and
# for one picture alone it says nothing. That is why it is missing from the table of the dog.
#
# ## What do the metrics not see?
#
# Scenes can test the metrics themselves. Take one human caption of each scene and see how the other
# four score it. Then spoil it, and look again. We use the scenes whose first caption tells where one
# thing lies, and spoil it in three ways:
#
# - *turned*: left becomes right, above becomes below. Nearly all of these are false.
# - *recoloured*: the first colour becomes one that the scene does not have. All are false.
# - *brief*: only one shape is named, and rightly. All are true.

# %%
TURN = {"left": "right", "right": "left",
        "above": "below", "below": "above"}


def turned(caption, things):
    return " ".join(TURN.get(word, word) for word in caption.split())


def brief(caption, things):
    return f"a {things[0].colour} {things[0].shape}"

# %%
from labkit.scenes import COLOURS


def recoloured(caption, things):
    new = next(c for c in COLOURS if c not in {t.colour for t in things})
    old = next(word for word in caption.split() if word in COLOURS)
    return caption.replace(old, new, 1)

# %%
chosen = [s for s in scenes if " and " not in s.captions[0]]
others = {s.id: list(s.captions[1:]) for s in chosen}
kinds = {"true": lambda caption, things: caption, "turned": turned,
         "recoloured": recoloured, "brief": brief}

# %%
told = {}
for kind, change in kinds.items():
    told[kind] = {s.id: change(s.captions[0], things_of(s.facts))
                  for s in chosen}
print(*(some[chosen[0].id] for some in told.values()), sep="\n")

# %%
scores = {kind: labkit.score(others, some) for kind, some in told.items()}
truth = {}
for kind, some in told.items():
    true = [is_true(some[s.id], things_of(s.facts)) for s in chosen]
    truth[kind] = np.mean(true)

# %%
print("kind         true  BLEU-4  METEOR  CIDEr")
for kind, s in scores.items():
    row = f"{s.bleu4:7.2f} {s.meteor:7.2f} {s.cider:6.2f}"
    print(f"{kind:11} {truth[kind]:5.2f} {row}")

# %%
import matplotlib.pyplot as plt

spoiled = ["turned", "recoloured", "brief"]
kept = {}
for name in ("bleu4", "meteor", "cider"):
    full = getattr(scores["true"], name)
    kept[name] = [getattr(scores[kind], name) / full for kind in spoiled]
kept["share that is true"] = [truth[kind] for kind in spoiled]

# %% mystnb={"figure": {"caption": "Scores of spoiled captions, as shares of what the true captions score. The last bars are the share of captions that are true.", "name": "fig:spoiled"}, "image": {"alt": "Grouped bars for turned, recoloured and brief captions. Turned captions keep nine tenths of BLEU-4, METEOR and CIDEr, though nearly none is true. Recoloured ones keep more than half, and none is true. Brief ones lose most, and all are true."}} tags=["nbval-ignore-output"]
figure, panel = plt.subplots(figsize=(7, 3.2), layout="constrained")
for k, (name, values) in enumerate(kept.items()):
    panel.bar(np.arange(3) + 0.2 * k - 0.3, values, 0.2, label=name)
panel.set(xticks=range(3), xticklabels=spoiled, ylabel="share")
panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
for name in ("bleu4", "meteor", "cider"):
    print(f"{name:6} of turned captions is above four fifths:",
          kept[name][0] > 0.8)

# %% [markdown]
# None of the three sees that left is not right. A model that tells places by lot would lose almost
# nothing. This is why the book also asks whether captions are *true*, where that can be known.
#
# ## A teacher's help
#
# In training, the decoder is given the person's words so far, and asked for the next one. One can
# count how often its likeliest word is the person's. It costs nothing, since training computes it
# anyway. Is it a good score?

# %%
from labkit.decoder import pad_captions

captions = pad_captions([vocabulary.encode(s.captions[0]) for s in scenes])


def share_of_words(a):
    """Teacher forced: how often is the likeliest word the person's?"""
    told = decoder(a, captions)
    return (told.log_p.argmax(-1) == told.targets).double().mean().item()

# %% [markdown]
# Now a test that every score should pass. Show the model the *wrong pictures*: each scene gets the
# features of the scene before it. A good score should fall to nothing.

# %%
wrong = a.roll(1, 0)
of_right = share_true(texts_of(labkit.greedy(decoder, a)))
of_wrong = share_true(texts_of(labkit.greedy(decoder, wrong)))
print(f"words, teacher forced: {share_of_words(a):.1f}, "
      f"with wrong pictures {share_of_words(wrong):.1f}")
print("told by itself, above a half of the captions are true:", of_right > 0.5)
print("with wrong pictures, nearly none is:", of_wrong < 0.05)

# %% [markdown]
# With wrong pictures the model still gets half of the words right. After *a small red* comes a shape,
# after *left* comes *of*: the person's words lead it by the hand. So more than half of this
# score comes without the picture.
#
# It misleads in the other direction, too. With the right pictures it is far from 1. But nobody could
# know whether the person will say *there is a* or *a*, or which two of four things they will speak
# of. Such misses are no mistakes.
#
# What if one strings the likeliest words together, as if they were a caption?

# %%
def forced_text(scene, features):
    ids = torch.tensor([vocabulary.encode(scene.captions[0])])
    log_p = decoder(features[None], ids).log_p
    return vocabulary.decode(log_p.argmax(-1).tolist())


forced = [forced_text(s, x) for s, x in zip(scenes, a, strict=True)]
print("person:", scenes[2].captions[0])
print("forced:", forced[2])

# %%
print("less than a tenth of these are true:", share_true(forced) < 0.1)
print("yet BLEU-4 gives them more than half:",
      bleu([text.split() for text in forced], split) > 0.5)

# %% [markdown]
# Each word was the answer to a question about the *person's* caption, not about the words before it
# in this row. So the row is no caption at all, and its BLEU is not the BLEU of what the model tells.
# `labkit` never scores such rows. Its scores are of captions that the model told by itself.
#
# ## Judging the judge
#
# A metric stands in for people. Does it put captions into the order in which people put them?
#
# Take two captions. If people like the first better and the metric does, too, the pair agrees. If
# not, it disagrees. *Kendall's tau* is the number of pairs that agree, minus the number of pairs that
# disagree, divided by the number of all pairs. It is 1 for the same order, $-1$ for the reverse, and
# near 0 if there is no connection.
#
# **Exercise 7.5.** Write `tau(people, metric)` for two lists of numbers without ties.

# %%
def tau(people, metric):
    """Give Kendall's tau."""
    ...

# %%
check("7.5", tau)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
from itertools import combinations


def tau(people, metric):
    agree = [(people[i] - people[j]) * (metric[i] - metric[j]) > 0
             for i, j in combinations(range(len(people)), 2)]
    return (sum(agree) - (len(agree) - sum(agree))) / len(agree)

check("7.5", tau)

# %% [markdown]
# Real numbers have ties: two captions with the same score. `scipy` has a variant for that, tau-b. We
# ask it about the ten captions of the dog.

# %%
from scipy.stats import kendalltau

values = list(people.values())
for name in ("bleu1", "bleu4", "meteor"):
    print(f"{name:8} {kendalltau(values, each[name]).statistic:5.2f}")

# %% [markdown]
# All are near 0, and no wonder: the list was made to hold captions that metrics get wrong. It says
# nothing about metrics. Even real judgements say little if there are only ten. How little? Let us
# judge by lot, many times.

# %%
dice = np.random.default_rng(0)
by_lot = [kendalltau(values, dice.permutation(10)).statistic
          for _ in range(1000)]
share = np.mean(np.abs(by_lot) > 0.3)
print("tau is beyond 0.3 more than once in ten times:", share > 0.1)

# %% [markdown]
# With ten captions a tau of 0.3 is no news. Flickr8k comes with many thousand real judgements.
# `labkit.people` computes this on them; the chapter on evaluation says what comes out and how.
#
# <details><summary>Quiz: a metric has a tau of 0.5 with people. In how many of 100 pairs of captions
# does it agree with them?</summary>
#
# In 75. The share that agrees minus the share that does not is 0.5, and the two sum to 1.
#
# </details>
#
# ## Summary
#
# - The model gives probabilities of words. Greedy, sampling and beam search make captions of them,
#   and the choice changes length, score and truth.
# - BLEU counts n-grams, clipped, and punishes captions that are too short. It belongs to a set.
# - METEOR knows synonyms, CIDEr knows which words are rare. None of them knows what is true.
# - More than half of a score with a teacher's help comes without the picture. Score what the model tells by itself.
# - Whether a metric is good is itself a measurement: its agreement with people.
#
# **To think on.** You may add one number to the scores of a captioner of *photographs*, to catch
# captions such as the turned ones. You have no list of facts. What would you measure, and with what
# data?
