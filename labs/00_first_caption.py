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
# # Lab 0: a first caption
#
# **What you will learn.** How a picture becomes a caption, step by step, and how to ask the model
# where it looked at each word.
#
# **Time.** About 10 minutes, of which the machine takes one.
#
# **Before you start.** Nothing but Python. If `import labkit` works, you are ready.
#
# **The question.** When a model says *a red circle*, did it look at the red circle?

# %%
import torch

import labkit

torch.set_num_threads(1)  # so that the numbers below are the same on every machine
print("scenes-soft" in labkit.shipped())

# %% [markdown]
# ## A picture whose facts are known
#
# A drawn scene is a good first picture, because nobody can argue about what is in it. `make_scenes`
# draws as many as you like. The seed chooses which.

# %%
scene = labkit.make_scenes(1, seed=30, split="test")[0]
scene.image.shape

# %% [markdown]
# A scene comes with captions, and with the list of the things that were drawn. Positions and sizes
# are fractions of the picture, counted from its top left corner.

# %%
for caption in scene.captions:
    print(caption)

# %%
for thing in scene.facts["things"]:
    place = f"x {thing['x']:.2f}, y {thing['y']:.2f}"
    print(f"{thing['size']:6} {thing['colour']:7} {thing['shape']:9} {place}")

# %% [markdown]
# ## The model looks, then tells
#
# `load` gives a trained model. It has two parts. A convolutional network, the *encoder*, turns the
# picture into a grid of vectors. An LSTM, the *decoder*, tells one word after the other.

# %%
captioner = labkit.load("scenes-soft")
told = captioner.tell(scene.image)
told.text

# %% [markdown]
# Is it true? The facts are known, so a program can check it.

# %%
from labkit.scenes import is_true, things_of

is_true(told.text, things_of(scene.facts))

# %% [markdown]
# ## Where did it look?
#
# Before each word the decoder gives a weight to each cell of the grid. The weights of a word are
# all positive, and their sum is 1. So there is one map for each word.

# %%
words, rows, columns = told.alpha.shape
print(f"{words} words, a grid of {rows} x {columns} cells")
print(f"the first map sums to {told.alpha[0].sum():.3f}")

# %% mystnb={"figure": {"caption": "The scene, then one map for each word of the caption. Bright is where the model looked before it said the word.", "name": "fig:first-strip"}, "image": {"alt": "A drawn scene of coloured shapes, and the same scene once for each word of the caption, bright where the attention was."}} tags=["nbval-ignore-output"]
labkit.attention_strip(scene.image, told.words, told.alpha)

# %% [markdown]
# Look at the words that name a shape. For most of them the bright place lies on that shape. Now
# look at *a* and *is*: where should one look for those?

# %% [markdown]
# ## Point at a word
#
# A strip shows all words at once, each picture small. The next figure shows one word at a time.
# Point at a word, tap it, or walk along the caption with the arrow keys. The line below the picture
# says where the model looked, and how much of the weight lies there.

# %% mystnb={"figure": {"caption": "The same maps, one at a time. Point at a word of the caption.", "name": "fig:first-viewer"}} tags=["nbval-ignore-output"]
labkit.AttentionViewer(scene.image, {"soft": told}, alt="A drawn scene.")

# %% [markdown]
# Later labs put two models side by side in this figure: one with soft, one with hard attention.

# %% [markdown]
# ## Your turn
#
# **Exercise 1.** For each shape word, find the cell with the largest weight, and print its place as
# fractions of the picture. Compare with the list of things above.
#
# <details><summary>Hint</summary>
#
# `told.alpha[k].argmax()` counts the cells row by row. `divmod` by the number of columns gives row
# and column. The centre of cell number 0 is at `0.5 / columns`.
#
# </details>

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
from labkit.scenes import SHAPES

for word, weights in zip(told.words, told.alpha, strict=True):
    if word in SHAPES:
        row, column = divmod(int(weights.argmax()), columns)
        print(f"{word:9} x {(column + 0.5) / columns:.2f}, y {(row + 0.5) / rows:.2f}")

# %% [markdown]
# **Exercise 2.** One scene proves little. Tell the first 20 scenes of the split "test" with seed 7,
# and count how many captions are true.

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
scenes = labkit.make_scenes(20, seed=7, split="test")
true = [is_true(captioner.tell(s.image).text, things_of(s.facts)) for s in scenes]
print("more than a quarter are true:", sum(true) > 5)

# %% [markdown]
# **Exercise 3.** Take a photograph of your own: `captioner.tell("my.jpg")`. This model has seen
# nothing but drawn shapes. What does it say, and why can it not say anything else?
#
# ## Summary
#
# - An encoder turns a picture into a grid of vectors, a decoder tells word after word.
# - Before each word the decoder weighs the cells of the grid. The weights can be drawn.
# - On drawn scenes one can check what is told, and where the model looked.
#
# **To think on.** Suppose that the bright place always lies on the right shape. Does that prove
# that the model *used* what is there?
