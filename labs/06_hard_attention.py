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
# # Lab 6: hard attention
#
# **What you will learn.** Why an argmax cannot learn where to look. How one learns from a choice
# that was drawn by lot, what that costs, and how to pay less. You write five small functions; with
# them one can build every mechanism of `labkit.hard`.
#
# **Time.** About 60 minutes, of which the machine takes one.
#
# **Before you start.** Lab 4. Some probability: what a mean and a variance are.
#
# **The question.** Soft attention sees a mean of all places. Suppose that the model may look at one
# place only. How can it learn which?

# %%
import torch
from torch.nn.functional import one_hot

from labkit.checks import check

torch.set_num_threads(1)
torch.manual_seed(0)
print("ready")

# %% [markdown]
# ## A table in place of a network
#
# To see through the mechanisms we make the world small. A caption has $T = 3$ words, the picture has
# $L = 4$ places. A table says how likely each word is if one looks at each place. In a real model
# the decoder computes these numbers. Here they are given: word $t$ needs place $t$.

# %%
T, L = 3, 4
right = torch.tensor([0, 1, 2])  # where each word can be seen
log_p = torch.full((T, L), -4.0)  # log p(word t | place i)
log_p[range(T), right] = -0.5
print(log_p)

# %% [markdown]
# The model has one score for each word and place. A softmax makes them weights. At the start all
# are alike: it looks anywhere.

# %%
scores = torch.zeros(T, L, requires_grad=True)
alpha = scores.softmax(-1)  # (T, L)
print(alpha[0].tolist())

# %% [markdown]
# ## First try: the largest weight takes all
#
# This book grew from a student lab of 2017. It made its attention hard in this way: the weights become a
# row of zeros with a single 1.
#
# **Exercise 6.1.** Write it.

# %%
def one_hot_argmax(scores):  # (T, L) -> (T, L)
    ...


# %%
check("6.1", one_hot_argmax)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def one_hot_argmax(scores):
    return one_hot(scores.argmax(-1), scores.shape[-1]).float()


check("6.1", one_hot_argmax)

# %% [markdown]
# Now use it. What the words say of the scores is the gradient of their loss.

# %%
weights = one_hot_argmax(scores)
loss = -(weights * log_p).sum()
print("the loss is", loss.item())
print("the loss has a gradient:", loss.requires_grad)

# %% [markdown]
# Here all scores are alike, and `argmax` takes the first. There is not even a path back. `argmax` gives whole numbers, and a whole number has no slope. Push a
# score a little: the same place is still the largest, so the loss does not move.
#
# The 2017 lab did not see an error, because the rest of its network *did* have a gradient. It learned
# all but where to look. Here is the same in the full decoder, with `labkit`'s copy of that mechanism.
# *Gumbel* and *marginal* come further down. REINFORCE, which comes next, is not in the list: its scores
# learn from a term of their own.

# %%
import labkit
from labkit.estimators import with_attention

soft = labkit.load("scenes-soft")
scenes = labkit.make_scenes(10, seed=5, split="test")
pixels = torch.stack([torch.tensor(s.image).permute(2, 0, 1) for s in scenes])
a = soft.encoder(pixels)  # (10, 49, 112)
told = [soft.vocabulary.encode(scene.captions[0]) for scene in scenes]


# %%
def size_of_gradient(name, **options):
    """The norm of the scores' gradient, from the words alone."""
    decoder = with_attention(soft.decoder, name, **options).train()
    captions = labkit.decoder.pad_captions(told)
    words = decoder(a, captions)
    (-words.log_p.gather(1, words.targets[:, None]).mean()).backward()
    grad = decoder.attention.v.grad
    return 0.0 if grad is None else grad.norm().item()


# %%
for name in ("soft", "argmax", "gumbel", "marginal"):
    print(f"{name:9} tells the scores something: {size_of_gradient(name) > 0}")

