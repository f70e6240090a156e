"""Random numbers of a batch that several processes share: those that one process would draw.

Before each step the generators of all processes are in the same state. Each process draws the
numbers of all captions of the batch, in the order in which one process would, and keeps its own. So
what is sampled or dropped out does not depend on the number of processes.

One process alone has no `Draws`: where it is None, numbers are drawn as usual.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labkit.model.gradients import even


@dataclass(frozen=True)
class Rows:
    """The rows that this process has, (n,) their numbers, of all ``count`` rows."""

    own: Tensor
    count: int


class Draws:
    """Whose random numbers a process keeps, in one pass of a batch through the decoder.

    Args:
        lengths: (C,) words of each caption of the whole batch; equal ones, if no caption ends
            before the others.
        own: (c,) which of them are this process's.

    Attributes:
        captions: The captions' rows, as the decoder sorts them: longest first.
        words: The words' rows, of all captions and steps.
        step: The rows at the current step: at first all captions, then as `next_step` says.
    """

    def __init__(self, lengths: Tensor, own: Tensor):
        own = own[lengths[own].sort(descending=True).indices]
        place = lengths.sort(descending=True).indices.argsort()[own]
        self.captions = self.step = Rows(place, len(lengths))
        self._steps, words, begin = [], [], 0
        for t in range(int(lengths.max())):
            rows = Rows(place[: int((lengths[own] > t).sum())], int((lengths > t).sum()))
            self._steps.append(rows)
            words.append(begin + rows.own)
            begin += rows.count
        self.words = Rows(even(torch.cat(words)), len(even(torch.empty(begin))))
        self._made: list[Callable[[int], Tensor]] = []  # at the current step

    def next_step(self) -> None:
        """Go to the next step of the captions."""
        self.step, self._made = self._steps.pop(0), []

    def end_steps(self) -> None:
        """Draw what the other processes need in the steps in which this one has no caption."""
        for rows in self._steps:
            for make in self._made:
                make(rows.count)

    def draw(self, of: str, make: Callable[[int], Tensor]) -> Tensor:
        """Make random rows for the "captions", the "words" or the "step", and keep our own.

        Args:
            of: Which rows.
            make: Makes (count, ...) rows; called in the same order on all processes.
        """
        rows: Rows = getattr(self, of)
        if of == "step":
            self._made.append(make)
        found = make(rows.count)
        return found[rows.own.to(found.device)]


def exponential_like(x: Tensor, draws: Draws | None) -> Tensor:
    """Numbers of the exponential distribution, for the rows of a step: like x (N, ...)."""
    if draws is None:
        return torch.empty_like(x).exponential_()
    return draws.draw("step", lambda count: x.new_empty(count, *x.shape[1:]).exponential_())


def coins(share: float, n: int, draws: Draws | None, like: Tensor) -> Tensor:
    """A coin for each of n captions, True with this probability: (n,) bool, on the device of x."""
    if draws is None:
        return torch.rand(n, device=like.device) < share
    return draws.draw("captions", lambda count: torch.rand(count, device=like.device)) < share


def dropout(layer: nn.Module, x: Tensor, draws: Draws | None, of: str) -> Tensor:
    """``layer(x)``, for `torch.nn.Dropout` and `torch.nn.Dropout1d`; see `Draws.draw` for `of`."""
    if draws is None or not (layer.training and layer.p):
        return layer(x)
    one = x[..., :1] if isinstance(layer, nn.Dropout1d) else x  # that drops whole channels
    return x * draws.draw(of, lambda count: layer(one.new_ones(count, *one.shape[1:])))
