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
# # Lab 10: do the maps explain the word?
#
# **What you will learn.** How to find out whether a word comes from the place where the model
# looked. You remove objects, make the model look elsewhere, and find the second way by which the
# picture reaches the words. Each effect gets its control, and at the end an interval that says how
# sure you may be.
#
# **Time.** About 60 minutes, of which your machine needs one.
#
# **Before you start.** Labs 7 and 8, and what they build on: the first state (lab 4), teacher
# forcing (lab 5), the argmax and hard attention (lab 6). You do not need lab 9.
#
# **The question.** A model writes *green*, and its map is bright on a green circle. Did it write
# *green* because it looked there?

# %%
import numpy as np
import torch

import labkit
from labkit.checks import check
from labkit.data.vocabulary import BOS, EOS

torch.set_num_threads(1)
torch.set_grad_enabled(False)  # nothing is trained in this lab
models = {kind: labkit.Captioner.from_pretrained(f"scenes-{kind}") for kind in ("soft", "hard")}
print(*models)

# %% [markdown]
# ## Look first
#
# Here is one scene, captioned by the models of lab 8: one with soft attention, one with hard. In
# this lab all captions are greedy, so `num_beams=1`. Point at the words.

# %% tags=["nbval-ignore-output"]
scenes = labkit.make_scenes(100, seed=0, split="test")
scene = scenes[3]
both = {kind: model.caption(scene.image, num_beams=1) for kind, model in models.items()}
for kind, caption in both.items():
    print(f"{kind}: {caption.text}")

# %% mystnb={"figure": {"caption": "One scene, captioned with soft and with hard attention. Point at a word to see where each model looked.", "name": "fig:explain-viewer"}} tags=["nbval-ignore-output"]
labkit.AttentionViewer(scene.image, both, alt="A white cross, a green circle and a red triangle.")

# %% [markdown]
# Both look at the circle when they write *green*, and at the triangle when they write *red*. Lab 8
# counted this: it is the *pointing game*. It says where a model looked. It does not say what the
# word came from. Three things could be true of *green*:
#
# - The model looked at the circle, saw green there, and wrote *green*.
# - It had decided on *green* some words earlier, and looked at the circle afterwards.
# - It knew of the green circle without looking, and the map plays no part.
#
# The maps are the same in all three cases. How could you tell the cases apart?
#
# ## Remove an object
#
# On a photograph nobody knows what is behind a dog. But a scene was drawn, so it can be drawn again
# without one of its shapes.

# %% mystnb={"figure": {"caption": "The scene, and the scene without each of its three shapes.", "name": "fig:explain-removed"}, "image": {"alt": "Four pictures: a white cross, a green circle and a red triangle; then the same without the cross, without the circle, without the triangle. What is left has not moved."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

from labkit.data.redraw import redraw
from labkit.data.scenes import things_of

shapes = things_of(scene.facts)
figure, panels = plt.subplots(1, 4, figsize=(8, 2.3), layout="constrained")
for panel, j in zip(panels, (None, 0, 1, 2), strict=True):
    panel.imshow(redraw(scene.id, j))
    panel.set(xticks=[], yticks=[], title="whole" if j is None else f"no {shapes[j].shape}")
plt.show()

# %% [markdown]
# **Predict.** The circle is removed. What will each model say? And what will it say if the cross,
# which no caption mentions, is removed? Write your guesses down before you run the next cell.

# %% tags=["nbval-ignore-output"]
for j in range(3):
    print(f"no {shapes[j].shape}")
    for kind, model in models.items():
        print(f"    {kind}: {model.caption(redraw(scene.id, j), num_beams=1).text}")

# %% [markdown]
# So the circle matters for *green*, for both models. One scene is no measurement. We take 100
# scenes, and compute the annotation vectors of each scene and of each scene without one of its
# objects. Both models have the same encoder. It wants pictures of 112 x 112 pixels, prepared by
# `to_input` (lab 2), and returns $L = 7 \times 7$ vectors for each.

# %%
from labkit.data.photos import to_input

