"""The fast gradients against autograd's of the plain expressions."""

import pytest
import torch
from torch import Tensor, nn

from labkit.model.gradients import (
    StepLinear,
    additive_scores,
    exp_of,
    log_probs,
    log_sum_exp,
    word_log_likelihood,
)

torch.set_num_threads(1)
SIZES = [3, 3, 2, 1]  # unfinished captions at each step


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.double).requires_grad_()


def assert_same(ours: Tensor, plain: Tensor, inputs: list[Tensor]) -> None:
    """Equal values, and equal gradients of a sum with random weights."""
    torch.testing.assert_close(ours, plain)
    weights = torch.randn_like(plain)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), inputs, retain_graph=True),
        torch.autograd.grad((plain * weights).sum(), inputs, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


# ---------------------------------------------------------------------------------- StepLinear


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_at_each_step_of_a_recurrence(bias):
    """x_t depends on the step before, and captions end."""
    layer = nn.Linear(4, 4, bias=bias).double()
    start = numbers(3, 1, 4)

    def run(step) -> Tensor:
        x, found = start, []
        for n in SIZES:
            x = torch.tanh(step(x[:n]))
            found.append(x.flatten())
        return torch.cat(found)

    fast = StepLinear(layer, SIZES, torch.double)
    assert_same(run(fast), run(layer), [start, *layer.parameters()])


def test_a_step_that_counts_nowhere_has_no_gradient():
    layer, x = nn.Linear(4, 2).double(), numbers(3, 1, 4)
    fast = StepLinear(layer, [3, 3], torch.double)
    first, _ = fast(x), fast(2 * x)
    assert_same(first, layer(x), [x, *layer.parameters()])


def test_products_are_made_in_the_type_that_is_asked_for():
    layer, x = nn.Linear(4, 2), torch.randn(3, 1, 4)
    y = StepLinear(layer, [3], torch.bfloat16)(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    expected = x[:, 0].sum(0).expand(2, -1)
    torch.testing.assert_close(layer.weight.grad, expected, rtol=0.02, atol=0.02)


# ----------------------------------------------------------------------------- additive_scores


def plain_scores(keys: Tensor, query: Tensor, v: Tensor) -> Tensor:
    return torch.tanh(keys[: len(query)].unsqueeze(1) + query.unsqueeze(2)) @ v


@pytest.mark.parametrize("captions", [1, 3])
def test_scores_over_several_steps(captions):
    """Fewer images at each step; one tensor has the gradient of all steps."""
    keys, v = numbers(3, 5, 4), numbers(4, seed=1)
    queries = [numbers(n, captions, 4, seed=n + 2) for n in (3, 3, 2, 1)]
    kept, ours = keys, []
    for query in queries:
        scores, kept = additive_scores(kept, exp_of(keys.detach()), query, v)
        ours.append(scores.flatten())
    plain = [plain_scores(keys, query, v).flatten() for query in queries]
    assert_same(torch.cat(ours), torch.cat(plain), [keys, v, *queries])
    with torch.no_grad():
        again = [additive_scores(keys, exp_of(keys), q, v)[0].flatten() for q in queries]
    torch.testing.assert_close(torch.cat(again), torch.cat(plain).detach())


def test_only_the_first_of_two_scores_counts():
    keys, v, query = numbers(2, 5, 4), numbers(4, seed=1), numbers(2, 1, 4, seed=2)
    first, kept = additive_scores(keys, exp_of(keys.detach()), query, v)
    additive_scores(kept, exp_of(keys.detach()), query, v)
    assert_same(first, plain_scores(keys, query, v), [keys, v, query])


@pytest.mark.parametrize("size", [1.0, 10.0, 1000.0])
def test_scores_of_any_size_are_finite(size):
    """In float32 as in bf16, where keys and queries cancel, and where tanh has long been 1.

    They are right up to 43, which no trained model comes near.
    """
    torch.manual_seed(0)
    keys = size * torch.randn(2, 5, 4)
    query = torch.cat([-keys[:, :1] + 0.3, size * torch.randn(2, 1, 4)], 1)
    v = torch.randn(4)
    for dtype, near in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        inputs = [x.to(dtype).requires_grad_() for x in (keys, query, v)]
        k, q, w = inputs
        scores, _ = additive_scores(k, exp_of(k.detach()), q, w)
        grads = torch.autograd.grad(scores.sum(), inputs)
        assert all(x.isfinite().all() for x in (scores, *grads))
        if size <= 10:
            expected = plain_scores(*(x.detach().float() for x in inputs))
            torch.testing.assert_close(scores, expected, rtol=near, atol=near)


# ------------------------------------------------------------------------- word_log_likelihood


def test_words_are_those_of_a_log_softmax():
    x, weight, bias = numbers(6, 4), numbers(9, 4, seed=1), numbers(9, seed=2)
    targets = torch.tensor([0, 3, 3, 8, 1, 3])
    log_p, mean = word_log_likelihood(x, weight, bias, targets)
    plain = (x @ weight.T + bias).log_softmax(-1)
    chosen = plain.gather(1, targets[:, None])[:, 0]
    assert_same(log_p, chosen, [x, weight, bias])
    assert_same(mean, plain.mean(1), [x, weight, bias])
    assert_same(log_p - mean, chosen - plain.mean(1), [x, weight, bias])
    assert_same(log_probs(x, weight, bias), plain, [x, weight, bias])
    with torch.no_grad():
        torch.testing.assert_close(log_probs(x, weight, bias), plain)


def test_the_logarithm_of_the_sum_is_exact_for_large_logits():
    logits = torch.tensor([[900.0, 900.0], [-900.0, -901.0], [0.0, -torch.inf]]).repeat(30, 1)
    torch.testing.assert_close(log_sum_exp(logits), logits.logsumexp(-1))
    assert log_sum_exp(torch.zeros(0, 5)).shape == (0,)
