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
# # Lab 7: generating and scoring captions
#
# **What you will learn.** Three ways to get a caption out of a model, what BLEU counts, what METEOR
# and CIDEr add, why scores under teacher forcing say little, and how to judge a judge.
#
# **Time.** About 75 minutes, of which your machine needs less than one.
#
# **Before you start.** Lab 0. It helps to have done Lab 4.
#
# **The question.** Two captioners describe the same picture, each in its own way. Which of them is
# better, and who decides?

# %%
import torch

import labkit
from labkit.checks import check
from labkit.evaluation.meteor import start_meteor

torch.set_num_threads(1)  # for the same numbers on every machine
torch.set_grad_enabled(False)  # nothing is trained in this lab
start_meteor()  # a Java program, which loads its tables while you read on

# %% [markdown]
# ## A model and a hundred pictures
#
# We take the pretrained model and 100 drawn scenes that it has never seen. A scene is a good judge,
# because we know every fact about it: `is_true` checks whether everything that a caption says is
# true of the scene.

# %%
from labkit.data.photos import to_input
from labkit.features.prepare import SCENE_ENCODER

captioner = labkit.Captioner.from_pretrained("scenes-soft")
decoder, vocabulary = captioner.decoder, captioner.vocabulary
scenes = labkit.make_scenes(100, seed=7, split="test")
encoder = labkit.load_encoder(SCENE_ENCODER, bf16=False)
pixels = [torch.from_numpy(to_input(s.image, 112)) for s in scenes]
a = encoder(torch.stack(pixels))  # (100, L, D)
print(tuple(a.shape))

# %%
import numpy as np

from labkit.data.scenes import is_true, things_of


def share_true(texts):
    """Of 100 captions, one per scene, the share that is true."""
    pairs = zip(texts, scenes, strict=True)
    return np.mean([is_true(t, things_of(s.facts)) for t, s in pairs])

# %% [markdown]
# ## One word
#
# The decoder does not generate whole captions. It answers one question: given a picture and the
# words so far, how likely is each next word? `init_state` prepares the pictures and returns the
# first state. `step` takes the last word and the state, and returns $\log p$ of each next word and
# the new state.
#
# Both work on $N$ pictures with $K$ captions each. Here $N$ and $K$ are 1.

# %%
from labkit.data.vocabulary import BOS, EOS

image, state = decoder.init_state(a[:1])
log_p, state, attention = decoder.step(torch.tensor([[BOS]]), image, state)
print(tuple(log_p.shape), "sums to", f"{log_p.exp().sum():.3f}")

# %%
likely = log_p[0, 0].topk(2).indices.tolist()
print("the most likely first words:", [vocabulary.words[i] for i in likely])

# %% [markdown]
# To generate a caption, we have to choose one of these words. The chosen word goes in, and the
# model answers the next question. How to choose is not part of the model, and it matters a good
# deal.
#
# ## Greedy: the most likely word each time
#
# **Exercise 7.1.** Write `greedy_caption`. It takes the decoder and the features of one picture,
# (1, L, D), and returns the ids of the words, without `<bos>` and `<eos>`. It stops at `<eos>`, and
# after 20 words in any case.
#
# <details><summary>Hint</summary>
#
# `int(log_p.argmax())` is the id of the most likely word. Pass it on as `torch.tensor([[word]])` in
# the next step. Do not forget to pass on the new state, too.
#
# </details>

# %%
def greedy_caption(decoder, a):
    """Return the word ids of one caption."""
    ...

# %%
check("7.1", greedy_caption)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def greedy_caption(decoder, a):
    (image, state), words = decoder.init_state(a), [BOS]
    while words[-1] != EOS and len(words) <= 20:
        last = torch.tensor([words[-1:]])
        log_p, state, _ = decoder.step(last, image, state)
        words.append(int(log_p.argmax()))
    return [word for word in words if word not in (BOS, EOS)]

check("7.1", greedy_caption)

