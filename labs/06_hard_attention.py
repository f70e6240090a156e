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
# **What you will learn.** Why an argmax cannot learn where to look. How a model can learn from
# choices that were sampled, what that costs, and how to pay less. You write five small functions.
# Every mechanism in `labkit.model.hard_attention` can be built from them.
#
# **Time.** About 60 minutes, of which your machine needs one.
#
# **Before you start.** Lab 4. Some probability: what a mean and a variance are.
#
# **The question.** Soft attention sees an average of all regions. Suppose that the model may look at
# only one. How can it learn which?

# %%
import torch
from torch.nn.functional import one_hot

from labkit.checks import check

torch.set_num_threads(1)
torch.manual_seed(0)
print("ready")

# %% [markdown]
# ## A table instead of a network
#
# To see how the mechanisms work, we make the world small. A caption has $T = 3$ words, and the
# picture has $L = 4$ regions. A table says how likely each word is if the model looks at each region.
# In a real model the decoder computes these numbers. Here they are given: word $t$ needs region $t$.

# %%
T, L = 3, 4
right = torch.tensor([0, 1, 2])  # the region that each word needs
log_p = torch.full((T, L), -4.0)  # log p(word t | region i)
log_p[range(T), right] = -0.5
print(log_p)

# %% [markdown]
# The model has one score for each pair of a word and a region. A softmax turns the scores into
# weights. At the start all scores are equal: the model has no idea where to look.

# %%
scores = torch.zeros(T, L, requires_grad=True)
alpha = scores.softmax(-1)  # (T, L)
print(alpha[0].tolist())

# %% [markdown]
# ## First try: the largest weight takes all
#
# This book grew out of a student lab of 2017. That lab made its attention hard as follows: the
# weights of each word are replaced by zeros, with a single 1 where the largest weight is.
#
# **Exercise 6.1.** Write this function.

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
# Now use it. The scores learn from the words only through the gradient of the loss. Is there one?

# %%
weights = one_hot_argmax(scores)
loss = -(weights * log_p).sum()
print("the loss is", loss.item())
print("the loss has a gradient:", loss.requires_grad)

# %% [markdown]
# Here all scores are equal, and `argmax` takes the first region. PyTorch does not even connect the
# loss to the scores: `argmax` returns whole numbers, and they have no derivative. Except at a tie,
# the same region still has the largest score after a small change, so the loss does not change.
#
# The 2017 lab saw no error message, because the rest of its network *did* have a gradient. It
# learned everything except where to look. Here is the same in the full decoder, with `labkit`'s
# copy of that mechanism. *Gumbel* and *marginal* come later in this lab. REINFORCE, which comes
# next, is not in the list: its scores learn from a separate term of the loss.

# %%
import labkit
from labkit.model.decoder import pad_captions
from labkit.training.gradient_variance import with_attention

soft = labkit.Captioner.from_pretrained("scenes-soft")
scenes = labkit.make_scenes(10, seed=5, split="test")
pixels = torch.stack([torch.tensor(s.image).permute(2, 0, 1) for s in scenes])
a = soft.encoder(pixels)  # (10, 49, 112)
references = [soft.vocabulary.encode(scene.captions[0]) for scene in scenes]


# %%
def gradient_norm(name, **options):
    """The norm of the gradient of the scores, from the word loss alone."""
    decoder = with_attention(soft.decoder, name, **options).train()
    output = decoder(a, pad_captions(references))
    (-output.log_p.gather(1, output.targets[:, None]).mean()).backward()
    grad = decoder.attention.v.grad
    return 0.0 if grad is None else grad.norm().item()


# %%
for name in ("soft", "argmax", "gumbel", "marginal"):
    print(f"{name:9} gives the scores a gradient: {gradient_norm(name) > 0}")

# %% [markdown]
# ## Learning from random choices
#
# Let the region be sampled: $s_t \sim \alpha_t$. A caption then has a sequence of regions,
# $s = (s_1, \dots, s_T)$. What we maximise now is an *expectation* over such sequences,
#
# $$L_s = \sum_s p(s)\, \log p(y \mid s).$$
#
# What we really want is $\log p(y)$, the logarithm of the mean. $L_s$ is never larger than that: it
# is a *lower bound*.
#
# Let $W$ be any parameter. The gradient of $L_s$ has two parts. One is familiar,
# $\sum_s p(s)\, \partial \log p(y \mid s) / \partial W$: it improves the words, given the sampled
# regions. The other says how the probabilities of the regions should change:
#
# $$\sum_s \frac{\partial p(s)}{\partial W} \log p(y \mid s)
#   = \sum_s p(s) \, \frac{\partial \log p(s)}{\partial W} \, \log p(y \mid s),$$
#
# since $\partial p = p \, \partial \log p$. The right-hand side is an expectation again. So we can
# sample a sequence of regions, and use $\log p(y \mid s) \; \partial \log p(s)$ as an estimate. This
# is the *score-function estimator*, also called REINFORCE.
#
# The probability of a sequence is a product, so $\log p(s) = \sum_t \log \alpha_{t, s_t}$: the
# terms of a caption's words are summed.
#
# In words: a region that was sampled before a likely word should become more likely.
#
# We may subtract any number $b$ from the reward, as long as it does not depend on the sampled
# region. The expectation stays the same, because
# $\sum_s p(s)\, \partial \log p(s) = \partial \sum_s p(s) = \partial 1 = 0$.
#
# **Exercise 6.2.** Write a loss for this estimator. A loss is minimised, so its gradient has to be
# *minus* the estimate. `reward`, `log_choice` and `baseline` all have shape `(T,)`, and
# `log_choice` is $\log \alpha$ of the sampled regions. No gradient may flow through the reward or
# the baseline.

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
# Is it right on average? The table is so small that we can compute the true gradient with autograd.
# In the table each word depends only on its own region, so the sum over the 64 sequences of regions
# reduces to a sum over words and regions.

