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
# # Lab 0: setup and a first caption
#
# **What you will learn.** How a photograph becomes a caption, how to see where a model looked
# before each word, and how the maps of soft and hard attention differ.
#
# **Time.** About 20 minutes, of which your machine needs half a minute.
#
# **Before you start.** You need Python and a little numpy: `argmax`, slices, `sum`. If
# `import labkit` works, you are ready. If not, [how to use this book](../book/how-to-use.md)
# explains the setup.
#
# **The question.** A model describes a photograph. Did it look at the things that it names?

# %%
import torch

import labkit
from labkit.checks import check

torch.set_num_threads(1)  # so that the numbers below are the same on every machine
for name in labkit.list_pretrained():
    print(name)

# %% [markdown]
# These five models come with the package. Two were trained on photographs, three on drawn scenes. Those
# named *hard* use hard attention, the others soft attention. What this means is explained below.
#
# ## A photograph
#
# The photograph comes with scikit-image: a portrait of Eileen Collins, by NASA, in the public
# domain. Nothing is downloaded.

# %%
from importlib.resources import files

from PIL import Image

photo = Image.open(files("skimage") / "data" / "astronaut.png")
print("width and height:", photo.size)

# %% [markdown]
# ## From picture to caption
#
# `Captioner.from_pretrained` loads a trained model. It has two parts. A convolutional network, the
# *encoder*, turns the picture into a grid of vectors. An LSTM, the *decoder*, generates the caption
# one word at a time.

# %% tags=["nbval-ignore-output"]
soft = labkit.Captioner.from_pretrained("flickr8k-soft")
soft_caption = soft.caption(photo)
print(soft_caption.text)

# %% [markdown]
# Is it right? Not entirely. The model learned 2,920 words from 6,000 photographs, most of them of
# people and dogs. *Astronaut* is not one of these words, so the model cannot use it. *Woman* is,
# and yet the caption says *man*: that is a mistake.
#
# ## Where did it look?
#
# Before each word the decoder assigns a weight to each cell of a grid. The weights for one word are
# all positive, and they sum to 1. So there is one map for each word.

# %% tags=["nbval-ignore-output"]
words, rows, columns = soft_caption.alpha.shape
print(f"{words} words, a grid of {rows} x {columns} cells")
print(f"the first map sums to {soft_caption.alpha[0].sum():.3f}")

# %% mystnb={"figure": {"caption": "The photograph, then one map for each word of the caption. Bright areas show where the model looked before it generated the word.", "name": "fig:first-strip"}, "image": {"alt": "The portrait of an astronaut, and the same portrait once for each word of the caption, bright where the attention was."}} tags=["nbval-ignore-output"]
labkit.attention_strip(photo, soft_caption.words, soft_caption.alpha)

# %% [markdown]
# Bright means *brighter than the other cells of this map*. It does not say how much of the weight
# lies there. You will compute that in exercise 0.2.
#
# ## The same with hard attention
#
# A model with soft attention sees the weighted mean of all cells. A model with *hard* attention
# sees a single cell for each word. Its map shows how likely each cell was to be chosen, and the
# model took the likeliest one, which is the brightest. It learned where to look from the same
# photographs.

# %%
hard = labkit.Captioner.from_pretrained("flickr8k-hard")
hard_caption = hard.caption(photo)
print(hard_caption.text)

# %% [markdown]
# The next figure shows one word at a time, with soft and hard attention side by side. Point at a
# word, tap it, or step through the caption with the arrow keys. The line below each picture says
# where the model looked, and how much of the weight lies there.

# %% mystnb={"figure": {"caption": "The maps of both models, one word at a time. Point at a word of a caption.", "name": "fig:first-viewer"}} tags=["nbval-ignore-output"]
both = {"soft": soft_caption, "hard": hard_caption}
labkit.AttentionViewer(photo, both, alt="The portrait of an astronaut.")

# %% [markdown]
# ## Your turn
#
# **Exercise 0.1.** Write a function that finds the brightest cell of a map. The weights are an
# array of rows and columns.

# %%
def brightest(weights):
    """Return the row and column of the largest weight, counted from 0."""
    ...


# %%
check("0.1", brightest)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `weights.argmax()` gives the number of the cell, counted row by row. `divmod` by the number of
# columns turns this number into a row and a column.
#
# </details>

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def brightest(weights):
    """Return the row and column of the largest weight, counted from 0."""
    return divmod(int(weights.argmax()), weights.shape[1])


check("0.1", brightest)

# %% [markdown]
# **Exercise 0.2.** How much of the weight lies in one part of the picture? Write a function that
# computes this for a box of cells. `top` and `left` are the first row and column of the box, `rows`
# and `columns` its size.

# %%
def share(weights, top, left, rows, columns):
    """Return the sum of the weights in a box of cells."""
    ...


