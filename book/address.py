"""Write the repository's address where it belongs.

    python book/address.py https://github.com/OWNER/NAME

As long as nobody has called this, no file names an address, and there are no badges. The call adds

- links to pyproject.toml, for the package's page, and to CITATION.cff,
- badges for the tests, Binder and Colab, below the title of README.md,
- two cells below the title of each lab: links that open it on Colab or Binder, and a cell that
  installs labkit where it is missing. The other cells keep their outputs.

A second call, with another address, replaces what the first wrote.
"""

import re
import sys
from pathlib import Path

import jupytext
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

ADDRESS = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")
TAG = "launch"  # of the cells that are written here
BADGES = """\
[![tests](https://github.com/{name}/actions/workflows/tests.yml/badge.svg)](https://github.com/{name}/actions/workflows/tests.yml)
[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/labs)
[![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{name}/blob/main/labs/00_first_caption.ipynb)
"""
URLS = """\
[project.urls]
Repository = "https://github.com/{name}"
Issues = "https://github.com/{name}/issues"
Changelog = "https://github.com/{name}/blob/main/CHANGELOG.md"

"""
PLACES = {  # what is there, from an earlier call or before which the new text comes; and that text
    "pyproject.toml": (r"\[project\.urls\]\n(?:\w+ = .*\n)+\n|(?=\[project\.scripts\])", URLS),
    "CITATION.cff": (
        r"\nrepository-code: .*|(?=\nauthors:)", '\nrepository-code: "https://github.com/{name}"',
    ),
    "README.md": (r"(\A# .*\n\n)(?:(?:\[!\[.*\n)+\n)?", r"\1" + BADGES + "\n"),
}  # fmt: skip
LINKS = """\
Without installing anything: open this lab [on
Colab](https://colab.research.google.com/github/{name}/blob/main/labs/{lab}.ipynb) or [on
Binder](https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/labs/{lab}.ipynb)."""
INSTALL = """\
import importlib.util

if importlib.util.find_spec("labkit") is None:  # as on Colab: this takes some minutes
    import subprocess
    import sys

    source = "labkit @ git+https://github.com/{name}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)"""


def write_address(root: Path, address: str) -> None:
    """Write a GitHub repository's address into the files below ``root``.

    Raises:
        ValueError: it is no such address.
    """
    if not (found := ADDRESS.fullmatch(address.removesuffix("/").removesuffix(".git"))):
        raise ValueError(f"{address} is not https://github.com/OWNER/NAME")
    name = found[1]
    texts = {}
    for file, (old, new) in PLACES.items():
        path = root / file
        text, count = re.subn(old, new.format(name=name), path.read_text("utf-8"), count=1)
        if not count:
            raise ValueError(f"{path} has no place for the address")
        texts[path] = text
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    for script in sorted((root / "labs").glob("*.py")):
        write_cells(script, name)


def write_cells(script: Path, name: str) -> None:
    """Write the two cells into both files of a lab."""
    path = script.with_suffix(".ipynb")
    notebook = jupytext.read(path)
    cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    own = {"metadata": {"tags": [TAG]}}
    links = new_markdown_cell(LINKS.format(name=name, lab=script.stem), **own)
    install = new_code_cell(INSTALL.format(name=name), **own)
    links.id, install.id = "launch-links", "launch-install"  # the same at every call
    notebook.cells = [cells[0], links, install, *cells[1:]]
    count(notebook)
    jupytext.write(notebook, path)
    jupytext.write(notebook, script, fmt="py:percent")


def count(notebook: NotebookNode) -> None:
    """Number the code cells from 1, as after a run in order, with their results."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        write_address(Path(__file__).resolve().parents[1], sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
