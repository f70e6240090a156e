"""Grading: a notebook that was handed in is run, and what the checks said of it is counted.

It runs from top to bottom in a process of its own. For each exercise the last check of the
learner's own answer counts. A solution (a cell with the tag "hide-cell" that checks an exercise)
counts for nothing. It is run only where the answer above it is not right, so that the cells below
find what they need. From there on no check of that exercise counts: it would be of the solution.

A check is recognised by what it shows, "Exercise 4.1: right." So this marks honest work quickly. It
is no proof of honesty: whoever wants to can write that sentence, or copy the solution.

The notebook's code is run as it is. Do that where a stranger's code may be run, or take the outputs
that are stored in the file (`stored`), which runs nothing and believes them.
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.checks import Verdict, exercises
from labkit.console import complain
from labkit.files import outputs, write_json

SOLUTION = "hide-cell"
OPEN, WRONG, RIGHT = "not answered yet", "not yet", "right."
_ASKED = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")
_SAID = re.compile(rf"^Exercise (\d+\.\d+): ((?:{OPEN}|{WRONG}: |{re.escape(RIGHT)}$).*)$", re.M)


@dataclass(frozen=True)
class Marks:
    """What was found in one notebook.

    Attributes:
        notebook: the file.
        verdicts: one for each exercise of its lab, in order; `right` is None where it is open.
        failed: the cells that raised an error, or took too long.
    """

    notebook: str
    verdicts: tuple[Verdict, ...]
    failed: tuple[str, ...]

    @property
    def right(self) -> int:
        """How many answers are right."""
        return sum(one.right is True for one in self.verdicts)

    @property
    def score(self) -> float:
        """The share of right answers, of 1."""
        return self.right / len(self.verdicts)

    def __str__(self) -> str:
        lines = [f"{self.notebook}: {self.right} of {len(self.verdicts)} right ({self.score:.2f})"]
        lines += [f"  {one.exercise:>5}  {one.text}" for one in self.verdicts]
        return "\n".join(lines + [f"         {text}" for text in self.failed])


def grade(notebook: str | Path, stored: bool = False, timeout: int = 120) -> Marks:
    """Mark one notebook.

    Args:
        notebook: the file; the code in it is run in its folder, the file stays as it is.
        stored: run nothing, take the outputs that are stored in the file.
        timeout: seconds for each cell; one that takes longer is stopped, and the next is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no notebook, or has no exercise.
        ModuleNotFoundError: what runs notebooks is not installed.
    """
    path = Path(notebook)
    content = _read(path)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    numbers, found, failed, solved = _numbers(cells, path), {}, [], set()
    with _as_stored() if stored else _in_a_kernel(content, path, timeout) as run:
        for place, cell in enumerate(cells, 1):
            asked = set(_ASKED.findall(cell.source))
            solution = SOLUTION in cell.metadata.get("tags", []) and bool(asked)
            if solution:
                solved |= {one for one in asked if one not in found or not found[one].right}
                if not asked & solved:
                    continue
            run(cell)
            failed += [f"code cell {place} failed: {text}" for text in _errors(cell)]
            for verdict in [] if solution else _verdicts(cell):
                if verdict.exercise not in solved:
                    found[verdict.exercise] = verdict
    missing = "not checked: the cell that checks it is gone or failed"
    verdicts = [found.get(number, Verdict(number, None, missing)) for number in numbers]
    return Marks(str(notebook), tuple(verdicts), tuple(failed))


def grade_files(
    notebooks: Sequence[str | Path], stored: bool = False, timeout: int = 120,
    json: str | Path | None = None, overwrite: bool = False,
) -> list[str]:  # fmt: skip
    """Mark several notebooks, print the marks of each, and write all of them as JSON.

    Args:
        notebooks: the files.
        stored: run nothing, take the outputs that are stored in the files.
        timeout: seconds for each cell.
        json: where to write the marks.
        overwrite: replace that file, if it is there.

    Returns:
        The files that could not be marked; what is wrong with them is told on standard error.

    Raises:
        OSError: ``json`` is there, or cannot be written. Nothing is marked.
    """
    outputs(json, overwrite=overwrite)
    marks, wrong = [], []
    for notebook in notebooks:
        try:
            marks.append(one := grade(notebook, stored, timeout))
            print(one, flush=True)
        except (OSError, ValueError) as error:
            complain(error)
            wrong.append(str(notebook))
    if json:
        rows = [asdict(one) | {"right": one.right, "score": one.score} for one in marks]
        write_json(json, rows, new=not overwrite)
    return wrong


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name the notebook that was handed in")
    nbformat = _needed("nbformat")
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # each kind of wrong file raises a type of its own
        raise ValueError(f"{path} is no notebook: name the .ipynb file") from error
    return notebook


def _needed(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        needs = f"grading needs {error.name}: pip install 'labkit[labs]'"
        raise ModuleNotFoundError(needs, name=error.name) from error


def _numbers(cells: Sequence[Any], path: Path) -> list[str]:
    """All exercises of the lab that the notebook is of, also those that were thrown out of it."""
    numbers = {number for cell in cells for number in _ASKED.findall(cell.source)}
    if not numbers:
        raise ValueError(f"{path} checks no exercise, so there is nothing to mark")
    for lab in {int(number.split(".")[0]) for number in numbers}:
        with suppress(ValueError):  # a teacher's own exercises, which no module of labkit has
            numbers |= {one.number for one in exercises(lab)}
    return sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])


def _verdicts(cell: Any) -> Iterator[Verdict]:
    """Read the verdicts that a cell shows or prints."""
    for output in cell.outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        for number, said in _SAID.findall(text):
            right = None if said.startswith(OPEN) else said == RIGHT
            yield Verdict(number, right, said)


def _errors(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"{output.ename}: {output.evalue}".splitlines()[0]


@contextmanager
def _as_stored() -> Iterator[Callable]:
    """Give what "runs" a cell by leaving its outputs as they are."""
    yield lambda cell: None


@contextmanager
def _in_a_kernel(content: Any, path: Path, timeout: int) -> Iterator[Callable]:
    """Give what runs a cell in a new kernel, and puts what it shows into the cell."""
    nbclient, nbformat = _needed("nbclient"), _needed("nbformat")
    dead: list[bool] = []

    def fail(cell: Any, name: str, text: str) -> None:
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
        cell.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=text))

    def note(cell: Any, cell_index: int, execute_reply: dict) -> None:
        fail(cell, execute_reply["content"]["ename"], execute_reply["content"]["evalue"])

    client = nbclient.NotebookClient(
        content, timeout=timeout, kernel_name="python3", allow_errors=True,
        interrupt_on_timeout=True, on_cell_error=note,
        error_on_timeout={"ename": "TimeoutError", "evalue": f"stopped after {timeout} seconds"},
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )  # fmt: skip
    client.log.setLevel("CRITICAL")  # what it would say stands in the marks

    def run(cell: Any) -> None:
        cell.outputs, cell.execution_count = [], None
        if dead:
            return
        try:
            client.execute_cell(cell, content.cells.index(cell))
        except nbclient.exceptions.DeadKernelError:
            fail(cell, "DeadKernelError", "Python died here, and no cell was run after it")
            dead.append(True)

    with client.setup_kernel(stderr=subprocess.DEVNULL):  # of the kernel; a cell's goes elsewhere
        yield run
