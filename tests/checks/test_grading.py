"""Marks of a submitted notebook: a small real one, both run and as stored.

Slow, up to half a minute: Python is started for each notebook that is run, and one cell never ends.
"""

import json
from pathlib import Path

import nbformat
import pytest
from commands import labkit
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.checks import exercises
from labkit.checks.grading import grade, grade_files

LABS = sorted((Path(__file__).parents[2] / "labs").glob("*.ipynb"))
EXERCISES = """\
from labkit import checks
from labkit.checks import check, compare, exercise

checks.import_module = lambda name: None

@exercise("99.1", "Give 2.")
def two(answer):
    return compare(answer, 2, "two")

@exercise("99.2", "Write a function that doubles.")
def doubles(answer):
    return compare(answer(2), 4, "double of 2", {"you add 1": 3})

@exercise("99.10", "Give 10.")
def ten(answer):
    return compare(answer, 10, "ten")
"""


def cell(source, shows=None, solution=False):
    made = new_code_cell(source, metadata={"tags": ["hide-cell"]} if solution else {})
    if shows:
        data = {"text/plain": f"Exercise {shows}"}
        made.outputs = [new_output("execute_result", data=data, execution_count=1)]
    return made


def save(path, *cells):
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A lab"), *cells]), path)
    return path


def said(marks):
    return {one.exercise: (one.right, one.text) for one in marks.verdicts}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One exercise right, one wrong, one untouched; and the learner has also run solutions."""
    path = save(
        tmp_path_factory.mktemp("submitted") / "mine.ipynb",
        cell(EXERCISES),
        cell("answer = 1\ncheck('99.1', answer)"),
        cell("answer = 2\ncheck('99.1', answer)"),  # the last one counts
        cell("answer = None\ncheck('99.1', answer)", solution=True),
        cell("print(answer)\nassert answer == 2"),  # so the solution was not run
        cell("def double(x):\n    return x + 1"),
        cell("print('trying')\nprint(check('99.2', double))"),
        cell("def double(x):\n    return 2 * x\n\ncheck('99.2', double)", solution=True),
        cell("check('99.2', double)"),  # of the solution
        cell("assert double(3) == 6"),  # later cells rely on the solution
        cell("ten = ..."),
        cell("check('99.10', ten)"),
        cell("ten = 10\ncheck('99.10', ten)", solution=True),
        cell("open('there').read()"),
        cell("1 + missing"),
    )
    (path.parent / "there").write_text("The notebook runs in its own folder.")
    before = path.read_bytes()
    marks = grade(path)
    return marks, path.read_bytes() == before


def test_each_exercise_has_the_last_verdict_of_the_learners_own_answer(ran):
    assert said(ran[0]) == {
        "99.1": (True, "right."),
        "99.2": (False, "not yet: you add 1"),
        "99.10": (None, "not answered yet. Give 10."),
    }
    assert [one.exercise for one in ran[0].verdicts] == ["99.1", "99.2", "99.10"]
    assert ran[0].right == 1 and ran[0].score == pytest.approx(1 / 3)


def test_a_cell_that_fails_is_named(ran):
    assert ran[0].failed == ("code cell 15 failed: NameError: name 'missing' is not defined",)


def test_a_cell_that_never_ends_is_stopped_and_the_others_run(tmp_path):
    path = save(
        tmp_path / "endless.ipynb",
        cell("while True:\n    pass"),
        cell("print('Exercise 99.1: right.')  # check('99.1', 2)"),
    )
    marks = grade(path, timeout=5)
    (endless,) = marks.failed
    assert endless.startswith("code cell 1 failed: TimeoutError: stopped after ")
    assert said(marks) == {"99.1": (True, "right.")}


def test_the_file_stays_as_it_is(ran):
    assert ran[1]


def test_the_table(ran):
    lines = str(ran[0]).splitlines()
    assert lines[0].endswith("mine.ipynb: 1 of 3 right (0.33)")
    assert lines[2] == "   99.2  not yet: you add 1"


def test_a_kernel_that_dies_leaves_the_marks_so_far(tmp_path):
    path = save(
        tmp_path / "dies.ipynb",
        cell(EXERCISES),
        cell("check('99.1', 2)"),
        cell("import os\nos._exit(1)"),
        cell("check('99.2', lambda x: 2 * x)", shows="99.2: right."),  # from an earlier run
    )
    marks = grade(path)
    assert said(marks)["99.1"] == (True, "right.")
    assert said(marks)["99.2"][0] is None and "not checked" in said(marks)["99.2"][1]
    assert marks.failed[0].startswith("code cell 3 failed: DeadKernelError")


def test_stored_outputs_are_believed_and_nothing_is_run(tmp_path):
    path = save(
        tmp_path / "stored.ipynb",
        cell("open('run', 'w')"),
        cell("check('99.1', 1)", shows="99.1: right."),
        cell("check('99.2', ...)", shows="99.2: not answered yet. Write it."),
        cell("check('99.2', double)", shows="99.2: right.", solution=True),
        cell("check('99.3', 1)"),
        cell("'Exercise 99.1: not yet: a text'", shows="99.4: as we said, right."),
    )
    marks = grade(path, stored=True)
    assert said(marks) == {
        "99.1": (True, "right."),
        "99.2": (None, "not answered yet. Write it."),
        "99.3": (None, "not checked: its check was removed, or the cell failed"),
    }
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not a notebook: pass the .ipynb file"),
        ("# %%\nprint('a lab as a script')\n", "is not a notebook"),
        ("[1, 2]", "is not a notebook"),
        ('{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "is not a notebook"),
        (b"\x89PNG\r\n\x1a\n\xff", "is not a notebook"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_is_not_a_notebook_gets_one_sentence(tmp_path, content, said):
    path = tmp_path / "lab.ipynb"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        grade(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_notebook_without_exercises_cannot_be_marked(tmp_path):
    path = save(tmp_path / "other.ipynb", cell("1 + 1"))
    with pytest.raises(ValueError, match="contains no check"):
        grade(path)


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys):
    good = save(tmp_path / "good.ipynb", cell("check('99.1', 2)", shows="99.1: right."))
    bad = tmp_path / "bad.ipynb"
    bad.write_text("{}")
    out = tmp_path / "marks.json"
    assert grade_files([bad, good], stored=True, json=out) == [str(bad)]
    printed = capsys.readouterr()
    assert "good.ipynb: 1 of 1 right (1.00)" in printed.out and "bad.ipynb" in printed.err
    (marks,) = json.loads(out.read_text())
    assert marks["notebook"] == str(good)
    assert (marks["right"], marks["score"]) == (1, 1.0)
    assert marks["verdicts"] == [{"exercise": "99.1", "right": True, "text": "right."}]


def test_the_verb(tmp_path):
    path = save(tmp_path / "lab.ipynb", cell("check('99.1', 2)", shows="99.1: right."))
    done = labkit("grade", "--stored", path)
    assert done.returncode == 0 and "1 of 1 right (1.00)" in done.stdout
    path.write_text("no notebook")
    done = labkit("grade", "--stored", path)
    assert done.returncode == 1
    assert done.stderr.strip() == f"labkit: {path} is not a notebook: pass the .ipynb file"


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
def test_a_lab_as_it_is_handed_out_has_every_exercise_open(lab):
    try:
        numbers = [one.number for one in exercises(int(lab.name[:2]))]
    except ValueError:
        pytest.skip("its exercises have no checks")
    marks = grade(lab, stored=True)
    assert [one.exercise for one in marks.verdicts] == numbers
    assert marks.right == 0
    assert all(one.text.startswith("not answered yet") for one in marks.verdicts)
    assert not marks.failed
