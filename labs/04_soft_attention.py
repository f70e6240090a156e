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
# # Lab 4: soft attention and the decoder
#
# **What you will learn.** What the decoder computes between two words: the scores of the regions,
# their weights, the context, the gate, the LSTM, the next word. You write each part yourself, and
# in the end your parts tell a caption.
#
# **Time.** About 75 minutes, of which the machine takes less than one.
#
# **Before you start.** Labs 0 and 2. You know what a matrix product, a softmax and a sigmoid are.
#
# **The question.** The model shows where it looked before each word. Is there a secret in it, or
# could you compute it yourself, from the equations of the paper?

# %%
import torch

import labkit

torch.set_num_threads(1)  # so that the numbers are the same everywhere
torch.set_grad_enabled(False)  # nothing is trained in this lab
captioner = labkit.load("scenes-soft")
decoder = captioner.decoder

# %% [markdown]
# ## What we start from
#
# One picture, and its annotation vectors. The encoder gives a vector for each cell of a grid of
# 7 x 7 cells.

# %%
from labkit.photos import to_input
from labkit.preparing import SCENE_ENCODER

scene = labkit.make_scenes(1, seed=25, split="test")[0]
encoder = labkit.load_encoder(SCENE_ENCODER, bf16=False)
pixels = to_input(scene.image, encoder.config.size)  # (3, 112, 112)
features = encoder(torch.from_numpy(pixels)[None])
features.shape  # (pictures, regions, channels)

# %% [markdown]
# `labkit` first scales each vector, and then brings it to a fixed length by a learned matrix. These
# two steps are not in the paper. They let the decoder take vectors of any network. After them we
# have the paper's $a$: a row for each of $L$ regions, with $D$ numbers in each.

# %%
def regions(features):
    """Give a, (L, D), of one picture (L, channels)."""
    return decoder.reduce(decoder.norm(features))


a = regions(features[0])
L, D = a.shape
print(f"L = {L} regions of D = {D} numbers")

# %% [markdown]
# ## The learned numbers
#
# A trained decoder is a box of matrices. We take them out and give them the paper's names. $H$ is
# the size of the state $h$. $A$ is the size of the hidden layer that scores regions.
#
# `labkit` keeps three matrices that are multiplied with $h$ as one, because one large product is
# faster than three small ones. `split` cuts them apart.

# %%
A, H = decoder.config.scorer, decoder.config.hidden
parts = [A, 1, 4 * H]
W_s, w_beta, W_h = decoder.of_hidden.weight.split(parts)
b_s, b_beta, b_h = decoder.of_hidden.bias.split(parts)
print("W_s", tuple(W_s.shape), " w_beta", tuple(w_beta.shape))

# %% [markdown]
# Here are the others. Where `labkit` keeps a bias in two halves, we add them. The matrix $E$ holds
# a row for each word of the vocabulary. It reads the words, and as $L_o$ it also tells them.

# %%
W_a, v = decoder.attention.of_region.weight, decoder.attention.v
b = decoder.attention.of_region.bias + b_s
W_y, W_z = decoder.of_word.weight, decoder.of_context.weight
b_lstm = decoder.of_word.bias + b_h
E = L_o = decoder.words.weight
L_h, L_z = decoder.L_h.weight, decoder.L_z.weight
b_o = decoder.bias + L_o @ decoder.L_h.bias
print("W_a", tuple(W_a.shape), " v", tuple(v.shape), " E", tuple(E.shape))

