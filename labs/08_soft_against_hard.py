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
# something: the same pictures, the same budget, several seeds, and measures that say what they measure.
# In the end you know why the class lab of 2017 was no comparison of soft with hard attention, and why its
# score could not show it.
#
# **Time.** About 60 minutes, of which the machine takes one.
#
# **Before you start.** Labs 0 and 6. Lab 7 for the scores.
#
# **The question.** Two models tell the same pictures. One saw a mean of all places at each word, the
# other a single place. Which one is better, and at what?

# %%
import json
from importlib.resources import files

import numpy as np
import torch

import labkit
from labkit.checks import check

torch.set_num_threads(1)
soft, hard = labkit.load("scenes-soft"), labkit.load("scenes-hard")
print(soft.decoder.config.attention, "and", hard.decoder.config.attention)

# %% [markdown]
# Both models have the same encoder, the same size and the same training scenes. The hard one learned by
# the place summed out (lab 6). When it tells, it looks at one place a word. If it looked at all places when it
# is scored, it would be scored as soft attention.
#
# ## Look first
#
# One scene, told by both. Move over the words.

# %% tags=["nbval-ignore-output"]
scene = labkit.make_scenes(1, seed=11, split="test")[0]
told = {"soft": soft.tell(scene.image), "hard": hard.tell(scene.image)}
for name, caption in told.items():
    print(f"{name}: {caption.text}")

# %% mystnb={"figure": {"caption": "The same scene, told by soft and by hard attention. Point at a word to see where each looked.", "name": "fig:soft-hard-viewer"}, "image": {"alt": "A drawn scene twice. Under soft attention the bright place of a shape word is wide, under hard attention it is a single bright cell."}} tags=["nbval-ignore-output"]
labkit.AttentionViewer(scene.image, told)

# %% [markdown]
# The maps of the hard model are its weights $\alpha$, too: the odds of its lot. It uses the largest alone.
#
# ## Where does it look?
#
# A picture is not a measurement. Let us take 60 scenes.

# %%
scenes = labkit.make_scenes(60, seed=77, split="test")
tales = {
    "soft": [soft.tell(one.image) for one in scenes],
    "hard": [hard.tell(one.image) for one in scenes],
}
print({name: len(captions) for name, captions in tales.items()})

# %% [markdown]
# **Exercise 8.1.** Write a function that gives the place of the largest weight: x and y of its cell's
# centre, as fractions of the picture's width and height. `weights` is an array of rows and columns.

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
# Now count, for the shape words that name something in the scene: does that place lie on the shape? A box is
# grown by half a cell, since the grid cannot be finer. A place drawn by lot would lie on such a box in 18 of
# 100 cases.

# %%
from labkit.scenes import is_true, phrase_ending, things_of


def on(place, box, cell=1 / 7):
    (x, y), (x0, y0, x1, y1) = place, box
    grown = cell / 2
    return x0 - grown <= x <= x1 + grown and y0 - grown <= y <= y1 + grown


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
pointing = {name: points_right(captions) for name, captions in tales.items()}
print("both point far better than chance:", min(pointing.values()) > 0.6)
print("hard points at least about as well:", pointing["hard"] > pointing["soft"] - 0.05)

# %% [markdown]
# How sharp are the maps? The entropy says: 0 where all weight lies on one place, $\log 49 = 3.9$ where all
# places are alike.
#
# **Exercise 8.2.** Write it, in nats. A weight of 0 counts nothing.

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


print("hard is sharper:", mean_entropy(tales["hard"]) < mean_entropy(tales["soft"]))

# %% [markdown]
# ## What does it tell?

# %%
def share_true(captions):
    pairs = zip(captions, scenes, strict=True)
    return np.mean([is_true(c.text, things_of(s.facts)) for c, s in pairs])


truth = {name: share_true(captions) for name, captions in tales.items()}
print("both tell most scenes truly:", min(truth.values()) > 0.5)

# %% [markdown]
# Sixty scenes of one model each prove little. What would another seed have given?
#
# ## Seeds
#
# The files below hold a comparison of six mechanisms, three trainings each, with the same data and the same
# number of steps. They were made by `labkit compare`; the command stands in the chapter on hard attention.
# *reinforce* is the paper's estimator. *reinforce, best* has the reward to go, a learned baseline, and a
# smaller weight of the term, 0.3. *marginal* is the place summed out.