# %% [markdown]
# ## Learning from a lot
#
# Let the place be drawn: $s_t \sim \alpha_t$. A caption has a row of places, $s = (s_1, \dots, s_T)$. Now
# what we make large is a *mean* over such rows,
#
# $$L_s = \sum_s p(s)\, \log p(y \mid s).$$
#
# What we really want is $\log p(y)$, the logarithm of the mean. $L_s$ is never larger: it is a *bound*.
#
# Let $W$ be any parameter. The gradient of $L_s$ has two parts. One is the usual one,
# $\sum_s p(s)\, \partial \log p(y \mid s) / \partial W$: the words, told from the places drawn. The other says
# how the odds of the places should change:
#
# $$\sum_s \frac{\partial p(s)}{\partial W} \log p(y \mid s)
#   = \sum_s p(s) \, \frac{\partial \log p(s)}{\partial W} \, \log p(y \mid s),$$
#
# since $\partial p = p \, \partial \log p$. The right side is a mean again. So draw a row of places, and use
# $\log p(y \mid s) \; \partial \log p(s)$. This is the *score-function estimator*, or REINFORCE.
#
# The odds of a row are a product, so $\log p(s) = \sum_t \log \alpha_{t, s_t}$. The terms of a caption's words
# are summed.
#
# In words: a place that was drawn before a likely word shall become likelier.
#
# Any number $b$ may be taken off the reward, as long as it does not depend on the place drawn. The mean stays
# what it was, for $\sum_s p(s)\, \partial \log p(s) = \partial \sum_s p(s) = \partial 1 = 0$.
#
# **Exercise 6.2.** Write a loss whose gradient is that estimator. `reward`, `log_choice` and `baseline`
# all have shape `(T,)`; `log_choice` is $\log \alpha$ of the drawn places. No gradient may run through
# the reward or the baseline.

# %%
def surrogate(reward, log_choice, baseline):  # (T,), (T,), (T,) -> ()
    ...


# %%
check("6.2", surrogate)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def surrogate(reward, log_choice, baseline):
    return -((reward - baseline).detach() * log_choice).sum()


check("6.2", surrogate)

# %% [markdown]
# Is it right in the mean? The table is small enough to know the true gradient: autograd gives it. In the
# table each word depends on its own place alone, so the sum over the 64 rows of places is a sum over words
# and places.

# %%
bound = (scores.softmax(-1) * log_p).sum()
(exact,) = torch.autograd.grad(bound, scores)
print(exact[0])


# %%
def draw_gradients(draws, reward_of, baseline=0.0):
    """(draws, T, L): an estimate of the bound's gradient each."""
    found = []
    for _ in range(draws):
        log_alpha = scores.log_softmax(-1)
        place = torch.multinomial(log_alpha.exp(), 1)  # (T, 1)
        reward = reward_of(log_p.gather(1, place)[:, 0])
        choice = log_alpha.gather(1, place)[:, 0]
        loss = surrogate(reward, choice, torch.as_tensor(baseline).expand(T))
        found.append(-torch.autograd.grad(loss, scores)[0])
    return torch.stack(found)


# %% [markdown]
# The paper's reward is the log p of the whole caption, for each of its words.

# %%
whole = draw_gradients(2000, lambda p: p.sum().expand(T))
error = (whole.mean(0) - exact).abs().max()
print(f"the mean of 2,000 draws is near: {error < 0.3}")
print(f"a single draw is far off: {(whole[0] - exact).abs().max() > 1}")

# %% [markdown]
# ## What does chance cost?
#
# The mean is right, and a single draw is useless: its error is larger than what it estimates. The
# reward lies between -12 and -1.5, in the mean at -9.4. Each place is blamed for all of it.
#
# **Exercise 6.3.** A place can only change its own word and those after it. (In the table it is its own word
# alone. In a model it is the later ones, too, by way of the state.) Write the *reward to go*: from
# the words' log p, for each word the sum of its own and all later ones.

# %%
def to_go(log_p):  # (T,) -> (T,)
    ...


# %%
check("6.3", to_go)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def to_go(log_p):
    return log_p.flip(0).cumsum(0).flip(0)


check("6.3", to_go)

# %% [markdown]
# Four estimators of the same gradient. For each: is the mean still right, and how much does it vary?
# The variance is summed over all scores.
#
# The baseline is what is expected. Of the reward to go, less is expected the later the word: it has a baseline
# for each word.