# %% [markdown]
# | name | shape | what it does |
# |---|---|---|
# | $a$ | $(L, D)$ | the regions, from the encoder |
# | $h$, $c$ | $(T, H)$ | the LSTM's state and memory, a row for each of $T$ words |
# | $W_a$, $W_s$, $b$, $v$ | $(A, D)$, $(A, H)$, $(A)$, $(A)$ | score a region |
# | $w_\beta$, $b_\beta$ | $(1, H)$, $(1)$ | the gate |
# | $W_y$, $W_z$, $W_h$, $b_{lstm}$ | $(4H, m)$, $(4H, D)$, $(4H, H)$, $(4H)$ | what the LSTM reads |
# | $E$, $L_o$ | $(V, m)$ | a row of $m$ numbers for each of $V$ words |
# | $L_h$, $L_z$, $b_o$ | $(m, H)$, $(m, D)$, $(V)$ | what tells the next word |
#
# A row is a vector here. So the paper's $W_a a_i$, for all regions at once, is `a @ W_a.T`. Keep
# that in mind: most errors in this lab come from it.
#
# ## How it starts
#
# The first state comes from the mean of all regions, by a matrix and a tanh each for $h_0$ and $c_0$. The
# paper has a small network for each, in two equations without a number. We write this part for you.

# %%
def start(a):
    """Give h_0 and c_0, (1, H) each, from a (L, D)."""
    mean = a.mean(0, keepdim=True)  # (1, D)
    return torch.tanh(decoder.first(mean)).chunk(2, -1)


h, c = start(a)
seen, state = decoder.look_at(features)
print("as in labkit:", torch.allclose(h, state.h[0], atol=1e-5))

# %% [markdown]
# `labkit` works on many pictures and many captions at once. So its state has two axes more than
# it needs for one caption: (pictures, captions, $H$). We keep one: a row for each word, or for each
# caption. At the start there is one row.
#
# A state needs the look of the word before it, so in a caption the words come one after the other. Your
# functions take any number of rows $T$: here one, in the checks three.
#
# ## Step 1: a score for each region
#
# Where should the model look? That depends on what has been told so far, and $h$ knows it. So each
# region gets a score from the region *and* the state (eq. 4). The paper calls the function $f_{att}$ a
# multilayer perceptron, and gives no formula. Its code has one hidden layer:
#
# $$e_{ti} = v \cdot \tanh(W_a a_i + W_s h_{t-1} + b)$$
#
# Look at the shapes. $W_a a_i$ for all regions is $(L, A)$. $W_s h$ for all words is $(T, A)$. Each
# word needs all regions, so the sum is $(T, L, A)$. The product with $v$ takes the last axis away.
#
# **Exercise 4.1.** Write `scores`.
#
# <details><summary>Hint</summary>
#
# `x[:, None]` gives a tensor a new axis: $(T, A)$ becomes $(T, 1, A)$. A sum of $(T, 1, A)$ and
# $(L, A)$ has the shape $(T, L, A)$. And `x @ v` multiplies the last axis with $v$ and sums it up.
#
# </details>

# %%
from labkit.checks import check


def scores(a, h, W_a, W_s, b, v):
    """Give e, (T, L), from a (L, D) and h (T, H)."""
    return ...


check("4.1", scores)

# %% [markdown]
# The cell above says what is wrong, for as long as something is. The solution is folded below. The
# steps further down use your function. If yours is right, you need not run the solution. If you
# run all cells of the lab, the solution takes your function's place.

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def scores(a, h, W_a, W_s, b, v):
    """Give e, (T, L), from a (L, D) and h (T, H)."""
    region = a @ W_a.T  # (L, A)
    said = (h @ W_s.T)[:, None]  # (T, 1, A)
    return torch.tanh(region + said + b) @ v  # (T, L, A) @ (A) -> (T, L)


check("4.1", scores)

# %% [markdown]
# And does it agree with `labkit`, with the trained numbers?

# %%
e = scores(a, h, W_a, W_s, b, v)
query = state.h @ W_s.T + b_s  # labkit computes it for all at once
theirs = decoder.attention.scores(seen, query)[0]
print(tuple(e.shape), torch.allclose(e, theirs, atol=1e-4))

# %% [markdown]
# If you open `labkit/attention.py`, you find no `tanh` there. It uses the sigmoid $\sigma$, because
# $\tanh(x) = 2 \sigma(2x) - 1$, and some processors are faster at the one than at the other.

# %%
x = torch.linspace(-4, 4, 9)
torch.allclose(x.tanh(), 2 * (2 * x).sigmoid() - 1, atol=1e-6)

