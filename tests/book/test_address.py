"""`book/address.py` on a copy: badges and links come with the address, and the labs stay whole."""

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "CITATION.cff", "README.md", "jupytext.toml", "book/address.py")
LABS = ("00_first_caption", "09_full_size")


@pytest.fixture
def copy(tmp_path):
    for name in (*FILES, *(f"labs/{lab}{end}" for lab in LABS for end in (".py", ".ipynb"))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def contents(root):
    return {path.name: path.read_text("utf-8") for path in root.rglob("*.*") if path.is_file()}


def write_address(root, address):
    runpy.run_path(str(root / "book" / "address.py"))["write_address"](root, address)


def test_the_address_is_written_into_every_file_and_can_be_changed(copy):
    write_address(copy, "https://github.com/first/one/")
    first = contents(copy)
    write_address(copy, "https://github.com/first/one.git")
    assert contents(copy) == first
    write_address(copy, "https://github.com/second/Two.x")
    second = contents(copy)
    assert second == {name: text.replace("first/one", "second/Two.x")
                      for name, text in first.items()}  # fmt: skip
    urls = tomllib.loads(second["pyproject.toml"])["project"]["urls"]
    assert urls["Repository"] == "https://github.com/second/Two.x"
    cited = yaml.safe_load(second["CITATION.cff"])
    assert cited["repository-code"] == urls["Repository"] and cited["authors"]
    assert second["README.md"].splitlines()[0] == (ROOT / "README.md").read_text().splitlines()[0]
    for place in ("mybinder.org", "colab.research", "actions/workflows/tests.yml"):
        assert re.search(rf"^\[!\[\w+\]\(.*{place}.*\)$", second["README.md"], re.MULTILINE)


def test_a_lab_with_its_new_cells_is_as_whole_as_before(copy):
    write_address(copy, "https://github.com/first/one")
    for lab in LABS:
        before = jupytext.read(ROOT / "labs" / f"{lab}.ipynb").cells
        after = jupytext.read(copy / "labs" / f"{lab}.ipynb").cells
        script = jupytext.read(copy / "labs" / f"{lab}.py").cells
        assert [cell.source for cell in after] == [cell.source for cell in script]
        assert [cell.source for cell in after[:1] + after[3:]] == [cell.source for cell in before]
        assert f"/first/one/blob/main/labs/{lab}.ipynb" in after[1].source
        code = [cell for cell in after if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        assert code[0] == after[2] and not code[0].outputs
        exec(code[0].source, {})  # labkit is there, so nothing is installed
        shown = [cell.outputs for cell in before if cell.cell_type == "code"]
        assert [[{**one, "execution_count": 0} for one in cell.outputs] for cell in code[1:]] == [
            [{**one, "execution_count": 0} for one in outputs] for outputs in shown
        ]
    ours = 'lint.isort.known-first-party = ["labkit"]'  # which is not in this copy
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", ours, "."]
    done = subprocess.run(ruff, cwd=copy, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://x.org/a/b"])
def test_another_address_changes_nothing(copy, address):
    before = contents(copy)
    with pytest.raises(ValueError, match=r"is not https://github\.com/OWNER/NAME"):
        write_address(copy, address)
    assert contents(copy) == before


def test_no_file_names_an_address_that_nobody_gave():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {})
    badges = "mybinder.org" in (ROOT / "README.md").read_text("utf-8")
    cited = "repository-code" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert bool(urls) == badges == cited