# %%
expected = (scores.softmax(-1) * log_p).sum().item()
kinds = {
    "caption": (lambda p: p.sum().expand(T), 0.0),
    "caption - b": (lambda p: p.sum().expand(T), expected),
    "to go": (to_go, 0.0),
    "to go - b": (to_go, expected * torch.arange(T, 0, -1) / T),
}

# %%
torch.manual_seed(1)
drawn = {name: draw_gradients(2000, *kind) for name, kind in kinds.items()}
variance = {name: g.var(0).sum().item() for name, g in drawn.items()}
for name, g in drawn.items():
    print(f"{name:12} mean is right: {(g.mean(0) - exact).abs().max() < 0.3}")

# %% mystnb={"figure": {"caption": "The variance of four estimators of the same gradient. All are right in the mean.", "name": "fig:variance"}, "image": {"alt": "Four bars. The caption's reward without a baseline varies most, the reward to go with a baseline least, several times less."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.bar(variance.keys(), variance.values())
axes.set_ylabel("variance of the gradient");

# %%
ratio = variance["caption"] / variance["to go - b"]
print(f"baseline and reward to go save more than a factor 4: {ratio > 4}")
print("the baseline alone helps:", variance["caption - b"] < variance["caption"])
print("the reward to go helps more:", variance["to go - b"] < variance["caption - b"])

# %% [markdown]
# Variance is paid in steps. Let each estimator learn from the same start, one draw a step, and see
# how often it looks at the right place after a while.

# %%
def learn(estimate, steps=300, rate=0.05):
    """How much weight lies on the right places in the end."""
    global scores
    scores = torch.zeros(T, L, requires_grad=True)
    for _ in range(steps):
        scores = (scores + rate * estimate()).detach().requires_grad_()
    end = scores.softmax(-1)[range(T), right].mean().item()
    scores = torch.zeros(T, L, requires_grad=True)  # for the cells above
    return end


# %%
torch.manual_seed(2)
ends = {}
for name, kind in kinds.items():
    tries = [learn(lambda k=kind: draw_gradients(1, *k)[0]) for _ in range(5)]
    ends[name] = sum(tries) / len(tries)
print("to go - b ends better than caption:", ends["to go - b"] > ends["caption"])
print("to go - b finds the places:", ends["to go - b"] > 0.8)

# %% [markdown]
# ## A slope for a draw: Gumbel noise
#
# A draw from a softmax can be made in another way: add noise $g = -\log(-\log u)$ to each score, $u$
# uniform, and take the largest. The argmax of that has no slope, but a softmax of the same
# noisy scores has. So: forward the argmax, backward the softmax. This is called *straight-through*.
#
# The softmax has a *temperature*, which divides the scores: cold it is nearly one-hot, hot it is nearly even.
#
# **Exercise 6.4.** Write it. Forward it must be exactly one-hot; its gradient must be that of
# `((scores + noise) / temperature).softmax(-1)`.
#
# <details><summary>Hint</summary>
#
# `x - x.detach()` is 0 forward, and has the slope of `x`.
#
# </details>

# %%
def straight_through(scores, noise, temperature):  # (T, L) -> (T, L)
    ...


# %%
check("6.4", straight_through)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def straight_through(scores, noise, temperature):
    soft = ((scores + noise) / temperature).softmax(-1)
    return one_hot_argmax(soft) + (soft - soft.detach())


check("6.4", straight_through)

# %% [markdown]
# Its gradient is not right in the mean, but it varies less. Hot: it hardly varies and is far off. Cold: the
# reverse. (`exponential_()` draws $-\log u$.)

# %%
def gumbel_gradients(draws, temperature):
    found = []
    for _ in range(draws):
        noise = -torch.empty(T, L).exponential_().log()
        seen = straight_through(scores, noise, temperature)
        (grad,) = torch.autograd.grad((seen * log_p).sum(), scores)
        found.append(grad)
    return torch.stack(found)