# %% [markdown]
# **What need not be done twice?** $W_a a_i$ does not depend on the word. `labkit` computes it once
# for a picture, before the first word. For a caption of 12 words, how many multiplications does
# that save?

# %%
words = 12
each_word = words * (L * D * A + H * A + L * A)
only_once = L * D * A + words * (H * A + L * A)
print(f"{each_word / only_once:.1f} times fewer")

# %% [markdown]
# ## Step 2: weights
#
# A score may be any number. We want weights: positive, and together 1. The softmax does it (eq. 5):
#
# $$\alpha_{ti} = \frac{\exp(e_{ti})}{\sum_{k=1}^{L} \exp(e_{tk})}$$
#
# The sum below the line runs over the regions. So each word has 1 to give, and the regions share
# it. Which axis of $e$ is that?
#
# **Exercise 4.2.** Write `weights`.

# %%
def weights(e):
    """Give alpha, (T, L), from e (T, L)."""
    return ...


check("4.2", weights)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def weights(e):
    """Give alpha, (T, L), from e (T, L)."""
    return e.softmax(-1)


check("4.2", weights)

# %%
alpha = weights(e)
print(f"sum {alpha.sum():.3f}, smallest above 0: {bool(alpha.min() > 0)}")
print("largest is over 3 times an even share:", bool(alpha.max() > 3 / L))

# %% [markdown]
# These are the weights before the first word. An even share would be $1/49$. Where are they?

# %% mystnb={"figure": {"caption": "The scene, and the weights that your functions give before the first word. Bright is where the model looks.", "name": "fig:first-look"}, "image": {"alt": "A drawn scene of a large yellow cross and a small yellow circle, and the same scene under the attention weights of the first step."}} tags=["nbval-ignore-output"]
labkit.attention_strip(scene.image, ["first look"], alpha.view(1, 7, 7))

# %% [markdown]
# ## Step 3: the context, soft
#
# The weights say how much to take of each region. **Soft attention** takes a little of everything:
# it adds up the regions, each times its weight (eq. 13):
#
# $$\phi(a, \alpha_t) = \sum_{i=1}^{L} \alpha_{ti} \, a_i$$
#
# The paper calls this the expected context. If you drew one region by lot, with $\alpha_t$ as the
# odds, this is what you would get on average.
#
# **Exercise 4.3.** Write `mix`. One operator is enough.

# %%
def mix(alpha, a):
    """Give phi, (T, D), from alpha (T, L) and a (L, D)."""
    return ...


check("4.3", mix)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def mix(alpha, a):
    """Give phi, (T, D), from alpha (T, L) and a (L, D)."""
    return alpha @ a  # (T, L) @ (L, D) -> (T, D)


check("4.3", mix)

# %% [markdown]
# Two weights are worth a thought. If all are even, the mix is the mean of the regions. If one
# weight is 1, the mix is that region alone.

# %%
even = torch.full((1, L), 1 / L)
one = torch.zeros(1, L)
one[0, 17] = 1
print(torch.allclose(mix(even, a)[0], a.mean(0), atol=1e-5))
print(torch.allclose(mix(one, a)[0], a[17]))

# %% [markdown]
# So the mean, from which the first state was made, is attention that does not choose. And hard
# attention, which you meet in lab 6, is a mix with one weight of 1.
#
# ## Step 4: the gate
#
# After *right* comes *of*. Nobody has to look at the picture for that. But the weights must sum
# to 1, so the model has to look somewhere. The gate $\beta_t$ (section 4.2.1 of the paper) says
# how much of the mix to let in. It is one number for each word, between 0 and 1:
#
# $$\beta_t = \sigma(w_\beta \cdot h_{t-1} + b_\beta), \qquad z_t = \beta_t \, \phi(a, \alpha_t)$$
#
# The result $z_t$ is the **context** (eq. 6).
#
# **Exercise 4.4.** Write `context`. What goes into the gate? And what does it multiply?

