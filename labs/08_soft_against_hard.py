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
# # Lab 8: soft against hard
#
# **What you will learn.** How to compare two attention mechanisms so that the comparison means
# something: the same pictures, the same budget, several seeds, and a clear idea of what each metric
# measures. At the end you will know why the class lab of 2017 did not compare soft with hard
# attention, and why its score could not show that.
#
# **Time.** About 60 minutes, of which your machine needs one.
#
# **Before you start.** Labs 0 and 6, and lab 7 for the scores.
#
# **The question.** Two models caption the same pictures. For each word, one sees an average of all
# regions, the other a single region. Which one is better, and at what?

# %%
import json
from importlib.resources import files

import numpy as np
import torch

import labkit
from labkit.checks import check

torch.set_num_threads(1)
load = labkit.Captioner.from_pretrained
soft, hard = load("scenes-soft"), load("scenes-hard")
print(soft.decoder.config.attention, "and", hard.decoder.config.attention)

# %% [markdown]
# Both models have the same encoder, the same size and the same training scenes. The hard one was
# trained by summing the region out (lab 6). When it generates a caption, it looks at one region per
# word. If we let it look at all regions when we score it, we would score it as soft attention.
#
# ## Look first
#
# Here is one scene, captioned by both. Point at the words.

# %% tags=["nbval-ignore-output"]
scene = labkit.make_scenes(1, seed=11, split="test")[0]
both = {"soft": soft.caption(scene.image), "hard": hard.caption(scene.image)}
for name, caption in both.items():
    print(f"{name}: {caption.text}")

# %% mystnb={"figure": {"caption": "The same scene, captioned with soft and with hard attention. Point at a word to see where each model looked.", "name": "fig:soft-hard-viewer"}, "image": {"alt": "A drawn scene twice. Under soft attention the bright area of a shape word is wide, under hard attention it is a single bright cell."}} tags=["nbval-ignore-output"]
labkit.AttentionViewer(scene.image, both)

# %% [markdown]
# The maps of the hard model show its weights $\alpha$, too: the probabilities of the regions. Its
# context is made of the region with the largest one only.
#
# ## Where does it look?
#
# A single picture is not a measurement. Let us take 60 scenes.

# %%
scenes = labkit.make_scenes(60, seed=77, split="test")
generated = {
    "soft": [soft.caption(one.image) for one in scenes],
    "hard": [hard.caption(one.image) for one in scenes],
}
print({name: len(captions) for name, captions in generated.items()})

# %% [markdown]
# **Exercise 8.1.** Write a function that returns the place of the largest weight: x and y of the
# centre of its cell, as fractions of the picture's width and height. `weights` is an array of rows
# and columns.

# %%
def looks_at(weights):  # (rows, columns) -> x, y
    ...


# %%
check("8.1", looks_at)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def looks_at(weights):
    rows, columns = weights.shape
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    return (column + 0.5) / columns, (row + 0.5) / rows


check("8.1", looks_at)

# %% [markdown]
# Take each shape word that names something in the scene. Does the place of its largest weight lie
# on the shape? We enlarge the box of the shape by half a cell on every side, because the grid
# cannot be more precise. A place chosen at random would lie on such a box in 18 of 100 cases.

# %%
from labkit.data.scenes import is_true, phrase_ending, things_of


def on(place, box, cell=1 / 7):
    (x, y), (x0, y0, x1, y1) = place, box
    margin = cell / 2
    return x0 - margin <= x <= x1 + margin and y0 - margin <= y <= y1 + margin


# %%
def points_right(captions):
    hits = []
    for scene, caption in zip(scenes, captions, strict=True):
        for k, weights in enumerate(caption.alpha):
            phrase = phrase_ending(caption.words, k)
            things = things_of(scene.facts)
            boxes = [t.box for t in things if phrase and phrase.fits(t)]
            if boxes:
                hits.append(any(on(looks_at(weights), box) for box in boxes))
    return np.mean(hits)


# %%
pointing = {name: points_right(captions) for name, captions in generated.items()}
print("both point far better than chance:", min(pointing.values()) > 0.6)
print("hard points at least about as well:", pointing["hard"] > pointing["soft"] - 0.05)