things = [things_of(scene.facts) for scene in scenes]
keys = [(n, j) for n, some in enumerate(things) for j in (None, *range(len(some)))]
pictures = [to_input(redraw(scenes[n].id, j), 112) for n, j in keys]  # j = None: the whole scene
encoded = models["soft"].encoder(torch.from_numpy(np.stack(pictures)))
vectors = dict(zip(keys, encoded, strict=True))  # vectors[n, j] (L, D): scene n without object j
print(len(scenes), "scenes, and", len(keys) - len(scenes), "with an object removed")

# %%
whole = torch.stack([vectors[n, None] for n in range(100)])
captions = {kind: labkit.greedy(model.decoder, whole) for kind, model in models.items()}
words_of = models["soft"].vocabulary.words  # both models have the same words
print([words_of[i] for i in captions["soft"][3].words])

# %% [markdown]
# Which objects does a caption name? `phrase_ending` (lab 8) reads a phrase, such as *a large green
# circle*. We keep the phrases that fit exactly one object of the scene: if there were two green
# circles, one would be left when the other is removed. The word that we ask about is the *colour*:
# the words before it in its phrase, *a large*, say nothing of the colour.
#
# Each colour word of this kind is a **case**. A case has four parts: the number of the scene, the
# number of the object, the position of the colour word in the caption, and the numbers of the
# scene's other objects.

# %%
from labkit.data.scenes import phrase_ending
from labkit.evaluation.removals import fits  # the same colour and shape


def cases_of(n, words):
    for k in range(len(words)):
        phrase = phrase_ending(words, k)
        alike = [j for j, t in enumerate(things[n]) if phrase and fits(phrase, t)]
        if len(alike) == 1:
            others = [j for j in range(len(things[n])) if j not in alike]
            yield n, alike[0], k - 1, others


# %%
cases = {}
for kind in models:
    texts = [[words_of[i] for i in caption.words] for caption in captions[kind]]
    cases[kind] = [case for n, words in enumerate(texts) for case in cases_of(n, words)]
print(*(f"{kind}: {len(some)} colour words" for kind, some in cases.items()))
print("those of scene 3:", [case for case in cases["soft"] if case[0] == 3])

# %% [markdown]
# ## What does the word lose?
#
# Should we let the model write a new caption of the scene without the circle, and see whether
# *green* is gone? The new caption may speak of other objects for any reason. A better way: keep the
# caption, word for word, and ask how likely its word *green* is now. This is teacher forcing
# (lab 5), with the model's own caption.
#
# As in lab 7, `init_state` prepares a picture, and `step` takes a word and returns $\log p$ of each
# next one.

# %%
def log_p_of(decoder, words, k, image, state):
    """log p of word number k of a caption, in nats; words are numbers here."""
    for word in [BOS, *words[:k]]:
        log_p, state, _ = decoder.step(torch.tensor([[word]]), image, state)
    return log_p[0, 0, words[k]].item()


# %%
def log_p_without(kind, n, k):
    """A function of j: log p of word k of the caption of scene n, without object j."""
    decoder, words = models[kind].decoder, captions[kind][n].words

    def log_p(j):
        image, state = decoder.init_state(vectors[n, j][None])
        return log_p_of(decoder, words, k, image, state)

    return log_p


# %%
n, own, k, others = next(case for case in cases["soft"] if case[0] == 3)
log_p = log_p_without("soft", n, k)
print("the word:", words_of[captions["soft"][n].words[k]])
print(f"log p in the whole scene: {log_p(None):.1f}, without the circle: {log_p(own):.1f}")

# %% [markdown]
# The word loses much. But would it not lose as much if *anything* in the picture changed? A model
# may be disturbed by each change. So an effect needs a **control**: a change of the same kind that
# should do nothing if you are right.
#
# **Exercise 10.1.** Write `effect(log_p, own, others)`. `log_p` is a function: `log_p(j)` is
# $\log p$ of the word in the scene without object `j`, and `log_p(None)` that in the whole scene.
# `own` is the number of the object that the word names, and `others` lists the numbers of the other
# objects. Return two numbers: what the word loses without its own object, and the control. If
# there are several other objects, the control is a mean over them.
#
# <details><summary>Hint</summary>
#
# A loss is positive if the word became less likely. The control is the same loss with another
# object removed: one loss for each of `others`, and then the mean.
#
# </details>

# %%
def effect(log_p, own, others):  # -> the loss, the control
    ...


# %%
check("10.1", effect)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def effect(log_p, own, others):
    whole = log_p(None)
    return whole - log_p(own), np.mean([whole - log_p(j) for j in others])


