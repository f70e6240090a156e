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
# **What you will learn.** What a captioned image is, how Flickr8k and COCO keep theirs in files, how
# a caption becomes a list of numbers, and what gets lost on the way.
#
# **Time.** About 60 minutes, of which the machine takes less than one.
#
# **Before you start.** Lab 0. You can read a Python dictionary and a list comprehension.
#
# **The question.** A model can only say words that it knows. Which words should that be? And what
# does it lose with each word that it does not know?

# %% [markdown]
# A *split* is a part of a data set: `train` to learn from, `dev` to choose settings by, `test` for the
# last score.

# %%
import labkit

scenes = labkit.make_scenes(4, seed=1, split="train")
scene = scenes[0]
print(len(scenes), "scenes of", scene.image.shape, scene.image.dtype)

# %% [markdown]
# ## What is a captioned image?
#
# An image and what people said of it. `labkit` keeps one as a `CaptionedImage`, wherever it came
# from. Here is one of the drawn scenes.

# %%
print(scene.id, "of the split", scene.split)
for caption in scene.captions:
    print("-", caption)

# %% mystnb={"figure": {"caption": "Four drawn scenes, each with the first of its five captions.", "name": "fig:four-scenes"}, "image": {"alt": "Four square pictures of coloured shapes on grey, a caption above each."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, panels = plt.subplots(2, 2, figsize=(8, 5), layout="constrained")
for panel, one in zip(panels.flat, scenes, strict=True):
    panel.imshow(one.image)
    panel.set_title(one.captions[0], fontsize=8)
    panel.set_axis_off()
plt.show()

# %% [markdown]
# The five captions differ, and all are true. There is no single right caption. So a model does not
# learn *the* caption of a picture. It learns which captions are likely.
#
# For drawn scenes we know one thing more. Each word has a box: the place of the thing that it
# speaks of. It is left, top, right, bottom, as shares of the width and the height. Words such as *and*
# have none. Labs 5 and 8 use the boxes to ask whether the model looked at the right place. Flickr8k's own
# files have no such boxes.

# %%
from labkit.captions import tokenize

words, boxes = tokenize(scene.captions[0]), scene.boxes[0]
for word, box in zip(words, boxes, strict=True):
    print(f"{word:9}", [round(x, 2) for x in box] if box else "-")

# %% [markdown]
# ## How does Flickr8k keep its captions?
#
# Flickr8k has 8,000 photographs with five captions each. The photographs are in one folder. All
# captions are in one text file, a line each. The splits are lists of names. Let us make such a data
# set, of three drawn scenes, in a folder that vanishes with this notebook.

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
# (The folder of photographs is really spelled *Flicker8k*. Whoever reads real data must live with
# such things.)

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
# A line is: the photograph's name, `#`, the caption's number, a tab, the caption.
#
# **Exercise 1.1.** Write `read_lines`. It takes the whole text of such a file and gives a dictionary:
# for each photograph's name the list of its captions, in their order.
#
# <details><summary>Hint</summary>
#
# `text.splitlines()`, then split each line at the tab, then the first part at the `#`. If `d` is a
# dictionary, `d.setdefault(name, [])` gives the list of that name, a new one if there is none.
#
# </details>

# %%
from labkit.checks import check


def read_lines(text):
    """Give a dictionary: name -> list of captions."""
    return ...


check("1.1", read_lines)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def read_lines(text):
    """Give a dictionary: name -> list of captions."""
    captions = {}
    for line in text.splitlines():
        key, caption = line.split("\t")
        name = key.split("#")[0]
        captions.setdefault(name, []).append(caption)
    return captions

check("1.1", read_lines)

# %% [markdown]
# Does `labkit` read the same?

# %%
records = labkit.read_flickr8k(root)
mine = read_lines((texts / "Flickr8k.token.txt").read_text())
for record in records:
    same = list(record.captions) == mine[record.id]
    print(record.id, record.split, len(record.captions), "captions", same)

# %% [markdown]
# ## What if the files are wrong?
#
# Your function believes every line. Real files have faults: a photograph is missing, a line was cut
# short, a caption is empty. The worst a reader can do is to leave such things out in silence. Then
# you train on less than you think, and nobody knows.
#
# Let us spoil the files. We add a line without a tab, a caption of nothing but a full stop, a
# caption of a photograph that is not there, and a name in the list without a photograph.

# %%
lines += ["1_ab.jpg#5 no tab here\n", "1_ab.jpg#6\t .\n"]
lines += ["9_zz.jpg#0\tA ghost .\n"]
(texts / "Flickr8k.token.txt").write_text("".join(lines))
(texts / "Flickr_8k.devImages.txt").write_text("2_ab.jpg\n8_xy.jpg\n")