# %%
measured = files("labkit") / "measured"
table = json.loads((measured / "scenes-table.json").read_text())
print(f"{'':22} points  true  BLEU-4 METEOR")
for name, row in table.items():
    kinds = ("pointing", "captions_true", "bleu4", "meteor")
    print(f"{name:22}", *(f"{row[kind]['mean']:6.3f}" for kind in kinds))

# %% mystnb={"figure": {"caption": "The losses of six mechanisms on drawn scenes, one training each; the lab of 2017 showed such a figure for two.", "name": "fig:losses-again"}, "image": {"alt": "Left: six falling curves of the loss. Argmax and the paper's REINFORCE stay highest and cannot be told apart; soft attention is lowest. Right: CIDEr of the split dev after each epoch, the sum highest, the same two lowest."}} tags=["nbval-ignore-output"]
labkit.loss_curves(json.loads((measured / "scenes-curves.json").read_text()))

# %% [markdown]
# The losses of argmax and of the paper's REINFORCE cannot be told apart. Yet one points right at 0.61 of the
# words, the other at 0.32. A loss does not show where a model looks.
#
# A difference counts if it is large beside what chance does. The mean of $n$ trainings with spread $s$ has
# the standard error $s / \sqrt n$; the difference of two means has $\sqrt{s_1^2/n + s_2^2/n}$.
#
# **Exercise 8.3.** Write a function that takes two lists of scores and gives the difference of their means
# (first minus second) in units of its standard error. The lists may differ in length: with
# $s_1^2/n_1 + s_2^2/n_2$ under the root.

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
# The table holds means and spreads, so the same formula serves with `spread ** 2` for the variance.

# %%
def apart_in_table(one, other, kind, n=3):
    a, b = table[one][kind], table[other][kind]
    error = ((a["spread"] ** 2 + b["spread"] ** 2) / n) ** 0.5
    return (a["mean"] - b["mean"]) / error


for kind in ("pointing", "captions_true"):
    print(f"soft minus argmax, {kind}: {apart_in_table('soft', 'argmax', kind):.0f}")

# %% [markdown]
# Three trainings are few, so ask for much: below 4 or so nothing was shown. Try other pairs: the best hard
# mechanism against soft, the paper's estimator against the better one.
#
# ## METEOR, as in 2017
#
# The 2017 lab reported METEOR: 0.206 for its hard attention, beside 0.230 of the paper, both on COCO.
# The paper's Flickr8k figures are 0.189 (soft) and 0.203 (hard), on the test split.
# Ours are on the split dev of Flickr8k, with another encoder. So compare *within* our bars.

# %%
photos = json.loads((measured / "flickr8k-table.json").read_text())
for name, row in photos.items():
    kinds = ("bleu4", "meteor", "cider", "entropy")
    print(f"{name:10}", *(f"{kind} {row[kind]['mean']:.3f}" for kind in kinds))

# %% [markdown]
# Look at the argmax. Its entropy is nearly $\log 49 = 3.89$. We know why: its scores have no gradient from the
# words (lab 6). Soft attention is nearly flat, too, so a flat map alone proves nothing. Yet the argmax's METEOR
# is nearly that of Gumbel, which chooses its places. So METEOR cannot tell one from the other, and could not in
# 2017. It asks for little attention here: much of a photograph can be told from the mean of all places.

# %% mystnb={"figure": {"caption": "METEOR of our mechanisms on Flickr8k's dev photographs, beside figures of others on other splits and data.", "name": "fig:meteor-again"}, "image": {"alt": "Bars of METEOR: ours on Flickr8k for each mechanism, then the paper's soft and hard on Flickr8k, the lab of 2017 and the paper on COCO."}} tags=["nbval-ignore-output"]
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
# The 2017 lab ended with a doubt: a caption of its hard model was wrong, and the map did not say why. Take
# a case of our own: the first scene that the hard model tells wrongly.

# %% tags=["nbval-ignore-output"]
wrong = next(
    k
    for k, (caption, scene) in enumerate(zip(tales["hard"], scenes, strict=True))
    if not is_true(caption.text, things_of(scene.facts))
)
print("told: ", tales["hard"][wrong].text)
things = things_of(scenes[wrong].facts)
print("there:", *(f"{t.size} {t.colour} {t.shape};" for t in things))

# %% mystnb={"figure": {"caption": "A wrong caption of the hard model, and where it looked.", "name": "fig:wrong-hard"}, "image": {"alt": "A drawn scene and a map for each word of the hard model's wrong caption."}} tags=["nbval-ignore-output"]
case = tales["hard"][wrong]
labkit.attention_strip(scenes[wrong].image, case.words, case.alpha)