check("10.1", effect)

# %% [markdown]
# Now all cases of both models. Each is a caption that is read again for each object of its scene.
# This takes about ten seconds.

# %%
def effects(kind):  # -> (cases, 2)
    found = [effect(log_p_without(kind, n, k), own, others) for n, own, k, others in cases[kind]]
    return np.array(found)


removed = {kind: effects(kind) for kind in models}
for kind, found in removed.items():
    print(f"{kind}: {found[:, 0].mean():.1f} nats without its object")
    print(f"      control within 0.2 of 0: {abs(found[:, 1].mean()) < 0.2}")

# %% [markdown]
# Seven or eight nats, on average: a word that loses seven becomes a thousand times less likely.
# Without another object nothing happens. So both models need the object for its colour word.
#
# `RemovalViewer` shows both things for each word of a caption: on the left where the model looked,
# on the right what the word loses without each object. Which words lose most? Do they lose anything
# without an object that they do not name?

# %% mystnb={"figure": {"caption": "Where the model with hard attention looked, and what each word loses when an object is removed. Point at a word.", "name": "fig:explain-losses"}} tags=["nbval-ignore-output"]
from labkit.figures import RemovalViewer

RemovalViewer(models["hard"], scene, alt="A white cross, a green circle and a red triangle.")

# %% [markdown]
# <details><summary>Quiz: is the first bullet of the list above now proved: that the model looked at
# the circle, saw green there, and wrote <em>green</em>?</summary>
#
# No. The word comes from the object, in some way. All three bullets agree with that.
#
# </details>
#
# ## Make it look elsewhere
#
# To find out what a look does, change the look and nothing else. The picture stays whole.
#
# `image.intervene` may be set to a function. It is called at each word, before the context is
# computed, and gets an object that says where the model attends: here we call this object a
# *step*. A step holds `alpha`, the weights that the model computed, of shape $(N, K, L)$ for $N$
# pictures with $K$ captions each (in this lab both are 1); and `weights` of the same shape, which
# the context is made with. For soft attention these are the same tensor. For hard attention
# `weights` is one-hot. What the function returns is used in place of the step.
#
# **Exercise 10.2.** Write `look_at(step, place)`. It returns a step that looks at the region
# `place`, a number from 0 to $L - 1$, and at nothing else. Leave `alpha` as it is: it says where
# the model would have looked.
#
# <details><summary>Hint</summary>
#
# `replace(step, weights=...)` copies a step with other weights. `torch.zeros_like` makes a tensor
# of the same shape, and `weights[..., place]` is one region of all its rows.
#
# </details>

# %%
from dataclasses import replace


def look_at(step, place):  # -> a step
    ...


# %%
check("10.2", look_at)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def look_at(step, place):
    weights = torch.zeros_like(step.weights)
    weights[..., place] = 1
    return replace(step, weights=weights)


check("10.2", look_at)

# %% [markdown]
# Now steer a model by hand: at each step it has to look at the same place. The place is the cell,
# of 7 x 7, in which the centre of an object lies.

# %%
def centre(thing):
    return min(int(7 * thing.y), 6) * 7 + min(int(7 * thing.x), 6)


# %%
def steered(decoder, a, place):
    """The greedy caption, as words, of a model that looks at one place all the time."""
    image, state = decoder.init_state(a[None])
    image.intervene = lambda step: look_at(step, place)
    words = [BOS]
    while words[-1] != EOS and len(words) <= 24:
        log_p, state, _ = decoder.step(torch.tensor([words[-1:]]), image, state)
        words.append(int(log_p.argmax()))
    return [words_of[i] for i in words[1:-1]]


# %% [markdown]
# **Predict.** In scene 3, both models are made to look at the cross, the circle or the triangle.
# How will the six captions begin?

# %% tags=["nbval-ignore-output"]
for thing in things[3]:
    print(f"look at the {thing.colour} {thing.shape}")
    for kind, model in models.items():
        words = steered(model.decoder, vectors[3, None], centre(thing))
        print(f"    {kind}: {' '.join(words)}")

# %% [markdown]
# And in all scenes? We count the captions whose first phrase names the object that the model is
# made to look at, by colour and shape. The control: the captions that the models write when nobody
# steers them. By chance they name the object, too, in about one of three cases, for a scene has
# about three objects. The next cell but one takes about ten seconds.