report = labkit.DataReport()
records = labkit.read_flickr8k(root, report=report)
print(report)

# %% [markdown]
# Everything that could be read was read. All that was left out is named. If you would rather stop
# at the first fault, ask for a strict report.

# %%
try:
    labkit.read_flickr8k(root, report=labkit.DataReport(strict=True))
except ValueError as error:
    print(error)

# %% [markdown]
# ## How does COCO keep its captions?
#
# COCO has one JSON file for each split. It holds two lists: `images`, and `annotations`, which are
# the captions. An annotation has an id of its own, and names its image by `image_id`. The
# annotations stand in no useful order, and not every image has five.

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
# **Exercise 1.2.** Write `captions_of`. It takes such a dictionary and gives, for each image's id,
# the list of its captions. An image without captions gets an empty list.

# %%
def captions_of(data):
    """Give a dictionary: image id -> list of captions."""
    return ...


check("1.2", captions_of)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def captions_of(data):
    """Give a dictionary: image id -> list of captions."""
    captions = {image["id"]: [] for image in data["images"]}
    for note in data["annotations"]:
        captions[note["image_id"]].append(note["caption"])
    return captions


check("1.2", captions_of)

# %% [markdown]
# We write the files as COCO has them and let `labkit` read them: `annotations/` for the JSON, and a
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
# From here on nobody needs to know where an image came from. All readers give the same records.
#
# ## What is a word?
#
# To a computer a caption is a row of letters. Are *Dog*, *dog* and *dog.* three words? We had better
# say no: else the model must learn each of them by itself, from fewer examples.
#
# **Exercise 1.3.** Write `split_words`. It gives the words in lower case, without punctuation.
# Letters and digits make a word. A hyphen between them stays.
#
# <details><summary>Hint</summary>
#
# `re.findall(r"\w+", text)` finds runs of letters and digits. `(?:-\w+)*` is: a hyphen and such a
# run, as often as you like.
#
# </details>

# %%
def split_words(caption):
    """Give a list of words."""
    return ...


check("1.3", split_words)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
import re


def split_words(caption):
    """Give a list of words."""
    return re.findall(r"\w+(?:-\w+)*", caption.lower())


check("1.3", split_words)

# %% [markdown]
# English has more traps. What does your function do with the possessive *man's*? `labkit` keeps *'s* as
# a word of its own, as the programs do that score captions. Other apostrophes stay inside: *doesn't* is
# one word.

# %%
caption = "The man's T-shirt doesn't fit."
print(split_words(caption))
print(tokenize(caption))

# %% [markdown]
# Neither is right or wrong. But two models that split words in different ways do not have the same
# task, and their scores compare only roughly. Some well-known programs delete all punctuation, so
# that *man's* becomes *mans*. Some write a hyphen as a space.
#
# ## How often is each word said?
#
# The words of the drawn scenes are soon counted.

# %%
from collections import Counter

scenes = labkit.make_scenes(500, seed=1, split="train")
drawn = [caption for scene in scenes for caption in scene.captions]
counts = Counter(word for caption in drawn for word in tokenize(caption))
print(len(drawn), "captions,", len(counts), "words")
print("rarest:", counts.most_common()[-1])

# %% [markdown]
# So few words, and even the rarest is said often. People are not like that. Here are counts from
# Flickr8k: the 30,000 captions of its 6,000 training photographs. We typed them in, so that you
# need not download anything. A word's rank is its place among all words, the most frequent first.

# %%
ranks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
times = [46782, 14085, 6907, 4967, 2102, 940, 454, 199, 60, 22, 7, 1]
people = dict(zip(ranks, times, strict=True))
for rank in ranks[::3]:
    print(f"rank {rank:4}: said {people[rank]:5} times")

# %% mystnb={"figure": {"caption": "How often a word is said, against its rank among all words, both on logarithmic axes. The dashed line falls as one over the rank.", "name": "fig:zipf"}, "image": {"alt": "Two curves of counts against rank. That of Flickr8k falls almost along a straight line from 46,782 to 1. That of the scenes falls more slowly and ends at rank 25."}} tags=["nbval-ignore-output"]
plt.figure(figsize=(6, 3.5), layout="constrained")
plt.loglog(people.keys(), people.values(), "o-", label="Flickr8k")
ranked = sorted(counts.values(), reverse=True)
plt.loglog(range(1, 1 + len(ranked)), ranked, ".-", label="drawn scenes")
plt.loglog([1, 5000], [46782, 46782 / 5000], "k--", label="1 / rank")
plt.xlabel("rank")
plt.ylabel("count")
plt.legend()
plt.show()

