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
# # Lab 2: from a photograph to annotation vectors
#
# **What you will learn.** How a photograph becomes a grid of vectors, what each vector knows about
# the photograph, and what it costs to prepare the pixels in the wrong way.
#
# **Time.** About 60 minutes, of which your machine needs less than one.
#
# **Before you start.** Lab 0. You know what a convolution is.
#
# **The question.** The decoder never sees a pixel. It sees vectors. Does vector number 17 really
# describe the 17th region in the photograph?

# %%
import torch

import labkit

torch.set_num_threads(1)  # so that the numbers are the same everywhere

# %% [markdown]
# ## Four photographs
#
# They come with the library scikit-image, so nothing is downloaded. Each pixel has three numbers
# from 0 to 255, for red, green and blue.

# %%
from importlib.resources import files

from labkit.data.photos import read_photo, to_input

folder = files("skimage") / "data"
names = {"astronaut": "astronaut.png", "cat": "chelsea.png",
         "coffee": "coffee.png", "rocket": "rocket.jpg"}  # fmt: skip
photos = {name: read_photo(folder / file) for name, file in names.items()}
print({name: photo.size for name, photo in photos.items()})

# %% [markdown]
# These are widths and heights. The network expects a square, here 224 pixels wide and 224 high.
# Most photographs are not square. What can we do?
#
# We can cut a square out of the middle, and lose what is at the sides. We can pad the photograph
# with grey, and waste a part of the grid. `labkit` squashes: the whole photograph is used, and it
# looks a little too thin or too wide.

# %%
inputs = {name: to_input(photo, 224) for name, photo in photos.items()}
print(inputs["cat"].shape, inputs["cat"].dtype)  # now the channels come first

# %% mystnb={"figure": {"caption": "Four photographs as they are, and squashed to the square that the network expects.", "name": "fig:squashed"}, "image": {"alt": "Eight pictures in two rows: an astronaut, a cat, a cup of coffee and a rocket in their own shapes, and below each the same made square."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, panels = plt.subplots(2, 4, figsize=(7, 3.2), layout="constrained")
for (above, below), name in zip(panels.T, photos, strict=True):
    above.imshow(photos[name])
    below.imshow(inputs[name].transpose(1, 2, 0))
    above.set_title(name)
for panel in panels.flat:
    panel.set_axis_off()
plt.show()

# %% [markdown]
# Squashing has one great advantage. A place keeps its *fraction*: what was at a third of the width
# stays at a third of the width. So a map of weights can be stretched over the photograph, and each
# weight lies where the network looked.
#
# **Exercise 2.1.** The network returns a grid of cells, numbered row by row from the top left,
# starting with 0. Write `cell_of`: in which cell is the pixel $(x, y)$ of a photograph? $x$ counts
# to the right and $y$ downwards.

# %%
from labkit.checks import check


def cell_of(x, y, width, height, rows, columns):
    """Return the number of the cell, an int."""
    return ...