# %%
def context(phi, h, w_beta, b_beta):
    """Give z, (T, D), from phi (T, D) and h (T, H)."""
    return ...


check("4.4", context)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def context(phi, h, w_beta, b_beta):
    """Give z, (T, D), from phi (T, D) and h (T, H)."""
    beta = torch.sigmoid(h @ w_beta.T + b_beta)  # (T, 1)
    return beta * phi


check("4.4", context)

# %% [markdown]
# Scores, weights, mix and gate: that is all of attention. `labkit` has the first three in
# `Attention.forward`, which gives $\phi$. Let us compare.

# %%
phi = mix(alpha, a)
fed, _, glance = decoder.attention(seen, query, state.h)
print("alpha:", torch.allclose(alpha, glance.alpha[0], atol=1e-5))
print("phi:  ", torch.allclose(phi, fed[0], atol=1e-4))
z = context(phi, h, w_beta, b_beta)
print("beta is between 0 and 1:", bool(0 < (z / phi).mean() < 1))

# %% [markdown]
# ## Step 5: the LSTM
#
# Now the state moves on. The LSTM reads the last word $E y_{t-1}$, the context $z_t$ and its own
# $h_{t-1}$. Three products make four vectors of size $H$ (eq. 1), which lie one behind the other:
#
# $$(i_t, f_t, o_t, g_t) = W_y E y_{t-1} + W_z z_t + W_h h_{t-1} + b_{lstm}$$
#
# $i$ lets the new in, $f$ keeps the old, $o$ lets it out. These three are gates and go through the
# sigmoid. $g$ is the new itself and goes through $\tanh$ (eqs. 2 and 3, $\odot$ multiplies number by
# number):
#
# $$c_t = \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \tanh(g_t)$$
# $$h_t = \sigma(o_t) \odot \tanh(c_t)$$
#
# **Exercise 4.5.** Write `lstm`. Mind the order of the four: other libraries have another.
#
# <details><summary>Hint</summary>
#
# `x.chunk(4, -1)` cuts the last axis into four equal parts.
#
# </details>

# %%
def lstm(word, z, h, c, W_y, W_z, W_h, b):
    """Give the new h and c, (T, H) each; word is (T, m), z (T, D)."""
    return ...


check("4.5", lstm)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def lstm(word, z, h, c, W_y, W_z, W_h, b):
    """Give the new h and c, (T, H) each; word is (T, m), z (T, D)."""
    gates = word @ W_y.T + z @ W_z.T + h @ W_h.T + b  # (T, 4H)
    i, f, o, g = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


check("4.5", lstm)

# %% [markdown]
# ## Step 6: the next word
#
# The next word depends on three things: the last word, the new state, and the context (eq. 7):
#
# $$p(y_t) = \mathrm{softmax}\bigl(L_o (E y_{t-1} + L_h h_t + L_z z_t) + b_o\bigr)$$
#
# Why the context again, when the LSTM has read it? So that what is seen can be said at once, in
# the same step, without a way through the memory.
#
# **Exercise 4.6.** Write `word_log_p`. It gives $\log p$, not $p$: a caption's probability is a
# product of many small numbers, and a sum of logarithms is safer than that.

# %%
def word_log_p(word, h, z, L_o, L_h, L_z, b_o):
    """Give log p, (T, V), of each word of the vocabulary."""
    return ...


check("4.6", word_log_p)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def word_log_p(word, h, z, L_o, L_h, L_z, b_o):
    """Give log p, (T, V), of each word of the vocabulary."""
    told_from = word + h @ L_h.T + z @ L_z.T  # (T, m)
    return (told_from @ L_o.T + b_o).log_softmax(-1)


check("4.6", word_log_p)

# %% [markdown]
# ## All parts together
#
# One step is your six functions in a row. `weigh` is there so that we can put another function in
# its place later.

