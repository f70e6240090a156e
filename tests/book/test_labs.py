"""Each lab's two files say the same, and the notebook holds the outputs of one run in order.

What the cells print is compared by ``pytest --nbval labs/``, which ``make test`` runs too. nbval
passes over a cell that was never run, so these tests look at what nbval does not see.
"""

import re
import runpy
import shutil
from pathlib import Path

import jupytext
import pytest
from nbformat import NotebookNode

LABS = sorted((Path(__file__).parents[2] / "labs").glob("*.py"))
PAIRED_METADATA = ("tags", "jupyter", "mystnb")
NOT_COMPARED = re.compile(r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP)", re.MULTILINE)
PATH_OF_A_MACHINE = re.compile(
    r"""(?:^|(?<=[\s"'(\[=]))(?:/\w[\w.-]*/|[A-Z]:\\)\S+|site-packages|ipykernel_\d+""",
    re.MULTILINE,
)
WARNING = re.compile(r"\b\w*Warning\b|\bWARNING\b")

each_lab = pytest.mark.parametrize("script", LABS, ids=lambda path: path.stem)


def code_cells(script: Path) -> list[NotebookNode]:
    notebook = jupytext.read(script.with_suffix(".ipynb"))
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: NotebookNode) -> str:
    """All text that a cell put out: streams, and the text and HTML of its results."""
    text = []
    for output in cell.outputs:
        text.append(output.get("text", ""))
        data = output.get("data", {})
        text += [data.get("text/plain", ""), data.get("text/html", "")]
        text += output.get("traceback", [])
    return "\n".join(text)


def is_compared(cell: NotebookNode) -> bool:
    tags = {tag.lower() for tag in cell.metadata.get("tags", [])}
    ignored = tags & {"nbval-ignore-output", "nbval-skip"} or NOT_COMPARED.search(cell.source)
    return not ignored


def test_there_is_a_lab_and_no_file_without_its_pair():
    notebooks = sorted(LABS[0].parent.glob("*.ipynb")) if LABS else []
    assert LABS, "labs/ holds no lab"
    assert [path.stem for path in notebooks] == [path.stem for path in LABS]


@each_lab
def test_the_two_files_hold_the_same_cells(script):
    def cells(path):
        return [
            (cell.cell_type, cell.source, {key: cell.metadata.get(key) for key in PAIRED_METADATA})
            for cell in jupytext.read(path).cells
        ]

    update = f"run: jupytext --update --to ipynb labs/{script.name}"
    assert cells(script.with_suffix(".ipynb")) == cells(script), update


@each_lab
def test_every_code_cell_was_run_once_in_order(script):
    counts = [cell.execution_count for cell in code_cells(script)]
    assert counts, "a lab without code"
    assert counts == list(range(1, len(counts) + 1))


@each_lab
def test_most_cells_are_compared(script):
    cells = code_cells(script)
    compared = sum(map(is_compared, cells))
    assert compared >= 0.6 * len(cells), f"{compared} of {len(cells)} code cells are compared"


@each_lab
def test_no_output_holds_a_warning_or_a_path_of_a_machine(script):
    for number, cell in enumerate(code_cells(script), 1):
        text = printed(cell)
        for pattern in (PATH_OF_A_MACHINE, WARNING):
            found = pattern.search(text)
            assert found is None, f"code cell {number} prints {found[0]!r}"


def test_a_lab_that_shows_measurements_runs_in_any_folder(tmp_path, monkeypatch, capsys):
    """Slow: all of lab 8, as a program elsewhere."""
    (script,) = [path for path in LABS if "measured" in path.read_text(encoding="utf-8")
                 and "scenes-table.json" in path.read_text(encoding="utf-8")]  # fmt: skip
    (tmp_path / "my labs ü").mkdir()
    copy = shutil.copy(script, tmp_path / "my labs ü")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(copy, run_name="__main__")
    assert "soft minus argmax, pointing" in capsys.readouterr().out
