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
# at the end your parts generate a caption. They are the functions of `labkit/model/equations.py`,
# under the same names.
#
# **Time.** About 75 minutes, of which your machine needs less than one.
#
# **Before you start.** Labs 0 and 2. You know what a matrix product, a softmax and a sigmoid are.
#
# **The question.** The model shows where it looked before each word. Is there any secret to this,
# or could you compute it yourself, from the equations of the paper?

# %%
import torch

import labkit

torch.set_num_threads(1)  # so that the numbers are the same everywhere
torch.set_grad_enabled(False)  # nothing is trained in this lab
captioner = labkit.Captioner.from_pretrained("scenes-soft")
decoder = captioner.decoder

# %% [markdown]
# ## What we start from
#
# One picture, and its annotation vectors. The encoder returns a vector for each cell of a grid of
# 7 x 7 cells.

# %%
from labkit.data.photos import to_input
from labkit.features.prepare import SCENE_ENCODER

scene = labkit.make_scenes(1, seed=25, split="test")[0]
encoder = labkit.load_encoder(SCENE_ENCODER, bf16=False)
pixels = to_input(scene.image, encoder.config.size)  # (3, 112, 112)
features = encoder(torch.from_numpy(pixels)[None])
features.shape  # (pictures, regions, channels)

# %% [markdown]
# `labkit` first scales each vector, and then projects it to a fixed size with a learned matrix.
# These two steps are not in the paper. They allow the decoder to use the vectors of any network.
# After them we have the paper's $a$: one row for each of $L$ regions, with $D$ numbers in each row.

# %%
def regions(features):
    """Return a, (L, D), of one picture (L, channels)."""
    return decoder.reduce(decoder.norm(features))


a = regions(features[0])
L, D = a.shape
print(f"L = {L} regions of D = {D} numbers")

# %% [markdown]
# ## The learned numbers
#
# A trained decoder is a collection of matrices. We take them out and give them the paper's names.
# $H$ is the size of the state $h$. $A$ is the size of the hidden layer that scores regions.
#
# `labkit` stores three matrices that are multiplied with $h$ as one matrix, because one large
# product is faster than three small ones. `split` separates them.

# %%
A, H = decoder.config.attention_dim, decoder.config.hidden_dim
parts = [A, 1, 4 * H]
W_s, w_beta, W_h = decoder.W_h.weight.split(parts)
b_s, b_beta, b_h = decoder.W_h.bias.split(parts)
print("W_s", tuple(W_s.shape), " w_beta", tuple(w_beta.shape))

# %% [markdown]
# Here are the others. Where `labkit` stores a bias in two halves, we add them. The matrix $E$ has a
# row for each word of the vocabulary. It is used to read the words and, as $L_o$, also to predict
# them.

# %%
W_a, v = decoder.attention.W_a.weight, decoder.attention.v
b = decoder.attention.W_a.bias + b_s
W_y, W_z = decoder.W_y.weight, decoder.W_z.weight
b_lstm = decoder.W_y.bias + b_h
E = L_o = decoder.embedding.weight
L_h, L_z = decoder.L_h.weight, decoder.L_z.weight
b_o = decoder.bias + L_o @ decoder.L_h.bias
W_init_h, W_init_c = decoder.init_hc.weight.chunk(2)
b_init_h, b_init_c = decoder.init_hc.bias.chunk(2)
print("W_a", tuple(W_a.shape), " v", tuple(v.shape), " E", tuple(E.shape))