# %%
scores = torch.tensor([[1.0, 0, 0, 0]] * T, requires_grad=True)
bound = (scores.softmax(-1) * log_p).sum()
(exact,) = torch.autograd.grad(bound, scores)
torch.manual_seed(3)
hot, cold = gumbel_gradients(2000, 5.0), gumbel_gradients(2000, 0.2)
print("hot varies less:", bool(hot.var(0).sum() < cold.var(0).sum()))
bias = [(g.mean(0) - exact).norm().item() for g in (hot, cold)]
print("hot is further off in the mean:", bias[0] > bias[1])

# %% [markdown]
# ## No lot at all: sum the place out
#
# At a single word there are only $L$ places. One can sum over all of them:
#
# $$p(y) = \sum_i \alpha_i \, p(y \mid a_i).$$
#
# **Exercise 6.5.** Write it with logarithms: `log_alpha` has shape `(L,)`, `log_p` has `(L, V)`, the
# result has `(V,)`. Which function of torch adds up numbers that are given as logarithms?

# %%
def marginal(log_alpha, log_p):  # (L,), (L, V) -> (V,)
    ...


# %%
check("6.5", marginal)

# %% jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"} tags=["hide-cell"]
def marginal(log_alpha, log_p):
    return (log_alpha[:, None] + log_p).logsumexp(0)


check("6.5", marginal)

# %% [markdown]
# The bound of the paper takes the mean of the logarithms, this takes the logarithm of the mean. The
# second is never smaller. Try: one place makes the word sure, the other makes it nearly impossible.

# %%
half = torch.tensor([0.5, 0.5]).log()
word = torch.tensor([[-0.1], [-8.0]])
print(f"log of the mean:  {marginal(half, word).item():.2f}")
print(f"mean of the logs: {(half.exp()[:, None] * word).sum().item():.2f}")

# %% [markdown]
# The bound is cautious: one bad place costs it dearly, so it avoids looking where it is not sure. The
# sum is bold: it is enough that *one* likely place is right.
#
# <details><summary>Quiz: with which of the two does the model profit from looking at several places
# with different opinions?</summary>
#
# With the sum. If the word may be *red* or *blue*, half of the weight on a red place and half on a blue
# one gives each word a probability near one half. The bound would give both a very small one.
#
# </details>
#
# ## The same in the full decoder
#
# `labkit.estimators.moments` measures the gradient's variance at a fixed model. The model stays
# as it is, only the draws change. Here it is the shipped model, looking by each mechanism.

# %%
from labkit.attention import HardConfig
from labkit.estimators import moments
from labkit.objective import Objective

captions = labkit.decoder.pad_captions(told)


# %%
def spread(name, **options):
    decoder = with_attention(soft.decoder, name, **options)
    objective = Objective(doubly=0, smoothing=0, hard=HardConfig(**options))
    torch.manual_seed(0)
    found = moments(decoder, objective, a, captions, draws=20)
    return found["attention"].total_variance


# %%
plain = {"soft_share": 0.0, "lambda_e": 0.0}
found = {
    "soft": spread("soft"),
    "caption": spread("reinforce", **plain),
    "to go": spread("reinforce", reward="to_go", **plain),
    "gumbel": spread("gumbel"),
}

# %%
print("soft attention draws nothing:", found["soft"] < 1e-9)
print("the reward to go varies less:", found["to go"] < found["caption"])
print("Gumbel varies least of those that draw:", found["gumbel"] < found["to go"])

# %% [markdown]
# ## Summary
#
# - An argmax has a zero gradient, not a small one. It cannot learn where to look.
# - A lot can be learned from: a place drawn before a likely word becomes likelier. The estimator is
#   right in the mean and varies much.
# - A baseline and the reward to go leave the mean as it is. The baseline takes most of the variance away,
#   the reward to go some more.
# - Gumbel's straight-through gradient varies little and is biased. Summing the place out draws nothing and
#   has an exact gradient. It needs a prediction of the word from each place.
#
# **To think on.** The baseline may depend on anything that the drawn place does not change. May it depend on
# the picture? On the caption's words? On the places drawn for *earlier* words?
