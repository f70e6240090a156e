"""The decoder's gradients, with one product where autograd would make one at each step.

Nothing here changes what is computed: each class gives the value and the gradient that the plain
expression in its docstring gives (``tests/model/test_gradients.py``). Why it is faster stands in
the book's chapter 'Why is it fast?'.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, pad

EVEN = 64


def even(rows: Tensor) -> Tensor:
    """Fill (n, ...) up with zeros to a multiple of 64 rows.

    oneDNN makes new code for each size of a product that it has not met, and that takes longer than
    the product itself. Each batch has another number of words.
    """
    return pad(rows, (0, 0) * (rows.dim() - 1) + (0, -len(rows) % EVEN))


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type that products are made in: autocast's where it is on, else that of ``x``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def at_least_float32(x: Tensor) -> Tensor:
    """Leave float64 as it is, make all else float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# --------------------------------------------------------------------- a layer used at each step


class StepLinear:
    """``layer(x_t)`` at each step t, where x_t depends on the steps before.

    For the weights' gradient, sum_t dy_t^T x_t, autograd makes a product of few rows at each step,
    each with a result as large as the weights, and adds them up. Here each step puts aside x_t, and
    autograd gathers dy_t of all steps: the sum is one product.

    Args:
        layer: The layer.
        sizes: n_t, how many captions are unfinished at each step.
        dtype: What the products are made in.
    """

    def __init__(self, layer: nn.Linear, sizes: Sequence[int], dtype: torch.dtype):
        self.inputs: list[Tensor] = []
        self.weight = layer.weight.detach().to(dtype)
        spare = -sum(sizes) % EVEN
        rows = _Gather.apply(layer.weight, layer.bias, self.inputs, sum(sizes) + spare, dtype)
        self.bias = iter(rows.split([*sizes, spare]))  # (n_t, out) each

    def __call__(self, x: Tensor) -> Tensor:
        """Give the layer's output at the next step: (n_t, K, in) -> (n_t, K, out), with K = 1."""
        x = x.to(self.weight.dtype)
        self.inputs.append(x.detach().flatten(0, 1))
        return linear(x, self.weight) + next(self.bias).unsqueeze(1)