# %%
def names_first(words, thing):
    phrases = [phrase_ending(words, k) for k in range(len(words))]
    found = [fits(phrase, thing) for phrase in phrases if phrase]
    return any(found[:1])


# %%
def shares(kind):
    """How often the first phrase names each object: steered, and not."""
    objects = [(n, things[n][j]) for n, j in keys if j is not None]
    made = [steered(models[kind].decoder, vectors[n, None], centre(t)) for n, t in objects]
    free = [[words_of[i] for i in captions[kind][n].words] for n, _ in objects]
    pairs = list(zip(objects, made, free, strict=True))
    return [np.mean([names_first(p[i], p[0][1]) for p in pairs]) for i in (1, 2)]


# %%
for kind in models:
    made, free = shares(kind)
    print(f"{kind}: steered {made:.1f}, control {free:.1f}")

# %% [markdown]
# Made to look at an object, both models name it in about nine of ten cases. So is the first bullet
# true of both?
#
# ## One look
#
# Not yet. We changed *all* looks of the caption. The map of *green* is only one of them. So change
# this one look, and leave the words before it and their looks as they were. The model then writes
# its next word. If it is the colour of the object that it was made to look at, the word *follows*
# the look. If it is still the colour of its own object, the word *stays*.
#
# A case now is a colour word together with one other object, of another colour. So there are more
# of them than colour words.
#
# The control: the step is made to look at its own object. That should change nothing.

# %%
def word_at(decoder, image, state, words, k, place, before=0):
    """The likeliest word number k, if its step looks at a place, and some steps before, too."""
    for t, word in enumerate([BOS, *words[:k]]):
        forced = t >= k - before
        image.intervene = (lambda step: look_at(step, place)) if forced else None
        log_p, state, _ = decoder.step(torch.tensor([[word]]), image, state)
    return words_of[int(log_p.argmax())]


# %%
def whole_scene(decoder, n, own):  # -> image, state
    return decoder.init_state(vectors[n, None][None])


def follows(kind, elsewhere=True, before=0, start=whole_scene):
    """Does the word follow its look, and does it stay? A row for each case: 1 or 0, 1 or 0, n."""
    decoder, rows = models[kind].decoder, []
    for n, own, k, others in cases[kind]:
        words, my_colour = captions[kind][n].words, things[n][own].colour
        for j in others:
            if things[n][j].colour != my_colour:
                seen = things[n][j if elsewhere else own]
                image, state = start(decoder, n, own)
                word = word_at(decoder, image, state, words, k, centre(seen), before)
                rows.append((word == seen.colour, word == my_colour, n))
    return np.array(rows, int)


# %% [markdown]
# **Predict.** In which share of the cases will the colour word follow this one look, for soft and
# for hard attention? Enter two numbers from 0 to 1. (The measurement takes about ten seconds.)

# %%
my_guess = {"soft": ..., "hard": ...}

# %%
followed = {kind: follows(kind) for kind in models}
for kind, rows in followed.items():
    own_object = follows(kind, elsewhere=False)[:, 0].mean()
    follow, stay, _ = rows.mean(0)
    print(f"{kind}: follows {follow:.1f}, stays {stay:.1f}, control {own_object:.1f}")

# %% [markdown]
# Compare this with your guess. For soft attention the word follows the look. For hard attention it
# does so in three of ten cases only. In six of ten it stays: the model was made to look at, say,
# the red triangle, and still wrote *green*.
#
# Yet the map of the hard model is *true*: the context is made of that region and of no other. And
# it points well. Let us see where the models look at the colour word, and at the words before it.

# %%
from labkit.evaluation.pointing_game import cells_in  # the cells of a box


def points(kind, before):
    hits = []
    for n, own, k, _ in cases[kind]:
        place = captions[kind][n].alpha[max(k - before, 0)].argmax()  # or at the first word
        hits.append(bool(cells_in(things[n][own].box, (7, 7))[place]))
    return np.mean(hits)


# %%
for kind in models:
    print(f"{kind}, 0 to 3 words before:", *(f"{points(kind, b):.1f}" for b in range(4)))