# %%
def step(word, a, h, c, weigh):
    """Tell one word more; word is the id of the last, a tensor (1,)."""
    alpha = weigh(scores(a, h, W_a, W_s, b, v))
    z = context(mix(alpha, a), h, w_beta, b_beta)
    h, c = lstm(E[word], z, h, c, W_y, W_z, W_h, b_lstm)
    log_p = word_log_p(E[word], h, z, L_o, L_h, L_z, b_o)
    return log_p, alpha, h, c

# %% [markdown]
# The first word is told after `<bos>`, the mark of the beginning. Does the step agree with
# `labkit`'s?

# %%
from labkit.vocabulary import BOS, EOS

log_p, alpha, h, c = step(torch.tensor([BOS]), a, *start(a), weights)
theirs, state, _ = decoder.step(torch.tensor([[BOS]]), seen, state)
print("log p:", torch.allclose(log_p, theirs[0], atol=1e-3))
print("h:    ", torch.allclose(h, state.h[0], atol=1e-4))
print("c:    ", torch.allclose(c, state.c[0], atol=1e-4))

# %% [markdown]
# If all three are True, you have written the decoder of the paper.
#
# To tell a caption, take the likeliest word, hand it to the next step, and stop at `<eos>`. That is
# called greedy telling.
#
# **Exercise 4.7.** Write `tell`. It gives the numbers of the words, without `<bos>` and `<eos>`, and
# a row of weights for each of them. Start with `start(a)`. Stop after 20 words, if no `<eos>` comes.
# Hand `weigh` on to `step`: later we put another function in its place.

# %%
def tell(a, weigh=weights):
    """Give the ids of the words, a list, and alpha (T, L)."""
    return ...


check("4.7", tell)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def tell(a, weigh=weights):
    """Give the ids of the words, a list, and alpha (T, L)."""
    (h, c), told, looks = start(a), [BOS], []
    for _ in range(20):
        log_p, alpha, h, c = step(torch.tensor(told[-1:]), a, h, c, weigh)
        if log_p.argmax() == EOS:
            break
        told.append(log_p.argmax().item())
        looks.append(alpha[0])
    return told[1:], torch.stack(looks)

check("4.7", tell)

# %%
told, looks = tell(a)
words = [captioner.vocabulary.words[word] for word in told]
print(" ".join(words))

# %% mystnb={"figure": {"caption": "A caption told by your own functions, and where each word looked.", "name": "fig:own-strip"}, "image": {"alt": "A drawn scene, and the same scene once for each word of a large yellow cross is right of a small yellow circle. For a large yellow cross the cross is brightest, for the words after it mostly the circle."}} tags=["nbval-ignore-output"]
labkit.attention_strip(scene.image, words, looks.view(-1, 7, 7))

# %% [markdown]
# And `labkit`'s own, with the same way of telling?

# %%
caption = labkit.greedy(decoder, features)[0]
print("the same words:  ", caption.words == told)
print("the same weights:", torch.allclose(looks, caption.alpha, atol=1e-3))

# %% [markdown]
# ## What is attention worth?
#
# The decoder is yours now, so you can break it. Put another function in the place of `weights`, and
# see what is told of 50 scenes. We count how many shapes are named right: the size, the colour and
# the shape must all fit something in the scene.

# %%
from labkit.scenes import objects_right, things_of

scenes = labkit.make_scenes(50, seed=7, split="test")
pixels = [torch.from_numpy(to_input(s.image, 112)) for s in scenes]
views = [regions(x) for x in encoder(torch.stack(pixels))]
print(len(views), "pictures of", tuple(views[0].shape))

# %%
def named_right(weigh):
    """Give the share of the shapes told that are there."""
    right = total = 0
    for s, a in zip(scenes, views, strict=True):
        ids, _ = tell(a, weigh)
        text = captioner.vocabulary.decode(ids)
        one, all_ = objects_right(text, things_of(s.facts))
        right, total = right + one, total + all_
    return right / total

# %% tags=["nbval-ignore-output"]
from torch.nn.functional import one_hot

ways = {
    "learned": weights,  # as the model learned to look
    "even": lambda e: torch.full_like(e, 1 / L),  # all regions alike
    "likeliest": lambda e: one_hot(e.argmax(-1), L).float(),  # one region
}
shares = {name: named_right(weigh) for name, weigh in ways.items()}
print({name: round(share, 2) for name, share in shares.items()})