class _Gather(Function):
    """The bias for each word, (words, out); its gradient is dy of all steps."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor | None, inputs: list[Tensor], words: int,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        ctx.inputs, ctx.dtype, ctx.has_bias = inputs, weight.dtype, bias is not None
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        return bias.to(dtype).expand(words, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        weight = (dy.mT @ even(torch.cat(ctx.inputs))).to(ctx.dtype)  # sum_t dy_t^T x_t
        bias = dy.sum(0, dtype=ctx.dtype) if ctx.has_bias else None
        return weight, bias, None, None, None


# --------------------------------------------------------------------- the scores of the regions


def additive_scores(
    keys: Tensor, exp_keys: Tensor, query: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """``v . tanh(keys + query)``, eq. 4, for N images and K captions of each.

    tanh(x) = 2 sigmoid(2x) - 1, and sigmoid(2x) = 1 / (1 + exp(-2x)). Here x is a sum, so its
    exponential is a product: exp(-2 keys), made once for all steps, times exp(-2 query), made once
    for all regions. What is left for each region at each step is one division.

    Args:
        keys: W_a a_i + b, (N, L, A), or of more images than there are queries.
        exp_keys: `exp_of` the keys.
        query: W_s h_{t-1}, (N, K, A).
        v: (A,).

    Returns:
        The scores (N, K, L), in float32 or finer; and the keys for the next step. Their gradient
        goes back through the steps in one tensor, to which each step adds.
    """
    if torch.is_grad_enabled():
        return _AdditiveScores.apply(keys, exp_keys, query, v)
    v = v.to(query.dtype)
    scores = query.new_empty(*query.shape[:2], exp_keys.shape[1])
    for n in range(len(query)):  # one by one: what is in between stays in the processor's cache
        scores[n] = (_sigmoid(exp_keys[n : n + 1], query[n : n + 1]) @ v)[0]
    return at_least_float32(2 * scores - v.sum()), keys


def exp_of(x: Tensor) -> Tensor:
    """exp(-2x), finite and not 0 in float32; beyond 43, where tanh has long been 1, x is cut."""
    return torch.exp(-2 * x.clamp(-43, 43))


def _sigmoid(exp_keys: Tensor, query: Tensor) -> Tensor:
    one = exp_keys.new_ones(())
    return torch.addcmul(one, exp_keys.unsqueeze(1), exp_of(query).unsqueeze(2)).reciprocal_()


class _AdditiveScores(Function):
    @staticmethod
    def forward(
        ctx: Any, keys: Tensor, exp_keys: Tensor, query: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        v = v.to(query.dtype)
        y = _sigmoid(exp_keys[: len(query)], query)  # sigmoid(2x), (N, K, L, A)
        ctx.save_for_backward(y, v)
        ctx.keys = keys.shape
        return at_least_float32(2 * (y @ v) - v.sum()), keys.view_as(keys)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dscores: Tensor | None, dkeys: Tensor) -> tuple[Tensor | None, ...]:
        y, v = ctx.saved_tensors
        if dscores is None:
            return dkeys, None, None, None
        d = dscores.to(y.dtype)  # (N, K, L)
        dv = 2 * (d.flatten() @ y.flatten(0, 2)) - d.sum()  # (A,)
        # 4 v sigmoid'(2x), the derivative of a score by x
        slope = torch.ops.aten.sigmoid_backward((4 * v).expand_as(y), y)  # (N, K, L, A)
        dquery = (d.unsqueeze(2) @ slope).squeeze(2)  # (N, K, A)
        if dkeys is None:
            dkeys = y.new_zeros(ctx.keys)
        for k in range(y.shape[1]):
            dkeys[: len(y)].addcmul_(d[:, k, :, None], slope[:, k])
        return dkeys, None, dquery, dv


# ------------------------------------------------------------------------------------- the words


def word_log_likelihood(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """``log_softmax(x @ weight.T + bias)`` at the targets, and its mean over the vocabulary.

    The probabilities of all words are made once, in the backward pass, where the logits stood.

    Args:
        x: (n, m).
        weight: L_o, (V, m).
        bias: (V,).
        targets: (n,) word ids.

    Returns:
        (n,) each, in float32 or finer.
    """
    rows = even(x.to(compute_dtype(x)))
    log_sum, logit = _WordLogits.apply(rows, weight, bias, even(targets))
    mean = linear(rows, weight.mean(0, keepdim=True), bias.mean()[None])[:, 0]  # of the logits
    return (logit - log_sum)[: len(x)], (at_least_float32(mean) - log_sum)[: len(x)]


def log_sum_exp(logits: Tensor, rows: int = 16) -> Tensor:
    """Log of the sum of exp(logits) over the last axis: (n, V) -> (n,), in float32 or finer.

    A few rows at a time, so that what is in between stays in the processor's cache.
    """
    sums = [logits.new_empty(0)]
    for part in logits.split(rows):
        part = at_least_float32(part)
        top = part.amax(-1, keepdim=True)
        sums.append((part - top).exp_().sum(-1).log_() + top[:, 0])
    return torch.cat(sums)


def log_probs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``log_softmax(x @ weight.T + bias)``: (..., m) -> (..., V), in float32 or finer."""
    logits = at_least_float32(linear(x, weight, bias))
    if torch.is_grad_enabled():
        return logits.log_softmax(-1)
    sums = log_sum_exp(logits.flatten(0, -2)).view(*logits.shape[:-1], 1)
    return logits.sub_(sums)


class _WordLogits(Function):
    """The logarithm of the sum of exp(logits), and the target's logit, (n,) each."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.dtype, weight = weight.dtype, weight.to(x.dtype)
        logits = linear(x, weight, bias.to(x.dtype))  # (n, V)
        ctx.save_for_backward(x, weight, logits, targets)
        chosen = logits.gather(1, targets[:, None])[:, 0]
        return log_sum_exp(logits), at_least_float32(chosen)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dsum: Tensor, dlogit: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, logits, targets = ctx.saved_tensors
        p = logits.softmax(-1)  # (n, V), the derivative of the logarithm by each logit
        dsum, dlogit = dsum.to(x.dtype)[:, None], dlogit.to(x.dtype)[:, None]
        dx = dsum * (p @ weight) + dlogit * weight[targets]
        dweight, dbias = (p.mT @ (dsum * x)).to(ctx.dtype), (p.mT @ dsum)[:, 0].to(ctx.dtype)
        dweight.index_add_(0, targets, (dlogit * x).to(ctx.dtype))
        dbias.index_add_(0, targets, dlogit[:, 0].to(ctx.dtype))
        return dx, dweight, dbias, None