# %% [markdown]
# `labkit.greedy` does this for many pictures at once. It also never generates `<pad>`, `<bos>` or
# `<unk>`.

# %%
def texts_of(captions):
    return [vocabulary.decode(caption.words) for caption in captions]


greedy = texts_of(labkit.greedy(decoder, a))
for text in greedy[:3]:
    print(text)

# %% [markdown]
# ## Sampling: a random word each time
#
# Greedy decoding always gives the same caption. A person does not. `sample` draws each word at
# random, with the model's probabilities. The *temperature* changes these probabilities: below 1 the
# likely words become even more likely, above 1 all words become more alike.

# %% tags=["nbval-ignore-output"]
rng = torch.Generator().manual_seed(0)
for temperature in (0.2, 1.0, 2.0):
    for caption in labkit.sample(decoder, a[:2], 20, temperature, rng):
        print(temperature, vocabulary.decode(caption.words))

# %%
true = {}
for temperature in (0.2, 1.0, 2.0):
    sampled = [texts_of(labkit.sample(decoder, a, 20, temperature, rng))
               for _ in range(3)]
    true[temperature] = np.mean([share_true(texts) for texts in sampled])
print("the higher the temperature, the fewer are true:",
      true[0.2] > true[1.0] > true[2.0])

# %% [markdown]
# Sampling shows what the model believes. It is not a good way to get one good caption: after a
# single unlucky word, everything that follows is chosen to fit that word.
#
# ## Beam search: several beginnings at once
#
# Greedy decoding has a weakness, too. The most likely first word may lead nowhere. Look at this
# small language. Each caption has two words, and this table is the whole model.

# %%
table = {
    "": {"a": 0.6, "the": 0.4},
    "a": {"dog": 0.35, "cat": 0.35, "bird": 0.3},
    "the": {"sun": 0.9, "moon": 0.1},
}

# %% [markdown]
# A beam search with $k$ beams keeps the $k$ most likely beginnings at each step. It extends each of
# them by every possible next word, and of all the results keeps the $k$ most likely again.
#
# **Exercise 7.2.** How likely is the caption that greedy decoding finds, and how likely is the one
# that a beam search with 2 beams finds? Give both, in this order.

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
# Now the model. The score of a caption is $\log p$ here, summed over its words and `<eos>`.

# %%
decoded = {"greedy": labkit.greedy(decoder, a),
           "1 beam": labkit.beam_search(decoder, a, 1, length_penalty=0),
           "5 beams": labkit.beam_search(decoder, a, 5, length_penalty=0)}
print("1 beam is the same as greedy:",
      texts_of(decoded["1 beam"]) == texts_of(decoded["greedy"]))

# %% tags=["nbval-ignore-output"]
for name, captions in decoded.items():
    score = np.mean([caption.score for caption in captions])
    length = np.mean([len(caption.words) for caption in captions])
    print(f"{name:10} log p {score:.2f}, {length:.1f} words, "
          f"true {share_true(texts_of(captions)):.2f}")

# %%
def mean_of(number, name):
    return np.mean([number(caption) for caption in decoded[name]])

names = ("greedy", "5 beams")
score = [mean_of(lambda c: c.score, name) for name in names]
length = [mean_of(lambda c: len(c.words), name) for name in names]

# %%
print("5 beams find more likely captions:", score[1] > score[0])
print("these are shorter:                ", length[1] < length[0])
print("and more of them are true:        ",
      share_true(texts_of(decoded["5 beams"])) > share_true(greedy) + 0.1)

# %% [markdown]
# Why shorter? Each word multiplies the probability by something below 1. So the most likely caption
# tends to be short. And why are more of them true? Perhaps because they say less. Count the
# captions that join two things with *and*, and so do not say where one lies relative to the other.

# %%
for name in names:
    joined = [" and " in text for text in texts_of(decoded[name])]
    print(f"{name:10} {np.mean(joined):.1f} join with 'and'")