# %% [markdown]
# | name | shape | what it does |
# |---|---|---|
# | $a$ | $(L, D)$ | the regions, from the encoder |
# | $h$, $c$ | $(T, H)$ | the state and the memory of the LSTM, a row for each of $T$ words |
# | $W_{init,h}$, $b_{init,h}$ | $(H, D)$, $(H)$ | start $h$; $W_{init,c}$, $b_{init,c}$ start $c$ |
# | $W_a$, $W_s$, $b$, $v$ | $(A, D)$, $(A, H)$, $(A)$, $(A)$ | score a region |
# | $w_\beta$, $b_\beta$ | $(1, H)$, $(1)$ | compute the gate |
# | $W_y$, $W_z$, $W_h$, $b_{lstm}$ | $(4H, m)$, $(4H, D)$, $(4H, H)$, $(4H)$ | update the LSTM |
# | $E$, $L_o$ | $(V, m)$ | a row of $m$ numbers for each of $V$ words |
# | $L_h$, $L_z$, $b_o$ | $(m, H)$, $(m, D)$, $(V)$ | predict the next word |
#
# In this lab a vector is a row. So the paper's $W_a a_i$, for all regions at once, is `a @ W_a.T`.
# Keep that in mind: most errors in this lab come from it.
#
# ## How it starts
#
# The first state is computed from the mean of all regions. $h_0$ and $c_0$ each take a matrix and a
# tanh. The paper has a small network for each, in two equations without a number. We write this
# part for you.

# %%
def initial_state(a, W_init_h, b_init_h, W_init_c, b_init_c):
    """Return h_0 and c_0, (H,) each, from a (L, D)."""
    mean = a.mean(-2)  # (D,)
    return torch.tanh(mean @ W_init_h.T + b_init_h), torch.tanh(mean @ W_init_c.T + b_init_c)


def start(a):
    """Return h_0 and c_0 with one row, (1, H) each: a[None] is (1, L, D)."""
    return initial_state(a[None], W_init_h, b_init_h, W_init_c, b_init_c)


h, c = start(a)
image, state = decoder.init_state(features)
print("same as labkit:", torch.allclose(h, state.h[0], atol=1e-5))

# %% [markdown]
# `labkit` works on many pictures and many captions at once. So its state has three axes: (pictures,
# captions, $H$). The functions that you are going to write have only one axis before $H$: a row for
# each word, or for each caption. At the start there is one row.
#
# Each state depends on where the model looked just before, so the words of a caption are computed
# one after another. Your functions take any number of rows $T$: in this lab it is one, in the
# checks three.
#
# ## Step 1: a score for each region
#
# Where should the model look? That depends on the caption so far, and $h$ knows it. So each region
# gets a score that depends on the region *and* on the state (eq. 4). The paper calls the function
# $f_{att}$ a multilayer perceptron, and gives no formula. Its code has one hidden layer:
#
# $$e_{ti} = v \cdot \tanh(W_a a_i + W_s h_{t-1} + b)$$
#
# Look at the shapes. $W_a a_i$ for all regions is $(L, A)$. $W_s h$ for all words is $(T, A)$. Each
# word is combined with every region, so the sum is $(T, L, A)$. The product with $v$ removes the
# last axis.
#
# **Exercise 4.1.** Write `scores`.
#
# <details><summary>Hint</summary>
#
# `x[:, None]` gives a tensor a new axis: $(T, A)$ becomes $(T, 1, A)$. A sum of $(T, 1, A)$ and
# $(L, A)$ has the shape $(T, L, A)$. And `x @ v` multiplies the last axis by $v$ and sums over it.
#
# </details>

# %%
from labkit.checks import check


def scores(a, h, W_a, W_s, b, v):
    """Return e, (T, L), from a (L, D) and h (T, H)."""
    return ...


check("4.1", scores)

# %% [markdown]
# As long as something is wrong, the cell above says what it is. The solution is folded below. The
# later steps use your function. If yours is right, you need not run the solution. If you run all
# cells of the lab, the solution replaces your function.

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def scores(a, h, W_a, W_s, b, v):
    """Return e, (T, L), from a (L, D) and h (T, H)."""
    from_region = a @ W_a.T  # (L, A)
    from_state = (h @ W_s.T)[:, None]  # (T, 1, A)
    return torch.tanh(from_region + from_state + b) @ v  # (T, L, A) @ (A) -> (T, L)


