"""Grading: run a submitted notebook and count the verdicts of its checks.

The notebook runs from top to bottom in a separate process. For each exercise, the last check of the
learner's own answer counts. A solution (a cell with the tag "hide-cell" that checks an exercise)
does not count. It is run only if the answer above it is not right, so that the cells below it find
what they need. From there on no check of that exercise counts, because it would judge the solution.

A check is recognised by its output, such as "Exercise 4.1: right." So this marks honest work
quickly, but it proves nothing: anyone can print that sentence, or copy the solution.

The notebook's code is run as it is. Do this only where it is safe to run a stranger's code. Or use
the outputs that are stored in the file (`stored`): this runs nothing and trusts them.
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.checks import Verdict, exercises
from labkit.console import complain, say
from labkit.files import outputs, read_bytes, write_json

SOLUTION = "hide-cell"
OPEN, WRONG, RIGHT = "not answered yet", "not yet", "right."
_NUMBER = r"\d{1,4}\.\d{1,4}"
_ASKED = re.compile(rf"""\bcheck\(\s*["']({_NUMBER})["']""")
_SHOWN = re.compile(
    rf"^Exercise ({_NUMBER}): ((?:{OPEN}|{WRONG}: |{re.escape(RIGHT)}$).*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Marks:
    """The marks of one notebook.

    Attributes:
        notebook: the file.
        verdicts: one for each exercise of its lab, in order; `right` is None for an open exercise.
        failed: the cells that raised an error or took too long.
    """

    notebook: str
    verdicts: tuple[Verdict, ...]
    failed: tuple[str, ...]

    @property
    def right(self) -> int:
        """The number of right answers."""
        return sum(one.right is True for one in self.verdicts)

    @property
    def score(self) -> float:
        """The fraction of answers that are right, from 0 to 1."""
        return self.right / len(self.verdicts)

    def __str__(self) -> str:
        lines = [f"{self.notebook}: {self.right} of {len(self.verdicts)} right ({self.score:.2f})"]
        lines += [f"  {one.exercise:>5}  {one.text}" for one in self.verdicts]
        return "\n".join(lines + [f"         {text}" for text in self.failed])


def grade(notebook: str | Path, stored: bool = False, timeout: int = 120) -> Marks:
    """Mark one notebook.

    Args:
        notebook: the file; its code is run in its folder, and the file itself is not changed.
        stored: run nothing, and use the outputs that are stored in the file.
        timeout: seconds for each cell; a cell that takes longer is stopped, and the next one runs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a notebook, or it has no exercise.
        ModuleNotFoundError: the packages that run notebooks are not installed.
    """
    path = Path(notebook)
    content = _read(path)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    numbers, failed, solved = _numbers(cells, path), [], set()
    found: dict[str, Verdict] = {}
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
    missing = "not checked: its check was removed, or the cell failed"
    verdicts = [found.get(number, Verdict(number, None, missing)) for number in numbers]
    return Marks(str(notebook), tuple(verdicts), tuple(failed))


def grade_files(
    notebooks: Sequence[str | Path], stored: bool = False, timeout: int = 120,
    json: str | Path | None = None, overwrite: bool = False,
) -> list[str]:  # fmt: skip
    """Mark several notebooks, print the marks of each, and write all of them as JSON.

    Args:
        notebooks: the files.
        stored: run nothing, and use the outputs that are stored in the files.
        timeout: seconds for each cell.
        json: where to write the marks.
        overwrite: replace that file, if it is there.

    Returns:
        The files that could not be marked; standard error says what is wrong with each.

    Raises:
        OSError: ``json`` is there, or cannot be written. Nothing is marked.
    """
    outputs(json, overwrite=overwrite, inputs=notebooks)
    marks, wrong = [], []
    for notebook in notebooks:
        try:
            marks.append(one := grade(notebook, stored, timeout))
            say(one, flush=True)
        except (OSError, ValueError) as error:
            complain(error)
            wrong.append(str(notebook))
    if json:
        rows = [asdict(one) | {"right": one.right, "score": one.score} for one in marks]
        write_json(json, rows, new=not overwrite)
    return wrong


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: pass the submitted notebook")
    nbformat = _needed("nbformat")
    content = read_bytes(path)
    try:
        notebook = nbformat.reads(content.decode("utf-8"), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # each kind of wrong file raises a different type
        raise ValueError(f"{path} is not a notebook: pass the .ipynb file") from error
    return notebook


def _needed(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        needs = f"grading needs {error.name}: pip install 'labkit[labs]'"
        raise ModuleNotFoundError(needs, name=error.name) from error


def _numbers(cells: Sequence[Any], path: Path) -> list[str]:
    """Return all exercises of the notebook's lab, including those deleted from the notebook."""
    numbers = {number for cell in cells for number in _ASKED.findall(cell.source)}
    if not numbers:
        raise ValueError(f"{path} contains no check of an exercise, so there is nothing to mark")
    for lab in {int(number.split(".")[0]) for number in numbers}:
        with suppress(ValueError):  # a teacher's own exercises, which are not in labkit
            numbers |= {one.number for one in exercises(lab)}
    return sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])


def _verdicts(cell: Any) -> Iterator[Verdict]:
    """Yield the verdicts that a cell shows or prints."""
    for output in cell.outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        for number, verdict in _SHOWN.findall(text):
            right = None if verdict.startswith(OPEN) else verdict == RIGHT
            yield Verdict(number, right, verdict)


def _errors(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"{output.ename}: {output.evalue}".splitlines()[0]


@contextmanager
def _as_stored() -> Iterator[Callable[..., Any]]:
    """Yield a function that "runs" a cell by leaving its outputs as they are."""
    yield lambda cell: None


@contextmanager
def _in_a_kernel(content: Any, path: Path, timeout: int) -> Iterator[Callable[..., Any]]:
    """Yield a function that runs a cell in a new kernel and stores the outputs in the cell."""
    nbclient, nbformat = _needed("nbclient"), _needed("nbformat")
    dead: list[bool] = []

    def fail(cell: Any, name: str, text: str) -> None:
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
        cell.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=text))

    def report(cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        fail(cell, execute_reply["content"]["ename"], execute_reply["content"]["evalue"])

    client = nbclient.NotebookClient(
        content, timeout=timeout, kernel_name="python3", allow_errors=True,
        interrupt_on_timeout=True, on_cell_error=report,
        error_on_timeout={"ename": "TimeoutError", "evalue": f"stopped after {timeout} seconds"},
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )  # fmt: skip
    client.log.setLevel("CRITICAL")  # the marks already say what it would log

    def run(cell: Any) -> None:
        cell.outputs, cell.execution_count = [], None
        if dead:
            return
        try:
            client.execute_cell(cell, content.cells.index(cell))
        except nbclient.exceptions.DeadKernelError:
            fail(cell, "DeadKernelError", "Python crashed here, and no later cell was run")
            dead.append(True)

    with client.setup_kernel(stderr=subprocess.DEVNULL):  # the kernel's; a cell's is an output
        yield run
