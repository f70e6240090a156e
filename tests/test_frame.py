"""What holds the project together: its commands, versions, bounds, sizes and imports."""

import ast
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tokenize
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labkit import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "labkit"
FILES = sorted(PACKAGE.rglob("*.py"))
CHECKS = [path for path in FILES if path.is_relative_to(PACKAGE / "checks")]
MODULES = [path for path in FILES if path.name[0] != "_" and path not in CHECKS]
WINGS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
OPTIONAL = {"streaming": "mosaicml-streaming"}  # not installed for the tests
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "isal": "python-isal",
}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


def test_the_readme_names_the_commands():
    assert re.search(r"^make demo\b", read("README.md"), re.MULTILINE)
    assert "`make test`" in read("README.md")


def test_the_makefile_has_what_the_readme_and_the_check_call():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    assert {"demo", "lab", "book", "test", "lint", "clean"} <= targets
    called = set(re.findall(r"(?<=make )[a-z]+", read("README.md") + read(".ci/run")))
    assert "test" in called and called <= targets


def make(folder, *words, **environment):
    """Run make in a folder that has only the Makefile; nothing can be installed there."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    own = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        ["make", *words], cwd=folder, env=own | environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


def python(folder, name, version):
    """A program that says it is a Python of some version, and makes an environment of itself."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = f"""\
        #!{sys.executable}
        import pathlib, shutil, sys
        if sys.argv[1] == "-m":
            pathlib.Path(".venv/bin").mkdir(parents=True)
            shutil.copy(__file__, ".venv/bin/python")
        elif "exit" in sys.argv[2]:
            sys.exit({version} < (3, 11))
        else:
            print("%d.%d" % {version})
        """
    path.write_text(textwrap.dedent(lines))
    path.chmod(0o755)
    return str(path)


@needs_make
def test_a_python_that_is_asked_for_and_not_there_is_an_error(tmp_path):
    for done in (
        make(tmp_path, "demo", "PYTHON=python3.99"),
        make(tmp_path, ".venv/bin/python", PYTHON="python3.99"),
    ):
        assert done.returncode == 2
        assert "PYTHON=python3.99 cannot be run: install it, or name another" in done.stderr
    old = python(tmp_path / "programs", "old", (3, 9))
    done = make(tmp_path, ".venv/bin/python", f"PYTHON={old}")
    assert done.returncode == 2 and "labkit needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_a_python_that_is_asked_for_is_taken(tmp_path):
    one = python(tmp_path / "my programs", "one", (3, 12))
    two = python(tmp_path / "my programs", "two", (3, 13))
    done = make(tmp_path, ".venv/bin/python", f"PYTHON={one}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv/bin/python").read_text() == Path(one).read_text()
    assert make(tmp_path, ".venv/bin/python", PYTHON=one).returncode == 0
    done = make(tmp_path, "demo", f"PYTHON={two}")
    assert done.returncode == 2
    assert f".venv has Python 3.12, and PYTHON={two} is 3.13: remove .venv first" in done.stderr


def test_the_readme_leads_to_files_that_exist():
    links = re.findall(r"\]\(([^)#]+)", read("README.md"))
    local = [link for link in links if "://" not in link]
    assert local
    assert not [link for link in local if not (ROOT / link).is_file()]


def test_the_commands_in_the_readme_are_understood():
    verbs = re.findall(r"^labkit ([a-z]+)", read("README.md"), re.MULTILINE)
    shown = subprocess.run(
        [sys.executable, "-m", "labkit", "--help"], cwd=ROOT, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert verbs == ["caption", "data", "prepare", "train", "evaluate", "caption"]
    assert not [verb for verb in ["demo", *verbs] if not re.search(rf"\b{verb}\b", shown.stdout)]


def test_conda_and_pip_are_asked_for_the_same(project):
    extras = project["optional-dependencies"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    wanted += [Requirement(line) for name in ("labs", "book", "tests") for line in extras[name]]
    listed = yaml.safe_load(read("environment.yml"))["dependencies"]
    by_pip = listed[-1]["pip"]
    by_conda = [Requirement(line) for line in listed[:-1]]
    there = {one.name: one.specifier for one in by_conda + list(map(Requirement, by_pip[:-1]))}

    assert by_pip[-1] == "-e ."  # the project itself, after all that it needs
    assert there.pop("pip") == Requirement("pip").specifier
    assert str(there.pop("python")) == project["requires-python"]
    named_alike = {CONDA_NAMES.get(one.name, one.name): one.specifier for one in wanted}
    assert named_alike.pop("labkit") == Requirement("labkit").specifier
    assert there == named_alike


def test_what_the_package_imports_is_asked_for(project):
    lines = project["dependencies"] + project["optional-dependencies"]["export"]
    wanted = {canonicalize_name(Requirement(line).name) for line in lines}
    providers = packages_distributions()
    missing = set()
    for path in FILES:
        for name in imports(path):
            top = name.split(".")[0]
            if top != "labkit" and top not in sys.stdlib_module_names:
                by = providers.get(top, [OPTIONAL.get(top, top)])
                found = {canonicalize_name(one) for one in by}
                if not found & wanted:
                    missing.add(f"{path.name} imports {top}")
    assert wanted and not missing


def test_the_version_is_the_same_everywhere(project):
    cited = yaml.safe_load(read("CITATION.cff"))["version"]
    latest = re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)[1]
    assert str(cited) == latest == project["version"] == __version__


def test_no_module_is_longer_than_a_few_pages():
    lengths = {dotted(path): len(path.read_text().splitlines()) for path in MODULES}
    assert MODULES
    assert not {name: n for name, n in lengths.items() if n > 300}


def test_the_package_can_be_read_in_an_evening():
    """Lines of code: blank lines, comments and docstrings are what makes them readable."""
    assert 0 < sum(map(lines_of_code, MODULES)) <= 9800


def lines_of_code(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    text = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    prose = {line for node in text for line in range(node.lineno, node.end_lineno + 1)}
    beside = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    beside |= {tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {
        line
        for token in tokens
        if token.type not in beside
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - prose)


def test_no_function_is_longer_than_a_page():
    """Without its docstring."""
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if lines > 40:
                    long[f"{dotted(path)}.{node.name}"] = lines
    assert not long


def dotted(path: Path) -> str:
    """A module's name: ``labkit.data.scenes``; a wing's for its ``__init__.py``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """All that a file imports, anywhere in it, by full name: ``labkit.data.scenes``, ``torch``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = members & set(map(dotted, FILES))
            names |= modules or {node.module}
    return names


def test_imports_point_down_the_readmes_map():
    """A module imports from its own wing and from those above it in the map."""
    block = read("README.md").split("\nlabkit/\n")[1].split("\nlabs/")[0]
    names = [line.strip().split("  ")[0] for line in block.splitlines()]
    listed = re.findall(r"(\w+)(?:\.py|/)", " ".join(names))
    there = {path.stem for path in PACKAGE.glob("[!_]*") if path.is_dir() or path.suffix == ".py"}
    assert sorted(listed) == sorted(there) and set(WINGS) <= there
    upwards = []
    for path in FILES:
        wing = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        allowed = listed[: listed.index(wing) + 1] if wing in listed else listed
        used = {name for name in imports(path) if name.startswith("labkit")}
        within = path.parent == PACKAGE / "checks"  # the checks may use what a student does
        used -= {"labkit"} if within else set()
        upwards += [f"{dotted(path)} imports {name}" for name in sorted(used)
                    if name.removeprefix("labkit.").split(".")[0] not in allowed]  # fmt: skip
    assert not upwards


def test_no_modules_import_each_other_in_a_circle():
    graph = {dotted(path): imports(path) - {dotted(path)} for path in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(FILES)


@pytest.mark.parametrize(
    "name", ["labkit", *(f"labkit.{wing}" for wing in WINGS if wing != "checks")]
)
def test_a_wing_says_what_lives_there_and_hands_on_its_public_names(name):
    wing = importlib.import_module(name)
    folder = Path(wing.__file__).parent
    inside = {path.stem for path in folder.glob("*") if path.is_dir() or path.suffix == ".py"}
    says = "\n\n".join(wing.__doc__.strip().split("\n\n")[:2])  # an example may follow
    assert len(says.splitlines()) <= 4
    assert not set(wing.__all__) & inside  # or one name would mean two things
    assert all(getattr(wing, public) is not None for public in wing.__all__)


def test_a_package_is_imported_without_its_wings():
    """Names are looked up when they are first used: the command line starts at once."""
    code = "import sys, labkit.model as m; print('torch' in sys.modules, 'Decoder' in dir(m))"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert shown.stdout.split() == ["False", "True"], shown.stderr


def test_the_reference_has_every_module():
    documented = re.findall(r"automodule:: ([\w.]+)$", read("book/api.rst"), re.MULTILINE)
    assert sorted(documented) == sorted([*map(dotted, MODULES), "labkit.checks",
                                         "labkit.checks.grading"])  # fmt: skip


def test_every_source_is_cited():
    entries = set(re.findall(r"^@\w+\{(\w+),", read("book/references.bib"), re.MULTILINE))
    pages = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("book/*.md"))
    pages += "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("labs/*.py"))
    cited = {key.strip() for keys in re.findall(r"\{cite[\w:]*\}`([^`]+)`", pages)
             for key in keys.split(",")}  # fmt: skip
    assert entries and entries == cited


def test_the_style_is_kept():
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert checked.returncode == 0, checked.stdout