# %% [markdown]
# The hard model looks at the object well before it writes the colour. So perhaps it has seen the
# colour then, and remembers it. But the soft model looks there before, too, and its word follows
# the last look. Looking early proves nothing either. Test it: move the three looks before the
# word, too.

# %%
for kind in models:
    follow, stay, _ = follows(kind, before=3).mean(0)
    print(f"{kind}: three steps before too: follows {follow:.1f}, stays {stay:.1f}")

# %% [markdown]
# Now the hard model follows in seven of ten cases, in place of three. So in about four of ten
# cases the colour came from an earlier look, and was remembered. There, the second bullet is true:
# at the colour word the map is true, and points at the right object, but the word does not come
# from that look. A pointing game cannot find this out.
#
# In two of ten cases the colour stays even then. We come back to these.
#
# <details><summary>Quiz: in training, the soft model has never seen a single region. Could its
# answers be an accident of that?</summary>
#
# This is what the control is for. There, too, the model sees a single region, that of its own
# object. It writes its word in nearly all cases, so a single region alone does not disturb it.
#
# </details>
#
# <details><summary>Quiz: why did both models follow when all steps were moved?</summary>
#
# Because the earlier looks were moved, too. An intervention on all steps says that the word comes
# from *some* look, not from which. It also says that the other place shows enough of its object.
# And it was an easier test: the place was sometimes that of the object that the caption began with
# anyway.
#
# </details>
#
# ## The second way in
#
# The third bullet is left: a model might know of the green circle without looking. How? Each
# measurement begins with a line like this one, of `log_p_without`:
#
# ```
# image, state = decoder.init_state(vectors[n, j][None])
# ```
#
# The picture comes out of it twice. `image` is what attention looks at. `state` is the first state
# of the LSTM, computed from the mean of all annotation vectors (lab 4). When we removed an object,
# we removed it from both. So a loss of eight nats may have come through either.
#
# **Exercise 10.3.** Write `split(decoder, seen, first)`. It returns an image and a state, as
# `init_state` does, but attention looks at the vectors `seen`, and the first state comes from the
# vectors `first`. Both have the shape $(L, D)$.
#
# <details><summary>Hint</summary>
#
# `init_state` wants the vectors of $N$ pictures, $(N, L, D)$, and returns both an image and a
# state. You may call it twice.
#
# </details>

# %%
def split(decoder, seen, first):  # (L, D), (L, D) -> image, state
    ...


# %%
check("10.3", split)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def split(decoder, seen, first):
    image, _ = decoder.init_state(seen[None])
    _, state = decoder.init_state(first[None])
    return image, state


check("10.3", split)

# %% [markdown]
# Now each part can miss the object alone. **Predict:** through which part does the soft model lose
# its eight nats? And the hard model its seven? (About ten seconds.)

# %%
def lost_by_part(kind):
    """What each colour word loses if the object is missed by both, attention, first state."""
    decoder, rows = models[kind].decoder, []
    for n, own, k, _ in cases[kind]:
        all_there, gone = vectors[n, None], vectors[n, own]
        views = [(all_there, all_there), (gone, gone), (gone, all_there), (all_there, gone)]
        words = captions[kind][n].words
        p = [log_p_of(decoder, words, k, *split(decoder, *view)) for view in views]
        rows.append(p[0] - np.array(p[1:]))
    return np.array(rows)


# %%
parts = {kind: lost_by_part(kind) for kind in models}
for kind, rows in parts.items():
    whole_model, attention, first_state = rows.mean(0)
    print(f"{kind}: both {whole_model:.1f}; attention alone {attention:.1f}; "
          f"first state alone within 0.2 of 0: {abs(first_state) < 0.2}")

# %% [markdown]
# The words of the soft model lose nothing if the first state misses the object, and nearly all if
# attention does. So the object reaches them through attention. For the hard model both parts
# matter: it also uses what the first state knows of the object, before any look. Is this why two
# of ten words stayed, even with the three looks before moved? Test it: move the looks again, and
# let the first state come from the scene without the word's own object. The control: without
# another object.

# %%
def first_without(own_object):
    def start(decoder, n, own):
        gone = own if own_object else (own + 1) % len(things[n])
        return split(decoder, vectors[n, None], vectors[n, gone])

    return start


