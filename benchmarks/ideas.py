"""The six ideas of the book's chapter 'Why is it fast?', each measured by itself.

    python benchmarks/ideas.py [--rounds 9]

For each idea, the plain way and the fast one compute the same: value and gradients are compared
first. Then they take turns. Time is CPU time of one thread; the ratio is the median of the rounds'
ratios. Sizes as in benchmarks/decoder.py: 40 captions of 12 words, 196 regions, 10,000 words, all
else 512.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from labkit.files import keep_freed_memory
from labkit.model.gradients import StepLinear, additive_scores, exp_of, word_log_likelihood

B, T, L, V, D = 40, 12, 196, 10_000, 512


def numbers(*shape: int) -> Tensor:
    return (torch.randn(*shape) * shape[-1] ** -0.5).requires_grad_()


Way = Callable[[], Tensor]
Idea = tuple[str, list[Tensor], Way, Way]


def projected_once() -> Idea:
    a, W, queries, v = torch.randn(B, L, D), numbers(D, D), numbers(T, B, 1, D), numbers(D)

    def plain() -> Tensor:
        return torch.stack([torch.tanh(linear(a, W) + q) @ v for q in queries])  # at each word

    def fast() -> Tensor:
        keys = linear(a, W)
        return torch.stack([torch.tanh(keys + q) @ v for q in queries])

    return "1. do once what does not change", [W, queries, v], plain, fast


def one_product() -> Idea:
    layer, x = nn.Linear(D, 4 * D), numbers(B, 1, D)

    def run(step: Callable[[Tensor], Tensor]) -> Tensor:
        h = x
        for _ in range(T):
            h = torch.tanh(step(h)[..., :D])
        return h

    def fast() -> Tensor:
        return run(StepLinear(layer, [B] * T, x.dtype))

    return "2. one large product", [x, *layer.parameters()], lambda: run(layer), fast


def one_exponential() -> Idea:
    keys, queries, v = numbers(B, L, D), numbers(T, B, 1, D), numbers(D)

    def plain() -> Tensor:
        return torch.stack([torch.tanh(keys.unsqueeze(1) + q.unsqueeze(2)) @ v for q in queries])

    def fast() -> Tensor:
        kept, exp_keys, found = keys, exp_of(keys.detach()), []
        for q in queries:
            scores, kept = additive_scores(kept, exp_keys, q, v)
            found.append(scores)
        return torch.stack(found)

    return "3. the exponential of a sum is a product", [keys, queries, v], plain, fast


def fewer_rows() -> Idea:
    a, R, scores = torch.randn(B, L, D), numbers(D, D), numbers(T, B, 1, L)

    def plain() -> Tensor:
        reduced = linear(a, R)  # of all regions
        return torch.stack([e.softmax(-1) @ reduced for e in scores])

    def fast() -> Tensor:
        return linear(torch.stack([e.softmax(-1) @ a for e in scores]), R)  # of all words

    return "4. the order of two linear maps", [R, scores], plain, fast


def only_what_is_asked() -> Idea:
    x, W, b, targets = numbers(T * B, D), numbers(V, D), numbers(V), torch.randint(V, (T * B,))

    def plain() -> Tensor:
        log_p = [linear(part, W, b).log_softmax(-1) for part in x.split(B)]  # at each word
        return torch.cat(log_p).gather(1, targets[:, None])[:, 0]

    def fast() -> Tensor:
        return word_log_likelihood(x, W, b, targets)[0]

    return "5. compute what is asked, not more", [x, W, b], plain, fast


def short_numbers() -> Idea:
    x, W = numbers(T * B, D), numbers(V, D)

    def fast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return linear(x, W).float()

    return "6. short numbers (bf16)", [x, W], lambda: linear(x, W), fast


IDEAS = [projected_once, one_product, one_exponential, fewer_rows, only_what_is_asked,
         short_numbers]  # fmt: skip


def with_gradients(way: Way, inputs: list[Tensor]) -> list[Tensor]:
    value = way()
    return [value.detach(), *torch.autograd.grad(value.square().sum(), inputs)]


def seconds(way: Way, inputs: list[Tensor]) -> float:
    begin = time.process_time()
    with_gradients(way, inputs)
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{'':44}{'plain ms':>10}{'fast ms':>10}{'ratio':>8}{'differ by':>11}")
    for idea in IDEAS:
        torch.manual_seed(0)
        name, inputs, plain, fast = idea()
        pairs = zip(with_gradients(plain, inputs), with_gradients(fast, inputs), strict=True)
        differ = max(float((y - x).norm() / x.norm()) for x, y in pairs)
        times = [(seconds(plain, inputs), seconds(fast, inputs)) for _ in range(rounds)]
        one, other = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        ratio = statistics.median(x / y for x, y in times)
        print(f"{name:44}{one:10.1f}{other:10.1f}{ratio:8.2f}{differ:11.1e}")
        if differ > (0.02 if "bf16" in name else 1e-4):
            raise SystemExit(f"{name}: the two ways differ by {differ:.1e}")


if __name__ == "__main__":
    main()