check("4.1", scores)

# %% [markdown]
# Does it agree with `labkit`, with the trained numbers?

# %%
e = scores(a, h, W_a, W_s, b, v)
query = state.h @ W_s.T + b_s  # in labkit a part of one large product
theirs = decoder.attention.scores(image, query)[0]
print(tuple(e.shape), torch.allclose(e, theirs, atol=1e-4))

# %% [markdown]
# Your function is the one in `labkit/model/equations.py`: all of the paper's equations are there,
# one short function each. The decoder that we compare with is the same thing made fast. For
# example, `labkit/model/gradients.py` computes the tanh from the sigmoid $\sigma$:
# $\tanh(x) = 2 \sigma(2x) - 1$. With it the tanh of a sum is made of two exponentials that can be
# kept, and one division. Each such shortcut names the function that it speeds up, and a test
# compares the two.

# %%
x = torch.linspace(-4, 4, 9)
torch.allclose(x.tanh(), 2 * (2 * x).sigmoid() - 1, atol=1e-6)

# %% [markdown]
# **What can be computed just once?** $W_a a_i$ does not depend on the word. `labkit` computes it
# once per picture, before the first word. How many multiplications does that save for a caption of
# 12 words?

# %%
words = 12
each_word = words * (L * D * A + H * A + L * A)
only_once = L * D * A + words * (H * A + L * A)
print(f"{each_word / only_once:.1f} times fewer")

# %% [markdown]
# ## Step 2: weights
#
# A score can be any number. We want weights: positive, and with a sum of 1. The softmax does this
# (eq. 5):
#
# $$\alpha_{ti} = \frac{\exp(e_{ti})}{\sum_{k=1}^{L} \exp(e_{tk})}$$
#
# The sum in the denominator runs over the regions. So each word has a total weight of 1, and the
# regions share it. Which axis of $e$ is that?
#
# **Exercise 4.2.** Write `weights`.

# %%
def weights(e):
    """Return alpha, (T, L), from e (T, L)."""
    return ...


check("4.2", weights)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def weights(e):
    """Return alpha, (T, L), from e (T, L)."""
    return e.softmax(-1)


check("4.2", weights)

# %%
alpha = weights(e)
print(f"sum {alpha.sum():.3f}, smallest above 0: {bool(alpha.min() > 0)}")
print("largest is over 3 times an even share:", bool(alpha.max() > 3 / L))

# %% [markdown]
# These are the weights before the first word. An even share would be $1/49$. Where are they large?

# %% mystnb={"figure": {"caption": "The scene, and the weights that your functions give before the first word. Bright is where the model looks.", "name": "fig:first-look"}, "image": {"alt": "A drawn scene of a large yellow cross and a small yellow circle, and the same scene under the attention weights of the first step."}} tags=["nbval-ignore-output"]
labkit.attention_strip(scene.image, ["first look"], alpha.view(1, 7, 7))

# %% [markdown]
# ## Step 3: the context, soft
#
# The weights say how much to take from each region. **Soft attention** takes a little of
# everything: it adds up the regions, each multiplied by its weight (eq. 13):
#
# $$\phi(a, \alpha_t) = \sum_{i=1}^{L} \alpha_{ti} \, a_i$$
#
# The paper calls this the expected context. If you sampled one region, with $\alpha_t$ as the
# probabilities, this is what you would get on average.
#
# **Exercise 4.3.** Write `soft_context`. One operator is enough.

# %%
def soft_context(a, alpha):
    """Return phi, (T, D), from a (L, D) and alpha (T, L)."""
    return ...


check("4.3", soft_context)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def soft_context(a, alpha):
    """Return phi, (T, D), from a (L, D) and alpha (T, L)."""
    return alpha @ a  # (T, L) @ (L, D) -> (T, D)


check("4.3", soft_context)

