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
# # Lab 1: images, captions, vocabulary
#
# **What you will learn.** What a captioned image is, how Flickr8k and COCO store captions, how a
# caption becomes a list of numbers, and what gets lost on the way.
#
# **Time.** About 60 minutes, of which your machine needs less than one.
#
# **Before you start.** Lab 0. You can read a Python dictionary and a list comprehension.
#
# **The question.** A model can only use words that it knows. Which words should those be? And what
# does it lose with each word that it does not know?

# %% [markdown]
# A *split* is a part of a data set: `train` to learn from, `dev` to choose settings with, `test`
# for the final score.

# %%
import labkit

scenes = labkit.make_scenes(4, seed=1, split="train")
scene = scenes[0]
print(len(scenes), "scenes of", scene.image.shape, scene.image.dtype)

# %% [markdown]
# ## What is a captioned image?
#
# An image, together with captions that describe it. `labkit` represents it as a `CaptionedImage`,
# wherever it came from. Here is one of the drawn scenes.

# %%
print(scene.id, "in the split", scene.split)
for caption in scene.captions:
    print("-", caption)

# %% mystnb={"figure": {"caption": "Four drawn scenes, each with the first of its five captions.", "name": "fig:four-scenes"}, "image": {"alt": "Four square pictures of coloured shapes on grey, a caption above each."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, panels = plt.subplots(2, 2, figsize=(8, 5), layout="constrained")
for panel, example in zip(panels.flat, scenes, strict=True):
    panel.imshow(example.image)
    panel.set_title(example.captions[0], fontsize=8)
    panel.set_axis_off()
plt.show()

# %% [markdown]
# The five captions differ, and all of them are true. There is no single right caption. So a model
# does not learn *the* caption of a picture. It learns which captions are likely.
#
# With drawn scenes we know one thing more: each word that refers to an object has a box, which says
# where that object is. The four numbers are left, top, right and bottom, as fractions of the width
# and the height. Words such as *and* have no box. Labs 5 and 8 use the boxes to ask whether the
# model looked at the right place. Flickr8k's own files have no such boxes.

# %%
from labkit.data.readers import tokenize

words, boxes = tokenize(scene.captions[0]), scene.boxes[0]
for word, box in zip(words, boxes, strict=True):
    print(f"{word:9}", [round(x, 2) for x in box] if box else "-")

# %% [markdown]
# ## How does Flickr8k store its captions?
#
# Flickr8k has 8,000 photographs with five captions each. The photographs are in one folder. All
# captions are in one text file, one per line. The splits are lists of names. Let us make such a
# data set from three drawn scenes, in a temporary folder that is deleted at the end.

# %%
import tempfile
from pathlib import Path

from PIL import Image

folder = tempfile.TemporaryDirectory()
root = Path(folder.name) / "flickr8k"
photos, texts = root / "Flicker8k_Dataset", root / "Flickr8k_text"
photos.mkdir(parents=True)
texts.mkdir()

# %% [markdown]
# (The folder of photographs really is spelled *Flicker8k*. Anyone who works with real data has to
# live with such things.)

# %%
lines = []
for k, scene in enumerate(scenes[:3]):
    Image.fromarray(scene.image).save(photos / f"{k}_ab.jpg")
    for n, caption in enumerate(scene.captions):
        lines.append(f"{k}_ab.jpg#{n}\t{caption.capitalize()} .\n")
(texts / "Flickr8k.token.txt").write_text("".join(lines))
(texts / "Flickr_8k.trainImages.txt").write_text("0_ab.jpg\n1_ab.jpg\n")
(texts / "Flickr_8k.devImages.txt").write_text("2_ab.jpg\n")
print("".join(lines[4:7]))

# %% [markdown]
# A line consists of the photograph's name, `#`, the number of the caption, a tab, and the caption.
#
# **Exercise 1.1.** Write `read_lines`. It takes the whole text of such a file and returns a
# dictionary that maps the name of each photograph to the list of its captions, in order.
#
# <details><summary>Hint</summary>
#
# Use `text.splitlines()`, then split each line at the tab, then the first part at the `#`. If `d`
# is a dictionary, `d.setdefault(name, [])` returns the list for that name, and adds an empty one
# first if there is none.
#
# </details>

# %%
from labkit.checks import check


def read_lines(text):
    """Return a dictionary: name -> list of captions."""
    return ...