# %%
bound = (scores.softmax(-1) * log_p).sum()
(exact,) = torch.autograd.grad(bound, scores)
print(exact[0])


# %%
def sample_gradients(count, reward_of, baseline=0.0):
    """(count, T, L): estimates of the gradient of the bound."""
    estimates = []
    for _ in range(count):
        log_alpha = scores.log_softmax(-1)
        place = torch.multinomial(log_alpha.exp(), 1)  # (T, 1)
        reward = reward_of(log_p.gather(1, place)[:, 0])
        choice = log_alpha.gather(1, place)[:, 0]
        loss = surrogate(reward, choice, torch.as_tensor(baseline).expand(T))
        estimates.append(-torch.autograd.grad(loss, scores)[0])
    return torch.stack(estimates)


# %% [markdown]
# In the paper, the reward of each word is the $\log p$ of the whole caption.

# %%
whole = sample_gradients(2000, lambda p: p.sum().expand(T))
error = (whole.mean(0) - exact).abs().max()
print(f"the mean of 2,000 samples is close: {error < 0.3}")
print(f"a single sample is far off: {(whole[0] - exact).abs().max() > 1}")

# %% [markdown]
# ## What does sampling cost?
#
# The mean is right, but a single sample is useless: its error is larger than what it estimates. The
# reward lies between -12 and -1.5, and is -9.4 on average. Every region is blamed for all of it.
#
# **Exercise 6.3.** A region can only affect its own word and the words after it. (In the table it
# affects only its own word. In a model it affects the later ones, too, through the state.) Write
# the *reward to go*: given $\log p$ of each word, return for each word the sum of its own and all
# later ones.

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
# Here are four estimators of the same gradient. For each of them: is the mean still right, and how
# large is the variance? We sum the variance over all scores.
#
# As a baseline we take the expected reward. The later the word, the fewer terms its reward to go
# has. So with the reward to go, each word has a baseline of its own.

# %%
expected = (scores.softmax(-1) * log_p).sum().item()
estimators = {
    "caption": (lambda p: p.sum().expand(T), 0.0),
    "caption - b": (lambda p: p.sum().expand(T), expected),
    "to go": (to_go, 0.0),
    "to go - b": (to_go, expected * torch.arange(T, 0, -1) / T),
}

# %%
torch.manual_seed(1)
samples = {name: sample_gradients(2000, *kind) for name, kind in estimators.items()}
variance = {name: g.var(0).sum().item() for name, g in samples.items()}
for name, g in samples.items():
    print(f"{name:12} the mean is right: {(g.mean(0) - exact).abs().max() < 0.3}")

# %% mystnb={"figure": {"caption": "The variance of four estimators of the same gradient. All of them are right on average.", "name": "fig:variance"}, "image": {"alt": "Four bars. The caption's reward without a baseline varies most, the reward to go with a baseline least, several times less."}} tags=["nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.bar(variance.keys(), variance.values())
axes.set_ylabel("variance of the gradient");

# %%
ratio = variance["caption"] / variance["to go - b"]
print(f"with both, the variance is less than a quarter: {ratio > 4}")
print("the baseline alone helps:", variance["caption - b"] < variance["caption"])
print("the reward to go helps further:", variance["to go - b"] < variance["caption - b"])

# %% [markdown]
# We pay for variance with more training steps. Let each estimator learn from the same start, with
# one sample per step, and see how much weight is on the right regions after a while.

# %%
def learn(estimate, steps=300, rate=0.05):
    """The weight on the right regions at the end, on average."""
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
for name, kind in estimators.items():
    tries = [learn(lambda k=kind: sample_gradients(1, *k)[0]) for _ in range(5)]
    ends[name] = sum(tries) / len(tries)
print("to go - b ends better than caption:", ends["to go - b"] > ends["caption"])
print("to go - b finds the regions:", ends["to go - b"] > 0.8)