# %% [markdown]
# Two special cases are worth a look. If all weights are equal, the result is the mean of the
# regions. If one weight is 1, it is that region alone.

# %%
even = torch.full((1, L), 1 / L)
one = torch.zeros(1, L)
one[0, 17] = 1
print(torch.allclose(soft_context(a, even)[0], a.mean(0), atol=1e-5))
print(torch.allclose(soft_context(a, one)[0], a[17]))

# %% [markdown]
# So the mean, from which the first state was computed, is attention that does not choose. And hard
# attention, which you will meet in lab 6, is a sum in which one weight is 1.
#
# ## Step 4: the gate
#
# After *right* comes *of*. You need not look at the picture to know that. But the weights must sum
# to 1, so the model has to look somewhere. The gate $\beta_t$ (section 4.2.1 of the paper)
# determines how much of the sum to let in. It is one number for each word, between 0 and 1:
#
# $$\beta_t = \sigma(w_\beta \cdot h_{t-1} + b_\beta), \qquad z_t = \beta_t \, \phi(a, \alpha_t)$$
#
# The result $z_t$ is the **context** (eq. 6).
#
# **Exercise 4.4.** Write `context_gate`. It returns $\beta$ with one column, so that it can
# multiply a row of $D$ numbers.

# %%
def context_gate(h, w_beta, b_beta):
    """Return beta, (T, 1), from h (T, H)."""
    return ...


check("4.4", context_gate)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def context_gate(h, w_beta, b_beta):
    """Return beta, (T, 1), from h (T, H)."""
    return torch.sigmoid(h @ w_beta.T + b_beta)


check("4.4", context_gate)

# %% [markdown]
# Scores, weights, $\phi$ and gate: this is all there is to attention. One line puts the last two
# together. It takes $\phi$ as an argument, as the paper does: `soft_context` is one choice, and
# hard attention is another. In `labkit` the first three are in `Attention.forward`, which returns
# $\phi(a, \alpha_t)$. Let us compare.

# %%
def context(phi, a, alpha, beta=1.0):
    """Return z, (T, D): eq. 6 with the gate."""
    return beta * phi(a, alpha)


expected = soft_context(a, alpha)
theirs, details = decoder.attention(image, query, state.h)
print("alpha:", torch.allclose(alpha, details.alpha[0], atol=1e-5))
print("phi:  ", torch.allclose(expected, theirs[0], atol=1e-4))
z = context(soft_context, a, alpha, context_gate(h, w_beta, b_beta))
print("beta is between 0 and 1:", bool(0 < (z / expected).mean() < 1))

# %% [markdown]
# ## Step 5: the LSTM
#
# Now the state is updated. The LSTM reads the last word $E y_{t-1}$, the context $z_t$ and its own
# $h_{t-1}$. Three products and a bias add up to one long vector, which consists of four vectors of
# size $H$ (eq. 1):
#
# $$W_y E y_{t-1} + W_h h_{t-1} + W_z z_t + b_{lstm}$$
#
# $i$ lets new content in, $f$ keeps the old, and $o$ determines what comes out. These three are
# gates: their parts go through the sigmoid. $g$ is the new content itself, and its part goes
# through $\tanh$. Then come the memory and the state (eqs. 2 and 3; $\odot$ is the element-wise
# product):
#
# $$c_t = f_t \odot c_{t-1} + i_t \odot g_t$$
# $$h_t = o_t \odot \tanh(c_t)$$
#
# **Exercise 4.5.** Write `lstm_gates`, `lstm_memory` and `lstm_hidden`. Mind the order of the four
# parts: other libraries use a different one.
#
# <details><summary>Hint</summary>
#
# `x.chunk(4, -1)` divides the last axis into four equal parts.
#
# </details>

# %%
def lstm_gates(Ey, h, z, W_y, W_h, W_z, b):
    """Return i, f, o, g, (T, H) each; Ey is (T, m), h (T, H), z (T, D)."""
    return ...