# %% [markdown]
# This says where the models look. It does not say that their words come from there: lab 10 asks
# that.
#
# How sharp are the maps? The entropy is one measure: it is 0 if all the weight lies on one region,
# and $\log 49 = 3.9$ if all regions have the same weight.
#
# **Exercise 8.2.** Write a function that returns the entropy, in nats. A weight of 0 adds nothing.

# %%
def entropy(weights):  # (rows, columns) -> a number
    ...


# %%
check("8.2", entropy)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def entropy(weights):
    weights = weights[weights > 0]
    return float(-(weights * np.log(weights)).sum())


check("8.2", entropy)

# %%
def mean_entropy(captions):
    return np.mean([entropy(w) for caption in captions for w in caption.alpha])


print("hard is sharper:", mean_entropy(generated["hard"]) < mean_entropy(generated["soft"]))

# %% [markdown]
# ## Are the captions true?

# %%
def share_true(captions):
    pairs = zip(captions, scenes, strict=True)
    return np.mean([is_true(c.text, things_of(s.facts)) for c, s in pairs])


truth = {name: share_true(captions) for name, captions in generated.items()}
print("both describe most scenes correctly:", min(truth.values()) > 0.5)

# %% [markdown]
# Sixty scenes and one model of each kind prove little. What would another seed have given?
#
# ## Seeds
#
# The files below hold a comparison of six mechanisms. Each was trained three times, with the same
# data and the same number of steps. The files were made by `labkit compare`; you find the command
# in the chapter on hard attention. *reinforce* is the paper's estimator. *reinforce, best* has the
# reward to go, a learned baseline, and a smaller weight of the term, 0.3. *marginal* sums the region
# out.

# %%
measured = files("labkit") / "measured"
table = json.loads((measured / "scenes-table.json").read_text())
print(f"{'':22} points  true  BLEU-4 METEOR")
for name, row in table.items():
    kinds = ("pointing", "captions_true", "bleu4", "meteor")
    print(f"{name:22}", *(f"{row[kind]['mean']:6.3f}" for kind in kinds))

# %% mystnb={"figure": {"caption": "The losses of six mechanisms on drawn scenes, one run each. The lab of 2017 showed such a figure for two.", "name": "fig:losses-again"}, "image": {"alt": "Left: six falling curves of the loss. Argmax and the paper's REINFORCE stay highest and cannot be told apart; soft attention is lowest. Right: CIDEr on the dev split after each epoch, the marginal highest, the same two lowest."}} tags=["nbval-ignore-output"]
labkit.loss_curves(json.loads((measured / "scenes-curves.json").read_text()))

# %% [markdown]
# The losses of argmax and of the paper's REINFORCE cannot be told apart. Yet REINFORCE points at
# the right shape for 0.58 of the words, argmax for 0.30. A loss does not show where a model looks.
#
# A difference counts only if it is large compared with the effect of chance. The mean of $n$ runs
# with standard deviation $s$ has the standard error $s / \sqrt n$. For the difference of two such
# means, it is $\sqrt{s_1^2/n + s_2^2/n}$.
#
# **Exercise 8.3.** Write a function that takes two lists of scores and returns the difference of
# their means (first minus second) in units of its standard error. The lists may differ in length;
# for this case, put $s_1^2/n_1 + s_2^2/n_2$ under the root.

# %%
def apart(one, other):  # lists of numbers -> a number
    ...


# %%
check("8.3", apart)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def apart(one, other):
    error = sum(np.var(x, ddof=1) / len(x) for x in (one, other)) ** 0.5
    return (np.mean(one) - np.mean(other)) / error


check("8.3", apart)

# %% [markdown]
# The table holds means and standard deviations (called `std`). So the same formula works, with
# `std ** 2` as the variance.

# %%
def apart_in_table(one, other, kind, n=3):
    a, b = table[one][kind], table[other][kind]
    error = ((a["std"] ** 2 + b["std"] ** 2) / n) ** 0.5
    return (a["mean"] - b["mean"]) / error