for own_object in (True, False):
    follow, stay, _ = follows("hard", before=3, start=first_without(own_object)).mean(0)
    name = "its own" if own_object else "another"
    print(f"first state without {name} object: follows {follow:.1f}, stays {stay:.1f}")

# %% [markdown]
# Without its own object hardly any word stays, and the control changes nothing. So in about two of
# ten cases the first state kept the colour: there, the third bullet is true. In one model a word
# may come from its look, from an earlier one, or from no look.
#
# The two losses of the hard model do not add up to the loss of both. They need not: where either
# part is enough for the word, losing only one costs little. So you cannot find the share of one part
# by subtracting that of the other. You have to ask the model.
#
# This is the **confound** of the first state: an object that is removed for the whole model may be
# missed by a part that has nothing to do with the map.
#
# ## How sure?
#
# The word of the hard model followed its look in three of ten cases. With 100 other scenes the
# share would be a little different. How different? We cannot draw all scenes of the world, but we
# can draw from those that we have, with replacement. This is the *bootstrap*. Some scenes are
# drawn twice, some not at all, and the share changes. Do that 1,000 times, and take the interval
# that holds 95% of the shares.
#
# What is drawn: cases, or scenes? A scene gives several cases. They share one picture and one
# caption, so they are no independent samples.
#
# **Exercise 10.4.** Write `resampled_mean(values, scenes, rng)`. `values` is an array with a value
# for each case (1 if its word follows, or 0), and `scenes` an array of the same length with the
# number of its scene. Scenes without a case do not occur. Draw once: as many scenes as occur in
# `scenes`, with replacement. Return the mean of all cases of the scenes that were drawn. Draw with
# `rng`, a random generator of numpy.
#
# <details><summary>Hint</summary>
#
# `np.unique(scenes)` lists the scenes, and `rng.choice(some, size)` draws with replacement. A
# scene that is drawn twice brings its cases twice. `np.concatenate` joins arrays.
#
# </details>

# %%
def resampled_mean(values, scenes, rng):  # (cases,), (cases,) -> a number
    ...


# %%
check("10.4", resampled_mean)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def resampled_mean(values, scenes, rng):
    every = np.unique(scenes)
    drawn = rng.choice(every, len(every))
    return np.mean(np.concatenate([values[scenes == n] for n in drawn]))


check("10.4", resampled_mean)

# %%
def interval(values, scenes, draws=1000):
    rng = np.random.default_rng(0)
    means = [resampled_mean(values, scenes, rng) for _ in range(draws)]
    return np.percentile(means, [2.5, 97.5])


ends = {kind: interval(rows[:, 0], rows[:, 2]) for kind, rows in followed.items()}
print("the intervals are far apart:", ends["soft"][0] - ends["hard"][1] > 0.4)

# %% tags=["nbval-ignore-output"]
for kind, (low, high) in ends.items():
    values = followed[kind][:, 0]
    print(f"{kind}: {values.mean():.2f} of {len(values)} cases, from {low:.2f} to {high:.2f}")

# %% [markdown]
# Does it matter what is drawn? Suppose that a careless colleague enters each case four times.
# Nothing new is known, so the interval should stay as wide as it is. With which of the two ways to
# draw does it?

# %%
def width(values, scenes):
    low, high = interval(values, scenes, draws=300)
    return high - low


# %%
values, _, numbers = followed["hard"].T
copied, of_scene = np.repeat(values, 4), np.repeat(numbers, 4)
by_scenes, by_cases = width(values, numbers), width(values, np.arange(len(values)))
wrong_scenes, wrong_cases = width(copied, of_scene), width(copied, np.arange(len(copied)))
print(f"if scenes are drawn, the copies multiply the width by {wrong_scenes / by_scenes:.1f}")
print(f"if cases are drawn, the copies multiply the width by {wrong_cases / by_cases:.1f}")
print("without copies, the two widths are nearly the same:", abs(by_cases / by_scenes - 1) < 0.2)

# %% [markdown]
# If cases are drawn, the interval becomes half as wide, for no reason. Without the copies, both
# ways give nearly the same width here: the cases of a scene are nearly independent in this
# measure. You know that only after you have looked.
#
# ## A third model
#
# A third model has learned from the same scenes. How, we do not say yet. Here are the same
# measurements of it, made with the cells above: shares of cases, and nats that its colour words
# lose.