check("1.1", read_lines)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def read_lines(text):
    """Return a dictionary: name -> list of captions."""
    captions = {}
    for line in text.splitlines():
        key, caption = line.split("\t")
        name = key.split("#")[0]
        captions.setdefault(name, []).append(caption)
    return captions

check("1.1", read_lines)

# %% [markdown]
# Does `labkit` get the same result?

# %%
records = labkit.read_flickr8k(root)
mine = read_lines((texts / "Flickr8k.token.txt").read_text())
for record in records:
    same = list(record.captions) == mine[record.id]
    print(record.id, record.split, len(record.captions), "captions", same)

# %% [markdown]
# ## What if the files are wrong?
#
# Your function trusts every line. Real files have faults: a photograph is missing, a line is cut
# short, a caption is empty. The worst thing that a program can do is to skip such cases silently.
# Then you train on less data than you think, and nobody knows.
#
# Let us damage the files. We add a line without a tab, a caption that is only a full stop, a
# caption for a photograph that does not exist, and a name in the list that has no photograph.

# %%
lines += ["1_ab.jpg#5 no tab here\n", "1_ab.jpg#6\t .\n"]
lines += ["9_zz.jpg#0\tA ghost .\n"]
(texts / "Flickr8k.token.txt").write_text("".join(lines))
(texts / "Flickr_8k.devImages.txt").write_text("2_ab.jpg\n8_xy.jpg\n")

report = labkit.DataReport()
records = labkit.read_flickr8k(root, report=report)
print(report)

# %% [markdown]
# Everything that could be read was read, and everything that was left out is named. If you would
# rather stop at the first fault, ask for a strict report.

# %%
try:
    labkit.read_flickr8k(root, report=labkit.DataReport(strict=True))
except ValueError as error:
    print(error)

# %% [markdown]
# ## How does COCO store its captions?
#
# COCO has one JSON file for each split. It contains two lists: `images`, and `annotations`, which
# are the captions. An annotation has its own id, and refers to its image by `image_id`. The
# annotations are in no useful order, and not every image has five.

# %%
import json

data = {
    "images": [{"id": 20 + k, "file_name": f"{k}.jpg"} for k in range(3)],
    "annotations": [
        {"id": 70 + n, "image_id": 22 - k, "caption": caption}
        for k, scene in enumerate(scenes[:3])
        for n, caption in enumerate(scene.captions[: 2 + k])
    ],
}

# %%
print(data["images"][0])
print(data["annotations"][0])
print(len(data["images"]), "images,", len(data["annotations"]), "captions")

# %% [markdown]
# **Exercise 1.2.** Write `captions_of`. It takes such a dictionary and returns another one, which
# maps the id of each image to the list of its captions. An image without captions gets an empty
# list.

# %%
def captions_of(data):
    """Return a dictionary: image id -> list of captions."""
    return ...


