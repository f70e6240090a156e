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
# # Lab 0: set up, and a first caption
#
# **What you will learn.** How a photograph becomes a caption, how to ask a model where it looked at
# each word, and how soft and hard attention differ to the eye.
#
# **Time.** About 20 minutes, of which the machine takes half of one.
#
# **Before you start.** Python and a little numpy: `argmax`, slices, `sum`. If `import labkit` works, you
# are ready. If not, [how to use this book](../book/how-to-use.md) says how to set it up.
#
# **The question.** A model says what is on a photograph. Did it look at the things that it names?

# %%
import torch

import labkit
from labkit.checks import check

torch.set_num_threads(1)  # so that the numbers below are the same on every machine
for name in labkit.shipped():
    print(name)

# %% [markdown]
# These four models came with the package. Two learned from photographs, two from drawn scenes. Of
# each pair one has soft attention and one has hard attention. What that is comes below.
#
# ## A photograph
#
# It comes with scikit-image: Eileen Collins, by NASA, in the public domain. Nothing is downloaded.

# %%
from importlib.resources import files

from PIL import Image

photo = Image.open(files("skimage") / "data" / "astronaut.png")
print("width and height:", photo.size)

# %% [markdown]
# ## The model looks, then tells
#
# `load` gives a trained model. It has two parts. A convolutional network, the *encoder*, turns the
# picture into a grid of vectors. An LSTM, the *decoder*, tells one word after the other.

# %% tags=["nbval-ignore-output"]
soft = labkit.load("flickr8k-soft")
told = soft.tell(photo)
print(told.text)

# %% [markdown]
# (Some processors compute the encoder with fewer digits than others. So yours may tell other last words.)
#
# Is it right? Not all of it. The model learned 2,920 words from 6,000 photographs, most of them of people and
# dogs. *Astronaut* is not among these words, so it cannot say it. *Woman* is, and it said *man*: that is a
# mistake.
#
# ## Where did it look?
#
# Before each word the decoder gives a weight to each cell of a grid. The weights of a word are all
# positive, and their sum is 1. So there is one map for each word.

# %% tags=["nbval-ignore-output"]
words, rows, columns = told.alpha.shape
print(f"{words} words, a grid of {rows} x {columns} cells")
print(f"the first map sums to {told.alpha[0].sum():.3f}")

# %% mystnb={"figure": {"caption": "The photograph, then one map for each word of the caption. Bright is where the model looked before it said the word.", "name": "fig:first-strip"}, "image": {"alt": "The portrait of an astronaut, and the same portrait once for each word of the caption, bright where the attention was."}} tags=["nbval-ignore-output"]
labkit.attention_strip(photo, told.words, told.alpha)

# %% [markdown]
# Bright means *brighter than the other cells of this map*. It does not say how much of the weight
# lies there. Exercise 0.2 asks for that.
#
# ## The same with hard attention
#
# A model with soft attention sees a mean of all cells, each with its weight. One with *hard* attention
# sees a single cell for each word, the brightest. Its map shows how likely each cell was to be chosen. It learned
# where to look from the same photographs.

# %%
hard = labkit.load("flickr8k-hard")
told_hard = hard.tell(photo)
print(told_hard.text)

# %% [markdown]
# The next figure shows one word at a time, soft and hard side by side. Point at a word, tap it, or
# walk along the caption with the arrow keys. The line below each picture says where the model looked,
# and how much of the weight lies there.

# %% mystnb={"figure": {"caption": "The maps of both models, one word at a time. Point at a word of a caption.", "name": "fig:first-viewer"}} tags=["nbval-ignore-output"]
both = {"soft": told, "hard": told_hard}
labkit.AttentionViewer(photo, both, alt="The portrait of an astronaut.")

# %% [markdown]
# ## Your turn
#
# **Exercise 0.1.** Write a function that finds the brightest cell of a map. The weights are an array of
# rows and columns.

# %%
def brightest(weights):
    """Row and column of the largest weight, counted from 0."""
    ...


# %%
check("0.1", brightest)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `weights.argmax()` counts the cells row by row. `divmod` by the number of columns makes a row and a
# column of it.
#
# </details>

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def brightest(weights):
    """Row and column of the largest weight, counted from 0."""
    return divmod(int(weights.argmax()), weights.shape[1])


check("0.1", brightest)