# %% [markdown]
# A caption that states no relation cannot get it wrong. Check for that before you praise a search.
#
# For this reason `labkit` divides $\log p$ by a power of the length, 0.7 unless you say otherwise.
# Nothing proves that 0.7 is right. It is a choice, and should be reported with every score.

# %%
divided = texts_of(labkit.beam_search(decoder, a, 5))
words = sum(len(text.split()) for text in divided) / len(divided)
print("longer than without the division:", words > length[1])

# %% [markdown]
# <details><summary>Quiz: 5 beams find more likely captions than greedy decoding. Will 100 beams
# give even better ones?</summary>
#
# More likely ones, nearly always. Better ones, only as far as the model is right about what is
# likely. Try 10 and 50 on these scenes.
#
# </details>
#
# ## BLEU, by hand
#
# Most pictures do not come with a list of facts. What they have are captions that people wrote, the
# *references*. So we count how much of the generated caption, the *hypothesis*, occurs in them.
#
# A run of $n$ words is called an n-gram. The *precision* $p_n$ is the share of the n-grams of the
# hypothesis that occur in a reference. But *a a a a a* would have a precision of 1 as soon as one
# reference contains an *a*. So an n-gram counts at most as often as it occurs in the one reference
# that has it most often. This is called clipping.
#
# **Exercise 7.3.** Write `matches(hypothesis, references, n)`. It returns two counts: how many
# n-grams of the hypothesis are found in the references, clipped, and how many n-grams it has in
# all. A caption is a list of words.
#
# <details><summary>Hint</summary>
#
# Start with `ngrams(hypothesis, n)`, defined below. For each n-gram, look up its count in each
# reference and take the largest. A `Counter` gives 0 for anything that it has not counted.
#
# </details>

# %%
from collections import Counter


def ngrams(words, n):
    """Count the runs of n words."""
    starts = range(len(words) - n + 1)
    return Counter(tuple(words[i:i + n]) for i in starts)

# %%
def matches(hypothesis, references, n):
    """Return (how many n-grams are found, how many there are)."""
    ...

# %%
check("7.3", matches)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def matches(hypothesis, references, n):
    mine, theirs = ngrams(hypothesis, n), [ngrams(words, n) for words in references]
    found = sum(min(count, max(counts[ngram] for counts in theirs))
                for ngram, count in mine.items())
    return found, sum(mine.values())

check("7.3", matches)

# %%
hypothesis, *both = (text.split() for text in (
    "a a a red circle", "a red circle and a star", "a circle"))
for n in (1, 2):
    print(f"n = {n}: found, and all:", matches(hypothesis, both, n))

# %% [markdown]
# One more trick has to be ruled out. A caption that consists of a single *a* has a precision of 1.
# So captions that are too short are penalised. Let $c$ be the number of words in all hypotheses.
# For $r$, take for each hypothesis the reference that is closest to it in length (the shorter one
# if two are equally close), and add up their lengths:
#
# $$\mathrm{BLEU} = \min\left(1, e^{1 - r/c}\right) \left(p_1 \, p_2 \, p_3 \, p_4\right)^{1/4}$$
#
# All counts are summed over all captions *first*. $p_2$ is the number of pairs of words found in
# all captions, divided by the number of pairs in all captions. So BLEU is a property of a set of
# captions.
#
# **Exercise 7.4.** Write `bleu(hypotheses, references)`. `hypotheses` is a list of captions,
# `references` a list that has a list of captions for each of them. A caption is a list of words.

# %%
def bleu(hypotheses, references):
    """Return BLEU-4 of a set of captions."""
    ...

# %%
check("7.4", bleu)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def bleu(hypotheses, references):
    counts, c, r = np.zeros((4, 2)), 0, 0
    for words, some in zip(hypotheses, references, strict=True):
        counts += [matches(words, some, n) for n in (1, 2, 3, 4)]
        closest = min((abs(len(one) - len(words)), len(one)) for one in some)
        c, r = c + len(words), r + closest[1]
    precisions = counts[:, 0] / counts[:, 1]
    return min(1, np.exp(1 - r / c)) * precisions.prod() ** (1 / 4)