check("1.2", captions_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def captions_of(data):
    """Return a dictionary: image id -> list of captions."""
    captions = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        captions[annotation["image_id"]].append(annotation["caption"])
    return captions


check("1.2", captions_of)

# %% [markdown]
# We write the files in COCO's layout and let `labkit` read them: `annotations/` for the JSON, and a
# folder of photographs for each split.

# %%
coco = Path(folder.name) / "coco"
(coco / "annotations").mkdir(parents=True)
(coco / "train2017").mkdir()
for k, scene in enumerate(scenes[:3]):
    Image.fromarray(scene.image).save(coco / "train2017" / f"{k}.jpg")
path = coco / "annotations" / "captions_train2017.json"
path.write_text(json.dumps(data))
records = labkit.read_coco(coco)
print([(record.id, len(record.captions)) for record in records])

# %%
mine = captions_of(data)
all(list(record.captions) == mine[int(record.id)] for record in records)

# %% [markdown]
# From here on nobody needs to know where an image came from: all of `labkit`'s readers return the
# same kind of record.
#
# ## What is a word?
#
# To a computer a caption is a sequence of characters. Are *Dog*, *dog* and *dog.* three different
# words? It is better to say no. Otherwise the model has to learn each of them separately, from
# fewer examples.
#
# **Exercise 1.3.** Write `split_words`. It returns the words in lower case, without punctuation. A
# word consists of letters and digits. A hyphen between them is kept.
#
# <details><summary>Hint</summary>
#
# `re.findall(r"\w+", text)` finds runs of letters and digits. `(?:-\w+)*` matches a hyphen and
# another such run, any number of times.
#
# </details>

# %%
def split_words(caption):
    """Return a list of words."""
    return ...


check("1.3", split_words)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
import re


def split_words(caption):
    """Return a list of words."""
    return re.findall(r"\w+(?:-\w+)*", caption.lower())


check("1.3", split_words)

# %% [markdown]
# English has more traps. What does your function do with the possessive *man's*? `labkit` treats
# *'s* as a separate word, as the programs that score captions do. Other apostrophes stay inside the
# word: *doesn't* is one word.

# %%
caption = "The man's T-shirt doesn't fit."
print(split_words(caption))
print(tokenize(caption))

# %% [markdown]
# Neither is right or wrong. But two models that split words differently do not have the same task,
# so their scores can be compared only roughly. Some well-known programs delete all punctuation, so
# that *man's* becomes *mans*. Some replace a hyphen with a space.
#
# ## How often does each word occur?
#
# For the drawn scenes the words are quickly counted.

# %%
from collections import Counter

scenes = labkit.make_scenes(500, seed=1, split="train")
scene_captions = [caption for scene in scenes for caption in scene.captions]
counts = Counter(word for caption in scene_captions for word in tokenize(caption))
print(len(scene_captions), "captions,", len(counts), "words")
print("rarest:", counts.most_common()[-1])

# %% [markdown]
# There are few words, and even the rarest occurs often. People do not write like that. Here are
# counts from Flickr8k: the 30,000 captions of its 6,000 training photographs. We copied the numbers
# into the next cell, so that you need not download anything. A word's rank is its position when all
# words are sorted by how often they occur, the most frequent first.

# %%
ranks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
numbers = [46782, 14085, 6907, 4967, 2102, 940, 454, 199, 60, 22, 7, 1]
flickr_counts = dict(zip(ranks, numbers, strict=True))
for rank in ranks[::3]:
    print(f"rank {rank:4}: occurs {flickr_counts[rank]:5} times")

# %% mystnb={"figure": {"caption": "How often a word occurs, against its rank among all words, both on logarithmic axes. The dashed line falls as one over the rank.", "name": "fig:zipf"}, "image": {"alt": "Two curves of counts against rank. That of Flickr8k falls almost along a straight line from 46,782 to 1. That of the scenes falls more slowly and ends at rank 25."}} tags=["nbval-ignore-output"]
plt.figure(figsize=(6, 3.5), layout="constrained")
plt.loglog(flickr_counts.keys(), flickr_counts.values(), "o-", label="Flickr8k")
ranked = sorted(counts.values(), reverse=True)
plt.loglog(range(1, 1 + len(ranked)), ranked, ".-", label="drawn scenes")
plt.loglog([1, 5000], [46782, 46782 / 5000], "k--", label="1 / rank")
plt.xlabel("rank")
plt.ylabel("count")
plt.legend()
plt.show()

# %% [markdown]
# In what people write, the count falls roughly as one over the rank. This is known as Zipf's law,
# and it holds for almost every large text. A few words make up most of the text, and most words are
# rare. In Flickr8k, 3,183 of the 7,689 words occur only once.
#
# If you have Flickr8k, the next cell counts again. To download it, run
# `labkit data flickr8k data/flickr8k` in the project's folder.

# %% tags=["nbval-ignore-output"]
flickr, captions = Path("../data/flickr8k"), {"train": [], "dev": []}
if flickr.is_dir():
    for record in labkit.read_flickr8k(flickr, list(captions)):
        captions[record.split] += record.captions
    counts = Counter(w for text in captions["train"] for w in tokenize(text))
    ranked = [count for word, count in counts.most_common()]
    print({rank: ranked[rank - 1] for rank in flickr_counts})
    print(len(ranked), "words,", ranked.count(1), "of them once")

# %% [markdown]
# ## Which words should the model know?
#
# A word that occurs only once cannot be learned: there is only one example of it. So rare words are
# left out of the vocabulary, and `<unk>`, for *unknown*, takes their place. The number `min_count`
# says how often a word must occur to be included.
#
# To try this without a download, we need captions with rare words. We make some up from a simple
# sentence pattern. The nouns are chosen at random, with a probability proportional to one over the
# rank.

# %%
nouns = """
man dog woman boy girl child shirt grass water ball street beach
snow horse bike field car wall tree rock jacket park hat bench table road
river bird boat mountain player fence cat crowd pool skateboard sand city
bridge lake camera guitar umbrella kite ladder tent basket statue goat
puddle trumpet canoe kitten hammock scooter telescope harp wheelbarrow
pelican lantern tractor anvil gondola sundial flamingo zither tuba walrus
abacus quilt lighthouse accordion cactus easel otter pulpit sled yurt
igloo metronome parasol quiver rickshaw samovar tambourine urn viaduct
windmill xylophone yacht zeppelin armadillo bobsled carousel"""

# %%
from random import Random

names = nouns.split()
odds = [1 / rank for rank in range(1, len(names) + 1)]


def make_caption(rng):
    """Return a sentence such as 'The dog runs to the car.'"""
    first, second = rng.choices(names, odds, k=2)
    verb = rng.choice(["is on", "is near", "sits on", "runs to"])
    return f"The {first} {verb} the {second}."

# %%
rng = Random(1)
train = [make_caption(rng) for _ in range(200)]
held_out = [make_caption(rng) for _ in range(200)]
vocabulary = labkit.Vocabulary.build(train, min_count=5)
print(train[0])
print(vocabulary.words[:8], "...", len(vocabulary), "in all")

# %% [markdown]
# The first four entries are special: `<pad>` fills up a batch, `<bos>` begins a caption, `<eos>`
# ends it, and `<unk>` stands for any other word. Then come the words, the most frequent one first.
#
# `encode` turns a caption into numbers, `decode` turns them back. What is lost on the way there and
# back?

# %%
caption = "The man's WALRUS sits on the grass!"
ids = vocabulary.encode(caption)
print(ids)
print(vocabulary.decode(ids))

# %% [markdown]
# Capitals and punctuation are gone for good. So are the walrus and the *'s*: neither is in the
# vocabulary, and each became `<unk>`.
#
# **Exercise 1.4.** Write `unknown_share`: what fraction of all the words in the held-out captions
# is missing from a vocabulary built from the training captions? This vocabulary contains the words
# that occur at least `min_count` times in the training captions. Count a word each time that it
# occurs. Use `tokenize` and `Counter`, not `Vocabulary`.

# %%
def unknown_share(train, held_out, min_count):
    """Return a fraction between 0 and 1."""
    return ...


check("1.4", unknown_share)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def unknown_share(train, held_out, min_count):
    """Return a fraction between 0 and 1."""
    counts = Counter(word for text in train for word in tokenize(text))
    words = [word for text in held_out for word in tokenize(text)]
    return sum(counts[word] < min_count for word in words) / len(words)


check("1.4", unknown_share)

# %% [markdown]
# Why held-out captions? Because the model will be asked about pictures that it has not seen, and
# people describe those with words that do not occur in training. Even with `min_count=1` some words
# are unknown.

# %%
for min_count in (1, 2, 5, 10, 20):
    size = len(labkit.Vocabulary.build(train, min_count)) - 4
    share = unknown_share(train, held_out, min_count)
    print(f"min_count {min_count:2}: {size:3} words, {share:.3f} unknown")

# %% [markdown]
# Now count captions instead of words. How many of them lose at least one word?

# %%
def incomplete_share(train, held_out, min_count):
    """Return the fraction of captions that have an unknown word."""
    counts = Counter(word for text in train for word in tokenize(text))
    rarest = [min(counts[w] for w in tokenize(text)) for text in held_out]
    return sum(count < min_count for count in rarest) / len(rarest)


for min_count in (2, 5, 10):
    share = incomplete_share(train, held_out, min_count)
    print(f"min_count {min_count:2}: {share:.2f} of the captions")

# %% [markdown]
# With `min_count=5` one word in nine is unknown, but more than half of the captions lose a word. A
# caption is complete only if *all* its words are known.
#
# Here is the same for Flickr8k, measured on the 1,000 photographs of its "dev" split.
#
# | `min_count` | words in the vocabulary | unknown words | captions that lose a word |
# |---:|---:|---:|---:|
# | 1 | 7,689 | 1.3 % | 12.6 % |
# | 2 | 4,506 | 2.0 % | 18.0 % |
# | 5 | 2,536 | 3.4 % | 27.9 % |
# | 10 | 1,656 | 5.1 % | 38.5 % |
# | 20 | 1,064 | 7.3 % | 50.3 % |
#
# With `min_count=5`, a third of the words stay in the vocabulary, and they still cover 97 % of the
# text. That is a good bargain. The price is that more than one caption in four has a gap. (The
# paper uses a vocabulary of 10,000 words for each of its data sets.)
#
# If you have Flickr8k, this cell prints the numbers of the table, as fractions.

# %% tags=["nbval-ignore-output"]
for min_count in (1, 2, 5, 10, 20) if captions["train"] else ():
    size = len(labkit.Vocabulary.build(captions["train"], min_count)) - 4
    unknown = unknown_share(captions["train"], captions["dev"], min_count)
    incomplete = incomplete_share(captions["train"], captions["dev"], min_count)
    print(f"{min_count:2} {size:5} {unknown:.3f} {incomplete:.3f}")

# %% [markdown]
# **What does `<unk>` do to a model?** In training it is a word like any other, and the model learns
# where people write something unusual. When the model generates a caption, `labkit` never lets it
# write `<unk>`, because that means nothing to a reader. So a photograph of a walrus gets a caption
# without a walrus, and the model writes the nearest thing it knows: perhaps a dog.
#
# Some programs do it differently: they silently drop unknown words from the captions. Then the
# model learns sentences that nobody wrote, such as *the sits on the grass*.
#
# ## How long may a caption be?
#
# A batch holds captions side by side, and the shorter ones are padded. A single caption of 40 words
# makes the whole batch long. So captions are often cut off.
#
# **Exercise 1.5.** Write `shortest_cut`. It takes the lengths of the captions, and a share such as
# 0.95. It returns the smallest maximum length with which at least this share of the captions stays
# complete.

# %%
def shortest_cut(lengths, share):
    """Return a number of words."""
    return ...


check("1.5", shortest_cut)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def shortest_cut(lengths, share):
    """Return a number of words."""
    for cut in sorted(lengths):
        if sum(n <= cut for n in lengths) >= share * len(lengths):
            return cut


check("1.5", shortest_cut)

# %%
lengths = [len(tokenize(caption)) for caption in scene_captions]
for share in (0.5, 0.95, 1.0):
    cut = shortest_cut(lengths, share)
    print(f"{share:.2f} of the scenes' captions: {cut} words")

# %% [markdown]
# In Flickr8k a caption has 10.8 words on average, and the longest has 36. A limit of 16 words, as
# in one well-known program, shortens 7 captions in 100. A limit of 20 shortens 15 in 1,000.

# %% tags=["nbval-ignore-output"]
lengths = [len(tokenize(text)) for text in captions["train"]]
if lengths:
    print(f"mean {sum(lengths) / len(lengths):.1f}, longest {max(lengths)}")
    for cut in (16, 20):
        longer = sum(n > cut for n in lengths) / len(lengths)
        print(f"over {cut} words: {longer:.3f}")

# %% [markdown]
# A caption that was cut off still ends with `<eos>`. So the model is taught that a sentence may end
# in the middle.

# %%
caption = "The man sits on the grass near the dog."
short = vocabulary.encode(caption, max_length=5)
print(vocabulary.decode(short))
print("ends with <eos>:", short[-1] == 2)

# %%
folder.cleanup()  # delete the files that we made

# %% [markdown]
# ## Questions
#
# <details><summary>A model with a vocabulary of 1,064 words has a smaller loss than one with 7,689.
# Is it better?</summary>
#
# We cannot say. Its task is easier: it has fewer words to choose from, and `<unk>` is often a safe
# guess. Losses can be compared only between models with the same vocabulary. Scores of the
# generated captions, such as METEOR, allow a better comparison.
#
# </details>
#
# <details><summary>3.4 % of the words are unknown, but 27.9 % of the captions lose a word. Do these
# numbers fit together?</summary>
#
# Yes. A caption has 10.8 words on average. If each of them were known with a probability of 0.966,
# all of them would be known with a probability of $0.966^{10.8} = 0.69$. So 31 % would lose a word
# if unknown words were spread evenly.
#
# </details>
#
# <details><summary>Why is the vocabulary not built from the captions of all splits?</summary>
#
# Because then the dev and test captions would influence the model. It would look better on them
# than on pictures that are really new.
#
# </details>
#
# ## Summary
#
# - All sources give the same kind of record: an image, its captions, its split.
# - Code that reads data must report what it leaves out.
# - A caption becomes a list of numbers. Capitals, punctuation and rare words are lost.
# - Most words are rare. A minimum count of 5 keeps a third of Flickr8k's words and 97 % of its
#   text.
# - A few unknown words affect many captions.
#
# **To think about.** Captions could be generated letter by letter, or from pieces of words, and no
# word would be unknown. What would become harder?
#
# **Next.** [Lab 2: from a photograph to annotation vectors](02_annotation_vectors.ipynb)