# %% [markdown]
# What people say falls roughly as one over the rank. This is known as Zipf's law, and it holds for
# almost every large text. A few words make most of the text, and most words are rare. In Flickr8k
# 3,183 of the 7,689 words are said a single time.
#
# If you have Flickr8k, the next cell counts again. `labkit data flickr8k data/flickr8k`, called in
# the folder of the project, fetches it.

# %% tags=["nbval-ignore-output"]
flickr, said = Path("../data/flickr8k"), {"train": [], "dev": []}
if flickr.is_dir():
    for record in labkit.read_flickr8k(flickr, list(said)):
        said[record.split] += record.captions
    counts = Counter(w for text in said["train"] for w in tokenize(text))
    ranked = [count for word, count in counts.most_common()]
    print({rank: ranked[rank - 1] for rank in people})
    print(len(ranked), "words,", ranked.count(1), "of them once")

# %% [markdown]
# ## Which words should the model know?
#
# A word that is said once cannot be learned: there is one example of it. So rare words are left out
# of the vocabulary, and `<unk>`, for *unknown*, stands in their place. The number `min_count` says how
# often a word must be met.
#
# To try it without a download, we need captions with rare words. We make some up: a simple sentence,
# and words drawn by lot with odds of one over their rank.

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
    """Make a sentence such as 'The dog runs near the car.'"""
    one, other = rng.choices(names, odds, k=2)
    verb = rng.choice(["is on", "is near", "sits on", "runs to"])
    return f"The {one} {verb} the {other}."

# %%
rng = Random(1)
train = [make_caption(rng) for _ in range(200)]
held_out = [make_caption(rng) for _ in range(200)]
vocabulary = labkit.Vocabulary.build(train, min_count=5)
print(train[0])
print(vocabulary.words[:8], "...", len(vocabulary), "in all")

# %% [markdown]
# The first four words are marks: `<pad>` fills a batch, `<bos>` begins a caption, `<eos>` ends it, and
# `<unk>` stands for any other word. Then comes the most frequent word, and so on.
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
# **Exercise 1.4.** Write `unknown_share`: the share of all words of the held-out captions that a
# vocabulary of the training captions does not have. It has the words that the training captions say
# at least `min_count` times. Count a word each time that it is said. Use `tokenize` and `Counter`, not
# `Vocabulary`.

# %%
def unknown_share(train, held_out, min_count):
    """Give a fraction of 1."""
    return ...


check("1.4", unknown_share)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def unknown_share(train, held_out, min_count):
    """Give a fraction of 1."""
    counts = Counter(word for text in train for word in tokenize(text))
    said = [word for text in held_out for word in tokenize(text)]
    return sum(counts[word] < min_count for word in said) / len(said)


check("1.4", unknown_share)

# %% [markdown]
# Why held-out captions? Because the model will be asked about pictures that it has not seen, and
# people will have said words there that nobody said in training. Even with `min_count=1` some words
# are unknown.

# %%
for least in (1, 2, 5, 10, 20):
    size = len(labkit.Vocabulary.build(train, least)) - 4
    share = unknown_share(train, held_out, least)
    print(f"met {least:2} times: {size:3} words, {share:.3f} unknown")

# %% [markdown]
# Now count captions instead of words. How many of them lose at least one word?

# %%
def spoiled_share(train, held_out, min_count):
    """Give the share of captions that have an unknown word."""
    counts = Counter(word for text in train for word in tokenize(text))
    rarest = [min(counts[w] for w in tokenize(text)) for text in held_out]
    return sum(count < min_count for count in rarest) / len(rarest)


for least in (2, 5, 10):
    spoiled = spoiled_share(train, held_out, least)
    print(f"met {least:2} times: {spoiled:.2f} of the captions")

# %% [markdown]
# With `min_count=5` one word in nine is unknown, but more than half of the captions are spoiled. A
# caption is whole only if *all* of its words are known.
#
# Here is the same for Flickr8k, measured on its 1,000 photographs of the split "dev".
#
# | `min_count` | words in the vocabulary | unknown words | captions that lose a word |
# |---:|---:|---:|---:|
# | 1 | 7,689 | 1.3 % | 12.6 % |
# | 2 | 4,506 | 2.0 % | 18.0 % |
# | 5 | 2,536 | 3.4 % | 27.9 % |
# | 10 | 1,656 | 5.1 % | 38.5 % |
# | 20 | 1,064 | 7.3 % | 50.3 % |
#
# With `min_count=5`, a third of the words is left in the vocabulary, and 97 words in 100 are still
# known. That is a good bargain. The price is that every fourth caption has a hole. (The paper has
# a vocabulary of 10,000 words for each of its data sets.)
#
# With Flickr8k at hand, this cell prints the table.