# %%
check("0.2", share)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def share(weights, top, left, rows, columns):
    """Return the sum of the weights in a box of cells."""
    return weights[top : top + rows, left : left + columns].sum()


check("0.2", share)

# %% [markdown]
# **Exercise 0.3.** Two models, two captions. Which words occur only in the first one?

# %%
def only_in_first(first, second):
    """Return the words of the first list that are not in the second, in order."""
    ...


# %%
check("0.3", only_in_first)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def only_in_first(first, second):
    """Return the words of the first list that are not in the second, in order."""
    return [word for word in first if word not in second]


check("0.3", only_in_first)

# %% [markdown]
# Try it: `only_in_first(soft_caption.words, hard_caption.words)`.
#
# ## Does it look at what it names?
#
# For each word, `describe` does what you did in exercises 0.1 and 0.2. It prints the brightest
# cell, and how much of the weight lies in this cell and its neighbours. Together these are nine of
# the 64 cells, or six at the border.

# %% tags=["nbval-ignore-output"]
def describe(caption):
    """Print where each word looked most, and how much of the weight lies around it."""
    for word, weights in zip(caption.words, caption.alpha, strict=True):
        row, column = divmod(int(weights.argmax()), weights.shape[1])
        around = weights[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].sum()
        print(f"{word:10} row {row}, column {column}: {around:4.0%} around it")


describe(soft_caption)

# %% [markdown]
# The viewer divides the picture into nine parts and names the part with the most weight. Here you
# see the brightest cell. On a flat map the two can differ.
#
# Now the same for hard attention. This model used the brightest cell and nothing else. The weights
# say how sure it was of its choice.

# %% tags=["nbval-ignore-output"]
describe(hard_caption)

# %% [markdown]
# If the weight were spread evenly, nine cells would have 14% of it, and six at the border 9%. Soft
# attention is not far from that for many words: it looks everywhere, with a slight preference.
#
# Hard attention has to choose one cell. Look at the rows and columns above: it used only three
# different cells for all the words, and they lie on the suit below the face. The model looked there
# for *man*, and for *is* as well. So here the answer to our question is: mostly no.
#
# *Helmet* is right: there is a round one at the lower right. Did hard attention look there before
# it generated the word? No, it looked at the collar. And soft attention came up with a *red cup*
# that does not exist. A wrong word has a map too, and the map does not show that the word is wrong.
# Lab 8 comes back to this.
#
# ## Where everything is known
#
# With a photograph you can argue about where a word *should* look. With a drawn scene you cannot:
# the program that drew it knows what is there, and where. Below, x and y are the centre of a shape,
# as fractions of width and height, measured from the upper left.

# %%
scene = labkit.make_scenes(1, seed=30, split="test")[0]
for thing in scene.facts["things"]:
    place = f"x {thing['x']:.2f}, y {thing['y']:.2f}"
    print(f"{thing['size']:6} {thing['colour']:7} {thing['shape']:9} {place}")

# %%
from labkit.data.scenes import is_true, things_of

load = labkit.Captioner.from_pretrained
models = {name: load(f"scenes-{name}") for name in ("soft", "hard")}
scene_captions = {name: model.caption(scene.image) for name, model in models.items()}
for name, caption in scene_captions.items():
    print(f"{name}: {caption.text}  (true: {is_true(caption.text, things_of(scene.facts))})")

# %% mystnb={"figure": {"caption": "A drawn scene, captioned with soft and with hard attention.", "name": "fig:first-scene"}} tags=["nbval-ignore-output"]
labkit.AttentionViewer(scene.image, scene_captions, alt="A drawn scene of coloured shapes.")

# %% [markdown]
# Look at the words that name a shape. For most of them the bright area lies on that shape. Now look
# at *a* and *and*: where should the model look for those?
#
# ## A photograph of your own
#
# `soft.caption("my.jpg")` reads a file. So does the command line, which also draws the maps. In a
# terminal, in the project's folder:
#
# ```
# source .venv/bin/activate
# labkit caption flickr8k-soft my.jpg --out captions
# ```
#
# In the book, the models run in the page itself:

# %% [markdown]
# <div class="try-captioner"><p>On the book's page of this lab, drop a photograph here.</p></div>

# %% [markdown]
# ## Summary
#
# - An encoder turns a picture into a grid of vectors. A decoder generates a caption word by word.
# - Before each word the decoder assigns weights to the cells of the grid. These weights can be
#   drawn.
# - Soft attention sees the weighted mean of all cells, hard attention one cell for each word.
# - With drawn scenes you can check what a caption says, and where the model looked.
#
# **To think about.** Suppose that the bright area always lies on the right object. Does that prove
# that the model *used* what is there?
#
# **Next.** [Lab 1: images, captions, vocabulary](01_captions_and_vocabulary.ipynb)
