"""The files of a release: the sdist, and the wheel that is built from it, without a network.

Slow, because both are built and three processes import torch. The wheel is all that is installed:
what it needs is taken from the tests' own environment, on the path after it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image
from skimage import data
from test_frame import ROOT

NO_NETWORK = """\
import socket

def refuse(*_):
    raise OSError("there is no network here")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


NEEDLESS = (  # of a folder in which somebody works; what git ignores, and git itself
    ".git", ".venv", "_build", "build", "dist", "demo", "stores", "runs", "captions", "tell",
    "node_modules", "*.egg-info", ".*_cache", ".hypothesis", ".ipynb_checkpoints",
)  # fmt: skip
OWN = [*NEEDLESS, "__pycache__"]
ENOUGH = {"check": True, "capture_output": True, "timeout": 600}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of this project, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    source = shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*OWN))
    (source / "labs" / "photo.jpg").write_bytes(b"somebody's photograph")
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], cwd=source, **ENOUGH)
    (packed,) = folder.glob("labkit-*.tar.gz")
    assert packed.stat().st_size < 60 << 20
    shutil.unpack_archive(packed, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def python(sdist, tmp_path_factory):
    """The interpreter of an environment that has the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", folder, sdist], **ENOUGH)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (built,) = folder.glob("labkit-*.whl")
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(asked, **ENOUGH, text=True).stdout.strip()
    installing = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*installing, site, built], **ENOUGH)
    with open(os.path.join(site, "needed.pth"), "w") as file:
        file.write(sysconfig.get_path("purelib") + "\n")
    with open(os.path.join(site, "sitecustomize.py"), "w") as file:
        file.write(NO_NETWORK)
    return python


def run(python, *words, cwd):
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [python, *words], cwd=cwd, env=alone | {"OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip


def test_a_photograph_is_captioned_right_after_installation(python, tmp_path):
    for name in ("coffee", "astronaut"):
        Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.jpg")
    caption = ("-m", "labkit", "caption", "flickr8k-hard")
    done = run(python, *caption, "coffee.jpg", "astronaut.jpg", "--out", "captions", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [photo for photo, _, _ in lines] == ["coffee.jpg", "astronaut.jpg"]
    assert all(len(text.split()) > 3 for _, text, _ in lines)
    assert all(re.fullmatch(r"wrong \d+%", sure) for _, _, sure in lines)
    for name in ("coffee", "astronaut"):
        with Image.open(tmp_path / "captions" / f"{name}.png") as maps:
            assert min(maps.size) > 100


def test_it_is_the_wheel_that_ran_and_it_has_all_its_files(python, tmp_path):
    ask = (
        "import labkit; from labkit.training.recipes import RECIPES; print(labkit.__file__);"
        "print(*labkit.list_pretrained()); print(len(list(RECIPES.glob('*.toml'))));"
        "from importlib.resources import files; found = (files('labkit') / 'measured').iterdir();"
        "print(*sorted(one.name for one in found));"
        "print((files('labkit') / 'py.typed').is_file())"
    )
    said = run(python, "-c", ask, cwd=tmp_path).stdout
    where, models, recipes, measured, typed = said.splitlines()
    assert str(python.parents[1]) in where
    installed, source = Path(where).parent, ROOT / "labkit"
    files = [one.relative_to(source) for one in source.rglob("*") if one.is_file()]
    missing = [one for one in files if not (installed / one).is_file()]
    assert files and not [one for one in missing if "__pycache__" not in one.parts]
    assert models.split() == [
        "flickr8k-hard", "flickr8k-soft", "scenes-hard", "scenes-sees-word", "scenes-soft",
    ]  # fmt: skip
    assert int(recipes) == 3 and typed == "True"
    shown = {"scenes-table.json", "scenes-curves.json", "flickr8k-table.json"}
    assert shown <= set(measured.split())


def test_the_doctor_finds_nothing_wrong_with_it(python, tmp_path):
    done = run(python, "-m", "labkit", "doctor", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert not [line for line in report["problems"] if not line.startswith("only ")], done.stdout
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert {Requirement(line).name for line in asked} <= set(report["found"]["versions"])


def test_the_sdist_holds_what_tests_and_book_need_and_nothing_of_its_builder(sdist):
    there = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    wanted = {
        "Makefile", "LICENSE", "LICENSE-text", "CHANGELOG.md", "CITATION.cff", "jupytext.toml",
        "_config.yml", "_toc.yml", "environment.yml", "tests/conftest.py", "tests/sanitize.cfg",
        "labs/00_first_caption.ipynb", "labs/00_first_caption.py", "book/references.bib",
        "labkit/pretrained/flickr8k-soft/model.safetensors", ".github/workflows/tests.yml",
    }  # fmt: skip
    own = [path.relative_to(ROOT) for folder in ("labkit", "tests", "book", "labs")
           for path in (ROOT / folder).rglob("*.*") if path.is_file()]  # fmt: skip
    wanted |= {path.as_posix() for path in own
               if not any(fnmatch(part, one) for part in path.parts for one in OWN)}  # fmt: skip
    assert wanted <= there
    assert "labs/photo.jpg" not in there
    ends = {path.suffix for path in sdist.rglob("*") if path.is_file()}
    assert not ends & {".npy", ".npz", ".jpg", ".jpeg", ".zip", ".jsonl", ".pyc", ".pth"}
