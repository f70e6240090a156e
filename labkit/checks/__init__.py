"""What the labs' exercises call: is an answer right, and if not, what is the mistake.

    from labkit.checks import check

    check("4.1", my_scores)

An answer is a function, an array, a number, a word: what the exercise asked for. `check` gives a
`Verdict`, which a notebook shows as one sentence. It never raises over a wrong answer, so a
notebook with open exercises still runs from top to bottom.

The exercises of lab 4 are in ``labkit/checks/lab04.py``, and so on. Each is one function that
takes the answer and gives a sentence that says what is wrong, or None:

    @exercise("4.1", "Write `scores(a, query)`, eq. 4.")
    def scores(answer): ...

Most of them are one call of `compare`, which knows typical mistakes by the values they lead to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

Judge = Callable[[Any], str | None]


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        exercise: its number, "4.1".
        right: whether the answer is right; None where there is no answer yet.
        text: one sentence for the learner.
    """

    exercise: str
    right: bool | None
    text: str

    def __repr__(self) -> str:
        return f"Exercise {self.exercise}: {self.text}"


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is asked, and the judge of an answer."""

    number: str
    task: str
    judge: Judge


class Unanswered(Exception):
    """There is nothing to judge yet."""


_EXERCISES: dict[str, Exercise] = {}


def exercise(number: str, task: str) -> Callable[[Judge], Judge]:
    """Make a function the judge of an exercise.

    Args:
        number: "4.1" is the first of lab 4.
        task: a sentence that says what to do; shown as long as there is no answer.
    """

    def register(judge: Judge) -> Judge:
        _EXERCISES[number] = Exercise(number, task, judge)
        return judge

    return register


def exercises(lab: int) -> list[Exercise]:
    """Give the exercises of a lab, in order.

    Raises:
        ValueError: there is no such lab, or it has no checks.
    """
    try:
        import_module(f"labkit.checks.lab{lab:02}")
    except ModuleNotFoundError:
        raise ValueError(f"there are no checks for lab {lab}") from None
    return [one for number, one in _EXERCISES.items() if number.split(".")[0] == str(lab)]


def check(number: str, answer: Any = ...) -> Verdict:
    """Judge an answer.

    Args:
        number: the exercise, such as "4.1".
        answer: what it asked for. ``...`` or None means that there is none yet.

    Raises:
        ValueError: there is no such exercise.
    """
    found = {one.number: one for one in exercises(int(number.partition(".")[0]))}
    if number not in found:
        raise ValueError(f"there is no exercise {number}: there are {', '.join(found)}")
    asked = found[number]
    try:
        if answer is None or answer is ...:
            raise Unanswered
        with torch.enable_grad():  # some labs have switched it off
            problem = asked.judge(answer)
    except Unanswered:
        return Verdict(number, None, f"not answered yet. {asked.task}")
    except Exception as error:  # whatever a learner's code raises
        problem = f"your code raised {type(error).__name__}: {error}"
    return Verdict(number, problem is None, f"not yet: {problem}" if problem else "right.")


def run(answer: Any, *given: Any, name: str = "your_function") -> Any:
    """Call a learner's function.

    Raises:
        Unanswered: it is an untouched one, which returns nothing.
        TypeError: it is no function.
    """
    if not callable(answer):
        raise TypeError(f'hand over the function itself, without a call: check("...", {name})')
    got = answer(*given)
    if got is None or got is ...:
        raise Unanswered
    return got


def compare(
    got: Any, right: Any, name: str = "your answer", mistakes: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> str | None:  # fmt: skip
    """Compare values, and name the mistake.

    Args:
        got: the learner's: a tensor, an array, a number, or a list of these.
        right: what it should be.
        name: what to call it.
        mistakes: a sentence for each typical mistake -> the value that it leads to.
        tolerance: of single numbers, relative to the largest.

    Returns:
        What is wrong, or None.

    Raises:
        Unanswered: there is nothing. An untouched function returns None.
    """
    if got is None or got is ...:
        raise Unanswered
    if callable(got) and not isinstance(got, torch.nn.Module | torch.Tensor):
        return f"{name} is a function: call it, and give what it returns"
    try:
        mine, true = _array(got), _array(right)
    except (TypeError, ValueError, RuntimeError):
        return f"{name} should be {_kind(right)}, not {type(got).__name__}"
    for sentence, value in (mistakes or {}).items():
        wrong = _array(value)
        if wrong.shape == mine.shape and _close(mine, wrong, tolerance):
            return sentence
    if mine.shape != true.shape:
        return f"{name} has shape {mine.shape}, but it should have {true.shape}"
    if not np.isfinite(mine).all() and np.isfinite(true).all():
        return f"{name} holds numbers that are not finite"
    if not _close(mine, true, tolerance):
        worst = np.unravel_index(np.abs(mine - true).argmax(), true.shape)
        where = f" at place {tuple(map(int, worst))}" if worst else ""
        return f"{name} is {mine[worst]:.4g}{where}, but it should be {true[worst]:.4g}"
    return None


def first_problem(*problems: str | None) -> str | None:
    """Give the first sentence among the findings of several comparisons."""
    return next((problem for problem in problems if problem), None)


def _close(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    scale = max(float(np.abs(other).max(initial=0)), 1e-12)
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * scale))


def _array(value: Any) -> np.ndarray:
    """As float64; a list may hold tensors. Words are no numbers, even those of digits."""
    if isinstance(value, str):
        raise TypeError
    if isinstance(value, torch.Tensor):
        return value.detach().double().cpu().numpy()
    if isinstance(value, list | tuple):
        return np.array([_array(one) for one in value], dtype=float)
    return np.asarray(value, dtype=float)


def _kind(value: Any) -> str:
    shape = _array(value).shape
    return f"numbers of shape {shape}" if shape else "a number"
