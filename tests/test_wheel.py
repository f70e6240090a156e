"""The package as a wheel, in an environment of its own, without a network.

Slow, because a wheel is built and two processes import torch. The wheel is all that is installed:
what it needs is taken from the tests' own environment, on the path after it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from PIL import Image
from skimage import data
from test_frame import ROOT

NO_NETWORK = """\
import socket

def refuse(*_):
    raise OSError("there is no network here")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that has the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    source, needless = folder / "source", shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "labkit", source / "labkit", ignore=needless)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    enough = {"check": True, "capture_output": True, "timeout": 600}
    subprocess.run([*wheel, "--wheel-dir", folder, source], **enough)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (built,) = folder.glob("labkit-*.whl")
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(asked, **enough, text=True).stdout.strip()
    installing = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*installing, site, built], **enough)
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


def test_a_photograph_is_told_right_after_installation(python, tmp_path):
    for name in ("coffee", "astronaut"):
        Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.jpg")
    caption = ("-m", "labkit", "caption", "flickr8k-hard")
    done = run(python, *caption, "coffee.jpg", "astronaut.jpg", "--out", "told", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [photo for photo, _ in lines] == ["coffee.jpg", "astronaut.jpg"]
    assert all(len(text.split()) > 3 for _, text in lines)
    for name in ("coffee", "astronaut"):
        with Image.open(tmp_path / "told" / f"{name}.png") as maps:
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
    assert models.split() == [
        "flickr8k-hard", "flickr8k-soft", "scenes-hard", "scenes-sees-word", "scenes-soft",
    ]  # fmt: skip
    assert int(recipes) == 3 and typed == "True"
    shown = {"scenes-table.json", "scenes-curves.json", "flickr8k-table.json"}
    assert shown <= set(measured.split())