check("7.4", bleu)

# %% [markdown]
# Is this the BLEU that everybody uses? `labkit.score` calls the code of the COCO challenge.

# %%
references = {s.id: list(s.captions) for s in scenes}
hypotheses = dict(zip(references, greedy, strict=True))
scores = labkit.score(references, hypotheses)

# %%
split = [[one.split() for one in some] for some in references.values()]
mine = bleu([text.split() for text in greedy], split)
print("the same BLEU-4:", abs(mine - scores.bleu4) < 1e-4)

# %% [markdown]
# ## METEOR, by example
#
# BLEU knows no synonyms. METEOR aligns the two captions and links their words: a word can be linked
# to the same word, to one with the same stem, or to a synonym. Then METEOR looks at how many words
# were linked, and in what order.
#
# Here are ten captions of a photograph that you have to imagine: a dog runs over a beach with a
# ball in its mouth. `imagined` holds four references, `people` the ten captions. All of this is
# made up for this lab. So are the numbers next to the captions: how people rate each one, from 1 to
# 4.

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
from labkit.evaluation.metrics import score_each

each = score_each({text: imagined for text in people},
                  {text: text for text in people})
print("people BLEU-1 BLEU-4 METEOR")
for k, (text, value) in enumerate(people.items()):
    row = [each[name][k] for name in ("bleu1", "bleu4", "meteor")]
    print(f"{value:6}", *(f"{x:6.2f}" for x in row), text)

# %% [markdown]
# Look at three lines.
#
# - *a puppy sprints along the seashore* is a good caption. Its BLEU-4 is 0, because no four
#   consecutive words of it occur in a reference. Its METEOR is 0.16: *seashore* is linked, *puppy*
#   and *sprints* are not. The white dog that sleeps on the grass, which is false, gets just as
#   much.
# - *a brown cat runs …* is wrong in the one word that matters. All three metrics put it far above
#   the caption that people like best, in the first line.
# - *a ball along the beach with …* is not a sentence. BLEU-1 does not notice, because it looks at
#   single words. METEOR lowers the score for the word order, and still puts it near the top.
#
# <details><summary>Quiz: why is the BLEU-4 of a single caption so often 0?</summary>
#
# BLEU-4 multiplies four precisions. If no run of four words is found, one of them is 0, and so is
# the product. With a set of captions that hardly ever happens, because the counts are summed first.
#
# </details>
#
# ## CIDEr, by example
#
# For BLEU every word is worth the same. But *a* occurs in every caption. It says nothing about
# *this* picture. CIDEr weights each n-gram by the logarithm of (number of pictures) / (number of
# pictures whose references contain it).

# %%
def weight(word):
    has = [any(word in one for one in some) for some in split]
    return np.log(len(has) / sum(has))


for word in ("a", "and", "large", "circle", "yellow"):
    print(f"{word:7} {weight(word):.2f}")

# %% [markdown]
# A caption becomes a vector of such weights, and two captions are similar if their vectors point in
# the same direction. So CIDEr rewards *yellow* and does not care about *a*. It depends on the set
# of pictures, and for a single picture it says nothing. That is why it is missing from the table of
# the dog.
#
# ## What do the metrics overlook?
#
# With scenes, the metrics themselves can be tested. Take one reference of each scene and score it
# against the other four. Then alter it, and score it again. We use the scenes whose first reference
# says where one thing lies relative to another, and alter it in three ways:
#
# - *turned*: left becomes right, above becomes below. Nearly all of these captions are false.
# - *recoloured*: the first colour becomes one that the scene does not have. All of them are false.
# - *brief*: only one shape is named, and correctly. All of them are true.

# %%
TURN = {"left": "right", "right": "left",
        "above": "below", "below": "above"}