def lstm_memory(f, c, i, g):
    """Return the new c, (T, H)."""
    return ...


def lstm_hidden(o, c):
    """Return the new h, (T, H), from the new c."""
    return ...


check("4.5", [lstm_gates, lstm_memory, lstm_hidden])

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def lstm_gates(Ey, h, z, W_y, W_h, W_z, b):
    """Return i, f, o, g, (T, H) each; Ey is (T, m), h (T, H), z (T, D)."""
    stacked = Ey @ W_y.T + h @ W_h.T + z @ W_z.T + b  # (T, 4H)
    i, f, o, g = stacked.chunk(4, -1)
    return i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh()


def lstm_memory(f, c, i, g):
    """Return the new c, (T, H)."""
    return f * c + i * g


def lstm_hidden(o, c):
    """Return the new h, (T, H), from the new c."""
    return o * c.tanh()


check("4.5", [lstm_gates, lstm_memory, lstm_hidden])

# %% [markdown]
# ## Step 6: the next word
#
# The next word depends on three things: the last word, the new state, and the context (eq. 7):
#
# $$p(y_t) = \mathrm{softmax}\bigl(L_o (E y_{t-1} + L_h h_t + L_z z_t) + b_o\bigr)$$
#
# Why use the context again, when the LSTM has already read it? This way, what the model sees can
# appear in the caption at once, in the same step, without a detour through the memory.
#
# **Exercise 4.6.** Write `logits`: what the softmax is taken of, $n_t$ in the paper. It is a number
# for each of the $V$ words, and the largest number belongs to the most likely word.

# %%
def logits(Ey, h, z, L_o, L_h, L_z, b_o):
    """Return n, (T, V), a number for each word of the vocabulary."""
    return ...


check("4.6", logits)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def logits(Ey, h, z, L_o, L_h, L_z, b_o):
    """Return n, (T, V), a number for each word of the vocabulary."""
    mixed = Ey + h @ L_h.T + z @ L_z.T  # (T, m)
    return mixed @ L_o.T + b_o


check("4.6", logits)

# %% [markdown]
# ## All parts together
#
# One step calls your functions in turn. `phi` is an argument, so that we can replace `soft_context`
# by another function later.

# %%
def step(y, a, h, c, phi):
    """Return the new h and c, alpha, and n of the next word; y is the last word's id, (1,)."""
    alpha = weights(scores(a, h, W_a, W_s, b, v))
    z = context(phi, a, alpha, context_gate(h, w_beta, b_beta))
    i, f, o, g = lstm_gates(E[y], h, z, W_y, W_h, W_z, b_lstm)
    c = lstm_memory(f, c, i, g)
    h = lstm_hidden(o, c)
    return h, c, alpha, logits(E[y], h, z, L_o, L_h, L_z, b_o)

# %% [markdown]
# The first word follows `<bos>`, the mark for the beginning of a caption. Does your step agree with
# `labkit`'s? That one returns $\log p$, the log-softmax of your $n$: the probability of a caption
# is a product of many small numbers, and a sum of logarithms is numerically safer.

# %%
from labkit.data.vocabulary import BOS, EOS

h, c, alpha, n = step(torch.tensor([BOS]), a, *start(a), soft_context)
theirs, state, _ = decoder.step(torch.tensor([[BOS]]), image, state)
print("log p:", torch.allclose(n.log_softmax(-1), theirs[0], atol=1e-3))
print("h:    ", torch.allclose(h, state.h[0], atol=1e-4))
print("c:    ", torch.allclose(c, state.c[0], atol=1e-4))

# %% [markdown]
# If all three are True, you have written the decoder of the paper. Now open
# `labkit/model/equations.py`: your functions are there, and `step` too, with all the matrices in
# one object, `Parameters`. Do they give the same numbers?

# %%
from labkit.model import equations