# %% [markdown]
# **Exercise 0.2.** How much of the weight lies in a part of the picture? Write a function that says it for
# a box of cells. `top` and `left` are the first row and column of the box, `rows` and `columns` its size.

# %%
def share(weights, top, left, rows, columns):
    """The sum of the weights in a box of cells."""
    ...


# %%
check("0.2", share)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def share(weights, top, left, rows, columns):
    """The sum of the weights in a box of cells."""
    return weights[top : top + rows, left : left + columns].sum()


check("0.2", share)

# %% [markdown]
# **Exercise 0.3.** Two models, two captions. Which words has only one of them?

# %%
def alone(one, other):
    """The words of the first list that are not in the second, in their order."""
    ...


# %%
check("0.3", alone)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def alone(one, other):
    """The words of the first list that are not in the second, in their order."""
    return [word for word in one if word not in other]


check("0.3", alone)

# %% [markdown]
# Try it: `alone(told.words, told_hard.words)`.
#
# ## Does it look at what it names?
#
# `describe` does for each word what exercises 0.1 and 0.2 do. It prints the brightest cell, and the share of the
# weight that lies in this cell and its neighbours. These are nine cells of 64, or six at the border.

# %% tags=["nbval-ignore-output"]
def describe(told):
    """Print where each word looked most, and how much of the weight lies around it."""
    for word, weights in zip(told.words, told.alpha, strict=True):
        row, column = divmod(int(weights.argmax()), weights.shape[1])
        around = weights[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].sum()
        print(f"{word:10} row {row}, column {column}: {around:4.0%} around it")


describe(told)

# %% [markdown]
# The viewer cuts the picture into nine parts and names the part with most weight. Here it is the brightest
# cell. On a flat map the two can differ.
#
# And the same for hard attention. It took the brightest cell and nothing else. The weights say how sure
# it was of this choice.

# %% tags=["nbval-ignore-output"]
describe(told_hard)

# %% [markdown]
# Evenly spread, nine cells would have 14%, and six at the border 9%. Soft attention is not far from that at
# many words: it looks everywhere, with a light preference.
#
# Hard attention has to choose one cell. Read its column of places: three cells serve all words, on the
# suit below the face. *Man* was said there, and *is*, too. So here the answer to our question is: mostly no.
#
# *Helmet* is right: a round one lies at the lower right. Did hard attention look there when it said so? No: at
# the collar. And soft attention told a *red cup*, which is nowhere. A wrong word has a map, too, and the map does
# not say that it is wrong. Lab 8 comes back to this.
#
# ## Where everything is known
#
# On a photograph one can argue about where a word *should* look. On a drawn scene one cannot: the
# program that drew it knows what is there, and where. Below, x and y are the middle of a shape, as shares
# of width and height from the upper left.

# %%
scene = labkit.make_scenes(1, seed=30, split="test")[0]
for thing in scene.facts["things"]:
    place = f"x {thing['x']:.2f}, y {thing['y']:.2f}"
    print(f"{thing['size']:6} {thing['colour']:7} {thing['shape']:9} {place}")

# %%
from labkit.scenes import is_true, things_of

of_scene = {name: labkit.load(f"scenes-{name}").tell(scene.image) for name in ("soft", "hard")}
for name, caption in of_scene.items():
    print(f"{name}: {caption.text}  (true: {is_true(caption.text, things_of(scene.facts))})")

# %% mystnb={"figure": {"caption": "A drawn scene, told by both mechanisms.", "name": "fig:first-scene"}} tags=["nbval-ignore-output"]
labkit.AttentionViewer(scene.image, of_scene, alt="A drawn scene of coloured shapes.")

# %% [markdown]
# Look at the words that name a shape. For most of them the bright place lies on that shape. Now look at
# *a* and *and*: where should one look for those?
#
# ## A photograph of your own
#
# `soft.tell("my.jpg")` takes a file. So does the command line, which also draws the maps. In a terminal, in
# the project's folder:
#
# ```
# source .venv/bin/activate
# labkit caption flickr8k-soft my.jpg --out told
# ```
#
# ## Summary
#
# - An encoder turns a picture into a grid of vectors, a decoder tells word after word.
# - Before each word the decoder weighs the cells of the grid. The weights can be drawn.
# - Soft attention sees a mean of all cells, hard attention one cell for each word.
# - On drawn scenes one can check what is told, and where the model looked.
#
# **To think on.** Suppose that the bright place always lies on the right thing. Does that prove
# that the model *used* what is there?