# %% tags=["nbval-ignore-output"]
for least in (1, 2, 5, 10, 20) if said["train"] else ():
    size = len(labkit.Vocabulary.build(said["train"], least)) - 4
    unknown = unknown_share(said["train"], said["dev"], least)
    spoiled = spoiled_share(said["train"], said["dev"], least)
    print(f"{least:2} {size:5} {unknown:.3f} {spoiled:.3f}")

# %% [markdown]
# **What does `<unk>` do to a model?** In training it is a word like any other, and the model learns
# when people say something unusual. When it tells a caption, `labkit` never lets it say `<unk>`,
# because that means nothing to a reader. So a photograph of a walrus gets a caption without one,
# and the model says what is near: perhaps a dog.
#
# Some programs do otherwise: they drop unknown words from the captions in silence. Then a model
# learns sentences that nobody wrote, such as *the sits on the grass*.
#
# ## How long may a caption be?
#
# A batch holds captions side by side, and the shorter ones are filled up. One caption of 40 words
# makes the whole batch long. So captions are often cut.
#
# **Exercise 1.5.** Write `shortest_cut`. It takes the lengths of captions, and a share such as 0.95.
# It gives the least length that leaves at least this share of the captions whole.

# %%
def shortest_cut(lengths, share):
    """Give a number of words."""
    return ...


check("1.5", shortest_cut)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def shortest_cut(lengths, share):
    """Give a number of words."""
    for cut in sorted(lengths):
        if sum(n <= cut for n in lengths) >= share * len(lengths):
            return cut


check("1.5", shortest_cut)

# %%
lengths = [len(tokenize(caption)) for caption in drawn]
for share in (0.5, 0.95, 1.0):
    cut = shortest_cut(lengths, share)
    print(f"{share:.2f} of the scenes' captions: {cut} words")

# %% [markdown]
# In Flickr8k a caption has 10.8 words on average, and the longest has 36. A cut at 16 words, as one
# well-known program has it, shortens 7 captions in 100. A cut at 20 shortens 15 in 1,000.

# %% tags=["nbval-ignore-output"]
lengths = [len(tokenize(text)) for text in said["train"]]
if lengths:
    print(f"mean {sum(lengths) / len(lengths):.1f}, longest {max(lengths)}")
    for cut in (16, 20):
        longer = sum(n > cut for n in lengths) / len(lengths)
        print(f"over {cut} words: {longer:.3f}")

# %% [markdown]
# A cut caption still ends with `<eos>`. So the model is told that a sentence may end in the middle.

# %%
caption = "The man sits on the grass near the dog."
short = vocabulary.encode(caption, max_words=5)
print(vocabulary.decode(short))
print("ends with <eos>:", short[-1] == 2)

# %%
folder.cleanup()  # the files that we made

# %% [markdown]
# ## Questions
#
# <details><summary>A model with a vocabulary of 1,064 words has a smaller loss than one with 7,689.
# Is it better?</summary>
#
# One cannot say. It has an easier task: fewer words to choose from, and `<unk>` is often a safe guess.
# Losses compare only with the same vocabulary. Scores of what is told, such as METEOR, compare better.
#
# </details>
#
# <details><summary>3.4 % of the words are unknown, but 27.9 % of the captions lose one. Does that fit
# together?</summary>
#
# Yes. A caption has 10.8 words on average. If each were known with a chance of 0.966, all of them
# would be known with $0.966^{10.8} = 0.69$. So 31 % would lose one, if unknown words were spread evenly.
#
# </details>
#
# <details><summary>Why is the vocabulary not built from the captions of all splits?</summary>
#
# Because then the dev and test captions would have a say in the model. It would look better on them
# than on pictures that are really new.
#
# </details>
#
# ## Summary
#
# - All sources give the same record: an image, its captions, its split.
# - A reader must say what it leaves out.
# - A caption becomes a list of numbers. Capitals, punctuation and rare words are lost.
# - Most words are rare. A minimum count of 5 keeps a third of Flickr8k's words and 97 % of its text.
# - A few unknown words spoil many captions.
#
# **To think on.** One could tell captions letter by letter, or by pieces of words, and no word would
# be unknown. What would become harder?
