"""What the chapters say holds: their code runs, and the tests and messages that they name exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("book/*.md"))
CODE = re.compile(r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [p for p in PAGES if CODE.search(text(p))], ids=lambda p: p.stem)
def test_the_code_of_a_chapter_runs_and_prints_what_it_says(page, capsys):
    names = {"__name__": page.stem}
    for code, shown in CODE.findall(text(page)):
        exec(compile(code, page.name, "exec"), names)
        printed = capsys.readouterr().out
        assert printed == shown or not shown


def test_every_test_that_a_page_names_exists():
    name = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
    named = {found for page in PAGES for found in name.findall(text(page))}
    missing = []
    for name in sorted(named):
        file, _, function = name.partition("::")
        path = ROOT / file
        if not (path.is_file() and f"\ndef {function}(" in text(path)):
            missing.append(name)
    assert named and not missing


def said_by(path: Path) -> list[str]:
    """The texts in a module, those in pieces put together, with … for what is filled in."""
    texts = []
    for node in ast.walk(ast.parse(text(path))):
        parts = getattr(node, "values", [node]) if isinstance(node, ast.JoinedStr) else [node]
        if isinstance(node, ast.JoinedStr | ast.Constant):
            texts.append("".join(str(getattr(part, "value", "…")) if isinstance(part, ast.Constant)
                                 else "…" for part in parts))  # fmt: skip
    return texts


def test_every_message_that_troubleshooting_explains_exists():
    """Word by word: the pieces of a quoted sentence stand in one text of the code, in order."""
    texts = [one for path in ROOT.glob("labkit/**/*.py") for one in said_by(path)]
    texts += re.findall(r"\$\(error (.*)\)|echo \"(.*)\"", text(ROOT / "Makefile"))
    texts = [one if isinstance(one, str) else "".join(one) for one in texts]
    others = {"ModuleNotFoundError: No module named 'labkit'"}  # not ours
    others |= {"operator torchvision::nms does not exist", "[Errno 28] No space left on device"}
    page = text(ROOT / "book" / "troubleshooting.md")
    messages = set(re.findall(r"^`(.+)`\n:", page, re.MULTILINE)) - others
    patterns = {one: ".*".join(map(re.escape, one.strip("…").split("…"))) for one in messages}
    unknown = [
        message
        for message, pattern in patterns.items()
        if not any(re.search(pattern, one, re.DOTALL) for one in texts)
    ]
    assert len(messages) > 30 and not unknown


def test_every_chapter_of_the_ideas_has_a_quiz():
    ideas = re.search(r"caption: The ideas\n(.*?)\n  - caption", text(ROOT / "_toc.yml"), re.DOTALL)
    chapters = re.findall(r"file: (book/[\w-]+)", ideas[1])
    folded = r"^## Quiz\n(?:.*\n)*?:::\{admonition\} .+\n:class: dropdown note$"
    missing = [n for n in chapters if not re.search(folded, text(ROOT / f"{n}.md"), re.MULTILINE)]
    assert chapters and not missing


def test_the_short_table_of_probes_has_the_numbers_of_the_whole_one():
    def rows(page: str) -> list[list[str]]:
        lines = [line for line in text(ROOT / "book" / page).splitlines() if "[" in line]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    whole = rows("measured/scenes-probes.md")
    short = [row for row in rows("do-the-maps-explain.md") if len(row) == 7]  # six mechanisms
    assert len(short) >= 10
    for row in short:
        assert row[1:] in [other[2:] for other in whole], row


def test_the_numbers_of_the_chapter_on_rewards_are_those_of_its_table():
    """Each number with its spread stands in a file that `benchmarks/rewards.py` wrote."""
    spread = re.compile(r"\d+\.\d+ ± \d+\.\d+")
    files = (ROOT / "book" / "measured").glob("rewards*")
    whole = {number for file in files for number in spread.findall(text(file))}
    said = spread.findall(text(ROOT / "book" / "learning-from-a-reward.md"))
    assert len(said) > 15 and set(said) <= whole