# %%
learned, even, likeliest = shares.values()
print("learned over three times even:", learned > 3 * even)
print("likeliest over twice even:    ", likeliest > 2 * even)

# %% [markdown]
# With all regions alike, the decoder still gets a vector of the right kind, the mean. But the mean
# does not say which colour belongs to which shape. So the captions sound right and are wrong.
#
# With the likeliest region alone, most of it still works, although this model never learned to look
# so. Be careful with what that proves. A model that was *trained* with the mean, or with one region,
# would have learned to live with it. Lab 8 compares trained models.
#
# ## What does the gate do?
#
# Nobody told the model which words need the picture. Has the gate found out? We collect $\beta$ for
# each word told of the 50 scenes.

# %%
def gates(a):
    """Give pairs of a word and the beta it was told with."""
    (h, c), word, pairs = start(a), torch.tensor([BOS]), []
    for told in tell(a)[0]:
        beta = torch.sigmoid(h @ w_beta.T + b_beta).item()
        pairs.append((captioner.vocabulary.words[told], beta))
        _, _, h, c = step(word, a, h, c, weights)
        word = torch.tensor([told])
    return pairs

# %%
from labkit.scenes import COLOURS, SHAPES

pairs = [pair for a in views for pair in gates(a)]
for name, kind in {"colours": COLOURS, "shapes": SHAPES,
                   "links": ("and", "is", "of")}.items():
    found = [beta for word, beta in pairs if word in kind]
    print(f"{name:8} {sum(found) / len(found):.1f}")

# %% [markdown]
# It is more open for colours and shapes than for *and*, *is* and *of*. It learned that from captions alone.
#
# ## From one caption to many
#
# Your functions tell one picture. `labkit` tells many at once. Here is what changes, and it is only
# shapes: $N$ pictures, and $K$ captions of each.
#
# | | yours | `labkit` |
# |---|---|---|
# | regions | $(L, D)$ | $(N, L, D)$ |
# | state $h$ | $(T, H)$ | $(N, K, H)$ |
# | scores, weights | $(T, L)$ | $(N, K, L)$ |
# | mix | $(T, L)$ times $(L, D)$ | $(N, K, L)$ times $(N, L, D)$ |
#
# In training $K$ is 1 and $N$ is the size of the batch. In beam search $K$ is the width of the beam,
# and the regions are not copied for each beam. Now read `labkit/attention.py` and
# `labkit/decoder.py`. You know every line that matters.
#
# ## Questions
#
# <details><summary>Why do the weights of a word sum to 1, and not those of a region?</summary>
#
# Because the softmax runs over the regions. Nothing makes the weights of one region, over all words,
# sum to anything. The paper adds a penalty that pulls them towards 1, see lab 5.
#
# </details>
#
# <details><summary>What happens to the weights if you add 10 to all scores of a word?</summary>
#
# Nothing. The softmax knows only differences. This is why the score needs tanh: without it,
# $v \cdot W_s h$ would be one number, added to all regions alike, and $h$ would have no say.
#
# </details>
#
# <details><summary>The weights for a word come from the state before it. Has that state read the last
# word?</summary>
#
# No. $h_{t-1}$ has read $y_{t-2}$. The last word $y_{t-1}$ enters the LSTM together with the context.
# So the model chooses where to look before it has read the word that it told last.
#
# </details>
#
# ## Summary
#
# - A small network scores each region against the state. A softmax over the regions makes weights.
# - Soft attention adds up the regions by their weights. Every part of it has a gradient.
# - A gate, one number for each word, says how much of that to let in.
# - An LSTM reads the last word, the context and its own state. Word, state and context tell the next
#   word.
# - These are about twenty lines, and they agree with `labkit`.
#
# **To think on.** With all regions alike, the model named few shapes right. Yet some models without
# attention caption well. What would the encoder have to give them, so that one vector is enough?