w = equations.Parameters.of(decoder)
theirs = equations.step(torch.tensor([BOS]), a, *start(a), equations.soft_context, w)
mine = h, c, alpha, n
print(*(torch.allclose(x, y, atol=1e-4) for x, y in zip(mine, theirs, strict=True)))

# %% [markdown]
# To generate a caption, take the most likely word, feed it to the next step, and stop at `<eos>`.
# This is called greedy decoding.
#
# **Exercise 4.7.** Write `generate`. It returns the ids of the words, without `<bos>` and `<eos>`,
# and a row of weights for each of them. Begin with `start(a)`. Stop after 20 words if there is no
# `<eos>`. Pass `phi` on to `step`: later we will use another function in its place.

# %%
def generate(a, phi=soft_context):
    """Return the ids of the words, a list, and alpha (T, L)."""
    return ...


check("4.7", generate)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def generate(a, phi=soft_context):
    """Return the ids of the words, a list, and alpha (T, L)."""
    (h, c), ids, maps = start(a), [BOS], []
    for _ in range(20):
        h, c, alpha, n = step(torch.tensor(ids[-1:]), a, h, c, phi)
        if n.argmax() == EOS:
            break
        ids.append(n.argmax().item())
        maps.append(alpha[0])
    return ids[1:], torch.stack(maps)

check("4.7", generate)

# %%
ids, maps = generate(a)
words = [captioner.vocabulary.words[i] for i in ids]
print(" ".join(words))

# %% mystnb={"figure": {"caption": "A caption generated by your own functions, and where the model looked for each word.", "name": "fig:own-strip"}, "image": {"alt": "A drawn scene, and the same scene once for each word of a large yellow cross is right of a small yellow circle. For a large yellow cross the cross is brightest, for the words after it mostly the circle."}} tags=["nbval-ignore-output"]
labkit.attention_strip(scene.image, words, maps.view(-1, 7, 7))

# %% [markdown]
# And does `labkit`'s own greedy decoding agree?

# %%
caption = labkit.greedy(decoder, features)[0]
print("the same words:  ", caption.words == ids)
print("the same weights:", torch.allclose(maps, caption.alpha, atol=1e-3))

# %% [markdown]
# ## What is attention worth?
#
# The decoder is yours now, so you can break it. Replace $\phi$ by another function, and see what
# the captions of 50 scenes say. We count how many of the shapes that they mention are right: the
# size, the colour and the shape must all match something in the scene.

# %%
from labkit.data.scenes import objects_right, things_of

scenes = labkit.make_scenes(50, seed=7, split="test")
pixels = [torch.from_numpy(to_input(s.image, 112)) for s in scenes]
pictures = [regions(x) for x in encoder(torch.stack(pixels))]
print(len(pictures), "pictures, each", tuple(pictures[0].shape))

# %%
def share_right(phi):
    """Return the share of the mentioned shapes that are in the scene."""
    right = total = 0
    for s, a in zip(scenes, pictures, strict=True):
        ids, _ = generate(a, phi)
        text = captioner.vocabulary.decode(ids)
        found, mentioned = objects_right(text, things_of(s.facts))
        right, total = right + found, total + mentioned
    return right / total

# %% tags=["nbval-ignore-output"]
variants = {
    "learned": soft_context,  # as the model learned to look
    "even": lambda a, alpha: a.mean(0, keepdim=True),  # the same for all regions
    "likeliest": lambda a, alpha: a[alpha.argmax(-1)],  # one region
}
shares = {name: share_right(phi) for name, phi in variants.items()}
print({name: round(share, 2) for name, share in shares.items()})

# %%
learned, even, likeliest = shares.values()
print("learned over three times even:", learned > 3 * even)
print("likeliest over twice even:    ", likeliest > 2 * even)