# %% [markdown]
# Look at the maps. The place is usually right: a shape is there, but another one than was told. So a map
# answers *where did it look*. It does not answer *what did it see there*. Print the other wrong captions of
# `tales["hard"]`, too. What is wrong in most of them? (How two shapes lie to each other.)
#
# Is the model less sure when it is wrong? One more measurement: the entropy of its maps, for true and
# for wrong captions.

# %%
right = [is_true(c.text, things_of(s.facts)) for c, s in zip(tales["hard"], scenes, strict=True)]
groups = {True: [], False: []}
for fine, caption in zip(right, tales["hard"], strict=True):
    groups[fine].append(mean_entropy([caption]))
print("captions of both kinds:", min(map(len, groups.values())) > 0)
print("the maps tell them apart well:", abs(apart(groups[True], groups[False])) > 4)

# %% [markdown]
# The maps of wrong captions are as sharp as those of true ones. But few of the sixty are wrong, so this
# measurement could only find a large difference.
#
# ## On photographs
#
# Drawn scenes are easy. Let the two models that learned from Flickr8k tell photographs that are not
# from there: those of scikit-image, all free to be shown. None of them was chosen for its caption. The models
# tell the likeliest caption that a beam of width 5 finds. (Lab 0 let them tell what agrees most with their
# other captions.)

# %% tags=["nbval-ignore-output"]
from labkit.evaluation import Decoding

folder = files("skimage") / "data"
names = ["astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
         "coins.png", "rocket.jpg", "hubble_deep_field.jpg", "grass.png", "gravel.png", "brick.png"]
tellers = {name: labkit.load(f"flickr8k-{name}") for name in ("soft", "hard")}
gallery = {}
for name in names:
    gallery[name] = {kind: t.tell(folder / name, Decoding(beam=5)) for kind, t in tellers.items()}
    print(name, *(f"\n    {kind}: {told.text}" for kind, told in gallery[name].items()))

# %% [markdown]
# Soft attention tells the two with a person about right, but for a *man* who is a woman. Hard attention gives her
# a football, and the photographer a companion. The others show what a model does with what it has never seen.
# It must say something, and says what was said of something a little like it: a cup of coffee becomes a dog,
# since Flickr8k is full of dogs. Where nothing looks like anything, the hard model stammers.
#
# There is no football on the photograph, but a round helmet at the lower right. Did the hard model take it for a
# ball? Where did it look?

# %% mystnb={"figure": {"caption": "A football that is not there. Point at *football*, and at the words that are right.", "name": "fig:no-ball"}} tags=["nbval-ignore-output"]
from labkit.photos import read_photo

astronaut = read_photo(folder / "astronaut.png")
labkit.AttentionViewer(astronaut, gallery["astronaut.png"], alt="The portrait of an astronaut.")

# %% tags=["nbval-ignore-output"]
for kind, told in gallery["astronaut.png"].items():
    print(f"{kind}: entropy {mean_entropy([told]):.1f} of at most {np.log(64):.1f}")

# %% [markdown]
# It did not look at the helmet when it said *football*, but at her shoulder. So the map does not show where the
# mistake came from. Perhaps it came from the words before: people in red shirts who are *holding* something hold a
# ball often in Flickr8k. Perhaps from the vector of the shoulder, which knows more than its own cell (lab 2).
# A map says where the model looked, and no more.
#
# The maps of soft attention are nearly even on this photograph, as on most. They say still less.
#
# ## Conclusions
#
# **Exercise 8.4.** Which of these claims hold, after this lab? Put `True` or `False`.

# %%
claims = {
    "argmax learns where to look": ...,
    "hard attention is always worse than soft": ...,
    "a hard model must be scored looking at one place": ...,
    "a sharp map proves that the model is right": ...,
}

# %%
check("8.4", claims)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
claims = {
    "argmax learns where to look": False,
    "hard attention is always worse than soft": False,
    "a hard model must be scored looking at one place": True,
    "a sharp map proves that the model is right": False,
}
check("8.4", claims)

# %% [markdown]
# ## Summary
#
# - The 2017 lab compared soft attention with an attention that cannot learn where to look. It was no
#   comparison of soft with hard.
# - Hard attention with an estimator that works tells drawn scenes as truly as soft attention or more so,
#   from one place a word. It does not always point better: the sum does after three epochs, REINFORCE
#   points worse.
# - A comparison needs the same budget, several seeds, and a word about how the model looked when it was
#   scored.
# - A map says where the model looked, and not what it saw.
#
# **To think on.** Hard attention is cheaper in the end: it needs one vector a word in place of 49. When would
# that matter?