def turned(caption, things):
    return " ".join(TURN.get(word, word) for word in caption.split())


def brief(caption, things):
    return f"a {things[0].colour} {things[0].shape}"

# %%
from labkit.data.scenes import COLOURS


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
captions_of = {}
for kind, change in kinds.items():
    captions_of[kind] = {s.id: change(s.captions[0], things_of(s.facts))
                         for s in chosen}
print(*(some[chosen[0].id] for some in captions_of.values()), sep="\n")

# %%
scores = {kind: labkit.score(others, some) for kind, some in captions_of.items()}
truth = {}
for kind, some in captions_of.items():
    true = [is_true(some[s.id], things_of(s.facts)) for s in chosen]
    truth[kind] = np.mean(true)

# %%
print("kind         true  BLEU-4  METEOR  CIDEr")
for kind, s in scores.items():
    row = f"{s.bleu4:7.2f} {s.meteor:7.2f} {s.cider:6.2f}"
    print(f"{kind:11} {truth[kind]:5.2f} {row}")

# %%
import matplotlib.pyplot as plt

altered = ["turned", "recoloured", "brief"]
kept = {}
for name in ("bleu4", "meteor", "cider"):
    full = getattr(scores["true"], name)
    kept[name] = [getattr(scores[kind], name) / full for kind in altered]
kept["share that is true"] = [truth[kind] for kind in altered]

# %% mystnb={"figure": {"caption": "Scores of altered captions, relative to the scores of the true captions. The last bar of each group is the share of captions that are true.", "name": "fig:spoiled"}, "image": {"alt": "Grouped bars for turned, recoloured and brief captions. Turned captions keep nine tenths of BLEU-4, METEOR and CIDEr, though hardly any of them is true. Recoloured ones keep more than half, and none is true. Brief ones lose most, and all are true."}} tags=["nbval-ignore-output"]
figure, panel = plt.subplots(figsize=(7, 3.2), layout="constrained")
for k, (name, values) in enumerate(kept.items()):
    panel.bar(np.arange(3) + 0.2 * k - 0.3, values, 0.2, label=name)
panel.set(xticks=range(3), xticklabels=altered, ylabel="share")
panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
for name in ("bleu4", "meteor", "cider"):
    print(f"{name:6} turned captions keep more than four fifths:",
          kept[name][0] > 0.8)

# %% [markdown]
# None of the three notices that left is not right. A model that guessed where things lie would lose
# almost nothing. This is why the book also asks whether captions are *true*, wherever that can be
# known.
#
# ## Scores under teacher forcing
#
# In training, the decoder is given the words of the reference so far, and has to predict the next
# one. We can count how often its most likely word is the right one. This costs nothing, because
# training computes it anyway. Is it a good score?

# %%
from labkit.model.decoder import pad_captions

captions = pad_captions([vocabulary.encode(s.captions[0]) for s in scenes])


def share_of_words(a):
    """Teacher forced: how often is the most likely word the right one?"""
    output = decoder(a, captions)
    return (output.log_p.argmax(-1) == output.targets).double().mean().item()

# %% [markdown]
# Now a test that every score should pass. Show the model the *wrong pictures*: each scene gets the
# features of the scene before it. A good score should drop to almost nothing.

# %%
wrong = a.roll(1, 0)
of_right = share_true(texts_of(labkit.greedy(decoder, a)))
of_wrong = share_true(texts_of(labkit.greedy(decoder, wrong)))
print(f"right words, teacher forced: {share_of_words(a):.1f}, "
      f"with the wrong pictures {share_of_words(wrong):.1f}")
print("free running, more than half of the captions are true:", of_right > 0.5)
print("with the wrong pictures, hardly any is:", of_wrong < 0.05)