# %% [markdown]
# With even weights the decoder still gets a vector of the right kind, the mean. But the mean does
# not say which colour belongs to which shape. So the captions sound right but are wrong.
#
# With the likeliest region alone, most shapes are still right, although this model never learned to
# look that way. Be careful about what this proves. A model that was *trained* with the mean, or
# with one region, would have learned to live with it. Lab 8 compares trained models.
#
# ## What does the gate do?
#
# Nobody taught the model which words need the picture. Has the gate found out? We collect $\beta$
# for each word in the captions of the 50 scenes.

# %%
def gates(a):
    """Return pairs of a word and the beta with which it was generated."""
    (h, c), word, pairs = start(a), torch.tensor([BOS]), []
    for next_id in generate(a)[0]:
        beta = context_gate(h, w_beta, b_beta).item()
        pairs.append((captioner.vocabulary.words[next_id], beta))
        h, c, _, _ = step(word, a, h, c, soft_context)
        word = torch.tensor([next_id])
    return pairs

# %%
from labkit.data.scenes import COLOURS, SHAPES

pairs = [pair for a in pictures for pair in gates(a)]
for name, kind in {"colours": COLOURS, "shapes": SHAPES,
                   "links": ("and", "is", "of")}.items():
    betas = [beta for word, beta in pairs if word in kind]
    print(f"{name:8} {sum(betas) / len(betas):.1f}")

# %% [markdown]
# The gate is more open for colours and shapes than for *and*, *is* and *of*. It learned this from
# captions alone.
#
# ## From one caption to many
#
# Your functions caption one picture. `labkit` captions many at once. What changes is only the
# shapes, with $N$ pictures and $K$ captions of each:
#
# | | yours | `labkit` |
# |---|---|---|
# | regions | $(L, D)$ | $(N, L, D)$ |
# | state $h$ | $(T, H)$ | $(N, K, H)$ |
# | scores, weights | $(T, L)$ | $(N, K, L)$ |
# | context | $(T, L)$ times $(L, D)$ | $(N, K, L)$ times $(N, L, D)$ |
#
# In training $K$ is 1 and $N$ is the batch size. In beam search $K$ is the number of beams, and the
# regions are not copied for each beam. Now read `labkit/model/attention.py` and
# `labkit/model/decoder.py`. You know every line that matters: where a line is a shortcut, the
# comment beside it names one of your functions.
#
# ## Questions
#
# <details><summary>Why do the weights of a word sum to 1, and not those of a region?</summary>
#
# Because the softmax runs over the regions. Nothing makes the weights of one region, over all
# words, sum to any particular number. The paper adds a penalty that pulls them towards 1; see
# lab 5.
#
# </details>
#
# <details><summary>What happens to the weights if you add 10 to all scores of a word?</summary>
#
# Nothing. The softmax depends only on differences. This is why the score needs the tanh: without
# it, $v \cdot W_s h$ would be one number, added to all regions alike, and $h$ would have no
# influence.
#
# </details>
#
# <details><summary>The weights for a word are computed from the state before it. Has that state
# read the last word?</summary>
#
# No. $h_{t-1}$ has read $y_{t-2}$. The last word $y_{t-1}$ enters the LSTM together with the
# context. So the model chooses where to look before it has read the word that it generated last.
#
# </details>
#
# ## Summary
#
# - A small network scores each region, given the state. A softmax over the regions turns scores
#   into weights.
# - Soft attention adds up the regions, each multiplied by its weight. Every part of it has a
#   gradient.
# - A gate, one number for each word, determines how much of this to let in.
# - An LSTM reads the last word, the context and its own state. Word, state and context together
#   predict the next word.
# - All this takes about twenty lines of code: those of `labkit/model/equations.py`. The fast
#   decoder gives the same results.
#
# **To think about.** With even weights, the model got few shapes right. Yet some models without
# attention write good captions. What would the encoder have to give them, so that one vector is
# enough?
#
# **Next.** [Lab 5: training](05_training.ipynb)