# %%
third = {
    "looks at the object at its colour word": 0.22,
    "looks there by chance": 0.18,
    "all looks moved: the first phrase names that object": 0.19,
    "  control: not moved": 0.22,
    "one look moved: the word names that object": 0.06,
}

# %%
third |= {
    "lost without its object": 4.9,
    "  control: without another": 0.1,
    "lost if attention alone misses the object": 0.1,
    "lost if the first state alone misses it": 4.2,
}
for what, number in third.items():
    print(f"{what:52} {number:4}")

# %% [markdown]
# **Exercise 10.5.** Which of these claims about the three models are true? Enter `True` or `False`.

# %%
claims = {
    "the third model's colour words need the object": ...,
    "the third model's maps explain its colour words": ...,
    "its attention accounts for 4.9 - 4.2 = 0.7 nats": ...,
    "the hard model did not look where its maps say": ...,
    "a model that points better has words that follow their look more often": ...,
}

# %%
check("10.5", claims)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
claims = {
    "the third model's colour words need the object": True,
    "the third model's maps explain its colour words": False,
    "its attention accounts for 4.9 - 4.2 = 0.7 nats": False,
    "the hard model did not look where its maps say": False,
    "a model that points better has words that follow their look more often": False,
}
check("10.5", claims)

# %% [markdown]
# The third model has the argmax of lab 6, and was trained for three epochs. The part that scores
# the regions has learned nothing. What the model knows of the objects, it knows from the first
# state. Had we only removed objects, with the right control, we would have thought that its words
# need its attention.

# %% mystnb={"figure": {"caption": "Where three models look at the colour word, and whether the word follows that one look. The model that points best is not the one whose words follow.", "name": "fig:explain-summary"}, "image": {"alt": "Three pairs of bars: looks at the object, and follows one look. Soft attention 0.8 and 0.9, hard 0.9 and 0.3, the third model 0.2 and 0.1."}} tags=["nbval-ignore-output"]
look = [points("soft", 0), points("hard", 0), 0.22]
follow = [followed["soft"][:, 0].mean(), followed["hard"][:, 0].mean(), 0.06]
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.bar(np.arange(3) - 0.2, look, 0.4, label="looks at the object")
axes.bar(np.arange(3) + 0.2, follow, 0.4, label="the word follows this look")
axes.set(xticks=range(3), xticklabels=["soft", "hard", "argmax"], ylabel="share of cases")
axes.legend()
plt.show()

# %% [markdown]
# ## Your own model
#
# `labkit probe` asks all this of a model, and more: of the colour and of the shape word, with every
# control, and with intervals over images. It draws 200 scenes and takes about a minute.
#
# ```
# labkit probe scenes-hard --out probed
# labkit probe runs/mine --out probed-mine
# ```
#
# Nothing can be removed from a photograph. So a model of photographs gets the first state of
# another image, or its contexts, in place of its own. The chapter
# [Do the maps explain the word?](../book/do-the-maps-explain.md) reports what came out.
#
# ## What others found
#
# All three of these papers are about models that read text. You may find parts of this lab in each.
#
# - Jain and Wallace, *Attention is not Explanation* (2019). They replace the weights of trained
#   models, and find quite different ones with nearly the same output.
# - Serrano and Smith, *Is Attention Interpretable?* (2019). They set weights to zero and see
#   whether the decision changes. Attention predicts only noisily what matters.
# - Wiegreffe and Pinter, *Attention is not not Explanation* (2019). They answer that this depends
#   on what you call an explanation, and propose tests. One of them is a baseline with uniform
#   weights.
#
# ## Summary
#
# - A map says where a model looked. Whether the word comes from there, only a change can tell.
# - Each effect needs a control: the same change where it should do nothing.
# - A map can be true and point well while the word comes from an earlier look.
# - The picture has two ways to the words: attention and the first state. Removing an object from
#   both says nothing about attention alone.
# - The cases of a scene belong together. The bootstrap draws scenes.
#
# **To think about.** In some cases the map of the colour word points at another object than the one
# that the word names. If maps explain words, what should happen to the word when *this* object is
# removed? Write down your answer, then measure it. (`labkit probe` measures it, too.)
#
# **Next.** [Lab 11: learning from a reward](11_learning_from_a_reward.ipynb)