# %% [markdown]
# ## A gradient for a sample: Gumbel noise
#
# There is another way to sample from a softmax: add noise $g = -\log(-\log u)$ to each score, with
# $u$ uniform, and take the largest. The argmax of the noisy scores has no gradient, but their
# softmax has one. So use the argmax in the forward pass, and the softmax in the backward pass. This
# is called *straight-through*.
#
# The softmax has a *temperature*, by which the scores are divided. At a low temperature it is
# nearly one-hot, at a high one nearly uniform.
#
# **Exercise 6.4.** Write `straight_through`. In the forward pass the result must be exactly
# one-hot. Its gradient must be that of `((scores + noise) / temperature).softmax(-1)`.
#
# <details><summary>Hint</summary>
#
# `x - x.detach()` is 0 in the forward pass, and has the gradient of `x`.
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
# This gradient is biased, but its variance is lower. At a high temperature the variance is low and
# the bias is large. At a low temperature it is the reverse. (`exponential_()` samples $-\log u$.)

# %%
def gumbel_gradients(count, temperature):
    estimates = []
    for _ in range(count):
        noise = -torch.empty(T, L).exponential_().log()
        weights = straight_through(scores, noise, temperature)
        (grad,) = torch.autograd.grad((weights * log_p).sum(), scores)
        estimates.append(grad)
    return torch.stack(estimates)


# %%
scores = torch.tensor([[1.0, 0, 0, 0]] * T, requires_grad=True)
bound = (scores.softmax(-1) * log_p).sum()
(exact,) = torch.autograd.grad(bound, scores)
torch.manual_seed(3)
hot, cold = gumbel_gradients(2000, 5.0), gumbel_gradients(2000, 0.2)
print("hot has the lower variance:", bool(hot.var(0).sum() < cold.var(0).sum()))
bias = [(g.mean(0) - exact).norm().item() for g in (hot, cold)]
print("hot has the larger bias:", bias[0] > bias[1])

# %% [markdown]
# ## No sampling at all: sum the region out
#
# At a single word there are only $L$ regions. We can sum over all of them:
#
# $$p(y) = \sum_i \alpha_i \, p(y \mid a_i).$$
#
# **Exercise 6.5.** Write this with logarithms: `log_alpha` has shape `(L,)`, `log_p` has `(L, V)`,
# and the result has `(V,)`. Which function of PyTorch adds numbers that are given as logarithms?

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
# The paper's bound is the mean of the logarithms. This is the logarithm of the mean, which is never
# smaller. Try it: from one region the word is almost certain, from the other it is nearly
# impossible.

# %%
half = torch.tensor([0.5, 0.5]).log()
word = torch.tensor([[-0.1], [-8.0]])
print(f"log of the mean:  {marginal(half, word).item():.2f}")
print(f"mean of the logs: {(half.exp()[:, None] * word).sum().item():.2f}")

# %% [markdown]
# The bound is cautious: a single bad region costs it dearly, so the model avoids looking where it is
# not sure. The sum is bold: it is enough that *one* likely region is right.
#
# <details><summary>Quiz: with which of the two does the model benefit from looking at several
# regions that disagree?</summary>
#
# With the sum. If the word may be *red* or *blue*, half of the weight on a red region and half on a
# blue one gives each word a probability close to one half. With the bound, each of the two words
# would score very low.
#
# </details>
#
# ## The same in the full decoder
#
# `labkit.training.gradient_variance.moments` measures the variance of the gradient of a fixed
# model. The model stays the same, and only the sampled regions vary. Here it is the pretrained
# model, with one attention mechanism after the other.

# %%
from labkit.training.gradient_variance import moments
from labkit.training.objective import Objective

captions = pad_captions(references)


# %%
def gradient_variance(name, **terms):
    decoder = with_attention(soft.decoder, name, soft_share=0.0)  # always sample
    config = labkit.TrainingConfig(doubly_stochastic=0.0, label_smoothing=0.0, **terms)
    torch.manual_seed(0)
    found = moments(decoder, Objective(config), a, captions, draws=20)
    return found["attention"].total_variance


# %%
variances = {
    "soft": gradient_variance("soft"),
    "caption": gradient_variance("reinforce", lambda_e=0.0),
    "to go": gradient_variance("reinforce", lambda_e=0.0, reward="to_go"),
    "gumbel": gradient_variance("gumbel"),
}

# %%
print("soft attention does not sample:", variances["soft"] < 1e-9)
print("the reward to go has less variance:", variances["to go"] < variances["caption"])
print("Gumbel has the least of those that sample:", variances["gumbel"] < variances["to go"])

# %% [markdown]
# ## Summary
#
# - The gradient of an argmax is not small but zero. A model with it cannot learn where to look.
# - A model can learn from sampled regions: a region sampled before a likely word becomes more likely.
#   The estimator is right on average, but has a high variance.
# - A baseline and the reward to go leave the mean as it is. The baseline removes most of the
#   variance, the reward to go some more.
# - Gumbel's straight-through gradient has a low variance and is biased. Summing the region out needs
#   no sampling and has an exact gradient. The price is a prediction of the word from each region.
#
# **To think about.** The baseline may depend on anything that the sampled region does not change.
# May it depend on the picture? On the caption's words? On the regions sampled for *earlier* words?
#
# **Next.** [Lab 7: generating and scoring captions](07_generating_and_scoring.ipynb)