check("2.1", cell_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def cell_of(x, y, width, height, rows, columns):
    """Return the number of the cell, an int."""
    row, column = y * rows // height, x * columns // width
    return row * columns + column


check("2.1", cell_of)

# %% [markdown]
# ## The numbers that the network expects
#
# A network expects pixels in the range in which it was trained. Usually a mean was subtracted from
# the pixels, and the result was divided by a standard deviation, separately for each of the three
# channels. Which mean, and which standard deviation? That differs from network to network, and you
# have to look it up.
#
# Ours is EfficientNet-Lite0. It expects a mean of 127 and a standard deviation of 128 for all three
# channels. Most networks in the library torchvision expect the mean and the standard deviation of
# the ImageNet photographs.
#
# **Exercise 2.2.** Write `normalise`. `pixels` is (3, S, S), `mean` and `std` are (3,).

# %%
def normalise(pixels, mean, std):
    """Return (3, S, S), floats."""
    return ...


check("2.2", normalise)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def normalise(pixels, mean, std):
    """Return (3, S, S), floats."""
    return (pixels - mean[:, None, None]) / std[:, None, None]


check("2.2", normalise)

# %%
x = torch.from_numpy(inputs["cat"])
mean, std = torch.full((3,), 127.0), torch.full((3,), 128.0)
normalised = normalise(x, mean, std)
low, high = normalised.min(), normalised.max()
print(f"{x.min()} to {x.max()} become {low:.1f} to {high:.1f}")

# %% [markdown]
# `labkit`'s encoder does this by itself. You pass it bytes, and it knows what its network expects.
# So nobody who uses it can get this wrong. Further down we will get it wrong on purpose.
#
# ## The grid

# %%
encoder = labkit.load_encoder(bf16=False)
pixels = torch.stack([*map(torch.from_numpy, inputs.values())])
maps = encoder.maps(pixels)
print("pixels", tuple(pixels.shape))
print("maps  ", tuple(maps.shape))  # (pictures, channels, rows, columns)

# %% [markdown]
# (`bf16=False` asks for full precision. Without it, some processors use a faster but less precise
# arithmetic.)
#
# From 224 x 224 pixels to 7 x 7 cells: each cell stands for 32 x 32 pixels. And each has 1,280
# channels. One channel may respond to fur, another to round edges. Nobody chose them. They were
# learned when the network was trained to name what is in a photograph.
#
# The decoder expects a list of vectors, one for each cell: $a_1, \dots, a_L$. The paper calls them
# *annotation vectors*. There are $L$ of them, and each has $D$ numbers, the channels. Here $L$ is
# 49 and $D$ is 1,280. A batch of $B$ pictures is a tensor (B, L, D).
#
# **Exercise 2.3.** Write `to_vectors`. Go row by row: the first row of the grid comes first.
#
# <details><summary>Hint</summary>
#
# `flatten(2)` joins the last two axes. `transpose(1, 2)` swaps two axes.
#
# </details>

# %%
def to_vectors(maps):
    """Return (B, L, D) from (B, D, rows, columns)."""
    return ...


check("2.3", to_vectors)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def to_vectors(maps):
    """Return (B, L, D) from (B, D, rows, columns)."""
    return maps.flatten(2).transpose(1, 2)


check("2.3", to_vectors)

# %%
a = to_vectors(maps)
print(tuple(a.shape), "same as labkit:", torch.equal(a, encoder(pixels)))

# %% [markdown]
# ### Which grid?
#
# We can also take the feature map of an earlier layer. Its cells are smaller, but they know less
# about what things are. `labkit` offers three maps of this network. `last` is the one above. In
# `stride16`, from an earlier layer, a cell stands for 16 x 16 pixels. `both` averages that map down
# to 7 x 7 and appends it to the last one: 1,280 + 112 channels. How large is one picture in each of
# them, in 16-bit numbers?

# %%
from labkit.features.encoder import EncoderConfig

for block in ("last", "stride16", "both"):
    other = labkit.load_encoder(EncoderConfig(block=block), bf16=False)
    rows, columns = other.grid
    size = rows * columns * other.dim * 2 / 1024
    print(f"{block:9} {rows} x {columns} x {other.dim:4}: {size:3.0f} KiB")

# %% [markdown]
# The paper's VGG map is 14 x 14 x 512, which is 196 KiB. For the 82,783 training photographs of
# COCO in 32 bits that makes 33 GB. How to train with this much data on a small machine is the
# subject of lab 3.
#
# ## What does a cell see?
#
# Cell 24 is the one in the middle. Does it depend only on the 32 x 32 pixels in the middle? No:
# each layer of the network looks at a neighbourhood of the layer below, and after many layers these
# neighbourhoods have grown. The part of the picture that a cell depends on is called its
# **receptive field**.
#
# We can measure it. How much does the cell's vector change if a pixel changes a little? A vector
# has many numbers, and each has a gradient with respect to the pixels. So we add the numbers up,
# and take the gradient of the sum. This is a rough measure, since changes up and down can cancel.

# %%
def influence_on(encoder, pixels, row, column):
    """Return how much each pixel influences one cell, (S, S)."""
    x = pixels.float().requires_grad_()  # (3, S, S)
    normalised = (x - encoder.mean) / encoder.std
    cell = encoder.network(normalised[None])[0, :, row, column]  # (D,)
    cell.sum().backward()
    return x.grad.abs().sum(0)

# %%
fine = labkit.load_encoder(EncoderConfig(block="stride16"), bf16=False)
cat = torch.from_numpy(inputs["cat"])
heatmaps = {
    "last, row 3, column 3": influence_on(encoder, cat, 3, 3),
    "last, row 1, column 5": influence_on(encoder, cat, 1, 5),
    "stride16, row 7, column 7": influence_on(fine, cat, 7, 7),
}

# %% mystnb={"figure": {"caption": "How much each pixel influences one cell. The blue frame is the cell's own part of the picture.", "name": "fig:receptive"}, "image": {"alt": "The squashed cat, and three dark maps with a bright blur. Each blur lies near its cell, not exactly on it, and reaches far beyond it. The blur of the finer grid is smaller."}} tags=["nbval-ignore-output"]
figure, panels = plt.subplots(1, 4, figsize=(10, 3))
panels[0].imshow(cat.permute(1, 2, 0))  # squares: x, y, side
boxes = (96, 96, 32), (160, 32, 32), (112, 112, 16)
for panel, name, (x, y, side) in zip(panels[1:], heatmaps, boxes, strict=True):
    panel.imshow(heatmaps[name] ** 0.5, cmap="magma")
    panel.add_patch(plt.Rectangle((x, y), side, side, fill=False, ec="cyan"))
    panel.set_title(name, fontsize=9)
for panel in panels:
    panel.set_axis_off()
plt.show()

# %% [markdown]
# **Exercise 2.4.** How much of the influence comes from the cell's own part of the picture? Write
# `share_inside`. The heatmap is square, with S pixels on each side. A cell is `S / rows` high and
# `S / columns` wide.

# %%
def share_inside(heatmap, row, column, rows, columns):
    """Return the share of the heatmap's sum that lies in the cell's own part."""
    return ...


check("2.4", share_inside)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def share_inside(heatmap, row, column, rows, columns):
    """Return the share of the heatmap's sum that lies in the cell's own part."""
    height, width = len(heatmap) // rows, len(heatmap) // columns
    part = heatmap[row * height : (row + 1) * height]
    part = part[:, column * width : (column + 1) * width]
    return part.sum() / heatmap.sum()


check("2.4", share_inside)

# %%
middle = heatmaps["last, row 3, column 3"]
own = share_inside(middle, 3, 3, 7, 7)
nine = [(row, column) for row in (2, 3, 4) for column in (2, 3, 4)]
around = sum(share_inside(middle, *cell, 7, 7) for cell in nine)
print("its own part has less than a tenth: ", bool(own < 0.1))
print("that is more than an even share:    ", bool(own > 1 / 49))
print("with its 8 neighbours, over a fifth:", bool(around > 0.2))
beside = share_inside(middle, 3, 4, 7, 7)
print("the part to its right has more:     ", bool(beside > own))

# %% [markdown]
# The influence is concentrated around the middle. But the largest share does not come from cell
# 24's own part: the part to its right has more, because the influence also depends on what is in
# the picture there. And most of it comes from outside the nine cells. How far does it reach? We
# count the pixels that have any influence at all.

# %%
for name, heatmap in heatmaps.items():
    print(f"{name:26} {(heatmap > 0).float().mean():.2f} of the picture")

# %% [markdown]
# Nearly every pixel has a little influence on every cell, in both grids. The field has no edge. It
# fades out.
#
# ### What if a part is covered?
#
# The gradient describes small changes. What if we cover a part of the photograph with grey? We
# cover the part of one cell after another, 49 times, and measure each time how far each of the 49
# vectors moves, relative to its length.

# %%
def cover(x, k):
    """Return the picture with the part of cell k in grey."""
    x, (row, column) = x.clone(), divmod(k, 7)
    x[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 127
    return x


after = torch.cat([encoder(cover(cat, k)[None]) for k in range(49)])
before = encoder(cat[None])  # (1, 49, 1280)
change = (after - before).norm(dim=-1) / before.norm(dim=-1)  # (49, 49)

# %% [markdown]
# Row $k$ of `change` says how far each vector moved when cell $k$ was covered. Now we group these
# numbers by their distance from the covered cell: 0 is the covered cell itself, 1 its neighbours,
# and so on.

# %%
k = torch.arange(49)
place = torch.stack([k // 7, k % 7], 1)  # row and column of a cell
distance = (place[:, None] - place).abs().amax(-1)  # (49, 49), 0 to 6
means = [change[distance == d].mean().item() for d in range(7)]
print("0 away: over twice as far as 3 away: ", means[0] > 2 * means[3])
print("6 away: still over 1 % of its length:", means[6] > 0.01)

# %% mystnb={"figure": {"caption": "Left, the cat with one cell covered. Right, how far a vector moves when a cell at a given distance is covered, relative to its length.", "name": "fig:covered"}, "image": {"alt": "The squashed cat with a grey square, and a curve that falls from about 0.55 at distance 0 to about 0.03 at distance 6."}} tags=["nbval-ignore-output"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.imshow(cover(cat, 24).permute(1, 2, 0))
left.set_axis_off()
right.plot(means, "o-")
right.set_ylim(0)
right.set_xlabel("distance of the covered cell, in cells")
right.set_ylabel("how far the vector moves")
plt.show()

# %% [markdown]
# All vectors move, the near ones most. So be careful when you read an attention map. *The model
# looked at cell 24* means: it used a vector that knows the middle of the picture best, and much
# else as well.
#
# ## What does a wrong normalisation cost?
#
# Suppose that you take this network and prepare the pixels for a different one. Nothing fails.
# There is no error and no warning, because the numbers have the right shape. What happens to the
# vectors?
#
# **Exercise 2.5.** Write `moved`: how far are the wrong vectors from the right ones? Divide each
# distance by the length of the right vector, then average over all pictures and cells.

# %%
def moved(right, wrong):
    """Return one number, from two tensors (N, L, D)."""
    return ...


check("2.5", moved)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def moved(right, wrong):
    """Return one number, from two tensors (N, L, D)."""
    distance = (wrong - right).norm(dim=-1)  # (N, L)
    return (distance / right.norm(dim=-1)).mean()


check("2.5", moved)

# %% [markdown]
# Here are the right way to prepare pixels and five typical mistakes. `p` holds bytes, (B, 3, S, S).

# %%
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # ImageNet's
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
preparations = {
    "right": lambda p: (p - 127.0) / 128,
    "ImageNet's": lambda p: (p / 255 - MEAN) / STD,
    "0 to 1": lambda p: p / 255,
    "0 to 255": lambda p: p.float(),
    "blue first": lambda p: (p.flip(1) - 127.0) / 128,
    "upside down": lambda p: (p.flip(2) - 127.0) / 128,
}

# %% [markdown]
# The last two are mistakes in reading the file. Some libraries return blue, green, red instead of
# red, green, blue. And some count rows from the bottom.

# %% tags=["nbval-ignore-output"]
def vectors(encoder, prepared):
    """Return (B, L, D), without the encoder's own normalisation."""
    return to_vectors(encoder.network(prepared))


found = {name: vectors(encoder, prepare(pixels)) for name, prepare in preparations.items()}
distances = {name: moved(found["right"], x).item() for name, x in found.items()}
print({name: round(value, 2) for name, value in distances.items()})

# %%
same = torch.allclose(found["right"], a, atol=1e-2)
print("the right way agrees with labkit:", same)
print("ImageNet's moves them by over half:", distances["ImageNet's"] > 0.5)
print("bytes move them by more than their length:", distances["0 to 255"] > 1)

# %% [markdown]
# Is that a lot? A decoder might hardly notice, or it might fail completely. We need one that was
# trained with the right vectors: the model for drawn scenes that comes with `labkit`. We give it 50
# scenes, prepared in the six ways, and check its captions.

# %%
from labkit.features.prepare import SCENE_ENCODER

captioner = labkit.Captioner.from_pretrained("scenes-soft")
small = labkit.load_encoder(SCENE_ENCODER, bf16=False)
scenes = labkit.make_scenes(50, seed=7, split="test")
scene_pixels = [torch.from_numpy(to_input(s.image, 112)) for s in scenes]
scene_pixels = torch.stack(scene_pixels)
print(tuple(scene_pixels.shape), "to", tuple(small(scene_pixels).shape))

# %%
from labkit.data.scenes import things_of
from labkit.evaluation.pointing_game import scene_scores


def scores_of(prepare):
    """Caption the scenes, prepared in one way, and check the captions."""
    captions = captioner.generate(vectors(small, prepare(scene_pixels)))
    maps = [torch.from_numpy(one.alpha).flatten(1) for one in captions]
    pairs = list(zip([one.words for one in captions], maps, strict=True))
    facts = [things_of(scene.facts) for scene in scenes]
    return scene_scores(pairs, facts, small.grid, known=(0, 0))

# %% [markdown]
# The scores are fractions. *Shapes right*: of the shapes that the captions mention, how many are in
# the scene. *Points right*: of the words that name something in the scene, how many have their
# brightest cell on it. *Captions true*: how many captions are true in every detail.

# %% tags=["nbval-ignore-output"]
scores = {name: scores_of(prepare) for name, prepare in preparations.items()}
print(f"{'':12} shapes right  points right  captions true")
for name, s in scores.items():
    row = s.objects_right, s.pointing, s.captions_true
    print(f"{name:12}", *(f"{value:13.2f}" for value in row))

# %% mystnb={"figure": {"caption": "The share of the mentioned shapes that are in the scene, for 50 scenes whose pixels were prepared in six ways. The model was trained with the first.", "name": "fig:wrong-ways"}, "image": {"alt": "Six bars. The right way is near 0.9. ImageNet's, 0 to 1 and blue first are between a half and 0.7. 0 to 255 is near 0.1. Upside down is above 0.8."}} tags=["nbval-ignore-output"]
plt.figure(figsize=(7, 3), layout="constrained")
plt.barh(list(scores), [s.objects_right for s in scores.values()])
plt.gca().invert_yaxis()
plt.xlabel("share of mentioned shapes that are right")
plt.xlim(0, 1)
plt.show()

# %%
share = {name: s.objects_right for name, s in scores.items()}
lost = {name: share["right"] - one for name, one in share.items()}
print("ImageNet's loses over 0.1:", lost["ImageNet's"] > 0.1)
print("blue first loses over 0.2:", lost["blue first"] > 0.2)
print("bytes lose over 0.5:      ", lost["0 to 255"] > 0.5)

# %% [markdown]
# (*Points right* leaves out words that name nothing in the scene. So each row is about different
# words, and in the row *0 to 255* there are few of them. This is why *ImageNet's* can be higher
# than *right*.)
#
# Look at the second row. With ImageNet's numbers two shapes in three are still right. If you saw
# only that, you would say: *a weak model*. You would train longer, or try a larger one. The bug is
# in one line that nobody looks at. This is the usual kind of bug in this field: it does not stop
# you, it only makes your results a little worse.
#
# Now look at *upside down*. Most shapes are right, because a circle is a circle. But where does the
# model look?

# %%
upside = scores["upside down"]
print("shapes right over 0.7: ", upside.objects_right > 0.7)
print("points right below 0.5:", upside.pointing < 0.5)

# %% [markdown]
# The maps are upside down, too. The captions alone would not have shown this. So it is worth
# looking at where a model looks.
#
# Would a model *trained* with the wrong numbers be as bad? Not nearly: the decoder would have
# learned to use what it gets. The worst case is to train in one way and to caption in another.
# `labkit` records with each trained model which encoder made its vectors. It refuses a store that
# was made with another encoder, and `captioner.caption` prepares the pixels itself. Vectors that
# you pass in yourself, as we did, cannot be checked. The network's name also determines its mean
# and standard deviation.

# %%
facts = captioner.encoder_facts
print({name: facts[name] for name in ("name", "size", "block", "fit")})

# %% [markdown]
# ## Questions
#
# <details><summary>Cell 24 is covered with grey, and vector 0 moves. How can that be?</summary>
#
# Its receptive field covers nearly the whole picture. The pixels in the middle have little
# influence on it, but they do have some.
#
# </details>
#
# <details><summary>Why not take the finest grid there is, that of the first layer?</summary>
#
# Its vectors know edges and colours, but not what a thing is. And there would be 12,544 of them:
# the decoder would have to score each of them before each word.
#
# </details>
#
# <details><summary>You reshape the maps from (B, D, rows, columns) to (B, L, D) without swapping
# axes. What goes wrong?</summary>
#
# Each "vector" then holds a few channels at many regions. The shape is right, but no vector belongs
# to a region any more. Training runs, and the attention maps mean nothing.
#
# </details>
#
# ## Summary
#
# - A photograph is squashed, normalised, and turned into a grid of vectors by a network that was
#   trained to name things.
# - A vector describes its own region best, and a little of nearly all of the picture.
# - A wrong normalisation raises no error. On drawn scenes it cost between a fifth and five sixths
#   of the right shapes.
# - Store with each model how its vectors were made.
#
# **To think about.** Attention puts all its weight on one cell, and the word is right. You cover
# that cell with grey, and the word stays right. What have you learned about the model, and what
# have you not?
#
# **Next.** [Lab 3: 33 GB on a small machine](03_memory.ipynb)
