"""Checks of the labs' exercises: whether an answer is right and, if not, what the mistake is.

    from labkit.checks import check

    check("4.1", my_scores)

An answer is whatever the exercise asks for: a function, an array, a number or a word. `check`
returns a `Verdict`, which a notebook shows as one sentence. A wrong answer never raises an error,
so a notebook with open exercises still runs from top to bottom.

The exercises of lab 4 are in ``labkit/checks/lab04.py``, and so on. Each one is a function that
takes the answer and returns a sentence that says what is wrong, or None:

    @exercise("4.1", "Write `scores(a, query)`, eq. 4.")
    def scores(answer): ...

Most of them call `compare` once. It recognises typical mistakes by the values they produce.
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
    """The result of a check.

    Attributes:
        exercise: the number of the exercise, such as "4.1".
        right: whether the answer is right; None if there is no answer yet.
        text: one sentence for the learner.
    """

    exercise: str
    right: bool | None
    text: str

    def __repr__(self) -> str:
        return f"Exercise {self.exercise}: {self.text}"


@dataclass(frozen=True)
class Exercise:
    """One exercise: its number, its task, and the function that judges an answer."""

    number: str
    task: str
    judge: Judge


class Unanswered(Exception):
    """There is no answer to judge yet."""


_EXERCISES: dict[str, Exercise] = {}


def exercise(number: str, task: str) -> Callable[[Judge], Judge]:
    """Register a function as the judge of an exercise.

    Args:
        number: "4.1" is the first exercise of lab 4.
        task: a sentence that says what to do; shown as long as there is no answer.
    """

    def register(judge: Judge) -> Judge:
        _EXERCISES[number] = Exercise(number, task, judge)
        return judge

    return register


def exercises(lab: int) -> list[Exercise]:
    """Return the exercises of a lab, in order.

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
        answer: what the exercise asks for. ``...`` or None means that there is no answer yet.

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
        with torch.enable_grad():  # some labs switch gradients off
            problem = asked.judge(answer)
    except Unanswered:
        return Verdict(number, None, f"not answered yet. {asked.task}")
    except Exception as error:  # anything that a learner's code may raise
        problem = f"your code raised {type(error).__name__}: {error}"
    return Verdict(number, problem is None, f"not yet: {problem}" if problem else "right.")


def run(answer: Any, *given: Any, name: str = "your_function") -> Any:
    """Call a learner's function.

    Raises:
        Unanswered: the function has not been filled in, so it returns nothing.
        TypeError: the answer is not a function.
    """
    if not callable(answer):
        raise TypeError(f'pass the function itself, do not call it: check("...", {name})')
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
        got: the learner's value: a tensor, an array, a number, or a list of these.
        right: the correct value.
        name: how the message refers to the value.
        mistakes: maps a sentence about each typical mistake to the value that it produces.
        tolerance: the largest error allowed in a number, relative to the largest value.

    Returns:
        A sentence that says what is wrong, or None.

    Raises:
        Unanswered: there is no value. A function that has not been filled in returns None.
    """
    if got is None or got is ...:
        raise Unanswered
    if callable(got) and not isinstance(got, torch.nn.Module | torch.Tensor):
        return f"{name} is a function: call it, and pass what it returns"
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
        return f"{name} contains values that are not finite"
    if not _close(mine, true, tolerance):
        worst = np.unravel_index(np.abs(mine - true).argmax(), true.shape)
        where = f" at position {tuple(map(int, worst))}" if worst else ""
        return f"{name} is {mine[worst]:.4g}{where}, but it should be {true[worst]:.4g}"
    return None


def first_problem(*problems: str | None) -> str | None:
    """Return the first problem found by several comparisons, or None."""
    return next((problem for problem in problems if problem), None)


def true_or_false(
    answer: Any, right: Mapping[str, bool], why: Mapping[str, str], kind: str
) -> str | None:
    """Judge a mapping of claims to True or False.

    Args:
        answer: The learner's.
        right: What is right of each claim.
        why: What to say of each if the answer is wrong.
        kind: What such a claim is called.

    Raises:
        Unanswered: A claim has no answer yet.
    """
    if not isinstance(answer, Mapping) or any(one is ... or one is None for one in answer.values()):
        raise Unanswered
    text = next((one for one in answer.values() if isinstance(one, str)), None)
    if text is not None:
        return f"enter True or False without quotation marks, not {text!r}"
    if missing := [claim for claim in right if claim not in answer]:
        return f"the {kind} '{missing[0]}' is missing: keep the keys as they are"
    wrong = (f"'{claim}': {why[claim]}" for claim in right if answer[claim] != right[claim])
    return next(wrong, None)


def _close(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    scale = max(float(np.abs(other).max(initial=0)), 1e-12)
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * scale))


def _array(value: Any) -> np.ndarray:
    """Convert to float64; a list may hold tensors. Strings are rejected, even strings of digits."""
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