for kind in ("pointing", "captions_true"):
    print(f"soft minus argmax, {kind}: {apart_in_table('soft', 'argmax', kind):.0f}")

# %% [markdown]
# Three runs are few, so be demanding: a difference of less than about 4 standard errors shows
# nothing. Try other pairs: the best hard mechanism against soft, the paper's estimator against the
# better one.
#
# ## METEOR, as in 2017
#
# The 2017 lab reported METEOR: 0.206 for its hard attention, against 0.230 in the paper, both on
# COCO. The paper's figures for Flickr8k are 0.189 (soft) and 0.203 (hard), on the test split. Ours
# are for the dev split of Flickr8k, with a different encoder. So compare only *our own* bars with
# each other.

# %%
photos = json.loads((measured / "flickr8k-table.json").read_text())
for name, row in photos.items():
    kinds = ("bleu4", "meteor", "cider", "entropy")
    print(f"{name:10}", *(f"{kind} {row[kind]['mean']:.3f}" for kind in kinds))

# %% [markdown]
# Look at the argmax. Its entropy is close to $\log 49 = 3.89$. We know why: its scores get no
# gradient from the words (lab 6). Soft attention is nearly flat, too, so a flat map alone proves
# nothing. Yet the METEOR of the argmax is almost that of Gumbel, which does choose its regions. So
# METEOR cannot tell the two apart, and could not in 2017. A good METEOR requires little attention
# here: perhaps much of a photograph can be described from the mean of all regions.

# %% mystnb={"figure": {"caption": "METEOR of our mechanisms on the dev photographs of Flickr8k, next to figures of others on other splits and data.", "name": "fig:meteor-again"}, "image": {"alt": "Bars of METEOR: ours on Flickr8k for each mechanism, then the paper's soft and hard on Flickr8k, the lab of 2017 and the paper on COCO."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

bars = {name: row["meteor"]["mean"] for name, row in photos.items()}
bars |= {"paper soft\nFlickr8k": 0.1893, "paper hard\nFlickr8k": 0.203}
bars |= {"2017 lab hard\nCOCO": 0.206, "paper hard\nCOCO": 0.230}
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.bar(bars.keys(), bars.values(), color=["C0"] * len(photos) + ["C7"] * 4)
axes.tick_params(axis="x", labelsize=8)
axes.set_ylabel("METEOR");

# %% [markdown]
# ## A wrong caption
#
# The 2017 lab ended with a doubt: a caption of its hard model was wrong, and the map did not say
# why. Let us take a case of our own: the first scene that the hard model describes wrongly.

# %% tags=["nbval-ignore-output"]
wrong = next(
    k
    for k, (caption, scene) in enumerate(zip(generated["hard"], scenes, strict=True))
    if not is_true(caption.text, things_of(scene.facts))
)
print("caption:     ", generated["hard"][wrong].text)
things = things_of(scenes[wrong].facts)
print("in the scene:", *(f"{t.size} {t.colour} {t.shape};" for t in things))

# %% mystnb={"figure": {"caption": "A wrong caption of the hard model, and where it looked.", "name": "fig:wrong-hard"}, "image": {"alt": "A drawn scene and a map for each word of the hard model's wrong caption."}} tags=["nbval-ignore-output"]
case = generated["hard"][wrong]
labkit.attention_strip(scenes[wrong].image, case.words, case.alpha)

# %% [markdown]
# Look at the maps. The place is usually right: there is a shape, but not the one in the caption. So
# a map answers the question *where did it look?* It does not answer *what did it see there?* Print
# the other wrong captions of `generated["hard"]`, too. What is wrong in most of them? (How two
# shapes lie relative to each other.)
#
# Is the model less certain when it is wrong? One more measurement: the entropy of its maps, for
# true and for wrong captions.

# %%
captions = generated["hard"]
right = [is_true(c.text, things_of(s.facts)) for c, s in zip(captions, scenes, strict=True)]
groups = {True: [], False: []}
for is_right, caption in zip(right, captions, strict=True):
    groups[is_right].append(mean_entropy([caption]))