# %% [markdown]
# With the wrong pictures, the model still gets half of the words right. After *a small red* comes a
# shape, after *left* comes *of*: the reference leads the model by the hand. So more than half of
# this score comes without the picture.
#
# It also misleads in the other direction. With the right pictures it is far from 1. But nobody
# could know whether the writer of the reference will start with *there is a* or with *a*, or which
# two of four things the caption will mention. To miss such a word is not a mistake.
#
# What if we string the most likely words together, as if they were a caption?

# %%
def forced_text(scene, features):
    ids = torch.tensor([vocabulary.encode(scene.captions[0])])
    log_p = decoder(features[None], ids).log_p
    return vocabulary.decode(log_p.argmax(-1).tolist())


forced = [forced_text(s, x) for s, x in zip(scenes, a, strict=True)]
print("reference:     ", scenes[2].captions[0])
print("teacher forced:", forced[2])

# %%
print("fewer than a tenth of these are true:", share_true(forced) < 0.1)
print("yet their BLEU-4 is above one half:",
      bleu([text.split() for text in forced], split) > 0.5)

# %% [markdown]
# Each word was the answer to a question about the *reference*, not about the words before it in
# this string. So the string is not a caption, and its BLEU is not the BLEU of what the model
# generates. `labkit` never scores such strings. It scores only captions that the model has
# generated by itself.
#
# ## Judging the judge
#
# A metric stands in for people. Does it rank captions in the same order as people do?
#
# Take two captions. If people like the first one better and the metric does, too, the pair agrees.
# If not, it disagrees. *Kendall's tau* is the number of pairs that agree, minus the number of pairs
# that disagree, divided by the number of all pairs. It is 1 for the same order, $-1$ for the
# reverse order, and close to 0 if there is no connection.
#
# **Exercise 7.5.** Write `tau(people, metric)` for two lists of numbers without ties.

# %%
def tau(people, metric):
    """Return Kendall's tau."""
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
# Real data has ties: two captions with the same score. `scipy` has a variant for that, tau-b. We
# compute it for the ten captions of the dog.

# %%
from scipy.stats import kendalltau

values = list(people.values())
for name in ("bleu1", "bleu4", "meteor"):
    print(f"{name:8} {kendalltau(values, each[name]).statistic:5.2f}")

# %% [markdown]
# All three are close to 0, which is no surprise: the list was made to contain captions that metrics
# get wrong. It says nothing about metrics in general. But even real judgements say little if there
# are only ten. How little? Let us compare the judgements with random rankings, many of them.

# %%
rng = np.random.default_rng(0)
random_taus = [kendalltau(values, rng.permutation(10)).statistic
               for _ in range(1000)]
share = np.mean(np.abs(random_taus) > 0.3)
print("tau is beyond 0.3 more than once in ten times:", share > 0.1)

# %% [markdown]
# So with ten captions, a tau of 0.3 means nothing. Flickr8k comes with many thousands of real
# judgements. `labkit.evaluation.human_judgements` computes tau on them; the chapter on evaluation
# explains how, and gives the results.
#
# <details><summary>Quiz: a metric has a tau of 0.5 with people. In how many of 100 pairs of
# captions does it agree with them?</summary>
#
# In 75. The share that agrees minus the share that does not is 0.5, and the two sum to 1.
#
# </details>
#
# ## Summary
#
# - The model gives probabilities of words. Greedy decoding, sampling and beam search turn them into
#   captions. The choice of method changes the length, the scores and how many captions are true.
# - BLEU counts n-grams, clipped, and penalises captions that are too short. It is a property of a
#   set of captions.
# - METEOR knows synonyms, CIDEr knows which words are rare. None of them knows what is true.
# - More than half of a teacher-forced score comes without the picture. Score what the model
#   generates by itself.
# - Whether a metric is good is itself something to measure: its agreement with people.
#
# **To think about.** You may add one number to the scores of a captioner of *photographs*, to catch
# captions such as the turned ones. You have no list of facts. What would you measure, and with what
# data?
#
# **Next.** [Lab 8: soft against hard](08_soft_against_hard.ipynb)