print("there are captions of both kinds:", min(map(len, groups.values())) > 0)
print("the maps clearly tell them apart:", abs(apart(groups[True], groups[False])) > 4)

# %% [markdown]
# The maps of wrong captions are as sharp as those of true ones. But few of the sixty captions are
# wrong, so this measurement could only have found a large difference.
#
# ## On photographs
#
# Drawn scenes are easy. Let the two models that were trained on Flickr8k caption photographs that
# do not come from there: those of scikit-image, all of which may be shown freely. None of them was
# chosen for its caption. The models generate the most likely caption that a search with 5 beams
# finds. (In lab 0 they chose the caption that agrees most with their other candidates.)

# %% tags=["nbval-ignore-output"]
folder = files("skimage") / "data"
names = ["astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
         "coins.png", "rocket.jpg", "hubble_deep_field.jpg", "grass.png", "gravel.png", "brick.png"]
models = {name: load(f"flickr8k-{name}") for name in ("soft", "hard")}
gallery = {}
for name in names:
    gallery[name] = {kind: m.caption(folder / name, num_beams=5) for kind, m in models.items()}
    print(name, *(f"\n    {kind}: {caption.text}" for kind, caption in gallery[name].items()))

# %% [markdown]
# Soft attention gets the two photographs of a person about right, except that it calls a woman a
# *man*. Hard attention gives her a football, and it gives the photographer a companion. The others
# show what a model does with things that it has never seen. It has to say something, so it repeats
# what people wrote about something a little like it: a cup of coffee becomes a dog, because
# Flickr8k is full of dogs. Where nothing looks like anything that it knows, the hard model
# stammers.
#
# There is no football in the photograph, but there is a round helmet at the lower right. Did the
# hard model take it for a ball? Where did it look?

# %% mystnb={"figure": {"caption": "A football that is not there. Point at *football*, and at the words that are right.", "name": "fig:no-ball"}} tags=["nbval-ignore-output"]
from labkit.data.photos import read_photo

astronaut = read_photo(folder / "astronaut.png")
labkit.AttentionViewer(astronaut, gallery["astronaut.png"], alt="The portrait of an astronaut.")

# %% tags=["nbval-ignore-output"]
for kind, caption in gallery["astronaut.png"].items():
    print(f"{kind}: entropy {mean_entropy([caption]):.1f} of at most {np.log(64):.1f}")

# %% [markdown]
# When it said *football*, it did not look at the helmet but at her shoulder. So the map does not
# show where the mistake came from. Perhaps it came from the words before: in Flickr8k, people in
# red shirts who are *holding* something often hold a ball. Perhaps it came from the vector of the
# shoulder, which has seen more than its own cell (lab 2). A map says where the model looked, and no
# more than that.
#
# The maps of soft attention are nearly even on this photograph, as on most. They say even less.
#
# ## Conclusions
#
# **Exercise 8.4.** After this lab, which of these claims are true? Enter `True` or `False`.

# %%
claims = {
    "argmax learns where to look": ...,
    "hard attention is always worse than soft": ...,
    "a hard model must be scored with one region per word": ...,
    "a sharp map proves that the model is right": ...,
}

# %%
check("8.4", claims)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
claims = {
    "argmax learns where to look": False,
    "hard attention is always worse than soft": False,
    "a hard model must be scored with one region per word": True,
    "a sharp map proves that the model is right": False,
}
check("8.4", claims)

# %% [markdown]
# ## Summary
#
# - The 2017 lab compared soft attention with an attention that cannot learn where to look. It did
#   not compare soft with hard attention.
# - With an estimator that works, hard attention describes drawn scenes as truthfully as soft
#   attention or more so, looking at one region per word. It does not always point better: after three
#   epochs the marginal does, but REINFORCE points worse.
# - A comparison needs the same budget, several seeds, and a statement of how each model looked when
#   it was scored.
# - A map says where the model looked, not what it saw. Nor does it say whether the word came from
#   there: see lab 10.
#
# **To think about.** Hard attention is cheaper in the end: it needs one vector per word instead of
# 49. When would that matter?
#
# **Next.** [Lab 9: full size](09_full_size.ipynb)
